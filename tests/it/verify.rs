//! `chainhost verify`: bundles, folders and sites that are what they say, and those that are not.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use chainhost::{
    base::hash::Sha256,
    domain::policy::{HeaderRule, Policy, Redirect},
    proof::{
        build, bundle,
        manifest::Manifest,
        resolve::{Resolution, decode_path, resolve},
        site_tree,
    },
    serve::{headers, snapshot::State},
};
use tempfile::TempDir;

use crate::web::Web;

const FILES: [(&str, &str); 6] = [
    ("index.html", "<h1>hi</h1>"),
    ("a b/ü.css", "a{}"),
    ("docs/index.html", "docs"),
    ("empty.txt", ""),
    (
        "_headers",
        "/*\n  X-A: 1\n  X-A: 2\n  Vary: x\n/docs/*\n  Content-Type: text/plain\n  Link: </x.css>; rel=preload\n",
    ),
    ("_redirects", "/moved.txt /index.html 302!\n"),
];

fn site(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        put(dir.path(), path, text.as_bytes());
    }
    dir
}

#[expect(clippy::disallowed_methods, reason = "a test's own files need not survive a power cut")]
fn put(dir: &Path, path: &str, bytes: &[u8]) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn manifest(files: &[(&str, &str)]) -> Manifest {
    let hash = |text: &str| Sha256::of(text.as_bytes());
    let found: Vec<_> = files
        .iter()
        .map(|(path, text)| (path.as_bytes().to_vec(), text.len().try_into().unwrap(), hash(text)))
        .collect();
    let read = |_: &[u8], wanted: &Sha256| {
        Ok(files.iter().find(|(_, text)| hash(text) == *wanted).unwrap().1.as_bytes().to_vec())
    };
    build::manifest(&found, false, read).unwrap()
}

/// The bundle's file, in a folder of its own.
fn bundled(files: &[(&str, &str)]) -> TempDir {
    let made = manifest(files);
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "proof.json", &bundle::bundle(&made.to_bytes(), &site_tree::site_root(&made)));
    dir
}

fn verify(bundle: &TempDir, more: &[&str]) -> Output {
    let file = bundle.path().join("proof.json");
    Command::new(env!("CARGO_BIN_EXE_chainhost")).arg("verify").arg(file).args(more).output().unwrap()
}

#[track_caller]
fn expect(out: &Output, code: i32, words: &str) {
    let text = [String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)].concat();
    assert_eq!(out.status.code(), Some(code), "{text}");
    assert!(text.contains(words), "{text} / {words}");
}

#[test]
fn a_bundle_alone_is_valid_but_pending() {
    let good = bundled(&FILES);
    expect(&verify(&good, &[]), 10, &format!("manifest {} valid", manifest(&FILES).sha256()));
    expect(&verify(&good, &["--offline"]), 10, "pending");
    expect(&verify(&good, &["--rpc", "http://localhost:1"]), 10, "no chain was asked");
    expect(&verify(&good, &["--dir", "/x", "--site", "http://x"]), 2, "cannot be used with");
    expect(&verify(&tempfile::tempdir().unwrap(), &[]), 2, "Cannot read");
    let site = ["verify", "https://shop.example"];
    let told = Command::new(env!("CARGO_BIN_EXE_chainhost")).args(site).output().unwrap();
    expect(&told, 2, "`chainhost verify proof.json --site https://shop.example`");

    let text = fs::read_to_string(good.path().join("proof.json")).unwrap();
    put(good.path(), "proof.json", text.replace("@v1", "@v9").as_bytes());
    expect(&verify(&good, &[]), 2, "chainhost/proof@v1");
    put(good.path(), "proof.json", text.replace("\"root\":\"0x", "\"root\":\"0x1").as_bytes());
    expect(&verify(&good, &[]), 21, "root");
    put(good.path(), "proof.json", text.replace("{\"format\"", "{\"anchors\":[],\"format\"").as_bytes());
    expect(&verify(&good, &[]), 10, "not checked by this version: anchors");
    let fsck = ["log", "fsck", "/x", "--vkey", "v"];
    expect(&Command::new(env!("CARGO_BIN_EXE_chainhost")).args(fsck).output().unwrap(), 2, "later version");
}

#[test]
fn a_folder_is_compared_file_by_file() {
    let bundle = bundled(&FILES);
    let dir = site(&FILES);
    let check = || verify(&bundle, &["--dir", dir.path().to_str().unwrap()]);
    expect(&check(), 10, "every file is the same");
    // The policy is the bundle's, so that of the folder does not count.
    put(dir.path(), "_headers", b"");
    put(dir.path(), ".git/config", b"x");
    expect(&check(), 10, "every file is the same");
    put(dir.path(), "index.html", b"<h1>ho</h1>");
    expect(&check(), 20, "/index.html: has the SHA-256");
    put(dir.path(), "empty.txt", b"x");
    expect(&check(), 20, "/empty.txt: has 1 bytes instead of 0");
    put(dir.path(), "added", b"x");
    expect(&check(), 20, "/added: was not deployed");
    fs::remove_file(dir.path().join("a b/ü.css")).unwrap();
    expect(&check(), 20, "/a b/ü.css: is missing");
    expect(&verify(&bundle, &["--dir", "/no/such"]), 2, "/no/such");
}

// ---- sites ----

/// Answers one request: path and host in, the whole HTTP answer out; `None` closes the connection.
type Answer = dyn Fn(&str, &str) -> Option<Vec<u8>> + Send + Sync;

struct Server {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(&str, &str) -> Option<Vec<u8>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let answer: Arc<Answer> = Arc::new(answer);
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&requests));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (answer, counted) = (Arc::clone(&answer), Arc::clone(&counted));
                std::thread::spawn(move || serve(&stream.unwrap(), &*answer, &counted));
            }
        });
        Self { address, stop, thread: Some(thread), requests }
    }

    fn url(&self) -> String {
        format!("http://shop.localhost:{}/", self.address.port())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
    }
}

fn serve(stream: &TcpStream, answer: &Answer, requests: &AtomicUsize) {
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        let path = first.split(' ').nth(1).unwrap().to_owned();
        let mut host = String::new();
        for line in lines.by_ref().map_while(Result::ok).take_while(|it| !it.is_empty()) {
            let lower = line.to_lowercase();
            assert!(!lower.starts_with("accept-encoding") || lower.ends_with("identity"));
            if let Some(found) = lower.strip_prefix("host: ") {
                found.clone_into(&mut host);
            }
        }
        requests.fetch_add(1, Ordering::SeqCst);
        match answer(&path, &host) {
            Some(bytes) => {
                let closes = bytes.windows(17).any(|it| it == b"connection: close");
                // The client may have gone, having seen enough.
                if { stream }.write_all(&bytes).is_err() || closes {
                    return;
                }
            }
            None => return,
        }
    }
}

/// What an honest host answers, with headers of its own.
fn honest(path: &str) -> Vec<u8> {
    let manifest = manifest(&FILES);
    match resolve(&manifest, &decode_path(path).unwrap(), None) {
        Resolution::File { entry, status } => {
            let body = FILES.iter().find(|(name, _)| format!("/{name}") == entry.path.as_str()).unwrap().1;
            let mut head = format!(
                "HTTP/1.1 {status} x\r\ncontent-length: {}\r\ncontent-type: {}\r\ndate: x\r\n\
                 x-content-type-options: nosniff\r\n",
                body.len(),
                entry.media_type
            );
            for (name, value) in manifest.policy().headers_for(entry.path.as_str()) {
                if name != "content-type" {
                    head.extend([name.as_str(), ": ", value.as_str(), "\r\n"]);
                }
            }
            head += "vary: accept-encoding\r\nlink: </.well-known/chainhost/proof/1>; rel=\"describedby\"\r\n";
            (head + "\r\n" + body).into_bytes()
        }
        Resolution::Redirect { status, to } => {
            format!("HTTP/1.1 {status} x\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n").into_bytes()
        }
        Resolution::PassedOn { .. } | Resolution::Gone | Resolution::NotFound => {
            b"HTTP/1.1 404 x\r\ncontent-length: 0\r\n\r\n".to_vec()
        }
    }
}

/// An honest host but for one replacement in the answer for one path.
fn check_with(changed: &'static str, from: &'static str, to: &'static str) -> Output {
    let server = Server::start(move |path, _| {
        let bytes = String::from_utf8(honest(path)).unwrap();
        assert!(path != changed || bytes.contains(from), "{bytes}");
        Some(if path == changed { bytes.replacen(from, to, 1) } else { bytes }.into_bytes())
    });
    verify(&bundled(&FILES), &["--site", &server.url()])
}

#[test]
fn an_honest_site_is_what_was_deployed() {
    let server = Server::start(|path, host| {
        assert!(host.starts_with("shop.localhost:"), "{host}");
        Some(honest(path))
    });
    let bundle = bundled(&FILES);
    expect(&verify(&bundle, &["--site", &server.url()]), 10, "every file is answered");
    assert_eq!(server.requests.load(Ordering::SeqCst), 4);
    // A host that ends the connection after each answer is honest too.
    let closing = Server::start(|path, _| {
        let text = String::from_utf8(honest(path)).unwrap();
        Some(text.replacen("\r\n", "\r\nconnection: close\r\n", 1).into_bytes())
    });
    expect(&verify(&bundle, &["--site", &closing.url()]), 10, "every file is answered");
}

/// Every header that the host adds, with values of a policy that are near the host's own. Those that no policy may set
/// have no value.
const HOSTS: [(&str, &[&str]); 18] = [
    ("accept-ranges", &["none", "bytes"]),
    ("alt-svc", &["clear"]),
    ("cache-control", &["no-store", "max-age=604800"]),
    ("cache-tag", &["a,b"]),
    ("cdn-cache-control", &["max-age=60"]),
    ("content-digest", &["sha-256=:AAAA:"]),
    ("content-encoding", &[]),
    ("content-length", &[]),
    ("content-range", &[]),
    ("date", &[]),
    ("etag", &[]),
    ("link", &["</x.css>; rel=preload", "</.well-known/chainhost/proof/1>; rel=\"describedby\""]),
    ("repr-digest", &["sha-256=:AAAA:"]),
    ("surrogate-key", &["a b"]),
    ("unencoded-digest", &[]),
    ("vary", &["Accept-Encoding", "accept-encoding", "Origin", "Origin, Accept-Encoding", "*"]),
    ("x-content-type-options", &["nosniff"]),
    ("x-robots-tag", &["noindex", "noarchive", "none"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_data_plane_passes_with_any_policy_on_its_own_headers() {
    let web = Web::start();
    let named: Vec<_> = HOSTS.iter().map(|(name, _)| *name).collect();
    assert_eq!(headers::HOST.map(|it| it.to_string()).as_slice(), named);
    let files: [(&str, &[u8]); 4] =
        [("/index.html", b"hi"), ("/a.css", b"a{}"), ("/b.bin", b"b"), ("/gone.html", b"it is not here")];
    for (name, values) in HOSTS {
        let policy = |value: &str| {
            let set = vec![(name.to_owned(), value.to_owned())];
            let redirects = vec![Redirect {
                force: true,
                from: String::from("/gone.html"),
                status: 404,
                to: String::from("/gone.html"),
                ..Redirect::default()
            }];
            let headers = vec![HeaderRule { matches: String::from("/*"), set }];
            Policy { headers, redirects, ..Policy::default() }
        };
        assert_eq!(policy("x").check().is_err(), values.is_empty() || name == "x-content-type-options", "{name}");
        for value in values {
            // A deployment that the one before cannot be taken for, live and as a preview.
            let served = web.deploy(1, &files, policy(value));
            web.publish(&[("site.localhost", State::Live(served)), ("x--site.localhost", State::Live(served))]);
            let bytes = web.blobs.read_verified(&served.manifest).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let root = site_tree::site_root(&Manifest::parse(&bytes).unwrap());
            put(dir.path(), "proof.json", &bundle::bundle(&bytes, &root));
            for host in ["site.localhost", "x--site.localhost"] {
                let out = verify(&dir, &["--site", &format!("http://{host}:{}", web.address.port())]);
                let text = String::from_utf8_lossy(&out.stderr);
                assert_eq!(out.status.code(), Some(10), "{host} {name}: {value}: {text}");
            }
        }
    }
}

/// A file that another server may answer for is not asked for, and that it is not proved is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_other_servers_answer_is_not_proved_and_no_fault() {
    let web = Web::start();
    let rule = |from: &str, to: &str, force: bool| Redirect {
        from: from.to_owned(),
        to: to.to_owned(),
        status: 200,
        force,
        ..Redirect::default()
    };
    let redirects = vec![
        rule("/api/*", "https://api.example.com/v1/:splat", false),
        rule("/old.html", "https://old.example.com/", true),
    ];
    let files: &[(&str, &[u8])] = &[("/index.html", b"hi"), ("/old.html", b"old"), ("/api/kept", b"kept")];
    let served = web.deploy(1, files, Policy { redirects, ..Policy::default() });
    web.publish(&[("site.localhost", State::Live(served))]);
    let bytes = web.blobs.read_verified(&served.manifest).unwrap();
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "proof.json", &bundle::bundle(&bytes, &site_tree::site_root(&Manifest::parse(&bytes).unwrap())));
    let out = verify(&dir, &["--site", &format!("http://site.localhost:{}", web.address.port())]);
    for words in [
        "not proved: /api/* is answered by https://api.example.com, which may say anything",
        "not proved: /old.html is answered by https://old.example.com, which may say anything",
        "every file is answered as it was deployed, but for 1 that other servers may answer: /old.html",
    ] {
        expect(&out, 10, words);
    }
}

#[test]
fn a_redirected_file_is_checked_as_redirect() {
    let files = [FILES.as_slice(), &[("moved.txt", "old")]].concat();
    let bundle = bundled(&files);
    let server = Server::start(move |path, _| {
        let moved = b"HTTP/1.1 302 x\r\nlocation: /index.html\r\ncontent-length: 4\r\n\r\nmove";
        Some(if path == "/moved.txt" { moved.to_vec() } else { honest(path) })
    });
    expect(&verify(&bundle, &["--site", &server.url()]), 10, "every file is answered");
}

#[test]
fn each_difference_of_a_site_is_named() {
    for (path, from, to, words) in [
        ("/", "<h1>hi", "<h1>ho", "/index.html: / has the SHA-256"),
        ("/", "content-length: 11", "content-length: 10", "/index.html: / has the length 10 instead of 11"),
        ("/", "content-length: 11\r\n", "content-length: 12\r\nconnection: close\r\n", "/index.html: "),
        ("/", " 200 x", " 404 x", "has the status 404 instead of 200"),
        ("/", "text/html; charset=utf-8", "text/html", "has the type text/html instead"),
        ("/", "x-a: 1, 2", "x-a: 2, 1", "has the header x-a 2, 1 instead of 1, 2"),
        ("/", "x-a: 1, 2", "x-b: 1", "has the header x-a none instead"),
        ("/", "date: x", "refresh: 0;url=/evil", "was not deployed: refresh: 0;url=/evil"),
        ("/", "date: x", "set-cookie: a=b", "was not deployed: set-cookie"),
        ("/", "date: x", "speculation-rules: \"/x\"", "was not deployed: speculation-rules"),
        ("/", "date: x", "reporting-endpoints: a=\"/x\"", "was not deployed: reporting-endpoints"),
        ("/", "date: x", "strict-transport-security: max-age=9", "was not deployed: strict-transport-security"),
        ("/", "date: x", "content-encoding: gzip", "was not deployed: content-encoding"),
        ("/", "date: x", "link: </evil.css>; rel=stylesheet", "was not deployed: link"),
        ("/", "describedby", "stylesheet", "was not deployed: link"),
        ("/", "date: x", "link: </.well-known/chainhost/proof/2>; rel=\"describedby\"", "was not deployed: link"),
        ("/", "vary: accept-encoding\r\n", "vary: accept-encoding\r\nvary: accept-encoding\r\n", "has the header vary"),
        ("/docs/", "; rel=preload", "; rel=stylesheet", "/docs/index.html: /docs/ has the header link"),
        ("/docs/", "text/plain", "text/html", "/docs/index.html: /docs/ has the type"),
        ("/a%20b/%C3%BC.css", "a{}", "b{}", "/a b/ü.css: /a%20b/%C3%BC.css has the SHA-256"),
        ("/empty.txt", "length: 0\r\n", "length: 1\r\nconnection: close\r\n", "/empty.txt: "),
    ] {
        expect(&check_with(path, from, to), 20, words);
    }
}

#[test]
fn what_cannot_be_asked_is_wrong_usage() {
    let bundle = bundled(&FILES);
    for url in
        ["https://x.org/a", "ftp://x.org", "http://", "https://u@x.org", "http://x.org/a", "x.org", "http://x.org?a"]
    {
        expect(&verify(&bundle, &["--site", url]), 2, "http://");
    }
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    expect(&verify(&bundle, &["--site", &format!("http://{gone}")]), 2, "Cannot reach");
    let silent = Server::start(|_, _| None);
    expect(&verify(&bundle, &["--site", &silent.url()]), 20, "closes the connection");
}
