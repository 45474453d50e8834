//! Answers of the API: JSON, pages of a list, problems.
//!
//! A handler's error travels as an extension to the outermost layer, which knows the request's id, logs once and writes
//! `application/problem+json`.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, StatusCode, header::ALLOW},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{
    domain::{Error, Kind},
    http::{problem, respond},
};

pub use crate::http::peer::RequestId;

/// The position of the database after the last write, in answers to calls that change something. Sent along with later calls, also to
/// another server on the same database, it lets them find what was written.
pub const SEEN: &str = "chainhost-seen";

/// A handler's error.
#[derive(Debug)]
pub(super) struct Failure(Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(self.0);
        response
    }
}

/// What handlers give.
pub(super) type Answer = Result<Response, Failure>;

/// Turns errors into problems, and says `no-store` on everything.
pub(super) async fn finish(request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned().unwrap_or_default().0;
    let mut response = next.run(request).await;
    let allow = response.headers().get(ALLOW).cloned();
    let error = response.extensions_mut().remove::<Error>().or_else(|| refused_by_router(response.status()));
    if let Some(error) = error {
        if error.kind == Kind::Internal {
            tracing::error!(request = %id, %error, "a call of the API failed");
        } else {
            tracing::debug!(request = %id, %error, "a call of the API was refused");
        }
        response = problem::problem(&error, &id).map(Body::new);
        if let Some(allow) = allow {
            response.headers_mut().insert(ALLOW, allow);
        }
    }
    response.headers_mut().insert("cache-control", HeaderValue::from_static("no-store"));
    response
}

/// What the router refuses before a handler is asked: it says so in words of its own.
fn refused_by_router(status: StatusCode) -> Option<Error> {
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let text = "This address does not take this method. See /api/openapi.json.";
        return Some(Error::new(Kind::WrongMethod, "method", text));
    }
    let text = "The address of this call cannot be read. Names in it are UTF-8, percent-encoded.";
    status.is_client_error().then(|| Error::invalid("path", text))
}

/// A value as JSON.
#[expect(clippy::unnecessary_wraps, reason = "the last expression of handlers, which can fail before it")]
pub(super) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Answer {
    Ok(respond::json(status, value).map(Body::new))
}

/// 200 with a value.
pub(super) fn ok<T: Serialize + ?Sized>(value: &T) -> Answer {
    json(StatusCode::OK, value)
}

/// 204.
#[expect(clippy::unnecessary_wraps, reason = "as `json`")]
pub(super) fn done() -> Answer {
    Ok(respond::empty(StatusCode::NO_CONTENT).map(Body::new))
}

/// One page of a list, with the cursor of the next.
#[derive(Debug, Serialize)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

impl<T> Page<T> {
    /// A page from up to `limit` + 1 rows: the one too many tells that there is more.
    pub(super) fn new(mut items: Vec<T>, limit: u32, cursor: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(cursor);
        Self { items, next }
    }
}
