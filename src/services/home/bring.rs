//! Brings what kept deployments name out of the store into the folder, so that the store can be left.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{super::Services, send::hash_names};
use crate::{
    base::{
        blob_dir::{BlobError, Coding},
        hash::Sha256,
    },
    domain::{Error, Result},
};

/// How long one call works, about.
const CALL_MAX: Duration = Duration::from_secs(10);
/// Blobs between two looks at the time.
const STEP: usize = 64;

/// How far it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brought {
    /// Ask again behind this blob; `None`: that was all.
    pub next: Option<String>,
    /// Blobs that this call has looked at: brought, verified, or found to be lost.
    pub seen: u64,
    /// The bytes of those that are whole.
    #[serde(default)]
    pub bytes: u64,
    /// At the end: of the names of all whole blobs in their order, each of which is the SHA-256 of its bytes.
    #[serde(default)]
    pub sha256: String,
    /// Blobs that kept deployments name.
    pub total: u64,
    /// Blobs of this call that are nowhere whole: their sites are no worse off without the store.
    #[serde(default)]
    pub lost: Vec<String>,
    /// At the end: blobs that are not here, though they are not lost: the folder may not have so many bytes.
    pub gone: u64,
}

impl Services {
    /// Brings blobs into the folder, in the order of their hashes from the one behind `after` on, and verifies those that are
    /// there. With `leaves` nothing leaves the folder meanwhile, and after the end nothing until the shutdown: the next start is without
    /// the store. `lost` are those that earlier calls have found to be lost.
    /// An error when there is no store, when it does not answer, and before anything begins when not all of it fits.
    pub async fn bring_home(&self, after: Option<Sha256>, leaves: bool, lost: &HashSet<String>) -> Result<Brought> {
        let Some(home) = &self.home else {
            return Err(Error::conflict("no_store", "The files of this server are in its folder already."));
        };
        let mut marked: Vec<Sha256> = self.mark().await?.into_iter().collect();
        marked.sort_unstable();
        if after.is_none() {
            home.check_fits(&marked).await?;
        }
        let mut brought = Brought { total: u64::try_from(marked.len()).unwrap_or(u64::MAX), ..Brought::default() };
        let begun = Instant::now();
        let first = after.map_or(0, |after| marked.partition_point(|it| *it <= after));
        let rest = marked.get(first..).unwrap_or_default();
        for some in rest.chunks(STEP) {
            if leaves {
                home.hold();
            }
            if begun.elapsed() > CALL_MAX {
                return Ok(brought);
            }
            let blobs = Arc::new(self.blobs.clone());
            let verify = move |home: super::Home, hash: Sha256| {
                let blobs = Arc::clone(&blobs);
                async move {
                    let looked = Arc::clone(&blobs);
                    let found = home.0.tasks.blocking(move || looked.open_verified(&hash).map(|it| it.1)).await;
                    match found.ok_or_else(|| Error::internal("verifying a file panicked"))? {
                        Ok(size) => {
                            // Another node may have made them, and only the store has them then.
                            if Coding::ALL.into_iter().all(|it| blobs.variant_size(&hash, it).is_none()) {
                                home.fetch_variants_for_work(hash).await?;
                            }
                            Ok((hash, Some(size)))
                        }
                        Err(error @ (BlobError::Missing | BlobError::Corrupt)) => {
                            tracing::error!(blob = %hash, %error, "a file is neither in the store nor in the folder");
                            Ok((hash, None))
                        }
                        Err(error) => Err(Error::from(error)),
                    }
                }
            };
            let looked = home.each(some.to_vec(), verify).await?;
            brought.seen += u64::try_from(looked.len()).unwrap_or(u64::MAX);
            let nowhere = looked.iter().filter(|it| it.1.is_none());
            brought.lost.extend(nowhere.map(|(hash, _)| hash.to_string()));
            brought.bytes += looked.into_iter().filter_map(|it| it.1).sum::<u64>();
            brought.next = some.last().map(ToString::to_string);
        }
        brought.next = None;
        let is_whole = |it: &Sha256| {
            let name = it.to_string();
            !lost.contains(&name) && !brought.lost.contains(&name)
        };
        let whole: Vec<Sha256> = marked.iter().copied().filter(is_whole).collect();
        brought.sha256 = hash_names(whole.iter().copied());
        if leaves {
            // Before they are counted.
            home.hold_for_good();
        }
        let blobs = self.blobs.clone();
        let gone = self.blocking(move || Ok(whole.iter().filter(|it| !blobs.has(it)).count())).await?;
        brought.gone = u64::try_from(gone).unwrap_or(u64::MAX);
        if brought.gone > 0 {
            home.release();
        }
        Ok(brought)
    }
}
