//! An upstream that reads what it is sent as strictly as it can be read, and keeps what it was asked.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use chainhost::base::tasks::Tasks;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The start of what is kept of a request that has two readings.
const BAD: &str = "BAD ";

/// An upstream; it answers every request with `up`, on connections that stay open.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    pub(super) async fn start(tasks: &Tasks) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (kept, within) = (Arc::clone(&asked), tasks.clone());
        tasks.spawn(async move {
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = within.stopping() => return,
                };
                let (kept, stop) = (Arc::clone(&kept), within.clone());
                within.spawn(async move {
                    tokio::select! {
                        () = attend(stream, &kept) => {}
                        () = stop.stopping() => {}
                    }
                });
            }
        });
        Self { address, asked }
    }

    /// What it was asked below a path, as `METHOD path body`.
    pub(super) fn asked(&self, below: &str) -> Vec<String> {
        let is_below = |it: &&String| {
            let path = it.split(' ').nth(1).and_then(|it| it.strip_prefix(below));
            path.is_some_and(|it| it.is_empty() || it.starts_with(['/', '?']))
        };
        self.asked.lock().unwrap().iter().filter(is_below).cloned().collect()
    }

    /// What could not be read, or had two readings.
    pub(super) fn unreadable(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().filter(|it| it.starts_with(BAD)).cloned().collect()
    }
}

async fn attend(mut stream: TcpStream, kept: &Mutex<Vec<String>>) {
    let (mut came, mut piece) = (Vec::new(), vec![0; 64 * 1024]);
    loop {
        while let Some((line, length)) = read(&came) {
            came.drain(..length);
            let is_bad = line.starts_with(BAD);
            let is_head = line.starts_with("HEAD ");
            kept.lock().unwrap().push(line);
            let body = if is_head { "" } else { "up" };
            if is_bad
                || stream
                    .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{body}").as_bytes())
                    .await
                    .is_err()
            {
                return;
            }
        }
        match stream.read(&mut piece).await {
            Ok(count) if count > 0 => came.extend_from_slice(&piece[..count]),
            _ => return,
        }
    }
}

/// The request at the start, and its bytes; `None`: it is not whole yet.
fn read(bytes: &[u8]) -> Option<(String, usize)> {
    let end = bytes.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let bad = || Some((format!("{BAD}{head:?}"), bytes.len()));
    let mut lines = head.trim_end_matches("\r\n").split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return bad() };
    let (mut hosts, mut length, mut codings) = (0, None, 0);
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { return bad() };
        let is_clean = |it: &str| !it.contains(['\r', '\n', '\0']);
        let is_name =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if !is_name || !is_clean(value) {
            return bad();
        }
        match (name.to_ascii_lowercase().replace('_', "-").as_str(), value.trim()) {
            ("host", "site.test") => hosts += 1,
            ("content-length", digits)
                if length.is_none() && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) =>
            {
                length = Some(digits.parse::<usize>().ok()?);
            }
            ("transfer-encoding", "chunked") => codings += 1,
            ("host" | "content-length" | "transfer-encoding" | "expect" | "te" | "trailer", _) => return bad(),
            _ => {}
        }
    }
    // One of the two, once; and a body that fits.
    let rest = &bytes[end..];
    let (body, used) = match (hosts, length, codings) {
        (1, None, 0) => (Vec::new(), 0),
        (1, Some(length), 0) => (rest.get(..length)?.to_vec(), length),
        (1, None, 1) => match chunks(rest) {
            Chunks::Whole(body, used) => (body, used),
            Chunks::More => return None,
            Chunks::Bad => return bad(),
        },
        _ => return bad(),
    };
    Some((format!("{method} {target} {}", String::from_utf8_lossy(&body)), end + used))
}

enum Chunks {
    Whole(Vec<u8>, usize),
    More,
    Bad,
}

/// A chunked body without extensions and without trailers, as this server sends it.
fn chunks(bytes: &[u8]) -> Chunks {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        let Some(end) = rest.windows(2).position(|it| it == b"\r\n") else {
            return if rest.len() > 20 { Chunks::Bad } else { Chunks::More };
        };
        let line = &rest[..end];
        if line.is_empty() || !line.iter().all(u8::is_ascii_hexdigit) {
            return Chunks::Bad;
        }
        let Ok(size) = usize::from_str_radix(&String::from_utf8_lossy(line), 16) else { return Chunks::Bad };
        let Some(chunk) = rest.get(end + 2..end + 2 + size) else { return Chunks::More };
        let Some(behind) = rest.get(end + 2 + size..end + 4 + size) else { return Chunks::More };
        if behind != b"\r\n" {
            return Chunks::Bad;
        }
        body.extend_from_slice(chunk);
        at += end + 4 + size;
        if size == 0 {
            return Chunks::Whole(body, at);
        }
    }
}

#[test]
fn it_reads_what_has_one_reading_and_tells_what_has_two() {
    let whole = |text: &str| read(text.as_bytes()).map(|it| it.0);
    let post = |lines: &str, body: &str| format!("POST /up HTTP/1.1\r\nhost: site.test\r\n{lines}\r\n{body}");
    let one = |text: String| whole(&text).unwrap();
    assert_eq!(one(post("content-length: 2\r\n", "abc")), "POST /up ab");
    assert_eq!(one(post("transfer-encoding: chunked\r\n", "2\r\nab\r\n0\r\n\r\n")), "POST /up ab");
    assert_eq!(whole(&post("transfer-encoding: chunked\r\n", "2\r\nab\r\n0\r\n")), None);
    for lines in [
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "content-length: 2\r\ncontent_length: 2\r\n",
        "content-length: +2\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "host: site.test\r\n",
        "a b: c\r\n",
        "a: b\nc: d\r\n",
        "expect: 100-continue\r\n",
    ] {
        assert!(one(post(lines, "0\r\n\r\n")).starts_with(BAD), "{lines}");
    }
    assert!(one(post("transfer-encoding: chunked\r\n", "2;x\r\nab\r\n0\r\n\r\n")).starts_with(BAD));
}
