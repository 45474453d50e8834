//! The world outside as the settings name it: resolver and network.

use std::{net::IpAddr, sync::Arc};

use crate::{
    base::countries::Countries,
    config::outside::Outside as Settings,
    engines::{dns, reach},
    ports::{dns::Dns, reach::Reach as _},
    serve::proxy::{Resolve, Resolved},
    services::doctor::{HTTPS_PORT, Outside},
};

/// The addresses of upstreams: of those that the operator has named whatever they are, of others those that may be connected to.
#[derive(Debug)]
pub(super) struct Upstreams(Dns);

impl Upstreams {
    /// With a resolver of its own, as sites are served without the control plane too.
    pub(super) fn new(settings: &Settings) -> Self {
        Self(Dns::new(dns::resolver(&settings.dns_servers), &settings.allowed))
    }
}

impl Resolve for Upstreams {
    fn resolve<'a>(&'a self, host: &'a str, inside: bool) -> Resolved<'a> {
        Box::pin(async move {
            let found = if inside { self.0.addresses(host).await } else { self.0.checked(host).await };
            found.map_err(|error| error.message)
        })
    }
}

/// The addresses of this machine: those of its interfaces, and those that the settings name.
pub(super) fn own(settings: &Settings) -> Vec<IpAddr> {
    let mut own: Vec<IpAddr> = reach::Network.own().iter().map(IpAddr::to_canonical).collect();
    own.extend(&settings.public_addresses);
    own
}

/// Asks nobody yet.
pub(super) fn open(settings: &Settings, countries: Countries) -> Outside {
    Outside {
        dns: Dns::new(dns::resolver(&settings.dns_servers), &settings.allowed),
        reach: Arc::new(reach::Network),
        public_addresses: settings.public_addresses.clone(),
        http_port: settings.http_port,
        https_port: HTTPS_PORT,
        countries,
    }
}
