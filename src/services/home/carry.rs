//! Carries what was deployed before there was a store into it, once.
//!
//! Until that is done nothing is taken for kept because an earlier deployment has it. A blob that cannot be read is told in
//! the log and left: its site serves it no worse than before.

use super::{super::Services, Home};
use crate::{
    base::hash::Sha256,
    domain::{Kind, Result},
    store,
};

/// The store into which all was carried.
const CARRIED: &str = "blobs_carried";

impl Services {
    /// Carries what the store lacks into it, unless that was done before.
    pub async fn carry_over(&self) -> Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
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
            home.carry(files.into_iter().filter(|(hash, _)| marked.contains(hash)).collect()).await?;
            let forms = forms.into_iter().map(|(form, ..)| form).filter(|(hash, _)| marked.contains(hash));
            home.keep_variants(forms.collect()).await?;
            self.db.write(move |tx| store::settings::set(tx, CARRIED, &place)).await?;
        }
        home.0.carried.get_or_init(|| ());
        Ok(())
    }
}

impl Home {
    pub(super) fn is_carried(&self) -> bool {
        self.0.carried.get().is_some()
    }

    async fn carry(&self, blobs: Vec<(Sha256, u64)>) -> Result<()> {
        self.claimed().await?;
        let count = blobs.len();
        self.each(blobs, |home, (hash, size)| async move {
            match home.keep_one(hash, size).await {
                Err(error) if error.kind != Kind::Unavailable => {
                    tracing::error!(%error, blob = %hash, "a file could not be carried into the store of files");
                    Ok(())
                }
                kept => kept,
            }
        })
        .await?;
        if count > 0 {
            tracing::info!(count, "what was deployed before is in the store of files");
        }
        Ok(())
    }
}
