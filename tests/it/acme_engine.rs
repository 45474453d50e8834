//! The engine of ACME with an authority of the tests' own, which has the bad days that real ones have.

use std::{
    io::{BufReader, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use chainhost::{
    base::tasks::Tasks,
    domain::{
        acme::{Challenge, Kind, Problem, Refusal, explain},
        dns::{self, Answer},
    },
    engines::acme::Acme,
    ports::{
        acme::{Authorities as _, Directory, Failure, Issued, Later, Placed, Stage, Wish},
        dns::{Answered, Dns, Names, Way},
    },
};
use data_encoding::BASE64URL_NOPAD;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tokio::{net::TcpSocket, time::Instant};

use crate::support::authority::{Authority, pem};

const NAME: &str = "authority.test";
const HTML: &str = "<h1>Something stands in front</h1>";
const REPLACED: &str = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";

/// What somebody asked.
#[derive(Clone, Debug)]
struct Asked {
    method: String,
    path: String,
    /// What was signed.
    payload: Value,
    /// How many were asked on the same connection before, and for the same path at all.
    on_connection: usize,
    of_path: usize,
}

impl Asked {
    fn is(&self, method: &str, path: &str) -> bool {
        self.method == method && self.path == path
    }
}

/// What is said to it.
#[derive(Clone, Debug)]
enum Reply {
    /// The status, header lines, and a body.
    Whole(u16, String, String),
    /// The half of an answer.
    Half,
    /// The connection is closed.
    Nothing,
}

fn document(status: u16, kind: &str, detail: &str, more: &str) -> Reply {
    let body = json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": detail}).to_string();
    Reply::Whole(status, format!("Content-Type: application/problem+json\r\n{more}"), body)
}

/// What a test has said instead of what a good authority says.
type Says = Box<dyn Fn(&Asked) -> Option<Reply> + Send + Sync>;

struct Inner {
    says: Says,
    asked: Mutex<Vec<Asked>>,
    base: String,
    /// The profiles of its certificates, as its directory has them.
    profiles: Value,
    is_final: AtomicBool,
}

/// An authority that gives certificates, but for what the test has it say.
struct Played {
    inner: Arc<Inner>,
    directory: Directory,
    port: u16,
}

impl Played {
    fn start(says: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        Self::start_offering(&[], says)
    }

    /// As [`Played::start`], with these profiles.
    fn start_offering(profiles: &[&str], says: impl Fn(&Asked) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let profiles = profiles.iter().map(|it| ((*it).to_owned(), json!("as it is told"))).collect();
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        authority.issue(folder.path(), "server", &[NAME], (2020, 2060));
        let chain = CertificateDer::pem_file_iter(folder.path().join("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.path().join("server.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key);
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let base = format!("https://{NAME}:{port}");
        let directory = Directory {
            url: format!("{base}/directory"),
            roots: Some(pem("CERTIFICATE", &authority.certificate()).into_bytes()),
            binding: None,
            profile: None,
        };
        let (asked, is_final) = (Mutex::default(), AtomicBool::new(false));
        let inner = Arc::new(Inner { says: Box::new(says), asked, base, profiles, is_final });
        let shared = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (inner, server) = (Arc::clone(&shared), ServerConnection::new(Arc::clone(&config)).unwrap());
                thread::spawn(move || inner.serve(StreamOwned::new(server, stream)));
            }
        });
        Self { inner, directory, port }
    }

    /// The engine, which finds the authority at these addresses.
    fn engine(addresses: &[Ipv4Addr]) -> Arc<Acme> {
        let addresses = addresses.iter().map(|it| IpAddr::from(*it)).collect();
        Acme::new(Tasks::new(), Dns::new(Arc::new(Hosts(addresses)), &[]))
    }

    async fn issue(&self, replaces: Option<&str>) -> Result<Issued, Failure> {
        self.issue_for("shop.test", replaces).await
    }

    async fn issue_for(&self, name: &str, replaces: Option<&str>) -> Result<Issued, Failure> {
        let engine = Self::engine(&[Ipv4Addr::LOCALHOST]);
        let credentials = engine.register(&self.directory, None).await?;
        let replaces = replaces.map(str::to_owned);
        let wish = Wish { name: name.to_owned(), way: Kind::Http01, replaces, order: None };
        engine.issue(&self.directory, &credentials, &wish, Arc::new(Shown)).await
    }

    async fn refusal(&self) -> Refusal {
        match self.issue(None).await {
            Err(Failure::Refused(refusal)) => refusal,
            other => panic!("no refusal: {other:?}"),
        }
    }

    /// The payloads that were posted to a path.
    fn posted(&self, path: &str) -> Vec<Value> {
        let asked = self.inner.asked.lock().unwrap();
        asked.iter().filter(|it| it.is("POST", path)).map(|it| it.payload.clone()).collect()
    }
}

impl Inner {
    fn serve(&self, stream: StreamOwned<ServerConnection, TcpStream>) {
        let mut stream = BufReader::new(stream);
        for on_connection in 0.. {
            let Some((method, path, payload)) = read(&mut stream) else { return };
            let of_path = {
                let asked = self.asked.lock().unwrap();
                asked.iter().filter(|it| it.is(&method, &path)).count()
            };
            let asked = Asked { method, path, payload, on_connection, of_path };
            self.asked.lock().unwrap().push(asked.clone());
            let (status, head, body) = match (self.says)(&asked).unwrap_or_else(|| self.good(&asked)) {
                Reply::Whole(status, head, body) => (status, head, body),
                Reply::Half => {
                    drop(stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{\"status\""));
                    return;
                }
                Reply::Nothing => return,
            };
            let length = body.len();
            let body = if asked.method == "HEAD" { "" } else { &body };
            let answer = format!(
                "HTTP/1.1 {status} X\r\n{head}Replay-Nonce: n{on_connection}\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    /// For whom the last order is.
    fn identifiers(&self) -> Value {
        let asked = self.asked.lock().unwrap();
        let last = asked.iter().rfind(|it| it.is("POST", "/orders"));
        last.and_then(|it| it.payload.get("identifiers").cloned()).unwrap_or_default()
    }

    fn good(&self, asked: &Asked) -> Reply {
        let base = &self.base;
        let is_final = self.is_final.load(Ordering::SeqCst);
        let order = |status: &str| {
            json!({
                "status": status, "authorizations": [format!("{base}/proof")], "finalize": format!("{base}/finalize"),
                "certificate": format!("{base}/certificate"), "replaces": asked.payload.get("replaces"),
                "identifiers": self.identifiers(),
            })
        };
        let challenge = json!({"type": "http-01", "url": format!("{base}/ready"), "token": "t", "status": "pending"});
        let (head, body) = match asked.path.as_str() {
            "/directory" => (
                String::new(),
                json!({
                    "newNonce": format!("{base}/nonce"), "newAccount": format!("{base}/accounts"),
                    "newOrder": format!("{base}/orders"), "renewalInfo": format!("{base}/renewal"),
                    "meta": {"profiles": self.profiles},
                }),
            ),
            "/accounts" => (format!("Location: {base}/account\r\n"), json!({"status": "valid"})),
            "/orders" => (format!("Location: {base}/order\r\n"), order("pending")),
            "/proof" => (
                String::new(),
                json!({
                    "identifier": self.identifiers().get(0), "status": "pending", "challenges": [challenge],
                }),
            ),
            "/ready" => (String::new(), challenge),
            "/order" => (String::new(), order(if is_final { "valid" } else { "ready" })),
            "/finalize" => {
                self.is_final.store(true, Ordering::SeqCst);
                (String::new(), order("valid"))
            }
            "/certificate" => (String::new(), json!("a chain")),
            _ => (String::new(), Value::Null),
        };
        Reply::Whole(200, head, body.to_string())
    }
}

/// A request: its method, its path, and what was signed in it.
fn read(stream: &mut impl std::io::BufRead) -> Option<(String, String, Value)> {
    let (mut first, mut length) = (String::new(), 0);
    stream.read_line(&mut first).ok().filter(|it| *it > 0)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let signed = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let payload = signed.get("payload").and_then(Value::as_str).unwrap_or_default();
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).unwrap();
    let mut words = first.split(' ').map(str::to_owned);
    Some((words.next()?, words.next()?, serde_json::from_slice(&payload).unwrap_or_default()))
}

/// Addresses of every name.
#[derive(Debug)]
struct Hosts(Vec<IpAddr>);

impl Names for Hosts {
    fn ask<'a>(&'a self, _name: &'a str, _kind: dns::Kind, _way: Way) -> Answered<'a> {
        Box::pin(async { Ok(Answer::default()) })
    }

    fn local(&self, _name: &str) -> Vec<IpAddr> {
        self.0.clone()
    }

    fn servers(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
}

/// Shows everything at once.
struct Shown;

impl Stage for Shown {
    fn show(&self, _challenge: Challenge, _order: Placed) -> Later<'_, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn an_address_whose_packets_are_dropped_hides_no_other() {
    let it = Played::start(|_| None);
    let dropping = Ipv4Addr::new(127, 0, 0, 2);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((dropping, it.port))).unwrap();
    let full = socket.listen(1).unwrap();
    // Once its queue is full, the kernel drops who wants to connect.
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&full.local_addr().unwrap(), Duration::from_millis(500)) {
        waiting.push(stream);
    }
    let start = Instant::now();
    let engine = Played::engine(&[dropping, Ipv4Addr::LOCALHOST]);
    engine.register(&it.directory, None).await.unwrap();
    assert!(start.elapsed() > Duration::from_secs(1), "the first was tried");
    drop(waiting);
}

/// What an order takes up may have been seen for another tenant, and of a server that has moved since.
#[tokio::test]
async fn what_was_seen_before_is_no_visit_of_now() {
    for seen in ["dns-01", "http-01", "tls-alpn-01"] {
        let it = Played::start(move |asked| {
            let of = |kind, status| json!({"type": kind, "url": "https://a.test/", "token": "t", "status": status});
            let said = json!({
                "identifier": {"type": "dns", "value": "shop.test"}, "status": "valid",
                "challenges": [of("other-01", "pending"), of(seen, "valid")],
            });
            (asked.path == "/proof").then(|| Reply::Whole(200, String::new(), said.to_string()))
        });
        assert_eq!(it.issue(None).await.unwrap().seen_by, None, "{seen}");
        assert_eq!(it.posted("/ready").len(), 0, "it was not asked to look");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_costs_no_order() {
    let it = Played::start(|asked| {
        (asked.method == "POST" && asked.on_connection > 0 && asked.of_path == 0).then_some(Reply::Nothing)
    });
    let issued = it.issue(None).await.unwrap();
    assert_eq!((issued.chain.as_str(), issued.seen_by), ("\"a chain\"", Some(Kind::Http01)));
    assert_eq!(it.posted("/orders").len(), 2);
    // A new connection that is closed is no accident.
    let it = Played::start(|asked| asked.is("POST", "/orders").then_some(Reply::Nothing));
    assert!(matches!(it.refusal().await, Refusal::Away(_)));
    assert_eq!(it.posted("/orders").len(), 2);
    let it = Played::start(|asked| asked.is("POST", "/orders").then_some(Reply::Half));
    assert!(matches!(it.refusal().await, Refusal::Away(_)));
}

#[tokio::test]
async fn what_is_no_document_is_told_by_its_status() {
    let day = "Date: Mon, 30 Nov 2026 12:00:00 GMT\r\nRetry-After: Mon, 30 Nov 2026 13:00:00 GMT\r\n";
    for (method, path) in [("POST", "/orders"), ("POST", "/accounts"), ("HEAD", "/nonce"), ("GET", "/directory")] {
        for (status, head, kind, retry_after_s) in [
            (400, "", "malformed", None),
            (403, "", "malformed", None),
            (429, "Retry-After: 120\r\n", "rateLimited", Some(120)),
            (503, day, "serverInternal", Some(3_600)),
        ] {
            let it = Played::start(move |asked| {
                asked.is(method, path).then(|| Reply::Whole(status, head.to_owned(), HTML.to_owned()))
            });
            match it.refusal().await {
                Refusal::Problem(problem) => {
                    assert_eq!(
                        (problem.kind.as_str(), problem.retry_after_s),
                        (kind, retry_after_s),
                        "{path} {status}"
                    );
                    assert!(problem.detail.contains(&status.to_string()), "{}", problem.detail);
                }
                other => panic!("{path} {status}: {other:?}"),
            }
        }
    }
    let it =
        Played::start(|asked| asked.is("POST", "/orders").then(|| Reply::Whole(200, String::new(), HTML.to_owned())));
    assert!(matches!(it.refusal().await, Refusal::Nonsense(_)));
}

#[tokio::test]
async fn a_directory_that_is_none_is_told_from_one_that_is_busy() {
    let says = |reply: Reply| Played::start(move |asked| asked.is("GET", "/directory").then(|| reply.clone()));
    for (status, body) in [(404, HTML), (301, ""), (200, HTML), (200, "{\"keys\": []}")] {
        let it = says(Reply::Whole(status, String::new(), body.to_owned()));
        assert!(matches!(it.refusal().await, Refusal::NoDirectory(_)), "{status} {body}");
    }
    let it = says(document(404, "malformed", "Page not found", ""));
    assert!(matches!(it.refusal().await, Refusal::NoDirectory(_)));
    let it = says(document(429, "rateLimited", "Your IP asks too often", "Retry-After: 60\r\n"));
    let wanted = Problem {
        kind: String::from("rateLimited"),
        detail: String::from("Your IP asks too often"),
        way: None,
        retry_after_s: Some(60),
    };
    assert_eq!(it.refusal().await, Refusal::Problem(wanted));
}

#[tokio::test]
async fn an_order_is_placed_again_only_where_replacing_was_refused() {
    let it = Played::start(|asked| asked.is("POST", "/orders").then_some(Reply::Nothing));
    assert!(matches!(it.issue(Some(REPLACED)).await, Err(Failure::Refused(Refusal::Away(_)))));
    let posted = it.posted("/orders");
    assert!(posted.iter().all(|it| it["replaces"] == REPLACED), "{posted:?}");
    let it = Played::start(|asked| {
        let is_first = asked.is("POST", "/orders") && asked.of_path == 0;
        is_first.then(|| document(409, "alreadyReplaced", "It was replaced", ""))
    });
    it.issue(Some(REPLACED)).await.unwrap();
    let replaced: Vec<bool> = it.posted("/orders").iter().map(|it| it["replaces"].is_string()).collect();
    assert_eq!(replaced, [true, false]);
}

/// Public authorities vouch for addresses for some days only, and want to be told that one knows.
#[tokio::test]
async fn an_address_is_asked_for_as_one_and_with_the_profile_for_addresses() {
    let both = &["classic", "shortlived"][..];
    // The names in a request for a certificate, as its bytes have them (RFC 5280, 4.2.1.6).
    let [four, six, host] = [&b"\x87\x04\xcb\x00\x71\x07"[..], b"\x87\x10\x20\x01\x0d\xb8", b"\x82\x09shop.test"];
    for (name, kind, bytes, offered, set, profile) in [
        ("203.0.113.7", "ip", four, both, None, Some("shortlived")),
        ("2001:db8::1", "ip", six, both, Some("classic"), Some("shortlived")),
        ("203.0.113.7", "ip", four, &["classic"][..], Some("classic"), Some("classic")),
        ("203.0.113.7", "ip", four, &[][..], None, None),
        ("shop.test", "dns", host, both, None, None),
        ("shop.test", "dns", host, both, Some("shortlived"), Some("shortlived")),
    ] {
        let mut it = Played::start_offering(offered, |_| None);
        it.directory.profile = set.map(str::to_owned);
        it.issue_for(name, None).await.unwrap();
        let order = it.posted("/orders").remove(0);
        assert_eq!(order["identifiers"], json!([{"type": kind, "value": name}]));
        assert_eq!(order.get("profile").and_then(Value::as_str), profile, "{name} of {offered:?}");
        let wished = it.posted("/finalize").remove(0);
        let wished = BASE64URL_NOPAD.decode(wished["csr"].as_str().unwrap().as_bytes()).unwrap();
        assert!(wished.windows(bytes.len()).any(|it| it == bytes), "{name}: {wished:x?}");
    }
}

#[tokio::test]
async fn a_refusal_at_once_says_how_it_was_looked() {
    let it = Played::start(|asked| {
        let error = json!({"type": "urn:ietf:params:acme:error:unauthorized", "detail": "Invalid response: 404"});
        let body = json!({"type": "http-01", "url": "x", "token": "t", "status": "invalid", "error": error});
        asked.is("POST", "/ready").then(|| Reply::Whole(200, String::new(), body.to_string()))
    });
    match it.refusal().await {
        Refusal::Problem(problem) => assert_eq!(problem.way, Some(Kind::Http01)),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_day_until_the_next_look_is_not_waited_for() {
    let order = |status: &str, error: &Value| {
        json!({"status": status, "authorizations": [], "finalize": "x", "error": error}).to_string()
    };
    let pending = order("pending", &Value::Null);
    let it = Played::start(move |asked| {
        let is_first = asked.is("POST", "/order") && asked.of_path == 0;
        let head = String::from("Retry-After: 86400\r\n");
        is_first.then(|| Reply::Whole(200, head, pending.clone()))
    });
    it.issue(None).await.unwrap();
    // Nor is it remembered as the time until which the authority may not be asked.
    let failed = order("invalid", &json!({"type": "urn:ietf:params:acme:error:caa", "detail": "CAA"}));
    let it = Played::start(move |asked| {
        let head = String::from("Retry-After: 86400\r\n");
        asked.is("POST", "/order").then(|| Reply::Whole(200, head, failed.clone()))
    });
    match it.refusal().await {
        Refusal::Problem(problem) => assert_eq!((problem.kind.as_str(), problem.retry_after_s), ("caa", None)),
        other => panic!("{other:?}"),
    }
    // An error that says more seconds than time has does no harm.
    let it = Played::start(|asked| {
        let head = format!("Retry-After: {}\r\n", u64::MAX);
        asked.is("POST", "/order").then(|| document(503, "serverInternal", "busy", &head))
    });
    match it.refusal().await {
        Refusal::Problem(problem) => assert_eq!(problem.retry_after_s, Some(u64::MAX)),
        other => panic!("{other:?}"),
    }
}

/// One of its servers is started again, or what stands in front has lost it for a moment: no order ends of that.
#[tokio::test]
async fn an_authority_that_stumbles_is_asked_again() {
    for (method, path) in [
        ("GET", "/directory"),
        ("HEAD", "/nonce"),
        ("POST", "/orders"),
        ("POST", "/proof"),
        ("POST", "/ready"),
        ("POST", "/order"),
        ("POST", "/finalize"),
        ("POST", "/certificate"),
    ] {
        for said in [
            Reply::Whole(502, String::new(), HTML.to_owned()),
            document(500, "serverInternal", "oh", "Retry-After: 1\r\n"),
        ] {
            let it = Played::start(move |asked| (asked.is(method, path) && asked.of_path == 0).then(|| said.clone()));
            it.issue(None).await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"));
        }
    }
    // It is asked four times, and once where it says that this is no use now.
    for (more, times) in [("", 4), ("Retry-After: 60\r\n", 1)] {
        let it = Played::start(move |asked| {
            asked.is("POST", "/orders").then(|| document(503, "serverInternal", "busy", more))
        });
        assert!(matches!(it.refusal().await, Refusal::Problem(problem) if problem.kind == "serverInternal"));
        assert_eq!(it.posted("/orders").len(), times);
    }
    // Who has too much to do is not asked again at once, however little time it names.
    for more in ["", "Retry-After: 1\r\n", "Retry-After: 3600\r\n"] {
        let it = Played::start(move |asked| {
            asked.is("POST", "/orders").then(|| document(503, "rateLimited", "Service busy; retry later.", more))
        });
        assert!(matches!(it.refusal().await, Refusal::Problem(problem) if problem.kind == "rateLimited"), "{more}");
        assert_eq!(it.posted("/orders").len(), 1, "{more}");
    }
    // A number that counts no more is asked for anew.
    let it = Played::start(|asked| {
        let stale = || document(400, "badNonce", "JWS has an invalid anti-replay nonce", "");
        let busy = || document(503, "serverInternal", "busy", "");
        let says = |of_path| if of_path == 0 { busy() } else { stale() };
        (asked.is("POST", "/orders") && asked.of_path < 2).then(|| says(asked.of_path))
    });
    it.issue(None).await.unwrap();
    assert_eq!(it.posted("/orders").len(), 3);
    // One that takes none of its own has trouble, and has not refused the order.
    let it = Played::start(|asked| {
        asked.is("POST", "/orders").then(|| document(400, "badNonce", "JWS has an invalid anti-replay nonce", ""))
    });
    let refusal = it.refusal().await;
    assert_eq!(explain(&refusal, NAME, "shop.test").code, "certificate_authority_nonce", "{refusal:?}");
    assert_eq!(it.posted("/orders").len(), 3);
}
