//! `/api/v1/hostnames/{hostname}/check`: would an authority give a certificate for it?

use axum::extract::{Path, State};
use serde::Serialize;

use super::{
    answer::{Answer, ok},
    caller::Caller,
};
use crate::{
    domain::doctor::{Finding as Found, Report},
    services::Services,
};

#[derive(Debug, Serialize)]
struct Check {
    hostname: String,
    /// No finding is a problem.
    ready: bool,
    /// Of the worst finding: `good`, `warning`, `problem`.
    level: &'static str,
    summary: String,
    /// The worst first.
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Finding {
    code: &'static str,
    level: &'static str,
    text: String,
    seen: String,
}

impl From<Report> for Check {
    fn from(it: Report) -> Self {
        Self {
            ready: it.is_ready(),
            level: it.worst().word(),
            summary: it.summary(),
            hostname: it.host,
            findings: it.findings.into_iter().map(Finding::from).collect(),
        }
    }
}

impl From<Found> for Finding {
    fn from(it: Found) -> Self {
        Self { code: it.code, level: it.level.word(), text: it.text, seen: it.seen }
    }
}

pub(super) async fn check(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(hostname): Path<String>,
) -> Answer {
    ok(&Check::from(services.check_hostname(&actor, &hostname).await?))
}
