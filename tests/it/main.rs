//! The one integration binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics says what went wrong"
)]

mod archives;
mod client;
mod conformance;
mod connections;
mod deploys;
mod faults;
mod framing;
mod licences;
mod log;
mod manifest;
#[cfg(feature = "postgres")]
mod moving;
#[cfg(feature = "postgres")]
mod nodes;
mod panel;
mod panel_browser;
mod panel_settings;
#[cfg(feature = "postgres")]
mod postgres;
mod proxies;
mod queue_redb;
mod readme;
mod real_sites;
mod runner;
mod schedules;
mod server;
mod services;
mod serving;
mod support;
mod tidy;
mod verify;
mod web;
