//! The bound of the folder: the files that were used least lately go, if the store has them.
//!
//! They go too while the disk has less free than uploads leave in reserve, whatever filled it: else nothing could be deployed
//! on a small disk before the folder comes to its bound.
//!
//! The order is kept in memory, since the times of a file cannot be changed without making it look altered; after a restart
//! it begins with the times at which the files came. Files come also by uploads, so that the folder is looked at now and then.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{self, Instant},
};
use tokio_stream::StreamExt as _;

use super::Home;
use crate::{
    base::{blob_dir::BlobDir, files, hash::Sha256, units::ByteSize},
    domain::{Error, Result},
    ports::blobs::Name,
};

/// How often the folder is looked at without a reason.
const PERIOD: Duration = Duration::from_mins(1);
/// Between two looks, at least.
const PAUSE: Duration = Duration::from_millis(200);
/// Files whose last use is remembered: 40 bytes each.
const USED_MAX: usize = 300_000;
/// Files whose object is asked for before they go, at once.
const STEP: usize = 256;

/// So long nothing leaves the folder after all of it was asked to come home: it may soon be the only copy. Longer than one step takes.
const HELD: Duration = Duration::from_mins(5);

/// Until when nothing leaves the folder.
#[derive(Debug, Default)]
enum Held {
    #[default]
    No,
    Until(Instant),
    ForGood,
}

/// What is known of the folder between two looks at it.
#[derive(Debug)]
pub(super) struct Room {
    bytes_max: u64,
    /// Bytes that stay free on the disk, if it was said how many.
    reserve: Option<u64>,
    /// Bytes that somebody had no space for since the last look.
    wanted: AtomicU64,
    /// As of the last look, and what has come by fetching since.
    bytes: AtomicU64,
    used: Mutex<HashMap<Sha256, i64>>,
    held: Mutex<Held>,
    wake: Notify,
}

impl Room {
    pub(super) fn new(bytes_max: u64, reserve: Option<u64>) -> Self {
        Self {
            bytes_max,
            reserve,
            wanted: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            used: Mutex::default(),
            held: Mutex::default(),
            wake: Notify::new(),
        }
    }

    /// A file was read now.
    pub(super) fn used(&self, hash: Sha256, now_ms: i64) {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= USED_MAX && !used.contains_key(&hash) {
            // The half that was used longer ago is forgotten: it goes first either way.
            let mut times: Vec<i64> = used.values().copied().collect();
            let (_, middle, _) = times.select_nth_unstable(USED_MAX / 2);
            let middle = *middle;
            used.retain(|_, at| *at > middle);
        }
        used.insert(hash, now_ms);
    }

    /// Removes a file, unless the folder is held.
    fn let_go(&self, remove: impl FnOnce() -> std::io::Result<()>) -> std::io::Result<bool> {
        // Kept while it is removed: once the folder is held, nothing goes any more.
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match *held {
            Held::ForGood => return Ok(false),
            Held::Until(end) if Instant::now() < end => return Ok(false),
            Held::Until(_) | Held::No => {}
        }
        remove().map(|()| true)
    }

    /// A file has come.
    pub(super) fn grew(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > self.bytes_max {
            self.wake.notify_one();
        }
    }

    /// The disk has no space for so many bytes, whatever the bound says.
    pub(super) fn full(&self, bytes: u64) {
        self.wanted.fetch_max(bytes.max(1), Ordering::Relaxed);
        self.wake.notify_one();
    }
}

/// A blob in the folder with its compressed forms.
#[derive(Clone, Copy, Debug, Default)]
struct Local {
    /// Of the blob itself, if it is there.
    size: Option<u64>,
    bytes: u64,
    used_ms: i64,
}

impl Home {
    /// Keeps the folder within its bound until the shutdown.
    pub fn start(&self) {
        let home = self.clone();
        self.0.tasks.spawn(async move {
            while !home.0.tasks.is_stopping() {
                if let Err(error) = home.make_room().await {
                    tracing::warn!(%error, "the cache of files could not be kept within its bound");
                }
                tokio::select! {
                    () = async { time::sleep(PAUSE).await; home.0.room.wake.notified().await } => {}
                    () = time::sleep(PERIOD) => {}
                    () = home.0.tasks.stopping() => {}
                }
            }
        });
    }

    /// Lets nothing leave the folder for some minutes.
    pub fn hold(&self) {
        let mut held = self.0.room.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*held, Held::ForGood) {
            *held = Held::Until(Instant::now() + HELD);
        }
    }

    /// Lets nothing leave the folder any more: from the next start on it is the only copy.
    pub fn hold_for_good(&self) {
        let mut held = self.0.room.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*held, Held::ForGood) {
            tracing::info!(
                "no file leaves the data folder any more: its files are to be in no bucket from the next start on"
            );
            *held = Held::ForGood;
        }
    }

    /// Files may leave the folder again.
    pub(super) fn release(&self) {
        *self.0.room.held.lock().unwrap_or_else(PoisonError::into_inner) = Held::No;
    }

    /// Sees that files leave the folder until its disk has space for so many bytes beside the reserve, if they can.
    pub fn want_space(&self, bytes: u64) {
        self.0.room.full(bytes);
    }

    /// Removes files until the folder is well within its bound, and its disk has the reserve free; how many bytes went.
    pub async fn make_room(&self) -> Result<u64> {
        // Until the store is known to be ours, what it has may be another installation's, and the file here the only one.
        if self.0.claimed.get().is_none() {
            return Ok(0);
        }
        let folder = self.0.folder.clone();
        let listed = self.0.tasks.blocking(move || look(&folder)).await;
        let files = listed.ok_or_else(|| Error::internal("listing the cache panicked"))??;
        let total: u64 = files.values().map(|it| it.bytes).sum();
        self.0.room.bytes.store(total, Ordering::Relaxed);
        let excess = self.excess(total)?;
        if excess == 0 {
            return Ok(0);
        }
        let mut order: Vec<(Sha256, Local)> = files.into_iter().collect();
        {
            let used = self.0.room.used.lock().unwrap_or_else(PoisonError::into_inner);
            for (hash, local) in &mut order {
                local.used_ms = local.used_ms.max(used.get(hash).copied().unwrap_or(0));
            }
        }
        order.sort_unstable_by_key(|(hash, local)| (local.used_ms, *hash));
        let (mut freed, mut order) = (0_u64, order.into_iter().peekable());
        while freed < excess && order.peek().is_some() {
            let (mut step, mut wanted) = (Vec::new(), 0_u64);
            while step.len() < STEP
                && freed.saturating_add(wanted) < excess
                && let Some((hash, local)) = order.next()
            {
                wanted = wanted.saturating_add(local.bytes);
                step.push((hash, local));
            }
            freed = freed.saturating_add(self.remove(step).await?);
        }
        self.0.room.bytes.fetch_sub(freed.min(total), Ordering::Relaxed);
        tracing::debug!(freed, total, "files that were not asked for have left the cache");
        Ok(freed)
    }

    /// How many of the `total` bytes are to go. A tenth more than must, so that the next file does not start it again.
    fn excess(&self, total: u64) -> Result<u64> {
        let room = &self.0.room;
        let over = if total > room.bytes_max { total - (room.bytes_max - room.bytes_max / 10) } else { 0 };
        let space = files::space(self.0.folder.root())?;
        let reserve = space.reserve(room.reserve);
        let wanted = room.wanted.swap(0, Ordering::Relaxed);
        if wanted == 0 && space.free >= reserve {
            return Ok(over);
        }
        let lacking = |wanted: u64| {
            reserve.saturating_add(reserve / 10).saturating_add(wanted).saturating_sub(space.free).min(total)
        };
        // What could not fit even without a cache is no reason to empty it.
        let fits = space.free.saturating_add(total) >= reserve.saturating_add(wanted);
        Ok(over.max(lacking(if fits { wanted } else { 0 })))
    }

    /// Refuses when these blobs and their forms, sorted, cannot all be in the folder at once.
    pub(super) async fn check_fits(&self, blobs: &[Sha256]) -> Result<()> {
        let (mut listed, mut needed) = (self.0.store.list(), 0_u64);
        while let Some(item) = listed.next().await {
            let (name, about) = item.map_err(|it| self.explain(&it))?;
            if blobs.binary_search(&name.hash()).is_ok() {
                needed = needed.saturating_add(about.size);
            }
        }
        let folder = self.0.folder.clone();
        let looked =
            self.0.tasks.blocking(move || Ok::<_, std::io::Error>((look(&folder)?, files::space(folder.root())?)));
        let (here, space) = looked.await.ok_or_else(|| Error::internal("listing the cache panicked"))??;
        let here: u64 = here.values().map(|it| it.bytes).sum();
        let max = self.0.room.bytes_max;
        if needed > max {
            let (needed, max) = (ByteSize(needed), ByteSize(max));
            let text = format!(
                "The files of kept deployments have {needed}, and the data folder may have {max} of them (`cache_bytes` in \
                 [blobs]). Nothing was begun. Give it more than {needed}, restart the server, and try again."
            );
            return Err(Error::conflict("cache_full", text));
        }
        let reserve = space.reserve(self.0.room.reserve);
        if space.free.saturating_add(here) < needed.saturating_add(reserve) {
            let (needed, free, reserve) = (ByteSize(needed), ByteSize(space.free), ByteSize(reserve));
            let text = format!(
                "The files of kept deployments have {needed}, while the disk of the data folder has {free} free and keeps {reserve} in \
                 reserve. Nothing was begun. Free some space and try again."
            );
            return Err(Error::conflict("cache_full", text));
        }
        Ok(())
    }

    /// Removes those of these that the store has; their bytes.
    async fn remove(&self, step: Vec<(Sha256, Local)>) -> Result<u64> {
        let removed = self.each(step, |home, (hash, local)| async move {
            if let Some(size) = local.size
                && !home.has(hash, size).await?
            {
                return Ok(0);
            }
            let (folder, holds) = (home.0.folder.clone(), home.clone());
            let removed = home.0.tasks.blocking(move || holds.0.room.let_go(|| folder.remove(&hash))).await;
            let gone = removed.ok_or_else(|| Error::internal("removing a file panicked"))??;
            Ok(if gone { local.bytes } else { 0 })
        });
        Ok(removed.await?.into_iter().sum())
    }

    /// Whether the store has a blob, as far as anybody knows.
    async fn has(&self, hash: Sha256, size: u64) -> Result<bool> {
        if self.is_lost(&hash) {
            return Ok(false);
        }
        if self.0.seen.contains_key(&Name::Blob(hash)) {
            return Ok(true);
        }
        Ok(self.head(hash).await?.is_some_and(|it| it.size == size))
    }
}

fn look(folder: &BlobDir) -> std::io::Result<HashMap<Sha256, Local>> {
    let mut files: HashMap<Sha256, Local> = HashMap::new();
    for (hash, size, written_ms) in folder.list()? {
        files.insert(hash, Local { size: Some(size), bytes: size, used_ms: written_ms });
    }
    for ((hash, _), size, written_ms) in folder.list_variants()? {
        let local = files.entry(hash).or_default();
        local.bytes = local.bytes.saturating_add(size);
        local.used_ms = local.used_ms.max(written_ms);
    }
    Ok(files)
}
