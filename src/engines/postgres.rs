//! The database port on PostgreSQL: one thread writes in batches, connections that read come and go.
//!
//! Guarantees (CONTRACTS §3): every statement is typed, and unnamed unless the connection has shown that it leads to one session, so that
//! PgBouncer in transaction mode may stand between; nothing relies on a session (no SET, no session lock, no LISTEN); a write is answered when its commit is durable; writers of all processes on one
//! database take turns, so that every request sees what SQLite would have shown it; queues and connections are bounded; a server
//! that is gone is found again by itself.
//! It never creates tables in an empty database when the caller says that there was one.

mod address;
pub mod citus;
mod client;
mod migrate;
mod parts;
mod prepared;
mod readers;
mod replicas;
mod session;
pub mod shell;
pub mod wall;
mod writer;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    base::{secret::Secret, tasks::join_thread},
    domain::{Error, Result},
    ports::{
        db::{Database, Pool, ReadJob, Replica, WriteJob, queue_write, stopped},
        parts::Parts,
        position::Position,
    },
};

use self::{
    address::Address, parts::MonthParts, readers::Readers, replicas::Replicas, session::Session, writer::Writer,
};

/// Requests in one transaction: one of them waits for all before it.
const BATCH_MAX: usize = 64;
/// Writes that may wait.
const WRITES_WAITING_MAX: usize = 4096;
/// The lock that writers of all processes take in turns, and whoever changes the schema: the word `chainhst` in ASCII.
const WRITERS_LOCK: i64 = 7_163_082_312_784_573_300;
/// After a failed attempt to connect, others are told the same for this long instead of waiting for a time limit each.
const SAME_ANSWER: Duration = Duration::from_millis(500);
/// It is said at most this often that the server has no connection free.
const SAID_AGAIN: Duration = Duration::from_mins(1);
/// The code of the error that says that the server has no connection free.
const FULL: &str = "database_busy";
/// The code of the error that says that a pooler has no session of the server free.
const NO_SESSION: &str = "database_no_session";
/// While the server cannot be reached, a connection that was kept has this long to show that it leads somewhere.
const SUSPECT_MAX: Duration = Duration::from_secs(1);

/// How long the server may take before it counts as gone. Statements have limits on the server's own side, which come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// To connect, TLS and password included. `connect_timeout` of a URL comes before it.
    pub connect: Duration,
    /// For an answer to what reads; the server gives up after five seconds.
    pub read: Duration,
    /// For an answer to what writes; the server gives up after 30 seconds.
    pub write: Duration,
    /// To say what became of a commit whose answer was lost. Longer than the server keeps the transaction of a session that is cut off.
    pub fate: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let [connect, read, write, fate] = [5, 10, 35, 30].map(Duration::from_secs);
        Self { connect, read, write, fate }
    }
}

impl Limits {
    /// For a pooler to give a session of the server, on a connection that is there: no longer than a server has to make one. Who waits
    /// for it in vain on the connection that was kept, and then on a new one, has waited as long as for one answer.
    fn turn(&self) -> Duration {
        self.connect.min(self.read / 2)
    }
}

/// Where the database is.
#[derive(Debug)]
pub struct Wish<'a> {
    /// `postgres://…`, of the server or of a pooler before it.
    pub url: &'a Secret,
    /// The same database without the pooler, for migrations.
    pub direct_url: Option<&'a Secret>,
    /// Standbys of the same database, to read from.
    pub replica_urls: &'a [Arc<Secret>],
    /// Most connections of this process, to the server and to each replica.
    pub pool: usize,
    /// This server had a database: an empty one is refused.
    pub known: bool,
}

/// The database engine. Dropping it waits for what was asked before.
pub struct Postgres {
    state: Arc<State>,
    writes: Mutex<Option<SyncSender<Box<dyn WriteJob>>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    readers: Arc<Readers>,
    replicas: Replicas,
    parts: Arc<MonthParts>,
    most: usize,
}

impl std::fmt::Debug for Postgres {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Postgres")
    }
}

impl Postgres {
    /// Connects, takes the `migrations` (number, name, SQL) that the database has not taken yet, and starts. Blocks; must not be
    /// called on a thread of an async runtime.
    pub fn open(wish: &Wish<'_>, migrations: &[(u32, &str, &str)]) -> Result<Arc<Self>> {
        Self::open_at(wish, migrations, Address::parse)
    }

    /// The same with other time limits.
    pub fn open_within(wish: &Wish<'_>, migrations: &[(u32, &str, &str)], limits: Limits) -> Result<Arc<Self>> {
        Self::open_at(wish, migrations, |url| Address::parse(url).map(|it| it.within(limits)))
    }

    fn open_at(
        wish: &Wish<'_>,
        migrations: &[(u32, &str, &str)],
        address_of: impl Fn(&Secret) -> Result<Address>,
    ) -> Result<Arc<Self>> {
        let address = Arc::new(address_of(wish.url)?);
        let direct = match wish.direct_url {
            Some(url) => Arc::new(address_of(url)?),
            None => Arc::clone(&address),
        };
        let mut session = Session::connect(&direct)?;
        migrate::apply(&mut session, migrations, wish.known, direct.limits().read)?;
        warn_of_settings(&mut session);
        // Another user may come through the pooler than the one that migrates.
        let wall = match wish.direct_url {
            Some(_) => wall::stands(&mut Session::connect(&address)?)?,
            None => wall::stands(&mut session)?,
        };
        if wall {
            wall::warn_of_gaps(&mut session)?;
        }
        drop(session);
        let state = Arc::new(State { wall, ..State::default() });
        let most = wish.pool.max(2);
        let (writes, jobs) = sync_channel(WRITES_WAITING_MAX);
        let urls = wish.replica_urls.iter().map(|it| address_of(it)).collect::<Result<Vec<_>>>()?;
        let replicas = Replicas::start(Arc::clone(&address), urls, most, wall)?;
        let work = Writer::new(Arc::clone(&address), Arc::clone(&state), jobs, !replicas.is_empty());
        let thread = thread::Builder::new().name(String::from("db-writer")).spawn(move || work.run())?;
        let readers = Readers::new(address, Arc::clone(&state), most - 1);
        let parts = Arc::new(MonthParts::new(direct));
        Ok(Arc::new(Self {
            state,
            writes: Mutex::new(Some(writes)),
            writer: Mutex::new(Some(thread)),
            readers,
            replicas,
            parts,
            most,
        }))
    }

    fn writes(&self) -> Option<SyncSender<Box<dyn WriteJob>>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.close();
    }
}

impl Database for Postgres {
    fn submit_write(&self, job: Box<dyn WriteJob>) {
        queue_write(self.writes().as_ref(), job);
    }

    fn submit_read(&self, job: ReadJob) {
        self.readers.submit(job);
    }

    fn health(&self) -> Result<()> {
        if self.writes().is_none() {
            return Err(stopped());
        }
        self.state.health()
    }

    fn pool(&self) -> Option<Pool> {
        let (open, at_work) = self.readers.count();
        Some(Pool {
            most: self.most,
            open: open + 1,
            at_work,
            waits: self.state.waits.load(Ordering::Relaxed),
            waited: Duration::from_micros(self.state.waited_us.load(Ordering::Relaxed)),
        })
    }

    fn submit_near(&self, seen: Position, job: ReadJob) -> Option<ReadJob> {
        if self.replicas.is_empty() { Some(job) } else { self.replicas.submit(seen, job) }
    }

    fn replicas(&self) -> Vec<Replica> {
        self.replicas.list()
    }

    fn parts(&self) -> Option<Arc<dyn Parts>> {
        Some(Arc::<MonthParts>::clone(&self.parts))
    }

    fn close(&self) {
        self.replicas.close();
        self.readers.close();
        drop(self.writes.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(thread) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            join_thread(thread);
        }
    }
}

/// What the threads know together of the server.
#[derive(Default)]
struct State {
    /// Of a replica: what happens to it is told elsewhere.
    is_replica: bool,
    /// Whether the wall between tenants stands.
    wall: bool,
    down: Mutex<Option<(Instant, Error)>>,
    /// When the server last had no connection free. It is there all the same, and connections that are kept are as good as before.
    full: Mutex<Option<(Instant, Error)>>,
    /// Somebody tries to reach a server that is down.
    is_tried: AtomicBool,
    waits: AtomicU64,
    waited_us: AtomicU64,
}

impl State {
    fn down(&self) -> Option<(Instant, Error)> {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn health(&self) -> Result<()> {
        self.down().map_or(Ok(()), |(_, error)| Err(error))
    }

    fn failed(&self, error: &Error) {
        *self.down.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.clone()));
    }

    /// The server had no connection free.
    fn is_full(&self, address: &Address, error: &Error) {
        let now = Instant::now();
        let before = self.full.lock().unwrap_or_else(PoisonError::into_inner).replace((now, error.clone()));
        if before.is_none_or(|(when, _)| now.duration_since(when) > SAID_AGAIN) {
            tracing::warn!(
                database = address.name(),
                "the database has no connection free; those that there are go on"
            );
        }
    }

    /// What was said of a server without a free connection just now.
    fn full(&self) -> Option<Error> {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.as_ref().filter(|(when, _)| when.elapsed() < SAME_ANSWER).map(|(_, error)| error.clone())
    }

    /// Who asks has no connection at all and gets none, since the server has none free: for them it is as good as down.
    fn shut_out(&self, error: &Error) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was told the answer of another does not put off when it is tried again.
        if down.as_ref().is_some_and(|(when, before)| before.code == error.code && when.elapsed() < SAME_ANSWER) {
            return;
        }
        if down.is_none() && !self.is_replica {
            tracing::error!(%error, "the database has no connection free to write on; sites go on answering");
        }
        *down = Some((Instant::now(), error.clone()));
    }

    /// It is there; whether that is news.
    fn recovered(&self) -> bool {
        self.down.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Whether the server cannot be reached, so that a connection that was kept may lead nowhere.
    fn suspects(&self) -> bool {
        self.down().is_some_and(|(_, error)| ["database_unreachable", NO_SESSION].contains(&error.code))
    }

    /// Whether a connection that was kept may be used, on which nothing has come for `quiet`: it then has to answer. One that does while
    /// the server counts as gone shows that it is there. What is asked on it next may take as long as `then`.
    fn trusts(&self, session: &mut Session, address: &Address, quiet: Duration, then: Duration) -> bool {
        let suspected = self.suspects();
        if session.is_closed() {
            return false;
        }
        if !suspected && session.unheard() < quiet {
            return true;
        }
        let limit = if suspected { SUSPECT_MAX.min(address.limits().read) } else { address.limits().read };
        let answered = session.answers(limit, then);
        if answered && suspected {
            self.is_back(address);
        }
        answered
    }

    fn is_back(&self, address: &Address) {
        if self.recovered() && !self.is_replica {
            tracing::info!(database = address.name(), "the database is back");
        }
    }

    /// A new connection, unless one has failed just now.
    fn connect(&self, address: &Address) -> Result<Session> {
        self.full().map_or_else(|| self.connect_anyway(address), Err)
    }

    /// The same also when the server had none free for others: for who cannot do without, and asks seldom. Of a server that is down,
    /// one at a time tries whether it is back; the others are told at once that it is not.
    fn connect_anyway(&self, address: &Address) -> Result<Session> {
        let Some((when, error)) = self.down() else { return self.try_to_connect(address) };
        if when.elapsed() < SAME_ANSWER || self.is_tried.swap(true, Ordering::AcqRel) {
            return Err(error);
        }
        let _trying = Trying(&self.is_tried);
        self.try_to_connect(address)
    }

    fn try_to_connect(&self, address: &Address) -> Result<Session> {
        let session = Session::connect(address);
        match &session {
            Ok(_) => self.is_back(address),
            Err(error) if error.code == FULL => self.is_full(address, error),
            Err(error) => {
                if self.down().is_none() && !self.is_replica {
                    tracing::error!(%error, "the database cannot be reached; sites go on answering");
                }
                self.failed(error);
            }
        }
        session
    }

    fn waited(&self, time: Duration) {
        self.waits.fetch_add(1, Ordering::Relaxed);
        self.waited_us.fetch_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// One that tries to reach the server. Dropped, another may.
struct Trying<'a>(&'a AtomicBool);

impl Drop for Trying<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Settings of the server under which an acknowledged write can be lost.
fn warn_of_settings(session: &mut Session) {
    let sql =
        "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('full_page_writes')";
    let Ok(found) = session.simple(sql) else { return };
    for (name, value) in ["fsync", "synchronous_commit", "full_page_writes"].into_iter().zip(found) {
        if value == "off" {
            tracing::warn!("PostgreSQL has {name} = off: what was saved last can be lost when it crashes");
        }
    }
}

/// Whether a URL can be used, as far as its text says: its shape, and the certificates in the files that it names.
pub fn check(url: &Secret) -> Result<()> {
    Address::parse(url).map(drop)
}

/// Whether `url` leads to a pooler, behind which a connection has no session of its own and cannot be told what holds for it alone.
/// Blocks; must not be called on a thread of an async runtime.
pub fn is_pooler(url: &Secret) -> Result<bool> {
    Ok(!Session::connect(&Address::parse(url)?)?.is_whole())
}

/// Runs statements without parameters on a connection of its own; the columns of the last row, as text. For who looks at a database
/// before it is opened; each answer may take as long as one to a read. Blocks; must not be called on a thread of an async runtime.
pub fn run_once(url: &Secret, sql: &str) -> Result<Vec<String>> {
    let mut session = Session::connect(&Address::parse(url)?)?;
    session.simple(sql).map_err(|error| session::explain(&error, sql))
}
