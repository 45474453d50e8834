//! `CONNECT` by HTTP/2 that asks for another protocol on one stream (RFC 8441), as a WebSocket is asked for there.
//!
//! SECURITY: rules, limits and doors go by the method of a request. So one for a WebSocket is, from before anybody looks at it, the GET
//! that it is by HTTP/1.1 (RFC 6455), and what becomes of its answer by HTTP/2 is decided last: a success there means that the
//! stream is the protocol's from then on, so that no other answer may be one.

use std::{any::Any, sync::Arc};

use hyper::{
    HeaderMap, Method, Request, StatusCode, Version,
    ext::Protocol,
    header::{ALLOW, CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, UPGRADE},
    http::request::Parts,
};
use sha1_smol::Sha1;

use super::respond::{self, Response};
use crate::base::random;

/// What a server adds to the key of a handshake (RFC 6455 §1.3).
const OF_ACCEPT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// What may be asked where no WebSocket is.
const READ: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// An extension of a request for a WebSocket on a stream.
#[derive(Clone)]
pub struct OnStream {
    /// The key for the handshake with an upstream (RFC 6455 §4.1); HTTP/2 has none (RFC 8441 §5).
    key: String,
    /// Held for as long as the WebSocket lasts; `None`: there is no place for one more.
    held: Option<Arc<dyn Any + Send + Sync>>,
}

impl OnStream {
    /// The value of `Sec-WebSocket-Key`.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether an answer was made for this key: another one is no handshake's (RFC 6455 §4.1).
    pub fn is_answered(&self, headers: &HeaderMap) -> bool {
        headers.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|it| it.as_bytes() == accept(&self.key).as_bytes())
    }
}

fn accept(key: &str) -> String {
    data_encoding::BASE64.encode(&Sha1::from(format!("{key}{OF_ACCEPT}")).digest().bytes())
}

/// What a request asks of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// An answer.
    Answer,
    /// To become a WebSocket, on its stream.
    WebSocket,
    /// To become what nothing here is.
    Other,
}

/// Makes of a request for a WebSocket the GET that it is by HTTP/1.1; `holding` gives what it is to hold for as long as it lasts, if there is a
/// place for it.
pub fn take<B, H: Any + Send + Sync>(request: &mut Request<B>, holding: impl FnOnce() -> Option<H>) -> Asks {
    if request.method() != Method::CONNECT || request.version() != Version::HTTP_2 {
        return Asks::Answer;
    }
    if request.extensions().get::<Protocol>().is_none_or(|it| it.as_str() != "websocket") {
        return Asks::Other;
    }
    request.extensions_mut().remove::<Protocol>();
    *request.method_mut() = Method::GET;
    let key = data_encoding::BASE64.encode(&random::bytes::<16>());
    let held = holding().map(|it| -> Arc<dyn Any + Send + Sync> { Arc::new(it) });
    request.extensions_mut().insert(OnStream { key, held });
    Asks::WebSocket
}

/// The WebSocket on a stream that a request asks for.
pub fn on_stream(parts: &Parts) -> Option<&OnStream> {
    if parts.version == Version::HTTP_2 { parts.extensions.get() } else { None }
}

/// Why nothing of that kind is begun, whatever is at the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nobody speaks this protocol here.
    Protocol,
    /// There are as many WebSockets as there may be.
    Full,
}

/// Whether a request asks for what nobody has here.
pub fn refused(parts: &Parts) -> Option<Refused> {
    if parts.version != Version::HTTP_2 {
        return None;
    }
    let is_unknown = parts.method == Method::CONNECT && parts.extensions.get::<Protocol>().is_some();
    let is_full = || on_stream(parts).is_some_and(|it| it.held.is_none());
    if is_unknown { Some(Refused::Protocol) } else { is_full().then_some(Refused::Full) }
}

/// The answer as a stream has it that asks for what is said.
pub fn answer(asks: Asks, response: Response) -> Response {
    match (asks, response.status()) {
        (Asks::WebSocket, StatusCode::SWITCHING_PROTOCOLS) => {
            let mut response = response;
            *response.status_mut() = StatusCode::OK;
            for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
                response.headers_mut().remove(name);
            }
            response
        }
        (Asks::WebSocket | Asks::Other, status) if status.is_success() => {
            let mut refused = respond::empty(StatusCode::METHOD_NOT_ALLOWED);
            refused.headers_mut().insert(ALLOW, READ);
            refused
        }
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asking(method: &str, version: Version, protocol: Option<&'static str>) -> Request<()> {
        let mut request = Request::builder().method(method).version(version).uri("https://a.example/chat");
        if let Some(protocol) = protocol {
            request = request.extension(Protocol::from_static(protocol));
        }
        request.body(()).unwrap()
    }

    #[test]
    fn a_websocket_is_a_get_from_the_first_moment_on() {
        let mut request = asking("CONNECT", Version::HTTP_2, Some("websocket"));
        assert_eq!(take(&mut request, || Some(())), Asks::WebSocket);
        let (parts, ()) = request.into_parts();
        assert_eq!((parts.method.as_str(), parts.uri.path(), refused(&parts)), ("GET", "/chat", None));
        assert_eq!(on_stream(&parts).unwrap().key().len(), 24);
        let mut request = asking("CONNECT", Version::HTTP_2, Some("websocket"));
        assert_eq!(take(&mut request, || None::<()>), Asks::WebSocket);
        assert_eq!(refused(&request.into_parts().0), Some(Refused::Full));
        for (method, version, protocol, asks, unknown) in [
            ("CONNECT", Version::HTTP_2, Some("connect-udp"), Asks::Other, true),
            ("CONNECT", Version::HTTP_2, Some("WebSocket"), Asks::Other, true),
            ("CONNECT", Version::HTTP_2, None, Asks::Other, false),
            ("CONNECT", Version::HTTP_11, None, Asks::Answer, false),
            ("GET", Version::HTTP_2, None, Asks::Answer, false),
        ] {
            let mut request = asking(method, version, protocol);
            assert_eq!(take(&mut request, || Some(())), asks, "{method} {version:?} {protocol:?}");
            let (parts, ()) = request.into_parts();
            let wanted = unknown.then_some(Refused::Protocol);
            assert_eq!((parts.method.as_str(), refused(&parts)), (method, wanted));
            assert!(on_stream(&parts).is_none());
        }
    }

    #[test]
    fn a_handshake_is_known_by_its_key() {
        // RFC 6455, 1.3.
        let asked = OnStream { key: String::from("dGhlIHNhbXBsZSBub25jZQ=="), held: None };
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static(value));
            asked.is_answered(&headers)
        };
        assert!(with("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(!with("s3pPLMBiTxaQ9kYGzzhZRbK+xOp=") && !with("") && !asked.is_answered(&HeaderMap::new()));
    }

    #[test]
    fn no_other_answer_is_a_success() {
        for (asks, status, wanted) in [
            (Asks::WebSocket, 101, 200),
            (Asks::WebSocket, 200, 405),
            (Asks::WebSocket, 204, 405),
            (Asks::WebSocket, 308, 308),
            (Asks::WebSocket, 401, 401),
            (Asks::Other, 200, 405),
            (Asks::Other, 501, 501),
            (Asks::Answer, 200, 200),
            (Asks::Answer, 101, 101),
        ] {
            let given = respond::empty(StatusCode::from_u16(status).unwrap());
            assert_eq!(answer(asks, given).status().as_u16(), wanted, "{asks:?} {status}");
        }
    }
}
