//! Connections to the one server of a command, kept and used again.
//!
//! SECURITY: to a server that is asked in clear over a network, the first request carries no key: it may be one that sends
//! everybody to HTTPS, and the key would be overheard for nothing.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt as _, Collected, Limited};
use hyper::{
    Request,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, CONTENT_TYPE, HOST, LOCATION, USER_AGENT},
    http::response::Parts,
};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{AGENT, Reach, body::Payload, cause};
use crate::{
    base::tasks::Tasks,
    cli::{
        dial::{Undone, dial},
        failure::{Failure, Result},
    },
    config::client::ServerUrl,
};

/// How long a server may take to answer who has no key.
const LOOK: Duration = Duration::from_secs(30);
/// Bytes of that answer; more is not from a Chain Host.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// The door to one server.
pub(in crate::cli) struct Connections {
    reach: Reach,
    tasks: Tasks,
    idle: Mutex<Vec<SendRequest<Payload>>>,
    /// Where the server sends people was looked at.
    has_looked: AtomicBool,
}

impl Connections {
    /// None open yet.
    pub(in crate::cli) fn new(reach: Reach) -> Self {
        Self { reach, tasks: Tasks::new(), idle: Mutex::default(), has_looked: AtomicBool::new(false) }
    }

    /// The server.
    pub(super) const fn server(&self) -> &ServerUrl {
        &self.reach.server
    }

    /// Where the connections' work runs.
    pub(super) const fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// Sees, before anybody is asked for a key, that the server is one to send it to.
    pub(in crate::cli) async fn look(&self) -> Result<()> {
        if self.server().is_https() || self.server().is_overheard() {
            let connection = self.take().await?;
            self.give_back(connection);
        }
        Ok(())
    }

    /// A connection that can take a request: one that is open, or a new one.
    pub(super) async fn take(&self) -> Result<SendRequest<Payload>> {
        while let Some(mut kept) = self.pop() {
            // Fails at once when the server has closed it meanwhile.
            if !kept.is_closed() && kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let mut made = self.make().await?;
        if self.server().is_overheard() && !self.has_looked.load(Ordering::Relaxed) {
            self.look_around(&mut made).await?;
            self.has_looked.store(true, Ordering::Relaxed);
            if made.ready().await.is_err() {
                made = self.make().await?;
            }
        }
        Ok(made)
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn give_back(&self, connection: SendRequest<Payload>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    fn pop(&self) -> Option<SendRequest<Payload>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn make(&self) -> Result<SendRequest<Payload>> {
        let server = self.server();
        let stream = dial(server.host(), server.port(), self.reach.tls.as_ref()).await;
        let stream = stream.map_err(|undone| unmade(server, undone))?;
        let (requests, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| lost(server, &cause(&error)))?;
        self.tasks.spawn(async move {
            // Whoever waits for an answer on it gets the error.
            drop(connection.await);
        });
        Ok(requests)
    }

    /// Asks without a key, and refuses a server that sends elsewhere.
    async fn look_around(&self, connection: &mut SendRequest<Payload>) -> Result<()> {
        let server = self.server();
        let request = Request::get("/api/v1/me")
            .header(HOST, server.authority())
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json")
            .body(Payload::whole(Bytes::new(), Arc::default()))
            .map_err(|error| Failure::Input(format!("Cannot be sent: {error}")))?;
        let asked = async {
            let answer = connection.send_request(request).await.map_err(|error| unanswered(server, &error))?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
            elsewhere(server, &head, &body.map(Collected::to_bytes).unwrap_or_default()).map_or(Ok(()), Err)
        };
        let silent = || Err(lost(server, &format!("nothing moved for {} s", LOOK.as_secs())));
        timeout(LOOK, asked).await.unwrap_or_else(|_| silent())
    }
}

fn unmade(server: &ServerUrl, undone: Undone) -> Failure {
    match undone {
        Undone::Away(error) => {
            let hint = if server.is_loopback() { "" } else { " there" };
            Failure::Unreachable(format!(
                "No server answers at {server} ({error}). `chainhost serve` starts one{hint}; --server URL or CHAINHOST_SERVER names another."
            ))
        }
        Undone::Broken(why) => Failure::Unreachable(why),
        Undone::Refused(why) => Failure::Untrusted(why),
    }
}

/// The failure of a connection that broke.
pub(super) fn lost(server: &ServerUrl, why: &str) -> Failure {
    Failure::Lost(format!("The connection to {server} was lost: {why}."))
}

/// The failure of a request that got no answer.
pub(super) fn unanswered(server: &ServerUrl, error: &hyper::Error) -> Failure {
    if error.is_parse() {
        let hint = if server.is_https() { "Is it a Chain Host?" } else { "If it speaks HTTPS there, write https://." };
        return Failure::Server(format!("What {server} answers is not HTTP. {hint}"));
    }
    lost(server, &cause(error))
}

/// What is wrong with a server that sends elsewhere, or answers that it speaks HTTPS.
pub(super) fn elsewhere(server: &ServerUrl, head: &Parts, body: &[u8]) -> Option<Failure> {
    // Said by what stands before HTTP; a problem of the API may have the word too.
    let is_text = head.headers.get(CONTENT_TYPE).is_some_and(|it| it.as_bytes().starts_with(b"text/"));
    if !server.is_https() && head.status == 400 && is_text && memchr::memmem::find(body, b"HTTPS").is_some() {
        let secure = server.to_https();
        return Some(Failure::Input(format!("The server at {server} speaks HTTPS. Write {secure} instead.")));
    }
    if !head.status.is_redirection() {
        return None;
    }
    let target = head.headers.get(LOCATION)?.to_str().unwrap_or_default();
    let uri = target.parse::<Uri>().ok();
    let origin = uri.as_ref().and_then(|it| Some(format!("{}://{}", it.scheme_str()?, it.authority()?)));
    let secure = origin.and_then(|it| it.parse::<ServerUrl>().ok());
    Some(match secure {
        Some(secure) if secure.is_https() && !server.is_https() && secure.host() == server.host() => {
            Failure::Input(format!("{server} sends everybody to HTTPS. Write {secure} instead."))
        }
        _ => {
            let target: String = target.chars().take(200).flat_map(char::escape_debug).collect();
            Failure::Server(format!(
                "{server} sends to another address, `{target}`, and a key goes nowhere but to its own server. Is it the address of the panel?"
            ))
        }
    })
}
