//! HTTP/2 (RFC 9113): frames and heads that break its rules, what they end, and that nothing of them reaches an upstream.

use std::{net::SocketAddr, time::Duration};

use chainhost::net::connection::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{none_wrong, site};

/// Long enough for a slow machine; only a hang takes it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Kinds of frames (§6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// Flags: `ACK` has the number of `END_STREAM`.
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;

/// A frame (§4.1).
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [length.split_at(1).1, &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The preface and these settings.
pub(super) fn preface(settings: &[u8]) -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, settings)].concat()
}

/// Fields as HPACK has them without any table (RFC 7541 §6.2.2).
pub(super) fn fields(all: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in all {
        block.push(0);
        for text in [name, value] {
            put_length(&mut block, text.chars().count());
            // Bytes above 127 stand for themselves.
            block.extend(text.chars().map(|it| u8::try_from(u32::from(it)).unwrap()));
        }
    }
    block
}

fn put_length(to: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        to.push(u8::try_from(length).unwrap());
        return;
    };
    to.push(127);
    while rest >= 128 {
        to.push(0x80 | u8::try_from(rest % 128).unwrap());
        rest /= 128;
    }
    to.push(u8::try_from(rest).unwrap());
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    /// An answer on the first stream.
    Answer(u16),
    /// The first stream was reset, with this code.
    Reset(u32),
    /// The connection has ended, with this code.
    Gone(u32),
    /// The connection goes on, and nothing was said of the stream.
    Nothing,
    /// The connection was closed without a word.
    Closed,
    /// Nothing came at all.
    Silence,
}

/// What is right.
#[derive(Clone, Copy, Debug)]
enum Right {
    /// Malformed (§8.1.1): the stream is reset, or answered with 400, or the whole connection ends (§5.4.1).
    Refused,
    /// The connection ends, and says so. The code is for people to read, and not always the one that the section names.
    Ended,
    Is(Came),
}

/// A status as an answer begins with it (RFC 7541 §6.1, §6.2 and appendix A).
fn status(block: &[u8]) -> u16 {
    match block {
        [place @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(place - 0x88)],
        [0x48 | 0x08, 3, digits @ ..] => String::from_utf8_lossy(&digits[..3]).parse().unwrap(),
        [0x48 | 0x08, huffman, bits @ ..] => {
            let mut left: u32 =
                bits[..usize::from(huffman & 0x7f)].iter().fold(1, |all, byte| all << 8 | u32::from(*byte));
            // Three digits: 0 to 2 have five bits, the others six (appendix B).
            let (mut count, mut digits) = (left.ilog2(), 0);
            left &= (1 << count) - 1;
            for _ in 0..3 {
                let five = left >> (count - 5) & 0b1_1111;
                let (digit, bits) =
                    if five < 3 { (five, 5) } else { ((left >> (count - 6) & 0b11_1111) - 0b01_0110, 6) };
                digits = digits * 10 + digit;
                count -= bits;
            }
            u16::try_from(digits).unwrap()
        }
        _ => 0,
    }
}

/// Frames as they come, until so many bytes are there.
pub(super) async fn read_frame(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, stream_id @ ..] = head;
    let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    Some((kind, flags, u32::from_be_bytes(stream_id), payload))
}

/// Sends frames behind a preface, and a ping behind them: what the first stream or the connection comes to.
async fn send(address: SocketAddr, frames: &[u8]) -> Came {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let all = [&preface(&[]), frames, &frame(PING, 0, 0, b"are you?")].concat();
    drop(stream.write_all(&all).await);
    let (mut came, mut is_there) = (Came::Nothing, false);
    // Who answers to the ping has read all, but may still work on the answer.
    while !(is_there && came != Came::Nothing) {
        let wait = if is_there { Duration::from_secs(2) } else { PATIENCE };
        let code = |payload: &[u8], at: usize| {
            payload.get(at..at + 4).map_or(0, |it| u32::from_be_bytes(it.try_into().unwrap()))
        };
        match timeout(wait, read_frame(&mut stream)).await {
            Err(_) if is_there => break,
            Err(_) => return Came::Silence,
            Ok(None) => return if came == Came::Nothing { Came::Closed } else { came },
            Ok(Some((GOAWAY, _, _, payload))) => return Came::Gone(code(&payload, 4)),
            Ok(Some((PING, ACK, ..))) => is_there = true,
            Ok(Some((HEADERS, _, 1, block))) if came == Came::Nothing => came = Came::Answer(status(&block)),
            Ok(Some((RST_STREAM, _, 1, payload))) if came == Came::Nothing => came = Came::Reset(code(&payload, 0)),
            Ok(Some(_)) => {}
        }
    }
    came
}

const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "site.test"), (":path", "{p}")];

/// The head of a row at a path.
fn head(all: &[(&str, &str)], path: &str, flags: u8) -> Vec<u8> {
    let all: Vec<(&str, String)> = all.iter().map(|(name, value)| (*name, value.replace("{p}", path))).collect();
    let all: Vec<(&str, &str)> = all.iter().map(|(name, value)| (*name, value.as_str())).collect();
    frame(HEADERS, END_HEADERS | flags, 1, &fields(&all))
}

/// A head: what it is, what differs from a GET, and what is right.
type Head = (&'static str, &'static [(&'static str, &'static str)], Right);

const HEADS: &[Head] = &[
    ("§8.3.1: a GET", &[], Right::Is(Came::Answer(200))),
    ("§8.3.1: no method", &[(":method", "-")], Right::Refused),
    ("§8.3.1: no scheme", &[(":scheme", "-")], Right::Refused),
    ("§8.3.1: no path", &[(":path", "-")], Right::Refused),
    ("§8.3.1: no authority and no host", &[(":authority", "-")], Right::Refused),
    ("§8.3.1: a host in its place", &[(":authority", "-"), ("host", "site.test")], Right::Is(Came::Answer(200))),
    ("§8.3.1: a host beside it", &[("host", "SITE.test")], Right::Is(Came::Answer(200))),
    ("§8.3.1: another host beside it", &[("host", "other.test")], Right::Refused),
    ("§8.3.1: two hosts", &[("host", "site.test"), ("host", "site.test")], Right::Refused),
    ("§8.3.1: what cannot be a host", &[("host", "a/b")], Right::Refused),
    ("§8.3.1: an empty path", &[(":path", "")], Right::Refused),
    ("§8.3.1: an empty authority", &[(":authority", "")], Right::Refused),
    ("§8.3.1: a user", &[(":authority", "me@site.test")], Right::Refused),
    ("§8.3.1: another scheme", &[(":scheme", "ftp")], Right::Refused),
    ("§8.3.1: a star with GET", &[(":path", "*")], Right::Refused),
    ("§8.3.1: a path without a slash", &[(":path", "a.txt")], Right::Refused),
    ("§8.3.1: an address for a path", &[(":path", "http://site.test/")], Right::Refused),
    ("§8.3.1: a blank in a path", &[(":path", "{p} HTTP/1.1")], Right::Refused),
    ("§8.3.1: a line break in a path", &[(":path", "{p}\r\nX: y")], Right::Refused),
    ("§8.3.1: a NUL in a path", &[(":path", "{p}\0")], Right::Refused),
    ("§8.3.1: a blank in an authority", &[(":authority", "site.test x")], Right::Refused),
    ("§8.3.1: a line break in an authority", &[(":authority", "site.test\r\nX: y")], Right::Refused),
    ("§8.3.1: a blank in a method", &[(":method", "GET / HTTP/1.1")], Right::Refused),
    ("§8.3.1: a line break in a method", &[(":method", "GET\r\nX: y")], Right::Refused),
    ("§8.3: a method twice", &[("+:method", "GET")], Right::Refused),
    ("§8.3: a scheme twice", &[("+:scheme", "http")], Right::Refused),
    ("§8.3: an authority twice", &[("+:authority", "site.test")], Right::Refused),
    ("§8.3: a path twice", &[("+:path", "/other")], Right::Refused),
    ("§8.3: one that is none", &[("+:foo", "bar")], Right::Refused),
    ("§8.3: one of an answer", &[("+:status", "200")], Right::Refused),
    ("8441 §4: a protocol beside GET", &[("+:protocol", "websocket")], Right::Refused),
    (
        "8441 §4: one beside CONNECT that nobody speaks",
        &[("+:protocol", "x"), (":method", "CONNECT")],
        Right::Is(Came::Answer(501)),
    ),
    ("8441 §4: no scheme", &[("+:protocol", "websocket"), (":method", "CONNECT"), (":scheme", "-")], Right::Refused),
    ("8441 §4: no path", &[("+:protocol", "websocket"), (":method", "CONNECT"), (":path", "-")], Right::Refused),
    (
        "8441 §4: another scheme",
        &[("+:protocol", "websocket"), (":method", "CONNECT"), (":scheme", "wss")],
        Right::Refused,
    ),
    (
        "8441 §4: another host beside the authority",
        &[("+:protocol", "websocket"), (":method", "CONNECT"), ("host", "other.test")],
        Right::Refused,
    ),
    (
        "8441 §4: a protocol twice",
        &[("+:protocol", "websocket"), ("+:protocol", "websocket"), (":method", "CONNECT")],
        Right::Refused,
    ),
    ("§8.3: one behind a field", &[("x", "y"), ("+:path", "{p}"), (":path", "-")], Right::Refused),
    ("§8.2: a name in capitals", &[("X-Own", "y")], Right::Refused),
    ("§8.2.1: a blank in a name", &[("x y", "z")], Right::Refused),
    ("§8.2.1: a colon in a name", &[("x:y", "z")], Right::Refused),
    ("§8.2.1: a NUL in a name", &[("x\0", "z")], Right::Refused),
    ("§8.2.1: a line break in a name", &[("x\r\ny", "z")], Right::Refused),
    ("§8.2.1: a byte above 127 in a name", &[("x\u{e9}", "z")], Right::Refused),
    ("§8.2.1: no name", &[("", "z")], Right::Refused),
    ("§8.2.1: a NUL in a value", &[("x", "y\0z")], Right::Refused),
    ("§8.2.1: CR in a value", &[("x", "y\rz")], Right::Refused),
    ("§8.2.1: LF in a value", &[("x", "y\nz")], Right::Refused),
    (
        "§8.2.1: a line of another request in a value",
        &[("x", "y\r\nTransfer-Encoding: chunked\r\n\r\nGET /evil HTTP/1.1")],
        Right::Refused,
    ),
    ("§8.2.2: connection", &[("connection", "close")], Right::Refused),
    ("§8.2.2: keep-alive", &[("keep-alive", "timeout=5")], Right::Refused),
    ("§8.2.2: proxy-connection", &[("proxy-connection", "close")], Right::Refused),
    ("§8.2.2: transfer-encoding", &[("transfer-encoding", "chunked")], Right::Refused),
    ("§8.2.2: upgrade", &[("upgrade", "h2c")], Right::Refused),
    ("§8.2.2: TE that is no trailers", &[("te", "gzip")], Right::Refused),
    ("§8.2.2: TE", &[("te", "trailers")], Right::Is(Came::Answer(200))),
    ("§8.1.1: a length, and no body", &[("content-length", "4")], Right::Refused),
    ("§8.1.1: a length of nothing", &[("content-length", "0")], Right::Is(Came::Answer(200))),
    ("9110 §8.6: two lengths", &[("content-length", "0"), ("content-length", "4")], Right::Refused),
    ("9110 §8.6: a length with a sign", &[("content-length", "+0")], Right::Refused),
    ("9110 §8.6: no number", &[("content-length", "x")], Right::Refused),
    ("9110 §8.6: more than 64 bits", &[("content-length", "18446744073709551616")], Right::Refused),
    ("§8.5: CONNECT with scheme and path", &[(":method", "CONNECT")], Right::Refused),
    (
        "§8.5: CONNECT",
        &[(":method", "CONNECT"), (":scheme", "-"), (":path", "-"), (":authority", "site.test:80")],
        Right::Is(Came::Answer(405)),
    ),
    (
        "§8.5: CONNECT to nobody",
        &[(":method", "CONNECT"), (":scheme", "-"), (":path", "-"), (":authority", "-")],
        Right::Refused,
    ),
];

/// The fields of a GET with what differs: `-` takes a field away, `+` adds one that is there already.
fn differing(differs: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let mut all = GET.to_vec();
    for (name, value) in differs {
        match (name.strip_prefix('+'), all.iter().position(|it| it.0 == *name)) {
            (Some(name), _) => all.push((name, value)),
            (None, Some(at)) if *value == "-" => drop(all.remove(at)),
            (None, Some(at)) if name.starts_with(':') => all[at].1 = value,
            _ => all.push((name, value)),
        }
    }
    all
}

fn check(what: &str, right: Right, came: Came) -> Option<String> {
    let is_right = match right {
        Right::Refused => matches!(came, Came::Reset(1) | Came::Answer(400) | Came::Gone(1)),
        Right::Ended => matches!(came, Came::Gone(1..)),
        Right::Is(wanted) => came == wanted,
    };
    (!is_right).then(|| format!("{what}: {right:?} is right, and {came:?} came"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_are_none_are_refused() {
    let (web, up) = site(Limits::default()).await;
    let mut wrong = Vec::new();
    for (number, (what, differs, right)) in HEADS.iter().enumerate() {
        for path in [String::from("/a.txt"), format!("/up/{number}")] {
            let came = send(web.address, &head(&differing(differs), &path, END_STREAM)).await;
            wrong.extend(check(&format!("{what} ({path})"), *right, came));
            let is_answered = matches!(right, Right::Is(Came::Answer(200))) && path != "/a.txt";
            let asked = up.asked(&path);
            if asked.len() != usize::from(is_answered) {
                wrong.push(format!("{what}: an upstream was asked {asked:?}"));
            }
        }
    }
    wrong.extend(up.unreadable());
    none_wrong(&wrong, HEADS.len());
}

/// Stands for the path of a row, which has as many letters.
const SOMEWHERE: &str = "/up/_";

/// A POST with these fields, and the frames behind its head.
fn posted(differs: &[(&'static str, &'static str)], frames: &[Vec<u8>]) -> Vec<u8> {
    let mut all = differing(differs);
    all[0].1 = "POST";
    [head(&all, SOMEWHERE, 0), frames.concat()].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_as_long_as_they_say() {
    let (web, up) = site(Limits::default()).await;
    let (data, end) = (|bytes: &[u8]| frame(DATA, 0, 1, bytes), |bytes: &[u8]| frame(DATA, END_STREAM, 1, bytes));
    let trailers = |all: &[(&str, &str)]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(all));
    let padded = |pad: u8, bytes: &[u8]| [&[pad][..], bytes, &vec![0; usize::from(pad)]].concat();
    let length = [("content-length", "4")];
    let answered = Right::Is(Came::Answer(200));
    let rows = [
        ("§8.1.1: as long as it says", posted(&length, &[end(b"abcd")]), answered, "abcd"),
        ("§8.1.1: in pieces", posted(&length, &[data(b"ab"), data(b""), end(b"cd")]), answered, "abcd"),
        (
            "§6.1: with padding, which does not count",
            posted(&length, &[frame(DATA, END_STREAM | PADDED, 1, &padded(9, b"abcd"))]),
            answered,
            "abcd",
        ),
        (
            "§8.1: with trailers, which stay here",
            posted(&length, &[data(b"abcd"), trailers(&[("x", "y"), ("content-length", "9")])]),
            answered,
            "abcd",
        ),
        ("§8.1.1: no length said", posted(&[], &[end(b"abcd")]), answered, "abcd"),
        ("§8.1.1: less than it says", posted(&length, &[end(b"abc")]), Right::Refused, ""),
        ("§8.1.1: more than it says", posted(&length, &[end(b"abcde")]), Right::Refused, ""),
        ("§8.1.1: more, a piece later", posted(&length, &[data(b"abcd"), end(b"e")]), Right::Refused, ""),
        ("§8.1.1: less, by an empty end", posted(&length, &[data(b"abc"), end(b"")]), Right::Refused, ""),
        ("§8.1.1: less, by trailers", posted(&length, &[data(b"abc"), trailers(&[("x", "y")])]), Right::Refused, ""),
        (
            // The library drops it with the trailers, and what was asked is asked.
            "§8.3: a pseudo-header among trailers",
            posted(&[], &[data(b"abcd"), trailers(&[(":path", "/evil")])]),
            answered,
            "abcd",
        ),
        (
            "§8.1: trailers that do not end",
            posted(&[], &[data(b"abcd"), frame(HEADERS, END_HEADERS, 1, &fields(&[("x", "y")]))]),
            Right::Refused,
            "",
        ),
    ];
    let mut wrong = Vec::new();
    for (number, (what, frames, right, body)) in rows.iter().enumerate() {
        let path = format!("/up/{}", char::from(b'a' + u8::try_from(number).unwrap()));
        let frames = swap(frames, &path);
        let came = send(web.address, &frames).await;
        wrong.extend(check(what, *right, came));
        let wanted: Vec<String> = if body.is_empty() { Vec::new() } else { vec![format!("POST {path} {body}")] };
        let asked = up.asked(&path);
        if asked != wanted {
            wrong.push(format!("{what}: an upstream is to be asked {wanted:?}, and was asked {asked:?}"));
        }
    }
    wrong.extend(up.unreadable());
    none_wrong(&wrong, rows.len());
}

/// The same frames at another path of the same length.
fn swap(frames: &[u8], path: &str) -> Vec<u8> {
    let at = frames.windows(SOMEWHERE.len()).position(|it| it == SOMEWHERE.as_bytes()).unwrap();
    let mut swapped = frames.to_vec();
    swapped[at..at + SOMEWHERE.len()].copy_from_slice(path.as_bytes());
    swapped
}

/// Frames that break the rules of a connection.
fn broken() -> Vec<(&'static str, Vec<u8>, Right)> {
    let get = || head(&GET, "/a.txt", END_STREAM);
    let open = || head(&GET, "/a.txt", 0);
    let block = fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "site.test"), (":path", "/a.txt")]);
    let number = |it: u32| it.to_be_bytes();
    let setting = |name: u8, value: u32| [&[0, name][..], &number(value)].concat();
    let (protocol, ended) = (Right::Is(Came::Gone(1)), Right::Ended);
    vec![
        ("§6.1: data of no stream", frame(DATA, 0, 0, b"x"), protocol),
        ("§5.1: data of a stream that is not open", frame(DATA, 0, 1, b"x"), protocol),
        ("§6.1: more padding than there is", [open(), frame(DATA, PADDED, 1, &[9, 0])].concat(), protocol),
        ("§6.2: a head of no stream", frame(HEADERS, END_HEADERS | END_STREAM, 0, &block), protocol),
        ("§6.2: more padding than there is", frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0x82]), protocol),
        ("§5.1.1: a stream of the server's", frame(HEADERS, END_HEADERS | END_STREAM, 2, &block), protocol),
        (
            "§5.1.1: a stream with a lower number",
            [frame(HEADERS, END_HEADERS | END_STREAM, 9, &block), frame(HEADERS, END_HEADERS | END_STREAM, 7, &block)]
                .concat(),
            protocol,
        ),
        ("§6.4: a reset of no stream", frame(RST_STREAM, 0, 0, &number(8)), protocol),
        ("§6.4: a reset of a stream that is not open", frame(RST_STREAM, 0, 1, &number(8)), protocol),
        ("§6.4: a reset with too little in it", [get(), frame(RST_STREAM, 0, 1, &[0, 0])].concat(), ended),
        ("§6.5: settings of a stream", frame(SETTINGS, 0, 1, &[]), protocol),
        ("§6.5: settings that are cut", frame(SETTINGS, 0, 0, &[0, 3, 0]), ended),
        ("§6.5: an acknowledgement with settings", frame(SETTINGS, ACK, 0, &setting(3, 1)), ended),
        ("§6.5.2: a push that is neither on nor off", frame(SETTINGS, 0, 0, &setting(2, 2)), protocol),
        ("§6.5.2: a window that is too large", frame(SETTINGS, 0, 0, &setting(4, 0x8000_0000)), ended),
        ("§6.5.2: a frame that is too small", frame(SETTINGS, 0, 0, &setting(5, 16_383)), protocol),
        ("§6.5.2: a frame that is too large", frame(SETTINGS, 0, 0, &setting(5, 16_777_216)), protocol),
        (
            "§6.6: a push by a client",
            [open(), frame(PUSH_PROMISE, END_HEADERS, 1, &[&number(2)[..], &block].concat())].concat(),
            protocol,
        ),
        ("§6.7: a ping of a stream", frame(PING, 0, 1, b"12345678"), protocol),
        ("§6.7: a ping with too little in it", frame(PING, 0, 0, b"1234"), ended),
        ("§6.8: a farewell of a stream", frame(GOAWAY, 0, 1, &[0; 8]), protocol),
        ("§6.9: a window that grows by nothing", frame(WINDOW_UPDATE, 0, 0, &number(0)), protocol),
        ("§6.9: one of a stream that is not open", frame(WINDOW_UPDATE, 0, 1, &number(1)), protocol),
        ("§6.9: one with too little in it", frame(WINDOW_UPDATE, 0, 0, &[0, 0]), ended),
        ("§6.9.1: a window that grows beyond all", frame(WINDOW_UPDATE, 0, 0, &number(0x7fff_ffff)), ended),
        ("§6.10: more of a head that was not begun", frame(CONTINUATION, END_HEADERS, 1, &block), protocol),
        (
            "§6.10: more of a head that has ended",
            [open(), frame(CONTINUATION, END_HEADERS, 1, &block)].concat(),
            protocol,
        ),
        (
            "§6.10: another frame in the middle of a head",
            [frame(HEADERS, 0, 1, &block), frame(PING, 0, 0, b"12345678")].concat(),
            protocol,
        ),
        (
            "§6.10: one of another stream there",
            [frame(HEADERS, 0, 1, &block), frame(CONTINUATION, END_HEADERS, 3, &block)].concat(),
            protocol,
        ),
    ]
}

/// Frames that are too large, that cannot be unpacked, that come too late; and some that are well.
fn others() -> Vec<(&'static str, Vec<u8>, Right)> {
    let (get, open) = (|| head(&GET, "/a.txt", END_STREAM), || head(&GET, "/a.txt", 0));
    let block = fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "site.test"), (":path", "/a.txt")]);
    let setting = |name: u8, value: u32| [&[0, name][..], &value.to_be_bytes()].concat();
    let ended = Right::Ended;
    vec![
        ("§4.2: a frame that is larger than was agreed", [open(), frame(DATA, 0, 1, &vec![0; 16_385])].concat(), ended),
        (
            "§4.3: a place in the table that there is not",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0x7f]),
            ended,
        ),
        ("§4.3: place 0", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80]), ended),
        (
            "§4.3: a table that is larger than was agreed",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xe2, 0x1f, 0x82]),
            ended,
        ),
        ("§4.3: a number without end", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 12]), ended),
        ("§5.1: data behind the end of a stream", [get(), frame(DATA, 0, 1, b"x")].concat(), ended),
        ("§3.4: settings that nobody knows", frame(SETTINGS, 0, 0, &setting(0x99, 1)), Right::Is(Came::Nothing)),
        (
            "§5.5: a frame that nobody knows",
            [frame(0x99, 0xff, 0, b"anything"), get()].concat(),
            Right::Is(Came::Answer(200)),
        ),
        (
            "§5.3: a priority, which means nothing any more",
            [frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 16]), get()].concat(),
            Right::Is(Came::Answer(200)),
        ),
        (
            "§6.2: a head in two frames",
            [frame(HEADERS, END_STREAM, 1, &block[..9]), frame(CONTINUATION, END_HEADERS, 1, &block[9..])].concat(),
            Right::Is(Came::Answer(200)),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_break_the_rules_end_the_connection() {
    let (web, _up) = site(Limits::default()).await;
    let (rows, mut wrong) = ([broken(), others()].concat(), Vec::new());
    for (what, frames, right) in &rows {
        wrong.extend(check(what, *right, send(web.address, frames).await));
    }
    none_wrong(&wrong, rows.len());
}

#[test]
fn a_status_is_read_as_it_was_packed() {
    assert_eq!(status(&[0x88]), 200);
    assert_eq!(status(&[0x8d, 0]), 404);
    assert_eq!(status(&[0x48, 3, b'4', b'3', b'1']), 431);
    // RFC 7541, appendix C.6: 302 and 307.
    assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), 302);
    assert_eq!(status(&[0x48, 0x83, 0x64, 0x0e, 0xff]), 307);
}
