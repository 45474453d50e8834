//! The verifier's HTTP/1.1 client: one connection, one request at a time, nothing decoded.
//!
//! Follows no redirect and takes no proxy.

use std::{pin::pin, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::{
    base::hash::{Hasher, Sha256},
    cli::{
        dial::{Undone, dial},
        tls::{Tls, Trust},
    },
};

/// How long a server may be silent.
const SILENCE: Duration = Duration::from_secs(30);

/// A site's address: scheme, host and port.
pub(super) struct Site {
    authority: http::uri::Authority,
    tls: Option<Tls>,
}

/// What came for a path.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) sha256: Sha256,
    /// Bytes of the body; reading ends when there are more than was asked for.
    pub(super) size: u64,
}

/// A request failed.
pub(super) enum Failure {
    /// The connection was closed before the answer began: a new one may help.
    Closed,
    /// What went wrong.
    Broken(String),
}

impl Site {
    /// Reads `https://HOST[:PORT]` or `http://HOST[:PORT]`, with at most a `/` behind it. `command`: what to run with
    /// `--trust-fingerprint`.
    pub(super) fn parse(url: &str, trust: &Trust, command: String) -> Result<Self, String> {
        let wrong = || {
            let shown = url.escape_debug();
            format!("`{shown}` is not the address of a site: https://HOST[:PORT] or http://HOST[:PORT]")
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|it| !it.host().is_empty() && !it.as_str().contains('@'));
        let authority = authority.filter(|_| matches!(uri.path(), "" | "/") && uri.query().is_none());
        let authority = authority.ok_or_else(wrong)?.clone();
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => {
                let server = format!("https://{authority}");
                Some(Tls::new(&bare(&authority), &server, trust, command).map_err(|error| error.message)?)
            }
            _ => return Err(wrong()),
        };
        Ok(Self { authority, tls })
    }

    /// Where a site in clear sends everybody to, if that is its own HTTPS.
    pub(super) fn secured(&self, answer: &Answer) -> Option<String> {
        let target = answer.headers.get(header::LOCATION)?.to_str().ok()?.parse::<Uri>().ok()?;
        let is_sent = self.tls.is_none()
            && answer.status.is_redirection()
            && target.scheme_str() == Some("https")
            && target.host()?.eq_ignore_ascii_case(self.authority.host());
        is_sent.then(|| format!("https://{}", target.authority().map_or("", |it| it.as_str())))
    }

    /// Calls `work` with an open connection and drives both.
    pub(super) async fn connected<T>(&self, work: impl AsyncFnOnce(&mut Requests<'_>) -> T) -> Result<T, String> {
        let failed = |error: &dyn std::fmt::Display| format!("Cannot reach {}: {error}", self.authority);
        let port = self.authority.port_u16().unwrap_or(if self.tls.is_some() { 443 } else { 80 });
        let stream = dial(&bare(&self.authority), port, self.tls.as_ref()).await.map_err(|undone| match undone {
            Undone::Away(error) => failed(&error),
            Undone::Broken(why) | Undone::Refused(why) => why,
        })?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
        let mut requests = Requests { site: self, sender };
        let mut work = pin!(work(&mut requests));
        // Dropped as soon as it ends: as long as it is there, requests wait for it.
        let mut connection = Some(Box::pin(connection));
        std::future::poll_fn(|context| {
            if let Some(open) = &mut connection
                && open.as_mut().poll(context).is_ready()
            {
                // Its errors come back through the requests too.
                connection = None;
            }
            work.as_mut().poll(context).map(Ok)
        })
        .await
    }
}

/// The host as resolvers and certificates have it.
fn bare(authority: &http::uri::Authority) -> String {
    let host = authority.host().to_ascii_lowercase();
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_owned()
}

/// An open connection.
pub(super) struct Requests<'s> {
    site: &'s Site,
    sender: SendRequest<Empty<Bytes>>,
}

impl Requests<'_> {
    /// Asks for a path that is percent-encoded already. More than `size_max` bytes are not read.
    pub(super) async fn get(&mut self, path: &str, size_max: u64) -> Result<Answer, Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::Broken(error.to_string());
        let silent = || Failure::Broken(format!("no answer in {} seconds", SILENCE.as_secs()));
        let request = Request::get(path)
            .header(header::HOST, self.site.authority.as_str())
            .header(header::ACCEPT_ENCODING, "identity")
            .header(header::USER_AGENT, concat!("chainhost-verify/", env!("CARGO_PKG_VERSION")))
            .body(Empty::new())
            .map_err(|error| broken(&error))?;
        if timeout(SILENCE, self.sender.ready()).await.map_err(|_| silent())?.is_err() {
            return Err(Failure::Closed);
        }
        let response = timeout(SILENCE, self.sender.send_request(request)).await.map_err(|_| silent())?;
        let response = response.map_err(|error| match error {
            _ if error.is_canceled() || error.is_closed() || error.is_incomplete_message() => Failure::Closed,
            _ => broken(&error),
        })?;
        let (head, mut body) = response.into_parts();
        let (mut hasher, mut size) = (Hasher::new(), 0_u64);
        while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(|_| silent())? {
            let frame = frame.map_err(|error| broken(&error))?;
            let piece = frame.data_ref().map_or(&[][..], |it| it);
            hasher.update(piece);
            size = size.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if size > size_max {
                break;
            }
        }
        Ok(Answer { status: head.status, headers: head.headers, sha256: hasher.finish(), size })
    }
}
