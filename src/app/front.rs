//! What the data plane knows of visitors, for the services, which may not ask it.

use super::tls::ToHttps;
use crate::{
    domain::site::SiteId,
    serve::DataPlane,
    services::front::{Hits, Look},
};

/// The data plane, and how it is reached.
#[derive(Debug)]
pub(super) struct Front {
    pub(super) plane: DataPlane,
    pub(super) to_https: Option<ToHttps>,
    /// Whether visitors in clear are sent to HTTPS where their site says nothing of it.
    pub(super) redirects: bool,
    pub(super) has_proxies: bool,
}

impl Look for Front {
    fn is_used_up(&self, site: SiteId) -> bool {
        self.plane.tally().is_used_up(site)
    }

    fn counts_since_ms(&self) -> i64 {
        self.plane.hits().since_ms()
    }

    fn hits(&self, site: SiteId) -> Vec<((String, bool), Hits)> {
        let all = self.plane.hits().of(site).into_iter();
        all.map(|it| {
            let hits = Hits { requests: it.requests, first_ms: it.first_ms, last_ms: it.last_ms, path: it.path };
            ((it.name, it.is_set), hits)
        })
        .collect()
    }

    fn https_port(&self, host: &str) -> Option<String> {
        self.to_https.as_ref()?.port_of(host)
    }

    fn redirects(&self) -> bool {
        self.redirects
    }

    fn has_proxies(&self) -> bool {
        self.has_proxies
    }
}
