//! Paths that other servers answer, and the files beside them.

use hyper::Method;

use super::Gate;
use crate::{
    domain::{site_path, url_path::decode_path},
    http::respond::{Body, Response},
    serve::{onward, open::Version, page::Refusal, snapshot::State, visit::Visit},
};

/// What a site shows at a path; `known`: the version of the password that has let the visitor in, where one has.
pub(super) async fn shown(
    gate: &Gate<'_>,
    visit: &Visit<'_>,
    body: Body,
    known: Option<Version>,
) -> Result<Response, Refusal> {
    let (target, parts) = (gate.target, gate.asked.parts);
    let path = parts.uri.path();
    // The host's own paths are nobody else's, and a site that was taken down shows nothing of anybody.
    let is_own =
        matches!(target.state, State::TakenDown(_)) || decode_path(path).is_some_and(|it| site_path::is_reserved(&it));
    if gate.settings.proxy.routes.is_empty() || is_own {
        return by_files(gate, visit, body, known).await;
    }
    let found = visit.plane.proxies.find(target.site, path)?;
    let Some(mut found) = found else { return by_files(gate, visit, body, known).await };
    found.past_basic = is_past_basic(gate);
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    if found.files_first() && reads && visit.has_file().await {
        return by_files(gate, visit, body, known).await;
    }
    // A file below the folder of a FastCGI route.
    let sent = if reads { found.public((parts, visit.asked.client()), visit.locked, gate.now_s).await } else { None };
    match sent {
        Some(sent) => Ok(onward::lasting(visit, sent?, known)),
        None => onward::pass(visit, found, parts, body, known).await,
    }
}

/// What the files and the rules of the deployment give.
async fn by_files(gate: &Gate<'_>, visit: &Visit<'_>, body: Body, known: Option<Version>) -> Result<Response, Refusal> {
    match visit.answer().await {
        Err(Refusal::Elsewhere(onward)) => Box::pin(onward.answer(visit, body, is_past_basic(gate), known)).await,
        other => other,
    }
}

/// Whether a name and a password for this site have let the request in: they are nothing for what is behind it, which may be somebody else's.
fn is_past_basic(gate: &Gate<'_>) -> bool {
    let decoded = decode_path(gate.asked.parts.uri.path());
    gate.rules.door.as_ref().is_some_and(|it| it.basic && it.guards(decoded.as_deref()))
}
