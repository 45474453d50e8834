//! Gets certificates from authorities for the hostnames of the server, and renews them.
//!
//! Guarantees: only hostnames that a site owns, and the panel's, are asked for. A certificate that is shown stays until the next one is here
//! and was seen to be one. What an authority refuses is kept as a sentence for people, and tried again in growing pauses, so that its limits
//! are not used up. The next authority of the settings is asked where the fault is the authority's.
//!
//! One node does this at a time. A process that ends in between leaves an order that the authority forgets, and begins anew.

mod due;
mod foresee;
mod line;
mod names;
mod outcome;
mod pass;
mod people;
pub mod records;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use zeroize::Zeroizing;

pub use self::people::HostnameCertificate;
use self::{
    due::renewal_ms,
    foresee::{Barred, Foreseen},
    names::Wanted,
    outcome::Outcome,
    records::{Poster, Zones},
};
use super::{Services, access, nodes::Hold};
use crate::{
    base::random,
    domain::{
        Error, Result,
        acme::{self, Blame, Challenge, Explained, Kind, records::Posted},
        certificate::{
            Standing,
            kept::{CertificateId, Kept, Order, Source},
            pair::Pair,
        },
        event::Event,
        node::Topic,
    },
    ports::acme::{Authorities, Directory, Failure, Issued, Later, Placed, Stage, Wish},
    store,
};

/// The trouble of a server whose clock is wrong.
const CLOCK: &str = "certificate_clock";
/// The event of one that has come.
pub(super) const ISSUED: &str = "certificate.issued";
/// How long a challenge is shown at most.
const CHALLENGE_MS: i64 = 10 * 60_000;
/// How long this node's own handshakes may take to show one.
const SHOWN_MAX: Duration = Duration::from_secs(10);
/// How long the other nodes take: they look for news four times a second.
const ELSEWHERE: Duration = Duration::from_millis(1_500);
/// Pauses after failures, in minutes: the limits of authorities are some failures an hour.
const PAUSES_MIN: [i64; 5] = [15, 60, 180, 720, 1_440];
const MINUTE_MS: i64 = 60_000;
/// Where it shows from here that no certificate would come, it is looked again after so long at most, and an authority asked all the same
/// after so many looks: about a day.
const FORESEEN_MAX_MS: i64 = 60 * MINUTE_MS;
const ASK_ALL_THE_SAME: i64 = 24;
/// How long an authority that is away, or gives no more, is left alone when it does not say it itself.
const AUTHORITY_REST_MS: i64 = 30 * MINUTE_MS;
/// The shortest and the longest pause, whatever an authority says and however soon a certificate ends.
const PAUSE_MIN_MS: i64 = 15 * MINUTE_MS;
const PAUSE_MAX_MS: i64 = 24 * 60 * MINUTE_MS;
/// A certificate that has come is not asked for again sooner, whatever its dates are.
const AFTER_MS: i64 = 60 * MINUTE_MS;
/// How long one name may take, with all authorities and ways: some minutes are usual where a zone is slow to show a record.
const ORDER_MAX: Duration = Duration::from_mins(20);
/// Orders of one tenant: one that uses up the limits of an authority would do so for all.
const TENANT_MAX: u32 = 100;
const TENANT_WINDOW_MS: i64 = 60 * MINUTE_MS;

/// Authorities, and how they are spoken to.
pub struct Acme {
    /// Speaks to them.
    pub engine: Arc<dyn Authorities>,
    /// In the order in which they are asked.
    pub directories: Vec<Directory>,
    /// Where they may reach a person.
    pub email: Option<String>,
    /// The zones in which records show that names are ours.
    pub zones: Option<Zones>,
    /// Addresses of the server for which certificates are wanted.
    pub addresses: Vec<IpAddr>,
    outcomes: [AtomicU64; Outcome::ALL.len()],
    rests: Mutex<HashMap<String, i64>>,
    /// The orders of this node for which records were set, by name.
    posted: Mutex<HashMap<String, Vec<String>>>,
    windows: Mutex<HashMap<CertificateId, i64>>,
    covered: Mutex<Option<Vec<String>>>,
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
            zones: None,
            addresses: Vec::new(),
            outcomes: Default::default(),
            rests: Mutex::default(),
            posted: Mutex::default(),
            windows: Mutex::default(),
            covered: Mutex::default(),
            registering: tokio::sync::Mutex::default(),
        }
    }

    /// With zones in which records show that names are ours.
    #[must_use]
    pub fn with_zones(self, zones: Option<Zones>) -> Self {
        Self { zones, ..self }
    }

    /// With certificates for these addresses of the server.
    #[must_use]
    pub fn with_addresses(self, addresses: Vec<IpAddr>) -> Self {
        Self { addresses, ..self }
    }

    /// The authorities that may be asked now.
    fn awake(&self, now_ms: i64) -> Vec<&Directory> {
        let rests = lock(&self.rests);
        self.directories.iter().filter(|it| rests.get(&it.url).is_none_or(|until| *until <= now_ms)).collect()
    }

    /// When one of them may be asked again.
    fn awake_ms(&self, now_ms: i64) -> i64 {
        let rests = lock(&self.rests);
        let soonest = self.directories.iter().filter_map(|it| rests.get(&it.url)).min().copied();
        soonest.unwrap_or(now_ms).max(now_ms.saturating_add(MINUTE_MS)).min(now_ms.saturating_add(AUTHORITY_REST_MS))
    }

    fn rest(&self, directory: &Directory, until_ms: i64) {
        lock(&self.rests).insert(directory.url.clone(), until_ms);
    }
}

fn lock<T>(it: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows challenges by way of the database.
struct Shower(Services);

impl Stage for Shower {
    fn show(&self, challenge: Challenge, _order: Placed) -> Later<'_, Result<(), Failure>> {
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
    Certificate {
        issued: Issued,
        directory: String,
    },
    Nothing {
        why: Explained,
        retry_after_s: Option<u64>,
    },
    /// Nobody was asked: all authorities rest until then.
    Nobody {
        until_ms: i64,
    },
    /// A person is to set a record first.
    Waits,
}

impl Services {
    /// The names in files of the operator, which need no certificate. Before they are known, nobody is asked.
    pub fn cover(&self, names: &[String]) {
        let Some(acme) = &self.acme else { return };
        let mut covered = lock(&acme.covered);
        if covered.as_deref() != Some(names) {
            *covered = Some(names.to_vec());
            self.signals().certify.notify_one();
        }
    }

    /// Whether this node could get certificates.
    pub(super) fn can_certify(&self) -> bool {
        self.acme.as_ref().is_some_and(|it| !it.directories.is_empty() && lock(&it.covered).is_some())
            && self.secrets.key().is_ok()
    }

    /// What authorities will ask for now.
    pub async fn shown_challenges(&self) -> Result<Vec<Challenge>> {
        let now_ms = self.clock.now_ms();
        self.db.read(move |tx| store::acme::list_challenges(tx, now_ms)).await
    }

    /// Gets one certificate, and keeps what came of it.
    async fn certify_one(&self, acme: &Acme, hold: Hold, wanted: Wanted, before: Option<Order>) -> Result<()> {
        let failures = before.as_ref().map_or(0, |it| it.failures);
        let awaited = self.awaited_records(acme, &wanted).await?;
        if !self.all_shown(&awaited).await {
            return self.keep_waiting(hold, &wanted, before.as_ref(), &awaited).await;
        }
        // A record that a person has set is a person's word.
        let looks = awaited.is_empty() && acme.looks_first(&wanted, failures);
        let barred = match if looks { self.foresee(acme, &wanted, failures).await } else { Foreseen::default() } {
            Foreseen::Nothing(why) => {
                acme.count(Outcome::Foreseen);
                return self.postpone(hold, wanted, before, why).await;
            }
            Foreseen::All(barred) => barred,
        };
        let key = format!("certify {}", wanted.tenant);
        if self.windows().take(&key, TENANT_MAX, TENANT_WINDOW_MS, "certify", "").await.is_err() {
            tracing::warn!(
                hostname = wanted.name,
                "no authority is asked now: its tenant had as many orders as it has in an hour"
            );
            return Ok(());
        }
        let order = self.begin_order(hold, &wanted, before.as_ref()).await?;
        let replaced = self.replaced(&wanted, before.as_ref()).await?;
        let asked = self.ask(acme, hold, &wanted, before.as_ref(), (replaced.as_ref(), awaited.first(), &barred));
        let came = tokio::time::timeout(ORDER_MAX, asked).await;
        let came =
            came.unwrap_or_else(|_| Ok(Came::Nothing { why: acme::took_too_long(&wanted.name), retry_after_s: None }));
        // What passes by itself leaves a person's record worth something.
        let keeps = match &came {
            Ok(Came::Nothing { why, .. }) => passes(why.code),
            Ok(Came::Nobody { .. } | Came::Waits) | Err(_) => true,
            Ok(Came::Certificate { .. }) => false,
        };
        let name = wanted.name.clone();
        let done = match came {
            Ok(Came::Waits) => {
                acme.count(Outcome::Waiting);
                let awaited = self.awaited_records(acme, &wanted).await?;
                self.keep_waiting(hold, &wanted, before.as_ref(), &awaited).await
            }
            Ok(came) => self.keep_outcome(acme, hold, wanted, (order, failures), replaced, came).await,
            Err(error) => Err(error),
        };
        self.take_back(acme, hold, &name, keeps).await?;
        done
    }

    /// Keeps what came of an order; `failures`: those before it.
    async fn keep_outcome(
        &self,
        acme: &Acme,
        hold: Hold,
        wanted: Wanted,
        (mut order, failures): (Order, i64),
        replaced: Option<Kept>,
        came: Came,
    ) -> Result<()> {
        let (kept, why) = match came {
            Came::Certificate { issued, directory } => match self.take(&wanted, &issued) {
                Ok(kept) => {
                    order.authority = Some(directory);
                    (Some(kept), None)
                }
                Err(error) => (None, Some((error.code.to_owned(), error.message, None))),
            },
            Came::Nothing { why, retry_after_s } => (None, Some((why.code.to_owned(), why.text, retry_after_s))),
            Came::Nobody { until_ms } => {
                let text = "The authorities of the settings are away, or give no more certificates for now. It is tried again.";
                acme.count(Outcome::Resting);
                order.failures = failures;
                order.next_ms = until_ms;
                order.problem = Some((String::from("certificate_authorities_rest"), text.to_owned()));
                (None, None)
            }
            Came::Waits => (None, None),
        };
        if let Some(kept) = &kept {
            acme.count(Outcome::Issued);
            order.certificate = Some(kept.id);
            order.next_ms = renewal_ms(kept).max(self.clock.now_ms().saturating_add(AFTER_MS));
            (order.failures, order.problem) = (0, None);
            tracing::info!(hostname = wanted.name, issuer = kept.issuer, "a certificate came");
        }
        if let Some((code, text, retry_after_s)) = why {
            acme.count(Outcome::Refused);
            // One that is shown and ends leaves less time.
            let left = replaced.as_ref().map(|it| it.until_ms.saturating_sub(self.clock.now_ms()) / 4);
            // What is given and cannot be used counts at its authority, too.
            let is_wasted = code == CLOCK;
            let failures = if is_wasted { i64::MAX } else { failures };
            let left = left.filter(|_| !is_wasted).unwrap_or(i64::MAX);
            let pause = pause_ms(failures, retry_after_s).min(left.max(PAUSE_MIN_MS));
            order.next_ms = self.clock.now_ms().saturating_add(pause);
            tracing::warn!(hostname = wanted.name, code, "no certificate: {text}");
            order.problem = Some((code, text));
        }
        self.end_order(hold, wanted, order, kept, replaced).await
    }

    /// Keeps that an authority is asked, before it is: what breaks off is then not begun anew at once.
    async fn begin_order(&self, hold: Hold, wanted: &Wanted, before: Option<&Order>) -> Result<Order> {
        let now_ms = self.clock.now_ms();
        let failures = before.map_or(0, |it| it.failures);
        let order = Order {
            tenant: wanted.tenant,
            name: wanted.name.clone(),
            certificate: before.and_then(|it| it.certificate),
            authority: before.and_then(|it| it.authority.clone()),
            next_ms: now_ms.saturating_add(pause_ms(failures, None)),
            asked_ms: Some(now_ms),
            failures: failures.saturating_add(1),
            problem: before.and_then(|it| it.problem.clone()),
        };
        let (services, begun) = (self.clone(), order.clone());
        self.db
            .write(move |tx| {
                services.check_hold(tx, &hold)?;
                store::certificates::put_order(tx, access::task_scope(begun.tenant), &begun)
            })
            .await?;
        Ok(order)
    }

    /// Keeps what came.
    async fn end_order(
        &self,
        hold: Hold,
        wanted: Wanted,
        order: Order,
        kept: Option<Kept>,
        replaced: Option<Kept>,
    ) -> Result<()> {
        let (services, scope) = (self.clone(), access::task_scope(wanted.tenant));
        let actor = self.actor_system(wanted.tenant, "certificates");
        let done = self.db.write(move |tx| {
            services.check_hold(tx, &hold)?;
            store::acme::delete_challenges(tx, &wanted.name, services.clock.now_ms())?;
            if let Some(kept) = &kept {
                store::certificates::insert(tx, scope, kept)?;
                // By a clock that is behind, the one before is shown until the next one counts.
                if let Some(replaced) = replaced.as_ref().filter(|_| kept.from_ms <= services.clock.now_ms()) {
                    store::certificates::delete(tx, scope, replaced.id)?;
                }
                let from = acme::authority_name(order.authority.as_deref().unwrap_or_default());
                let text = acme::issued(&wanted.name, from, replaced.is_some());
                services.record(tx, &actor, &Event::new(ISSUED, "certificate", &kept.id, text))?;
            } else if let Some((_, text)) = order.problem.as_ref().filter(|_| order.failures == 1) {
                let text = format!("got no certificate for {}: {text}", wanted.name);
                services.record(tx, &actor, &Event::new("certificate.failed", "hostname", &wanted.name, text))?;
            }
            store::certificates::put_order(tx, scope, &order)?;
            services.tell(tx, Topic::Certificates)
        });
        done.await
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
        (replaced, awaited, barred): (Option<&Kept>, Option<&Posted>, &[Barred]),
    ) -> Result<Came> {
        let mut first: Option<(Explained, Option<u64>)> = None;
        let awake = acme.awake(self.clock.now_ms());
        // An order that has waited is gone on with where it was placed.
        let asked = awake.into_iter().filter(|it| awaited.is_none_or(|of| of.authority == it.url));
        // Ways by which another authority would say the same.
        let mut vain = Vec::new();
        for directory in asked {
            let name = acme::authority_name(&directory.url);
            let may = |way: &Kind| {
                !vain.contains(way) && !barred.iter().any(|it| it.directory == directory.url && it.way == *way)
            };
            let ways: Vec<Kind> = acme.ways(wanted).iter().copied().filter(may).collect();
            for (at, way) in ways.iter().copied().enumerate() {
                let is_last = at + 1 == ways.len();
                self.ask_hold(Some(hold)).await?;
                let is_same = before.and_then(|it| it.authority.as_deref()) == Some(directory.url.as_str());
                let before_it = replaced.filter(|_| is_same).and_then(Kept::renewal_id);
                let order = awaited.map(|it| it.order.clone());
                let wish = Wish { name: wanted.name.clone(), way, replaces: before_it, order };
                let refusal = match self.ask_one(acme, directory, &wish).await? {
                    Ok(issued) => return Ok(Came::Certificate { issued, directory: directory.url.clone() }),
                    Err(None) => return Ok(Came::Waits),
                    Err(Some(refusal)) => refusal,
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
                    Blame::Hostname => vain.push(way),
                    Blame::Way if !is_last => {}
                    Blame::Way | Blame::Authority | Blame::Account => break,
                }
            }
        }
        // The first is the one that people know: it is asked for the usual way, too.
        Ok(match first {
            Some((why, retry_after_s)) => Came::Nothing { why, retry_after_s },
            None => Came::Nobody { until_ms: acme.awake_ms(self.clock.now_ms()) },
        })
    }

    /// One order at one authority by one way: a certificate, or why there is none; without a reason a person has something to do first. An
    /// account that the authority does not know any more is made anew, once.
    async fn ask_one(
        &self,
        acme: &Acme,
        directory: &Directory,
        wish: &Wish,
    ) -> Result<Result<Issued, Option<acme::Refusal>>> {
        for is_last in [false, true] {
            let credentials = match self.account(acme, directory).await? {
                Ok(it) => it,
                Err(refusal) => return Ok(Err(Some(refusal))),
            };
            let stage: Arc<dyn Stage> = match wish.way {
                Kind::Http01 | Kind::TlsAlpn01 => Arc::new(Shower(self.clone())),
                Kind::Dns01 => Arc::new(Poster {
                    services: self.clone(),
                    name: wish.name.clone(),
                    authority: directory.url.clone(),
                }),
            };
            match acme.engine.issue(directory, &credentials, wish, stage).await {
                Ok(issued) => return Ok(Ok(issued)),
                Err(Failure::Own(error)) => return Err(error),
                Err(Failure::Waits) => return Ok(Err(None)),
                Err(Failure::Refused(refusal)) => {
                    let name = acme::authority_name(&directory.url);
                    if is_last || acme::explain(&refusal, name, &wish.name).blame != Blame::Account {
                        return Ok(Err(Some(refusal)));
                    }
                    self.forget_account(directory, &credentials).await?;
                }
            }
        }
        Err(Error::internal("an order was neither given nor refused"))
    }

    /// Forgets an account that its authority does not know any more, unless another one was made meanwhile.
    async fn forget_account(&self, directory: &Directory, credentials: &str) -> Result<()> {
        let context = format!("acme account {}", directory.url);
        let (services, url, known) = (self.clone(), directory.url.clone(), Zeroizing::new(credentials.to_owned()));
        self.db
            .write(move |tx| {
                let Some(sealed) = store::acme::find_account(tx, &url)? else { return Ok(()) };
                let is_same = services.master_key()?.open(&context, &sealed).is_ok_and(|it| *it == known.as_bytes());
                if is_same { store::acme::delete_account(tx, &url) } else { Ok(()) }
            })
            .await
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
        match pair.facts.standing(self.clock.now_ms() / 1_000) {
            Standing::Over => {
                let text = "The authority gave a certificate that has ended by the clock of this server: set that clock right.";
                return Err(Error::invalid(CLOCK, text));
            }
            // Authorities date them back by an hour.
            Standing::Early => tracing::warn!(
                hostname = wanted.name,
                "an authority gave a certificate that does not count yet by the clock of this server: set that clock right"
            ),
            Standing::Good | Standing::EndsSoon(_) => {}
        }
        let id = CertificateId(self.ids.next());
        let kept = self.kept(id, wanted.tenant, Source::Acme, &pair, issued.key.as_bytes(), wanted.for_server)?;
        Ok(Kept { seen_by: issued.seen_by, ..kept })
    }
}

/// Whether a refusal is one that passes without anybody's doing.
fn passes(code: &str) -> bool {
    ["certificate_authority_", "certificate_limit"].iter().any(|begin| code.starts_with(begin))
}

/// The pause after one more failure than `failures`; with a little chance in it.
fn pause_ms(failures: i64, retry_after_s: Option<u64>) -> i64 {
    let at = usize::try_from(failures).unwrap_or(0).min(PAUSES_MIN.len() - 1);
    let minutes = PAUSES_MIN.get(at).copied().unwrap_or(1_440);
    let chance = i64::try_from(random::below(u64::try_from(minutes * MINUTE_MS / 10).unwrap_or(1))).unwrap_or(0);
    let asked = retry_after_s.map_or(0, |it| i64::try_from(it).unwrap_or(i64::MAX).saturating_mul(1_000));
    (minutes * MINUTE_MS).max(asked).min(PAUSE_MAX_MS).saturating_add(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_day_and_heed_the_authority() {
        let minutes = |failures, retry| pause_ms(failures, retry) / MINUTE_MS;
        for (failures, least) in [(0, 15), (1, 60), (2, 180), (3, 720), (4, 1_440), (50, 1_440)] {
            let found = minutes(failures, None);
            assert!((least..=least + least / 10 + 1).contains(&found), "{failures}: {found}");
        }
        assert!(minutes(0, Some(7_200)) >= 120);
        assert!(minutes(3, Some(1)) >= 720);
        assert!(minutes(0, Some(u64::MAX)) <= 1_440 + 10);
    }
}
