//! Connections and their limits: slow, silent, idle and too many clients, and how a shutdown ends.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chainhost::{
    base::tasks::Tasks,
    http::{
        peer::Peer,
        respond::{self, Response},
    },
    net::{
        Arriving,
        connection::{Elsewhere, Limits, Server},
        listen,
    },
};
use hyper::{Request, StatusCode, header::HeaderValue};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Notify, mpsc},
    time::timeout,
};

/// Long enough for a slow machine; only a hang takes it.
const PATIENCE: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(200);
/// Within which a server has read what was sent before.
const APART: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_hours(1);

fn limits() -> Limits {
    Limits { head: LONG, idle: LONG, grace: LONG, ..Limits::default() }
}

/// A server; its tasks must be stopped at the end.
fn start<H, A>(limits: Limits, handler: H) -> (SocketAddr, Tasks)
where
    H: Fn(Request<Arriving>, Peer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    start_as(limits, handler, |it| it)
}

/// A server of some kind.
fn start_as<H, A>(limits: Limits, handler: H, kind: impl FnOnce(Server) -> Server) -> (SocketAddr, Tasks)
where
    H: Fn(Request<Arriving>, Peer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let tasks = Tasks::new();
    let listener = listen::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let server = kind(Server::new(tasks.clone(), limits));
    tasks.spawn(async move { server.run(listener, handler).await });
    (address, tasks)
}

async fn hello(_: Request<Arriving>, peer: Peer) -> Response {
    respond::text(StatusCode::OK, format!("{} {}", peer.address.ip(), peer.address.ip().is_loopback()))
}

async fn connect(address: SocketAddr, text: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    stream
}

/// All that comes until the server closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    drop(timeout(PATIENCE, stream.read_to_string(&mut text)).await.expect("the connection stays open"));
    text
}

async fn end(tasks: &Tasks) {
    tasks.stop();
    timeout(PATIENCE, tasks.join()).await.expect("a task stays");
    assert_eq!(tasks.running(), 0);
}

const ASK: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

#[tokio::test]
async fn a_client_without_a_whole_head_is_let_go() {
    let (address, tasks) = start(Limits { head: SHORT, ..limits() }, hello);
    for begun in ["", "G", "GET / HTTP/1.1\r\nhost: ", "PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = connect(address, begun).await;
        let answer = rest(&mut stream).await;
        assert!(!answer.contains("200 OK"), "{begun}");
    }
    // Also the second head of a connection; and bytes that trickle in win no time.
    let mut stream = connect(address, &format!("{ASK}GET /")).await;
    let trickle = async {
        while stream.write_all(b"x").await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
    };
    timeout(PATIENCE, trickle).await.expect("the connection stays open");
    end(&tasks).await;
}

#[tokio::test]
async fn an_idle_connection_is_let_go() {
    let (address, tasks) = start(Limits { idle: SHORT, ..limits() }, hello);
    let mut stream = connect(address, ASK).await;
    assert!(rest(&mut stream).await.ends_with("127.0.0.1 true"));
    end(&tasks).await;
}

#[tokio::test]
async fn more_connections_than_seats_wait_for_one() {
    let (address, tasks) = start(Limits { connections: 1, ..limits() }, hello);
    let mut first = connect(address, ASK).await;
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    let mut second = connect(address, "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let early = timeout(SHORT, second.read_exact(&mut answer)).await;
    assert!(early.is_err(), "the second was answered");
    drop(first);
    assert!(rest(&mut second).await.starts_with("HTTP/1.1 200"));
    end(&tasks).await;
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_refused() {
    let (address, tasks) = start(Limits { head_bytes: 8 * 1024, ..limits() }, hello);
    let mut stream = connect(address, &format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(9 * 1024))).await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 431"));
    end(&tasks).await;
}

#[tokio::test]
async fn a_shutdown_lets_requests_end_and_closes_idle_connections() {
    let go = Arc::new(Notify::new());
    let (begun, mut begins) = mpsc::channel(4);
    let handler = {
        let go = Arc::clone(&go);
        move |_: Request<Arriving>, _: Peer| {
            let (go, begun) = (Arc::clone(&go), begun.clone());
            async move {
                begun.send(()).await.unwrap();
                go.notified().await;
                respond::text(StatusCode::OK, "x".repeat(1_000_000))
            }
        }
    };
    let (address, tasks) = start(limits(), handler);
    let mut silent = connect(address, "").await;
    let mut busy = connect(address, ASK).await;
    begins.recv().await.unwrap();
    tasks.stop();
    assert_eq!(rest(&mut silent).await, "");
    go.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(&"x".repeat(1_000_000)));
    assert!(TcpStream::connect(address).await.is_err());
    end(&tasks).await;
}

#[tokio::test]
async fn a_shutdown_waits_no_longer_than_the_grace_time() {
    let (begun, mut begins) = mpsc::channel(4);
    let handler = move |_: Request<Arriving>, _: Peer| {
        let begun = begun.clone();
        async move {
            begun.send(()).await.unwrap();
            std::future::pending().await
        }
    };
    let (address, tasks) = start(Limits { grace: SHORT, ..limits() }, handler);
    let mut stream = connect(address, ASK).await;
    let client = Tasks::new();
    let mut two = crate::web::http_2(address, &client).await;
    let asked = two.send_request(crate::web::get("http://a/", &[]));
    let answer = async {
        let (asked, ()) = tokio::join!(asked, async {
            begins.recv().await.unwrap();
            begins.recv().await.unwrap();
            end(&tasks).await;
        });
        assert!(asked.is_err());
    };
    timeout(PATIENCE, answer).await.expect("a connection stays open");
    assert_eq!(rest(&mut stream).await, "");
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [length.split_at(1).1, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface, empty settings, and these frames.
async fn connect_2(address: SocketAddr, frames: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let preface = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat();
    stream.write_all(&preface).await.unwrap();
    drop(stream.write_all(frames).await);
    stream
}

/// The preface and empty settings up to a byte, and the rest with these frames once that has been read.
async fn connect_2_cut(address: SocketAddr, at: usize, frames: &[u8]) -> TcpStream {
    let all = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[]), frames].concat();
    let (first, rest) = all.split_at(at);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for part in [first, rest] {
        stream.write_all(part).await.unwrap();
        tokio::time::sleep(APART).await;
    }
    stream
}

/// Kind and payload of all frames until the server closes; the last may be cut off.
async fn frames(stream: &mut TcpStream) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = Vec::new();
    drop(timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection stays open"));
    let mut found = Vec::new();
    let mut rest = bytes.as_slice();
    while let Some((&[a, b, c, kind, _flags, _, _, _, _], after)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap();
        let (payload, after) = after.split_at(length.min(after.len()));
        found.push((kind, payload.to_vec()));
        rest = after;
    }
    found
}

/// `GET / http a` in the static table of HPACK.
const GET_2: &[u8] = &[0x82, 0x84, 0x86, 0x41, 1, b'a'];
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const GO_AWAY: u8 = 7;
const CALM: u32 = 0xb;

fn calmed(frames: &[(u8, Vec<u8>)]) -> bool {
    frames.iter().any(|(kind, payload)| *kind == GO_AWAY && payload.get(4..8) == Some(&CALM.to_be_bytes()))
}

#[tokio::test]
async fn a_preface_is_one_in_whatever_parts_it_comes() {
    let (address, tasks) = start(Limits { idle: SHORT, ..limits() }, hello);
    let ask = frame(1, 0b101, 1, GET_2);
    let is_answered = |frames: &[(u8, Vec<u8>)]| {
        frames.iter().any(|(kind, payload)| *kind == HEADERS && payload.first() == Some(&0x88))
            && frames.iter().any(|(kind, payload)| *kind == DATA && payload == b"127.0.0.1 true")
    };
    for cut in [1, 2, 3, 4, 5, 18, 23, 24] {
        let mut stream = connect_2_cut(address, cut, &ask).await;
        let answer = frames(&mut stream).await;
        assert!(is_answered(&answer), "cut at {cut}: {answer:?}");
    }
    // Byte by byte.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[]), &ask].concat() {
        stream.write_all(&[byte]).await.unwrap();
        tokio::time::sleep(APART / 10).await;
    }
    let answer = frames(&mut stream).await;
    assert!(is_answered(&answer), "{answer:?}");
    // What ends as another is no HTTP/2, and no request.
    for at in [1, 3, 4, 17, 18, 19] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for part in [&b"PRI * HTTP/2.0\r\n\r\n"[..at.min(18)], &b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n"[at.min(18)..]] {
            drop(stream.write_all(part).await);
            tokio::time::sleep(APART).await;
        }
        drop(stream.write_all(&[&frame(4, 0, 0, &[])[..], &ask].concat()).await);
        let mut bytes = Vec::new();
        drop(timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the connection stays open"));
        let told = String::from_utf8_lossy(&bytes);
        assert!(!told.contains("127.0.0.1 true") && !told.contains(" 200 "), "cut at {at}: {told}");
    }
    end(&tasks).await;
}

#[tokio::test]
async fn frames_win_no_time_for_a_first_request_and_are_no_heads_behind_it() {
    let head = Duration::from_secs(1);
    let (address, tasks) = start(Limits { head, ..limits() }, hello);
    let ping = frame(6, 0, 0, b"are you?");
    for cut in [1, 4] {
        // Each ping is answered, and asks for nothing.
        let mut stream = connect_2_cut(address, cut, &ping).await;
        let pinging = async {
            while stream.write_all(&ping).await.is_ok() {
                tokio::time::sleep(head / 10).await;
            }
        };
        timeout(PATIENCE, pinging).await.unwrap_or_else(|_| panic!("cut at {cut}: the connection stays open"));
        let mut stream = connect_2_cut(address, cut, &frame(1, 0b101, 1, GET_2)).await;
        stream.write_all(&ping).await.unwrap();
        tokio::time::sleep(head + SHORT).await;
        stream.write_all(&frame(1, 0b101, 3, GET_2)).await.unwrap();
        // An error of the client's, behind which the server closes: what was asked before it is answered.
        tokio::time::sleep(SHORT).await;
        drop(stream.write_all(&frame(6, 0, 1, b"are you?")).await);
        let came = frames(&mut stream).await;
        let answers = came.iter().filter(|(kind, payload)| *kind == DATA && payload == b"127.0.0.1 true").count();
        assert_eq!(answers, 2, "cut at {cut}: {came:?}");
    }
    end(&tasks).await;
}

#[tokio::test]
async fn pings_keep_no_connection_that_is_idle_and_an_answer_that_is_taken_slowly_does() {
    let idle = Duration::from_secs(3);
    let much = |_: Request<Arriving>, _: Peer| async { respond::text(StatusCode::OK, "x".repeat(400_000)) };
    let (address, tasks) = start(Limits { idle, ..limits() }, much);
    let (ping, get) = (frame(6, 0, 0, b"are you?"), frame(1, 0b101, 1, GET_2));
    // No room is made for more of the answer than the first 65,535 bytes.
    let mut stream = connect_2(address, &get).await;
    let pinging = async {
        while stream.write_all(&ping).await.is_ok() {
            tokio::time::sleep(idle / 10).await;
        }
    };
    timeout(PATIENCE, pinging).await.expect("the connection stays open");
    let mut stream = connect_2(address, &get).await;
    let begun = tokio::time::Instant::now();
    let (mut came, mut room) = (0, vec![0; 65_536]);
    while came < 400_000 {
        let part = timeout(PATIENCE, stream.read(&mut room)).await.expect("more comes").unwrap();
        assert!(part > 0, "the connection ends after {came} bytes in {:?}", begun.elapsed());
        came += part;
        if came >= 65_535 {
            tokio::time::sleep(idle / 5).await;
            let more = 40_000_u32.to_be_bytes();
            stream.write_all(&[frame(8, 0, 0, &more), frame(8, 0, 1, &more)].concat()).await.unwrap();
        }
    }
    assert!(begun.elapsed() > idle, "it was no slow client");
    end(&tasks).await;
}

#[tokio::test]
async fn floods_of_resets_and_headers_end_the_connection() {
    let (address, tasks) = start(limits(), |_: Request<Arriving>, _: Peer| std::future::pending::<Response>());
    // Streams that are opened and reset at once (CVE-2023-44487).
    let mut flood = Vec::new();
    for stream in (1..4_000).step_by(2) {
        flood.extend(frame(1, 0b101, stream, GET_2));
        flood.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    let mut stream = connect_2(address, &flood).await;
    assert!(calmed(&frames(&mut stream).await), "resets");
    // Headers that never end (CVE-2024-27316).
    let mut flood = frame(1, 1, 1, GET_2);
    for _ in 0..2_000 {
        flood.extend(frame(9, 0, 1, &[0x40, 1, b'b', 1, b'c'].repeat(100)));
    }
    let mut stream = connect_2(address, &flood).await;
    frames(&mut stream).await;
    // Window updates of nothing, to be reset by the server (CVE-2025-8671).
    let mut flood = Vec::new();
    for stream in (1..4_000).step_by(2) {
        flood.extend(frame(1, 0b101, stream, GET_2));
        flood.extend(frame(8, 0, stream, &[0; 4]));
    }
    let mut stream = connect_2(address, &flood).await;
    assert!(frames(&mut stream).await.iter().any(|(kind, _)| *kind == GO_AWAY), "resets by the server");
    end(&tasks).await;
}

#[tokio::test]
async fn one_connection_has_so_many_streams_and_no_more() {
    let (begun, mut begins) = mpsc::channel(1_000);
    let handler = move |_: Request<Arriving>, _: Peer| {
        let begun = begun.clone();
        async move {
            begun.send(()).await.unwrap();
            std::future::pending().await
        }
    };
    let (address, tasks) = start(Limits { streams: 10, grace: SHORT, ..limits() }, handler);
    let requests: Vec<u8> = (1..40).step_by(2).flat_map(|stream| frame(1, 0b101, stream, GET_2)).collect();
    let mut stream = connect_2(address, &requests).await;
    for _ in 0..10 {
        begins.recv().await.unwrap();
    }
    tasks.stop();
    let answer = frames(&mut stream).await;
    // The limit is told first; what is beyond it is refused, stream by stream (RFC 9113 §5.1.2).
    let (kind, settings) = answer.first().unwrap();
    assert!(*kind == 4 && settings.chunks(6).any(|it| *it == [0, 3, 0, 0, 0, 10]), "{settings:?}");
    let refused = answer.iter().filter(|(kind, payload)| *kind == 3 && *payload == 7_u32.to_be_bytes()).count();
    assert_eq!((refused, begins.try_recv().is_err()), (10, true));
    end(&tasks).await;
}

#[tokio::test]
async fn who_comes_after_the_end_is_not_let_through_and_who_came_before_is_there() {
    let listener = listen::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let connect = || std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300));
    let before = connect().unwrap();
    listen::turn_away(&listener).unwrap();
    assert_eq!(connect().unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    let (mut taken, peer) = listener.accept().await.unwrap();
    assert_eq!(peer, before.local_addr().unwrap());
    // The filter is inherited, and lets the rest of the connection be.
    std::io::Write::write_all(&mut &before, b"hello").unwrap();
    drop(before);
    let mut read = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut taken, &mut read).await.unwrap();
    assert_eq!(read, b"hello");
}

/// A server to which only this proxy connects; it answers with what it knows of who asks.
fn start_behind(proxy: &str, limits: Limits) -> (SocketAddr, Tasks) {
    let proxies = [proxy.parse().unwrap()];
    let tell = async |_: Request<Arriving>, peer: Peer| {
        let tls = peer.told.map(|it| it.tls);
        respond::text(StatusCode::OK, format!("{} {tls:?}", peer.address))
    };
    start_as(limits, tell, |it| it.with_proxies(&proxies).for_proxies())
}

/// A header of version 2 for 198.51.100.7:51000, who used TLS.
fn header() -> Vec<u8> {
    let addresses = [198, 51, 100, 7, 192, 0, 2, 1, 0xc7, 0x38, 1, 0xbb];
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14".as_slice(), &addresses, b"\x20\0\x05\x01\0\0\0\0"].concat()
}

#[tokio::test]
async fn a_proxy_says_for_whom_it_has_connected() {
    let (address, tasks) = start_behind("127.0.0.1", limits());
    for (said, known) in [
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 51000 443\r\n".to_vec(), "198.51.100.7:51000 Some(None)"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 51000 443\r\n".to_vec(), "[2001:db8::7]:51000 Some(None)"),
        (header(), "198.51.100.7:51000 Some(Some(true))"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1:"),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let two = [said.as_slice(), ASK.as_bytes(), b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"].concat();
        stream.write_all(&two).await.unwrap();
        let answers = rest(&mut stream).await;
        assert_eq!(answers.matches(known).count(), 2, "{answers}");
    }
    end(&tasks).await;
}

#[tokio::test]
async fn a_proxy_may_pass_on_http_2() {
    let (address, tasks) = start_behind("127.0.0.1", Limits { idle: SHORT, ..limits() });
    let two = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[]), &frame(1, 0b101, 1, GET_2)].concat();
    for said in [b"PROXY TCP4 198.51.100.7 192.0.2.1 51000 443\r\n".to_vec(), header()] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&[said, two.clone()].concat()).await.unwrap();
        let came = frames(&mut stream).await;
        let told = came.iter().find(|it| it.0 == DATA).map(|it| String::from_utf8_lossy(&it.1).into_owned());
        assert!(told.as_ref().is_some_and(|it| it.starts_with("198.51.100.7:51000")), "{came:?}");
    }
    end(&tasks).await;
}

#[tokio::test]
async fn a_port_for_proxies_answers_nobody_else() {
    let (address, tasks) = start_behind("127.0.0.1", limits());
    for bytes in [ASK, "PROXY TCP4 localhost 192.0.2.1 51000 443\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n"] {
        assert_eq!(rest(&mut connect(address, bytes).await).await, "", "{bytes}");
    }
    end(&tasks).await;
    let (address, tasks) = start_behind("192.0.2.1", limits());
    let bytes = format!("PROXY UNKNOWN\r\n{ASK}");
    assert_eq!(rest(&mut connect(address, &bytes).await).await, "", "it is no proxy");
    end(&tasks).await;
    let (address, tasks) = start_behind("127.0.0.1", Limits { head: SHORT, ..limits() });
    for begun in ["", "PROXY TCP4", "PROXY UNKNOWN\r\n"] {
        assert_eq!(rest(&mut connect(address, begun).await).await, "", "{begun}");
    }
    end(&tasks).await;
}

#[tokio::test]
async fn behind_a_proxy_each_client_has_its_share() {
    let (address, tasks) = start_behind("127.0.0.1", Limits { connections_each: 1, ..limits() });
    let ask = |client: &str| format!("PROXY TCP4 {client} 192.0.2.1 51000 443\r\n{ASK}");
    let mut first = connect(address, &ask("198.51.100.7")).await;
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(rest(&mut connect(address, &ask("198.51.100.7")).await).await, "", "its second");
    let mut other = connect(address, &ask("198.51.100.8")).await;
    other.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop((first, other));
    end(&tasks).await;
}

#[tokio::test]
async fn clients_are_told_of_another_way_and_when_it_has_ended() {
    let has_ended = Arc::<AtomicBool>::default();
    let elsewhere = Elsewhere::new(HeaderValue::from_static("h3=\":443\""), Arc::clone(&has_ended));
    let (address, tasks) = start_as(limits(), hello, |it| it.with_elsewhere(Some(elsewhere)));
    let ask = async || rest(&mut connect(address, &ASK.replacen("a\r\n", "a\r\nconnection: close\r\n", 1)).await).await;
    let told = ask().await;
    assert!(told.contains("alt-svc: h3=\":443\"\r\n"), "{told}");
    has_ended.store(true, Ordering::Relaxed);
    let told = ask().await;
    assert!(told.contains("alt-svc: clear\r\n"), "{told}");
    end(&tasks).await;
}
