//! The storage below redb, watched: whether the disk was full, and whether a sync failed.
//!
//! redb refuses everything after the first failed call and says no more than that. What may follow depends on
//! which call it was: after a write for which there was no space, the file can be opened again and is whole;
//! after a failed sync nobody knows what the disk holds, so nothing is ever tried again.

use std::{
    fmt, io,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
};

use redb::{BackendError, StorageBackend};

/// Opens the storage; called again after the disk was full.
pub type Disk = Box<dyn Fn() -> io::Result<Box<dyn StorageBackend>> + Send>;

/// What has happened to a storage.
#[derive(Clone, Debug, Default)]
pub(super) struct Signs(Arc<AtomicU8>);

const FULL: u8 = 1;
const LOST: u8 = 2;

impl Signs {
    /// The disk was full, and nothing worse happened.
    pub(super) fn full(&self) -> bool {
        self.0.load(Ordering::SeqCst) == FULL
    }

    /// The disk failed in another way than by being full.
    pub(super) fn lost(&self) -> bool {
        self.0.load(Ordering::SeqCst) & LOST != 0
    }

    /// A commit went well: that a write found no space before it did no harm.
    pub(super) fn well(&self) {
        self.0.fetch_and(!FULL, Ordering::SeqCst);
    }

    fn note<T>(&self, syncing: bool, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
            self.0.fetch_or(if full && !syncing { FULL } else { LOST }, Ordering::SeqCst);
        }
        result
    }
}

/// A storage whose failures are noted.
pub(super) struct Watched {
    inner: Box<dyn StorageBackend>,
    signs: Signs,
}

impl Watched {
    /// Watches `inner`.
    pub(super) fn new(inner: Box<dyn StorageBackend>) -> (Self, Signs) {
        let signs = Signs::default();
        (Self { inner, signs: signs.clone() }, signs)
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

type Range = Bound<u64>;

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.signs.note(false, self.inner.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.signs.note(false, self.inner.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.signs.note(false, self.inner.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.signs.note(true, self.inner.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.signs.note(false, self.inner.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Range, end: Range) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Range, end: Range) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Range, end: Range) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Range, end: Range) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
