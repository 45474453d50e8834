//! Against a small name server of the tests' own.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32},
    },
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{
        Name, RData, Record as Resource, RecordType,
        rdata::{A, CAA, CNAME, SOA, TXT},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
};

use super::*;
use crate::{
    base::{files::write_atomic, tasks::Tasks, together},
    domain::{caa::Property, dns::Record},
};

/// What the server is to say, by name; whoever is not there gets NXDOMAIN.
type Zone = HashMap<&'static str, Vec<RData>>;

/// A name server. Dropped, it answers no more.
struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Tasks,
}

#[derive(Default)]
struct Shared {
    zone: Mutex<Zone>,
    asked: AtomicU32,
    silent: AtomicBool,
    fails: AtomicBool,
    /// Fails unless it is told not to check signatures.
    bogus: AtomicBool,
    /// Answers datagrams with "too long".
    truncates: AtomicBool,
    /// Takes no EDNS.
    old: AtomicBool,
    /// Before each answer sends forged ones.
    forges: AtomicBool,
}

const TTL: u32 = 100;

fn named(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

fn a(text: &str) -> RData {
    RData::A(A(text.parse().unwrap()))
}

fn alias(text: &str) -> RData {
    RData::CNAME(CNAME(named(text)))
}

impl Shared {
    fn answer(&self, bytes: &[u8], by_stream: bool) -> Message {
        let asked = Message::from_vec(bytes).unwrap();
        let query = asked.queries[0].clone();
        let mut answer = Message::new(asked.metadata.id, MessageType::Response, OpCode::Query);
        let on = |it: &AtomicBool| it.load(Ordering::Relaxed);
        answer.add_query(query.clone());
        answer.metadata.authoritative = true;
        if on(&self.old) && asked.edns.is_some() {
            answer.metadata.response_code = ResponseCode::FormErr;
            return answer;
        }
        if on(&self.fails) || on(&self.bogus) && !asked.metadata.checking_disabled {
            answer.metadata.response_code = ResponseCode::ServFail;
            return answer;
        }
        if on(&self.truncates) && !by_stream {
            answer.metadata.truncation = true;
            return answer;
        }
        let zone = self.zone.lock().unwrap_or_else(PoisonError::into_inner);
        let name = query.name.to_ascii().trim_end_matches('.').to_lowercase();
        let Some(records) = zone.get(name.as_str()) else {
            answer.metadata.response_code = ResponseCode::NXDomain;
            let mut soa = SOA::new(named("ns.zone"), named("a.zone"), 1, 1, 1, 1, 0);
            soa.minimum = 20;
            answer.add_authority(Resource::from_rdata(named("zone"), TTL, RData::SOA(soa)));
            return answer;
        };
        let fits = |it: &&RData| it.record_type() == query.query_type || it.record_type() == RecordType::CNAME;
        for data in records.iter().filter(fits) {
            answer.add_answer(Resource::from_rdata(query.name.clone(), TTL, data.clone()));
        }
        // What nobody asked for is poison.
        answer.add_answer(Resource::from_rdata(named("victim.zone"), TTL, a("6.6.6.6")));
        answer
    }
}

impl Server {
    async fn start(zone: Zone) -> Self {
        let shared = Arc::new(Shared { zone: Mutex::new(zone), ..Shared::default() });
        // The stream's port is free for datagrams too, or another is tried.
        let (listener, socket) = loop {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (listener, socket);
            }
        };
        let (address, tasks) = (socket.local_addr().unwrap(), Tasks::new());
        let (serving, stop) = (Arc::clone(&shared), tasks.clone());
        tasks.spawn(async move {
            let mut buffer = [0; 4_096];
            loop {
                let (length, from) = tokio::select! {
                    got = socket.recv_from(&mut buffer) => got.unwrap(),
                    () = stop.stopping() => return,
                };
                serving.asked.fetch_add(1, Ordering::Relaxed);
                if serving.silent.load(Ordering::Relaxed) {
                    continue;
                }
                let answer = serving.answer(&buffer[..length], false);
                if serving.forges.load(Ordering::Relaxed) {
                    let mut forged = answer.clone();
                    forged.metadata.id ^= 1;
                    socket.send_to(&forged.to_vec().unwrap(), from).await.unwrap();
                    let mut forged = answer.clone();
                    forged.queries[0].set_name(named("other.zone"));
                    socket.send_to(&forged.to_vec().unwrap(), from).await.unwrap();
                    socket.send_to(b"nonsense", from).await.unwrap();
                }
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        let (serving, stop) = (Arc::clone(&shared), tasks.clone());
        tasks.spawn(async move {
            loop {
                let (mut stream, _) = tokio::select! {
                    got = listener.accept() => got.unwrap(),
                    () = stop.stopping() => return,
                };
                let length = stream.read_u16().await.unwrap();
                let mut bytes = vec![0; usize::from(length)];
                stream.read_exact(&mut bytes).await.unwrap();
                let answer = serving.answer(&bytes, true).to_vec().unwrap();
                stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                stream.write_all(&answer).await.unwrap();
            }
        });
        Self { address, shared, tasks }
    }

    fn asked(&self) -> u32 {
        self.shared.asked.load(Ordering::Relaxed)
    }

    fn resolver(&self) -> Resolver {
        Resolver::new(&[self.address])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

fn zone() -> Zone {
    let caa = CAA::new_issue(true, Some(named("ca.example")), Vec::new());
    HashMap::from([
        (
            "plain.zone",
            vec![
                a("192.0.2.1"),
                a("192.0.2.2"),
                RData::CAA(caa),
                RData::TXT(TXT::new(vec!["one ".into(), "two".into()])),
            ],
        ),
        ("alias.zone", vec![alias("plain.zone")]),
        ("far.zone", vec![alias("alias.zone")]),
        ("dangling.zone", vec![alias("gone.zone")]),
        ("circle.zone", vec![alias("other-circle.zone")]),
        ("other-circle.zone", vec![alias("circle.zone")]),
        ("empty.zone", vec![]),
    ])
}

async fn text(resolver: &Resolver, name: &str) -> Result<String, Failure> {
    let answer = resolver.ask(name, Kind::A, Way::Cached).await?;
    let mut all = answer.chain.clone();
    all.extend(answer.addresses().map(|it| it.to_string()));
    all.extend(answer.no_name.then(|| String::from("no name")));
    Ok(all.join(" "))
}

#[tokio::test]
async fn names_lead_to_records() {
    let server = Server::start(zone()).await;
    let resolver = server.resolver();
    for (name, wanted) in [
        ("plain.zone", Ok("192.0.2.1 192.0.2.2")),
        ("alias.zone", Ok("plain.zone 192.0.2.1 192.0.2.2")),
        ("far.zone", Ok("alias.zone plain.zone 192.0.2.1 192.0.2.2")),
        ("dangling.zone", Ok("gone.zone no name")),
        ("gone.zone", Ok("no name")),
        ("empty.zone", Ok("")),
        ("circle.zone", Err(Failure::Loop)),
        // Another answer brought a record of it along.
        ("victim.zone", Ok("no name")),
    ] {
        assert_eq!(text(&resolver, name).await.as_deref().map_err(|it| *it), wanted, "{name}");
    }
    let caa = resolver.ask("plain.zone", Kind::Caa, Way::Cached).await.unwrap();
    let wanted = Property { critical: true, tag: String::from("issue"), value: String::from("ca.example.") };
    assert!(
        matches!(caa.records.as_slice(), [Record::Caa(it)] if it.value.trim_end_matches('.') == "ca.example" && it.critical == wanted.critical && it.tag == wanted.tag),
        "{caa:?}"
    );
    let txt = resolver.ask("plain.zone", Kind::Txt, Way::At(server.address)).await.unwrap();
    assert_eq!(txt.records, [Record::Txt(b"one two".to_vec())]);
    let gone = resolver.ask("gone.zone", Kind::Soa, Way::Fresh).await.unwrap();
    assert_eq!((gone.zone.as_deref(), gone.ttl_s), (Some("zone"), 20));
    // Asked directly, a server is not followed elsewhere.
    let own = resolver.ask("far.zone", Kind::A, Way::At(server.address)).await.unwrap();
    assert_eq!((own.chain, own.records), (vec![String::from("alias.zone")], Vec::new()));
}

#[tokio::test]
async fn answers_are_kept_and_asked_for_once() {
    let server = Server::start(zone()).await;
    let resolver = server.resolver();
    let many = (0..20).map(|_| resolver.ask("plain.zone", Kind::A, Way::Cached));
    assert!(together::all(many).await.iter().all(Result::is_ok));
    assert_eq!(server.asked(), 1, "twenty at once");
    text(&resolver, "plain.zone").await.unwrap();
    text(&resolver, "gone.zone").await.unwrap();
    text(&resolver, "gone.zone").await.unwrap();
    assert_eq!(server.asked(), 2, "also that there is nothing");
    // Whoever has just changed something looks past the cache, and others see it then.
    server.shared.zone.lock().unwrap().insert("plain.zone", vec![a("192.0.2.9")]);
    assert_eq!(text(&resolver, "plain.zone").await.unwrap(), "192.0.2.1 192.0.2.2");
    resolver.ask("plain.zone", Kind::A, Way::Fresh).await.unwrap();
    assert_eq!(text(&resolver, "plain.zone").await.unwrap(), "192.0.2.9");
    // No failure is kept.
    server.shared.fails.store(true, Ordering::Relaxed);
    assert_eq!(text(&resolver, "empty.zone").await, Err(Failure::ServerFailed));
    server.shared.fails.store(false, Ordering::Relaxed);
    assert_eq!(text(&resolver, "empty.zone").await.as_deref(), Ok(""));
    // Without SOA there is no time for which nothing counts.
    let before = server.asked();
    text(&resolver, "empty.zone").await.unwrap();
    assert_eq!(server.asked(), before + 1);
}

#[test]
fn what_is_kept_ends_in_time() {
    let resolver = Resolver::new(&["127.0.0.1:9".parse().unwrap()]);
    let key = (String::from("a.zone"), Kind::A);
    let start = Instant::now();
    for (records, ttl_s, wanted_s) in [
        (vec![Record::Ns(String::new())], 30, 30),
        (vec![Record::Ns(String::new())], 86_400, 3_600),
        (Vec::new(), 86_400, 300),
        (Vec::new(), 20, 20),
    ] {
        let answer = bounded(Answer { records, ttl_s, ..Answer::default() });
        let until = start + Duration::from_secs(answer.ttl_s.into());
        resolver.kept.insert(key.clone(), Kept { answer, until });
        let after = |seconds| resolver.recall(&key, start + Duration::from_secs(seconds)).map(|it| it.ttl_s);
        assert_eq!((after(wanted_s - 1), after(wanted_s)), (Some(1), None), "{ttl_s}");
    }
}

#[tokio::test]
async fn one_server_stands_in_for_another() {
    let (silent, failing, good) =
        (Server::start(zone()).await, Server::start(zone()).await, Server::start(zone()).await);
    silent.shared.silent.store(true, Ordering::Relaxed);
    failing.shared.fails.store(true, Ordering::Relaxed);
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let nobody = closed.local_addr().unwrap();
    drop(closed);
    let resolver = Resolver::new(&[nobody, failing.address, silent.address, good.address]);
    assert_eq!(text(&resolver, "plain.zone").await.as_deref(), Ok("192.0.2.1 192.0.2.2"));
    let before = (failing.asked(), silent.asked());
    text(&resolver, "alias.zone").await.unwrap();
    assert_eq!((failing.asked(), silent.asked()), before, "the good one is asked first from then on");
    let none = Resolver::new(&[nobody]);
    assert_eq!(text(&none, "plain.zone").await, Err(Failure::Unreachable));
    let mute = Resolver::new(&[silent.address, nobody]);
    assert_eq!(text(&mute, "plain.zone").await, Err(Failure::Silent));
    let both = Resolver::new(&[nobody, failing.address]);
    assert_eq!(text(&both, "plain.zone").await, Err(Failure::ServerFailed));
}

#[tokio::test]
async fn servers_are_as_they_are() {
    let server = Server::start(zone()).await;
    let shared = &server.shared;
    let resolver = server.resolver();
    for (what, flag) in [("forges", &shared.forges), ("truncates", &shared.truncates), ("old", &shared.old)] {
        flag.store(true, Ordering::Relaxed);
        let found = resolver.ask("plain.zone", Kind::A, Way::Fresh).await;
        assert_eq!(found.map(|it| it.records.len()), Ok(2), "{what}");
        flag.store(false, Ordering::Relaxed);
    }
    shared.bogus.store(true, Ordering::Relaxed);
    assert_eq!(resolver.ask("plain.zone", Kind::A, Way::Fresh).await, Err(Failure::ServerFailed));
    let unvalidated = resolver.ask("plain.zone", Kind::A, Way::Unvalidated).await.unwrap();
    assert_eq!(unvalidated.records.len(), 2);
}

#[tokio::test]
async fn other_servers_have_other_answers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("resolv.conf");
    write_atomic(&path, b"nameserver 192.0.2.1\n", 0o600).unwrap();
    let resolver = Resolver::with(Servers::of_file(&path), Hosts::new(folder.path().join("hosts")));
    let key = (String::from("a.zone"), Kind::A);
    assert_eq!(resolver.recall(&key, Instant::now()), None);
    let until = Instant::now() + Duration::from_mins(1);
    resolver.kept.insert(key.clone(), Kept { answer: Answer::default(), until });
    assert!(resolver.recall(&key, Instant::now()).is_some());
    write_atomic(&path, b"nameserver 192.0.2.2\n", 0o600).unwrap();
    assert_eq!(resolver.recall(&key, Instant::now()), None);
}
