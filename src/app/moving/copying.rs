//! Copies all tables page by page, and counts and hashes both sides on the way.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::runtime::Handle;

use super::{Progress, TableReport, Watch};
use crate::{
    domain::{Error, Result},
    ports::db::{Db, Value, WriteTx},
    store::copy::{self, Table, Values},
};

/// Rows of a page: at first, and at most. Rows can be large.
const PAGE_ROWS: usize = 64;
const PAGE_ROWS_MAX: usize = 1_000;
/// A page with more bytes is followed by a smaller one; with a quarter of them, by a larger one.
const PAGE_BYTES: usize = 1024 * 1024;

/// Everything that copies rows into one target.
pub(super) struct Copying {
    pub(super) handle: Handle,
    pub(super) target: Db,
    pub(super) tables: Arc<Vec<Table>>,
    pub(super) watch: Watch,
}

/// A table, counted and hashed on both sides.
pub(super) struct Sums {
    table: String,
    pub(super) rows: u64,
    hash: Vec<u8>,
    rows_there: u64,
    hash_there: Vec<u8>,
}

impl Sums {
    pub(super) fn report(self) -> TableReport {
        TableReport { table: self.table, rows: self.rows, sha256: data_encoding::HEXLOWER.encode(&self.hash) }
    }
}

/// An error when a table is not the same on both sides.
pub(super) fn compare(all: &[Sums]) -> Result<()> {
    for it in all {
        if it.rows != it.rows_there || it.hash != it.hash_there {
            let text = format!(
                "The table {} has {} rows here and {} there, or other content. Nothing was switched; the server goes on with \
                 the database it has.",
                it.table, it.rows, it.rows_there
            );
            return Err(Error::conflict("not_equal", text));
        }
    }
    Ok(())
}

/// Reads up to so many rows of a table behind a key.
type Read<'a> = &'a mut dyn FnMut(&Table, &[Value], usize) -> Result<Vec<Values>>;

impl Copying {
    /// Copies while others may change the source. With `strict`, a row that cannot be placed is an error; else it is left
    /// to the next time: its name may have gone from one row to another meanwhile.
    pub(super) fn run(&self, step: &'static str, watch: &Watch, source: &Db, strict: bool) -> Result<Vec<Sums>> {
        let tables = Arc::clone(&self.tables);
        let count = move |tx: &mut crate::ports::db::ReadTx<'_>| {
            tables.iter().map(|it| copy::count(tx, it)).sum::<Result<u64>>()
        };
        watch(Progress::Step(step, self.handle.block_on(source.read(count))?));
        self.all(strict, &mut |table, after, limit| {
            let (table, after) = (table.clone(), after.to_vec());
            self.handle.block_on(source.read(move |tx| copy::read(tx, &table, &after, &[], limit)))
        })
    }

    /// Copies in a transaction on the source that keeps all others from writing.
    pub(super) fn run_locked(&self, step: &'static str, tx: &mut WriteTx<'_>) -> Result<Vec<Sums>> {
        let rows = self.tables.iter().map(|it| copy::count(tx, it)).sum::<Result<u64>>()?;
        (self.watch)(Progress::Step(step, rows));
        self.all(true, &mut |table, after, limit| copy::read(tx, table, after, &[], limit))
    }

    fn all(&self, strict: bool, read: Read<'_>) -> Result<Vec<Sums>> {
        self.tables.iter().map(|table| self.table(table, strict, read)).collect()
    }

    fn table(&self, table: &Table, strict: bool, read: Read<'_>) -> Result<Sums> {
        match self.pages(table, strict, read) {
            // Something in the target has a name that a row needs which comes before it.
            Err(error) if error.code == "unique" => {
                let all = table.clone();
                self.handle.block_on(self.target.write(move |tx| copy::cut(tx, &all, &[])))?;
                self.pages(table, strict, read)
            }
            out => out,
        }
    }

    fn pages(&self, table: &Table, strict: bool, read: Read<'_>) -> Result<Sums> {
        let (mut hash, mut hash_there) = (Sha256::new(), Sha256::new());
        let mut sums =
            Sums { table: table.name.clone(), rows: 0, hash: Vec::new(), rows_there: 0, hash_there: Vec::new() };
        let (mut after, mut limit) = (Vec::new(), PAGE_ROWS);
        loop {
            let rows = read(table, &after, limit)?;
            let Some(last) = rows.last().map(|row| table.key_of(row)) else { break };
            let count = rows.len();
            let (mut bytes, rows) = (Vec::new(), Arc::new(rows));
            for row in rows.iter() {
                copy::encode(row, &mut bytes);
            }
            hash.update(&bytes);
            sums.rows += u64::try_from(count).unwrap_or(u64::MAX);
            let (of, behind, page) = (table.clone(), after, Arc::clone(&rows));
            let applied = self.handle.block_on(self.target.write(move |tx| copy::apply(tx, &of, &behind, &page)));
            match applied {
                Ok(applied) => {
                    hash_there.update(&applied.bytes);
                    sums.rows_there += applied.rows;
                }
                Err(error) if error.code == "unique" && !strict => {}
                Err(error) => return Err(error),
            }
            (self.watch)(Progress::Rows(u64::try_from(count).unwrap_or(u64::MAX)));
            after = last;
            if bytes.len() > PAGE_BYTES {
                limit = (limit / 2).max(1);
            } else if bytes.len() < PAGE_BYTES / 4 {
                limit = (limit * 2).min(PAGE_ROWS_MAX);
            }
        }
        let (of, behind) = (table.clone(), after);
        self.handle.block_on(self.target.write(move |tx| copy::cut(tx, &of, &behind)))?;
        (sums.hash, sums.hash_there) = (hash.finalize().to_vec(), hash_there.finalize().to_vec());
        Ok(sums)
    }
}
