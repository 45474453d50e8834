//! One upstream while it is in use: its standing, what it works on, and its kept connections.
//!
//! It outlives a change of settings as long as the new ones name it; then it is left, and what is under way has a bounded time.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{self, Instant},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    connect::{Stream, Way},
    shared::{Place, Shared},
    shares::{Owner, Share, Shares},
    standing::{May, Standing},
};
use crate::{
    base::{limits, tasks::Tasks},
    domain::site_settings::proxy::{Failing, Health},
    http::respond::Body,
};

/// Exchanges that one upstream works on at once.
const EXCHANGES_MAX: usize = 512;
/// Those of one client: as many as it may have connections, and half of them.
const OF_CLIENT_MAX: usize = EXCHANGES_MAX / 2;
/// Connections that one upstream has open without a request.
const KEPT_MAX: usize = 64;
/// How long they are kept, unless the upstream says that it keeps them for less.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// A request that cannot be sent twice is given no connection that was idle for longer: Node.js closes one after five seconds.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// How long is waited until a kept connection is rid of the answer before.
const READY_WITHIN: Duration = Duration::from_millis(50);
/// Bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Headers of an answer.
const HEADERS_MAX: usize = 128;

/// A connection without a request.
struct Kept {
    sender: SendRequest<Body>,
    until: Instant,
    since: Instant,
}

/// A connection that speaks HTTP/1.1.
pub(super) struct Line {
    pub(super) sender: SendRequest<Body>,
    /// Whether it was used before: it may have been closed meanwhile.
    pub(super) was_kept: bool,
}

/// An upstream in use.
pub(super) struct Server {
    pub(super) way: Way,
    pub(super) name: String,
    /// What stands in `Host` when it is asked for itself.
    pub(super) authority: String,
    pub(super) shared: Arc<Shared>,
    tasks: Tasks,
    exchanges: Arc<Semaphore>,
    clients: Arc<Shares<IpAddr>>,
    active: AtomicUsize,
    standing: Mutex<Standing>,
    kept: Mutex<Vec<Kept>>,
    is_closed: AtomicBool,
    left: CancellationToken,
}

/// A request that a server works on, until it is dropped.
pub(super) struct Lease {
    pub(super) server: Arc<Server>,
    /// It is to show whether the server is back.
    is_trial: bool,
    /// Its places among those of the server and those of all, and its client's share.
    _places: (OwnedSemaphorePermit, Option<Share<IpAddr>>, Place),
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.server.active.fetch_sub(1, Ordering::Relaxed);
        if self.is_trial {
            self.server.standing().give_up_trying();
        }
    }
}

impl Lease {
    /// The server has answered.
    pub(super) fn answered(&mut self) {
        self.is_trial = false;
        if self.server.standing().answered() {
            tracing::info!(upstream = self.server.name, "an upstream answers again");
        }
    }

    /// It has not.
    pub(super) fn failed(&mut self, failing: Failing, why: &str) {
        self.is_trial = false;
        if self.server.standing().failed(failing, Instant::now()) {
            let seconds = failing.for_s;
            tracing::warn!(
                upstream = self.server.name,
                why,
                seconds,
                "an upstream fails and is left alone for a while"
            );
        } else {
            tracing::debug!(upstream = self.server.name, why, "an upstream failed");
        }
    }
}

impl Server {
    pub(super) fn new(way: Way, tasks: Tasks, shared: Arc<Shared>) -> Self {
        Self {
            name: way.upstream().to_string(),
            authority: way.upstream().authority(),
            way,
            shared,
            tasks,
            exchanges: Arc::new(Semaphore::new(EXCHANGES_MAX)),
            clients: Shares::new(OF_CLIENT_MAX),
            active: AtomicUsize::new(0),
            standing: Mutex::default(),
            kept: Mutex::default(),
            is_closed: AtomicBool::new(false),
            left: CancellationToken::new(),
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that it works on.
    pub(super) fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// What it may be asked.
    pub(super) fn may(&self) -> May {
        self.standing().may(Instant::now())
    }

    /// Whether it works on as many requests as there may be, also of this owner.
    pub(super) fn is_full(&self, owner: Owner) -> bool {
        self.exchanges.available_permits() == 0
            || owner.client().is_some_and(|it| self.clients.is_out(it))
            || self.shared.is_full(owner)
    }

    /// Gives it a request; `None` when it is full for its owner, or another one got the only place meanwhile.
    pub(super) fn lease(self: &Arc<Self>, may: May, owner: Owner) -> Option<Lease> {
        let place = Arc::clone(&self.exchanges).try_acquire_owned().ok()?;
        let of_client = match owner.client() {
            Some(it) => Some(self.clients.take(it)?),
            None => None,
        };
        let places = (place, of_client, self.shared.exchange(owner)?);
        let is_trial = may == May::Try;
        if is_trial {
            let mut standing = self.standing();
            if standing.may(Instant::now()) != May::Try {
                return None;
            }
            standing.try_it();
        }
        self.active.fetch_add(1, Ordering::Relaxed);
        Some(Lease { server: Arc::clone(self), is_trial, _places: places })
    }

    /// What a look at it says.
    pub(super) fn looked(&self, seen: Result<(), String>, health: &Health) {
        if !self.standing().looked(seen.is_ok(), health) {
            return;
        }
        match seen {
            Ok(()) => tracing::info!(upstream = self.name, "an upstream is well again"),
            Err(why) => tracing::warn!(upstream = self.name, why, "an upstream is not well and gets no requests"),
        }
    }

    /// Nobody looks at it any more.
    pub(super) fn forget_looks(&self) {
        self.standing().forget_looks();
    }

    /// A connection: a kept one where there is, else a new one. `can_repeat`: the request may be sent once more when the connection turns
    /// out to be closed.
    pub(super) async fn line(&self, can_repeat: bool, within: Duration) -> Result<Line, String> {
        while let Some(mut kept) = self.take() {
            if !can_repeat && kept.since.elapsed() > FRESH_FOR {
                continue;
            }
            if matches!(time::timeout(READY_WITHIN, kept.sender.ready()).await, Ok(Ok(()))) {
                return Ok(Line { sender: kept.sender, was_kept: true });
            }
        }
        self.new_line(within).await
    }

    fn take(&self) -> Option<Kept> {
        let now = Instant::now();
        let mut kept = self.kept();
        loop {
            // The one that was used last: the others have a chance to be closed.
            let last = kept.pop()?;
            if last.until > now && !last.sender.is_closed() {
                return Some(last);
            }
        }
    }

    /// A new connection.
    pub(super) async fn new_line(&self, within: Duration) -> Result<Line, String> {
        let stream = self.way.connect(within).await?;
        let sender = self.speak(stream).await?;
        Ok(Line { sender, was_kept: false })
    }

    async fn speak(&self, stream: Stream) -> Result<SendRequest<Body>, String> {
        let mut builder = Builder::new();
        builder.max_headers(HEADERS_MAX).max_header_size(HEAD_BYTES_MAX).max_buf_size(HEAD_BYTES_MAX * 2);
        let made = builder.handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|error| format!("{}: {error}", self.name))?;
        let tasks = self.tasks.clone();
        let late = async move {
            tasks.stopping().await;
            time::sleep(Duration::from_millis(limits::SHUTDOWN_GRACE_MS)).await;
        };
        self.tasks.spawn(async move {
            tokio::select! {
                // How it ends is told to who asks on it.
                ended = connection.with_upgrades() => drop(ended),
                () = late => {}
            }
        });
        Ok(sender)
    }

    /// Keeps a connection for the next request; `seconds`: for how long the upstream says that it keeps it.
    pub(super) fn keep(&self, sender: SendRequest<Body>, seconds: Option<u64>) {
        let said = seconds.map_or(KEPT_FOR, |it| Duration::from_secs(it.saturating_sub(1)));
        let since = Instant::now();
        let mut kept = self.kept();
        // SECURITY: looked at under the lock, so that none is put back behind the last look of `close`.
        if kept.len() < KEPT_MAX && !self.is_closed.load(Ordering::Relaxed) && !said.is_zero() && !sender.is_closed() {
            kept.push(Kept { sender, until: since + said.min(KEPT_FOR), since });
        }
    }

    /// Closes what is kept and out of date.
    pub(super) fn tidy(&self) {
        let now = Instant::now();
        self.kept().retain(|it| it.until > now && !it.sender.is_closed());
    }

    /// Closes all that is kept, and keeps nothing more.
    pub(super) fn close(&self) {
        let mut kept = self.kept();
        self.is_closed.store(true, Ordering::Relaxed);
        kept.clear();
    }

    /// No settings name it any more.
    pub(super) fn leave(&self) {
        self.close();
        self.left.cancel();
    }

    /// Resolves once it was left.
    pub(super) fn left(&self) -> WaitForCancellationFutureOwned {
        self.left.clone().cancelled_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::ids::Id,
        domain::{
            site::SiteId,
            site_settings::proxy::{Tls, Upstream},
        },
        http::peer::Client,
        serve::proxy::Nobody,
    };

    fn server(shared: &Arc<Shared>) -> Arc<Server> {
        let (tasks, upstream) = (Tasks::new(), Upstream::parse("http://127.0.0.1:1").unwrap());
        let way = Way::new(upstream, true, Tls::default(), Arc::default(), Arc::new(Nobody), tasks.clone());
        Arc::new(Server::new(way, tasks, Arc::clone(shared)))
    }

    /// A client of a site.
    fn owner(site: u8, client: u8) -> Owner {
        Owner::new(SiteId(Id::from_bytes([site; 16])), from([192, 0, 2, client].into(), false))
    }

    fn from(address: IpAddr, is_many: bool) -> Client {
        Client { address, is_near: false, is_proxied: false, is_many, scheme: "http" }
    }

    #[test]
    fn a_server_works_on_so_many_requests_and_no_more() {
        let shared = Arc::new(Shared::default());
        let (one, other) = (server(&shared), server(&shared));
        let of = |client: usize| owner(1, u8::try_from(client / OF_CLIENT_MAX).unwrap());
        let mut leases: Vec<Lease> = (0..EXCHANGES_MAX).map(|it| one.lease(May::All, of(it)).unwrap()).collect();
        assert!(one.is_full(owner(1, 9)) && one.lease(May::All, owner(1, 9)).is_none());
        assert_eq!(one.active(), EXCHANGES_MAX);
        assert!(!other.is_full(owner(1, 9)) && other.lease(May::All, owner(1, 9)).is_some());
        leases.pop();
        assert!(!one.is_full(owner(1, 9)) && one.lease(May::All, owner(1, 9)).is_some());
    }

    #[test]
    fn one_client_leaves_places_of_a_server_to_others() {
        let one = server(&Arc::new(Shared::default()));
        let mut leases: Vec<Lease> = (0..OF_CLIENT_MAX).map(|_| one.lease(May::All, owner(1, 1)).unwrap()).collect();
        assert!(one.is_full(owner(1, 1)) && one.lease(May::All, owner(1, 1)).is_none());
        assert!(!one.is_full(owner(1, 2)));
        leases.extend(one.lease(May::All, owner(1, 2)));
        assert_eq!(leases.len(), OF_CLIENT_MAX + 1);
        leases.truncate(1);
        assert!(one.lease(May::All, owner(1, 1)).is_some());
        // Behind this machine's own address may be anybody.
        let here = Owner::new(owner(1, 1).site, from([127, 0, 0, 1].into(), true));
        leases.extend((1..EXCHANGES_MAX).map(|_| one.lease(May::All, here).unwrap()));
        assert!(one.is_full(here) && leases.len() == EXCHANGES_MAX);
    }

    #[test]
    fn all_servers_together_work_on_so_many_and_no_more() {
        let shared = Arc::new(Shared::new(4, 3, 2));
        let (one, other) = (server(&shared), server(&shared));
        let lease = |server: &Arc<Server>, owner| server.lease(May::All, owner);
        let mut held = vec![lease(&one, owner(1, 1)).unwrap(), lease(&other, owner(1, 1)).unwrap()];
        assert!(other.is_full(owner(2, 1)) && lease(&other, owner(2, 1)).is_none(), "of one client");
        held.push(lease(&other, owner(1, 2)).unwrap());
        assert!(one.is_full(owner(1, 3)) && lease(&one, owner(1, 3)).is_none(), "of one site");
        held.push(lease(&one, owner(2, 3)).unwrap());
        assert!(one.is_full(owner(3, 4)) && lease(&one, owner(3, 4)).is_none(), "of all");
        drop(held);
        assert!(!other.is_full(owner(1, 1)) && lease(&other, owner(1, 1)).is_some());
    }
}
