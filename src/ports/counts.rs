//! The counts port: how often something was done in a window of time, by all processes together.
//!
//! It never fails: while it cannot be asked, each process counts for itself.

use std::sync::Arc;

use super::cache::Later;

/// What comes of one more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was counted.
    Counted,
    /// There were enough of them, and it was not counted.
    Refused {
        /// Milliseconds until the window ends.
        left_ms: i64,
    },
}

/// Counts that several processes share.
pub trait SharedCounts: Send + Sync {
    /// Counts one use of `key`, of which there may be `max` in a window that begins with the first and lasts `window_ms`. `None`:
    /// it cannot be said now. Takes no longer than a quarter of a second.
    fn take<'a>(&'a self, key: &'a str, max: u32, window_ms: i64) -> Later<'a, Option<Taken>>;
    /// Ends the window of `key`, as soon as that can be done.
    fn forget(&self, key: &str);
}

/// The counts as services see them. Cheap to clone.
#[derive(Clone, Default)]
pub struct Counts(Option<Arc<dyn SharedCounts>>);

impl std::fmt::Debug for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counts")
    }
}

impl Counts {
    /// Counts that other processes share.
    pub fn shared(engine: Arc<dyn SharedCounts>) -> Self {
        Self(Some(engine))
    }

    /// As [`SharedCounts::take`]; `None` also where nobody shares.
    pub async fn take(&self, key: &str, max: u32, window_ms: i64) -> Option<Taken> {
        match &self.0 {
            Some(engine) => engine.take(key, max, window_ms).await,
            None => None,
        }
    }

    /// As [`SharedCounts::forget`].
    pub fn forget(&self, key: &str) {
        if let Some(engine) = &self.0 {
            engine.forget(key);
        }
    }
}
