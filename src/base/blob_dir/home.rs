//! Where blobs live when the folder is only a cache of it.
//!
//! A [`Home`] brings a blob into the folder, whole and verified. Visitors' requests wait for it without a thread; all else
//! that reads blobs may block, and does.

use std::{
    fs::File,
    io::{self, Read as _},
    pin::Pin,
    sync::Arc,
};

use super::{BlobDir, BlobError};
use crate::base::hash::{Hasher, Sha256};

/// Read at once where a file is only hashed.
const CHUNK: usize = 64 * 1024;

/// What is under way.
pub type Coming<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A durable store of blobs behind a folder.
pub trait Home: Send + Sync + std::fmt::Debug {
    /// Brings a blob into the folder, also over a damaged file. Many who ask for the same one wait for one transfer.
    fn fetch(&self, hash: Sha256) -> Coming<'_, Result<(), BlobError>>;
    /// As [`Home::fetch`]; blocks, so never on a thread of the runtime.
    fn fetch_blocking(&self, hash: Sha256) -> Result<(), BlobError>;
    /// Brings the compressed forms of a blob into the folder, if there are any and the store answers soon.
    fn fetch_variants(&self, hash: Sha256) -> Coming<'_, ()>;
    /// As [`Home::fetch_variants`]; blocks.
    fn fetch_variants_blocking(&self, hash: Sha256);
    /// Hashes a blob as the store has it, and changes nothing in the folder; blocks.
    fn check_blocking(&self, hash: Sha256) -> Result<(), BlobError>;
    /// A file of the folder was read: others go before it.
    fn used(&self, hash: Sha256);
}

impl BlobDir {
    /// The same folder as a cache of `home`.
    #[must_use]
    pub fn with_home(mut self, home: Arc<dyn Home>) -> Self {
        self.home = Some(home);
        self
    }

    /// What is behind the folder, if anything.
    pub fn home(&self) -> Option<&Arc<dyn Home>> {
        self.home.as_ref()
    }

    /// A file of the folder was read.
    pub fn used(&self, hash: Sha256) {
        if let Some(home) = &self.home {
            home.used(hash);
        }
    }

    /// The bytes of a blob, hashed now; from its home when the folder has none or other bytes.
    pub fn read_verified(&self, hash: &Sha256) -> Result<Vec<u8>, BlobError> {
        self.local_or_fetched(*hash, || self.read_local(hash))
    }

    /// The file of a blob and its size, hashed now, as [`BlobDir::read_verified`].
    pub fn open_verified(&self, hash: &Sha256) -> Result<(File, u64), BlobError> {
        self.local_or_fetched(*hash, || self.open_whole(hash))
    }

    /// Hashes the file of a blob in the folder, which stays as it is, and where it is in the order of those that go.
    pub fn check_local(&self, hash: &Sha256) -> Result<(), BlobError> {
        self.open_whole(hash).map(drop)
    }

    fn open_whole(&self, hash: &Sha256) -> Result<(File, u64), BlobError> {
        let file = self.open_local(hash)?;
        let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0_u64, vec![0; CHUNK]);
        loop {
            let read = match (&file).read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            hasher.update(buffer.get(..read).unwrap_or_default());
            size = size.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        }
        if hasher.finish() == *hash { Ok((file, size)) } else { Err(BlobError::Corrupt) }
    }

    fn local_or_fetched<T>(&self, hash: Sha256, read: impl Fn() -> Result<T, BlobError>) -> Result<T, BlobError> {
        match (read(), &self.home) {
            (Err(BlobError::Missing | BlobError::Corrupt), Some(home)) => {
                home.fetch_blocking(hash)?;
                read()
            }
            (found, _) => {
                if found.is_ok() {
                    self.used(hash);
                }
                found
            }
        }
    }
}
