//! What comes a moment after the server begins to answer, or does not come, and then why.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arc_swap::{ArcSwap, Guard};
use tokio::{sync::watch, time::timeout};

use crate::domain::Error;

/// Comes once. Until it is known whether it comes, whoever wants it waits for it, for a bounded time.
pub(super) struct Awaited<T> {
    value: OnceLock<T>,
    why_not: ArcSwap<Error>,
    /// Whether the wait is over, be it with an error.
    told: watch::Sender<bool>,
}

impl<T> Awaited<T> {
    /// Not there yet, for this reason.
    pub(super) fn new(why_not: Error) -> Self {
        Self { value: OnceLock::new(), why_not: ArcSwap::from_pointee(why_not), told: watch::Sender::new(false) }
    }

    /// It is there.
    pub(super) fn set(&self, value: T) {
        self.value.get_or_init(|| value);
        self.told.send_replace(true);
    }

    /// It is not there, for this reason. It may come later, and nobody waits for that.
    pub(super) fn explain(&self, why_not: &Error) {
        self.why_not.store(Arc::new(why_not.clone()));
        self.told.send_replace(true);
    }

    /// Why it is not there.
    pub(super) fn why_not(&self) -> Guard<Arc<Error>> {
        self.why_not.load()
    }

    /// What is there, after `patience` at most.
    pub(super) async fn get(&self, patience: Duration) -> Option<&T> {
        if self.value.get().is_none() {
            drop(timeout(patience, self.told.subscribe().wait_for(|it| *it)).await);
        }
        self.value.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_mins(10);

    fn starting() -> Awaited<u8> {
        Awaited::new(Error::unavailable("starting", "It is starting."))
    }

    #[tokio::test]
    async fn who_asks_too_early_waits_until_it_is_there() {
        let awaited = starting();
        // The first is polled first, and so has begun to wait.
        let (got, ()) = tokio::join!(biased; awaited.get(LONG), async { awaited.set(7) });
        assert_eq!(got, Some(&7));
        assert_eq!(awaited.get(LONG).await, Some(&7));
    }

    #[tokio::test]
    async fn nobody_waits_for_what_has_failed_nor_for_ever() {
        let awaited = starting();
        assert_eq!(awaited.get(Duration::from_millis(1)).await, None);
        assert_eq!(awaited.why_not().code, "starting");
        let away = Error::unavailable("database_unreachable", "It is away.");
        let (got, ()) = tokio::join!(biased; awaited.get(LONG), async { awaited.explain(&away) });
        assert_eq!(got, None);
        assert_eq!((awaited.get(LONG).await, awaited.why_not().code), (None, "database_unreachable"));
        awaited.set(7);
        assert_eq!(awaited.get(LONG).await, Some(&7), "it came all the same");
    }
}
