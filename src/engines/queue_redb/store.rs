//! Opening the file: its format, the boot epoch, what the book must know, and the jobs of dead workers.
//!
//! Guarantees: a newer file is refused; only running jobs are touched, so that a million waiting ones cost
//! nothing; each open has its own epoch, from which the places in the lines are numbered.

use std::collections::{HashMap, VecDeque};

use redb::{Builder, Database, DatabaseError, Durability, ReadableTable as _, WriteTransaction};

use crate::domain::{
    Error, Result,
    job::{JobId, Queue, State},
};

use super::{
    bonds::starts_word,
    book::{Book, Running},
    claims::CANCELLED,
    disk::{Disk, Signs, Watched},
    fault::{Fault, Step, full},
    record::{Counts, Entry, FORMAT, FORMAT_MIN, Owner, decode_starts, read_counts_key, read_ready_key, ready_key},
    tables::Tables,
    work::Work,
};

/// Pages that redb keeps; its default of 1 GiB would be most of a small server.
const CACHE_BYTES: usize = 24 * 1024 * 1024;
/// A job whose worker died so often is dead: it may be what kills them.
const DEATHS_MAX: u32 = 3;
/// Places in lines that one epoch may give out: 2^40.
const SEQS_BITS: u32 = 40;

/// The open file.
pub(super) struct Store {
    database: Database,
    pub(super) signs: Signs,
}

/// Why the file is opened.
pub(super) enum Start<'b> {
    /// The process begins: no worker of before lives.
    Boot,
    /// The disk was full: the workers of this process live and hold these leases.
    Again(&'b Book),
}

impl Store {
    /// Opens the file, or makes it in an empty storage.
    pub(super) fn open(disk: &Disk) -> Result<Self> {
        let (watched, signs) = Watched::new(disk()?);
        match Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(watched) {
            Ok(database) => Ok(Self { database, signs }),
            Err(DatabaseError::DatabaseAlreadyOpen) => Err(Error::conflict(
                "queue_in_use",
                "Another process has the job queue of this data folder open. Stop it first.",
            )),
            Err(error) if signs.full() => Err(full().because(error)),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// A transaction whose commit is on the disk when it returns, and which makes the next open quick.
    pub(super) fn begin(&self) -> Step<WriteTransaction> {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_quick_repair(true);
        Ok(transaction)
    }

    /// Reads the book and brings back the jobs of workers that are gone.
    pub(super) fn load(&self, now_ms: i64, start: &Start<'_>) -> Result<Book> {
        self.try_load(now_ms, start).map_err(|fault| match fault {
            Fault::Refused(error) => error,
            Fault::Broken(detail) if self.signs.full() => full().because(detail),
            Fault::Broken(detail) => unreadable(detail),
        })
    }

    fn try_load(&self, now_ms: i64, start: &Start<'_>) -> Step<Book> {
        let transaction = self.begin()?;
        let mut book = Book::default();
        book.chores_ms = now_ms;
        {
            let mut tables = Tables::open(&transaction)?;
            check_format(&mut tables)?;
            book.seq = match start {
                Start::Boot => next_epoch(&mut tables)? << SEQS_BITS,
                Start::Again(before) => before.seq,
            };
            book.changed = matches!(start, Start::Boot);
            read(&tables, &mut book)?;
            let mut work = Work { tables: &mut tables, book: &mut book, now_ms, waiting_max: u64::MAX };
            work.next_due()?;
            match start {
                Start::Boot => work.recover(&HashMap::new(), true)?,
                Start::Again(before) => work.recover(&before.held(), false)?,
            }
            work.watch_rates();
            work.write_counts()?;
        }
        if book.changed {
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        book.changed = false;
        for queue in Queue::ALL {
            *book.woken.of_mut(queue) = !book.lanes.of(queue).is_empty();
        }
        Ok(book)
    }
}

fn check_format(tables: &mut Tables<'_>) -> Step<()> {
    let found = tables.about.get("format")?.map(|it| it.value().first().copied().unwrap_or(0));
    match found {
        Some(FORMAT) => Ok(()),
        // COMPAT: nothing else is to be done. Values of older formats are read as they are.
        None | Some(FORMAT_MIN..FORMAT) => {
            tables.about.insert("format", [FORMAT].as_slice())?;
            Ok(())
        }
        Some(other) => Err(Error::conflict(
            "queue_newer",
            format!(
                "The job queue in this data folder has format {other}; this version of the program knows format {FORMAT}. \
                 Use the version that wrote it, or a newer one."
            ),
        )
        .into()),
    }
}

fn next_epoch(tables: &mut Tables<'_>) -> Step<u64> {
    let before = tables.about.get("epoch")?.and_then(|it| it.value().first_chunk().copied());
    let epoch = before.map_or(0, u64::from_be_bytes) + 1;
    tables.about.insert("epoch", epoch.to_be_bytes().as_slice())?;
    Ok(epoch)
}

/// Reads pauses, counts and the head of each line: a few rows for each tenant.
fn read(tables: &Tables<'_>, book: &mut Book) -> Step<()> {
    if let Some(words) = tables.about.get("paused")? {
        for (queue, word) in Queue::ALL.into_iter().zip(words.value()) {
            *book.paused.of_mut(queue) = *word == 1;
        }
    }
    for queue in Queue::ALL {
        if let Some(starts) = tables.about.get(starts_word(queue).as_str())? {
            *book.starts.of_mut(queue) = decode_starts(starts.value())?;
        }
    }
    for row in tables.paused.iter()? {
        let (owner, _) = row?;
        for queue in Queue::ALL {
            book.lanes.of_mut(queue).pause(*owner.value(), true);
        }
    }
    for row in tables.counts.iter()? {
        let (key, value) = row?;
        let (queue, owner) = read_counts_key(key.value())?;
        book.read_counts(queue, owner, Counts::decode(value.value())?);
    }
    let mut from = [0; 26];
    while let Some(row) = tables.ready.range::<&_>(&from..)?.next() {
        let (key, value) = row?;
        let (queue, owner, line, seq) = read_ready_key(key.value())?;
        let head = VecDeque::from([Entry::decode(seq, value.value())?]);
        book.lanes.of_mut(queue).refill(owner, line, head, true);
        // INVARIANT: no job has this `seq`, so the next row is the head of the next line.
        from = ready_key(queue, owner, line, u64::MAX);
    }
    Ok(())
}

impl Work<'_, '_> {
    /// Brings back the running jobs that nobody of `held` works on.
    fn recover(&mut self, held: &HashMap<JobId, Running>, died: bool) -> Step<()> {
        let mut rows: Vec<(JobId, Owner)> = Vec::new();
        for row in self.tables.running.iter()? {
            let (key, owner) = row?;
            rows.push((JobId(crate::base::ids::Id::from_bytes(*key.value())), *owner.value()));
        }
        for (id, owner) in rows {
            let mut standing = self.standing(owner, id)?;
            if let Some(running) = held.get(&id).filter(|it| it.attempt == standing.attempt) {
                self.book.running.insert(id, running.clone());
                continue;
            }
            self.tables.running.remove(id.0.as_bytes())?;
            standing.deaths += u32::from(died);
            if standing.cancelling {
                standing.error = Some(String::from(CANCELLED));
                self.end(owner, id, standing, State::Failed)?;
            } else if standing.deaths >= DEATHS_MAX {
                standing.error = Some(String::from("worker died"));
                self.end(owner, id, standing, State::Failed)?;
            } else {
                self.release(id, owner, standing)?;
            }
        }
        Ok(())
    }
}

fn unreadable(detail: impl std::fmt::Display) -> Error {
    Error::unavailable(
        "queue_unreadable",
        "The file of the job queue cannot be read. Check the disk; if the file is damaged, move it away and start again: \
         jobs that were not handed over yet come from the database.",
    )
    .because(detail)
}
