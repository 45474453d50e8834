//! The one place that turns an error of the control plane into an answer: `application/problem+json`
//! (RFC 9457).
//!
//! SECURITY: the detail of an error is for the log and never leaves here.

use hyper::{
    StatusCode,
    header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Serialize;

use super::respond::{self, Response};
use crate::domain::{Error, Kind};

/// The members of a problem, in the order in which they are written.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    request_id: &'a str,
}

/// The status of a class of errors.
pub const fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid => StatusCode::BAD_REQUEST,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Stale => StatusCode::PRECONDITION_FAILED,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::TooMany => StatusCode::TOO_MANY_REQUESTS,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::TooSlow => StatusCode::REQUEST_TIMEOUT,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The answer for `error`. Logging it is the caller's work, once, with the same request id.
pub fn problem(error: &Error, request_id: &str) -> Response {
    let status = status(error.kind);
    let body = Problem {
        r#type: format!("urn:chainhost:problem:{}", error.code),
        title: status.canonical_reason().unwrap_or("Error"),
        status: status.as_u16(),
        detail: &error.message,
        code: error.code,
        field: error.field,
        request_id,
    };
    let mut response = respond::json(status, &body);
    let headers = response.headers_mut();
    headers.insert(hyper::header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = error.retry_after_s {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.kind == Kind::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn body(response: Response) -> serde_json::Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn the_client_reads_the_message_and_not_the_detail() {
        let error = Error::invalid("site_name", "Use only a-z.").on("name").because("row 7");
        let response = problem(&error, "r1");
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(
            body(response).await,
            serde_json::json!({
                "type": "urn:chainhost:problem:site_name", "title": "Bad Request", "status": 400,
                "detail": "Use only a-z.", "code": "site_name", "field": "name", "request_id": "r1",
            })
        );
        let text = body(problem(&Error::internal("secret path"), "r2")).await.to_string();
        assert!(!text.contains("secret path") && text.contains("r2"), "{text}");
    }

    #[test]
    fn limits_say_when_to_come_back() {
        let response = problem(&Error::too_many("sign_in", "Wait.", 900), "r");
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &HeaderValue::from(900)));
        assert_eq!(problem(&Error::unauthenticated("key", "No."), "r").headers()["www-authenticate"], "Bearer");
        for (kind, wanted) in [
            (Kind::NotFound, 404),
            (Kind::Conflict, 409),
            (Kind::Stale, 412),
            (Kind::TooLarge, 413),
            (Kind::Unavailable, 503),
        ] {
            assert_eq!(status(kind).as_u16(), wanted);
        }
    }
}
