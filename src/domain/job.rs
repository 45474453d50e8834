//! A job: work with input, retried, idempotent. The four queues and their rules.

use std::time::Duration;

use crate::{
    base::{limits, retry::Backoff},
    domain::{Error, Result, tenant::TenantId},
    id_type,
};

id_type!(
    /// The id of a job: the id of its outbox row.
    JobId
);

/// One of the four queues of the scaling guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// Site builds, file processing.
    Deploy,
    /// Transactional mail, notifications.
    Email,
    /// Hashing on chain, verification.
    Blockchain,
    /// Database dumps, archives.
    Backup,
}

/// The kind of job that builds a site. Queue `deploy` starts only so many of them in a minute.
pub const BUILD: &str = "build";

/// How often jobs of one kind may start, in the whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// So many starts …
    pub starts: usize,
    /// … in any span of so many milliseconds.
    pub window_ms: i64,
}

/// The numbers of a queue (CONTRACTS §1).
#[derive(Clone, Copy, Debug)]
pub struct QueueRules {
    /// Jobs at once in one worker.
    pub concurrency: usize,
    /// Jobs at once in the whole cluster.
    pub cluster_limit: Option<usize>,
    /// Attempts before a job is dead.
    pub attempts: u32,
    /// Wait between attempts.
    pub backoff: Backoff,
    /// Finished jobs kept.
    pub kept_done: usize,
    /// Failed jobs kept.
    pub kept_failed: usize,
    /// How long a shutdown waits for running jobs.
    pub grace: Duration,
}

impl Queue {
    /// All of them, in the order of the guide.
    pub const ALL: [Self; 4] = [Self::Deploy, Self::Email, Self::Blockchain, Self::Backup];

    /// The stored and shown word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Email => "email",
            Self::Blockchain => "blockchain",
            Self::Backup => "backup",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|it| it.word() == word).ok_or_else(|| {
            Error::invalid(
                "queue",
                format!("There is no queue `{word}`. The queues are deploy, email, blockchain, backup."),
            )
            .on("queue")
        })
    }

    /// A small number, stable in stores.
    pub const fn number(self) -> u8 {
        match self {
            Self::Deploy => 1,
            Self::Email => 2,
            Self::Blockchain => 3,
            Self::Backup => 4,
        }
    }

    /// How often jobs of `kind` may start in this queue; `None`: as often as there are places.
    pub fn rate(self, kind: &str) -> Option<Rate> {
        (self == Self::Deploy && kind == BUILD).then(|| self.limited_rate()).flatten()
    }

    /// The rate of the kinds that have one in this queue: they share it.
    pub const fn limited_rate(self) -> Option<Rate> {
        match self {
            Self::Deploy => Some(Rate { starts: 5, window_ms: 60_000 }),
            Self::Email | Self::Blockchain | Self::Backup => None,
        }
    }

    /// The rules of the queue.
    pub const fn rules(self) -> QueueRules {
        let seconds = Duration::from_secs;
        match self {
            Self::Deploy => QueueRules {
                concurrency: 2,
                cluster_limit: None,
                attempts: 3,
                backoff: Backoff::Exponential(5_000),
                kept_done: 100,
                kept_failed: 50,
                grace: seconds(60),
            },
            Self::Email => QueueRules {
                concurrency: 5,
                cluster_limit: None,
                attempts: 5,
                backoff: Backoff::Exponential(10_000),
                kept_done: 500,
                kept_failed: 100,
                grace: seconds(20),
            },
            Self::Blockchain => QueueRules {
                concurrency: 1,
                cluster_limit: Some(1),
                attempts: 3,
                backoff: Backoff::Exponential(15_000),
                kept_done: 200,
                kept_failed: 50,
                grace: seconds(20),
            },
            Self::Backup => QueueRules {
                concurrency: 1,
                cluster_limit: Some(1),
                attempts: 2,
                backoff: Backoff::Fixed(60_000),
                kept_done: 30,
                kept_failed: 10,
                grace: seconds(30),
            },
        }
    }
}

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// May start at any moment.
    Waiting,
    /// Starts later: at its time, after a retry or a snooze, or when the jobs have ended that it waits for.
    Delayed,
    /// A worker has it.
    Running,
    /// It ended well.
    Done,
    /// It is dead: attempts used up, worker died too often, cancelled while it ran, given up by its own handler, or a job
    /// died that it waited for.
    Failed,
}

impl State {
    /// The shown word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delayed => "delayed",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Result<Self> {
        [Self::Waiting, Self::Delayed, Self::Running, Self::Done, Self::Failed]
            .into_iter()
            .find(|it| it.word() == word)
            .ok_or_else(|| {
                Error::invalid(
                    "job_state",
                    format!("`{word}` is not a state of a job: waiting, delayed, running, done, failed."),
                )
                .on("state")
            })
    }
}

/// A job to be enqueued: ids and small settings only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Its id: a UUIDv7.
    pub id: JobId,
    /// Its queue.
    pub queue: Queue,
    /// Which handler: `compress_variants`.
    pub kind: String,
    /// Whose; jobs of tenants take turns. `None`: the host's own.
    pub tenant: Option<TenantId>,
    /// JSON, at most 64 KiB.
    pub payload: String,
    /// Higher first; 0 is usual. -100 to 100.
    pub priority: i8,
    /// Not before this time.
    pub run_at_ms: i64,
    /// One line for people: "Compress harbour-cafe 42".
    pub title: String,
    /// When it was asked for.
    pub created_ms: i64,
    /// While a job of the same tenant and queue with this key has not ended, no other is taken; at most 200 bytes.
    pub unique: Option<String>,
    /// Starts when all of these have ended well; at most 16, of the same tenant. One that is not known counts as ended
    /// well, since whatever dies takes with it those that wait for it.
    pub after: Vec<JobId>,
}

impl NewJob {
    /// Before when it may not start. `None`: it was asked for at once, and no clock that differs or was set since then puts it off.
    pub const fn put_off_until(&self) -> Option<i64> {
        if self.run_at_ms > self.created_ms { Some(self.run_at_ms) } else { None }
    }

    /// Whether a queue may take it: every engine refuses the same.
    pub fn check(&self) -> Result<()> {
        if self.payload.len() > limits::JOB_PAYLOAD_BYTES_MAX {
            return Err(Error::too_large(
                "job_payload_too_large",
                format!(
                    "The input of a job may have {} KiB; this one has {} bytes. Pass ids, and leave the bytes where they are.",
                    limits::JOB_PAYLOAD_BYTES_MAX / 1024,
                    self.payload.len()
                ),
            )
            .on("payload"));
        }
        if !(-100..=100).contains(&self.priority) {
            return Err(Error::invalid("job_priority", "The priority of a job is between -100 and 100.").on("priority"));
        }
        if self.kind.is_empty() || self.kind.len() > 100 {
            return Err(Error::invalid("job_kind", "The kind of a job has 1 to 100 bytes.").on("kind"));
        }
        if self.unique.as_ref().is_some_and(|it| it.is_empty() || it.len() > limits::JOB_UNIQUE_BYTES_MAX) {
            let text = format!("The key of a unique job has 1 to {} bytes.", limits::JOB_UNIQUE_BYTES_MAX);
            return Err(Error::invalid("job_unique_key", text).on("unique"));
        }
        if self.after.len() > limits::JOB_AFTER_MAX {
            let text = format!("A job waits for at most {} others.", limits::JOB_AFTER_MAX);
            return Err(Error::invalid("job_after", text).on("after"));
        }
        Ok(())
    }
}

/// A job as the panel lists it.
#[derive(Clone, Debug)]
pub struct Job {
    /// What was enqueued.
    pub new: NewJob,
    /// Where it stands.
    pub state: State,
    /// Attempts begun.
    pub attempt: u32,
    /// Workers that died with it.
    pub deaths: u32,
    /// The last failure, for people.
    pub error: Option<String>,
    /// When the present or last attempt began.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub finished_ms: Option<i64>,
    /// 0 to 100, as the handler says.
    pub progress: u8,
}
