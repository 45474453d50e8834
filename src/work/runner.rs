//! Runs jobs: a loop for each queue claims as many as there are free places, and gives ends and claims in one call.
//!
//! A handler that panics is a failed attempt. One whose job is cancelled is told through its lease and has ten seconds to come
//! to an end; then its future is dropped, and with it all that it holds: a handler that starts processes must let them die
//! with it. On a shutdown nothing more is claimed; jobs that run have the queue's grace time, and then go back without counting
//! the attempt.

use std::{future::Future, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time};

use super::{Context, run_job};
use crate::{
    base::{retry::Backoff, tasks::Tasks},
    domain::job::{JobId, Queue},
    ports::queue::{Finish, Jobs, Lease, Outcome},
};

/// Pause after the queue itself failed.
const PAUSE: Backoff = Backoff::Exponential(250);
/// A queue that was away for long is noticed so soon when it is back.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a handler has after its job was cancelled (CONTRACTS §1, clause 9).
const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// How many jobs run at once, and how long they have when they are to end.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Jobs at once.
    pub places: usize,
    /// After the sign to stop.
    pub stop_grace: Duration,
    /// After a cancel.
    pub cancel_grace: Duration,
}

impl Limits {
    /// Those of a queue.
    pub const fn of(queue: Queue) -> Self {
        let rules = queue.rules();
        Self { places: rules.concurrency, stop_grace: rules.grace, cancel_grace: CANCEL_GRACE }
    }
}

/// Starts a loop for each queue whose jobs this process runs.
pub(super) fn start(context: &Arc<Context>) {
    for queue in context.queues.clone() {
        let context = Arc::clone(context);
        context.tasks.clone().spawn(async move {
            let handle = |lease: Lease| {
                let context = Arc::clone(&context);
                async move {
                    // Dropped also when the handler panics or is given up.
                    let _running = context.services.begin_run(&lease);
                    run_job(&context, &lease).await
                }
            };
            let touch = || context.services.signals().touch();
            run(&context.services.jobs, &context.tasks, queue, Limits::of(queue), touch, handle).await;
        });
    }
}

/// Claims and runs jobs of `queue` with `handle` until the sign to stop. `touch` is called when jobs have begun or ended.
pub async fn run<F>(
    jobs: &Jobs,
    tasks: &Tasks,
    queue: Queue,
    limits: Limits,
    touch: impl Fn(),
    handle: impl Fn(Lease) -> F,
) where
    F: Future<Output = Outcome> + Send + 'static,
{
    let places = limits.places;
    let (ended, mut ends) = mpsc::channel(places);
    let mut running = 0;
    let mut finished: Vec<Finish> = Vec::new();
    let mut failures = 0;
    loop {
        while let Ok(end) = ends.try_recv() {
            finished.push(end);
            running -= 1;
        }
        let stopping = tasks.is_stopping();
        if stopping && running == 0 && finished.is_empty() {
            return;
        }
        let take = if stopping { 0 } else { places - running };
        if take > 0 || !finished.is_empty() {
            match jobs.next(queue, take, finished.clone()).await {
                Ok((answers, leases)) => {
                    failures = 0;
                    for (end, answer) in finished.drain(..).zip(answers) {
                        if let Err(error) = answer {
                            tracing::warn!(job = %end.id, %error, "an attempt ended too late to count");
                        }
                    }
                    let none = leases.is_empty();
                    for lease in leases {
                        running += 1;
                        spawn(tasks, limits, &ended, &lease, handle(lease.clone()));
                    }
                    touch();
                    // On a shutdown the ends that were just given may have been the last.
                    if !none || stopping {
                        continue;
                    }
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(queue = queue.word(), %error, "the queue does not answer");
                    if stopping {
                        return;
                    }
                    tokio::select! {
                        () = time::sleep(PAUSE.ceiling(failures).min(PAUSE_MAX)) => {}
                        () = tasks.stopping() => {}
                    }
                    continue;
                }
            }
        }
        tokio::select! {
            end = ends.recv() => if let Some(end) = end { finished.push(end); running -= 1; },
            () = jobs.ready(queue), if running < places && !stopping => {}
            () = tasks.stopping(), if !stopping => {}
        }
    }
}

fn spawn<F>(tasks: &Tasks, limits: Limits, ended: &mpsc::Sender<Finish>, lease: &Lease, work: F)
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let mut end = End { id: lease.job.id, attempt: lease.attempt, outcome: None, ended: ended.clone() };
    let stopping = tasks.clone();
    let cancelled = lease.cancelled.clone();
    let kind = lease.job.kind.clone();
    tasks.spawn(async move {
        tracing::debug!(job = %end.id, kind, attempt = end.attempt, "begun");
        let late = async {
            stopping.stopping().await;
            time::sleep(limits.stop_grace).await;
        };
        let unwanted = async {
            cancelled.cancelled().await;
            time::sleep(limits.cancel_grace).await;
        };
        end.outcome = Some(tokio::select! {
            outcome = work => outcome,
            () = unwanted => Outcome::Cancel { error: String::from("cancelled") },
            () = late => Outcome::Release,
        });
        drop(end);
    });
}

/// Tells the loop how an attempt ended, also when its handler panicked.
struct End {
    id: JobId,
    attempt: u32,
    outcome: Option<Outcome>,
    ended: mpsc::Sender<Finish>,
}

impl Drop for End {
    fn drop(&mut self) {
        let outcome = self.outcome.take().unwrap_or_else(|| Outcome::Retry {
            error: String::from("The handler broke off. The log of the server has the reason."),
            after_ms: None,
        });
        // There is a place for each job that runs; when the loop is gone, the queue takes the job back at the next start.
        drop(self.ended.try_send(Finish { id: self.id, attempt: self.attempt, outcome }));
    }
}
