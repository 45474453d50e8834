//! Ways to deploy over the API: a list of files with their missing bytes, or one archive.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
};
use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, json, ok},
    caller::{Caller, Params, feed, read, whole},
    deployments::{Deployment, if_live, parse_id},
};
use crate::{
    base::limits,
    domain::{
        Error, Result,
        deployment::{DeploymentRef, Source},
        file_list::{FileList, ListedFile},
        site::SiteName,
    },
    services::{Services, uploads::Request},
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Begin {
    files: Vec<(String, u64, String)>,
    #[serde(default)]
    message: String,
    #[serde(default = "yes")]
    publish: bool,
    #[serde(default)]
    if_live: Option<String>,
    #[serde(default)]
    allow_env: bool,
}

const fn yes() -> bool {
    true
}

#[derive(Debug, Serialize)]
struct Begun {
    id: String,
    number: i64,
    state: &'static str,
    missing: Vec<String>,
}

pub(super) async fn begin(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let name = SiteName::parse(&name)?;
    let idempotency_key = key(&headers)?;
    let bytes = whole(body, limits::FILES_BODY_BYTES_MAX).await?;
    // A list of 50,000 files takes long to read: other requests must not wait for it.
    let (list, request) = services.blocking(move || wish(&bytes, idempotency_key)).await?;
    let begun = services.begin_upload(&actor, &name, list, request).await?;
    let answer = Begun {
        id: begun.deployment.id.to_string(),
        number: begun.deployment.number,
        state: begun.deployment.state.word(),
        missing: begun.missing.iter().map(crate::base::hash::Sha256::hex).collect(),
    };
    json(StatusCode::CREATED, &answer)
}

fn wish(body: &[u8], idempotency_key: Option<String>) -> Result<(FileList, Request)> {
    let asked: Begin = read(body)?;
    let files = asked.files.into_iter().map(listed).collect::<Result<_>>()?;
    let list = FileList::new(files, asked.allow_env)?;
    let request = Request {
        source: Source::Cli,
        message: asked.message,
        publish: asked.publish,
        if_live: if_live(asked.if_live.as_deref())?,
        allow_env: asked.allow_env,
        idempotency_key,
    };
    Ok((list, request))
}

fn listed((path, size, hash): (String, u64, String)) -> Result<ListedFile> {
    let sha256 = hash.parse().map_err(|error| {
        Error::invalid("file_hash", format!("The hash of `{}` cannot be read: {error}.", path.escape_debug()))
            .on("files")
    })?;
    let path = path.strip_prefix('/').unwrap_or(&path).to_owned();
    Ok(ListedFile { path, size, sha256 })
}

fn key(headers: &HeaderMap) -> Result<Option<String>> {
    let wrong = |_| Error::invalid("idempotency_key", "The Idempotency-Key must be plain text.");
    headers.get("idempotency-key").map(|it| it.to_str().map(str::to_owned).map_err(wrong)).transpose()
}

pub(super) async fn blobs(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path((name, id)): Path<(String, String)>,
    body: Body,
) -> Answer {
    let (name, id) = (SiteName::parse(&name)?, parse_id(&id)?);
    let received =
        feed(body, limits::BLOB_BODY_BYTES_MAX, async |pieces| services.receive_blobs(&actor, &name, id, pieces).await)
            .await?;
    ok(&serde_json::json!({ "received": received }))
}

pub(super) async fn finish(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path((name, id)): Path<(String, String)>,
) -> Answer {
    let (name, id) = (SiteName::parse(&name)?, parse_id(&id)?);
    services.finish_upload(&actor, &name, id).await?;
    ok(&Deployment::from(services.get_deployment(&actor, &name, DeploymentRef::Id(id)).await?))
}

#[derive(Deserialize)]
pub(super) struct ArchiveQuery {
    publish: Option<bool>,
    message: Option<String>,
    if_live: Option<String>,
    allow_env: Option<bool>,
}

/// 202: the archive is here whole, and is unpacked and checked now. `Location` tells how it went.
pub(super) async fn archive(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    Params(query): Params<ArchiveQuery>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let name = SiteName::parse(&name)?;
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
    let request = Request {
        source: Source::Archive,
        message: query.message.unwrap_or_default(),
        publish: query.publish.unwrap_or(true),
        if_live: if_live(query.if_live.as_deref())?,
        allow_env: query.allow_env.unwrap_or(false),
        idempotency_key: key(&headers)?,
    };
    let begun = feed(body, limits::ARCHIVE_BYTES_MAX, async |pieces| {
        services.receive_archive(&actor, &name, &media_type, request, pieces).await
    });
    let id = begun.await?.id;
    let view = services.get_deployment(&actor, &name, DeploymentRef::Id(id)).await?;
    let mut response = json(StatusCode::ACCEPTED, &Deployment::from(view))?;
    if let Ok(value) = HeaderValue::from_str(&format!("/api/v1/sites/{name}/deployments/{id}")) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    Ok(response)
}
