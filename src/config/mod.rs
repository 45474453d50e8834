//! Settings: one TOML file, environment and flags, parsed into domain types. Unknown keys are errors.

pub mod access_log;
pub mod acme;
pub mod blobs;
pub mod client;
pub mod database;
pub mod edge;
mod garbage;
mod geo;
pub mod outside;
pub mod public_url;
pub mod redis;
mod retention;
pub mod server;
mod source;
pub mod tls;
mod zones;
