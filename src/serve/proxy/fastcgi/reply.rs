//! What a program answers: headers as CGI has them (RFC 3875 §6), and behind them the body.

use bytes::{Bytes, BytesMut};
use hyper::{
    StatusCode,
    header::{HeaderMap, HeaderName, HeaderValue, LOCATION},
};

use super::Fault;
use crate::serve::proxy::heads;

/// Bytes of the headers of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Their number.
const HEADERS_MAX: usize = 128;

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// What has come of the body with it.
    pub(crate) first: Bytes,
}

/// Reads a head from what was said so far; `None` when it is not whole yet.
pub(super) fn read(said: &mut BytesMut) -> Result<Option<Head>, Fault> {
    let Some((lines, length)) = lines(said) else {
        let is_endless = said.len() > HEAD_BYTES_MAX;
        return if is_endless { Err(Fault::Nonsense("its headers are larger than 64 KiB")) } else { Ok(None) };
    };
    if length > HEAD_BYTES_MAX || lines.len() > HEADERS_MAX {
        return Err(Fault::Nonsense("its headers are larger than 64 KiB, or more than 128"));
    }
    let (mut headers, mut status) = (HeaderMap::new(), None);
    for line in lines {
        let nonsense = || Fault::Nonsense("it said something else than headers first");
        let at = memchr::memchr(b':', line).ok_or_else(nonsense)?;
        let (name, value) = line.split_at_checked(at).ok_or_else(nonsense)?;
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"status") {
            let number = value.split(|b| *b == b' ').next().unwrap_or_default();
            let code = StatusCode::from_bytes(number).ok().filter(|it| it.as_u16() >= 200);
            status = Some(code.ok_or(Fault::Nonsense("its `Status` is none"))?);
            continue;
        }
        let name = HeaderName::from_bytes(name).map_err(|_| nonsense())?;
        headers.append(name, HeaderValue::from_bytes(value).map_err(|_| nonsense())?);
    }
    let usual = if headers.contains_key(LOCATION) { StatusCode::FOUND } else { StatusCode::OK };
    heads::response(&mut headers, "", "");
    let mut rest = said.split();
    let first = rest.split_off(length).freeze();
    Ok(Some(Head { status: status.unwrap_or(usual), headers, first }))
}

/// The lines up to the empty one, and the bytes with it.
fn lines(said: &[u8]) -> Option<(Vec<&[u8]>, usize)> {
    let (mut lines, mut at) = (Vec::new(), 0);
    loop {
        let rest = said.get(at..)?;
        let end = memchr::memchr(b'\n', rest)?;
        let line = rest.get(..end)?;
        at += end + 1;
        match line.strip_suffix(b"\r").unwrap_or(line) {
            b"" => return Some((lines, at)),
            line => lines.push(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(said: &str) -> Result<Option<(u16, String, String)>, Fault> {
        let head = read(&mut BytesMut::from(said))?;
        Ok(head.map(|it| {
            let headers: Vec<String> =
                it.headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap())).collect();
            (it.status.as_u16(), headers.join(" "), String::from_utf8(it.first.to_vec()).unwrap())
        }))
    }

    #[test]
    fn heads_are_read() {
        for (said, wanted) in [
            ("Content-Type: a/b\r\n\r\nbody\n\n", (200, "content-type=a/b", "body\n\n")),
            ("Content-Type: a/b\n\nx", (200, "content-type=a/b", "x")),
            ("Status: 404 Not Found\r\nX: 1\r\nX: 2\r\n\r\n", (404, "x=1 x=2", "")),
            ("Location: /x\r\n\r\n", (302, "location=/x", "")),
            ("Status: 201\r\nLocation: /x\r\n\r\n", (201, "location=/x", "")),
            ("Connection: close\r\nTransfer-Encoding: chunked\r\nX: 1\r\n\r\n", (200, "x=1", "")),
            ("\r\nbody", (200, "", "body")),
        ] {
            let (status, headers, body) = of(said).unwrap().unwrap();
            assert_eq!((status, headers.as_str(), body.as_str()), wanted, "{said:?}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused_and_what_is_not_whole_waited_for() {
        for said in ["", "Content-Type: a/b", "Content-Type: a/b\r\n", "X: 1\r\n\r"] {
            assert_eq!(of(said), Ok(None), "{said:?}");
        }
        for said in [
            "no header\r\n\r\n",
            "a b: 1\r\n\r\n",
            "X: a\0b\r\n\r\n",
            "Status: 99\r\n\r\n",
            "Status: 100\r\n\r\n",
            "Status: x\r\n\r\n",
        ] {
            assert!(matches!(of(said), Err(Fault::Nonsense(_))), "{said:?}");
        }
        assert!(of(&"X: 1\r\n".repeat(20_000)).is_err());
        assert!(of(&format!("{}\r\n", "X: 1\r\n".repeat(200))).is_err());
    }
}
