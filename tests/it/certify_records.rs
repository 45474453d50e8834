//! When records are set, shown to an authority and taken away again; with a provider, name servers and an authority of the test's own.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chainhost::{
    base::{
        clock::{Clock, Hands},
        tasks::Tasks,
    },
    domain::{
        access::Actor,
        acme::{
            Challenge, Kind, Refusal,
            records::{Provider, Record, Trouble},
        },
        caa::Property,
        certificate::kept::Order,
        dns::{self, Answer, Record as Resource},
        node::Duty,
        site::SiteName,
    },
    ports::{
        acme::{Authorities, Directory, Failure, Issued, Later, Placed, Stage, Window, Wish},
        dns::{Answered, Dns, Names, Way},
        zones::{Access, Zones as Port},
    },
    services::{
        Ground, Services,
        certify::{
            Acme, HostnameCertificate,
            records::{Entry, Zones},
        },
        doctor::Outside,
    },
};
use tempfile::TempDir;
use zeroize::Zeroizing;

use crate::support::{
    authority::{Authority, pem},
    base::Base,
    ground::ground,
};

/// 2026-01-01, UTC.
const START_MS: i64 = 1_767_225_600_000;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DIRECTORY: &str = "https://ca.internal/dir";
const PUBLIC: &str = "https://acme-v02.api.letsencrypt.org/directory";
const ZONE: &str = "zone.dev";
/// A part of it that a person keeps.
const BY_HAND: &str = "hand.zone.dev";
/// When an order of the authority ends, after it was placed.
const ORDER_MS: i64 = 24 * HOUR_MS;

/// The zone, its provider, its two name servers, and the authority.
#[derive(Debug, Default)]
struct World {
    /// What the first and the second name server show: names with values.
    shown: [Mutex<Vec<(String, String)>>; 2],
    /// How often the second one is asked before it shows what the first one has; never: `usize::MAX`.
    lag: AtomicUsize,
    /// The name `_acme-challenge.a.zone.dev` is an alias to this one.
    alias: Mutex<Option<&'static str>>,
    /// All names of the zone that have no record are aliases to this one.
    star_alias: Mutex<Option<&'static str>>,
    /// Where the names lead; nowhere: nothing is known of them.
    leads_to: Mutex<Option<&'static str>>,
    /// What the CAA record of the zone says; empty: there is none.
    caa: Mutex<&'static str>,
    /// Whether the provider knows no token.
    refuses: AtomicBool,
    /// What was shown to be ours in another way than by a record.
    reached: Mutex<Vec<String>>,
    /// Whether the provider stands still.
    stands_still: AtomicBool,
    /// Whether the provider refuses to take records away.
    keeps: AtomicBool,
    removed: AtomicUsize,
    /// The orders that were placed, and those that were gone on with.
    placed: AtomicUsize,
    resumed: Mutex<Vec<String>>,
    is_away: AtomicBool,
    now_ms: AtomicI64,
}

impl World {
    fn values(&self, server: usize, name: &str) -> Vec<Resource> {
        let all = self.shown.get(server).unwrap().lock().unwrap();
        all.iter().filter(|it| it.0 == name).map(|it| Resource::Txt(it.1.clone().into_bytes())).collect()
    }

    /// A person or the provider sets a record, on the first name server.
    fn put(&self, name: &str, value: &str) {
        let one = (name.to_owned(), value.to_owned());
        let mut all = self.shown[0].lock().unwrap();
        if !all.contains(&one) {
            all.push(one);
        }
    }
}

const SERVERS: [&str; 2] = ["9.9.9.9", "9.9.9.10"];

impl Names for World {
    fn ask<'a>(&'a self, name: &'a str, kind: dns::Kind, way: Way) -> Answered<'a> {
        let address = |at: usize| vec![Resource::A(SERVERS.get(at).unwrap().parse().unwrap())];
        let (records, is_zone) = match (name, kind, way) {
            (ZONE, dns::Kind::Soa, _) => (vec![Resource::Soa { minimum_s: 60 }], true),
            (ZONE, dns::Kind::Ns, _) => {
                (["ns1", "ns2"].map(|it| Resource::Ns(format!("{it}.{ZONE}"))).into_iter().collect(), true)
            }
            ("ns1.zone.dev", dns::Kind::A, _) => (address(0), true),
            ("ns2.zone.dev", dns::Kind::A, _) => (address(1), true),
            ("_acme-challenge.a.zone.dev", dns::Kind::Cname, Way::At(_)) => {
                let star = *self.star_alias.lock().unwrap();
                let alias = self.alias.lock().unwrap().or(star);
                (alias.map(|it| Resource::Cname(it.to_owned())).into_iter().collect(), true)
            }
            (_, dns::Kind::Cname, Way::At(_)) => {
                let star = *self.star_alias.lock().unwrap();
                (star.map(|it| Resource::Cname(it.to_owned())).into_iter().collect(), true)
            }
            (ZONE, dns::Kind::Caa, _) => {
                let value = (*self.caa.lock().unwrap()).to_owned();
                let record =
                    Resource::Caa(Property { critical: false, tag: String::from("issue"), value: value.clone() });
                (Some(record).filter(|_| !value.is_empty()).into_iter().collect(), true)
            }
            (_, dns::Kind::A, _) => {
                let leads_to = *self.leads_to.lock().unwrap();
                (leads_to.map(|it| Resource::A(it.parse().unwrap())).into_iter().collect(), false)
            }
            (_, dns::Kind::Txt, Way::At(server)) => {
                let at = SERVERS.iter().position(|it| server.ip().to_string() == *it).unwrap();
                if at == 1 && self.lag.load(Ordering::SeqCst) != usize::MAX {
                    let left =
                        self.lag.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| Some(it.saturating_sub(1)));
                    if left == Ok(0) {
                        let first = self.shown[0].lock().unwrap().clone();
                        *self.shown[1].lock().unwrap() = first;
                    }
                }
                (self.values(at, name), true)
            }
            // What resolvers have heard is never asked for where the zone's own servers answer.
            (_, dns::Kind::Txt, _) => panic!("{name} was asked for by {way:?}"),
            _ => (Vec::new(), false),
        };
        let zone = (!is_zone || records.is_empty()).then(|| ZONE.to_owned());
        Box::pin(async move { Ok(Answer { records, zone, ..Answer::default() }) })
    }

    fn local(&self, _name: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn servers(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
}

impl Port for World {
    fn set<'a>(&'a self, _access: &'a Access, record: &'a Record) -> Later<'a, Result<(), Trouble>> {
        assert_eq!(record.zone, ZONE);
        if self.stands_still.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        if self.refuses.load(Ordering::SeqCst) {
            return Box::pin(async { Err(Trouble::Token) });
        }
        self.put(&record.name, &record.value);
        Box::pin(async { Ok(()) })
    }

    fn remove<'a>(&'a self, _access: &'a Access, record: &'a Record) -> Later<'a, Result<(), Trouble>> {
        self.removed.fetch_add(1, Ordering::SeqCst);
        if self.stands_still.load(Ordering::SeqCst) {
            return Box::pin(std::future::pending());
        }
        if self.keeps.load(Ordering::SeqCst) {
            return Box::pin(async { Err(Trouble::Broken(String::from("out of order"))) });
        }
        for server in &self.shown {
            server.lock().unwrap().retain(|it| it.0 != record.name || it.1 != record.value);
        }
        Box::pin(async { Ok(()) })
    }
}

struct Played(Arc<World>);

/// A certificate of 90 days.
fn given(name: &str, now_ms: i64) -> Issued {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut asked = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let from = std::time::UNIX_EPOCH + Duration::from_millis(now_ms.unsigned_abs());
    (asked.not_before, asked.not_after) = (from.into(), (from + Duration::from_hours(90 * 24)).into());
    let made = Authority::new().sign(&asked, &key);
    let key = Zeroizing::new(pem("PRIVATE KEY", key.serialized_der()));
    Issued { chain: pem("CERTIFICATE", made.der()), key, seen_by: Some(Kind::Dns01) }
}

impl Authorities for Played {
    fn register<'a>(
        &'a self,
        _directory: &'a Directory,
        _email: Option<&'a str>,
    ) -> Later<'a, Result<Zeroizing<String>, Refusal>> {
        Box::pin(async { Ok(Zeroizing::new(String::from("credentials"))) })
    }

    fn issue<'a>(
        &'a self,
        _directory: &'a Directory,
        _credentials: &'a str,
        wish: &'a Wish,
        stage: Arc<dyn Stage>,
    ) -> Later<'a, Result<Issued, Failure>> {
        let world = &self.0;
        Box::pin(async move {
            if wish.way == Kind::Http01 {
                world.reached.lock().unwrap().push(wish.name.clone());
                return Ok(given(&wish.name, world.now_ms.load(Ordering::SeqCst)));
            }
            assert_eq!(wish.way, Kind::Dns01);
            let url = match &wish.order {
                Some(url) => {
                    world.resumed.lock().unwrap().push(url.clone());
                    if world.is_away.load(Ordering::SeqCst) {
                        return Err(Refusal::Away(String::from("refused")).into());
                    }
                    url.clone()
                }
                None => format!("order {}", world.placed.fetch_add(1, Ordering::SeqCst)),
            };
            let answer = format!("value-of-{}", url.replace(' ', "-"));
            let now_ms = world.now_ms.load(Ordering::SeqCst);
            let challenge =
                Challenge { name: wish.name.clone(), token: String::new(), kind: wish.way, answer: answer.clone() };
            stage.show(challenge, Placed { url, expires_ms: Some(now_ms + ORDER_MS) }).await?;
            // It looks at any of the servers.
            let alias = world.alias.lock().unwrap().map(str::to_owned);
            let place = alias.unwrap_or_else(|| format!("_acme-challenge.{}", wish.name.trim_start_matches("*.")));
            for server in 0..2 {
                assert!(world.values(server, &place).contains(&Resource::Txt(answer.clone().into_bytes())), "{server}");
            }
            Ok(given(&wish.name, now_ms))
        })
    }

    fn renewal<'a>(&'a self, _directory: &'a Directory, _id: &'a str) -> Later<'a, Result<Option<Window>, Refusal>> {
        Box::pin(async { Ok(None) })
    }
}

struct Rig {
    services: Services,
    world: Arc<World>,
    hands: Hands,
    actor: Actor,
    base: Base,
    _folder: TempDir,
}

impl Rig {
    async fn new(provider: Provider) -> Self {
        let rig = Self::with(provider, DIRECTORY, None).await;
        rig.add("a.zone.dev").await;
        rig
    }

    /// With an authority, and where a domain is given, with one certificate for all names below it.
    async fn with(provider: Provider, directory: &str, domain: Option<&str>) -> Self {
        let (folder, world) = (tempfile::tempdir().unwrap(), Arc::new(World::default()));
        world.now_ms.store(START_MS, Ordering::SeqCst);
        std::fs::create_dir(folder.path().join("archives")).unwrap();
        let (clock, hands) = Clock::manual(START_MS);
        let base = Base::new(folder.path(), "db");
        let jobs = base.open_queue(&clock, 1_000);
        let ground = ground(folder.path(), base.open(), jobs, clock);
        let directory = Directory { url: directory.to_owned(), roots: None, binding: None, profile: None };
        let access = (provider != Provider::Manual).then(|| Access {
            provider,
            token: Zeroizing::new(String::from("t")),
            api: None,
            roots: None,
        });
        let entry = Entry { zone: ZONE.to_owned(), provider, access, has_wildcard: domain.is_some() };
        let by_hand = Entry { zone: BY_HAND.to_owned(), provider: Provider::Manual, access: None, has_wildcard: false };
        let engine: Arc<dyn Port> = Arc::<World>::clone(&world);
        let zones = Zones {
            seen_max: Duration::from_millis(500),
            look: Duration::from_millis(5),
            change_max: Duration::from_secs(2),
            ..Zones::new(engine, vec![entry, by_hand])
        };
        let acme = Acme::new(Arc::new(Played(Arc::clone(&world))), vec![directory], None).with_zones(Some(zones));
        let names: Arc<dyn Names> = Arc::<World>::clone(&world);
        let outside = Outside { dns: Dns::new(names, &[]), ..Outside::default() };
        let mut addresses = ground.addresses.clone();
        if let Some(domain) = domain {
            (addresses.sites_domain, addresses.panel_host) = (domain.to_owned(), format!("panel.{domain}"));
        }
        let services = Services::new(Ground { tasks: Tasks::new(), acme: Some(acme), outside, addresses, ..ground });
        let actor = services.actor_local().await.unwrap();
        services.cover(&[]);
        let rig = Self { services, world, hands, actor, base, _folder: folder };
        // In the place of the data plane: all that changes is served.
        let shown = rig.services.clone();
        rig.services.tasks.spawn(async move {
            let mut wanted = shown.signals().routes_wanted();
            loop {
                let number = *wanted.borrow_and_update();
                shown.signals().routes_applied(number);
                if wanted.changed().await.is_err() {
                    return;
                }
            }
        });
        rig.services.create_site(&rig.actor, "hello").await.unwrap();
        rig
    }

    async fn add(&self, hostname: &str) {
        self.services.add_hostname(&self.actor, &SiteName::parse("hello").unwrap(), hostname).await.unwrap();
    }

    async fn pass(&self) {
        self.services.certify(self.services.hold(Duty::Certify).unwrap()).await.unwrap();
    }

    async fn later(&self, ms: i64) {
        self.hands.advance(ms);
        self.world.now_ms.fetch_add(ms, Ordering::SeqCst);
        self.pass().await;
    }

    async fn standing(&self) -> HostnameCertificate {
        self.standing_of("a.zone.dev").await
    }

    async fn standing_of(&self, name: &str) -> HostnameCertificate {
        let all = self.services.list_hostname_certificates(&self.actor).await.unwrap();
        all.into_iter().find(|it| it.hostname == name).unwrap()
    }

    async fn order(&self) -> Order {
        self.standing().await.order.unwrap()
    }

    async fn code(&self) -> Option<String> {
        self.order().await.problem.map(|it| it.0)
    }

    fn left(&self) -> (usize, i64) {
        (self.world.shown[0].lock().unwrap().len(), self.base.count("SELECT COUNT(*) FROM acme_record"))
    }
}

#[tokio::test]
async fn an_authority_is_told_once_every_server_of_the_zone_shows_the_record() {
    let rig = Rig::new(Provider::Hetzner).await;
    rig.world.lag.store(10, Ordering::SeqCst);
    rig.pass().await;
    let order = rig.order().await;
    assert!(order.certificate.is_some() && order.problem.is_none(), "{order:?}");
    assert_eq!(rig.left(), (0, 0));
    assert_eq!(rig.world.lag.load(Ordering::SeqCst), 0);
    // An alias leads to another place of the zone.
    let rig = Rig::new(Provider::Hetzner).await;
    *rig.world.alias.lock().unwrap() = Some("proofs.zone.dev");
    rig.pass().await;
    assert!(rig.order().await.certificate.is_some() && rig.left() == (0, 0));
}

#[tokio::test]
async fn what_a_server_of_the_zone_never_shows_is_told_and_taken_away() {
    let rig = Rig::new(Provider::Desec).await;
    rig.world.lag.store(usize::MAX, Ordering::SeqCst);
    rig.pass().await;
    let (code, text) = rig.order().await.problem.unwrap();
    assert!(code == "certificate_record_unseen" && text.contains("ns2.zone.dev did not"), "{code} {text}");
    assert_eq!(rig.left(), (0, 0));
    // A name that only the provider of the alias could help.
    let rig = Rig::new(Provider::Desec).await;
    *rig.world.alias.lock().unwrap() = Some("elsewhere.example.net");
    rig.pass().await;
    let (code, text) = rig.order().await.problem.unwrap();
    assert!(code == "certificate_record_alias" && text.contains("elsewhere.example.net"), "{code} {text}");
    assert_eq!(rig.left(), (0, 0));
}

#[tokio::test]
async fn what_could_not_be_taken_away_is_tried_again() {
    let rig = Rig::new(Provider::Cloudflare).await;
    rig.world.keeps.store(true, Ordering::SeqCst);
    rig.pass().await;
    assert!(rig.order().await.certificate.is_some(), "it came all the same");
    assert_eq!((rig.left(), rig.world.removed.load(Ordering::SeqCst)), ((1, 1), 1));
    rig.later(59 * MINUTE_MS).await;
    assert_eq!(rig.world.removed.load(Ordering::SeqCst), 1);
    rig.later(2 * MINUTE_MS).await;
    assert_eq!(rig.world.removed.load(Ordering::SeqCst), 2);
    rig.world.keeps.store(false, Ordering::SeqCst);
    rig.later(61 * MINUTE_MS).await;
    assert_eq!(rig.left(), (0, 0));
    // A zone that is kept no more by anybody whom the settings name is no reason to try for ever.
    rig.world.keeps.store(true, Ordering::SeqCst);
    rig.later(61 * 24 * HOUR_MS).await;
    assert_eq!(rig.left(), (1, 1));
    rig.later(9 * 24 * HOUR_MS).await;
    assert_eq!(rig.left(), (1, 0));
}

#[tokio::test]
async fn an_order_waits_for_a_person_and_goes_on() {
    let rig = Rig::new(Provider::Manual).await;
    rig.pass().await;
    assert_eq!(rig.code().await.as_deref(), Some("certificate_record_awaited"));
    let wanted = rig.standing().await.records;
    let wanted = wanted.first().unwrap();
    assert_eq!((wanted.name.as_str(), wanted.value.as_str()), ("_acme-challenge.a.zone.dev", "value-of-order-0"));
    // Looked for each minute; the authority hears nothing meanwhile, and nothing of it counts as a failure.
    for _ in 0..5 {
        rig.later(MINUTE_MS).await;
    }
    assert_eq!((rig.world.placed.load(Ordering::SeqCst), rig.order().await.failures), (1, 0));
    assert!(rig.world.resumed.lock().unwrap().is_empty());
    // The record is there, and the authority is away for a moment: the order is not lost.
    rig.world.put(&wanted.name, &wanted.value);
    rig.world.is_away.store(true, Ordering::SeqCst);
    rig.later(MINUTE_MS).await;
    assert_eq!(rig.code().await.as_deref(), Some("certificate_authority_away"));
    assert_eq!(rig.left().1, 1);
    rig.world.is_away.store(false, Ordering::SeqCst);
    rig.later(40 * MINUTE_MS).await;
    assert!(rig.order().await.certificate.is_some());
    let resumed = rig.world.resumed.lock().unwrap().clone();
    assert!(resumed.len() == 2 && resumed.iter().all(|it| it == "order 0"), "{resumed:?}");
    assert_eq!((rig.left().1, rig.standing().await.records.len(), rig.world.removed.load(Ordering::SeqCst)), (0, 0, 0));
}

#[tokio::test]
async fn an_order_that_ends_unseen_is_placed_anew() {
    let rig = Rig::new(Provider::Manual).await;
    rig.pass().await;
    rig.later(ORDER_MS + MINUTE_MS).await;
    assert_eq!(rig.world.placed.load(Ordering::SeqCst), 2);
    let wanted = rig.standing().await.records;
    assert_eq!(wanted.iter().map(|it| it.value.as_str()).collect::<Vec<_>>(), ["value-of-order-1"]);
    assert_eq!(rig.left().1, 1);
    // Nobody wants it any more.
    let site = SiteName::parse("hello").unwrap();
    rig.services.remove_hostname(&rig.actor, &site, "a.zone.dev").await.unwrap();
    rig.later(MINUTE_MS).await;
    assert_eq!(rig.left().1, 0);
}

/// Who adds a name to a site has not shown that it is theirs: a record in the operator's zone would say so of any name.
#[tokio::test]
async fn no_record_is_set_for_a_name_that_leads_elsewhere() {
    let rig = Rig::with(Provider::Hetzner, PUBLIC, None).await;
    rig.add("a.zone.dev").await;
    for _ in 0..30 {
        rig.later(70 * MINUTE_MS).await;
    }
    assert_eq!(rig.code().await.as_deref(), Some("certificate_dns_no_address"));
    assert_eq!((rig.world.placed.load(Ordering::SeqCst), rig.left()), (0, (0, 0)));
    // Nothing says that this is not this server.
    *rig.world.leads_to.lock().unwrap() = Some("9.9.9.9");
    rig.later(70 * MINUTE_MS).await;
    assert!(rig.order().await.certificate.is_some(), "{:?}", rig.order().await);
}

#[tokio::test]
async fn an_alias_into_a_zone_that_a_person_keeps_waits_for_the_person() {
    let rig = Rig::new(Provider::Hetzner).await;
    *rig.world.alias.lock().unwrap() = Some("a.hand.zone.dev");
    for _ in 0..5 {
        rig.later(MINUTE_MS).await;
    }
    assert_eq!(rig.code().await.as_deref(), Some("certificate_record_awaited"));
    assert_eq!(rig.world.placed.load(Ordering::SeqCst), 1, "the authority is not asked each minute");
    let wanted = rig.standing().await.records;
    let wanted = wanted.first().unwrap();
    assert_eq!((wanted.name.as_str(), wanted.zone.as_str()), ("a.hand.zone.dev", BY_HAND));
    rig.world.put(&wanted.name, &wanted.value);
    rig.later(MINUTE_MS).await;
    assert!(rig.order().await.certificate.is_some());
    assert_eq!((rig.world.placed.load(Ordering::SeqCst), rig.left().1), (1, 0));
}

#[tokio::test]
async fn an_alias_of_all_names_is_none_of_the_record() {
    let rig = Rig::new(Provider::Hetzner).await;
    *rig.world.star_alias.lock().unwrap() = Some("machine.example.net");
    rig.pass().await;
    let order = rig.order().await;
    assert!(order.certificate.is_some(), "{:?}", order.problem);
    assert_eq!(rig.left(), (0, 0));
}

/// What the next node has set while this one was still at it.
#[tokio::test]
async fn a_record_of_another_order_stays() {
    let rig = Rig::new(Provider::Hetzner).await;
    rig.world.put("_acme-challenge.a.zone.dev", "of-another");
    rig.base.run(&format!(
        "INSERT INTO acme_record (name, value, record, zone, provider, authority, order_url, expires_ms, next_ms)
         VALUES ('a.zone.dev', 'of-another', '_acme-challenge.a.zone.dev', '{ZONE}', 'hetzner', '{DIRECTORY}', 'another order', {}, {})",
        START_MS + HOUR_MS,
        START_MS + 30 * MINUTE_MS
    ));
    rig.pass().await;
    assert!(rig.order().await.certificate.is_some());
    assert_eq!((rig.left(), rig.world.removed.load(Ordering::SeqCst)), ((1, 1), 1));
    // It is swept once its time has come.
    rig.later(31 * MINUTE_MS).await;
    assert_eq!(rig.left(), (0, 0));
}

#[tokio::test]
async fn a_star_that_does_not_come_leaves_nobody_without_a_certificate() {
    let rig = Rig::with(Provider::Cloudflare, DIRECTORY, Some(ZONE)).await;
    rig.world.refuses.store(true, Ordering::SeqCst);
    let reached = || rig.world.reached.lock().unwrap().clone();
    rig.pass().await;
    let star = rig.standing_of("*.zone.dev").await.order.unwrap();
    assert_eq!(star.problem.unwrap().0, "certificate_record_token");
    assert_eq!(reached(), ["panel.zone.dev"], "who mends it needs the panel");
    // Not at the first failure, which may be a moment's.
    rig.later(20 * MINUTE_MS).await;
    rig.later(MINUTE_MS).await;
    assert_eq!(reached(), ["panel.zone.dev", "hello.zone.dev"]);
    assert!(rig.standing_of("hello.zone.dev").await.shown.is_some());
    // It has come: no other is renewed.
    rig.world.refuses.store(false, Ordering::SeqCst);
    rig.later(4 * HOUR_MS).await;
    assert!(rig.standing_of("*.zone.dev").await.order.unwrap().certificate.is_some());
    let asked = [rig.standing_of("panel.zone.dev").await, rig.standing_of("hello.zone.dev").await];
    assert!(asked.iter().all(|it| !it.is_asked && it.shown.is_some()), "{asked:?}");
}

#[tokio::test]
async fn a_provider_that_stands_still_holds_up_its_own_names_alone() {
    let rig = Rig::new(Provider::Hetzner).await;
    for n in 0..9 {
        rig.add(&format!("b{n}.zone.dev")).await;
    }
    rig.add("www.other.test").await;
    rig.world.stands_still.store(true, Ordering::SeqCst);
    let reached = || rig.world.reached.lock().unwrap().contains(&String::from("www.other.test"));
    let soon = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        assert!(reached(), "no change of the provider has had its time yet");
    };
    let begun = tokio::time::Instant::now();
    tokio::join!(rig.pass(), soon);
    // Each change ends, with a sentence, and so does taking it away.
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(rig.standing_of("www.other.test").await.order.unwrap().certificate.is_some());
    let code = rig.code().await.unwrap();
    assert!(code.contains("slow"), "{code}");
    // What it has left is tried once in a pass.
    let before = rig.world.removed.load(Ordering::SeqCst);
    rig.later(2 * HOUR_MS).await;
    let swept = rig.world.removed.load(Ordering::SeqCst) - before;
    assert!(swept <= 11, "{swept}");
}

/// All names below a domain are shown to be ours by a record alone, whoever sets it: a check of them looks for nothing else in CAA records.
#[tokio::test]
async fn a_check_of_all_names_below_a_domain_knows_by_which_way_they_are_asked_for() {
    for provider in [Provider::Cloudflare, Provider::Manual] {
        let rig = Rig::with(provider, PUBLIC, Some(ZONE)).await;
        for (way, code, is_ready) in [("dns-01", "caa_allows", true), ("http-01", "caa_method", false)] {
            *rig.world.caa.lock().unwrap() = match way {
                "dns-01" => "letsencrypt.org; validationmethods=dns-01",
                _ => "letsencrypt.org; validationmethods=http-01",
            };
            let report = rig.services.check_hostname(&rig.actor, &format!("*.{ZONE}")).await.unwrap();
            let found = report.findings.iter().any(|it| it.code == code);
            assert!(found && report.is_ready() == is_ready, "{provider:?} {way}: {report:#?}");
        }
    }
}
