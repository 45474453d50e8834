//! The one thread that writes: many requests, one transaction, one fsync.
//!
//! Guarantees: a request that fails is undone alone (a SAVEPOINT each); every request hears of its fate
//! after the COMMIT; a failed COMMIT is the fate of all in the batch; nothing is acknowledged that went
//! into a file which is no longer the database.
//! It never retries a commit: after a failed fsync nobody knows what the disk holds.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc::Receiver},
};

use rusqlite::{Connection, config::DbConfig};

use crate::{
    domain::Result,
    ports::{
        db::{WriteJob, WriteTx},
        position::Position,
    },
};

use super::{
    BATCH_MAX,
    file::DatabaseFile,
    statement::{Session, Statements, breaks, explain},
};

/// Pages in the log from which on it is folded into the file.
const LOG_PAGES: i64 = 4_000;

/// The thread's own things.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) file: Arc<DatabaseFile>,
    pub(super) jobs: Receiver<Box<dyn WriteJob>>,
}

impl Writer {
    /// Writes until the last sender is gone and everything that waits is done; then folds the log in.
    pub(super) fn run(self) {
        let Self { connection, file, jobs } = self;
        let mut work = Work { session: Session::new(&connection), file: &file };
        while let Ok(first) = jobs.recv() {
            let mut batch = VecDeque::from([first]);
            while batch.len() < BATCH_MAX
                && let Ok(next) = jobs.try_recv()
            {
                batch.push_back(next);
            }
            while !batch.is_empty() {
                work.transaction(&mut batch);
            }
            work.fold();
        }
        drop(work);
        if file.check().is_ok()
            && let Err(error) = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        {
            // Nothing is lost: the next open reads the log.
            tracing::warn!(%error, "the log of the database could not be folded in");
            if let Some(harm) = breaks(&error) {
                file.mark_broken(harm, &error);
            }
        }
        // INVARIANT: what failed is not tried again, and closing would fold the log in once more.
        if file.is_broken()
            && let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        {
            tracing::error!(%error, "closing a broken database may touch its file");
        }
    }
}

struct Work<'c> {
    session: Session<'c>,
    file: &'c DatabaseFile,
}

impl Work<'_> {
    /// Takes as many of `batch` as one transaction carries: all, unless SQLite gives it up half way.
    fn transaction(&mut self, batch: &mut VecDeque<Box<dyn WriteJob>>) {
        if let Err(error) = self.file.check().and_then(|()| self.statement("BEGIN IMMEDIATE")) {
            batch.drain(..).for_each(|job| job.done(Err(error.clone())));
            return;
        }
        let mut ran = Vec::with_capacity(batch.len());
        let mut fate = Ok(());
        while let Some(mut job) = batch.pop_front() {
            fate = self.one(job.as_mut());
            ran.push(job);
            if fate.is_err() {
                break;
            }
        }
        let fate = fate.and_then(|()| self.statement("COMMIT"));
        if !self.session.is_autocommit() {
            // A failure here is seen by the next BEGIN.
            drop(self.statement("ROLLBACK"));
        }
        // The file may have been taken away while we wrote into it.
        let fate = fate.and_then(|()| self.file.check());
        for job in ran {
            job.done(fate.clone().map(|()| Position::default()));
        }
    }

    /// Runs one request in its savepoint. `Err`: the whole transaction is lost.
    fn one(&mut self, job: &mut dyn WriteJob) -> Result<()> {
        self.statement("SAVEPOINT request")?;
        let mut statements = Statements::writing(&mut self.session);
        // A defect in one request must not stop the database of all.
        let keep = catch_unwind(AssertUnwindSafe(|| job.run(&mut WriteTx::new(&mut statements)))).unwrap_or(false);
        let lost = statements.lost();
        if let Some((harm, error)) = statements.broken() {
            self.file.mark_broken(*harm, error);
            return Err(lost.unwrap_or_else(super::broken));
        }
        if let Some(error) = lost {
            return Err(error);
        }
        if !keep {
            self.statement("ROLLBACK TO request")?;
        }
        self.statement("RELEASE request")
    }

    fn statement(&mut self, sql: &str) -> Result<()> {
        self.session.execute(sql).map_err(|error| {
            if let Some(harm) = breaks(&error) {
                self.file.mark_broken(harm, &error);
            }
            explain(&error, sql)
        })
    }

    /// Folds the log into the file once it is long. The callers of the batch have their answers by now, and what they were told
    /// is in the log, on the disk.
    fn fold(&mut self) {
        let folded = self
            .pages("PRAGMA wal_checkpoint(NOOP)")
            .and_then(|pages| if pages < LOG_PAGES { Ok(pages) } else { self.pages("PRAGMA wal_checkpoint(PASSIVE)") });
        let Err(error) = folded else { return };
        if let Some(harm) = breaks(&error) {
            self.file.mark_broken(harm, &error);
        } else {
            // A full disk: the log stays as it is and grows, until there is no room for that either.
            tracing::debug!(%error, "the log of the database could not be folded in");
        }
    }

    /// Runs a checkpoint; the pages in the log.
    fn pages(&mut self, sql: &str) -> rusqlite::Result<i64> {
        if self.file.check().is_err() {
            return Ok(0);
        }
        self.session.number(sql, 1)
    }
}
