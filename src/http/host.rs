//! The host that a request is for: one, readable, normalised.

use std::borrow::Cow;

use hyper::{header::HOST, http::request::Parts};

use crate::domain::hostname::normalise_authority;

/// The normalised host of a request: its URI's when it has one (HTTP/2, absolute form; RFC 9112 §3.2.2), else the
/// only `Host` header. `None` without one, with several, or with one that cannot be a host.
pub fn host(parts: &Parts) -> Option<Cow<'_, str>> {
    let mut lines = parts.headers.get_all(HOST).iter();
    let (first, second) = (lines.next(), lines.next());
    // SECURITY: two hosts are two readings of one request, also when the URI has its own.
    if second.is_some() {
        return None;
    }
    if let Some(authority) = parts.uri.authority() {
        return normalise_authority(authority.as_str());
    }
    normalise_authority(first?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn one_host_or_none() {
        for (uri, hosts, wanted) in [
            ("/", &["A.example:80"][..], Some("a.example")),
            ("http://b.example/", &["a.example"], Some("b.example")),
            ("http://b.example/", &["a.example", "a.example"], None),
            ("http://u@b.example/", &[], None),
            ("/", &[], None),
            ("/", &["a.example", "a.example"], None),
            ("/", &["a b"], None),
            ("/", &[""], None),
        ] {
            let mut request = Request::builder().uri(uri);
            for host in hosts {
                request = request.header("host", *host);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(host(&parts).as_deref(), wanted, "{uri} {hosts:?}");
        }
    }
}
