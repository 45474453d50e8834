//! How requests of one site that are not for its files have ended.

use std::sync::atomic::{AtomicU64, Ordering};

/// How one has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An upstream has answered, with less than 500.
    Answered,
    /// It has answered that it failed.
    Failed,
    /// It has become a WebSocket.
    Switched,
    /// No upstream could be connected to.
    Unreachable,
    /// What came was no answer.
    Broken,
    /// Nothing came in time.
    Late,
    /// No upstream is well.
    Down,
    /// It was not passed on.
    Refused,
}

impl Outcome {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Answered, "answered"),
        (Self::Failed, "failed"),
        (Self::Switched, "switched"),
        (Self::Unreachable, "unreachable"),
        (Self::Broken, "broken"),
        (Self::Late, "late"),
        (Self::Down, "down"),
        (Self::Refused, "refused"),
    ];
}

/// The counters of one site.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; Outcome::ALL.len()]);

impl Counts {
    pub(super) fn count(&self, outcome: Outcome) {
        let at = Outcome::ALL.iter().position(|it| it.0 == outcome);
        if let Some(counter) = at.and_then(|it| self.0.get(it)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each outcome with its count.
    pub(super) fn read(&self) -> Vec<(&'static str, u64)> {
        Outcome::ALL.iter().zip(&self.0).map(|((_, word), count)| (*word, count.load(Ordering::Relaxed))).collect()
    }
}
