//! The canonical manifest (stub: the proof part fills this).

use crate::{
    base::hash::Sha256,
    domain::{policy::Policy, site_path::SitePath},
};

/// One file of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it is served.
    pub path: SitePath,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type, frozen at deploy.
    pub media_type: String,
}

/// The files and the policy of a deployment. Entries are sorted by the unsigned UTF-8 bytes of `path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
    policy: Policy,
}

impl Manifest {
    /// The files, sorted by path.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The policy.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }
}
