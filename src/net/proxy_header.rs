//! The header of the PROXY protocol, versions 1 and 2, by which a proxy that passes on bytes and not requests says who has connected to
//! it. Source: `doc/proxy-protocol.txt` of its inventors.
//!
//! SECURITY: whoever may send such a header can say to be anybody. It is read where the settings say that only proxies connect, from those
//! that they trust; there nothing is accepted without one, since a guess would let clients write it themselves.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
};

/// No header of either version is shorter.
const LEAST: usize = 15;
/// The longest line of version 1, with its end.
const LINE_MAX: usize = 107;
/// How version 2 begins, and the length of what it always has.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const FIXED: usize = 16;
/// More than any proxy says: the addresses, and what it knows of the client's TLS.
const REST_MAX: usize = 4_096;
/// The type of what says something of TLS, and the bit in it for a client that used it.
const TLS: u8 = 0x20;
const USED_TLS: u8 = 0x01;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// Who has connected to the proxy; `None` when it speaks for itself, as for a check of health, or does not know.
    pub(super) client: Option<SocketAddr>,
    /// Whether the client used TLS with the proxy, where it says so.
    pub(super) tls: Option<bool>,
}

/// Takes the header from the beginning of a connection, and nothing behind it. Errors: `InvalidData` when there is none, and those of the
/// stream.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Said> {
    let mut head = vec![0; LEAST];
    stream.read_exact(&mut head).await?;
    if head.starts_with(&SIGNATURE) {
        take(stream, &mut head, FIXED - LEAST).await?;
        let length = match head.get(14..FIXED) {
            Some(&[high, low]) => usize::from(u16::from_be_bytes([high, low])),
            _ => return Err(wrong()),
        };
        if length > REST_MAX {
            return Err(wrong());
        }
        take(stream, &mut head, length).await?;
        return binary(&head).ok_or_else(wrong);
    }
    if !head.starts_with(b"PROXY ") {
        return Err(wrong());
    }
    while !head.ends_with(b"\n") {
        let mut seen = [0; LINE_MAX];
        let seen = seen.get_mut(..LINE_MAX.saturating_sub(head.len())).unwrap_or_default();
        let count = if seen.is_empty() { 0 } else { stream.peek(seen).await? };
        let seen = seen.get(..count).unwrap_or_default();
        if seen.is_empty() {
            return Err(wrong());
        }
        let line = seen.iter().position(|it| *it == b'\n').map_or(count, |at| at + 1);
        take(stream, &mut head, line).await?;
    }
    line(&head).ok_or_else(wrong)
}

async fn take(stream: &mut (impl AsyncRead + Unpin), head: &mut Vec<u8>, count: usize) -> io::Result<()> {
    let before = head.len();
    head.resize(before + count, 0);
    stream.read_exact(head.get_mut(before..).unwrap_or_default()).await.map(drop)
}

fn wrong() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no header of the PROXY protocol")
}

/// `PROXY TCP4 198.51.100.7 192.0.2.1 51000 443\r\n`
fn line(head: &[u8]) -> Option<Said> {
    let text = std::str::from_utf8(head).ok()?.strip_prefix("PROXY ")?.strip_suffix("\r\n")?;
    let mut words = text.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        // What follows is to be ignored.
        return Some(Said { client: None, tls: None });
    }
    let (from, to): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (port, _) = (port(words.next()?)?, port(words.next()?)?);
    let fits = match family {
        "TCP4" => from.is_ipv4() && to.is_ipv4(),
        "TCP6" => from.is_ipv6() && to.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then(|| Said { client: Some(SocketAddr::new(from, port)), tls: None })
}

/// Digits alone: no sign, and no zero that stands for nothing.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|it| it.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A whole header of version 2.
fn binary(head: &[u8]) -> Option<Said> {
    let (&what, &family) = (head.get(12)?, head.get(13)?);
    let rest = head.get(FIXED..)?;
    if what >> 4 != 2 {
        return None;
    }
    let own = Said { client: None, tls: None };
    match what & 0x0f {
        // LOCAL: whatever follows is to be skipped.
        0 => return Some(own),
        1 => {}
        _ => return None,
    }
    let (client, more) = match family {
        0x11 => {
            let (addresses, more) = rest.split_at_checked(12)?;
            let from: [u8; 4] = addresses.get(..4)?.try_into().ok()?;
            (address(Ipv4Addr::from(from), addresses.get(8..10)?)?, more)
        }
        0x21 => {
            let (addresses, more) = rest.split_at_checked(36)?;
            let from: [u8; 16] = addresses.get(..16)?.try_into().ok()?;
            (address(Ipv6Addr::from(from), addresses.get(32..34)?)?, more)
        }
        // Unspecified, over UDP, or through a socket of files: nobody whose address is known.
        _ => return Some(own),
    };
    Some(Said { client: Some(client), tls: tls(more)? })
}

fn address(from: impl Into<IpAddr>, port: &[u8]) -> Option<SocketAddr> {
    Some(SocketAddr::new(from.into(), u16::from_be_bytes(port.try_into().ok()?)))
}

/// What those that follow the addresses say of TLS. `None`: they are broken.
#[expect(clippy::option_option, reason = "broken, nothing said, or said")]
fn tls(mut more: &[u8]) -> Option<Option<bool>> {
    let mut said = None;
    while let [kind, high, low, behind @ ..] = more {
        let (value, rest) = behind.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
        if *kind == TLS {
            said = Some(value.first()? & USED_TLS != 0);
        }
        more = rest;
    }
    more.is_empty().then_some(said)
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// A header of version 2 with these parts.
    fn made(what: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[what, family], &length, rest].concat()
    }

    const FOUR: [u8; 12] = [198, 51, 100, 7, 192, 0, 2, 1, 0xc7, 0x38, 1, 0xbb];

    #[test]
    fn lines_of_version_1() {
        let of = |text: &str| line(text.as_bytes()).map(|it| it.client.map(|it| it.to_string()));
        let client = |text: &str| Some(Some(String::from(text)));
        assert_eq!(of("PROXY TCP4 198.51.100.7 192.0.2.1 51000 443\r\n"), client("198.51.100.7:51000"));
        assert_eq!(of("PROXY TCP6 2001:db8::7 2001:db8::1 51000 443\r\n"), client("[2001:db8::7]:51000"));
        assert_eq!(of("PROXY UNKNOWN\r\n"), Some(None));
        assert_eq!(of("PROXY UNKNOWN 2001:db8::7 2001:db8::1 51000 443\r\n"), Some(None));
        for wrong in [
            "PROXY TCP4 198.51.100.7 192.0.2.1 51000 443\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 51000\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 51000 443 x\r\n",
            "PROXY TCP4 198.51.100.7  192.0.2.1 51000 443\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 51000 443\r\n",
            "PROXY TCP6 198.51.100.7 192.0.2.1 51000 443\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 +1 443\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 01 443\r\n",
            "PROXY TCP4 198.51.100.7 192.0.2.1 65536 443\r\n",
            "PROXY TCP4 198.51.100 192.0.2.1 1 443\r\n",
            "PROXY UDP4 198.51.100.7 192.0.2.1 1 443\r\n",
            "PROXY unknown\r\n",
        ] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn headers_of_version_2() {
        let client = |it: &str| Some(it.parse::<SocketAddr>().unwrap());
        let six: Vec<u8> = [&[0x20, 1, 0xd, 0xb8][..], &[0; 11], &[7], &[0; 16], &[0xc7, 0x38, 1, 0xbb]].concat();
        let with = |more: &[u8]| made(0x21, 0x11, &[&FOUR, more].concat());
        for (header, client, tls) in [
            (made(0x21, 0x11, &FOUR), client("198.51.100.7:51000"), None),
            (made(0x21, 0x21, &six), client("[2001:db8::7]:51000"), None),
            (with(&[4, 0, 2, 0, 0]), client("198.51.100.7:51000"), None),
            (with(&[TLS, 0, 5, 1, 0, 0, 0, 0]), client("198.51.100.7:51000"), Some(true)),
            (with(&[4, 0, 0, TLS, 0, 5, 0, 0, 0, 0, 1]), client("198.51.100.7:51000"), Some(false)),
            (made(0x20, 0x11, &FOUR), None, None),
            (made(0x20, 0, &[]), None, None),
            (made(0x21, 0, &[1, 2, 3]), None, None),
            (made(0x21, 0x31, &[0; 216]), None, None),
        ] {
            assert_eq!(binary(&header), Some(Said { client, tls }), "{header:?}");
        }
        for wrong in [
            made(0x11, 0x11, &FOUR),
            made(0x22, 0x11, &FOUR),
            made(0x21, 0x11, &FOUR[..11]),
            made(0x21, 0x21, &FOUR),
            with(&[TLS, 0, 6, 1, 0, 0, 0, 0]),
            with(&[TLS, 0, 0]),
            with(&[4, 0]),
        ] {
            assert_eq!(binary(&wrong), None, "{wrong:?}");
        }
    }

    /// What is read of bytes that come in these parts, and what stays.
    async fn come(parts: &[&[u8]]) -> (io::Result<Said>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut sends = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut takes, _) = listener.accept().await.unwrap();
        let sent = async {
            for part in parts {
                // Each is on its way before the next; how they arrive is the system's affair.
                drop(sends.write_all(part).await);
                tokio::task::yield_now().await;
            }
            drop(sends.shutdown().await);
        };
        let (said, ()) = tokio::join!(read(&mut takes), sent);
        let mut rest = Vec::new();
        drop(takes.read_to_end(&mut rest).await);
        (said, rest)
    }

    #[tokio::test]
    async fn nothing_behind_a_header_is_taken() {
        let request = b"GET / HTTP/1.1\r\n".as_slice();
        let (one, two) = (b"PROXY TCP4 198.51.100.7 192.0.2.1 51000 443\r\n".to_vec(), made(0x21, 0x11, &FOUR));
        for header in [one, two, b"PROXY UNKNOWN\r\n".to_vec(), made(0x20, 0, &[])] {
            let (said, rest) = come(&[&header, request]).await;
            assert!(said.is_ok() && rest == request, "{header:?}: {said:?}");
            let bytes = [&header, request].concat();
            let (said, rest) = come(&bytes.chunks(1).collect::<Vec<_>>()).await;
            assert!(said.is_ok() && rest == request, "{header:?} byte by byte: {said:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n"].concat();
        let far = [&SIGNATURE[..], &[0x21, 0x11, 0xff, 0xff]].concat();
        for bytes in [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(), &long, &far, b"PROXY TCP4 198.51.100.7"] {
            assert_eq!(come(&[bytes]).await.0.unwrap_err().kind(), io::ErrorKind::InvalidData, "{bytes:?}");
        }
        for bytes in [b"".as_slice(), b"PROXY ", &made(0x21, 0x11, &FOUR)[..20]] {
            assert_eq!(come(&[bytes]).await.0.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{bytes:?}");
        }
    }
}
