//! Connections to the one server of a command, kept and used again.
//!
//! `localhost` and names below it are loopback here, since the C library resolves only the first (DECISIONS 17). No
//! proxy is ever asked.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};

use super::body::Payload;
use crate::{base::tasks::Tasks, config::client::ServerUrl};

/// How long one address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// The door to one server.
pub(super) struct Connections {
    server: ServerUrl,
    tasks: Tasks,
    idle: Mutex<Vec<SendRequest<Payload>>>,
}

impl Connections {
    /// None open yet.
    pub(super) const fn new(server: ServerUrl, tasks: Tasks) -> Self {
        Self { server, tasks, idle: Mutex::new(Vec::new()) }
    }

    /// A connection that can take a request: one that is open, or a new one.
    pub(super) async fn take(&self) -> io::Result<SendRequest<Payload>> {
        while let Some(mut kept) = self.pop() {
            // Fails at once when the server has closed it meanwhile.
            if !kept.is_closed() && kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let stream = self.connect().await?;
        // Requests end in small pieces; waiting for more to send would only delay them.
        stream.set_nodelay(true)?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        self.tasks.spawn(async move {
            // Whoever waits for an answer on it gets the error.
            drop(connection.await);
        });
        Ok(requests)
    }

    /// Keeps a connection whose answer was read to its end.
    pub(super) fn give_back(&self, connection: SendRequest<Payload>) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
    }

    fn pop(&self) -> Option<SendRequest<Payload>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.addresses().await? {
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, "it does not answer"),
            }
        }
        Err(last)
    }

    async fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = (self.server.host(), self.server.port());
        if self.server.is_localhost_name() {
            let both = [IpAddr::from(Ipv6Addr::LOCALHOST), IpAddr::from(Ipv4Addr::LOCALHOST)];
            return Ok(both.map(|it| SocketAddr::new(it, port)).to_vec());
        }
        match host.parse::<IpAddr>() {
            Ok(address) => Ok(vec![SocketAddr::new(address, port)]),
            Err(_) => Ok(lookup_host((host, port)).await?.collect()),
        }
    }
}
