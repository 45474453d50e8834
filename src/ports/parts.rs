//! Tables in parts, one for each month: what an engine offers that can take all rows of a month away at once.
//!
//! An engine without it (SQLite) keeps such a table whole, and its rows are removed in batches.
//! Nothing here knows how long rows are kept, nor what is in them.

use super::db::ReadTx;
use crate::domain::{Result, month::Month};

/// Rows that fit no part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strays {
    /// How many.
    pub count: u64,
    /// The months that they belong to, oldest first; of very many some only.
    pub months: Vec<Month>,
}

/// Whether something may be done by now; the error says why not.
pub type May = dyn Fn(&mut ReadTx<'_>) -> Result<()> + Sync;

/// The parts of tables by month. Every method blocks, and must not be called on a thread of an async runtime.
pub trait Parts: Send + Sync {
    /// Makes the parts of these months where they are missing. Rows of such a month that fitted no part move into it.
    fn make(&self, table: &str, months: &[Month]) -> Result<()>;
    /// The months that have a part, oldest first.
    fn list(&self, table: &str) -> Result<Vec<Month>>;
    /// The rows that fit no part.
    fn find_strays(&self, table: &str) -> Result<Strays>;
    /// Takes a month's part away with all of its rows, in a time that does not grow with them. Without a part nothing happens, and
    /// neither when `may`, which is asked in the same transaction as its first statement, refuses.
    fn remove(&self, table: &str, month: Month, may: &May) -> Result<()>;
}
