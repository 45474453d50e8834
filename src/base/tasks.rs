//! Everything that runs beside the caller, so that a shutdown can end and await it.
//!
//! Nothing else spawns: `tokio::spawn` is forbidden by lint.

use std::{
    future::Future,
    thread::{self, JoinHandle},
};

use tokio::runtime::Handle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Waits for a thread, unless it is this one: a request may hold the last reference to what owns the thread.
pub fn join_thread(thread: JoinHandle<()>) {
    if thread.thread().id() != thread::current().id() {
        drop(thread.join());
    }
}

/// The running tasks of one process and the sign to stop. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    /// No task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `future` to its end. It should watch [`Tasks::stopping`].
    pub fn spawn<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(future);
    }

    /// The same with a future whose output nobody asks for. It is not wrapped: a wrapper would have room for it twice.
    pub fn spawn_for_its_end<F>(&self, future: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.tracker.spawn(future);
    }

    /// Runs a blocking closure on the pool for such work and gives back what it returns;
    /// `None` when it panicked.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.tracker.spawn_blocking(work).await.ok()
    }

    /// Lets go of something on the pool for blocking work, since that takes its time; without a runtime, here. [`Tasks::join`] waits for it.
    pub fn let_go<T: Send + 'static>(&self, what: T) {
        if Handle::try_current().is_ok() {
            // A runtime that has ended lets go of it in this call.
            drop(self.tracker.spawn_blocking(move || drop(what)));
        }
    }

    /// Resolves once a shutdown has begun.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether a shutdown has begun.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// The sign to stop, for code that takes a token.
    pub const fn token(&self) -> &CancellationToken {
        &self.stop
    }

    /// Begins the shutdown: [`Tasks::stopping`] resolves everywhere.
    pub fn stop(&self) {
        self.tracker.close();
        self.stop.cancel();
    }

    /// Waits until every task has ended. Call [`Tasks::stop`] first.
    pub async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// How many tasks run now.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }
}
