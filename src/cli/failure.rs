//! Why a command that talks to a server did not do its work, and with which exit code it says so.
//!
//! 1: the server refused or failed. 2: wrong usage or local input. 3: not reachable. 4: not signed in.

use std::{
    fmt,
    io::{self, Write as _},
    process::ExitCode,
};

use serde::Deserialize;
use serde_json::Value;

use super::{client::shapes::Deployment, text};
use crate::domain;

/// The result of everything that a command does.
pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

/// The end of a command that could not do its work.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server answered with a problem.
    Refused(Problem),
    /// The server answered something that this program does not understand.
    Server(String),
    /// What the user gave cannot be used.
    Input(String),
    /// No connection could be made; nothing was sent.
    Unreachable(String),
    /// Who answers at that address is not to be spoken to; nothing was sent, and trying again changes nothing.
    Untrusted(String),
    /// A connection broke or stood still; the server may or may not have done what it was asked.
    Lost(String),
    /// There is no key, or the server does not take it.
    Key(String),
    /// The user stopped the command.
    Stopped,
}

/// A problem of the API (RFC 9457), as far as people need it.
#[derive(Debug, Deserialize)]
pub(super) struct Problem {
    #[serde(skip)]
    pub(super) status: u16,
    /// Stable: `blobs_missing`.
    #[serde(default)]
    pub(super) code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    field: Option<String>,
    #[serde(default)]
    request_id: Option<String>,
}

impl Failure {
    /// Of an answer that is not a success: a problem when it reads as one.
    pub(super) fn of_answer(status: u16, body: &[u8]) -> Self {
        let problem = serde_json::from_slice::<Problem>(body).ok().filter(|it| !it.detail.is_empty());
        match problem {
            Some(problem) if status == 401 => Self::Key(problem.detail),
            Some(problem) => Self::Refused(Problem { status, ..problem }),
            None if status == 401 => Self::Key(String::from("The server does not take this key.")),
            None => Self::Server(format!("The server answered {status} without saying why. Is it a Chain Host?")),
        }
    }

    /// Of a deployment that did not come to a good end.
    pub(super) fn failed_deployment(deployment: &Deployment) -> Self {
        let Deployment { number, state, problem, .. } = deployment;
        let why = match problem {
            Some(Value::String(why)) => why.clone(),
            Some(problem) => problem.get("detail").and_then(Value::as_str).unwrap_or_default().to_owned(),
            None => String::new(),
        };
        let state = text::plain(&state.replace('_', " "));
        Self::Server(format!("Deployment {number} is {state}. {}", text::plain_lines(&why)).trim_end().to_owned())
    }

    /// Whether the server answered with this problem.
    pub(super) fn is(&self, code: &str) -> bool {
        matches!(self, Self::Refused(it) if it.code == code)
    }

    /// Whether the server said that there is no such thing.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(it) if it.status == 404)
    }

    /// Whether the server said that this may not be known or done with this key.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(self, Self::Refused(it) if it.status == 403)
    }

    const fn exit(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Server(_) => 1,
            Self::Input(_) => 2,
            Self::Unreachable(_) | Self::Untrusted(_) | Self::Lost(_) => 3,
            Self::Key(_) => 4,
            // What a shell reports of a program that ^C ended.
            Self::Stopped => 130,
        }
    }

    /// Says what is wrong on standard error and gives the exit code.
    pub(super) fn report(&self) -> ExitCode {
        // The exit code tells too when nobody reads.
        drop(writeln!(io::stderr(), "chainhost: {self}"));
        ExitCode::from(self.exit())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(problem) => {
                f.write_str(&text::plain_lines(&problem.detail))?;
                if let Some(field) = &problem.field {
                    write!(f, " (field: {})", text::plain(field))?;
                }
                match &problem.request_id {
                    // The log of the server knows the rest by this id.
                    Some(id) if problem.status >= 500 => write!(f, " (request: {})", text::plain(id)),
                    _ => Ok(()),
                }
            }
            Self::Server(it) | Self::Input(it) | Self::Unreachable(it) | Self::Untrusted(it) | Self::Lost(it) => {
                f.write_str(it)
            }
            Self::Key(it) => {
                write!(
                    f,
                    "{} `chainhost login` asks for a key; CHAINHOST_KEY, when set, wins over it.",
                    text::plain_lines(it)
                )
            }
            Self::Stopped => f.write_str("stopped."),
        }
    }
}

impl From<domain::Error> for Failure {
    fn from(error: domain::Error) -> Self {
        Self::Input(error.message)
    }
}
