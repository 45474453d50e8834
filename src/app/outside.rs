//! The world outside as the settings name it: resolver and network.

use std::sync::Arc;

use crate::{
    config::outside::Outside as Settings,
    engines::{dns, reach},
    ports::dns::Dns,
    services::doctor::Outside,
};

/// Asks nobody yet.
pub(super) fn open(settings: &Settings) -> Outside {
    Outside {
        dns: Dns::new(dns::resolver(&settings.dns_servers), &settings.allowed),
        reach: Arc::new(reach::Network),
        public_addresses: settings.public_addresses.clone(),
        http_port: settings.http_port,
    }
}
