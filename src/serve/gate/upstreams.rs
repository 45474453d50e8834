//! Paths that other servers answer, and the files beside them.

use std::mem;

use hyper::{Method, StatusCode, body::Body as _};

use super::Gate;
use crate::{
    domain::{site_path, url_path::decode_path},
    http::respond::{Body, Response},
    serve::{
        open::{Head, Version},
        page::Refusal,
        proxy,
        snapshot::State,
        visit::Visit,
    },
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
    let sent = if reads { found.public(parts, visit.locked, gate.now_s).await } else { None };
    let mut response = if let Some(sent) = sent {
        sent?
    } else {
        found.open = proxy::may_open(parts).then(|| visit.plane.open(target.site, Head::of(gate.asked), known));
        found.answer(parts, body, gate.asked.client()).await?
    };
    // Also one whose length is known may last: a download, or one that comes slowly.
    let body = response.body();
    let may_last = !body.is_end_stream() && body.in_memory().is_none();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS && may_last {
        let body = mem::replace(response.body_mut(), Body::empty());
        *response.body_mut() = visit.plane.lasting(body, target.site, Head::of(gate.asked), known);
    }
    Ok(response)
}
