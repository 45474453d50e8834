//! What a program is told of a request (RFC 3875 §4.1, with what PHP asks for beside it).
//!
//! SECURITY: a header becomes a variable in which `-` and `_` are one, so headers with `_` are left out, and `Proxy` would become a setting of
//! many programs (`HTTP_PROXY`). Who asks is said by this server alone.

use std::collections::BTreeMap;

use hyper::{
    Version,
    header::{CONTENT_TYPE, VIA},
};

use super::{About, Script};
use crate::serve::proxy::heads;

/// The variables of a request.
pub(super) struct Params {
    all: BTreeMap<String, Vec<u8>>,
}

/// Those of a request; its body's length is still to be said.
pub(super) fn of(about: &About<'_>, script: &Script) -> Params {
    let mut params = Params { all: BTreeMap::new() };
    let parts = about.parts;
    let (client, past_basic) = (about.client, about.past_basic);
    let about_heads = heads::About { client, host: None, prefix: None, upgrades: false, past_basic };
    let headers = heads::request(parts, &about_heads);
    for (name, value) in &headers {
        if name.as_str().contains('_') || *name == CONTENT_TYPE || *name == VIA {
            continue;
        }
        let name = format!("HTTP_{}", name.as_str().to_ascii_uppercase().replace('-', "_"));
        // Several lines are one list (RFC 9110 §5.3).
        let all = params.all.entry(name).or_default();
        if !all.is_empty() {
            all.extend_from_slice(b", ");
        }
        all.extend_from_slice(value.as_bytes());
    }
    if let Some(value) = parts.headers.get(CONTENT_TYPE) {
        params.put("CONTENT_TYPE", value.as_bytes());
    }
    let host = heads::host(parts);
    let (name, port) = match host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())) {
        Some((name, port)) if !port.is_empty() => (name, port),
        _ => (host, if about.client.scheme == "https" { "443" } else { "80" }),
    };
    let uri = &parts.uri;
    let script_name = format!("{}{}", about.prefix, script.name);
    let document_uri = format!("{script_name}{}", script.path_info);
    for (key, value) in [
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "chainhost"),
        ("SERVER_PROTOCOL", protocol(parts.version)),
        ("SERVER_NAME", name),
        ("SERVER_PORT", port),
        ("REMOTE_ADDR", &about.client.address.to_string()),
        ("REQUEST_METHOD", parts.method.as_str()),
        ("REQUEST_SCHEME", about.client.scheme),
        ("REQUEST_URI", uri.path_and_query().map_or("/", |it| it.as_str())),
        ("QUERY_STRING", uri.query().unwrap_or_default()),
        ("DOCUMENT_ROOT", &script.root),
        ("DOCUMENT_URI", &document_uri),
        ("SCRIPT_NAME", &script_name),
        ("SCRIPT_FILENAME", &script.filename),
        // PHP refuses to run without it, where it is built so.
        ("REDIRECT_STATUS", "200"),
    ] {
        params.put(key, value.as_bytes());
    }
    if about.client.scheme == "https" {
        params.put("HTTPS", b"on");
    }
    if !script.path_info.is_empty() {
        params.put("PATH_INFO", script.path_info.as_bytes());
        params.put("PATH_TRANSLATED", format!("{}{}", script.root, script.path_info).as_bytes());
    }
    params
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

impl Params {
    fn put(&mut self, name: &str, value: &[u8]) {
        self.all.insert(name.to_owned(), value.to_vec());
    }

    /// Says how long the body is.
    pub(super) fn length(&mut self, bytes: u64) {
        self.put("CONTENT_LENGTH", bytes.to_string().as_bytes());
    }

    /// As a connection has them (specification §3.4).
    pub(super) fn encoded(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(2_048);
        for (name, value) in &self.all {
            for length in [name.len(), value.len()] {
                match u8::try_from(length) {
                    Ok(short) if short < 0x80 => out.push(short),
                    _ => {
                        let long = u32::try_from(length).unwrap_or(u32::MAX) | 0x8000_0000;
                        out.extend_from_slice(&long.to_be_bytes());
                    }
                }
            }
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(value);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;
    use crate::http::peer::Client;

    fn made(uri: &str, scheme: &'static str, headers: &[(&str, &str)]) -> BTreeMap<String, String> {
        let mut request = Request::builder().method("POST").uri(uri).header("host", "a.example:8443");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let client = Client {
            address: "2001:db8::7".parse().unwrap(),
            is_near: false,
            is_proxied: false,
            is_many: false,
            scheme,
        };
        let script = Script {
            root: String::from("/srv/app"),
            filename: String::from("/srv/app/index.php"),
            name: String::from("/index.php"),
            path_info: String::from("/a b"),
        };
        let about = About { parts: &parts, client, prefix: "/php", past_basic: false };
        let all = of(&about, &script).all;
        all.into_iter().map(|(name, value)| (name, String::from_utf8(value).unwrap())).collect()
    }

    #[test]
    fn each_variable_by_its_rule() {
        let params = made(
            "/php/index.php/a%20b?x=1&y",
            "https",
            &[
                ("content-type", "text/plain"),
                ("x-own", "1"),
                ("x-own", "2"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
                ("proxy", "http://6.6.6.6"),
                ("x_forwarded_for", "6.6.6.6"),
                ("x-forwarded-for", "6.6.6.6"),
                ("content_length", "9"),
                ("x_own", "3"),
                ("transfer-encoding", "chunked"),
                ("authorization", "Basic x"),
            ],
        );
        for (name, wanted) in [
            ("REQUEST_METHOD", "POST"),
            ("REQUEST_URI", "/php/index.php/a%20b?x=1&y"),
            ("QUERY_STRING", "x=1&y"),
            ("SCRIPT_NAME", "/php/index.php"),
            ("SCRIPT_FILENAME", "/srv/app/index.php"),
            ("PATH_INFO", "/a b"),
            ("PATH_TRANSLATED", "/srv/app/a b"),
            ("DOCUMENT_URI", "/php/index.php/a b"),
            ("DOCUMENT_ROOT", "/srv/app"),
            ("SERVER_NAME", "a.example"),
            ("SERVER_PORT", "8443"),
            ("REMOTE_ADDR", "2001:db8::7"),
            ("HTTPS", "on"),
            ("CONTENT_TYPE", "text/plain"),
            ("HTTP_HOST", "a.example:8443"),
            ("HTTP_X_OWN", "1, 2"),
            ("HTTP_COOKIE", "a=1; b=2"),
            ("HTTP_X_FORWARDED_FOR", "2001:db8::7"),
            ("HTTP_AUTHORIZATION", "Basic x"),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
        ] {
            assert_eq!(params.get(name).map(String::as_str), Some(wanted), "{name}");
        }
        for name in
            ["HTTP_PROXY", "HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING", "CONTENT_LENGTH", "HTTP_CONTENT_TYPE"]
        {
            assert_eq!(params.get(name), None, "{name}");
        }
        assert_eq!(made("/", "http", &[]).get("HTTPS"), None);
    }

    #[test]
    fn long_values_have_long_lengths() {
        let mut params = Params { all: BTreeMap::new() };
        params.put("A", &[b'x'; 128]);
        params.length(7);
        let wanted = [&[1, 0x80, 0, 0, 128, b'A'][..], &[b'x'; 128], &[14, 1], b"CONTENT_LENGTH7"].concat();
        assert_eq!(params.encoded(), wanted);
    }
}
