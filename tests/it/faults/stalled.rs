//! Clients that stand still in the middle of a body: they hold nobody up, are ended, and may go on later.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use super::{
    api::{Api, Wish, frame},
    check_stores, version, whole_site,
};
use crate::support::{Host, read_files};

/// More than the threads that a server has for blocking work.
const STALLED: usize = 600;
/// Uploads of one key at once.
const PLACES: usize = 16;

/// A request whose body stands still, and what has come back.
struct Stalled {
    stream: TcpStream,
    answer: Vec<u8>,
    ended: bool,
}

impl Stalled {
    /// Sends the head of `call` and one byte of its body.
    fn begin(host: &Host, key: &str, call: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", host.port)).unwrap();
        let head = format!(
            "{call} HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {key}\r\nContent-Length: 1000\r\n\r\n{{",
            host.port
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, answer: Vec::new(), ended: false }
    }

    /// The status of the answer, once it is there whole.
    fn status(&mut self) -> Option<u16> {
        let mut piece = [0; 4096];
        while !self.ended {
            match self.stream.read(&mut piece) {
                Ok(0) => self.ended = true,
                Ok(count) => self.answer.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Closed with a byte of ours unread: what was answered is here.
                Err(_) => self.ended = true,
            }
        }
        let text = String::from_utf8_lossy(&self.answer);
        Some(text.split(' ').nth(1).and_then(|it| it.parse().ok()).unwrap_or(0))
    }
}

fn count(all: &mut [Stalled], status: u16) -> usize {
    all.iter_mut().filter_map(Stalled::status).filter(|it| *it == status).count()
}

#[test]
fn stalled_uploads_hold_nobody_up_and_are_ended() {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wide = rustix::process::Rlimit { current: limits.maximum, ..limits };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wide).unwrap();
    let mut host = Host::start();
    let key = host.key("owner@example.org", "super-admin");
    let api = Api::new(&host, &key);
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.must("POST /api/v1/sites", &json!({ "name": "films" }), 201);
    // Too large for memory: it is read by a thread for blocking work.
    let film = vec![b'f'; 300_000];
    api.deploy("films", &[(String::from("film.bin"), film.clone())], &Wish::default()).unwrap();
    let files = version(2);
    let begun = api.begin("hello", &files, &Wish::default()).json();
    let id = begun["id"].as_str().unwrap();

    let mut others = [
        Stalled::begin(&host, &key, "POST /api/v1/sites"),
        Stalled::begin(&host, "none", "POST /api/v1/sites/hello/deployments"),
    ];
    let call = format!("POST /api/v1/sites/hello/deployments/{id}/blobs");
    let mut stalled = vec![Stalled::begin(&host, &key, "PUT /api/v1/sites/hello/deployments")];
    stalled.extend((0..STALLED).map(|_| Stalled::begin(&host, &key, &call)));

    let refused = STALLED + 1 - PLACES;
    host.until("those without a place", || (count(&mut stalled, 429) >= refused).then_some(()));
    // A visitor, while the others stand still.
    let mut visitor = TcpStream::connect(("127.0.0.1", host.port)).unwrap();
    visitor.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    visitor.write_all(b"GET /film.bin HTTP/1.1\r\nHost: films.localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    visitor.read_to_end(&mut answer).expect("a visitor waits for those who stand still");
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(&film));

    let told = stalled.iter().find(|it| it.ended).unwrap();
    let told = String::from_utf8_lossy(&told.answer).to_lowercase();
    assert!(told.contains("retry-after: 5") && told.contains("uploads_max"), "{told}");
    host.until("the end of those who stand still", || (count(&mut stalled, 408) == PLACES).then_some(()));
    assert_eq!(count(&mut stalled, 429), refused);
    host.until("the end of the others", || others.iter_mut().all(|it| it.status().is_some()).then_some(()));
    assert_eq!((others[0].status(), others[1].status()), (Some(408), Some(401)));
    // Of the archive that came to nothing nothing is left, on the disk or in the list.
    let left = || read_files(&host.data()).into_iter().any(|(path, _)| path.starts_with("archives/"));
    host.until("the end of the archive", || (!left()).then_some(()));
    let listed = api.list("/api/v1/sites/hello/deployments");
    assert!(listed.len() == 1 && listed[0]["state"] == "uploading", "{listed:?}");
    // One that broke off in the middle has kept its first file; then all goes on.
    let first = frame(&files[0].1);
    assert_eq!(api.call(&call, &[&first[..], &frame(&files[1].1)[..45]].concat()).json()["code"], "upload_cut");
    assert_eq!(api.send("hello", id, &files, &begun["missing"]).status, 200);
    let done = api.finish("hello", id);
    assert_eq!((done.status, whole_site(host.port, "hello")), (200, 2), "{}", done.text());
    check_stores(&mut host);
}

#[test]
fn the_same_file_over_and_over_is_refused() {
    let host = Host::start();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    let files = [(String::from("index.html"), b"x".to_vec()), (String::from("empty"), Vec::new())];
    let begun = api.begin("hello", &files, &Wish::default()).json();
    let call = format!("POST /api/v1/sites/hello/deployments/{}/blobs", begun["id"].as_str().unwrap());
    let answer = api.call(&call, &frame(b"").repeat(3));
    assert_eq!((answer.status, &answer.json()["code"]), (400, &json!("blob_twice")), "{}", answer.text());
    // In a request of its own it may come again: an answer may have been lost.
    for _ in 0..2 {
        assert_eq!(api.call(&call, &frame(b"")).status, 200);
    }
}
