//! The sign of an engine that the disk has failed under it, after which this process must end.
//!
//! Nobody knows what the disk holds after a failed sync, and asking once more may be told that all is well while bytes
//! are lost (CONTRACTS §2). A new process reads what is there; this one must not go on. Told once, never taken back.

use std::sync::{Arc, OnceLock};

use tokio_util::sync::CancellationToken;

use crate::domain::Error;

/// The sign, shared by who gives it and who waits for it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Fatal(Arc<Sign>);

#[derive(Debug, Default)]
struct Sign {
    why: OnceLock<Error>,
    told: CancellationToken,
}

impl Fatal {
    /// Gives the sign. The first reason stays.
    pub fn tell(&self, why: Error) {
        self.0.why.get_or_init(|| why);
        self.0.told.cancel();
    }

    /// Waits for the sign.
    pub async fn told(&self) -> Error {
        self.0.told.cancelled().await;
        // INVARIANT: the reason is there before the sign is given.
        self.0.why.get().cloned().unwrap_or_else(|| Error::internal("a disk failed without a reason"))
    }
}

/// Waits for the sign of an engine; without end for one that gives none.
pub(super) async fn told(fatal: Option<Fatal>) -> Error {
    match fatal {
        Some(fatal) => fatal.told().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_is_heard_by_all_also_later() {
        let fatal = Fatal::default();
        let (early, other) = (fatal.clone(), fatal.clone());
        let (heard, ()) = tokio::join!(early.told(), async {
            other.tell(Error::unavailable("first", "The first."));
            other.tell(Error::unavailable("second", "The second."));
        });
        assert_eq!((heard.code, fatal.told().await.code), ("first", "first"));
    }
}
