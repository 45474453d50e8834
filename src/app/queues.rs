//! Opens the queue: in a file of the data folder, or in a Redis that other processes share.

use std::sync::Arc;

use crate::{
    base::{clock::Clock, ids::Id, secret::Secret},
    domain::{Result, node::NodeId},
    engines::queue_redb::QueueRedb,
    ports::queue::Jobs,
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
    let engine = QueueRedb::open(&folder.path.join(FILE), clock)?;
    Ok(Queues { jobs: Jobs::new(Arc::<QueueRedb>::clone(&engine)), close: Box::new(move || engine.close()) })
}

#[cfg(feature = "redis")]
pub(super) async fn shared(url: Arc<Secret>, instance: Option<Id>, node: NodeId, clock: Clock) -> Result<Queues> {
    use crate::{
        domain::Error,
        engines::redis::{QueueRedis, Wish},
    };
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
