//! The one error of the control plane: HTTP-agnostic, with a text for the client and one for the log.
//!
//! Internal text is never shown to a client: it is in [`Error::detail`], which only the log prints.

use std::fmt;

use crate::base::blob_dir::BlobError;

/// What went wrong, in the words that every caller can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The input is wrong; the message says what to change.
    Invalid,
    /// There is no such thing, or not for this actor.
    NotFound,
    /// The thing is there and is not asked like this.
    WrongMethod,
    /// It does not fit the present state (taken name, other live deployment).
    Conflict,
    /// It was to hold for another state than there is by now.
    Stale,
    /// Nobody is signed in, or the key is wrong.
    Unauthenticated,
    /// The actor is known and may not do this.
    Forbidden,
    /// Too much at once or in a time window; `retry_after_s` says when to come back.
    TooMany,
    /// Larger than a limit.
    TooLarge,
    /// The client did not send its request in time.
    TooSlow,
    /// A part of the host is not there now (database, disk space); trying again later is right.
    Unavailable,
    /// A defect or a broken machine. The client learns only the request id.
    Internal,
}

/// An error with a stable code, a sentence for the client, and detail for the log.
#[derive(Clone, Debug)]
pub struct Error {
    /// The class of the error.
    pub kind: Kind,
    /// Stable, machine-readable, snake case: `site_name_taken`.
    pub code: &'static str,
    /// One or two sentences for the client: what is wrong and what to do.
    pub message: String,
    /// The field of the input that is wrong, when there is one.
    pub field: Option<&'static str>,
    /// For the log only.
    pub detail: Option<String>,
    /// Seconds until trying again makes sense.
    pub retry_after_s: Option<u64>,
}

/// The result of everything in the control plane.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`.
    pub fn new(kind: Kind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), field: None, detail: None, retry_after_s: None }
    }

    /// Wrong input.
    pub fn invalid(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, code, message)
    }

    /// No such thing; `what` is a noun: "site", "deployment".
    pub fn not_found(what: &str) -> Self {
        Self::new(Kind::NotFound, "not_found", format!("There is no such {what}."))
    }

    /// It does not fit the present state.
    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, code, message)
    }

    /// The actor may not.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(Kind::Forbidden, "forbidden", message)
    }

    /// Nobody is signed in.
    pub fn unauthenticated(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::Unauthenticated, code, message)
    }

    /// Larger than a limit.
    pub fn too_large(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Kind::TooLarge, code, message)
    }

    /// Too often; come back in `retry_after_s` seconds.
    pub fn too_many(code: &'static str, message: impl Into<String>, retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(Kind::TooMany, code, message) }
    }

    /// A part of the host is not there.
    pub fn unavailable(code: &'static str, message: impl Into<String>) -> Self {
        Self { retry_after_s: Some(5), ..Self::new(Kind::Unavailable, code, message) }
    }

    /// A defect or a broken machine; `detail` is for the log.
    pub fn internal(detail: impl fmt::Display) -> Self {
        Self {
            detail: Some(detail.to_string()),
            ..Self::new(Kind::Internal, "internal", "Something broke on this server. The log has the reason.")
        }
    }

    /// Names the wrong field.
    #[must_use]
    pub const fn on(mut self, field: &'static str) -> Self {
        self.field = Some(field);
        self
    }

    /// Adds detail for the log.
    #[must_use]
    pub fn because(mut self, detail: impl fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => write!(f, "{} ({}: {detail})", self.message, self.code),
            None => write!(f, "{} ({})", self.message, self.code),
        }
    }
}

impl std::error::Error for Error {}

impl From<BlobError> for Error {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Away(why) => Self::unavailable(
                "blobs_away",
                "The store of files does not answer, so that nothing was changed. Sites go on answering. Try again in a moment.",
            )
            .because(why),
            BlobError::Io(error) => error.into(),
            BlobError::Missing | BlobError::Corrupt => Self::internal(error),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::StorageFull {
            return Self::unavailable(
                "disk_full",
                "The disk of this server is full. Nothing was changed; sites go on answering. Free some space and try again.",
            )
            .because(error);
        }
        if error.kind() == std::io::ErrorKind::ReadOnlyFilesystem {
            return Self::unavailable(
                "disk_read_only",
                "The disk of this server takes no changes; sites go on answering. A kernel does that to a disk that has failed: look \
                 into its log (dmesg), mend the disk, and restart the server.",
            )
            .because(error);
        }
        Self::internal(error)
    }
}
