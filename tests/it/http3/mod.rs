//! Clients speak HTTP/3 to the server: what they get, what they may not do, and what others see of it.

mod client;
mod limits;
mod refused;
mod stop;

use std::{fs, net::UdpSocket, path::PathBuf, process::Command, time::Duration};

use bytes::Bytes;
use quinn::VarInt;
use tokio::time::{Instant, timeout};

use self::client::{Client, dial, frame, section};
use crate::support::{Host, authority::Authority, browser, free_port, http, write_files};

const BIG: usize = 3_000_000;
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with TLS, a site at shop.example and another at book.example.
struct Secured {
    host: Host,
    key: String,
    port: u16,
    authority: Authority,
    ca: PathBuf,
    files: PathBuf,
}

impl Secured {
    /// `more`: settings in front of those of TLS; `of_tls`: among those.
    fn start(more: &str, of_tls: &str) -> Self {
        Self::start_at(free_port(), more, of_tls)
    }

    fn start_at(port: u16, more: &str, of_tls: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (authority, files) = (Authority::new(), folder.path().join("certificates"));
        authority.issue(&files, "shop", &["shop.example"], (2020, 2099));
        authority.issue(&files, "book", &["book.example", "panel.example"], (2020, 2099));
        authority.issue(&files, "here", &["here.example", "127.0.0.1"], (2020, 2099));
        authority.issue(&files, "there", &["there.example", "127.0.0.2"], (2020, 2099));
        let of = |name: &str| {
            let at = files.display();
            format!("[[tls.certificates]]\nchain = \"{at}/{name}.pem\"\nkey = \"{at}/{name}.key\"\n")
        };
        let settings = format!(
            "panel_host = \"panel.example\"\n{more}[tls]\nlisten = [\"127.0.0.1:{port}\"]\n{of_tls}{}",
            ["shop", "book", "here", "there"].map(of).concat()
        );
        write_files(folder.path(), &[("c.toml", settings.as_bytes())]);
        let config = folder.path().join("c.toml");
        let ca = authority.file(folder.path());
        let host = Host::start_in(folder, &["--config", config.to_str().unwrap()]);
        let key = host.key("owner@example.org", "super-admin");
        for (name, text) in [("shop", "<p>the shop</p>"), ("book", "<p>the book</p>")] {
            let site = host.beside(name);
            write_files(&site, &[("index.html", text.as_bytes()), ("big.bin", &big())]);
            let hostname = format!("{name}.example");
            for words in [
                &["deploy", site.to_str().unwrap(), "--site", name, "--create"][..],
                &["sites", "hostnames", "add", &hostname, "--site", name],
            ] {
                let out = host.cli(&key, words);
                assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
            }
        }
        Self { host, key, port, authority, ca, files }
    }

    async fn client(&self, name: &str) -> Client {
        Client::connect(&self.authority, name, self.port).await
    }

    /// What curl gets by HTTPS: the head, and its exit code.
    fn curl(&self, more: &[&str]) -> String {
        let resolve = format!("shop.example:{}:127.0.0.1", self.port);
        let mut curl = Command::new("curl");
        curl.args(["-s", "-D", "-", "-o", "/dev/null", "--max-time", "60", "--resolve", &resolve, "--cacert"])
            .arg(&self.ca);
        let done = curl.args(more).arg(format!("https://shop.example:{}/", self.port)).output().unwrap();
        String::from_utf8_lossy(&done.stdout).into_owned()
    }
}

/// Bytes that tell where they stand.
fn big() -> Vec<u8> {
    (0..u32::try_from(BIG / 4).unwrap()).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sites_are_served_by_http_3() {
    let it = Secured::start("[access_log]\nformat = \"json\"\n", "");
    let shop = it.client("shop.example").await;
    let page = shop.get("/").await;
    assert_eq!((page.status.as_u16(), &*page.body), (200, &b"<p>the shop</p>"[..]));
    assert_eq!(page.header("content-length"), Some("15"));
    assert!(page.header("date").is_some_and(|it| it.ends_with(" GMT")), "{page:?}");
    assert_eq!(page.header("alt-svc"), None, "who is here need not be told");
    assert_eq!(it.client("book.example").await.get("/").await.body, b"<p>the book</p>");
    assert!(shop.get("/big.bin").await.body == big());
    // Ranges, conditions, no body, nothing there, a method that is none of a file's.
    let part = shop.ask(shop.request("GET", "/big.bin").header("range", "bytes=1000000-1999999"), &[]).await.unwrap();
    assert_eq!(part.header("content-range"), Some("bytes 1000000-1999999/3000000"));
    assert!(part.status == 206 && part.body == big()[1_000_000..2_000_000]);
    let etag = page.header("etag").unwrap();
    let known = shop.ask(shop.request("GET", "/").header("if-none-match", etag), &[]).await.unwrap();
    assert_eq!((known.status.as_u16(), known.body.len(), known.header("etag")), (304, 0, Some(etag)));
    let head = shop.ask(shop.request("HEAD", "/big.bin"), &[]).await.unwrap();
    assert_eq!((head.status.as_u16(), head.body.len(), head.header("content-length")), (200, 0, Some("3000000")));
    assert_eq!(shop.get("/nowhere").await.status, 404);
    let post = shop.ask(shop.request("POST", "/"), &[Bytes::from(big())]).await.unwrap();
    assert_eq!((post.status.as_u16(), post.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let lines = it.host.until("the lines", || {
        fs::read_to_string(it.host.data().join("logs/access.log")).ok().filter(|it| it.lines().count() >= 8)
    });
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    let field = |name: &str| first[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        [field("version"), field("scheme"), field("host")],
        ["HTTP/3.0", "https", "shop.example"].map(String::from)
    );
    assert_eq!(first["bytes"], 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_are_answered_at_once_on_one_connection() {
    let it = Secured::start("", "");
    let shop = it.client("shop.example").await;
    let asked = (0..500).map(|nth| {
        let shop = shop.clone();
        async move {
            let (path, body) = if nth % 50 == 0 { ("/big.bin", big()) } else { ("/", b"<p>the shop</p>".to_vec()) };
            assert!(shop.get(path).await.body == body, "{nth}");
        }
    });
    timeout(PATIENCE * 2, futures_of(asked)).await.unwrap();
}

/// Runs all at once.
async fn futures_of(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut all: Vec<_> = all.map(|it| Some(Box::pin(it))).collect();
    std::future::poll_fn(|context| {
        for it in &mut all {
            if it.as_mut().is_some_and(|it| it.as_mut().poll(context).is_ready()) {
                *it = None;
            }
        }
        if all.iter().all(Option::is_none) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

/// A whole deploy, and one that is refused before its body has come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_is_deployed_by_http_3() {
    let it = Secured::start("", "");
    let panel = it.client("panel.example").await;
    let bearer = format!("Bearer {}", it.key);
    let noise: Vec<u8> = (0..6_000_000_u32).map(|it| it.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let archive = Bytes::from(browser::archive(&[("index.html", b"<p>by QUIC</p>"), ("noise.bin", &noise)]));
    assert!(archive.len() > 5_000_000);
    let request = || panel.request("PUT", "/api/v1/sites/shop/deployments").header("content-type", "application/gzip");
    let pieces: Vec<Bytes> = archive.chunks(300_000).map(Bytes::copy_from_slice).collect();
    let refused = timeout(PATIENCE, panel.ask(request(), &pieces)).await.unwrap().unwrap();
    assert_eq!(refused.status, 401, "without a key");
    let sent = panel.ask(request().header("authorization", &bearer).header("content-length", archive.len()), &pieces);
    let sent = timeout(PATIENCE, sent).await.unwrap().unwrap();
    assert_eq!(sent.status, 202, "{}", String::from_utf8_lossy(&sent.body));
    let shop = it.client("shop.example").await;
    let began = Instant::now();
    while shop.get("/").await.body != b"<p>by QUIC</p>" {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(shop.get("/noise.bin").await.body == noise);
    // A small body of JSON, and the figures, for which who comes by QUIC is not near.
    let body = [Bytes::from_static(b"{\"name\":\"third\"}")];
    let made = panel.request("POST", "/api/v1/sites").header("authorization", &bearer);
    let made = panel.ask(made.header("content-type", "application/json"), &body).await.unwrap();
    assert_eq!(made.status, 201, "{}", String::from_utf8_lossy(&made.body));
    assert_eq!(panel.get("/metrics").await.status, 401);
    // The panel's own cookie is for a connection that is secure.
    let form = format!("email=owner%40example.org&password={}", crate::support::PASSWORD.replace(' ', "+"));
    let origin = format!("https://panel.example:{}", it.port);
    let sign_in = panel.request("POST", "/sign-in").header("origin", origin);
    let sign_in = sign_in.header("content-type", "application/x-www-form-urlencoded");
    let signed_in = panel.ask(sign_in, &[Bytes::from(form)]).await.unwrap();
    assert_eq!(signed_in.status, 303, "{}", String::from_utf8_lossy(&signed_in.body));
    assert!(signed_in.header("set-cookie").unwrap().contains("; Secure"), "{signed_in:?}");
}

#[test]
fn others_are_told_of_it_where_it_is() {
    let it = Secured::start("", "");
    let told = format!("alt-svc: h3=\":{}\"; ma=86400\r\n", it.port);
    for protocol in ["--http1.1", "--http2"] {
        assert!(it.curl(&[protocol]).contains(&told), "{protocol}: {}", it.curl(&[protocol]));
    }
    let panel = format!("panel.example:{}:127.0.0.1", it.port);
    let at = format!("https://panel.example:{}/sign-in", it.port);
    assert!(it.curl(&["--resolve", &panel, "-o", "/dev/null", &at]).matches(&told).count() == 2);
    let clear = http::ask(it.host.port, "GET /healthz HTTP/1.1\r\nHost: panel.example\r\n", b"");
    assert_eq!((clear.status, clear.header("alt-svc")), (200, None));
    // Outside of a firewall the port is another one.
    let it = Secured::start("public_url = \"https://panel.example\"\n", "");
    assert!(it.curl(&[]).contains("alt-svc: h3=\":443\"; ma=86400\r\n"), "{}", it.curl(&[]));
    // A proxy would pass it on to browsers, for which there is no HTTP/3 at the proxy.
    let it = Secured::start("trusted_proxies = [\"127.0.0.1\"]\n", "");
    assert!(it.curl(&[]).starts_with("HTTP/2 200") && !it.curl(&[]).contains("alt-svc"), "{}", it.curl(&[]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_off() {
    let it = Secured::start("", "http3 = false\n");
    assert!(UdpSocket::bind(("127.0.0.1", it.port)).is_ok(), "nobody has the port");
    assert!(it.curl(&[]).starts_with("HTTP/2 200") && !it.curl(&[]).contains("alt-svc"), "{}", it.curl(&[]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_is_told_and_the_rest_is_served() {
    let port = free_port();
    let taken = UdpSocket::bind(("127.0.0.1", port)).unwrap();
    let mut it = Secured::start_at(port, "", "");
    let said = format!(
        "UDP port {port} of 127.0.0.1 is taken by another program: `ss -lunp 'sport = :{port}'` names it. Stop that one and restart \
         chainhost, or set `http3 = false` in [tls]."
    );
    assert!(it.host.log().contains(&said), "{}", it.host.log());
    assert!(it.curl(&[]).starts_with("HTTP/2 200") && !it.curl(&[]).contains("alt-svc"), "{}", it.curl(&[]));
    drop(taken);
    assert_eq!(it.host.stop(), Some(0));
    it.host.restart();
    assert_eq!(it.client("shop.example").await.get("/").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_certificate_is_that_of_the_name_and_is_renewed_without_a_restart() {
    let it = Secured::start("", "");
    let shown = async |name: &str| {
        let connection = dial(&it.authority, name, it.port).await.ok()?;
        let chain = connection.peer_identity().unwrap().downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>();
        Some(chain.unwrap()[0].clone())
    };
    let (shop, book) = (shown("shop.example").await.unwrap(), shown("book.example").await.unwrap());
    assert!(shop != book && shown("shop.example").await.as_ref() == Some(&shop));
    assert_eq!(shown("stranger.example").await, None, "nobody vouches for the name");
    // Of several addresses that have one, the one that was connected to.
    assert!(shown("127.0.0.1").await.is_some_and(|it| it != shop && it != book));
    assert_eq!(shown("127.0.0.2").await, None);
    let old = it.client("shop.example").await;
    it.authority.issue(&it.files, "shop", &["shop.example", "new.example"], (2020, 2099));
    let began = Instant::now();
    while shown("new.example").await.is_none() {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(shown("shop.example").await.unwrap() != shop);
    assert_eq!(old.get("/").await.status, 200, "who was here before stays");
}

/// What a client takes back is dropped, and the line tells how far it came.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_an_answer_is_logged_with_what_was_sent() {
    let it = Secured::start("[access_log]\nformat = \"json\"\n", "");
    let huge = it.host.beside("huge");
    write_files(&huge, &[("index.html", b"x"), ("huge.bin", &vec![7; 64 << 20])]);
    let out = it.host.cli(&it.key, &["deploy", huge.to_str().unwrap(), "--site", "shop"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let connection = dial(&it.authority, "shop.example", it.port).await.unwrap();
    let (mut sender, mut receiver) = connection.open_bi().await.unwrap();
    let fields = [(":method", "GET"), (":scheme", "https"), (":authority", "shop.example"), (":path", "/huge.bin")];
    sender.write_all(&frame(1, &section(&fields))).await.unwrap();
    sender.finish().unwrap();
    receiver.read_exact(&mut vec![0; 100_000]).await.unwrap();
    receiver.stop(VarInt::from_u32(0x10c)).unwrap();
    let line = it.host.until("the line", || {
        let text = fs::read_to_string(it.host.data().join("logs/access.log")).ok()?;
        text.lines().find(|it| it.contains("/huge.bin")).map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let sent = line["bytes"].as_u64().unwrap();
    assert!(line["status"] == 200 && (1..16 << 20).contains(&sent), "{line}");
    assert!(connection.close_reason().is_none(), "the connection is as well as before");
}

/// A browser speaks it as it does to any server, and sees an answer that does not want what it sends.
#[test]
fn a_browser_comes_by_it() {
    let it = Secured::start("", "");
    let tools = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/panel");
    assert!(tools.join("node_modules/playwright-core").is_dir(), "run `npm ci` in tests/panel, as tests/run does");
    let mut node = Command::new("node");
    node.arg(tools.join("http3.mjs")).arg(format!("https://shop.example:{}/", it.port)).arg(it.files.join("shop.pem"));
    let out = node.output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    let seen: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(seen, serde_json::json!({ "by": ["h3", "h3"], "bytes": BIG, "posted": 405 }));
}
