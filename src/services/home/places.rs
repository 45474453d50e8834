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
    short: Duration,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            visits: Semaphore::new(VISITS_MAX),
            forms: Semaphore::new(FORMS_MAX),
            work: Semaphore::new(WORK_MAX),
            long: Semaphore::new(LONG_MAX),
            short: SHORT,
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
                () = sleep(self.short), if !is_long => {
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
    use super::*;
    use crate::base::tasks::Tasks;

    const DEADLINE: Duration = Duration::from_mins(1);

    async fn until(what: &str, done: impl Fn() -> bool) {
        let begun = tokio::time::Instant::now();
        while !done() {
            assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
            sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn work_takes_no_place_of_visitors_and_what_is_long_gives_its_place_up() {
        let places = Arc::new(Places { short: Duration::from_millis(5), ..Places::new() });
        let (tasks, urgent, end) = (Tasks::new(), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let stall = |who: For| {
            let (places, urgent, end) = (Arc::clone(&places), Arc::clone(&urgent), Arc::clone(&end));
            tasks.spawn(async move {
                places.run((who, false), &urgent, DEADLINE, end.notified()).await;
            });
        };
        let ask = |who: For, urgent: Arc<Notify>, wait: Duration| {
            let places = Arc::clone(&places);
            async move { places.run((who, false), &urgent, wait, async {}).await.is_some() }
        };
        let soon = Duration::from_millis(50);
        (0..LONG_MAX + WORK_MAX).for_each(|_| stall(For::Work));
        // The first go over to the places of what is long.
        until("work to have all its places", || {
            places.long.available_permits() == 0 && places.work.available_permits() == 0
        })
        .await;
        assert!(!ask(For::Work, Arc::clone(&urgent), soon).await);
        assert!(ask(For::Visitors, Arc::clone(&urgent), DEADLINE).await);
        // A visitor waits for it too.
        let noticed = Arc::new(Notify::new());
        noticed.notify_one();
        assert!(ask(For::Work, noticed, DEADLINE).await);
        (0..VISITS_MAX).for_each(|_| stall(For::Visitors));
        until("visitors to have all their places", || places.visits.available_permits() == 0).await;
        assert!(!ask(For::Visitors, Arc::clone(&urgent), soon).await);
        // The end of one, long or not, makes place for the next.
        end.notify_one();
        until("a place", || places.visits.available_permits() + places.work.available_permits() == 1).await;
        end.notify_waiters();
    }
}
