//! What the API answers, as far as commands show it.
//!
//! Fields that a command does not use are not named, so that a newer server may add and an older one may lack them;
//! `--json` passes the server's own objects on.

use serde::Deserialize;
use serde_json::Value;

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Page {
    pub(in crate::cli) items: Vec<Value>,
    #[serde(default)]
    pub(in crate::cli) next: Option<String>,
}

/// Who a key belongs to.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Me {
    pub(in crate::cli) email: String,
    pub(in crate::cli) tenant: String,
    #[serde(default)]
    pub(in crate::cli) role: Option<String>,
}

/// A site.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Site {
    pub(in crate::cli) name: String,
    pub(in crate::cli) url: String,
    #[serde(default)]
    pub(in crate::cli) hostnames: Vec<String>,
    #[serde(default)]
    pub(in crate::cli) live: Option<Live>,
    #[serde(default)]
    pub(in crate::cli) deployments: u64,
    #[serde(default)]
    pub(in crate::cli) taken_down: Option<String>,
    #[serde(default)]
    pub(in crate::cli) watch_folder: Option<String>,
    #[serde(default)]
    pub(in crate::cli) watch: Option<Watch>,
}

/// What the last look at a watched folder found.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Watch {
    #[serde(default)]
    pub(in crate::cli) problem: Option<String>,
}

/// The deployment that visitors see.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Live {
    pub(in crate::cli) number: i64,
    #[serde(default)]
    pub(in crate::cli) published_at: Option<String>,
}

/// A deployment.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Deployment {
    pub(in crate::cli) id: String,
    pub(in crate::cli) number: i64,
    pub(in crate::cli) state: String,
    #[serde(default)]
    pub(in crate::cli) message: Option<String>,
    #[serde(default)]
    pub(in crate::cli) actor: Option<String>,
    #[serde(default)]
    pub(in crate::cli) created_at: String,
    #[serde(default)]
    pub(in crate::cli) manifest_sha256: Option<String>,
    #[serde(default)]
    pub(in crate::cli) files: u64,
    #[serde(default)]
    pub(in crate::cli) bytes: u64,
    #[serde(default)]
    pub(in crate::cli) url: Option<String>,
    #[serde(default)]
    pub(in crate::cli) preview_url: Option<String>,
    #[serde(default)]
    pub(in crate::cli) problem: Option<Value>,
}

/// The answer to the list of a new deployment's files.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Begun {
    pub(in crate::cli) id: String,
    /// Hex digests of the bytes that the server does not have.
    pub(in crate::cli) missing: Vec<String>,
}

/// How two deployments differ.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Difference {
    pub(in crate::cli) added: Vec<Changed>,
    pub(in crate::cli) removed: Vec<Changed>,
    pub(in crate::cli) changed: Vec<Changed>,
    #[serde(default)]
    pub(in crate::cli) policy_changed: bool,
}

/// A file of a difference.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Changed {
    pub(in crate::cli) path: String,
    #[serde(default)]
    pub(in crate::cli) size: u64,
    #[serde(default)]
    pub(in crate::cli) size_before: u64,
}

/// A job.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Job {
    pub(in crate::cli) id: String,
    pub(in crate::cli) queue: String,
    #[serde(default)]
    pub(in crate::cli) kind: String,
    #[serde(default)]
    pub(in crate::cli) title: Option<String>,
    pub(in crate::cli) state: String,
    #[serde(default)]
    pub(in crate::cli) attempt: u32,
    #[serde(default)]
    pub(in crate::cli) error: Option<String>,
    #[serde(default)]
    pub(in crate::cli) created_at: String,
}

/// A node.
#[derive(Deserialize)]
pub(in crate::cli) struct Node {
    pub(in crate::cli) id: String,
    pub(in crate::cli) role: String,
    #[serde(default)]
    pub(in crate::cli) labels: Vec<String>,
    pub(in crate::cli) seen_at: String,
    #[serde(default)]
    pub(in crate::cli) duties: Vec<String>,
    #[serde(default)]
    pub(in crate::cli) this: bool,
}

/// A queue.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct QueueState {
    pub(in crate::cli) queue: String,
    #[serde(default)]
    pub(in crate::cli) paused: bool,
    #[serde(default)]
    pub(in crate::cli) tenant_paused: bool,
    #[serde(default)]
    pub(in crate::cli) running: u64,
    #[serde(default)]
    pub(in crate::cli) waiting: u64,
    #[serde(default)]
    pub(in crate::cli) delayed: u64,
    #[serde(default)]
    pub(in crate::cli) failed: u64,
    #[serde(default)]
    pub(in crate::cli) oldest_at: Option<String>,
    #[serde(default)]
    pub(in crate::cli) wait_p50_ms: Option<u64>,
    #[serde(default)]
    pub(in crate::cli) wait_p95_ms: Option<u64>,
    #[serde(default)]
    pub(in crate::cli) run_p50_ms: Option<u64>,
    #[serde(default)]
    pub(in crate::cli) run_p95_ms: Option<u64>,
}

/// A schedule.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Schedule {
    pub(in crate::cli) name: String,
    pub(in crate::cli) cron: String,
    pub(in crate::cli) zone: String,
    #[serde(default)]
    pub(in crate::cli) paused: bool,
    pub(in crate::cli) next_at: Option<String>,
    #[serde(default)]
    pub(in crate::cli) upcoming: Vec<String>,
    pub(in crate::cli) last: Option<LastRun>,
}

/// The newest job of a schedule.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct LastRun {
    pub(in crate::cli) state: String,
    pub(in crate::cli) created_at: String,
    pub(in crate::cli) finished_at: Option<String>,
    pub(in crate::cli) error: Option<String>,
}

/// What the server does by itself.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Task {
    pub(in crate::cli) name: String,
    pub(in crate::cli) every_seconds: Option<u64>,
    pub(in crate::cli) cron: Option<String>,
    pub(in crate::cli) zone: Option<String>,
    #[serde(default)]
    pub(in crate::cli) here: bool,
    #[serde(default)]
    pub(in crate::cli) running: bool,
    pub(in crate::cli) ended_at: Option<String>,
    pub(in crate::cli) error: Option<String>,
    pub(in crate::cli) next_at: Option<String>,
}

/// The log of a deployment.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Log {
    pub(in crate::cli) lines: Vec<Line>,
}

/// A line of it.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Line {
    pub(in crate::cli) at: String,
    pub(in crate::cli) text: String,
}

/// What a garbage collection removed or would remove.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Collected {
    pub(in crate::cli) blobs: u64,
    pub(in crate::cli) bytes: u64,
}

/// A certificate that the server keeps.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Certificate {
    pub(in crate::cli) id: String,
    pub(in crate::cli) names: Vec<String>,
    #[serde(default)]
    pub(in crate::cli) shown_for: Vec<String>,
    #[serde(default)]
    pub(in crate::cli) issuer: String,
    pub(in crate::cli) valid_until: String,
}

/// How it stands with the certificate of a hostname.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct HostnameCertificate {
    pub(in crate::cli) hostname: String,
    #[serde(default)]
    pub(in crate::cli) certificate: Option<ShownCertificate>,
    #[serde(default)]
    pub(in crate::cli) asked: bool,
    #[serde(default)]
    pub(in crate::cli) authority: Option<String>,
    #[serde(default)]
    pub(in crate::cli) next_at: Option<String>,
    #[serde(default)]
    pub(in crate::cli) problem: Option<Said>,
    #[serde(default)]
    pub(in crate::cli) records: Vec<WantedRecord>,
}

/// A record that a person is to set in DNS.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct WantedRecord {
    pub(in crate::cli) name: String,
    pub(in crate::cli) value: String,
}

/// The certificate that is shown for a hostname.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct ShownCertificate {
    pub(in crate::cli) source: String,
    pub(in crate::cli) valid_until: String,
}

/// A problem, for people.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Said {
    pub(in crate::cli) message: String,
}

/// What was found about a hostname.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Check {
    pub(in crate::cli) hostname: String,
    pub(in crate::cli) ready: bool,
    pub(in crate::cli) findings: Vec<Finding>,
}

/// One thing that was found.
#[derive(Debug, Deserialize)]
pub(in crate::cli) struct Finding {
    pub(in crate::cli) level: String,
    pub(in crate::cli) text: String,
    #[serde(default)]
    pub(in crate::cli) seen: String,
}
