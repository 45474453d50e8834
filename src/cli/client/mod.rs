//! The client of the JSON API: one server, one key, connections that are kept.
//!
//! SECURITY: the key goes to the server that it belongs to and nowhere else; redirects are not followed.

mod body;
pub(super) mod connection;
pub(super) mod credentials;
pub(super) mod shapes;

use std::{
    error::Error as _,
    future::Future,
    io,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::{
    Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, EXPECT, HOST, HeaderValue, USER_AGENT},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::{
    sync::{Notify, mpsc},
    time::{sleep, timeout},
};

use self::{
    body::Payload,
    connection::{Connections, elsewhere, lost, unanswered},
};
use super::{
    failure::{Failure, Result},
    tls::Tls,
};
use crate::{
    base::{limits::PAGE_ROWS_MAX, retry::Backoff, secret::Secret, tasks::Tasks},
    config::client::ServerUrl,
};

/// A connection on which nothing moves for so long is given up: longer than a server takes to make a batch durable
/// on a slow disk.
const STILL: Duration = Duration::from_mins(2);
/// A longer body is sent only when the server wants it.
const ASKED_BYTES: usize = 64 * 1024;
/// How long to wait for the word to go on before a large body is sent without it.
const GO_AHEAD: Duration = Duration::from_secs(3);
/// An answer of the API is a page of rows; more is not from a Chain Host.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Tries of a step that may be repeated: with [`BACKOFF`] about 6 s on average, 13 s at most, enough for a restart of
/// the server.
pub(super) const TRIES: u32 = 7;
/// Waits between tries.
pub(super) const BACKOFF: Backoff = Backoff::Exponential(200);
/// What stays as it is in a segment or a query value: the unreserved characters of RFC 3986 §2.3.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Runs the work of a command on a runtime of its own and says how it ended.
pub(super) fn run(work: impl Future<Output = Result<()>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::Input(format!("Cannot start: {error}")).report(),
    };
    let done = runtime.block_on(work);
    // A thread that still reads a file or waits for input must not hold the end up.
    runtime.shutdown_background();
    done.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}

/// `text` as one segment of a path or one value of a query.
pub(super) fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Where the server says how far its database has come by a call, and where it is told so.
const SEEN: &str = "chainhost-seen";

/// What requests say of this program.
const AGENT: &str = concat!("chainhost/", env!("CARGO_PKG_VERSION"));

/// A server, and how it is reached.
pub(super) struct Reach {
    /// Where.
    pub(super) server: ServerUrl,
    /// Begins TLS, where the server's URL says so.
    pub(super) tls: Option<Tls>,
}

/// Speaks with one server in the name of one key.
pub(super) struct Client {
    key: Secret,
    connections: Connections,
    /// The server has answered once: a refused connection is then a restart, not a wrong address.
    reached: AtomicBool,
    /// The position of the server's database after this command's last write, 0 for none: a read may come to another server.
    seen: AtomicU64,
}

/// What is asked of the server.
pub(super) struct Call<'a> {
    method: Method,
    path: &'a str,
    body: Bytes,
    /// Whether asking twice does no more than asking once, so that a lost connection is tried again.
    repeatable: bool,
    idempotency_key: Option<&'a str>,
}

impl<'a> Call<'a> {
    /// Reads.
    pub(super) const fn get(path: &'a str) -> Self {
        Self { method: Method::GET, path, body: Bytes::new(), repeatable: true, idempotency_key: None }
    }

    /// Sets something that may be there already.
    pub(super) fn put(path: &'a str) -> Self {
        Self { method: Method::PUT, ..Self::get(path) }
    }

    /// Sets something to what the body says, as often as it is sent.
    pub(super) fn put_with(path: &'a str, body: &impl Serialize) -> Result<Self> {
        Ok(Self { method: Method::PUT, repeatable: true, ..Self::post(path, body)? })
    }

    /// Removes. Not repeated: the second answer would be "there is no such thing".
    pub(super) fn delete(path: &'a str) -> Self {
        Self { method: Method::DELETE, repeatable: false, ..Self::get(path) }
    }

    /// Changes settings to what the body says, as often as it is sent.
    pub(super) fn patch(path: &'a str, body: &impl Serialize) -> Result<Self> {
        Ok(Self { method: Method::PATCH, repeatable: true, ..Self::post(path, body)? })
    }

    /// Does something once.
    pub(super) fn post(path: &'a str, body: &impl Serialize) -> Result<Self> {
        let body = serde_json::to_vec(body).map_err(|error| Failure::Input(format!("Cannot be sent: {error}")))?;
        Ok(Self { method: Method::POST, body: body.into(), repeatable: false, ..Self::get(path) })
    }

    /// The same, with a key by which the server knows a repetition.
    pub(super) const fn post_idempotent(path: &'a str, body: Bytes, key: &'a str) -> Self {
        Self { method: Method::POST, path, body, repeatable: true, idempotency_key: Some(key) }
    }
}

impl Client {
    /// Asks for nothing yet.
    pub(super) const fn new(connections: Connections, key: Secret) -> Self {
        Self { key, connections, reached: AtomicBool::new(false), seen: AtomicU64::new(0) }
    }

    /// The server.
    pub(super) const fn server(&self) -> &ServerUrl {
        self.connections.server()
    }

    /// The key, to be kept.
    pub(super) const fn key(&self) -> &Secret {
        &self.key
    }

    /// Where this command's background work runs.
    pub(super) const fn tasks(&self) -> &Tasks {
        self.connections.tasks()
    }

    /// Asks, and reads the answer as `T`. A repeatable call is tried again when the connection is lost.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T> {
        let answer = self.raw(call).await?;
        // An answer without a body reads as `null`.
        let body = if answer.is_empty() { &b"null"[..] } else { &answer };
        serde_json::from_slice(body).map_err(|error| {
            let path = call.path;
            Failure::Server(format!("The server's answer to {path} is not what this version expects: {error}."))
        })
    }

    /// Asks for something whose answer says nothing more than that it is done.
    pub(super) async fn done(&self, call: &Call<'_>) -> Result<()> {
        self.raw(call).await.map(drop)
    }

    async fn raw(&self, call: &Call<'_>) -> Result<Bytes> {
        let mut attempt = 1;
        loop {
            let moved = Arc::default();
            let payload = Payload::whole(call.body.clone(), Arc::clone(&moved));
            let kind = (!call.body.is_empty()).then_some("application/json");
            let mut request = self.request(call, kind, payload)?;
            if call.body.len() > ASKED_BYTES {
                ask_first(&mut request);
            }
            let failure = match self.exchange(request, &moved).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if !call.repeatable || attempt >= TRIES || !self.may_pass(&failure) {
                return Err(failure);
            }
            sleep(BACKOFF.wait(attempt)).await;
            attempt += 1;
        }
    }

    /// Sends `length` bytes that arrive in pieces, as `application/octet-stream`, once.
    pub(super) async fn send_pieces(
        &self,
        path: &str,
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        length: u64,
    ) -> Result<Bytes> {
        let moved = Arc::default();
        let call = Call { method: Method::POST, ..Call::get(path) };
        let payload = Payload::pieces(pieces, length, Arc::clone(&moved));
        let mut request = self.request(&call, Some("application/octet-stream"), payload)?;
        ask_first(&mut request);
        self.exchange(request, &moved).await
    }

    /// All rows of a list, or the first `max`; then also whether there are more.
    pub(super) async fn list(&self, path: &str, query: &str, max: Option<u32>) -> Result<(Vec<Value>, bool)> {
        let max = max.map(|it| usize::try_from(it).unwrap_or(usize::MAX));
        let mut rows: Vec<Value> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let left = max.map_or(usize::MAX, |max| max.saturating_sub(rows.len()));
            let limit = u32::try_from(left).unwrap_or(u32::MAX).min(PAGE_ROWS_MAX);
            let from = after.map_or_else(String::new, |it| format!("&after={}", escape(&it)));
            let page: shapes::Page = self.call(&Call::get(&format!("{path}?limit={limit}{from}{query}"))).await?;
            let empty = page.items.is_empty();
            rows.extend(page.items);
            after = page.next;
            let full = max.is_some_and(|max| rows.len() >= max);
            if full || empty || after.is_none() {
                let more = after.is_some() && !empty || max.is_some_and(|max| rows.len() > max);
                rows.truncate(max.unwrap_or(usize::MAX));
                return Ok((rows, more));
            }
        }
    }

    /// Whether trying again may help: the connection was lost, or the server went away after it had answered.
    pub(super) fn may_pass(&self, failure: &Failure) -> bool {
        match failure {
            Failure::Lost(_) => true,
            Failure::Unreachable(_) => self.reached.load(Ordering::Relaxed),
            _ => false,
        }
    }

    fn request(&self, call: &Call<'_>, kind: Option<&'static str>, payload: Payload) -> Result<Request<Payload>> {
        let mut key = HeaderValue::try_from(format!("Bearer {}", self.key.expose()))
            .map_err(|_| Failure::Key(String::from("The key has characters that no key has.")))?;
        key.set_sensitive(true);
        let mut request = Request::builder()
            .method(&call.method)
            .uri(call.path)
            .header(HOST, self.server().authority())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json")
            .header(AUTHORIZATION, key);
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let seen = self.seen.load(Ordering::Relaxed);
        if seen > 0 {
            request = request.header(SEEN, seen);
        }
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        request.body(payload).map_err(|error| Failure::Input(format!("Cannot be sent: {error}")))
    }

    /// One request and its answer's body, given up when nothing moves any more.
    async fn exchange(&self, request: Request<Payload>, moved: &AtomicU64) -> Result<Bytes> {
        tokio::select! {
            answer = self.exchange_slowly(request, moved) => answer,
            () = standstill(moved) => {
                let seconds = STILL.as_secs();
                Err(lost(self.server(), &format!("nothing moved for {seconds} s")))
            }
        }
    }

    async fn exchange_slowly(&self, request: Request<Payload>, moved: &AtomicU64) -> Result<Bytes> {
        let mut connection = self.connections.take().await?;
        let answer = connection.send_request(request).await.map_err(|error| unanswered(self.server(), &error))?;
        self.reached.store(true, Ordering::Relaxed);
        let (head, mut incoming) = answer.into_parts();
        if let Some(seen) = head.headers.get(SEEN).and_then(|it| it.to_str().ok()?.parse().ok()) {
            self.seen.fetch_max(seen, Ordering::Relaxed);
        }
        let mut body = BytesMut::new();
        while let Some(frame) = incoming.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                // A refusal is known by its status, with or without its words.
                Err(_) if !head.status.is_success() => break,
                Err(error) => return Err(lost(self.server(), &cause(&error))),
            };
            moved.fetch_add(1, Ordering::Relaxed);
            body.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
            if body.len() > ANSWER_BYTES_MAX {
                return Err(Failure::Server(String::from("The server's answer is too long for an answer of the API.")));
            }
        }
        if !head.status.is_success() {
            // Not kept: the server may still expect the rest of a body that it has refused.
            let elsewhere = elsewhere(self.server(), &head, &body);
            return Err(elsewhere.unwrap_or_else(|| Failure::of_answer(head.status.as_u16(), &body)));
        }
        self.connections.give_back(connection);
        Ok(body.freeze())
    }
}

/// Has the body wait until the server says that it wants it (RFC 9110 §10.1.1): a refusal that comes while much is still
/// being sent is often lost, since the server closes the connection.
fn ask_first(request: &mut Request<Payload>) {
    let go = Arc::new(Notify::new());
    let wanted = Arc::clone(&go);
    request.body_mut().wait_for(async move { drop(timeout(GO_AHEAD, wanted.notified()).await) });
    request.headers_mut().insert(EXPECT, HeaderValue::from_static("100-continue"));
    hyper::ext::on_informational(request, move |answer| {
        if answer.status() == StatusCode::CONTINUE {
            go.notify_one();
        }
    });
}

/// The innermost reason, which says most.
fn cause(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// Resolves once the counter has not changed for [`STILL`].
async fn standstill(moved: &AtomicU64) {
    let mut seen = moved.load(Ordering::Relaxed);
    loop {
        sleep(STILL).await;
        let now = moved.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}
