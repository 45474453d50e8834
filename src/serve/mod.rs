//! The data plane: answers visitors from one immutable snapshot. Nothing here reads the database.
//!
//! It knows blobs by their hash and a snapshot that names manifests, and goes on answering when all else is down.
//! It sends no byte that it did not verify against the manifest, and nothing here takes a lock across an await.
//!
//! A request is read in [`visit`]; the routing table is in [`snapshot`]; bytes come from [`memory`].

pub mod bans;
mod bundle;
mod file;
mod gate;
pub mod headers;
pub mod hits;
pub mod incident;
mod index;
mod mapping;
mod memory;
pub mod meter;
mod near;
mod onward;
mod open;
mod page;
mod person;
pub mod proxy;
mod rates;
pub mod snapshot;
pub mod snapshot_file;
mod source;
pub mod tally;
mod variant;
mod visit;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hyper::{
    Method, StatusCode,
    body::Body as HttpBody,
    header::{CONTENT_LENGTH, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    http::request::Parts,
};
use tokio::sync::broadcast;

use self::{
    bans::{Bans, Left},
    bundle::Bundles,
    gate::{Gate, doors::Doors, rules::Rules},
    headers::X_ROBOTS_TAG,
    hits::Hits,
    incident::{Incident, Incidents},
    index::Indexes,
    memory::Memory,
    meter::{Counts, Meter},
    open::Opens,
    page::Refusal,
    proxy::{Figures, Nobody, Proxies, Resolve},
    rates::Rates,
    snapshot::{Settings, Snapshot, Target},
    tally::{Seen, Tally},
    visit::Visit,
};
use crate::{
    base::{
        blob_dir::{BlobDir, BlobError, Coding},
        clock::Clock,
        countries::Countries,
        hash::Sha256,
        ids::Id,
        tasks::Tasks,
    },
    domain::site_settings::{SiteSettings, addresses::Https},
    http::{
        connect,
        peer::{Client, Peer, Trust},
        respond::{Body, BodyError, Patient, Response},
        watched::Tunnel,
    },
};

/// The folder, below that of the data, in which large bodies of requests are gathered.
pub const BODIES: &str = "bodies";

/// A visitor's request, as the data plane is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The normalised hostname.
    pub host: &'a str,
    /// All of it but the body.
    pub parts: &'a Parts,
    /// Who has connected.
    pub peer: Peer,
    /// What is believed of forwarded requests.
    pub trust: &'a Trust,
}

impl Asked<'_> {
    /// Who asks. Worked out anew with each call, since most answers need it not.
    pub fn client(&self) -> Client {
        self.trust.client(self.peer, &self.parts.headers)
    }
}

/// The data plane of a process. Cheap to clone.
#[derive(Clone)]
pub struct DataPlane(Arc<Inner>);

struct Inner {
    current: ArcSwap<Snapshot>,
    /// One publisher at a time: compare and swap are one step.
    publishing: Mutex<()>,
    indexes: Indexes,
    bundles: Bundles,
    memory: Memory,
    incidents: Arc<Incidents>,
    meter: Arc<Meter>,
    rates: Rates,
    bans: Bans,
    hits: Hits,
    tally: Tally,
    proxies: Proxies,
    opens: Opens,
    tasks: Tasks,
    clock: Clock,
    doors: Doors,
    countries: OnceLock<Countries>,
    /// Whether shared caches may keep what is served: not while it is what an earlier process has kept, and a purge may have taken away.
    may_be_kept: AtomicBool,
}

impl Inner {
    /// Which country an address is of.
    fn countries(&self) -> &Countries {
        self.countries.get_or_init(Countries::none)
    }
}

/// A snapshot that may not be published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// A newer one is served.
    Older {
        /// Its generation.
        generation: u64,
        /// The generation that is served.
        served: u64,
    },
    /// It comes from another database.
    Foreign {
        /// Its instance.
        instance: Id,
        /// The instance that is served.
        served: Id,
    },
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Older { generation, served } => {
                write!(f, "snapshot {generation} is older than the one that is served, {served}")
            }
            Self::Foreign { instance, served } => {
                write!(f, "the snapshot is of instance {instance}, and instance {served} is served")
            }
        }
    }
}

impl std::error::Error for Refused {}

impl std::fmt::Debug for DataPlane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataPlane").field("generation", &self.snapshot().generation).finish_non_exhaustive()
    }
}

impl DataPlane {
    /// Serves `snapshot` with the bytes in `blobs`. A server that has none yet begins with
    /// `Snapshot::new(Id::NIL, 0)`, which any instance may follow.
    pub fn new(blobs: BlobDir, snapshot: Snapshot, tasks: Tasks, clock: Clock) -> Self {
        let bodies = blobs.root().join(BODIES);
        Self::resolving(blobs, snapshot, tasks, clock, Arc::new(Nobody), bodies)
    }

    /// The same, with upstreams at the addresses that `resolver` says, and large bodies of requests gathered in the folder `bodies`.
    pub fn resolving(
        blobs: BlobDir,
        snapshot: Snapshot,
        tasks: Tasks,
        clock: Clock,
        resolver: Arc<dyn Resolve>,
        bodies: PathBuf,
    ) -> Self {
        let incidents = Arc::new(Incidents::new());
        let proxies = Proxies::new(resolver, tasks.clone(), bodies);
        proxies.follow(&snapshot);
        let hits = Hits::new(clock.now_ms());
        Self(Arc::new(Inner {
            current: ArcSwap::from_pointee(snapshot),
            publishing: Mutex::default(),
            indexes: Indexes::new(blobs.clone(), Arc::clone(&incidents)),
            bundles: Bundles::new(blobs.clone()),
            memory: Memory::new(blobs, Arc::clone(&incidents), true, &tasks),
            incidents,
            meter: Arc::default(),
            countries: OnceLock::new(),
            may_be_kept: AtomicBool::new(true),
            doors: Doors::new(tasks.clone()),
            tally: Tally::new(clock.clone()),
            clock,
            rates: Rates::new(),
            bans: Bans::default(),
            hits,
            proxies,
            opens: Opens::default(),
            tasks,
        }))
    }

    /// The same, that knows countries. Only before anybody is answered.
    #[must_use]
    pub fn knowing(self, countries: Countries) -> Self {
        // Once it has answered somebody it stays with what it said then.
        drop(self.0.countries.set(countries));
        self
    }

    /// The same, whose snapshot is of an earlier process: until the first [`DataPlane::publish`] no file is for shared caches whose policy
    /// tells caches nothing. What was purged since it was kept would come back to them, and nobody would purge it again. Only before anybody
    /// is answered.
    #[must_use]
    pub fn of_before(self) -> Self {
        self.0.may_be_kept.store(false, Ordering::Release);
        self
    }

    /// Which country an address is of.
    pub fn countries(&self) -> &Countries {
        self.0.countries()
    }

    /// Replaces what is served, at once and for all requests that begin after it.
    pub fn publish(&self, snapshot: Snapshot) -> Result<(), Refused> {
        let one = self.0.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        let served = self.0.current.load_full();
        if served.instance != Id::NIL && served.instance != snapshot.instance {
            return Err(Refused::Foreign { instance: snapshot.instance, served: served.instance });
        }
        if snapshot.generation < served.generation {
            return Err(Refused::Older { generation: snapshot.generation, served: served.generation });
        }
        self.0.proxies.follow(&snapshot);
        let snapshot = Arc::new(snapshot);
        self.0.current.store(Arc::clone(&snapshot));
        self.0.hits.follow(&snapshot);
        // Behind it: whoever reads that this is so reads this snapshot.
        self.0.may_be_kept.store(true, Ordering::Release);
        drop(one);
        self.0.look_again(Some(served));
        Ok(())
    }

    /// How many requests have fitted rules of firewalls.
    pub fn hits(&self) -> &Hits {
        &self.0.hits
    }

    /// What is served now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.current.load_full()
    }

    /// Answers a request for a normalised hostname; `None` when no site has it.
    pub async fn answer<B>(&self, asked: Asked<'_>, body: B) -> Option<Response>
    where
        B: HttpBody<Data = Bytes, Error: Into<BodyError>> + Send + 'static,
    {
        // In front of it.
        let may_be_kept = self.0.may_be_kept.load(Ordering::Acquire);
        let (snapshot, parts) = (self.snapshot(), asked.parts);
        let target = snapshot.find(asked.host)?;
        if let Some(left) = self.0.banned(target, asked) {
            return Some(self.finish(Refusal::Banned(left).answer(&parts.headers), parts));
        }
        let generation = snapshot.generation;
        let visit = Visit { plane: &self.0, target, generation, parts, asked, may_be_kept, locked: None, edge: None };
        let mut response = match &target.settings {
            Settings::Plain => match connect::refused(parts) {
                Some(why) => Refusal::from(why).answer(&parts.headers),
                None => match visit.answer().await {
                    Ok(shown) => shown,
                    Err(Refusal::Elsewhere(onward)) => {
                        let passed = Box::pin(onward.answer(&visit, Body::boxed(body), false, None)).await;
                        passed.unwrap_or_else(|refusal| refusal.answer(&parts.headers))
                    }
                    Err(refusal) => refusal.answer(&parts.headers),
                },
            },
            // Most sites have none, and pay nothing for those that have.
            Settings::Given(given) => match given.rules() {
                Ok(rules) => {
                    let gate = self.0.gate(given, rules, &snapshot, target, asked);
                    Box::pin(gate.answer(&visit, Body::boxed(body))).await
                }
                Err(_) => Refusal::Unreadable.answer(&parts.headers),
            },
            Settings::Unreadable => Refusal::Unreadable.answer(&parts.headers),
        };
        // A success would say that the stream is a WebSocket now.
        if response.status().is_success() && connect::on_stream(parts).is_some() {
            response = Refusal::NoWebSocket.answer(&parts.headers);
        }
        if target.preview {
            // Behind what the policy says, which is part of what was deployed.
            response.headers_mut().append(X_ROBOTS_TAG, HeaderValue::from_static("noindex"));
        }
        let seen = Seen { target, asked, countries: self.0.countries() };
        Some(self.0.tally.watch(&seen, self.finish(response, parts)))
    }

    /// Who gets nothing. Whoever has changed it calls [`DataPlane::look_again`].
    pub fn bans(&self) -> &Bans {
        &self.0.bans
    }

    /// Ends what visitors have open who get nothing any more, soon.
    pub fn look_again(&self) {
        self.0.look_again(None);
    }

    /// What a site wants done with visitors in clear; `None` for a host that no site has.
    pub fn find_https(&self, host: &str) -> Option<Https> {
        let snapshot = self.0.current.load();
        match &snapshot.find(host)?.settings {
            Settings::Given(settings) => Some(settings.addresses.https),
            Settings::Plain | Settings::Unreadable => Some(Https::Server),
        }
    }

    /// The page for a hostname that no site has.
    pub fn unknown_host(&self, parts: &Parts) -> Response {
        self.finish(Refusal::UnknownHost.answer(&parts.headers), parts)
    }

    /// The page for a request that names no host, or more than one.
    pub fn bad_host(&self, parts: &Parts) -> Response {
        self.finish(Refusal::Host.answer(&parts.headers), parts)
    }

    /// Blobs that cannot be served, as they are found. A listener that is too slow is told how many it missed.
    pub fn incidents(&self) -> broadcast::Receiver<Incident> {
        self.0.incidents.listen()
    }

    /// How many blobs and compressed forms are known to be damaged.
    pub fn damaged(&self) -> usize {
        self.0.incidents.count()
    }

    /// Somebody has read a blob and found that it cannot be served: as if a visitor had asked for it.
    pub fn found_damaged(&self, blob: Sha256, why: &BlobError) {
        self.0.memory.doubt(blob);
        self.0.incidents.report(blob, why.into(), why);
    }

    /// Somebody has read a blob and found it whole.
    pub fn found_whole(&self, blob: Sha256) {
        self.0.incidents.verified(blob);
    }

    /// A damaged compressed form was removed: what is not there is not damaged.
    pub fn variant_removed(&self, blob: Sha256, coding: Coding) {
        self.0.incidents.variant_verified(blob, coding);
    }

    /// What became of requests that other servers answer.
    pub fn proxied(&self) -> Vec<Figures> {
        self.0.proxies.figures()
    }

    /// What visitors got so far.
    pub fn meter(&self) -> Counts {
        self.0.meter.read()
    }

    /// What visitors of each site got.
    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// The last step of every answer: its length, no body for HEAD, and the count.
    fn finish(&self, mut response: Response, parts: &Parts) -> Response {
        let status = response.status();
        let bodiless = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
        let size = response.body().size_hint().exact();
        // What another server answers is that server's to describe.
        let is_ours = response.extensions().get::<Patient>().is_none();
        let headers = response.headers_mut();
        if is_ours && !headers.contains_key(X_CONTENT_TYPE_OPTIONS) {
            headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        if let (Some(size), true, false, false) = (size, is_ours, bodiless, headers.contains_key(CONTENT_LENGTH)) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
        }
        let announced = || headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
        let size = size.or_else(announced);
        let is_head = parts.method == Method::HEAD;
        let sent = if is_head { 0 } else { size.unwrap_or(0) };
        if is_head {
            *response.body_mut() = Body::empty();
        }
        self.0.meter.count(status, sent);
        if let Some(tunnel) = response.extensions().get::<Tunnel>() {
            tunnel.watch(self.0.meter.counting());
        }
        if size.is_none() && !is_head {
            // Nobody knows before its end.
            let counting = self.0.meter.counting();
            return response.map(|it| it.watched(counting));
        }
        response
    }
}

impl Inner {
    /// Whether this client gets nothing of a site, and for how long on.
    fn banned(&self, target: &Target, asked: Asked<'_>) -> Option<Left> {
        if self.bans.is_empty() {
            return None;
        }
        let client = asked.client().address;
        let stands = self.bans.stands(target.site, client)?;
        let is_exempt = |it: &SiteSettings| it.limits.exempt.iter().any(|it| it.contains(client));
        if let Settings::Given(settings) = &target.settings
            && !stands.of_all
            && is_exempt(settings)
        {
            return None;
        }
        Some(stands.left)
    }

    /// What is set around a site, for a request.
    fn gate<'a>(
        &'a self,
        settings: &'a SiteSettings,
        rules: &'a Rules,
        snapshot: &'a Snapshot,
        target: &'a Target,
        asked: Asked<'a>,
    ) -> Gate<'a> {
        let now_s = self.clock.now_ms().div_euclid(1_000);
        let (rates, bans, tally, hits) = (&self.rates, &self.bans, &self.tally, &self.hits);
        let countries = self.countries();
        Gate { settings, rules, snapshot, target, asked, now_s, rates, bans, tally, hits, countries }
    }
}
