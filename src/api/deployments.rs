//! `/api/v1/sites/NAME/deployments`: looking at deployments, publishing and rolling back.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{
        HeaderValue, Response, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, Page, ok},
    caller::{Caller, Json, ListQuery, Params},
};
use crate::{
    base::clock::rfc3339,
    domain::{
        Error, Result,
        deployment::{DeploymentId, DeploymentRef, State as Standing},
        site::SiteName,
    },
    http::{pieces, respond},
    services::{Services, deployments::DeploymentView},
};

#[derive(Debug, Serialize)]
pub(super) struct Deployment {
    id: String,
    number: i64,
    site: String,
    state: &'static str,
    source: &'static str,
    message: String,
    actor: String,
    created_at: String,
    finished_at: Option<String>,
    manifest_sha256: Option<String>,
    site_root: Option<String>,
    files: i64,
    bytes: i64,
    files_changed: Option<i64>,
    files_sent: i64,
    bytes_sent: i64,
    url: String,
    preview_url: Option<String>,
    problem: Option<String>,
    live: bool,
}

impl From<DeploymentView> for Deployment {
    fn from(view: DeploymentView) -> Self {
        let it = view.deployment;
        Self {
            id: it.id.to_string(),
            number: it.number,
            site: view.site.name.to_string(),
            state: it.state.word(),
            source: it.source.word(),
            message: it.message,
            actor: it.actor,
            created_at: rfc3339(it.created_ms),
            finished_at: it.finished_ms.map(rfc3339),
            manifest_sha256: it.manifest.map(|it| it.hex()),
            site_root: it.root.map(|it| format!("0x{}", data_encoding::HEXLOWER.encode(&it))),
            files: it.files,
            bytes: it.bytes,
            files_changed: it.files_changed,
            files_sent: it.files_sent,
            bytes_sent: it.bytes_sent,
            url: view.url,
            preview_url: view.preview_url,
            problem: it.problem,
            live: it.state == Standing::Live,
        }
    }
}

/// Site and deployment of a path.
pub(super) fn parse((name, of): (String, String)) -> Result<(SiteName, DeploymentRef)> {
    Ok((SiteName::parse(&name)?, of.parse()?))
}

/// The id of a deployment in a body or a path.
pub(super) fn parse_id(text: &str) -> Result<DeploymentId> {
    text.parse()
        .map_err(|_| Error::invalid("deployment", format!("`{text}` is not the id of a deployment.")).on("deployment"))
}

/// The deployment that must be live, of a body or a query.
pub(super) fn if_live(text: Option<&str>) -> Result<Option<DeploymentId>> {
    text.map(parse_id).transpose().map_err(|error| error.on("if_live"))
}

pub(super) async fn list(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    Params(query): Params<ListQuery>,
) -> Answer {
    let limit = query.limit()?;
    let found = services.list_deployments(&actor, &SiteName::parse(&name)?, query.cursor()?, limit + 1).await?;
    let all = found.into_iter().map(Deployment::from).collect();
    ok(&Page::new(all, limit, |it: &Deployment| it.number.to_string()))
}

pub(super) async fn get(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(path): Path<(String, String)>,
) -> Answer {
    let (name, of) = parse(path)?;
    ok(&Deployment::from(services.get_deployment(&actor, &name, of).await?))
}

#[derive(Debug, Serialize)]
struct File {
    path: String,
    size: u64,
    sha256: String,
    r#type: String,
}

pub(super) async fn files(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(path): Path<(String, String)>,
    Params(query): Params<ListQuery>,
) -> Answer {
    let (name, of) = parse(path)?;
    let limit = query.limit()?;
    let after = query.after.as_deref().unwrap_or_default();
    let manifest = services.get_manifest(&actor, &name, of).await?;
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX).saturating_add(1);
    let files = manifest.entries().iter().filter(|it| it.path.as_str() > after).take(wanted).map(|it| File {
        path: it.path.to_string(),
        size: it.size,
        sha256: it.sha256.hex(),
        r#type: it.media_type.clone(),
    });
    ok(&Page::new(files.collect(), limit, |it: &File| it.path.clone()))
}

/// The exact bytes of the manifest, so that anybody can hash them.
pub(super) async fn manifest(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(path): Path<(String, String)>,
) -> Answer {
    let (name, of) = parse(path)?;
    let (_, bytes) = services.read_manifest(&actor, &name, of).await?;
    Ok(respond::content(StatusCode::OK, "application/json", bytes).map(Body::new))
}

/// The proof bundle: what `chainhost verify` reads.
pub(super) async fn bundle(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(path): Path<(String, String)>,
) -> Answer {
    let (name, of) = parse(path)?;
    let mut bundle = services.read_bundle(&actor, &name, of).await?;
    let (id, size) = (bundle.deployment, bundle.size());
    let mut response = Response::new(Body::new(pieces::body(&services.tasks, move || bundle.next_piece())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
    let disposition = format!("attachment; filename=\"{id}.chproof.json\"");
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        response.headers_mut().insert("content-disposition", value);
    }
    Ok(response)
}

#[derive(Deserialize)]
pub(super) struct Against {
    against: Option<String>,
}

pub(super) async fn diff(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(path): Path<(String, String)>,
    Params(query): Params<Against>,
) -> Answer {
    let (name, of) = parse(path)?;
    let against = query.against.ok_or_else(|| {
        Error::invalid("against", "Say against which deployment: `?against=41`, by number or id.").on("against")
    })?;
    let found = services.diff(&actor, &name, of, against.parse().map_err(|error: Error| error.on("against"))?).await?;
    let file = |(path, size): &(String, u64)| serde_json::json!({"path": path, "size": size});
    ok(&serde_json::json!({
        "added": found.added.iter().map(file).collect::<Vec<_>>(),
        "removed": found.removed.iter().map(file).collect::<Vec<_>>(),
        "changed": found.changed.iter().map(|(path, size, before)| {
            serde_json::json!({"path": path, "size": size, "size_before": before})
        }).collect::<Vec<_>>(),
        "policy_changed": found.policy_changed,
    }))
}

pub(super) async fn log(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(path): Path<(String, String)>,
) -> Answer {
    let (name, of) = parse(path)?;
    let lines = services.list_log(&actor, &name, of).await?;
    let lines: Vec<_> = lines.iter().map(|(at, text)| serde_json::json!({"at": rfc3339(*at), "text": text})).collect();
    ok(&serde_json::json!({ "lines": lines }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rollback {
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    if_live: Option<String>,
}

pub(super) async fn roll_back(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    Json(wish): Json<Rollback>,
) -> Answer {
    let name = SiteName::parse(&name)?;
    let to = wish.to.map(|it| it.parse().map_err(|error: Error| error.on("to"))).transpose()?;
    let live = if_live(wish.if_live.as_deref())?;
    let moved = services.roll_back(&actor, &name, to, live).await?;
    ok(&Deployment::from(services.get_deployment(&actor, &name, DeploymentRef::Id(moved.id)).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Publish {
    #[serde(default)]
    if_live: Option<String>,
}

pub(super) async fn publish(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(path): Path<(String, String)>,
    Json(wish): Json<Publish>,
) -> Answer {
    let (name, of) = parse(path)?;
    let live = if_live(wish.if_live.as_deref())?;
    let moved = services.roll_back(&actor, &name, Some(of), live).await?;
    ok(&Deployment::from(services.get_deployment(&actor, &name, DeploymentRef::Id(moved.id)).await?))
}
