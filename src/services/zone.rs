//! The zone that a name is in, and the name servers that have it themselves. Only those are asked that this server may connect to.

use std::net::{IpAddr, SocketAddr};

use crate::{
    base::together,
    domain::dns::{self, Kind, Record},
    ports::dns::{Dns, Way},
};

/// Name servers of a zone that are asked: more tell nothing new.
const SERVERS_MAX: usize = 4;
/// The port of name servers.
const PORT: u16 = 53;

/// Where a name server is asked.
pub(super) const fn at(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, PORT)
}

/// The zone of a name, and its servers by name; `None` where the zone is not found.
pub(super) async fn servers(dns: &Dns, name: &str) -> Option<(String, Vec<(String, IpAddr)>)> {
    let mut at = name;
    let zone = loop {
        let answer = dns.ask(at, Kind::Soa, Way::Cached).await.ok()?;
        if answer.chain.is_empty() {
            if answer.records.iter().any(|it| matches!(it, Record::Soa { .. })) {
                break at.to_owned();
            }
            if let Some(zone) = answer.zone.filter(|it| !it.is_empty() && dns::is_within(at, it)) {
                break zone;
            }
        }
        at = dns::above(at)?;
    };
    let names = dns.ask(&zone, Kind::Ns, Way::Fresh).await.ok()?.records.into_iter().filter_map(|it| match it {
        Record::Ns(name) => Some(name),
        _ => None,
    });
    let found = names.take(SERVERS_MAX).map(|name| -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
        Box::pin(async move { (address_of(dns, &name).await, name) })
    });
    let found: Vec<(Option<IpAddr>, String)> = together::all(found).await;
    Some((zone, found.into_iter().filter_map(|(address, name)| Some((name, address?))).collect()))
}

/// Where a name server is.
async fn address_of(dns: &Dns, name: &str) -> Option<IpAddr> {
    let (a, aaaa) = tokio::join!(dns.ask(name, Kind::A, Way::Cached), dns.ask(name, Kind::Aaaa, Way::Cached));
    let all = a.into_iter().chain(aaaa).flat_map(|it| it.addresses().collect::<Vec<_>>());
    all.into_iter().find(|it| dns.admit(*it).is_ok())
}
