//! What a deployment needs to be kept before it is complete, and the fence between that and garbage collection.
//!
//! A collection removes in short rounds. It writes into the database that a round begins, then looks which deployments there
//! are, removes what none of them names, and writes that the round has ended. The row of a deployment is written in a
//! transaction that sees no round under way, with the list of its files: every later round sees that row and leaves what the list
//! names, so that a deployment need not look again, however long it takes. Only its manifest is named when it becomes
//! complete, in a transaction that again sees no round, and none since the manifest was looked for in the store.
//!
//! So a deployment waits at most for the end of one round, for some seconds; never for a collection.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::{Services, nodes::Hold, uploads::KNOWN_DEPLOYMENTS},
    Home,
};
use crate::{
    base::{blob_dir::Coding, hash::Sha256},
    domain::{Error, Result, access::TenantScope, deployment::DeploymentId, file_list::FileList, site::SiteId},
    ports::db::ReadTx,
    store::{self, settings::SWEEP},
};

/// A round whose row has stood unchanged for so long is taken for dead: its process was killed, or the store did not answer it.
/// Far more than a round and its last request take. Counted by the clock of whoever waits, which does not go back.
const DEAD: Duration = Duration::from_secs(90);
/// How long a deployment waits for a round to end, and how often it looks.
const WAIT_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

/// What the row of a round that has ended ends in.
const ENDED: &str = " 0";

/// What the database said of the collection when a deployment began to look at its blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::services) struct Fence(Option<String>);

impl Fence {
    pub(super) const fn of(row: Option<String>) -> Self {
        Self(row)
    }

    /// Refuses when a round has begun or ended since.
    pub(in crate::services) fn check(&self, tx: &mut ReadTx<'_>) -> Result<()> {
        if store::settings::find(tx, SWEEP)? == self.0 { Ok(()) } else { Err(swept()) }
    }
}

/// The row of a round that removes.
pub(super) fn sweeping(id: &str) -> String {
    format!("{id} removes")
}

/// The row of one that has ended.
pub(super) fn idle(id: &str) -> String {
    format!("{id}{ENDED}")
}

/// Refused, while a round removes.
pub(super) fn swept() -> Error {
    Error::unavailable("sweeping", "Old files are just being removed from the store. Try again in a moment.")
}

/// The row of the round that removes, and since when it is known.
#[derive(Debug, Default)]
pub(super) struct Rounds(Mutex<Option<(String, Instant)>>);

impl Rounds {
    /// Whether the row is that of a round that may still remove.
    pub(super) fn is_sweeping(&self, row: Option<&str>) -> bool {
        self.is_sweeping_at(row, Instant::now())
    }

    fn is_sweeping_at(&self, row: Option<&str>, now: Instant) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(row) = row.filter(|it| !it.ends_with(ENDED)) else {
            *known = None;
            return false;
        };
        match &*known {
            Some((seen, since)) if seen == row => now.duration_since(*since) < DEAD,
            _ => {
                *known = Some((row.to_owned(), now));
                true
            }
        }
    }
}

impl Services {
    /// Sees that these blobs, which are in the folder, are in the store too, if there is one.
    pub(in crate::services) async fn keep_blobs(&self, blobs: Vec<(Sha256, u64)>) -> Result<()> {
        match &self.home {
            Some(home) => home.keep(blobs).await,
            None => Ok(()),
        }
    }

    /// As [`Services::keep_blobs`], for one whose size its file says.
    pub(in crate::services) async fn keep_blob(&self, hash: Sha256) -> Result<()> {
        let size = self.blobs.size(&hash).unwrap_or(0);
        self.keep_blobs(vec![(hash, size)]).await
    }

    /// Sees that these compressed forms, which are in the folder, are in the store too, if there is one.
    pub async fn keep_variants(&self, forms: Vec<(Sha256, Coding)>) -> Result<()> {
        match &self.home {
            Some(home) => home.keep_variants(forms).await,
            None => Ok(()),
        }
    }

    /// As [`Services::keep_variants`], also when the store has them already.
    pub async fn keep_variants_again(&self, forms: Vec<(Sha256, Coding)>) -> Result<()> {
        if let Some(home) = &self.home {
            home.forget_variants(&forms);
        }
        self.keep_variants(forms).await
    }

    /// Runs `act`, whose transaction asks the fence, when no round removes; again when one has begun or ended meanwhile.
    /// Without a store there is no fence.
    pub(in crate::services) async fn fenced<T, F>(&self, act: impl Fn(Option<Fence>) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let Some(home) = &self.home else { return act(None).await };
        let began = Instant::now();
        loop {
            let fence = self.wait_for_round(home, began).await?;
            home.saw_sweep(&fence);
            match act(Some(fence)).await {
                Err(error) if error.code == swept().code && began.elapsed() < WAIT_MAX => {}
                done => return done,
            }
        }
    }

    /// Notes the list of files of a deployment whose row does not name it yet, so that no collection takes what it names.
    pub(in crate::services) async fn pin(
        &self,
        scope: TenantScope,
        (site, id): (SiteId, DeploymentId),
        list: (Sha256, u64),
        hold: Option<Hold>,
    ) -> Result<()> {
        if self.home.is_none() {
            return Ok(());
        }
        self.fenced(move |fence| async move {
            // A collection reads it.
            self.keep_blobs(vec![list]).await?;
            let note = move |tx: &mut crate::ports::db::WriteTx<'_>| {
                if let Some(fence) = fence {
                    fence.check(tx)?;
                }
                store::deployments::want(tx, scope, site, id, list.0)
            };
            self.write_held(hold, note).await
        })
        .await
    }

    /// Sees that the files of a deployment whose list is in its row are in the store, if there is one.
    pub(in crate::services) async fn keep_files(
        &self,
        scope: TenantScope,
        site: SiteId,
        needs: &[(Sha256, u64)],
    ) -> Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
        let known = if home.is_carried() { self.list_kept(scope, site).await? } else { HashSet::new() };
        let unsure = needs.iter().filter(|(hash, size)| home.is_lost(hash) || !known.contains(&(*hash, *size)));
        home.keep(unsure.copied().collect()).await
    }

    /// What the kept deployments of a site name: each was in the store when its deployment became complete, and no
    /// collection takes it before that deployment goes.
    async fn list_kept(&self, scope: TenantScope, site: SiteId) -> Result<HashSet<(Sha256, u64)>> {
        let list = move |tx: &mut ReadTx<'_>| store::deployments::list_known(tx, scope, site, KNOWN_DEPLOYMENTS);
        let lists = self.db.read(list).await?;
        let blobs = self.blobs.clone();
        self.blocking(move || {
            let mut known = HashSet::new();
            for list in lists {
                // One that cannot be read only means that more is looked at.
                if let Ok(bytes) = blobs.read_verified(&list) {
                    known.extend(FileList::from_bytes(&bytes)?.files().iter().map(|it| (it.sha256, it.size)));
                }
            }
            Ok(known)
        })
        .await
    }

    async fn wait_for_round(&self, home: &Home, began: Instant) -> Result<Fence> {
        loop {
            let row = self.db.read(|tx| store::settings::find(tx, SWEEP)).await?;
            if !home.0.rounds.is_sweeping(row.as_deref()) {
                return Ok(Fence(row));
            }
            if began.elapsed() > WAIT_MAX {
                return Err(swept());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_has_not_ended_is_dead_after_a_while_on_the_clock_of_who_waits() {
        let (rounds, now) = (Rounds::default(), Instant::now());
        let (row, ended) = (sweeping("a"), idle("a"));
        assert!(!rounds.is_sweeping_at(None, now) && !rounds.is_sweeping_at(Some(&ended), now));
        assert!(rounds.is_sweeping_at(Some(&row), now));
        assert!(rounds.is_sweeping_at(Some(&row), now + DEAD - LOOK));
        assert!(!rounds.is_sweeping_at(Some(&row), now + DEAD));
        // Another counts from when it is seen first, and one that has ended is over at once.
        assert!(rounds.is_sweeping_at(Some(&sweeping("b")), now + DEAD));
        assert!(!rounds.is_sweeping_at(Some(&idle("b")), now + DEAD));
    }
}
