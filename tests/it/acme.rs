//! Certificates that the server gets by itself, from a real authority of the tests; and those that people give it.

use std::{process::Command, time::Duration};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde_json::Value;

use crate::support::{
    Host, PATIENCE,
    authority::{Authority, pem},
    free_port,
    pebble::Pebble,
    write_files,
};

/// A server with an authority, and a site at a hostname of its own.
pub(crate) struct Hosted {
    pub(crate) host: Host,
    pub(crate) pebble: Pebble,
    pub(crate) key: String,
    tls: u16,
}

impl Hosted {
    /// `more`: settings in front of those of TLS.
    fn start(more: &str) -> Self {
        Self::start_with(Pebble::start(free_port(), free_port()), more)
    }

    fn start_with(pebble: Pebble, more: &str) -> Self {
        let settings = pebble.settings();
        Self::start_asking(pebble, &format!("{more}{settings}"))
    }

    /// `settings`: all but where TLS is spoken.
    fn start_asking(pebble: Pebble, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clear, tls) = pebble.ports();
        let settings = format!("{settings}[tls]\nlisten = [\"127.0.0.1:{tls}\"]\n");
        write_files(folder.path(), &[("c.toml", settings.as_bytes())]);
        let (config, clear) = (folder.path().join("c.toml"), format!("127.0.0.1:{clear}"));
        Self::with(Host::start_in(folder, &["--config", config.to_str().unwrap(), "--listen", &clear]), pebble)
    }

    /// As [`Hosted::start_asking`], with the authority's own name server.
    pub(crate) fn start_resolving(pebble: Pebble, settings: &str) -> Self {
        let (clear, tls) = pebble.ports();
        let settings = format!("{settings}[tls]\nlisten = [\"127.0.0.1:{tls}\"]\n");
        let listen = format!("127.0.0.1:{clear}");
        Self::with(Host::start_resolving(&pebble.name_server(), &settings, &["--listen", &listen]), pebble)
    }

    /// As [`Hosted::start_asking`], where nobody listens at the port at which the authority looks in clear; without a site.
    pub(crate) fn start_by_tls(pebble: Pebble, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (_, tls) = pebble.ports();
        let settings = format!("{settings}[tls]\nlisten = [\"127.0.0.1:{tls}\"]\n");
        write_files(folder.path(), &[("c.toml", settings.as_bytes())]);
        let config = folder.path().join("c.toml");
        let host = Host::start_in(folder, &["--config", config.to_str().unwrap()]);
        let key = host.key("owner@example.org", "super-admin");
        Self { host, pebble, key, tls }
    }

    fn with(host: Host, pebble: Pebble) -> Self {
        let (_, tls) = pebble.ports();
        let key = host.key("owner@example.org", "super-admin");
        let it = Self { host, pebble, key, tls };
        let site = it.host.beside("shop");
        write_files(&site, &[("index.html", b"<p>the shop</p>")]);
        it.run(&["deploy", site.to_str().unwrap(), "--site", "shop", "--create"]);
        it
    }

    pub(crate) fn run(&self, words: &[&str]) -> String {
        let out = self.host.cli(&self.key, words);
        assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    pub(crate) fn add(&self, hostname: &str) {
        self.run(&["sites", "hostnames", "add", hostname, "--site", "shop"]);
    }

    /// How it stands with a hostname, as the API says it.
    pub(crate) fn standing(&self, hostname: &str) -> Value {
        let all = self.host.cli_json(&self.key, &["certificates", "--json"]);
        all.as_array().unwrap().iter().find(|it| it["hostname"] == hostname).cloned().unwrap_or(Value::Null)
    }

    /// Waits for what the API says: not so often that its key is used too much.
    pub(crate) fn wait<T>(&self, what: &str, done: impl FnMut() -> Option<T>) -> T {
        self.host.until_within(PATIENCE, Duration::from_millis(250), what, done)
    }

    /// Waits until the hostname has a certificate; its standing.
    pub(crate) fn issued(&self, hostname: &str) -> Value {
        self.wait(&format!("a certificate for {hostname}"), || {
            Some(self.standing(hostname)).filter(|it| it["certificate"].is_object())
        })
    }

    /// Waits until it is said why there is none; the problem.
    pub(crate) fn refused(&self, hostname: &str) -> Value {
        self.wait(&format!("a problem with {hostname}"), || {
            self.standing(hostname).get("problem").cloned().filter(Value::is_object)
        })
    }

    /// What is shown to who asks for a name: the chain.
    fn shown(&self, name: &str) -> Vec<CertificateDer<'static>> {
        let mut asked = Command::new("openssl");
        let at = format!("127.0.0.1:{}", self.tls);
        asked.args(["s_client", "-showcerts", "-connect", &at, "-servername", name]).stdin(std::process::Stdio::null());
        let said = asked.output().unwrap().stdout;
        CertificateDer::pem_slice_iter(&said).collect::<Result<_, _>>().unwrap()
    }

    /// The serial number of what is shown.
    fn serial(&self, name: &str) -> Vec<u8> {
        self.shown(name).first().unwrap().to_vec()
    }

    /// Asks with curl, which believes the authority alone.
    pub(crate) fn curl(&self, name: &str) -> (String, i32) {
        let ca = self.host.beside("root.pem");
        write_files(ca.parent().unwrap(), &[("root.pem", pem("CERTIFICATE", &self.pebble.root()).as_bytes())]);
        let mut curl = Command::new("curl");
        curl.args(["-s", "--max-time", "30", "--resolve", &format!("{name}:{}:127.0.0.1", self.tls), "--cacert"])
            .arg(ca);
        let done = curl.arg(format!("https://{name}:{}/", self.tls)).output().unwrap();
        (String::from_utf8_lossy(&done.stdout).into_owned(), done.status.code().unwrap())
    }
}

#[test]
fn a_hostname_gets_its_certificate_by_itself() {
    let mut it = Hosted::start("");
    it.add("shop.test");
    let standing = it.issued("shop.test");
    assert_eq!(
        (&standing["certificate"]["source"], &standing["problem"]),
        (&"acme".into(), &Value::Null),
        "{standing}"
    );
    it.host.until("the certificate is shown", || (it.curl("shop.test").1 == 0).then_some(()));
    assert_eq!(it.curl("shop.test").0, "<p>the shop</p>");
    // In clear, visitors are sent there from now on; what an authority asks is answered, and nothing else is promised.
    assert_eq!(it.host.get("shop.test", "/").status, 308);
    assert_eq!(it.host.get("shop.test", "/.well-known/acme-challenge/x").status, 404);
    let told = it.run(&["certificates"]);
    assert!(told.contains("shop.test") && told.contains("from localhost"), "{told}");
    // The names below the domain of the sites are of this machine, and so is the panel's.
    assert_eq!(it.standing("shop.localhost")["asked"], false);
    // It survives a restart, also one that does not reach its authority.
    let before = it.serial("shop.test");
    it.host.stop();
    std::fs::remove_file(it.pebble.ca()).unwrap();
    it.host.restart();
    assert_eq!(it.serial("shop.test"), before);
    assert!(it.host.log().contains("this authority is not asked"), "{}", it.host.log());
    let log = it.run(&["certificates", "list"]);
    assert!(log.contains("shop.test"), "{log}");
}

#[test]
fn each_way_to_prove_a_hostname_works_alone() {
    let (nobody, tls) = (free_port(), free_port());
    let pebble = Pebble::start(nobody, tls);
    let settings = pebble.settings();
    let it = Hosted::start_by_tls(pebble, &settings);
    it.run(&["sites", "create", "shop"]);
    it.add("shop.test");
    it.issued("shop.test");
    // What an authority is shown is for that alone: no visitor gets it.
    let mut asked = Command::new("openssl");
    let at = format!("127.0.0.1:{tls}");
    asked.args(["s_client", "-connect", &at, "-servername", "shop.test", "-alpn", "acme-tls/1"]);
    let said = asked.stdin(std::process::Stdio::null()).output().unwrap();
    assert!(!String::from_utf8_lossy(&said.stdout).contains("BEGIN CERTIFICATE"), "the challenge is over");
}

#[test]
fn what_an_authority_says_is_told_and_mended() {
    let it = Hosted::start("");
    it.pebble.dns("set-servfail", r#"{"host": "lame.test."}"#);
    it.pebble.dns("add-a", r#"{"host": "astray.test.", "addresses": ["127.0.0.2"]}"#);
    for (hostname, code, word) in [
        ("lame.test", "certificate_dns", "lame.test"),
        ("astray.test", "certificate_port_closed", "Nobody listens on port 80 of astray.test"),
    ] {
        it.add(hostname);
        let problem = it.refused(hostname);
        let (said, text) = (problem["code"].as_str().unwrap(), problem["message"].as_str().unwrap());
        assert!(said.starts_with(code) && text.contains(word), "{problem}\n{}", it.host.log());
        assert_eq!(it.standing(hostname)["failures"], 1);
        // It is encrypted all the same.
        assert_eq!(it.curl(hostname).1, 60, "nobody vouches for it");
    }
    let told = it.run(&["certificates"]);
    assert!(told.contains("Nobody listens on port 80 of astray.test"), "{told}");
    // Mended, and asked again: sooner than a minute after the last time that is refused.
    it.pebble.dns("clear-a", r#"{"host": "astray.test."}"#);
    let again = it.host.cli(&it.key, &["certificates", "retry", "astray.test"]);
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && said.contains("less than a minute ago"), "{said}");
}

#[test]
fn people_give_certificates_too() {
    let it = Hosted::start("");
    it.add("given.test");
    let before = it.issued("given.test");
    let (authority, at) = (Authority::new(), it.host.beside("given"));
    authority.issue(&at, "given", &["given.test", "*.given.test"], (2020, 2099));
    authority.issue(&at, "other", &["other.test"], (2020, 2099));
    authority.issue(&at, "old", &["given.test"], (2020, 2021));
    let file = |name: &str| at.join(name).display().to_string();
    let add = |chain: &str, key: &str| {
        let out = it.host.cli(&it.key, &["certificates", "add", "--chain", &file(chain), "--key", &file(key)]);
        let said = [out.stdout, out.stderr].concat();
        (out.status.success(), String::from_utf8(said).unwrap())
    };
    for (chain, key, word) in [
        ("given.pem", "other.key", "not that of the first certificate"),
        ("given.key", "given.pem", "mixed up"),
        ("old.pem", "old.key", "has ended"),
        ("nowhere.pem", "given.key", "nowhere.pem"),
    ] {
        let (done, said) = add(chain, key);
        assert!(!done && said.contains(word), "{word}: {said}");
    }
    let (done, said) = add("given.pem", "given.key");
    assert!(done && said.contains("It is shown for given.test."), "{said}");
    let given = CertificateDer::from_pem_slice(&std::fs::read(at.join("given.pem")).unwrap()).unwrap();
    it.host.until("the one that was given is shown", || (it.shown("given.test")[0] == given).then_some(()));
    assert_eq!(it.standing("given.test")["certificate"]["source"], "uploaded");
    let (done, said) = add("other.pem", "other.key");
    assert!(done && said.contains("shown for none of your hostnames yet"), "{said}");
    // The key is in no answer, no log, and in no file of the data folder but sealed.
    let key = std::fs::read_to_string(at.join("given.key")).unwrap();
    let line = key.lines().nth(1).unwrap();
    let kept: Vec<_> =
        crate::support::read_files(&it.host.data()).into_iter().filter(|(name, _)| !name.contains("sock")).collect();
    for wanted in ["certificates.json", "master.key"] {
        assert!(kept.iter().any(|(name, _)| name == wanted), "{wanted}");
    }
    // Also not within what stands there in Base64.
    let within = data_encoding::BASE64.encode(&key.as_bytes()[..key.len() / 3 * 3]);
    for (name, bytes) in kept {
        for text in [line, &within[..40]] {
            assert!(memchr::memmem::find(&bytes, text.as_bytes()).is_none(), "{name}");
        }
    }
    assert!(!it.host.log().contains(line));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(it.host.data().join("master.key")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o400);
    // Taken away, the one of the authority is shown again.
    let all = it.host.cli_json(&it.key, &["certificates", "list", "--json"]);
    let id = all
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["source"] == "uploaded" && it["names"][0] == "*.given.test")
        .unwrap();
    it.run(&["certificates", "remove", id["id"].as_str().unwrap()]);
    it.wait("the one of before", || {
        (it.standing("given.test")["certificate"]["id"] == before["certificate"]["id"]).then_some(())
    });
    it.host.until("it is shown", || (it.shown("given.test")[0] != given).then_some(()));
}

/// The database and the master key are lost in turn: what was shown is shown, and nothing is made up.
#[test]
fn certificates_outlast_the_database_and_tell_of_a_lost_key() {
    let mut it = Hosted::start("");
    it.add("shop.test");
    it.issued("shop.test");
    it.host.until("it is shown", || (it.curl("shop.test").1 == 0).then_some(()));
    let shown = it.serial("shop.test");
    it.host.stop();
    let data = it.host.data();
    let is_embedded = data.join("chainhost.db").exists();
    if is_embedded {
        std::fs::rename(data.join("chainhost.db"), data.join("aside")).unwrap();
        it.host.restart();
        assert_eq!(it.serial("shop.test"), shown, "{}", it.host.log());
        assert_eq!(it.curl("shop.test").0, "<p>the shop</p>");
        it.host.stop();
        std::fs::rename(data.join("aside"), data.join("chainhost.db")).unwrap();
    }
    std::fs::rename(data.join("master.key"), data.join("master.key.aside")).unwrap();
    it.host.restart();
    assert!(it.host.log().contains("The master key of this installation is not at"), "{}", it.host.log());
    assert!(!data.join("master.key").exists(), "no other one is made");
    assert_eq!(it.curl("shop.test").1, 60, "one that the server signs itself");
    assert_eq!(it.host.get("shop.localhost", "/").status, 200);
    it.host.stop();
    write_files(&data, &[("master.key", "07".repeat(32).as_bytes())]);
    it.host.restart();
    assert!(it.host.log().contains("is another one than that under which"), "{}", it.host.log());
    it.host.stop();
    std::fs::remove_file(data.join("master.key")).unwrap();
    std::fs::rename(data.join("master.key.aside"), data.join("master.key")).unwrap();
    it.host.restart();
    it.host.until("it is shown again", || (it.serial("shop.test") == shown).then_some(()));
}
