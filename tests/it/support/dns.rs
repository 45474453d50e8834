//! A name server that says what a test wants: `pebble-challtestsrv`, told over its own port.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{PATIENCE, free_port, http};

/// A name server. Names that it was told nothing of have no records. Dropped, it is ended.
pub(crate) struct Names {
    child: Child,
    port: u16,
    management: u16,
}

impl Names {
    /// Answers when this returns.
    pub(crate) fn start() -> Self {
        let (port, management) = (free_port(), free_port());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "pebble-challtestsrv", "-defaultIPv4", "", "-defaultIPv6", ""]);
        command.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        command.args(["-dns01", &format!("127.0.0.1:{port}"), "-management", &format!("127.0.0.1:{management}")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = child.expect("pebble-challtestsrv is missing. Install it with: apt-get install pebble");
        let names = Self { child, port, management };
        let start = Instant::now();
        while !names.answers() {
            assert!(start.elapsed() < PATIENCE, "no name server on port {port}");
            thread::sleep(Duration::from_millis(10));
        }
        names
    }

    /// Where it is asked.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Whether both of its ports are open.
    fn answers(&self) -> bool {
        let managed = std::net::TcpStream::connect(("127.0.0.1", self.management)).is_ok();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(SocketAddr::from(([127, 0, 0, 1], self.port))).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        // A question for the root's addresses.
        let asked = socket.send(&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
        let answered = asked.and_then(|_| socket.recv(&mut [0; 512]));
        managed
            && !matches!(answered.map_err(|it| it.kind()), Err(ErrorKind::ConnectionRefused | ErrorKind::WouldBlock))
    }

    fn tell(&self, path: &str, body: &Value) {
        let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n");
        let answer = http::ask(self.management, &head, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
    }

    /// A name has this IPv4 address and no other.
    pub(crate) fn a(&self, host: &str, address: &str) {
        self.tell("/clear-a", &json!({ "host": host }));
        self.tell("/add-a", &json!({ "host": host, "addresses": [address] }));
    }

    /// A name has this IPv6 address too.
    pub(crate) fn aaaa(&self, host: &str, address: &str) {
        self.tell("/add-aaaa", &json!({ "host": host, "addresses": [address] }));
    }

    /// A name is an alias.
    pub(crate) fn cname(&self, host: &str, target: &str) {
        self.tell("/set-cname", &json!({ "host": host, "target": target }));
    }

    /// A name has a CAA record.
    pub(crate) fn caa(&self, host: &str, tag: &str, value: &str) {
        self.tell("/add-caa", &json!({ "host": host, "policies": [{ "tag": tag, "value": value }] }));
    }

    /// Whatever is asked of a name fails.
    pub(crate) fn servfail(&self, host: &str) {
        self.tell("/set-servfail", &json!({ "host": host }));
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
