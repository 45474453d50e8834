//! A visitor that asks for hundreds of files on one connection, as a browser does.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
};

use super::{Answer, Host, PATIENCE};

/// One connection to a host of the server, kept open between requests. Opened again only after the server said that it
/// closes, which [`Visitor::connections`] counts.
pub(crate) struct Visitor {
    port: u16,
    host: String,
    stream: Option<BufReader<TcpStream>>,
    /// Connections opened so far.
    pub(crate) connections: usize,
}

impl Visitor {
    /// A visitor of `host`: `hello.localhost`.
    pub(crate) fn new(server: &Host, host: &str) -> Self {
        Self { port: server.port, host: format!("{host}:{}", server.port), stream: None, connections: 0 }
    }

    /// GETs a raw path, with more header lines (each ends in CRLF).
    pub(crate) fn get(&mut self, path: &str, lines: &str) -> Answer {
        let mut stream = self.stream.take().unwrap_or_else(|| {
            self.connections += 1;
            let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
            // One write a request: waiting for more would only add the delay of an acknowledgement.
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            BufReader::with_capacity(64 * 1024, stream)
        });
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{lines}\r\n", self.host);
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let answer = read(&mut stream).unwrap_or_else(|error| panic!("{path}: {error}"));
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        answer
    }
}

fn read(stream: &mut BufReader<TcpStream>) -> std::io::Result<Answer> {
    let wrong = |what: &str| std::io::Error::other(what.to_owned());
    let status = line(stream)?.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or_else(|| wrong("no status"))?;
    let mut headers = Vec::new();
    loop {
        let line = line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| wrong("no header"))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if answer.header("transfer-encoding") == Some("chunked") {
        loop {
            let size = usize::from_str_radix(&line(stream)?, 16).map_err(std::io::Error::other)?;
            take(stream, size, &mut answer.body)?;
            line(stream)?;
            if size == 0 {
                break;
            }
        }
    } else if !matches!(status, 204 | 304) {
        let length = answer.header("content-length").and_then(|it| it.parse().ok());
        take(stream, length.ok_or_else(|| wrong("no length"))?, &mut answer.body)?;
    }
    Ok(answer)
}

fn line(stream: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    line.strip_suffix("\r\n").map(str::to_owned).ok_or_else(|| std::io::Error::other("closed inside an answer"))
}

fn take(stream: &mut BufReader<TcpStream>, size: usize, into: &mut Vec<u8>) -> std::io::Result<()> {
    let read = stream.take(size.try_into().map_err(std::io::Error::other)?).read_to_end(into)?;
    if read == size { Ok(()) } else { Err(std::io::Error::other("closed inside a body")) }
}
