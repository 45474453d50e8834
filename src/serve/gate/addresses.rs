//! One hostname, HTTPS, and that browsers remember it.

use hyper::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, HOST, HeaderValue, STRICT_TRANSPORT_SECURITY},
    http::{request::Parts, uri::PathAndQuery},
};

use super::{Gate, guests};
use crate::{
    domain::site_settings::addresses,
    http::respond::{self, Response},
    serve::headers::REVALIDATE,
};

/// Where a visitor is sent who is at another address than the site's own.
pub(super) fn elsewhere(gate: &Gate<'_>) -> Option<Response> {
    if gate.target.preview {
        return None;
    }
    let (parts, client) = (gate.asked.parts, gate.asked.client());
    let path = parts.uri.path();
    let asked = addresses::Asked {
        scheme: client.scheme,
        host: gate.asked.host,
        path,
        rest: parts.uri.path_and_query().map_or(path, PathAndQuery::as_str),
        is_way_in: guests::is_ours(path),
        // Who has come in clear to this server's own port was sent to HTTPS before. What is left has a proxy that ends TLS, and says that this one came in clear.
        proxied_in_clear: client.is_proxied && client.scheme == "http",
    };
    let (key, to) = gate.settings.addresses.elsewhere(asked, || port(parts))?;
    let mut response = respond::redirect(StatusCode::PERMANENT_REDIRECT, &to);
    // Not for ever, as browsers would keep it else. Where the other hostname becomes the site's own, who has kept this would go round in circles.
    let kept = if key == "addresses.https" { HeaderValue::from_static("max-age=3600") } else { REVALIDATE };
    response.headers_mut().insert(CACHE_CONTROL, kept);
    Some(response)
}

/// The port that the client has asked, `:8443`, or nothing.
fn port(parts: &Parts) -> String {
    let line = || parts.headers.get(HOST).and_then(|it| it.to_str().ok()?.parse().ok());
    let authority = parts.uri.authority().cloned().or_else(line);
    authority.and_then(|it| it.port_u16()).map_or_else(String::new, |it| format!(":{it}"))
}

/// Tells browsers to use nothing but HTTPS. In clear that says nothing, and must not be said (RFC 6797 §7.2).
pub(super) fn remember(gate: &Gate<'_>, headers: &mut HeaderMap) {
    let Some(hsts) = gate.settings.addresses.hsts.filter(|_| !gate.target.preview) else { return };
    if gate.asked.client().scheme == "https"
        && let Ok(value) = HeaderValue::try_from(hsts.header())
    {
        headers.insert(STRICT_TRANSPORT_SECURITY, value);
    }
}
