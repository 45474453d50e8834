//! When authorities are asked for certificates, and what becomes of their answers; with an authority that says what the test wants.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
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
        acme::{Kind, Problem, Refusal},
        caa::Property,
        certificate::kept::{Order, Source},
        dns::{self, Answer, Record},
        doctor::Level,
        node::Duty,
        site::SiteName,
    },
    ports::{
        acme::{Authorities, Directory, Failure, Issued, Later, Stage, Window, Wish},
        dns::{Answered, Dns, Names, Way},
    },
    services::{Addresses, Ground, Services, certify::Acme, doctor::Outside},
};
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::support::{
    authority::{Authority, pem},
    base::Base,
    ground::ground,
};

/// 2026-01-01, UTC.
const START_MS: i64 = 1_767_225_600_000;
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// What was asked: the directory, the hostname, the way, and whether it replaces one.
type Asked = (String, String, Kind, bool);

/// An authority that says what is next in its list, and else gives a certificate of 90 days.
#[derive(Default)]
struct Script {
    says: Mutex<VecDeque<Refusal>>,
    asked: Mutex<Vec<Asked>>,
    accounts: Mutex<Vec<String>>,
    window: Mutex<Option<Window>>,
    now_ms: Mutex<i64>,
    /// Until then it says nothing of names that begin with `slow`.
    speaks: CancellationToken,
}

impl Script {
    fn say(&self, refusals: impl IntoIterator<Item = Refusal>) {
        self.says.lock().unwrap().extend(refusals);
    }

    /// What was asked since this was asked last.
    fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    fn give(&self, name: &str) -> Issued {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let mut wish = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let from = std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(*self.now_ms.lock().unwrap()).unwrap());
        wish.not_before = from.into();
        wish.not_after = (from + Duration::from_hours(90 * 24)).into();
        wish.use_authority_key_identifier_extension = true;
        let authority = Authority::new();
        let made = authority.sign(&wish, &key);
        drop(folder);
        Issued {
            chain: pem("CERTIFICATE", made.der()),
            key: Zeroizing::new(pem("PRIVATE KEY", key.serialized_der())),
            seen_by: Some(Kind::Http01),
        }
    }
}

impl Authorities for Script {
    fn register<'a>(
        &'a self,
        directory: &'a Directory,
        _email: Option<&'a str>,
    ) -> Later<'a, Result<Zeroizing<String>, Refusal>> {
        self.accounts.lock().unwrap().push(directory.url.clone());
        Box::pin(async { Ok(Zeroizing::new(String::from("credentials"))) })
    }

    fn issue<'a>(
        &'a self,
        directory: &'a Directory,
        credentials: &'a str,
        wish: &'a Wish,
        _stage: Arc<dyn Stage>,
    ) -> Later<'a, Result<Issued, Failure>> {
        assert_eq!(credentials, "credentials");
        let asked = (directory.url.clone(), wish.name.clone(), wish.way, wish.replaces.is_some());
        self.asked.lock().unwrap().push(asked);
        let says = self.says.lock().unwrap().pop_front();
        Box::pin(async move {
            if wish.name.starts_with("slow") {
                self.speaks.cancelled().await;
            }
            says.map_or_else(|| Ok(self.give(&wish.name)), |it| Err(it.into()))
        })
    }

    fn renewal<'a>(&'a self, _directory: &'a Directory, _id: &'a str) -> Later<'a, Result<Option<Window>, Refusal>> {
        Box::pin(async { Ok(*self.window.lock().unwrap()) })
    }
}

fn refusal(kind: &str, detail: &str, way: Option<Kind>) -> Refusal {
    Refusal::Problem(Problem { kind: kind.to_owned(), detail: detail.to_owned(), way, retry_after_s: None })
}

/// A network in which a name is missing, or no name server answers.
#[derive(Debug, Default)]
struct World {
    is_mended: AtomicBool,
    /// What the CAA record of `limited.org` says.
    caa: Mutex<&'static str>,
}

/// Where `limited.org` leads: who answers there cannot be found out.
const LEADS_TO: &str = "9.9.9.9";

impl Names for World {
    fn ask<'a>(&'a self, name: &'a str, kind: dns::Kind, _way: Way) -> Answered<'a> {
        let records = match (name, kind) {
            ("limited.org", dns::Kind::A) => vec![Record::A(LEADS_TO.parse().unwrap())],
            ("limited.org", dns::Kind::Caa) => {
                let value = (*self.caa.lock().unwrap()).to_owned();
                vec![Record::Caa(Property { critical: false, tag: String::from("issue"), value })]
            }
            _ => Vec::new(),
        };
        if !records.is_empty() {
            return Box::pin(async { Ok(Answer { records, ..Answer::default() }) });
        }
        let is_known = name != "shop.org" && name != "panel.shop.org";
        Box::pin(async move {
            if self.is_mended.load(Ordering::Relaxed) {
                return Err(dns::Failure::Unreachable);
            }
            Ok(Answer { no_name: !is_known, zone: Some(String::from("shop.org")), ..Answer::default() })
        })
    }

    fn local(&self, _name: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn servers(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
}

/// Services with that authority, and a site with a hostname.
struct Rig {
    services: Services,
    script: Arc<Script>,
    hands: Hands,
    actor: Actor,
    _serving: JoinSet<()>,
    base: Base,
    _folder: TempDir,
}

const FIRST: &str = "https://first.internal/dir";
const SECOND: &str = "https://second.internal/dir";

impl Rig {
    async fn with(directories: &[&str], panel: &str, outside: Outside) -> Self {
        let (folder, script) = (tempfile::tempdir().unwrap(), Arc::new(Script::default()));
        std::fs::create_dir(folder.path().join("archives")).unwrap();
        let (clock, hands) = Clock::manual(START_MS);
        let base = Base::new(folder.path(), "db");
        let jobs = base.open_queue(&clock, 1_000);
        let ground = ground(folder.path(), base.open(), jobs, clock);
        let of = |url: &str| Directory { url: url.to_owned(), roots: None, binding: None, profile: None };
        let acme = Acme::new(Arc::<Script>::clone(&script), directories.iter().map(|it| of(it)).collect(), None);
        let addresses = Addresses { panel_host: panel.to_owned(), ..ground.addresses.clone() };
        let services = Services::new(Ground { tasks: Tasks::new(), acme: Some(acme), addresses, outside, ..ground });
        let mut serving = JoinSet::new();
        let shown = services.clone();
        // In the place of the data plane: all that changes is served.
        serving.spawn(async move {
            let mut wanted = shown.signals().routes_wanted();
            loop {
                let number = *wanted.borrow_and_update();
                shown.signals().routes_applied(number);
                wanted.changed().await.unwrap();
            }
        });
        let actor = services.actor_local().await.unwrap();
        services.create_site(&actor, "hello").await.unwrap();
        let rig = Self { services, script, hands, actor, _serving: serving, base, _folder: folder };
        *rig.script.now_ms.lock().unwrap() = START_MS;
        rig.pass().await;
        assert_eq!(rig.script.asked(), [], "nobody has said which names are in files");
        rig.services.cover(&[]);
        rig.pass().await;
        rig
    }

    /// With a hostname for which nobody was asked yet.
    async fn new() -> Self {
        let rig = Self::with(&[FIRST, SECOND], "panel.internal", Outside::default()).await;
        assert_eq!(rig.script.asked().len(), 1, "the panel's own");
        rig.add("a.internal").await;
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
        *self.script.now_ms.lock().unwrap() += ms;
        self.pass().await;
    }

    async fn order(&self, name: &str) -> Order {
        self.order_now(name).await.unwrap()
    }

    /// The order of a hostname, if it was asked for.
    async fn order_now(&self, name: &str) -> Option<Order> {
        let all = self.services.list_hostname_certificates(&self.actor).await.unwrap();
        all.into_iter().find(|it| it.hostname == name).unwrap().order
    }

    fn now_ms(&self) -> i64 {
        *self.script.now_ms.lock().unwrap()
    }

    /// How many certificates are kept.
    fn kept(&self) -> i64 {
        self.base.count("SELECT COUNT(*) FROM certificate")
    }
}

#[tokio::test]
async fn what_a_hostname_is_refused_for_is_asked_again_in_growing_pauses() {
    let rig = Rig::new().await;
    let (http, tls) = (Some(Kind::Http01), Some(Kind::TlsAlpn01));
    // Both ways are tried; another authority would say the same.
    let refuse = || {
        rig.script.say([
            refusal("dns", "NXDOMAIN looking up A for a.internal", http),
            refusal("dns", "NXDOMAIN looking up A for a.internal", tls),
            refusal("dns", "NXDOMAIN looking up A for a.internal", http),
            refusal("dns", "NXDOMAIN looking up A for a.internal", tls),
        ]);
    };
    refuse();
    rig.pass().await;
    let asked: Vec<_> = rig.script.asked().into_iter().map(|it| (it.0, it.2)).collect();
    assert_eq!(asked, [(FIRST.to_owned(), Kind::Http01), (FIRST.to_owned(), Kind::TlsAlpn01)]);
    rig.script.says.lock().unwrap().clear();
    let order = rig.order("a.internal").await;
    let (code, text) = order.problem.clone().unwrap();
    assert!(code == "certificate_dns_nxdomain" && text.contains("A or AAAA record"), "{text}");
    assert_eq!(order.failures, 1);
    // Not before its time.
    rig.later(14 * MINUTE_MS).await;
    assert_eq!(rig.script.asked(), []);
    refuse();
    rig.later(3 * MINUTE_MS).await;
    assert_eq!(rig.script.asked().len(), 2);
    rig.script.says.lock().unwrap().clear();
    assert_eq!(rig.order("a.internal").await.failures, 2);
    rig.later(59 * MINUTE_MS).await;
    assert_eq!(rig.script.asked(), []);
    // People may ask sooner.
    rig.services.retry_certificate(&rig.actor, "a.internal").await.unwrap();
    rig.pass().await;
    assert_eq!(rig.script.asked().len(), 1);
    let order = rig.order("a.internal").await;
    assert!(order.problem.is_none() && order.failures == 0 && order.certificate.is_some());
    let error = rig.services.retry_certificate(&rig.actor, "a.internal").await.unwrap_err();
    assert_eq!(error.code, "certificate_retry");
}

#[tokio::test]
async fn another_authority_is_asked_where_the_first_is_at_fault() {
    let rig = Rig::new().await;
    rig.script.say([refusal("caa", "CAA record prevents issuance", Some(Kind::Http01))]);
    rig.pass().await;
    let asked: Vec<_> = rig.script.asked().into_iter().map(|it| it.0).collect();
    assert_eq!(asked, [FIRST, SECOND]);
    assert_eq!(rig.order("a.internal").await.authority.as_deref(), Some(SECOND));
    // One that is away is left alone for a while; the other one is asked at once for the next hostname.
    rig.add("b.internal").await;
    rig.script.say([Refusal::Away(String::from("refused"))]);
    rig.pass().await;
    rig.add("c.internal").await;
    rig.pass().await;
    let asked: Vec<_> = rig.script.asked().into_iter().map(|it| (it.0, it.1)).collect();
    let wanted = [(FIRST, "b.internal"), (SECOND, "b.internal"), (SECOND, "c.internal")];
    assert_eq!(asked, wanted.map(|(url, name)| (url.to_owned(), name.to_owned())));
    // Both are away: that is said, and it is not the hostname's fault.
    rig.add("d.internal").await;
    rig.script.say([Refusal::Away(String::from("refused"))]);
    rig.pass().await;
    assert_eq!(rig.order("d.internal").await.problem.unwrap().0, "certificate_authority_away");
    rig.add("e.internal").await;
    rig.pass().await;
    let order = rig.order("e.internal").await;
    assert_eq!((order.problem.unwrap().0.as_str(), order.failures), ("certificate_authorities_rest", 0));
    rig.script.asked();
    rig.later(31 * MINUTE_MS).await;
    let first: Vec<_> = rig.script.asked().into_iter().map(|it| it.0).collect();
    assert!(!first.is_empty() && first.iter().all(|it| it == FIRST), "{first:?}");
}

/// Who looks at a hostname is told what was refused when it was asked for, and how many were given.
#[tokio::test]
async fn a_check_knows_of_the_last_try() {
    let rig = Rig::new().await;
    let found = async |code: &str| {
        let report = rig.services.check_hostname(&rig.actor, "a.internal").await.unwrap();
        report.findings.into_iter().find(|it| it.code == code).map(|it| (it.level, it.text, it.seen))
    };
    assert_eq!(found("order_limited").await, None);
    let limit = || refusal("rateLimited", "too many certificates (5) already issued for this exact set", None);
    rig.script.say([limit(), limit()]);
    rig.pass().await;
    let (level, text, seen) = found("order_limited").await.unwrap();
    assert!(level == Level::Problem && text.contains("it is asked again in 1"), "{text}");
    assert!(seen.contains("first.internal has given as many certificates for a.internal this week"), "{seen}");
    rig.later(20 * MINUTE_MS).await;
    assert!(rig.order("a.internal").await.certificate.is_some());
    assert_eq!(found("order_limited").await, None);
    assert_eq!(found("certificates_given").await, None, "nothing is known of the limits of that authority");
}

#[tokio::test]
async fn a_check_tells_how_many_certificates_a_name_had() {
    const PUBLIC: &str = "https://acme-v02.api.letsencrypt.org/directory";
    let world = Arc::new(World::default());
    *world.caa.lock().unwrap() = "letsencrypt.org";
    let names: Arc<dyn Names> = Arc::<World>::clone(&world);
    let outside = Outside { dns: Dns::new(names, &[]), ..Outside::default() };
    let rig = Rig::with(&[PUBLIC], "panel.shop.org", outside).await;
    rig.add("limited.org").await;
    let found = async || {
        let report = rig.services.check_hostname(&rig.actor, "limited.org").await.unwrap();
        report
            .findings
            .into_iter()
            .find(|it| it.code.starts_with("certificates_"))
            .map(|it| (it.code, it.text))
            .unwrap()
    };
    assert!(found().await.1.contains("this server got none in"));
    // Each one that is removed is asked for anew, and only the last one is kept.
    for count in 1..=5 {
        rig.later(61 * MINUTE_MS).await;
        let (code, text) = found().await;
        let is_up = code == "certificates_used_up";
        let words = if is_up { "got 5 certificates" } else { &format!("this server got {count} in") };
        assert!(is_up == (count == 5) && text.contains(words), "{text}");
        let order = rig.order("limited.org").await;
        rig.services.delete_certificate(&rig.actor, order.certificate.unwrap()).await.unwrap();
    }
    rig.later(8 * DAY_MS).await;
    assert!(found().await.1.contains("this server got 1 in"), "that of now");
}

#[tokio::test]
async fn an_account_that_is_not_known_any_more_is_made_anew_once() {
    let rig = Rig::new().await;
    assert_eq!(*rig.script.accounts.lock().unwrap(), [FIRST]);
    rig.script.say([refusal("accountDoesNotExist", "Account not found", None)]);
    rig.pass().await;
    assert_eq!(*rig.script.accounts.lock().unwrap(), [FIRST, FIRST]);
    assert!(rig.order("a.internal").await.certificate.is_some());
    let key = rig.base.count("SELECT COUNT(*) FROM acme_account");
    assert_eq!(key, 1);
}

#[tokio::test]
async fn a_certificate_is_renewed_before_a_third_of_its_time_is_left() {
    let rig = Rig::new().await;
    rig.pass().await;
    rig.script.asked();
    let first = rig.order("a.internal").await;
    let left = START_MS + 90 * DAY_MS - first.next_ms;
    assert!((30 * DAY_MS..=35 * DAY_MS).contains(&left), "{left}");
    rig.later(55 * DAY_MS - 2 * MINUTE_MS).await;
    assert_eq!(rig.script.asked(), []);
    // Refused: the one before stays, and it is asked again.
    let away = || [Refusal::Away(String::from("refused")), Refusal::Away(String::from("refused"))];
    rig.script.say(away().into_iter().chain(away()));
    rig.later(5 * DAY_MS + 4 * MINUTE_MS).await;
    rig.script.says.lock().unwrap().clear();
    assert_eq!(rig.order("a.internal").await.certificate, first.certificate);
    assert_eq!(rig.kept(), 2);
    rig.script.asked();
    rig.later(60 * MINUTE_MS).await;
    let asked = rig.script.asked();
    assert!(
        asked.iter().any(|it| it.0 == FIRST && it.1 == "a.internal" && it.3),
        "it says what it replaces: {asked:?}"
    );
    let second = rig.order("a.internal").await;
    assert!(second.certificate != first.certificate && second.problem.is_none());
    assert_eq!(rig.kept(), 2, "the one before goes when the next is here");
    let visited = "SELECT COUNT(*) FROM certificate WHERE seen_by = 'http-01'";
    assert_eq!(rig.base.count(visited), 2, "it is known how its authority saw whose the name is");
    assert!(second.next_ms > rig.now_ms() + 50 * DAY_MS);
}

/// By a clock that is behind, what comes does not count yet: until it does, the one before stays beside it.
#[tokio::test]
async fn a_certificate_that_does_not_count_yet_replaces_none() {
    let rig = Rig::new().await;
    rig.pass().await;
    let first = rig.order("a.internal").await;
    rig.script.asked();
    *rig.script.now_ms.lock().unwrap() += 60 * MINUTE_MS;
    rig.later(61 * DAY_MS).await;
    assert!(rig.script.asked().iter().any(|it| it.1 == "a.internal"));
    let order = rig.order("a.internal").await;
    assert!(order.problem.is_none() && order.certificate != first.certificate);
    let of_it = "SELECT COUNT(*) FROM certificate WHERE names LIKE '%a.internal%'";
    assert_eq!(rig.base.count(of_it), 2, "both are here");
    // Nothing of it is asked for again, and so no limit used up.
    rig.later(60 * MINUTE_MS).await;
    assert_eq!(rig.script.asked(), []);
}

/// Hostnames that nobody answers for take minutes; one that is added meanwhile does not wait for them.
#[tokio::test]
async fn a_hostname_that_comes_while_others_take_their_time_is_asked_for() {
    let rig = Rig::new().await;
    for name in ["slow-a.internal", "slow-b.internal"] {
        rig.add(name).await;
    }
    let meanwhile = async {
        let asked = |name: &str| rig.script.asked.lock().unwrap().iter().any(|it| it.1 == name);
        while !(asked("slow-a.internal") && asked("slow-b.internal")) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        for name in ["late.internal", "later.internal"] {
            rig.add(name).await;
            while rig.order_now(name).await.is_none_or(|it| it.certificate.is_none()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        let order = rig.order("slow-a.internal").await;
        assert!(order.certificate.is_none() && order.problem.is_none(), "it is under way still");
        rig.script.speaks.cancel();
    };
    tokio::time::timeout(Duration::from_mins(1), async { tokio::join!(rig.pass(), meanwhile) }).await.unwrap();
    assert!(rig.order("slow-b.internal").await.certificate.is_some());
    let mut names: Vec<String> = rig.script.asked().into_iter().map(|it| it.1).collect();
    names.sort();
    let wanted = ["a.internal", "late.internal", "later.internal", "slow-a.internal", "slow-b.internal"];
    assert_eq!(names, wanted, "each is asked for once");
}

/// By a clock that is ahead, what comes has ended: it is asked for once a day, as what is given counts for limits.
#[tokio::test]
async fn a_certificate_that_has_ended_when_it_comes_is_asked_for_once_a_day() {
    let rig = Rig::new().await;
    rig.pass().await;
    rig.script.asked();
    rig.hands.advance(100 * DAY_MS);
    rig.pass().await;
    assert!(rig.script.asked().iter().any(|it| it.1 == "a.internal"));
    assert_eq!(rig.order("a.internal").await.problem.unwrap().0, "certificate_clock");
    rig.hands.advance(23 * 60 * MINUTE_MS);
    rig.pass().await;
    assert_eq!(rig.script.asked(), []);
}

/// RFC 9773: an authority that has to take certificates back says so by a window in the past.
#[tokio::test]
async fn an_authority_may_wish_it_sooner() {
    let rig = Rig::new().await;
    rig.pass().await;
    let first = rig.order("a.internal").await;
    rig.script.asked();
    *rig.script.window.lock().unwrap() = Some(Window { from_ms: START_MS, until_ms: START_MS + 1 });
    rig.later(11 * 60 * MINUTE_MS).await;
    rig.pass().await;
    assert_eq!(rig.script.asked(), [], "it is asked twice a day");
    rig.later(20 * 60 * MINUTE_MS).await;
    rig.pass().await;
    assert!(rig.script.asked().iter().any(|it| it.1 == "a.internal"));
    let second = rig.order("a.internal").await;
    assert_ne!(second.certificate, first.certificate);
    // The same wish again, for the new one: it is not a reason to ask without end.
    for _ in 0..5 {
        rig.later(MINUTE_MS).await;
    }
    assert_eq!(rig.script.asked(), []);
    assert!(second.next_ms >= rig.now_ms() + 23 * 60 * MINUTE_MS);
}

#[tokio::test]
async fn nothing_is_asked_for_what_people_gave_or_took_away() {
    let rig = Rig::new().await;
    let folder = tempfile::tempdir().unwrap();
    Authority::new().issue(folder.path(), "given", &["*.internal"], (2020, 2099));
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let key = chainhost::base::secret::Secret::new(read("given.key"));
    let given = rig.services.upload_certificate(&rig.actor, &read("given.pem"), &key).await.unwrap();
    assert!(given.shown_for.contains(&String::from("a.internal")), "{:?}", given.shown_for);
    rig.pass().await;
    assert_eq!(rig.script.asked(), []);
    // What is sealed is nowhere in clear.
    let sealed = &given.kept.key_sealed;
    assert!(!sealed.windows(11).any(|it| it == b"PRIVATE KEY") && given.kept.source == Source::Uploaded);
    rig.services.delete_certificate(&rig.actor, given.kept.id).await.unwrap();
    rig.pass().await;
    assert_eq!(rig.script.asked().len(), 1, "the panel has one still");
    // A certificate that somebody removes is asked for anew, an hour after the last time.
    let own = rig.order("a.internal").await.certificate.unwrap();
    rig.services.delete_certificate(&rig.actor, own).await.unwrap();
    rig.pass().await;
    assert_eq!(rig.script.asked(), [], "an authority was asked just now");
    rig.later(61 * MINUTE_MS).await;
    assert_eq!(rig.script.asked().len(), 1);
    // One that was taken away and given again has its certificate still.
    let site = SiteName::parse("hello").unwrap();
    rig.services.remove_hostname(&rig.actor, &site, "a.internal").await.unwrap();
    rig.pass().await;
    rig.add("a.internal").await;
    rig.pass().await;
    assert_eq!(rig.script.asked(), []);
    assert!(rig.order("a.internal").await.certificate.is_some());
    // A hostname that no site has any more is asked for no more, and forgotten.
    rig.services.remove_hostname(&rig.actor, &SiteName::parse("hello").unwrap(), "a.internal").await.unwrap();
    rig.later(80 * DAY_MS).await;
    assert!(rig.script.asked().iter().all(|it| it.1 == "panel.internal"));
    assert_eq!(rig.base.count("SELECT COUNT(*) FROM certificate_order"), 1);
    rig.later(45 * DAY_MS).await;
    assert_eq!(rig.kept(), 1, "what has ended long ago goes");
}

/// Where DNS says for sure that no certificate would come, no authority is asked: its limits are some failures an hour. It is asked all
/// the same once a day, and as soon as nothing is sure any more.
#[tokio::test]
async fn nobody_is_asked_in_vain() {
    const PUBLIC: &str = "https://acme-v02.api.letsencrypt.org/directory";
    let world = Arc::new(World::default());
    let names: Arc<dyn Names> = Arc::<World>::clone(&world);
    let outside = Outside { dns: Dns::new(names, &[]), ..Outside::default() };
    let rig = Rig::with(&[PUBLIC], "panel.shop.org", outside).await;
    assert_eq!(rig.script.asked(), []);
    rig.add("shop.org").await;
    rig.pass().await;
    assert_eq!(rig.script.asked(), []);
    let order = rig.order("shop.org").await;
    let (code, text) = order.problem.unwrap();
    assert!(code == "certificate_dns_no_name" && text.contains("There is no shop.org in DNS"), "{code} {text}");
    assert_eq!((order.asked_ms, order.failures), (None, 1));
    let mut asked_after = None;
    for hour in 1..40 {
        rig.later(70 * MINUTE_MS).await;
        if asked_after.is_none() && rig.script.asked().iter().any(|it| it.1 == "shop.org") {
            asked_after = Some(hour);
        }
    }
    assert!(asked_after.is_some_and(|it| (20..=26).contains(&it)), "{asked_after:?}");
    // Nobody answers any more: that may be this server's fault alone.
    world.is_mended.store(true, Ordering::Relaxed);
    rig.add("new.shop.org").await;
    rig.pass().await;
    assert!(rig.script.asked().iter().any(|it| it.1 == "new.shop.org"));
}

/// What CAA records forbid for sure is not asked for: of several authorities and ways those are, which they allow.
#[tokio::test]
async fn the_authorities_and_ways_are_asked_that_caa_allows() {
    const PUBLIC: &str = "https://acme-v02.api.letsencrypt.org/directory";
    const ZERO: &str = "https://acme.zerossl.com/v2/DV90";
    for (caa, wanted) in [
        ("sectigo.com", Ok(&[(ZERO, Kind::Http01)][..])),
        ("letsencrypt.org", Ok(&[(PUBLIC, Kind::Http01)])),
        ("letsencrypt.org; validationmethods=tls-alpn-01", Ok(&[(PUBLIC, Kind::TlsAlpn01)])),
        ("sectigo.com; validationmethods=dns-01", Err("certificate_caa_forbids")),
        ("ca.example", Err("certificate_caa_forbids")),
        (";", Err("certificate_caa_nobody")),
    ] {
        let world = Arc::new(World::default());
        *world.caa.lock().unwrap() = caa;
        let names: Arc<dyn Names> = Arc::<World>::clone(&world);
        let outside = Outside { dns: Dns::new(names, &[]), ..Outside::default() };
        let rig = Rig::with(&[PUBLIC, ZERO], "panel.shop.org", outside).await;
        rig.add("limited.org").await;
        rig.pass().await;
        let asked: Vec<_> = rig.script.asked().into_iter().map(|it| (it.0, it.2)).collect();
        let order = rig.order("limited.org").await;
        let (asks, code) = wanted.map_or_else(|code| (&[][..], Some(code)), |it| (it, None));
        assert_eq!(asked, asks.iter().map(|it| (it.0.to_owned(), it.1)).collect::<Vec<_>>(), "{caa}");
        assert_eq!(order.problem.as_ref().map(|it| it.0.as_str()), code, "{caa}: {order:?}");
    }
}
