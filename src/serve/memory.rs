//! The bytes of answers: small files and compressed forms from verified memory, large files by [`super::file`].
//!
//! Nothing leaves here that was not hashed: what is in memory was verified when it came in and is sent also when
//! the disk changes its mind. Many who ask for the same cold file wait for one load. Damage is reported once.

use std::{io, sync::Arc};

use bytes::Bytes;
use moka::{policy::EvictionPolicy, sync::Cache};
use rustix::io::Errno;

use super::{
    file::{Content, Files},
    incident::{Damage, Incidents},
    near::{Near, Spread},
    source, variant,
};
use crate::base::{
    blob_dir::{BlobDir, BlobError, Coding},
    flight::Flight,
    hash::Sha256,
    limits::{MEMORY_BYTES_MAX, MEMORY_FILE_BYTES_MAX, MEMORY_VARIANT_BYTES_MAX, READ_FILE_BYTES_MAX},
    tasks::Tasks,
};

/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 256;
/// Bytes of the largest one that is at hand without a look into the cache: 4 MiB in all, which come on top of what that may keep.
const NEAR_BYTES_MAX: usize = 16 * 1024;

/// A blob as it is, or compressed.
type Key = (Sha256, Option<Coding>);

impl Spread for Key {
    fn spread(&self) -> u64 {
        self.0.first() ^ u64::from(self.1.map_or(0, bit))
    }
}

/// Verified bytes.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) bytes: Bytes,
    /// Of a compressed form, what its own bytes hash to.
    pub(super) digest: Option<Sha256>,
}

impl From<Bytes> for Kept {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, digest: None }
    }
}

/// Where bodies come from. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: BlobDir,
    incidents: Arc<Incidents>,
    kept: Cache<Key, Kept>,
    near: Near<Key, Kept>,
    files: Files,
    /// Bytes of the largest file that is kept whole.
    small_max: u64,
    small: Flight<Key, Result<Kept, Damage>>,
    large: Flight<Sha256, Result<Content, Damage>>,
}

/// The codings that exist of a blob.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Forms(pub(super) u8);

impl Forms {
    pub(super) fn has(self, coding: Coding) -> bool {
        self.0 & bit(coding) != 0
    }

    pub(super) fn without(self, coding: Coding) -> Self {
        Self(self.0 & !bit(coding))
    }
}

const fn bit(coding: Coding) -> u8 {
    match coding {
        Coding::Brotli => 1,
        Coding::Zstd => 2,
        Coding::Gzip => 4,
    }
}

impl Memory {
    pub(super) fn new(dir: BlobDir, incidents: Arc<Incidents>, map: bool, tasks: &Tasks) -> Self {
        let kept = Cache::builder()
            .max_capacity(MEMORY_BYTES_MAX)
            .weigher(|_: &Key, kept: &Kept| u32::try_from(kept.bytes.len() + ENTRY_BYTES).unwrap_or(u32::MAX))
            .eviction_policy(EvictionPolicy::lru())
            .build();
        let files = Files::new(dir.clone(), map, tasks.clone());
        let small_max = if files.are_mapped() { MEMORY_FILE_BYTES_MAX } else { READ_FILE_BYTES_MAX };
        let (near, small, large) = (Near::new(), Flight::new(), Flight::new());
        Self(Arc::new(Inner { dir, incidents, kept, near, files, small_max, small, large }))
    }

    /// The verified content of a blob of `size` bytes.
    pub(super) async fn content(&self, hash: Sha256, size: u64, tasks: &Tasks) -> Result<Content, Damage> {
        if size > self.0.small_max {
            return self.large(hash, size, tasks).await;
        }
        // A manifest whose size is not that of its blob gets no bytes: what is announced is what is sent.
        let fits = |kept: &Kept| u64::try_from(kept.bytes.len()) == Ok(size);
        if let Some(kept) = self.0.kept((hash, None)).filter(fits) {
            return Ok(Content::Bytes(kept.bytes.into()));
        }
        let load = async {
            let read = source::read(&self.0.dir, hash, tasks, move |dir| read_small(dir, hash, size)).await;
            let kept = Kept::from(self.0.judge(hash, read)?);
            self.0.kept.insert((hash, None), kept.clone());
            Ok(kept)
        };
        // Boxed, since it is rare: the future of each connection has room for the common way only.
        Box::pin(self.0.small.join((hash, None), load)).await.map(|it| Content::Bytes(it.bytes.into()))
    }

    async fn large(&self, hash: Sha256, size: u64, tasks: &Tasks) -> Result<Content, Damage> {
        if let Some(content) = self.0.files.at_hand(hash, size) {
            self.0.dir.used(hash);
            return Ok(content);
        }
        let load = async {
            let inner = Arc::clone(&self.0);
            let opened = source::read(&self.0.dir, hash, tasks, move |_| inner.files.open(hash, size)).await;
            self.0.judge(hash, opened)
        };
        Box::pin(self.0.large.join(hash, load)).await
    }

    /// Which compressed forms of a blob are on the disk.
    pub(super) async fn forms(&self, hash: Sha256, tasks: &Tasks) -> Forms {
        let look = || {
            let dir = self.0.dir.clone();
            let found = tasks.blocking(move || {
                let fits = |coding: &Coding| {
                    dir.variant_size(&hash, *coding).is_some_and(|size| size <= MEMORY_VARIANT_BYTES_MAX)
                };
                Coding::ALL.into_iter().filter(fits).fold(0, |bits, coding| bits | bit(coding))
            });
            async { Forms(Box::pin(found).await.unwrap_or(0)) }
        };
        let found = look().await;
        match self.0.dir.home() {
            Some(home) if found == Forms::default() => {
                home.fetch_variants(hash).await;
                look().await
            }
            _ => found,
        }
    }

    /// A large file is to be hashed before it is sent again: somebody has found that it is not what it was.
    pub(super) fn doubt(&self, hash: Sha256) {
        self.0.files.forget(hash);
    }

    /// A compressed form of a blob of `size` bytes, when it is there and decodes to the blob; `Unreadable`: it may be, another time.
    pub(super) async fn variant(&self, hash: Sha256, size: u64, coding: Coding, tasks: &Tasks) -> Result<Kept, Damage> {
        let key = (hash, Some(coding));
        if let Some(kept) = self.0.kept(key) {
            return Ok(kept);
        }
        let load = async {
            let inner = Arc::clone(&self.0);
            tasks.blocking(move || inner.load_variant(hash, size, coding)).await.unwrap_or(Err(Damage::Variant(coding)))
        };
        Box::pin(self.0.small.join(key, load)).await
    }
}

impl Inner {
    /// What is in memory.
    fn kept(&self, key: Key) -> Option<Kept> {
        if let Some(near) = self.near.get(key) {
            // What is sent is in memory, whatever the disk says by now: it is read no second time.
            if near.is_due && self.kept.get(&key).is_none() {
                self.kept.insert(key, near.value.clone());
            }
            return Some(near.value);
        }
        let kept = self.kept.get(&key)?;
        if kept.bytes.len() <= NEAR_BYTES_MAX {
            self.near.put(key, kept.clone());
        }
        Some(kept)
    }

    fn judge<T>(&self, hash: Sha256, read: Result<T, BlobError>) -> Result<T, Damage> {
        match read {
            Ok(it) => {
                self.incidents.verified(hash);
                Ok(it)
            }
            // Nothing is wrong with it: whoever asks again gets it.
            Err(BlobError::Io(error)) if is_shortage(&error) => {
                tracing::debug!(blob = %hash, %error, "a blob cannot be read now");
                Err(Damage::Unreadable)
            }
            Err(BlobError::Away(why)) => {
                tracing::debug!(blob = %hash, why, "a blob cannot be fetched now");
                Err(Damage::Unreadable)
            }
            Err(error) => {
                let damage = Damage::from(&error);
                self.incidents.report(hash, damage, &error);
                Err(damage)
            }
        }
    }

    fn load_variant(&self, hash: Sha256, size: u64, coding: Coding) -> Result<Kept, Damage> {
        let damage = Damage::Variant(coding);
        let kept = match self.dir.variant(&hash, coding) {
            // SECURITY: only what decodes to the blob is sent under its name.
            Ok(Some((bytes, digest))) if variant::decodes_to(&bytes, coding, hash, size) => {
                Kept { bytes: bytes.into(), digest: Some(digest) }
            }
            Ok(Some(_)) => {
                self.incidents.report(hash, damage, &"it does not decode to the blob");
                return Err(damage);
            }
            Ok(None) => return Err(damage),
            // Who hears of damage removes the form first, and would have no means either to make another one.
            Err(BlobError::Io(error)) if is_shortage(&error) => {
                tracing::debug!(blob = %hash, %error, "a compressed form cannot be read now");
                return Err(Damage::Unreadable);
            }
            Err(error) => {
                self.incidents.report(hash, damage, &error);
                return Err(damage);
            }
        };
        self.incidents.variant_verified(hash, coding);
        self.kept.insert((hash, Some(coding)), kept.clone());
        Ok(kept)
    }
}

/// Whether the server lacks what it takes to read, and the file may be as good as ever.
fn is_shortage(error: &io::Error) -> bool {
    let of_descriptors = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::OutOfMemory)
        || error.raw_os_error().is_some_and(|it| of_descriptors.contains(&it))
}

/// The verified bytes of a small file.
fn read_small(dir: &BlobDir, hash: Sha256, size: u64) -> Result<Bytes, BlobError> {
    // Another size is other bytes, and need not be read to know it.
    match dir.size(&hash) {
        Some(found) if found != size => Err(BlobError::Corrupt),
        _ => dir.read_local(&hash).map(Bytes::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_lacks_is_no_damage() {
        let folder = tempfile::tempdir().unwrap();
        let (incidents, hash) = (Arc::new(Incidents::new()), Sha256::of(b"x"));
        let dir = BlobDir::open(folder.path()).unwrap();
        let memory = Memory::new(dir, Arc::clone(&incidents), false, &Tasks::new());
        let judge = |error: Errno| memory.0.judge::<()>(hash, Err(BlobError::Io(error.into())));
        for lack in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::BUSY] {
            assert_eq!(judge(lack), Err(Damage::Unreadable));
        }
        assert_eq!(incidents.count(), 0);
        assert_eq!(judge(Errno::IO), Err(Damage::Unreadable));
        assert_eq!(incidents.count(), 1);
    }
}
