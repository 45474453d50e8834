//! How many transfers from the store there are at once. Visitors have places of their own, so that nothing that runs beside
//! them makes them wait; and what takes long gives its place to the next one.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, Semaphore, SemaphorePermit},
    time::{sleep, timeout},
};

/// Transfers at once that visitors wait for.
const VISITS_MAX: usize = 32;
/// Those of compressed forms, without which visitors go on.
const FORMS_MAX: usize = 16;
/// Those that deployments, copies and all other work wait for.
const WORK_MAX: usize = 16;
/// Those that have taken longer than [`SHORT`], beside all others.
const LONG_MAX: usize = 64;
/// After so long a transfer counts as a long one.
const SHORT: Duration = Duration::from_secs(3);

/// Who waits for a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Somebody who looks at a site.
    Visitors,
    /// Anything else.
    Work,
}

/// The places for transfers.
#[derive(Debug)]
pub(super) struct Places {
    visits: Semaphore,
    forms: Semaphore,
    work: Semaphore,
    long: Semaphore,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            visits: Semaphore::new(VISITS_MAX),
            forms: Semaphore::new(FORMS_MAX),
            work: Semaphore::new(WORK_MAX),
            long: Semaphore::new(LONG_MAX),
        }
    }

    /// Runs a transfer in a place of its kind; `None` when none is free within `wait`. A visitor who comes to wait for what was
    /// begun for work (`urgent`) takes it to a visitor's place.
    pub(super) async fn run<T>(
        &self,
        of: (For, bool),
        urgent: &Arc<Notify>,
        wait: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let take = async {
            match of {
                (For::Visitors, false) => self.visits.acquire().await,
                (For::Visitors, true) => self.forms.acquire().await,
                (For::Work, is_form) => {
                    let theirs = if is_form { &self.forms } else { &self.visits };
                    tokio::select! {
                        place = self.work.acquire() => place,
                        () = urgent.notified() => theirs.acquire().await,
                    }
                }
            }
        };
        let Ok(Ok(place)) = timeout(wait, take).await else { return None };
        Some(self.hold(place, work).await)
    }

    /// Gives the place up when it takes long and there is one for such.
    async fn hold<T>(&self, place: SemaphorePermit<'_>, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let (mut place, mut is_long) = (place, false);
        loop {
            tokio::select! {
                done = &mut work => {
                    drop(place);
                    return done;
                }
                () = sleep(SHORT), if !is_long => {
                    if let Ok(long) = self.long.try_acquire() {
                        place = long;
                        is_long = true;
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const NEVER: Duration = Duration::from_secs(10_000);

    #[tokio::test(start_paused = true)]
    async fn work_takes_no_place_of_visitors_and_what_is_long_gives_its_place_up() {
        let (places, urgent) = (Arc::new(Places::new()), Arc::new(Notify::new()));
        let stall = |who: For| {
            let (places, urgent) = (Arc::clone(&places), Arc::clone(&urgent));
            tokio::spawn(async move { places.run((who, false), &urgent, NEVER, pending::<()>()).await })
        };
        let asks = |who: For, urgent: Arc<Notify>| {
            let places = Arc::clone(&places);
            async move { places.run((who, false), &urgent, Duration::from_secs(1), async { 7 }).await }
        };
        let mut stalled: Vec<_> = (0..LONG_MAX + WORK_MAX).map(|_| stall(For::Work)).collect();
        // Until all of them have begun: the first go over to the places of what is long.
        while places.long.available_permits() > 0 || places.work.available_permits() > 0 {
            sleep(SHORT).await;
        }
        assert_eq!(asks(For::Work, Arc::clone(&urgent)).await, None);
        assert_eq!(asks(For::Visitors, Arc::clone(&urgent)).await, Some(7));
        // A visitor waits for it too.
        let noticed = Arc::new(Notify::new());
        noticed.notify_one();
        assert_eq!(asks(For::Work, noticed).await, Some(7));
        stalled.extend((0..VISITS_MAX).map(|_| stall(For::Visitors)));
        while places.visits.available_permits() > 0 {
            sleep(SHORT).await;
        }
        assert_eq!(asks(For::Visitors, urgent).await, None);
        // The end of one that was long makes place for the next.
        stalled.swap_remove(0).abort();
        sleep(SHORT * 2).await;
        assert_eq!(places.visits.available_permits() + places.work.available_permits(), 1);
        stalled.iter().for_each(tokio::task::JoinHandle::abort);
    }
}
