//! What is asked for, with a world that a table makes up.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use super::{look::Look, *};
use crate::{
    base::network::Network,
    domain::{
        acme,
        caa::Property,
        dns::{Answer, Record},
        doctor::{Observed, Outcome},
    },
    ports::reach::Said,
};

const OWN: &str = "9.9.9.9";
const OTHER: &str = "8.8.8.8";
/// Name servers of the zone.
const NS1: &str = "5.5.5.1";
const NS2: &str = "5.5.5.2";

/// Who is asked (`""`: the resolver), the name and the kind; without a line there is nothing.
type Script = BTreeMap<(&'static str, &'static str, &'static str), Result<Answer, Failure>>;

#[derive(Debug)]
struct World {
    script: Script,
    /// What answers where; nobody else does.
    answers: BTreeMap<IpAddr, Result<Said, Silence>>,
    /// The word of the server at an address, if it is a Chain Host.
    words: BTreeMap<IpAddr, &'static str>,
    /// Where somebody answers by TLS, too.
    by_tls: Vec<IpAddr>,
    /// Where what is in front ends TLS and does not say its name.
    in_front: Vec<IpAddr>,
    visited: Mutex<Vec<String>>,
}

impl Names for World {
    fn ask<'a>(&'a self, name: &'a str, kind: Kind, way: Way) -> Answered<'a> {
        let whom = match way {
            Way::At(server) => server.ip().to_string(),
            Way::Unvalidated => String::from("unvalidated"),
            Way::Cached | Way::Fresh => String::new(),
        };
        let line = self.script.iter().find(|it| it.0.0 == whom && it.0.1 == name && it.0.2 == kind.word());
        let found = line.map_or_else(|| Ok(Answer::default()), |it| it.1.clone());
        Box::pin(async move { found })
    }

    fn local(&self, _name: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn servers(&self) -> Vec<SocketAddr> {
        vec!["192.0.2.1:53".parse().unwrap()]
    }
}

impl World {
    fn reach<'a>(&'a self, address: SocketAddr, host: &'a str, path: &'a str, by_tls: bool) -> Reached<'a> {
        self.visited.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{address} {host}"));
        let nonce = path.strip_prefix(HERE).unwrap();
        let answer = match self.words.get(&address.ip()) {
            Some(word) => {
                let host = host.split(':').next().unwrap();
                let by_tls = by_tls && !self.in_front.contains(&address.ip());
                let body = told(&Secret::new((*word).to_owned()), host, nonce, by_tls).into_bytes();
                Ok(Said { status: 200, body, ..Said::default() })
            }
            None => self.answers.get(&address.ip()).cloned().unwrap_or(Err(Silence::TimedOut)),
        };
        Box::pin(async move { answer })
    }
}

impl Reach for World {
    fn get<'a>(&'a self, address: SocketAddr, host: &'a str, path: &'a str) -> Reached<'a> {
        self.reach(address, host, path, false)
    }

    fn get_by_tls<'a>(&'a self, address: SocketAddr, host: &'a str, path: &'a str) -> Reached<'a> {
        let is_open = self.by_tls.contains(&address.ip());
        if is_open { self.reach(address, host, path, true) } else { Box::pin(async { Err(Silence::Closed) }) }
    }

    fn own(&self) -> Vec<IpAddr> {
        ["127.0.0.1", "10.0.0.4", OWN].map(|it| it.parse().unwrap()).to_vec()
    }
}

fn a(all: &[&str]) -> Answer {
    Answer { records: all.iter().map(|it| Record::A(it.parse().unwrap())).collect(), ttl_s: 60, ..Answer::default() }
}

fn alias(to: &str, then: Answer) -> Answer {
    Answer { chain: vec![to.to_owned()], ..then }
}

fn ns(all: &[&str]) -> Answer {
    Answer { records: all.iter().map(|it| Record::Ns((*it).to_owned())).collect(), ..Answer::default() }
}

fn caa(value: &str) -> Answer {
    let property = Property { critical: false, tag: String::from("issue"), value: value.to_owned() };
    Answer { records: vec![Record::Caa(property)], ..Answer::default() }
}

fn soa() -> Answer {
    Answer { records: vec![Record::Soa { minimum_s: 60 }], ..Answer::default() }
}

/// `www.shop.com` leads here by the resolver and by both servers of its zone.
fn well() -> Script {
    BTreeMap::from([
        (("", "www.shop.com", "A"), Ok(a(&[OWN]))),
        (("", "www.shop.com", "SOA"), Ok(Answer { zone: Some(String::from("shop.com")), ..Answer::default() })),
        (("", "shop.com", "NS"), Ok(ns(&["ns1.net", "ns2.net"]))),
        (("", "ns1.net", "A"), Ok(a(&[NS1]))),
        (("", "ns2.net", "A"), Ok(a(&[NS2]))),
        ((NS1, "www.shop.com", "A"), Ok(a(&[OWN]))),
        ((NS2, "www.shop.com", "A"), Ok(a(&[OWN]))),
    ])
}

fn world(script: Script) -> World {
    let words = BTreeMap::from([(OWN.parse().unwrap(), "ours"), ("7.7.7.7".parse().unwrap(), "theirs")]);
    let nginx = Said { status: 404, server: Some(String::from("nginx")), ..Said::default() };
    let answers = BTreeMap::from([(OTHER.parse().unwrap(), Ok(nginx))]);
    let by_tls = vec![OWN.parse().unwrap()];
    World { script, answers, words, by_tls, in_front: Vec::new(), visited: Mutex::default() }
}

fn outside(script: Script, allowed: &[Network]) -> (Outside, Arc<World>) {
    outside_of(world(script), allowed)
}

fn outside_of(world: World, allowed: &[Network]) -> (Outside, Arc<World>) {
    let world = Arc::new(world);
    let names: Arc<dyn Names> = Arc::<World>::clone(&world);
    let reach: Arc<dyn Reach> = Arc::<World>::clone(&world);
    let public_addresses = vec!["1.2.3.4".parse().unwrap()];
    (Outside { dns: Dns::new(names, allowed), reach, public_addresses, http_port: 80, ..Outside::default() }, world)
}

async fn seen_in(
    script: Script,
    changes: impl IntoIterator<Item = (&'static str, &'static str, &'static str, Result<Answer, Failure>)>,
) -> Observed {
    let mut script = script;
    for (whom, name, kind, answer) in changes {
        script.insert((whom, name, kind), answer);
    }
    let (outside, _) = outside(script, &[]);
    let word = Secret::new(String::from("ours"));
    let look = Look { outside: &outside, word: &word };
    look.observe("www.shop.com", Belongs::Site(String::from("shop")), vec![Authority::lets_encrypt()]).await
}

/// The codes of what is not well.
fn complaints(seen: &Observed) -> Vec<&'static str> {
    let report = doctor::examine(seen);
    report.findings.iter().filter(|it| it.level > doctor::Level::Good).map(|it| it.code).collect()
}

#[tokio::test]
async fn what_is_well_is_seen_to_be_well() {
    let seen = seen_in(well(), []).await;
    assert_eq!(complaints(&seen), [""; 0], "{seen:#?}");
    assert_eq!(seen.zone.as_ref().map(|it| (it.0.as_str(), it.1.len())), Some(("shop.com", 2)));
    assert_eq!(seen.visits.len(), 1);
    assert_eq!(seen.visits[0].outcome, Outcome::Here { through: None });
    // What nobody outside gets to is no address of this server, but for what the settings say.
    let own: Vec<String> = seen.own.iter().map(|it| format!("{} {}", it.address, it.is_here)).collect();
    assert_eq!(own, ["9.9.9.9 true", "1.2.3.4 false"]);
}

#[tokio::test]
async fn port_443_is_asked_where_an_authority_may_ask_there() {
    for (ways, asked) in [(&[acme::Kind::Http01][..], 1), (&[acme::Kind::Http01, acme::Kind::TlsAlpn01], 2)] {
        let (outside, world) = outside(well(), &[]);
        let ours = Secret::new(String::from("ours"));
        let look = Look { outside: &outside, word: &ours };
        let authority = Authority::of("https://acme-v02.api.letsencrypt.org/directory", ways);
        let seen = look.observe("www.shop.com", Belongs::Nobody, vec![authority]).await;
        let by_tls = (asked == 2).then_some(Outcome::Here { through: None });
        assert_eq!(seen.visits[0].by_tls, by_tls);
        let visited = world.visited.lock().unwrap().clone();
        assert_eq!(visited.len(), asked);
        assert_eq!(visited.contains(&format!("{OWN}:443 www.shop.com")), asked == 2, "{visited:?}");
    }
    // What ends TLS in front of this server keeps authorities from it there, though it does not say its name.
    let (outside, _) = outside_of(World { in_front: vec![OWN.parse().unwrap()], ..world(well()) }, &[]);
    let ours = Secret::new(String::from("ours"));
    let authority = Authority::of("https://acme-v02.api.letsencrypt.org/directory", &[acme::Kind::TlsAlpn01]);
    let look = Look { outside: &outside, word: &ours };
    let seen = look.observe("www.shop.com", Belongs::Nobody, vec![authority]).await;
    assert_eq!(seen.visits[0].by_tls, Some(Outcome::Here { through: Some(String::from("a proxy")) }));
    assert_eq!(seen.visits[0].outcome, Outcome::Here { through: None });
}

#[tokio::test]
async fn of_all_names_below_a_domain_its_own_records_are_looked_at() {
    let mut script = well();
    script.insert((NS1, "shop.com", "CAA"), Ok(caa("letsencrypt.org")));
    script.insert((NS2, "shop.com", "CAA"), Ok(caa("letsencrypt.org")));
    for whom in ["", NS1, NS2] {
        script.insert((whom, "shop.com", "A"), Ok(a(&[OTHER])));
    }
    script.insert(("", "shop.com", "SOA"), Ok(soa()));
    let (outside, world) = outside(script, &[]);
    let ours = Secret::new(String::from("ours"));
    let look = Look { outside: &outside, word: &ours };
    let authority = Authority::of("https://acme-v02.api.letsencrypt.org/directory", &[acme::Kind::Dns01]);
    let seen = look.observe("*.shop.com", Belongs::Star, vec![authority]).await;
    assert_eq!(complaints(&seen), [""; 0], "{seen:#?}");
    assert_eq!((seen.host.as_str(), seen.caa.unwrap().map(|it| it.0)), ("*.shop.com", Some(String::from("shop.com"))));
    assert_eq!(*world.visited.lock().unwrap(), [""; 0]);
}

#[tokio::test]
async fn the_servers_of_the_zone_count() {
    // A change of now that the resolver does not see yet; and one that is not on both servers.
    let seen = seen_in(well(), [("", "www.shop.com", "A", Ok(a(&[OTHER])))]).await;
    assert_eq!(complaints(&seen), ["dns_change_pending"], "{seen:#?}");
    let seen = seen_in(well(), [(NS2, "www.shop.com", "A", Ok(a(&[OTHER])))]).await;
    assert_eq!(complaints(&seen), ["a_mixed", "zone_servers_differ", "dns_change_pending"]);
    let dead = [(NS2, "www.shop.com", "A", Err(Failure::Silent)), (NS2, "www.shop.com", "AAAA", Err(Failure::Silent))];
    assert_eq!(complaints(&seen_in(well(), dead).await), ["zone_server_silent"]);
    // Where they are not to be found, the resolver's word counts.
    let seen = seen_in(well(), [("", "shop.com", "NS", Err(Failure::Silent))]).await;
    assert_eq!((complaints(&seen).len(), seen.zone), (0, None));
    // A name server that is nobody's to ask is not asked.
    let seen =
        seen_in(well(), [("", "ns1.net", "A", Ok(a(&["10.0.0.1"]))), ("", "ns2.net", "A", Ok(a(&["127.0.0.1"])))])
            .await;
    assert_eq!(seen.zone.map(|it| it.1.len()), Some(0));
}

#[tokio::test]
async fn aliases_are_followed_to_the_zone_where_they_end() {
    let script = || {
        let mut script = well();
        script.insert(("", "www.shop.com", "A"), Ok(alias("shop.host.net", a(&[OWN]))));
        script.insert(("", "shop.host.net", "SOA"), Ok(Answer::default()));
        script.insert(("", "host.net", "SOA"), Ok(soa()));
        script.insert(("", "host.net", "NS"), Ok(ns(&["ns2.net"])));
        for name in ["A", "AAAA"] {
            script.insert((NS1, "www.shop.com", name), Ok(alias("shop.host.net", Answer::default())));
            script.insert((NS2, "www.shop.com", name), Ok(alias("shop.host.net", Answer::default())));
        }
        script.insert((NS2, "shop.host.net", "A"), Ok(a(&[OWN])));
        script
    };
    let seen = seen_in(script(), []).await;
    assert_eq!(complaints(&seen), [""; 0], "{seen:#?}");
    assert_eq!(seen.zone.as_ref().map(|it| it.0.as_str()), Some("host.net"));
    let gone = || Answer { no_name: true, ..Answer::default() };
    let dangling = [
        ("", "www.shop.com", "A", Ok(alias("shop.host.net", gone()))),
        ("", "www.shop.com", "AAAA", Ok(alias("shop.host.net", gone()))),
        (NS2, "shop.host.net", "A", Ok(gone())),
        (NS2, "shop.host.net", "AAAA", Ok(gone())),
    ];
    let seen = seen_in(script(), dangling).await;
    assert_eq!(complaints(&seen), ["cname_dangling"], "{seen:#?}");
}

#[tokio::test]
async fn caa_is_climbed_for() {
    for (whom, name, answer, wanted) in [
        ("", "www.shop.com", Ok(caa("ca.example")), &["caa_forbids"][..]),
        // The zone's own servers have what was changed a minute ago; all are asked, as an authority may ask any.
        (NS1, "www.shop.com", Ok(caa("ca.example")), &["caa_forbids", "caa_servers_differ"]),
        (NS2, "www.shop.com", Ok(caa("ca.example")), &["caa_servers_differ"]),
        (NS1, "shop.com", Ok(caa(";")), &["caa_nobody", "caa_servers_differ"]),
        (NS1, "shop.com", Ok(caa("letsencrypt.org")), &["caa_servers_differ"]),
        // One that is silent says nothing else than the others.
        (NS2, "shop.com", Err(Failure::Silent), &[]),
        ("", "com", Ok(caa("ca.example")), &["caa_forbids"]),
        ("", "com", Err(Failure::ServerFailed), &["caa_unanswered"]),
    ] {
        let mut script = well();
        if whom.is_empty() {
            script.remove(&("", "shop.com", "NS"));
        }
        let seen = seen_in(script, [(whom, name, "CAA", answer)]).await;
        assert_eq!(complaints(&seen), wanted, "{name}: {seen:#?}");
    }
    // The nearest one counts, also for whether servers agree; in which order they name records is all the same.
    let two =
        |first, second| Answer { records: [caa(first).records, caa(second).records].concat(), ..Answer::default() };
    let both = [
        (NS1, "www.shop.com", "CAA", Ok(two("letsencrypt.org", "ca.example"))),
        (NS2, "www.shop.com", "CAA", Ok(two("ca.example", "letsencrypt.org"))),
        (NS1, "shop.com", "CAA", Ok(caa(";"))),
    ];
    assert_eq!(complaints(&seen_in(well(), both).await), [""; 0]);
}

#[tokio::test]
async fn addresses_are_visited_where_that_may_be() {
    for (address, wanted) in [
        (OTHER, "a_elsewhere"),
        ("7.7.7.7", "other_chainhost"),
        ("1.2.3.4", "nat_unseen"),
        ("10.0.0.4", "address_not_public"),
        ("127.0.0.1", "address_not_public"),
        ("169.254.169.254", "address_not_public"),
    ] {
        let mut script = well();
        script.remove(&("", "shop.com", "NS"));
        script.insert(("", "www.shop.com", "A"), Ok(a(&[address])));
        let seen = seen_in(script, []).await;
        assert_eq!(complaints(&seen), [wanted], "{address}: {seen:#?}");
    }
    // SECURITY: what is not public is not asked, but where the operator allows it.
    for (allowed, visits) in [(&[][..], &[][..]), (&["10.0.0.0/8".parse().unwrap()], &["10.0.0.4:80 www.shop.com"])] {
        let script = BTreeMap::from([(("", "www.shop.com", "A"), Ok(a(&["10.0.0.4"])))]);
        let (outside, world) = outside(script, allowed);
        let ours = Secret::new(String::from("ours"));
        let look = Look { outside: &outside, word: &ours };
        look.observe("www.shop.com", Belongs::Nobody, vec![Authority::lets_encrypt()]).await;
        assert_eq!(*world.visited.lock().unwrap(), visits);
    }
}

#[tokio::test]
async fn failures_of_the_resolver_are_told_apart() {
    let failing =
        |why| BTreeMap::from([(("", "www.shop.com", "A"), Err(why)), (("", "www.shop.com", "AAAA"), Err(why))]);
    let bogus = ("unvalidated", "www.shop.com", "A", Ok(a(&[OWN])));
    let broken = ("unvalidated", "www.shop.com", "A", Err(Failure::ServerFailed));
    for (why, unvalidated, wanted) in [
        (Failure::ServerFailed, bogus, "dnssec_broken"),
        (Failure::ServerFailed, broken.clone(), "dns_servfail"),
        (Failure::Refused, broken.clone(), "dns_refused"),
        (Failure::Silent, broken, "dns_no_server"),
    ] {
        let seen = seen_in(failing(why), [unvalidated]).await;
        assert_eq!(complaints(&seen), [wanted]);
    }
    let seen = seen_in(BTreeMap::new(), []).await;
    assert_eq!(complaints(&seen), ["dns_no_address"]);
}
