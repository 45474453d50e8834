//! The rows of a table in parts, each counted and hashed on both sides, so that a change costs the hash of one part only.
//!
//! Where a part ends is said by the keys themselves: the same rows make the same parts, and with them the same hash of the table,
//! whatever the order in which they came.

use std::{cmp::Ordering, collections::BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::{
    ports::db::Value,
    store::copy::{self, Table, Values},
};

/// One key of so many ends a part.
pub(super) const ROWS_MEAN: u8 = 64;

/// Rows up to a key.
#[derive(Debug)]
pub(super) struct Part {
    /// The key of its last row; `None`: all that come behind the part before.
    pub(super) end: Option<Values>,
    rows: u64,
    rows_there: u64,
    here: [u8; 32],
    there: [u8; 32],
    /// It must be looked at again.
    stale: bool,
}

/// A table in parts. The last one has no end.
#[derive(Debug)]
pub(super) struct Parted {
    pub(super) table: Table,
    parts: Vec<Part>,
}

/// A table, counted and hashed on both sides.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    pub(super) table: String,
    pub(super) rows: u64,
    pub(super) rows_there: u64,
    pub(super) hash: Vec<u8>,
    pub(super) hash_there: Vec<u8>,
}

impl Parted {
    /// A table of which nothing is known.
    pub(super) const fn new(table: Table) -> Self {
        Self { table, parts: Vec::new() }
    }

    /// Takes the place of the parts from `first` to `last`.
    pub(super) fn replace(&mut self, first: usize, last: usize, fresh: Vec<Part>) {
        let end = last.saturating_add(1).min(self.parts.len());
        drop(self.parts.splice(first.min(end)..end, fresh));
    }

    /// All of it, anew.
    pub(super) fn set(&mut self, parts: Vec<Part>) {
        self.parts = parts;
    }

    pub(super) fn count(&self) -> usize {
        self.parts.len()
    }

    /// The end of a part; `None` also behind the last one.
    pub(super) fn end(&self, at: usize) -> Option<&Values> {
        self.parts.get(at)?.end.as_ref()
    }

    /// The key before a part; empty before the first.
    pub(super) fn before(&self, at: usize) -> Values {
        at.checked_sub(1).and_then(|it| self.end(it)).cloned().unwrap_or_default()
    }

    /// The part that a key belongs to.
    pub(super) fn part_of(&self, key: &[Value]) -> usize {
        self.parts.partition_point(|part| part.end.as_ref().is_some_and(|end| order(end, key) == Ordering::Less))
    }

    /// The parts that must be looked at again.
    pub(super) fn stale(&self) -> BTreeSet<usize> {
        self.parts.iter().enumerate().filter(|(_, part)| part.stale).map(|(at, _)| at).collect()
    }

    /// Remembers that a part must be looked at again.
    pub(super) fn doubt(&mut self, at: usize) {
        if let Some(part) = self.parts.get_mut(at) {
            part.stale = true;
        }
    }

    /// Counts, and the hash of all its parts.
    pub(super) fn sums(&self) -> Sums {
        let (mut hash, mut hash_there) = (Sha256::new(), Sha256::new());
        let (mut rows, mut rows_there) = (0, 0);
        for part in &self.parts {
            rows += part.rows;
            rows_there += part.rows_there;
            // An end without rows is no part of the data: whether there is one must make no difference.
            if part.rows > 0 {
                hash.update(part.here);
            }
            if part.rows_there > 0 {
                hash_there.update(part.there);
            }
        }
        Sums {
            table: self.table.name.clone(),
            rows,
            rows_there,
            hash: hash.finalize().to_vec(),
            hash_there: hash_there.finalize().to_vec(),
        }
    }
}

/// Makes parts of rows that come in the order of their keys.
#[derive(Default)]
pub(super) struct Maker {
    done: Vec<Part>,
    here: Sha256,
    there: Sha256,
    rows: u64,
    rows_there: u64,
    stale: bool,
}

impl Maker {
    /// Takes in some rows as both sides have them.
    pub(super) fn add(&mut self, table: &Table, here: &[Values], there: &[Values]) {
        let mut bytes = Vec::new();
        let aligned = here.len() == there.len();
        for (at, row) in here.iter().enumerate() {
            bytes.clear();
            copy::encode(row, &mut bytes);
            self.here.update(&bytes);
            self.rows += 1;
            if let Some(twin) = there.get(at).filter(|_| aligned) {
                if twin != row {
                    bytes.clear();
                    copy::encode(twin, &mut bytes);
                    self.stale = true;
                }
                self.there.update(&bytes);
                self.rows_there += 1;
            } else {
                self.stale = true;
            }
            let key = table.key_of(row);
            if ends(&key) {
                self.end(Some(key));
            }
        }
        if !aligned {
            self.stale = true;
        }
    }

    fn end(&mut self, end: Option<Values>) {
        let it = std::mem::take(self);
        let (here, there) = (it.here.finalize().into(), it.there.finalize().into());
        self.done = it.done;
        self.done.push(Part { end, rows: it.rows, rows_there: it.rows_there, here, there, stale: it.stale });
    }

    /// The parts, with one behind all rows when `open`.
    pub(super) fn finish(mut self, open: bool) -> Vec<Part> {
        if open {
            self.end(None);
        }
        self.done
    }
}

/// Whether a row with this key is the last of its part.
pub(super) fn ends(key: &[Value]) -> bool {
    let mut bytes = Vec::new();
    copy::encode(key, &mut bytes);
    Sha256::digest(&bytes).first().is_some_and(|it| *it < u8::MAX / ROWS_MEAN + 1)
}

/// The order that both databases have: of bytes, and of numbers.
fn order(one: &[Value], other: &[Value]) -> Ordering {
    let each = one.iter().zip(other).map(|pair| match pair {
        (Value::Int(one), Value::Int(other)) => one.cmp(other),
        (Value::Text(one), Value::Text(other)) => one.as_bytes().cmp(other.as_bytes()),
        (Value::Blob(one), Value::Blob(other)) => one.cmp(other),
        _ => Ordering::Equal,
    });
    each.fold(Ordering::Equal, Ordering::then)
}
