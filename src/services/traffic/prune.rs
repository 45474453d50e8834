//! Removes figures of traffic that are kept no longer: in small transactions, as many as there is something to remove.
//!
//! A clock that is far ahead shall cost little: of each kind one pass removes no more than a short span behind the oldest figure. What is
//! stored meanwhile has the time of that clock, so that the newest figure would tell nothing.

use std::{future::Future, time::Duration};

use tokio::time::Instant;

use crate::{
    base::limits,
    domain::{
        Result,
        access::TenantScope,
        traffic::{DAY_MS, HOUR_MS, Period},
    },
    store::{self, traffic::Rows},
};

use super::super::{Services, nodes::Hold};

/// Rows that are removed in one transaction.
const REMOVED_AT_ONCE: i64 = 2_000;
/// One pass goes on for so long at most, and the next one goes on with what is left.
const PASS_MAX: Duration = Duration::from_mins(20);

/// What is kept, for how long, and how much of it one pass removes at most: several times what comes from one pass to the next.
const KEPT: [(Rows, i64, i64); 6] = [
    (Rows::Sums(Period::Minute), limits::TRAFFIC_MINUTES_KEPT_MS, 6 * HOUR_MS),
    (Rows::Sums(Period::Hour), limits::TRAFFIC_HOURS_KEPT_MS, DAY_MS),
    (Rows::Sums(Period::Day), limits::TRAFFIC_DAYS_KEPT_MS, DAY_MS),
    (Rows::Lists(Period::Hour), limits::TRAFFIC_MINUTES_KEPT_MS, 6 * HOUR_MS),
    (Rows::Lists(Period::Day), limits::TRAFFIC_LISTS_KEPT_MS, DAY_MS),
    (Rows::Sketches, limits::TRAFFIC_SKETCHES_KEPT_MS, DAY_MS),
];

impl Services {
    /// Removes what is kept no longer, in steps.
    pub async fn prune_traffic(&self, hold: &Hold) -> Result<()> {
        let until = Instant::now() + PASS_MAX;
        for scope in self.all_scopes().await? {
            for (rows, kept_ms, step_ms) in KEPT {
                let old_ms = self.clock.now_ms().saturating_sub(kept_ms);
                let oldest = self.db.read(move |tx| store::traffic::find_oldest(tx, scope, rows)).await?;
                let Some(oldest) = oldest.filter(|it| *it < old_ms) else { continue };
                let before_ms = old_ms.min(oldest.saturating_add(step_ms));
                if !self.remove(hold, scope, rows, before_ms, until).await? {
                    return Ok(());
                }
            }
            if self.tasks.is_stopping() {
                break;
            }
        }
        Ok(())
    }

    /// Removes what is from before a moment; whether all of it is gone.
    async fn remove(
        &self,
        hold: &Hold,
        scope: TenantScope,
        rows: Rows,
        before_ms: i64,
        until: Instant,
    ) -> Result<bool> {
        let goes_on = || !self.tasks.is_stopping() && Instant::now() < until;
        let some = move || {
            self.write_held(Some(*hold), move |tx| {
                store::traffic::delete_old(tx, scope, rows, before_ms, REMOVED_AT_ONCE)
            })
        };
        repeat(some, goes_on).await
    }
}

/// Removes some, and again, until little is left; whether that was reached before it should not go on.
async fn repeat<F: Future<Output = Result<u64>>>(some: impl Fn() -> F, goes_on: impl Fn() -> bool) -> Result<bool> {
    loop {
        if i64::try_from(some().await?).unwrap_or(i64::MAX) < REMOVED_AT_ONCE {
            return Ok(true);
        }
        if !goes_on() {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, future::ready};

    use super::*;
    use crate::domain::Error;

    #[tokio::test]
    async fn it_goes_on_until_little_is_left_or_it_has_to_stop() {
        let left = Cell::new(600_100_u64);
        let some = || {
            let removed = left.get().min(2_000);
            left.set(left.get() - removed);
            ready(Ok(removed))
        };
        assert!(!repeat(some, || left.get() > 500_000).await.unwrap());
        assert_eq!(left.get(), 498_100, "it looks between two transactions");
        assert!(repeat(some, || true).await.unwrap());
        assert_eq!(left.get(), 0);
        let refused = || ready(Err(Error::not_found("site")));
        assert!(repeat(refused, || true).await.is_err());
    }
}
