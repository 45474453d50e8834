//! What can stop a command: a refusal, which changes nothing, or a fault, which ends the transaction.

use crate::domain::{Error, Result};

pub(super) use crate::ports::queue::{not_unique, resumed, stale, waits};

/// The result of a step inside a transaction.
pub(super) type Step<T> = Result<T, Fault>;

/// Why a step did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    /// The command is refused. INVARIANT: it has changed nothing yet.
    Refused(Error),
    /// The file failed or does not make sense; for the log.
    Broken(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

macro_rules! faults {
    ($($error:ty),*) => {
        $(impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self::Broken(error.to_string())
            }
        })*
    };
}

faults!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::SetDurabilityError,
    redb::DatabaseError
);

/// Everything is refused from now on.
pub(super) fn broken() -> Error {
    Error::unavailable(
        "queue_broken",
        "The disk failed under the job queue of this server. Sites go on answering; no job starts. \
         Check the disk and restart.",
    )
}

/// Nothing fits any more.
pub(super) fn full() -> Error {
    Error::unavailable(
        "disk_full",
        "The disk of this server is full. Nothing was changed; sites go on answering. Free some space and try again.",
    )
}

/// No such job.
pub(super) fn unknown() -> Error {
    Error::not_found("job")
}
