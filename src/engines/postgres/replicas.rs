//! Replicas: who may be read from, and how far each has come.
//!
//! Guarantees: a read is given only to a replica that has replayed the position that its tenant has to find, is less than
//! [`LAG_MAX`] behind the primary, follows the same history as it (same cluster, same timeline: positions of two histories cannot be
//! compared), and has said so within the last second. One that fails is left out at once, until it is seen well again.
//! Nothing here writes. A replica that hangs holds up nobody's end: its threads are not waited for.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    State,
    address::Address,
    readers::Readers,
    session::{Session, explain},
    writer::{POSITION, read_position},
};
use crate::{
    domain::{Error, Result},
    ports::{
        db::{ReadJob, Replica as Seen},
        position::{LAG_MAX, Position},
    },
};

/// Between two looks at a server.
const PERIOD: Duration = Duration::from_millis(250);
/// A replica that was not seen well for this long is left out: it may hang.
const STALE: Duration = Duration::from_secs(1);
/// Positions of the primary that are remembered: those of a time well beyond [`LAG_MAX`].
const SAMPLES_MAX: usize = 64;

/// Which history of which cluster a server follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct History {
    system: String,
    timeline: String,
}

/// What the primary said lately.
#[derive(Default)]
struct Primary {
    history: History,
    /// When it was asked, and the position that it had then or later; oldest first.
    samples: VecDeque<(Instant, Position)>,
}

/// What a replica said last.
#[derive(Clone, Debug)]
struct Said {
    at: Instant,
    history: History,
    replayed: Position,
}

/// One replica.
struct Replica {
    address: Arc<Address>,
    state: Arc<State>,
    readers: Arc<Readers>,
    said: Mutex<Option<Said>>,
    reads: AtomicU64,
    in_use: AtomicBool,
}

/// All replicas of a database. Dropped, they are let go.
pub(super) struct Replicas {
    all: Vec<Arc<Replica>>,
    primary: Arc<Mutex<Primary>>,
    next: AtomicUsize,
    stop: Arc<Stop>,
}

#[derive(Default)]
struct Stop {
    is_set: Mutex<bool>,
    wake: Condvar,
}

impl Stop {
    /// Waits for a period; `false` when it is time to end.
    fn pause(&self) -> bool {
        let is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(is_set, PERIOD, |it| !*it);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Replicas {
    /// Begins to watch the replicas of `primary`. Not one of them has to be there. Each has `most` connections for reads.
    pub(super) fn start(primary: Arc<Address>, urls: Vec<Address>, most: usize, wall: bool) -> Result<Self> {
        let stop = Arc::new(Stop::default());
        let known = Arc::new(Mutex::new(Primary::default()));
        let all: Vec<_> = urls.into_iter().map(|it| Arc::new(Replica::new(it, most, wall))).collect();
        if !all.is_empty() {
            let (known, stop) = (Arc::clone(&known), Arc::clone(&stop));
            watch("db-primary", stop, move |kept| sample(kept, &primary, &known))?;
        }
        for replica in &all {
            let (replica, known) = (Arc::clone(replica), Arc::clone(&known));
            watch("db-replica", Arc::clone(&stop), move |kept| replica.look(kept, &known))?;
        }
        Ok(Self { all, primary: known, next: AtomicUsize::new(0), stop })
    }

    /// Whether there is none at all.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Gives a read to a replica that has come as far as `seen`, in turns; gives it back when there is none.
    pub(super) fn submit(&self, seen: Position, job: ReadJob) -> Option<ReadJob> {
        let count = self.all.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let primary = self.primary.lock().unwrap_or_else(PoisonError::into_inner);
        let mut turns = (0..count).filter_map(|it| self.all.get(first.wrapping_add(it) % count));
        let Some(replica) = turns.find(|it| it.why_not(&primary, seen).is_none()) else { return Some(job) };
        drop(primary);
        replica.reads.fetch_add(1, Ordering::Relaxed);
        replica.readers.submit(job);
        None
    }

    /// How they are.
    pub(super) fn list(&self) -> Vec<Seen> {
        let primary = self.primary.lock().unwrap_or_else(PoisonError::into_inner);
        let show = |it: &Arc<Replica>| Seen {
            name: it.address.name().to_owned(),
            in_use: it.why_not(&primary, Position::default()).is_none(),
            reads: it.reads.load(Ordering::Relaxed),
        };
        self.all.iter().map(show).collect()
    }

    /// Lets them go.
    pub(super) fn close(&self) {
        *self.stop.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.wake.notify_all();
        self.all.iter().for_each(|it| it.readers.leave());
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.close();
    }
}

impl Replica {
    fn new(address: Address, most: usize, wall: bool) -> Self {
        let address = Arc::new(address);
        let state = Arc::new(State { is_replica: true, wall, ..State::default() });
        let readers = Readers::new(Arc::clone(&address), Arc::clone(&state), most);
        let (said, reads, in_use) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        Self { address, state, readers, said, reads, in_use }
    }

    fn said(&self) -> Option<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why it may not be read from now, by who has to find `seen`.
    fn why_not(&self, primary: &Primary, seen: Position) -> Option<&'static str> {
        let Some(said) = self.said() else { return Some("it cannot be reached, or is no standby") };
        if said.at.elapsed() > STALE || self.state.health().is_err() {
            return Some("it does not answer");
        }
        if said.history != primary.history {
            return Some("it follows another history than the primary");
        }
        // What it has replayed was all there was at the time of the newest sample that it has passed.
        let passed = primary.samples.iter().rev().find(|(_, position)| *position <= said.replayed);
        if passed.is_none_or(|(at, _)| at.elapsed() > LAG_MAX) {
            return Some("it is too far behind");
        }
        (said.replayed < seen).then_some("it has not come as far")
    }

    /// Asks it how far it has come, and tells when that changes whether it is read from.
    fn look(&self, kept: &mut Option<Session>, primary: &Mutex<Primary>) {
        let at = Instant::now();
        let asked = ask(kept, &self.address, SAY);
        let said = asked.ok().and_then(|found| Said::read(at, &found));
        if said.is_some() {
            // The readers' own connections may have failed; they are tried again.
            self.state.recovered();
        }
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
        let why_not = self.why_not(&primary.lock().unwrap_or_else(PoisonError::into_inner), Position::default());
        let is_in_use = why_not.is_none();
        if self.in_use.swap(is_in_use, Ordering::Relaxed) != is_in_use {
            let replica = self.address.name();
            match why_not {
                None => tracing::info!(replica, "the replica is read from"),
                Some(why) => tracing::warn!(replica, why, "the replica is left out; reads go to the primary"),
            }
        }
    }
}

/// How far a standby has come. The timeline in its control file can be an older one than it follows by now, for some minutes after a
/// failover; then it is left out for that long.
const SAY: &str = "SELECT CAST(pg_is_in_recovery() AS TEXT), \
    CAST(COALESCE(pg_last_wal_replay_lsn(), CAST('0/0' AS pg_lsn)) - CAST('0/0' AS pg_lsn) AS TEXT), \
    (SELECT CAST(system_identifier AS TEXT) FROM pg_control_system()), \
    (SELECT CAST(timeline_id AS TEXT) FROM pg_control_checkpoint())";

impl Said {
    fn read(at: Instant, found: &[String]) -> Option<Self> {
        let [standby, replayed, system, timeline] = found else { return None };
        let history = History { system: system.clone(), timeline: timeline.clone() };
        (standby == "true").then_some(Self { at, history, replayed: Position(replayed.parse().ok()?) })
    }
}

/// Asks the primary where the end of its log is. One that does not answer is remembered as it was, and so grows old.
fn sample(kept: &mut Option<Session>, address: &Address, known: &Mutex<Primary>) {
    // The first eight digits of a log file's name are the timeline that is written now.
    let sql = format!(
        "SELECT {POSITION}, (SELECT CAST(system_identifier AS TEXT) FROM pg_control_system()), \
         pg_walfile_name(pg_current_wal_insert_lsn())"
    );
    let at = Instant::now();
    let Ok(found) = ask(kept, address, &sql) else { return };
    let [position, system, file] = &*found else { return };
    let timeline = file.get(..8).and_then(|it| u32::from_str_radix(it, 16).ok());
    let Some(timeline) = timeline else { return };
    let history = History { system: system.clone(), timeline: timeline.to_string() };
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if known.history != history {
        known.samples.clear();
        known.history = history;
    }
    known.samples.push_back((at, read_position(Some(position))));
    if known.samples.len() > SAMPLES_MAX {
        known.samples.pop_front();
    }
}

/// Asks on a connection that is kept while it is well.
fn ask(kept: &mut Option<Session>, address: &Address, sql: &str) -> Result<Vec<String>> {
    let mut session = match kept.take().filter(|it| !it.is_closed()) {
        Some(session) => session,
        None => Session::connect(address)?,
    };
    session.limit(Some(address.limits().connect));
    let found = session.simple(sql).map_err(|error| explain(&error, sql))?;
    *kept = Some(session);
    Ok(found)
}

/// Runs `look` again and again, on a thread of its own, until the sign to stop.
fn watch(name: &str, stop: Arc<Stop>, look: impl Fn(&mut Option<Session>) + Send + 'static) -> Result<()> {
    let run = move || {
        let mut kept = None;
        loop {
            look(&mut kept);
            if !stop.pause() {
                return;
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop).map_err(Error::from)
}
