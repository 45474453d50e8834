//! A WebSocket between a visitor and an upstream: bytes both ways, until one of the two ends it, nothing comes for long, or the upstream is
//! taken away. The visitor's end is a connection by HTTP/1.1, or a stream by HTTP/2; the upstream's is a connection.

use std::{
    future::pending,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::{
    Response as Answer, StatusCode,
    body::Incoming,
    header::{CONNECTION, HeaderValue, UPGRADE},
    http::request::Parts,
    upgrade::{self, OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf, copy, split},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{heads, server::Lease};
use crate::{
    base::tasks::Tasks,
    http::{
        connect,
        respond::{self, Response},
        watched::Tunnel,
    },
    serve::open::Open,
};

/// How long a visitor's connection may take to become one, after the answer was handed over.
const SWITCH_WITHIN: Duration = Duration::from_secs(30);
/// How often is told what has gone to the visitor.
const TOLD: Duration = Duration::from_secs(3);
/// How long one way goes on when the other has ended.
const LINGER: Duration = Duration::from_secs(5);

/// When the last byte came either way.
#[derive(Clone)]
struct Pulse {
    begun: Instant,
    last_ms: Arc<AtomicU64>,
}

impl Pulse {
    fn beat(&self) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    /// Resolves when nothing has come for so long.
    async fn stops(&self, idle: Duration) {
        loop {
            let until = self.begun + Duration::from_millis(self.last_ms.load(Ordering::Relaxed)) + idle;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// An end of the tunnel whose bytes are seen.
struct End {
    io: TokioIo<Upgraded>,
    pulse: Pulse,
    /// Where bytes are counted that are written to it.
    sent: Option<Arc<AtomicU64>>,
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.pulse.beat();
        }
        polled
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(context, bytes);
        if let (Poll::Ready(Ok(bytes)), Some(sent)) = (&polled, &self.sent) {
            sent.fetch_add(u64::try_from(*bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Whether a request asks for one, on a connection that can become one.
pub(super) fn can_open(parts: &Parts) -> bool {
    heads::is_websocket(parts) && parts.extensions.get::<OnUpgrade>().is_some()
}

/// The answer that lets a visitor begin, as HTTP/1.1 has it; `None` when nothing like that was asked for, or the upstream switches to
/// something else, or for somebody else.
pub(super) fn open(
    answer: Answer<Incoming>,
    parts: &Parts,
    (lease, open): (Lease, Option<Arc<Open>>),
    tasks: &Tasks,
    idle: Duration,
    drain: Duration,
) -> Option<Response> {
    let visitor = parts.extensions.get::<OnUpgrade>().filter(|_| heads::is_websocket(parts))?.clone();
    let to = answer.headers().get(UPGRADE)?;
    let on_stream = connect::on_stream(parts).cloned();
    // By HTTP/1.1 the visitor sees for himself whether the handshake is his.
    let is_his = on_stream.as_ref().is_none_or(|it| it.is_answered(answer.headers()));
    if !to.as_bytes().eq_ignore_ascii_case(b"websocket") || !is_his {
        return None;
    }
    let mut response = respond::empty(StatusCode::SWITCHING_PROTOCOLS);
    *response.headers_mut() = answer.headers().clone();
    heads::response(response.headers_mut(), "", "");
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    let upstream = upgrade::on(answer);
    let (tunnel, sent) = (Tunnel::default(), Arc::<AtomicU64>::default());
    response.extensions_mut().insert(tunnel.clone());
    let stop = tasks.clone();
    tasks.spawn(async move {
        let left = lease.server.left();
        tokio::select! {
            () = pass(visitor, upstream, Arc::clone(&sent), idle) => {}
            () = tell(&tunnel, &sent) => {}
            () = async {
                left.await;
                sleep(drain).await;
            } => {}
            // Its visitor is let in no longer, or the site has sent as much as it may.
            () = async {
                match &open {
                    Some(open) => open.ends().await,
                    None => pending().await,
                }
            } => {}
            // It has no end of its own that could be waited for.
            () = stop.stopping() => {}
        }
        hand_over(&tunnel, &sent);
        tunnel.end();
        drop((lease, open, on_stream));
    });
    Some(response)
}

/// Tells again and again what has gone to the visitor, for as long as somebody waits for it.
async fn tell(tunnel: &Tunnel, sent: &AtomicU64) {
    loop {
        sleep(TOLD).await;
        hand_over(tunnel, sent);
    }
}

/// Tells what has gone to the visitor since the last time.
fn hand_over(tunnel: &Tunnel, sent: &AtomicU64) {
    let bytes = sent.swap(0, Ordering::Relaxed);
    if bytes > 0 {
        tunnel.sent(bytes);
    }
}

async fn pass(visitor: OnUpgrade, upstream: OnUpgrade, sent: Arc<AtomicU64>, idle: Duration) {
    let Ok(Ok((visitor, upstream))) = timeout(SWITCH_WITHIN, async { tokio::try_join!(visitor, upstream) }).await
    else {
        return;
    };
    let pulse = Pulse { begun: Instant::now(), last_ms: Arc::default() };
    let (from_visitor, to_visitor) = split(End { io: TokioIo::new(visitor), pulse: pulse.clone(), sent: Some(sent) });
    let (from_upstream, to_upstream) = split(End { io: TokioIo::new(upstream), pulse: pulse.clone(), sent: None });
    let mut there = pin!(one_way(from_visitor, to_upstream));
    let mut back = pin!(one_way(from_upstream, to_visitor));
    tokio::select! {
        // A WebSocket has no use for half a connection: what is on its way arrives, and that is all.
        () = &mut there => drop(timeout(LINGER, back).await),
        () = &mut back => drop(timeout(LINGER, there).await),
        () = pulse.stops(idle) => {}
    }
}

/// Hands on bytes to their end. How that comes is nothing that anybody here can mend.
async fn one_way(mut from: ReadHalf<End>, mut to: WriteHalf<End>) {
    drop(copy(&mut from, &mut to).await);
    drop(to.shutdown().await);
}
