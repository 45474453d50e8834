//! Opens the queue: in a file of the data folder, or in a Redis that other processes share.

use std::{fs, io, sync::Arc};

use crate::{
    base::{clock::Clock, secret::Secret},
    domain::Result,
    engines::queue_redb::QueueRedb,
    ports::queue::{Jobs, QueueEngine},
};

use super::ground::Folder;

/// The file with the queue.
pub(super) const FILE: &str = "queue.redb";
/// The file with the name of this process among those that share a queue.
pub(super) const NODE: &str = "node";

/// The queue, open.
pub(super) struct Queues {
    pub(super) jobs: Jobs,
    /// Does what waits, and ends.
    pub(super) close: Box<dyn FnOnce() + Send>,
}

/// Opens the queue of a data folder.
pub(super) async fn open(folder: &Folder, url: Option<Arc<Secret>>, clock: Clock) -> Result<Queues> {
    match url {
        Some(url) => shared(folder, url, clock).await,
        None => {
            let engine = QueueRedb::open(&folder.path.join(FILE), clock)?;
            let jobs = Jobs::new(Arc::<QueueRedb>::clone(&engine) as Arc<dyn QueueEngine>);
            Ok(Queues { jobs, close: Box::new(move || engine.close()) })
        }
    }
}

#[cfg(feature = "redis")]
async fn shared(folder: &Folder, url: Arc<Secret>, clock: Clock) -> Result<Queues> {
    use crate::{
        domain::Error,
        engines::redis::{QueueRedis, Wish},
    };
    let wish = Wish::new(node(folder, &clock)?, clock);
    let (answer, answered) = tokio::sync::oneshot::channel();
    // It waits for the network.
    let open = move || {
        // Nobody waits any more when the server is stopping.
        drop(answer.send(QueueRedis::open(&url, wish)));
    };
    std::thread::Builder::new().name(String::from("queue-open")).spawn(open)?;
    let engine = answered.await.map_err(Error::internal)??;
    Ok(Queues { jobs: Jobs::new(Arc::<QueueRedis>::clone(&engine)), close: Box::new(move || engine.close()) })
}

/// The name of the process that holds this folder: made once, since its next start must know what this one left running.
#[cfg(feature = "redis")]
fn node(folder: &Folder, clock: &Clock) -> Result<String> {
    use crate::base::{
        files,
        ids::{Id, Ids},
    };
    let path = folder.path.join(NODE);
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().parse::<Id>().is_ok() => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let name = Ids::new(clock.clone()).next().to_string();
    files::write_atomic(&path, format!("{name}\n").as_bytes(), 0o600)?;
    Ok(name)
}

/// Whether the settings of the queue can be used.
#[cfg(feature = "redis")]
pub fn check(url: Option<&Secret>) -> Result<()> {
    url.map(crate::engines::redis::Address::parse).transpose().map(|_| ())
}

#[cfg(not(feature = "redis"))]
#[expect(clippy::unused_async, reason = "the same signature as with the feature")]
async fn shared(_folder: &Folder, _url: Arc<Secret>, _clock: Clock) -> Result<Queues> {
    Err(missing())
}

/// Whether the settings of the queue can be used.
#[cfg(not(feature = "redis"))]
pub fn check(url: Option<&Secret>) -> Result<()> {
    if url.is_some() { Err(missing()) } else { Ok(()) }
}

#[cfg(not(feature = "redis"))]
fn missing() -> crate::domain::Error {
    crate::domain::Error::invalid(
        "feature_missing",
        "This build has no Redis. Take a released binary, or build with `--features redis`.",
    )
}
