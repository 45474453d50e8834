//! Ground that everything stands on: time, randomness, ids, hashes, files, tasks.
//!
//! Nothing here knows what a site is.

pub mod address;
pub mod beneath;
pub mod blob_dir;
pub mod clock;
pub mod countries;
pub mod country;
pub mod files;
pub mod flight;
pub mod hash;
pub mod ids;
pub mod limits;
pub mod master_key;
pub mod network;
pub mod password;
pub mod random;
pub mod retry;
pub mod secret;
pub mod server_certificate;
pub mod tasks;
pub mod together;
pub mod units;
