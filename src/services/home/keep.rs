//! From the folder into the store: hashed on the way, some at once, and only what is not there.

use std::{
    io::Read as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, time::timeout};

use super::{Home, KEEP_MIB_MAX};
use crate::{
    base::{
        blob_dir::{BlobError, Coding},
        hash::{Hasher, Sha256},
    },
    domain::{Error, Result},
    ports::blobs::{LargePut, Name, StoreError},
};

/// Requests at once for one call.
const AT_ONCE: usize = 16;
/// A larger file goes in parts, each of this size.
const PART: u64 = 16 * 1024 * 1024;
/// An object that is younger cannot be collected before a deployment that needs it is complete: collection takes what is
/// older than a day, and counts by another clock.
const YOUNG_MS: i64 = 12 * 3_600_000;
/// How long a put, or a question, may take, and for each MiB more.
const PUT_MAX: Duration = Duration::from_secs(30);
const MIB_MAX: Duration = Duration::from_secs(4);

impl Home {
    /// Sees that the store has these blobs of these sizes, so that they stay for the next hours: those that it lacks, or has
    /// had for long, are put from the folder. `blobs_missing` when one is in neither.
    pub(in crate::services) async fn keep(&self, blobs: Vec<(Sha256, u64)>) -> Result<()> {
        self.claimed().await?;
        self.each(blobs, |home, (hash, size)| async move { home.keep_one(hash, size).await }).await?;
        Ok(())
    }

    /// Puts compressed forms that are in the folder into the store.
    pub async fn keep_variants(&self, forms: Vec<(Sha256, Coding)>) -> Result<()> {
        let new = forms.into_iter().filter(|(hash, coding)| !self.0.seen.contains_key(&Name::Variant(*hash, *coding)));
        let new: Vec<_> = new.collect();
        if new.is_empty() {
            return Ok(());
        }
        self.claimed().await?;
        self.each(new, |home, (hash, coding)| async move { home.keep_variant(hash, coding).await }).await?;
        Ok(())
    }

    /// Those of these blobs that the store does not have in this size.
    pub(in crate::services) async fn list_lacking(&self, blobs: Vec<(Sha256, u64)>) -> Result<Vec<Sha256>> {
        let looked = self
            .each(blobs, |home, (hash, size)| async move {
                let there = home.head(hash).await?.is_some_and(|it| it.size == size);
                Ok((!there || home.is_lost(&hash)).then_some(hash))
            })
            .await?;
        Ok(looked.into_iter().flatten().collect())
    }

    /// Runs `act` on all, some at once; the first error ends it. What comes of them is in the order in which they ended.
    pub(super) async fn each<T, R, F>(
        &self,
        all: Vec<T>,
        act: impl Fn(Self, T) -> F + Clone + Send + Sync + 'static,
    ) -> Result<Vec<R>>
    where
        T: Send + 'static,
        R: Send + 'static,
        F: Future<Output = Result<R>> + Send + 'static,
    {
        let (count, rest) = (all.len(), Arc::new(Mutex::new(all.into_iter())));
        let (done, mut ended) = mpsc::channel(AT_ONCE);
        for _ in 0..count.min(AT_ONCE) {
            let (home, act, rest, done) = (self.clone(), act.clone(), Arc::clone(&rest), done.clone());
            self.0.tasks.spawn(async move {
                loop {
                    let next = rest.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(next) = next else { return };
                    // After an error of another nobody takes it.
                    if done.send(act(home.clone(), next).await).await.is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        let mut results = Vec::with_capacity(count);
        while let Some(result) = ended.recv().await {
            results.push(result?);
        }
        if results.len() == count { Ok(results) } else { Err(Error::internal("a transfer to the store broke off")) }
    }

    pub(super) async fn head(&self, hash: Sha256) -> Result<Option<crate::ports::blobs::Found>> {
        let found = self.asked(PUT_MAX, self.0.store.head(Name::Blob(hash))).await?;
        if found.is_some() {
            self.0.seen.insert(Name::Blob(hash), ());
        }
        Ok(found)
    }

    pub(super) async fn keep_one(self, hash: Sha256, size: u64) -> Result<()> {
        let name = Name::Blob(hash);
        if !self.is_lost(&hash) {
            if self.0.young.contains_key(&name) {
                return Ok(());
            }
            let young = self.0.clock.now_ms() - YOUNG_MS;
            if self.head(hash).await?.is_some_and(|it| it.size == size && it.written_ms > young) {
                self.0.young.insert(name, ());
                return Ok(());
            }
        }
        let mib = u32::try_from(size.min(PART) >> 20).unwrap_or(0).saturating_add(1);
        let mib = mib.min(u32::try_from(KEEP_MIB_MAX).unwrap_or(1));
        let _memory = self.0.memory.acquire_many(mib).await.map_err(Error::internal)?;
        match self.put(hash, size).await {
            Err(error) if error.code == "blobs_missing" => {
                // The store may have it, if only for too long to rely on.
                self.fetch_for_work(hash).await.map_err(|found| match found {
                    BlobError::Missing | BlobError::Corrupt => error,
                    other => Error::from(other),
                })?;
                self.put(hash, size).await?;
            }
            put => put?,
        }
        self.0.seen.insert(name, ());
        self.0.young.insert(name, ());
        self.regain(&hash);
        Ok(())
    }

    async fn put(&self, hash: Sha256, size: u64) -> Result<()> {
        if size > PART {
            return self.put_large(hash, size).await;
        }
        let folder = self.0.folder.clone();
        let read = self.0.tasks.blocking(move || folder.read_local(&hash)).await;
        let bytes = read.ok_or_else(|| Error::internal("reading a blob panicked"))?.map_err(|it| unread(hash, it))?;
        self.asked(time_for(size), self.0.store.put(Name::Blob(hash), Bytes::from(bytes))).await
    }

    async fn put_large(&self, hash: Sha256, size: u64) -> Result<()> {
        let mut large = self.asked(PUT_MAX, self.0.store.put_large(Name::Blob(hash))).await?;
        let sent = self.send_parts(&mut *large, hash, size).await;
        if sent.is_err() {
            // What stays is hidden, and a store can be told to drop it after a while.
            drop(timeout(PUT_MAX, large.abort()).await);
            return sent;
        }
        self.asked(time_for(size), large.finish()).await
    }

    async fn send_parts(&self, large: &mut dyn LargePut, hash: Sha256, size: u64) -> Result<()> {
        let folder = self.0.folder.clone();
        let open = self.0.tasks.blocking(move || folder.open_local(&hash)).await;
        let mut file =
            open.ok_or_else(|| Error::internal("opening a blob panicked"))?.map_err(|it| unread(hash, it))?;
        let (mut hasher, mut sent) = (Hasher::new(), 0_u64);
        loop {
            let read = self.0.tasks.blocking(move || {
                let mut part = Vec::new();
                (&mut file).take(PART).read_to_end(&mut part)?;
                hasher.update(&part);
                Ok::<_, std::io::Error>((file, hasher, part))
            });
            let part;
            (file, hasher, part) = read.await.ok_or_else(|| Error::internal("reading a blob panicked"))??;
            if part.is_empty() {
                break;
            }
            sent = sent.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
            self.asked(time_for(PART), large.part(Bytes::from(part))).await?;
        }
        if sent != size || hasher.finish() != hash {
            return Err(unread(hash, BlobError::Corrupt));
        }
        Ok(())
    }

    async fn keep_variant(self, hash: Sha256, coding: Coding) -> Result<()> {
        let folder = self.0.folder.clone();
        let read = self.0.tasks.blocking(move || folder.variant(&hash, coding)).await;
        // Gone or damaged meanwhile: whoever has it makes do without.
        let Some(Ok(Some((mut bytes, digest)))) = read else { return Ok(()) };
        bytes.extend_from_slice(&digest.0);
        let (name, size) = (Name::Variant(hash, coding), u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.asked(time_for(size), self.0.store.put(name, Bytes::from(bytes))).await?;
        self.0.seen.insert(name, ());
        self.0.bare.invalidate(&hash);
        Ok(())
    }

    /// Asks the store with a time limit.
    pub(super) async fn asked<T>(
        &self,
        within: Duration,
        asked: impl Future<Output = std::result::Result<T, StoreError>>,
    ) -> Result<T> {
        if !self.0.breaker.admits() {
            return Err(self.explain(&StoreError::Away(String::from("it did not answer just now"))));
        }
        let late = |_| StoreError::Away(String::from("it does not answer in time"));
        let answered = timeout(within, asked).await.map_err(late).and_then(|it| it);
        match &answered {
            Err(StoreError::Away(why)) => self.0.breaker.failed(why),
            _ => self.0.breaker.answered(),
        }
        answered.map_err(|error| self.explain(&error))
    }
}

fn time_for(bytes: u64) -> Duration {
    PUT_MAX + MIB_MAX * u32::try_from(bytes >> 20).unwrap_or(u32::MAX)
}

fn unread(hash: Sha256, error: BlobError) -> Error {
    match error {
        BlobError::Missing | BlobError::Corrupt => {
            Error::conflict("blobs_missing", format!("The bytes of {hash} are not here any more. Send them again."))
        }
        other => other.into(),
    }
}
