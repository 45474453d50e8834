//! Carries what was deployed before there was a store into it, once, and looks that all is here when it is left.
//!
//! Until that is done nothing is taken for kept because an earlier deployment has it. It is not done while a blob is nowhere:
//! those are named in the log, and looked for again after a day or a restart; their sites serve no worse than before.

use std::collections::HashSet;

use super::{super::Services, Home};
use crate::{
    base::hash::Sha256,
    domain::{Kind, Result},
    store,
};

/// The store into which all was carried.
const CARRIED: &str = "blobs_carried";
/// Before the name of one that was left, while not all of it is here.
const LEFT: &str = "left ";
/// Blobs that are nowhere are named in the log up to this number.
const LACKING_TOLD: usize = 50;

impl Services {
    /// Carries what the store lacks into it, unless that was done before.
    pub async fn carry_over(&self) -> Result<()> {
        let Some(home) = &self.home else { return self.leave_store().await };
        if home.is_carried() {
            return Ok(());
        }
        let place = home.0.store.place();
        let before = self.db.read(|tx| store::settings::find(tx, CARRIED)).await?;
        if before.as_ref() != Some(&place) {
            let (marked, blobs) = (self.mark().await?, self.blobs.clone());
            let listed = self.blocking(move || Ok((blobs.list()?, blobs.list_variants()?)));
            let (files, forms) = listed.await?;
            let files: Vec<(Sha256, u64)> = files.into_iter().map(|(hash, size, _)| (hash, size)).collect();
            let here: HashSet<Sha256> = files.iter().map(|(hash, _)| *hash).collect();
            let elsewhere = marked.iter().filter(|it| !here.contains(*it)).copied().collect();
            let mut lacking = home.carry(files.into_iter().filter(|(hash, _)| marked.contains(hash)).collect()).await?;
            lacking.extend(home.list_absent(elsewhere).await?);
            let forms = forms.into_iter().map(|(form, ..)| form).filter(|(hash, _)| marked.contains(hash));
            home.keep_variants(forms.collect()).await?;
            if !lacking.is_empty() {
                tell_lacking(&place, &lacking);
                return Ok(());
            }
            self.db.write(move |tx| store::settings::set(tx, CARRIED, &place)).await?;
        }
        home.0.carried.get_or_init(|| ());
        Ok(())
    }

    /// Without a store where there was one: what comes now is not in that one, so that coming back to it carries again. What
    /// was copied out of it must be whole.
    async fn leave_store(&self) -> Result<()> {
        let before = self.db.read(|tx| store::settings::find(tx, CARRIED)).await?;
        let Some(before) = before.filter(|it| !it.is_empty()) else { return Ok(()) };
        let place = before.strip_prefix(LEFT).unwrap_or(&before).to_owned();
        let left = format!("{LEFT}{place}");
        self.db.write(move |tx| store::settings::set(tx, CARRIED, &left)).await?;
        let blobs = self.blobs.clone();
        let is_whole = match self.mark().await {
            Ok(marked) => self.blocking(move || Ok(marked.iter().all(|it| blobs.has(it)))).await?,
            // The list of a deployment is not here.
            Err(_) => false,
        };
        if is_whole {
            return self.db.write(|tx| store::settings::set(tx, CARRIED, "")).await;
        }
        let folder = self.blobs.root().display();
        tracing::error!(
            "files of kept deployments are in {place} and not here: stop, copy its folders `blobs` and `variants` into \
             {folder}, and start"
        );
        Ok(())
    }
}

impl Home {
    pub(super) fn is_carried(&self) -> bool {
        self.0.carried.get().is_some()
    }

    /// Keeps these blobs of these sizes; those that cannot be read anywhere.
    async fn carry(&self, blobs: Vec<(Sha256, u64)>) -> Result<Vec<Sha256>> {
        self.claimed().await?;
        let count = blobs.len();
        let carried = self.each(blobs, |home, (hash, size)| async move {
            match home.keep_one(hash, size).await {
                Err(error) if error.kind != Kind::Unavailable => {
                    tracing::error!(%error, blob = %hash, "a file could not be carried into the store of files");
                    Ok(Some(hash))
                }
                kept => kept.map(|()| None),
            }
        });
        let lacking: Vec<Sha256> = carried.await?.into_iter().flatten().collect();
        let count = count.saturating_sub(lacking.len());
        if count > 0 {
            tracing::info!(count, "files that were deployed before are in the store of files");
        }
        Ok(lacking)
    }

    /// Those of these blobs that the store has not at all.
    async fn list_absent(&self, blobs: Vec<Sha256>) -> Result<Vec<Sha256>> {
        let looked = self.each(blobs, |home, hash| async move { Ok(home.head(hash).await?.is_none().then_some(hash)) });
        Ok(looked.await?.into_iter().flatten().collect())
    }
}

/// Tells which blobs of kept deployments are nowhere.
fn tell_lacking(place: &str, lacking: &[Sha256]) {
    let named: Vec<String> = lacking.iter().take(LACKING_TOLD).map(Sha256::hex).collect();
    tracing::error!(
        count = lacking.len(),
        blobs = named.join(" "),
        "files of kept deployments are neither here nor in {place}: put them back into the folder `blobs` and restart, or \
         deploy their sites again. All else is served, and is in the store"
    );
}
