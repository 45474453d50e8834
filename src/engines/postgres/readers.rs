//! The connections that read: made when they are needed, up to a limit, and given back when they are not.
//!
//! Guarantees: a request sees one snapshot and cannot write (a read-only transaction); it waits for no writer; a connection that
//! died while nobody used it is replaced before anything of the request has run. A transaction begins in the round trip of its first
//! statement.
//! It never holds a connection that nobody has used for a minute, but one.

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    base::tasks::join_thread,
    domain::{Error, Result},
    ports::db::{ReadJob, ReadTx, busy, stopped},
};

use super::{
    FULL, State,
    address::Address,
    session::{Session, Statements},
};

/// Reads that may wait.
const WAITING_MAX: usize = 1024;
/// A connection that nobody used for this long is closed.
const IDLE_MAX: Duration = Duration::from_mins(1);

/// Opens a read transaction: one snapshot for all its statements, and a limit as on SQLite (CONTRACTS §2).
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '5s'; \
                     SET LOCAL idle_in_transaction_session_timeout = '15s'";

/// The threads that read, and what waits for them.
pub(super) struct Readers {
    address: Arc<Address>,
    state: Arc<State>,
    most: usize,
    inner: Mutex<Inner>,
    wake: Condvar,
    /// Wakes those that want another's connection.
    given: Condvar,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<(ReadJob, Instant)>,
    threads: Vec<JoinHandle<()>>,
    running: usize,
    idle: usize,
    /// Those that run and have a connection, or had one and want another's.
    connected: usize,
    /// Those that have begun a request, have lost their connection before its first statement and get no new one.
    wanting: usize,
    /// What others have given them.
    given: Vec<Session>,
    closed: bool,
}

impl Inner {
    /// One more thread, where the system has given one. Answers what nobody will come to: without a new thread those that run do.
    fn grow(&mut self, made: io::Result<JoinHandle<()>>) -> VecDeque<(ReadJob, Instant)> {
        match made {
            Ok(thread) => {
                self.threads.retain(|it| !it.is_finished());
                self.threads.push(thread);
                self.running += 1;
            }
            Err(_) if self.running == 0 => return std::mem::take(&mut self.waiting),
            Err(_) => {}
        }
        VecDeque::new()
    }
}

impl Readers {
    /// No connection yet; at most `most`.
    pub(super) fn new(address: Arc<Address>, state: Arc<State>, most: usize) -> Arc<Self> {
        let (inner, wake, given) = (Mutex::default(), Condvar::new(), Condvar::new());
        Arc::new(Self { address, state, most: most.max(1), inner, wake, given })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a read.
    pub(super) fn submit(self: &Arc<Self>, job: ReadJob) {
        let mut inner = self.lock();
        if inner.closed || inner.waiting.len() >= WAITING_MAX {
            let error = if inner.closed { stopped() } else { busy() };
            drop(inner);
            return job(Err(error));
        }
        inner.waiting.push_back((job, Instant::now()));
        // Where the server has just had no connection free, those that have one come to it.
        let is_full = inner.connected > 0 && self.state.full().is_some();
        if inner.idle < inner.waiting.len() && inner.running < self.most && !is_full {
            let readers = Arc::clone(self);
            let made = thread::Builder::new().name(String::from("db-reader")).spawn(move || readers.run());
            let left = inner.grow(made);
            drop(inner);
            for (job, _) in left {
                job(Err(busy()));
            }
        } else {
            drop(inner);
        }
        self.wake.notify_one();
    }

    /// Takes no more, and answers what waits. Blocks until done.
    pub(super) fn close(&self) {
        let threads = {
            let mut inner = self.lock();
            inner.closed = true;
            std::mem::take(&mut inner.threads)
        };
        self.wake.notify_all();
        threads.into_iter().for_each(join_thread);
        // What no thread was there for.
        let left = std::mem::take(&mut self.lock().waiting);
        for (job, _) in left {
            job(Err(stopped()));
        }
    }

    /// Takes no more, and waits for nobody: a replica that hangs would hold up the end.
    pub(super) fn leave(&self) {
        let (waiting, threads) = {
            let mut inner = self.lock();
            inner.closed = true;
            (std::mem::take(&mut inner.waiting), std::mem::take(&mut inner.threads))
        };
        self.wake.notify_all();
        drop((waiting, threads));
    }

    /// How many connections there are, and how many of them are at work.
    pub(super) fn count(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.running, inner.running.saturating_sub(inner.idle))
    }

    fn run(&self) {
        let mut session = None;
        let mut is_connected = false;
        while let Some((job, since)) = self.next(&mut session, is_connected) {
            let waited = since.elapsed();
            let found = self.connection(session.take());
            self.connected(&mut is_connected, found.is_ok());
            let job = match &found {
                Err(error) if error.code == FULL => match self.leave_to_others(job, since) {
                    Some(job) => job,
                    None => return,
                },
                _ => job,
            };
            self.state.waited(waited);
            match found {
                Ok((found, is_new)) => session = self.answer(found, is_new, job),
                Err(error) => {
                    if error.code == FULL && self.state.is_replica {
                        self.state.shut_out(&error);
                    }
                    job(Err(error));
                }
            }
            self.connected(&mut is_connected, session.is_some());
        }
    }

    /// Counts a thread that has got or lost its connection.
    fn connected(&self, was: &mut bool, is: bool) {
        if std::mem::replace(was, is) != is {
            let mut inner = self.lock();
            inner.connected = if is { inner.connected + 1 } else { inner.connected.saturating_sub(1) };
            drop(inner);
            self.given.notify_all();
        }
    }

    /// Leaves a request to the threads that have a connection, before all others that wait, and counts the calling thread as ended.
    /// Gives it back where there is no such thread.
    fn leave_to_others(&self, job: ReadJob, since: Instant) -> Option<ReadJob> {
        let mut inner = self.lock();
        if inner.connected == 0 {
            return Some(job);
        }
        inner.waiting.push_front((job, since));
        inner.running -= 1;
        drop(inner);
        self.wake.notify_one();
        None
    }

    /// Another's connection for a request that has begun, since the server has none free. Waits no longer than for an answer, and for
    /// nobody where no other has one: then `none` is all that there is to say.
    fn another(&self, none: Error) -> Result<Session> {
        let until = Instant::now() + self.address.limits().read;
        let mut inner = self.lock();
        inner.wanting += 1;
        // Those that have nothing to do may give theirs; who wants one as well may be the last to hope for it.
        self.wake.notify_all();
        self.given.notify_all();
        let found = loop {
            if let Some(mut session) = inner.given.pop() {
                if !session.has_ended() {
                    break Ok(session);
                }
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || inner.connected <= inner.wanting {
                break Err(none);
            }
            inner = self.given.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0;
        };
        inner.wanting -= 1;
        found
    }

    /// The next request, and since when it waits; `None` when this thread should end: it has nothing to do, or has given its connection
    /// to one that had begun a request and lost its own.
    fn next(&self, session: &mut Option<Session>, is_connected: bool) -> Option<(ReadJob, Instant)> {
        let mut inner = self.lock();
        inner.idle += 1;
        let mut idled = false;
        loop {
            if inner.wanting > inner.given.len()
                && let Some(session) = session.take()
            {
                inner.given.push(session);
                inner.idle -= 1;
                inner.running -= 1;
                inner.connected -= usize::from(is_connected);
                self.given.notify_all();
                return None;
            }
            if let Some(next) = inner.waiting.pop_front() {
                inner.idle -= 1;
                return Some(next);
            }
            if inner.closed || idled && inner.running > 1 {
                inner.idle -= 1;
                inner.running -= 1;
                inner.connected -= usize::from(is_connected);
                self.given.notify_all();
                return None;
            }
            let (next, timeout) = self.wake.wait_timeout(inner, IDLE_MAX).unwrap_or_else(PoisonError::into_inner);
            inner = next;
            idled = timeout.timed_out();
        }
    }

    /// Answers a request on a connection, which is given back when it is still of use. The transaction begins with the first statement.
    /// A connection that shows then to be of no use is replaced, once; a new one only when it was ended, and not when it says nothing.
    /// Where the server has none free, another's takes its place.
    fn answer(&self, mut session: Session, is_new: bool, job: ReadJob) -> Option<Session> {
        let renew = |it: &Session| {
            let may = if is_new { it.is_closed() && !it.is_silent() } else { true };
            may.then(|| match self.state.connect(&self.address) {
                Err(error) if error.code == FULL => self.another(error),
                made => made,
            })
        };
        let mut statements = Statements::beginning(&mut session, self.state.wall, BEGIN, &renew);
        // A defect in one request must not take a reader away; its caller sees the dropped channel.
        drop(catch_unwind(AssertUnwindSafe(|| {
            job(Ok(&mut ReadTx::new(&mut statements)));
        })));
        let has_begun = statements.has_begun();
        if !session.is_closed() && (!has_begun || session.simple("ROLLBACK").is_ok()) {
            return Some(session);
        }
        // Whether the server is gone is known before the next request comes.
        if session.is_silent() { self.state.connect(&self.address).ok() } else { None }
    }

    /// The connection that was kept, or another where that has ended; whether it is a new one.
    fn connection(&self, kept: Option<Session>) -> Result<(Session, bool)> {
        if let Some(mut session) = kept
            && self.state.trusts(&mut session, &self.address, Duration::MAX, self.address.limits().read)
            && !session.has_ended()
        {
            return Ok((session, false));
        }
        self.state.connect(&self.address).map(|it| (it, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_thread_will_come_to_is_answered() {
        let none = || Err(io::Error::from(io::ErrorKind::WouldBlock));
        let mut inner = Inner { running: 1, ..Inner::default() };
        inner.waiting.push_back((Box::new(|_| {}), Instant::now()));
        assert_eq!((inner.grow(none()).len(), inner.waiting.len()), (0, 1), "the one that runs comes to it");
        inner.running = 0;
        assert_eq!((inner.grow(none()).len(), inner.waiting.len()), (1, 0));
    }
}
