//! Opens the queue: in a file of the data folder, or in a Redis that other processes share.

use std::sync::Arc;

use crate::{
    base::{clock::Clock, ids::Id, secret::Secret},
    config::database::public_part,
    domain::{Error, Result, node::NodeId},
    engines::queue_redb::QueueRedb,
    ports::{
        db::{Db, WriteTx},
        queue::Jobs,
    },
    store,
};

use super::ground::Folder;

/// The file with the queue.
pub(super) const FILE: &str = "queue.redb";

/// The queue, open.
pub(super) struct Queues {
    pub(super) jobs: Jobs,
    /// Does what waits, and ends.
    pub(super) close: Box<dyn FnOnce() + Send>,
}

/// Opens the queue of a data folder, or the shared one as a node.
pub(super) async fn open(
    folder: &Folder,
    url: Option<Arc<Secret>>,
    instance: Id,
    node: NodeId,
    clock: Clock,
) -> Result<Queues> {
    if let Some(url) = url {
        return shared(url, Some(instance), node, clock).await;
    }
    super::moving::jobs::adopt(&folder.path)?;
    let engine = QueueRedb::open(&folder.path.join(FILE), clock)?;
    Ok(Queues { jobs: Jobs::new(Arc::<QueueRedb>::clone(&engine)), close: Box::new(move || engine.close()) })
}

/// Refuses a start without a Redis while one has jobs of this installation. What had not ended would be done again, in part by
/// another server beside it; and what has failed, and what is paused, would be forgotten.
pub(super) async fn check(db: &Db, url: Option<&Secret>) -> Result<()> {
    let Some(at) = db.read(|tx| store::settings::find(tx, store::settings::QUEUE)).await? else { return Ok(()) };
    if url.is_some() {
        return Ok(());
    }
    let text = format!(
        "The jobs of this server are in the Redis at {at}, which no setting names. Sites go on answering; nothing can be changed. \
         Name it in `queue_url` of [redis] or in CHAINHOST_REDIS_QUEUE_URL and restart; to bring the jobs into the data folder, name \
         it and run: chainhost move --redis none. If that Redis is gone for good, run the same command without naming it: jobs that \
         had not ended then come from the database, and those that had failed are lost."
    );
    Err(Error::unavailable("queue_elsewhere", text))
}

/// Notes which Redis has the jobs now. Those of another one, and of this one before it was left, are needed no more.
pub(super) async fn note(db: &Db, url: &Secret) -> Result<()> {
    let at = name(url);
    let known = db.read(|tx| store::settings::find(tx, store::settings::QUEUE)).await?;
    if known.as_ref() == Some(&at) {
        return Ok(());
    }
    let note = move |tx: &mut WriteTx<'_>| {
        if let Some(before) = &known {
            store::settings::set(tx, &left(before), "")?;
        }
        store::settings::set(tx, store::settings::QUEUE, &at)
    };
    db.write(note).await
}

/// No Redis has jobs of this installation that are still needed.
pub(super) async fn forget(db: &Db) -> Result<()> {
    let forget = |tx: &mut WriteTx<'_>| {
        let Some(before) = store::settings::find(tx, store::settings::QUEUE)? else { return Ok(()) };
        store::settings::set(tx, &left(&before), "")?;
        store::settings::remove(tx, store::settings::QUEUE)
    };
    db.write(forget).await
}

/// As a Redis stands in the database: without user and password.
fn name(url: &Secret) -> String {
    public_part(url.expose()).to_owned()
}

fn left(name: &str) -> String {
    format!("{}{name}", store::settings::QUEUE_LEFT)
}

/// Each Redis that was left, but for the one at `url`, is one that this installation works without from this start on.
pub(super) async fn leave_others(db: &Db, url: Option<&Secret>, now_ms: i64) -> Result<()> {
    let all = db.read(|tx| store::settings::list(tx, store::settings::QUEUE_LEFT)).await?;
    let here = url.map(|it| left(&name(it)));
    let open: Vec<String> =
        all.into_iter().filter(|it| it.1.is_empty() && Some(&it.0) != here.as_ref()).map(|it| it.0).collect();
    if open.is_empty() {
        return Ok(());
    }
    db.write(move |tx| open.iter().try_for_each(|it| store::settings::set(tx, it, &now_ms.to_string()))).await
}

/// What the mark of a Redis that was left says once that has forgotten what it had then.
const CLEARED: &str = "cleared";
/// The mark while a process lets it forget, followed by since when (UTC, milliseconds).
const CLEARING: &str = "clearing ";
/// After so long without an end the one who began is dead.
const CLEARING_MAX_MS: i64 = 60_000;

/// What is to be done with a Redis that was left.
enum Return {
    Nothing,
    Clear,
    Wait,
}

/// Lets the Redis at `url` forget the jobs that it had when it was left, if it was: they have ended elsewhere since, were started again
/// there or are in the outbox. One process does it, and all others wait for its end.
/// `begins`: a server works with it from now on. Otherwise jobs are brought there first.
pub(super) async fn come_back(db: &Db, url: &Arc<Secret>, instance: Id, clock: &Clock, begins: bool) -> Result<()> {
    let mark = left(&name(url));
    loop {
        let (key, now_ms) = (mark.clone(), clock.now_ms());
        let decide = move |tx: &mut WriteTx<'_>| {
            let Some(word) = store::settings::find(tx, &key)? else { return Ok(Return::Nothing) };
            let since = word.strip_prefix(CLEARING).and_then(|it| it.parse::<i64>().ok());
            if since.is_some_and(|it| now_ms.saturating_sub(it).abs() < CLEARING_MAX_MS) {
                return Ok(Return::Wait);
            }
            // Nothing: it was never left in the end.
            if word.is_empty() || begins && word == CLEARED {
                if begins {
                    store::settings::remove(tx, &key)?;
                }
                return Ok(Return::Nothing);
            }
            store::settings::set(tx, &key, &format!("{CLEARING}{now_ms}"))?;
            Ok(Return::Clear)
        };
        match db.write(decide).await? {
            Return::Nothing => return Ok(()),
            Return::Wait => tokio::time::sleep(std::time::Duration::from_millis(200)).await,
            Return::Clear => {
                let forgotten = clear(Arc::clone(url), instance, clock.clone()).await?;
                tracing::info!(forgotten, "a Redis that the queue had left has forgotten the jobs of then");
                let key = mark.clone();
                let end = move |tx: &mut WriteTx<'_>| {
                    if begins { store::settings::remove(tx, &key) } else { store::settings::set(tx, &key, CLEARED) }
                };
                return db.write(end).await;
            }
        }
    }
}

/// Runs what waits for the network on a thread of its own.
#[cfg(feature = "redis")]
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    // Nobody waits any more when the server is stopping.
    std::thread::Builder::new().name(String::from("queue-open")).spawn(move || drop(answer.send(work())))?;
    answered.await.map_err(Error::internal)?
}

#[cfg(feature = "redis")]
async fn clear(url: Arc<Secret>, instance: Id, clock: Clock) -> Result<u64> {
    use crate::engines::redis::{Wish, check_owner, clear};
    let wish = Wish::new("return", clock).owned_by(instance);
    apart(move || check_owner(&url, &wish).and_then(|()| clear(&url, &wish))).await
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "the same signature as with the feature")]
async fn clear(_url: Arc<Secret>, _instance: Id, _clock: Clock) -> Result<u64> {
    Err(super::caches::missing())
}

/// Sees that the queues in the Redis at `url` are those of this installation, or of nobody. Changes nothing there.
#[cfg(feature = "redis")]
pub(super) async fn check_owner(url: Arc<Secret>, instance: Id) -> Result<()> {
    use crate::engines::redis::{Wish, check_owner};
    let wish = Wish::new("look", Clock::system()).owned_by(instance);
    apart(move || check_owner(&url, &wish)).await
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "the same signature as with the feature")]
pub(super) async fn check_owner(_url: Arc<Secret>, _instance: Id) -> Result<()> {
    Err(super::caches::missing())
}

#[cfg(feature = "redis")]
pub(super) async fn shared(url: Arc<Secret>, instance: Option<Id>, node: NodeId, clock: Clock) -> Result<Queues> {
    use crate::engines::redis::{QueueRedis, Wish};
    let mut wish = Wish::new(node.to_string(), clock);
    if let Some(instance) = instance {
        wish = wish.owned_by(instance);
    }
    let engine = apart(move || QueueRedis::open(&url, &wish)).await?;
    Ok(Queues { jobs: Jobs::new(Arc::<QueueRedis>::clone(&engine)), close: Box::new(move || engine.close()) })
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "the same signature as with the feature")]
pub(super) async fn shared(_url: Arc<Secret>, _instance: Option<Id>, _node: NodeId, _clock: Clock) -> Result<Queues> {
    Err(super::caches::missing())
}
