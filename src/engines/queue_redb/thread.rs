//! The one thread that owns the file: one command, then all that wait, one transaction, one commit.
//!
//! Guarantees: what arrives during a sync forms the next batch; each caller is answered after the commit; a
//! failed commit is the fate of all in the batch and is never tried again; with nothing to do the thread
//! sleeps until a command comes or a delayed job is due.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::{
    base::clock::Clock,
    domain::{Error, job::Queue},
    ports::{
        fatal::Fatal,
        queue::{Command, Finish},
    },
};

use super::{
    answers::{self, Reply},
    book::{Book, PerQueue},
    disk::Disk,
    fault::{Fault, Step, broken, full},
    store::{Start, Store},
    tables::Tables,
    work::Work,
};

/// Jobs in one transaction, about: beyond this the sync is no longer what costs.
const BATCH_WEIGHT: usize = 4_096;
/// The clock may be set while we sleep, so a sleep for a delayed job has an end.
const SLEEP_MAX: Duration = Duration::from_mins(10);
/// On a full disk what is due is tried again so often: nobody says when there is space.
const FULL_AGAIN: Duration = Duration::from_secs(2);

/// The thread's own things.
pub(super) struct QueueThread {
    pub(super) disk: Disk,
    pub(super) clock: Clock,
    pub(super) waiting_max: u64,
    pub(super) commands: Receiver<Command>,
    pub(super) ready: Arc<PerQueue<Notify>>,
    pub(super) book: Book,
    pub(super) health: Health,
    /// Leases that nobody took: they go back.
    pub(super) untaken: Vec<Finish>,
    pub(super) broken: Broken,
}

/// What others see of a thread that takes no more commands.
#[derive(Clone, Default)]
pub(super) struct Broken {
    is: Arc<AtomicBool>,
    pub(super) fatal: Fatal,
}

impl Broken {
    /// Whether it takes none.
    pub(super) fn is(&self) -> bool {
        self.is.load(Ordering::SeqCst)
    }

    /// It takes none from now on. When it was the disk that failed, this process must end: a new one reads what the disk
    /// really holds. One that would find the same has nothing to gain, so this one goes on serving.
    fn tell(&self, by_disk: bool, detail: &str) {
        tracing::error!(detail, "the job queue is broken and takes no more commands");
        self.is.store(true, Ordering::SeqCst);
        if by_disk {
            let text = "The disk failed under the job queue of this server, which therefore ends. What was told as saved is read \
                        again at the next start. Check the disk.";
            self.fatal.tell(Error::unavailable("queue_broken", text).because(detail));
        }
    }
}

/// Whether the file can be used.
pub(super) enum Health {
    /// Yes.
    Good(Store),
    /// The disk was full; the next command tries again.
    Full,
    /// Never again in this process.
    Broken,
}

enum Woken {
    By(Command),
    ByTime,
    ByTheEnd,
}

impl QueueThread {
    /// Works until the last sender is gone and all that waits is done.
    pub(super) fn run(mut self) {
        self.wake();
        loop {
            let mut batch = VecDeque::new();
            let mut weight = 0;
            if self.untaken.is_empty() || !matches!(self.health, Health::Good(_)) {
                match self.sleep() {
                    Woken::By(command) => {
                        weight += command.weight();
                        batch.push_back(command);
                    }
                    Woken::ByTime if self.is_due() => {}
                    Woken::ByTime => continue,
                    Woken::ByTheEnd => return,
                }
            }
            while weight < BATCH_WEIGHT
                && let Ok(command) = self.commands.try_recv()
            {
                weight += command.weight();
                batch.push_back(command);
            }
            self.batch(batch);
        }
    }

    /// Whether there is something to do without being asked: also when the clock was set back, since what was waited for
    /// may be far away now.
    fn is_due(&self) -> bool {
        let now_ms = self.clock.now_ms();
        matches!(self.health, Health::Full)
            || now_ms < self.book.seen_ms
            || self.book.first_due_ms().is_some_and(|due_ms| due_ms <= now_ms)
    }

    fn sleep(&self) -> Woken {
        let wait = match (&self.health, self.book.first_due_ms()) {
            (Health::Good(_), Some(due_ms)) => {
                let wait_ms = u64::try_from(due_ms.saturating_sub(self.clock.now_ms())).unwrap_or(0);
                Duration::from_millis(wait_ms).min(SLEEP_MAX)
            }
            (Health::Full, due_ms) if due_ms.is_some() || !self.untaken.is_empty() => FULL_AGAIN,
            _ => return self.commands.recv().map_or(Woken::ByTheEnd, Woken::By),
        };
        match self.commands.recv_timeout(wait) {
            Ok(command) => Woken::By(command),
            Err(RecvTimeoutError::Timeout) => Woken::ByTime,
            Err(RecvTimeoutError::Disconnected) => Woken::ByTheEnd,
        }
    }

    /// Does a batch in one transaction and answers all of it.
    fn batch(&mut self, mut batch: VecDeque<Command>) {
        if let Err(error) = self.open_again() {
            for command in batch {
                command.refuse(&error);
            }
            return;
        }
        let mut replies = Vec::with_capacity(batch.len());
        // A defect in one command must not leave the others without an answer.
        let fate = catch_unwind(AssertUnwindSafe(|| self.transaction(&mut batch, &mut replies)))
            .unwrap_or_else(|_| Err(Fault::Broken(String::from("a command of the job queue panicked"))));
        match fate {
            Ok(()) => {
                self.book.leased_now.clear();
                self.book.ended_now.clear();
                self.book.cancelled_now.drain(..).for_each(|it| it.cancel());
                self.book.answer_drains();
                // Woken before answered: who has an answer knows that no wake-up of it is still to come.
                self.wake();
                self.untaken = replies.into_iter().flat_map(|reply| reply(None)).collect();
            }
            Err(fault) => {
                let error = self.fail(fault);
                for (_, answer) in self.book.drains.drain(..) {
                    drop(answer.send(Err(error.clone())));
                }
                for reply in replies {
                    drop(reply(Some(&error)));
                }
                for command in batch {
                    command.refuse(&error);
                }
            }
        }
    }

    fn transaction(&mut self, batch: &mut VecDeque<Command>, replies: &mut Vec<Reply>) -> Step<()> {
        let Health::Good(store) = &self.health else { return Err(broken().into()) };
        let transaction = store.begin()?;
        let mut tables = Tables::open(&transaction)?;
        let now_ms = self.clock.now_ms();
        let mut work = Work { tables: &mut tables, book: &mut self.book, now_ms, waiting_max: self.waiting_max };
        work.book.seen_ms = now_ms;
        work.chores()?;
        // They stay on the list until the commit: when it fails, nobody else would bring them back.
        for finish in self.untaken.clone() {
            match work.finish(finish, 0) {
                Ok(()) | Err(Fault::Refused(_)) => {}
                Err(fault) => return Err(fault),
            }
        }
        while let Some(command) = batch.pop_front() {
            answers::work(&mut work, command, replies)?;
        }
        work.watch_rates();
        work.write_counts()?;
        drop(tables);
        if std::mem::take(&mut self.book.changed) {
            transaction.commit()?;
            store.signs.well();
        } else {
            transaction.abort()?;
        }
        Ok(())
    }

    /// Lets go of the file after a failure. What the callers of the batch hear.
    fn fail(&mut self, fault: Fault) -> Error {
        let Health::Good(store) = std::mem::replace(&mut self.health, Health::Broken) else { return broken() };
        let (full_disk, lost_disk) = (store.signs.full(), store.signs.lost());
        // The database must be gone before it is opened again.
        drop(store);
        let detail = match fault {
            Fault::Broken(detail) => detail,
            Fault::Refused(error) => error.to_string(),
        };
        if full_disk {
            self.health = Health::Full;
            return full().because(detail);
        }
        self.broken.tell(lost_disk, &detail);
        broken().because(detail)
    }

    /// Makes sure that the file is open, after the disk was full by opening it again.
    fn open_again(&mut self) -> Result<(), Error> {
        match self.health {
            Health::Good(_) => return Ok(()),
            Health::Broken => return Err(broken()),
            Health::Full => {}
        }
        let opened = Store::open(&self.disk).and_then(|store| {
            let book = store.load(self.clock.now_ms(), &Start::Again(&self.book))?;
            Ok((store, book))
        });
        match opened {
            Ok((store, book)) => {
                self.book = book;
                self.health = Health::Good(store);
                Ok(())
            }
            Err(error) => {
                if error.code != "disk_full" {
                    self.health = Health::Broken;
                    self.broken.tell(true, &format!("it cannot be opened again: {error}"));
                }
                Err(error)
            }
        }
    }

    /// Tells the waiting runners.
    fn wake(&mut self) {
        for queue in Queue::ALL {
            if std::mem::take(self.book.woken.of_mut(queue)) && !*self.book.paused.of(queue) {
                let ready = self.ready.of(queue);
                // All that wait now, or else the next that asks.
                ready.notify_waiters();
                ready.notify_one();
            }
        }
    }
}
