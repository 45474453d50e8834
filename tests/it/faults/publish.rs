//! Publishing and rolling back while visitors read: no failed request, never a mix within a file.

use std::{
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use chainhost::base::hash::Sha256;
use serde_json::{Value, json};

use super::{FILES, api::Api, rounds, version, version_of};
use crate::support::{
    Answer, Host,
    http::{Fate, Kept},
};

const CLIENTS: u64 = 4;

/// The body as the file is, whatever it was sent as.
fn plain(answer: &Answer) -> Vec<u8> {
    let mut bytes = Vec::new();
    match answer.header("content-encoding") {
        None => bytes.clone_from(&answer.body),
        Some("gzip") => drop(flate2::read::GzDecoder::new(&*answer.body).read_to_end(&mut bytes).unwrap()),
        Some("zstd") => bytes = zstd::decode_all(&*answer.body).unwrap(),
        Some("br") => drop(brotli::Decompressor::new(&*answer.body, 4096).read_to_end(&mut bytes).unwrap()),
        Some(other) => panic!("sent as {other}"),
    }
    bytes
}

/// A whole file of one version, under the tag of exactly these bytes in this form.
fn check(path: &str, answer: &Answer) -> u64 {
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    let bytes = plain(answer);
    let number = version_of(path, &bytes);
    let hash = data_encoding::BASE64URL_NOPAD.encode(&Sha256::of(&bytes).0);
    let wanted = match answer.header("content-encoding") {
        None => format!("\"{hash}\""),
        Some(coding) => format!("\"{hash}-{coding}\""),
    };
    assert_eq!(answer.header("etag"), Some(&*wanted), "{path}");
    number
}

/// Reads file after file until told to stop, and counts.
fn visit(port: u16, stop: &AtomicBool, count: &AtomicU64) {
    let paths: Vec<String> = version(0).into_iter().map(|(path, _)| path).collect();
    let mut connection = Kept::open(port).unwrap();
    let codings = ["", "Accept-Encoding: gzip\r\n", "Accept-Encoding: zstd\r\n", "Accept-Encoding: br\r\n"];
    for (path, coding) in paths.iter().zip(codings.iter().cycle()).cycle() {
        match connection.get("hello.localhost", &format!("/{path}"), coding) {
            Fate::Whole(answer) => drop(check(path, &answer)),
            Fate::Nothing => panic!("{path}: no answer"),
            Fate::Cut(count) => panic!("{path}: cut after {count} bytes"),
        }
        count.fetch_add(1, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[test]
fn visitors_see_whole_files_of_one_version_while_versions_come_and_go() {
    let host = Host::start();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    api.deploy_version("hello", 2);
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (port, stop, count) = (host.port, Arc::clone(&stop), Arc::clone(&count));
            thread::spawn(move || visit(port, &stop, &count))
        })
        .collect();
    let mut newest = 2;
    for round in 0..50 {
        // Spread over the whole time of the load.
        let due = rounds(5_000, 100_000) * round / 50;
        host.until("the load", || {
            (count.load(Ordering::Relaxed) >= due || clients.iter().any(thread::JoinHandle::is_finished)).then_some(())
        });
        let moved = match round % 4 {
            0 => {
                newest += 1;
                api.deploy_version("hello", newest)
            }
            1 => api.must("POST /api/v1/sites/hello/rollback", &Value::Null, 200),
            2 => api.must(&format!("POST /api/v1/sites/hello/deployments/{newest}/publish"), &Value::Null, 200),
            _ => api.must("POST /api/v1/sites/hello/rollback", &json!({ "to": (newest - 1).to_string() }), 200),
        };
        // Answered means visible, to everybody.
        let shown = version_of("index.html", &host.get("hello.localhost", "/").body);
        assert_eq!(moved["message"], format!("version {shown}"));
    }
    stop.store(true, Ordering::Relaxed);
    for it in clients {
        it.join().unwrap();
    }
    assert!(count.load(Ordering::Relaxed) > FILES * CLIENTS);
    println!("{} requests", count.load(Ordering::Relaxed));
}
