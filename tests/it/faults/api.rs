//! A client of the API that knows when it was answered: what it holds for acknowledged, was.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use chainhost::base::hash::Sha256;
use serde_json::{Value, json};

use crate::support::{
    Answer, Host,
    http::{Fate, Kept},
};

/// The connection ended in the middle of an answer.
pub(crate) const CUT: &[u8] = b"cut";
/// The connection was made, and ended without an answer.
pub(crate) const RESET: &[u8] = b"reset";

/// The API of a server, in the name of one key. The server may move to another port, or be away.
#[derive(Clone)]
pub(crate) struct Api {
    port: Arc<AtomicU16>,
    key: String,
}

/// What is asked for with a deployment.
#[derive(Clone, Default)]
pub(crate) struct Wish {
    pub(crate) message: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) if_live: Option<String>,
    pub(crate) publish: Option<bool>,
}

impl Api {
    /// Whether the done jobs are those with these titles, in their order, each once. `None` too when nobody can say.
    #[cfg(all(feature = "postgres", feature = "redis"))]
    pub(super) fn are_done(&self, titles: &[String]) -> Option<()> {
        let answer = self.call("GET /api/v1/jobs?limit=200", b"");
        if answer.status != 200 {
            return None;
        }
        let jobs = answer.json();
        let done = jobs["items"].as_array().unwrap().iter().filter(|it| it["state"] == "done");
        let mut found: Vec<&str> = done.map(|it| it["title"].as_str().unwrap()).collect();
        found.sort_unstable();
        (found == titles).then_some(())
    }

    pub(crate) fn new(host: &Host, key: &str) -> Self {
        Self { port: Arc::new(AtomicU16::new(host.port)), key: key.to_owned() }
    }

    /// A server of which only its port is known.
    #[cfg(all(feature = "postgres", feature = "redis"))]
    pub(crate) fn at(port: u16, key: &str) -> Self {
        Self { port: Arc::new(AtomicU16::new(port)), key: key.to_owned() }
    }

    /// The server has another port now.
    pub(crate) fn moved(&self, host: &Host) {
        self.port.store(host.port, Ordering::SeqCst);
    }

    /// The same server in the name of another key.
    pub(crate) fn with_key(&self, key: &str) -> Self {
        Self { port: Arc::clone(&self.port), key: key.to_owned() }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.load(Ordering::SeqCst)
    }

    /// Calls; the status 0 when there was no whole answer, and then [`CUT`] or [`RESET`] as the body, or nothing when
    /// nobody listened.
    pub(crate) fn call(&self, call: &str, body: &[u8]) -> Answer {
        let port = self.port();
        let head = format!(
            "{call} HTTP/1.1\r\nHost: localhost:{port}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n",
            self.key,
            body.len()
        );
        let none = |why: &[u8]| Answer { status: 0, headers: Vec::new(), body: why.to_vec() };
        let Ok(mut connection) = Kept::open(port) else { return none(b"") };
        match connection.ask(&[head.as_bytes(), body].concat()) {
            Fate::Whole(answer) => answer,
            Fate::Nothing => none(RESET),
            Fate::Cut(_) => none(CUT),
        }
    }

    /// Calls and must be answered with `status`; the body as JSON.
    pub(crate) fn must(&self, call: &str, body: &Value, status: u16) -> Value {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.call(call, body.as_bytes());
        assert_eq!(answer.status, status, "{call}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap_or(Value::Null)
    }

    /// Begins a deployment of these files.
    pub(crate) fn begin(&self, site: &str, files: &[(String, Vec<u8>)], wish: &Wish) -> Answer {
        let list: Vec<Value> = files
            .iter()
            .map(|(path, bytes)| json!([format!("/{path}"), bytes.len(), Sha256::of(bytes).hex()]))
            .collect();
        let mut body = json!({ "files": list, "message": wish.message });
        if let Some(id) = &wish.if_live {
            body["if_live"] = json!(id);
        }
        if let Some(publish) = wish.publish {
            body["publish"] = json!(publish);
        }
        let key = wish.idempotency_key.as_ref().map_or_else(String::new, |it| format!("Idempotency-Key: {it}\r\n"));
        let call = format!("POST /api/v1/sites/{site}/deployments HTTP/1.1\r\n{key}X-Rest:");
        self.call(&call, body.to_string().as_bytes())
    }

    /// Sends what is missing.
    pub(crate) fn send(&self, site: &str, id: &str, files: &[(String, Vec<u8>)], missing: &Value) -> Answer {
        let missing: Vec<&str> = missing.as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        let mut body = Vec::new();
        for (_, bytes) in files {
            if missing.contains(&&*Sha256::of(bytes).hex()) {
                body.extend_from_slice(&frame(bytes));
            }
        }
        self.call(&format!("POST /api/v1/sites/{site}/deployments/{id}/blobs"), &body)
    }

    pub(crate) fn finish(&self, site: &str, id: &str) -> Answer {
        self.call(&format!("POST /api/v1/sites/{site}/deployments/{id}/finish"), b"")
    }

    /// Deploys; the deployment as acknowledged, or the first answer that was none of success.
    pub(crate) fn deploy(&self, site: &str, files: &[(String, Vec<u8>)], wish: &Wish) -> Result<Value, Answer> {
        let begun = self.begin(site, files, wish);
        if begun.status != 201 {
            return Err(begun);
        }
        let begun = begun.json();
        let id = begun["id"].as_str().unwrap();
        if !begun["missing"].as_array().unwrap().is_empty() {
            let sent = self.send(site, id, files, &begun["missing"]);
            if sent.status != 200 {
                return Err(sent);
            }
        }
        let finished = self.finish(site, id);
        if finished.status == 200 { Ok(finished.json()) } else { Err(finished) }
    }

    /// Deploys the version `number` of the site of the tests, which must work.
    pub(crate) fn deploy_version(&self, site: &str, number: u64) -> Value {
        let wish = Wish { message: format!("version {number}"), ..Wish::default() };
        self.deploy(site, &super::version(number), &wish)
            .unwrap_or_else(|answer| panic!("version {number} of {site}: {} {}", answer.status, answer.text()))
    }

    /// All of a list, page by page.
    pub(crate) fn list(&self, path: &str) -> Vec<Value> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let page = self.must(&format!("GET {path}?limit=200{after}"), &Value::Null, 200);
            all.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => return all,
            }
        }
    }
}

/// A blob as it is sent.
pub(crate) fn frame(bytes: &[u8]) -> Vec<u8> {
    let length = u64::try_from(bytes.len()).unwrap().to_be_bytes();
    [&Sha256::of(bytes).0[..], &length, bytes].concat()
}
