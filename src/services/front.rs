//! What the data plane of this process knows of visitors, and how it is reached: whether a site has sent all that it may, and who comes by HTTPS.
//!
//! Services may not ask it: the composition root gives them a door ([`Look`]). Nothing here reads the database.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use super::Services;
use crate::domain::site::SiteId;

/// Who knows it.
pub trait Look: fmt::Debug + Send + Sync {
    /// Whether a site has sent as much as it may in this month.
    fn is_used_up(&self, site: SiteId) -> bool;
    /// The port of HTTPS, as `:8443` or nothing, where there is a certificate for this host that browsers take.
    fn https_port(&self, host: &str) -> Option<String>;
    /// Whether visitors in clear are sent there unless their site says otherwise.
    fn redirects(&self) -> bool;
    /// Whether proxies are believed that say how a visitor came.
    fn has_proxies(&self) -> bool;
}

/// The door to who knows it; shut until the composition root opens it.
#[derive(Debug, Default)]
pub(super) struct Front(OnceLock<Arc<dyn Look>>);

impl Front {
    pub(super) fn look(&self) -> Option<&dyn Look> {
        self.0.get().map(|it| &**it)
    }
}

impl Services {
    /// From now on it is known. Said once.
    pub fn look_at_front(&self, by: Arc<dyn Look>) {
        // Who knows it stays the same for as long as the process lives.
        drop(self.front().0.set(by));
    }
}
