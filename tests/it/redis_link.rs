//! Connections to a Redis whose master moves: Sentinel, Cluster; TLS, passwords, silence.

use std::{
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use chainhost::{
    base::{clock::Clock, secret::Secret},
    engines::redis::{Address, QueueRedis, Wish, is_lost},
    ports::queue::Jobs,
};
use redis::{Connection, RedisResult};
use tokio::time::Instant;

use crate::support::{
    free_port,
    redis::Server,
    redis_ha::{Nodes, Watched, ask, until},
};

/// How long what must come may take.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn address(url: &str) -> Address {
    Address::parse(&Secret::new(url.to_owned())).unwrap()
}

fn port_of(connection: &mut Connection) -> u16 {
    let (_, port): (String, u16) = redis::cmd("CONFIG").arg("GET").arg("port").query(connection).unwrap();
    port
}

/// Does it on a connection that is made again whenever it is lost.
fn follow<T>(address: &Address, kept: &mut Option<Connection>, act: impl Fn(&mut Connection) -> RedisResult<T>) -> T {
    let start = Instant::now();
    loop {
        let result = match kept {
            Some(connection) => act(connection),
            None => match address.connect() {
                Ok(connection) => {
                    *kept = Some(connection);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(done) => return done,
            Err(error) => {
                assert!(is_lost(&error), "{error}");
                assert!(start.elapsed() < DEADLINE, "{error}");
                *kept = None;
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn set_and_get(address: &Address, kept: &mut Option<Connection>, number: u64) {
    let key = format!("{{chainhost}}:{}", number % 50);
    follow(address, kept, |it| redis::cmd("SET").arg(&key).arg(number).exec(it));
    let read: u64 = follow(address, kept, |it| redis::cmd("GET").arg(&key).query(it));
    assert_eq!(read, number, "{key}");
}

#[test]
fn sentinels_lead_to_the_new_master() {
    let mut watched = Watched::start();
    let address = address(&watched.url());
    let mut kept = None;
    let rounds = if std::env::var_os("CHAINHOST_LONG").is_some() { 20 } else { 3 };
    for round in 0..rounds {
        set_and_get(&address, &mut kept, round);
        let port = port_of(kept.as_mut().unwrap());
        let old = watched.index(port);
        watched.servers[old].kill();
        let start = Instant::now();
        follow(&address, &mut kept, |it| redis::cmd("SET").arg("{chainhost}:round").arg(round).exec(it));
        let new = port_of(kept.as_mut().unwrap());
        assert_ne!(new, port);
        println!(
            "round {round}: the new master took a write {} ms after the old one was killed",
            start.elapsed().as_millis()
        );
        // It comes back and still takes itself for a master. Nobody may be led to it.
        watched.servers[old].go();
        for _ in 0..5 {
            let again = follow(&address, &mut None, |it| redis::cmd("CONFIG").arg("GET").arg("port").query(it));
            let (_, port): (String, u16) = again;
            assert_eq!(port, new);
        }
        ask(port, &["replicaof", "127.0.0.1", &new.to_string()]);
        watched.until_agreed(1);
    }
}

#[test]
fn a_demoted_master_is_refused() {
    let watched = Watched::start();
    let address = address(&watched.url());
    let master = port_of(&mut address.connect().unwrap());
    // Behind the Sentinels' backs, which go on naming it for some seconds.
    let other = watched.servers.iter().find(|it| it.port != master).unwrap().port;
    let mut held = address.connect().unwrap();
    ask(master, &["replicaof", "127.0.0.1", &other.to_string()]);
    let error = address.connect().err();
    let written = redis::cmd("SET").arg("{chainhost}:x").arg(1).exec(&mut held);
    assert!(written.is_err_and(|it| is_lost(&it)));
    assert!(error.is_some_and(|it| is_lost(&it)), "led to a replica");
    until("the Sentinels to mend it", || address.connect().is_ok());
}

#[test]
fn an_unknown_master_and_silent_sentinels() {
    let watched = Watched::start();
    let error = address(&watched.url().replace("/main", "/other")).connect().err().unwrap();
    let address = address(&watched.url().replace("redis+sentinel://", "redis+sentinel://127.0.0.1:1,"));
    assert!(address.explain(&error).message.contains("no master by the name"), "{error}");
    // One that is down is passed over.
    assert!(address.connect().is_ok());
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let url = watched.url().replace("redis+sentinel://", &format!("redis+sentinel://127.0.0.1:{port},"));
    assert!(Address::parse(&Secret::new(url)).unwrap().connect().is_ok(), "one that is silent as well");
}

#[test]
fn a_cluster_leads_to_the_owner_while_slots_move() {
    let nodes = Nodes::start();
    // The slot of the tag is 1,188: of the first node.
    let address = Arc::new(address(&nodes.url(&[2])));
    let mut connection = address.connect().unwrap();
    assert_eq!(port_of(&mut connection), nodes.servers[0].port);
    drop(connection);
    let moved = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..2)
        .map(|worker| {
            let (address, moved) = (Arc::clone(&address), Arc::clone(&moved));
            thread::spawn(move || {
                let (mut kept, mut count) = (None, 0_u64);
                while !moved.load(Ordering::SeqCst) || count == 0 {
                    let key = format!("{{chainhost}}:{worker}:{}", count % 50);
                    follow(&address, &mut kept, |it| redis::cmd("SET").arg(&key).arg(count).exec(it));
                    let read: u64 = follow(&address, &mut kept, |it| redis::cmd("GET").arg(&key).query(it));
                    assert_eq!(read, count, "{key}");
                    count += 1;
                }
                count
            })
        })
        .collect();
    let mut resharding = nodes.reshard(0, 1, 1_300);
    assert!(resharding.wait().unwrap().success());
    moved.store(true, Ordering::SeqCst);
    let counts: Vec<u64> = load.into_iter().map(|it| it.join().unwrap()).collect();
    println!("{counts:?} writes and reads while 1,300 slots moved");
    assert_eq!(port_of(&mut address.connect().unwrap()), nodes.servers[1].port);
    // Only what was learnt leads on when the node of the URL is gone.
    let mut nodes = nodes;
    nodes.servers[2].kill();
    assert!(address.connect().is_ok_and(|mut it| port_of(&mut it) == nodes.servers[1].port));
    let alone = Server::start(&[]);
    let single = self::address(&alone.url().replace("redis://", "redis+cluster://"));
    let error = single.connect().err().unwrap();
    assert!(single.explain(&error).message.contains("is no cluster"), "{error}");
}

/// An authority and a server's certificate that it signed for 127.0.0.1, in a folder.
pub(crate) fn certificates(folder: &Path) {
    let run = |words: &[&str]| {
        let out = Command::new("openssl").args(words).current_dir(folder).stdin(Stdio::null()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let names = ["-addext", "subjectAltName=IP:127.0.0.1"];
    run(&[&["req", "-x509"], &new_key[..], &["-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.crt"]]
        .concat());
    let request = ["-subj", "/CN=redis", "-keyout", "server.key", "-out", "server.csr"];
    run(&[&["req"], &new_key[..], &names[..], &request[..]].concat());
    let sign =
        ["x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
    run(&[&sign[..], &["-copy_extensions", "copy", "-out", "server.crt"]].concat());
}

#[test]
fn tls_verifies_the_server() {
    let keys = tempfile::tempdir().unwrap();
    certificates(keys.path());
    let path = |name: &str| keys.path().join(name).display().to_string();
    let port = free_port();
    let server = Server::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &path("server.crt"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-ca-cert-file",
        &path("ca.crt"),
        "--tls-auth-clients",
        "no",
    ]);
    let roots = path("ca.crt");
    let mut connection = address(&format!("rediss://127.0.0.1:{port}/1?sslrootcert={roots}")).connect().unwrap();
    redis::cmd("SET").arg("x").arg(1).exec(&mut connection).unwrap();
    // Another database, and another port.
    assert_eq!(ask(server.port, &["-n", "1", "get", "x"]), "1");
    for wrong in [
        format!("rediss://127.0.0.1:{port}"),
        format!("rediss://localhost:{port}?sslrootcert={roots}"),
        format!("rediss://127.0.0.1:{}?sslrootcert={roots}", server.port),
    ] {
        let error = address(&wrong).connect().err().unwrap_or_else(|| panic!("{wrong} was trusted"));
        println!("{wrong}: {error}");
    }
}

#[test]
fn wrong_passwords_are_a_clear_error() {
    let server = Server::start(&["--requirepass", "right"]);
    let rights = ["acl", "setuser", "app", "on", ">p@ss/word", "~*", "&*", "+@all"];
    assert_eq!(ask(server.port, &[&["-a", "right", "--no-auth-warning"], &rights[..]].concat()), "OK");
    for (login, word) in [
        (":wrong@", "refuses the user or the password"),
        ("app:wrong@", "refuses the user or the password"),
        ("nobody:right@", "refuses the user or the password"),
        ("", "wants a password"),
    ] {
        let address = address(&format!("redis://{login}127.0.0.1:{}", server.port));
        let error = address.connect().err().unwrap();
        let error = address.explain(&error);
        assert!(error.message.contains(word), "{login}: {error}");
        assert!(!format!("{error:?}").contains("wrong"), "{error:?}");
    }
    for login in [":right@", "app:p@ss%2Fword@", "app:p%40ss%2Fword@"] {
        assert!(address(&format!("redis://{login}127.0.0.1:{}", server.port)).connect().is_ok(), "{login}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_says_why_it_has_no_redis() {
    let closed = Server::start(&["--requirepass", "right"]);
    let open = Server::start(&[]);
    for (url, word) in [
        (format!("redis://:wrong@127.0.0.1:{}", closed.port), "refuses the user or the password"),
        (format!("redis://127.0.0.1:{}", closed.port), "wants a password"),
        (format!("redis://127.0.0.1:{}/99", open.port), "has no database with the number"),
        (format!("rediss://127.0.0.1:{}", open.port), "by TLS"),
        (format!("redis+cluster://127.0.0.1:{}", open.port), "is no cluster"),
        (format!("redis://127.0.0.1:{}", free_port()), "cannot be reached"),
    ] {
        let url = Secret::new(url);
        let engine = QueueRedis::open(&url, &Wish::new("one", Clock::system())).unwrap();
        let error = Jobs::new(Arc::<QueueRedis>::clone(&engine)).depths(None).await.unwrap_err();
        engine.close();
        assert!(error.message.contains(word) && error.message.contains("127.0.0.1:"), "{word}: {error:?}");
        assert!(error.code == "queue_unreachable" && !format!("{error:?}").contains("wrong"), "{error:?}");
    }
}

#[test]
fn a_server_that_says_nothing_holds_nobody() {
    // The kernel takes connections; nobody ever reads from them.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    for url in [
        format!("redis://127.0.0.1:{port}"),
        format!("redis://:word@127.0.0.1:{port}/3"),
        format!("rediss://127.0.0.1:{port}"),
        format!("redis+sentinel://127.0.0.1:{port},127.0.0.1:{port}/main"),
        format!("redis+cluster://127.0.0.1:{port},127.0.0.1:{port}"),
    ] {
        let start = Instant::now();
        let error = address(&url).connect().err().unwrap();
        println!("{url}: {error} after {} ms", start.elapsed().as_millis());
        assert!(start.elapsed() < DEADLINE && is_lost(&error), "{url}: {error}");
    }
}
