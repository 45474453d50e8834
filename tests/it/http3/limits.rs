//! Limits of connections and streams, with a server that has small ones.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use chainhost::{
    base::{clock::Clock, tasks::Tasks},
    http::{
        peer::Peer,
        respond::{self, Body, Response},
    },
    net::{
        connection::{Limits, Server},
        http3::{self, Body as Upload},
        tls::{Certificate, Certificates, OwnKey, Table},
    },
};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{Request, StatusCode, body::Frame};
use quinn::{ConnectionError, ReadError, TransportConfig, TransportErrorCode, VarInt};
use tokio::{
    net::UdpSocket,
    time::{sleep, timeout},
};

use super::{
    PATIENCE,
    client::{Client, config, dial, endpoint, frame, pair, section},
};
use crate::support::authority::Authority;

/// A piece of a body.
static PIECE: [u8; 1 << 16] = [7; 1 << 16];

/// A server of its own, with a handler of the test's.
struct Small {
    authority: Authority,
    port: u16,
    tasks: Tasks,
}

impl Drop for Small {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Small {
    fn start<A>(limits: Limits, handler: impl Fn(Request<Upload>, Peer) -> A + Clone + Send + Sync + 'static) -> Self
    where
        A: Future<Output = Response> + Send + 'static,
    {
        let (authority, tasks) = (Authority::new(), Tasks::new());
        let certificates = Certificates::new(OwnKey::generate().unwrap(), "localhost", Clock::system());
        let (chain, key) = pair(&authority, "a.example");
        let mut table = Table::default();
        table.insert("a.example", Certificate::new(chain, key).unwrap(), true);
        certificates.replace(table);
        let server = http3::Server::beside(&Server::new(tasks.clone(), limits), &certificates).unwrap();
        let socket = http3::bind(SocketAddr::from(([127, 0, 0, 1], 0)), true).unwrap();
        let port = socket.local_addr().unwrap().port();
        tasks.spawn(async move { server.run(socket, handler).await.unwrap() });
        Self { authority, port, tasks }
    }

    async fn client(&self) -> Client {
        Client::connect(&self.authority, "a.example", self.port).await
    }
}

async fn hello(_: Request<Upload>, peer: Peer) -> Response {
    assert!(peer.ends_tls && peer.address.ip().is_loopback());
    respond::text(StatusCode::OK, "hello")
}

fn get(path: &str) -> Vec<u8> {
    frame(1, &section(&[(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", path)]))
}

fn is_closed_with(ended: &ConnectionError, code: u32) -> bool {
    matches!(ended, ConnectionError::ApplicationClosed(it) if it.error_code == VarInt::from_u32(code))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_no_more_connections_than_seats() {
    let it = Small::start(Limits { connections: 2, ..Limits::default() }, hello);
    let (first, second) = (it.client().await, it.client().await);
    let refused = dial(&it.authority, "a.example", it.port).await.unwrap_err();
    let is_refused = |it: &ConnectionError| matches!(it, ConnectionError::ConnectionClosed(it) if it.error_code == TransportErrorCode::CONNECTION_REFUSED);
    assert!(is_refused(&refused), "{refused}");
    first.connection.close(VarInt::from_u32(0), b"");
    let third = timeout(PATIENCE, async {
        loop {
            match Client::try_connect(&it.authority, "a.example", it.port).await {
                Ok(third) => return third,
                Err(error) => assert!(is_refused(&error), "{error}"),
            }
        }
    });
    assert_eq!(third.await.unwrap().get("/").await.body, b"hello");
    assert_eq!(second.get("/").await.body, b"hello");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_and_idle_connections_have_their_time() {
    let (head, idle) = (Duration::from_secs(2), Duration::from_secs(3));
    let it = Small::start(Limits { head, idle, ..Limits::default() }, hello);
    // Nothing is asked at all.
    let silent = dial(&it.authority, "a.example", it.port).await.unwrap();
    let ended = timeout(PATIENCE, silent.closed()).await.unwrap();
    assert!(is_closed_with(&ended, 0x100), "{ended}");
    // A head that comes byte by byte.
    let slow = it.client().await;
    assert_eq!(slow.get("/").await.body, b"hello");
    let (mut sender, mut receiver) = slow.connection.open_bi().await.unwrap();
    let dripping = async {
        for byte in get("/") {
            if sender.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody minds");
    };
    timeout(PATIENCE, dripping).await.unwrap();
    let reset = timeout(PATIENCE, receiver.read_to_end(1_000)).await.unwrap().unwrap_err();
    let wanted = ReadError::Reset(VarInt::from_u32(0x10d));
    assert!(matches!(&reset, quinn::ReadToEndError::Read(it) if *it == wanted), "{reset}");
    assert_eq!(slow.get("/").await.body, b"hello", "the connection goes on");
    // And then nothing more is asked, although the line is kept alive.
    let ended = timeout(PATIENCE, slow.connection.closed()).await.unwrap();
    assert!(is_closed_with(&ended, 0x100) || ended == ConnectionError::TimedOut, "{ended}");
}

/// Counts how many are there.
struct There(Arc<AtomicUsize>);

impl There {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(count))
    }
}

impl Drop for There {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn until(what: &str, done: impl Fn() -> bool) {
    let waiting = async {
        while !done() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_takes_back_is_dropped_wherever_it_is() {
    let there = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&there);
    let it = Small::start(Limits::default(), move |request, _| {
        let here = There::new(&count);
        async move {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            let some = Some(Bytes::from_static(b"some"));
            Response::new(Body::boxed(Endless { some, _here: here }))
        }
    });
    let connection = dial(&it.authority, "a.example", it.port).await.unwrap();
    let ask = async |path: &str| {
        let (mut sender, receiver) = connection.open_bi().await.unwrap();
        sender.write_all(&get(path)).await.unwrap();
        sender.finish().unwrap();
        until("the handler has begun", || there.load(Ordering::SeqCst) == 1).await;
        receiver
    };
    for path in ["/never", "/endless"] {
        let mut receiver = ask(path).await;
        if path == "/endless" {
            assert!(timeout(PATIENCE, receiver.read_chunk(9, true)).await.unwrap().unwrap().is_some());
        }
        receiver.stop(VarInt::from_u32(0x10c)).unwrap();
        until("the request is dropped", || there.load(Ordering::SeqCst) == 0).await;
    }
    // The same for a client that has gone without a word for the stream.
    let receiver = ask("/never").await;
    connection.close(VarInt::from_u32(0x100), b"");
    until("the request is dropped", || there.load(Ordering::SeqCst) == 0).await;
    drop(receiver);
}

/// A body whose second piece never comes.
struct Endless {
    some: Option<Bytes>,
    _here: There,
}

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        self.some.take().map_or(Poll::Pending, |it| Poll::Ready(Some(Ok(Frame::data(it)))))
    }
}

/// Neither side sends more than the other one takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_piles_up() {
    let made = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&made);
    let it = Small::start(Limits::default(), move |request: Request<Upload>, _| {
        let count = Arc::clone(&count);
        async move {
            if request.uri().path() == "/small" {
                return respond::text(StatusCode::OK, "small");
            }
            if request.method() == "PUT" {
                // Holds the body, and reads nothing of it.
                let _body = request.into_body();
                std::future::pending::<()>().await;
            }
            let pieces = std::iter::repeat_with(move || {
                count.fetch_add(PIECE.len(), Ordering::SeqCst);
                Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&PIECE)))
            });
            Response::new(Body::boxed(StreamBody::new(tokio_stream::iter(pieces))))
        }
    });
    let client = it.client().await;
    let request = client.request("GET", "/").body(()).unwrap();
    let mut download = client.requests.clone().send_request(request).await.unwrap();
    download.finish().await.unwrap();
    assert_eq!(download.recv_response().await.unwrap().status(), 200);
    let request = client.request("PUT", "/").body(()).unwrap();
    let mut upload = client.requests.clone().send_request(request).await.unwrap();
    let mut sent = 0;
    while let Ok(done) = timeout(Duration::from_secs(1), upload.send_data(Bytes::from_static(&PIECE))).await {
        done.unwrap();
        sent += PIECE.len();
        assert!(sent < 64 << 20, "a body that nobody reads is taken");
    }
    let made_now = made.load(Ordering::SeqCst);
    // What was on its way has arrived by now, and nothing more is made.
    sleep(Duration::from_millis(300)).await;
    assert_eq!(made.load(Ordering::SeqCst), made_now);
    assert!((1 << 16..8 << 20).contains(&made_now), "{made_now}");
    assert!((1 << 16..8 << 20).contains(&sent), "{sent}");
    // And who asks beside it is answered.
    assert_eq!(timeout(PATIENCE, client.get("/small")).await.unwrap().body, b"small");
}

/// Many handshakes that go nowhere: who comes then is asked to show that he is where he says, and is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_many_begin_shows_where_he_is() {
    let it = Small::start(Limits::default(), hello);
    let mute = relay(it.port, false).await;
    let seen = relay(it.port, true).await;
    let before = Client::try_connect(&it.authority, "a.example", seen.port).await.unwrap();
    assert_eq!((before.get("/").await.body, seen.retries.load(Ordering::SeqCst)), (b"hello".to_vec(), 0));
    let nowhere = endpoint();
    let to = SocketAddr::from(([127, 0, 0, 1], mute.port));
    let begun: Vec<_> =
        (0..100).map(|_| nowhere.connect_with(config(&it.authority), to, "a.example").unwrap()).collect();
    // What a client says first takes two packets.
    until("they have come", || mute.heard.load(Ordering::SeqCst) >= 200).await;
    let after = timeout(PATIENCE, Client::try_connect(&it.authority, "a.example", seen.port)).await.unwrap().unwrap();
    assert_eq!((after.get("/").await.body, seen.retries.load(Ordering::SeqCst)), (b"hello".to_vec(), 1));
    drop(begun);
}

/// A packet from elsewhere moves a connection, and anybody can write any address on one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_moves_keeps_the_address_that_was_shown() {
    let it =
        Small::start(
            Limits::default(),
            |_, peer| async move { respond::text(StatusCode::OK, peer.address.to_string()) },
        );
    let client = it.client().await;
    let first = client.endpoint.local_addr().unwrap();
    assert_eq!(client.get("/").await.body, first.to_string().into_bytes());
    client.endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    assert_ne!(client.endpoint.local_addr().unwrap(), first);
    for _ in 0..3 {
        let told = timeout(PATIENCE, client.get("/")).await.unwrap();
        assert_eq!(told.body, first.to_string().into_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_behind_a_frame_that_means_nothing_is_whole() {
    let it = Small::start(Limits::default(), |request: Request<Upload>, _| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        respond::text(StatusCode::OK, format!("[{}]", String::from_utf8_lossy(&body)))
    });
    let connection = dial(&it.authority, "a.example", it.port).await.unwrap();
    let (empty, full) = (frame(0x21, b""), frame(0x21, b"nothing"));
    for (what, between) in [("empty", empty.clone()), ("full", full.clone()), ("both", [full, empty].concat())] {
        let (mut sender, mut receiver) = connection.open_bi().await.unwrap();
        let all = [get("/"), between.clone(), frame(0, b"some"), between, frame(0, b" bytes")].concat();
        sender.write_all(&all).await.unwrap();
        sender.finish().unwrap();
        let answer = timeout(PATIENCE, receiver.read_to_end(1_000)).await.unwrap().unwrap();
        assert!(answer.ends_with(b"[some bytes]"), "{what}: {}", String::from_utf8_lossy(&answer));
    }
}

/// Those who are here have shown where they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_connections_are_no_handshakes() {
    let it = Small::start(Limits::default(), hello);
    let seen = relay(it.port, true).await;
    let mut here = Vec::new();
    for _ in 0..70 {
        here.push(dial(&it.authority, "a.example", it.port).await.unwrap());
    }
    let last = Client::try_connect(&it.authority, "a.example", seen.port).await.unwrap();
    assert_eq!((last.get("/").await.body, seen.retries.load(Ordering::SeqCst)), (b"hello".to_vec(), 0));
    assert!(here.iter().all(|it| it.close_reason().is_none()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_one_direction_says_in_time_what_it_is() {
    let it = Small::start(Limits { head: Duration::from_secs(2), ..Limits::default() }, hello);
    let client = it.client().await;
    assert_eq!(client.get("/").await.body, b"hello");
    let mut stream = client.connection.open_uni().await.unwrap();
    // The first half of a number.
    stream.write_all(&[0x40]).await.unwrap();
    assert_eq!(timeout(PATIENCE, stream.stopped()).await.unwrap(), Ok(Some(VarInt::from_u32(0x103))));
    assert_eq!(client.get("/").await.body, b"hello", "the connection goes on");
}

/// The head is not whole when the connection has been idle for as long as it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_begins_late_is_answered() {
    let it = Small::start(Limits { idle: Duration::from_secs(4), ..Limits::default() }, hello);
    let client = it.client().await;
    assert_eq!(client.get("/").await.body, b"hello");
    sleep(Duration::from_millis(2_500)).await;
    let (mut sender, mut receiver) = client.connection.open_bi().await.unwrap();
    let head = get("/");
    let (first, rest) = head.split_at(10);
    sender.write_all(first).await.unwrap();
    sleep(Duration::from_millis(2_500)).await;
    sender.write_all(rest).await.unwrap();
    sender.finish().unwrap();
    let answer = timeout(PATIENCE, receiver.read_to_end(1_000)).await.unwrap().unwrap();
    assert!(answer.ends_with(b"hello"), "{answer:x?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_breaks_off_is_no_fault_of_a_client() {
    let it = Small::start(Limits::default(), |_, _| async {
        let pieces = [Ok(Frame::data(Bytes::from_static(b"some"))), Err(std::io::Error::other("the disk has failed"))];
        Response::new(Body::boxed(StreamBody::new(tokio_stream::iter(pieces))))
    });
    let client = it.client().await;
    for nth in 0..600 {
        assert!(client.ask(client.request("GET", "/"), &[]).await.is_err());
        assert_eq!(client.connection.close_reason(), None, "{nth}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_does_not_wait_for_who_lets_nothing_be_said() {
    let limits = Limits { head: PATIENCE * 4, idle: PATIENCE * 4, grace: Duration::from_secs(1), ..Limits::default() };
    let it = Small::start(limits, hello);
    let (mut silencing, mut transport) = (config(&it.authority), TransportConfig::default());
    transport.max_concurrent_uni_streams(VarInt::from_u32(0)).max_idle_timeout(None);
    silencing.transport_config(Arc::new(transport));
    let to = SocketAddr::from(([127, 0, 0, 1], it.port));
    let connection = endpoint().connect_with(silencing, to, "a.example").unwrap().await.unwrap();
    it.tasks.stop();
    timeout(PATIENCE, it.tasks.join()).await.expect("the server ends");
    let ended = timeout(PATIENCE, connection.closed()).await.unwrap();
    assert!(is_closed_with(&ended, 0x100), "{ended}");
}

/// What stands between clients and a server.
struct Relay {
    port: u16,
    /// Packets of clients.
    heard: Arc<AtomicUsize>,
    /// Packets with which the server has asked who is there.
    retries: Arc<AtomicUsize>,
    tasks: Tasks,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

/// Passes on what one client after the other sends, and back what the server does, if it `answers`.
async fn relay(to: u16, answers: bool) -> Relay {
    let front = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    back.connect(("127.0.0.1", to)).await.unwrap();
    let port = front.local_addr().unwrap().port();
    let (heard, retries, tasks) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Tasks::new());
    let relay = Relay { port, heard: Arc::clone(&heard), retries: Arc::clone(&retries), tasks: tasks.clone() };
    let stop = tasks.clone();
    tasks.spawn(async move {
        let (mut there, mut here, mut client) = (vec![0; 65_536], vec![0; 65_536], None);
        loop {
            tokio::select! {
                () = stop.stopping() => return,
                Ok((length, from)) = front.recv_from(&mut there) => {
                    client = Some(from);
                    back.send(there.get(..length).unwrap()).await.unwrap();
                    heard.fetch_add(1, Ordering::SeqCst);
                }
                Ok(length) = back.recv(&mut here) => {
                    // A long header of the type Retry (RFC 9000, 17.2.5).
                    retries.fetch_add(usize::from(here.first().is_some_and(|it| it & 0xf0 == 0xf0)), Ordering::SeqCst);
                    if let Some(client) = client.filter(|_| answers) {
                        front.send_to(here.get(..length).unwrap(), client).await.unwrap();
                    }
                }
            }
        }
    });
    relay
}
