//! The one integration binary.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that panics says what went wrong"
)]

mod access_log;
mod acme;
mod acme_dns;
mod acme_engine;
mod archives;
mod certify;
mod certify_records;
mod checks;
mod client;
mod client_tls;
#[cfg(all(feature = "postgres", feature = "redis"))]
mod cluster;
mod commands;
mod conformance;
mod connections;
mod countries;
mod deploys;
mod doctor;
mod edge;
mod edge_hosts;
mod edge_jobs;
mod effects;
mod faults;
mod gate;
#[cfg(feature = "h3")]
mod http3;
mod licences;
mod limits;
mod log;
mod manifest;
mod months;
#[cfg(feature = "postgres")]
mod moving;
#[cfg(all(feature = "postgres", feature = "s3"))]
mod moving_bytes;
#[cfg(feature = "postgres")]
mod moving_changes;
#[cfg(all(feature = "postgres", feature = "redis"))]
mod moving_jobs;
#[cfg(all(feature = "postgres", feature = "redis"))]
mod moving_kills;
#[cfg(feature = "redis")]
mod moving_places;
#[cfg(feature = "postgres")]
mod nodes;
mod operating;
mod panel;
mod panel_browser;
mod panel_lists;
mod panel_settings;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod postgres_citus;
#[cfg(feature = "postgres")]
mod postgres_full;
#[cfg(feature = "postgres")]
mod postgres_pages;
#[cfg(feature = "postgres")]
mod postgres_pooler;
#[cfg(feature = "postgres")]
mod postgres_prepared;
#[cfg(feature = "postgres")]
mod postgres_replicas;
#[cfg(all(feature = "postgres", feature = "redis"))]
mod postgres_silence;
#[cfg(feature = "postgres")]
mod postgres_upgrade;
#[cfg(feature = "postgres")]
mod postgres_wall;
mod proxies;
mod proxying;
mod queue_redb;
#[cfg(feature = "redis")]
mod queue_redis;
mod readme;
mod real_sites;
#[cfg(feature = "redis")]
mod redis_cache;
#[cfg(feature = "redis")]
mod redis_cache_moves;
#[cfg(feature = "redis")]
mod redis_link;
#[cfg(feature = "redis")]
mod redis_tls;
mod rfc;
mod rules;
mod runner;
mod schedules;
mod server;
mod services;
mod serving;
mod site_settings;
#[cfg(all(feature = "postgres", feature = "redis", feature = "s3"))]
mod story;
mod support;
mod tidy;
mod tls;
mod traffic;
mod upgrade;
mod verify;
mod web;
#[cfg(all(feature = "postgres", feature = "redis"))]
mod workers;
