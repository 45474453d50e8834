//! Opens the queue: in a file of the data folder, or in a Redis that other processes share.

pub(super) mod home;

use std::sync::Arc;

use crate::{
    base::{clock::Clock, ids::Id, secret::Secret},
    domain::{Error, Result, node::NodeId},
    engines::queue_redb::QueueRedb,
    ports::{db::Db, queue::Jobs},
    store,
};

use super::{ground::Folder, moving};

/// The file with the queue.
pub(super) const FILE: &str = "queue.redb";

/// The queue, open.
pub(super) struct Queues {
    pub(super) jobs: Jobs,
    /// The word of the Redis that it is in.
    pub(super) place: Option<String>,
    /// Does what waits, and ends.
    pub(super) close: Box<dyn FnOnce() + Send>,
}

/// Who opens the queue of an installation.
pub(super) struct Who {
    pub(super) instance: Id,
    pub(super) node: NodeId,
    pub(super) clock: Clock,
}

/// Opens the queue of a data folder, or the shared one as a node.
pub(super) async fn open(folder: &Folder, db: &Db, url: Option<&Arc<Secret>>, who: &Who) -> Result<Queues> {
    let data = &folder.path;
    let Some(url) = url else {
        check_none(db).await?;
        moving::jobs::come_home(data, db, who).await?;
        let engine = QueueRedb::open(&data.join(FILE), who.clock.clone())?;
        home::leave_others(db, None, who.clock.now_ms()).await?;
        return Ok(Queues {
            jobs: Jobs::new(Arc::<QueueRedb>::clone(&engine)),
            place: None,
            close: Box::new(move || engine.close()),
        });
    };
    if home::read(db).await?.at.is_none() && !home::was_left(db, look(url, who.instance).await?.as_deref()).await? {
        // What has come from a Redis that is not this one; it goes on to this one.
        moving::jobs::come_home(data, db, who).await?;
    }
    // Before any job is there alone.
    let place = home::enter(data, db, url, who).await?;
    let queues = shared(Arc::clone(url), Some((who.instance, place.clone())), who.node, who.clock.clone()).await?;
    home::come_back(db, url, &place, who, true).await?;
    moving::jobs::carry_into(data, db, &queues.jobs, who.clock.clone()).await?;
    home::leave_others(db, Some(&place), who.clock.now_ms()).await?;
    Ok(queues)
}

/// Refuses a start without a Redis while one has jobs of this installation. What had not ended would be done again, in part by
/// another server beside it; and what has failed, and what is paused, would be forgotten.
async fn check_none(db: &Db) -> Result<()> {
    let Some(at) = db.read(|tx| store::settings::find(tx, store::settings::QUEUE)).await? else { return Ok(()) };
    let text = format!(
        "The jobs of this server are in the Redis at {at}, which no setting names. Sites go on answering; nothing can be changed. \
         Name it in `queue_url` of [redis] or in CHAINHOST_REDIS_QUEUE_URL and restart; to bring the jobs into the data folder, name \
         it and run: chainhost move --redis none. If that Redis is gone for good, run the same command without naming it: jobs that \
         had not ended then come from the database, and those that had failed are lost."
    );
    Err(Error::unavailable("queue_elsewhere", text))
}

/// Runs what waits for the network on a thread of its own.
#[cfg(feature = "redis")]
async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    // Nobody waits any more when the server is stopping.
    std::thread::Builder::new().name(String::from("queue-open")).spawn(move || drop(answer.send(work())))?;
    answered.await.map_err(Error::internal)?
}

/// The word of the Redis at `url`, if it has one. Sees that its queues are those of this installation, or of nobody. Changes nothing there.
#[cfg(feature = "redis")]
pub(super) async fn look(url: &Arc<Secret>, instance: Id) -> Result<Option<String>> {
    use crate::engines::redis::{Wish, look};
    let (url, wish) = (Arc::clone(url), Wish::new("look", Clock::system()).owned_by(instance));
    apart(move || look(&url, &wish)).await
}

/// The same, and makes it this installation's, with the word `fresh` if it has none.
#[cfg(feature = "redis")]
pub(super) async fn claim(url: &Arc<Secret>, instance: Id, fresh: String) -> Result<String> {
    use crate::engines::redis::{Wish, claim};
    let (url, wish) = (Arc::clone(url), Wish::new("look", Clock::system()).owned_by(instance).placed(fresh));
    apart(move || claim(&url, &wish)).await
}

/// Lets the Redis at `url` forget the jobs that came from this program. How many.
#[cfg(feature = "redis")]
async fn clear(url: &Arc<Secret>, who: &Who) -> Result<u64> {
    use crate::engines::redis::{Wish, clear, look};
    let (url, wish) = (Arc::clone(url), Wish::new("return", who.clock.clone()).owned_by(who.instance));
    apart(move || look(&url, &wish).and_then(|_| clear(&url, &wish))).await
}

/// Opens the queues in a Redis as a node, for an installation and with the word that they must have, or as nobody.
#[cfg(feature = "redis")]
pub(super) async fn shared(
    url: Arc<Secret>,
    owned: Option<(Id, String)>,
    node: NodeId,
    clock: Clock,
) -> Result<Queues> {
    use crate::engines::redis::{QueueRedis, Wish};
    let mut wish = Wish::new(node.to_string(), clock);
    let place = owned.as_ref().map(|it| it.1.clone());
    if let Some((instance, place)) = owned {
        wish = wish.owned_by(instance).placed(place);
    }
    let engine = apart(move || QueueRedis::open(&url, &wish)).await?;
    Ok(Queues { jobs: Jobs::new(Arc::<QueueRedis>::clone(&engine)), place, close: Box::new(move || engine.close()) })
}

#[cfg(not(feature = "redis"))]
use without::clear;
#[cfg(not(feature = "redis"))]
pub(super) use without::{claim, look, shared};

/// The same signatures as with the feature.
#[cfg(not(feature = "redis"))]
mod without {
    use super::{super::caches::missing, Arc, Clock, Id, NodeId, Queues, Result, Secret, Who};

    pub(in crate::app) async fn look(_url: &Arc<Secret>, _instance: Id) -> Result<Option<String>> {
        Err(missing())
    }

    pub(in crate::app) async fn claim(_url: &Arc<Secret>, _instance: Id, _fresh: String) -> Result<String> {
        Err(missing())
    }

    pub(in crate::app) async fn clear(_url: &Arc<Secret>, _who: &Who) -> Result<u64> {
        Err(missing())
    }

    pub(in crate::app) async fn shared(
        _url: Arc<Secret>,
        _owned: Option<(Id, String)>,
        _node: NodeId,
        _clock: Clock,
    ) -> Result<Queues> {
        Err(missing())
    }
}
