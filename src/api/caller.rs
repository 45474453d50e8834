//! Who calls, and what they send: the API key, bounded JSON bodies, the parameters of lists.
//!
//! SECURITY: `Authorization: Bearer` is the only credential of the API: no cookie, so no cross-site request has one.

use std::pin::pin;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{header::AUTHORIZATION, request::Parts},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::mpsc;

use super::answer::{self, Failure, RequestId};
use crate::{
    base::limits,
    domain::{Error, Kind, Result, access::Actor},
    http::{pace::is_too_slow, peer::Client},
    services::{
        Services,
        access::{Origin, Whoami},
        uploads::Pieces,
    },
};

/// The actor of the call.
pub(super) struct Caller(pub(super) Actor, pub(super) Whoami);

impl FromRequestParts<Services> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, services: &Services) -> Result<Self, Failure> {
        let origin = Origin {
            address: parts.extensions.get::<Client>().map(|it| it.address),
            request_id: parts.extensions.get::<RequestId>().cloned().unwrap_or_default().0,
            seen: parts.headers.get(answer::SEEN).and_then(|it| it.to_str().ok()?.parse().ok()),
        };
        let missing = || {
            Error::unauthenticated(
                "key_missing",
                "Send an API key: `Authorization: Bearer ch_…`. Make one in the panel under Settings, or with `chainhost admin create-key`.",
            )
        };
        let header = parts.headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok()).ok_or_else(missing)?;
        let (scheme, key) = header.split_once(' ').ok_or_else(missing)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(missing().into());
        }
        let (actor, whoami) = services.actor_by_key(key.trim(), origin).await?;
        Ok(Self(actor, whoami))
    }
}

/// A JSON body of the usual size. No body is `{}`.
pub(super) struct Json<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let bytes = whole(request.into_body(), limits::JSON_BODY_BYTES_MAX).await?;
        Ok(Self(read(&bytes)?))
    }
}

/// A body in memory, of at most `max` bytes.
pub(super) async fn whole(body: Body, max: usize) -> Result<Bytes> {
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Error::too_large("body", format!("The body has more than {max} bytes.")))
        }
        Err(error) => Err(cut(&*error)),
    }
}

/// Reads a body as JSON. No body is `{}`.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(if bytes.is_empty() { b"{}" } else { bytes })
        .map_err(|error| Error::invalid("json", format!("The body is not the JSON that is wanted: {error}.")))
}

/// `?limit=&after=` of a list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ListQuery {
    limit: Option<String>,
    pub(super) after: Option<String>,
}

impl ListQuery {
    /// Rows wanted: 1 to 200, 50 unless said.
    pub(super) fn limit(&self) -> Result<u32> {
        let Some(text) = &self.limit else { return Ok(50) };
        text.parse().ok().filter(|it| (1..=limits::PAGE_ROWS_MAX).contains(it)).ok_or_else(|| {
            Error::invalid("limit", format!("`limit` is a number from 1 to {}.", limits::PAGE_ROWS_MAX)).on("limit")
        })
    }

    /// The cursor, read as `T`.
    pub(super) fn cursor<T: std::str::FromStr>(&self) -> Result<Option<T>> {
        let read = |text: &String| {
            let wrong = || Error::invalid("after", "`after` is the `next` of the page before.").on("after");
            text.parse().map_err(|_| wrong())
        };
        self.after.as_ref().map(read).transpose()
    }
}

/// The query of a request as `T`, with our own error.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(it)| Self(it))
            .map_err(|error| Error::invalid("query", format!("The query cannot be read: {error}.")).into())
    }
}

/// Feeds a body into a channel, piece by piece, while `work` takes it.
pub(super) async fn feed<T>(body: Body, max: u64, work: impl AsyncFnOnce(Pieces) -> Result<T>) -> Result<T> {
    let (pieces, taken) = mpsc::channel(16);
    let pump = async move {
        let mut body = body;
        let mut size = 0_u64;
        while let Some(frame) = body.frame().await {
            let piece = match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => Ok(data),
                    Err(_trailers) => continue,
                },
                Err(error) => Err(cut(&error)),
            };
            size = size.saturating_add(piece.as_ref().map_or(0, |it| u64::try_from(it.len()).unwrap_or(u64::MAX)));
            let piece = if size > max {
                Err(Error::too_large("body", format!("The body has more than {max} bytes.")))
            } else {
                piece
            };
            let last = piece.is_err();
            if pieces.send(piece).await.is_err() || last {
                break;
            }
        }
    };
    let (mut pump, mut work) = (pin!(pump), pin!(work(taken)));
    tokio::select! {
        biased;
        // Refused before the body has come: whoever stands still gets to read it too.
        out = &mut work => return out,
        () = &mut pump => {}
    }
    work.await
}

fn cut(error: &(dyn std::error::Error + 'static)) -> Error {
    if is_too_slow(error) {
        let text = format!(
            "Less than {} bytes a second came over {} seconds. What came whole is kept; send the rest again.",
            limits::BODY_BYTES_PER_SECOND_MIN,
            limits::BODY_WINDOW_MS / 1000
        );
        return Error::new(Kind::TooSlow, "body_slow", text);
    }
    Error::invalid("body_cut", "The connection broke before the whole body had come. Send it again.").because(error)
}
