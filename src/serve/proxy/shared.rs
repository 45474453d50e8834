//! What all upstreams share: how much is under way at once, and the answers that nobody may hold for ever.
//!
//! SECURITY: who answers a visitor holds a connection, which is a descriptor of this process. A visitor who asks for much, or takes nothing of
//! what he asked for, must not use them up for all others.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::Waker,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit},
    time::Instant,
};

use super::shares::{Owner, Share, Shares};
use crate::domain::site::SiteId;

/// Exchanges of all upstreams at once.
const EXCHANGES_MAX: usize = 8_192;
/// Those of one site, and of one client: whatever one of them does, others have theirs.
const OF_SITE_MAX: usize = EXCHANGES_MAX / 2;
const OF_CLIENT_MAX: usize = EXCHANGES_MAX / 8;
/// Looks at upstreams at once.
const LOOKS_MAX: usize = 64;
/// How long a visitor may take nothing at least, however short his upstream's times are: lines stand still at times.
const TAKEN_WITHIN: Duration = Duration::from_mins(1);
/// What is behind that: an answer in which nothing comes ends by itself first, and says why.
const SLACK: Duration = Duration::from_secs(10);

/// What all upstreams share.
pub(super) struct Shared {
    exchanges: Arc<Semaphore>,
    sites: Arc<Shares<SiteId>>,
    clients: Arc<Shares<IpAddr>>,
    looks: Semaphore,
    answers: Mutex<HashMap<u64, Weak<dyn Sweep>>>,
    next: AtomicU64,
}

/// A place among the exchanges of all, and its owner's shares.
pub(super) struct Place {
    _permit: OwnedSemaphorePermit,
    _site: Share<SiteId>,
    _client: Option<Share<IpAddr>>,
}

impl Default for Shared {
    fn default() -> Self {
        Self::new(EXCHANGES_MAX, OF_SITE_MAX, OF_CLIENT_MAX)
    }
}

impl Shared {
    /// With so many exchanges of all, of one site, and of one client.
    pub(super) fn new(exchanges: usize, of_site: usize, of_client: usize) -> Self {
        Self {
            exchanges: Arc::new(Semaphore::new(exchanges)),
            sites: Shares::new(of_site),
            clients: Shares::new(of_client),
            looks: Semaphore::new(LOOKS_MAX),
            answers: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }

    /// A place for one more exchange, if there is one for this owner.
    pub(super) fn exchange(&self, owner: Owner) -> Option<Place> {
        let of_client = match owner.client() {
            Some(it) => Some(self.clients.take(it)?),
            None => None,
        };
        Some(Place {
            _permit: Arc::clone(&self.exchanges).try_acquire_owned().ok()?,
            _site: self.sites.take(owner.site)?,
            _client: of_client,
        })
    }

    pub(super) fn is_full(&self, owner: Owner) -> bool {
        self.exchanges.available_permits() == 0
            || self.sites.is_out(owner.site)
            || owner.client().is_some_and(|it| self.clients.is_out(it))
    }

    /// Waits until one more upstream may be looked at.
    pub(super) async fn look(&self) -> Option<SemaphorePermit<'_>> {
        self.looks.acquire().await.ok()
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<u64, Weak<dyn Sweep>>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the answers of which nobody has taken anything for too long.
    pub(super) fn sweep(&self, now: Instant) {
        // What ends here goes out of the list meanwhile.
        let all: Vec<Weak<dyn Sweep>> = self.answers().values().cloned().collect();
        for answer in all.iter().filter_map(Weak::upgrade) {
            answer.sweep(now);
        }
    }
}

/// What is ended when it stands still.
trait Sweep: Send + Sync {
    fn sweep(&self, now: Instant);
}

struct Hold<T> {
    state: Mutex<State<T>>,
    within: Duration,
}

struct State<T> {
    held: Option<T>,
    moved: Instant,
    waker: Option<Waker>,
}

impl<T> Hold<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send> Sweep for Hold<T> {
    fn sweep(&self, now: Instant) {
        let mut state = self.state();
        if now.saturating_duration_since(state.moved) < self.within {
            return;
        }
        let (held, waker) = (state.held.take(), state.waker.take());
        drop(state);
        drop(held);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// What an answer on its way needs, until it ends or nobody takes it: a body that nobody polls cannot look at the time itself.
pub(super) struct Held<T> {
    hold: Arc<Hold<T>>,
    shared: Arc<Shared>,
    id: u64,
}

impl<T: Send + 'static> Held<T> {
    /// `idle`: how long it may stand still, as its route says.
    pub(super) fn new(shared: &Arc<Shared>, thing: T, idle: Duration) -> Self {
        let state = State { held: Some(thing), moved: Instant::now(), waker: None };
        let hold = Arc::new(Hold { state: Mutex::new(state), within: idle.max(TAKEN_WITHIN) + SLACK });
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let weak: Weak<Hold<T>> = Arc::downgrade(&hold);
        shared.answers().insert(id, weak);
        Self { hold, shared: Arc::clone(shared), id }
    }
}

impl<T> Held<T> {
    /// What is held; `None` when it was ended.
    pub(super) fn with<R>(&self, of: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.hold.state().held.as_mut().map(of)
    }

    /// Something of it was taken.
    pub(super) fn moved(&self) {
        self.hold.state().moved = Instant::now();
    }

    /// Who is to be told when it ends.
    pub(super) fn waits(&self, waker: &Waker) {
        let mut state = self.hold.state();
        // It may have ended between two looks.
        if state.held.is_none() {
            waker.wake_by_ref();
        } else if !state.waker.as_ref().is_some_and(|it| it.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
    }
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.shared.answers().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_is_ended() {
        let (shared, thing) = (Arc::new(Shared::default()), Arc::new(()));
        let held = Held::new(&shared, Arc::clone(&thing), Duration::from_mins(5));
        let begun = Instant::now();
        shared.sweep(begun + Duration::from_mins(5));
        assert!(held.with(|_| ()).is_some() && Arc::strong_count(&thing) == 2);
        shared.sweep(begun + Duration::from_secs(311));
        assert!(held.with(|_| ()).is_none() && Arc::strong_count(&thing) == 1);
        drop(held);
        assert!(shared.answers().is_empty());
    }

    #[test]
    fn short_times_of_an_upstream_are_not_those_of_a_visitor() {
        let shared = Arc::new(Shared::default());
        let held = Held::new(&shared, (), Duration::from_secs(1));
        shared.sweep(Instant::now() + Duration::from_secs(59));
        assert!(held.with(|()| ()).is_some());
    }
}
