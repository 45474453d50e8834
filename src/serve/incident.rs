//! Bytes that are not what their name says: logged once each, counted while they are so, and told to whoever listens.
//!
//! Nothing here repairs; a blob that verifies again may be reported again later.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use tokio::sync::broadcast;

use crate::base::{
    blob_dir::{BlobError, Coding},
    hash::Sha256,
};

/// Incidents that a slow listener may be behind; it is told how many it missed.
const WAITING_MAX: usize = 256;
/// Beyond so many open incidents the disk is gone, and repeating some lines in the log does no harm.
const OPEN_MAX: usize = 10_000;

/// A blob that cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incident {
    /// The blob.
    pub blob: Sha256,
    /// What is wrong with it.
    pub damage: Damage,
}

/// What is wrong with a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Damage {
    /// Its bytes, or its size, are not those of its name.
    Altered,
    /// It is not there.
    Missing,
    /// The disk refuses to read it, or it cannot be fetched now.
    Unreadable,
    /// It is whole and yet no manifest that this program can read.
    NotAManifest,
    /// A compressed form does not decode to it. The blob itself is served.
    Variant(Coding),
}

/// Takes incidents and passes each on once.
#[derive(Debug)]
pub(super) struct Incidents {
    open: Mutex<HashSet<Incident>>,
    sender: broadcast::Sender<Incident>,
}

impl Incidents {
    pub(super) fn new() -> Self {
        Self { open: Mutex::default(), sender: broadcast::Sender::new(WAITING_MAX) }
    }

    pub(super) fn listen(&self) -> broadcast::Receiver<Incident> {
        self.sender.subscribe()
    }

    /// Reports damage, unless it is known already.
    pub(super) fn report(&self, blob: Sha256, damage: Damage, why: &dyn std::fmt::Display) {
        let incident = Incident { blob, damage };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        if !open.insert(incident) {
            return;
        }
        drop(open);
        tracing::error!(%blob, ?damage, %why, "a blob cannot be served");
        // Without a listener the log has it.
        drop(self.sender.send(incident));
    }

    /// How many are known and not yet seen to be repaired.
    pub(super) fn count(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Notes that a blob was just verified: new damage is news again.
    pub(super) fn verified(&self, blob: Sha256) {
        self.close(|it| it.blob == blob && !matches!(it.damage, Damage::Variant(_)));
    }

    /// The same for a compressed form.
    pub(super) fn variant_verified(&self, blob: Sha256, coding: Coding) {
        self.close(|it| *it == Incident { blob, damage: Damage::Variant(coding) });
    }

    fn close(&self, done: impl Fn(&Incident) -> bool) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.is_empty() {
            open.retain(|it| !done(it));
        }
    }
}

impl From<&BlobError> for Damage {
    fn from(error: &BlobError) -> Self {
        match error {
            BlobError::Missing => Self::Missing,
            BlobError::Corrupt => Self::Altered,
            BlobError::Io(_) | BlobError::Away(_) => Self::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_once_until_it_is_repaired() {
        let incidents = Incidents::new();
        let mut heard = incidents.listen();
        let blob = Sha256::of(b"blob");
        for _ in 0..3 {
            incidents.report(blob, Damage::Missing, &"test");
            incidents.report(blob, Damage::Variant(Coding::Gzip), &"test");
        }
        assert_eq!(heard.try_recv().unwrap(), Incident { blob, damage: Damage::Missing });
        assert_eq!(heard.try_recv().unwrap().damage, Damage::Variant(Coding::Gzip));
        assert!(heard.try_recv().is_err());
        assert_eq!(incidents.count(), 2);
        incidents.verified(blob);
        assert_eq!(incidents.count(), 1);
        incidents.report(blob, Damage::Variant(Coding::Gzip), &"test");
        incidents.report(blob, Damage::Missing, &"test");
        assert_eq!(heard.try_recv().unwrap().damage, Damage::Missing);
        incidents.variant_verified(blob, Coding::Gzip);
        incidents.report(blob, Damage::Variant(Coding::Gzip), &"test");
        assert_eq!(heard.try_recv().unwrap().damage, Damage::Variant(Coding::Gzip));
    }
}
