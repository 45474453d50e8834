//! Paths that other servers answer, and the files beside them.

use hyper::{Method, StatusCode, body::Body as _};

use super::Gate;
use crate::{
    domain::{site_path, url_path::decode_path},
    http::respond::{Body, Response},
    serve::{page::Refusal, proxy, snapshot::State, visit::Visit},
};

/// What a site shows at a path.
pub(super) async fn shown(gate: &Gate<'_>, visit: &Visit<'_>, body: Body) -> Result<Response, Refusal> {
    let (target, parts) = (gate.target, gate.asked.parts);
    let path = parts.uri.path();
    // The host's own paths are nobody else's, and a site that was taken down shows nothing of anybody.
    let is_own =
        matches!(target.state, State::TakenDown(_)) || decode_path(path).is_some_and(|it| site_path::is_reserved(&it));
    if gate.settings.proxy.routes.is_empty() || is_own {
        return visit.answer().await;
    }
    let Some(mut found) = visit.plane.proxies.find(target.site, path)? else { return visit.answer().await };
    // A password for this site is nothing for what is behind it, which may be somebody else's.
    let decoded = decode_path(path);
    let door = gate.rules.door.as_ref().filter(|it| it.basic && it.guards(decoded.as_deref()));
    found.past_basic = door.is_some();
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    if found.files_first() && reads && visit.has_file().await {
        return visit.answer().await;
    }
    let opens = || visit.plane.open(target, gate.asked, door.and_then(|it| it.known(gate)));
    found.open = proxy::may_open(parts).then(&opens);
    let mut response = found.answer(parts, body, gate.asked.client()).await?;
    // Whose end nobody knows may last.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS && response.body().size_hint().exact().is_none() {
        let open = opens();
        let body = std::mem::replace(response.body_mut(), Body::empty());
        *response.body_mut() = open.around(body);
    }
    Ok(response)
}
