//! The audit log: who did what, when, and from where. Nothing here can be changed or removed.

use askama::Template;

use super::{
    shell::{Pager, Shell},
    words::When,
};

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
