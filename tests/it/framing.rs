//! Requests whose framing two readers may understand differently, sent raw: what this server answers to each.

use std::{net::SocketAddr, time::Duration};

use chainhost::{domain::policy::Policy, net::connection::Limits, serve::snapshot::State};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};

use crate::web::Web;

/// Long enough for a slow machine; only a hang takes it.
const PATIENCE: Duration = Duration::from_secs(30);

struct Case {
    name: &'static str,
    request: String,
    /// The statuses of all answers until the connection ends; the last request asks for that.
    answers: &'static [u16],
}

/// Sends bytes and reads the statuses of all answers until the server closes.
async fn send(address: SocketAddr, bytes: &[u8]) -> Vec<u16> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may refuse before it has read everything.
    drop(stream.write_all(bytes).await);
    let mut read = Vec::new();
    // A reset after the answer is an end like another.
    drop(timeout(PATIENCE, stream.read_to_end(&mut read)).await.expect("the server neither answers nor closes"));
    let text = String::from_utf8_lossy(&read);
    let lines = text.match_indices("HTTP/1.").map(|(at, _)| &text[at..]);
    lines.filter_map(|line| line.split(' ').nth(1)?.get(..3)?.parse().ok()).collect()
}

fn fits(name: &'static str, request: impl Into<String>, answers: &'static [u16]) -> Case {
    Case { name, request: request.into(), answers }
}

/// A request line and the host, then these lines.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: site.test\r\n{lines}\r\n")
}

fn post(lines: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: site.test\r\n{lines}\r\n{body}")
}

/// What would be answered with 404 if a reader took it for a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: site.test\r\nconnection: close\r\n\r\n";

fn lengths() -> Vec<Case> {
    let both = "content-length: 4\r\ntransfer-encoding: chunked\r\n";
    vec![
        fits("content-length and transfer-encoding", post(both, "0\r\n\r\n"), &[400]),
        fits(
            "content-length and transfer-encoding, with more behind",
            post(both, &format!("0\r\n\r\n{SMUGGLED}")),
            &[400],
        ),
        fits(
            "transfer-encoding and content-length",
            post("transfer-encoding: chunked\r\ncontent-length: 4\r\n", &format!("0\r\n\r\n{SMUGGLED}")),
            &[400],
        ),
        fits("two content-lengths that differ", post("content-length: 4\r\ncontent-length: 5\r\n", "abcde"), &[400]),
        fits("two content-lengths that agree", post("content-length: 4\r\ncontent-length: 4\r\n", "abcd"), &[400]),
        fits("a list of content-lengths", post("content-length: 4, 4\r\n", "abcd"), &[400]),
        fits("a content-length with a sign", post("content-length: +4\r\n", "abcd"), &[400]),
        fits("a negative content-length", post("content-length: -1\r\n", ""), &[400]),
        fits("a content-length beyond 64 bits", post("content-length: 18446744073709551616\r\n", ""), &[400]),
        fits("a coding after chunked", post("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n"), &[400]),
        fits("a coding before chunked", post("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"), &[400]),
        fits(
            "chunked twice",
            post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n"),
            &[400],
        ),
        fits("an unknown coding", post("transfer-encoding: xchunked\r\n", "0\r\n\r\n"), &[400]),
        fits(
            "transfer-encoding in HTTP/1.0",
            "POST / HTTP/1.0\r\nhost: site.test\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            &[400],
        ),
    ]
}

fn chunks() -> Vec<Case> {
    let chunked = |body: &str| post("transfer-encoding: chunked\r\n", &format!("{body}{SMUGGLED}"));
    vec![
        fits("a chunk with a sign", chunked("+4\r\nabcd\r\n0\r\n\r\n"), &[405]),
        fits("a chunk size beyond 64 bits", chunked("10000000000000004\r\nabcd\r\n0\r\n\r\n"), &[405]),
        fits("a chunk without its line end", chunked("4\r\nabcdXX0\r\n\r\n"), &[405]),
        fits("a chunk size with a bare LF", chunked("4\nabcd\r\n0\r\n\r\n"), &[405]),
        fits("a chunk with a bare LF behind", chunked("4\r\nabcd\n0\r\n\r\n"), &[405]),
        fits(
            "a chunk with an extension, which a reader must pass over",
            chunked("4;a=b\r\nabcd\r\n0\r\n\r\n"),
            &[405, 404],
        ),
        fits("a blank behind a chunk size", chunked("4 \r\nabcd\r\n0\r\n\r\n"), &[405]),
        fits("a bare LF in a chunk's extension", chunked("4;a\nb\r\nabcd\r\n0\r\n\r\n"), &[405]),
        fits("a bare LF in the trailers", chunked("4\r\nabcd\r\n0\r\na: b\n\r\n"), &[405]),
        fits("trailers", chunked("4\r\nabcd\r\n0\r\na: b\r\n\r\n"), &[405, 404]),
    ]
}

fn lines() -> Vec<Case> {
    vec![
        fits("bare LF in all lines", "GET / HTTP/1.1\nhost: site.test\nconnection: close\n\n", &[400]),
        fits("bare LF in one header", get("a: b\nconnection: close\r\n"), &[400]),
        fits("a bare LF before the request", format!("\n{}", get("connection: close\r\n")), &[400]),
        fits("an empty line before the request", format!("\r\n{}", get("connection: close\r\n")), &[200]),
        fits("a bare LF in the second request", get("") + &get("a: b\nc: d\r\n"), &[200, 400]),
        fits("bare CR in a header", get("a: b\rc: d\r\n"), &[400]),
        fits("obs-fold", get("a: b\r\n c\r\n"), &[400]),
        fits("NUL in a header", get("a: b\0c\r\n"), &[400]),
        fits("NUL in the path", "GET /\0 HTTP/1.1\r\nhost: site.test\r\n\r\n", &[400]),
        fits("a blank before the colon", get("content-length : 4\r\n"), &[400]),
        fits("a blank before the name", "GET / HTTP/1.1\r\n host: site.test\r\n\r\n", &[400]),
        fits("a header without a colon", get("content-length\r\n"), &[400]),
        fits("no name", get(": 4\r\n"), &[400]),
        fits("a blank in the path", "GET /a b HTTP/1.1\r\nhost: site.test\r\n\r\n", &[400]),
        fits("HTTP/1.2", "GET / HTTP/1.2\r\nhost: site.test\r\n\r\n", &[400]),
        fits("HTTP/0.9", "GET /\r\n", &[400]),
        fits("no HTTP", "hello there, is this a server\r\n\r\n", &[400]),
        fits("a TLS hello", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}", &[400]),
        fits("a huge header", get(&format!("a: {}\r\n", "b".repeat(20_000))), &[431]),
        fits("a huge path", format!("GET /{} HTTP/1.1\r\nhost: site.test\r\n\r\n", "b".repeat(70_000)), &[431]),
        fits("many headers", get(&"a: b\r\n".repeat(200)), &[431]),
    ]
}

fn hosts() -> Vec<Case> {
    let close = "connection: close\r\n\r\n";
    vec![
        fits("no host", format!("GET / HTTP/1.1\r\n{close}"), &[400]),
        fits("two hosts", format!("GET / HTTP/1.1\r\nhost: site.test\r\nhost: other.test\r\n{close}"), &[400]),
        fits("the same host twice", format!("GET / HTTP/1.1\r\nhost: site.test\r\nhost: site.test\r\n{close}"), &[400]),
        fits("a list of hosts", format!("GET / HTTP/1.1\r\nhost: site.test, other.test\r\n{close}"), &[400]),
        fits("a host with a user", format!("GET / HTTP/1.1\r\nhost: me@site.test\r\n{close}"), &[400]),
        fits(
            "the absolute form goes first",
            format!("GET http://site.test/ HTTP/1.1\r\nhost: x.test\r\n{close}"),
            &[200],
        ),
        fits(
            "an absolute form of another host",
            format!("GET http://x.test/ HTTP/1.1\r\nhost: site.test\r\n{close}"),
            &[421],
        ),
        fits("the form for proxies", format!("CONNECT site.test:80 HTTP/1.1\r\nhost: site.test\r\n{close}"), &[405]),
        fits("the form for the whole server", format!("OPTIONS * HTTP/1.1\r\nhost: site.test\r\n{close}"), &[204]),
        fits("HTTP/1.0 with a host", "GET / HTTP/1.0\r\nhost: site.test\r\n\r\n", &[200]),
        fits("HTTP/1.0 without a host", "GET / HTTP/1.0\r\n\r\n", &[400]),
        fits("two requests at once", get("") + &get("connection: close\r\n"), &[200, 200]),
        fits("a body with GET", get("content-length: 4\r\n") + "abcd" + SMUGGLED, &[200, 404]),
    ]
}

#[tokio::test]
async fn what_has_two_readings_is_refused() {
    // A connection that is not closed by the answers is closed for being idle.
    let short = Duration::from_secs(4);
    let web = Web::with(Limits { head: short, idle: short, ..Limits::default() });
    let served = web.deploy(1, &[("/index.html", b"x")], Policy::default());
    web.publish(&[("site.test", State::Live(served))]);
    let cases: Vec<Case> = [lengths(), chunks(), lines(), hosts()].into_iter().flatten().collect();
    let mut wrong = Vec::new();
    let mut under_way = Vec::new();
    for case in &cases {
        let (sender, answers) = oneshot::channel();
        let (address, request) = (web.address, case.request.clone());
        web.tasks.spawn(async move { drop(sender.send(send(address, request.as_bytes()).await)) });
        under_way.push(answers);
    }
    for (case, answers) in cases.iter().zip(under_way) {
        let answers = answers.await.expect("the server neither answers nor closes");
        if answers != case.answers {
            wrong.push(format!("{}: {:?}, and in truth {answers:?}", case.name, case.answers));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
