//! The one integration binary.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that panics says what went wrong")]

mod archives;
mod conformance;
mod deploys;
mod client;
mod log;
mod manifest;
mod queue_redb;
mod server;
mod support;
mod connections;
mod framing;
mod log;
mod manifest;
mod serving;
mod tidy;
mod web;
mod verify;
