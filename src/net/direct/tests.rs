//! What a client gets of direct answers, and what is left to hyper.

use std::{
    future,
    sync::{Arc, Mutex},
};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{
    super::{
        activity::Activity,
        framing::Framing,
        stream::{SendFile, Stream},
    },
    *,
};
use crate::http::{
    respond::{self, Body},
    stored::{FILE_BYTES_MIN, Stored},
    watched::Watch,
};

/// A stream in memory, to which no file is sent.
impl SendFile for DuplexStream {
    fn sends_files(&self) -> bool {
        false
    }

    fn poll_write_more(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(context, bytes)
    }

    fn poll_send_file(&mut self, _: &mut Context<'_>, _: &Part, _: usize) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

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
    "GET / HTTP/1.1\r\nconnection: close, x\r\n\r\n",
    "GET / HTTP/1.0\r\nconnection: close\r\n\r\n",
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

#[tokio::test]
async fn who_wants_to_close_has_one_answer_and_nothing_behind_it() {
    for fields in [
        "Connection: Close",
        "connection: close\r\nconnection: keep-alive",
        "connection: keep-alive\r\nconnection: close",
    ] {
        let (last, more) = (format!("GET /a HTTP/1.1\r\n{fields}\r\n\r\n"), "GET /b HTTP/1.1\r\n\r\n");
        let said = format!("GET /a {}", fields.lines().count());
        let closes = ok(&said).replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        for (sent, wanted) in [
            (last.clone(), closes.clone()),
            ([&last, more].concat(), closes.clone()),
            ([more, &last, more].concat(), [ok("GET /b 0"), closes.clone()].concat()),
        ] {
            let seen = talk(&[sent.as_bytes()], 4_096, echo).await;
            assert_eq!(seen, Seen { sent: wanted, left: None }, "{sent:?}");
        }
        let left = Some((last.clone(), "begun"));
        assert_eq!(talk(&[last.as_bytes()], 4_096, never).await, Seen { sent: String::new(), left }, "hyper closes it");
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

/// Bytes in a file, and the body that has them.
fn stored(bytes: usize) -> Stored {
    let bytes: Vec<u8> = (0..=250).cycle().take(bytes).collect();
    let file = tempfile::tempfile().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    Stored::of(bytes.into(), Arc::new(file))
}

/// What somebody was told of the bytes that left, and whether that has ended.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<(u64, bool)>>);

struct Listening(Told);

impl Watch for Listening {
    fn sent(&mut self, bytes: u64) {
        self.0.0.lock().unwrap().0 += bytes;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().1 = true;
    }
}

/// Answers one request by a socket with `stored`: what came behind the head, and what was told.
async fn by_socket(stored: &Stored, take: usize) -> (Vec<u8>, (u64, bool)) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (told, bytes) = (Told::default(), stored.len());
    let answer = |_| {
        let body = Body::stored(stored.clone()).watched(Listening(told.clone()));
        Box::pin(future::ready(Response::new(body)))
    };
    let stream = Watched::new(Stream::Clear(server), Arc::new(Activity::new()), Some(Framing::new()));
    let mut direct = Direct::new(stream, answer);
    let mut got = Vec::new();
    let listen = async {
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        (&mut client).take(u64::try_from(take).unwrap()).read_to_end(&mut got).await.unwrap();
        drop(client);
    };
    let serve = async {
        Pin::new(&mut direct).await;
        // Closes the socket, as whoever serves does.
        assert!(direct.rest().is_none());
    };
    let both = async { tokio::join!(listen, serve) };
    tokio::time::timeout(Duration::from_mins(1), both).await.expect("nobody waits for the other");
    let end = got.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(got[..end].to_vec()).unwrap();
    assert!(head.contains(&format!("content-length: {bytes}")), "{head}");
    let told = *told.0.lock().unwrap();
    (got.split_off(end + 4), told)
}

#[tokio::test]
async fn bytes_of_a_file_are_sent_whole_and_told_of() {
    let most = 5_000_000;
    let all = stored(most);
    for range in [0..most, 7..most - 9, 4_096..4_096 + FILE_BYTES_MIN, 1_000..1_005] {
        let (wanted, length) = (all.bytes().slice(range.clone()), u64::try_from(range.len()).unwrap());
        let part = all.slice(range);
        // The client goes away behind the last byte: the head is as long as it is.
        let (got, told) = by_socket(&part, wanted.len() + head_of(wanted.len())).await;
        assert!(got == wanted, "{} of {}", got.len(), wanted.len());
        assert_eq!(told, (length, true));
    }
}

#[tokio::test]
async fn who_goes_away_is_counted_as_far_as_the_system_has_taken_it() {
    let (got, (told, is_over)) = by_socket(&stored(50_000_000), 1_000_000).await;
    assert!(got.len() < 1_000_000 && is_over);
    assert!((900_000..40_000_000).contains(&told), "{told}");
}

#[tokio::test]
async fn who_speaks_behind_the_last_request_has_its_answer_whole() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let (all, bytes) = (stored(20_000_000), 20_000_000);
    let stream = Watched::new(Stream::Clear(server), Arc::new(Activity::new()), Some(Framing::new()));
    let mut direct = Direct::new(stream, |_| Box::pin(future::ready(Response::new(Body::stored(all.clone())))));
    let listen = async {
        client.write_all(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut got = vec![client.read_u8().await.unwrap()];
        client.write_all(b"\r\nGET / HTTP/1.1\r\n\r\n").await.unwrap();
        client.read_to_end(&mut got).await.unwrap();
        got
    };
    let serve = async {
        Pin::new(&mut direct).await;
        // Closes the socket: with bytes unread, what has not left yet would be taken back.
        assert!(direct.rest().is_none());
    };
    let both = async { tokio::join!(listen, serve) };
    let (got, ()) = tokio::time::timeout(Duration::from_mins(1), both).await.expect("nobody waits for the other");
    assert_eq!(got.len(), bytes + head_of(bytes) + "connection: close\r\n".len());
}

#[tokio::test]
async fn a_file_that_cannot_be_sent_is_written_and_one_cut_short_ends_the_connection() {
    let bytes = Bytes::from(vec![7; 100_000]);
    let no_way = Stored::of(bytes.clone(), Arc::new(std::fs::File::open("/proc/self/status").unwrap()));
    let (got, told) = by_socket(&no_way, bytes.len() + head_of(bytes.len())).await;
    assert!(got == bytes, "{}", got.len());
    assert_eq!(told, (100_000, true));

    let cut = stored(100_000);
    cut.file().unwrap().set_len(60_000).unwrap();
    let (got, told) = by_socket(&cut, 1_000_000).await;
    assert!(got == cut.bytes()[..60_000], "nothing stands in for what is missing");
    assert_eq!(told, (60_000, true));
}

/// Bytes of the head in front of a body of `bytes`.
fn head_of(bytes: usize) -> usize {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\ndate: \r\n\r\n").len() + DATE_BYTES
}
