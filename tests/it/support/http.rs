//! A small blocking client: one request on one connection, read to its end.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
    time::Duration,
};

use serde_json::Value;

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// Lower-case names and values, in order.
    pub(crate) headers: Vec<(String, String)>,
    /// The body, without its transfer coding.
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }
}

/// Sends `head` (lines with CRLF, without the empty line) and `body`, and reads the answer. A server that is gone gives
/// the status 0.
pub(crate) fn ask(port: u16, head: &str, body: &[u8]) -> Answer {
    try_ask(port, head, body).unwrap_or(Answer { status: 0, headers: Vec::new(), body: Vec::new() })
}

fn try_ask(port: u16, head: &str, body: &[u8]) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let length = if body.is_empty() && !head.starts_with('P') {
        String::new()
    } else {
        format!("Content-Length: {}\r\n", body.len())
    };
    stream.write_all(format!("{head}{length}Connection: close\r\n\r\n").as_bytes())?;
    // A server that refuses early closes before it has read all.
    drop(stream.write_all(body));
    let mut bytes = Vec::new();
    let read = stream.read_to_end(&mut bytes);
    if bytes.is_empty() {
        read?;
    }
    parse(&bytes).ok_or_else(|| std::io::Error::other("not an answer"))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let rest = bytes.get(end + 4..)?;
    let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    let body = if chunked { dechunk(rest)? } else { rest.to_vec() };
    Some(Answer { status, headers, body })
}

fn dechunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(rest.get(..end)?).ok()?, 16).ok()?;
        rest = rest.get(end + 2..)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

/// How a request on a kept connection ended.
#[derive(Debug)]
pub(crate) enum Fate {
    /// With a whole answer.
    Whole(Answer),
    /// The connection ended before the first byte of an answer.
    Nothing,
    /// It broke in the middle of an answer, of which so many bytes came.
    Cut(usize),
}

/// A connection that is used for one request after the other.
#[derive(Debug)]
pub(crate) struct Kept {
    stream: TcpStream,
    port: u16,
    /// What has come and is not read yet.
    bytes: Vec<u8>,
}

impl Kept {
    /// Connects; an error when nobody listens.
    pub(crate) fn open(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, port, bytes: Vec::new() })
    }

    /// Asks for a path of a host, with more lines of the head.
    pub(crate) fn get(&mut self, host: &str, path: &str, more: &str) -> Fate {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {host}:{}\r\n{more}\r\n", self.port);
        self.ask(head.as_bytes())
    }

    /// Sends a whole request and reads its answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> Fate {
        // A connection that was closed meanwhile shows in what is read.
        drop(self.stream.write_all(request));
        loop {
            if let Some((answer, length)) = whole(&self.bytes) {
                self.bytes.drain(..length);
                return Fate::Whole(answer);
            }
            let mut piece = [0; 16 * 1024];
            match self.stream.read(&mut piece) {
                Ok(count) if count > 0 => self.bytes.extend_from_slice(piece.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                _ if self.bytes.is_empty() => return Fate::Nothing,
                _ => return Fate::Cut(self.bytes.len()),
            }
        }
    }
}

/// An answer that is there whole, and its length. It must say how long it is.
fn whole(bytes: &[u8]) -> Option<(Answer, usize)> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let head = parse(bytes.get(..end)?)?;
    let length = match head.header("content-length") {
        Some(length) => length.parse().unwrap(),
        None if matches!(head.status, 204 | 304) => 0,
        None => panic!("no length: {head:?}"),
    };
    let body = bytes.get(end..end + length)?.to_vec();
    Some((Answer { body, ..head }, end + length))
}

/// An upstream that answers each request by a WebSocket, on which it sends so many bytes, a megabyte a second at most, and then waits for its end.
pub(crate) fn websocket_upstream(bytes: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                head(&mut stream);
                let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
                let (mut sent, mut left) = (stream.write_all(switch.as_bytes()), bytes);
                while sent.is_ok() && left > 0 {
                    let piece = left.min(1000);
                    sent = stream.write_all(&vec![b'x'; piece]);
                    left -= piece;
                    thread::sleep(Duration::from_millis(1));
                }
                drop(std::io::copy(&mut stream, &mut std::io::sink()));
            });
        }
    });
    port
}

/// A WebSocket of a visitor at a path, after its handshake.
pub(crate) fn websocket(port: u16, host: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let asked = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).unwrap();
    let answered = head(&mut stream);
    assert!(answered.starts_with("HTTP/1.1 101 "), "{answered}");
    stream
}

/// Reads to the end of a head, and not a byte of what is behind it.
fn head(stream: &mut TcpStream) -> String {
    let mut came = Vec::new();
    let mut byte = [0];
    while !came.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|it| it == 1) {
        came.push(byte[0]);
    }
    String::from_utf8_lossy(&came).into_owned()
}
