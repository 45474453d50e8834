//! Passwords of visitors, checked a few at a time and not over and over.
//!
//! Guarantees: at most two are hashed at once on the whole server and one of a site, none on a thread of the runtime, and a client that
//! goes away frees no place before its hash is made. A site that is flooded lets its own visitors wait and nobody else's.
//! Nothing here is shared with the panel.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use moka::{policy::EvictionPolicy, sync::Cache};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::rules::Known;
use crate::{
    base::{
        hash,
        limits::PASSWORD_HASHES_AT_ONCE,
        network,
        password::{self, Fault},
        random,
        secret::Secret,
        tasks::Tasks,
    },
    domain::site::SiteId,
};

/// Wrong passwords of one address for one site in [`WINDOW`].
const WRONG_MAX: u32 = 10;
/// How long wrong passwords count, from the first one on.
const WINDOW: Duration = Duration::from_mins(5);
/// Wrong passwords that are remembered: 100 bytes each.
const FAILED_MAX: u64 = 20_000;
/// Addresses whose wrong passwords are counted; the one that was quiet for longest is forgotten first.
const COUNTED_MAX: u64 = 100_000;
/// How long a right password is known to be right without another hash.
const REMEMBERED: Duration = Duration::from_mins(15);
/// Right passwords that are remembered: 100 bytes each.
const REMEMBERED_MAX: u64 = 20_000;
/// Visitors of one site who wait for their turn: at some 30 ms for each, nobody who waits longer is still there.
const WAITING_MAX: usize = 64;
/// How long they wait.
const WAIT: Duration = Duration::from_secs(10);
/// When somebody who found no place should come back.
const BUSY_S: u64 = 5;

/// All doors of the server.
#[derive(Debug)]
pub(in super::super) struct Doors {
    tasks: Tasks,
    /// With what remembered passwords are hashed: of this process, and kept nowhere.
    secret: [u8; 32],
    right: Cache<[u8; 32], ()>,
    /// What was wrong: a browser that says again and again what was a password once has tried one.
    failed: Cache<[u8; 32], ()>,
    wrong: Cache<(SiteId, IpAddr), Arc<Wrong>>,
    lines: Cache<SiteId, Arc<Line>>,
    places: Arc<Semaphore>,
    hashed: Arc<AtomicU32>,
}

/// Wrong passwords of an address.
#[derive(Debug)]
struct Wrong {
    began: Instant,
    count: AtomicU32,
}

/// Those who wait for one site.
#[derive(Debug)]
struct Line {
    turn: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A place in a line.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Line {
    fn stand(&self) -> Option<Waiting<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let place = Waiting(&self.waiting);
        (before < WAITING_MAX).then_some(place)
    }
}

/// What is to be checked.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pub(super) site: SiteId,
    pub(super) client: IpAddr,
    pub(super) name: &'a str,
    pub(super) password: Secret,
    /// Whoever has the name; nobody costs as much.
    pub(super) known: Option<&'a Known>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checked {
    Right,
    Wrong,
    /// It was not looked at, and may be asked again after so many seconds.
    Later(u64),
    /// What is kept of the password cannot be read.
    Broken,
}

impl Doors {
    pub(in super::super) fn new(tasks: Tasks) -> Self {
        let lru = EvictionPolicy::lru;
        Self {
            tasks,
            secret: random::bytes(),
            right: Cache::builder()
                .max_capacity(REMEMBERED_MAX)
                .time_to_live(REMEMBERED)
                .eviction_policy(lru())
                .build(),
            failed: Cache::builder().max_capacity(FAILED_MAX).time_to_live(WINDOW).eviction_policy(lru()).build(),
            // SECURITY: the newest must be let in, or a crowd could keep the one who guesses from being counted.
            wrong: Cache::builder().max_capacity(COUNTED_MAX).time_to_live(WINDOW).eviction_policy(lru()).build(),
            lines: Cache::builder().max_capacity(10_000).time_to_idle(WINDOW).eviction_policy(lru()).build(),
            places: Arc::new(Semaphore::new(PASSWORD_HASHES_AT_ONCE)),
            hashed: Arc::new(AtomicU32::new(0)),
        }
    }

    fn line(&self, site: SiteId) -> Arc<Line> {
        let new = || Arc::new(Line { turn: Arc::new(Semaphore::new(1)), waiting: AtomicUsize::new(0) });
        self.lines.get_with(site, new)
    }

    /// Has the turn of a site: no password for it is hashed meanwhile.
    #[cfg(test)]
    pub(in super::super) async fn hold(&self, site: SiteId) -> OwnedSemaphorePermit {
        Arc::clone(&self.line(site).turn).acquire_owned().await.unwrap()
    }

    /// Checks a password.
    pub(super) async fn check(&self, attempt: Attempt<'_>) -> Checked {
        let Attempt { site, client, name, password, known } = attempt;
        let version = known.map_or([0; 32], |it| it.version);
        let from = (site, network::counted(client));
        let address = from.1.to_string();
        // SECURITY: each client for itself, or who guesses would be told by what others have got right, past all counts.
        let parts: [&[u8]; 5] =
            [site.0.as_bytes(), &version, address.as_bytes(), name.as_bytes(), password.expose().as_bytes()];
        let key = hash::keyed(&self.secret, &parts);
        if let Some(done) = self.settled(key, from) {
            return done;
        }
        let line = self.line(site);
        let Some(_place) = line.stand() else { return Checked::Later(BUSY_S) };
        let deadline = Instant::now() + WAIT;
        let Ok(Ok(turn)) = timeout_at(deadline, Arc::clone(&line.turn).acquire_owned()).await else {
            return Checked::Later(BUSY_S);
        };
        // Who stood before may have been the same browser, or the same guesser.
        if let Some(done) = self.settled(key, from) {
            return done;
        }
        let Ok(Ok(place)) = timeout_at(deadline, Arc::clone(&self.places).acquire_owned()).await else {
            return Checked::Later(BUSY_S);
        };
        let stored = known.map(|it| it.stored.clone());
        match self.hash((from, key), password, stored, [place, turn]).await {
            Some(Ok(true)) => Checked::Right,
            Some(Ok(false)) => Checked::Wrong,
            Some(Err(fault)) => {
                tracing::error!(%site, %fault, "a password of a visitor could not be checked");
                Checked::Broken
            }
            None => Checked::Broken,
        }
    }

    /// Hashes on a thread for such work. What is held is held until that has ended, also when nobody waits any more.
    async fn hash(
        &self,
        (from, key): ((SiteId, IpAddr), [u8; 32]),
        password: Secret,
        stored: Option<String>,
        held: [OwnedSemaphorePermit; 2],
    ) -> Option<Result<bool, Fault>> {
        let wrong = self.wrong.get_with(from, || Arc::new(Wrong { began: Instant::now(), count: AtomicU32::new(0) }));
        let (hashed, right, failed) = (Arc::clone(&self.hashed), self.right.clone(), self.failed.clone());
        let work = move || {
            hashed.fetch_add(1, Ordering::Relaxed);
            let done = password::verify(password.expose(), stored.as_deref());
            // What came of it is known before the next of the line looks.
            match done {
                Ok(true) => right.insert(key, ()),
                Ok(false) => {
                    failed.insert(key, ());
                    wrong.count.fetch_add(1, Ordering::AcqRel);
                }
                Err(_) => {}
            }
            // The place first: whoever has the turn next must not find both taken by this site.
            drop(held);
            done
        };
        self.tasks.blocking(work).await
    }

    /// What is known without a hash: that it is right, that there were too many, or that it was wrong a moment ago. SECURITY: each client
    /// is told of its own tries alone, and only while it may try.
    fn settled(&self, key: [u8; 32], from: (SiteId, IpAddr)) -> Option<Checked> {
        if self.right.get(&key).is_some() {
            return Some(Checked::Right);
        }
        let is_full = |it: &Arc<Wrong>| it.count.load(Ordering::Acquire) >= WRONG_MAX;
        if let Some(wrong) = self.wrong.get(&from).filter(is_full) {
            let left = WINDOW.saturating_sub(wrong.began.elapsed()).as_secs() + 1;
            return Some(Checked::Later(left));
        }
        self.failed.get(&key).map(|()| Checked::Wrong)
    }

    #[cfg(test)]
    fn hashed(&self) -> u32 {
        self.hashed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{hash::Sha256, ids::Id};

    fn site(number: u8) -> SiteId {
        SiteId(Id::from_bytes([number; 16]))
    }

    fn known(password: &str) -> Known {
        let stored = password::hash(password).unwrap();
        Known { version: Sha256::of(stored.as_bytes()).0, stored }
    }

    async fn check(doors: &Doors, number: u8, client: &str, password: &str, known: Option<&Known>) -> Checked {
        let (client, password) = (client.parse().unwrap(), Secret::new(password.to_owned()));
        doors.check(Attempt { site: site(number), client, name: "ada", password, known }).await
    }

    #[tokio::test]
    async fn a_right_password_is_hashed_once_and_a_new_one_ends_it() {
        let (doors, old, new) = (Doors::new(Tasks::new()), known("old password"), known("new password"));
        for _ in 0..50 {
            assert_eq!(check(&doors, 1, "192.0.2.1", "old password", Some(&old)).await, Checked::Right);
        }
        assert_eq!(doors.hashed(), 1);
        assert_eq!(check(&doors, 1, "192.0.2.1", "old password", Some(&new)).await, Checked::Wrong);
        assert_eq!(check(&doors, 2, "192.0.2.1", "old password", Some(&new)).await, Checked::Wrong);
        assert_eq!(check(&doors, 1, "192.0.2.1", "old password", None).await, Checked::Wrong);
        assert_eq!(doors.hashed(), 4);
        let broken = Known { stored: String::from("$argon2id$"), version: [1; 32] };
        assert_eq!(check(&doors, 1, "192.0.2.1", "old password", Some(&broken)).await, Checked::Broken);
    }

    /// A page that stays open says an old password with each of its files, for as long as it is open.
    #[tokio::test]
    async fn an_old_password_said_again_and_again_keeps_nobody_out() {
        let (doors, ada) = (Doors::new(Tasks::new()), known("new password"));
        for _ in 0..100 {
            assert_eq!(check(&doors, 1, "192.0.2.1", "old password", Some(&ada)).await, Checked::Wrong);
        }
        assert_eq!(doors.hashed(), 1);
        assert_eq!(check(&doors, 1, "192.0.2.1", "new password", Some(&ada)).await, Checked::Right);
        // With another one kept, it is another try: it may be right now.
        let again = known("old password");
        assert_eq!(check(&doors, 1, "192.0.2.1", "old password", Some(&again)).await, Checked::Right);
        for number in 0..9 {
            assert_eq!(check(&doors, 1, "192.0.2.1", &format!("{number}"), Some(&ada)).await, Checked::Wrong);
        }
        let late = check(&doors, 1, "192.0.2.1", "old password", Some(&ada)).await;
        assert!(matches!(late, Checked::Later(_)), "{late:?}");
    }

    /// However many ask for a page at once, what they all bring is hashed once.
    #[tokio::test]
    async fn a_page_with_many_files_costs_one_hash() {
        let (doors, ada) = (Doors::new(Tasks::new()), known("the password"));
        let asks = std::iter::repeat_with(|| check(&doors, 1, "192.0.2.1", "the password", Some(&ada))).take(40);
        let all = futures_of(asks.collect()).await;
        assert!(all.iter().all(|it| *it == Checked::Right), "{all:?}");
        assert_eq!(doors.hashed(), 1);
    }

    async fn futures_of<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
        let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
        let mut done: Vec<Option<F::Output>> = std::iter::repeat_with(|| None).take(futures.len()).collect();
        std::future::poll_fn(|context| {
            for (future, done) in futures.iter_mut().zip(&mut done) {
                if done.is_none()
                    && let std::task::Poll::Ready(it) = future.as_mut().poll(context)
                {
                    *done = Some(it);
                }
            }
            if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        done.into_iter().flatten().collect()
    }

    #[tokio::test]
    async fn ten_thousand_wrong_passwords_cost_ten_hashes_and_keep_nobody_out() {
        let (doors, ada) = (Doors::new(Tasks::new()), known("the password"));
        let mut later = 0;
        for number in 0..10_000 {
            match check(&doors, 1, "2001:db8::1", &format!("wrong {number}"), Some(&ada)).await {
                Checked::Wrong => assert!(number < 10),
                Checked::Later(seconds) => {
                    assert!((1..=301).contains(&seconds));
                    later += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((doors.hashed(), later), (10, 9_990));
        // Nor from a neighbouring address, nor with the right one; from elsewhere and for another site, as ever.
        let later = |it| matches!(it, Checked::Later(_));
        assert!(later(check(&doors, 1, "2001:db8::2", "the password", Some(&ada)).await));
        assert_eq!(check(&doors, 1, "2001:db8:1::1", "the password", Some(&ada)).await, Checked::Right);
        assert_eq!(check(&doors, 2, "2001:db8::1", "the password", Some(&ada)).await, Checked::Right);
    }

    /// Each from an address of its own, so that no count stops them: a site has one place of two, and so many wait for it.
    #[tokio::test]
    async fn a_flood_of_one_site_leaves_the_others_their_place() {
        let (doors, ada) = (Doors::new(Tasks::new()), known("the password"));
        let addresses: Vec<String> = (0..200).map(|it| format!("198.51.100.{it}")).collect();
        let flood =
            async { futures_of(addresses.iter().map(|it| check(&doors, 1, it, "wrong", Some(&ada))).collect()).await };
        let other = async {
            tokio::task::yield_now().await;
            let begun = Instant::now();
            (check(&doors, 2, "192.0.2.1", "the password", Some(&ada)).await, begun.elapsed())
        };
        let (flood, (other, took)) = tokio::join!(flood, other);
        assert_eq!(other, Checked::Right);
        let refused = flood.iter().filter(|it| **it == Checked::Later(BUSY_S)).count();
        assert_eq!(refused, 200 - WAITING_MAX, "those beyond the line hear it at once");
        assert!(took < Duration::from_secs(3), "{took:?}");
    }

    /// Who goes away before the answer must not free the place while the hash is still made.
    #[tokio::test]
    async fn who_goes_away_keeps_the_place_until_the_hash_is_made() {
        let (tasks, ada) = (Tasks::new(), known("the password"));
        let doors = Doors::new(tasks.clone());
        for number in 0..20 {
            let client = format!("198.51.100.{number}");
            let attempt = check(&doors, 1, &client, "wrong", Some(&ada));
            drop(tokio::time::timeout(Duration::from_millis(1), attempt).await);
            assert!(doors.places.available_permits() >= 1, "one site never has both");
        }
        while tasks.running() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(doors.hashed() < 15, "{}", doors.hashed());
    }
}
