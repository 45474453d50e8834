//! Who is next: the waiting jobs of one queue, by tenant and priority, in memory.
//!
//! Guarantees: within (priority, tenant) first in, first out, but that jobs whose rate is used up are passed by others; the tenants with a job of the highest priority
//! take turns, and so do those with a job that has waited [`AGED_MS`], whatever its priority. A tenant that
//! comes in goes to the end of the turns, so each other tenant is served at most once before it.
//! A paused tenant has no turn.
//! Only the first few jobs of each line are held here; the file has them all. Nothing here reads it.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
};

use crate::domain::job::Queue;

use super::record::{Entry, Owner};

/// A job that has waited so long takes part in the turns whatever its priority: 5 minutes.
pub(super) const AGED_MS: i64 = 5 * 60_000;
/// Jobs of one line held in memory.
pub(super) const WINDOW: usize = 128;

/// Whether a job's kind has a rate (`Queue::rate`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// It has none.
    Free,
    /// It has one, and may not start while that is used up.
    Limited,
}

impl Class {
    /// The class of a job of `kind`.
    pub(super) fn of(queue: Queue, kind: &str) -> Self {
        if queue.rate(kind).is_some() { Self::Limited } else { Self::Free }
    }
}

/// Which jobs may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    /// All.
    All,
    /// Those without a rate.
    FreeOnly,
}

/// A line: what is first in, first out.
pub(super) type LineKey = (i8, Class);

/// The waiting jobs of one tenant with one priority and class.
#[derive(Debug, Default)]
struct Line {
    /// The first jobs. INVARIANT: no waiting job that is not here has a smaller `seq` than one that is.
    window: VecDeque<Entry>,
    /// The file may have more.
    more: bool,
}

/// The lines of one tenant and its place in the turns.
#[derive(Debug, Default)]
struct Lines {
    by_key: BTreeMap<LineKey, Line>,
    turn: u64,
    /// Of a tenant that has both, an aged job is next, not one of the highest priority.
    aged_next: bool,
    free: Option<Place>,
    limited: Option<Place>,
}

/// Where a tenant stands in the turns of a class.
#[derive(Clone, Copy, Debug)]
struct Place {
    priority: i8,
    since_ms: i64,
}

/// Whose turn it is, among the tenants that have jobs of one class.
#[derive(Debug, Default)]
struct Turns {
    /// By the highest priority of each tenant, in the order of the turns.
    by_priority: BTreeMap<i8, BTreeMap<u64, Owner>>,
    /// Tenants whose oldest job was young when last looked at, by its time.
    young: BTreeMap<(i64, Owner), u64>,
    /// Tenants with an aged job, in the order of the turns.
    aged: BTreeMap<u64, Owner>,
}

/// One queue.
#[derive(Debug, Default)]
pub(super) struct Lane {
    tenants: HashMap<Owner, Lines>,
    /// Tenants that start nothing: they have lines and no place.
    paused: HashSet<Owner>,
    free: Turns,
    limited: Turns,
    turns: u64,
}

impl Lane {
    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// Somebody waits with a job that has a rate.
    pub(super) fn has_limited(&self) -> bool {
        !self.limited.by_priority.is_empty()
    }

    /// Takes in a waiting job, at the place that its `seq` gives it.
    pub(super) fn insert(&mut self, owner: Owner, key: LineKey, entry: Entry) {
        self.change(owner, |lines| {
            let line = lines.by_key.entry(key).or_default();
            if line.more && line.window.back().is_none_or(|last| entry.seq > last.seq) {
                return;
            }
            let at = line.window.partition_point(|it| it.seq < entry.seq);
            line.window.insert(at, entry);
            if line.window.len() > WINDOW {
                line.window.pop_back();
                line.more = true;
            }
        });
    }

    /// Replaces the empty window of a line by its first jobs in the file.
    pub(super) fn refill(&mut self, owner: Owner, key: LineKey, window: VecDeque<Entry>, more: bool) {
        self.change(owner, |lines| {
            lines.by_key.insert(key, Line { window, more });
        });
    }

    /// Takes a tenant out of the turns, or puts it back at their end.
    pub(super) fn pause(&mut self, owner: Owner, paused: bool) {
        let changed = if paused { self.paused.insert(owner) } else { self.paused.remove(&owner) };
        if changed && self.tenants.contains_key(&owner) {
            self.turns += 1;
            let turn = self.turns;
            self.change(owner, |lines| lines.turn = turn);
        }
    }

    /// Whether a tenant starts nothing.
    pub(super) fn is_paused(&self, owner: Owner) -> bool {
        self.paused.contains(&owner)
    }

    /// Whose turn it is, and which of its lines.
    pub(super) fn choose(&mut self, now_ms: i64, open: Open) -> Option<(Owner, LineKey)> {
        self.free.grow_old(now_ms);
        let (mut first, mut aged) = (self.free.first(), self.free.first_aged());
        if open == Open::All {
            self.limited.grow_old(now_ms);
            let other = self.limited.first();
            first = [first, other].into_iter().flatten().max_by_key(|it| (it.0, Reverse(it.1)));
            aged = [aged, self.limited.first_aged()].into_iter().flatten().min_by_key(|it| it.0);
        }
        let (priority, turn, owner) = first?;
        let Some((aged_turn, aged_owner)) = aged.filter(|it| it.0 <= turn) else {
            return Some((owner, self.tenants.get(&owner)?.first_of(priority, open)?));
        };
        let lines = self.tenants.get_mut(&aged_owner)?;
        if aged_turn == turn {
            // The same tenant has both: it takes them in turn as well.
            lines.aged_next = !lines.aged_next;
            if lines.aged_next {
                return Some((owner, lines.first_of(priority, open)?));
            }
        }
        Some((aged_owner, lines.oldest(open)?.0))
    }

    /// Takes the first job of the line; its tenant's turn is over. `true`: the line must be refilled now.
    pub(super) fn take(&mut self, owner: Owner, key: LineKey) -> Option<(Entry, bool)> {
        self.turns += 1;
        let turn = self.turns;
        self.change(owner, |lines| {
            lines.turn = turn;
            let line = lines.by_key.get_mut(&key)?;
            let entry = line.window.pop_front()?;
            Some((entry, line.window.is_empty() && line.more))
        })
    }

    /// Takes out a job that is cancelled. `true`: the line must be refilled now.
    pub(super) fn remove(&mut self, owner: Owner, key: LineKey, seq: u64) -> bool {
        self.change(owner, |lines| {
            let Some(line) = lines.by_key.get_mut(&key) else { return false };
            line.window.retain(|it| it.seq != seq);
            line.window.is_empty() && line.more
        })
    }

    /// When the jobs at the head of the lines were asked for: the earliest, of one tenant or of all.
    pub(super) fn oldest_ms(&self, of: Option<Owner>) -> Option<i64> {
        let heads = |lines: &Lines| lines.by_key.values().filter_map(|it| Some(it.window.front()?.created_ms)).min();
        match of {
            Some(owner) => heads(self.tenants.get(&owner)?),
            None => self.tenants.values().filter_map(heads).min(),
        }
    }

    /// Changes the lines of a tenant and puts it where it then belongs.
    fn change<T>(&mut self, owner: Owner, change: impl FnOnce(&mut Lines) -> T) -> T {
        let lines = self.tenants.entry(owner).or_insert_with(|| {
            self.turns += 1;
            Lines { turn: self.turns, ..Lines::default() }
        });
        self.free.leave(owner, lines.turn, lines.free.take());
        self.limited.leave(owner, lines.turn, lines.limited.take());
        let result = change(lines);
        lines.by_key.retain(|_, line| line.more || !line.window.is_empty());
        if lines.by_key.is_empty() {
            self.tenants.remove(&owner);
        } else if !self.paused.contains(&owner) {
            lines.free = lines.place(Class::Free);
            lines.limited = lines.place(Class::Limited);
            self.free.join(owner, lines.turn, lines.free);
            self.limited.join(owner, lines.turn, lines.limited);
        }
        result
    }
}

impl Turns {
    fn join(&mut self, owner: Owner, turn: u64, place: Option<Place>) {
        if let Some(place) = place {
            self.by_priority.entry(place.priority).or_default().insert(turn, owner);
            self.young.insert((place.since_ms, owner), turn);
        }
    }

    fn leave(&mut self, owner: Owner, turn: u64, place: Option<Place>) {
        let Some(place) = place else { return };
        if let Some(turns) = self.by_priority.get_mut(&place.priority) {
            turns.remove(&turn);
            if turns.is_empty() {
                self.by_priority.remove(&place.priority);
            }
        }
        if self.young.remove(&(place.since_ms, owner)).is_none() {
            self.aged.remove(&turn);
        }
    }

    /// Moves the tenants whose oldest job has waited long enough.
    fn grow_old(&mut self, now_ms: i64) {
        while let Some(entry) = self.young.first_entry()
            && entry.key().0 <= now_ms.saturating_sub(AGED_MS)
        {
            let ((_, owner), turn) = entry.remove_entry();
            self.aged.insert(turn, owner);
        }
    }

    /// The highest priority, and whose turn it is there.
    fn first(&self) -> Option<(i8, u64, Owner)> {
        let (priority, turns) = self.by_priority.last_key_value()?;
        turns.first_key_value().map(|(turn, owner)| (*priority, *turn, *owner))
    }

    fn first_aged(&self) -> Option<(u64, Owner)> {
        self.aged.first_key_value().map(|(turn, owner)| (*turn, *owner))
    }
}

impl Lines {
    fn of(&self, open: Open) -> impl Iterator<Item = (&LineKey, &Line)> {
        self.by_key.iter().rev().filter(move |((_, class), _)| open == Open::All || *class == Class::Free)
    }

    /// The line of this priority whose head came first.
    fn first_of(&self, priority: i8, open: Open) -> Option<LineKey> {
        let lines = self.of(open).filter(|((its, _), _)| *its == priority);
        lines.min_by_key(|(_, line)| line.window.front().map(|it| it.seq)).map(|(key, _)| *key)
    }

    /// The line whose head has waited longest, and since when.
    fn oldest(&self, open: Open) -> Option<(LineKey, i64)> {
        let heads = self.of(open).filter_map(|(key, line)| Some((*key, line.window.front()?.since_ms)));
        heads.min_by_key(|(_, since_ms)| *since_ms)
    }

    /// Where the tenant belongs in the turns of a class.
    fn place(&self, class: Class) -> Option<Place> {
        let mut of_class = self.by_key.iter().filter(|((_, its), _)| *its == class).rev();
        let ((priority, _), line) = of_class.next()?;
        let since = |line: &Line| line.window.front().map(|it| it.since_ms);
        let since_ms = of_class.filter_map(|(_, line)| since(line)).chain(since(line)).min();
        Some(Place { priority: *priority, since_ms: since_ms.unwrap_or(i64::MAX) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::ids::Id, domain::job::JobId};

    fn entry(seq: u64, since_ms: i64) -> Entry {
        Entry { seq, id: JobId(Id::NIL), since_ms, created_ms: since_ms }
    }

    const FREE: Class = Class::Free;

    fn drain(lane: &mut Lane, now_ms: i64) -> Vec<(u8, i8, u64)> {
        drain_open(lane, now_ms, Open::All)
    }

    fn drain_open(lane: &mut Lane, now_ms: i64, open: Open) -> Vec<(u8, i8, u64)> {
        std::iter::from_fn(|| {
            let (owner, key) = lane.choose(now_ms, open)?;
            let (entry, refill) = lane.take(owner, key)?;
            assert!(!refill);
            Some((owner[0], key.0, entry.seq))
        })
        .collect()
    }

    #[test]
    fn tenants_take_turns_and_lines_keep_their_order() {
        let mut lane = Lane::default();
        for seq in 0..4 {
            lane.insert([1; 16], (0, FREE), entry(seq, 0));
        }
        lane.insert([2; 16], (0, FREE), entry(9, 0));
        lane.insert([2; 16], (0, FREE), entry(8, 0));
        let served = drain(&mut lane, 1);
        assert_eq!(served, [(1, 0, 0), (2, 0, 8), (1, 0, 1), (2, 0, 9), (1, 0, 2), (1, 0, 3)]);
        assert!(lane.is_empty());
        assert!(lane.free.by_priority.is_empty() && lane.free.young.is_empty() && lane.free.aged.is_empty());
    }

    #[test]
    fn age_breaks_priority_but_does_not_turn_it_round() {
        let mut lane = Lane::default();
        for seq in 0..3 {
            lane.insert([1; 16], (9, FREE), entry(seq, AGED_MS));
            lane.insert([1; 16], (0, FREE), entry(10 + seq, 0));
        }
        let young: Vec<u64> = drain(&mut lane, AGED_MS - 1).into_iter().map(|it| it.2).collect();
        assert_eq!(young, [0, 1, 2, 10, 11, 12]);
        for seq in 0..3 {
            lane.insert([1; 16], (9, FREE), entry(seq, AGED_MS));
            lane.insert([1; 16], (0, FREE), entry(10 + seq, 0));
        }
        let aged: Vec<u64> = drain(&mut lane, AGED_MS).into_iter().map(|it| it.2).collect();
        assert_eq!(aged, [0, 10, 1, 11, 2, 12]);
    }

    #[test]
    fn what_has_used_up_its_rate_is_passed_and_keeps_its_place() {
        let mut lane = Lane::default();
        lane.insert([1; 16], (0, Class::Limited), entry(1, 0));
        lane.insert([1; 16], (0, FREE), entry(2, 0));
        lane.insert([1; 16], (0, Class::Limited), entry(3, 0));
        lane.insert([2; 16], (5, Class::Limited), entry(4, 0));
        assert!(lane.has_limited());
        assert_eq!(drain_open(&mut lane, 1, Open::FreeOnly), [(1, 0, 2)]);
        lane.insert([1; 16], (0, FREE), entry(5, 0));
        lane.insert([2; 16], (0, FREE), entry(6, 0));
        assert_eq!(drain(&mut lane, 1), [(2, 5, 4), (1, 0, 1), (2, 0, 6), (1, 0, 3), (1, 0, 5)]);
        assert!(lane.is_empty() && !lane.has_limited());
        assert!(lane.limited.young.is_empty() && lane.limited.aged.is_empty());
    }

    #[test]
    fn a_paused_tenant_has_no_turn() {
        let mut lane = Lane::default();
        lane.pause([1; 16], true);
        for seq in 0..2 {
            lane.insert([1; 16], (0, FREE), entry(seq, 0));
            lane.insert([2; 16], (0, FREE), entry(10 + seq, 0));
        }
        assert_eq!(drain(&mut lane, AGED_MS), [(2, 0, 10), (2, 0, 11)]);
        assert!(!lane.is_empty() && lane.is_paused([1; 16]));
        lane.insert([2; 16], (0, FREE), entry(12, 0));
        lane.pause([1; 16], false);
        lane.pause([1; 16], false);
        assert_eq!(drain(&mut lane, 0), [(2, 0, 12), (1, 0, 0), (1, 0, 1)]);
    }

    #[test]
    fn only_a_window_is_held() {
        let mut lane = Lane::default();
        let window = u64::try_from(WINDOW).unwrap();
        for seq in 10..10 + 2 * window {
            lane.insert([1; 16], (0, FREE), entry(seq, 0));
        }
        lane.insert([1; 16], (0, FREE), entry(3, 0));
        let mut seen = Vec::new();
        let refill = loop {
            let (entry, refill) = lane.take([1; 16], (0, FREE)).unwrap();
            seen.push(entry.seq);
            if refill {
                break true;
            }
        };
        assert!(refill);
        assert_eq!(seen.len(), WINDOW);
        assert_eq!(seen[..2], [3, 10]);
        lane.refill([1; 16], (0, FREE), VecDeque::new(), false);
        assert!(lane.is_empty());
    }
}
