//! Requests that nobody means well with: each is refused with a problem, none harms the server.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use super::{
    api::{Api, Wish},
    check_stores, whole_site,
};
use crate::support::{Answer, Host, http};

fn start() -> (Host, Api, String) {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let api = Api::new(&host, &key);
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    (host, api, key)
}

/// A refusal as the API says it: a status, and a problem that names a code and the request.
fn problem(what: &str, answer: &Answer, statuses: &[u16]) -> Value {
    assert!(statuses.contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}: {}", answer.text());
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status, "{what}: {problem}");
    assert!(
        problem["code"].is_string() && problem["request_id"].as_str().is_some_and(|it| !it.is_empty()),
        "{what}: {problem}"
    );
    problem
}

#[test]
fn wrong_methods_are_refused_and_the_right_ones_named() {
    let (mut host, api, _) = start();
    let document = api.must("GET /api/openapi.json", &Value::Null, 200);
    for (path, methods) in document["paths"].as_object().unwrap() {
        let at = ["{name}", "{deployment}", "{hostname}", "{id}", "{section}", "{user}", "{link}"]
            .iter()
            .fold(path.clone(), |at, it| at.replace(it, "x"));
        let known: Vec<String> = methods.as_object().unwrap().keys().map(|it| it.to_uppercase()).collect();
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"] {
            if known.iter().any(|it| it == method) {
                continue;
            }
            let what = format!("{method} {at}");
            let answer = api.call(&what, b"");
            problem(&what, &answer, &[405]);
            let allowed = answer.header("allow").unwrap_or_default();
            assert!(known.iter().all(|it| allowed.contains(&**it)), "{what} allows {allowed:?}, not {known:?}");
        }
    }
    check_stores(&mut host);
}

#[test]
fn huge_bodies_are_refused() {
    let (mut host, api, key) = start();
    let spaces = |length: usize| vec![b' '; length];
    for call in
        ["POST /api/v1/sites", "PATCH /api/v1/sites/hello", "POST /api/v1/gc", "POST /api/v1/sites/hello/rollback"]
    {
        problem(call, &api.call(call, &spaces(1024 * 1024 + 1)), &[413]);
    }
    let call = "POST /api/v1/sites/hello/deployments";
    problem(call, &api.call(call, &spaces(24 * 1024 * 1024 + 1)), &[413]);
    // A length that nobody can send, and then nothing: the connection is the client's to waste, not the server's memory.
    let mut stream = TcpStream::connect(("127.0.0.1", host.port)).unwrap();
    let head = format!(
        "PUT /api/v1/sites/hello/deployments HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {key}\r\n\
         Content-Length: 99999999999999\r\n\r\nPK",
        host.port
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(whole_site(host.port, "hello"), 1);
    check_stores(&mut host);
}

#[test]
fn bytes_that_are_no_text_and_json_that_is_none_are_refused() {
    let (mut host, api, _) = start();
    for path in [
        "sites/%FF",
        "sites/%00",
        "sites/..%2f..%2fetc",
        "sites/hello/deployments/%C3%28",
        "sites/%f0%28%8c%28",
        "jobs/%FF",
        "sites/hello/deployments/99999999999999999999",
        "sites/hello/deployments/-1",
        "sites/HELLO%20",
    ] {
        problem(path, &api.call(&format!("GET /api/v1/{path}"), b""), &[400, 404]);
    }
    for query in ["limit=-1", "limit=%FF", "limit=1&limit=2", "after=%00", "queue=%FF&limit=1"] {
        let answer = api.call(&format!("GET /api/v1/jobs?{query}"), b"");
        problem(query, &answer, &[400]);
    }
    let deep = [b"[".repeat(200_000), b"]".repeat(200_000)].concat();
    let bodies: [&[u8]; 9] = [
        b"\xff\xfe",
        b"{\"name\":\"\xff\"}",
        b"{\"name\":\"\\ud800\"}",
        b"{\"name\":\"a\",\"name\":\"b\"}",
        b"{\"name\":null}",
        b"[]",
        b"\0",
        b"{\"name\":\"a\"} {}",
        &deep,
    ];
    for body in bodies {
        problem(&String::from_utf8_lossy(&body[..body.len().min(40)]), &api.call("POST /api/v1/sites", body), &[400]);
    }
    let hash = "0".repeat(64);
    for files in [
        json!([["/a", -1, hash]]),
        json!([["/a", 1.5, hash]]),
        json!([["/a", u64::MAX, hash], ["/b", u64::MAX, hash]]),
        json!([["/a", 1, hash], ["/a", 1, hash]]),
        json!([["/a\u{0}", 1, hash]]),
        json!([["/a", 1]]),
        json!([["/", 1, hash]]),
        json!([["//", 1, hash]]),
        json!([["/a/../b", 1, hash]]),
        json!([["/.well-known/chainhost/x", 1, hash]]),
        json!("files"),
    ] {
        let body = json!({ "files": files }).to_string();
        let answer = api.call("POST /api/v1/sites/hello/deployments", body.as_bytes());
        problem(&body, &answer, &[400, 409, 413]);
    }
    // A file that is also a folder shows when the manifest is made.
    let clash = [(String::from("a"), b"1".to_vec()), (String::from("a/b"), b"2".to_vec())];
    let refused = api.deploy("hello", &clash, &Wish::default()).unwrap_err();
    problem("a file and a folder", &refused, &[400]);
    // Whatever it is called, the body is read as what the call takes.
    for media_type in
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "\u{e9}", ";"]
    {
        let call = format!("POST /api/v1/sites HTTP/1.1\r\nContent-Type: {media_type}\r\nX-Rest:");
        let answer = api.call(&call, b"name=x");
        problem(media_type, &answer, &[400, 415]);
        let call = format!("PUT /api/v1/sites/hello/deployments HTTP/1.1\r\nContent-Type: {media_type}\r\nX-Rest:");
        problem(media_type, &api.call(&call, b"no archive"), &[400, 415]);
    }
    assert_eq!(whole_site(host.port, "hello"), 1);
    check_stores(&mut host);
}

#[test]
fn only_a_whole_key_in_its_header_lets_in() {
    let (mut host, _, key) = start();
    let ask = |more: &str| {
        http::ask(host.port, &format!("GET /api/v1/sites HTTP/1.1\r\nHost: localhost:{}\r\n{more}", host.port), b"")
    };
    let half = &key[..key.len() / 2];
    for wrong in [
        String::new(),
        String::from("Authorization: Bearer\r\n"),
        String::from("Authorization: Bearer \r\n"),
        format!("Authorization: Basic {key}\r\n"),
        format!("Authorization: {key}\r\n"),
        format!("Authorization: Bearer {half}\r\n"),
        format!("Authorization: Bearer {key}x\r\n"),
        format!("Authorization: Bearer {key} {key}\r\n"),
        format!("Authorization: Bearer {}\r\n", key.to_uppercase()),
        format!("Authorization: Bearer {}\r\n", "x".repeat(8_000)),
        String::from("Authorization: Bearer \u{e9}\u{e9}\r\n"),
        format!("Cookie: chainhost={key}\r\n"),
        format!("X-Api-Key: {key}\r\n"),
    ] {
        let answer = ask(&wrong);
        problem(&wrong, &answer, &[401]);
        assert!(answer.header("www-authenticate").is_some_and(|it| it.starts_with("Bearer")));
    }
    let in_query = http::ask(host.port, &format!("GET /api/v1/sites?key={key} HTTP/1.1\r\nHost: localhost\r\n"), b"");
    problem("in the query", &in_query, &[401]);
    // A key is no cookie: where the page is that sends it does not matter, and no page is let in without it.
    let foreign = "Origin: https://evil.example\r\nSec-Fetch-Site: cross-site\r\n";
    assert_eq!(ask(&format!("{foreign}Authorization: Bearer {key}\r\n")).status, 200);
    let preflight = http::ask(
        host.port,
        &format!(
            "OPTIONS /api/v1/sites HTTP/1.1\r\nHost: localhost:{}\r\n{foreign}Access-Control-Request-Method: POST\r\n",
            host.port
        ),
        b"",
    );
    assert!(preflight.header("access-control-allow-origin").is_none());
    // A site's host has no API, and the key is worth nothing there.
    let on_site = http::ask(
        host.port,
        &format!(
            "GET /api/v1/sites HTTP/1.1\r\nHost: hello.localhost:{}\r\nAuthorization: Bearer {key}\r\n",
            host.port
        ),
        b"",
    );
    assert_eq!(on_site.status, 404);
    check_stores(&mut host);
}
