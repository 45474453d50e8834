//! Floods of HTTP/2: what costs a client little and a server much (RFC 9113 §10.5). Each ends its connection or is held back, and
//! meanwhile another client is answered and memory stays what it was.

use std::{fs, net::SocketAddr, time::Duration};

use chainhost::{
    base::tasks::Tasks,
    http::{peer::Peer, respond::Response},
    net::{
        Arriving,
        connection::{Limits, Server},
        listen,
    },
};
use hyper::Request;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::oneshot,
    time::timeout,
};

use super::{
    none_wrong,
    two::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, fields, frame, preface,
    },
};
use crate::support::{Host, write_files};

/// Within which another client is answered: nobody measures here, only a server that is stuck takes it.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How long a server that takes nothing more is waited for.
const HELD: Duration = Duration::from_secs(2);
/// For a connection that is to end.
const PATIENCE: Duration = Duration::from_secs(20);
/// By how much a server may grow in a flood. A request costs kilobytes, and a flood has tens of thousands of them.
const GROWTH_KIB_MAX: u64 = 64 * 1024;
/// Sent at once.
const BATCH: u32 = 200;

/// What becomes of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// The server ends the connection.
    Ends,
    /// It takes no more, or takes all: it costs nothing that counts.
    Bounded,
}

struct Flood {
    what: &'static str,
    fate: Fate,
    /// The settings that the client begins with.
    settings: &'static [u8],
    /// What comes first.
    first: Vec<u8>,
    /// The n-th of what follows, again and again.
    piece: Box<dyn Fn(u32) -> Vec<u8> + Send>,
    pieces: u32,
    /// Whether the client reads what it is sent.
    reads: bool,
}

fn flood(what: &'static str, fate: Fate, piece: impl Fn(u32) -> Vec<u8> + Send + 'static) -> Flood {
    Flood { what, fate, settings: &[], first: Vec::new(), piece: Box::new(piece), pieces: 20_000, reads: true }
}

/// Streams of clients have odd numbers.
const fn stream(number: u32) -> u32 {
    number * 2 + 1
}

const fn wide(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

/// A GET as the n-th request of a client, with this head.
fn asking(get: &[u8]) -> impl Fn(u32) -> Vec<u8> + Clone + Send + use<> {
    let get = get.to_vec();
    move |number| frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &get)
}

/// Requests, each with a frame behind that takes it back, or makes the server reset it.
fn resets(get: &[u8]) -> Vec<Flood> {
    let made = |what, behind: fn(u32) -> Vec<u8>| {
        let whole = asking(get);
        flood(what, Fate::Ends, move |number| [whole(number), behind(stream(number))].concat())
    };
    vec![
        made("CVE-2023-44487: requests that are taken back at once", |id| frame(RST_STREAM, 0, id, &wide(8))),
        made("CVE-2025-8671: a window that grows by nothing", |id| frame(WINDOW_UPDATE, 0, id, &wide(0))),
        made("CVE-2025-8671: a window that grows beyond all", |id| frame(WINDOW_UPDATE, 0, id, &wide(0x7fff_ffff))),
        made("CVE-2025-8671: data behind the end", |id| frame(DATA, 0, id, b"x")),
        made("CVE-2025-8671: a head behind the end", |id| frame(HEADERS, END_HEADERS | END_STREAM, id, &[0x82])),
        made("CVE-2025-8671: a priority that is cut", |id| frame(PRIORITY, 0, id, &[0, 0])),
    ]
}

/// Heads and bodies of little and of nothing.
fn pieces(get: &[u8], post: &[u8]) -> Vec<Flood> {
    let bomb = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4_000]].concat();
    vec![
        Flood {
            first: frame(HEADERS, END_STREAM, 1, get),
            ..flood("CVE-2024-27316: a head without end", Fate::Ends, |_| {
                frame(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y'].repeat(100))
            })
        },
        Flood {
            first: frame(HEADERS, END_STREAM, 1, get),
            ..flood("CVE-2024-27316: one of empty frames", Fate::Ends, |_| frame(CONTINUATION, 0, 1, &[]))
        },
        Flood {
            first: [
                &frame(HEADERS, END_STREAM, 1, &bomb)[..],
                &frame(CONTINUATION, END_HEADERS, 1, &vec![0xbe; 16_000]),
            ]
            .concat(),
            pieces: 200,
            ..flood("§10.5.1: a head of small bytes that stand for large ones", Fate::Bounded, |number| {
                frame(HEADERS, END_HEADERS | END_STREAM, stream(number + 1), &vec![0xbe; 16_000])
            })
        },
        flood("CVE-2019-9518: heads of nothing", Fate::Ends, |number| {
            frame(HEADERS, END_HEADERS | END_STREAM, stream(number), &[])
        }),
        Flood {
            first: frame(HEADERS, END_HEADERS, 1, post),
            ..flood("CVE-2019-9518: data of nothing for who takes none", Fate::Bounded, |_| frame(DATA, 0, 1, &[]))
        },
    ]
}

/// Frames that ask for nothing.
fn idle() -> Vec<Flood> {
    vec![
        flood("CVE-2019-9515: settings", Fate::Bounded, |_| frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        Flood {
            reads: false,
            ..flood("CVE-2019-9515: settings, from who reads nothing", Fate::Bounded, |_| frame(SETTINGS, 0, 0, &[]))
        },
        flood("CVE-2019-9512: pings", Fate::Bounded, |_| frame(PING, 0, 0, b"12345678")),
        Flood {
            reads: false,
            ..flood("CVE-2019-9512: pings, from who reads nothing", Fate::Bounded, |_| frame(PING, 0, 0, b"12345678"))
        },
        flood("CVE-2019-9512: answers to pings that were not asked", Fate::Bounded, |_| {
            frame(PING, ACK, 0, b"12345678")
        }),
        flood("CVE-2019-9513: priorities", Fate::Bounded, |number| {
            frame(PRIORITY, 0, stream(number), &[0, 0, 0, 0, 16])
        }),
        flood("§6.9: windows that grow by one", Fate::Bounded, |_| frame(WINDOW_UPDATE, 0, 0, &wide(1))),
        flood("§5.5: frames that nobody knows", Fate::Bounded, |_| frame(0x99, 0, 0, &[0; 64])),
    ]
}

/// Requests whose answers nobody takes.
fn unread(get: &[u8]) -> Vec<Flood> {
    let (whole, no_window): (_, &[u8]) = (asking(get), &[0, 4, 0, 0, 0, 0]);
    vec![
        Flood {
            first: whole(0),
            ..flood("§6.4: resets of a stream that has ended", Fate::Bounded, |_| frame(RST_STREAM, 0, 1, &wide(8)))
        },
        Flood {
            settings: no_window,
            pieces: 100,
            ..flood("CVE-2019-9517: large files, and no window for them", Fate::Bounded, whole.clone())
        },
        Flood {
            settings: no_window,
            pieces: 5_000,
            ..flood("§5.1.2: more streams than were agreed on", Fate::Ends, whole.clone())
        },
        Flood { reads: false, ..flood("§10.5: requests, from who reads nothing", Fate::Bounded, whole) },
    ]
}

/// What has come of a flood, with its connection, which is still held.
struct Came {
    has_ended: bool,
    _writer: OwnedWriteHalf,
    _reader: Option<OwnedReadHalf>,
}

/// Reads until the server has said farewell or closed.
async fn farewell(mut reader: OwnedReadHalf) {
    loop {
        let mut head = [0; 9];
        if reader.read_exact(&mut head).await.is_err() || head[3] == GOAWAY {
            return;
        }
        let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, head[0], head[1], head[2]])).unwrap()];
        if reader.read_exact(&mut payload).await.is_err() {
            return;
        }
    }
}

async fn run(address: SocketAddr, flood: &Flood, tasks: &Tasks) -> Came {
    let (reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    let (sender, mut said) = oneshot::channel();
    let reader = if flood.reads {
        tasks.spawn(async move {
            farewell(reader).await;
            sender.send(()).ok();
        });
        None
    } else {
        Some(reader)
    };
    let start = [&preface(flood.settings)[..], &flood.first].concat();
    let mut is_taken = writer.write_all(&start).await.is_ok();
    let mut sent = 0;
    while is_taken && sent < flood.pieces && said.is_empty() {
        let batch: Vec<u8> = (sent..flood.pieces.min(sent + BATCH)).flat_map(|it| (flood.piece)(it)).collect();
        sent += BATCH;
        // Who is held back has had no more than what is on its way.
        match timeout(HELD, writer.write_all(&batch)).await {
            Ok(written) => is_taken = written.is_ok(),
            Err(_) => break,
        }
    }
    let has_ended = match flood.fate {
        Fate::Ends => timeout(PATIENCE, &mut said).await.is_ok(),
        Fate::Bounded => false,
    };
    Came { has_ended, _writer: writer, _reader: reader }
}

/// Another client, with a connection of its own for each question, until it is told to stop: how many were answered, and the longest.
async fn witness(
    address: SocketAddr,
    authority: String,
    mut stop: oneshot::Receiver<()>,
) -> Result<(u32, Duration), String> {
    let (mut count, mut longest) = (0, Duration::ZERO);
    loop {
        let begun = tokio::time::Instant::now();
        let asked = async {
            let mut stream = TcpStream::connect(address).await?;
            stream
                .write_all(format!("GET / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n").as_bytes())
                .await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        match timeout(ANSWERED_WITHIN, asked).await {
            Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200") && answer.ends_with("a page") => count += 1,
            other => return Err(format!("another client got {other:?}")),
        }
        longest = longest.max(begun.elapsed());
        // The last is asked when the flood has come.
        if stop.try_recv().is_ok() {
            return Ok((count, longest));
        }
    }
}

/// The most that a process has had.
fn memory_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|it| it.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn floods_are_ended_or_held_back_and_others_are_answered() {
    let host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let folder = host.beside("site");
    write_files(&folder, &[("index.html", b"a page"), ("large.bin", &vec![7; 4 << 20])]);
    host.cli_json(&key, &["deploy", folder.to_str().unwrap(), "--site", "hello", "--create", "--json"]);
    let (authority, address) =
        (format!("hello.localhost:{}", host.port), SocketAddr::from(([127, 0, 0, 1], host.port)));
    let head =
        |method, path| fields(&[(":method", method), (":scheme", "http"), (":authority", &authority), (":path", path)]);
    let (get, post) = (head("GET", "/large.bin"), head("POST", "/"));
    let floods: Vec<Flood> = [resets(&get), pieces(&get, &post), idle(), unread(&get)].into_iter().flatten().collect();
    let (mut wrong, tasks) = (Vec::new(), Tasks::new());
    for flood in &floods {
        let (stop, stopped) = oneshot::channel();
        let before = memory_kib(host.pid());
        let flooding = async {
            let came = run(address, flood, &tasks).await;
            stop.send(()).ok();
            came
        };
        let (came, others) = tokio::join!(flooding, witness(address, authority.clone(), stopped));
        let grown = memory_kib(host.pid()).saturating_sub(before);
        println!("{}: {others:?}, {grown} KiB more", flood.what);
        if flood.fate == Fate::Ends && !came.has_ended {
            wrong.push(format!("{}: the connection goes on", flood.what));
        }
        if let Err(what) = others {
            wrong.push(format!("{}: {what}", flood.what));
        }
        if grown > GROWTH_KIB_MAX {
            wrong.push(format!("{}: the server has grown by {grown} KiB", flood.what));
        }
    }
    tasks.stop();
    none_wrong(&wrong, floods.len());
}

/// Bytes of a body that somebody holds and does not read are bounded by the window; the frames that bring none are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_nothing_for_who_reads_it_late_ends_the_connection() {
    let tasks = Tasks::new();
    let listener = listen::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let server = Server::new(tasks.clone(), Limits::default());
    let hold = |request: Request<Arriving>, _: Peer| async move {
        std::future::pending::<()>().await;
        drop(request);
        Response::new(chainhost::http::respond::Body::empty())
    };
    tasks.spawn(async move { server.run(listener, hold).await });
    let post = fields(&[(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", "/")]);
    for (what, data) in [("nothing", &b""[..]), ("one byte each", b"x")] {
        let flood = Flood {
            first: frame(HEADERS, END_HEADERS, 1, &post),
            pieces: 60_000,
            ..flood("data", Fate::Ends, move |_| frame(DATA, 0, 1, data))
        };
        assert!(run(address, &flood, &tasks).await.has_ended, "{what}");
    }
    tasks.stop();
}
