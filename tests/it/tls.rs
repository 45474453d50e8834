//! Clients speak TLS to the server itself: which certificate they are shown, what they agree on, and what is told of wrong ones.

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use chainhost::{
    base::tasks::Tasks,
    http::respond,
    net::{
        connection::{Limits, Server},
        listen,
        tls::{Certificates, OwnKey},
    },
};
use hyper::StatusCode;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{io::AsyncReadExt as _, time::timeout};

use crate::support::{
    Host, PASSWORD, free_port,
    http::{self},
    write_files,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// An authority that only these tests trust.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut wish = CertificateParams::new(Vec::new()).unwrap();
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wish.distinguished_name.push(DnType::CommonName, "An authority");
        Self(CertifiedIssuer::self_signed(wish, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes `NAME.pem` and `NAME.key` into a folder: for these hostnames, in these years.
    fn issue(&self, folder: &Path, name: &str, hostnames: &[&str], years: (i32, i32)) {
        let hostnames: Vec<String> = hostnames.iter().map(|it| (*it).to_owned()).collect();
        let mut wish = CertificateParams::new(hostnames).unwrap();
        (wish.not_before, wish.not_after) = (date_time_ymd(years.0, 1, 1), date_time_ymd(years.1, 1, 1));
        let key = KeyPair::generate().unwrap();
        let made = wish.signed_by(&key, &self.0).unwrap();
        let chain = pem("CERTIFICATE", made.der()) + &pem("CERTIFICATE", self.0.der());
        let (chain_name, key_name) = (format!("{name}.pem"), format!("{name}.key"));
        let key = pem("PRIVATE KEY", key.serialized_der());
        write_files(folder, &[(&chain_name, chain.as_bytes()), (&key_name, key.as_bytes())]);
    }

    /// The authority's own certificate in a file, for curl.
    fn file(&self, folder: &Path) -> PathBuf {
        write_files(folder, &[("authority.pem", pem("CERTIFICATE", self.0.der()).as_bytes())]);
        folder.join("authority.pem")
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

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

    /// The certificate that is shown to who asks for a name.
    fn shown(&self, name: &str) -> CertificateDer<'static> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.0.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        while client.is_handshaking() {
            client.complete_io(&mut stream).unwrap();
        }
        client.peer_certificates().unwrap().first().unwrap().clone().into_owned()
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
    let (said, _) = it.curl("bare.example", "/", "%{certs}", &["-k", "-o", "/dev/null"]);
    assert!(said.is_empty() || said.contains("bare.example"), "{said}");
    assert_eq!(it.curl("stranger.example", "/", about, &["-k"]).0.lines().last(), Some("421 2"));
    // Without TLS at the port for it.
    let plain = http::ask(it.port, "GET / HTTP/1.1\r\nHost: shop.example\r\n", b"");
    assert!(plain.status == 400 && plain.text().contains("This port speaks HTTPS"), "{}", plain.text());
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
    assert_eq!(ask("panel.example", "/", "").header("location"), Some("https://panel.example:8443/"));
    // Nobody vouches for this name; a proxy has ended the TLS; an authority asks; a balancer asks.
    assert_eq!(ask("bare.example", "/", "").status, 200);
    assert_eq!(ask("shop.example", "/", "X-Forwarded-Proto: https\r\n").status, 200);
    assert_eq!(ask("shop.example", "/.well-known/acme-challenge/x", "").status, 404);
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
    assert_eq!(it.curl("shop.example", "/", "%{http_code}", &["-o", "/dev/null"]).0, "200");
    assert_eq!(it.curl("panel.example", "/sign-in", "%{http_code}", &["-o", "/dev/null"]).0, "200");
    let text = it.host.until("two lines", || fs::read_to_string(&log).ok().filter(|it| it.lines().count() >= 2));
    let of = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        ["host", "site", "scheme", "target", "version", "status"].map(|it| line[it].clone())
    };
    let lines: Vec<_> = text.lines().map(of).collect();
    let wanted = |scheme: &str, target: &str, version: &str, status: u16| {
        let text = |it: &str| serde_json::Value::from(it);
        [text("shop.example"), text("shop"), text(scheme), text(target), text(version), status.into()]
    };
    assert_eq!(lines, [wanted("http", "/a?b", "HTTP/1.1", 308), wanted("https", "/", "HTTP/2.0", 200)]);
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
    // The figures are for who is near, and through TLS somebody may be, too.
    assert_eq!(it.curl("panel.example", "/metrics", "%{http_code}", &["-o", "/dev/null"]).0, "200");
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
    let mixed = format!(
        "{}{}",
        &chain[..second],
        read("other.pem").split_inclusive("-----END CERTIFICATE-----\n").next().unwrap()
    );
    let locked = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    write_files(
        at,
        &[
            ("turned.pem", turned.as_bytes()),
            ("mixed.pem", mixed.as_bytes()),
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
        ("good.key", "good.pem", "good.key: It has a private key and no certificate: are `chain` and `key` mixed up?"),
        ("empty.pem", "good.key", "empty.pem: It has no certificate: PEM is expected"),
        ("damaged.pem", "good.key", "damaged.pem: What stands there as a certificate is damaged."),
        ("nonsense.pem", "good.key", "nonsense.pem: What stands there as a certificate cannot be read as one."),
        ("huge.pem", "good.key", "huge.pem: It has more than 1 MiB"),
        ("turned.pem", "good.key", "turned.pem: The first certificate is that of an authority."),
        ("mixed.pem", "good.key", "mixed.pem: The chain is not in order"),
        ("nameless.pem", "nameless.key", "nameless.pem: The certificate names no hostname"),
        ("good.pem", "other.key", "other.key: This key is not that of the first certificate in "),
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

/// A client that begins and does not go on costs its time for a head and no more.
#[tokio::test]
async fn a_handshake_has_its_time() {
    let tasks = Tasks::new();
    let listener = listen::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap().remove(0);
    let address = listener.local_addr().unwrap();
    let limits = Limits { head: Duration::from_millis(300), connections: 2, ..Limits::default() };
    let certificates = Certificates::new(OwnKey::generate().unwrap(), "localhost");
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
