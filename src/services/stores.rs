//! Where the data of this server is, in words for those who run it.

use super::Services;
use crate::domain::{Result, access::Actor};

/// Where each kind of data is: engine, then folder, host and database, or bucket. SECURITY: never a user, a password or a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stores {
    /// Sites, users, settings, the audit log.
    pub database: String,
    /// The jobs.
    pub queue: String,
    /// What can be lost.
    pub cache: String,
    /// The bytes of the sites.
    pub files: String,
    /// Whether `files` is the path of a folder, and no words.
    pub files_are_path: bool,
    /// Whether the folder of files is only a cache before a bucket.
    pub in_bucket: bool,
}

impl Services {
    /// Where the data is, for who may manage the server.
    pub fn find_stores(&self, actor: &Actor) -> Result<&Stores> {
        Self::require_server(actor)?;
        Ok(&self.stores)
    }
}
