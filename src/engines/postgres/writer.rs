//! The one thread of this process that writes: many requests, one transaction, one commit.
//!
//! Guarantees: of all processes on one database, one writes at a time, in the order of a lock that the transaction holds: what a
//! request reads before it writes is still true when it commits, as on SQLite. A request that fails is undone alone (a SAVEPOINT
//! each). When the connection is lost during a COMMIT, the server is asked afterwards what became of it: nobody is told "not saved" of what was saved.
//! It never runs a request twice: a closure can run only once.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    domain::{Error, Result},
    ports::{
        db::{WriteJob, WriteTx},
        position::Position,
    },
};

use super::{
    BATCH_MAX, FULL, State,
    address::Address,
    session::{Session, Statements, explain, lost},
    wall::SAVEPOINT,
};

/// Looks again at a database that could not be reached, also when nobody asks.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Between two questions for the fate of a commit.
const FATE_PAUSE: Duration = Duration::from_millis(200);
/// A connection on which nothing came for this long is tried before it is used: the answer to a BEGIN may take long, since the writers
/// wait for each other in it, and nobody should have to wait as long for a connection that leads nowhere.
const TRUSTED: Duration = Duration::from_secs(2);

/// Opens a write transaction. The time limits end one whose process hangs, so that the others can go on.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '20s'; SET LOCAL statement_timeout = '30s'; \
                     SET LOCAL idle_in_transaction_session_timeout = '15s'";
/// The lock makes writers of all processes wait for each other, which may take long while the transaction has begun at once. Answers the
/// id of the transaction and of the session. The number of the lock is the word `chainhst` in ASCII.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7163082312784573300); \
                    SELECT CAST(pg_current_xact_id() AS TEXT), CAST(pg_backend_pid() AS TEXT)";

/// The end of the log, in bytes from its beginning.
pub(super) const POSITION: &str = "CAST(pg_current_wal_insert_lsn() - CAST('0/0' AS pg_lsn) AS TEXT)";
/// Which history of its cluster the server writes: a promoted standby begins another, in which the numbers of transactions that it had not
/// heard of are given again. The first eight digits of a log file's name are the number of its timeline.
const HISTORY: &str = "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)";
/// The standbys that a commit waits for.
const STANDBYS: &str = "current_setting('synchronous_standby_names')";
/// Commits. A server that waits for a standby would end that wait by its own limit on statements, and tell what no standby has as saved:
/// the limit on this side is the one that counts.
const COMMIT: &str = "SET LOCAL statement_timeout = 0; COMMIT";
/// Commits and asks for the position after it; each runs only after the one before has done well.
const COMMIT_AND_TELL: &str =
    "SET LOCAL statement_timeout = 0; COMMIT; SELECT CAST(pg_current_wal_insert_lsn() - CAST('0/0' AS pg_lsn) AS TEXT)";

/// The thread's own things.
pub(super) struct Writer {
    pub(super) address: Arc<Address>,
    pub(super) state: Arc<State>,
    pub(super) jobs: Receiver<Box<dyn WriteJob>>,
    /// Whether anybody wants to know the position after a commit.
    positions: bool,
    session: Option<Session>,
    /// The history that the server wrote when it was connected to; `None` where it does not tell.
    history: Option<String>,
}

/// A transaction that is open: what its fate can be asked by.
struct Open {
    session: Session,
    id: String,
    process: String,
}

impl Writer {
    pub(super) const fn new(
        address: Arc<Address>,
        state: Arc<State>,
        jobs: Receiver<Box<dyn WriteJob>>,
        positions: bool,
    ) -> Self {
        Self { address, state, jobs, positions, session: None, history: None }
    }

    /// Writes until the last sender is gone and everything that waits is done.
    pub(super) fn run(mut self) {
        loop {
            let next = if self.state.health().is_ok() {
                self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                self.jobs.recv_timeout(LOOK_AGAIN)
            };
            match next {
                Ok(first) => self.batch(first),
                Err(RecvTimeoutError::Timeout) => self.look_again(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Whether the database is back. A connection that is there and answers is kept: it may be the only one that can be had.
    fn look_again(&mut self) {
        self.session = self.connection().ok();
        if self.session.is_some() && self.state.health().is_err() {
            // Others get none; whether that is still so shows on a new one.
            drop(self.state.connect(&self.address));
        }
    }

    fn batch(&mut self, first: Box<dyn WriteJob>) {
        let mut batch = VecDeque::from([first]);
        while batch.len() < BATCH_MAX
            && let Ok(next) = self.jobs.try_recv()
        {
            batch.push_back(next);
        }
        while !batch.is_empty() {
            self.transaction(&mut batch);
        }
    }

    /// A connection: the one that is there, or a new one.
    fn connection(&mut self) -> Result<Session> {
        let limits = self.address.limits();
        if let Some(mut session) = self.session.take()
            && self.state.trusts(&mut session, &self.address, TRUSTED, limits.write)
        {
            return Ok(session);
        }
        let mut session = self.state.connect_anyway(&self.address).inspect_err(|error| {
            if error.code == FULL {
                self.state.shut_out(error);
            }
        })?;
        self.history = session.simple(&format!("SELECT {HISTORY}")).ok().and_then(|it| it.into_iter().next());
        session.limit(Some(limits.write));
        Ok(session)
    }

    /// Begins. A connection that died while nobody used it is replaced once: nothing has run on it yet.
    fn begin(&mut self) -> Result<Open> {
        let mut tries = 0;
        loop {
            let mut session = self.connection()?;
            match session.begin(BEGIN, LOCK) {
                Ok(found) => {
                    let mut found = found.into_iter();
                    let (id, process) = (found.next().unwrap_or_default(), found.next().unwrap_or_default());
                    return Ok(Open { session, id, process });
                }
                Err(error) => {
                    let said = explain(&error, "BEGIN");
                    if !session.is_closed() {
                        // A lock that did not come leaves an aborted transaction; a failure here closes the session.
                        drop(session.simple("ROLLBACK"));
                        self.session = Some(session);
                        return Err(said);
                    }
                    tries += 1;
                    if tries > 1 {
                        self.state.failed(&said);
                        return Err(said);
                    }
                }
            }
        }
    }

    /// Takes as many of `batch` as one transaction carries: all, unless the connection is lost half way.
    fn transaction(&mut self, batch: &mut VecDeque<Box<dyn WriteJob>>) {
        let mut open = match self.begin() {
            Ok(open) => open,
            Err(error) => {
                batch.drain(..).for_each(|job| job.done(Err(error.clone())));
                return;
            }
        };
        let alone = batch.len() == 1;
        let mut ran = Vec::with_capacity(batch.len());
        let mut fate = Ok(Position::default());
        let mut kept = false;
        while let Some(mut job) = batch.pop_front() {
            let out = one(&mut open.session, job.as_mut(), alone, self.state.wall);
            ran.push(job);
            match out {
                Ok(keep) => kept |= keep,
                Err(error) => {
                    fate = Err(error);
                    break;
                }
            }
        }
        if fate.is_ok() {
            fate = self.end(&mut open, kept);
        }
        let was_silent = open.session.is_silent();
        if fate.as_ref().is_err_and(|it| it.code == "database_read_only") || open.session.is_closed() {
            // Another connection may lead to the primary.
            drop(open);
        } else {
            self.session = Some(open.session);
        }
        for job in ran {
            job.done(fate.clone());
        }
        if was_silent {
            // Whether the server is gone is known before the next request comes.
            self.session = self.connection().ok();
        }
    }

    /// Commits, when there is something to commit. The position afterwards comes in the same round trip.
    fn end(&self, open: &mut Open, kept: bool) -> Result<Position> {
        let word = match (kept, self.positions) {
            (false, _) => "ROLLBACK",
            (true, false) => COMMIT,
            (true, true) => COMMIT_AND_TELL,
        };
        match open.session.simple(word) {
            Ok(found) if kept && self.positions => Ok(read_position(found.first())),
            Ok(_) => Ok(Position::default()),
            Err(error) if kept && open.session.is_closed() => self.fate(open, &error),
            Err(error) => {
                // Where the first of the statements has failed, the transaction is still open.
                drop(open.session.simple("ROLLBACK"));
                Err(explain(&error, word))
            }
        }
    }

    /// Asks what became of a commit whose answer never came. A server of another history may know another transaction by its number.
    /// One that had to be ended while the server may have waited for a standby is there, and lost with this server all the same.
    fn fate(&self, open: &Open, error: &tokio_postgres::Error) -> Result<Position> {
        tracing::warn!(%error, "the connection was lost during a commit; asking the database what became of it");
        let ask = format!("SELECT pg_xact_status(CAST('{}' AS xid8)), {POSITION}, {HISTORY}, {STANDBYS}", open.id);
        // A session that hangs on the far side of a cut network holds its transaction, and with it the lock.
        let end = format!("SELECT pg_terminate_backend({})", open.process);
        let mut was_ended = false;
        let until = Instant::now() + self.address.limits().fate;
        while Instant::now() < until {
            if let Ok(mut session) = self.state.connect_anyway(&self.address) {
                let found = session.simple(&ask);
                let position = found.as_ref().map_or(Position::default(), |it| read_position(it.get(1)));
                if found.as_ref().is_ok_and(|it| self.history.is_some() && it.get(2) != self.history.as_ref()) {
                    break;
                }
                let waits = found.as_ref().is_ok_and(|it| it.get(3).is_some_and(|standbys| !standbys.is_empty()));
                match found.map(|it| it.first().cloned().unwrap_or_default()).as_deref() {
                    Ok("committed") if was_ended && waits => break,
                    Ok("committed") => return Ok(position),
                    Ok("aborted") => return Err(lost().because(error)),
                    // Not allowed, or gone already: asking again tells.
                    Ok("in progress") => {
                        was_ended = true;
                        drop(session.simple(&end));
                    }
                    // Another server answers, which has never heard of the transaction.
                    Ok(_) => break,
                    Err(error) => tracing::warn!(error = %explain(error, &ask), "no answer yet"),
                }
            }
            thread::sleep(FATE_PAUSE);
        }
        Err(Error::unavailable(
            "database_unsure",
            "The connection to the database was lost while this was being saved, and whether it was saved is not known yet. \
             Look before you try again.",
        )
        .because(error))
    }
}

/// A position as the server tells it. One that cannot be read is further than any replica has come.
///
/// At the very beginning of a page the primary tells where its next record will be, behind the header of the page, while a replica
/// tells where the last one ended, before it. No record is so short that it could lie in between.
pub(super) fn read_position(text: Option<&String>) -> Position {
    const PAGE: u64 = 8 * 1024;
    const SEGMENT_MIN: u64 = 1024 * 1024;
    let told = text.and_then(|it| it.parse().ok()).unwrap_or(u64::MAX);
    let header = match (told % SEGMENT_MIN, told % PAGE) {
        (40, _) => 40,
        (_, 24) => 24,
        _ => 0,
    };
    Position(told - header)
}

/// Runs one request; whether there is something of it to commit. `Err`: the whole transaction is lost.
fn one(session: &mut Session, job: &mut dyn WriteJob, alone: bool, wall: bool) -> Result<bool> {
    let statement =
        |session: &mut Session, sql: &str| session.simple(sql).map(|_| ()).map_err(|error| explain(&error, sql));
    if !alone {
        statement(session, if wall { SAVEPOINT } else { "SAVEPOINT request" })?;
    }
    let mut statements = Statements::new(session, wall);
    // A defect in one request must not stop the database of all.
    let keep = catch_unwind(AssertUnwindSafe(|| job.run(&mut WriteTx::new(&mut statements)))).unwrap_or(false);
    if session.is_closed() {
        return Err(lost());
    }
    match (alone, keep) {
        (true, keep) => Ok(keep),
        (false, true) => statement(session, "RELEASE request").map(|()| true),
        (false, false) => statement(session, "ROLLBACK TO request; RELEASE request").map(|()| false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_page_is_no_progress() {
        let read = |it: u64| read_position(Some(&it.to_string())).0;
        assert_eq!((read(8_192), read(8_216), read(8_217), read(8_232)), (8_192, 8_192, 8_217, 8_232));
        assert_eq!((read(1 << 20), read((1 << 20) + 40), read((1 << 20) + 24)), (1 << 20, 1 << 20, 1 << 20));
        assert_eq!(read_position(None).0, u64::MAX);
    }
}
