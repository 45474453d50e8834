//! HTTP/1.1 (RFC 9112, with RFC 9110): requests as bytes, what is answered to each, whether its connection goes on, and what of it reaches
//! an upstream. What two readers may take for two different requests is answered once, and its connection ends.

mod chunks;
mod lengths;
mod lines;
mod targets;

use std::{net::SocketAddr, time::Duration};

use chainhost::net::connection::Limits;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    time::timeout,
};

use super::{none_wrong, site};

/// Long enough for a slow machine; only a hang takes it.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// The server ends it.
    Closed,
    /// The next request on it is answered.
    Kept,
    /// The client has sent all that it will, and the server ends it then.
    Ended,
}

/// A request, and what is right.
///
/// In what is sent, `{p}` is the path, `{h}` the line with the host, `{s}` a request of its own for `{p}/smuggled`, `{c}` a head whose body is
/// chunked, `{20000}` so many letters, and `{100*x}` so many lines.
#[derive(Clone, Copy)]
struct Row {
    /// With the section.
    what: &'static str,
    sent: &'static str,
    /// The statuses of all answers where the path is a file's.
    file: &'static [u16],
    /// And where another server answers it.
    passed: &'static [u16],
    then: Then,
    /// The same where the path is a file's, which reads no body.
    file_then: Then,
    /// What that server is asked.
    up: &'static [&'static str],
}

/// A row that is answered with 400, and the connection ends.
const fn bad(what: &'static str, sent: &'static str) -> Row {
    Row { what, sent, file: &[400], passed: &[400], then: Then::Closed, file_then: Then::Closed, up: &[] }
}

/// A row that is one GET.
const fn get(what: &'static str, sent: &'static str) -> Row {
    Row { what, sent, file: &[200], passed: &[200], then: Then::Kept, file_then: Then::Kept, up: &["GET {p} "] }
}

/// A row that is one POST with `abcd`, which no file takes.
const fn post(what: &'static str, sent: &'static str) -> Row {
    Row { what, sent, file: &[405], passed: &[200], then: Then::Kept, file_then: Then::Kept, up: &["POST {p} abcd"] }
}

/// A row that is a POST with `abcd` and another request behind.
const fn two(what: &'static str, sent: &'static str) -> Row {
    Row {
        what,
        sent,
        file: &[405, 404],
        passed: &[200, 200],
        then: Then::Kept,
        file_then: Then::Kept,
        up: &["POST {p} abcd", "GET {p}/smuggled "],
    }
}

/// A row whose body cannot be read on: the answer was decided before, or says so.
const fn cut(what: &'static str, sent: &'static str) -> Row {
    Row { what, sent, file: &[405], passed: &[400], then: Then::Closed, file_then: Then::Closed, up: &[] }
}

impl Row {
    const fn then(self, then: Then) -> Self {
        Self { then, file_then: then, ..self }
    }

    /// What of a body no file has read by then ends the connection.
    const fn ends_at_a_file(self) -> Self {
        Self { file: &[405], file_then: Then::Closed, ..self }
    }

    const fn answers(self, file: &'static [u16], passed: &'static [u16]) -> Self {
        Self { file, passed, ..self }
    }

    const fn asks(self, up: &'static [&'static str]) -> Self {
        Self { up, ..self }
    }

    /// Its bytes for a path.
    fn bytes(&self, path: &str) -> Vec<u8> {
        let mut text = self
            .sent
            .replace("{c}", "POST {p} HTTP/1.1\r\n{h}Transfer-Encoding: chunked\r\n\r\n")
            .replace("{s}", "GET {p}/smuggled HTTP/1.1\r\n{h}\r\n")
            .replace("{h}", "Host: site.test\r\n")
            .replace("{p}", path);
        while let Some((before, rest)) = text.split_once('{') {
            let (inner, after) = rest.split_once('}').unwrap();
            let made = match inner.split_once('*') {
                Some((count, line)) => format!("{line}\r\n").repeat(count.parse().unwrap()),
                None => "b".repeat(inner.parse().unwrap()),
            };
            text = format!("{before}{made}{after}");
        }
        // Bytes above 127 stand for themselves.
        text.chars().map(|it| u8::try_from(u32::from(it)).unwrap()).collect()
    }
}

/// What came of a row.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    answers: Vec<u16>,
    then: Option<Then>,
}

const PROBE: &[u8] = b"GET /a.txt HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";

fn statuses(bytes: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.match_indices("HTTP/1.").map(|(at, _)| &text[at..]);
    lines.filter_map(|line| line.split(' ').nth(1)?.get(..3)?.parse().ok()).collect()
}

/// Sends bytes, and finds out what becomes of the connection behind so many answers.
async fn send(address: SocketAddr, bytes: Vec<u8>, then: Then, answers: usize) -> Came {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may refuse before it has read everything.
    drop(stream.write_all(&bytes).await);
    if then == Then::Ended {
        drop(stream.shutdown().await);
    }
    let (mut came, mut piece, mut probed) = (Vec::new(), vec![0; 16 * 1024], None);
    loop {
        // A reset after the answer is an end like another.
        match timeout(PATIENCE, stream.read(&mut piece)).await {
            Err(_) => return Came { answers: statuses(&came), then: None },
            Ok(Ok(count)) if count > 0 => came.extend_from_slice(&piece[..count]),
            Ok(_) => break,
        }
        if then == Then::Kept && probed.is_none() && statuses(&came).len() >= answers {
            probed = Some(statuses(&came).len());
            drop(stream.write_all(PROBE).await);
        }
    }
    let mut all = statuses(&came);
    let is_kept = probed.is_some_and(|it| all.len() == it + 1) && all.last() == Some(&200) && came.ends_with(b"a file");
    if is_kept {
        all.pop();
    }
    let ended = if then == Then::Ended { Then::Ended } else { Then::Closed };
    Came { answers: all, then: Some(if is_kept { Then::Kept } else { ended }) }
}

fn rows() -> Vec<Row> {
    [lengths::ROWS, chunks::ROWS, lines::ROWS, targets::ROWS].concat()
}

/// All rows at a path that is made of their number.
async fn run(path: fn(usize) -> String, is_passed: bool) {
    // A connection that the server does not end by itself stays open longer than anybody waits.
    let long = PATIENCE * 4;
    let (web, up) = site(Limits { head: long, idle: long, ..Limits::default() }).await;
    let wanted = |row: &Row| if is_passed { (row.passed, row.then) } else { (row.file, row.file_then) };
    let (rows, mut wrong, mut under_way) = (rows(), Vec::new(), Vec::new());
    for (number, row) in rows.iter().enumerate() {
        let (sender, came) = oneshot::channel();
        let (address, bytes, (answers, then)) = (web.address, row.bytes(&path(number)), wanted(row));
        web.tasks.spawn(async move { drop(sender.send(send(address, bytes, then, answers.len()).await)) });
        under_way.push(came);
    }
    for ((number, row), came) in rows.iter().enumerate().zip(under_way) {
        let came = came.await.unwrap();
        let (answers, then) = wanted(row);
        let right = Came { answers: answers.to_vec(), then: Some(then) };
        if came != right {
            wrong.push(format!("{}: {right:?} is right, and {came:?} came", row.what));
        }
        let asked = if is_passed { up.asked(&path(number)) } else { Vec::new() };
        let right: Vec<String> =
            row.up.iter().filter(|_| is_passed).map(|it| it.replace("{p}", &path(number))).collect();
        if asked != right {
            wrong.push(format!("{}: an upstream is to be asked {right:?}, and was asked {asked:?}", row.what));
        }
    }
    wrong.extend(up.unreadable());
    none_wrong(&wrong, rows.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_asked_for() {
    run(|_| String::from("/a.txt"), false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_is_asked() {
    run(|number| format!("/up/{number}"), true).await;
}
