//! `/api/v1/audit`, `/gc`: what concerns a tenant or the server as a whole.

use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, Page, ok},
    caller::{Caller, Json, ListQuery, Params},
};
use crate::{base::clock::rfc3339, domain::event::Recorded, services::Services};

/// Blobs named in an answer; the counts are of all.
const SHOWN_MAX: usize = 100;

#[derive(Debug, Serialize)]
struct Event {
    id: String,
    at: String,
    seq: Option<i64>,
    hash: Option<String>,
    actor: String,
    address: String,
    kind: String,
    entity: String,
    entity_id: String,
    text: String,
}

impl From<Recorded> for Event {
    fn from(it: Recorded) -> Self {
        Self {
            id: it.id,
            at: rfc3339(it.created_ms),
            seq: it.seq,
            hash: it.hash,
            actor: it.actor,
            address: it.address,
            kind: it.kind,
            entity: it.entity,
            entity_id: it.entity_id,
            text: it.text,
        }
    }
}

pub(super) async fn audit(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Params(query): Params<ListQuery>,
) -> Answer {
    let limit = query.limit()?;
    let events = services.list_audit(&actor, query.cursor()?, limit + 1).await?;
    ok(&Page::new(events.into_iter().map(Event::from).collect(), limit, |it: &Event| it.id.clone()))
}

pub(super) async fn nodes(State(services): State<Services>, Caller(actor, _): Caller) -> Answer {
    let nodes = services.list_nodes(&actor).await?;
    let items = nodes.into_iter().map(|it| {
        serde_json::json!({
            "id": it.id.to_string(),
            "role": it.role,
            "labels": it.labels,
            "seen_at": rfc3339(it.seen_ms),
            "silent": it.silent,
            "duties": it.duties,
            "this": it.this,
        })
    });
    ok(&serde_json::json!({ "items": items.collect::<Vec<_>>() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Collect {
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn collect(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Json(wish): Json<Collect>,
) -> Answer {
    let garbage = services.collect_garbage(&actor, wish.dry_run).await?;
    let shown = garbage.blobs.iter().take(SHOWN_MAX);
    let items: Vec<_> = shown.map(|(hash, bytes)| serde_json::json!({"sha256": hash.hex(), "bytes": bytes})).collect();
    ok(&serde_json::json!({
        "dry_run": !garbage.removed,
        "blobs": garbage.blobs.len(),
        "bytes": garbage.bytes(),
        "items": items,
    }))
}
