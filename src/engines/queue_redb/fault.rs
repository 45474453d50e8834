//! What can stop a command: a refusal, which changes nothing, or a fault, which ends the transaction.

use crate::domain::{Error, Result};

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

/// Too much waits for the thread.
pub(super) fn busy() -> Error {
    Error::unavailable("queue_busy", "Too much is waiting for the job queue of this server. Try again in a moment.")
}

/// The fence.
pub(super) fn stale() -> Error {
    Error::conflict("stale_lease", "This attempt of the job is over: another one has begun, or the job has ended.")
}

/// A drain came to nothing.
pub(super) fn resumed() -> Error {
    Error::conflict("queue_resumed", "The queue was started again before its running jobs had ended.")
}

/// Others must end first.
pub(super) fn waits() -> Error {
    Error::conflict(
        "job_waits",
        "This job waits for others. Start those again that have failed, and let them end first.",
    )
}

/// Somebody else has the key.
pub(super) fn not_unique() -> Error {
    Error::conflict("job_unique", "Another job of the same kind has been asked for meanwhile. Let it end first.")
}

/// No such job.
pub(super) fn unknown() -> Error {
    Error::not_found("job")
}
