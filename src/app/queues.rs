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
    services::carry_jobs::drop_ended,
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

/// Each Redis that was left, but for the one at `url`, has no job of this installation that is younger than this start.
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

/// Takes out of the Redis at `url` what has ended elsewhere since it was left, if it was.
pub(super) async fn come_back(db: &Db, url: &Secret, jobs: &Jobs) -> Result<()> {
    let mark = left(&name(url));
    let asked = mark.clone();
    let Some(since) = db.read(move |tx| store::settings::find(tx, &asked)).await? else { return Ok(()) };
    // It was never left in the end, when nothing stands there.
    if let Ok(left_ms) = since.parse() {
        let dropped = drop_ended(db, jobs, left_ms).await?;
        tracing::info!(
            dropped,
            "the queue is in a Redis again that it had left; what has ended since was taken out of it"
        );
    }
    db.write(move |tx| store::settings::remove(tx, &mark)).await
}

#[cfg(feature = "redis")]
pub(super) async fn shared(url: Arc<Secret>, instance: Option<Id>, node: NodeId, clock: Clock) -> Result<Queues> {
    use crate::engines::redis::{QueueRedis, Wish};
    let mut wish = Wish::new(node.to_string(), clock);
    if let Some(instance) = instance {
        wish = wish.owned_by(instance);
    }
    let (answer, answered) = tokio::sync::oneshot::channel();
    // It waits for the network.
    let open = move || {
        // Nobody waits any more when the server is stopping.
        drop(answer.send(QueueRedis::open(&url, &wish)));
    };
    std::thread::Builder::new().name(String::from("queue-open")).spawn(open)?;
    let engine = answered.await.map_err(Error::internal)??;
    Ok(Queues { jobs: Jobs::new(Arc::<QueueRedis>::clone(&engine)), close: Box::new(move || engine.close()) })
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "the same signature as with the feature")]
pub(super) async fn shared(_url: Arc<Secret>, _instance: Option<Id>, _node: NodeId, _clock: Clock) -> Result<Queues> {
    Err(super::caches::missing())
}
