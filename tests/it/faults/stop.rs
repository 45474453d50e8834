//! SIGTERM under load, while starting and with idle connections: whoever got through to the server gets a whole answer,
//! and the stop ends.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    api::{Api, CUT, RESET, Wish},
    check_stores, rounds, version, version_of, whole_site,
};
use crate::{
    queue_redb::Dice,
    support::{
        Host, PATIENCE, PROGRAM,
        http::{Fate, Kept},
    },
};

/// Reads a file on a kept connection, or on a new one each time, until nobody listens any more; how many answers came.
fn visit(port: u16, keep: bool, started: &AtomicU64) -> u64 {
    let mut answers = 0;
    let mut kept: Option<Kept> = None;
    for (path, _) in version(0).iter().cycle() {
        let is_new = kept.is_none();
        let Some(mut connection) = kept.take().or_else(|| Kept::open(port).ok()) else { break };
        match connection.get("hello.localhost", &format!("/{path}"), if keep { "" } else { "Connection: close\r\n" }) {
            Fate::Whole(answer) => {
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                version_of(path, &answer.body);
                answers += 1;
                started.fetch_add(1, Ordering::Relaxed);
                let ends = answer.header("connection") == Some("close");
                kept = (keep && !ends).then_some(connection);
            }
            // An idle connection may be closed at any time: the client asks again on another.
            Fate::Nothing if !is_new => {}
            Fate::Nothing => panic!("a connection was made and not answered"),
            Fate::Cut(count) => panic!("cut after {count} bytes"),
        }
    }
    answers
}

/// Deploys until nobody listens any more; the version acknowledged last.
fn deploy(api: &Api, mut number: u64) -> u64 {
    loop {
        let wish = Wish { message: format!("version {}", number + 1), ..Wish::default() };
        match api.deploy("hello", &version(number + 1), &wish) {
            Ok(_) => number += 1,
            Err(answer) if answer.status == 0 => {
                assert_ne!(answer.body, CUT, "an answer of the API was cut off");
                assert_ne!(answer.body, RESET, "a call was not answered");
                return number;
            }
            Err(answer) => panic!("{} {}", answer.status, answer.text()),
        }
    }
}

#[test]
fn asked_to_stop_under_load_it_cuts_no_answer() {
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let mut host = Host::start();
    let mut api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    let mut last = 1;
    for round in 0..rounds(10, 50) {
        let started = Arc::new(AtomicU64::new(0));
        let visitors: Vec<_> = [true, true, false, false]
            .into_iter()
            .map(|keep| {
                let (port, started) = (host.port, Arc::clone(&started));
                thread::spawn(move || visit(port, keep, &started))
            })
            .collect();
        let deployer = api.clone();
        let deployer = thread::spawn(move || deploy(&deployer, last));
        host.until("the load", || (started.load(Ordering::Relaxed) > 200).then_some(()));
        // The moment is what is tested: nothing is waited for.
        thread::sleep(Duration::from_millis(dice.below(300)));
        assert_eq!(host.stop(), Some(0), "{}", host.log());
        let visits: Vec<u64> = visitors.into_iter().map(|it| it.join().unwrap()).collect();
        let acknowledged = deployer.join().unwrap();
        host.restart();
        api.moved(&host);
        let shown = whole_site(host.port, "hello");
        // The last one may have been published without that its sender heard of it.
        assert!((acknowledged..=acknowledged + 1).contains(&shown), "{acknowledged} was acknowledged, {shown} is live");
        let live = api.must("GET /api/v1/sites/hello", &Value::Null, 200);
        println!("round {round}: {visits:?}, {shown} is live as {}", live["live"]["number"]);
        last = shown;
        // A thousand calls in a quarter of an hour are what one may make.
        api = api.with_key(&host.another_key("owner@example.org"));
    }
    assert!(!host.log().contains("did not end in time"), "{}", host.log());
    check_stores(&mut host);
}

/// A server with a site and a table fewer than it needs to read what visitors see, stopped.
fn without_routes() -> Host {
    let mut host = Host::start_embedded();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    assert_eq!(host.stop(), Some(0));
    let database = rusqlite::Connection::open(host.data().join("chainhost.db")).unwrap();
    database.execute_batch("ALTER TABLE hostname RENAME TO mislaid").unwrap();
    host
}

#[test]
fn a_start_that_does_not_come_to_its_end_can_be_stopped() {
    let host = without_routes();
    let log = host.beside("second.log");
    let mut child = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(host.data())
        .stdout(Stdio::null())
        .stderr(File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let said = || fs::read_to_string(&log).unwrap();
    host.until("the first snapshot to fail", || said().contains("the snapshot could not be rebuilt").then_some(()));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let start = tokio::time::Instant::now();
    let ended = loop {
        match child.try_wait().unwrap() {
            Some(status) => break Some(status),
            None if start.elapsed() > PATIENCE => break None,
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert_eq!(ended.and_then(|it| it.code()), Some(0), "{}", said());
    assert!(!said().contains("did not end in time"), "{}", said());
}

#[test]
fn who_holds_a_connection_to_the_control_socket_holds_up_no_stop() {
    let mut host = Host::start();
    let mut held = Vec::new();
    for sent in ["", "POST / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"] {
        let mut stream = UnixStream::connect(host.data().join("control.sock")).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        held.push(stream);
    }
    // Connections are taken in their order: those before this one are held.
    assert!(host.admin(&["claim-link"], "").status.success());
    assert_eq!(host.stop(), Some(0));
    assert!(!host.log().contains("did not end in time"), "{}", host.log());
    drop(held);
}
