//! Types and rules of the product: pure, synchronous, without the time of day.
//!
//! Nothing here does IO, is async, or knows SQL, HTTP or a file system.

pub mod access;
pub mod acme;
pub mod api_key;
pub mod ban;
pub mod caa;
pub mod certificate;
pub mod cron;
pub mod deployment;
pub mod dns;
pub mod doctor;
pub mod edge;
pub mod error;
pub mod event;
pub mod file_list;
pub mod hostname;
pub mod job;
pub mod lifetime;
pub mod media_type;
pub mod month;
pub mod node;
pub mod policy;
pub mod policy_files;
pub mod schedule;
pub mod session;
pub mod site;
pub mod site_path;
pub mod site_settings;
pub mod tenant;
pub mod traffic;
pub mod url_path;
pub mod user;
pub mod zone;

pub use error::{Error, Kind, Result};
