//! HTTP/3: requests over QUIC, whose packets, streams and handshakes are quinn's. What is between these and a request is here, and small:
//! frames, field sections without a dynamic table, the control streams.
//!
//! The crate `h3` is not used, since it collects whatever a client announces, lets pass what has two readings (a pseudo-header said
//! twice, say), keeps a note of each stream that ended before its head, and copies every body. The tests speak by it.
//!
//! Guarantees what `net::connection` does for the other versions: the same seats, heads, times and grace, and the same handler. A connection is
//! counted from its first packet on. Who has not shown yet that he is where he says is asked to once many are at it, without
//! anything being kept of him (RFC 9000, 8.1.2).

mod body;
mod connection;
mod frames;
mod head;
mod qpack;
mod request;

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::Request;
use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig,
    crypto::rustls::QuicServerConfig,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{self, Instant},
};
use tokio_util::task::TaskTracker;

pub use self::body::Body;
use self::connection::Line;
use super::{
    connection::{FIRST_REQUEST, Limits, Server as Beside},
    seats::Seats,
    tls::{Certificates, ForQuic},
};
use crate::{
    base::{clock::Clock, tasks::Tasks},
    http::{peer::Peer, respond::Response},
};

/// Handshakes at once of clients that have not shown where they are; those who come then are asked to. Less than one address may have
/// seats: who writes another's address on his packets keeps nobody out.
const UNPROVEN_MAX: usize = 64;
/// Bytes of the system's queues in front of a socket, if it lets us have so many: what comes in while a core is busy.
const SOCKET_BYTES: usize = 4 << 20;
/// Bytes of a stream that have come and nobody has taken, as for HTTP/2.
const STREAM_RECEIVED_MAX: u32 = 1 << 20;
/// Bytes of all streams of a connection: some times as many, since one body that waits for its turn would hold all others back.
const RECEIVED_MAX: u32 = 4 * STREAM_RECEIVED_MAX;
/// Bytes of a connection that were sent and have not arrived: a tenth of a second of 160 Mbit/s.
const UNDER_WAY_MAX: u64 = 2 << 20;
/// Streams of one direction: three that mean something, and some that browsers open so that others take them.
const ONE_WAY_STREAMS: u32 = 8;
/// Clients whose first packets wait to be looked at, and bytes of these: we look at once.
const INCOMING_MAX: usize = 1_024;
const INCOMING_BYTES_EACH: u64 = 64 * 1024;
const INCOMING_BYTES_MAX: u64 = 8 << 20;
/// How long the sign that a connection has ended may be on its way before the socket is closed.
const LAST_SIGN: Duration = Duration::from_millis(200);

/// Opens the socket beside a listener at `address`, which has IPv6 alone if `v6_only`.
pub fn bind(address: SocketAddr, v6_only: bool) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(v6_only)?;
    }
    // Without SO_REUSEADDR: of UDP two programs would have the same port with it, and each some of the packets.
    socket.bind(&SockAddr::from(address))?;
    socket.set_nonblocking(true)?;
    // The system gives what it allows (`net.core.rmem_max`), and less is slower in a rush, not wrong.
    drop((socket.set_recv_buffer_size(SOCKET_BYTES), socket.set_send_buffer_size(SOCKET_BYTES)));
    Ok(socket.into())
}

/// The connections of any number of sockets, which are counted with those of another server. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    tasks: Tasks,
    limits: Limits,
    seats: Seats,
    config: ServerConfig,
    certificates: ForQuic,
    clock: Clock,
    /// Handshakes under way.
    unproven: Arc<AtomicUsize>,
}

/// A handshake under way, which is counted until this is dropped.
struct Unproven(Arc<AtomicUsize>);

impl Unproven {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Unproven {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Server {
    /// Beside a server for the other versions, with its limits.
    ///
    /// Errors: those of a provider of ciphers that does not work on this machine.
    pub fn beside(server: &Beside, certificates: &Certificates) -> Result<Self, rustls::Error> {
        let (tasks, limits, seats) = server.shared();
        let certificates = ForQuic::new(certificates)?;
        let mut config = ServerConfig::with_crypto(crypto(certificates.anywhere())?);
        config
            .transport_config(Arc::new(transport(&limits)))
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES_EACH)
            .incoming_buffer_size_total(INCOMING_BYTES_MAX);
        Ok(Self { tasks, limits, seats, config, certificates, clock: Clock::system(), unproven: Arc::default() })
    }

    /// Answers what comes to `socket` by `handler` until the sign to stop, and lets requests end that are under way then.
    ///
    /// Errors: the system's, for a socket that it does not take, or that has failed.
    pub async fn run<H, A>(&self, socket: UdpSocket, handler: H) -> io::Result<()>
    where
        H: Fn(Request<Body>, Peer) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let (config, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
        let endpoint = Endpoint::new(config, Some(self.config.clone()), socket, runtime)?;
        let connections = TaskTracker::new();
        loop {
            tokio::select! {
                biased;
                () = self.tasks.stopping() => break,
                incoming = endpoint.accept() => match incoming {
                    Some(incoming) => self.take(incoming, &handler, &connections),
                    None => return Err(io::Error::other("the socket has failed")),
                }
            }
        }
        connections.close();
        loop {
            tokio::select! {
                () = connections.wait() => break,
                incoming = endpoint.accept() => match incoming {
                    // Its client asks again by another version, or another server.
                    Some(incoming) => incoming.refuse(),
                    None => return Ok(()),
                }
            }
        }
        // The last packets are quinn's to send.
        drop(time::timeout(LAST_SIGN, endpoint.wait_idle()).await);
        Ok(())
    }

    /// How a handshake is done at an address of ours, where that matters.
    fn config_at(&self, here: Option<IpAddr>) -> Option<Arc<ServerConfig>> {
        let crypto = crypto(self.certificates.at(here?)?).ok()?;
        let mut config = self.config.clone();
        config.crypto = crypto;
        Some(Arc::new(config))
    }

    /// Takes a client in, if there is a seat for it.
    fn take<H, A>(&self, incoming: Incoming, handler: &H, connections: &TaskTracker)
    where
        H: Fn(Request<Body>, Peer) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let is_proven = incoming.remote_address_validated();
        if !is_proven && incoming.may_retry() && self.unproven.load(Ordering::Relaxed) >= UNPROVEN_MAX {
            // One that cannot be asked is one less.
            return drop(incoming.retry());
        }
        // Once and for all: later packets may come from any address, and nobody has shown yet that he is there when a request is read.
        let peer = Peer { ends_tls: true, ..Peer::new(incoming.remote_address()) };
        let seat = |free: OwnedSemaphorePermit| self.seats.take(free, peer.address.ip());
        let Some(seat) = self.seats.free_now().and_then(seat) else { return incoming.refuse() };
        let unproven = Unproven::new(&self.unproven);
        // Elsewhere, since what a handshake needs would have its place in each connection for as long as that lives.
        let config = self.config_at(incoming.local_ip());
        let shaken = Box::pin(shake(incoming, config, self.tasks.clone(), self.limits));
        let (shared, clock) = ((self.tasks.clone(), self.limits), self.clock.clone());
        let (handler, under_way) = (handler.clone(), connections.token());
        self.tasks.spawn(async move {
            let connection = shaken.await;
            drop(unproven);
            if let Some(connection) = connection {
                Line::new((connection, peer), handler, shared, clock).attend().await;
            } else {
                tracing::debug!(address = %peer.address, "a handshake of HTTP/3 did not end well");
            }
            drop((seat, under_way));
        });
    }
}

/// What quinn needs of TLS.
fn crypto(config: rustls::ServerConfig) -> Result<Arc<QuicServerConfig>, rustls::Error> {
    QuicServerConfig::try_from(config).map(Arc::new).map_err(|error| rustls::Error::General(error.to_string()))
}

/// Does a handshake in its time.
async fn shake(
    incoming: Incoming,
    config: Option<Arc<ServerConfig>>,
    tasks: Tasks,
    limits: Limits,
) -> Option<quinn::Connection> {
    let connecting = match config {
        Some(config) => incoming.accept_with(config),
        None => incoming.accept(),
    };
    let connecting = connecting.ok()?;
    let deadline = Instant::now() + limits.head;
    tokio::select! {
        () = too_late(&tasks, &limits) => None,
        done = time::timeout_at(deadline, connecting) => done.ok()?.ok(),
    }
}

/// Waits for the sign to stop, and then as long as the first request of who has come before it may be on its way.
async fn too_late(tasks: &Tasks, limits: &Limits) {
    tasks.stopping().await;
    time::sleep(FIRST_REQUEST.min(limits.grace)).await;
}

/// What quinn keeps of a connection, and for how long.
fn transport(limits: &Limits) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(limits.streams.into())
        .max_concurrent_uni_streams(ONE_WAY_STREAMS.into())
        .max_idle_timeout(IdleTimeout::try_from(limits.idle).ok())
        // An answer may be quiet for longer while it is worked on. Who is idle is ended by the line itself, and who is gone by the line above.
        .keep_alive_interval(Some(limits.idle / 3))
        .stream_receive_window(STREAM_RECEIVED_MAX.into())
        .receive_window(RECEIVED_MAX.into())
        .send_window(UNDER_WAY_MAX)
        // Nobody asked for datagrams.
        .datagram_receive_buffer_size(None);
    transport
}
