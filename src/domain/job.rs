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
    /// Starts later: a retry or a snooze.
    Delayed,
    /// A worker has it.
    Running,
    /// It ended well.
    Done,
    /// It is dead: attempts used up, worker died too often, or cancelled by its own handler.
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
}

impl NewJob {
    /// Refuses what no queue takes.
    pub fn check(&self) -> Result<()> {
        if self.payload.len() > limits::JOB_PAYLOAD_BYTES_MAX {
            let (max, bytes) = (limits::JOB_PAYLOAD_BYTES_MAX / 1024, self.payload.len());
            let text = format!("The input of a job may have {max} KiB; this one has {bytes} bytes. Pass ids instead.");
            return Err(Error::too_large("job_payload_too_large", text).on("payload"));
        }
        if !(-100..=100).contains(&self.priority) {
            let text = "The priority of a job is between -100 and 100.";
            return Err(Error::invalid("job_priority", text).on("priority"));
        }
        if self.kind.is_empty() || self.kind.len() > 100 {
            return Err(Error::invalid("job_kind", "The kind of a job has 1 to 100 bytes.").on("kind"));
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
