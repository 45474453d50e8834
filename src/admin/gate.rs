//! The gate around every handler: refuses forms from elsewhere, turns errors into pages, sets the headers of all answers.
//!
//! SECURITY: an unsafe request has to say that it comes from this panel: its `Origin` is ours, or `Sec-Fetch-Site` is
//! `same-origin`. One that says neither is refused when it has a cookie, and for the forms that need none: claim and
//! sign-in, where it would sign a stranger in.

use axum::{
    body::Body,
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    header::{
        CONTENT_TYPE, COOKIE, HOST, HeaderValue, LOCATION, ORIGIN, RETRY_AFTER, SET_COOKIE, STRICT_TRANSPORT_SECURITY,
    },
};

use super::{
    Panel, cookies,
    error_pages::{self, ErrorPage},
    page,
    shell::Alone,
    visit,
};
use crate::{
    domain::{Error, Kind},
    http::{
        peer::{Client, RequestId},
        problem,
        respond::{self, Response as Ours},
    },
    services::Addresses,
};

/// The code of the error that leads to the sign-in page.
pub(super) const SIGN_IN: &str = "session";

/// A handler's error, on its way to the gate.
#[derive(Debug)]
pub(super) struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(self.0);
        response
    }
}

/// What handlers give.
pub(super) type Answer = Result<Response, Failure>;

/// One of our answers as one of the framework's.
pub(super) fn ours(response: Ours) -> Response {
    response.map(Body::new)
}

/// Takes every request of the panel.
pub(super) async fn pass(State(panel): State<Panel>, request: Request, next: Next) -> Response {
    let seen = Seen::of(&request);
    let mut response = if seen.is_safe() || comes_from_here(&seen, &panel.services.addresses) {
        next.run(request).await
    } else {
        let text = "This form was sent from another place than this panel. Open the page here and send it again.";
        Failure::from(Error::forbidden(text).because("neither Origin nor Sec-Fetch-Site is this panel's"))
            .into_response()
    };
    let error = response.extensions_mut().remove::<Error>().or_else(|| refused_by_framework(&response));
    if let Some(error) = error {
        response = ours(explain(&panel, &seen, response.status(), &error));
    }
    page::protect(response.headers_mut());
    // The page that was just loaded has shown the notice; a script that loads one in between has not.
    let is_page = response.headers().get("content-type").is_some_and(|it| it.as_bytes().starts_with(b"text/html"));
    let by_person = seen.headers.get("sec-fetch-dest").is_none_or(|it| it == "document");
    if is_page
        && by_person
        && seen.method == Method::GET
        && cookies::notice(&seen.headers).is_some()
        && let Some(cookie) = cookies::set_notice(None)
    {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    if !seen.is_safe()
        && let Some(cookie) = panel.services.latest_position().and_then(cookies::set_seen)
    {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    if seen.scheme == "https" {
        cookies::secure(response.headers_mut());
    }
    // Other programs have ports of this name, most of them in clear.
    if seen.scheme == "https" && panel.services.addresses.panel_host != "localhost" {
        // This host alone: what else lives under its domain is its owner's affair.
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

/// What the gate remembers of a request.
struct Seen {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    id: String,
    /// What the client used, and whether a trusted proxy brought it.
    scheme: &'static str,
    is_proxied: bool,
}

impl Seen {
    fn of(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            id: request.extensions().get::<RequestId>().cloned().unwrap_or_default().0,
            scheme: visit::scheme(request.extensions()),
            is_proxied: request.extensions().get::<Client>().is_some_and(|it| it.is_proxied),
        }
    }

    fn is_safe(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    fn text(&self, name: impl hyper::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|it| it.to_str().ok())
    }
}

/// What was refused before a handler was asked, or by an extractor, in bare words of the framework.
fn refused_by_framework(response: &Response) -> Option<Error> {
    let is_bare = response.headers().get(CONTENT_TYPE).is_none_or(|it| it.as_bytes().starts_with(b"text/plain"));
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => Some(Error::invalid("method", "Open the page and use its buttons.")),
        StatusCode::PAYLOAD_TOO_LARGE if is_bare => {
            Some(Error::too_large("body", "What was sent is larger than this form may be."))
        }
        status if status.is_client_error() && is_bare => Some(Error::invalid(
            "request",
            "This request cannot be read as the panel sends it. Load the page again and try once more.",
        )),
        _ => None,
    }
}

fn comes_from_here(seen: &Seen, addresses: &Addresses) -> bool {
    if let Some(origin) = seen.headers.get(ORIGIN) {
        let is = |ours: &str| origin.as_bytes().eq_ignore_ascii_case(ours.as_bytes());
        // A proxy may ask under a port of its own: the address that people type is the one that counts.
        if seen.is_proxied && seen.scheme == addresses.scheme && is(&addresses.panel()) {
            return true;
        }
        let scheme = seen.scheme;
        let host = seen.uri.authority().map(http::uri::Authority::as_str).or_else(|| seen.text(HOST));
        let default = if scheme == "https" { ":443" } else { ":80" };
        let host = host.map(|it| it.strip_suffix(default).unwrap_or(it));
        return host.is_some_and(|it| is(&format!("{scheme}://{it}")));
    }
    if let Some(site) = seen.text("sec-fetch-site") {
        return site == "same-origin";
    }
    !seen.headers.contains_key(COOKIE) && !matches!(seen.uri.path(), "/claim" | "/sign-in")
}

/// The page, or the way to sign in, for an error.
fn explain(panel: &Panel, seen: &Seen, status: StatusCode, error: &Error) -> Ours {
    if error.code == SIGN_IN {
        return to_sign_in(seen);
    }
    let status = if status == StatusCode::METHOD_NOT_ALLOWED { status } else { problem::status(error.kind) };
    if error.kind == Kind::Internal {
        tracing::error!(request = %seen.id, %error, "a page of the panel failed");
    } else {
        tracing::debug!(request = %seen.id, %error, "a request to the panel was refused");
    }
    let has_session = |it: &str| cookies::find(&seen.headers, it).is_some();
    let addresses = &panel.services.addresses;
    let (title, text) = error_pages::words(status.as_u16(), &error.message);
    let page = ErrorPage {
        alone: Alone { server: addresses.panel_host.clone(), theme: cookies::theme(&seen.headers) },
        status: status.as_u16(),
        title,
        text,
        request_id: seen.id.clone(),
        logged: error.kind == Kind::Internal,
        signed_in: has_session(&cookies::session_name(seen.scheme, panel.services.instance)),
    };
    let mut response = page::answer(status, &page);
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn to_sign_in(seen: &Seen) -> Ours {
    let wanted = seen.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let to = if seen.method == Method::GET && wanted != "/" {
        format!("/sign-in?next={}", percent_encoding::utf8_percent_encode(wanted, percent_encoding::NON_ALPHANUMERIC))
    } else {
        String::from("/sign-in")
    };
    let mut response = respond::empty(StatusCode::SEE_OTHER);
    if let Ok(to) = HeaderValue::from_str(&to) {
        response.headers_mut().insert(LOCATION, to);
    }
    response
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    fn seen(path: &str, headers: &[(&'static str, &'static str)]) -> Seen {
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_static("localhost:8080"));
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let uri = path.parse().unwrap();
        Seen { method: Method::POST, uri, headers: map, id: String::new(), scheme: "http", is_proxied: false }
    }

    /// The public address of a panel behind a proxy.
    fn addresses() -> Addresses {
        Addresses {
            scheme: "https",
            sites_domain: String::from("example"),
            port: String::from(":8443"),
            panel_host: String::from("panel.example"),
            local_port: 8080,
        }
    }

    #[test]
    fn a_form_has_to_come_from_this_panel() {
        let here =
            |path: &str, headers: &[(&'static str, &'static str)]| comes_from_here(&seen(path, headers), &addresses());
        assert!(here("/sites/new", &[("origin", "http://localhost:8080"), ("cookie", "a=b")]));
        assert!(here("/claim", &[("sec-fetch-site", "same-origin")]));
        assert!(here("/sign-out", &[]));
        for refused in [
            &[("origin", "http://evil.localhost:8080")][..],
            &[("origin", "https://localhost:8080")],
            &[("origin", "http://localhost:8081")],
            &[("origin", "http://localhost")],
            &[("origin", "null"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("cookie", "a=b")],
            &[("sec-fetch-site", "none")],
            &[("cookie", "a=b")],
        ] {
            assert!(!here("/sites/new", refused), "{refused:?}");
        }
        assert!(!here("/claim", &[]) && !here("/sign-in", &[]));
    }

    #[test]
    fn the_port_of_the_scheme_is_not_in_an_origin() {
        let mut seen = seen("/", &[("origin", "http://panel.example")]);
        seen.headers.insert(HOST, HeaderValue::from_static("panel.example:80"));
        assert!(comes_from_here(&seen, &addresses()));
        seen.scheme = "https";
        assert!(!comes_from_here(&seen, &addresses()));
    }

    #[test]
    fn behind_a_trusted_proxy_the_public_address_counts() {
        let mut seen = seen("/", &[("origin", "https://panel.example:8443")]);
        assert!(!comes_from_here(&seen, &addresses()));
        (seen.scheme, seen.is_proxied) = ("https", true);
        assert!(comes_from_here(&seen, &addresses()));
        seen.headers.insert(ORIGIN, HeaderValue::from_static("https://evil.example:8443"));
        assert!(!comes_from_here(&seen, &addresses()));
        (seen.scheme, seen.is_proxied) = ("http", true);
        seen.headers.insert(ORIGIN, HeaderValue::from_static("https://panel.example:8443"));
        assert!(!comes_from_here(&seen, &addresses()));
    }

    #[test]
    fn the_way_to_sign_in_keeps_where_one_wanted_to_go() {
        let mut seen = seen("/jobs?queue=deploy", &[]);
        seen.method = Method::GET;
        let response = to_sign_in(&seen);
        assert_eq!(response.status(), 303);
        assert_eq!(response.headers()["location"], "/sign-in?next=%2Fjobs%3Fqueue%3Ddeploy");
    }
}
