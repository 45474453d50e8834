//! Copies all tables page by page, counts and hashes both sides on the way, and afterwards only what has changed since.
//!
//! INVARIANT: what is read of the source was written before it was read, or its key is noted for the next look
//! (`store::copy::changes`). So the last look, in a transaction that keeps all others from writing, leaves nothing out.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use tokio::runtime::Handle;

use super::{
    Progress, TableReport, Watch,
    parts::{Maker, Parted, ROWS_MEAN, Sums, ends},
};
use crate::{
    domain::{Error, Result},
    ports::db::{Db, Dialect, Value, WriteTx},
    store::copy::{self, Span, Table, Values, changes},
};

/// Rows of a page: at first, and at most. Rows can be large.
const PAGE_ROWS: usize = 64;
const PAGE_ROWS_MAX: usize = 1_000;
/// A page with more bytes is followed by a smaller one; with a quarter of them, by a larger one.
const PAGE_BYTES: usize = 1024 * 1024;
/// Rows of one transaction on the target that mends what has changed, about.
const MEND_ROWS: usize = 2_000;
/// Rows counted by one read, whose time is limited.
const COUNT_ROWS: usize = 200_000;
/// Keys that are looked at in one round while the server goes on, and the rounds at most: one that changes faster than it is
/// copied is stopped all the same.
const ROUND_KEYS: usize = 5_000;
const ROUNDS_MAX: usize = 50;
/// With fewer than so many keys to look at, the rest is left to the time without changes.
const ROUND_KEYS_FEW: usize = 100;

/// Everything that copies rows into one target.
pub(super) struct Copying {
    pub(super) handle: Handle,
    pub(super) target: Db,
    pub(super) tables: Arc<Vec<Table>>,
    pub(super) watch: Watch,
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

/// Reads up to so many rows of a table behind a key, up to another (empty: to the end).
type Read<'a> = &'a mut dyn FnMut(&Table, &[Value], &[Value], usize) -> Result<Vec<Values>>;

/// Some parts of a table, with the rows that the source has there now.
struct Piece {
    first: usize,
    last: usize,
    span: Span,
}

impl Copying {
    /// Copies all while others may change the source. A row that cannot be placed is left to the next look: its name may have
    /// gone from one row to another meanwhile.
    pub(super) fn all(&self, step: &'static str, source: &Db) -> Result<Vec<Parted>> {
        let mut rows = 0;
        for table in self.tables.iter() {
            rows += self.count(source, table)?;
        }
        (self.watch)(Progress::Step(step, rows));
        let read = &mut self.reading(source);
        self.tables.iter().map(|table| self.table(table, false, read)).collect()
    }

    /// Has the target look at its tables, so that it plans well from the first request on. SQLite needs that not: it plans by the schema
    /// alone, and figures that nobody keeps true would be worse than none.
    pub(super) fn analyze(&self) -> Result<()> {
        if self.handle.block_on(self.target.read(|tx| Ok(tx.dialect())))? == Dialect::Sqlite {
            return Ok(());
        }
        (self.watch)(Progress::Step("analysing the new tables", u64::try_from(self.tables.len()).unwrap_or(u64::MAX)));
        for table in self.tables.iter() {
            let table = table.clone();
            self.handle.block_on(self.target.write(move |tx| copy::analyze(tx, &table)))?;
            (self.watch)(Progress::Rows(1));
        }
        Ok(())
    }

    /// Pages of a source that others may change.
    fn reading<'a>(
        &'a self,
        source: &'a Db,
    ) -> impl FnMut(&Table, &[Value], &[Value], usize) -> Result<Vec<Values>> + 'a {
        |table, after, end, limit| {
            let (table, after, end) = (table.clone(), after.to_vec(), end.to_vec());
            self.handle.block_on(source.read(move |tx| copy::read(tx, &table, &after, &end, limit)))
        }
    }

    /// Counts a table in reads that are short.
    fn count(&self, source: &Db, table: &Table) -> Result<u64> {
        let (mut rows, mut after) = (0, Vec::new());
        loop {
            let (of, from) = (table.clone(), after);
            let counted = source.read(move |tx| copy::count_some(tx, &of, &from, COUNT_ROWS));
            let (some, last) = self.handle.block_on(counted)?;
            rows += some;
            match last {
                Some(last) => after = last,
                None => return Ok(rows),
            }
        }
    }

    /// Looks again at what has changed, until that is little; how many rounds it took.
    pub(super) fn follow(&self, source: &Db, copied: &mut [Parted]) -> Result<usize> {
        for round in 1..=ROUNDS_MAX {
            let tables = Arc::clone(&self.tables);
            let taken = source.write(move |tx| {
                copy::take_time(tx)?;
                changes::take_changed(tx, &tables, ROUND_KEYS)
            });
            let keys = self.handle.block_on(taken)?;
            let few = keys.len() < ROUND_KEYS_FEW;
            (self.watch)(Progress::Step("copying what has changed", about(&keys)));
            let read = &mut self.reading(source);
            self.look(copied, keys, false, read)?;
            if few && copied.iter().all(|it| it.stale().is_empty()) {
                return Ok(round);
            }
        }
        Ok(ROUNDS_MAX)
    }

    /// Looks at what has changed since the last round, in a transaction on the source that keeps all others from writing, and
    /// counts all rows on both sides. A table whose counts are not as they should be is copied once more.
    pub(super) fn last_look(&self, tx: &mut WriteTx<'_>, copied: &mut [Parted]) -> Result<Vec<Sums>> {
        if !changes::is_watched(tx, &self.tables)? {
            return Err(Error::conflict(
                "not_watched",
                "Somebody ended the watch over what changes: a server that started meanwhile, or another hand. Nothing was \
                 switched. Run the same command again.",
            ));
        }
        let keys = changes::list_changed(tx, &self.tables, usize::MAX >> 1)?;
        (self.watch)(Progress::Step("the last look", about(&keys)));
        self.look(copied, keys, true, &mut |table, after, end, limit| copy::read(tx, table, after, end, limit))?;
        let mut counted = Vec::new();
        for table in self.tables.iter() {
            counted.push(copy::count(tx, table)?);
        }
        let there = self.count_there()?;
        for ((parted, here), there) in copied.iter_mut().zip(counted).zip(there) {
            let sums = parted.sums();
            if (sums.rows, sums.rows_there) != (here, there) {
                let read = &mut |table: &Table, after: &[Value], end: &[Value], limit: usize| {
                    copy::read(tx, table, after, end, limit)
                };
                *parted = self.table(&parted.table.clone(), true, read)?;
            }
        }
        Ok(copied.iter().map(Parted::sums).collect())
    }

    /// The rows of all tables of the target.
    pub(super) fn count_there(&self) -> Result<Vec<u64>> {
        let tables = Arc::clone(&self.tables);
        let counted = self.target.write(move |tx| {
            copy::take_time(tx)?;
            tables.iter().map(|it| copy::count(tx, it)).collect()
        });
        self.handle.block_on(counted)
    }

    /// One more round as [`Copying::last_look`] does it, while others may go on changing the source.
    pub(super) fn rehearse_last_look(&self, source: &Db, copied: &mut [Parted]) -> Result<Vec<Sums>> {
        let tables = Arc::clone(&self.tables);
        let looked = source.read(move |tx| changes::list_changed(tx, &tables, ROUND_KEYS));
        let keys = self.handle.block_on(looked)?;
        (self.watch)(Progress::Step("rehearsing the last look", about(&keys)));
        self.look(copied, keys, false, &mut self.reading(source))?;
        for table in self.tables.iter() {
            self.count(source, table)?;
        }
        self.count_there()?;
        Ok(copied.iter().map(Parted::sums).collect())
    }

    /// Copies a whole table.
    fn table(&self, table: &Table, strict: bool, read: Read<'_>) -> Result<Parted> {
        match self.pages(table, strict, read) {
            // Something in the target has a name that a row needs which comes before it.
            Err(error) if error.code == "unique" => {
                self.cut(table, Vec::new())?;
                self.pages(table, strict, read)
            }
            out => out,
        }
    }

    fn cut(&self, table: &Table, last: Values) -> Result<()> {
        let table = table.clone();
        let cut = self.target.write(move |tx| {
            copy::take_time(tx)?;
            copy::cut(tx, &table, &last)
        });
        self.handle.block_on(cut)
    }

    fn pages(&self, table: &Table, strict: bool, read: Read<'_>) -> Result<Parted> {
        let (mut parted, mut maker) = (Parted::new(table.clone()), Maker::default());
        let (mut after, mut limit) = (Vec::new(), PAGE_ROWS);
        loop {
            let rows = read(table, &after, &[], limit)?;
            let Some(last) = rows.last().map(|row| table.key_of(row)) else { break };
            let span = Span { after, end: last.clone(), rows };
            let bytes = span.rows.iter().map(|row| copy::size(row)).sum::<usize>();
            let (span, there) = match self.apply(table, vec![span])? {
                Ok(mut applied) => applied.pop().unwrap_or_else(|| (Span::default(), Vec::new())),
                Err((error, _)) if strict => return Err(error),
                Err((_, mut spans)) => (spans.pop().unwrap_or_default(), Vec::new()),
            };
            maker.add(table, &span.rows, &there);
            (self.watch)(Progress::Rows(u64::try_from(span.rows.len()).unwrap_or(u64::MAX)));
            after = last;
            if bytes > PAGE_BYTES {
                limit = (limit / 2).max(1);
            } else if bytes < PAGE_BYTES / 4 {
                limit = (limit * 2).min(PAGE_ROWS_MAX);
            }
        }
        self.cut(table, after)?;
        parted.set(maker.finish(true));
        Ok(parted)
    }

    /// Makes spans of the target equal in one transaction. They come back with the rows that are there now; the inner error is a
    /// row whose name another one has there.
    fn apply(&self, table: &Table, spans: Vec<Span>) -> Result<Applied> {
        let (of, spans) = (table.clone(), Arc::new(spans));
        let all = Arc::clone(&spans);
        let applied = self.target.write(move |tx| {
            copy::take_time(tx)?;
            all.iter().map(|span| copy::apply(tx, &of, span)).collect::<Result<Vec<_>>>()
        });
        let applied = self.handle.block_on(applied);
        let spans = Arc::try_unwrap(spans).unwrap_or_else(|shared| (*shared).clone());
        match applied {
            Ok(rows) => Ok(Ok(spans.into_iter().zip(rows).collect())),
            Err(error) if error.code == "unique" => Ok(Err((error, spans))),
            Err(error) => Err(error),
        }
    }

    /// Makes the parts equal in which these keys are, and those that are in doubt.
    fn look(&self, copied: &mut [Parted], keys: Vec<changes::Changed>, strict: bool, read: Read<'_>) -> Result<()> {
        let mut by_table: HashMap<String, Vec<Values>> = HashMap::new();
        for (table, key) in keys {
            by_table.entry(table).or_default().push(key);
        }
        for parted in copied {
            let mut parts = parted.stale();
            let keys = by_table.remove(&parted.table.name).unwrap_or_default();
            parts.extend(keys.iter().map(|key| parted.part_of(key)));
            self.mend(parted, parts, strict, read)?;
        }
        Ok(())
    }

    /// Makes some parts of a table equal, the last ones first, so that the numbers of the others stay.
    fn mend(&self, parted: &mut Parted, mut parts: BTreeSet<usize>, strict: bool, read: Read<'_>) -> Result<()> {
        let all: Vec<(Values, Values)> =
            parts.iter().map(|at| (parted.before(*at), parted.end(*at).cloned().unwrap_or_default())).collect();
        let table = parted.table.clone();
        let mut cleared = false;
        while !parts.is_empty() {
            let mut pieces: Vec<Piece> = Vec::new();
            while pieces.iter().map(|it| it.span.rows.len()).sum::<usize>() < MEND_ROWS
                && let Some(at) = parts.pop_last()
            {
                let piece = piece(parted, at, &mut pieces, read)?;
                pieces.push(piece);
            }
            let rows = pieces.iter().map(|it| it.span.rows.len()).sum::<usize>();
            (self.watch)(Progress::Rows(u64::try_from(rows).unwrap_or(u64::MAX)));
            let places: Vec<(usize, usize)> = pieces.iter().map(|it| (it.first, it.last)).collect();
            let mut applied = self.apply(&table, pieces.into_iter().map(|it| it.span).collect())?;
            if let Err((_, spans)) = applied {
                if !cleared {
                    cleared = true;
                    self.clear(&table, &all, read)?;
                }
                applied = self.apply(&table, spans)?;
            }
            match applied {
                Ok(applied) => {
                    for ((first, last), (span, there)) in places.into_iter().zip(applied) {
                        let mut maker = Maker::default();
                        maker.add(&table, &span.rows, &there);
                        parted.replace(first, last, maker.finish(span.end.is_empty()));
                    }
                }
                Err((error, _)) if strict => return Err(error),
                Err(_) => places.into_iter().flat_map(|(first, last)| first..=last).for_each(|at| parted.doubt(at)),
            }
        }
        Ok(())
    }

    /// Removes all that is wrong in these ranges of the target, before anything comes that may have a name of it.
    fn clear(&self, table: &Table, ranges: &[(Values, Values)], read: Read<'_>) -> Result<()> {
        for (after, end) in ranges {
            let rows = read(table, after, end, usize::MAX >> 1)?;
            let (of, span) = (table.clone(), Span { after: after.clone(), end: end.clone(), rows });
            let cleared = self.target.write(move |tx| {
                copy::take_time(tx)?;
                copy::clear_wrong(tx, &of, &span)
            });
            self.handle.block_on(cleared)?;
        }
        Ok(())
    }
}

/// The rows that are looked at for some keys, about.
fn about(keys: &[changes::Changed]) -> u64 {
    u64::try_from(keys.len()).unwrap_or(u64::MAX).saturating_mul(u64::from(ROWS_MEAN))
}

/// Spans with the target's rows, or the reason why none of them was made equal.
type Applied = std::result::Result<Vec<(Span, Vec<Values>)>, (Error, Vec<Span>)>;

/// Reads a part as the source has it now. One whose last row has gone reaches to the end of the next; when that is the last of
/// `pieces`, it takes that one in.
fn piece(parted: &Parted, at: usize, pieces: &mut Vec<Piece>, read: Read<'_>) -> Result<Piece> {
    let table = &parted.table;
    let after = parted.before(at);
    let (mut last, mut rows, mut from) = (at, Vec::new(), after.clone());
    loop {
        if last > at
            && let Some(next) = pieces.pop_if(|it| it.first == last)
        {
            rows.extend(next.span.rows);
            let span = Span { after, end: next.span.end, rows };
            return Ok(Piece { first: at, last: next.last, span });
        }
        let end = parted.end(last).cloned().unwrap_or_default();
        rows.extend(read(table, &from, &end, usize::MAX >> 1)?);
        let whole = rows.last().is_some_and(|row| table.key_of(row) == end && ends(&end));
        if end.is_empty() || whole || last + 1 >= parted.count() {
            return Ok(Piece { first: at, last, span: Span { after, end, rows } });
        }
        (from, last) = (end, last + 1);
    }
}
