//! Sends all that the folder has into the store before that is its home, and reads each file back: a server that starts on the store
//! then finds there what it needs, and so does one that has nothing in its folder.
//!
//! Broken off anywhere, it is begun again: what the store has in the right size is not put again, but read again.

use serde::Serialize;

use super::Home;
use crate::{
    base::{
        blob_dir::BlobError,
        hash::{Hasher, Sha256},
        ids::Id,
    },
    domain::{Error, Result},
};

/// Files between two words of how far it is.
const STEP: usize = 64;
/// How often the folder is looked at again for what has come meanwhile.
const LOOKS_MAX: usize = 3;
/// Damaged files are named up to this number.
const NAMED_MAX: usize = 5;

/// What was verified.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sent {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the names of all files in their order, each of which is the SHA-256 of its bytes.
    pub sha256: String,
    /// Files that kept deployments name and that are nowhere whole: they are not among these.
    pub lost: u64,
}

impl Home {
    /// Puts all files of the folder into the store, as that of `instance`, and hashes each as the store gives it back. `watch` hears of
    /// each step how many files there are, and how many are done.
    pub async fn send_all(&self, instance: Id, watch: impl Fn(u64, u64)) -> Result<Sent> {
        self.0.instance.get_or_init(|| instance);
        self.claimed().await?;
        let mut sent: Vec<(Sha256, u64)> = Vec::new();
        for _ in 0..LOOKS_MAX {
            let folder = self.0.folder.clone();
            let listed = self.0.tasks.blocking(move || Ok::<_, Error>((folder.list()?, folder.list_variants()?))).await;
            let (files, forms) = listed.ok_or_else(|| Error::internal("listing the folder panicked"))??;
            let known: std::collections::HashSet<Sha256> = sent.iter().map(|it| it.0).collect();
            let files: Vec<_> = files.into_iter().map(|(hash, size, _)| (hash, size)).collect();
            let new: Vec<_> = files.into_iter().filter(|it| !known.contains(&it.0)).collect();
            self.keep_variants(forms.into_iter().map(|(form, ..)| form).collect()).await?;
            if new.is_empty() {
                break;
            }
            let total = u64::try_from(sent.len() + new.len()).unwrap_or(u64::MAX);
            for some in new.chunks(STEP) {
                watch(total, u64::try_from(some.len()).unwrap_or(u64::MAX));
                let act = |home: Self, (hash, size)| async move { home.send(hash, size).await };
                sent.extend(self.each(some.to_vec(), act).await?.into_iter().flatten());
            }
        }
        Ok(summary(sent))
    }

    /// Hashes all files of the folder as they are, without the store.
    pub async fn verify_all(&self, watch: impl Fn(u64, u64)) -> Result<Sent> {
        let folder = self.0.folder.clone();
        let listed = self.0.tasks.blocking(move || folder.list()).await;
        let files = listed.ok_or_else(|| Error::internal("listing the folder panicked"))??;
        let total = u64::try_from(files.len()).unwrap_or(u64::MAX);
        let (mut whole, mut damaged) = (Vec::new(), Vec::new());
        for some in files.chunks(STEP) {
            watch(total, u64::try_from(some.len()).unwrap_or(u64::MAX));
            let act = |home: Self, hash: Sha256| async move { Ok((hash, home.verify(hash).await?)) };
            for (hash, found) in self.each(some.iter().map(|it| it.0).collect(), act).await? {
                match found {
                    Ok(size) => whole.push((hash, size)),
                    // Collected as garbage meanwhile.
                    Err(BlobError::Missing) => {}
                    Err(_) => damaged.push(hash),
                }
            }
        }
        if damaged.is_empty() { Ok(summary(whole)) } else { Err(self.cannot_be_sent(&damaged)) }
    }

    async fn verify(&self, hash: Sha256) -> Result<std::result::Result<u64, BlobError>> {
        let folder = self.0.folder.clone();
        let found = self.0.tasks.blocking(move || folder.open_verified(&hash).map(|it| it.1)).await;
        found.ok_or_else(|| Error::internal("verifying a file panicked"))
    }

    /// Sends one file; `None` when it has left the folder meanwhile.
    async fn send(self, hash: Sha256, size: u64) -> Result<Option<(Sha256, u64)>> {
        // Two attempts: the store may have other bytes of the same size from before.
        for _ in 0..2 {
            match self.clone().keep_one(hash, size).await {
                Err(error) if error.code == "blobs_missing" => {
                    return if self.0.folder.has(&hash) { Err(self.cannot_be_sent(&[hash])) } else { Ok(None) };
                }
                kept => kept?,
            }
            match self.read_back(hash).await {
                Ok(read) if read == size => return Ok(Some((hash, size))),
                Ok(_) | Err(BlobError::Corrupt | BlobError::Missing) => self.lose(hash),
                Err(error) => return Err(error.into()),
            }
        }
        let text = format!("{} gives other bytes for {hash} than it was given.", self.0.store.place());
        Err(Error::conflict("blobs_store", text))
    }

    fn cannot_be_sent(&self, damaged: &[Sha256]) -> Error {
        let named: Vec<String> = damaged.iter().take(NAMED_MAX).map(Sha256::hex).collect();
        let more = damaged.len().saturating_sub(NAMED_MAX);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!(
            "Files in {} are damaged: {}{more}. Put the right ones there, or deploy their sites again; or remove them, and they are lost.",
            self.0.folder.root().join("blobs").display(),
            named.join(", ")
        );
        Error::conflict("blobs_damaged", text)
    }
}

fn summary(mut files: Vec<(Sha256, u64)>) -> Sent {
    files.sort_unstable();
    Sent {
        files: u64::try_from(files.len()).unwrap_or(u64::MAX),
        bytes: files.iter().map(|it| it.1).sum(),
        sha256: hash_names(files.iter().map(|it| it.0)),
        lost: 0,
    }
}

/// One hash for many files, of their names in this order.
pub(super) fn hash_names(names: impl Iterator<Item = Sha256>) -> String {
    let mut hasher = Hasher::new();
    for name in names {
        hasher.update(&name.0);
    }
    hasher.finish().hex()
}
