//! The database port on SQLite: one thread writes in batches, four read.
//!
//! Guarantees (CONTRACTS §2, DECISIONS 1): a write is answered when it is on the disk; a failing request
//! leaves the others of its batch alone; readers see whole transactions; once the file is gone, replaced or
//! broken, everything is refused with a sentence; queues are bounded.
//! It never creates a database beside a snapshot that has lost its own: the caller decides whether to open.

mod file;
mod reader;
pub mod shell;
pub(in crate::engines) mod statement;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use crate::{
    base::tasks::join_thread,
    domain::{Error, Result},
    ports::{
        db::{Database, ReadJob, WriteJob, busy, queue_write, stopped},
        fatal::Fatal,
    },
};

use self::{file::DatabaseFile, reader::Reader, statement::explain, writer::Writer};
use super::migrations;

/// Requests in one transaction: beyond this the fsync is no longer what costs.
const BATCH_MAX: usize = 256;
/// Writes that may wait: some seconds of work at the measured rate.
const WRITES_WAITING_MAX: usize = 4096;
/// Reads that may wait.
const READS_WAITING_MAX: usize = 1024;
/// More readers would take the processor from the writer (FINDINGS C).
const READERS: usize = 4;

/// The database engine. Dropping it waits for what was asked before.
pub struct Sqlite {
    file: Arc<DatabaseFile>,
    queues: Mutex<Option<Queues>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Clone)]
struct Queues {
    writes: SyncSender<Box<dyn WriteJob>>,
    reads: SyncSender<ReadJob>,
}

impl std::fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sqlite")
    }
}

impl Sqlite {
    /// Opens the database at `path`, made with mode 0600 where there is none, and takes the `migrations`
    /// (number, name, SQL) that it has not taken yet.
    pub fn open(path: &Path, migrations: &[(u32, &str, &str)]) -> Result<Arc<Self>> {
        drop(OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?);
        let connection = connect(path, true)?;
        migrations::apply(&connection, path, migrations)?;
        let file = Arc::new(DatabaseFile::remember(path)?);

        let (writes, to_write) = sync_channel(WRITES_WAITING_MAX);
        let thread = Writer { connection, file: Arc::clone(&file), jobs: to_write };
        let mut threads = vec![start("db-writer", move || thread.run())?];
        let (reads, to_read) = sync_channel(READS_WAITING_MAX);
        let jobs = Arc::new(Mutex::new(to_read));
        for _ in 0..READERS {
            let reader = Reader { connection: connect(path, false)?, file: Arc::clone(&file), jobs: Arc::clone(&jobs) };
            threads.push(start("db-reader", move || reader.run())?);
        }
        let queues = Mutex::new(Some(Queues { writes, reads }));
        Ok(Arc::new(Self { file, queues, threads: Mutex::new(threads) }))
    }

    fn queues(&self) -> Option<Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.close();
    }
}

impl Database for Sqlite {
    fn submit_write(&self, job: Box<dyn WriteJob>) {
        queue_write(self.queues().map(|it| it.writes).as_ref(), job);
    }

    fn submit_read(&self, job: ReadJob) {
        let Some(queues) = self.queues() else {
            return job(Err(stopped()));
        };
        match queues.reads.try_send(job) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => job(Err(busy())),
            Err(TrySendError::Disconnected(job)) => job(Err(stopped())),
        }
    }

    fn fatal(&self) -> Option<Fatal> {
        Some(self.file.fatal().clone())
    }

    fn health(&self) -> Result<()> {
        match self.queues() {
            Some(_) => self.file.check(),
            None => Err(stopped()),
        }
    }

    /// Folds the log into the file, too.
    fn close(&self) {
        let Some(Queues { writes, reads }) = self.queues.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let mut threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let readers = threads.split_off(1.min(threads.len()));
        // The writer's connection must be the last to close: a reader cannot fold the log into the file.
        drop(reads);
        readers.into_iter().for_each(join_thread);
        drop(writes);
        threads.into_iter().for_each(join_thread);
    }
}

fn start(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    Ok(thread::Builder::new().name(name.to_owned()).spawn(work)?)
}

/// A connection with the settings of CONTRACTS §2.
fn connect(path: &Path, writes: bool) -> Result<Connection> {
    let mode = if writes { OpenFlags::SQLITE_OPEN_READ_WRITE } else { OpenFlags::SQLITE_OPEN_READ_ONLY };
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        if writes {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            // SQLite's own way of folding the log in tells nobody when the disk fails under it: the writer does it.
            connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        } else {
            connection.pragma_update(None, "query_only", true)?;
        }
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cache_size", -16384)?;
        connection.pragma_update(None, "mmap_size", 0)?;
        Ok(connection)
    };
    open().map_err(|error| explain(&error, "opening the database"))
}

fn broken() -> Error {
    Error::unavailable(
        "database_broken",
        "The disk failed under the database of this server. Sites go on answering; nothing can be changed. \
         Check the disk, restore a backup if needed, and restart.",
    )
}
