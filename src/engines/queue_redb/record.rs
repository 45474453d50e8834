//! What stands in the file: keys and values as bytes of our own, each value with its format first.
//!
//! Guarantees: keys have one width a table and sort as they are meant to; a value that does not decode is a
//! fault, never a guess. No encoding of a crate is stored, so an update of redb or serde cannot change ours.

use std::collections::VecDeque;

use crate::{
    base::ids::Id,
    domain::{
        job::{JobId, NewJob, Queue, State},
        tenant::TenantId,
    },
};

use super::{
    fault::{Fault, Step},
    lanes::{Class, LineKey},
};

/// The format of every value that is written.
///
/// COMPAT: format 1 had no flags and no number of awaited jobs in a standing, and no key and no awaited jobs in a body. Its
/// values are read where they stand, and become format 2 when they are next written.
pub(super) const FORMAT: u8 = 2;
/// The oldest format that is read.
pub(super) const FORMAT_MIN: u8 = 1;
/// Bytes of a stored failure text: a page for people, not a log.
pub(super) const ERROR_BYTES_MAX: usize = 4_000;
/// Bytes of a stored title.
pub(super) const TITLE_BYTES_MAX: usize = 1_000;

/// Whose a job is: the tenant's id, or zeros for the host's own.
pub(super) type Owner = [u8; 16];
/// `tenant ‖ id`.
pub(super) type StandingKey = [u8; 32];
/// `queue and class ‖ tenant ‖ priority ‖ seq`.
pub(super) type ReadyKey = [u8; 26];
/// `milliseconds ‖ id`.
pub(super) type TimeKey = [u8; 24];
/// `state ‖ queue ‖ milliseconds ‖ id`.
pub(super) type EndedKey = [u8; 26];
/// `queue ‖ tenant`.
pub(super) type CountsKey = [u8; 17];
/// `awaited job ‖ job that waits`.
pub(super) type AfterKey = [u8; 32];

/// In the first byte of a ready key: the line of the jobs that have a rate.
const LIMITED: u8 = 0x80;

/// The owner of a job of `tenant`.
pub(super) fn owner(tenant: Option<TenantId>) -> Owner {
    *tenant.map_or(Id::NIL, |it| it.0).as_bytes()
}

/// Back from the owner.
pub(super) fn tenant(owner: Owner) -> Option<TenantId> {
    Some(Id::from_bytes(owner)).filter(|it| *it != Id::NIL).map(TenantId)
}

/// Joins parts whose widths add up to `N`.
fn join<const N: usize>(parts: [&[u8]; 4]) -> [u8; N] {
    let mut out = [0; N];
    out.iter_mut().zip(parts.into_iter().flatten()).for_each(|(to, from)| *to = *from);
    out
}

fn millis(ms: i64) -> [u8; 8] {
    u64::try_from(ms).unwrap_or(0).to_be_bytes()
}

/// The key of where a job stands.
pub(super) fn standing_key(owner: Owner, id: JobId) -> StandingKey {
    join([&owner, id.0.as_bytes(), &[], &[]])
}

/// The key of a waiting job.
pub(super) fn ready_key(queue: Queue, owner: Owner, (priority, class): LineKey, seq: u64) -> ReadyKey {
    let class = if class == Class::Limited { LIMITED } else { 0 };
    join([&[queue.number() | class], &owner, &priority.to_be_bytes(), &seq.to_be_bytes()])
}

/// The key of a job that waits for another.
pub(super) fn after_key(awaited: JobId, waits: JobId) -> AfterKey {
    join([awaited.0.as_bytes(), waits.0.as_bytes(), &[], &[]])
}

/// The job that waits, of an after key.
pub(super) fn read_after_key(key: &AfterKey) -> Step<JobId> {
    let mut bytes = Bytes(key);
    bytes.id()?;
    bytes.id()
}

/// `queue ‖ tenant ‖ words`: the key of a unique job.
pub(super) fn unique_key(queue: Queue, owner: Owner, words: &str) -> Vec<u8> {
    [&[queue.number()], owner.as_slice(), words.as_bytes()].concat()
}

/// The moments of the last starts under a rate.
pub(super) fn encode_starts(starts: &VecDeque<i64>) -> Vec<u8> {
    [FORMAT].into_iter().chain(starts.iter().flat_map(|it| it.to_be_bytes())).collect()
}

/// Reads the moments of the last starts.
pub(super) fn decode_starts(stored: &[u8]) -> Step<VecDeque<i64>> {
    let mut bytes = Bytes(stored);
    bytes.format()?;
    let mut starts = VecDeque::new();
    while !bytes.0.is_empty() {
        starts.push_back(bytes.i64()?);
    }
    Ok(starts)
}

/// The key of a job by a time.
pub(super) fn time_key(ms: i64, id: JobId) -> TimeKey {
    join([&millis(ms), id.0.as_bytes(), &[], &[]])
}

/// The key of an ended job.
pub(super) fn ended_key(state: State, queue: Queue, ms: i64, id: JobId) -> EndedKey {
    join([&[state_number(state)], &[queue.number()], &millis(ms), id.0.as_bytes()])
}

/// The key of the counts of a tenant in a queue.
pub(super) fn counts_key(queue: Queue, owner: Owner) -> CountsKey {
    join([&[queue.number()], &owner, &[], &[]])
}

/// Milliseconds and id of a time key.
pub(super) fn read_time_key(key: &TimeKey) -> Step<(i64, JobId)> {
    let mut bytes = Bytes(key);
    Ok((bytes.time()?, bytes.id()?))
}

/// Milliseconds and id of an ended key.
pub(super) fn read_ended_key(key: &EndedKey) -> Step<(i64, JobId)> {
    let mut bytes = Bytes(key);
    let [_state, _queue] = bytes.take()?;
    Ok((bytes.time()?, bytes.id()?))
}

/// The parts of a ready key.
pub(super) fn read_ready_key(key: &ReadyKey) -> Step<(Queue, Owner, LineKey, u64)> {
    let mut bytes = Bytes(key);
    let [first] = bytes.take()?;
    let queue = queue_of(first & !LIMITED)?;
    let class = if first & LIMITED == 0 { Class::Free } else { Class::Limited };
    let (owner, priority) = (bytes.take()?, i8::from_be_bytes(bytes.take()?));
    Ok((queue, owner, (priority, class), u64::from_be_bytes(bytes.take()?)))
}

/// The parts of a counts key.
pub(super) fn read_counts_key(key: &CountsKey) -> Step<(Queue, Owner)> {
    let mut bytes = Bytes(key);
    Ok((bytes.queue()?, bytes.take()?))
}

/// Where a job stands: the small part of a job that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: State,
    pub(super) queue: Queue,
    pub(super) priority: i8,
    /// Claims so far: the fence.
    pub(super) attempt: u32,
    /// Claims that do not count against the attempts of the queue: snoozed, released, died.
    pub(super) uncounted: u32,
    pub(super) deaths: u32,
    /// Its place in its line; kept while it runs, so that a released job goes back to where it was.
    pub(super) seq: u64,
    /// Waiting since.
    pub(super) since_ms: i64,
    /// When a delayed job is due.
    pub(super) due_ms: i64,
    pub(super) started_ms: Option<i64>,
    pub(super) finished_ms: Option<i64>,
    pub(super) progress: u8,
    /// Somebody wants the running attempt to be the last.
    pub(super) cancelling: bool,
    /// It has a key that no other may have until it has ended.
    pub(super) unique: bool,
    /// Its kind has a rate.
    pub(super) class: Class,
    /// Jobs that it still waits for. INVARIANT: while there are any it is delayed, and due at [`NEVER_MS`].
    pub(super) awaits: u16,
    pub(super) error: Option<String>,
}

/// When a job is due that waits for others.
pub(super) const NEVER_MS: i64 = i64::MAX;

const CANCELLING: u8 = 1;
const UNIQUE: u8 = 2;
const LIMITED_KIND: u8 = 4;

impl Standing {
    /// Its line.
    pub(super) const fn line(&self) -> LineKey {
        (self.priority, self.class)
    }

    /// Attempts that count.
    pub(super) const fn counted(&self) -> u32 {
        self.attempt.saturating_sub(self.uncounted)
    }

    /// The stored bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let error = self.error.as_deref().map_or("", |it| cut(it, ERROR_BYTES_MAX));
        let mut out = Vec::with_capacity(72 + error.len());
        out.extend([FORMAT, state_number(self.state), self.queue.number(), self.progress]);
        out.extend(self.priority.to_be_bytes());
        out.extend([self.attempt, self.uncounted, self.deaths].map(u32::to_be_bytes).into_iter().flatten());
        out.extend(self.seq.to_be_bytes());
        let none = i64::MIN;
        let times = [self.since_ms, self.due_ms, self.started_ms.unwrap_or(none), self.finished_ms.unwrap_or(none)];
        out.extend(times.map(i64::to_be_bytes).into_iter().flatten());
        let flags =
            [(self.cancelling, CANCELLING), (self.unique, UNIQUE), (self.class == Class::Limited, LIMITED_KIND)];
        out.push(flags.into_iter().filter(|it| it.0).map(|it| it.1).sum());
        out.extend(self.awaits.to_be_bytes());
        out.push(u8::from(self.error.is_some()));
        out.extend(error.as_bytes());
        out
    }

    /// Reads the stored bytes.
    pub(super) fn decode(stored: &[u8]) -> Step<Self> {
        let mut bytes = Bytes(stored);
        let format = bytes.format()?;
        let state = bytes.state()?;
        let queue = bytes.queue()?;
        let [progress] = bytes.take()?;
        let priority = i8::from_be_bytes(bytes.take()?);
        let [attempt, uncounted, deaths] = [bytes.u32()?, bytes.u32()?, bytes.u32()?];
        let seq = u64::from_be_bytes(bytes.take()?);
        let (since_ms, due_ms) = (bytes.i64()?, bytes.i64()?);
        let (started_ms, finished_ms) = (bytes.maybe_i64()?, bytes.maybe_i64()?);
        let ([flags], awaits) = if format < 2 { ([0], 0) } else { (bytes.take()?, u16::from_be_bytes(bytes.take()?)) };
        let [has_error] = bytes.take()?;
        let text = bytes.rest()?;
        let error = (has_error == 1).then_some(text);
        Ok(Self {
            state,
            queue,
            priority,
            attempt,
            uncounted,
            deaths,
            seq,
            since_ms,
            due_ms,
            started_ms,
            finished_ms,
            progress,
            cancelling: flags & CANCELLING != 0,
            unique: flags & UNIQUE != 0,
            class: if flags & LIMITED_KIND == 0 { Class::Free } else { Class::Limited },
            awaits,
            error,
        })
    }
}

/// The stored bytes of what was enqueued. Never changed while the job lives.
pub(super) fn encode_body(job: &NewJob) -> Vec<u8> {
    let title = cut(&job.title, TITLE_BYTES_MAX);
    let mut out = Vec::with_capacity(48 + job.kind.len() + title.len() + job.payload.len());
    out.extend([FORMAT, job.queue.number()]);
    out.extend(job.priority.to_be_bytes());
    out.extend(owner(job.tenant));
    out.extend(job.run_at_ms.to_be_bytes());
    out.extend(job.created_ms.to_be_bytes());
    // A key is never empty.
    for text in [job.kind.as_str(), title, job.unique.as_deref().unwrap_or("")] {
        out.extend(u16::try_from(text.len()).unwrap_or(0).to_be_bytes());
        out.extend(text.as_bytes());
    }
    out.push(u8::try_from(job.after.len()).unwrap_or(0));
    out.extend(job.after.iter().flat_map(|it| *it.0.as_bytes()));
    out.extend(job.payload.as_bytes());
    out
}

/// Reads what was enqueued under `id`.
pub(super) fn decode_body(id: JobId, stored: &[u8]) -> Step<NewJob> {
    let mut bytes = Bytes(stored);
    let format = bytes.format()?;
    let queue = bytes.queue()?;
    let priority = i8::from_be_bytes(bytes.take()?);
    let tenant = tenant(bytes.take()?);
    let (run_at_ms, created_ms) = (bytes.i64()?, bytes.i64()?);
    let (kind, title) = (bytes.text()?, bytes.text()?);
    let (mut unique, mut after) = (None, Vec::new());
    if format >= 2 {
        unique = Some(bytes.text()?).filter(|it| !it.is_empty());
        let [count] = bytes.take()?;
        for _ in 0..count {
            after.push(bytes.id()?);
        }
    }
    let payload = bytes.rest()?;
    Ok(NewJob { id, queue, kind, tenant, payload, priority, run_at_ms, title, created_ms, unique, after })
}

/// The owner alone, for lists.
pub(super) fn body_owner(stored: &[u8]) -> Step<Owner> {
    let mut bytes = Bytes(stored);
    bytes.format()?;
    let [_queue, _priority] = bytes.take()?;
    bytes.take()
}

/// A waiting job as the ready table and the lanes know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) seq: u64,
    pub(super) id: JobId,
    pub(super) since_ms: i64,
    pub(super) created_ms: i64,
}

impl Entry {
    /// The stored bytes; `seq` is in the key.
    pub(super) fn encode(&self) -> [u8; 33] {
        let [since, created] = [self.since_ms, self.created_ms].map(i64::to_be_bytes);
        join([&[FORMAT], self.id.0.as_bytes(), &since, &created])
    }

    /// Reads the stored bytes.
    pub(super) fn decode(seq: u64, stored: &[u8]) -> Step<Self> {
        let mut bytes = Bytes(stored);
        bytes.format()?;
        Ok(Self { seq, id: bytes.id()?, since_ms: bytes.i64()?, created_ms: bytes.i64()? })
    }
}

/// How many jobs stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) waiting: u64,
    pub(super) delayed: u64,
    pub(super) running: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
}

impl Counts {
    /// The number for a state.
    pub(super) const fn of(&mut self, state: State) -> &mut u64 {
        match state {
            State::Waiting => &mut self.waiting,
            State::Delayed => &mut self.delayed,
            State::Running => &mut self.running,
            State::Done => &mut self.done,
            State::Failed => &mut self.failed,
        }
    }

    const fn all(&self) -> [u64; 5] {
        [self.waiting, self.delayed, self.running, self.done, self.failed]
    }

    /// Nothing anywhere.
    pub(super) fn is_empty(&self) -> bool {
        self.all() == [0; 5]
    }

    /// The stored bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        [FORMAT].into_iter().chain(self.all().map(u64::to_be_bytes).into_iter().flatten()).collect()
    }

    /// Reads the stored bytes.
    pub(super) fn decode(stored: &[u8]) -> Step<Self> {
        let mut bytes = Bytes(stored);
        bytes.format()?;
        let mut next = || bytes.take().map(u64::from_be_bytes);
        Ok(Self { waiting: next()?, delayed: next()?, running: next()?, done: next()?, failed: next()? })
    }
}

const fn state_number(state: State) -> u8 {
    match state {
        State::Waiting => 1,
        State::Delayed => 2,
        State::Running => 3,
        State::Done => 4,
        State::Failed => 5,
    }
}

/// The longest start of `text` within `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}

/// Reads from the front of stored bytes.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn take<const N: usize>(&mut self) -> Step<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(unreadable)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn format(&mut self) -> Step<u8> {
        let [format] = self.take()?;
        if (FORMAT_MIN..=FORMAT).contains(&format) { Ok(format) } else { Err(unreadable()) }
    }

    fn u32(&mut self) -> Step<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn i64(&mut self) -> Step<i64> {
        self.take().map(i64::from_be_bytes)
    }

    fn maybe_i64(&mut self) -> Step<Option<i64>> {
        Ok(Some(self.i64()?).filter(|it| *it != i64::MIN))
    }

    fn time(&mut self) -> Step<i64> {
        i64::try_from(u64::from_be_bytes(self.take()?)).map_err(|_| unreadable())
    }

    fn id(&mut self) -> Step<JobId> {
        Ok(JobId(Id::from_bytes(self.take()?)))
    }

    fn queue(&mut self) -> Step<Queue> {
        let [number] = self.take()?;
        queue_of(number)
    }

    fn state(&mut self) -> Step<State> {
        let [number] = self.take()?;
        [State::Waiting, State::Delayed, State::Running, State::Done, State::Failed]
            .into_iter()
            .find(|it| state_number(*it) == number)
            .ok_or_else(unreadable)
    }

    fn text(&mut self) -> Step<String> {
        let len = usize::from(u16::from_be_bytes(self.take()?));
        let (text, rest) = self.0.split_at_checked(len).ok_or_else(unreadable)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).map_err(|_| unreadable())
    }

    fn rest(&mut self) -> Step<String> {
        String::from_utf8(std::mem::take(&mut self.0).to_vec()).map_err(|_| unreadable())
    }
}

fn queue_of(number: u8) -> Step<Queue> {
    Queue::ALL.into_iter().find(|it| it.number() == number).ok_or_else(unreadable)
}

fn unreadable() -> Fault {
    Fault::Broken(String::from("the file of the job queue holds a value that cannot be read"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standing(error: Option<String>) -> Standing {
        Standing {
            state: State::Delayed,
            queue: Queue::Email,
            priority: -3,
            attempt: 7,
            uncounted: 2,
            deaths: 1,
            seq: u64::MAX - 1,
            since_ms: 5,
            due_ms: -6,
            started_ms: Some(8),
            finished_ms: None,
            progress: 40,
            cancelling: true,
            unique: false,
            class: Class::Limited,
            awaits: 300,
            error,
        }
    }

    proptest! {
        #[test]
        fn values_come_back(error: Option<String>, kind in "[a-z_]{1,20}", title: String, payload: String, priority: i8, unique in prop::option::of("[a-z]{1,9}"),
                       awaited in 0..3_u8) {
            let after: Vec<JobId> = (0..awaited).map(|it| JobId(Id::from_bytes([it; 16]))).collect();
            let it = standing(error);
            prop_assert_eq!(Standing::decode(&it.encode()).unwrap(), it);
            let job = NewJob {
                id: JobId(Id::from_bytes([3; 16])), queue: Queue::Backup, kind, tenant: None, payload, priority,
                run_at_ms: 9, title, created_ms: -1, unique, after,
            };
            prop_assert_eq!(decode_body(job.id, &encode_body(&job)).unwrap(), job);
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            drop(Standing::decode(&bytes));
            drop(decode_body(JobId(Id::NIL), &bytes));
            drop(Entry::decode(1, &bytes));
            drop(Counts::decode(&bytes));
        }
    }

    #[test]
    fn keys_come_back() {
        let id = JobId(Id::from_bytes([9; 16]));
        for class in [Class::Free, Class::Limited] {
            let key = ready_key(Queue::Deploy, [7; 16], (-100, class), 12);
            assert_eq!(read_ready_key(&key).unwrap(), (Queue::Deploy, [7; 16], (-100, class), 12));
        }
        assert_eq!(read_after_key(&after_key(id, JobId(Id::from_bytes([4; 16])))).unwrap().0, Id::from_bytes([4; 16]));
        let starts = VecDeque::from([5, 7]);
        assert_eq!(decode_starts(&encode_starts(&starts)).unwrap(), starts);
        assert_eq!(read_time_key(&time_key(77, id)).unwrap(), (77, id));
        assert_eq!(read_ended_key(&ended_key(State::Done, Queue::Email, 78, id)).unwrap(), (78, id));
        assert_eq!(read_counts_key(&counts_key(Queue::Email, [1; 16])).unwrap(), (Queue::Email, [1; 16]));
        assert!(time_key(1, id) < time_key(2, id));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let stored = standing(Some("é".repeat(5_000))).encode();
        assert_eq!(Standing::decode(&stored).unwrap().error.unwrap().len(), ERROR_BYTES_MAX);
        assert_eq!(cut("aé", 2), "a");
    }
}
