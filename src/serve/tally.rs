//! What visitors of each site got: an event for each answer that has ended, folded into sums beside the requests.
//!
//! A request waits for nothing here: its event goes into a bounded queue of the thread's own share (a ring of atomics), and when that is
//! full, it is dropped and counted. One task folds the queues; whoever stores the sums takes them from there.
//!
//! SECURITY: an address comes in for one hash, under a salt of the day, and goes nowhere else. Of an IPv6 address the network (/64) counts.

mod folding;

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hasher as _},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use arc_swap::ArcSwap;
use hyper::{
    Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, REFERER, USER_AGENT},
    http::request::Parts,
};

use crate::{
    base::{clock::Clock, countries::Countries, hash::Sha256, random},
    domain::{
        site::SiteId,
        traffic::{
            Period, agent, label,
            sums::{Answered, SiteSums, Sums},
            tops::Kind,
        },
    },
    http::{
        respond::Response,
        watched::{PIECE, Tunnel, Watch},
    },
};

use super::{Asked, snapshot::Target};

/// Events of one share that wait to be folded: more than a core answers between two folds.
const WAITING_MAX: usize = 16 * 1024;
/// Shares at most: threads beyond that share.
const SHARES_MAX: usize = 16;
/// Verdicts on user agents that a thread remembers.
const VERDICTS: usize = 256;
/// Bytes of a user agent that count.
const AGENT_BYTES_MAX: usize = 512;
/// Sites whose figures since the start are told one by one.
const SITES_TOLD_MAX: usize = 100;
/// Sites whose figures since the start are kept.
const SITES_KEPT_MAX: usize = 20_000;

/// The salt of a day: its start, and the secret.
pub type Salt = (i64, [u8; 32]);

/// The counts of all sites. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tally(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: Clock,
    shares: Box<[Share]>,
    salts: ArcSwap<Vec<Salt>>,
    /// For days whose salt is not known: nobody else has it, so that other nodes count the same visitor again.
    own_salt: [u8; 32],
    crowded: AtomicU64,
    sums: Mutex<Sums>,
    since_start: Mutex<HashMap<SiteId, SinceStart>>,
    used_up: ArcSwap<HashSet<SiteId>>,
}

#[derive(Debug)]
struct Share {
    events: SyncSender<Answered>,
    /// Only who folds takes it.
    waiting: Mutex<Receiver<Answered>>,
}

/// Figures of one site since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinceStart {
    /// Answers.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

/// A request whose answer is counted.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// What its host shows.
    pub target: &'a Target,
    /// The request, of which one asks who has sent it where that counts: for pages of people.
    pub asked: Asked<'a>,
    /// Which country an address is of, which counts for those pages.
    pub countries: &'a Countries,
}

thread_local! {
    static SHARE: Cell<Option<usize>> = const { Cell::new(None) };
    static KNOWN: RefCell<[u64; VERDICTS]> = const { RefCell::new([0; VERDICTS]) };
}

/// Threads so far.
static THREADS: AtomicUsize = AtomicUsize::new(0);

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    /// Nothing is counted yet.
    pub fn new(clock: Clock) -> Self {
        let many = thread::available_parallelism().map_or(1, std::num::NonZero::get).min(SHARES_MAX);
        Self::with_room(clock, many, WAITING_MAX)
    }

    fn with_room(clock: Clock, shares: usize, room: usize) -> Self {
        let share = || {
            let (events, waiting) = sync_channel(room);
            Share { events, waiting: Mutex::new(waiting) }
        };
        Self(Arc::new(Inner {
            clock,
            shares: std::iter::repeat_with(share).take(shares.max(1)).collect(),
            salts: ArcSwap::default(),
            own_salt: random::bytes(),
            crowded: AtomicU64::new(0),
            sums: Mutex::default(),
            since_start: Mutex::default(),
            used_up: ArcSwap::default(),
        }))
    }

    /// The answer to a visitor, which is counted when its last byte has left, or when it broke off. One that opens a tunnel is counted at once, and
    /// what goes through that is when it goes.
    #[must_use]
    pub fn watch(&self, seen: &Seen<'_>, response: Response) -> Response {
        let answered = self.describe(seen, &response);
        let at_once = if seen.asked.parts.method == Method::HEAD { Some(0) } else { response.body().in_memory() };
        if let Some(bytes) = at_once.filter(|it| *it <= PIECE) {
            self.leave(Answered { bytes: u64::try_from(bytes).unwrap_or(u64::MAX), ..answered });
            if let Some(tunnel) = response.extensions().get::<Tunnel>() {
                tunnel.watch(Tunnelled { tally: self.clone(), site: seen.target.site });
            }
            return response;
        }
        let pending = Pending { tally: self.clone(), answered: Some(answered) };
        response.map(|body| body.watched(pending))
    }

    /// What is known when an answer begins.
    fn describe(&self, seen: &Seen<'_>, response: &Response) -> Answered {
        let headers = &seen.asked.parts.headers;
        let agent = headers.get(USER_AGENT).map(hyper::header::HeaderValue::as_bytes);
        let (status, is_bot) = (response.status(), is_bot(agent));
        let at_ms = self.0.clock.about_ms();
        let is_persons = !is_bot && !seen.target.preview;
        let is_page = is_persons && is_page(seen.asked.parts, response);
        let path = || label::path(seen.asked.parts.uri.path());
        let label = if is_page {
            Some((Kind::Page, path()))
        } else {
            (is_persons && status == StatusCode::NOT_FOUND).then(|| (Kind::Missing, path()))
        };
        let referrer = headers.get(REFERER).filter(|_| is_page);
        Answered {
            site: seen.target.site,
            at_ms,
            status: status.as_u16(),
            bytes: 0,
            is_bot,
            visitor: is_page.then(|| self.visitor(at_ms, seen, agent.unwrap_or_default())),
            label,
            referrer: referrer.and_then(|it| label::referrer(it.as_bytes(), seen.asked.host)),
            country: (is_page && seen.countries.is_known())
                .then(|| seen.countries.find(seen.asked.client().address))
                .flatten(),
        }
    }

    /// The hash of a visitor of a site on a day.
    fn visitor(&self, at_ms: i64, seen: &Seen<'_>, agent: &[u8]) -> u32 {
        let address = match seen.asked.client().address {
            IpAddr::V4(it) => u128::from(it.to_ipv6_mapped()),
            IpAddr::V6(it) => u128::from(it) >> 64 << 64,
        };
        let agent = agent.get(..AGENT_BYTES_MAX).unwrap_or(agent);
        let salt = self.salt(Period::Day.start_of(at_ms));
        let address = address.to_be_bytes();
        let site = seen.target.site.0;
        let mut words = [0_u8; 64 + AGENT_BYTES_MAX];
        let parts = salt.iter().chain(site.as_bytes()).chain(&address).chain(agent);
        let mut length = 0;
        for (to, from) in words.iter_mut().zip(parts) {
            *to = *from;
            length += 1;
        }
        let hash = Sha256::of(words.get(..length).unwrap_or(&words)).0;
        let [a, b, c, d, ..] = hash;
        u32::from_be_bytes([a, b, c, d])
    }

    fn salt(&self, day_ms: i64) -> [u8; 32] {
        let known = self.0.salts.load();
        if let Some((_, salt)) = known.iter().find(|it| it.0 == day_ms) {
            return *salt;
        }
        Sha256::of(&[self.0.own_salt.as_slice(), &day_ms.to_be_bytes()].concat()).0
    }

    /// Whether the salts are to be asked for: that of today or of what comes next is not known, or one is of a day that is over.
    pub fn wants_salts(&self, now_ms: i64, ahead_ms: i64) -> bool {
        let salts = self.0.salts.load();
        let today = Period::Day.start_of(now_ms);
        let lacks = |day: i64| !salts.iter().any(|it| it.0 == day);
        lacks(today)
            || lacks(Period::Day.start_of(now_ms.saturating_add(ahead_ms)))
            || salts.iter().any(|it| it.0 < today)
    }

    /// From now on these are the salts of their days; others are forgotten.
    pub fn set_salts(&self, salts: Vec<Salt>) {
        self.0.salts.store(Arc::new(salts));
    }

    /// Leaves an event, if there is room. Waits for nothing.
    fn leave(&self, answered: Answered) {
        let at = SHARE.get().unwrap_or_else(|| {
            let at = THREADS.fetch_add(1, Ordering::Relaxed);
            SHARE.set(Some(at));
            at
        });
        let share = at.checked_rem(self.0.shares.len()).and_then(|it| self.0.shares.get(it));
        if share.is_none_or(|it| it.events.try_send(answered).is_err()) {
            self.0.crowded.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes what was left into the sums; how many answers.
    pub fn fold(&self) -> usize {
        let mut folded = 0;
        for share in &self.0.shares {
            let waiting = lock(&share.waiting);
            let mut sums = lock(&self.0.sums);
            let mut since_start = lock(&self.0.since_start);
            // Only what is there now: who folds shall not run after those who answer.
            for answered in waiting.try_iter().take(WAITING_MAX) {
                add_since_start(&mut since_start, answered.site, 1, answered.bytes);
                sums.take_in(answered);
                folded += 1;
            }
        }
        folded
    }

    /// More bytes of an answer that is counted already. Who folds may be waited for: no request does this.
    fn add(&self, site: SiteId, bytes: u64) {
        lock(&self.0.sums).take_in_bytes(site, self.0.clock.about_ms(), bytes);
        add_since_start(&mut lock(&self.0.since_start), site, 0, bytes);
    }

    /// Takes the sums that are to be stored next, of at most `most` sites.
    pub fn take(&self, most: usize) -> Vec<(SiteId, SiteSums)> {
        lock(&self.0.sums).take(most)
    }

    /// Takes back what could not be stored.
    pub fn give_back(&self, taken: Vec<(SiteId, SiteSums)>) {
        lock(&self.0.sums).give_back(taken);
    }

    /// Whether a site has sent as much as it may in this month.
    pub fn is_used_up(&self, site: SiteId) -> bool {
        self.0.used_up.load().contains(&site)
    }

    /// From now on these sites have, and no others. Whether there is one among them that had not before: whoever has set it calls
    /// [`super::DataPlane::look_again`] then.
    pub fn set_used_up(&self, sites: HashSet<SiteId>) -> bool {
        let sites = Arc::new(sites);
        let before = self.0.used_up.swap(Arc::clone(&sites));
        !sites.is_subset(&before)
    }

    /// What is in no sum, for want of room.
    pub fn dropped(&self) -> u64 {
        self.0.crowded.load(Ordering::Relaxed).saturating_add(lock(&self.0.sums).dropped())
    }

    /// The figures of the sites that were asked most since the start, the first first.
    pub fn busiest(&self) -> Vec<(SiteId, SinceStart)> {
        let mut all: Vec<_> = lock(&self.0.since_start).iter().map(|(site, it)| (*site, *it)).collect();
        all.sort_unstable_by(|one, other| other.1.requests.cmp(&one.1.requests).then(one.0.cmp(&other.0)));
        all.truncate(SITES_TOLD_MAX);
        all
    }
}

fn add_since_start(all: &mut HashMap<SiteId, SinceStart>, site: SiteId, requests: u64, bytes: u64) {
    if all.len() < SITES_KEPT_MAX || all.contains_key(&site) {
        let it = all.entry(site).or_default();
        it.requests = it.requests.saturating_add(requests);
        it.bytes = it.bytes.saturating_add(bytes);
    }
}

/// Whether a program asks. Looking for all words costs some microseconds, so that a thread remembers what it has seen lately.
fn is_bot(user_agent: Option<&[u8]>) -> bool {
    let Some(bytes) = user_agent else { return true };
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes.get(..AGENT_BYTES_MAX).unwrap_or(bytes));
    let hash = hasher.finish() | 1;
    let slot = usize::try_from(hash >> 32).unwrap_or(0) % VERDICTS;
    KNOWN.with_borrow_mut(|known| match known.get_mut(slot) {
        // The lowest bit is the verdict.
        Some(it) if *it | 1 == hash => *it & 1 == 1,
        other => {
            let verdict = agent::is_bot(Some(bytes));
            if let Some(it) = other {
                *it = (hash & !1) | u64::from(verdict);
            }
            verdict
        }
    })
}

/// Whether somebody looks at a page: a document that was sent, or that the browser had.
fn is_page(parts: &Parts, response: &Response) -> bool {
    if parts.method != Method::GET || is_ahead(&parts.headers) {
        return false;
    }
    let starts = |headers: &HeaderMap, name, with: &[u8]| {
        headers.get(name).is_some_and(|it: &hyper::header::HeaderValue| {
            it.as_bytes().get(..with.len()).is_some_and(|it| it.eq_ignore_ascii_case(with))
        })
    };
    match response.status() {
        StatusCode::OK => starts(response.headers(), CONTENT_TYPE, b"text/html"),
        // The answer does not say of what kind the file is, and the request does.
        StatusCode::NOT_MODIFIED => match parts.headers.get("sec-fetch-dest") {
            Some(it) => it.as_bytes() == b"document",
            None => starts(&parts.headers, ACCEPT, b"text/html"),
        },
        _ => false,
    }
}

/// Whether a browser asks ahead of its user, who may never look.
fn is_ahead(headers: &HeaderMap) -> bool {
    ["sec-purpose", "purpose", "x-moz"]
        .iter()
        .any(|name| headers.get(*name).is_some_and(|it| it.as_bytes().starts_with(b"prefetch")))
}

/// An answer that has not ended.
struct Pending {
    tally: Tally,
    answered: Option<Answered>,
}

impl Watch for Pending {
    fn sent(&mut self, bytes: u64) {
        if let Some(answered) = &mut self.answered {
            answered.bytes = answered.bytes.saturating_add(bytes);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(answered) = self.answered.take() {
            self.tally.leave(answered);
        }
    }
}

/// A tunnel whose beginning is counted.
struct Tunnelled {
    tally: Tally,
    site: SiteId,
}

impl Watch for Tunnelled {
    fn sent(&mut self, bytes: u64) {
        self.tally.add(self.site, bytes);
    }
}

#[cfg(test)]
mod tests;
