//! What a deployment needs to be kept before it is complete, and the fence between that and garbage collection.
//!
//! Between the moment at which a deployment sees that a blob is in the store and the one at which its row says so, a
//! collection on another server may decide that nobody names the blob. So a collection writes into the database that it
//! begins to remove, before it looks at the rows for the last time, and that it has ended; a deployment becomes complete
//! only when neither has happened since it began to look.

use std::{collections::HashSet, time::Duration};

use super::super::{Services, uploads::KNOWN_DEPLOYMENTS};
use crate::{
    base::{blob_dir::Coding, hash::Sha256},
    domain::{Error, Result, access::TenantScope, file_list::FileList, site::SiteId},
    ports::db::ReadTx,
    store::{self, settings::SWEEP},
};

/// How long a collection may remove before it must look again …
pub(in crate::services) const SWEEP_MS_MAX: i64 = 5 * 60_000;
/// … and after what time one that has not said that it ended is taken for dead. More, since the clocks of servers differ.
const DEAD_MS: i64 = 15 * 60_000;
/// How long a deployment waits for a collection to end, and how often it looks.
const WAIT_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(250);
/// How often a deployment looks at its blobs again because of a collection.
const TRIES: usize = 5;

/// What the database said of the collection when a deployment began to look at its blobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::services) struct Fence(Option<String>);

impl Fence {
    /// Refuses when a collection has begun or ended since.
    pub(in crate::services) fn check(&self, tx: &mut ReadTx<'_>) -> Result<()> {
        if store::settings::find(tx, SWEEP)? == self.0 { Ok(()) } else { Err(swept()) }
    }
}

/// The row of a collection that removes until it says otherwise.
pub(in crate::services) fn sweeping(id: &str, now_ms: i64) -> String {
    format!("{id} {}", now_ms + DEAD_MS)
}

/// The row of one that has ended.
pub(in crate::services) fn idle(id: &str) -> String {
    format!("{id} 0")
}

/// Whether the row is that of a collection that removes at `now_ms`.
pub(in crate::services) fn is_sweeping(row: Option<&str>, now_ms: i64) -> bool {
    let until_ms = row.and_then(|it| it.split_once(' ')).and_then(|(_, it)| it.parse::<i64>().ok());
    until_ms.is_some_and(|it| it >= now_ms)
}

/// Refused, while a collection removes.
pub(in crate::services) fn swept() -> Error {
    Error::unavailable("sweeping", "Old files are just being removed from the store. Try again in a moment.")
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

    /// Keeps all that a deployment needs, then runs `complete`, whose transaction asks the fence; again when a collection
    /// came between. Without a store there is nothing to keep and no fence.
    pub(in crate::services) async fn keep_deployment<T, F>(
        &self,
        scope: TenantScope,
        site: SiteId,
        needs: &[(Sha256, u64)],
        complete: impl Fn(Option<Fence>) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let Some(home) = &self.home else { return complete(None).await };
        for _ in 0..TRIES {
            let fence = self.wait_for_sweep().await?;
            home.saw_sweep(&fence);
            let known = if home.is_carried() { self.list_kept(scope, site).await? } else { HashSet::new() };
            let unsure = needs.iter().filter(|(hash, size)| home.is_lost(hash) || !known.contains(&(*hash, *size)));
            home.keep(unsure.copied().collect()).await?;
            match complete(Some(fence)).await {
                Err(error) if error.code == swept().code => {}
                done => return done,
            }
        }
        Err(swept())
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

    async fn wait_for_sweep(&self) -> Result<Fence> {
        let began = tokio::time::Instant::now();
        loop {
            let row = self.db.read(|tx| store::settings::find(tx, SWEEP)).await?;
            if !is_sweeping(row.as_deref(), self.clock.now_ms()) {
                return Ok(Fence(row));
            }
            if began.elapsed() > WAIT_MAX {
                return Err(swept());
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
