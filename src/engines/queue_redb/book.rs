//! What the thread keeps in memory beside the file: counts, the heads of the lines, the leases.
//!
//! INVARIANT: after each commit it says what the file says. It is changed together with the file inside a
//! transaction; when the commit fails it is thrown away and read anew. It never grows with waiting jobs.

use std::collections::{HashMap, HashSet, VecDeque};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::domain::{
    Result,
    job::{JobId, Queue, State},
};

use super::{
    fault::resumed,
    lanes::Lane,
    record::{Counts, Owner},
};

/// One of something for each queue.
#[derive(Debug, Default)]
pub(super) struct PerQueue<T>([T; 4]);

impl<T> PerQueue<T> {
    /// That of `queue`.
    pub(super) const fn of(&self, queue: Queue) -> &T {
        let [deploy, email, blockchain, backup] = &self.0;
        match queue {
            Queue::Deploy => deploy,
            Queue::Email => email,
            Queue::Blockchain => blockchain,
            Queue::Backup => backup,
        }
    }

    /// That of `queue`, to change.
    pub(super) const fn of_mut(&mut self, queue: Queue) -> &mut T {
        let [deploy, email, blockchain, backup] = &mut self.0;
        match queue {
            Queue::Deploy => deploy,
            Queue::Email => email,
            Queue::Blockchain => blockchain,
            Queue::Backup => backup,
        }
    }
}

/// A leased job.
#[derive(Clone, Debug)]
pub(super) struct Running {
    pub(super) owner: Owner,
    pub(super) queue: Queue,
    pub(super) attempt: u32,
    pub(super) progress: u8,
    /// Tells its worker that somebody cancels it.
    pub(super) cancelled: CancellationToken,
}

/// A drain that waits for its answer.
pub(super) type Drain = (Queue, oneshot::Sender<Result<()>>);

/// The memory of the thread.
#[derive(Debug, Default)]
pub(super) struct Book {
    pub(super) lanes: PerQueue<Lane>,
    pub(super) paused: PerQueue<bool>,
    /// Queues in which a job became claimable in this transaction.
    pub(super) woken: PerQueue<bool>,
    pub(super) running: HashMap<JobId, Running>,
    /// Leases given in this transaction: nobody has them before the commit.
    pub(super) leased_now: Vec<JobId>,
    /// Leases ended in this transaction: their workers have them until the commit.
    pub(super) ended_now: Vec<(JobId, Running)>,
    /// Leases whose workers are to be told after the commit.
    pub(super) cancelled_now: Vec<CancellationToken>,
    /// The last starts under the rate of each queue, oldest first.
    pub(super) starts: PerQueue<VecDeque<i64>>,
    /// When the first rate that is used up allows a start again, if jobs wait for that.
    pub(super) rate_ms: Option<i64>,
    /// Drains that wait for the end of what runs.
    pub(super) drains: Vec<Drain>,
    /// The next place at the end of any line.
    pub(super) seq: u64,
    /// When the first delayed job is due.
    pub(super) due_ms: Option<i64>,
    /// The time of day of the last transaction.
    pub(super) seen_ms: i64,
    /// When old things are looked for again.
    pub(super) chores_ms: i64,
    /// This transaction has changed the file.
    pub(super) changed: bool,
    counts: HashMap<(Queue, Owner), Counts>,
    totals: PerQueue<Counts>,
    stale: HashSet<(Queue, Owner)>,
}

impl Book {
    /// The next `seq`.
    pub(super) const fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// When there is something to do without being asked.
    pub(super) fn first_due_ms(&self) -> Option<i64> {
        [self.due_ms, self.rate_ms].into_iter().flatten().min()
    }

    /// A job of `owner` leaves one state and comes into another.
    pub(super) fn moved(&mut self, queue: Queue, owner: Owner, from: Option<State>, to: Option<State>) {
        for counts in [self.counts.entry((queue, owner)).or_default(), self.totals.of_mut(queue)] {
            if let Some(state) = from {
                *counts.of(state) = counts.of(state).saturating_sub(1);
            }
            if let Some(state) = to {
                *counts.of(state) += 1;
            }
        }
        self.stale.insert((queue, owner));
        self.changed = true;
    }

    /// How many jobs stand where, of one tenant or of all.
    pub(super) fn counts(&self, queue: Queue, of: Option<Owner>) -> Counts {
        match of {
            Some(owner) => self.counts.get(&(queue, owner)).copied().unwrap_or_default(),
            None => *self.totals.of(queue),
        }
    }

    /// Jobs of a tenant that have not started, in all queues.
    pub(super) fn waiting(&self, owner: Owner) -> u64 {
        let counts = Queue::ALL.map(|queue| self.counts(queue, Some(owner)));
        counts.iter().map(|it| it.waiting + it.delayed).sum()
    }

    /// Takes in counts that were read from the file.
    pub(super) fn read_counts(&mut self, queue: Queue, owner: Owner, counts: Counts) {
        self.counts.insert((queue, owner), counts);
        let total = self.totals.of_mut(queue);
        total.waiting += counts.waiting;
        total.delayed += counts.delayed;
        total.running += counts.running;
        total.done += counts.done;
        total.failed += counts.failed;
    }

    /// The counts that this transaction changed, to be written. Empty ones are forgotten.
    pub(super) fn changed_counts(&mut self) -> Vec<(Queue, Owner, Counts)> {
        let stale = std::mem::take(&mut self.stale);
        let written = stale.into_iter().map(|(queue, owner)| (queue, owner, self.counts(queue, Some(owner))));
        let written: Vec<_> = written.collect();
        for (queue, owner, _) in written.iter().filter(|it| it.2.is_empty()) {
            self.counts.remove(&(*queue, *owner));
        }
        written
    }

    /// The leases that workers hold for sure when the transaction in hand is lost.
    pub(super) fn held(&self) -> HashMap<JobId, Running> {
        let mut held = self.running.clone();
        for id in &self.leased_now {
            held.remove(id);
        }
        // After that: who ended in it may have been leased again in it, and the lease of before is the one that somebody holds.
        held.extend(self.ended_now.iter().cloned());
        held
    }

    /// Answers the drains whose queue runs nothing any more, or was started again.
    pub(super) fn answer_drains(&mut self) {
        for (queue, answer) in std::mem::take(&mut self.drains) {
            if answer.is_closed() {
                continue;
            }
            if !*self.paused.of(queue) {
                drop(answer.send(Err(resumed())));
            } else if self.counts(queue, None).running == 0 {
                drop(answer.send(Ok(())));
            } else {
                self.drains.push((queue, answer));
            }
        }
    }
}
