//! How the servers that answer for sites stand, as this process sees them.
//!
//! The data plane knows it, and services may not ask that: the composition root gives them a door ([`Look`]). Nothing here reads
//! the database.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use super::Services;
use crate::domain::site::Site;

/// A server that answers for a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// Its address, as [`crate::domain::site_settings::proxy::Upstream`] writes it.
    pub address: String,
    /// Whether it gets requests; else it fails, or said when it was looked at that it is not well.
    pub is_asked: bool,
    /// Requests and WebSockets that it works on.
    pub active: usize,
}

/// Who knows how they stand.
pub trait Look: fmt::Debug + Send + Sync {
    /// The servers of the site with this name.
    fn upstreams(&self, site: &str) -> Vec<Upstream>;
}

/// The door to who knows it; shut until the composition root opens it.
#[derive(Debug, Default)]
pub(super) struct Upstreams(OnceLock<Arc<dyn Look>>);

impl Services {
    /// From now on it is known how they stand. Said once.
    pub fn look_at_upstreams(&self, by: Arc<dyn Look>) {
        // Who knows it stays the same for as long as the process lives.
        drop(self.upstreams().0.set(by));
    }

    /// The servers that answer for a site, as this process sees them; none of a site that none answers for, or that is not served here.
    pub fn list_upstreams(&self, site: &Site) -> Vec<Upstream> {
        self.upstreams().0.get().map(|it| it.upstreams(site.name.as_str())).unwrap_or_default()
    }
}
