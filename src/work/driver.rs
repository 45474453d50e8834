//! Drives a task: a pass at start, on each signal, on each period or at set times, and when somebody asks; one at a time.
//!
//! A pass that fails is logged and tried again after a pause that grows; it never ends the task.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{
    sync::Notify,
    time::{self, Instant},
};

use super::Context;
use crate::{
    base::{clock::Clock, retry::Backoff},
    domain::{Result, node::Duty, schedule::Times},
    services::{
        Services,
        agenda::{Entry, Every},
        nodes::{self, Hold},
    },
};

/// The pass of a task.
pub(super) type Pass = fn(Arc<Context>, Option<Hold>) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A task: whose duty it is, when it runs and what it does.
pub(super) struct Task {
    pub(super) name: &'static str,
    /// What it does, in a sentence for people.
    pub(super) text: &'static str,
    /// Whether people see it.
    pub(super) shown: bool,
    /// `None`: every node does it.
    pub(super) duty: Option<Duty>,
    pub(super) every: Every,
    pub(super) signal: fn(&Services) -> Option<&Notify>,
    pub(super) pass: Pass,
}

const BACKOFF: Backoff = Backoff::Exponential(500);
/// A task with set times that failed is tried again after so long at most: its next time may be days away.
const RETRY_MAX: Duration = Duration::from_hours(1);
/// Between two looks at the time of day, which may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(30);

/// Starts the task, which tells `entry` how it is.
pub(super) fn start(context: &Arc<Context>, task: Task, entry: Arc<Entry>) {
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        let clock = &context.services.clock;
        let mut failures = 0;
        // At set times, a restart is none of them.
        let mut due = matches!(task.every, Every::Period(_));
        while !context.tasks.is_stopping() {
            let hold = match task.duty {
                Some(duty) => {
                    let had = context.services.hold(duty).is_some();
                    let Some(hold) = wait_for(&context, duty).await else { break };
                    // When another node had the duty, it was there at the set times.
                    due &= had || matches!(task.every, Every::Period(_));
                    Some(hold)
                }
                None => None,
            };
            if due {
                entry.begin(clock.now_ms());
                let began = Instant::now();
                let ended = (task.pass)(Arc::clone(&context), hold).await;
                failures = entry.end(clock.now_ms(), began.elapsed(), &ended);
                if let Err(error) = ended {
                    tracing::warn!(task = task.name, %error, failures, "a pass failed");
                }
            }
            let signalled = async {
                match (task.signal)(&context.services) {
                    // While it fails, signals do not shorten the pause.
                    Some(signal) if failures == 0 => signal.notified().await,
                    _ => std::future::pending().await,
                }
            };
            due = tokio::select! {
                () = signalled => true,
                () = entry.asked() => true,
                () = until_next(&context, &task.every, failures, &entry) => true,
                () = context.tasks.stopping() => false,
            };
        }
    });
}

/// Waits until the next pass is due by itself.
async fn until_next(context: &Context, every: &Every, failures: u32, entry: &Entry) {
    let now_ms = context.services.clock.now_ms();
    let pause = match every {
        Every::Period(period) if failures == 0 => *period,
        Every::Period(period) => BACKOFF.ceiling(failures).min(*period),
        Every::At(_) if failures > 0 => BACKOFF.ceiling(failures).min(RETRY_MAX),
        Every::At(times) => return until(&context.services.clock, times, entry, SLEEP_MAX).await,
    };
    entry.plan(Some(now_ms.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))));
    time::sleep(pause).await;
}

/// Waits for the next of these times, and looks at the time of day after each `sleep_max`.
async fn until(clock: &Clock, times: &Times, entry: &Entry, sleep_max: Duration) {
    let next_ms = times.next_after(clock.now_ms());
    entry.plan(next_ms);
    let Some(next_ms) = next_ms else { return std::future::pending().await };
    loop {
        let left_ms = u64::try_from(next_ms.saturating_sub(clock.now_ms())).unwrap_or(0);
        if left_ms == 0 {
            return;
        }
        time::sleep(Duration::from_millis(left_ms).min(sleep_max)).await;
    }
}

/// Waits until this node has a duty; `None` when the process stops first.
pub(super) async fn wait_for(context: &Context, duty: Duty) -> Option<Hold> {
    loop {
        if context.tasks.is_stopping() {
            return None;
        }
        if let Some(hold) = context.services.hold(duty) {
            return Some(hold);
        }
        tokio::select! {
            () = context.services.duties_changed() => {}
            () = time::sleep(nodes::BEAT) => {}
            () = context.tasks.stopping() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{cron::Cron, zone::Zone},
        services::agenda::About,
    };

    /// Monday, 4 May 2026, 06:59:30 UTC.
    const START_MS: i64 = 1_777_877_970_000;

    /// The time of day decides, not how long was slept.
    #[tokio::test]
    async fn set_times_are_those_of_the_clock_also_when_it_is_set() {
        let (clock, hands) = Clock::manual(START_MS);
        let times = Times { cron: Cron::parse("0 9 * * *").unwrap(), zone: Zone::parse("Europe/Berlin").unwrap() };
        let every = Every::At(times.clone());
        let entry = Entry::new(About { name: "test", text: "Tests.", duty: None, every });
        let (tick, deadline) = (Duration::from_millis(1), Duration::from_secs(30));
        let mut waiting = std::pin::pin!(until(&clock, &times, &entry, tick));
        let looked = time::timeout(tick * 20, &mut waiting).await;
        assert!(looked.is_err(), "nine o'clock in Berlin has not come");
        hands.advance(29_999);
        assert!(time::timeout(tick * 20, &mut waiting).await.is_err());
        hands.advance(1);
        time::timeout(deadline, &mut waiting).await.expect("it has come");
    }
}
