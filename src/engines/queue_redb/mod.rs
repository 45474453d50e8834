//! The queue port on redb: one thread owns one file and commits in batches.
//!
//! | File | Holds |
//! |---|---|
//! | `thread` | the loop: batches, one commit each, answers, health |
//! | `answers` | commands in, answers out |
//! | `claims` | enqueue, lease, finish |
//! | `bonds` | unique keys, jobs that wait for others, rates |
//! | `panel` | list, get, rerun, cancel, dismiss, pause |
//! | `chores` | delayed jobs that are due, old things that go |
//! | `work` | the steps that all of these are made of |
//! | `lanes` | whose turn it is, in memory |
//! | `book` | counts and leases, in memory |
//! | `store` | opening, recovery |
//! | `tables`, `record` | what stands in the file |
//! | `disk`, `fault` | how it fails |
//!
//! Guarantees: CONTRACTS §1 as `ports::queue` words it. It polls nothing, and never answers before the commit.

mod answers;
mod bonds;
mod book;
mod chores;
mod claims;
mod disk;
mod fault;
mod lanes;
mod panel;
mod record;
mod store;
mod tables;
mod thread;
mod work;

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use redb::{StorageBackend, backends::FileBackend};
use tokio::sync::Notify;

use crate::{
    base::{clock::Clock, files, limits, tasks::join_thread},
    domain::{Result, job::Queue},
    ports::{
        fatal::Fatal,
        queue::{Command, QueueEngine, busy},
    },
};

use self::{
    book::PerQueue,
    store::{Start, Store},
    thread::{Broken, Health, QueueThread},
};

pub use self::disk::Disk;

/// Commands that may wait: about a second of work.
const COMMANDS_WAITING_MAX: usize = 4_096;

/// The queue engine. Dropping it waits for what was asked before.
pub struct QueueRedb {
    commands: Mutex<Option<SyncSender<Command>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    ready: Arc<PerQueue<Notify>>,
    broken: Broken,
}

impl std::fmt::Debug for QueueRedb {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueueRedb")
    }
}

impl QueueRedb {
    /// Opens the queue in the file at `path`, made with mode 0600 where there is none, and brings back the
    /// jobs that ran when the process before ended.
    pub fn open(path: &Path, clock: Clock) -> Result<Arc<Self>> {
        drop(OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?);
        // The name of the file must be as durable as what is acknowledged from it.
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty());
        files::sync_folder(folder.unwrap_or(Path::new(".")))?;
        let path = path.to_owned();
        let open = move || -> io::Result<Box<dyn StorageBackend>> {
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
        };
        Self::open_on(Box::new(open), clock, limits::JOBS_WAITING_MAX)
    }

    /// Opens the queue on any storage, with at most `waiting_max` waiting jobs of one tenant. `disk` is asked
    /// again after the disk was full.
    pub fn open_on(disk: Disk, clock: Clock, waiting_max: u64) -> Result<Arc<Self>> {
        let store = Store::open(&disk)?;
        let book = store.load(clock.now_ms(), &Start::Boot)?;
        let (commands, received) = sync_channel(COMMANDS_WAITING_MAX);
        let ready = Arc::new(PerQueue::default());
        let broken = Broken::default();
        let thread = QueueThread {
            disk,
            clock,
            waiting_max,
            commands: received,
            ready: Arc::clone(&ready),
            book,
            health: Health::Good(store),
            untaken: Vec::new(),
            broken: broken.clone(),
        };
        let thread = std::thread::Builder::new().name(String::from("queue")).spawn(move || thread.run())?;
        Ok(Arc::new(Self { commands: Mutex::new(Some(commands)), thread: Mutex::new(Some(thread)), ready, broken }))
    }

    /// Takes no more, does what waits and closes the file. Blocks until done.
    pub fn close(&self) {
        drop(self.commands.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            join_thread(thread);
        }
    }
}

impl Drop for QueueRedb {
    fn drop(&mut self) {
        self.close();
    }
}

impl QueueEngine for QueueRedb {
    fn submit(&self, command: Command) {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Without a thread the command is dropped, and its caller sees that.
        if let Some(Err(TrySendError::Full(command))) = commands.map(|it| it.try_send(command)) {
            command.refuse(&busy());
        }
    }

    fn ready(&self, queue: Queue) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.ready.of(queue).notified())
    }

    fn is_up(&self) -> bool {
        !self.broken.is()
    }

    fn health(&self) -> Result<()> {
        if self.broken.is() { Err(fault::broken()) } else { Ok(()) }
    }

    fn fatal(&self) -> Option<Fatal> {
        Some(self.broken.fatal.clone())
    }
}
