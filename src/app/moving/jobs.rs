//! The jobs of a server, when its queue goes from the data folder to a Redis or comes back.

use std::{fs, io, path::Path, sync::Arc};

use tokio::runtime::Runtime;

use crate::{
    base::{clock::Clock, files, ids::Id, random, secret::Secret},
    config::{database::public_part, redis::REMEMBERED},
    domain::{Result, node::NodeId},
    engines::queue_redb::QueueRedb,
    ports::{db::Db, queue::Jobs},
    services::carry_jobs::{Carried, Pauses, carry_jobs},
};

use super::{
    super::queues::{self, Queues},
    places::{give_to_owner, remember},
};

/// What the file of a queue is called once its jobs are elsewhere.
const LEFT: &str = "queue.redb.left";
/// What it is called when all that a Redis has is in it, before a start takes it.
const COMING: &str = "queue.redb.coming";
/// And before all is in it.
const PART: &str = "queue.redb.coming.part";

/// Brings what the queue in a data folder has to the one that takes its place. Nobody else may have its file open.
pub(in crate::app) async fn carry_into(data: &Path, db: &Db, to: &Jobs, clock: Clock) -> Result<()> {
    // Of a move away from this Redis that did not come to its end.
    remove(&data.join(PART))?;
    remove(&data.join(COMING))?;
    let path = data.join(queues::FILE);
    if !has_queue(&path)? {
        return Ok(());
    }
    let engine = QueueRedb::open(&path, clock)?;
    let carried = carry_jobs(db, &Jobs::new(Arc::<QueueRedb>::clone(&engine)), to, Pauses::Join).await;
    engine.close();
    let Carried { open, dead } = carried?;
    // Its ids are known to it for a day: it would not take them again, should they come back.
    fs::rename(&path, data.join(LEFT))?;
    files::sync_folder(data)?;
    tracing::info!(open, dead, "the jobs of the data folder are in the Redis of the queue now");
    Ok(())
}

/// Whether there is a file of a queue with something in it.
fn has_queue(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(file) => Ok(file.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Gives the queue that has come from a Redis its name, before it is opened: nothing else says that it is elsewhere any more.
pub(in crate::app) fn adopt(data: &Path) -> Result<()> {
    let (path, coming) = (data.join(queues::FILE), data.join(COMING));
    if has_queue(&path)? || !has_queue(&coming)? {
        return Ok(());
    }
    fs::rename(coming, path)?;
    files::sync_folder(data).map_err(Into::into)
}

/// Where the queue of a server is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// In the data folder.
    Folder,
    /// In a Redis.
    Redis(&'a Secret),
}

impl<'a> Place<'a> {
    /// Reads what follows `--redis`.
    pub(super) fn parse(text: &'a Secret) -> Self {
        if text.expose() == "none" { Self::Folder } else { Self::Redis(text) }
    }

    /// For people; without a password.
    pub(super) fn name(self) -> String {
        match self {
            Self::Folder => String::from("folder"),
            Self::Redis(url) => format!("redis://{}", public_part(url.expose())),
        }
    }
}

/// Sees that a queue can be there, and that it is nobody else's. Changes nothing.
pub(super) fn check(runtime: &Runtime, place: Place<'_>, instance: Id) -> Result<()> {
    let Place::Redis(url) = place else { return Ok(()) };
    runtime.block_on(queues::check_owner(Arc::new(Secret::new(url.expose().to_owned())), instance))
}

/// Opens a queue as nobody who works on it.
fn open_redis(runtime: &Runtime, url: &Secret) -> Result<Queues> {
    let url = Arc::new(Secret::new(url.expose().to_owned()));
    let node = NodeId(Id::from_bytes(random::bytes()));
    let queues = runtime.block_on(queues::shared(url, None, node, Clock::system()))?;
    // A server would wait for a Redis that is away; a command does not.
    if let Err(error) = runtime.block_on(queues.jobs.depths(None)) {
        (queues.close)();
        return Err(error);
    }
    Ok(queues)
}

/// The same where jobs are to be brought; a Redis that was left has forgotten then what it had.
fn open_clear(runtime: &Runtime, db: &Db, url: &Secret, instance: Id) -> Result<Queues> {
    let shared = Arc::new(Secret::new(url.expose().to_owned()));
    runtime.block_on(queues::come_back(db, &shared, instance, &Clock::system(), false))?;
    open_redis(runtime, url)
}

/// Lets the next start have its queue in another place. What a Redis has of dead jobs and pauses is brought now; what is open in it
/// comes with the outbox, and what is in the data folder at the next start, when nobody else has its file.
pub(super) fn go(
    runtime: &Runtime,
    (data, instance): (&Path, Id),
    db: &Db,
    from: Place<'_>,
    to: Place<'_>,
) -> Result<Carried> {
    check(runtime, from, instance)?;
    check(runtime, to, instance)?;
    let carried = match (from, to) {
        (Place::Folder, _) => Carried::default(),
        (Place::Redis(from), to) => {
            let from = open_redis(runtime, from)?;
            let carried = match to {
                Place::Redis(to) => open_clear(runtime, db, to, instance).and_then(|to| {
                    let carried = runtime.block_on(carry_jobs(db, &from.jobs, &to.jobs, Pauses::Replace));
                    (to.close)();
                    carried
                }),
                Place::Folder => bring_back(runtime, data, db, &from.jobs),
            };
            (from.close)();
            carried?
        }
    };
    let url = match to {
        // Before the folder forgets where they were: broken off in between, the next start is on that Redis, and notes it again.
        Place::Folder => {
            runtime.block_on(queues::forget(db))?;
            None
        }
        Place::Redis(url) => Some(url),
    };
    remember(data, REMEMBERED, url)?;
    Ok(carried)
}

/// Into a file that the next start takes, if it finds no Redis named: broken off anywhere before that, nothing has come.
fn bring_back(runtime: &Runtime, data: &Path, db: &Db, from: &Jobs) -> Result<Carried> {
    if has_queue(&data.join(queues::FILE))? {
        // No server has started on that Redis: all is here still.
        return Ok(Carried::default());
    }
    let path = data.join(PART);
    remove(&path)?;
    let engine = QueueRedb::open(&path, Clock::system())?;
    let to = Jobs::new(Arc::<QueueRedb>::clone(&engine));
    let carried = runtime.block_on(carry_jobs(db, from, &to, Pauses::Replace));
    engine.close();
    let carried = carried?;
    give_to_owner(data, &path)?;
    fs::rename(&path, data.join(COMING))?;
    files::sync_folder(data)?;
    Ok(carried)
}
