//! The access log: a line for each request of a visitor, in a file that is rotated.
//!
//! A request never waits for its line. It leaves the line in a bounded queue when its answer has ended, and goes on; one thread writes. When
//! there is no room (a disk that is slow or full), the line is dropped and counted, and the log of the program says so.
//!
//! What is a visitor's request, `app/switch` decides. How a line looks, and that no client can forge one, is in [`line`].

mod archive;
mod file;
mod line;
mod writer;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use hyper::{
    header::{HOST, HeaderName, REFERER, USER_AGENT},
    http::request::Parts,
};
use tokio::time::{self, Instant};

use self::{
    file::{Batch, LogFile},
    line::{Facts, Line},
    writer::Writer,
};
use crate::{
    base::{clock::Clock, country::Country, tasks::Tasks},
    config::access_log::{AccessLog as Settings, Format},
    http::{
        peer::Client,
        respond::Response,
        secret_path,
        watched::{Watch, watched},
    },
};

/// Lines that wait to be written: more than a machine answers in the time that the writer rests.
const WAITING_MAX: usize = 16 * 1024;
/// Bytes of them: what a slow disk may cost in memory.
const WAITING_BYTES_MAX: usize = 8 << 20;
/// Between two looks at whether lines are dropped.
const LOOK: Duration = Duration::from_secs(1);
/// Between two sentences about that.
const TOLD: Duration = Duration::from_mins(1);
/// How long a shutdown waits for the last lines.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// The access log of a process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AccessLog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    format: Format,
    country: bool,
    path: PathBuf,
    clock: Clock,
    lines: SyncSender<Vec<u8>>,
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What requests, the writer and those who look share.
#[derive(Debug, Default)]
struct State {
    /// Bytes that are not written yet.
    waiting: AtomicUsize,
    written: AtomicU64,
    dropped: AtomicU64,
    /// As many of the dropped are in the log of the program.
    told: AtomicU64,
    /// Why the disk takes nothing.
    fault: Mutex<Option<String>>,
    is_closing: AtomicBool,
}

/// When a request came.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    at: Instant,
    time_ms: i64,
}

/// Whose request it was, and for what.
#[derive(Clone, Copy, Debug)]
pub struct Visit<'a> {
    /// The request.
    pub parts: &'a Parts,
    /// Who has sent it.
    pub client: Client,
    /// The normalised host, where there is one.
    pub host: Option<&'a str>,
    /// The site at that host. Without one the query is not logged: a link of the panel at a wrong address has its secret there.
    pub site: Option<&'a str>,
    /// The country of the client, where it is known and lines have it.
    pub country: Option<Country>,
}

/// Lines so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// In the file.
    pub written: u64,
    /// Nowhere, since there was no room.
    pub dropped: u64,
}

impl AccessLog {
    /// Begins to log. A file that cannot be written to is told in the log of the program, and tried again until it can be.
    pub fn start(settings: &Settings, clock: Clock, tasks: &Tasks) -> io::Result<Self> {
        let state = Arc::<State>::default();
        let (lines, waiting) = sync_channel(WAITING_MAX);
        let file = LogFile::new(settings, clock.clone());
        let writer = Writer { state: Arc::clone(&state), lines: waiting, file, batch: Batch::default() };
        let thread = Builder::new().name(String::from("access-log")).spawn(move || writer.run())?;
        tasks.spawn(watch(Arc::clone(&state), settings.path.clone(), tasks.clone()));
        let (format, path, thread) = (settings.format, settings.path.clone(), Mutex::new(Some(thread)));
        Ok(Self(Arc::new(Inner { format, country: settings.country, path, clock, lines, state, thread })))
    }

    /// Whether lines have the country of the client.
    pub fn wants_country(&self) -> bool {
        self.0.country
    }

    /// A request has come.
    pub fn begin(&self) -> Begun {
        Begun { at: Instant::now(), time_ms: self.0.clock.now_ms() }
    }

    /// The answer to a visitor, whose line is left when its last byte is, or when it broke off; of a tunnel, when that ends.
    #[must_use]
    pub fn watch(&self, begun: Begun, visit: &Visit<'_>, response: Response) -> Response {
        let field = |name: HeaderName| visit.parts.headers.get(name).map(hyper::header::HeaderValue::as_bytes);
        let uri = &visit.parts.uri;
        let path = secret_path::shown(uri.path());
        let facts = Facts {
            time_ms: begun.time_ms,
            client: visit.client.address,
            has_country: self.0.country,
            country: visit.country,
            scheme: visit.client.scheme,
            host: visit.host.map(str::as_bytes),
            port: port(visit.parts),
            site: visit.site,
            method: visit.parts.method.as_str().as_bytes(),
            path: path.as_bytes(),
            query: uri.query().filter(|_| visit.site.is_some()).map(str::as_bytes),
            version: visit.parts.version,
            status: response.status().as_u16(),
            referer: field(REFERER),
            user_agent: field(USER_AGENT),
        };
        let line = Line::new(self.0.format, &facts);
        let pending = Pending { log: self.clone(), begun: begun.at, line: Some(line), sent: 0 };
        watched(response, pending)
    }

    /// Lines so far.
    pub fn lines(&self) -> Lines {
        let of = |it: &AtomicU64| it.load(Ordering::Relaxed);
        Lines { written: of(&self.0.state.written), dropped: of(&self.0.state.dropped) }
    }

    /// Leaves a line, if there is room. Waits for nothing.
    fn leave(&self, line: Vec<u8>) {
        let (state, size) = (&self.0.state, line.len());
        let waiting = state.waiting.fetch_add(size, Ordering::Relaxed);
        if waiting.saturating_add(size) > WAITING_BYTES_MAX || self.0.lines.try_send(line).is_err() {
            state.waiting.fetch_sub(size, Ordering::Relaxed);
            state.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes what was left before, within some seconds.
    pub async fn close(&self) {
        self.0.state.is_closing.store(true, Ordering::SeqCst);
        // Only wakes the writer. With a full queue it is awake.
        drop(self.0.lines.try_send(Vec::new()));
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let end = Instant::now() + CLOSE_MAX;
        while thread.as_ref().is_some_and(|it| !it.is_finished()) && Instant::now() < end {
            time::sleep(Duration::from_millis(2)).await;
        }
        let waiting = self.0.state.waiting.load(Ordering::Relaxed);
        if waiting > 0 {
            tracing::warn!(bytes = waiting, path = %self.0.path.display(), "the disk did not take the end of the access log in time");
        }
        tell(&self.0.state, &self.0.path);
    }
}

/// The port that the client named.
fn port(parts: &Parts) -> Option<u16> {
    let named = || parts.headers.get(HOST)?.to_str().ok()?.rsplit_once(':')?.1.parse().ok();
    parts.uri.port_u16().or_else(named)
}

/// Says why lines are not written, at most once a minute.
async fn watch(state: Arc<State>, path: PathBuf, tasks: Tasks) {
    let (mut told, mut was_faulty): (Option<Instant>, bool) = (None, false);
    loop {
        tokio::select! {
            () = tasks.stopping() => return,
            () = time::sleep(LOOK) => {}
        }
        let is_faulty = state.fault.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if was_faulty && !is_faulty {
            tracing::info!(path = %path.display(), "the access log is written again");
            was_faulty = false;
        }
        if told.is_none_or(|it| it.elapsed() >= TOLD) && tell(&state, &path) {
            (told, was_faulty) = (Some(Instant::now()), is_faulty);
        }
    }
}

/// Whether there was something to say.
fn tell(state: &State, path: &Path) -> bool {
    let fault = state.fault.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let dropped = state.dropped.load(Ordering::Relaxed);
    let new = dropped - state.told.swap(dropped, Ordering::Relaxed);
    let path = path.display();
    match fault {
        Some(why) => {
            tracing::warn!(dropped = new, %path, %why, "the access log cannot be written: see that there is space and that it may be; visitors are answered all the same");
        }
        None if new > 0 => {
            tracing::warn!(dropped = new, %path, "lines of the access log were dropped, since the disk was too slow for them");
        }
        None => return false,
    }
    true
}

/// A line that lacks its end.
struct Pending {
    log: AccessLog,
    begun: Instant,
    line: Option<Line>,
    sent: u64,
}

impl Watch for Pending {
    fn sent(&mut self, bytes: u64) {
        self.sent = self.sent.saturating_add(bytes);
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            self.log.leave(line.finish(self.sent, self.begun.elapsed()));
        }
    }
}
