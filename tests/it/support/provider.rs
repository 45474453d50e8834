//! Providers of DNS for tests: the APIs of Cloudflare, Hetzner and deSEC as far as the product uses them, strict about tokens and shapes.

use std::{
    io::{BufRead, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
};

use chainhost::domain::acme::records::Provider as Kind;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{authority::Authority, write_files};

/// The token that it knows.
pub(crate) const TOKEN: &str = "a-token-of-the-tests";

/// Status, header lines and body.
pub(crate) type Reply = (u16, &'static str, Value);
/// What a test has said instead of what a good provider says: of the count of calls so far, and the call.
type Says = Box<dyn Fn(usize, &str) -> Option<Reply> + Send + Sync>;
/// Told of each change: a name, and all that it says now.
type Told = Box<dyn Fn(&str, &[String]) + Send + Sync>;

/// A provider. Its records are those of the zone.
pub(crate) struct Provider {
    folder: TempDir,
    port: u16,
    kind: Kind,
    inner: Arc<Inner>,
}

struct Inner {
    kind: Kind,
    zone: &'static str,
    says: Mutex<Says>,
    told: Mutex<Told>,
    /// Id, name and value.
    records: Mutex<Vec<(usize, String, String)>>,
    calls: Mutex<Vec<String>>,
    /// What it was told to purge.
    purges: Mutex<Vec<Purged>>,
}

/// A call that purges caches.
#[derive(Clone, Debug)]
pub(crate) struct Purged {
    pub(crate) body: Value,
    /// The very bytes, and what signs them.
    pub(crate) raw: Vec<u8>,
    pub(crate) signature: String,
}

impl Provider {
    /// One that has this zone.
    pub(crate) fn start(kind: Kind, zone: &'static str) -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        authority.issue(folder.path(), "api", &["localhost"], (2020, 2060));
        authority.file(folder.path());
        write_files(folder.path(), &[("token", format!("{TOKEN}\n").as_bytes())]);
        let chain = CertificateDer::pem_file_iter(folder.path().join("api.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_file(folder.path().join("api.key")).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.map(Result::unwrap).collect(), key);
        let config = Arc::new(config.unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inner = Arc::new(Inner {
            kind,
            zone,
            says: Mutex::new(Box::new(|_, _| None)),
            told: Mutex::new(Box::new(|_, _| {})),
            records: Mutex::default(),
            calls: Mutex::default(),
            purges: Mutex::default(),
        });
        let shared = Arc::clone(&inner);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (inner, server) = (Arc::clone(&shared), ServerConnection::new(Arc::clone(&config)).unwrap());
                thread::spawn(move || inner.serve(StreamOwned::new(server, stream)));
            }
        });
        Self { folder, port, kind, inner }
    }

    /// Where its API is.
    pub(crate) fn api(&self) -> String {
        format!("https://localhost:{}/v9", self.port)
    }

    /// The root that vouches for it.
    pub(crate) fn ca(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The settings of a server that uses it.
    pub(crate) fn settings(&self) -> String {
        format!(
            "[[acme.dns]]\nzones = [\"{}\"]\nprovider = \"{}\"\ntoken_file = \"{}\"\napi = \"{}\"\nca = \"{}\"\n",
            self.inner.zone,
            self.kind.word(),
            self.folder.path().join("token").display(),
            self.api(),
            self.ca().display()
        )
    }

    /// The settings of a server whose caches of the zone it keeps.
    pub(crate) fn edge(&self, provider: &str) -> String {
        let hook = if provider == "webhook" { "/hook" } else { "" };
        format!(
            "[[edge]]\nzones = [\"{}\"]\nprovider = \"{provider}\"\ntoken_file = \"{}\"\napi = \"{}{hook}\"\nca = \"{}\"\n",
            self.inner.zone,
            self.folder.path().join("token").display(),
            self.api(),
            self.ca().display()
        )
    }

    /// What it was told to purge so far, and took on.
    pub(crate) fn purges(&self) -> Vec<Purged> {
        self.inner.purges.lock().unwrap().clone()
    }

    /// Has it say something else.
    pub(crate) fn say(&self, says: impl Fn(usize, &str) -> Option<Reply> + Send + Sync + 'static) {
        *self.inner.says.lock().unwrap() = Box::new(says);
    }

    /// Tells somebody of each change.
    pub(crate) fn tell(&self, told: impl Fn(&str, &[String]) + Send + Sync + 'static) {
        *self.inner.told.lock().unwrap() = Box::new(told);
    }

    /// A record of somebody else.
    pub(crate) fn has(&self, name: &str, value: &str) {
        self.inner.add(name, value);
    }

    /// All that is there: names with values.
    pub(crate) fn records(&self) -> Vec<(String, String)> {
        self.inner.records.lock().unwrap().iter().map(|it| (it.1.clone(), it.2.clone())).collect()
    }

    /// What it was asked so far: method and path.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.inner.calls.lock().unwrap().clone()
    }
}

fn fault(kind: Kind, code: &str, message: &str) -> Value {
    match kind {
        Kind::Cloudflare => {
            json!({ "success": false, "errors": [{ "code": code.parse::<u32>().unwrap_or(1), "message": message }], "result": null })
        }
        Kind::Hetzner => json!({ "error": { "code": code, "message": message } }),
        _ => json!({ "detail": message }),
    }
}

/// What a text in quotes says.
fn unquoted(value: &Value) -> String {
    let text = value.as_str().unwrap();
    text.strip_prefix('"').and_then(|it| it.strip_suffix('"')).unwrap_or_else(|| panic!("no quotes: {text}")).to_owned()
}

impl Inner {
    fn serve(&self, stream: StreamOwned<ServerConnection, TcpStream>) {
        let mut stream = BufReader::new(stream);
        while let Some((call, authorization, sent)) = read(&mut stream) {
            let count = {
                let mut calls = self.calls.lock().unwrap();
                calls.push(call.clone());
                calls.len() - 1
            };
            let said = (self.says.lock().unwrap())(count, &call);
            let (status, head, body) = said.unwrap_or_else(|| self.answer(&call, &authorization, sent));
            let body = if body.is_null() { String::from("<h1>no JSON</h1>") } else { body.to_string() };
            let answer = format!("HTTP/1.1 {status} X\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len());
            if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, call: &str, authorization: &str, sent: Purged) -> Reply {
        if call == "POST /v9/hook" {
            self.purges.lock().unwrap().push(sent);
            return (200, "", json!({}));
        }
        let scheme = if self.kind == Kind::Desec { "Token" } else { "Bearer" };
        if authorization != format!("{scheme} {TOKEN}") {
            return match self.kind {
                Kind::Cloudflare => (400, "", fault(self.kind, "6003", "Invalid request headers")),
                _ => (401, "", fault(self.kind, "unauthorized", "unable to authenticate")),
            };
        }
        let (method, path) = call.split_once(' ').unwrap();
        if call == "POST /v9/zones/id-of-the-zone/purge_cache" {
            let of = sent.body.as_object().unwrap();
            let all: Vec<_> = of.values().flat_map(|it| it.as_array().unwrap()).collect();
            assert!(of.len() == 1 && (1..=100).contains(&all.len()), "{}", sent.body);
            assert!(["files", "tags", "hosts"].iter().any(|it| of.contains_key(*it)), "{}", sent.body);
            self.purges.lock().unwrap().push(sent);
            return (200, "", json!({ "success": true, "errors": [], "messages": [], "result": { "id": "x" } }));
        }
        let body = &sent.body;
        let path = path.strip_prefix("/v9").unwrap_or_else(|| panic!("not below the API's address: {call}"));
        match self.kind {
            Kind::Cloudflare => self.cloudflare(method, path, body),
            Kind::Hetzner => self.hetzner(method, path, body),
            _ => self.desec(method, path, body),
        }
    }

    fn cloudflare(&self, method: &str, path: &str, body: &Value) -> Reply {
        let good =
            |result: Value| (200, "", json!({ "success": true, "errors": [], "messages": [], "result": result }));
        let records = "/zones/id-of-the-zone/dns_records";
        if let ("GET", Some(name)) = (method, path.strip_prefix("/zones?name=")) {
            let all = if name == self.zone { json!([{ "id": "id-of-the-zone", "name": name }]) } else { json!([]) };
            return good(all);
        }
        if method == "POST" && path == records {
            assert_eq!(body["type"], "TXT");
            let (name, value) = (body["name"].as_str().unwrap(), unquoted(&body["content"]));
            assert!(body["ttl"].as_u64().is_some_and(|it| it >= 60));
            if self.values(name).contains(&value) {
                return (400, "", fault(self.kind, "81058", "An identical record already exists."));
            }
            return good(json!({ "id": self.add(name, &value).to_string() }));
        }
        if let ("GET", Some(name)) = (method, path.strip_prefix(&format!("{records}?type=TXT&per_page=100&name="))) {
            let all = self.records.lock().unwrap();
            let of = all.iter().filter(|it| it.1 == name);
            return good(of.map(|it| json!({ "id": it.0.to_string(), "content": format!("\"{}\"", it.2) })).collect());
        }
        let id = path.strip_prefix(&format!("{records}/")).and_then(|it| it.parse::<usize>().ok());
        match (method, id) {
            ("DELETE", Some(id)) => {
                self.remove(|it| it.0 == id);
                good(json!({ "id": "x" }))
            }
            _ => panic!("{method} {path}"),
        }
    }

    fn hetzner(&self, method: &str, path: &str, body: &Value) -> Reply {
        let rest = path.strip_prefix("/zones/").unwrap();
        let (zone, rest) = rest.split_once("/rrsets/").unwrap();
        let (label, action) = rest.split_once("/TXT/actions/").unwrap();
        if zone != self.zone {
            return (404, "", fault(self.kind, "not_found", "zone not found"));
        }
        let name = if label == "@" { zone.to_owned() } else { format!("{label}.{zone}") };
        let value = unquoted(body.pointer("/records/0/value").unwrap());
        match (method, action) {
            ("POST", "add_records") => {
                assert!(body["ttl"].as_u64().is_some_and(|it| it >= 60));
                if self.values(&name).contains(&value) {
                    return (409, "", fault(self.kind, "uniqueness_error", "record is there"));
                }
                self.add(&name, &value);
            }
            ("POST", "remove_records") => {
                if !self.values(&name).contains(&value) {
                    return (404, "", fault(self.kind, "not_found", "record not found"));
                }
                self.remove(|it| it.1 == name && it.2 == value);
            }
            _ => panic!("{method} {path}"),
        }
        (201, "", json!({ "action": { "id": 1, "status": "running" } }))
    }

    fn desec(&self, method: &str, path: &str, body: &Value) -> Reply {
        let (zone, rest) = path.strip_prefix("/domains/").unwrap().split_once("/rrsets/").unwrap();
        if zone != self.zone {
            return (404, "", fault(self.kind, "", "Not found."));
        }
        let whole =
            |label: &str| if label.is_empty() || label == "@" { zone.to_owned() } else { format!("{label}.{zone}") };
        if let ("GET", Some(label)) = (method, rest.strip_suffix("/TXT/")) {
            let values = self.values(&whole(label));
            let values: Vec<String> = values.iter().map(|it| format!("\"{it}\"")).collect();
            return if values.is_empty() {
                (404, "", fault(self.kind, "", "Not found."))
            } else {
                (200, "", json!({ "subname": label, "type": "TXT", "ttl": 3_600, "records": values }))
            };
        }
        assert_eq!((method, rest), ("PATCH", ""));
        let one = body.pointer("/0").unwrap();
        assert!(one["type"] == "TXT" && one["ttl"] == 3_600 && body.as_array().unwrap().len() == 1, "{body}");
        let name = whole(one["subname"].as_str().unwrap());
        let wanted: Vec<String> = one["records"].as_array().unwrap().iter().map(unquoted).collect();
        let before = self.values(&name);
        self.remove(|it| it.1 == name && !wanted.contains(&it.2));
        for value in wanted.iter().filter(|it| !before.contains(it)) {
            self.add(&name, value);
        }
        (200, "", json!([]))
    }

    fn values(&self, name: &str) -> Vec<String> {
        let all = self.records.lock().unwrap();
        all.iter().filter(|it| it.1 == name).map(|it| it.2.clone()).collect()
    }

    fn add(&self, name: &str, value: &str) -> usize {
        let id = {
            let mut all = self.records.lock().unwrap();
            let id = all.iter().map(|it| it.0 + 1).max().unwrap_or(0);
            all.push((id, name.to_owned(), value.to_owned()));
            id
        };
        (self.told.lock().unwrap())(name, &self.values(name));
        id
    }

    fn remove(&self, which: impl Fn(&(usize, String, String)) -> bool) {
        let gone: Vec<String> = {
            let mut all = self.records.lock().unwrap();
            let gone = all.iter().filter(|it| which(it)).map(|it| it.1.clone()).collect();
            all.retain(|it| !which(it));
            gone
        };
        for name in gone {
            (self.told.lock().unwrap())(&name, &self.values(&name));
        }
    }
}

/// A request: method and path, its `Authorization`, and its body.
fn read(stream: &mut impl BufRead) -> Option<(String, String, Purged)> {
    let mut signature = String::new();
    let (mut first, mut length, mut authorization) = (String::new(), 0, String::new());
    stream.read_line(&mut first).ok().filter(|it| *it > 0)?;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "chainhost-signature" => value.trim().clone_into(&mut signature),
            "authorization" => value.trim().clone_into(&mut authorization),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let (call, _) = first.trim().rsplit_once(' ')?;
    let sent = Purged { body: serde_json::from_slice(&body).unwrap_or_default(), raw: body, signature };
    Some((call.to_owned(), authorization, sent))
}
