//! Connections of commands to servers: to one of the addresses of a name, in clear or by TLS.
//!
//! `localhost` and names below it are loopback here, since the C library resolves only the first (DECISIONS 17). No
//! proxy is ever asked.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::tls::Tls;
use crate::config::client::is_localhost_name;

/// How long one address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// What bytes go through.
pub(super) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An open connection.
pub(super) type Stream = Box<dyn Io>;

/// Why there is none. Nothing was sent in all these cases.
#[derive(Debug)]
pub(super) enum Undone {
    /// Nobody has taken it.
    Away(io::Error),
    /// It was taken and came to no TLS; a sentence. Trying again may help.
    Broken(String),
    /// Whoever answers is not to be spoken to; a sentence.
    Refused(String),
}

impl From<io::Error> for Undone {
    fn from(error: io::Error) -> Self {
        Self::Away(error)
    }
}

/// Connects to a host, without brackets, by TLS if that is given.
pub(super) async fn dial(host: &str, port: u16, tls: Option<&Tls>) -> Result<Stream, Undone> {
    let stream = connect(host, port).await?;
    // Requests end in small pieces; waiting for more to send would only delay them.
    stream.set_nodelay(true)?;
    match tls {
        None => Ok(Box::new(stream)),
        Some(tls) => Ok(Box::new(tls.begin(stream).await?)),
    }
}

async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses(host, port).await? {
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "it does not answer"),
        }
    }
    Err(last)
}

async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    if is_localhost_name(host) {
        let both = [IpAddr::from(Ipv6Addr::LOCALHOST), IpAddr::from(Ipv4Addr::LOCALHOST)];
        return Ok(both.map(|it| SocketAddr::new(it, port)).to_vec());
    }
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
        Err(_) => Ok(lookup_host((host, port)).await?.collect()),
    }
}
