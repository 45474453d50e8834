//! Reads from the folder of blobs; what is not in it, or is damaged there, is fetched from where blobs live, if that is
//! elsewhere, and read again. Nobody holds a thread while it comes.

use crate::base::{
    blob_dir::{BlobDir, BlobError},
    hash::Sha256,
    tasks::Tasks,
};

/// What `read`, which blocks, makes of the blob `hash`.
pub(super) async fn read<T: Send + 'static>(
    dir: &BlobDir,
    hash: Sha256,
    tasks: &Tasks,
    read: impl Fn(&BlobDir) -> Result<T, BlobError> + Clone + Send + 'static,
) -> Result<T, BlobError> {
    let once = || {
        let (dir, read) = (dir.clone(), read.clone());
        async move {
            let done = tasks.blocking(move || read(&dir)).await;
            // The panic is in the log.
            done.unwrap_or_else(|| Err(BlobError::Away(String::from("reading it broke off"))))
        }
    };
    let found = once().await;
    if let (Err(BlobError::Missing | BlobError::Corrupt), Some(home)) = (&found, dir.home()) {
        home.fetch(hash).await?;
        return once().await;
    }
    if found.is_ok() {
        dir.used(hash);
    }
    found
}
