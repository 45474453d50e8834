//! Follows what was handed to a queue that may lose it: rows of ended jobs go, jobs that it no longer knows come back.
//!
//! A pass when the queue's store was away and is back, and else after a pause that is long beside the last pass. How long a pass took that
//! failed, or that waited for a store that stood still, says nothing of the next: no pause is longer than a minute.

use std::{sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use super::Context;

/// The shortest pause between passes.
const PAUSE_MIN: Duration = Duration::from_secs(5);
/// The longest one: until it is over, what a queue has lost stays lost.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// How much longer the pause is than the pass before.
const PAUSE_FACTOR: u32 = 20;

/// Starts the task, if the queue is one that may lose jobs.
pub(super) fn start(context: &Arc<Context>) {
    let jobs = context.services.jobs.clone();
    if jobs.keeps() {
        return;
    }
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        while !context.tasks.is_stopping() {
            let start = Instant::now();
            let followed = context.services.reconcile_outbox().await;
            if let Err(error) = &followed {
                tracing::warn!(%error, "what was handed to the job queue could not be followed");
            }
            tokio::select! {
                () = jobs.returned() => {}
                () = time::sleep(pause(start.elapsed(), followed.is_ok())) => {}
                () = context.tasks.stopping() => {}
            }
        }
    });
}

/// How long to wait after a pass that took so long, and went well or not.
fn pause(took: Duration, is_well: bool) -> Duration {
    if is_well { took.saturating_mul(PAUSE_FACTOR).clamp(PAUSE_MIN, PAUSE_MAX) } else { PAUSE_MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_that_waited_for_a_store_keeps_nobody_waiting_for_the_next() {
        assert_eq!(pause(Duration::from_millis(3), true), PAUSE_MIN);
        assert_eq!(pause(Duration::from_secs(1), true), Duration::from_secs(20));
        // Somebody held all sessions of the database for so long.
        assert_eq!(pause(Duration::from_secs(20), false), PAUSE_MIN);
        assert_eq!(pause(Duration::from_secs(40), true), PAUSE_MAX);
    }
}
