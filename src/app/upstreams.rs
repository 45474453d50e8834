//! What the data plane knows of servers that answer for sites, for the services, which may not ask it.

use crate::{
    serve::DataPlane,
    services::upstreams::{Look, Upstream},
};

/// The data plane, asked by services.
#[derive(Debug)]
pub(super) struct Seen(pub(super) DataPlane);

impl Look for Seen {
    fn upstreams(&self, site: &str) -> Vec<Upstream> {
        let of_site = self.0.proxied().into_iter().filter(|it| it.site == site);
        of_site
            .flat_map(|it| it.upstreams)
            .map(|(address, is_asked, active)| Upstream { address, is_asked, active })
            .collect()
    }
}
