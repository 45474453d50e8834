//! How long jobs wait and run: counted by each process for its `/metrics`, and read for people from the jobs that are kept.
//!
//! A wait is that for the first start, from when a job was asked for or due; later starts wait on purpose. A job that waits
//! for others is left out, since its wait is theirs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    domain::{
        Result,
        access::Actor,
        job::{Job, NewJob, Queue, State},
    },
    ports::queue::{JobFilter, Lease},
};

use super::Services;

/// Upper ends of the buckets, in milliseconds: from what a queue in memory needs to what a person gives up on.
pub const BUCKETS_MS: [u64; 15] =
    [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 30_000, 60_000, 300_000, 900_000, 1_800_000, 3_600_000];

/// Jobs of a queue that percentiles are read from: the newest that are kept.
const READ_MAX: u32 = 200;

/// Lengths of time, counted by size.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each of [`BUCKETS_MS`], each without those below it.
    counts: [AtomicU64; BUCKETS_MS.len()],
    above: AtomicU64,
    sum_us: AtomicU64,
}

/// What a histogram has counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How many were at most as long as each of [`BUCKETS_MS`].
    pub buckets: [u64; BUCKETS_MS.len()],
    /// How many there were.
    pub count: u64,
    /// Their lengths together, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Counts one.
    pub fn add(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let fits = BUCKETS_MS.iter().zip(&self.counts).find(|(end_ms, _)| us <= **end_ms * 1_000);
        fits.map_or(&self.above, |(_, count)| count).fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What was counted. The count is that of the buckets, whatever is added meanwhile.
    pub fn read(&self) -> Counted {
        let mut count = 0;
        let buckets = self.counts.each_ref().map(|it| {
            count += it.load(Ordering::Relaxed);
            count
        });
        count += self.above.load(Ordering::Relaxed);
        Counted { buckets, count, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

/// The times of one queue.
#[derive(Debug, Default)]
pub struct Times {
    /// For the first start.
    pub wait: Histogram,
    /// Of each attempt, however it ended.
    pub run: Histogram,
}

/// What this process has counted since its start.
#[derive(Debug, Default)]
pub struct Latency {
    deploy: Times,
    email: Times,
    blockchain: Times,
    backup: Times,
}

impl Latency {
    /// The times of a queue.
    pub const fn of(&self, queue: Queue) -> &Times {
        match queue {
            Queue::Deploy => &self.deploy,
            Queue::Email => &self.email,
            Queue::Blockchain => &self.blockchain,
            Queue::Backup => &self.backup,
        }
    }
}

/// An attempt that runs; when it is dropped, its time is counted.
#[derive(Debug)]
pub struct Running {
    latency: Arc<Latency>,
    queue: Queue,
    began: Instant,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.latency.of(self.queue).run.add(self.began.elapsed());
    }
}

/// The middle and the slow end of some lengths of time, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// Half are at most as long.
    pub p50_ms: u64,
    /// 95 of a hundred are at most as long.
    pub p95_ms: u64,
}

impl Percentiles {
    /// Of these (nearest rank); `None` when there are none.
    fn of(mut lengths_ms: Vec<u64>) -> Option<Self> {
        lengths_ms.sort_unstable();
        let rank = |percent: usize| lengths_ms.get((lengths_ms.len() * percent).div_ceil(100).checked_sub(1)?).copied();
        Some(Self { p50_ms: rank(50)?, p95_ms: rank(95)? })
    }
}

/// How long the jobs of a queue took that have ended well lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lately {
    /// How many jobs were looked at.
    pub jobs: usize,
    /// For the first start.
    pub wait: Option<Percentiles>,
    /// The last attempt.
    pub run: Option<Percentiles>,
}

/// When a job could have started first, in milliseconds.
fn due_ms(job: &NewJob) -> i64 {
    job.run_at_ms.max(job.created_ms)
}

fn between(from_ms: i64, to_ms: i64) -> u64 {
    u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0)
}

fn lately(jobs: &[Job]) -> Lately {
    let first = jobs.iter().filter(|it| it.attempt == 1 && it.new.after.is_empty());
    let wait = first.filter_map(|it| Some(between(due_ms(&it.new), it.started_ms?)));
    let run = jobs.iter().filter_map(|it| Some(between(it.started_ms?, it.finished_ms?)));
    Lately { jobs: jobs.len(), wait: Percentiles::of(wait.collect()), run: Percentiles::of(run.collect()) }
}

impl Services {
    /// What this process has counted.
    pub fn latency(&self) -> &Latency {
        &self.0.latency
    }

    /// An attempt begins.
    pub fn begin_run(&self, lease: &Lease) -> Running {
        let queue = lease.job.queue;
        if lease.attempt == 1 && lease.job.after.is_empty() {
            let waited_ms = between(due_ms(&lease.job), self.clock.now_ms());
            self.latency().of(queue).wait.add(Duration::from_millis(waited_ms));
        }
        Running { latency: Arc::clone(&self.0.latency), queue, began: Instant::now() }
    }

    /// How long the jobs took that have ended well lately and that the actor may see, for each queue, in the order of
    /// [`Queue::ALL`].
    pub async fn lately(&self, actor: &Actor) -> Result<[Lately; 4]> {
        let depths = self.queue_depths(actor).await?;
        let mut all = [Lately::default(); 4];
        for ((queue, depth), of) in Queue::ALL.into_iter().zip(depths).zip(&mut all) {
            if depth.done > 0 {
                let filter =
                    JobFilter { queue: Some(queue), state: Some(State::Done), limit: READ_MAX, ..JobFilter::default() };
                *of = lately(&self.list_jobs(actor, filter).await?);
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_length_is_counted_once_and_buckets_hold_those_below() {
        let histogram = Histogram::default();
        for us in [0, 1_000, 1_001, 49_999, 3_600_000_000, 3_600_000_001] {
            histogram.add(Duration::from_micros(us));
        }
        let counted = histogram.read();
        assert_eq!(counted.buckets, [2, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 5]);
        assert_eq!((counted.count, counted.sum_us), (6, 7_200_052_001));
    }

    #[test]
    fn percentiles_are_lengths_that_were_measured() {
        assert_eq!(Percentiles::of(Vec::new()), None);
        let of = |all: Vec<u64>| Percentiles::of(all).map(|it| (it.p50_ms, it.p95_ms));
        assert_eq!(of(vec![7]), Some((7, 7)));
        assert_eq!(of(vec![9, 1]), Some((1, 9)));
        assert_eq!(of((1..=100).rev().collect()), Some((50, 95)));
        assert_eq!(of((1..=20).collect()), Some((10, 19)));
    }
}
