//! Gets certificates from authorities for the hostnames of the server, and renews them.
//!
//! Guarantees: only hostnames that a site owns, and the panel's, are asked for. A certificate that is shown stays until the next one is here
//! and was seen to be one. What an authority refuses is kept as a sentence for people, and tried again in growing pauses, so that its limits
//! are not used up. The next authority of the settings is asked where the fault is the authority's.
//!
//! One node does this at a time. A process that ends in between leaves an order that the authority forgets, and begins anew.

mod names;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use zeroize::Zeroizing;

use self::names::{Wanted, wanted};
use super::{Services, access, certificates::Hosts, nodes::Hold};
use crate::{
    base::random,
    domain::{
        Error, Result,
        access::{Actor, Right},
        acme::{self, Blame, Challenge, Explained, Kind},
        caa::Authority,
        certificate::{
            kept::{CertificateId, Kept, Order, Source},
            pair::Pair,
        },
        doctor::Belongs,
        event::Event,
        hostname::Hostname,
        node::Topic,
    },
    ports::acme::{Authorities, Directory, Failure, Issued, Later, Stage, Wish},
    store,
};

/// Certificates that are got at a time.
const AT_ONCE: usize = 8;
/// How long a challenge is shown at most.
const CHALLENGE_MS: i64 = 10 * 60_000;
/// How long this node's own handshakes may take to show one.
const SHOWN_MAX: Duration = Duration::from_secs(10);
/// How long the other nodes take: they look for news four times a second.
const ELSEWHERE: Duration = Duration::from_millis(1_500);
/// Pauses after failures, in minutes: the limits of authorities are some failures an hour.
const PAUSES_MIN: [i64; 6] = [5, 20, 60, 180, 720, 1_440];
const MINUTE_MS: i64 = 60_000;
/// Where it shows from here that no certificate would come, it is looked again after so long at most, and an authority asked all the same
/// after so many looks: about a day.
const FORESEEN_MAX_MS: i64 = 60 * MINUTE_MS;
const ASK_ALL_THE_SAME: i64 = 24;
/// How long an authority that is away, or gives no more, is left alone when it does not say it itself.
const AUTHORITY_REST_MS: i64 = 30 * MINUTE_MS;
/// Between two looks at when an authority wishes a certificate to be renewed.
const ASK_WINDOW_MS: i64 = 12 * 60 * MINUTE_MS;
/// Certificates that have ended are forgotten after so long.
const ENDED_MS: i64 = 30 * 24 * 60 * MINUTE_MS;
/// People may have a hostname tried again so often.
const RETRY_MS: i64 = MINUTE_MS;

/// Authorities, and how they are spoken to.
pub struct Acme {
    /// Speaks to them.
    pub engine: Arc<dyn Authorities>,
    /// In the order in which they are asked.
    pub directories: Vec<Directory>,
    /// Where they may reach a person.
    pub email: Option<String>,
    rests: Mutex<HashMap<String, i64>>,
    windows: Mutex<HashMap<CertificateId, i64>>,
    covered: Mutex<Vec<String>>,
    registering: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Acme {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acme").field("directories", &self.directories.len()).finish_non_exhaustive()
    }
}

impl Acme {
    /// Authorities, in the order in which they are asked.
    pub fn new(engine: Arc<dyn Authorities>, directories: Vec<Directory>, email: Option<String>) -> Self {
        Self {
            engine,
            directories,
            email,
            rests: Mutex::default(),
            windows: Mutex::default(),
            covered: Mutex::default(),
            registering: tokio::sync::Mutex::default(),
        }
    }

    /// The authorities that may be asked now.
    fn awake(&self, now_ms: i64) -> Vec<&Directory> {
        let rests = lock(&self.rests);
        self.directories.iter().filter(|it| rests.get(&it.url).is_none_or(|until| *until <= now_ms)).collect()
    }

    fn rest(&self, directory: &Directory, until_ms: i64) {
        lock(&self.rests).insert(directory.url.clone(), until_ms);
    }
}

fn lock<T>(it: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How it stands with the certificate of a hostname, for people.
#[derive(Clone, Debug)]
pub struct HostnameCertificate {
    /// The hostname.
    pub hostname: String,
    /// The certificate that is shown, unless the host has signed it itself.
    pub shown: Option<(CertificateId, Source, i64)>,
    /// How it stands with what an authority is asked for, if one is.
    pub order: Option<Order>,
    /// Whether an authority is asked, or will be.
    pub is_asked: bool,
}

/// Shows challenges by way of the database.
struct Shower(Services);

impl Stage for Shower {
    fn show(&self, challenge: Challenge) -> Later<'_, Result<(), Error>> {
        Box::pin(async move {
            let services = self.0.clone();
            let expires_ms = services.clock.now_ms().saturating_add(CHALLENGE_MS);
            self.0
                .db
                .write(move |tx| {
                    store::acme::put_challenge(tx, &challenge, expires_ms)?;
                    services.tell(tx, Topic::Certificates)
                })
                .await?;
            // A node without visitors shows nothing itself.
            let shown = self.0.signals().certificates_applied();
            if tokio::time::timeout(SHOWN_MAX, shown).await.is_err() {
                tracing::warn!("what an authority will ask for is not shown yet; it is told to look all the same");
            }
            if self.0.node.shares {
                tokio::time::sleep(ELSEWHERE).await;
            }
            Ok(())
        })
    }
}

/// What came of one hostname.
enum Came {
    Certificate { issued: Issued, directory: String },
    Nothing { why: Explained, retry_after_s: Option<u64> },
}

impl Services {
    /// The names in files of the operator, which need no certificate.
    pub fn cover(&self, names: &[String]) {
        let Some(acme) = &self.acme else { return };
        let mut covered = lock(&acme.covered);
        if *covered != names {
            names.clone_into(&mut covered);
            self.signals().certify.notify_one();
        }
    }

    /// What authorities will ask for now.
    pub async fn shown_challenges(&self) -> Result<Vec<Challenge>> {
        let now_ms = self.clock.now_ms();
        self.db.read(move |tx| store::acme::list_challenges(tx, now_ms)).await
    }

    /// One pass: asks for what is due. Ends early when the process stops.
    pub async fn certify(&self, hold: Hold) -> Result<()> {
        let Some(acme) = &self.acme else { return Ok(()) };
        self.master_key()?;
        let due = self.find_due(acme, hold).await?;
        let queue = Mutex::new(VecDeque::from(due));
        let work = || {
            Box::pin(async {
                loop {
                    let Some(next) = lock(&queue).pop_front() else { return Ok::<(), Error>(()) };
                    self.certify_one(acme, hold, next).await?;
                }
            })
        };
        const { assert!(AT_ONCE == 8, "one each below") };
        tokio::select! {
            () = self.tasks.stopping() => Ok(()),
            done = async { tokio::try_join!(work(), work(), work(), work(), work(), work(), work(), work()) } => done.map(drop),
        }
    }

    /// What is to be asked for now. Forgets what is wanted no more.
    async fn find_due(&self, acme: &Acme, hold: Hold) -> Result<Vec<(Wanted, Option<Order>)>> {
        let now_ms = self.clock.now_ms();
        let all = self.list_wanted(acme).await?;
        let services = self.clone();
        let orders = self.db.read(|tx| store::certificates::list_all_orders(tx, access::server_scope())).await?;
        let kept = self.db.read(|tx| store::certificates::list_all(tx, access::server_scope())).await?;
        let known: HashMap<(_, &str), &Order> = orders.iter().map(|it| ((it.tenant, it.name.as_str()), it)).collect();
        let has = |id: Option<CertificateId>| kept.iter().any(|it| Some(it.id) == id && it.until_ms > now_ms);
        let mut due = Vec::new();
        for wanted in &all {
            let order = known.get(&(wanted.tenant, wanted.name.as_str())).copied();
            // A certificate that somebody has removed is wanted anew, not when it would have been renewed.
            let is_due = order.is_none_or(|it| it.next_ms <= now_ms || it.problem.is_none() && !has(it.certificate));
            if is_due {
                due.push((wanted.clone(), order.cloned()));
            }
        }
        self.ask_windows(acme, &all, &orders, &kept, hold).await?;
        let gone: Vec<Order> = orders
            .into_iter()
            .filter(|it| !all.iter().any(|all| all.tenant == it.tenant && all.name == it.name))
            .collect();
        let ended_ms = now_ms.saturating_sub(ENDED_MS);
        let has_ended = kept.iter().any(|it| it.source == Source::Acme && it.until_ms < ended_ms);
        if !gone.is_empty() || has_ended {
            self.db
                .write(move |tx| {
                    services.check_hold(tx, &hold)?;
                    for it in gone {
                        store::certificates::delete_order(tx, access::task_scope(it.tenant), &it.name)?;
                    }
                    store::certificates::delete_ended(tx, access::server_scope(), ended_ms).map(drop)
                })
                .await?;
        }
        Ok(due)
    }

    /// The hostnames for which authorities are asked.
    async fn list_wanted(&self, acme: &Acme) -> Result<Vec<Wanted>> {
        let services = self.clone();
        let covered = lock(&acme.covered).clone();
        let is_public = acme.directories.iter().any(|it| names::is_public_authority(&it.url));
        let now_ms = self.clock.now_ms();
        self.db
            .write(move |tx| {
                let default = services.default_tenant(tx)?.id;
                let hosts = Hosts::list(tx, &services.addresses)?;
                let kept = store::certificates::list_all(tx, access::server_scope())?;
                Ok(wanted(&hosts, &services.addresses, default, &kept, &covered, is_public, now_ms))
            })
            .await
    }

    /// Looks when authorities wish their certificates to be renewed, and brings forward what they wish sooner (RFC 9773).
    async fn ask_windows(
        &self,
        acme: &Acme,
        all: &[Wanted],
        orders: &[Order],
        kept: &[Kept],
        hold: Hold,
    ) -> Result<()> {
        let now_ms = self.clock.now_ms();
        for order in orders {
            let (Some(id), Some(directory)) = (order.certificate, &order.authority) else { continue };
            let is_wanted = all.iter().any(|it| it.tenant == order.tenant && it.name == order.name);
            let asked = lock(&acme.windows).get(&id).copied();
            if !is_wanted
                || order.next_ms <= now_ms
                || asked.is_some_and(|it| it.saturating_add(ASK_WINDOW_MS) > now_ms)
            {
                continue;
            }
            lock(&acme.windows).insert(id, now_ms);
            let (Some(directory), Some(found)) =
                (acme.directories.iter().find(|it| it.url == *directory), kept.iter().find(|it| it.id == id))
            else {
                continue;
            };
            let Some(window) = self.ask_window(acme, directory, found).await else { continue };
            // A wish for one that has just come would be one for ever.
            let window = window.max(found.created_ms.saturating_add(rest_ms(found)));
            if window < order.next_ms {
                let (services, sooner) = (self.clone(), Order { next_ms: window, ..order.clone() });
                self.db
                    .write(move |tx| {
                        services.check_hold(tx, &hold)?;
                        store::certificates::put_order(tx, access::task_scope(sooner.tenant), &sooner)
                    })
                    .await?;
            }
        }
        Ok(())
    }

    /// A time by chance in the window of its authority, Unix milliseconds.
    async fn ask_window(&self, acme: &Acme, directory: &Directory, kept: &Kept) -> Option<i64> {
        let id = kept.renewal_id()?;
        match acme.engine.renewal(directory, &id).await {
            Ok(window) => window.map(|it| {
                let span = u64::try_from(it.until_ms.saturating_sub(it.from_ms)).unwrap_or(0);
                it.from_ms.saturating_add(i64::try_from(random::below(span.saturating_add(1))).unwrap_or(0))
            }),
            Err(refusal) => {
                tracing::debug!(?refusal, "an authority does not say when to renew");
                None
            }
        }
    }

    /// Gets one certificate, and keeps what came of it.
    async fn certify_one(&self, acme: &Acme, hold: Hold, (wanted, before): (Wanted, Option<Order>)) -> Result<()> {
        let asked_ms = self.clock.now_ms();
        let failures = before.as_ref().map_or(0, |it| it.failures);
        // Whoever is wrong about that is put right by the authority once a day.
        if failures % ASK_ALL_THE_SAME != ASK_ALL_THE_SAME - 1
            && let Some(why) = self.foresee(acme, &wanted).await
        {
            return self.postpone(hold, wanted, before, why).await;
        }
        let replaced = self.replaced(&wanted, before.as_ref()).await?;
        let came = self.ask(acme, hold, &wanted, before.as_ref(), replaced.as_ref()).await?;
        let scope = access::task_scope(wanted.tenant);
        let services = self.clone();
        let mut order = Order {
            tenant: wanted.tenant,
            name: wanted.name.clone(),
            certificate: before.as_ref().and_then(|it| it.certificate),
            authority: before.as_ref().and_then(|it| it.authority.clone()),
            next_ms: 0,
            asked_ms: Some(asked_ms),
            failures: 0,
            problem: None,
        };
        let (came, why) = match came {
            Came::Certificate { issued, directory } => match self.take(&wanted, &issued) {
                Ok(kept) => {
                    order.authority = Some(directory);
                    (Some(kept), None)
                }
                Err(error) => (None, Some((error.code, error.message, None))),
            },
            Came::Nothing { why, retry_after_s } => (None, Some((why.code, why.text, retry_after_s))),
        };
        if let Some(kept) = &came {
            order.certificate = Some(kept.id);
            order.next_ms = self.renewal_ms(acme, kept, order.authority.as_deref()).await;
            tracing::info!(hostname = wanted.name, issuer = kept.issuer, "a certificate came");
        }
        if let Some((code, text, retry_after_s)) = why {
            order.failures = failures.saturating_add(1);
            order.next_ms = self.clock.now_ms().saturating_add(pause_ms(failures, retry_after_s));
            tracing::warn!(hostname = wanted.name, code, "no certificate: {text}");
            order.problem = Some((code.to_owned(), text));
        }
        let actor = self.actor_system(wanted.tenant, "certificates");
        let done = self.db.write(move |tx| {
            services.check_hold(tx, &hold)?;
            store::acme::delete_challenges(tx, &wanted.name, services.clock.now_ms())?;
            if let Some(kept) = &came {
                store::certificates::insert(tx, scope, kept)?;
                if let Some(replaced) = &replaced {
                    store::certificates::delete(tx, scope, replaced.id)?;
                }
                let verb = if replaced.is_some() { "renewed the certificate" } else { "got a certificate" };
                let text = format!(
                    "{verb} for {} from {}",
                    wanted.name,
                    acme::authority_name(order.authority.as_deref().unwrap_or_default())
                );
                services.record(tx, &actor, &Event::new("certificate.issued", "certificate", &kept.id, text))?;
            } else if let Some((_, text)) = order.problem.as_ref().filter(|_| order.failures == 1) {
                let text = format!("got no certificate for {}: {text}", wanted.name);
                services.record(tx, &actor, &Event::new("certificate.failed", "hostname", &wanted.name, text))?;
            }
            store::certificates::put_order(tx, scope, &order)?;
            services.tell(tx, Topic::Certificates)
        });
        done.await
    }

    /// Why no authority that everybody believes would give a certificate now, where that shows from here: asking would only use up its
    /// limits.
    async fn foresee(&self, acme: &Acme, wanted: &Wanted) -> Option<(String, String)> {
        let directory = acme.directories.first().filter(|it| names::is_public_authority(&it.url))?;
        let name = acme::authority_name(&directory.url);
        let known = Authority::lets_encrypt();
        let is_known = known.name == name;
        let host = Hostname::parse(&wanted.name).ok()?;
        let belongs = if wanted.for_server { Belongs::Panel } else { Belongs::Site(String::new()) };
        let looked = self.examine_hostname(&host, belongs, known).await;
        let report = looked.inspect_err(|error| tracing::debug!(%error, "a hostname could not be checked")).ok()?;
        let why = report.hopeless().filter(|it| is_known || !it.code.starts_with("caa_"))?;
        Some((format!("certificate_{}", why.code), why.text.clone()))
    }

    /// Keeps why nobody was asked; it is looked again soon, as that uses up nothing.
    async fn postpone(&self, hold: Hold, wanted: Wanted, before: Option<Order>, why: (String, String)) -> Result<()> {
        let failures = before.as_ref().map_or(0, |it| it.failures);
        let order = Order {
            tenant: wanted.tenant,
            next_ms: self.clock.now_ms().saturating_add(pause_ms(failures, None).min(FORESEEN_MAX_MS)),
            failures: failures.saturating_add(1),
            problem: Some(why),
            certificate: before.as_ref().and_then(|it| it.certificate),
            authority: before.as_ref().and_then(|it| it.authority.clone()),
            asked_ms: before.and_then(|it| it.asked_ms),
            name: wanted.name,
        };
        tracing::info!(
            hostname = order.name,
            problem = order.problem.as_ref().map(|it| it.1.as_str()),
            "no authority is asked"
        );
        let (services, scope) = (self.clone(), access::task_scope(order.tenant));
        self.db
            .write(move |tx| {
                services.check_hold(tx, &hold)?;
                store::certificates::put_order(tx, scope, &order)
            })
            .await
    }

    /// The certificate of an authority that the next one replaces.
    async fn replaced(&self, wanted: &Wanted, before: Option<&Order>) -> Result<Option<Kept>> {
        let Some(id) = before.and_then(|it| it.certificate) else { return Ok(None) };
        let scope = access::task_scope(wanted.tenant);
        self.db.read(move |tx| store::certificates::find(tx, scope, id)).await
    }

    /// Asks one authority after the other, by one way after the other.
    async fn ask(
        &self,
        acme: &Acme,
        hold: Hold,
        wanted: &Wanted,
        before: Option<&Order>,
        replaced: Option<&Kept>,
    ) -> Result<Came> {
        let mut first: Option<(Explained, Option<u64>)> = None;
        'authorities: for directory in acme.awake(self.clock.now_ms()) {
            let name = acme::authority_name(&directory.url);
            for (way, is_last) in [(Kind::Http01, false), (Kind::TlsAlpn01, true)] {
                self.ask_hold(Some(hold)).await?;
                let is_same = before.and_then(|it| it.authority.as_deref()) == Some(directory.url.as_str());
                let before_it = replaced.filter(|_| is_same).and_then(Kept::renewal_id);
                let wish = Wish { name: wanted.name.clone(), way, replaces: before_it };
                let refusal = match self.ask_one(acme, directory, &wish).await? {
                    Ok(issued) => return Ok(Came::Certificate { issued, directory: directory.url.clone() }),
                    Err(refusal) => refusal,
                };
                tracing::debug!(hostname = wanted.name, authority = name, way = way.word(), ?refusal, "refused");
                let why = acme::explain(&refusal, name, &wanted.name);
                let retry_after_s = match &refusal {
                    acme::Refusal::Problem(it) => it.retry_after_s,
                    _ => None,
                };
                let blame = why.blame;
                if blame == Blame::Authority && acme::concerns_all(&refusal) {
                    let rest_ms = retry_after_s
                        .map_or(AUTHORITY_REST_MS, |it| i64::try_from(it).unwrap_or(i64::MAX).saturating_mul(1_000));
                    acme.rest(directory, self.clock.now_ms().saturating_add(rest_ms.min(AUTHORITY_REST_MS)));
                }
                first.get_or_insert((why, retry_after_s));
                match blame {
                    // Another authority would say the same.
                    Blame::Hostname if is_last => break 'authorities,
                    Blame::Hostname => {}
                    Blame::Way if !is_last => {}
                    Blame::Way | Blame::Authority | Blame::Account => break,
                }
            }
        }
        let nobody = || {
            let text =
                "The authorities of the settings are away, or give no more certificates for now. It is tried again.";
            let why =
                Explained { code: "certificate_authorities_rest", text: text.to_owned(), blame: Blame::Authority };
            (why, None)
        };
        // The first is the one that people know: it is asked for the usual way, too.
        let (why, retry_after_s) = first.unwrap_or_else(nobody);
        Ok(Came::Nothing { why, retry_after_s })
    }

    /// One order at one authority by one way. An account that it does not know any more is made anew, once.
    async fn ask_one(&self, acme: &Acme, directory: &Directory, wish: &Wish) -> Result<Result<Issued, acme::Refusal>> {
        for is_last in [false, true] {
            let credentials = match self.account(acme, directory).await? {
                Ok(it) => it,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let stage = Arc::new(Shower(self.clone()));
            match acme.engine.issue(directory, &credentials, wish, stage).await {
                Ok(issued) => return Ok(Ok(issued)),
                Err(Failure::Own(error)) => return Err(error),
                Err(Failure::Refused(refusal)) => {
                    let name = acme::authority_name(&directory.url);
                    if is_last || acme::explain(&refusal, name, &wish.name).blame != Blame::Account {
                        return Ok(Err(refusal));
                    }
                    let url = directory.url.clone();
                    self.db.write(move |tx| store::acme::delete_account(tx, &url)).await?;
                }
            }
        }
        Err(Error::internal("an order was neither given nor refused"))
    }

    /// The credentials of this installation's account at an authority; one is made where there is none.
    async fn account(&self, acme: &Acme, directory: &Directory) -> Result<Result<Zeroizing<String>, acme::Refusal>> {
        let _one_at_a_time = acme.registering.lock().await;
        let (url, context) = (directory.url.clone(), format!("acme account {}", directory.url));
        let found = self.db.read(move |tx| store::acme::find_account(tx, &url)).await?;
        if let Some(sealed) = found {
            let opened =
                self.master_key()?.open(&context, &sealed).ok().and_then(|it| String::from_utf8(it.to_vec()).ok());
            if let Some(text) = opened {
                return Ok(Ok(Zeroizing::new(text)));
            }
            tracing::warn!(
                directory = directory.url,
                "the account at an authority cannot be opened; another one is made"
            );
        }
        let made = match acme.engine.register(directory, acme.email.as_deref()).await {
            Ok(made) => made,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let sealed = self.master_key()?.seal(&context, made.as_bytes());
        let sealed = sealed.map_err(|_| Error::internal("the key of an account could not be sealed"))?;
        let (url, now_ms) = (directory.url.clone(), self.clock.now_ms());
        self.db.write(move |tx| store::acme::put_account(tx, &url, sealed, now_ms)).await?;
        Ok(Ok(made))
    }

    /// Sees that what came is what was asked for.
    fn take(&self, wanted: &Wanted, issued: &Issued) -> Result<Kept> {
        let pair = Pair::read(issued.chain.as_bytes(), issued.key.as_bytes())?;
        if !pair.facts.is_for(&wanted.name) {
            let text = "The authority gave a certificate for another name.";
            return Err(Error::internal(text));
        }
        let id = CertificateId(self.ids.next());
        self.kept(id, wanted.tenant, Source::Acme, &pair, issued.key.as_bytes(), wanted.for_server)
    }

    /// When a certificate is renewed: as its authority wishes, else when a third of its time is left and a little more.
    async fn renewal_ms(&self, acme: &Acme, kept: &Kept, authority: Option<&str>) -> i64 {
        let lifetime = kept.until_ms.saturating_sub(kept.from_ms).max(0);
        let jitter =
            i64::try_from(random::below(u64::try_from(lifetime / 20).unwrap_or(0).saturating_add(1))).unwrap_or(0);
        let plain = kept.until_ms.saturating_sub(lifetime / 3).saturating_sub(jitter);
        let directory = acme.directories.iter().find(|it| Some(it.url.as_str()) == authority);
        let Some(directory) = directory else { return plain };
        lock(&acme.windows).insert(kept.id, self.clock.now_ms());
        // Never later than a third before the end, whatever is wished; and not at once.
        let latest = kept.until_ms.saturating_sub(lifetime / 3);
        let soonest = self.clock.now_ms().saturating_add(rest_ms(kept)).min(latest);
        self.ask_window(acme, directory, kept).await.map_or(plain, |it| it.clamp(soonest, latest))
    }

    /// How it stands with the certificates of the tenant's hostnames, by name.
    pub async fn list_hostname_certificates(&self, actor: &Actor) -> Result<Vec<HostnameCertificate>> {
        let scope = actor.require(Right::Read)?;
        let (services, now_ms) = (self.clone(), self.clock.now_ms());
        let asked = match &self.acme {
            Some(acme) => self.list_wanted(acme).await?,
            None => Vec::new(),
        };
        let views = self.list_certificates(actor).await?;
        let may_server = actor.may(Right::ManageServer);
        self.db
            .read(move |tx| {
                let mut orders: HashMap<String, Order> =
                    store::certificates::list_orders(tx, scope)?.into_iter().map(|it| (it.name.clone(), it)).collect();
                let hosts = Hosts::list(tx, &services.addresses)?;
                let of_tenant = |(tenant, _): &&(_, String)| *tenant == scope.tenant();
                let mut names: Vec<String> =
                    hosts.own.iter().chain(&hosts.sites).filter(of_tenant).map(|it| it.1.clone()).collect();
                if may_server {
                    names.push(services.addresses.panel_host.clone());
                }
                names.sort();
                names.dedup();
                let shown = |name: &str| {
                    let fits = views.iter().filter(|it| it.kept.until_ms > now_ms);
                    let mut fits =
                        fits.filter(|it| it.shown_for.iter().any(|of| crate::domain::certificate::covers(of, name)));
                    fits.next().map(|it| (it.kept.id, it.kept.source, it.kept.until_ms))
                };
                Ok(names
                    .into_iter()
                    .map(|name| HostnameCertificate {
                        shown: shown(&name),
                        order: orders.remove(&name),
                        is_asked: asked.iter().any(|it| it.tenant == scope.tenant() && it.name == name),
                        hostname: name,
                    })
                    .collect())
            })
            .await
    }

    /// Has an authority asked for a hostname now.
    pub async fn retry_certificate(&self, actor: &Actor, hostname: &str) -> Result<()> {
        let scope = actor.require(Right::ManageSites)?;
        let (services, name, now_ms) = (self.clone(), hostname.to_owned(), self.clock.now_ms());
        self.db
            .write(move |tx| {
                let found = store::certificates::find_order(tx, scope, &name)?;
                let mut order = found.ok_or_else(|| Error::not_found("hostname for which an authority is asked"))?;
                if order.asked_ms.is_some_and(|it| it.saturating_add(RETRY_MS) > now_ms) {
                    let text = "An authority was asked less than a minute ago. Its limits are some tries an hour: mend first what it said.";
                    return Err(Error::too_many("certificate_retry", text, 60));
                }
                order.next_ms = now_ms;
                store::certificates::put_order(tx, scope, &order)?;
                services.tell(tx, Topic::Certificates)
            })
            .await?;
        self.signals().certify.notify_one();
        Ok(())
    }
}

/// How long a certificate that has just come is not replaced, whatever its authority wishes.
fn rest_ms(kept: &Kept) -> i64 {
    (kept.until_ms.saturating_sub(kept.from_ms) / 10).clamp(0, 24 * 60 * MINUTE_MS)
}

/// The pause after one more failure than `failures`; with a little chance in it.
fn pause_ms(failures: i64, retry_after_s: Option<u64>) -> i64 {
    let at = usize::try_from(failures).unwrap_or(0).min(PAUSES_MIN.len() - 1);
    let minutes = PAUSES_MIN.get(at).copied().unwrap_or(1_440);
    let chance = i64::try_from(random::below(u64::try_from(minutes * MINUTE_MS / 10).unwrap_or(1))).unwrap_or(0);
    let asked = retry_after_s.map_or(0, |it| i64::try_from(it).unwrap_or(i64::MAX).saturating_mul(1_000));
    (minutes * MINUTE_MS + chance).max(asked.saturating_add(chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_day_and_heed_the_authority() {
        let minutes = |failures, retry| pause_ms(failures, retry) / MINUTE_MS;
        for (failures, least) in [(0, 5), (1, 20), (2, 60), (3, 180), (4, 720), (5, 1_440), (50, 1_440)] {
            let found = minutes(failures, None);
            assert!((least..=least + least / 10 + 1).contains(&found), "{failures}: {found}");
        }
        assert!(minutes(0, Some(7_200)) >= 120);
        assert!(minutes(4, Some(1)) >= 720);
    }
}
