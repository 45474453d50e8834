//! Clients speak TLS to the server itself: which certificate they are shown, what they agree on, and what is told of wrong ones.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use chainhost::{
    base::{clock::Clock, tasks::Tasks},
    domain::certificate::Certificate,
    http::respond,
    net::{
        connection::{Limits, Server},
        listen,
        tls::{Certificates, OwnKey},
    },
};
use hyper::StatusCode;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, NamedGroup, RootCertStore, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::support::{
    Host, PASSWORD,
    authority::{Authority, pem},
    free_port,
    http::{self},
    write_files,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A server with TLS and a site at shop.example, and what curl needs to reach it.
struct Secured {
    host: Host,
    key: String,
    port: u16,
    authority: Authority,
    ca: PathBuf,
    files: PathBuf,
}

impl Secured {
    /// `more`: settings in front of those of TLS.
    fn start(more: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let (authority, files) = (Authority::new(), folder.path().join("certificates"));
        authority.issue(&files, "shop", &["shop.example", "*.sites.example"], (2020, 2099));
        authority.issue(&files, "panel", &["panel.example"], (2020, 2099));
        let of = |name: &str| {
            let at = files.display();
            format!("[[tls.certificates]]\nchain = \"{at}/{name}.pem\"\nkey = \"{at}/{name}.key\"\n")
        };
        let settings = format!("{more}[tls]\nlisten = [\"127.0.0.1:{port}\"]\n{}{}", of("shop"), of("panel"));
        write_files(folder.path(), &[("c.toml", settings.as_bytes())]);
        let config = folder.path().join("c.toml");
        let ca = authority.file(folder.path());
        let host = Host::start_in(folder, &["--config", config.to_str().unwrap()]);
        let key = host.key("owner@example.org", "super-admin");
        let site = host.beside("shop");
        write_files(&site, &[("index.html", b"<p>the shop</p>"), ("big.bin", &vec![7; 3_000_000])]);
        for words in [
            &["deploy", site.to_str().unwrap(), "--site", "shop", "--create"][..],
            &["sites", "hostnames", "add", "shop.example", "--site", "shop"],
            &["sites", "hostnames", "add", "bare.example", "--site", "shop"],
        ] {
            let out = host.cli(&key, words);
            assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        }
        Self { host, key, port, authority, ca, files }
    }

    /// What curl says of a page by HTTPS, with `%{…}` as asked behind it; and its exit code.
    fn curl(&self, name: &str, path: &str, write: &str, more: &[&str]) -> (String, i32) {
        let resolve = format!("{name}:{}:127.0.0.1", self.port);
        let mut curl = Command::new("curl");
        curl.args(["-s", "--max-time", "60", "--resolve", &resolve, "-w", write, "--cacert"]).arg(&self.ca);
        let done = curl.args(more).arg(format!("https://{name}:{}{path}", self.port)).output().unwrap();
        (String::from_utf8_lossy(&done.stdout).into_owned(), done.status.code().unwrap())
    }

    /// What curl says of a page in clear by HTTP/2, which it does not ask for first: status, version, and where it is sent.
    fn clear_two(&self, name: &str, path: &str) -> String {
        let resolve = format!("{name}:{}:127.0.0.1", self.host.port);
        let about = "%{http_code} %{http_version} %{redirect_url}";
        let mut curl = Command::new("curl");
        curl.args(["-s", "--max-time", "60", "-o", "/dev/null", "--http2-prior-knowledge", "-w", about]);
        curl.args(["--resolve", &resolve, &format!("http://{name}:{}{path}", self.host.port)]);
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    }

    /// A client that believes the authority.
    fn client(&self) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }

    /// A connection behind its handshake.
    fn connect(&self, name: &str, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        while client.is_handshaking() {
            client.complete_io(&mut stream).unwrap();
        }
        StreamOwned::new(client, stream)
    }

    /// The certificate that is shown to who asks for a name.
    fn shown(&self, name: &str) -> CertificateDer<'static> {
        let client = self.connect(name, &self.client()).conn;
        client.peer_certificates().unwrap().first().unwrap().clone().into_owned()
    }

    /// The names in the certificate that is shown to who asks for one, whoever vouches for it.
    fn signed_by_itself(&self, name: &str) -> Vec<String> {
        let at = format!("127.0.0.1:{}", self.port);
        let mut asked = Command::new("openssl");
        asked.args(["s_client", "-connect", &at, "-servername", name]).stdin(Stdio::null());
        let shown = CertificateDer::from_pem_slice(&asked.output().unwrap().stdout).unwrap();
        Certificate::read(&[&shown]).unwrap().names
    }
}

#[test]
fn sites_are_served_by_https() {
    let it = Secured::start("sites_domain = \"sites.example\"\n");
    let about = "\n%{http_code} %{http_version}";
    assert_eq!(it.curl("shop.example", "/", about, &[]), (String::from("<p>the shop</p>\n200 2"), 0));
    let old = ["--http1.1", "--tls-max", "1.2"];
    assert_eq!(it.curl("shop.example", "/", about, &old), (String::from("<p>the shop</p>\n200 1.1"), 0));
    for name in ["SHOP.example", "shop.sites.example"] {
        assert_eq!(it.curl(name, "/", about, &[]).0, "<p>the shop</p>\n200 2", "{name}");
    }
    for protocol in ["--http1.1", "--http2"] {
        let (big, code) = it.curl("shop.example", "/big.bin", "", &[protocol]);
        assert!(code == 0 && big.len() == 3_000_000 && big.bytes().all(|byte| byte == 7), "{}", big.len());
    }
    assert_eq!(it.curl("shop.example", "/", "", &["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]).1, 35);
    // Nobody vouches for this one yet: it is encrypted, and its certificate is for that name all the same.
    assert_eq!(it.curl("bare.example", "/", about, &[]).1, 60);
    assert_eq!(it.curl("bare.example", "/", about, &["-k"]).0, "<p>the shop</p>\n200 2");
    assert_eq!(it.signed_by_itself("bare.example"), ["bare.example"]);
    assert_eq!(it.signed_by_itself("stranger.example"), ["localhost"], "no name of ours");
    assert_eq!(it.curl("stranger.example", "/", about, &["-k"]).0.lines().last(), Some("421 2"));
    // Without TLS at the port for it.
    let plain = http::ask(it.port, "GET / HTTP/1.1\r\nHost: shop.example\r\n", b"");
    assert!(plain.status == 400 && plain.text().contains("This port speaks HTTPS"), "{}", plain.text());
}

#[test]
fn keys_withstand_quantum_computers_and_handshakes_are_taken_up() {
    let it = Secured::start("");
    let config = it.client();
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut stream = it.connect("shop.example", &config);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with("<p>the shop</p>"), "{answer}");
        let group = stream.conn.negotiated_key_exchange_group().map(rustls::crypto::SupportedKxGroup::name);
        assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
        kinds.extend(stream.conn.handshake_kind());
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[test]
fn visitors_in_clear_are_sent_to_https_where_somebody_vouches_for_it() {
    let it = Secured::start("trusted_proxies = [\"127.0.0.1\"]\npublic_url = \"https://panel.example:8443\"\n");
    let ask = |name: &str, path: &str, more: &str| {
        http::ask(it.host.port, &format!("GET {path} HTTP/1.1\r\nHost: {name}\r\n{more}"), b"")
    };
    let sent = ask("Shop.Example:80", "/a?b=c", "");
    assert_eq!((sent.status, sent.header("location")), (308, Some("https://shop.example:8443/a?b=c")));
    assert_eq!(sent.header("cache-control"), Some("max-age=3600"));
    assert_eq!(it.clear_two("shop.example", "/a?b=c"), "308 2 https://shop.example:8443/a?b=c");
    assert_eq!(it.clear_two("bare.example", "/"), "200 2 ");
    assert_eq!(ask("panel.example", "/", "").header("location"), Some("https://panel.example:8443/"));
    // Nobody vouches for this name; a proxy has ended the TLS; an authority asks; a balancer asks.
    assert_eq!(ask("bare.example", "/", "").status, 200);
    assert_eq!(ask("bare.example", "/sign-in", "").status, 404);
    assert_eq!(ask("shop.example", "/", "X-Forwarded-Proto: https\r\n").status, 200);
    assert_eq!(ask("shop.example", "/.well-known/acme-challenge/x", "").status, 404);
    // What is set for the site comes before what is set for the server.
    let wish = |https: &str| {
        let patch = format!("{{\"addresses\":{{\"https\":\"{https}\"}}}}");
        it.host.api_json(&it.key, "PATCH /api/v1/sites/shop/settings", &patch, 200);
    };
    wish("both");
    assert_eq!(ask("shop.example", "/", "").status, 200);
    wish("always");
    assert_eq!((ask("shop.example", "/", "").status, ask("bare.example", "/", "").status), (308, 200));
    assert_eq!(ask("panel.example", "/healthz", "").status, 200);
    assert_eq!(it.host.get("localhost", "/healthz").status, 200);
}

/// The scheme is that of the client; whoever is on the way to the panel is no visitor.
#[test]
fn visitors_by_https_and_those_who_are_sent_there_are_logged() {
    let it = Secured::start("panel_host = \"panel.example\"\n[access_log]\nformat = \"json\"\n");
    let log = it.host.data().join("logs/access.log");
    let ask = |name: &str, path: &str| {
        http::ask(it.host.port, &format!("GET {path} HTTP/1.1\r\nHost: {name}\r\n"), b"").status
    };
    assert_eq!((ask("shop.example", "/a?b"), ask("panel.example", "/claim?token=secret")), (308, 308));
    assert!(it.clear_two("shop.example", "/c").starts_with("308 2 "));
    assert_eq!(it.curl("shop.example", "/", "%{http_code}", &["-o", "/dev/null"]).0, "200");
    assert_eq!(it.curl("panel.example", "/sign-in", "%{http_code}", &["-o", "/dev/null"]).0, "200");
    let text = it.host.until("three lines", || fs::read_to_string(&log).ok().filter(|it| it.lines().count() >= 3));
    let of = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        ["host", "site", "scheme", "target", "version", "status"].map(|it| line[it].clone())
    };
    let lines: Vec<_> = text.lines().map(of).collect();
    let wanted = |scheme: &str, target: &str, version: &str, status: u16| {
        let text = |it: &str| serde_json::Value::from(it);
        [text("shop.example"), text("shop"), text(scheme), text(target), text(version), status.into()]
    };
    let right = [
        wanted("http", "/a?b", "HTTP/1.1", 308),
        wanted("http", "/c", "HTTP/2.0", 308),
        wanted("https", "/", "HTTP/2.0", 200),
    ];
    assert_eq!(lines, right);
}

/// By the very connection that the page came by, and what curl gets where none is.
#[test]
fn a_browser_opens_a_websocket_on_a_stream() {
    let (it, up) = (Secured::start("[access_log]\nformat = \"json\"\n"), free_port());
    let routes = serde_json::json!([{ "path": "/chat", "to": [format!("http://127.0.0.1:{up}")] }]);
    let patch = serde_json::json!({ "proxy": { "routes": routes } }).to_string();
    it.host.api_json(&it.key, "PATCH /api/v1/sites/shop/settings", &patch, 200);
    let tools = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/panel");
    assert!(tools.join("node_modules/playwright-core").is_dir(), "run `npm ci` in tests/panel, as tests/run does");
    let mut node = Command::new("node");
    node.arg(tools.join("websocket.mjs")).arg(format!("https://shop.example:{}/", it.port));
    let out = node.arg(it.files.join("shop.pem")).arg(up.to_string()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    let seen: serde_json::Value = serde_json::from_str(&said).unwrap();
    let right = serde_json::json!({
        "page": "h2", "via": "2 chainhost", "protocol": "chat.v2", "echo": "HELLO", "code": 4001, "none": "error",
    });
    assert_eq!(seen, right);
    let line = it.host.until("the line", || {
        let text = fs::read_to_string(it.host.data().join("logs/access.log")).ok()?;
        text.lines().find(|it| it.contains("/chat")).map(str::to_owned)
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let of = ["method", "version", "status", "scheme"].map(|it| line[it].clone());
    assert_eq!(serde_json::json!(of), serde_json::json!(["GET", "HTTP/2.0", 101, "https"]), "{line}");
}

#[test]
fn the_panel_is_claimed_and_used_by_https() {
    let it = Secured::start("public_url = \"https://panel.example\"\n");
    let body = format!("email=owner%40example.org&password={}", PASSWORD.replace(' ', "+"));
    let origin = format!("Origin: https://panel.example:{}", it.port);
    let (head, code) = it.curl("panel.example", "/sign-in", "", &["-i", "-H", &origin, "-d", &body]);
    assert!(code == 0 && head.starts_with("HTTP/2 303"), "{head}");
    assert!(head.contains("set-cookie: __Host-chainhost=") && head.contains("; Secure"), "{head}");
    assert!(head.contains("strict-transport-security: max-age=31536000"), "{head}");
    // The figures are for who is near, and what passes TLS on from here brings everybody.
    assert_eq!(it.curl("panel.example", "/metrics", "%{http_code}", &["-o", "/dev/null"]).0, "401");
}

#[test]
fn a_renewed_certificate_is_shown_without_a_restart() {
    let it = Secured::start("");
    let before = it.shown("shop.example");
    assert_eq!(it.shown("shop.example"), before);
    // A chain without its key, as it is for a moment while somebody writes both.
    let staging = it.files.join("new");
    it.authority.issue(&staging, "shop", &["shop.example", "new.example"], (2020, 2099));
    fs::rename(staging.join("shop.pem"), it.files.join("shop.pem")).unwrap();
    it.host.until("the pair that does not fit is told", || {
        it.host.log().contains("the one before is shown still").then_some(())
    });
    assert_eq!(it.shown("shop.example"), before);
    fs::rename(staging.join("shop.key"), it.files.join("shop.key")).unwrap();
    let after = it.host.until("the new certificate", || Some(it.shown("shop.example")).filter(|it| *it != before));
    assert_eq!(it.shown("new.example"), after);
    // One that is gone stays in use.
    fs::remove_file(it.files.join("shop.key")).unwrap();
    it.host.until("the missing file is told", || it.host.log().contains("There is no such file").then_some(()));
    assert_eq!(it.shown("shop.example"), after);
    assert_eq!(
        it.host.log().matches("the one before is shown still").count(),
        2,
        "each is told once: {}",
        it.host.log()
    );
}

#[test]
fn sites_are_served_although_a_certificate_cannot_be_used() {
    let mut it = Secured::start("");
    let key = fs::read(it.host.data().join("tls-own-key")).unwrap();
    assert_eq!(it.host.stop(), Some(0));
    fs::remove_file(it.files.join("shop.pem")).unwrap();
    it.host.restart();
    assert_eq!(it.curl("shop.example", "/", "", &["-k"]).0, "<p>the shop</p>");
    assert_eq!(it.curl("shop.example", "/", "", &[]).1, 60, "nobody vouches for it");
    assert!(it.host.log().contains("none is shown"), "{}", it.host.log());
    assert_eq!(fs::read(it.host.data().join("tls-own-key")).unwrap(), key);
    assert!(!it.key.is_empty());
}

#[test]
fn wrong_certificates_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let authority = Authority::new();
    authority.issue(at, "good", &["a.example"], (2020, 2099));
    authority.issue(at, "other", &["b.example"], (2020, 2099));
    authority.issue(at, "nameless", &[], (2020, 2099));
    let read = |name: &str| fs::read_to_string(at.join(name)).unwrap();
    let (chain, key) = (read("good.pem"), read("good.key"));
    let second = chain.match_indices("-----BEGIN").nth(1).unwrap().0;
    let turned = format!("{}{}", &chain[second..], &chain[..second]);
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    write_files(
        at,
        &[
            ("turned.pem", turned.as_bytes()),
            ("damaged.pem", chain.replace('M', "!").as_bytes()),
            ("nonsense.pem", pem("CERTIFICATE", b"nonsense").as_bytes()),
            ("empty.pem", b""),
            ("locked.key", locked.as_bytes()),
            ("weak.key", pem("PRIVATE KEY", b"nonsense").as_bytes()),
            ("cut.key", &key.as_bytes()[..key.len() / 2]),
            ("huge.pem", &vec![b'x'; (1 << 20) + 1]),
        ],
    );
    for (chain, key, said) in [
        ("missing.pem", "good.key", "missing.pem: There is no such file."),
        ("good.key", "good.pem", "good.key: It has a private key and no certificate: are chain and key mixed up?"),
        ("empty.pem", "good.key", "empty.pem: It has no certificate: PEM is expected"),
        ("damaged.pem", "good.key", "damaged.pem: What stands there as a certificate is damaged."),
        ("nonsense.pem", "good.key", "nonsense.pem: What stands there as a certificate cannot be read as one."),
        ("huge.pem", "good.key", "huge.pem: It has more than 1 MiB"),
        ("turned.pem", "good.key", "turned.pem: The first certificate is that of an authority."),
        ("nameless.pem", "nameless.key", "nameless.pem: The certificate names no hostname"),
        ("good.pem", "other.key", "other.key: This key is not that of the first certificate of the chain."),
        ("good.pem", "good.pem", "good.pem: It has a certificate and no private key"),
        ("good.pem", "locked.key", "locked.key: The key has a password."),
        ("good.pem", "weak.key", "weak.key: This key cannot be used."),
        ("good.pem", "cut.key", "cut.key: The private key in it is damaged."),
        ("good.pem", "empty.pem", "empty.pem: It has no private key"),
    ] {
        let (chain, key) = (at.join(chain), at.join(key));
        let settings = format!(
            "[tls]\nlisten = [\"127.0.0.1:0\"]\n[[tls.certificates]]\nchain = \"{}\"\nkey = \"{}\"\n",
            chain.display(),
            key.display()
        );
        write_files(at, &[("c.toml", settings.as_bytes())]);
        let mut serve = Command::new(env!("CARGO_BIN_EXE_chainhost"));
        serve
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(at.join("c.toml"))
            .arg("--data")
            .arg(at.join("data"));
        let done = serve.output().unwrap();
        let text = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.code() == Some(2) && text.contains(said), "{said}\n{text}");
        assert!(!at.join("data").exists(), "nothing was begun");
    }
}

/// A proxy that passes a client's TLS on says first for whom.
#[test]
fn a_proxy_passes_tls_on() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, port, clear) = (Authority::new(), free_port(), free_port());
    authority.issue(folder.path(), "panel", &["panel.example"], (2020, 2099));
    let at = folder.path().display();
    let settings = format!(
        "public_url = \"https://panel.example\"\ntrusted_proxies = [\"127.0.0.1\"]\nproxy_protocol_listen = [\"127.0.0.1:{clear}\"]\n[tls]\nproxy_protocol_listen = [\"127.0.0.1:{port}\"]\n\
         [[tls.certificates]]\nchain = \"{at}/panel.pem\"\nkey = \"{at}/panel.key\"\n"
    );
    write_files(folder.path(), &[("c.toml", settings.as_bytes())]);
    let (config, ca) = (folder.path().join("c.toml"), authority.file(folder.path()));
    let host = Host::start_in(folder, &["--config", config.to_str().unwrap()]);
    let ask = |more: &[&str]| {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "--max-time", "60", "-w", "%{http_code} %{http_version}", "--cacert"])
            .arg(&ca);
        curl.arg("--resolve").arg(format!("panel.example:{port}:127.0.0.1")).args(more);
        let done = curl.arg(format!("https://panel.example:{port}/metrics")).output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    };
    // Not near, though it comes from this machine: the figures need a key.
    assert_eq!(ask(&["--haproxy-protocol"]), "401 2");
    assert_eq!(ask(&[]), "000 0", "it does not say for whom");
    // What the proxy passes on of a port in clear is in clear, whatever the panel's address says.
    let mut curl = Command::new("curl");
    curl.args([
        "-s",
        "-o",
        "/dev/null",
        "--max-time",
        "60",
        "-w",
        "%{http_code} %{redirect_url}",
        "--haproxy-protocol",
    ]);
    curl.args(["-H", "Host: panel.example"]).arg(format!("http://127.0.0.1:{clear}/sign-in"));
    let told = String::from_utf8(curl.output().unwrap().stdout).unwrap();
    assert_eq!(told, "308 https://panel.example/sign-in");
    assert!(host.log().contains("began without a header of the PROXY protocol"), "{}", host.log());
}

/// A first start that fails leaves a folder in which the next one can begin; and no password is taken in clear for want of a certificate.
#[test]
fn a_first_start_that_fails_can_be_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (port, config) = (free_port(), folder.path().join("c.toml"));
    let settings = format!("public_url = \"https://panel.example:{port}\"\n[tls]\nlisten = [\"127.0.0.1:{port}\"]\n");
    write_files(folder.path(), &[("c.toml", settings.as_bytes())]);
    let mut serve = Command::new(env!("CARGO_BIN_EXE_chainhost"));
    serve
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&config)
        .arg("--data")
        .arg(folder.path().join("data"));
    let failed =
        serve.env("CHAINHOST_DATABASE_URL", format!("postgres://u@127.0.0.1:{}/d", free_port())).output().unwrap();
    assert!(!failed.status.success(), "{failed:?}");
    let host = Host::start_in(folder, &["--config", config.to_str().unwrap()]);
    let panel = http::ask(host.port, "GET /sign-in HTTP/1.1\r\nHost: panel.example\r\n", b"");
    let there = format!("https://panel.example:{port}/sign-in");
    assert_eq!((panel.status, panel.header("location")), (308, Some(there.as_str())));
    assert_eq!(host.get("localhost", "/metrics").status, 200, "who sits here needs no TLS");
}

/// A client that begins and does not go on costs its time for a head and no more.
#[tokio::test]
async fn a_handshake_has_its_time() {
    let tasks = Tasks::new();
    let listener = listen::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let limits = Limits { head: Duration::from_millis(300), connections: 2, ..Limits::default() };
    let certificates = Certificates::new(OwnKey::generate().unwrap(), "localhost", Clock::system());
    let server = Server::new(tasks.clone(), limits).with_tls(&certificates).unwrap();
    tasks.spawn(async move { server.run(listener, |_, _| async { respond::empty(StatusCode::OK) }).await });
    // Nothing; the head of a record; a record of nonsense.
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\x00\x05hello"] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, sent).await.unwrap();
        let mut rest = Vec::new();
        let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the connection stays open");
        assert!(ended.is_err() || rest.len() < 16, "{rest:?}");
    }
    tasks.stop();
    timeout(PATIENCE, tasks.join()).await.expect("a task stays");
}
