//! The upload of a deployment: announce all files, send what the server misses, finish.
//!
//! The same announcement has the same idempotency key, in this process and in the next: after a lost connection or a
//! killed command the server answers with the same deployment and what is still missing, and only that is sent.

use std::{
    cell::Cell,
    collections::VecDeque,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use indicatif::ProgressBar;
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

use super::{
    feed::{self, Batch, Ended, PIECES_WAITING},
    hash::Files,
};
use crate::{
    base::{hash::Sha256, limits::FILES_BODY_BYTES_MAX, random},
    cli::{
        client::{
            BACKOFF, Call, Client, TRIES,
            shapes::{Begun, Deployment},
        },
        deployments,
        failure::{Failure, Result},
    },
    domain::site::SiteName,
};

/// How often to ask for a deployment that the server still works on …
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// … and for how long: a large site is checked in seconds.
const SETTLED_WITHIN: Duration = Duration::from_mins(5);

/// What is said of a new deployment besides its files.
#[derive(Debug, Serialize)]
pub(super) struct Options {
    pub(super) message: String,
    pub(super) publish: bool,
    pub(super) if_live: Option<String>,
    pub(super) allow_env: bool,
}

#[derive(Serialize)]
struct Announcement<'a> {
    files: Vec<(&'a str, u64, String)>,
    #[serde(flatten)]
    options: &'a Options,
}

/// An upload under way.
pub(super) struct Upload<'a> {
    client: &'a Client,
    path: String,
    files: Arc<Files>,
    publish: bool,
    body: Bytes,
    key: String,
    bar: ProgressBar,
    /// Blobs that the server has acknowledged in this run.
    pub(super) files_sent: Cell<u64>,
    /// Their bytes.
    pub(super) bytes_sent: Cell<u64>,
}

impl<'a> Upload<'a> {
    /// Nothing sent yet.
    pub(super) fn new(
        client: &'a Client,
        site: &SiteName,
        files: Files,
        options: &Options,
        bar: ProgressBar,
    ) -> Result<Self> {
        let list = files.list.iter().map(|it| (it.path.as_str(), it.size, it.sha256.hex())).collect();
        let body = serde_json::to_vec(&Announcement { files: list, options })
            .map_err(|error| Failure::Input(format!("Cannot be sent: {error}")))?;
        if body.len() > FILES_BODY_BYTES_MAX {
            return Err(Failure::Input(String::from(
                "The paths of all files together are too long for one deployment.",
            )));
        }
        let path = deployments::path(site);
        let key = Sha256::of(&[path.as_bytes(), b"\n", &body].concat()).hex();
        let (publish, files) = (options.publish, Arc::new(files));
        let (files_sent, bytes_sent) = (Cell::new(0), Cell::new(0));
        Ok(Self { client, path, files, publish, body: body.into(), key, bar, files_sent, bytes_sent })
    }

    /// Goes on until the deployment is complete, and published when it shall be.
    pub(super) async fn run(&mut self) -> Result<Deployment> {
        let mut begun = self.begin().await?;
        if self.get(&begun.id).await?.state != "uploading" {
            // The key is that of an earlier deployment, which is over: this is a new one of the same files.
            self.key = format!("{}-{}", self.key, random::label::<10>());
            begun = self.begin().await?;
        }
        let mut attempt = 1;
        loop {
            let sent_before = self.files_sent.get();
            let failure = match self.send_and_finish(&begun).await {
                Ok(deployment) => return self.settled(deployment).await,
                Err(failure) => failure,
            };
            let passes = ["blobs_missing", "uploads_max", "body_slow"].iter().any(|it| failure.is(it));
            if !self.client.may_pass(&failure) && !passes {
                return Err(failure);
            }
            // Only tries that bring nothing count: a bad line may break many times in a large upload.
            attempt = if self.files_sent.get() > sent_before { 1 } else { attempt + 1 };
            if attempt > TRIES {
                return Err(failure);
            }
            sleep(BACKOFF.wait(attempt)).await;
            begun = self.begin().await?;
        }
    }

    async fn begin(&self) -> Result<Begun> {
        self.client.call(&Call::post_idempotent(&self.path, self.body.clone(), &self.key)).await
    }

    async fn get(&self, id: &str) -> Result<Deployment> {
        self.client.call(&Call::get(&format!("{}/{id}", self.path))).await
    }

    async fn send_and_finish(&self, begun: &Begun) -> Result<Deployment> {
        let batches = feed::batches(&self.files.list, &begun.missing)?;
        self.bar.set_position(0);
        self.bar.set_length(batches.iter().map(|it| it.content).sum());
        let path = format!("{}/{}/blobs", self.path, begun.id);
        let batches = Mutex::new(batches);
        // Two, so that one is on its way while the server writes the other to disk.
        tokio::try_join!(self.send(&path, &batches), self.send(&path, &batches))?;
        let path = format!("{}/{}/finish", self.path, begun.id);
        self.client.call(&Call::post_idempotent(&path, Bytes::from_static(b"{}"), &self.key)).await
    }

    async fn send(&self, path: &str, batches: &Mutex<VecDeque<Batch>>) -> Result<()> {
        let next = || batches.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        while let Some(batch) = next() {
            let (files, content) = (u64::try_from(batch.files.len()).unwrap_or(u64::MAX), batch.content);
            self.send_batch(path, batch).await?;
            self.files_sent.set(self.files_sent.get() + files);
            self.bytes_sent.set(self.bytes_sent.get() + content);
        }
        Ok(())
    }

    async fn send_batch(&self, path: &str, batch: Batch) -> Result<()> {
        let (out, pieces) = mpsc::channel(PIECES_WAITING);
        let changed: Arc<Mutex<Option<String>>> = Arc::default();
        let sending = self.client.send_pieces(path, pieces, batch.length);
        let feeding = {
            let (files, bar, changed) = (Arc::clone(&self.files), self.bar.clone(), Arc::clone(&changed));
            self.client.tasks().blocking(move || {
                if let Err(Ended::Changed(why)) = feed::feed(&files, &batch.files, &out, &bar) {
                    *changed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                    // Breaks the request off; nobody listening is as well.
                    drop(out.blocking_send(Err(io::Error::other("a file changed"))));
                }
            })
        };
        tokio::pin!(sending);
        let sent = tokio::select! {
            // A server may refuse before it has read everything; the feeder then has nobody to send to.
            sent = &mut sending => sent,
            _ = feeding => sending.await,
        };
        let changed = changed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match changed {
            Some(why) => Err(Failure::Input(why)),
            None => sent.map(drop),
        }
    }

    /// Waits until the server has come to an end with a deployment, and fails when that end is a failure.
    async fn settled(&self, mut deployment: Deployment) -> Result<Deployment> {
        let begun = Instant::now();
        loop {
            match deployment.state.as_str() {
                "live" | "superseded" => return Ok(deployment),
                "ready" if !self.publish => return Ok(deployment),
                "ready" | "checking" | "uploading" if begun.elapsed() < SETTLED_WITHIN => {}
                _ => return Err(Failure::failed_deployment(&deployment)),
            }
            sleep(ASK_AGAIN).await;
            deployment = self.get(&deployment.id).await?;
        }
    }
}
