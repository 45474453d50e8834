//! Who is next: the waiting jobs of one queue, by tenant and priority, in memory.
//!
//! Guarantees: within (priority, tenant) first in, first out; the tenants with a job of the highest priority
//! take turns, and so do those with a job that has waited [`AGED_MS`], whatever its priority. A tenant that
//! comes in goes to the end of the turns, so each other tenant is served at most once before it.
//! Only the first few jobs of each line are held here; the file has them all. Nothing here reads it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::record::{Entry, Owner};

/// A job that has waited so long takes part in the turns whatever its priority: 5 minutes.
pub(super) const AGED_MS: i64 = 5 * 60_000;
/// Jobs of one line held in memory.
pub(super) const WINDOW: usize = 128;

/// The waiting jobs of one tenant with one priority.
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
    by_priority: BTreeMap<i8, Line>,
    turn: u64,
    /// Of a tenant that has both, an aged job is next, not one of the highest priority.
    aged_next: bool,
    place: Option<Place>,
}

/// Where a tenant stands in the sets of its lane.
#[derive(Clone, Copy, Debug)]
struct Place {
    priority: i8,
    since_ms: i64,
    aged: bool,
}

/// One queue.
#[derive(Debug, Default)]
pub(super) struct Lane {
    tenants: HashMap<Owner, Lines>,
    /// By the highest priority of each tenant, in the order of the turns.
    by_priority: BTreeMap<i8, BTreeMap<u64, Owner>>,
    /// Tenants whose oldest job was young when last looked at, by its time.
    young: BTreeSet<(i64, Owner)>,
    /// Tenants with an aged job, in the order of the turns.
    aged: BTreeMap<u64, Owner>,
    turns: u64,
}

impl Lane {
    /// Nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.tenants.is_empty()
    }

    /// Takes in a waiting job, at the place that its `seq` gives it.
    pub(super) fn insert(&mut self, owner: Owner, priority: i8, entry: Entry) {
        self.change(owner, |lines| {
            let line = lines.by_priority.entry(priority).or_default();
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
    pub(super) fn refill(&mut self, owner: Owner, priority: i8, window: VecDeque<Entry>, more: bool) {
        self.change(owner, |lines| {
            lines.by_priority.insert(priority, Line { window, more });
        });
    }

    /// Whose turn it is, and which of its lines.
    pub(super) fn choose(&mut self, now_ms: i64) -> Option<(Owner, i8)> {
        self.grow_old(now_ms);
        let (priority, turns) = self.by_priority.last_key_value()?;
        let (turn, owner) = turns.first_key_value()?;
        let Some((aged_turn, aged_owner)) = self.aged.first_key_value().filter(|(aged, _)| *aged <= turn) else {
            return Some((*owner, *priority));
        };
        let lines = self.tenants.get_mut(aged_owner)?;
        if aged_turn == turn {
            // The same tenant has both: it takes them in turn as well.
            lines.aged_next = !lines.aged_next;
            if lines.aged_next {
                return Some((*owner, *priority));
            }
        }
        Some((*aged_owner, lines.oldest()?.0))
    }

    /// Takes the first job of the line; its tenant's turn is over. `true`: the line must be refilled now.
    pub(super) fn take(&mut self, owner: Owner, priority: i8) -> Option<(Entry, bool)> {
        self.turns += 1;
        let turn = self.turns;
        self.change(owner, |lines| {
            lines.turn = turn;
            let line = lines.by_priority.get_mut(&priority)?;
            let entry = line.window.pop_front()?;
            Some((entry, line.window.is_empty() && line.more))
        })
    }

    /// Takes out a job that is cancelled. `true`: the line must be refilled now.
    pub(super) fn remove(&mut self, owner: Owner, priority: i8, seq: u64) -> bool {
        self.change(owner, |lines| {
            let Some(line) = lines.by_priority.get_mut(&priority) else { return false };
            line.window.retain(|it| it.seq != seq);
            line.window.is_empty() && line.more
        })
    }

    /// When the jobs at the head of the lines were asked for: the earliest, of one tenant or of all.
    pub(super) fn oldest_ms(&self, of: Option<Owner>) -> Option<i64> {
        let heads =
            |lines: &Lines| lines.by_priority.values().filter_map(|it| Some(it.window.front()?.created_ms)).min();
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
        if let Some(place) = lines.place.take() {
            if let Some(turns) = self.by_priority.get_mut(&place.priority) {
                turns.remove(&lines.turn);
                if turns.is_empty() {
                    self.by_priority.remove(&place.priority);
                }
            }
            if place.aged {
                self.aged.remove(&lines.turn);
            } else {
                self.young.remove(&(place.since_ms, owner));
            }
        }
        let result = change(lines);
        lines.by_priority.retain(|_, line| line.more || !line.window.is_empty());
        let Some(priority) = lines.by_priority.last_key_value().map(|(priority, _)| *priority) else {
            self.tenants.remove(&owner);
            return result;
        };
        let since_ms = lines.oldest().map_or(i64::MAX, |(_, since_ms)| since_ms);
        lines.place = Some(Place { priority, since_ms, aged: false });
        self.by_priority.entry(priority).or_default().insert(lines.turn, owner);
        self.young.insert((since_ms, owner));
        result
    }

    /// Moves the tenants whose oldest job has waited long enough.
    fn grow_old(&mut self, now_ms: i64) {
        while let Some((since_ms, owner)) = self.young.first().copied()
            && since_ms <= now_ms.saturating_sub(AGED_MS)
        {
            self.young.pop_first();
            if let Some(lines) = self.tenants.get_mut(&owner) {
                self.aged.insert(lines.turn, owner);
                lines.place = lines.place.map(|it| Place { aged: true, ..it });
            }
        }
    }
}

impl Lines {
    /// The priority of the line whose head has waited longest, and since when.
    fn oldest(&self) -> Option<(i8, i64)> {
        let heads = self
            .by_priority
            .iter()
            .rev()
            .filter_map(|(priority, line)| Some((*priority, line.window.front()?.since_ms)));
        heads.min_by_key(|(_, since_ms)| *since_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::ids::Id, domain::job::JobId};

    fn entry(seq: u64, since_ms: i64) -> Entry {
        Entry { seq, id: JobId(Id::NIL), since_ms, created_ms: since_ms }
    }

    fn drain(lane: &mut Lane, now_ms: i64) -> Vec<(u8, i8, u64)> {
        std::iter::from_fn(|| {
            let (owner, priority) = lane.choose(now_ms)?;
            let (entry, refill) = lane.take(owner, priority)?;
            assert!(!refill);
            Some((owner[0], priority, entry.seq))
        })
        .collect()
    }

    #[test]
    fn tenants_take_turns_and_lines_keep_their_order() {
        let mut lane = Lane::default();
        for seq in 0..4 {
            lane.insert([1; 16], 0, entry(seq, 0));
        }
        lane.insert([2; 16], 0, entry(9, 0));
        lane.insert([2; 16], 0, entry(8, 0));
        let served = drain(&mut lane, 1);
        assert_eq!(served, [(1, 0, 0), (2, 0, 8), (1, 0, 1), (2, 0, 9), (1, 0, 2), (1, 0, 3)]);
        assert!(lane.is_empty());
        assert!(lane.by_priority.is_empty() && lane.young.is_empty() && lane.aged.is_empty());
    }

    #[test]
    fn age_breaks_priority_but_does_not_turn_it_round() {
        let mut lane = Lane::default();
        for seq in 0..3 {
            lane.insert([1; 16], 9, entry(seq, AGED_MS));
            lane.insert([1; 16], 0, entry(10 + seq, 0));
        }
        let young: Vec<u64> = drain(&mut lane, AGED_MS - 1).into_iter().map(|it| it.2).collect();
        assert_eq!(young, [0, 1, 2, 10, 11, 12]);
        for seq in 0..3 {
            lane.insert([1; 16], 9, entry(seq, AGED_MS));
            lane.insert([1; 16], 0, entry(10 + seq, 0));
        }
        let aged: Vec<u64> = drain(&mut lane, AGED_MS).into_iter().map(|it| it.2).collect();
        assert_eq!(aged, [0, 10, 1, 11, 2, 12]);
    }

    #[test]
    fn only_a_window_is_held() {
        let mut lane = Lane::default();
        let window = u64::try_from(WINDOW).unwrap();
        for seq in 10..10 + 2 * window {
            lane.insert([1; 16], 0, entry(seq, 0));
        }
        lane.insert([1; 16], 0, entry(3, 0));
        let mut seen = Vec::new();
        let refill = loop {
            let (entry, refill) = lane.take([1; 16], 0).unwrap();
            seen.push(entry.seq);
            if refill {
                break true;
            }
        };
        assert!(refill);
        assert_eq!(seen.len(), WINDOW);
        assert_eq!(seen[..2], [3, 10]);
        lane.refill([1; 16], 0, VecDeque::new(), false);
        assert!(lane.is_empty());
    }
}
