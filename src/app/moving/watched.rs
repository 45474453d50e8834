//! The watch over what changes in the old database while it is copied.

use std::sync::Arc;

use tokio::runtime::Runtime;

use crate::{
    domain::Result,
    ports::db::Db,
    store::copy::{Table, changes, tables, take_time},
};

/// How often a busy database is asked again.
const BUSY_MAX: u32 = 5;

/// A watch that has begun. Dropped, it ends.
pub(super) struct Watched<'a> {
    runtime: &'a Runtime,
    db: Db,
    tables: Arc<Vec<Table>>,
}

impl<'a> Watched<'a> {
    /// Begins it, whatever an earlier one has left.
    pub(super) fn begin(runtime: &'a Runtime, db: Db, tables: Vec<Table>) -> Result<Self> {
        let watched = Self { runtime, db, tables: Arc::new(tables) };
        end(runtime, &watched.db, &watched.tables)?;
        let mut tries = 0;
        loop {
            let tables = Arc::clone(&watched.tables);
            let begun = watched.db.write(move |tx| {
                take_time(tx)?;
                changes::watch(tx, &tables)
            });
            tries += 1;
            match runtime.block_on(begun) {
                Err(error) if error.code == "database_busy" && tries < BUSY_MAX => {}
                begun => return begun.map(|()| watched),
            }
        }
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if let Err(error) = end(self.runtime, &self.db, &self.tables) {
            tracing::warn!(%error, "the watch over changes is left in the old database; the next start ends it");
        }
    }
}

/// Ends a watch, if there is one.
pub(super) fn end(runtime: &Runtime, db: &Db, tables: &[Table]) -> Result<()> {
    runtime.block_on(end_of(db, tables))
}

/// As [`end`], in all tables of the database.
pub(super) fn end_all(runtime: &Runtime, db: &Db) -> Result<()> {
    runtime.block_on(end_in(db))
}

/// Ends the watch of a move that was killed: nobody looks at what it notes any more.
pub(in crate::app) async fn end_in(db: &Db) -> Result<()> {
    if db.read(changes::was_watched).await? {
        let tables = db.read(tables).await?;
        end_of(db, &tables).await?;
    }
    Ok(())
}

async fn end_of(db: &Db, tables: &[Table]) -> Result<()> {
    if !db.read(changes::was_watched).await? {
        return Ok(());
    }
    for table in tables {
        let table = table.clone();
        db.write(move |tx| changes::unwatch_table(tx, &table)).await?;
    }
    db.write(changes::unwatch).await
}
