//! The queue on redb: where the suites run it, and what only it can break: crash images, full disks, failed
//! syncs, files of other versions.

#![expect(clippy::indexing_slicing, clippy::panic, reason = "a test that panics says what went wrong")]

mod crash;
mod disk;
mod faults;
mod formats;

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use chainhost::{
    base::clock::Clock,
    engines::queue_redb::{Disk, QueueRedb},
    ports::queue::QueueEngine,
};
use redb::{StorageBackend, backends::FileBackend};

use crate::conformance::Place;

pub(crate) use disk::{Dice, MemoryDisk};

/// A file in a folder of its own.
pub(crate) struct FilePlace {
    folder: tempfile::TempDir,
}

impl FilePlace {
    /// A new folder, without a file yet.
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("queue.redb")
    }
}

impl Place for FilePlace {
    fn open(&self, clock: Clock, waiting_max: u64) -> Arc<dyn QueueEngine> {
        let path = self.path();
        let open = move || -> io::Result<Box<dyn StorageBackend>> {
            let file = std::fs::File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
            Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
        };
        QueueRedb::open_on(Box::new(open), clock, waiting_max).unwrap()
    }
}

/// A disk in memory: for tests that commit thousands of times.
pub(crate) struct MemoryPlace {
    disk: Mutex<MemoryDisk>,
    dice: Mutex<Dice>,
}

impl MemoryPlace {
    /// An empty disk; the seed is for what a power cut leaves of it.
    pub(crate) fn new(seed: u64) -> Self {
        Self { disk: Mutex::default(), dice: Mutex::new(Dice::new(seed)) }
    }
}

impl Place for MemoryPlace {
    fn open(&self, clock: Clock, waiting_max: u64) -> Arc<dyn QueueEngine> {
        QueueRedb::open_on(on(&self.disk.lock().unwrap()), clock, waiting_max).unwrap()
    }

    fn kill(&self, engine: Arc<dyn QueueEngine>) {
        let mut disk = self.disk.lock().unwrap();
        disk.fail_after(0);
        drop(engine);
        *disk = disk.after_power_cut(&mut self.dice.lock().unwrap());
    }
}

/// The disk as the engine takes it.
fn on(disk: &MemoryDisk) -> Disk {
    let disk = disk.clone();
    Box::new(move || Ok(Box::new(disk.clone())))
}
