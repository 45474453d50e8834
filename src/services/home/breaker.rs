//! Whether the store is asked: after some failures in a row it is left alone for a while, and then tried by one.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Failures in a row after which it opens.
const FAILURES_MAX: u32 = 5;
/// How long the store is left alone.
const PAUSE: Duration = Duration::from_secs(3);

/// The failures in a row, and until when nobody asks.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<(u32, Option<Instant>)>);

impl Breaker {
    /// Whether one may ask now. After the pause one may, and all others wait for what comes of it.
    pub(super) fn admits(&self) -> bool {
        self.admits_at(Instant::now())
    }

    fn admits_at(&self, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match state.1 {
            None => true,
            Some(until) if until > now => false,
            Some(_) => {
                state.1 = Some(now + PAUSE);
                true
            }
        }
    }

    /// Whether nobody asks.
    pub(super) fn is_open(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.is_some()
    }

    /// The store has answered.
    pub(super) fn answered(&self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.1.is_some() {
            tracing::info!("the store of files answers again");
        }
        *state = (0, None);
    }

    /// The store has not answered.
    pub(super) fn failed(&self, why: &dyn std::fmt::Display) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 = state.0.saturating_add(1);
        if state.0 >= FAILURES_MAX {
            if state.1.is_none() {
                tracing::error!(%why, "the store of files does not answer; what is not in the cache cannot be served");
            }
            state.1 = Some(Instant::now() + PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_try() {
        let breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(&"test");
        }
        breaker.answered();
        for _ in 0..4 {
            breaker.failed(&"test");
        }
        assert!(breaker.admits() && !breaker.is_open());
        breaker.failed(&"test");
        assert!(!breaker.admits() && breaker.is_open());
        let later = Instant::now() + PAUSE;
        assert!(breaker.admits_at(later) && !breaker.admits_at(later) && breaker.is_open());
        breaker.answered();
        assert!(breaker.admits() && breaker.admits() && !breaker.is_open());
    }
}
