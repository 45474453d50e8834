//! Jobs: what runs, what waits, what failed and why, with the way out beside it.

use askama::Template;

use super::{overview::QueueRow, shell::Shell, words::When};

/// The jobs of the tenant.
#[derive(Debug, Template)]
#[template(path = "jobs/jobs.html")]
pub(super) struct Jobs {
    pub(super) shell: Shell,
    pub(super) lead: String,
    /// The queue that is looked at; all when absent.
    pub(super) queue: Option<&'static str>,
    pub(super) board: Board,
}

impl Jobs {
    /// Whether this queue is looked at alone.
    fn at(&self, name: &str) -> bool {
        self.queue == Some(name)
    }
}

/// The part of the page that changes by itself: what the stream of events carries.
#[derive(Clone, Debug, Template)]
#[template(path = "jobs/board.html")]
pub(super) struct Board {
    pub(super) queues: Vec<QueueRow>,
    pub(super) running: Vec<JobRow>,
    pub(super) failed: Vec<JobRow>,
    pub(super) waiting: Vec<JobRow>,
    pub(super) done: Vec<JobRow>,
    /// Jobs that wait, also those that are not listed.
    pub(super) waiting_total: i64,
}

/// A job.
#[derive(Clone, Debug)]
pub(super) struct JobRow {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) queue: &'static str,
    pub(super) attempt: u32,
    pub(super) attempts: u32,
    pub(super) when: When,
    pub(super) progress: u8,
    /// Why it failed, or why it is tried again.
    pub(super) error: String,
    /// Starts later: a retry or a snooze.
    pub(super) delayed: bool,
}
