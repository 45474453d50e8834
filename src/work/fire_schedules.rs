//! Fires schedules: sleeps until the first is due, or until they change, and asks for what is due.
//!
//! A sleep has an end, since the time of day may be set meanwhile. A pass that fails is tried again; nothing is lost by that,
//! since what is due stays due.

use std::{sync::Arc, time::Duration};

use tokio::time;

use super::{Context, driver};
use crate::{base::retry::Backoff, domain::node::Duty};

/// Between two looks at the time of day.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// Pause after a pass that failed.
const PAUSE: Backoff = Backoff::Exponential(500);

/// Starts the task.
pub(super) fn start(context: &Arc<Context>) {
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        let services = &context.services;
        let mut failures = 0;
        while let Some(hold) = driver::wait_for(&context, Duty::Schedule).await {
            let wait = match services.fire_schedules(&hold).await {
                Ok(next_ms) => {
                    failures = 0;
                    next_ms.map_or(SLEEP_MAX, |next_ms| {
                        let wait_ms = next_ms.saturating_sub(services.clock.now_ms());
                        Duration::from_millis(u64::try_from(wait_ms).unwrap_or(0)).min(SLEEP_MAX)
                    })
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, failures, "schedules could not be fired");
                    PAUSE.ceiling(failures).min(SLEEP_MAX)
                }
            };
            tokio::select! {
                () = services.signals().schedules.notified(), if failures == 0 => {}
                () = time::sleep(wait) => {}
                () = context.tasks.stopping() => {}
            }
        }
    });
}
