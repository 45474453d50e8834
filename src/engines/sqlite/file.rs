//! Whether the file that the connections write into is still the database.
//!
//! SQLite goes on writing into a file that was deleted or replaced, and into a deleted log; all of it would
//! be lost at the next start (DECISIONS 1). So the inodes at both paths are compared before and after each
//! batch, which costs two system calls.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use crate::{
    domain::{Error, Result},
    ports::fatal::Fatal,
};

use super::{super::migrations::beside, statement::Harm};

/// Device and inode.
type Identity = (u64, u64);

/// The database's files as they were when it was opened.
pub(super) struct DatabaseFile {
    parts: [(PathBuf, Identity); 2],
    broken: AtomicBool,
    fatal: Fatal,
}

impl DatabaseFile {
    /// Remembers the files of the database at `path`, which is open and has its log.
    pub(super) fn remember(path: &Path) -> io::Result<Self> {
        let log = beside(path, "-wal");
        let parts = [(path.to_owned(), identity(path)?), (log.clone(), identity(&log)?)];
        Ok(Self { parts, broken: AtomicBool::new(false), fatal: Fatal::default() })
    }

    /// `Err` when the database is gone, replaced or broken.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_broken() {
            return Err(super::broken());
        }
        for (path, ours) in &self.parts {
            let detail = match identity(path) {
                Ok(found) if found == *ours => continue,
                Ok(_) => format!("{} is another file now", path.display()),
                Err(error) => format!("{}: {error}", path.display()),
            };
            return Err(Error::unavailable(
                "database_gone",
                "The database file of this server is gone or was replaced. Sites go on answering; nothing can be changed. \
                 Put the file back or restore a backup, and restart.",
            )
            .because(detail));
        }
        Ok(())
    }

    /// From now on nothing is written or read. When it was the disk that failed, this process must end: a new one reads what
    /// the disk really holds. One that would find the same damaged file has nothing to gain, so this one goes on serving.
    pub(super) fn mark_broken(&self, harm: Harm, error: &rusqlite::Error) {
        self.broken.store(true, Ordering::SeqCst);
        tracing::error!(%error, "the database is broken and takes no more changes");
        if harm == Harm::Disk {
            let text = "The disk failed under the database of this server, which therefore ends. What was told as saved is read \
                        again at the next start. Check the disk.";
            self.fatal.tell(Error::unavailable("database_broken", text).because(error));
        }
    }

    /// Whether [`DatabaseFile::mark_broken`] was called.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// The sign that the disk has failed.
    pub(super) fn fatal(&self) -> &Fatal {
        &self.fatal
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = fs::metadata(path)?;
    Ok((found.dev(), found.ino()))
}
