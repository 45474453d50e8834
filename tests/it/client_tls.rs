//! The client's commands and `verify` by HTTPS: whom they believe, whom they do not, and what they say of it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, mpsc},
    thread,
};

use chainhost::{base::hash::Sha256, domain::api_key};
use rcgen::{CertificateParams, IsCa, KeyPair, PublicKeyData as _};
use rustls::{
    ServerConfig, ServerConnection,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tempfile::TempDir;

use crate::support::{
    Host, PROGRAM,
    authority::{Authority, pem},
    free_port, write_files,
};

/// Somebody at a terminal, with a home of their own.
struct User(TempDir);

/// How a command ended.
struct Ended {
    code: i32,
    out: String,
    said: String,
}

impl User {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn run(&self, environment: &[(&str, &str)], arguments: &[&str], input: &str) -> Ended {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("HOME", self.0.path()).envs(environment.iter().copied()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that refuses reads no key.
        drop(writeln!(child.stdin.take().unwrap(), "{input}"));
        let ended = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ended { code: ended.status.code().unwrap(), out: text(ended.stdout), said: text(ended.stderr) }
    }

    fn good(&self, environment: &[(&str, &str)], arguments: &[&str], input: &str) -> String {
        let ended = self.run(environment, arguments, input);
        assert_eq!(ended.code, 0, "{arguments:?}: {}{}", ended.out, ended.said);
        ended.out
    }

    fn bad(&self, environment: &[(&str, &str)], arguments: &[&str], code: i32) -> String {
        let ended = self.run(environment, arguments, &some_key());
        assert!(
            ended.code == code && ended.out.is_empty(),
            "{arguments:?}: {} {}{}",
            ended.code,
            ended.out,
            ended.said
        );
        ended.said
    }

    fn credentials(&self) -> String {
        fs::read_to_string(self.0.path().join(".config/chainhost/credentials.toml")).unwrap_or_default()
    }
}

fn some_key() -> String {
    api_key::generate().expose().to_owned()
}

/// A server with TLS whose panel is `localhost`, and where its HTTPS is.
fn secured(folder: TempDir, more: &str) -> (Host, u16, String) {
    let port = free_port();
    let settings = format!("[tls]\nlisten = [\"127.0.0.1:{port}\"]\n{more}");
    write_files(folder.path(), &[("c.toml", settings.as_bytes())]);
    let config = folder.path().join("c.toml");
    let host = Host::start_in(folder, &["--config", config.to_str().unwrap()]);
    (host, port, format!("https://localhost:{port}"))
}

/// As [`secured`], with a certificate of an authority, whose own is in the file `ca`.
fn vouched() -> (Host, u16, String, String) {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    authority.issue(folder.path(), "panel", &["localhost", "shop.localhost"], (2020, 2099));
    let ca = authority.file(folder.path()).to_str().unwrap().to_owned();
    let at = folder.path().display().to_string();
    let pair = format!("[[tls.certificates]]\nchain = \"{at}/panel.pem\"\nkey = \"{at}/panel.key\"\n");
    let (host, port, url) = secured(folder, &pair);
    (host, port, url, ca)
}

/// What a server does with who connects.
type Deed = Box<dyn FnMut(TcpStream) + Send>;

/// Does `deed` with all who connect; where that is.
fn pretend(mut deed: Deed) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || listener.incoming().flatten().for_each(&mut deed));
    port
}

/// Shows the certificate of these files to who connects, and signs with that key.
fn show_signed(folder: &Path, chain: &str, key: &str) -> Deed {
    let read = |name: String| fs::read(folder.join(name)).unwrap();
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&read(format!("{chain}.pem"))).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(&read(format!("{key}.key"))).unwrap();
    let key = aws_lc_rs::default_provider().key_provider.load_private_key(key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::new(chain, key))));
    let config = Arc::new(config);
    Box::new(move |mut stream| {
        let mut server = ServerConnection::new(Arc::clone(&config)).unwrap();
        // Who does not believe it goes away.
        while server.is_handshaking() && server.complete_io(&mut stream).is_ok() {}
    })
}

fn show(folder: &Path, name: &str) -> Deed {
    show_signed(folder, name, name)
}

/// Answers these bytes to who has said something.
fn answer(bytes: &'static [u8]) -> Deed {
    Box::new(move |mut stream| {
        let mut said = [0; 4096];
        if stream.read(&mut said).is_ok_and(|it| it > 0) {
            drop(stream.write_all(bytes));
        }
    })
}

#[test]
fn commands_go_by_https_with_an_authority_of_ones_own() {
    let (host, port, url, ca) = vouched();
    let (user, key) = (User::new(), host.key("owner@example.org", "super-admin"));
    let signed_in = user.good(&[], &["login", &url, "--ca", &ca], &key);
    assert!(signed_in.contains(&format!("Signed in at {url} as owner@example.org")), "{signed_in}");
    // It is remembered itself, not where it was.
    let kept = host.beside("kept.pem");
    fs::rename(&ca, &kept).unwrap();
    let site = host.beside("site");
    let big: Vec<u8> = (0..9_000_000_u32).map(|it| it.to_le_bytes()[1]).collect();
    write_files(&site, &[("index.html", b"<p>hello</p>"), ("big.bin", &big), ("empty.txt", b"")]);
    user.good(&[], &["deploy", site.to_str().unwrap(), "--site", "shop", "--create"], "");
    assert!(user.good(&[], &["logs", "--site", "shop"], "").lines().count() > 1);
    assert!(user.good(&[], &["sites"], "").contains("shop"));
    // Without what was remembered: by the environment.
    let (other, kept) = (User::new(), kept.to_str().unwrap());
    let environment = [("CHAINHOST_SERVER", &*url), ("CHAINHOST_KEY", &*key), ("CHAINHOST_CA", kept)];
    assert!(other.good(&environment, &["sites"], "").contains("shop"));
    assert!(other.bad(&environment[..2], &["sites"], 3).contains("Nobody vouches for the certificate"));
    // What this machine believes itself.
    other.good(&[environment[0], environment[1], ("SSL_CERT_FILE", kept)], &["sites"], "");
    // Who was signed in keeps whom they believe with a new key.
    user.good(&[], &["login", &url], &host.another_key("owner@example.org"));
    user.good(&[], &["sites"], "");

    let page = host.get("shop.localhost", "/");
    assert_eq!(page.status, 308, "visitors are sent to HTTPS");
    let proof = host.beside("proof.json");
    let site = format!("https://shop.localhost:{port}");
    let about = Command::new("curl").args(["-sI", "--cacert", kept, &site]).output().unwrap();
    let about = String::from_utf8(about.stdout).unwrap();
    let path = about.split_once("</.well-known/").unwrap_or_else(|| panic!("{about}")).1.split_once('>').unwrap().0;
    let mut curl = Command::new("curl");
    curl.args(["-s", "--cacert", kept, "-o"]).arg(&proof).arg(format!("{site}/.well-known/{path}"));
    assert!(curl.status().unwrap().success());
    let proof = proof.to_str().unwrap();
    let verify = |more: &[&str], code: i32| {
        let ended = user.run(&[], &[&["verify", proof, "--site"], more].concat(), "");
        assert_eq!(ended.code, code, "{}{}", ended.out, ended.said);
        ended.out + &ended.said
    };
    assert!(verify(&[&site, "--ca", kept], 10).contains("every file is answered as it was deployed"));
    let doubted = verify(&[&site], 2);
    let (_, fingerprint) = doubted.split_once("--trust-fingerprint ").unwrap();
    let fingerprint = fingerprint.split_whitespace().next().unwrap();
    assert!(doubted.contains(&format!("go on with: chainhost verify {proof} --site {site} --trust")), "{doubted}");
    verify(&[&site, "--trust-fingerprint", fingerprint], 10);
    let clear = format!("http://shop.localhost:{}", host.port);
    assert!(verify(&[&clear], 2).contains(&format!("The site sends everybody to HTTPS. Ask it there: --site {site}")));
}

/// What a server has signed itself is believed once somebody has compared the fingerprint of its key.
#[test]
fn a_key_that_was_compared_is_believed() {
    let (mut host, port, url) = secured(tempfile::tempdir().unwrap(), "");
    let (user, key) = (User::new(), host.key("owner@example.org", "super-admin"));
    let said = user.bad(&[], &["login", &url], 3);
    assert!(said.contains(&format!("Nobody vouches for the certificate of {url}: it is signed by itself.")), "{said}");
    let (_, command) = said.split_once("go on with: chainhost ").unwrap_or_else(|| panic!("{said}"));
    let command: Vec<&str> = command.lines().next().unwrap().split(' ').collect();
    let fingerprint = *command.last().unwrap();
    let told = |host: &Host| host.log().matches(&format!("fingerprint={fingerprint}")).count();
    assert!(fingerprint.len() == 64 && told(&host) == 1, "{fingerprint}\n{}", host.log());
    assert!(user.credentials().is_empty());

    user.good(&[], &command, &key);
    user.good(&[], &["sites"], "");
    assert!(user.credentials().contains(&format!("trust_fingerprint = \"{fingerprint}\"")), "{}", user.credentials());
    // Its certificate is another one after a restart, and the key the same.
    assert_eq!(host.stop(), Some(0));
    host.restart();
    assert_eq!(told(&host), 2, "{}", host.log());
    user.good(&[], &["sites"], "");
    // Whoever is elsewhere is not that server, although its certificate would do.
    let other = User::new();
    let pairs: Vec<&str> = (0..64).step_by(2).map(|at| &fingerprint[at..at + 2]).collect();
    let by_environment = [
        ("CHAINHOST_KEY", &*key),
        ("CHAINHOST_SERVER", &*url),
        ("CHAINHOST_TRUST_FINGERPRINT", &*pairs.join(":").to_uppercase()),
    ];
    other.good(&by_environment, &["sites"], "");
    assert!(other.bad(&[by_environment[0], by_environment[1]], &["sites"], 3).contains("is signed by itself"));
    let alias = format!("https://127.0.0.1:{port}");
    let doubted = user.bad(&[("CHAINHOST_KEY", &key)], &["sites", "--server", &alias], 3);
    assert!(doubted.contains("is signed by itself"), "what was remembered is for one server: {doubted}");
    assert!(user.bad(&[], &["sites", "--server", &alias], 4).contains(&format!("You are signed in at {url}, not at")));
    // The key is another one: the server was set up anew, or it is somebody else.
    assert_eq!(host.stop(), Some(0));
    fs::remove_file(host.data().join("tls-own-key")).unwrap();
    host.restart();
    let said = user.bad(&[], &["sites"], 3);
    assert!(said.contains(&format!("{url} shows another key than the one that you trust")), "{said}");
    assert!(said.contains(&format!("instead of {fingerprint}")), "{said}");
    let new = said.trim_end().rsplit(' ').next().unwrap();
    assert!(new != fingerprint && host.log().contains(&format!("fingerprint={new}")), "{said}");
}

/// A server whose key was compared may get a certificate of an authority later.
#[test]
fn a_key_that_was_compared_is_no_must() {
    let (host, _, url, ca) = vouched();
    let (user, key) = (User::new(), host.key("owner@example.org", "super-admin"));
    let other = Sha256::of(b"the key of before").hex();
    user.good(&[], &["login", &url, "--ca", &ca, "--trust-fingerprint", &other], &key);
    user.good(&[], &["sites"], "");
}

#[test]
fn what_keeps_from_a_server_is_told() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let at = folder.path();
    authority.issue(at, "over", &["localhost"], (2020, 2021));
    authority.issue(at, "early", &["localhost"], (2090, 2099));
    authority.issue(at, "other", &["a.example", "b.example"], (2020, 2099));
    authority.issue(at, "nameless", &[], (2020, 2099));
    authority.issue(at, "good", &["localhost"], (2020, 2099));
    Authority::new().issue(at, "stranger", &["localhost"], (2020, 2099));
    let ca = authority.file(at).to_str().unwrap().to_owned();
    let user = User::new();
    let cases: [(Deed, &str); 12] = [
        (show(at, "over"), "ended on 2021-01-01: its operator must renew it"),
        (show(at, "early"), "does not count before 2090-01-01, and the clock of this machine says 20"),
        (show(at, "other"), "is for a.example, b.example, and not for this name"),
        (show(at, "nameless"), "is for no name at all, and not for this name"),
        (show(at, "stranger"), "this machine does not know who has signed it"),
        (answer(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), "answers without TLS, so that whoever is"),
        (answer(b""), "closes the connection where TLS should begin"),
        // An alert: protocol_version.
        (answer(b"\x15\x03\x01\x00\x02\x02\x46"), "speaks neither TLS 1.2 nor 1.3"),
        // A hello of a server that speaks TLS 1.1, with TLS_RSA_WITH_AES_128_CBC_SHA.
        (
            answer(b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x0212345678901234567890123456789012\x00\x00\x2f\x00"),
            "speaks neither TLS 1.2 nor 1.3",
        ),
        // handshake_failure, unrecognized_name, internal_error.
        (answer(b"\x15\x03\x03\x00\x02\x02\x28"), "have no way to encrypt in common"),
        (answer(b"\x15\x03\x03\x00\x02\x02\x70"), "says that it has no certificate for that name"),
        (answer(b"\x15\x03\x03\x00\x02\x02\x50"), "could not agree on TLS"),
    ];
    for (deed, wanted) in cases {
        let url = format!("https://localhost:{}", pretend(deed));
        let said = user.bad(&[("CHAINHOST_CA", &ca)], &["login", &url], 3);
        assert!(said.contains(wanted) && said.contains(&url), "{wanted}\n{said}");
        assert!(!said.contains(" the key:"), "no key was asked for: {said}");
    }
    assert!(user.bad(&[], &["login", "https://localhost:1"], 3).contains("No server answers at https://localhost:1"));
    // Nobody at all is believed here.
    let url = format!("https://localhost:{}", pretend(show(at, "good")));
    let none = user.bad(&[("SSL_CERT_FILE", "/no/such/file")], &["login", &url], 3);
    assert!(none.contains("this machine knows no authorities at all"), "{none}");
    // The stranger's key that was compared is one; of another server's it is told.
    let url = format!("https://localhost:{}", pretend(show(at, "stranger")));
    let said = user.bad(&[], &["login", &url, "--trust-fingerprint", &"0".repeat(64)], 3);
    assert!(said.contains("shows another key than the one that you trust"), "{said}");
}

/// A certificate that signs itself and is marked as an authority, as `openssl req -x509` makes them.
#[test]
fn a_certificate_that_signs_itself_is_believed_when_it_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (key, mut wish) =
        (KeyPair::generate().unwrap(), CertificateParams::new(vec![String::from("localhost")]).unwrap());
    wish.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let made = wish.self_signed(&key).unwrap();
    let (chain, private) = (pem("CERTIFICATE", made.der()), pem("PRIVATE KEY", key.serialized_der()));
    write_files(folder.path(), &[("own.pem", chain.as_bytes()), ("own.key", private.as_bytes())]);
    let url = format!("https://localhost:{}", pretend(show(folder.path(), "own")));
    let user = User::new();
    let fingerprint = Sha256::of(&key.subject_public_key_info()).hex();
    let doubted = user.bad(&[], &["login", &url], 3);
    assert!(doubted.contains("is signed by itself") && doubted.contains(&fingerprint), "{doubted}");
    // Both lead to the end of the handshake, behind which nobody speaks HTTP.
    let named = folder.path().join("own.pem");
    for more in [["--ca", named.to_str().unwrap()], ["--trust-fingerprint", &fingerprint]] {
        let said = user.bad(&[], &[&["login", &url][..], &more].concat(), 3);
        assert!(said.contains("was lost"), "{said}");
    }
    // Somebody has its certificate and not its key.
    Authority::new().issue(folder.path(), "other", &["localhost"], (2020, 2099));
    let url = format!("https://localhost:{}", pretend(show_signed(folder.path(), "own", "other")));
    for more in [["--ca", named.to_str().unwrap()], ["--trust-fingerprint", &fingerprint]] {
        let said = user.bad(&[], &[&["login", &url][..], &more].concat(), 3);
        assert!(said.contains("shows a certificate whose key it does not have"), "{said}");
    }
}

#[test]
fn who_says_nothing_is_not_waited_for_long() {
    let mut kept = Vec::new();
    let port = pretend(Box::new(move |stream| kept.push(stream)));
    let said = User::new().bad(&[], &["login", &format!("https://localhost:{port}")], 3);
    assert!(said.contains("takes the connection and does not begin TLS for 10 s"), "{said}");
}

#[test]
fn http_and_https_are_told_apart() {
    let (host, port, url, ca) = vouched();
    let (user, key) = (User::new(), host.key("owner@example.org", "super-admin"));
    let clear = host.url();
    // HTTPS asked of the port in clear.
    let said = user.bad(&[("CHAINHOST_CA", &ca)], &["login", &clear.replace("http:", "https:")], 3);
    assert!(said.contains("answers without TLS") || said.contains("closes the connection where TLS"), "{said}");
    // In clear at the port for HTTPS, and where one is sent there.
    let said = user.bad(&[], &["login", &format!("http://localhost:{port}")], 2);
    assert!(said.contains(&format!("speaks HTTPS. Write {url} instead")), "{said}");
    for command in ["login", "sites"] {
        let sends = pretend(answer(
            b"HTTP/1.1 308 Permanent Redirect\r\nlocation: https://localhost:8443/api/v1/me\r\ncontent-length: 0\r\n\r\n",
        ));
        let elsewhere = format!("http://localhost:{sends}");
        let environment = [("CHAINHOST_KEY", &*key), ("CHAINHOST_SERVER", &*elsewhere)];
        let said = user.bad(&environment, &[command], 2);
        assert!(
            said.contains(&format!("{elsewhere} sends everybody to HTTPS. Write https://localhost:8443 instead.")),
            "{said}"
        );
    }
    // Who sits at the server needs no TLS.
    user.good(&[("CHAINHOST_KEY", &*key), ("CHAINHOST_SERVER", &*clear)], &["sites"], "");
    // What would change nothing.
    let said = user.bad(&[], &["login", &clear, "--ca", &ca], 2);
    assert!(said.contains("--ca and --trust-fingerprint would change nothing"), "{said}");
    // An alert is no answer in HTTP.
    let port = pretend(answer(b"\x15\x03\x01\x00\x02\x02\x46"));
    let said = user.bad(&[], &["login", &format!("http://localhost:{port}")], 1);
    assert!(said.contains("is not HTTP. If it speaks HTTPS there, write https://."), "{said}");
}

/// 0.0.0.0 is this machine too, and is taken for a server elsewhere.
#[test]
fn no_key_is_sent_in_clear_to_find_out() {
    let (heard, asked) = mpsc::channel();
    let hear = move |mut stream: TcpStream, answer: &[u8]| {
        let (mut bytes, mut more) = (Vec::new(), [0; 4096]);
        while !bytes.ends_with(b"\r\n\r\n") {
            match stream.read(&mut more) {
                Ok(read) if read > 0 => bytes.extend_from_slice(&more[..read]),
                _ => return,
            }
        }
        heard.send(String::from_utf8(bytes).unwrap().to_lowercase()).unwrap();
        drop(stream.write_all(answer));
    };
    let elsewhere = hear.clone();
    let secure =
        b"HTTP/1.1 308 Permanent Redirect\r\nlocation: https://0.0.0.0:8443/api/v1/me\r\ncontent-length: 0\r\n\r\n";
    let strange = b"HTTP/1.1 302 Found\r\nlocation: https://evil.example/\r\ncontent-length: 0\r\n\r\n";
    let url = format!("http://0.0.0.0:{}", pretend(Box::new(move |it| hear(it, secure))));
    let user = User::new();
    let said = user.bad(&[], &["login", &url], 2);
    assert!(said.contains(&format!("{url} sends everybody to HTTPS. Write https://0.0.0.0:8443 instead.")), "{said}");
    let environment = [("CHAINHOST_KEY", &*some_key()), ("CHAINHOST_SERVER", &*url)];
    let said = user.bad(&environment, &["sites"], 2);
    assert!(said.contains("Write https://0.0.0.0:8443 instead."), "{said}");
    let url = format!("http://0.0.0.0:{}", pretend(Box::new(move |it| elsewhere(it, strange))));
    let said = user.bad(&[], &["login", &url], 1);
    assert!(said.contains("sends to another address, `https://evil.example/`"), "{said}");
    let all: Vec<String> = asked.try_iter().collect();
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|it| it.contains("host: 0.0.0.0:") && !it.contains("authorization")), "{all:?}");
}

#[test]
fn what_was_named_wrongly_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        write_files(folder.path(), &[(name, bytes)]);
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let (empty, key) = (file("empty.pem", b""), file("key.pem", pem("PRIVATE KEY", b"x").as_bytes()));
    let nonsense = file("nonsense.pem", pem("CERTIFICATE", b"nonsense").as_bytes());
    let huge = file("huge.pem", &vec![b'x'; 600_000]);
    let user = User::new();
    for (ca, wanted) in [
        ("/no/such.pem", "/no/such.pem (--ca, CHAINHOST_CA): No such file"),
        (&*empty, "It has no certificate: PEM is expected"),
        (&*key, "It has no certificate: PEM is expected"),
        (&*nonsense, "What stands there as a certificate is damaged."),
        (&*huge, "It has more than 512 KiB"),
    ] {
        let said = user.bad(&[("CHAINHOST_CA", ca)], &["login", "https://localhost:1"], 2);
        assert!(said.contains(wanted) && said.contains(ca), "{wanted}: {said}");
    }
    let said = user.bad(&[], &["login", "https://localhost:1", "--trust-fingerprint", "abc"], 2);
    assert!(said.contains("a fingerprint has 64 hex digits"), "{said}");
    let said = user.bad(&[("CHAINHOST_TRUST_FINGERPRINT", "abc")], &["login", "https://localhost:1"], 2);
    assert!(said.contains("CHAINHOST_TRUST_FINGERPRINT: a fingerprint has 64 hex digits"), "{said}");
    let said = user.bad(&[], &["login", "https://a_b..example"], 2);
    assert!(said.contains("`a_b..example` is no name that a certificate can have"), "{said}");
}
