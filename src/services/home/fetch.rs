//! From the store into the folder: one transfer for all who ask, hashed on its way, with time limits.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use bytes::Bytes;
use moka::sync::Cache;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tokio_stream::StreamExt as _;

use super::{FAILED, Home, SEEN_MAX, places::For};
use crate::{
    base::{
        blob_dir::{BlobError, Coding, Coming, Home as Behind},
        hash::{Hasher, Sha256},
        limits::{MEMORY_VARIANT_BYTES_MAX, SITE_BYTES_MAX},
    },
    ports::blobs::{Name, StoreError},
};

/// A store that gives nothing for so long does not answer: for the first piece, and for each after it.
const PIECE_MAX: Duration = Duration::from_secs(10);
/// No transfer takes longer.
const TRANSFER_MAX: Duration = Duration::from_mins(10);
/// A transfer that brings less than this in such a time stands still, and is given up.
const PACE: (Duration, u64) = (Duration::from_secs(20), 64 * 1024);
/// Visitors get the bytes as they are rather than wait longer for a compressed form.
const VARIANT_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long blocking callers wait for compressed forms.
const VARIANTS_MAX: Duration = Duration::from_secs(30);
/// Written at once.
const STEP: usize = 1024 * 1024;
/// The digest behind a variant.
const TRAILER: usize = 32;

/// What is brought: a blob, or its compressed forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Blob(Sha256),
    Variants(Sha256),
}

/// Why it could not be brought. As [`BlobError`], for all who wait.
#[derive(Clone, Debug)]
enum Failure {
    Missing,
    Corrupt,
    Disk(io::ErrorKind, String),
    Away(String),
}

impl From<Failure> for BlobError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Missing => Self::Missing,
            Failure::Corrupt => Self::Corrupt,
            Failure::Disk(kind, text) => Self::Io(io::Error::new(kind, text)),
            Failure::Away(why) => Self::Away(why),
        }
    }
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Missing => Self::Missing,
            BlobError::Corrupt => Self::Corrupt,
            BlobError::Io(error) => Self::Disk(error.kind(), error.to_string()),
            BlobError::Away(why) => Self::Away(why),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Missing => Self::Missing,
            StoreError::Refused(why) | StoreError::Away(why) => Self::Away(why),
        }
    }
}

type Brought = Result<(), Failure>;

/// How a transfer ends, and what tells it that a visitor waits for it.
type Flight = (watch::Receiver<Option<Brought>>, Arc<Notify>);

/// The transfers under way, and what failed just now.
#[derive(Debug)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<Key, Flight>>,
    failed: Cache<Key, Failure>,
}

impl Flights {
    pub(super) fn new() -> Self {
        let failed = Cache::builder().max_capacity(SEEN_MAX).time_to_live(FAILED).build();
        Self { under_way: Mutex::default(), failed }
    }
}

impl Home {
    /// Joins the transfer of `key`, or begins it. It goes on when nobody waits any more: the next one finds the file.
    async fn bring(&self, key: Key, who: For) -> Brought {
        if let Some(failure) = self.0.flights.failed.get(&key) {
            return Err(failure);
        }
        let mut coming = {
            let mut under_way = self.0.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((coming, urgent)) = under_way.get(&key) {
                if who == For::Visitors {
                    urgent.notify_one();
                }
                coming.clone()
            } else {
                let (done, coming) = watch::channel(None);
                let urgent = Arc::new(Notify::new());
                under_way.insert(key, (coming.clone(), Arc::clone(&urgent)));
                let home = self.clone();
                self.0.tasks.spawn(async move {
                    let landing = Landing { home, key, done };
                    let brought = landing.home.transfer(key, who, &urgent).await;
                    landing.land(brought);
                });
                coming
            }
        };
        let brought = coming.wait_for(Option::is_some).await;
        brought.map_or_else(|_| Err(broken()), |it| it.clone().unwrap_or_else(|| Err(broken())))
    }

    async fn transfer(&self, key: Key, who: For, urgent: &Arc<Notify>) -> Brought {
        let asked = async {
            if !self.0.breaker.admits() {
                return Err(away("the store of files does not answer"));
            }
            let brought = match key {
                Key::Blob(hash) => self.transfer_blob(hash).await,
                Key::Variants(hash) => self.transfer_variants(hash).await,
            };
            match &brought {
                Err(Failure::Away(why)) => self.0.breaker.failed(why),
                _ => self.0.breaker.answered(),
            }
            brought
        };
        let kind = (who, matches!(key, Key::Variants(_)));
        let work = async {
            let brought = self.0.places.run(kind, urgent, PIECE_MAX, asked).await;
            brought.unwrap_or_else(|| Err(away("too many files are being fetched already")))
        };
        tokio::select! {
            brought = timeout(TRANSFER_MAX, work) => brought.unwrap_or_else(|_| Err(away("the transfer took too long"))),
            () = self.0.tasks.stopping() => Err(away("the server is stopping")),
        }
    }

    /// As [`Behind::fetch`], for what no visitor waits for.
    pub(super) async fn fetch_for_work(&self, hash: Sha256) -> Result<(), BlobError> {
        Ok(self.bring(Key::Blob(hash), For::Work).await?)
    }

    /// Hashes a blob as the store gives it, and keeps nothing of it; its size.
    pub(super) async fn read_back(&self, hash: Sha256) -> Result<u64, BlobError> {
        let mut pieces = answer(self.0.store.get(Name::Blob(hash))).await?;
        let (mut hasher, mut size, mut pace) = (Hasher::new(), 0_u64, Pace::new());
        while let Some(bytes) = next(&mut pieces).await? {
            hasher.update(&bytes);
            size = size.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            pace.check(size)?;
        }
        if hasher.finish() == hash { Ok(size) } else { Err(BlobError::Corrupt) }
    }

    /// Brings the compressed forms that the store has by now, whatever it had when it was asked before.
    pub(super) async fn fetch_variants_for_work(&self, hash: Sha256) -> Result<(), BlobError> {
        Ok(self.bring(Key::Variants(hash), For::Work).await?)
    }

    async fn transfer_blob(&self, hash: Sha256) -> Brought {
        let name = Name::Blob(hash);
        let brought = self.write_blob(hash).await;
        match &brought {
            Ok(size) => {
                self.0.seen.insert(name, ());
                self.regain(&hash);
                self.used(hash);
                self.0.room.grew(*size);
            }
            Err(failure @ (Failure::Missing | Failure::Corrupt)) => {
                let why = if matches!(failure, Failure::Missing) { "it is not there" } else { "it has other bytes" };
                tracing::error!(%name, why, "the store of files does not have what it was given");
                self.lose(hash);
            }
            Err(Failure::Disk(kind, _)) => {
                if *kind == io::ErrorKind::StorageFull {
                    self.0.room.full(0);
                }
            }
            Err(Failure::Away(_)) => {}
        }
        brought.map(drop)
    }

    async fn write_blob(&self, hash: Sha256) -> Result<u64, Failure> {
        let mut pieces = answer(self.0.store.get(Name::Blob(hash))).await?;
        let folder = self.0.folder.clone();
        let mut writer = self.blocking(move || Ok(folder.writer()?)).await?;
        let (mut waiting, mut length, mut whole) = (Vec::new(), 0, 0_u64);
        let mut pace = Pace::new();
        loop {
            let piece = next(&mut pieces).await?;
            if let Some(bytes) = &piece {
                length += bytes.len();
                whole = whole.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
                if whole > SITE_BYTES_MAX {
                    return Err(Failure::Corrupt);
                }
                pace.check(whole)?;
                waiting.push(bytes.clone());
            }
            if piece.is_none() || length >= STEP {
                let step = std::mem::take(&mut waiting);
                length = 0;
                writer = self
                    .blocking(move || {
                        step.iter().try_for_each(|it| writer.write(it))?;
                        Ok(writer)
                    })
                    .await?;
            }
            if piece.is_none() {
                break;
            }
        }
        let mut batch = self.0.folder.batch();
        self.blocking(move || {
            let (_, size) = writer.finish(Some(hash), &mut batch)?;
            batch.commit()?;
            Ok(size)
        })
        .await
    }

    /// The forms that are there; when there is none, that is remembered.
    async fn transfer_variants(&self, hash: Sha256) -> Brought {
        let [brotli, zstd, gzip] = Coding::ALL.map(|coding| self.transfer_variant(hash, coding));
        let (brotli, zstd, gzip) = tokio::join!(brotli, zstd, gzip);
        let found = [brotli?, zstd?, gzip?];
        if found.contains(&true) {
            self.used(hash);
        } else {
            self.0.bare.insert(hash, ());
        }
        Ok(())
    }

    async fn transfer_variant(&self, hash: Sha256, coding: Coding) -> Result<bool, Failure> {
        let name = Name::Variant(hash, coding);
        let mut pieces = match answer(self.0.store.get(name)).await {
            Err(Failure::Missing) => return Ok(false),
            pieces => pieces?,
        };
        let (mut bytes, most) = (Vec::new(), usize::try_from(MEMORY_VARIANT_BYTES_MAX).unwrap_or(usize::MAX) + TRAILER);
        while let Some(piece) = next(&mut pieces).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > most {
                return Ok(false);
            }
        }
        let digest = bytes.split_off(bytes.len().saturating_sub(TRAILER));
        if Sha256::of(&bytes).0[..] != digest[..] {
            // Nobody needs it: the bytes as they are serve as well.
            tracing::warn!(%name, "the store of files has a damaged compressed form");
            return Ok(false);
        }
        self.0.seen.insert(name, ());
        self.0.room.grew(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let folder = self.0.folder.clone();
        self.blocking(move || Ok(folder.put_variant(&hash, coding, &bytes)?)).await?;
        Ok(true)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
    ) -> Result<T, Failure> {
        let done = self.0.tasks.blocking(work).await;
        Ok(done.ok_or_else(broken)??)
    }
}

impl Behind for Home {
    fn fetch(&self, hash: Sha256) -> Coming<'_, Result<(), BlobError>> {
        Box::pin(async move { Ok(self.bring(Key::Blob(hash), For::Visitors).await?) })
    }

    fn fetch_blocking(&self, hash: Sha256) -> Result<(), BlobError> {
        let (done, is_done) = mpsc::sync_channel(1);
        let home = self.clone();
        self.0.tasks.spawn(async move {
            // Whoever asked may have given up.
            drop(done.send(home.bring(Key::Blob(hash), For::Work).await));
        });
        Ok(is_done.recv().unwrap_or_else(|_| Err(broken()))?)
    }

    fn fetch_variants(&self, hash: Sha256) -> Coming<'_, ()> {
        Box::pin(async move {
            if !self.0.bare.contains_key(&hash) {
                // Without them it goes on.
                drop(timeout(VARIANT_WAIT_MAX, self.bring(Key::Variants(hash), For::Visitors)).await);
            }
        })
    }

    fn fetch_variants_blocking(&self, hash: Sha256) {
        if self.0.bare.contains_key(&hash) {
            return;
        }
        let (done, is_done) = mpsc::sync_channel(1);
        let home = self.clone();
        self.0.tasks.spawn(async move { drop(done.send(home.bring(Key::Variants(hash), For::Work).await)) });
        drop(is_done.recv_timeout(VARIANTS_MAX));
    }

    fn used(&self, hash: Sha256) {
        self.0.room.used(hash, self.0.clock.now_ms());
    }
}

/// How much has come lately.
struct Pace {
    since: Instant,
    before: u64,
}

impl Pace {
    fn new() -> Self {
        Self { since: Instant::now(), before: 0 }
    }

    /// Refuses when too few of the `whole` bytes so far have come lately.
    fn check(&mut self, whole: u64) -> Result<(), Failure> {
        let (time, least) = PACE;
        if self.since.elapsed() < time {
            return Ok(());
        }
        if whole.saturating_sub(self.before) < least {
            return Err(away("the store of files sends next to nothing"));
        }
        *self = Self { since: Instant::now(), before: whole };
        Ok(())
    }
}

/// The end of a transfer, also when it panics: nobody waits for what never comes.
struct Landing {
    home: Home,
    key: Key,
    done: watch::Sender<Option<Brought>>,
}

impl Landing {
    fn land(self, brought: Brought) {
        if let Err(failure) = &brought
            && !matches!(failure, Failure::Away(_))
        {
            self.home.0.flights.failed.insert(self.key, failure.clone());
        }
        self.done.send_replace(Some(brought));
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.home.0.flights.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

async fn answer<T>(asked: impl Future<Output = Result<T, StoreError>>) -> Result<T, Failure> {
    match timeout(PIECE_MAX, asked).await {
        Ok(answered) => Ok(answered?),
        Err(_) => Err(away("the store of files does not answer in time")),
    }
}

async fn next(pieces: &mut crate::ports::blobs::Pieces) -> Result<Option<Bytes>, Failure> {
    answer(async { pieces.next().await.transpose() }).await
}

fn away(why: &str) -> Failure {
    Failure::Away(why.to_owned())
}

fn broken() -> Failure {
    away("the transfer broke off")
}
