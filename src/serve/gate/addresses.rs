//! One hostname, HTTPS, and that browsers remember it.

use hyper::{
    HeaderMap, StatusCode,
    header::{CACHE_CONTROL, HOST, HeaderValue, STRICT_TRANSPORT_SECURITY},
    http::{request::Parts, uri::PathAndQuery},
};

use super::{Gate, guests};
use crate::{
    domain::{hostname::Hostname, site_settings::addresses::Https},
    http::respond::{self, Response},
};

/// What is looked for on the very host: proofs, and what programs find there.
const WELL_KNOWN: &str = "/.well-known/";
/// For what may be otherwise the next time.
const REVALIDATE_ALWAYS: &str = "max-age=0, must-revalidate";

/// Where a visitor is sent who is at another address than the site's own.
pub(super) fn elsewhere(gate: &Gate<'_>) -> Option<Response> {
    let (addresses, parts) = (&gate.settings.addresses, gate.asked.parts);
    let path = parts.uri.path();
    if gate.target.preview || (path.starts_with(WELL_KNOWN) && !guests::is_ours(path)) {
        return None;
    }
    // `OPTIONS *` means no page.
    let rest = parts.uri.path_and_query().map(PathAndQuery::as_str).filter(|it| it.starts_with('/'))?;
    let client = gate.asked.client();
    // Who has come in clear to this server's own port was sent to HTTPS before. What is left has a proxy that ends TLS, and says that this one came in clear.
    let secures = addresses.https == Https::Always && client.is_proxied && client.scheme == "http";
    let host = addresses.canonical.as_ref().map(Hostname::as_str).filter(|it| *it != gate.asked.host);
    let to = match host {
        _ if secures => format!("https://{}{rest}", gate.asked.host),
        Some(host) => format!("{}://{host}{}{rest}", client.scheme, port(parts)),
        None => return None,
    };
    let mut response = respond::redirect(StatusCode::PERMANENT_REDIRECT, &to);
    // Not for ever, as browsers would keep it else. Where the other hostname becomes the site's own, who has kept this would go round in circles.
    let kept = if secures { "max-age=3600" } else { REVALIDATE_ALWAYS };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(kept));
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
