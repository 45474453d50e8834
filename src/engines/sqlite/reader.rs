//! The threads that read, each with its own read-only connection.
//!
//! Guarantees: a request sees one snapshot and cannot write, by type and by the connection's mode.
//! They never wait for the writer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc::Receiver},
};

use rusqlite::Connection;

use crate::ports::db::{ReadJob, ReadTx};

use super::{
    file::DatabaseFile,
    statement::{Session, Statements, explain},
};

/// One thread's own things, and the channel that all readers share.
pub(super) struct Reader {
    pub(super) connection: Connection,
    pub(super) file: Arc<DatabaseFile>,
    pub(super) jobs: Arc<Mutex<Receiver<ReadJob>>>,
}

impl Reader {
    /// Reads until the last sender is gone and everything that waits is answered.
    pub(super) fn run(self) {
        let Self { connection, file, jobs } = self;
        let mut session = Session::new(&connection);
        loop {
            // One reader waits at the channel, the others at the lock.
            let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match next {
                Ok(job) => answer(&mut session, &file, job),
                Err(_) => return,
            }
        }
    }
}

fn answer(session: &mut Session<'_>, file: &DatabaseFile, job: ReadJob) {
    const BEGIN: &str = "BEGIN DEFERRED";
    let begun = file.check().and_then(|()| session.execute(BEGIN).map_err(|error| explain(&error, BEGIN)));
    if let Err(error) = begun {
        job(Err(error));
        return;
    }
    let mut statements = Statements::reading(session);
    // A defect in one request must not take a reader away; its caller sees the dropped channel.
    drop(catch_unwind(AssertUnwindSafe(|| {
        job(Ok(&mut ReadTx::new(&mut statements)));
    })));
    if !session.is_autocommit() {
        // A failure here is seen by the next BEGIN.
        drop(session.execute("ROLLBACK"));
    }
}
