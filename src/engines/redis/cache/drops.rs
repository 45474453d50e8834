//! Which drops are still to be told, and which were told lately.
//!
//! INVARIANT: a tag is waiting from the moment it is dropped until Redis has its new generation and the others have been told. There are as many
//! as tenants that changed something in half an hour without Redis; older ones have outlived all values.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::TTL_MAX;
use crate::ports::cache::Tag;

/// What was told so lately is told again on a new connection: the one before may have led to a master that was one no more.
const AGAIN: Duration = Duration::from_mins(1);

/// Drops by their tags.
#[derive(Default)]
pub(super) struct Drops {
    waiting: HashMap<Tag, Instant>,
    /// Being told.
    flying: Vec<(Tag, Instant)>,
    told: HashMap<Tag, Instant>,
}

impl Drops {
    pub(super) fn add(&mut self, tag: Tag, now: Instant) {
        self.waiting.insert(tag, now);
    }

    pub(super) fn is_waiting(&self, tag: &Tag) -> bool {
        self.waiting.contains_key(tag) || self.flying.iter().any(|(it, _)| it == tag)
    }

    /// Up to `most` drops, to be told now and followed by [`Drops::landed`].
    pub(super) fn take(&mut self, most: usize) -> Vec<Tag> {
        let tags: Vec<Tag> = self.waiting.keys().take(most).cloned().collect();
        self.flying = tags.iter().filter_map(|tag| self.waiting.remove_entry(tag)).collect();
        tags
    }

    /// How it went: `told[i]` says it of the i-th of those that were taken.
    pub(super) fn landed(&mut self, told: &[bool]) {
        for ((tag, since), told) in std::mem::take(&mut self.flying).into_iter().zip(told) {
            if *told {
                self.told.insert(tag, since);
            } else {
                // One that was dropped again meanwhile keeps the later moment.
                self.waiting.entry(tag).or_insert(since);
            }
        }
    }

    /// There is a new connection: what was told lately is told again.
    pub(super) fn again(&mut self) {
        for (tag, since) in self.told.drain() {
            self.waiting.entry(tag).or_insert(since);
        }
    }

    /// Forgets what is too old to matter.
    pub(super) fn prune(&mut self, now: Instant) {
        self.waiting.retain(|_, since| now.saturating_duration_since(*since) < TTL_MAX);
        self.told.retain(|_, since| now.saturating_duration_since(*since) < AGAIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{base::ids::Id, domain::tenant::TenantId};

    #[test]
    fn a_drop_waits_until_it_is_told_and_is_told_again_on_a_new_connection() {
        let (mut drops, now) = (Drops::default(), Instant::now());
        let tag = Tag::Sites(TenantId(Id::NIL));
        drops.add(tag.clone(), now);
        assert_eq!(drops.take(9).first(), Some(&tag));
        assert!(drops.is_waiting(&tag));
        drops.landed(&[false]);
        assert!(drops.is_waiting(&tag));
        assert_eq!(drops.take(9).len(), 1);
        drops.landed(&[true]);
        assert!(!drops.is_waiting(&tag));
        drops.again();
        assert!(drops.is_waiting(&tag));
        drops.take(9);
        drops.landed(&[true]);
        drops.prune(now + AGAIN);
        drops.again();
        assert!(!drops.is_waiting(&tag));
        drops.add(tag.clone(), now);
        drops.prune(now + TTL_MAX);
        assert!(!drops.is_waiting(&tag));
    }
}
