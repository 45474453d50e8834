//! Pages of the site in place of those of the host.
//!
//! Only browsers get them, and only files that are whole: who asks for anything else, or where the file is gone, gets the host's own.

use hyper::header::{
    ACCEPT_RANGES, ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, ETAG, HeaderName, HeaderValue, LINK, RETRY_AFTER,
    WWW_AUTHENTICATE,
};

use super::{Gate, guests};
use crate::{
    domain::lifetime::OF_SHARED_CACHES,
    http::respond::Response,
    serve::{
        page::{self, Refusal},
        visit::Visit,
    },
};

/// What the host says with its status stays, whatever page is shown.
const KEPT: [HeaderName; 3] = [ALLOW, RETRY_AFTER, WWW_AUTHENTICATE];
/// What is true of the file, and not of an answer that is no file.
const DROPPED: [HeaderName; 4] = [ETAG, ACCEPT_RANGES, LINK, ACCESS_CONTROL_ALLOW_ORIGIN];

/// What the visitor reads who was refused.
pub(super) async fn page(gate: &Gate<'_>, visit: &Visit<'_>, refusal: &Refusal) -> Response {
    let headers = &gate.asked.parts.headers;
    if matches!(refusal, Refusal::SignIn) {
        return guests::challenge(gate);
    }
    let host = refusal.answer(headers);
    let path = match refusal {
        Refusal::Maintenance { .. } => gate.rules.maintenance.as_ref().and_then(|it| it.page.as_ref()),
        // Its pages may be as closed as the rest.
        Refusal::Unreadable => None,
        _ => gate.rules.pages.get(&host.status().as_u16()),
    };
    let Some(path) = path.filter(|_| page::wants_html(headers)) else { return host };
    match visit.page(path).await {
        Some(own) => dressed(own, &host),
        None => host,
    }
}

fn dressed(mut own: Response, host: &Response) -> Response {
    *own.status_mut() = host.status();
    let headers = own.headers_mut();
    for name in &DROPPED {
        headers.remove(name);
    }
    // SECURITY: caches in front of the server take these before `Cache-Control`, and would give the page to everybody.
    for name in OF_SHARED_CACHES {
        headers.remove(name);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for name in &KEPT {
        match host.headers().get(name) {
            Some(value) => drop(headers.insert(name, value.clone())),
            None => drop(headers.remove(name)),
        }
    }
    own
}
