//! What a client sends in front of a body, read as strictly as HTTP/1.1 is read here, and what stands in front of an answer.
//!
//! Refuses what two readers may understand differently (RFC 9114, 4.1.2, 4.2 and 4.3): a pseudo-header that is said twice, is missing, stands
//! behind a field or is none of a request's; an authority beside another `Host`; a length said twice; a name with a capital or a sign
//! that names have not; what belongs to a connection of HTTP/1.1.

use bytes::{BufMut as _, Bytes};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE},
    http::request::Parts,
};

use super::{
    frames,
    qpack::{self, Field, Unread},
};

/// Of a connection of HTTP/1.1, and so of none here.
const OF_CONNECTIONS: [HeaderName; 5] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Bytes in front of a section: its kind, and its length in four bytes whatever it is.
const FRAME_START: [u8; 5] = [1, 0x80, 0, 0, 0];

/// A request without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: Parts,
    /// Bytes of its body, where it says so.
    pub(super) length: Option<u64>,
}

/// Why there is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It cannot be unpacked, and so nothing behind it.
    Broken,
    /// It has more bytes than it may.
    TooLarge,
    /// It is no request.
    Malformed(&'static str),
}

impl From<Unread> for Refused {
    fn from(why: Unread) -> Self {
        match why {
            Unread::Broken => Self::Broken,
            Unread::TooLarge => Self::TooLarge,
        }
    }
}

/// The pseudo-headers of a request, each once.
#[derive(Default)]
struct Pseudo {
    method: Option<Bytes>,
    scheme: Option<Bytes>,
    authority: Option<Bytes>,
    path: Option<Bytes>,
}

impl Pseudo {
    fn take(&mut self, field: Field) -> Result<(), Refused> {
        let place = match &*field.name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            _ => return Err(Refused::Malformed("a pseudo-header is none of a request")),
        };
        match place.replace(field.value) {
            None => Ok(()),
            Some(_) => Err(Refused::Malformed("a pseudo-header is said twice")),
        }
    }

    /// Method and address, with the host that the fields name where there is no authority.
    fn finish(self, host: Option<&HeaderValue>) -> Result<(Method, Uri), Refused> {
        let method = self.method.ok_or(Refused::Malformed("there is no method"))?;
        let method = Method::from_bytes(&method).map_err(|_| Refused::Malformed("the method is no word"))?;
        let authority = match (self.authority, host) {
            (Some(authority), Some(host)) if !authority.eq_ignore_ascii_case(host.as_bytes()) => {
                return Err(Refused::Malformed("authority and Host are two"));
            }
            (Some(authority), _) => authority,
            (None, Some(host)) => Bytes::copy_from_slice(host.as_bytes()),
            (None, None) => return Err(Refused::Malformed("there is no authority")),
        };
        if authority.is_empty() {
            return Err(Refused::Malformed("the authority is empty"));
        }
        let uri = match (method == Method::CONNECT, self.scheme, self.path) {
            (true, None, None) => Uri::builder().authority(&*authority).build(),
            (false, Some(scheme), Some(path)) => {
                let is_known = scheme.eq_ignore_ascii_case(b"https") || scheme.eq_ignore_ascii_case(b"http");
                let is_path = path.starts_with(b"/") || method == Method::OPTIONS && &*path == b"*";
                if !is_known || !is_path || path.contains(&b'#') {
                    return Err(Refused::Malformed("scheme or path are none of the web"));
                }
                Uri::builder().scheme(&*scheme).authority(&*authority).path_and_query(&*path).build()
            }
            (true, ..) => return Err(Refused::Malformed("scheme or path of a CONNECT")),
            (false, ..) => return Err(Refused::Malformed("there is no scheme or no path")),
        };
        Ok((method, uri.map_err(|_| Refused::Malformed("the address cannot be read"))?))
    }
}

/// The request that a section of at most so many bytes has.
pub(super) fn read(section: Bytes, bytes_max: usize) -> Result<Head, Refused> {
    let fields = qpack::read(section, bytes_max)?;
    let (mut pseudo, mut headers) = (Pseudo::default(), HeaderMap::with_capacity(fields.len()));
    for field in fields {
        if field.name.first() == Some(&b':') {
            if !headers.is_empty() {
                return Err(Refused::Malformed("a pseudo-header stands behind a field"));
            }
            pseudo.take(field)?;
            continue;
        }
        // Names in capitals are refused by this, too.
        let name = HeaderName::from_lowercase(&field.name).map_err(|_| Refused::Malformed("a name is none"))?;
        let value = HeaderValue::from_maybe_shared(field.value).map_err(|_| Refused::Malformed("a value is none"))?;
        let is_once = name == HOST || name == CONTENT_LENGTH;
        if OF_CONNECTIONS.contains(&name) || name == TE && value != "trailers" {
            return Err(Refused::Malformed("a field is of a connection"));
        }
        if is_once && headers.contains_key(&name) {
            return Err(Refused::Malformed("a field is said twice"));
        }
        headers.try_append(name, value).map_err(|_| Refused::TooLarge)?;
    }
    let (method, uri) = pseudo.finish(headers.get(HOST))?;
    let length = headers.get(CONTENT_LENGTH).map(|it| length(it.as_bytes())).transpose()?;
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_3;
    *request.headers_mut() = headers;
    Ok(Head { parts: request.into_parts().0, length })
}

/// Digits alone: what else is read as a number is read differently elsewhere.
fn length(value: &[u8]) -> Result<u64, Refused> {
    let refused = || Refused::Malformed("a length is no number");
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_number).ok_or_else(refused)?;
    text.parse().map_err(|_| refused())
}

/// The frame in front of an answer.
pub(super) fn write(status: StatusCode, headers: &HeaderMap) -> Bytes {
    let mut frame = Vec::with_capacity(512);
    frame.extend_from_slice(&FRAME_START);
    qpack::begin(&mut frame);
    qpack::add(&mut frame, ":status", status.as_str().as_bytes());
    for (name, value) in headers {
        if !OF_CONNECTIONS.contains(name) {
            qpack::add(&mut frame, name.as_str(), value.as_bytes());
        }
    }
    // INVARIANT: an answer's headers have far less than a GiB.
    let length = u32::try_from(frame.len() - FRAME_START.len()).unwrap_or_default();
    if let Some(mut place) = frame.get_mut(1..FRAME_START.len()) {
        place.put_u32(0x8000_0000 | length);
    }
    frame.into()
}

/// What stands in front of so many bytes of a body.
pub(super) fn data(length: usize) -> Bytes {
    let mut start = Vec::with_capacity(9);
    frames::put_number(&mut start, frames::DATA);
    frames::put_number(&mut start, u64::try_from(length).unwrap_or(u64::MAX));
    start.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: [(&str, &str); 4] =
        [(":method", "GET"), (":scheme", "https"), (":authority", "a.example"), (":path", "/x?y=1")];

    fn section(fields: &[(&str, &str)]) -> Bytes {
        let mut section = Vec::new();
        qpack::begin(&mut section);
        for (name, value) in fields {
            qpack::add(&mut section, name, value.as_bytes());
        }
        section.into()
    }

    fn with(more: &[(&str, &str)]) -> Result<Head, Refused> {
        read(section(&[&GET[..], more].concat()), 16 * 1024)
    }

    fn without(name: &str, more: &[(&str, &str)]) -> Result<Head, Refused> {
        let rest: Vec<_> = GET.into_iter().filter(|it| it.0 != name).chain(more.iter().copied()).collect();
        read(section(&rest), 16 * 1024)
    }

    #[test]
    fn a_request_is_read() {
        let head = with(&[("host", "A.example"), ("content-length", "12"), ("te", "trailers"), ("x", "é")]).unwrap();
        assert_eq!((&head.parts.method, head.parts.version, head.length), (&Method::GET, Version::HTTP_3, Some(12)));
        assert_eq!(head.parts.uri.to_string(), "https://a.example/x?y=1");
        assert_eq!(head.parts.headers["x"].as_bytes(), "é".as_bytes());
        // HTTP/1.1 passed on: no authority, but a host.
        let head = without(":authority", &[("host", "b.example:8443")]).unwrap();
        assert_eq!((head.parts.uri.port_u16(), head.length), (Some(8443), None));
        let options = without(":path", &[(":path", "*")]).unwrap_err();
        assert!(matches!(options, Refused::Malformed(_)), "only OPTIONS asks for *");
        let connect = section(&[(":method", "CONNECT"), (":authority", "a.example:443")]);
        assert_eq!(read(connect, 1_000).unwrap().parts.uri.to_string(), "a.example:443");
    }

    #[test]
    fn what_has_two_readings_is_refused() {
        let is_malformed = |read: Result<Head, Refused>| matches!(read, Err(Refused::Malformed(_)));
        for more in [
            &[(":method", "POST")][..],
            &[(":path", "/admin")],
            &[(":authority", "a.example")],
            &[(":scheme", "https")],
            &[(":status", "200")],
            &[(":protocol", "websocket")],
            &[("host", "b.example")],
            &[("host", "a.example"), ("host", "a.example")],
            &[("content-length", "1"), ("content-length", "1")],
            &[("content-length", "+1")],
            &[("content-length", "")],
            &[("content-length", "99999999999999999999")],
            &[("transfer-encoding", "chunked")],
            &[("connection", "close")],
            &[("keep-alive", "1")],
            &[("proxy-connection", "close")],
            &[("upgrade", "h2c")],
            &[("te", "gzip")],
            &[("X", "1")],
            &[("a b", "1")],
            &[("", "1")],
            &[("a", "x\r\ny: z")],
            &[("a", "\0")],
        ] {
            assert!(is_malformed(with(more)), "{more:?}");
        }
        for name in [":method", ":scheme", ":authority", ":path"] {
            assert!(is_malformed(without(name, &[])), "{name}");
            assert!(is_malformed(without(name, &[(name, "")])), "{name} is empty");
            assert!(is_malformed(without(name, &[("a", "b"), (name, "/")])), "{name} stands behind a field");
        }
        for path in ["x", "https://b.example/", "/x#y", "/a b", "*"] {
            assert!(is_malformed(without(":path", &[(":path", path)])), "{path}");
        }
        assert!(is_malformed(without(":scheme", &[(":scheme", "ftp")])));
        assert!(is_malformed(without(":method", &[(":method", "CONNECT")])));
        assert_eq!(with(&[("x", &"y".repeat(16 * 1024))]).unwrap_err(), Refused::TooLarge);
        assert_eq!(read(Bytes::from_static(b"\x01\x00"), 1_000).unwrap_err(), Refused::Broken);
    }

    #[test]
    fn an_answer_is_written_without_what_is_of_a_connection() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("close"));
        headers.insert("etag", HeaderValue::from_static("\"x\""));
        let frame = write(StatusCode::OK, &headers);
        let (kind, behind) = frames::number(&frame).unwrap();
        let (length, more) = frames::number(&frame[behind..]).unwrap();
        assert_eq!((kind, usize::try_from(length).unwrap()), (frames::HEADERS, frame.len() - behind - more));
        let fields = qpack::read(frame.slice(behind + more..), 1_000).unwrap();
        let names: Vec<&[u8]> = fields.iter().map(|it| &*it.name).collect();
        assert_eq!(names, [&b":status"[..], b"etag"]);
        assert_eq!(&*data(16_384), b"\x00\x80\x00\x40\x00");
    }
}
