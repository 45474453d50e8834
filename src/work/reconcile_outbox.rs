//! Follows what was handed to a queue that may lose it: rows of ended jobs go, jobs that it no longer knows come back.
//!
//! A pass when the queue's store was away and is back, and else after a pause that is long beside the last pass.

use std::{sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use super::Context;

/// The shortest pause between passes.
const PAUSE_MIN: Duration = Duration::from_secs(5);
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
            if let Err(error) = context.services.reconcile_outbox().await {
                tracing::warn!(%error, "what was handed to the job queue could not be followed");
            }
            let pause = start.elapsed().saturating_mul(PAUSE_FACTOR).max(PAUSE_MIN);
            tokio::select! {
                () = jobs.returned() => {}
                () = time::sleep(pause) => {}
                () = context.tasks.stopping() => {}
            }
        }
    });
}
