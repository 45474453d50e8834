//! A certificate authority for tests, Pebble, with a DNS of its own; on free ports, in a folder of its own, ended when dropped.

use std::{
    fs::File,
    net::TcpStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tempfile::TempDir;

use super::{PATIENCE, authority::Authority, free_port, http, write_files};

/// The authority, and the DNS that it asks.
pub(crate) struct Pebble {
    folder: TempDir,
    children: Vec<Child>,
    port: u16,
    management: u16,
    /// The port of the DNS that it asks, and the one at which what is found there may be changed.
    dns: u16,
    dns_management: u16,
    /// Where it looks in clear, and by TLS.
    ports: (u16, u16),
    /// More of its environment.
    environment: Vec<(&'static str, String)>,
}

impl Pebble {
    /// One that looks at these ports: in clear, and by TLS.
    pub(crate) fn start(clear: u16, tls: u16) -> Self {
        Self::start_with(clear, tls, "", &[])
    }

    /// As [`Pebble::start`], with more of its configuration, as in `"externalAccountBindingRequired":true,`, and of its environment.
    pub(crate) fn start_with(clear: u16, tls: u16, more: &str, environment: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port, management, dns, dns_management] = std::array::from_fn(|_| free_port());
        let authority = Authority::new();
        authority.issue(folder.path(), "pebble", &["localhost"], (2020, 2099));
        authority.file(folder.path());
        let at = folder.path().display();
        let settings = format!(
            r#"{{"pebble":{{"listenAddress":"127.0.0.1:{port}","managementListenAddress":"127.0.0.1:{management}",
            "certificate":"{at}/pebble.pem","privateKey":"{at}/pebble.key",{more}"httpPort":{clear},"tlsPort":{tls},"ocspResponderURL":""}}}}"#
        );
        write_files(folder.path(), &[("pebble.json", settings.as_bytes())]);
        let mut it = Self {
            folder,
            children: Vec::new(),
            port,
            management,
            dns,
            dns_management,
            ports: (clear, tls),
            environment: environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        };
        let mut names = it.program("pebble-challtestsrv", "dns.log");
        names.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args(["-dns01", &format!("127.0.0.1:{dns}"), "-management", &format!("127.0.0.1:{dns_management}")]);
        it.children.push(names.spawn().unwrap());
        let mut pebble = it.program("pebble", "pebble.log");
        pebble.env("PEBBLE_VA_NOSLEEP", "1").envs(it.environment.iter().map(|(name, value)| (name, value)));
        pebble
            .arg("-config")
            .arg(it.folder.path().join("pebble.json"))
            .args(["-dnsserver", &format!("127.0.0.1:{dns}")]);
        it.children.push(pebble.spawn().unwrap());
        for port in [port, management, dns_management] {
            it.wait_for(port);
        }
        it
    }

    fn program(&self, name: &str, log: &str) -> Command {
        let log = File::options().create(true).append(true).open(self.folder.path().join(log)).unwrap();
        let mut command = Command::new(name);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    fn wait_for(&self, port: u16) {
        let began = tokio::time::Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "nobody listens on {port}\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// What it said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pebble.log")).unwrap_or_default()
    }

    /// The address of its directory.
    pub(crate) fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The root that vouches for its own HTTPS.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The settings of a server that asks it.
    pub(crate) fn settings(&self) -> String {
        format!(
            "[acme]\nterms_agreed = true\n[[acme.authorities]]\ndirectory = \"{}\"\nca = \"{}\"\n",
            self.directory(),
            self.ca().display()
        )
    }

    /// The root that vouches for the certificates that it gives.
    pub(crate) fn root(&self) -> CertificateDer<'static> {
        let mut curl = Command::new("curl");
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let said = curl.args(["-s", "-k", &url]).output().unwrap();
        CertificateDer::from_pem_slice(&said.stdout).unwrap()
    }

    /// Changes what it finds in DNS: `add-a` with `{"host": "a.example.", "addresses": ["127.0.0.1"]}`, and the like.
    pub(crate) fn dns(&self, what: &str, about: &str) {
        self.names().tell(what, about);
    }

    /// By whom that is changed, for other threads.
    pub(crate) const fn names(&self) -> Names {
        Names(self.dns_management)
    }

    /// Where the name server is asked that it asks.
    pub(crate) fn name_server(&self) -> String {
        format!("127.0.0.1:{}", self.dns)
    }

    /// Where it looks in clear, and by TLS.
    pub(crate) const fn ports(&self) -> (u16, u16) {
        self.ports
    }
}

/// Changes what the authority finds in DNS.
#[derive(Clone, Copy)]
pub(crate) struct Names(u16);

impl Names {
    /// As [`Pebble::dns`].
    pub(crate) fn tell(self, what: &str, about: &str) {
        let head = format!("POST /{what} HTTP/1.1\r\nHost: localhost\r\n");
        let answer = http::ask(self.0, &head, about.as_bytes());
        assert_eq!(answer.status, 200, "{what} {about}: {}", answer.text());
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
        if std::thread::panicking() {
            let log = self.log();
            println!("--- the authority's log\n{}", log.get(log.len().saturating_sub(4_000)..).unwrap_or(&log));
        }
    }
}
