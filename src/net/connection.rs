//! Accepts connections and runs HTTP/1.1 and HTTP/2 (as TLS agrees, or with prior knowledge) on each, within its limits.
//!
//! Whatever a client does, it costs no more than a seat, some buffers and its time limits. On the sign to stop
//! nothing new is accepted, requests under way end, and what takes longer than the grace time is cut off.

mod answering;
mod drive;
mod turns;

use std::{
    cell::Cell,
    convert::Infallible,
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use hyper::{Request, body::Incoming, header::HeaderValue, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{self, Instant},
};

use self::{answering::Answering, turns::Turns};
use super::{
    activity::{Activity, Watched},
    arriving::Arriving,
    corked::Corked,
    direct::{Begun, Direct},
    executor::Executor,
    framing::{Framing, OF_PREFACE},
    listen, proxy_header,
    seats::{Seat, Seats},
    stream::Stream,
    tls::{Agreed, Certificates, Tls},
};
use crate::{
    base::{limits, network::Network, tasks::Tasks},
    http::{
        connect::{self, Asks},
        peer::{Peer, Told},
        respond::Response,
    },
};

/// Streams that a client opened and reset before we took them up (CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 32;
/// Streams that we had to reset for a client's errors (CVE-2025-8671).
const RESETS_LOCAL_MAX: usize = 256;
/// How long to wait when no connection can be accepted: the descriptors are used up, and some will come free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long a shutdown waits for the first request of a connection that has just been made: a client that is on a busy
/// machine or far away has not sent it yet.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(2);

/// How long a shutdown waits for those who had begun to connect: a long way there and back.
const HANDSHAKE: Duration = Duration::from_millis(150);
/// How often it looks for them.
const LAST_LOOKS: Duration = Duration::from_millis(10);

/// For who speaks HTTP where TLS is spoken.
const IN_CLEAR: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: 64\r\n\r\n\
This port speaks HTTPS. Write https:// in front of the address.\n";

/// Bytes that are read of who is told that, before the connection is closed.
const UNREAD_MAX: usize = 64 * 1024;

/// The limits of a server's connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections in all; more wait to be accepted.
    pub connections: usize,
    /// Open connections of one client address, this machine excepted; more are closed at once.
    pub connections_each: usize,
    /// Time for the head of a request: of the first one from the accept on.
    pub head: Duration,
    /// Time without a byte and without a request.
    pub idle: Duration,
    /// Time for requests under way after the sign to stop.
    pub grace: Duration,
    /// Bytes of all headers of a request.
    pub head_bytes: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: connections(),
            connections_each: limits::CONNECTIONS_PER_ADDRESS_MAX,
            head: Duration::from_millis(limits::HEADER_READ_MS_MAX),
            idle: Duration::from_millis(limits::IDLE_MS_MAX),
            grace: Duration::from_millis(limits::SHUTDOWN_GRACE_MS),
            head_bytes: limits::HEADER_BYTES_MAX,
            streams: limits::STREAMS_MAX,
        }
    }
}

/// As many connections as there may be, and no more than leave a quarter of the descriptors to files and databases.
fn connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.and_then(|it| usize::try_from(it).ok());
    descriptors.map_or(limits::CONNECTIONS_MAX, |it| limits::CONNECTIONS_MAX.min(it / 4 * 3))
}

/// Accepts on `listener` until the sign to stop, and answers every request by `handler`. Connections that are open
/// then end as tasks of `tasks`, within the grace time. Several listeners share limits only when told so by
/// [`Server`].
pub async fn serve<H, A>(listener: TcpListener, handler: H, tasks: Tasks, limits: Limits)
where
    H: Fn(Request<Arriving>, Peer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    Server::new(tasks, limits).run(listener, handler).await;
}

/// Another way to the same server, for as long as there is one.
#[derive(Clone, Debug)]
pub struct Elsewhere {
    told: HeaderValue,
    has_ended: Arc<AtomicBool>,
}

impl Elsewhere {
    /// With what clients are told of it (RFC 7838), until `has_ended` says that they are to forget it.
    pub const fn new(told: HeaderValue, has_ended: Arc<AtomicBool>) -> Self {
        Self { told, has_ended }
    }

    fn told(&self) -> HeaderValue {
        if self.has_ended.load(Ordering::Relaxed) { HeaderValue::from_static("clear") } else { self.told.clone() }
    }
}

/// The connections of any number of listeners, counted together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Server {
    tasks: Tasks,
    limits: Limits,
    seats: Seats,
    http: Arc<Versions>,
    /// Only proxies connect, and say for whom.
    has_headers: bool,
    /// Ends TLS.
    tls: Option<Tls>,
    /// What every answer tells of.
    elsewhere: Option<Elsewhere>,
    has_warned: Arc<AtomicBool>,
}

/// How connections are served, by what they begin with.
#[derive(Debug)]
struct Versions {
    one: http1::Builder,
    two: auto::Builder<Executor>,
    /// Finds out by itself, at the price of a buffer twice as large for the life of the connection.
    either: auto::Builder<Executor>,
}

/// How one connection is served.
enum Version<'a> {
    /// By HTTP/1, which may switch to another protocol.
    One(&'a http1::Builder),
    /// By HTTP/2, or by what it turns out to speak.
    Other(&'a auto::Builder<Executor>),
}

impl Versions {
    /// For a connection that begins with these bytes, four at most; and what watches over what comes.
    fn of(&self, start: &[u8]) -> (Version<'_>, Option<Framing>) {
        if start == OF_PREFACE {
            (Version::Other(&self.two), None)
        } else if OF_PREFACE.starts_with(start) {
            (Version::Other(&self.either), Some(Framing::new()))
        } else {
            (Version::One(&self.one), Some(Framing::new()))
        }
    }
}

impl Server {
    /// Without a listener yet.
    pub fn new(tasks: Tasks, limits: Limits) -> Self {
        let mut http = auto::Builder::new(Executor::new(tasks.clone()));
        http.http1()
            .timer(TokioTimer::new())
            // The time for a head is watched from the accept on, and apart from idleness: see `activity`.
            .header_read_timeout(None)
            .max_buf_size(limits.head_bytes.max(8 * 1024));
        http.http2()
            .timer(TokioTimer::new())
            // WebSockets, which come by a stream each (RFC 8441).
            .enable_connect_protocol()
            .max_concurrent_streams(limits.streams)
            .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
            .max_local_error_reset_streams(RESETS_LOCAL_MAX)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(256 * 1024);
        let seats = Seats::new(limits.connections, limits.connections_each);
        let mut one = http1::Builder::new();
        one.timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(limits.head_bytes.max(8 * 1024));
        let versions = Versions { one, two: http.clone().http2_only(), either: http };
        Self {
            tasks,
            limits,
            seats,
            http: Arc::new(versions),
            has_headers: false,
            tls: None,
            elsewhere: None,
            has_warned: Arc::default(),
        }
    }

    /// With proxies, for which the limit on the connections of one address does not hold.
    #[must_use]
    pub fn with_proxies(mut self, proxies: &[Network]) -> Self {
        self.seats = self.seats.with_proxies(proxies);
        self
    }

    /// With the addresses of this machine, for which it does not hold either.
    #[must_use]
    pub fn with_own(mut self, own: &[std::net::IpAddr]) -> Self {
        self.seats = self.seats.with_own(own);
        self
    }

    /// For listeners to which only those proxies connect, and say with the PROXY protocol for whom. The limits are shared.
    #[must_use]
    pub fn for_proxies(self) -> Self {
        Self { has_headers: true, ..self }
    }

    /// For listeners to which clients speak TLS. The limits are shared.
    ///
    /// Errors: those of a provider of ciphers that does not work on this machine.
    pub fn with_tls(self, certificates: &Certificates) -> Result<Self, rustls::Error> {
        Ok(Self { tls: Some(Tls::new(certificates)?), ..self })
    }

    /// Tells clients with each answer where else they are served (RFC 7838), unless the answer says so itself or a trusted proxy asks.
    #[must_use]
    pub fn with_elsewhere(self, elsewhere: Option<Elsewhere>) -> Self {
        Self { elsewhere, ..self }
    }

    /// What a server by another protocol shares with this one.
    #[cfg(feature = "h3")]
    pub(super) fn shared(&self) -> (Tasks, Limits, Seats) {
        (self.tasks.clone(), self.limits, self.seats.clone())
    }

    /// Accepts on `listener` until the sign to stop, and answers every request by `handler`.
    pub async fn run<H, A>(&self, listener: TcpListener, handler: H)
    where
        H: Fn(Request<Arriving>, Peer) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.tasks.stopping() => break,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok(Some((stream, seat, peer))) => {
                    self.tasks.spawn(self.clone().attend(stream, seat, peer, handler.clone()));
                }
                // One address has its share.
                Ok(None) => {}
                Err(error) => self.pause(&error).await,
            }
        }
        // Closing the port would cut off who has connected and is not accepted yet, with their requests unread: first nobody
        // may connect any more, then all are taken in.
        match listen::turn_away(&listener) {
            Ok(()) => {}
            // Some systems let only root do that, and nobody can mend it here.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::debug!(%error, "who connects in the instant in which the port is closed is cut off");
            }
            Err(error) => {
                tracing::warn!(%error, "who connects in the instant in which the port is closed is cut off");
            }
        }
        if let Err(error) = self.take_last(listener, handler).await {
            tracing::warn!(%error, "who was waiting to be accepted is cut off");
        }
    }

    /// Takes in who has begun to connect before the port was closed to others, until all of them can be here.
    async fn take_last<H, A>(&self, listener: TcpListener, handler: H) -> io::Result<()>
    where
        H: Fn(Request<Arriving>, Peer) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        // The runtime may not know yet that somebody waits; the system does.
        let listener = listener.into_std()?;
        let end = Instant::now() + HANDSHAKE;
        loop {
            self.take_waiting(&listener, &handler)?;
            if Instant::now() >= end {
                return Ok(());
            }
            time::sleep(LAST_LOOKS).await;
        }
    }

    /// Takes in who waits in the system's queue.
    fn take_waiting<H, A>(&self, listener: &std::net::TcpListener, handler: &H) -> io::Result<()>
    where
        H: Fn(Request<Arriving>, Peer) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        while let Some(free) = self.seats.free_now() {
            let (stream, address) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let peer = Peer::new(address);
            stream.set_nonblocking(true)?;
            let stream = TcpStream::from_std(stream)?;
            if let Some(seat) = self.seats.take(free, peer.address.ip()) {
                self.tasks.spawn(self.clone().attend(stream, seat, peer, handler.clone()));
            }
        }
        Ok(())
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<Option<(TcpStream, Seat, Peer)>> {
        // First the seat: when all are taken, clients wait in the system's queue.
        let Some(free) = self.seats.free().await else { return Ok(None) };
        let (stream, address) = listener.accept().await?;
        let peer = Peer::new(address);
        Ok(self.seats.take(free, peer.address.ip()).map(|seat| (stream, seat, peer)))
    }

    async fn pause(&self, error: &io::Error) {
        // These say that the client went away again; the next one may be waiting.
        if matches!(
            error.kind(),
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
        ) {
            return;
        }
        tracing::warn!(%error, "no connection could be accepted");
        tokio::select! {
            () = self.tasks.stopping() => {}
            () = time::sleep(ACCEPT_PAUSE) => {}
        }
    }

    /// One connection from its accept to its end.
    async fn attend<H, A>(self, mut stream: TcpStream, mut seat: Seat, mut peer: Peer, handler: H)
    where
        H: Fn(Request<Arriving>, Peer) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let activity = Arc::new(Activity::new());
        if self.has_headers {
            let Some(named) = self.named(&mut stream, &mut seat, peer, &activity).await else { return };
            peer = named;
        }
        let Some((stream, http, framing)) = self.take_in(stream, &mut peer, &activity).await else { return };
        let stream = Watched::new(stream, Arc::clone(&activity), framing).holding(seat);
        let answer = {
            // A proxy would pass it on to clients, to whom it does not speak by UDP.
            let elsewhere = self.elsewhere.clone().filter(|_| !self.seats.is_proxy(peer.address.ip()));
            let activity = Arc::clone(&activity);
            move |request, asks| Answering {
                asks,
                working: Some(activity.begin()),
                // Boxed, so that what passes it on moves a pointer and not all that answering needs.
                answer: Box::pin(handler(request, peer)),
                activity: Arc::clone(&activity),
                elsewhere: elsewhere.clone(),
            }
        };
        match http {
            Version::One(one) => {
                let answer = move |request| answer(request, Asks::Answer);
                self.by_one(one, stream, answer, &activity).await;
            }
            Version::Other(http) => {
                let (seats, working) = (&self.seats, Arc::clone(&activity));
                let service = service_fn(move |mut request: Request<Incoming>| {
                    // A WebSocket on a stream counts as the connection that it is by HTTP/1.1, and that of the stream is not idle
                    // while it lasts: how long that may be is its route's to say.
                    let seat = || seats.free_now().and_then(|it| seats.take(it, peer.address.ip()));
                    let asks = connect::take(&mut request, || Some((seat()?, working.begin())));
                    let answer = answer(request.map(Arriving::Incoming), asks);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let stream = Corked::new(stream);
                let connection = http.serve_connection(TokioIo::new(stream.again()), service);
                let mut connection = Turns::new(connection, stream, self.tasks.clone());
                self.watch(Pin::new(&mut connection), &activity, &mut None).await;
            }
        }
    }

    /// Serves HTTP/1: the short way for as long as that can be, and from then on as hyper does.
    async fn by_one<F, A>(&self, one: &http1::Builder, stream: Watched<Stream>, answer: F, activity: &Activity)
    where
        F: Fn(Request<Arriving>) -> A + Send + Sync + 'static,
        A: Future<Output = Response> + Send + Unpin + 'static,
    {
        let mut direct = Direct::new(stream, &answer);
        // One time for both, from the sign to stop on.
        let mut until = None;
        self.watch(Pin::new(&mut direct), activity, &mut until).await;
        let Some(rest) = direct.rest() else { return };
        let begun = Cell::new(rest.begun);
        let service = service_fn(move |request: Request<Incoming>| {
            // Of the first one that it reads the answer may have begun.
            let begun = begun.take().unwrap_or_else(|| Begun::Answering(answer(request.map(Arriving::Incoming))));
            async move {
                Ok::<_, Infallible>(match begun {
                    Begun::Answering(answer) => answer.await,
                    Begun::Answered(response) => response,
                })
            }
        });
        // Elsewhere: most idle connections are the other ones, which need not have room for this.
        let mut connection = Box::pin(one.serve_connection(TokioIo::new(rest.stream), service).with_upgrades());
        // What has come is read before a shutdown could close the connection.
        let is_over = poll_fn(|context| Poll::Ready(connection.as_mut().poll(context).is_ready())).await;
        if !is_over {
            self.watch(connection.as_mut(), activity, &mut until).await;
        }
    }

    /// Ends TLS where clients speak it, and finds out how the connection is to be served. `None` when it is not to be.
    async fn take_in(
        &self,
        stream: TcpStream,
        peer: &mut Peer,
        activity: &Activity,
    ) -> Option<(Stream, Version<'_>, Option<Framing>)> {
        if let Some(tls) = &self.tls {
            // Elsewhere, since what a handshake needs would have its place in each connection for as long as that lives.
            let (stream, agreed) = Box::pin(self.end_tls(tls, stream, peer, activity)).await?;
            let (http, framing) = match agreed {
                Agreed::One => (Version::One(&self.http.one), Some(Framing::new())),
                Agreed::Two => (Version::Other(&self.http.two), None),
            };
            return Some((stream, http, framing));
        }
        let (http, framing) = self.version(&stream, activity).await?;
        Some((Stream::Clear(stream), http, framing))
    }

    /// Does the handshake, or tells who speaks in clear.
    async fn end_tls(
        &self,
        tls: &Tls,
        mut stream: TcpStream,
        peer: &mut Peer,
        activity: &Activity,
    ) -> Option<(Stream, Agreed)> {
        let mut start = [0];
        self.first(activity, stream.peek(&mut start)).await?.ok().filter(|it| *it > 0)?;
        if start.first().is_some_and(u8::is_ascii_uppercase) {
            // No handshake begins with a letter: a request for the port in clear.
            self.first(activity, tell(&mut stream, IN_CLEAR)).await;
            return None;
        }
        match self.first(activity, tls.accept(stream)).await? {
            Ok((stream, agreed)) => {
                peer.ends_tls = true;
                if agreed == Agreed::Two {
                    activity.speaks_two();
                }
                Some((Stream::Tls(Box::new(stream)), agreed))
            }
            Err(error) => {
                tracing::debug!(address = %peer.address, %error, "a TLS handshake failed");
                None
            }
        }
    }

    /// How a connection is to be served, by its first bytes, which stay to be read. `None` when it ends before them,
    /// or its time or ours does.
    async fn version(&self, stream: &TcpStream, activity: &Activity) -> Option<(Version<'_>, Option<Framing>)> {
        let mut start = [0; OF_PREFACE.len()];
        let read = self.first(activity, stream.peek(&mut start)).await?.ok()?;
        let start = start.get(..read).filter(|it| !it.is_empty())?;
        let (version, framing) = self.http.of(start);
        if framing.is_none() {
            activity.speaks_two();
        }
        Some((version, framing))
    }

    /// What is read of a connection before its requests. `None` when its time or ours ends before.
    async fn first<R>(&self, activity: &Activity, read: impl Future<Output = R>) -> Option<R> {
        let deadline = activity.deadline(self.limits.head, self.limits.idle);
        // The first request of who has connected before the sign to stop may be on its way: see `first_asked`.
        let late = async {
            self.tasks.stopping().await;
            time::sleep(FIRST_REQUEST.min(self.limits.grace)).await;
        };
        tokio::select! {
            () = late => None,
            read = time::timeout_at(deadline, read) => read.ok(),
        }
    }

    /// Says why nobody is served here: aloud once, since the reason is a wrong setting or somebody who tries his luck.
    fn refuse(&self, address: SocketAddr, why: &str) -> Option<Peer> {
        if self.has_warned.swap(true, Ordering::Relaxed) {
            tracing::debug!(%address, why, "closed a connection to a port for proxies");
        } else {
            tracing::warn!(%address, why, "closed a connection to a port for proxies; further ones are logged as `debug`");
        }
        None
    }

    /// For whom a proxy has connected. `None`: the connection is not to be served.
    async fn named(&self, stream: &mut TcpStream, seat: &mut Seat, proxy: Peer, activity: &Activity) -> Option<Peer> {
        let address = proxy.address;
        if !self.seats.is_proxy(address.ip()) {
            return self.refuse(address, "`trusted_proxies` does not name this address");
        }
        let said = match self.first(activity, proxy_header::read(stream)).await? {
            Ok(said) => said,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return self.refuse(address, "it began without a header of the PROXY protocol");
            }
            Err(_) => return None,
        };
        let client = said.client.unwrap_or(address);
        // Who has its share is closed at once, as without a proxy.
        seat.pass_to(client.ip()).then(|| Peer::told_by_proxy(client, Told { tls: said.tls }))
    }
}

/// Sends a few bytes and waits until they are there: a connection that is closed with bytes unread is reset, and with it goes what was
/// sent.
async fn tell(stream: &mut TcpStream, text: &[u8]) -> io::Result<()> {
    stream.write_all(text).await?;
    stream.shutdown().await?;
    let (mut unread, mut left) = ([0; 1_024], UNREAD_MAX);
    while left > 0 {
        match stream.read(&mut unread).await? {
            0 => break,
            read => left = left.saturating_sub(read),
        }
    }
    Ok(())
}
