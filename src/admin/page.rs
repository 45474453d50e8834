//! From a page struct to an answer: renders, adds the symbols, and sets the headers that every page has.
//!
//! SECURITY: no page can run a script or a style that is not a file of the panel ([`POLICY`]), be framed, or be kept.

use askama::Template;
use hyper::{
    StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
        X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
    },
};

use super::icons;
use crate::http::respond::{self, Response};

/// What a page of the panel may load and where it may send: only its own origin, and nothing inline.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The page as text, whole.
pub(super) fn text<T: Template>(page: &T) -> askama::Result<String> {
    page.render().map(|it| icons::with_sprite(&it))
}

/// The page as an answer.
pub(super) fn answer<T: Template>(status: StatusCode, page: &T) -> Response {
    match text(page) {
        Ok(text) => respond::html(status, text),
        Err(error) => {
            tracing::error!(%error, "a page of the panel could not be rendered");
            respond::text(StatusCode::INTERNAL_SERVER_ERROR, "Something broke on this server. The log has the reason.")
        }
    }
}

/// Sets what every answer of the panel says, whatever it is: pages, files, events.
pub(super) fn protect(headers: &mut HeaderMap) {
    let mut set = |name: HeaderName, value: &'static str| {
        headers.insert(name, HeaderValue::from_static(value));
    };
    set(CONTENT_SECURITY_POLICY, POLICY);
    set(REFERRER_POLICY, "same-origin");
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(X_FRAME_OPTIONS, "DENY");
    set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_asset_stays_cacheable_and_a_page_does_not_become_so() {
        let mut page = HeaderMap::new();
        protect(&mut page);
        assert_eq!(page["cache-control"], "no-store");
        assert!(page["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'; style-src 'self';"));
        let mut asset = HeaderMap::new();
        asset.insert(CACHE_CONTROL, HeaderValue::from_static("immutable"));
        protect(&mut asset);
        assert_eq!(asset["cache-control"], "immutable");
    }
}
