//! Moves the data of a server to another database: a rehearsal on a shadow copy, then the rows while the server goes on, then what
//! has changed meanwhile, and at last a short time without changes in which the rest of that is copied and all is counted.
//!
//! INVARIANT: no change is acknowledged that is in the old database only. The end of the move is one write transaction on the old
//! database, which nobody else can write to meanwhile; it commits the mark that the data is elsewhere, and with it triggers that
//! refuse every change from then on. The new database takes none before: it has a mark of its own until then. So at no moment two
//! databases take changes, whichever process dies.
//!
//! Every state is one to go on from: the same command compares what is there and does the rest.

mod bytes;
mod copying;
pub(super) mod jobs;
mod parts;
mod places;
mod watched;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, time::Instant};

pub(super) use watched::end_in as end_watch;

use self::{
    copying::Copying,
    parts::{Parted, Sums},
    places::{Opened, Place},
    watched::Watched,
};
use super::{
    control::Done,
    ground::{self, Folder},
    queues::Who,
};
use crate::{
    base::{clock::Clock, files::FolderLock, ids::Id, secret::Secret},
    config::{
        database::{self, Postgres},
        server::Server,
    },
    domain::{Error, Result},
    services::{carry_jobs::Carried, home::send::Sent, nodes},
    store,
};

/// The file that one move holds.
const LOCK: &str = "lock-move";
/// Between two requests to take no changes: several of them before the server takes some again.
const FREEZE_AGAIN: Duration = Duration::from_secs(4);
/// How often a busy old database is asked again.
const BUSY_MAX: u32 = 5;
/// A node that has shown no sign of life for this long is gone: others take over what it held.
const NODE_SILENT: Duration = Duration::from_secs(10);
/// Between two looks at the signs of life.
const NODE_LOOK: Duration = Duration::from_millis(250);

/// What is asked for.
#[derive(Debug)]
pub struct Wish {
    /// Where the data goes: `sqlite` or `postgres://…`.
    pub to: Option<Secret>,
    /// Where the jobs go: `redis://…`, or `none` for the data folder.
    pub redis: Option<Secret>,
    /// Where the bytes go: `s3://…`, or `folder` for the data folder.
    pub blobs: Option<Secret>,
    /// Only the rehearsal.
    pub rehearse: bool,
    /// No rehearsal.
    pub skip_rehearsal: bool,
}

/// What a move says while it works.
#[derive(Clone, Copy, Debug)]
pub enum Progress {
    /// A new step begins, with so many rows.
    Step(&'static str, u64),
    /// So many rows more.
    Rows(u64),
}

/// Who hears of it.
pub type Watch = Arc<dyn Fn(Progress) + Send + Sync>;
/// Asks the running server; `None` when it does not listen.
pub type Ask<'a> = &'a (dyn Fn(&Value) -> Result<Option<Done>> + Sync);

/// One table, as it is in both databases.
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    /// Its name.
    pub table: String,
    /// Rows.
    pub rows: u64,
    /// Of the hashes of its parts, each of which is of rows in the order of the key, each value with type and length. A part ends
    /// with a row whose key has a hash that begins with a byte below 4; so it is the same wherever and whenever the rows are.
    pub sha256: String,
}

/// What a rehearsal measured.
#[derive(Clone, Debug, Serialize)]
pub struct Rehearsed {
    /// Rows that were copied.
    pub rows: u64,
    /// How long that took.
    pub copied_ms: u64,
    /// How long the last look took, with all rows counted: so long no changes would be taken.
    pub read_only_ms: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Where the data is now, or would be; `None` when it stays.
    pub to: Option<String>,
    /// Where the jobs are from the next start on; `None` when they stay.
    pub queue: Option<String>,
    /// Where the bytes are from the next start on; `None` when they stay.
    pub blobs: Option<String>,
    /// The files that were moved, or that would be: each has the SHA-256 after which it is named, in the place where it is then.
    pub files: Option<Sent>,
    /// Jobs that are still to be done, and dead ones, that came from a Redis.
    pub jobs: Carried,
    /// The Redis that has the jobs and that nobody named: what is dead and paused there stays there.
    pub left_behind: Option<String>,
    /// The rehearsal, when there was one.
    pub rehearsal: Option<Rehearsed>,
    /// The tables, after a move.
    pub tables: Vec<TableReport>,
    /// All of it.
    pub duration_ms: u64,
    /// How long no changes were taken.
    pub read_only_ms: u64,
    /// A server runs and must be restarted to take changes again.
    pub restart: bool,
}

/// Moves, or rehearses. Blocks; `runtime` must not be the one of this thread.
pub fn run(runtime: &Runtime, settings: &Server, wish: &Wish, ask: Ask<'_>, watch: &Watch) -> Result<Report> {
    let begun = Instant::now();
    let data = data_folder(&settings.data)?;
    let instance = ground::read_instance(&data.join(ground::INSTANCE))?.ok_or_else(|| {
        Error::invalid("data_folder", "No server has run with this data folder yet; there is nothing to move.")
    })?;
    let _one = FolderLock::take(&data.join(LOCK), &format!("process {}", std::process::id()))?
        .map_err(|held| Error::conflict("move_runs", format!("Another move is at work: {}.", held.by)))?;
    // Held for as long as the move lasts, so that no server starts meanwhile.
    let folder = match Folder::take(&data) {
        Ok(folder) => Some(folder),
        Err(error) if error.code == "data_folder_held" => None,
        Err(error) => return Err(error),
    };
    let source = Place::of(settings.postgres.as_ref(), &data);
    let target = wish.to.as_ref().map(|to| Place::parse(to, &data)).transpose()?;
    if target.as_ref().is_some_and(|it| it.name() == source.name()) {
        let text = format!("The data of this server is in {} already.", source.name());
        return Err(Error::conflict("same_database", text));
    }
    let listens = match &folder {
        Some(_) => false,
        // Before anything is opened: a program of another version may know another schema.
        None => ask(&command("thaw"))?.is_some(),
    };
    let runs = folder.is_none();
    let mut report = Report { restart: runs, ..Report::default() };
    let queue =
        wish.redis.as_ref().map(|to| Queue::lead(runtime, (settings, &data), instance, &source, to)).transpose()?;
    if let Some(to) = &wish.blobs {
        let sent = if to.expose() == "folder" {
            bytes::to_folder(&data, ask, watch, wish.rehearse)?
        } else {
            bytes::to_bucket(runtime, (settings, &data), to, instance, watch, wish.rehearse)?
        };
        report.files = Some(sent);
        report.blobs = Some(to.expose().to_owned());
    }
    if let Some(Queue { opened, from, to }) = queue {
        if wish.rehearse {
            runtime.block_on(jobs::check(to, instance))?;
        } else {
            let who = Who { instance, node: nodes::find_id(&data)?, clock: Clock::system() };
            let led = runtime.block_on(jobs::go(&data, &opened.db, &who, from, to))?;
            (report.jobs, report.left_behind) = (led.carried, led.behind);
        }
        report.queue = Some(to.name());
    }
    if let Some(target) = target {
        let mover =
            Mover { runtime, data: &data, instance: instance.to_string(), source, target, ask, watch, listens, runs };
        mover.run(wish, &mut report)?;
    }
    report.duration_ms = millis(begun);
    Ok(report)
}

/// Where the jobs are and where they go, and the database that knows of it.
struct Queue<'a> {
    opened: Opened,
    from: jobs::Place<'a>,
    to: jobs::Place<'a>,
}

impl<'a> Queue<'a> {
    /// Refuses to lead them where they are.
    fn lead(
        runtime: &Runtime,
        (settings, data): (&'a Server, &Path),
        instance: Id,
        source: &Place,
        to: &'a Secret,
    ) -> Result<Self> {
        let from = settings.redis.queue_url.as_deref().map_or(jobs::Place::Folder, jobs::Place::Redis);
        let (opened, to) = (source.open(runtime, true)?, jobs::Place::parse(to));
        runtime.block_on(jobs::refuse_same(data, &opened.db, instance, from, to))?;
        Ok(Self { opened, from, to })
    }
}

fn data_folder(path: &Path) -> Result<std::path::PathBuf> {
    path.canonicalize().map_err(|error| {
        let text =
            format!("Cannot use the data folder {}: {error}. Give the server's folder with --data.", path.display());
        Error::invalid("data_folder", text)
    })
}

fn command(word: &str) -> Value {
    json!({ "command": word, "version": env!("CHAINHOST_VERSION") })
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

struct Mover<'a> {
    runtime: &'a Runtime,
    data: &'a Path,
    instance: String,
    source: Place,
    target: Place,
    ask: Ask<'a>,
    watch: &'a Watch,
    /// The running server takes commands.
    listens: bool,
    /// A server runs.
    runs: bool,
}

impl Mover<'_> {
    fn run(&self, wish: &Wish, report: &mut Report) -> Result<()> {
        let source = self.source.open(self.runtime, true)?;
        let marks = self.runtime.block_on(source.db.read(store::copy::marks))?;
        if marks.instance.as_ref() != Some(&self.instance) || marks.filling.is_some() {
            let text = format!("{} is not the database of this server, or not a whole one.", self.source.name());
            return Err(Error::conflict("database_foreign", text));
        }
        report.to = Some(self.target.name());
        match marks.moved_to {
            // An earlier move has come to its end but for the last steps.
            Some(to) if to == self.target.name() => {
                let target = self.target.open(self.runtime, true)?;
                let marks = self.runtime.block_on(target.db.read(store::copy::marks))?;
                if marks.instance.as_ref() != Some(&self.instance) {
                    let text =
                        format!("The data was moved to {to}, and is not there any more. Restore a backup of it.");
                    return Err(Error::conflict("database_foreign", text));
                }
                watched::end_all(self.runtime, &source.db)?;
                self.end(&target)?;
                return Ok(());
            }
            Some(to) => {
                let text = format!(
                    "The data was moved from {} to {to} already. Give --to {to} to end that move.",
                    self.source.name()
                );
                return Err(Error::conflict("database_moved", text));
            }
            None => {}
        }
        if self.runs && !self.listens {
            let text = "A server holds the data folder and does not take commands. Stop it, and try again.";
            return Err(Error::conflict("data_folder_held", text));
        }
        self.refuse_others(&source)?;
        self.target.check(self.runtime, &self.instance).map_err(|error| self.target.untouched(error))?;
        let ours = self.runtime.block_on(source.db.read(store::copy::tables))?;
        let watched = Watched::begin(self.runtime, source.db.clone(), ours.clone())?;
        if wish.rehearse || !wish.skip_rehearsal {
            report.rehearsal = Some(self.rehearse(&source, &ours)?);
            if wish.rehearse {
                return Ok(());
            }
        }
        let target = self.target.open(self.runtime, false).map_err(|error| self.target.untouched(error))?;
        let copying = self.copying(&ours, &target)?;
        let mut copied = copying.all("copying", &source.db)?;
        copying.analyze()?;
        copying.follow(&source.db, &mut copied)?;
        let begun = Instant::now();
        let sums = self.cut_over(&source, copying, copied);
        report.read_only_ms = millis(begun);
        let sums = match sums {
            Ok(sums) => sums,
            Err(error) => {
                // Did it commit after all, the old database refuses changes by itself.
                if self.listens {
                    drop((self.ask)(&command("thaw")));
                }
                return Err(error);
            }
        };
        self.end(&target)?;
        drop(watched);
        report.tables = sums.into_iter().map(Sums::report).collect();
        Ok(())
    }

    /// Other processes on the old database would go on with it, and could change nothing. One lives when its number grows.
    fn refuse_others(&self, source: &Opened) -> Result<()> {
        let this = ground::read_instance(&self.data.join(ground::NODE))?;
        let others = || {
            let seen = self.runtime.block_on(source.db.read(store::nodes::list))?;
            let others = seen.into_iter().filter(|it| Some(it.id.0) != this);
            Ok::<_, Error>(others.map(|it| (it.id, it.beat)).collect::<Vec<_>>())
        };
        let (before, begun) = (others()?, Instant::now());
        while !before.is_empty() && begun.elapsed() < NODE_SILENT {
            thread::sleep(NODE_LOOK);
            let alive = others()?.into_iter().filter(|it| !before.contains(it)).count();
            if alive > 0 {
                let (work, them) = if alive == 1 { ("node works", "it") } else { ("nodes work", "them") };
                let text = format!("{alive} other {work} with {}. Stop {them}, and try again.", self.source.name());
                return Err(Error::conflict("nodes", text));
            }
        }
        Ok(())
    }

    fn copying(&self, ours: &[store::copy::Table], target: &Opened) -> Result<Copying> {
        let theirs = self.runtime.block_on(target.db.read(store::copy::tables))?;
        let tables = Arc::new(store::copy::agree(ours, &theirs)?);
        watched::end(self.runtime, &target.db, &tables)?;
        let (instance, to_prepare) = (self.instance.clone(), Arc::clone(&tables));
        self.runtime.block_on(target.db.write(move |tx| store::copy::prepare(tx, &to_prepare, &instance)))?;
        Ok(Copying {
            handle: self.runtime.handle().clone(),
            target: target.db.clone(),
            tables,
            watch: Arc::clone(self.watch),
        })
    }

    /// Copies all into a shadow that nobody uses, compares, and removes the shadow.
    fn rehearse(&self, source: &Opened, ours: &[store::copy::Table]) -> Result<Rehearsed> {
        let shadow = self.target.shadow().map_err(|error| self.target.untouched(error))?;
        let begun = Instant::now();
        let target = shadow.place().open(self.runtime, false).map_err(|error| self.target.untouched(error))?;
        let copying = self.copying(ours, &target)?;
        let mut copied = copying.all("rehearsing", &source.db)?;
        let copied_ms = millis(begun);
        copying.follow(&source.db, &mut copied)?;
        let begun = Instant::now();
        let sums = copying.rehearse_last_look(&source.db, &mut copied)?;
        copying::compare(&sums)?;
        let rehearsed = Rehearsed { rows: sums.iter().map(|it| it.rows).sum(), copied_ms, read_only_ms: millis(begun) };
        drop((copying, target));
        shadow.remove()?;
        Ok(rehearsed)
    }

    /// The time without changes: from the first request to take none to the commit of the mark.
    fn cut_over(&self, source: &Opened, copying: Copying, copied: Vec<Parted>) -> Result<Vec<Sums>> {
        let (stop, stopped) = mpsc::sync_channel::<()>(1);
        thread::scope(|scope| {
            if self.listens {
                (self.ask)(&command("freeze"))?;
                // Asked again and again: the server takes changes by itself when this process dies.
                thread::Builder::new().name(String::from("freeze")).spawn_scoped(scope, move || {
                    while stopped.recv_timeout(FREEZE_AGAIN) == Err(mpsc::RecvTimeoutError::Timeout) {
                        // It may have ended meanwhile; the transaction keeps others from writing all the same.
                        drop((self.ask)(&command("freeze")));
                    }
                })?;
            }
            let (copying, copied) = (Arc::new(copying), Arc::new(Mutex::new(copied)));
            let mut tries = 0;
            let out = loop {
                let (copying, copied, to) = (Arc::clone(&copying), Arc::clone(&copied), self.target.name());
                let ran = self.runtime.block_on(source.db.write(move |tx| {
                    store::copy::take_time(tx)?;
                    let mut copied = copied.lock().unwrap_or_else(PoisonError::into_inner);
                    let sums = copying.last_look(tx, &mut copied)?;
                    copying::compare(&sums)?;
                    store::copy::close(tx, &copying.tables, &to)?;
                    Ok(sums)
                }));
                tries += 1;
                match ran {
                    Err(error) if error.code == "database_busy" && tries < BUSY_MAX => {}
                    ran => break ran,
                }
            };
            drop(stop);
            out
        })
    }

    /// The last steps: the new database takes changes, the data folder remembers it, the running server is told.
    fn end(&self, target: &Opened) -> Result<()> {
        self.runtime.block_on(target.db.write(store::copy::open))?;
        let url = match &self.target {
            Place::Postgres(postgres) => Some(&*postgres.url),
            Place::Sqlite(_) => None,
        };
        places::remember(self.data, database::REMEMBERED, url)?;
        if self.listens {
            // A server that has ended meanwhile starts on the new database.
            drop((self.ask)(&json!({ "command": "moved", "to": self.target.name() })));
        }
        Ok(())
    }
}

/// A database at a URL.
fn at(url: &Secret) -> Postgres {
    Postgres::at(Secret::new(url.expose().to_owned()))
}
