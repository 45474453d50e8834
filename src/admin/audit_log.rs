//! The audit log: who did what, when, and from where. Nothing here can be changed or removed.

use askama::Template;
use serde::Deserialize;

use super::{
    gate::Answer,
    shell::{Pager, Place, Shell},
    visit::{Asked, Visit, show},
    words::{self, When},
};
use crate::domain::Error;

/// A page of the audit log, newest first.
#[derive(Debug, Template)]
#[template(path = "audit_log/audit_log.html")]
pub(super) struct AuditLog {
    pub(super) shell: Shell,
    pub(super) lead: String,
    pub(super) rows: Vec<EventRow>,
    pub(super) pager: Pager,
}

/// An event.
#[derive(Clone, Debug)]
pub(super) struct EventRow {
    pub(super) when: When,
    pub(super) actor: String,
    pub(super) text: String,
    pub(super) kind: String,
    pub(super) address: String,
    /// Its place in the sealed chain.
    pub(super) seq: Option<i64>,
}

/// Events of a page.
const LISTED: u32 = 50;

#[derive(Deserialize)]
pub(super) struct After {
    after: Option<String>,
    /// Present: the chain is walked.
    check: Option<String>,
}

/// The log.
pub(super) async fn audit_log(visit: Visit, Asked(asked): Asked<After>) -> Answer {
    let now = visit.now_ms();
    let after = asked.after.as_deref().map(str::parse).transpose().map_err(|_| Error::not_found("page"))?;
    let mut found = visit.services.list_audit(&visit.actor, after, LISTED + 1).await?;
    let listed = usize::try_from(LISTED).unwrap_or(usize::MAX);
    let more = found.len() > listed;
    found.truncate(listed);
    let next = found.last().filter(|_| more).map(|it| format!("/audit-log?after={}", it.id));
    let first = after.is_some().then(|| String::from("/audit-log"));
    let shown = if first.is_none() && next.is_none() { String::new() } else { format!("{} events", found.len()) };
    // Walking the chain reads all of it, so it is done when somebody asks.
    let broken = match asked.check {
        Some(_) => Some(visit.services.verify_audit(&visit.actor).await?),
        None => None,
    };
    let lead = match broken {
        None => String::from(
            "Every change, with who made it and from where. A line that is changed later breaks the chain of hashes over them.",
        ),
        Some(None) => {
            String::from("The chain of hashes was walked just now and is whole: no sealed event was altered.")
        }
        Some(Some(seq)) => format!(
            "The chain of hashes breaks at event {seq}: it or one before it was altered outside of this program."
        ),
    };
    let rows = found.into_iter().map(|it| EventRow {
        when: When::at(it.created_ms, now),
        actor: words::actor(&it.actor),
        text: sentence(&it.text),
        kind: it.kind,
        address: it.address,
        seq: it.seq,
    });
    show(&AuditLog {
        shell: visit.shell(Place::AuditLog).await?,
        lead,
        rows: rows.collect(),
        pager: Pager { shown, first, next },
    })
}

/// What was done, as the beginning of a line.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|it| it.to_uppercase().to_string()).unwrap_or_default();
    first + letters.as_str()
}
