//! The queue port: durable jobs in four queues, leased to workers, fenced by attempt.
//!
//! Contract (CONTRACTS §1): an enqueued job survives a power cut once the call returned; the same id is
//! taken once; an attempt is durable before its handler starts; finish, extend and progress with an old
//! attempt are refused; after three deaths of its worker a job is dead; jobs of an older boot epoch go
//! back at once; FIFO within (queue, priority, tenant) with tenants taking turns.
//!
//! Higher priorities go first; a job that has waited five minutes takes part in the turns whatever its
//! priority. A queue with a cluster limit has no more leases than that at once. Of the kinds that have a rate
//! ([`Queue::rate`]) no more start in any window than it says, also across restarts; while its rate is used up, such a job
//! is passed by jobs of other kinds. A paused queue starts nothing, and a paused tenant starts nothing in any queue; what
//! runs may end.
//!
//! A job with a key ([`NewJob::unique`]) is not taken while an earlier one of the same tenant, queue and key has not ended;
//! its id is known from then on, as if it had been taken and had ended. A job that waits for others ([`NewJob::after`]) is
//! delayed until all of them have ended well, and dies when one of them dies or is cancelled.
//!
//! A running job that is cancelled is told through [`Lease::cancelled`]; however its attempt then ends, but for a good end,
//! and also when its worker dies, it does not run again: it is dead, with the error `cancelled`.
//!
//! Ended jobs are kept up to the numbers of their queue, and for 30 days at most. After a failed commit all
//! callers of the batch hear of it: `disk_full`, after which the engine goes on, or `queue_broken`, after
//! which it takes no more commands. A caller that hears of either does not know whether its command was taken;
//! it may repeat it, since ids are taken once and attempts end once.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        Error, Result,
        job::{Job, JobId, NewJob, Queue, State},
        tenant::TenantId,
    },
    ports::fatal::{self, Fatal},
};

/// What a worker holds while it works on a job: the job with the fence (job, attempt).
#[derive(Clone, Debug)]
pub struct Lease {
    /// The job as enqueued.
    pub job: NewJob,
    /// Attempt number, from 1. It grows with every claim, also after a snooze, a release or a death, which do
    /// not count against the attempts of the queue: it is the fence.
    pub attempt: u32,
    /// Cancelled when somebody cancels the job. Its handler should then come to an end by itself; the runner ends it after a
    /// grace time. How the attempt ends is still to be told.
    pub cancelled: CancellationToken,
}

impl Lease {
    /// Gives the job back as if it had not been leased.
    pub fn released(self) -> Finish {
        Finish { id: self.job.id, attempt: self.attempt, outcome: Outcome::Release }
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Done,
    /// Badly; try again after this many milliseconds, if attempts are left. `None`: after the backoff of the queue.
    Retry {
        /// For people.
        error: String,
        /// Instead of the backoff.
        after_ms: Option<u64>,
    },
    /// Badly and for good.
    Cancel {
        /// For people.
        error: String,
    },
    /// Not now; does not count as an attempt.
    Snooze {
        /// Milliseconds until it is tried.
        after_ms: u64,
    },
    /// A shutdown: goes back to the front, does not count as an attempt.
    Release,
}

/// One finished attempt, as [`QueueEngine::submit`] takes them: several at once, together with the next claim.
#[derive(Clone, Debug)]
pub struct Finish {
    /// The job.
    pub id: JobId,
    /// The fence.
    pub attempt: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// How many jobs stand where in one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// May start now.
    pub waiting: u64,
    /// Start later: at a time, or after other jobs.
    pub delayed: u64,
    /// With a worker.
    pub running: u64,
    /// Kept after a good end.
    pub done: u64,
    /// Dead.
    pub failed: u64,
    /// When the oldest of the jobs that are next in their lines was asked for.
    pub oldest_ms: Option<i64>,
    /// The queue starts nothing, of whatever tenant.
    pub paused: bool,
    /// The tenant that was asked for starts nothing, in any queue. `false` when all were asked for.
    pub tenant_paused: bool,
}

/// Jobs in one answer.
pub const LISTED_MAX: u32 = 200;
/// Bytes of a job's input that weigh like one job more.
const BYTES_A_UNIT: usize = 4_096;

/// Which jobs a list shows.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Of this queue only.
    pub queue: Option<Queue>,
    /// In this state only.
    pub state: Option<State>,
    /// Of this tenant only (`None`: all, for a super admin).
    pub tenant: Option<TenantId>,
    /// After this job of the list before (newest first).
    pub after: Option<JobId>,
    /// At most so many; at most [`LISTED_MAX`].
    pub limit: u32,
}

/// What a queue knows of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its job has not ended.
    Open,
    /// Its job has ended, well or badly, or was removed; or it was never taken, since another job had its key.
    Ended,
    /// It is not known: it was never taken, or it is longer than a day ago ([`Command::Settled`]), or the engine has lost it.
    Unknown,
}

/// The answers to the finished attempts, in their order, and the new leases.
pub type Next = (Vec<Result<()>>, Vec<Lease>);

/// One request to the thread that owns the queue. Each carries its answer's channel.
#[derive(Debug)]
pub enum Command {
    /// Takes jobs in durably. Answers how many were new (known ids are not taken twice).
    Enqueue(Vec<NewJob>, oneshot::Sender<Result<u64>>),
    /// Ends attempts and takes up to `take` next jobs of `queue`, in one transaction.
    /// `finished` answers one result each: a stale attempt is `Conflict` with the code `stale_lease`.
    /// When the receiver of the answer is gone, the leases go back at once, as released.
    Next {
        /// Which queue to claim from.
        queue: Queue,
        /// Up to so many; 0 only finishes.
        take: usize,
        /// Attempts that ended.
        finished: Vec<Finish>,
        /// The answers to `finished`, in order, and the new leases.
        answer: oneshot::Sender<Result<Next>>,
    },
    /// Says how far an attempt is (0 to 100), and that its worker lives. Need not be durable.
    Progress(JobId, u32, u8, oneshot::Sender<Result<()>>),
    /// One job; `None` when it was never taken, or is no longer kept.
    Get(JobId, oneshot::Sender<Result<Option<Job>>>),
    /// What is known of these ids, in their order.
    Fates(Vec<JobId>, oneshot::Sender<Result<Vec<Fate>>>),
    /// Nobody will enqueue a job again that had ended before this time (UTC, milliseconds): all that were handed over have been asked
    /// for. An engine that does not keep all may forget the ids of such jobs a day after that, and not before.
    Settled(i64, oneshot::Sender<Result<()>>),
    /// A list, newest first. An engine may end it early rather than look at more than 100,000 jobs that do not
    /// fit the filter.
    List(JobFilter, oneshot::Sender<Result<Vec<Job>>>),
    /// Counts for all four queues, in the order of [`Queue::ALL`].
    Depths(Option<TenantId>, oneshot::Sender<Result<[Depth; 4]>>),
    /// Dead → waiting with fresh attempts, or delayed while jobs that it waits for have not ended; delayed for a time →
    /// waiting now. Else `Conflict` with the code `job_state`; the code `job_unique` when another job has its key by now,
    /// `job_waits` when it waits for a job that is dead or has not ended.
    Rerun(JobId, oneshot::Sender<Result<()>>),
    /// Waiting or delayed → removed. Running: answers `Ok(false)`, durably noted, and [`Lease::cancelled`] is told. Ended:
    /// `Conflict` with the code `job_state`. The id of a removed job is known for a day like any other.
    Cancel(JobId, oneshot::Sender<Result<bool>>),
    /// Waiting or delayed → dead, with this error: for who brings the dead jobs of another queue. Else `Conflict` with the code
    /// `job_state`.
    Bury(JobId, String, oneshot::Sender<Result<()>>),
    /// Removes a dead or finished job from the list.
    Dismiss(JobId, oneshot::Sender<Result<()>>),
    /// Stops or starts claims of a queue; durable.
    Pause(Queue, bool, oneshot::Sender<Result<()>>),
    /// Stops or starts claims of a tenant's jobs in all queues; durable.
    PauseTenant(TenantId, bool, oneshot::Sender<Result<()>>),
    /// Pauses a queue, and answers when none of its jobs runs any more. `Conflict` with the code `queue_resumed` when it was
    /// started again before that.
    Drain(Queue, oneshot::Sender<Result<()>>),
}

impl Command {
    /// How much of a batch it is, in jobs: a batch has a bound in bytes as well.
    pub fn weight(&self) -> usize {
        match self {
            Self::Enqueue(jobs, _) => jobs.iter().map(|it| 1 + it.payload.len() / BYTES_A_UNIT).sum(),
            Self::Next { take, finished, .. } => take.saturating_add(finished.len()),
            Self::Fates(ids, _) => ids.len(),
            Self::List(filter, _) => usize::try_from(filter.limit.min(LISTED_MAX)).unwrap_or(1),
            _ => 1,
        }
    }

    /// Answers with an error.
    pub fn refuse(self, error: &Error) {
        let error = error.clone();
        match self {
            Self::Enqueue(_, to) => drop(to.send(Err(error))),
            Self::Next { answer, .. } => drop(answer.send(Err(error))),
            Self::Get(_, to) => drop(to.send(Err(error))),
            Self::Fates(_, to) => drop(to.send(Err(error))),
            Self::List(_, to) => drop(to.send(Err(error))),
            Self::Depths(_, to) => drop(to.send(Err(error))),
            Self::Cancel(_, to) => drop(to.send(Err(error))),
            Self::Settled(_, to)
            | Self::Progress(_, _, _, to)
            | Self::Rerun(_, to)
            | Self::Bury(_, _, to)
            | Self::Dismiss(_, to)
            | Self::Pause(_, _, to)
            | Self::PauseTenant(_, _, to)
            | Self::Drain(_, to) => drop(to.send(Err(error))),
        }
    }
}

/// A queue engine: takes commands, answers each through its channel after it is durable.
pub trait QueueEngine: Send + Sync {
    /// Hands a command over. When the engine is gone, the channel is dropped.
    fn submit(&self, command: Command);
    /// Resolves when a job of `queue` may have become claimable since the last call (spurious wake-ups
    /// are allowed): by enqueue, a time that is due, rerun, unpause, the end of a job that others wait for, a place that
    /// became free under a cluster limit, or a rate that allows a start again. All that wait are woken, or else the next that asks.
    fn ready(&self, queue: Queue) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Whether what was taken in stays taken in, also when the engine's own store crashes. When not, whoever hands jobs over
    /// keeps them until they have ended, and hands them over again when the engine no longer knows them.
    fn keeps(&self) -> bool {
        true
    }

    /// Resolves when the engine's store was away and is back since the last call: it may have lost something. Never for one
    /// that keeps all.
    fn returned(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }

    /// Whether the engine's store is there now.
    fn is_up(&self) -> bool {
        true
    }

    /// `Err` says why no job starts.
    fn health(&self) -> Result<()> {
        if self.is_up() {
            return Ok(());
        }
        Err(Error::unavailable(
            "queue_unreachable",
            "The store of the job queue cannot be reached. Sites go on answering; jobs wait.",
        ))
    }

    /// The sign that this process must end, when the engine's own disk can fail under it.
    fn fatal(&self) -> Option<Fatal> {
        None
    }
}

/// The queue as the product sees it. Cheap to clone.
#[derive(Clone)]
pub struct Jobs(Arc<dyn QueueEngine>);

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Jobs")
    }
}

impl Jobs {
    /// Wraps an engine.
    pub fn new(engine: Arc<dyn QueueEngine>) -> Self {
        Self(engine)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<Result<T>>) -> Command) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        self.0.submit(command(answer));
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Takes jobs in durably; how many were new.
    pub async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<u64> {
        self.ask(|answer| Command::Enqueue(jobs, answer)).await
    }

    /// Ends attempts and claims the next jobs. When this future is dropped, leases that it would have given go
    /// back as released; the attempts are ended all the same.
    pub async fn next(&self, queue: Queue, take: usize, finished: Vec<Finish>) -> Result<Next> {
        let (answer, answered) = oneshot::channel();
        let mut claim = Claim { engine: &*self.0, queue, answered };
        self.0.submit(Command::Next { queue, take, finished, answer });
        (&mut claim.answered).await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Reports progress of an attempt.
    pub async fn progress(&self, id: JobId, attempt: u32, percent: u8) -> Result<()> {
        self.ask(|answer| Command::Progress(id, attempt, percent, answer)).await
    }

    /// One job.
    pub async fn get(&self, id: JobId) -> Result<Option<Job>> {
        self.ask(|answer| Command::Get(id, answer)).await
    }

    /// What is known of these ids.
    pub async fn fates(&self, ids: Vec<JobId>) -> Result<Vec<Fate>> {
        self.ask(|answer| Command::Fates(ids, answer)).await
    }

    /// Says that no job is enqueued again that had ended before this time ([`Command::Settled`]).
    pub async fn settled(&self, before_ms: i64) -> Result<()> {
        self.ask(|answer| Command::Settled(before_ms, answer)).await
    }

    /// Whether what was taken in stays taken in ([`QueueEngine::keeps`]).
    pub fn keeps(&self) -> bool {
        self.0.keeps()
    }

    /// Waits until the engine's store was away and is back.
    pub async fn returned(&self) {
        self.0.returned().await;
    }

    /// Whether the engine's store is there now.
    pub fn is_up(&self) -> bool {
        self.0.is_up()
    }

    /// `Err` says why no job starts.
    pub fn health(&self) -> Result<()> {
        self.0.health()
    }

    /// Waits until the disk has failed under the queue and this process must end, and says why.
    pub async fn failed(&self) -> Error {
        fatal::told(self.0.fatal()).await
    }

    /// A list, newest first.
    pub async fn list(&self, filter: JobFilter) -> Result<Vec<Job>> {
        self.ask(|answer| Command::List(filter, answer)).await
    }

    /// Counts for all four queues, of one tenant or of all.
    pub async fn depths(&self, tenant: Option<TenantId>) -> Result<[Depth; 4]> {
        self.ask(|answer| Command::Depths(tenant, answer)).await
    }

    /// Makes a dead or delayed job waiting.
    pub async fn rerun(&self, id: JobId) -> Result<()> {
        self.ask(|answer| Command::Rerun(id, answer)).await
    }

    /// Removes a job that has not started; `false` when it runs and was told to end.
    pub async fn cancel(&self, id: JobId) -> Result<bool> {
        self.ask(|answer| Command::Cancel(id, answer)).await
    }

    /// Makes a job that has not started a dead one.
    pub async fn bury(&self, id: JobId, error: String) -> Result<()> {
        self.ask(|answer| Command::Bury(id, error, answer)).await
    }

    /// Removes an ended job from the list.
    pub async fn dismiss(&self, id: JobId) -> Result<()> {
        self.ask(|answer| Command::Dismiss(id, answer)).await
    }

    /// Stops or starts claims.
    pub async fn pause(&self, queue: Queue, paused: bool) -> Result<()> {
        self.ask(|answer| Command::Pause(queue, paused, answer)).await
    }

    /// Stops or starts claims of a tenant's jobs.
    pub async fn pause_tenant(&self, tenant: TenantId, paused: bool) -> Result<()> {
        self.ask(|answer| Command::PauseTenant(tenant, paused, answer)).await
    }

    /// Pauses a queue and waits until none of its jobs runs.
    pub async fn drain(&self, queue: Queue) -> Result<()> {
        self.ask(|answer| Command::Drain(queue, answer)).await
    }

    /// Waits until a job of `queue` may be claimable.
    pub async fn ready(&self, queue: Queue) {
        self.0.ready(queue).await;
    }
}

/// A claim on its way. Dropped before it was taken, its leases go back: nobody would work on them.
struct Claim<'e> {
    engine: &'e dyn QueueEngine,
    queue: Queue,
    answered: oneshot::Receiver<Result<Next>>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        // From here on the engine sees that nobody takes the answer; what it has sent before is here.
        self.answered.close();
        let Ok(Ok((_, leases))) = self.answered.try_recv() else { return };
        if leases.is_empty() {
            return;
        }
        let finished = leases.into_iter().map(Lease::released).collect();
        let (answer, _) = oneshot::channel();
        self.engine.submit(Command::Next { queue: self.queue, take: 0, finished, answer });
    }
}

/// What callers hear of an engine that has ended.
fn stopped() -> Error {
    Error::unavailable("queue_stopped", "The job queue of this server has stopped. Try again in a moment.")
}

/// What callers hear when too many wait already.
pub fn busy() -> Error {
    Error::unavailable("queue_busy", "Too much is waiting for the job queue of this server. Try again in a moment.")
}

/// The fence of an attempt.
pub fn stale() -> Error {
    Error::conflict("stale_lease", "This attempt of the job is over: another one has begun, or the job has ended.")
}

/// A drain came to nothing.
pub fn resumed() -> Error {
    Error::conflict("queue_resumed", "The queue was started again before its running jobs had ended.")
}

/// A job cannot be started again before others have ended.
pub fn waits() -> Error {
    Error::conflict(
        "job_waits",
        "This job waits for others. Start those again that have failed, and let them end first.",
    )
}

/// A job cannot be started again while another has its key.
pub fn not_unique() -> Error {
    Error::conflict("job_unique", "Another job of the same kind has been asked for meanwhile. Let it end first.")
}
