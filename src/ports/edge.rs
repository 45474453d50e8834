//! The port to caches in front of the server: what they hold of a site is purged.

use std::fmt;

use zeroize::Zeroizing;

use super::acme::Later;
use crate::domain::{
    acme::records::Trouble,
    edge::{Batch, Provider},
};

/// How a provider is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// Which one.
    pub provider: Provider,
    /// What it knows us by, or what a webhook is signed with: secret.
    pub token: Zeroizing<String>,
    /// Where its API is, when that is not its usual place; a webhook has no usual one.
    pub api: Option<String>,
    /// Roots in PEM that are believed for it, besides those of the system.
    pub roots: Option<Vec<u8>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("provider", &self.provider).field("api", &self.api).finish_non_exhaustive()
    }
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The zone that it is about, as its provider knows it.
    pub zone: String,
    /// What of it.
    pub batch: Batch,
    /// The site, for programs that want to know.
    pub site: String,
    /// The time of day, Unix milliseconds.
    pub now_ms: i64,
}

/// Purges caches. The same call twice does no harm.
pub trait Edge: Send + Sync {
    /// Has what is meant be purged, and says when that was taken on.
    fn purge<'a>(&'a self, access: &'a Access, call: &'a Call) -> Later<'a, Result<(), Trouble>>;
}
