//! Reaches addresses with hyper's client, and reads the machine's own addresses from Linux.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request,
    client::conn::http1,
    header::{HOST, HeaderName, LOCATION, SERVER, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, crypto::aws_lc_rs, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    base::server_certificate::Verifier,
    ports::reach::{Reach, Reached, Said, Silence},
};

/// How long a connection may take: a lost packet is sent again after one second, and after three.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long the answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// Bytes of a body that are read; what is looked for is shorter.
const BODY_BYTES_MAX: usize = 4_096;
/// Characters of a header that are shown.
const HEADER_MAX: usize = 120;
/// What requests say of this program.
const AGENT: &str = concat!("chainhost/", env!("CARGO_PKG_VERSION"), " (doctor)");

/// The network of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Network;

impl Reach for Network {
    fn get<'a>(&'a self, address: SocketAddr, host: &'a str, path: &'a str) -> Reached<'a> {
        Box::pin(get(address, host, path))
    }

    fn get_by_tls<'a>(&'a self, address: SocketAddr, host: &'a str, path: &'a str) -> Reached<'a> {
        Box::pin(get_by_tls(address, host, path))
    }

    fn own(&self) -> Vec<IpAddr> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let v6 = parse_v6(&read("/proc/self/net/if_inet6"));
        parse_v4(&read("/proc/self/net/fib_trie"))
            .into_iter()
            .map(IpAddr::V4)
            .chain(v6.into_iter().map(IpAddr::V6))
            .collect()
    }
}

async fn get(address: SocketAddr, host: &str, path: &str) -> Result<Said, Silence> {
    let stream = connect(address).await?;
    timeout(ANSWER_MAX, ask(stream, host, path)).await.unwrap_or(Err(Silence::TimedOut))
}

async fn get_by_tls(address: SocketAddr, host: &str, path: &str) -> Result<Said, Silence> {
    let name = host.split(':').next().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name).map_err(|_| Silence::NotHttp)?;
    let stream = connect(address).await?;
    let exchange = async {
        let stream = connector()?.connect(name, stream).await.map_err(|_| Silence::NotHttp)?;
        ask(stream, host, path).await
    };
    timeout(ANSWER_MAX, exchange).await.unwrap_or(Err(Silence::TimedOut))
}

async fn connect(address: SocketAddr) -> Result<TcpStream, Silence> {
    let connecting = timeout(CONNECT_MAX, TcpStream::connect(address)).await;
    connecting.map_err(|_| Silence::TimedOut)?.map_err(|error| unconnected(&error))
}

/// SECURITY: believes everybody, since a server that waits for its first certificate has one that nobody vouches for. Nothing secret is sent.
fn connector() -> Result<TlsConnector, Silence> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Verifier::new(Arc::clone(&provider), |_| Ok(()));
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config
        .map_err(|_| Silence::NotHttp)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    host: &str,
    path: &str,
) -> Result<Said, Silence> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|it| unanswered(&it))?;
    let request = Request::get(path).header(HOST, host).header(USER_AGENT, AGENT).body(Empty::<Bytes>::new());
    let request = request.map_err(|_| Silence::NotHttp)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(|it| unanswered(&it))?;
        let header = |name: &HeaderName| {
            let text = String::from_utf8_lossy(response.headers().get(name)?.as_bytes()).into_owned();
            Some(text.chars().filter(|it| !it.is_control()).take(HEADER_MAX).collect::<String>())
        };
        let mut said = Said {
            status: response.status().as_u16(),
            server: header(&SERVER),
            location: header(&LOCATION),
            body: Vec::new(),
        };
        // A body that is longer, or breaks off, is not what is looked for: the head has said the rest.
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await;
        said.body = body.map(|it| it.to_bytes().to_vec()).unwrap_or_default();
        Ok(said)
    };
    tokio::pin!(exchange, connection);
    tokio::select! {
        done = &mut exchange => done,
        // The connection may end while the last of the answer is handed over.
        _ended = &mut connection => exchange.await,
    }
}

fn unconnected(error: &io::Error) -> Silence {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Silence::Closed,
        io::ErrorKind::TimedOut => Silence::TimedOut,
        io::ErrorKind::ConnectionReset => Silence::BrokeOff,
        _ => Silence::NoRoute,
    }
}

fn unanswered(error: &hyper::Error) -> Silence {
    if error.is_parse() { Silence::NotHttp } else { Silence::BrokeOff }
}

/// The addresses behind a line `/32 host LOCAL` of the kernel's table of routes.
fn parse_v4(text: &str) -> Vec<Ipv4Addr> {
    let (mut found, mut last) = (Vec::new(), None);
    for line in text.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.filter(|it| !found.contains(it)));
        }
    }
    found
}

/// The addresses in the first column: 32 digits.
fn parse_v6(text: &str) -> Vec<Ipv6Addr> {
    let first = |line: &str| u128::from_str_radix(line.split_ascii_whitespace().next()?, 16).ok();
    text.lines().filter_map(first).map(Ipv6Addr::from_bits).collect()
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.0\n           /8 host LOCAL\n        |-- 127.0.0.1\n           /32 host LOCAL\nLocal:\n        |-- 127.0.0.1\n           /32 host LOCAL\n        |-- 198.51.100.7\n           /32 host LOCAL\n        |-- 198.51.100.255\n           /32 link BROADCAST\n";
        assert_eq!(parse_v4(trie), ["127.0.0.1".parse::<Ipv4Addr>().unwrap(), "198.51.100.7".parse().unwrap()]);
        let v6 = "00000000000000000000000000000001 01 80 10 80       lo\n20010db8000000000000000000000007 02 40 00 80     eth0\nnonsense\n";
        assert_eq!(parse_v6(v6), ["::1".parse::<Ipv6Addr>().unwrap(), "2001:db8::7".parse().unwrap()]);
        assert!(Network.own().contains(&Ipv4Addr::LOCALHOST.into()));
    }

    /// What one server answers to one client.
    async fn against(answer: &'static [u8]) -> Result<Said, Silence> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buffer = [0; 1_024];
            let length = stream.read(&mut buffer).await.unwrap();
            let asked = String::from_utf8_lossy(&buffer[..length]).into_owned();
            assert!(asked.starts_with("GET /x HTTP/1.1\r\n") && asked.contains("host: a.example\r\n"), "{asked}");
            stream.write_all(answer).await.unwrap();
            stream.shutdown().await.unwrap();
        };
        tokio::join!(Network.get(address, "a.example", "/x"), serve).0
    }

    #[tokio::test]
    async fn answers_are_told_apart() {
        let said = against(
            b"HTTP/1.1 302 Found\r\nServer: ng\tinx\r\nLocation: https://b.example/\r\nContent-Length: 3\r\n\r\nabc",
        )
        .await;
        let wanted = Said {
            status: 302,
            server: Some(String::from("nginx")),
            location: Some(String::from("https://b.example/")),
            body: b"abc".to_vec(),
        };
        assert_eq!(said, Ok(wanted));
        assert_eq!(against(b"SSH-2.0-OpenSSH_9.2\r\n").await, Err(Silence::NotHttp));
        assert_eq!(against(b"").await, Err(Silence::BrokeOff));
        let cut = against(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").await.unwrap();
        assert_eq!((cut.status, cut.body.len()), (200, 0));
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert_eq!(Network.get(closed, "a.example", "/x").await, Err(Silence::Closed));
        assert_eq!(Network.get_by_tls(closed, "a.example", "/x").await, Err(Silence::Closed));
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_vouches_for_keeps_nobody_from_an_answer() {
        let key = rcgen::KeyPair::generate().unwrap();
        let made = rcgen::CertificateParams::new(vec![String::from("b.example")]).unwrap().self_signed(&key).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.der().clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
            assert_eq!(stream.get_ref().1.server_name(), Some("a.example"));
            let mut buffer = [0; 1_024];
            let length = stream.read(&mut buffer).await.unwrap();
            assert!(buffer[..length].starts_with(b"GET /x HTTP/1.1\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let said = tokio::join!(Network.get_by_tls(address, "a.example", "/x"), serve).0.unwrap();
        assert_eq!((said.status, said.body), (200, b"abc".to_vec()));
        // What speaks no TLS is no answer.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let said = tokio::join!(Network.get_by_tls(address, "a.example", "/x"), serve).0;
        assert_eq!(said, Err(Silence::NotHttp));
    }
}
