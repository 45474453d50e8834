//! A deployment: one immutable set of files and policy of a site.

use serde::{Deserialize, Serialize};

use crate::{
    base::hash::Sha256,
    domain::{Error, Result},
    id_type,
};

id_type!(
    /// The id of a deployment.
    DeploymentId
);

/// Where a deployment stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its blobs are still being sent.
    Uploading,
    /// The server unpacks, hashes and checks it.
    Checking,
    /// Complete, not published.
    Ready,
    /// What visitors see.
    Live,
    /// Was live once.
    Superseded,
    /// Refused; it has a problem.
    Failed,
    /// Removed on demand; only its hash stays.
    TakenDown,
}

impl State {
    /// The stored and shown word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Uploading => "uploading",
            Self::Checking => "checking",
            Self::Ready => "ready",
            Self::Live => "live",
            Self::Superseded => "superseded",
            Self::Failed => "failed",
            Self::TakenDown => "taken_down",
        }
    }

    /// Reads the stored word.
    pub fn parse(word: &str) -> Result<Self> {
        Ok(match word {
            "uploading" => Self::Uploading,
            "checking" => Self::Checking,
            "ready" => Self::Ready,
            "live" => Self::Live,
            "superseded" => Self::Superseded,
            "failed" => Self::Failed,
            "taken_down" => Self::TakenDown,
            _ => return Err(Error::internal(format!("unknown deployment state `{word}`"))),
        })
    }

    /// Whether it has a manifest and can be published.
    pub const fn is_complete(self) -> bool {
        matches!(self, Self::Ready | Self::Live | Self::Superseded)
    }
}

/// By what way the files came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `chainhost deploy`.
    Cli,
    /// An archive over the API.
    Archive,
    /// The panel.
    Panel,
    /// The watched folder.
    Watch,
}

impl Source {
    /// The stored word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Cli => "cli",
            Self::Archive => "archive",
            Self::Panel => "panel",
            Self::Watch => "watch",
        }
    }

    /// Reads the stored word.
    pub fn parse(word: &str) -> Result<Self> {
        Ok(match word {
            "cli" => Self::Cli,
            "archive" => Self::Archive,
            "panel" => Self::Panel,
            "watch" => Self::Watch,
            _ => return Err(Error::internal(format!("unknown deployment source `{word}`"))),
        })
    }
}

/// A deployment as stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Deployment {
    /// Its id.
    pub id: DeploymentId,
    /// Counts up from 1 for each site.
    pub number: i64,
    /// Where it stands.
    pub state: State,
    /// By what way it came.
    pub source: Source,
    /// The sender's words for it; may be empty.
    pub message: String,
    /// Who sent it, for people.
    pub actor: String,
    /// When it was begun.
    pub created_ms: i64,
    /// When it was complete.
    pub finished_ms: Option<i64>,
    /// SHA-256 of its canonical manifest; absent until complete.
    pub manifest: Option<Sha256>,
    /// Keccak root of the site tree; absent until complete.
    pub root: Option<[u8; 32]>,
    /// Entries of the manifest.
    pub files: i64,
    /// Bytes of all entries.
    pub bytes: i64,
    /// Files that the live deployment of that time had not, or had with other bytes.
    pub files_changed: Option<i64>,
    /// Files that the sender had to send.
    pub files_sent: i64,
    /// Bytes that the sender had to send.
    pub bytes_sent: i64,
    /// The random label of its preview address.
    pub preview: String,
    /// Why it failed.
    pub problem: Option<String>,
}

/// How people name a deployment: by its number on the site, or by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeploymentRef {
    /// The number on the site.
    Number(i64),
    /// The id.
    Id(DeploymentId),
}

impl std::str::FromStr for DeploymentRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        match text.strip_prefix('#').unwrap_or(text).parse() {
            Ok(number) if number > 0 => Ok(Self::Number(number)),
            _ => Err(Error::invalid(
                "deployment",
                format!(
                    "`{text}` is not a deployment. Give its number on the site, such as 41, or its id of 32 digits."
                ),
            )
            .on("deployment")),
        }
    }
}
