//! Behind a proxy: whose word counts, where the panel is, and who is near.

use std::{
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use tempfile::TempDir;
use tokio::time::Instant;

use crate::support::{
    Host, PASSWORD, free_port,
    http::{self, Answer},
    write_files,
};

const BEHIND_TLS: &str = "public_url = \"https://panel.example\"\ntrusted_proxies = [\"127.0.0.1\"]\n";
const OWNER: &str = "owner@example.org";

/// A request that a proxy passes on for `client`, who used `scheme`.
fn through(host: &Host, client: &str, scheme: &str, call: &str, more: &str, body: &str) -> Answer {
    let form = if body.is_empty() { "" } else { "Content-Type: application/x-www-form-urlencoded\r\n" };
    let head = format!(
        "{call} HTTP/1.1\r\nHost: panel.example\r\nX-Forwarded-For: {client}\r\nX-Forwarded-Proto: {scheme}\r\n{form}{more}"
    );
    http::ask(host.port, &head, body.as_bytes())
}

fn sign_in(host: &Host, client: &str, password: &str) -> Answer {
    let body = format!("email=owner%40example.org&password={}", password.replace(' ', "+"));
    through(host, client, "https", "POST /sign-in", "Origin: https://panel.example\r\n", &body)
}

fn claim_link(host: &Host) -> String {
    fs::read_to_string(host.data().join("claim-link")).unwrap().trim().to_owned()
}

#[test]
fn the_panel_works_behind_a_proxy_with_tls() {
    let host = Host::start_configured(BEHIND_TLS);
    let link = claim_link(&host);
    let token = link.strip_prefix("https://panel.example/claim?token=").unwrap_or_else(|| panic!("{link}"));
    let body = format!("token={token}&email=owner%40example.org&password={}", PASSWORD.replace(' ', "+"));
    let clear = through(&host, "198.51.100.7", "http", "POST /claim", "Origin: http://panel.example\r\n", &body);
    assert_eq!(clear.status, 403, "the password would have crossed the network in clear");
    assert_eq!(clear.header("strict-transport-security"), None, "over HTTP it means nothing, and browsers ignore it");
    let claimed = through(&host, "198.51.100.7", "https", "POST /claim", "Origin: https://panel.example\r\n", &body);
    assert_eq!(claimed.status, 303, "{}", claimed.text());
    assert_eq!(claimed.header("strict-transport-security"), Some("max-age=31536000"));
    let cookies: Vec<_> = claimed.headers.iter().filter(|(name, _)| name == "set-cookie").map(|it| &it.1).collect();
    assert!(cookies.len() == 2 && cookies.iter().all(|it| it.ends_with("; Secure")), "{cookies:?}");
    let session = cookies.iter().find(|it| it.starts_with("__Host-chainhost=")).unwrap();
    let cookie = format!("Cookie: {}\r\n", session.split(';').next().unwrap());
    let page = through(&host, "198.51.100.7", "https", "GET /settings/sessions", &cookie, "");
    assert!(page.status == 200 && page.text().contains("198.51.100.7"), "{}", page.text());
    let audit = through(&host, "198.51.100.7", "https", "GET /audit-log", &cookie, "");
    assert!(audit.text().contains("198.51.100.7") && !audit.text().contains("127.0.0.1"), "{}", audit.text());
    let new = through(&host, "198.51.100.7", "https", "GET /sites/new", &cookie, "");
    // The client's commands go where people go.
    assert!(new.text().contains(">https://panel.example</span>"), "{}", new.text());
    // Another website's form, and one from the panel's name without TLS.
    for origin in ["https://evil.example", "http://panel.example"] {
        let more = format!("{cookie}Origin: {origin}\r\n");
        assert_eq!(through(&host, "198.51.100.7", "https", "POST /settings/theme", &more, "theme=dark").status, 403);
    }
}

#[test]
fn tries_are_counted_by_the_client_that_the_proxy_names() {
    let host = Host::start_configured(BEHIND_TLS);
    host.key(OWNER, "super-admin");
    host.key("other@example.org", "user");
    for _ in 0..5 {
        assert_eq!(sign_in(&host, "2001:db8:1:2::1", "wrong wrong wrong").status, 400);
    }
    // The right password of another account, from a neighbour of the same customer, with a forged address in front.
    let body = format!("email=other%40example.org&password={}", PASSWORD.replace(' ', "+"));
    let ask =
        |client: &str| through(&host, client, "https", "POST /sign-in", "Origin: https://panel.example\r\n", &body);
    let refused = ask("192.0.2.66, 2001:db8:1:2::99");
    assert_eq!(refused.status, 429, "{}", refused.text());
    let seconds: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=900).contains(&seconds), "{seconds}");
    assert_eq!(ask("2001:db8:1:3::1").status, 303);
}

#[test]
fn only_who_comes_through_nobody_is_near() {
    let host = Host::start_configured(BEHIND_TLS);
    let near = host.get("localhost", "/metrics");
    assert!(near.status == 200 && near.text().contains("chainhost_requests_total"));
    assert_eq!(through(&host, "127.0.0.1", "https", "GET /metrics", "", "").status, 401);
    for sign in ["X-Real-IP: 127.0.0.1", "Forwarded: for=127.0.0.1", "Via: 1.1 proxy"] {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: panel.example\r\n{sign}\r\n");
        assert_eq!(http::ask(host.port, &head, b"").status, 401, "{sign}");
        let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{sign}\r\n");
        assert_eq!(http::ask(host.port, &head, b"").status, 421, "{sign}");
    }
    // The tunnel through SSH: the panel in clear, with the cookie for it.
    host.key(OWNER, "super-admin");
    let head = format!(
        "POST /sign-in HTTP/1.1\r\nHost: localhost:{0}\r\nOrigin: http://localhost:{0}\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        host.port
    );
    let body = format!("email=owner%40example.org&password={}", PASSWORD.replace(' ', "+"));
    let entered = http::ask(host.port, &head, body.as_bytes());
    let cookie = entered.header("set-cookie").unwrap_or_default();
    assert!(entered.status == 303 && cookie.starts_with("chainhost_") && !cookie.contains("Secure"), "{cookie}");
}

#[test]
fn nobody_is_believed_who_is_not_named() {
    let host = Host::start_configured("panel_host = \"panel.example\"\n");
    let link = claim_link(&host);
    let token = link.rsplit('=').next().unwrap();
    let body = format!("token={token}&email=owner%40example.org&password={}", PASSWORD.replace(' ', "+"));
    for (origin, why) in [("https://panel.example", "sent from another place"), ("http://panel.example", "ssh -L")] {
        let more = format!("Origin: {origin}\r\n");
        let refused = through(&host, "127.0.0.1", "https", "POST /claim", &more, &body);
        assert!(refused.status == 403 && refused.text().contains(why), "{}", refused.text());
    }
    assert_eq!(through(&host, "127.0.0.1", "https", "GET /metrics", "", "").status, 401);
    host.key(OWNER, "super-admin");
    for number in 0..6 {
        let body = "email=nobody%40example.org&password=wrong";
        let client = format!("198.51.100.{number}");
        let answer = through(&host, &client, "http", "POST /sign-in", "Origin: http://panel.example\r\n", body);
        assert_eq!(answer.status, if number < 5 { 400 } else { 429 }, "{}", answer.text());
        assert!(answer.header("set-cookie").is_none());
    }
}

#[test]
fn a_panel_with_a_host_of_its_own_is_claimed_through_ssh() {
    let host = Host::start_configured("panel_host = \"desk.example.org\"\nsites_domain = \"example.org\"\n");
    let link = claim_link(&host);
    let path = link.strip_prefix(&host.url()).unwrap_or_else(|| panic!("{link}"));
    let port = host.port;
    assert!(host.log().contains(&format!("ssh -L {port}:127.0.0.1:{port} ")), "{}", host.log());
    let form = host.get("localhost", path);
    assert!(form.status == 200 && form.text().contains("name=\"password\""), "{}", form.text());
    assert_eq!(host.get("desk.example.org", "/claim").status, 200);
    // A site may not take the panel's address.
    let key = host.key(OWNER, "super-admin");
    let taken = host.api_json(&key, "POST /api/v1/sites", r#"{"name":"desk"}"#, 400);
    assert_eq!(taken["field"], "name", "{taken}");
}

/// A real proxy that passes on what comes to `port`. Ends with this value, or with the process.
struct Haproxy {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Haproxy {
    /// `to`: where it connects, and how it says for whom.
    fn start(to: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = folder.path().join("haproxy.cfg");
        let times = "timeout connect 9s\n timeout client 60s\n timeout server 60s";
        let text = format!("defaults\n mode tcp\n {times}\nlisten all\n bind 127.0.0.1:{port}\n server one {to}\n");
        write_files(folder.path(), &[("haproxy.cfg", text.as_bytes())]);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "haproxy", "-db", "-f"]).arg(&file).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).spawn().expect("apt-get install haproxy");
        let mut made = Self { child, port, _folder: folder };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(made.child.try_wait().unwrap().is_none(), "haproxy has ended");
            assert!(start.elapsed() < Duration::from_secs(30), "haproxy does not listen on port {port}");
            thread::sleep(Duration::from_millis(10));
        }
        made
    }

    /// What a client with this address gets of the panel at `path`, with the status after it; `more`: arguments of curl.
    fn ask(&self, client: &str, path: &str, more: &[&str]) -> String {
        let mut curl = Command::new("curl");
        curl.args([
            "-s",
            "--max-time",
            "60",
            "--interface",
            client,
            "-H",
            "Host: panel.example",
            "-w",
            "\n%{http_code}",
        ]);
        let done = curl.args(more).arg(format!("http://127.0.0.1:{}{path}", self.port)).output().unwrap();
        String::from_utf8(done.stdout).unwrap()
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A real proxy says for whom it has connected, in both versions; the limits on tries are those of its clients.
#[test]
fn a_proxy_that_passes_on_bytes_names_its_clients() {
    let port = free_port();
    let settings = format!("{BEHIND_TLS}proxy_protocol_listen = [\"127.0.0.1:{port}\"]\n");
    let host = Host::start_configured(&settings);
    host.key(OWNER, "super-admin");
    for (how, client) in [("send-proxy", "127.0.0.7"), ("send-proxy-v2", "127.0.0.8")] {
        let proxy = Haproxy::start(&format!("127.0.0.1:{port} {how}"));
        let page = proxy.ask(client, "/sign-in", &[]);
        assert!(page.ends_with("\n200") && page.contains("name=\"password\""), "{page}");
        // Who comes through it is not near, though the address is this machine's.
        let figures = proxy.ask(client, "/metrics", &[]);
        assert!(figures.ends_with("\n401"), "{figures}");
        for number in 0..6 {
            let body = format!("email=nobody{number}%40example.org&password=wrong");
            let tried = proxy.ask(client, "/sign-in", &["-H", "Origin: https://panel.example", "-d", &body]);
            assert!(tried.ends_with(if number < 5 { "\n400" } else { "\n429" }), "{client}: {tried}");
        }
    }
    let silent = Haproxy::start(&format!("127.0.0.1:{port}"));
    assert_eq!(silent.ask("127.0.0.9", "/sign-in", &[]), "\n000", "it does not say for whom");
    assert!(host.log().contains("began without a header of the PROXY protocol"), "{}", host.log());
    // Without a header, the other port is as it was.
    assert_eq!(host.get("localhost", "/metrics").status, 200);
}
