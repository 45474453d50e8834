//! `/api/v1/sites/{name}/purge`: what caches in front of the server have of a site is purged.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::json;

use super::{
    answer::{Answer, json},
    caller::{Caller, Json},
};
use crate::{domain::site::SiteName, services::Services};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Purge {
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    tags: Vec<String>,
}

pub(super) async fn purge(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    Json(wanted): Json<Purge>,
) -> Answer {
    let job = services.purge_site(&actor, &SiteName::parse(&name)?, wanted.urls, wanted.tags).await?;
    json(StatusCode::ACCEPTED, &json!({ "id": job.to_string() }))
}
