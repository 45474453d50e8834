//! The headers that pass between a visitor and an upstream, and those that do not.
//!
//! SECURITY: what is of one connection stays there (RFC 9110 §7.6.1), also what a client names in `Connection` to have it removed. What
//! tells an upstream who the visitor is comes from this server alone: a client's own word for it is dropped, in every spelling that
//! an upstream may take for the same. So are paths beside the path, which would lead past doors, and what opens doors of this
//! server (cookies of guests, `Authorization` that was for it). `Proxy` is dropped, as programs take it for a setting of theirs (httpoxy).

use std::net::IpAddr;

use hyper::{
    HeaderMap, Method, Version,
    header::{
        ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue,
        LOCATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SEC_WEBSOCKET_KEY, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
        VIA,
    },
    http::{request::Parts, uri::Authority},
};

use crate::http::{connect, peer::Client};

/// Of one connection, whatever it says.
const OF_CONNECTIONS: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    PROXY_AUTHENTICATE,
];
/// Of a request, what this server deals with itself.
const OURS: [HeaderName; 5] = [HOST, EXPECT, CONTENT_LENGTH, PROXY_AUTHORIZATION, FORWARDED];
/// What this server puts into `Via`, and what tells it that a request goes in circles.
const NAME: &str = "chainhost";
/// What names the visitor's address to programs, and is no list of the way: passed on where it says what is known.
const NAMES_VISITOR: [&str; 6] =
    ["x-client-ip", "true-client-ip", "x-cluster-client-ip", "cf-connecting-ip", "forwarded-for", "x-forwarded"];
/// What programs take for the path instead of the one that was looked at here.
const NAMES_PATH: [&str; 2] = ["x-original-url", "x-rewrite-url"];
/// What frames a body, also in the spelling that programs take for the same (`Content_Length`): it is said anew.
const FRAMES: [&str; 2] = ["content-length", "transfer-encoding"];
/// The cookies by which guests of a protected site are known: whoever has one is let in.
const OF_GUESTS: [&[u8]; 2] = [b"chainhost_guest", b"__Host-chainhost_guest"];
/// Times that a request may pass servers of this kind: none has reason to pass more.
const PASSES_MAX: usize = 8;

/// What an upstream is told of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) client: Client,
    /// The host that an upstream is asked for; `None`: that of the visitor.
    pub(super) host: Option<&'a str>,
    /// What was taken from the front of the path.
    pub(super) prefix: Option<&'a str>,
    /// Whether it is to become a WebSocket.
    pub(super) upgrades: bool,
    /// Whether a name and a password of this server's have let it in: they are not the upstream's to know.
    pub(super) past_basic: bool,
}

/// The host as the visitor wrote it, with its port.
pub(super) fn host(parts: &Parts) -> &str {
    let of_uri = parts.uri.authority().map(Authority::as_str);
    let text = of_uri.or_else(|| parts.headers.get(HOST)?.to_str().ok()).unwrap_or_default();
    text.rsplit('@').next().unwrap_or_default()
}

/// Whether a request asks for a WebSocket. Nothing else is switched to: `h2c` would be a way past all that is looked at here.
pub(super) fn is_websocket(parts: &Parts) -> bool {
    if connect::on_stream(parts).is_some() {
        return true;
    }
    let names =
        |name: &HeaderName, wanted: &str| tokens(&parts.headers, name).any(|it| it.eq_ignore_ascii_case(wanted));
    let alone = parts.headers.get_all(UPGRADE).iter().count() == 1;
    parts.version == Version::HTTP_11
        && parts.method == Method::GET
        && alone
        && parts.headers.get(UPGRADE).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && names(&CONNECTION, "upgrade")
}

/// Whether a request has passed servers of this kind so often that it goes in circles.
pub(super) fn is_circling(headers: &HeaderMap) -> bool {
    tokens(headers, &VIA).filter(|it| it.rsplit(' ').next() == Some(NAME)).count() >= PASSES_MAX
}

/// The headers for an upstream. That of the body's length is made of the body.
pub(super) fn request(parts: &Parts, about: &About<'_>) -> HeaderMap {
    let listed = listed(&parts.headers);
    let mut headers = HeaderMap::with_capacity(parts.headers.keys_len() + 8);
    for (name, value) in &parts.headers {
        let is_listed = listed.iter().any(|it| it == name.as_str());
        let is_ours = OURS.contains(name) || *name == COOKIE || (*name == AUTHORIZATION && about.past_basic);
        let dropped = OF_CONNECTIONS.contains(name) || is_ours || is_listed;
        if !dropped && (!speaks_of_visitor(name) || says_what_is_known(name, value, about.client)) {
            headers.append(name, value.clone());
        }
    }
    // HTTP/2 and 3 may have it in parts, HTTP/1.1 has it once (RFC 9113 §8.2.3).
    if !listed.iter().any(|it| it == "cookie")
        && let Some(cookie) = joined(&parts.headers)
    {
        headers.insert(COOKIE, cookie);
    }
    let host = host(parts);
    put(&mut headers, HOST, about.host.unwrap_or(host));
    let Client { address, scheme, .. } = about.client;
    put(&mut headers, HeaderName::from_static("x-forwarded-for"), &address.to_string());
    put(&mut headers, HeaderName::from_static("x-real-ip"), &address.to_string());
    put(&mut headers, HeaderName::from_static("x-forwarded-proto"), scheme);
    put(&mut headers, HeaderName::from_static("x-forwarded-host"), host);
    if let Some(prefix) = about.prefix {
        put(&mut headers, HeaderName::from_static("x-forwarded-prefix"), prefix);
    }
    let by = if address.is_ipv6() { format!("\"[{address}]\"") } else { address.to_string() };
    put(&mut headers, FORWARDED, &format!("for={by};host=\"{host}\";proto={scheme}"));
    headers.append(VIA, via(parts.version));
    if about.upgrades {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        if let Some(on_stream) = connect::on_stream(parts) {
            put(&mut headers, SEC_WEBSOCKET_KEY, on_stream.key());
        }
    }
    headers
}

/// Takes from an upstream's headers what is not for the visitor. `own`: the upstream's URL, `public`: that of the site, both without a `/`
/// at the end: a redirect to the first leads to the second.
pub(super) fn response(headers: &mut HeaderMap, own: &str, public: &str) {
    let listed = listed(headers);
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    for name in OF_CONNECTIONS {
        headers.remove(name);
    }
    for name in listed {
        // The length was read already: without it the body would be framed another way, and be as long.
        if name != "content-length" {
            headers.remove(name);
        }
    }
    // Of the upstream's own ports, which visitors do not reach.
    headers.remove(ALT_SVC);
    let moved = headers.get(LOCATION).and_then(|it| it.to_str().ok()).and_then(|it| {
        let rest = it.strip_prefix(own).filter(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))?;
        HeaderValue::from_str(&format!("{public}{rest}")).ok()
    });
    if let Some(moved) = moved {
        headers.insert(LOCATION, moved);
    }
}

/// The names in `Connection`, as they are written in maps.
fn listed(headers: &HeaderMap) -> Vec<String> {
    tokens(headers, &CONNECTION).filter(|it| !it.is_empty()).map(str::to_ascii_lowercase).collect()
}

/// The parts of a header that is a list.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).iter().filter_map(|it| it.to_str().ok());
    lines.flat_map(|it| it.split(',')).map(str::trim)
}

/// Whether a header has this name; `_` and `-` are the same to CGI.
fn is(name: &HeaderName, wanted: &str) -> bool {
    let mut letters = name.as_str().bytes();
    wanted.bytes().all(|it| letters.next().is_some_and(|b| b == it || (it == b'-' && b == b'_')))
        && letters.next().is_none()
}

/// Whether a header says of whom a request is, or is one that programs take for something else.
fn speaks_of_visitor(name: &HeaderName) -> bool {
    let begins = |wanted: &str| {
        let start = name.as_str().as_bytes().get(..wanted.len()).unwrap_or_default();
        start.len() == wanted.len()
            && start.iter().zip(wanted.bytes()).all(|(b, it)| *b == it || (it == b'-' && *b == b'_'))
    };
    let others = ["x-real-ip", "forwarded", "proxy"];
    begins("x-forwarded-")
        || others.iter().chain(&NAMES_VISITOR).chain(&NAMES_PATH).chain(&FRAMES).any(|it| is(name, it))
}

/// Whether a header names the visitor as a trusted proxy has named him. SECURITY: a proxy that passes on what it does not know would
/// pass on a visitor's own word too, so that the address must be the one that is believed.
fn says_what_is_known(name: &HeaderName, value: &HeaderValue, client: Client) -> bool {
    let said = || value.to_str().ok()?.trim().parse::<IpAddr>().ok();
    client.is_proxied
        && NAMES_VISITOR.iter().any(|it| is(name, it))
        && said().is_some_and(|it| it.to_canonical() == client.address)
}

/// The cookies of all lines but those of guests; `None`: there are none.
fn joined(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut all: Vec<u8> = Vec::new();
    for line in headers.get_all(COOKIE) {
        let line = line.as_bytes();
        let kept: Vec<&[u8]> = line.split(|it| *it == b';').filter(|it| !is_of_guest(it)).collect();
        let kept = kept.join(&b';');
        let kept = kept.trim_ascii();
        if kept.is_empty() {
            continue;
        }
        if !all.is_empty() {
            all.extend_from_slice(b"; ");
        }
        all.extend_from_slice(kept);
    }
    if all.is_empty() { None } else { HeaderValue::from_bytes(&all).ok() }
}

fn is_of_guest(cookie: &[u8]) -> bool {
    let name = cookie.split(|it| *it == b'=').next().unwrap_or_default();
    OF_GUESTS.iter().any(|it| name.trim_ascii().eq_ignore_ascii_case(it))
}

fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_10 => "1.0 chainhost",
        Version::HTTP_2 => "2 chainhost",
        Version::HTTP_3 => "3 chainhost",
        _ => "1.1 chainhost",
    })
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn client(address: &str) -> Client {
        Client { address: address.parse().unwrap(), is_near: false, is_proxied: false, is_many: false, scheme: "https" }
    }

    fn parts(version: Version, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/").version(version);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn about(client: Client) -> About<'static> {
        About { client, host: None, prefix: None, upgrades: false, past_basic: false }
    }

    fn sent(headers: &[(&str, &str)]) -> HeaderMap {
        let all = [&[("host", "a.example:8443")][..], headers].concat();
        request(&parts(Version::HTTP_11, &all), &about(client("198.51.100.7")))
    }

    /// All values of a header, and "-" without one.
    fn of(headers: &HeaderMap, name: &str) -> String {
        let all: Vec<&str> = headers.get_all(name).iter().map(|it| it.to_str().unwrap()).collect();
        if all.is_empty() { String::from("-") } else { all.join(" | ") }
    }

    #[test]
    fn each_header_of_a_request_by_its_rule() {
        for (given, name, wanted) in [
            // What passes.
            (&[("accept", "text/html"), ("accept", "*/*")][..], "accept", "text/html | */*"),
            (&[("authorization", "Bearer x")], "authorization", "Bearer x"),
            (&[("x-request-id", "7")], "x-request-id", "7"),
            (&[("cookie", "a=1"), ("cookie", "b=2")], "cookie", "a=1; b=2"),
            // What is of the connection, named or not.
            (&[("connection", "close")], "connection", "-"),
            (&[("connection", "keep-alive, X-Own , "), ("x-own", "1")], "x-own", "-"),
            (&[("connection", "a"), ("connection", "X-Own"), ("x-own", "1")], "x-own", "-"),
            (&[("connection", "cookie"), ("cookie", "a=1")], "cookie", "-"),
            (&[("keep-alive", "timeout=5")], "keep-alive", "-"),
            (&[("proxy-connection", "close")], "proxy-connection", "-"),
            (&[("proxy-authorization", "Basic x")], "proxy-authorization", "-"),
            (&[("te", "trailers")], "te", "-"),
            (&[("trailer", "x")], "trailer", "-"),
            (&[("transfer-encoding", "chunked")], "transfer-encoding", "-"),
            (&[("upgrade", "h2c"), ("http2-settings", "x")], "upgrade", "-"),
            (&[("upgrade", "h2c"), ("http2-settings", "x")], "http2-settings", "-"),
            (&[("expect", "100-continue")], "expect", "-"),
            (&[("content-length", "5")], "content-length", "-"),
            (&[("content_length", "5")], "content_length", "-"),
            (&[("transfer_encoding", "chunked")], "transfer_encoding", "-"),
            // Who the visitor is.
            (&[], "x-forwarded-for", "198.51.100.7"),
            (&[("x-forwarded-for", "6.6.6.6")], "x-forwarded-for", "198.51.100.7"),
            (&[("connection", "x-forwarded-for"), ("x-forwarded-for", "6.6.6.6")], "x-forwarded-for", "198.51.100.7"),
            (&[("x_forwarded_for", "6.6.6.6")], "x_forwarded_for", "-"),
            (&[("x-forwarded_for", "6.6.6.6")], "x-forwarded_for", "-"),
            (&[("x-real-ip", "6.6.6.6")], "x-real-ip", "198.51.100.7"),
            (&[("x-forwarded-proto", "http")], "x-forwarded-proto", "https"),
            (&[("x-forwarded-host", "evil.example")], "x-forwarded-host", "a.example:8443"),
            (&[("x-forwarded-prefix", "/x")], "x-forwarded-prefix", "-"),
            (&[("x-forwarded-port", "1")], "x-forwarded-port", "-"),
            (&[("x-forwarded-server", "x")], "x-forwarded-server", "-"),
            (&[("forwarded", "for=6.6.6.6")], "forwarded", "for=198.51.100.7;host=\"a.example:8443\";proto=https"),
            (&[("proxy", "http://6.6.6.6")], "proxy", "-"),
            (&[("x-client-ip", "6.6.6.6")], "x-client-ip", "-"),
            (&[("true-client-ip", "6.6.6.6")], "true-client-ip", "-"),
            (&[("x-cluster-client-ip", "6.6.6.6")], "x-cluster-client-ip", "-"),
            (&[("cf-connecting-ip", "6.6.6.6")], "cf-connecting-ip", "-"),
            (&[("cf_connecting_ip", "6.6.6.6")], "cf_connecting_ip", "-"),
            (&[("forwarded-for", "6.6.6.6")], "forwarded-for", "-"),
            (&[("x-forwarded", "6.6.6.6")], "x-forwarded", "-"),
            // Paths beside the path.
            (&[("x-original-url", "/admin")], "x-original-url", "-"),
            (&[("x-rewrite-url", "/admin")], "x-rewrite-url", "-"),
            (&[("x_rewrite_url", "/admin")], "x_rewrite_url", "-"),
            // What opens the doors of this server.
            (&[("cookie", "a=1; chainhost_guest=x; b=2;c")], "cookie", "a=1; b=2;c"),
            (&[("cookie", "a=1;__Host-chainhost_guest=x")], "cookie", "a=1"),
            (&[("cookie", "chainhost_guest=x;  __Host-chainhost_guest = y ;chainhost_guest")], "cookie", "-"),
            (&[("cookie", "chainhost_guest=x"), ("cookie", "b=2")], "cookie", "b=2"),
            (&[("cookie", "a=chainhost_guest; chainhost_guests=1")], "cookie", "a=chainhost_guest; chainhost_guests=1"),
            (&[], "host", "a.example:8443"),
            (&[("via", "1.1 edge")], "via", "1.1 edge | 1.1 chainhost"),
        ] {
            assert_eq!(of(&sent(given), name), wanted, "{name} of {given:?}");
        }
    }

    #[test]
    fn a_trusted_proxy_may_name_whom_it_is_believed_to_bring() {
        let brought = about(Client { is_proxied: true, ..client("198.51.100.7") });
        for (value, wanted) in [("198.51.100.7", "198.51.100.7"), ("6.6.6.6", "-"), ("x", "-")] {
            let given = parts(Version::HTTP_11, &[("cf-connecting-ip", value), ("x-original-url", value)]);
            let headers = request(&given, &brought);
            assert_eq!(
                (of(&headers, "cf-connecting-ip").as_str(), of(&headers, "x-original-url").as_str()),
                (wanted, "-")
            );
        }
    }

    #[test]
    fn a_password_of_this_server_stays_here() {
        let given = parts(Version::HTTP_11, &[("authorization", "Basic x")]);
        let open = about(client("198.51.100.7"));
        assert_eq!(of(&request(&given, &open), "authorization"), "Basic x");
        assert_eq!(of(&request(&given, &About { past_basic: true, ..open }), "authorization"), "-");
    }

    #[test]
    fn host_prefix_and_upgrade_are_as_the_route_says() {
        let given =
            parts(Version::HTTP_11, &[("host", "a.example"), ("connection", "Upgrade"), ("upgrade", "websocket")]);
        let about = about(client("2001:db8::1"));
        let about = About { host: Some("app:3000"), prefix: Some("/api"), upgrades: true, ..about };
        let headers = request(&given, &about);
        for (name, wanted) in [
            ("host", "app:3000"),
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-prefix", "/api"),
            ("x-forwarded-for", "2001:db8::1"),
            ("forwarded", "for=\"[2001:db8::1]\";host=\"a.example\";proto=https"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
        ] {
            assert_eq!(of(&headers, name), wanted, "{name}");
        }
    }

    #[test]
    fn only_a_websocket_by_http_1_1_is_one() {
        let right = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
        assert!(is_websocket(&parts(Version::HTTP_11, &right)));
        assert!(!is_websocket(&parts(Version::HTTP_10, &right)));
        assert!(!is_websocket(&parts(Version::HTTP_2, &right)));
        for wrong in [
            &[("connection", "upgrade")][..],
            &[("upgrade", "websocket")],
            &[("connection", "upgrade"), ("upgrade", "h2c")],
            &[("connection", "upgrade"), ("upgrade", "websocket, h2c")],
            &[("connection", "upgrade"), ("upgrade", "websocket"), ("upgrade", "h2c")],
        ] {
            assert!(!is_websocket(&parts(Version::HTTP_11, wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn a_circle_is_seen() {
        let of = |count: usize| {
            let mut headers = HeaderMap::new();
            headers.append(VIA, HeaderValue::from_static("1.1 nginx"));
            for _ in 0..count {
                headers.append(VIA, HeaderValue::from_static("2 chainhost"));
            }
            is_circling(&headers)
        };
        assert!(!of(0) && !of(7) && of(8));
    }

    #[test]
    fn each_header_of_an_answer_by_its_rule() {
        for (given, name, wanted) in [
            (&[("content-type", "text/html")][..], "content-type", "text/html"),
            (&[("set-cookie", "a"), ("set-cookie", "b")], "set-cookie", "a | b"),
            (&[("connection", "X-Own, close"), ("x-own", "1")], "x-own", "-"),
            (&[("connection", "close")], "connection", "-"),
            (&[("connection", "content-length"), ("content-length", "5")], "content-length", "5"),
            (&[("keep-alive", "timeout=5")], "keep-alive", "-"),
            (&[("transfer-encoding", "chunked"), ("content-length", "5")], "content-length", "-"),
            (&[("transfer-encoding", "chunked")], "transfer-encoding", "-"),
            (&[("upgrade", "h2c")], "upgrade", "-"),
            (&[("trailer", "x")], "trailer", "-"),
            (&[("alt-svc", "h3=\":443\"")], "alt-svc", "-"),
            (&[("proxy-authenticate", "Basic")], "proxy-authenticate", "-"),
            (&[("location", "http://app:3000/x?y")], "location", "https://a.example/api/x?y"),
            (&[("location", "http://app:3000")], "location", "https://a.example/api"),
            (&[("location", "http://app:30001/x")], "location", "http://app:30001/x"),
            (&[("location", "/x")], "location", "/x"),
            (&[("location", "https://other.example/")], "location", "https://other.example/"),
        ] {
            let mut headers = parts(Version::HTTP_11, given).headers;
            response(&mut headers, "http://app:3000", "https://a.example/api");
            assert_eq!(of(&headers, name), wanted, "{name} of {given:?}");
        }
    }
}
