//! The host that a request is for: one, readable, normalised.

use std::borrow::Cow;

use hyper::{Method, Uri, Version, header::HOST, http::request::Parts};

use crate::domain::hostname::normalise_authority;

/// The normalised host of a request: its URI's when it has one (HTTP/2, absolute form; RFC 9112 §3.2.2), else the
/// only `Host` header. `None` without one, with several, with one that cannot be a host, and for a target that is none of a site.
pub fn host(parts: &Parts) -> Option<Cow<'_, str>> {
    let mut lines = parts.headers.get_all(HOST).iter();
    let (first, second) = (lines.next(), lines.next());
    // SECURITY: two hosts are two readings of one request, also when the URI has its own.
    if second.is_some() {
        return None;
    }
    let named = first.map(|it| normalise_authority(it.to_str().ok()?));
    let Some(authority) = parts.uri.authority() else {
        // `*` is for the whole server, and one question alone (RFC 9112 §3.2.4).
        let is_path = parts.uri.path() != "*" || parts.method == Method::OPTIONS;
        return named?.filter(|_| is_path);
    };
    let host = normalise_authority(authority.as_str())?;
    let fits = match named {
        // What stands there cannot be a host (RFC 9112 §3.2).
        Some(None) => false,
        // With HTTP/1 the absolute form goes before it (RFC 9112 §3.2.2); with the others the two are one (RFC 9113 §8.3.1).
        Some(Some(named)) => parts.version <= Version::HTTP_11 || named == host,
        None => parts.version != Version::HTTP_11,
    };
    (fits && (is_of_web(&parts.uri) || parts.method == Method::CONNECT)).then_some(host)
}

/// Whether a target with an authority is one of the web: no scheme at all is a form for `CONNECT` alone (RFC 9112 §3.2.3).
fn is_of_web(uri: &Uri) -> bool {
    uri.scheme_str().is_some_and(|it| matches!(it, "http" | "https"))
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn of(version: Version, method: &str, uri: &str, hosts: &[&str]) -> Option<String> {
        let mut request = Request::builder().version(version).method(method).uri(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        host(&parts).map(Cow::into_owned)
    }

    #[test]
    fn one_host_or_none() {
        for (uri, hosts, wanted) in [
            ("/", &["A.example:80"][..], Some("a.example")),
            ("http://b.example/", &["a.example"], Some("b.example")),
            ("https://b.example/", &["b.example"], Some("b.example")),
            ("http://b.example/", &["a.example", "a.example"], None),
            ("http://b.example/", &[], None),
            ("http://b.example/", &["a b"], None),
            ("http://b.example/", &[""], None),
            ("http://u@b.example/", &["b.example"], None),
            ("ftp://b.example/", &["b.example"], None),
            ("b.example", &["b.example"], None),
            ("*", &["b.example"], None),
            ("/", &[], None),
            ("/", &["a.example", "a.example"], None),
            ("/", &["a b"], None),
            ("/", &[""], None),
        ] {
            assert_eq!(of(Version::HTTP_11, "GET", uri, hosts).as_deref(), wanted, "{uri} {hosts:?}");
        }
        assert_eq!(of(Version::HTTP_10, "GET", "http://b.example/", &[]).as_deref(), Some("b.example"));
        assert_eq!(of(Version::HTTP_11, "OPTIONS", "*", &["b.example"]).as_deref(), Some("b.example"));
        assert_eq!(of(Version::HTTP_11, "CONNECT", "b.example:80", &["b.example"]).as_deref(), Some("b.example"));
    }

    #[test]
    fn an_authority_and_a_host_are_one() {
        for version in [Version::HTTP_2, Version::HTTP_3] {
            for (uri, hosts, wanted) in [
                ("http://b.example/", &[][..], Some("b.example")),
                ("http://b.example/", &["B.example"], Some("b.example")),
                ("http://b.example/", &["a.example"], None),
                ("http://b.example/", &["a b"], None),
                ("ftp://b.example/", &[], None),
                ("/", &["b.example"], Some("b.example")),
                ("/", &[], None),
            ] {
                assert_eq!(of(version, "GET", uri, hosts).as_deref(), wanted, "{version:?} {uri} {hosts:?}");
            }
        }
    }
}
