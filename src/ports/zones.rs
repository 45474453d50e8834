//! The port to providers of DNS: a TXT record is set, and taken away again.

use std::fmt;

use zeroize::Zeroizing;

use super::acme::Later;
use crate::domain::acme::records::{Provider, Record, Trouble};

/// How a provider is spoken to.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// Which one.
    pub provider: Provider,
    /// What it knows us by: secret.
    pub token: Zeroizing<String>,
    /// Where its API is, when that is not its usual place.
    pub api: Option<String>,
    /// Roots in PEM that are believed for it, besides those of the system.
    pub roots: Option<Vec<u8>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("provider", &self.provider).field("api", &self.api).finish_non_exhaustive()
    }
}

/// Changes zones at their providers. Other records of the same name stay as they are.
pub trait Zones: Send + Sync {
    /// Has a record be there; nothing is wrong when it is there already.
    fn set<'a>(&'a self, access: &'a Access, record: &'a Record) -> Later<'a, Result<(), Trouble>>;

    /// Has a record be there no more; nothing is wrong when it is not there.
    fn remove<'a>(&'a self, access: &'a Access, record: &'a Record) -> Later<'a, Result<(), Trouble>>;
}
