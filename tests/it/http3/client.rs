//! A client by the crate `h3`, which shares no line with the server; and one that puts any bytes on any stream.

use std::{net::SocketAddr, sync::Arc};

use bytes::{Buf as _, Bytes};
use chainhost::base::tasks::Tasks;
use h3::client::SendRequest;
use h3_quinn::OpenStreams;
use hyper::{HeaderMap, Request, StatusCode, http::request::Builder};
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig, VarInt, crypto::rustls::QuicClientConfig};
use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use crate::support::authority::Authority;

/// An answer, whole.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|it| it.to_str().unwrap())
    }
}

/// A connection on which requests are asked.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) connection: Connection,
    pub(super) requests: SendRequest<OpenStreams, Bytes>,
    authority: String,
    tasks: Tasks,
    pub(super) endpoint: Endpoint,
}

/// What is believed, and spoken.
pub(super) fn config(authority: &Authority) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate()).unwrap();
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    // Little is on its way unread, so that who reads no more holds the server's answer back.
    transport.stream_receive_window(VarInt::from_u32(256 * 1024));
    config.transport_config(Arc::new(transport));
    config
}

pub(super) fn endpoint() -> Endpoint {
    Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap()
}

/// A QUIC connection without anything said on it.
pub(super) async fn dial(authority: &Authority, name: &str, port: u16) -> Result<Connection, quinn::ConnectionError> {
    let to = SocketAddr::from(([127, 0, 0, 1], port));
    // An endpoint lives as long as its connections.
    endpoint().connect_with(config(authority), to, name).unwrap().await
}

impl Client {
    pub(super) async fn connect(authority: &Authority, name: &str, port: u16) -> Self {
        Self::try_connect(authority, name, port).await.unwrap()
    }

    pub(super) async fn try_connect(
        authority: &Authority,
        name: &str,
        port: u16,
    ) -> Result<Self, quinn::ConnectionError> {
        let endpoint = endpoint();
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let connection = endpoint.connect_with(config(authority), to, name).unwrap().await?;
        let tasks = Tasks::new();
        let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection.clone())).await.unwrap();
        tasks.spawn(async move { drop(driver.wait_idle().await) });
        Ok(Self { connection, requests, authority: format!("{name}:{port}"), tasks, endpoint })
    }

    /// A request for a path, to be added to.
    pub(super) fn request(&self, method: &str, path: &str) -> Builder {
        Request::builder().method(method).uri(format!("https://{}{path}", self.authority))
    }

    /// Asks, and reads the whole answer.
    pub(super) async fn ask(&self, request: Builder, pieces: &[Bytes]) -> Result<Answer, h3::error::StreamError> {
        let stream = self.requests.clone().send_request(request.body(()).unwrap()).await?;
        let (mut sender, mut receiver) = stream.split();
        let pieces = pieces.to_vec();
        // A server may answer before it has taken all, and then wants no more.
        self.tasks.spawn(async move {
            for piece in pieces {
                if sender.send_data(piece).await.is_err() {
                    return;
                }
            }
            drop(sender.finish().await);
        });
        let (parts, ()) = receiver.recv_response().await?.into_parts();
        let mut body = Vec::new();
        while let Some(mut piece) = receiver.recv_data().await? {
            while piece.has_remaining() {
                body.extend_from_slice(piece.chunk());
                piece.advance(piece.chunk().len());
            }
        }
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.ask(self.request("GET", path), &[]).await.unwrap()
    }
}

/// Certificate and key as a server takes them.
pub(super) fn pair(authority: &Authority, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    use rustls::pki_types::pem::PemObject as _;
    let folder = tempfile::tempdir().unwrap();
    authority.issue(folder.path(), "x", &[name], (2020, 2099));
    let chain = CertificateDer::pem_file_iter(folder.path().join("x.pem")).unwrap().map(Result::unwrap).collect();
    (chain, PrivateKeyDer::from_pem_file(folder.path().join("x.key")).unwrap())
}

/// Fields as QPACK has them without any table.
pub(super) fn section(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut section = vec![0, 0];
    for (name, value) in fields {
        put_length(&mut section, 0x20, 7, name.len());
        section.extend_from_slice(name.as_bytes());
        put_length(&mut section, 0, 127, value.len());
        section.extend_from_slice(value.as_bytes());
    }
    section
}

fn put_length(to: &mut Vec<u8>, first: u8, full: u8, length: usize) {
    let Some(mut rest) = length.checked_sub(usize::from(full)) else {
        to.push(first | u8::try_from(length).unwrap());
        return;
    };
    to.push(first | full);
    while rest >= 128 {
        to.push(0x80 | u8::try_from(rest % 128).unwrap());
        rest /= 128;
    }
    to.push(u8::try_from(rest).unwrap());
}

/// A frame of a kind below 64.
pub(super) fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = 0x8000_0000 | u32::try_from(content.len()).unwrap();
    [&[kind][..], &length.to_be_bytes(), content].concat()
}
