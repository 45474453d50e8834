//! What is seen of a hostname from outside. Decides nothing: `domain::doctor` does.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::time::timeout;

use super::{HERE, HTTP_PORT, HTTPS_PORT, Outside, told};
use crate::{
    base::{random, secret::Secret, together},
    domain::{
        acme,
        caa::{Authority, Property},
        dns::{self, Answer, Failure, Kind, Record},
        doctor::{
            Belongs, Disagreement, Looked, Observed, Outcome, Own, Relevant, Visit, ZoneServer,
            leads::{Leads, leads},
        },
    },
    ports::{dns::Way, reach::Silence},
    services::zone,
};

/// Aliases from zone to zone that are followed.
const ZONES_MAX: usize = 4;
/// Addresses of a name that are visited: an authority takes one of them.
const VISITS_MAX: usize = 8;
/// The longest that the servers of a zone are looked for and asked; without them, the resolver's word counts.
const ZONE_MAX: Duration = Duration::from_secs(10);

/// What stands in front and does not say its name.
const NAMELESS: &str = "a proxy";

/// The CAA records of one name, and whether servers disagree on them.
type Said = (Result<Vec<Property>, Failure>, Option<Disagreement>);

/// A look at the world outside.
pub(super) struct Look<'a> {
    pub(super) outside: &'a Outside,
    pub(super) word: &'a Secret,
}

impl Look<'_> {
    /// Looks at all that matters for a certificate.
    pub(super) async fn observe(&self, name: &str, belongs: Belongs, authorities: Vec<Authority>) -> Observed {
        let dns = &self.outside.dns;
        // For all names below a domain, that domain is looked at (RFC 8659 §3).
        let host = name.strip_prefix("*.").unwrap_or(name);
        let by_tls = authorities.iter().any(|it| it.methods.contains(&acme::Kind::TlsAlpn01));
        let looked = self.looked(host, Way::Fresh).await;
        let is_answered = looked.a.is_ok() || looked.aaaa.is_ok();
        let fails_by_dnssec =
            matches!(looked.a, Err(Failure::ServerFailed)) && dns.ask(host, Kind::A, Way::Unvalidated).await.is_ok();
        let zone = if is_answered { timeout(ZONE_MAX, self.zone(host)).await.ok().flatten() } else { None };
        // Whoever cannot be asked for addresses cannot be asked for the rest.
        let caa = looked.a.as_ref().map_or_else(|why| Err((host.to_owned(), *why)), |_| Ok(None));
        let mut seen = Observed {
            host: name.to_owned(),
            belongs,
            port: self.outside.http_port,
            own: self.own(),
            resolvers: dns.servers().iter().map(|it| it.ip().to_string()).collect(),
            looked,
            fails_by_dnssec,
            zone,
            caa,
            caa_differs: None,
            visits: Vec::new(),
            failed: None,
            given: None,
            authorities,
        };
        // Nobody asks the names below a domain for anything.
        let addresses = if seen.is_wild() { Vec::new() } else { seen.addresses() };
        if is_answered {
            ((seen.caa, seen.caa_differs), seen.visits) =
                tokio::join!(self.caa(&seen), self.visits(host, &addresses, by_tls));
        }
        seen
    }

    /// Whether one of its addresses answers with this installation's word.
    pub(super) async fn leads(&self, host: &str) -> Leads {
        let looked = self.looked(host, Way::Cached).await;
        let addresses: Vec<IpAddr> = looked.a.iter().chain(&looked.aaaa).flat_map(Answer::addresses).collect();
        leads(&looked, &self.visits(host, &addresses, false).await)
    }

    /// The addresses of this server: those of its interfaces that others can get to, and those of the settings.
    fn own(&self) -> Vec<Own> {
        let here = self.outside.reach.own();
        let set = &self.outside.public_addresses;
        let reachable = here.iter().filter(|it| self.outside.dns.admit(**it).is_ok() || set.contains(it));
        let mut own: Vec<Own> = reachable.map(|it| Own { address: *it, is_here: true }).collect();
        own.extend(set.iter().filter(|it| !here.contains(it)).map(|it| Own { address: *it, is_here: false }));
        own
    }

    async fn looked(&self, name: &str, way: Way) -> Looked {
        let dns = &self.outside.dns;
        let (a, aaaa) = tokio::join!(dns.ask(name, Kind::A, way), dns.ask(name, Kind::Aaaa, way));
        Looked { a, aaaa }
    }

    /// What the zone's own servers say, at the end of the aliases; `None` where they are not found.
    async fn zone(&self, host: &str) -> Option<(String, Vec<ZoneServer>)> {
        let mut at = host.to_owned();
        for _ in 0..ZONES_MAX {
            let (zone, servers) = zone::servers(&self.outside.dns, &at).await?;
            let asked =
                servers.into_iter().map(|(name, address)| -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
                    let at = at.clone();
                    Box::pin(async move {
                        let looked = self.looked(&at, Way::At(zone::at(address))).await;
                        ZoneServer { name, address, looked }
                    })
                });
            let asked: Vec<ZoneServer> = together::all(asked).await;
            match asked.iter().find_map(|it| leads_on(&it.looked)) {
                Some(next) => at = next,
                None => return Some((zone, asked)),
            }
        }
        None
    }

    /// The CAA records that count (RFC 8659 §3): those of the name, else of the next one above that has some; and whether servers disagree.
    async fn caa(&self, seen: &Observed) -> (Result<Relevant, (String, Failure)>, Option<Disagreement>) {
        let mut names = vec![seen.base()];
        while let Some(above) = names.last().and_then(|it| dns::above(it)) {
            names.push(above);
        }
        let asked = names
            .iter()
            .map(|name| -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> { Box::pin(self.caa_at(seen, name)) });
        let answers: Vec<Said> = together::all(asked).await;
        let mut differs = None;
        for (name, (answer, differing)) in names.into_iter().zip(answers) {
            differs = differs.or(differing);
            match answer {
                Ok(properties) if properties.is_empty() => {}
                Ok(properties) => return (Ok(Some((name.to_owned(), properties))), differs),
                Err(why) => return (Err((name.to_owned(), why)), differs),
            }
        }
        (Ok(None), differs)
    }

    /// As the zone's servers have it where they are known, so that a change of a minute ago counts; else as the resolver says.
    async fn caa_at(&self, seen: &Observed, name: &str) -> Said {
        let has_aliases = seen.looked.a.iter().chain(&seen.looked.aaaa).any(|it| !it.chain.is_empty());
        let servers = seen.zone.iter().filter(|it| !has_aliases && dns::is_within(name, &it.0)).flat_map(|it| &it.1);
        let asked =
            servers.filter(|it| it.looked.a.is_ok()).map(|it| -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
                Box::pin(async move {
                    let answer = self.outside.dns.ask(name, Kind::Caa, Way::At(zone::at(it.address))).await.ok()?;
                    let is_whole = answer.chain.is_empty() || !answer.records.is_empty();
                    is_whole.then(|| (it.name.clone(), properties(answer)))
                })
            });
        let said: Vec<Option<(String, Vec<Property>)>> = together::all(asked).await;
        let mut said = said.into_iter().flatten();
        let Some(first) = said.next() else {
            return (self.outside.dns.ask(name, Kind::Caa, Way::Fresh).await.map(properties), None);
        };
        let other = said.find(|it| it.1 != first.1);
        let differs = other.map(|it| Disagreement { at: name.to_owned(), said: [first.clone(), it] });
        (Ok(first.1), differs)
    }

    /// `by_tls`: whether authorities may ask by TLS, too.
    async fn visits(&self, host: &str, addresses: &[IpAddr], by_tls: bool) -> Vec<Visit> {
        let all = addresses.iter().take(VISITS_MAX);
        let all = all.map(|address| -> std::pin::Pin<Box<dyn Future<Output = _> + Send>> {
            Box::pin(async move {
                let at = |port| SocketAddr::new(*address, port);
                let by_tls = async {
                    if by_tls { Some(self.visit(host, at(self.outside.https_port), true).await) } else { None }
                };
                let in_clear = self.visit(host, at(self.outside.http_port), false);
                let (outcome, by_tls) = tokio::join!(in_clear, by_tls);
                Visit { address: *address, outcome, by_tls }
            })
        });
        together::all(all).await
    }

    /// Asks an address for this installation's word, as an authority would ask for its own.
    async fn visit(&self, host: &str, at: SocketAddr, by_tls: bool) -> Outcome {
        if let Err(class) = self.outside.dns.admit(at.ip()) {
            return Outcome::Barred(class);
        }
        let nonce = random::label::<16>();
        let is_usual = at.port() == if by_tls { HTTPS_PORT } else { HTTP_PORT };
        let authority = if is_usual { host.to_owned() } else { format!("{host}:{}", at.port()) };
        let path = format!("{HERE}{nonce}");
        let reach = &self.outside.reach;
        let reached = if by_tls { reach.get_by_tls(at, &authority, &path) } else { reach.get(at, &authority, &path) };
        let said = match reached.await {
            Ok(said) => said,
            Err(Silence::Closed) => return Outcome::Closed,
            Err(Silence::TimedOut) => return Outcome::Silent,
            Err(Silence::NoRoute) => return Outcome::NoRoute,
            Err(Silence::BrokeOff) => return Outcome::BrokeOff,
            Err(Silence::NotHttp) => return Outcome::NotHttp,
        };
        let body = said.body.trim_ascii();
        let is_told = |by_tls| body == told(self.word, host, &nonce, by_tls).as_bytes();
        match said.status {
            200 if is_told(by_tls) => Outcome::Here { through: said.server },
            // What ends TLS in front need not say its name.
            200 if by_tls && is_told(false) => {
                Outcome::Here { through: Some(said.server.unwrap_or_else(|| String::from(NAMELESS))) }
            }
            200 if is_told(true) => Outcome::Here { through: said.server },
            200 if body.len() == 64 && body.iter().all(u8::is_ascii_hexdigit) => Outcome::OtherChainHost,
            status => Outcome::Other { status, server: said.server, location: said.location },
        }
    }
}

/// The CAA records of an answer, in an order that does not change from one to the next.
fn properties(answer: Answer) -> Vec<Property> {
    let caa = |it| match it {
        Record::Caa(it) => Some(it),
        _ => None,
    };
    let mut found: Vec<Property> = answer.records.into_iter().filter_map(caa).collect();
    found.sort_by(|a, b| (&a.tag, &a.value, a.critical).cmp(&(&b.tag, &b.value, b.critical)));
    found
}

/// The name that an answer leads on to, where it has no address.
fn leads_on(looked: &Looked) -> Option<String> {
    let both = || looked.a.iter().chain(&looked.aaaa);
    if both().any(|it| !it.records.is_empty()) {
        return None;
    }
    both().find_map(|it| it.chain.last().cloned())
}
