//! What a client gets of direct answers, and what is left to hyper.

use std::{future, sync::Arc};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{
    super::{activity::Activity, framing::Framing},
    *,
};
use crate::http::respond::{self, Body};

type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// What a client was sent, and what was left to hyper: the bytes, and what of the answer.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    sent: String,
    left: Option<(String, &'static str)>,
}

/// A client who sends these parts, each when the one before was read, and listens to the end.
async fn talk(parts: &[&[u8]], room: usize, answer: fn(Request<Arriving>) -> Answer) -> Seen {
    talk_until(parts, room, answer, false).await
}

/// The same, to a connection that is to close before it is looked at for the first time.
async fn talk_until(parts: &[&[u8]], room: usize, answer: fn(Request<Arriving>) -> Answer, is_closing: bool) -> Seen {
    let (mut client, server) = duplex(room);
    let stream = Watched::new(server, Arc::new(Activity::new()), Some(Framing::new()));
    let mut direct = Direct::new(stream, answer);
    if is_closing {
        client.write_all(parts.concat().as_slice()).await.unwrap();
        direct.close();
    }
    let parts = if is_closing { &[] } else { parts };
    let mut sent = Vec::new();
    let speak = async {
        for part in parts {
            speak_and_listen(&mut client, part, &mut sent).await;
        }
        if !is_closing {
            client.shutdown().await.unwrap();
        }
        client.read_to_end(&mut sent).await.unwrap();
    };
    let serve = async {
        Pin::new(&mut direct).await;
        let rest = direct.rest()?;
        let begun = match rest.begun {
            None => "nothing",
            Some(Begun::Answering(_)) => "begun",
            Some(Begun::Answered(_)) => "done",
        };
        let mut stream = rest.stream;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        Some((String::from_utf8(bytes).unwrap(), begun))
    };
    let ((), left) = tokio::join!(speak, serve);
    let sent = String::from_utf8(sent).unwrap();
    Seen { sent: without_date(&sent), left }
}

async fn speak_and_listen(client: &mut DuplexStream, part: &[u8], sent: &mut Vec<u8>) {
    let (mut reader, mut writer) = tokio::io::split(client);
    let mut written = 0;
    while written < part.len() {
        let mut room = [0; 512];
        tokio::select! {
            more = writer.write(&part[written..]) => written += more.unwrap(),
            read = reader.read(&mut room) => sent.extend_from_slice(&room[..read.unwrap()]),
        }
    }
    tokio::task::yield_now().await;
}

fn without_date(text: &str) -> String {
    let lines = text.split_inclusive("\r\n").filter(|it| !it.starts_with("date: "));
    lines.collect()
}

/// Says what was asked.
#[expect(clippy::needless_pass_by_value, reason = "as a handler is called")]
fn echo(request: Request<Arriving>) -> Answer {
    let said = format!("{} {} {}", request.method(), request.uri(), request.headers().len());
    let body = if request.method() == Method::HEAD { Body::empty() } else { Body::from(said) };
    let mut response = Response::new(body);
    response.headers_mut().insert("x-a", HeaderValue::from_static("b"));
    Box::pin(future::ready(response))
}

fn never(_: Request<Arriving>) -> Answer {
    Box::pin(future::pending())
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

const TAKEN: &[(&str, &str)] = &[
    ("GET /a?b=c HTTP/1.1\r\nhost: a\r\n\r\n", "GET /a?b=c 1"),
    ("\r\nGET / HTTP/1.1\r\n\r\n", "GET / 0"),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive\r\nUpgrade-Insecure-Requests: 1\r\ncookie:\r\n\r\n",
        "GET / 4",
    ),
    ("GET / HTTP/1.1\r\naccept: a\r\naccept: b\r\n\r\n", "GET / 2"),
];

const LEFT: &[&str] = &[
    "POST / HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.0\r\nhost: a\r\n\r\n",
    "GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n",
    "get / HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\na",
    "GET / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
    "GET / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: close\r\n\r\n",
    "GET / HTTP/1.1\r\nconnection: keep-alive, upgrade\r\nupgrade: websocket\r\n\r\n",
    "GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\n",
    "GET / HTTP/1.1\r\nexpect: 100-continue\r\n\r\n",
    "GET / HTTP/1.1\r\nte: trailers\r\n\r\n",
    "GET / HTTP/1.1\r\na b: c\r\n\r\n",
    "GET /\u{1} HTTP/1.1\r\n\r\n",
    "GET /a b HTTP/1.1\r\n\r\n",
];

#[tokio::test]
async fn what_is_plain_is_answered_and_all_else_is_left_as_it_came() {
    for (text, said) in TAKEN {
        let seen = talk(&[text.as_bytes()], 4_096, echo).await;
        assert_eq!(seen, Seen { sent: ok(said), left: None }, "{text:?}");
    }
    let plain = TAKEN[0].0;
    for text in LEFT {
        let left = Some((String::from(*text), "nothing"));
        assert_eq!(talk(&[text.as_bytes()], 4_096, echo).await, Seen { sent: String::new(), left }, "{text:?}");
        // Behind one that was answered too, in one write.
        let both = [plain, text].concat();
        let left = Some((String::from(*text), "nothing"));
        assert_eq!(talk(&[both.as_bytes()], 4_096, echo).await, Seen { sent: ok(TAKEN[0].1), left }, "{text:?}");
    }
    let long = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(HEAD_MAX));
    let seen = talk(&[long.as_bytes()], 64 * 1024, echo).await;
    assert_eq!(seen, Seen { sent: String::new(), left: Some((long, "nothing")) });
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
    let seen = talk(&[many.as_bytes()], 64 * 1024, echo).await;
    assert_eq!(seen, Seen { sent: String::new(), left: Some((many, "nothing")) });
}

#[tokio::test]
async fn requests_may_come_in_any_parts_and_behind_one_another() {
    let all: String = TAKEN.iter().map(|it| it.0).collect();
    let wanted: String = TAKEN.iter().map(|it| ok(it.1)).collect();
    let bytes: Vec<&[u8]> = all.as_bytes().chunks(1).collect();
    for parts in [vec![all.as_bytes()], all.as_bytes().chunks(7).collect(), bytes] {
        for room in [16, 64, 8_192] {
            let seen = talk(&parts, room, echo).await;
            assert_eq!(seen, Seen { sent: wanted.clone(), left: None }, "{} parts, {room}", parts.len());
        }
    }
    // What never becomes a request ends with the client.
    assert_eq!(talk(&[b"GET / HT"], 64, echo).await, Seen { sent: String::new(), left: None });
}

#[tokio::test]
async fn what_has_two_readings_is_left_with_the_byte_that_hyper_refuses() {
    let seen = talk(&[b"GET / HTTP/1.1\nhost: a\r\n\r\n"], 64, echo).await;
    assert_eq!(seen, Seen { sent: String::new(), left: Some((String::from("GET / HTTP/1.1\0"), "nothing")) });
}

#[tokio::test]
async fn an_answer_that_is_waited_for_is_left_with_its_request() {
    let text = [TAKEN[0].0, TAKEN[1].0].concat();
    let seen = talk(&[text.as_bytes()], 4_096, never).await;
    assert_eq!(seen, Seen { sent: String::new(), left: Some((text, "begun")) });
}

#[tokio::test]
async fn who_is_to_close_answers_what_has_come_and_says_so() {
    let (text, said) = TAKEN[0];
    let closes = ok(said).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
    for (sent, wanted) in [
        (String::new(), String::new()),
        (String::from("\r\n"), String::new()),
        (String::from(text), closes.clone()),
        (text.repeat(2), [ok(said), closes].concat()),
        (format!("{text}\r\n"), ok(said)),
    ] {
        let seen = talk_until(&[sent.as_bytes()], 4_096, echo, true).await;
        assert_eq!(seen, Seen { sent: wanted, left: None }, "{sent:?}");
    }
}

/// An answer for each target.
#[expect(clippy::needless_pass_by_value, reason = "as a handler is called")]
fn various(request: Request<Arriving>) -> Answer {
    let mut response = match request.uri().path() {
        "/none" => respond::empty(StatusCode::NO_CONTENT),
        "/same" | "/same-length" => respond::empty(StatusCode::NOT_MODIFIED),
        "/odd" => respond::empty(StatusCode::from_u16(299).unwrap()),
        "/stream" => Response::new(Body::boxed(http_body_util::Full::new(Bytes::from_static(b"abc")))),
        _ => respond::text(StatusCode::OK, "abc"),
    };
    let headers = response.headers_mut();
    headers.remove(hyper::header::CONTENT_TYPE);
    match request.uri().path() {
        "/length" | "/same-length" => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from_static("3"))),
        "/wrong" => drop(headers.insert(CONTENT_LENGTH, HeaderValue::from_static("4"))),
        "/twice" => {
            headers.append(CONTENT_LENGTH, HeaderValue::from_static("3"));
            headers.append(CONTENT_LENGTH, HeaderValue::from_static("3"));
        }
        "/close" => drop(headers.insert(CONNECTION, HeaderValue::from_static("close"))),
        _ => {}
    }
    if request.method() == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    Box::pin(future::ready(response))
}

#[tokio::test]
async fn an_answer_is_framed_as_its_status_and_method_want() {
    for (target, wanted) in [
        ("GET /", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"),
        ("GET /length", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc"),
        ("HEAD /length", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"),
        ("HEAD /wrong", "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"),
        ("HEAD /", "HTTP/1.1 200 OK\r\n\r\n"),
        ("GET /none", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET /same", "HTTP/1.1 304 Not Modified\r\n\r\n"),
    ] {
        let text = format!("{target} HTTP/1.1\r\n\r\n");
        let seen = talk(&[text.as_bytes()], 64, various).await;
        assert_eq!(seen, Seen { sent: String::from(wanted), left: None }, "{target}");
    }
    for target in ["/odd", "/same-length", "/stream", "/wrong", "/twice", "/close"] {
        let text = format!("GET {target} HTTP/1.1\r\n\r\n");
        let seen = talk(&[text.as_bytes()], 64, various).await;
        assert_eq!(seen, Seen { sent: String::new(), left: Some((text, "done")) }, "{target}");
    }
}

#[test]
fn the_date_is_that_of_now() {
    let text = String::from_utf8(now().to_vec()).unwrap();
    let told = httpdate::parse_http_date(&text).unwrap();
    let told = i64::try_from(told.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    assert!((0..5_000).contains(&(Clock::system().now_ms() - told)), "{text}");
    assert_eq!(now(), now());
}
