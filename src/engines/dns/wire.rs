//! One question to one server: a datagram, and a stream where the answer does not fit into one.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::op::Message;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::message::{self, Question};
use crate::domain::dns::{Answer, Failure, Kind};

/// How long one server is waited for before the next is asked: most answer within a tenth of that.
const TRY: Duration = Duration::from_secs(2);
/// Bytes of a datagram that are taken in: more than was asked for.
const DATAGRAM_BYTES_MAX: usize = 4_096;

/// A question to one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    /// Lower-case, without a dot at its end.
    pub(super) name: &'a str,
    pub(super) kind: Kind,
    /// Whether the server is to ask others.
    pub(super) recurse: bool,
    /// Whether it is to leave signatures unchecked.
    pub(super) unvalidated: bool,
}

/// Asks a server.
pub(super) async fn ask(server: SocketAddr, ask: Ask<'_>) -> Result<Answer, Failure> {
    match once(server, ask, true).await {
        // Some old ones do not know EDNS.
        Err(Failure::Malformed) => once(server, ask, false).await,
        other => other,
    }
}

async fn once(server: SocketAddr, ask: Ask<'_>, extended: bool) -> Result<Answer, Failure> {
    let question = Question::new(ask, extended)?;
    let sent = timeout(TRY, by_datagram(server, &question)).await.unwrap_or(Err(Failure::Silent))?;
    let message = if sent.metadata.truncation {
        timeout(TRY, by_stream(server, &question)).await.unwrap_or(Err(Failure::Silent))?
    } else {
        sent
    };
    message::answer(&message, ask)
}

async fn by_datagram(server: SocketAddr, question: &Question) -> Result<Message, Failure> {
    let own: SocketAddr =
        if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(own).await.map_err(|it| failure(&it))?;
    // The system drops what comes from anybody else.
    socket.connect(server).await.map_err(|it| failure(&it))?;
    socket.send(&question.bytes).await.map_err(|it| failure(&it))?;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|it| failure(&it))?;
        if let Some(message) = question.read(buffer.get(..length).unwrap_or_default()) {
            return Ok(message);
        }
    }
}

async fn by_stream(server: SocketAddr, question: &Question) -> Result<Message, Failure> {
    let exchange = async {
        let mut stream = TcpStream::connect(server).await?;
        let length = u16::try_from(question.bytes.len()).map_err(io::Error::other)?;
        let mut sent = length.to_be_bytes().to_vec();
        sent.extend_from_slice(&question.bytes);
        stream.write_all(&sent).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await?;
        io::Result::Ok(answer)
    };
    let answer = exchange.await.map_err(|it| failure(&it))?;
    question.read(&answer).ok_or(Failure::Malformed)
}

/// Nobody is there, or it broke off.
fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Failure::Silent,
        _ => Failure::Unreachable,
    }
}
