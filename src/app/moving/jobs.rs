//! The jobs of a server, when its queue goes from the data folder to a Redis or comes back.

use std::{fs, io, path::Path, sync::Arc};

use crate::{
    base::{clock::Clock, files, ids::Id, random, secret::Secret},
    config::{
        database::remembered,
        redis::{REMEMBERED, place_of, shown},
    },
    domain::{Error, Result, node::NodeId},
    engines::queue_redb::QueueRedb,
    ports::{db::Db, queue::Jobs},
    services::carry_jobs::{Carried, Pauses, carry_dead, carry_jobs, let_go_of_ended},
};

use super::{
    super::queues::{
        self, Queues, Who,
        home::{self, Home},
    },
    places::{give_to_owner, remember},
};

/// What the file of a queue is called once its jobs are elsewhere.
const LEFT: &str = "queue.redb.left";
/// The file with the URL of the Redis that a move leads away from, until a start on the other queue.
const BEFORE: &str = "queue-url.before";
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
fn adopt(data: &Path) -> Result<()> {
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

    /// Whether it is where another URL of a Redis leads.
    fn is(self, other: &Secret) -> bool {
        matches!(self, Self::Redis(url) if place_of(url.expose()) == place_of(other.expose()))
    }

    /// For people; without a password.
    pub(super) fn name(self) -> String {
        match self {
            Self::Folder => String::from("folder"),
            Self::Redis(url) => shown(url.expose()),
        }
    }
}

/// Refuses a move that would change nothing. One that no start has ended may be given again, and one to another place undoes it.
pub(super) async fn refuse_same(data: &Path, db: &Db, instance: Id, from: Place<'_>, to: Place<'_>) -> Result<()> {
    let known = home::read(db).await?;
    let place = match (from, to) {
        (Place::Folder, Place::Folder) if known.at.is_none() => "the data folder",
        // It may have other queues by now than those that it is known for.
        (Place::Redis(from), Place::Redis(to)) if from.expose() == to.expose() && known.place.is_some() => {
            if queues::look(&share(to), instance).await? != known.place {
                return Ok(());
            }
            &shown(to.expose())
        }
        _ => return Ok(()),
    };
    if known.next.is_some() || remembered(&data.join(BEFORE))?.is_some() || has_queue(&data.join(COMING))? {
        return Ok(());
    }
    Err(Error::conflict("same_queue", format!("The jobs of this server are in {place} already.")))
}

/// Sees that a queue can be there, and that it is nobody else's. Changes nothing. The word of a Redis, if it has one.
pub(super) async fn check(place: Place<'_>, instance: Id) -> Result<Option<String>> {
    match place {
        Place::Folder => Ok(None),
        Place::Redis(url) => queues::look(&share(url), instance).await,
    }
}

fn share(url: &Secret) -> Arc<Secret> {
    Arc::new(Secret::new(url.expose().to_owned()))
}

/// Opens a queue as nobody who works on it.
async fn visit(url: &Arc<Secret>) -> Result<Queues> {
    let node = NodeId(Id::from_bytes(random::bytes()));
    let queues = queues::shared(Arc::clone(url), None, node, Clock::system()).await?;
    // A server would wait for a Redis that is away; this does not.
    if let Err(error) = queues.jobs.depths(None).await {
        (queues.close)();
        return Err(error);
    }
    Ok(queues)
}

/// What came of leading a queue elsewhere.
#[derive(Debug, Default)]
pub(super) struct Led {
    pub(super) carried: Carried,
    /// The Redis that has the jobs and that nobody named: its dead jobs and pauses stay in it.
    pub(super) behind: Option<String>,
}

/// Lets the next start have its queue in another place. What a Redis has of dead jobs and pauses is brought now, so that it is there
/// when that one is gone by then; a start that reaches it brings all anew. What is open in it comes with the outbox, and what is in
/// the data folder at the next start, when nobody else has its file.
pub(super) async fn go(data: &Path, db: &Db, who: &Who, from: Place<'_>, to: Place<'_>) -> Result<Led> {
    // Before anything is changed.
    let from_word = check(from, who.instance).await.map_err(|error| may_be_gone(data, error))?;
    let to_word = check(to, who.instance).await?;
    let known = home::read(db).await?;
    let source = source(data, db, who, &known, (from, from_word)).await?;
    let known = home::read(db).await?;
    if let Place::Redis(url) = to
        && known.at.is_some()
        && known.is(url, to_word.as_deref())
    {
        home::lead_to(db, None).await?;
        forget_before(data)?;
        remember(data, REMEMBERED, Some(url))?;
        return Ok(Led::default());
    }
    let mut led = Led::default();
    if source.is_none()
        && let Some(at) = &known.at
    {
        if let Place::Redis(named) = from
            && !to.is(named)
        {
            return Err(not_there(&from.name(), at));
        }
        led.behind = Some(at.clone());
    }
    match to {
        Place::Redis(url) => {
            if known.at.is_some() {
                led.carried = prepare(data, db, who, source.as_ref(), &share(url)).await?;
            }
            remember(data, REMEMBERED, Some(url))?;
        }
        Place::Folder => {
            if let Some(from) = &source {
                led.carried = fill(data, db, from).await?;
                remember(data, BEFORE, Some(from))?;
            }
            // Before the folder forgets where they were: broken off in between, the next start is on that Redis, and notes it again.
            home::forget(db).await?;
            remember(data, REMEMBERED, None)?;
        }
    }
    Ok(led)
}

/// An error of the Redis that has the jobs as far as is known, with the way for one that never answers again.
fn may_be_gone(data: &Path, error: Error) -> Error {
    if error.code != "queue_unreachable" {
        return error;
    }
    let remembered = data.join(REMEMBERED);
    let forget = if remembered.exists() {
        format!("remove {}, leave it out of the settings", remembered.display())
    } else {
        String::from("leave it out of the settings")
    };
    let text = format!(
        "{} If it is gone for good, {forget}, and run the command again: jobs that had not ended then come from the database, and \
         those that had failed are lost.",
        error.message
    );
    Error { message: text, ..error }
}

fn not_there(named: &str, at: &str) -> Error {
    let text = format!(
        "The settings name {named} for the queue, while the jobs of this server are in the Redis at {at}. Name that one, and try again."
    );
    Error::conflict("queue_other", text)
}

/// The Redis that has the jobs, among those that are named: by the settings, or by a move that no start has ended.
async fn source(
    data: &Path,
    db: &Db,
    who: &Who,
    known: &Home,
    (from, word): (Place<'_>, Option<String>),
) -> Result<Option<Arc<Secret>>> {
    let mut candidates = Vec::new();
    if let Place::Redis(url) = from {
        candidates.push((share(url), word));
    }
    if let Some(before) = remembered(&data.join(BEFORE))? {
        let before = Arc::new(before);
        match queues::look(&before, who.instance).await {
            Ok(word) => candidates.push((before, word)),
            Err(error) => tracing::debug!(%error, "the Redis of before the last move cannot be used"),
        }
    }
    for (url, word) in &candidates {
        let has_them = match (&known.at, word) {
            (Some(_), word) => known.is(url, word.as_deref()),
            (None, Some(word)) => home::is_just_left(db, word).await?,
            (None, None) => false,
        };
        if has_them {
            let word = queues::claim(url, who.instance, known.place.clone().unwrap_or_else(home::word)).await?;
            home::note(db, url, word).await?;
            return Ok(Some(Arc::clone(url)));
        }
    }
    // What a move has brought is there, and the one before cannot be asked any more.
    let next = |it: &&(Arc<Secret>, Option<String>)| known.next.is_some() && it.1 == known.next;
    Ok(candidates.iter().find(next).map(|it| Arc::clone(&it.0)))
}

/// Brings dead jobs and pauses to a Redis, and lets the next start be on it.
async fn prepare(data: &Path, db: &Db, who: &Who, from: Option<&Arc<Secret>>, to: &Arc<Secret>) -> Result<Carried> {
    let word = queues::claim(to, who.instance, home::word()).await?;
    home::come_back(db, to, &word, who, false).await?;
    let carried = match from {
        None => {
            forget_before(data)?;
            Carried::default()
        }
        Some(url) => {
            let from = visit(url).await?;
            let carried = into_redis(db, &from.jobs, to).await;
            (from.close)();
            remember(data, BEFORE, Some(url))?;
            carried?
        }
    };
    home::lead_to(db, Some(word)).await?;
    Ok(carried)
}

async fn into_redis(db: &Db, from: &Jobs, to: &Arc<Secret>) -> Result<Carried> {
    let to = visit(to).await?;
    let carried = carry_jobs(db, from, &to.jobs, Pauses::Replace).await;
    (to.close)();
    carried
}

/// Into a file that the next start takes, if it finds no Redis named: broken off anywhere before that, nothing has come.
async fn fill(data: &Path, db: &Db, from: &Arc<Secret>) -> Result<Carried> {
    if has_queue(&data.join(queues::FILE))? {
        // No server has started on that Redis: all is here still.
        return Ok(Carried::default());
    }
    let from = visit(from).await?;
    let filled = fill_from(data, db, &from.jobs).await;
    (from.close)();
    filled
}

async fn fill_from(data: &Path, db: &Db, from: &Jobs) -> Result<Carried> {
    let path = data.join(PART);
    remove(&path)?;
    let engine = QueueRedb::open(&path, Clock::system())?;
    let to = Jobs::new(Arc::<QueueRedb>::clone(&engine));
    let carried = carry_jobs(db, from, &to, Pauses::Replace).await;
    engine.close();
    let carried = carried?;
    give_to_owner(data, &path)?;
    fs::rename(&path, data.join(COMING))?;
    files::sync_folder(data)?;
    Ok(carried)
}

/// Ends a move from Redis to Redis: what has died, was started again, was paused or was resumed since the move is as the one before has it,
/// and what has ended there is in the outbox no more. Without that one, what the move has brought stays. Nobody works on either.
pub(in crate::app) async fn bring(data: &Path, db: &Db, to: &Arc<Secret>, known: &Home, who: &Who) -> Result<()> {
    let at = known.at.clone().unwrap_or_default();
    let from = match before(data, who, async |word| Ok(known.place.as_deref() == Some(word))).await {
        Ok(from) => from,
        Err(error) => {
            warn_behind(&at, &error);
            return Ok(());
        }
    };
    let brought = async {
        home::forget_all(to, who).await?;
        let ended = let_go_of_ended(db, &from.jobs).await?;
        let carried = into_redis(db, &from.jobs, to).await?;
        tracing::info!(
            ended,
            dead = carried.dead,
            open = carried.open,
            "the jobs of the Redis before are in this one now"
        );
        Ok(())
    }
    .await;
    (from.close)();
    brought
}

/// Brings what has died in the Redis of before since a move that another node has ended, which does not know that Redis. Others may work
/// on this one already, so that nothing else of it is changed.
pub(in crate::app) async fn bring_late(data: &Path, db: &Db, to: &Arc<Secret>, who: &Who) {
    if !data.join(BEFORE).exists() {
        return;
    }
    let brought = async {
        let from = before(data, who, async |word| home::is_left_lately(db, word, who.clock.now_ms()).await).await?;
        let dead = into_late(&from.jobs, to).await;
        (from.close)();
        dead
    };
    match brought.await {
        Ok(dead) => tracing::info!(dead, "what had died in the Redis before is in this one now"),
        Err(error) => tracing::info!(%error, "nothing is brought from the Redis before"),
    }
}

async fn into_late(from: &Jobs, to: &Arc<Secret>) -> Result<u64> {
    let to = visit(to).await?;
    let dead = carry_dead(from, &to.jobs).await;
    (to.close)();
    dead
}

/// The same for a move to the data folder, which then has the queue that comes.
pub(in crate::app) async fn come_home(data: &Path, db: &Db, who: &Who) -> Result<()> {
    let (path, coming) = (data.join(queues::FILE), data.join(COMING));
    if !has_queue(&path)? && has_queue(&coming)? {
        match before(data, who, async |word| home::is_just_left(db, word).await).await {
            Ok(from) => {
                let brought = async {
                    let_go_of_ended(db, &from.jobs).await?;
                    fill_from(data, db, &from.jobs).await
                }
                .await;
                (from.close)();
                brought?;
            }
            Err(error) => warn_behind("the Redis before", &error),
        }
    }
    adopt(data)?;
    forget_before(data)
}

/// The Redis that the last move leads away from, when its word is the right one.
async fn before(data: &Path, who: &Who, is_right: impl AsyncFnOnce(&str) -> Result<bool>) -> Result<Queues> {
    let Some(url) = remembered(&data.join(BEFORE))?.map(Arc::new) else {
        let text =
            "This data folder does not know its address. A node that does brings what has died there, when it starts.";
        return Err(Error::unavailable("queue_before", text));
    };
    match queues::look(&url, who.instance).await? {
        Some(word) if is_right(&word).await? => visit(&url).await,
        _ => Err(Error::unavailable("queue_before", "What is at its address has other queues now.")),
    }
}

fn warn_behind(at: &str, error: &Error) {
    tracing::warn!(
        redis = at,
        %error,
        "the Redis that had the jobs before cannot be asked again: what has died, was paused or was resumed there since `chainhost move` \
         stays as it was then, and jobs that ended just before a crash may be done again"
    );
}

/// A start has decided where the queue is: no move is under way.
pub(in crate::app) fn forget_before(data: &Path) -> Result<()> {
    let path = data.join(BEFORE);
    if path.exists() { remember(data, BEFORE, None) } else { Ok(()) }
}
