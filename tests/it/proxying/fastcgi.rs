//! Programs of PHP by FastCGI: a real PHP-FPM.

use std::{fs, path::Path};

use super::*;
use crate::web::request;

/// What a program is told, and what it read.
const MIRROR: &[u8] = b"<?php
header('Content-Type: application/json');
$_SERVER['php://input'] = strlen(file_get_contents('php://input'));
$_SERVER['post'] = $_POST;
echo json_encode($_SERVER);
";
const STATUS: &[u8] = b"<?php
http_response_code(418);
header('X-Own: 1');
header('Set-Cookie: a=1');
header('Set-Cookie: b=2', false);
error_log('a complaint');
echo 'tea';
";
const LENGTH: &[u8] = b"<?php header('Content-Length: ' . $_GET['said']); echo str_repeat('x', (int) $_GET['sent']);";
const MOVED: &[u8] = b"<?php header('Location: /elsewhere');";
const LARGE: &[u8] = b"<?php for ($i = 0; $i < 3000; $i++) { echo str_repeat('x', 1000); }";
const STREAM: &[u8] = b"<?php
header('Content-Type: text/event-stream');
while (ob_get_level()) { ob_end_flush(); }
for ($i = 0; $i < 3; $i++) { echo \"data: $i\\n\\n\"; flush(); usleep(300000); }
";
/// Thirty million bytes, each thousand of them with its number: more than sockets take in.
const HUGE: &[u8] = b"<?php for ($i = 0; $i < 30000; $i++) { echo str_pad((string) $i, 1000, '.'); }";
/// Prints until nobody listens any more.
const ENDLESS: &[u8] =
    b"<?php set_time_limit(0); while (true) { echo str_repeat('x', 100000); flush(); usleep(2000); }";
/// Has the only worker for a while.
const PAUSE: &[u8] = b"<?php sleep(3);";
const SLOW: &[u8] = b"<?php sleep(30);";
const FATAL: &[u8] = b"<?php nothing_of_that_name();";

/// A PHP-FPM of its own. Stopped when dropped.
pub(super) struct Php {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Php {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Php {
    pub(super) async fn start() -> Self {
        Self::with_workers(4).await
    }

    async fn with_workers(workers: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        let settings = format!(
            "[global]\nerror_log = {path}/log\ndaemonize = no\n[www]\nlisten = {path}/php.sock\npm = static\npm.max_children = {workers}\n\
             catch_workers_output = no\nclear_env = yes\n"
        );
        write_files(
            folder.path(),
            &[
                ("fpm.conf", settings.as_bytes()),
                ("public/index.php", MIRROR),
                ("public/status.php", STATUS),
                ("public/moved.php", MOVED),
                ("public/length.php", LENGTH),
                ("public/large.php", LARGE),
                ("public/stream.php", STREAM),
                ("public/slow.php", SLOW),
                ("public/huge.php", HUGE),
                ("public/endless.php", ENDLESS),
                ("public/pause.php", PAUSE),
                ("public/fatal.php", FATAL),
                ("public/admin/index.php", MIRROR),
                ("public/photo.jpg", b"<?php echo 'run';"),
                ("public/wp-content/uploads/sent.php", STATUS),
                ("secret.php", b"<?php echo 'secret';"),
            ],
        );
        let found = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].iter().filter_map(|it| fs::read_dir(it).ok());
        let mut found = found
            .flatten()
            .flatten()
            .map(|it| it.path())
            .filter(|it| it.file_name().is_some_and(|it| it.to_string_lossy().starts_with("php-fpm")));
        let program = found.next().expect("PHP-FPM is there: tests/run installs it");
        let mut started = Command::new(program);
        started.arg("--nodaemonize").arg("--fpm-config").arg(folder.path().join("fpm.conf"));
        if rustix::process::geteuid().is_root() {
            started.arg("--allow-to-run-as-root");
        }
        let child = started.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let php = Self { child, folder };
        until("PHP-FPM listens", || php.socket().exists()).await;
        php
    }

    pub(super) fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("php.sock")
    }

    pub(super) fn root(&self) -> std::path::PathBuf {
        self.folder.path().join("public")
    }

    fn route(&self, path: &str) -> Value {
        route(path, &self.socket(), &self.root())
    }
}

fn route(path: &str, socket: &Path, root: &Path) -> Value {
    json!({ "path": path, "to": [format!("fastcgi+unix:{}", socket.display())], "root": root })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_of_php_get_what_was_asked() {
    let php = Php::start().await;
    let mut stripped = php.route("/php");
    stripped["strip_prefix"] = json!(true);
    let web = web(&json!([php.route("/"), stripped]));
    let root = fs::canonicalize(php.root()).unwrap().display().to_string();
    let ask = async |path: &str, headers: &[(&str, &str)]| -> Value {
        let answer = web.get_with(path, headers).await;
        assert_eq!(answer.status(), 200, "{path}: {}", answer.text());
        serde_json::from_str(answer.text()).unwrap()
    };
    for (path, wanted) in [
        ("/", ["/index.php", "", "/", ""]),
        ("/index.php/a%20b/c?x=1&y=%20", ["/index.php", "/a b/c", "/index.php/a%20b/c?x=1&y=%20", "x=1&y=%20"]),
        ("/shop/item/7?x", ["/index.php", "", "/shop/item/7?x", "x"]),
        ("/admin/", ["/admin/index.php", "", "/admin/", ""]),
        ("/photo.jpg/x.php", ["/index.php", "", "/photo.jpg/x.php", ""]),
        ("/photo.gif", ["/index.php", "", "/photo.gif", ""]),
        ("/php/index.php/x", ["/php/index.php", "/x", "/php/index.php/x", ""]),
    ] {
        let said = ask(path, &[]).await;
        let of = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        let found = ["SCRIPT_NAME", "PATH_INFO", "REQUEST_URI", "QUERY_STRING"].map(of);
        assert_eq!(found, wanted, "{path}");
        assert_eq!(
            (of("DOCUMENT_ROOT"), of("REMOTE_ADDR"), of("HTTP_HOST")),
            (root.clone(), "127.0.0.1".into(), "site.test".into())
        );
    }
    let hostile = [
        ("proxy", "http://6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.6"),
        ("cookie", "a=1"),
    ];
    let said = ask("/", &hostile).await;
    assert_eq!((&said["HTTP_PROXY"], &said["HTTP_X_FORWARDED_FOR"]), (&Value::Null, &json!("127.0.0.1")));
    assert_eq!(said["HTTP_COOKIE"], "a=1");
    for path in ["/../secret.php", "/%2e%2e/secret.php", "/a%2f..%2fsecret.php", "/a%00.php"] {
        assert_eq!(web.get(path).await.status(), 400, "{path}");
    }
}

/// What an application has beside its programs: it is sent, and never run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_beside_the_programs_are_sent_as_they_are() {
    let php = Php::start().await;
    let video: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
    write_files(
        &php.root(),
        &[
            ("style.css", b"body { color: red }"),
            ("index.php~", b"<?php secret"),
            (".env", b"secret"),
            (".git/config", b"secret"),
            (".well-known/security.txt", b"Contact: mailto:a@site.test"),
            ("wp-content/uploads/new.mp4", &video),
            ("both.txt", b"of the folder"),
        ],
    );
    std::os::unix::fs::symlink("../secret.php", php.root().join("secret.txt")).unwrap();
    let (mut stripped, mut outside) = (php.route("/app"), php.route("/outside"));
    for it in [&mut stripped, &mut outside] {
        (it["strip_prefix"], it["plain_files"]) = (json!(true), json!(["*"]));
    }
    outside["inside"] = json!(false);
    let mut first = php.route("/");
    (first["files_first"], first["plain_files"]) = (json!(true), json!(["*"]));
    let web = Web::with(Limits::default());
    show(&web, &json!([first, stripped, outside]), &[("/both.txt", b"of the deployment"), ("/index.html", b"file")]);
    for (path, kind, wanted) in [
        ("/style.css", "text/css; charset=utf-8", &b"body { color: red }"[..]),
        ("/app/style.css", "text/css; charset=utf-8", b"body { color: red }"),
        ("/photo.jpg", "image/jpeg", b"<?php echo 'run';"),
        ("/.well-known/security.txt", "text/plain; charset=utf-8", b"Contact: mailto:a@site.test"),
        ("/both.txt", "text/plain; charset=utf-8", b"of the deployment"),
        ("/app/both.txt", "text/plain; charset=utf-8", b"of the folder"),
        ("/wp-content/uploads/new.mp4", "video/mp4", &video),
    ] {
        let answer = web.get(path).await;
        assert_eq!((answer.status(), answer.header("content-type")), (200, kind), "{path}");
        assert!(answer.body == wanted, "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("content-length"), wanted.len().to_string(), "{path}");
    }
    let style = web.get("/style.css").await;
    assert_eq!(style.header("cache-control"), "max-age=0, must-revalidate");
    let kept = web.get_with("/style.css", &[("if-none-match", style.header("etag"))]).await;
    assert_eq!((kept.status(), kept.header("etag")), (304, style.header("etag")));
    let part = web.get_with("/wp-content/uploads/new.mp4", &[("range", "bytes=1000000-2000000")]).await;
    assert_eq!((part.status(), part.header("content-range")), (206, "bytes 1000000-2000000/3000000"));
    assert!(part.body == video[1_000_000..=2_000_000]);
    let head = web.ask(request("HEAD", "/wp-content/uploads/new.mp4", &[])).await;
    assert_eq!((head.header("content-length"), head.body.len()), ("3000000", 0));
    // The program answers for all else, as it did.
    for path in ["/index.php~", "/.env", "/.git/config", "/secret.txt", "/missing.css", "/admin", "/app/.env"] {
        let answer = web.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let said: Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!(said["REQUEST_URI"], path);
    }
    assert!(web.ask(request("POST", "/style.css", &[])).await.text().contains("REQUEST_URI"));
    // Nobody who may has named that folder.
    assert!(web.get("/outside/style.css").await.text().contains("REQUEST_URI"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_behind_a_door_are_sent_to_who_may_whatever_leads_to_them() {
    let php = Php::start().await;
    write_files(&php.root(), &[("inner/plan.txt", b"for few")]);
    std::os::unix::fs::symlink("inner/plan.txt", php.root().join("way.txt")).unwrap();
    let mut route = php.route("/");
    // Nothing is sent that nobody has named, by the name that is asked for and by the one that it leads to.
    assert!(web(&json!([route])).get("/way.txt").await.text().contains("REQUEST_URI"));
    route["plain_files"] = json!(["/way*"]);
    assert!(web(&json!([route])).get("/way.txt").await.text().contains("REQUEST_URI"));
    route["plain_files"] = json!(["/way*", "/inner/*"]);
    let web = web(&json!([route]));
    assert_eq!(web.get("/way.txt").await.text(), "for few");
    let person =
        json!({ "name": "ada", "hash": chainhost::base::password::hash("open sesame").unwrap(), "changed_ms": 0 });
    route["inside"] = json!(true);
    let settings = json!({
        "proxy": { "routes": [route] }, "access": { "mode": "basic", "paths": ["/inner/"] },
        "guests": { "key": "ab".repeat(32), "people": [person] },
    });
    upgrade::put(&web, &settings, None);
    assert_eq!(web.get("/inner/plan.txt").await.status(), 401);
    assert!(web.get("/way.txt").await.text().contains("REQUEST_URI"));
    let login = format!("Basic {}", data_encoding::BASE64.encode(b"ada:open sesame"));
    let answer = web.get_with("/inner/plan.txt", &[("authorization", &login)]).await;
    assert_eq!((answer.text(), answer.header("cache-control")), ("for few", "private, no-cache"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_of_php_get_bodies_and_answer_as_they_like() {
    let php = Php::start().await;
    let mut route = php.route("/");
    (route["timeout_s"], route["body_bytes_max"]) = (json!({ "answer": 1, "connect": 1 }), json!(3_000_000));
    let web = web(&json!([route]));
    let post = async |head: &str, body: &[u8]| -> String {
        let head = format!("POST / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n{head}\r\n\r\n");
        raw(web.address, &[head.as_bytes(), body].concat()).await
    };
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 7";
    assert!(post(form, b"a=1&b=2").await.contains(r#""post":{"a":"1","b":"2"}"#));
    let large = vec![b'x'; 2_000_000];
    assert!(post("Content-Length: 2000000", &large).await.contains(r#""php:\/\/input":2000000"#));
    let chunked = b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
    let said = post("Transfer-Encoding: chunked", chunked).await;
    assert!(said.contains(r#""php:\/\/input":7"#) && said.contains(r#""CONTENT_LENGTH":"7""#), "{said}");
    let chunked = [b"1e8480\r\n".to_vec(), large, b"\r\n0\r\n\r\n".to_vec()].concat();
    let said = post("Transfer-Encoding: chunked", &chunked).await;
    assert!(said.contains(r#""CONTENT_LENGTH":"2000000""#), "{said}");
    assert!(post("Content-Length: 3000001", b"").await.starts_with("HTTP/1.1 413"));

    let answer = web.get("/status.php").await;
    assert_eq!((answer.status(), answer.text(), answer.header("x-own")), (418, "tea", "1"));
    assert_eq!(answer.parts.headers.get_all("set-cookie").iter().count(), 2);
    let answer = web.get("/moved.php").await;
    assert_eq!((answer.status(), answer.header("location")), (302, "/elsewhere"));
    assert_eq!(web.get("/large.php").await.body.len(), 3_000_000);
    assert_eq!(web.get("/fatal.php").await.status(), 500);
    assert!(web.ask(request("HEAD", "/large.php", &[])).await.body.is_empty());
    assert_eq!(web.get("/slow.php").await.status(), 504);
    // Each piece comes as it is made.
    let mut stream = TcpStream::connect(web.address).await.unwrap();
    stream.write_all(b"GET /stream.php HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut came = String::new();
    while !came.contains("data: 0") {
        let mut piece = [0; 1024];
        let read = timeout(PATIENCE, stream.read(&mut piece)).await.unwrap().unwrap();
        assert_ne!(read, 0, "{came}");
        came.push_str(std::str::from_utf8(&piece[..read]).unwrap());
    }
    assert!(!came.contains("data: 2"), "{came}");
    stream.read_to_string(&mut came).await.unwrap();
    assert!(came.contains("data: 2"), "{came}");
}

/// What a program says of its length and what it sends are two things: the next answer of the connection is nobody's to write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_length_is_no_part_of_the_next_answer() {
    let php = Php::start().await;
    let web = web(&json!([php.route("/")]));
    for (said, sent, goes_on) in [(5, 5, true), (0, 0, true), (10, 50, true), (100, 50, false), (10, 0, false)] {
        let first = format!("GET /length.php?said={said}&sent={sent} HTTP/1.1\r\nHost: site.test\r\n\r\n");
        let second = "GET /status.php HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n";
        let came = raw(web.address, [first.as_str(), second].concat().as_bytes()).await;
        if !goes_on {
            // It breaks off, and the connection with it; of what was too short nothing need have left.
            assert!(!came.contains("418") && !came.contains("tea"), "{said} {sent}: {came}");
            assert!(came.is_empty() || came.contains(&format!("content-length: {said}")), "{said} {sent}: {came}");
            continue;
        }
        let (head, rest) = came.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {said}")), "{said} {sent}: {head}");
        let body = "x".repeat(said.min(sent));
        assert!(rest.starts_with(&format!("{body}HTTP/1.1 418 ")) && rest.ends_with("tea"), "{said} {sent}: {rest}");
    }
}

/// One worker, and a visitor who sends for as long as he likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_upload_holds_no_worker() {
    let php = Php::with_workers(1).await;
    let mut plain = php.route("/plain");
    (plain["buffer"], plain["strip_prefix"]) = (json!(false), json!(true));
    (plain["timeout_s"], plain["body_bytes_max"]) = (json!({ "answer": 1 }), json!(3_000_000));
    let mut whole = php.route("/");
    (whole["timeout_s"], whole["body_bytes_max"]) = (json!({ "answer": 1 }), json!(3_000_000));
    let web = web(&json!([whole, plain]));
    let begin = async |path: &str| {
        let mut slow = TcpStream::connect(web.address).await.unwrap();
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 2000000\r\n\r\n");
        slow.write_all(head.as_bytes()).await.unwrap();
        slow.write_all(&vec![b'x'; 1_000_000]).await.unwrap();
        slow
    };
    let mut slow = begin("/").await;
    // What was sent is in a file that has no name.
    until("it is gathered", || web.folder.path().join("bodies").exists()).await;
    assert_eq!(fs::read_dir(web.folder.path().join("bodies")).unwrap().count(), 0);
    for _ in 0..3 {
        assert_eq!(web.get("/status.php").await.status(), 418);
    }
    slow.write_all(&vec![b'x'; 1_000_000]).await.unwrap();
    let mut said = String::new();
    timeout(PATIENCE, slow.read_to_string(&mut said)).await.unwrap().unwrap();
    assert!(said.contains(r#""php:\/\/input":2000000"#), "{said}");
    // Where nothing is gathered, he has the only worker.
    let slow = begin("/plain/index.php").await;
    until("he is connected", || web.plane.proxied()[0].upstreams[0].2 == 1).await;
    assert_eq!(web.get("/status.php").await.status(), 504);
    drop(slow);
    let chunked =
        "POST /plain/ HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n1e8480\r\n";
    let sent = [chunked.as_bytes(), &vec![b'x'; 2_000_000], b"\r\n0\r\n\r\n"].concat();
    assert!(raw(web.address, &sent).await.starts_with("HTTP/1.1 411"), "its length is not known");
}

/// Asks for something by a client of its own, and takes nothing of the answer but its beginning.
async fn begin_to_take(web: &Web, path: &str) -> (TcpStream, Vec<u8>) {
    let mut slow = TcpStream::connect(web.address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n");
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut came = vec![0; 1000];
    timeout(PATIENCE, slow.read_exact(&mut came)).await.unwrap().unwrap();
    assert!(came.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&came));
    (slow, came)
}

/// The body of an answer with chunks.
fn unchunked(answer: &[u8]) -> Vec<u8> {
    let at = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut body) = (answer.split_at(at).1, Vec::new());
    loop {
        let end = rest.windows(2).position(|it| it == b"\r\n").unwrap();
        let (size, behind) = rest.split_at(end);
        let length = usize::from_str_radix(std::str::from_utf8(size).unwrap(), 16).unwrap();
        if length == 0 {
            return body;
        }
        let (chunk, behind) = behind.split_at(2).1.split_at(length);
        body.extend_from_slice(chunk);
        rest = behind.split_at(2).1;
    }
}

/// One worker, and a visitor who takes for as long as he likes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_download_holds_no_worker() {
    let php = Php::with_workers(1).await;
    let mut plain = php.route("/plain");
    (plain["buffer"], plain["strip_prefix"]) = (json!(false), json!(true));
    plain["timeout_s"] = json!({ "answer": 1 });
    let mut whole = php.route("/");
    whole["timeout_s"] = json!({ "answer": 2 });
    let web = web(&json!([whole, plain]));
    let works_on = || web.plane.proxied()[0].upstreams[0].2;
    let (mut slow, mut came) = begin_to_take(&web, "/huge.php").await;
    until("the program has ended", || works_on() == 0).await;
    for _ in 0..3 {
        assert_eq!(web.get("/status.php").await.status(), 418);
    }
    let bodies = web.folder.path().join("bodies");
    assert_eq!(fs::read_dir(&bodies).unwrap().count(), 0, "what he has not taken is in a file without a name");
    timeout(PATIENCE, slow.read_to_end(&mut came)).await.unwrap().unwrap();
    let body = unchunked(&came);
    assert_eq!(body.len(), 30_000_000);
    for (number, part) in body.chunks(1000).enumerate() {
        assert_eq!(String::from_utf8_lossy(part).trim_end_matches('.'), number.to_string());
    }
    // A page that is whole says how long it is.
    let page = web.get("/status.php").await;
    assert_eq!((page.header("content-length"), page.text()), ("3", "tea"));
    // Where nothing is gathered, he has the only worker.
    let (slow, _) = begin_to_take(&web, "/plain/huge.php").await;
    assert_eq!(web.get("/plain/status.php").await.status(), 504);
    drop(slow);
    until("it is free again", || works_on() == 0).await;
    // Who goes ends the program, which would print for ever.
    let (endless, _) = begin_to_take(&web, "/endless.php").await;
    until("he is far behind", || file_of(&bodies).is_some_and(|it| it.1 > 3_000_000)).await;
    drop(endless);
    until("the program has ended", || works_on() == 0).await;
    assert_eq!(web.get("/status.php").await.status(), 418);
    until("the disk has its room back", || file_of(&bodies).is_none()).await;
}

/// A file without a name in this folder, which this process has open: its path, and its bytes.
fn file_of(folder: &Path) -> Option<(std::path::PathBuf, u64)> {
    let open = fs::read_dir("/proc/self/fd").unwrap().flatten().map(|it| it.path());
    let mut found = open.filter(|it| fs::read_link(it).is_ok_and(|it| it.starts_with(folder)));
    found.find_map(|it| Some((it.clone(), fs::metadata(&it).ok()?.len())))
}

/// The disk fails, and not the visitor who has sent all that he was to send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_disk_loses_is_the_servers_fault() {
    let php = Php::with_workers(1).await;
    let web = web(&json!([php.route("/")]));
    let bodies = web.folder.path().join("bodies");
    let lost = || fs::OpenOptions::new().write(true).open(file_of(&bodies).unwrap().0).unwrap().set_len(0).unwrap();
    let works_on = || web.plane.proxied()[0].upstreams[0].2;
    let mut pause = TcpStream::connect(web.address).await.unwrap();
    pause.write_all(b"GET /pause.php HTTP/1.1\r\nHost: site.test\r\n\r\n").await.unwrap();
    until("the worker has something to do", || works_on() == 1).await;
    let mut upload = TcpStream::connect(web.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\nContent-Length: 3000000\r\n\r\n";
    upload.write_all(head.as_bytes()).await.unwrap();
    upload.write_all(&vec![b'x'; 3_000_000]).await.unwrap();
    until("all of it is there, and waits", || works_on() == 2).await;
    lost();
    let mut said = String::new();
    timeout(PATIENCE, upload.read_to_string(&mut said)).await.unwrap().unwrap();
    assert!(said.starts_with("HTTP/1.1 500") && said.contains("What was sent was lost on this server"), "{said}");
    assert!(web.plane.proxied()[0].upstreams[0].1, "nor is it the upstream's");
    assert_eq!(web.get("/status.php").await.status(), 418);
    // An answer that is under way breaks off, and does not look whole.
    let (mut slow, mut came) = begin_to_take(&web, "/huge.php").await;
    until("the program has ended", || works_on() == 0).await;
    lost();
    drop(timeout(PATIENCE, slow.read_to_end(&mut came)).await.unwrap());
    assert!(!came.ends_with(b"\r\n0\r\n\r\n") && came.len() < 30_000_000, "{}", came.len());
}

/// Whoever can send a file has no program yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_uploaded_does_not_run() {
    let php = Php::start().await;
    let (mut open, mut narrow) = (php.route("/open"), php.route("/narrow"));
    for it in [&mut open, &mut narrow] {
        it["strip_prefix"] = json!(true);
    }
    open["deny"] = json!([]);
    narrow["scripts"] = json!(["/index.php", "/a*.php"]);
    let web = web(&json!([php.route("/"), open, narrow]));
    for path in ["/wp-content/uploads/sent.php", "/WP-content/../wp-content", "//wp-content//uploads/sent.php/x.jpg"] {
        assert_ne!(web.get(path).await.status(), 418, "{path}");
    }
    assert_eq!(
        web.get("/wp-content/uploads/sent.php").await.status(),
        404,
        "and no other program gets what was meant for it"
    );
    assert_eq!(web.get("/status.php").await.status(), 418);
    assert_eq!(web.get("/open/wp-content/uploads/sent.php").await.status(), 418, "somebody has said so");
    assert_eq!(web.get("/narrow/status.php").await.status(), 404);
    for (path, wanted) in
        [("/narrow/admin/index.php", "/narrow/admin/index.php"), ("/narrow/none", "/narrow/index.php")]
    {
        let answer = web.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let said: Value = serde_json::from_str(answer.text()).unwrap();
        assert_eq!(said["SCRIPT_NAME"], wanted, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_that_are_not_there_are_said() {
    let php = Php::start().await;
    let tasks = Tasks::new();
    let up = upstream(&tasks, mirror).await;
    let gone = php.folder.path().join("gone.sock");
    let web = web(&json!([
        php.route("/"),
        route("/folder", &php.socket(), Path::new("/nowhere")),
        route("/socket", &gone, &php.root()),
        { "path": "/http", "to": [format!("fastcgi://{}", up.address)], "root": php.root() },
    ]));
    for (path, status) in [("/", 200), ("/folder/x", 404), ("/socket/x", 502), ("/http/x", 502)] {
        assert_eq!(web.get(path).await.status(), status, "{path}");
    }
    tasks.stop();
}
