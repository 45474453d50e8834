//! The bytes of sites, when they go from the data folder to a bucket or come back.

use std::path::Path;

use serde_json::json;
use tokio::runtime::Runtime;

use super::{Ask, Progress, Watch, places::remember};
use crate::{
    base::secret::Secret,
    config::blobs::{Bucket, REMEMBERED},
    domain::{Error, Result},
};

/// Lets the next start have its bytes in a bucket: it carries there what the folder has. A bucket of another installation, or one
/// that cannot be used, is refused now. With `rehearse` nothing is remembered.
pub(super) fn to_bucket(runtime: &Runtime, data: &Path, url: &Secret, instance: &str, rehearse: bool) -> Result<()> {
    let bucket = Bucket::at(url.expose())?;
    check(runtime, &bucket, instance)?;
    if rehearse { Ok(()) } else { remember(data, REMEMBERED, Some(url)) }
}

#[cfg(feature = "s3")]
fn check(runtime: &Runtime, bucket: &Bucket, instance: &str) -> Result<()> {
    use crate::{engines::blobs_s3::S3, ports::blobs::BlobStore as _};
    let store = S3::new(bucket)?;
    let mark = runtime.block_on(async { tokio::time::timeout(ASK_MAX, store.mark()).await });
    let wrong =
        |why: String| Error::conflict("blobs_store", format!("{bucket} cannot be used: {why}. Nothing was changed."));
    match mark {
        Ok(Ok(Some(mark))) if mark != instance => Err(wrong(String::from("it belongs to another installation"))),
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(wrong(error.to_string())),
        Err(_) => Err(wrong(String::from("it does not answer"))),
    }
}

/// How long a store may take to say whose it is.
#[cfg(feature = "s3")]
const ASK_MAX: std::time::Duration = std::time::Duration::from_secs(20);

#[cfg(not(feature = "s3"))]
fn check(_runtime: &Runtime, _bucket: &Bucket, _instance: &str) -> Result<()> {
    Err(Error::invalid(
        "feature_missing",
        "This build has no S3. Take a released binary, or build with `--features s3`.",
    ))
}

/// Lets the running server bring all bytes into its folder, and the next start leave the bucket.
pub(super) fn to_folder(data: &Path, ask: Ask<'_>, watch: &Watch, rehearse: bool) -> Result<()> {
    let (mut after, mut begun) = (None, false);
    loop {
        let command = json!({ "command": "bring-home", "version": env!("CHAINHOST_VERSION"), "after": after });
        let Some(done) = ask(&command)? else {
            let text = "The running server brings its files from the bucket. Start it, and try again.";
            return Err(Error::conflict("server_needed", text));
        };
        let brought = done.brought.unwrap_or_default();
        if !begun {
            begun = true;
            watch(Progress::Step("bringing files", brought.total));
        }
        watch(Progress::Rows(brought.seen));
        if brought.next.is_some() {
            after = brought.next;
            continue;
        }
        if brought.gone > 0 {
            let text = format!(
                "{} of {} files are not in the data folder: the cache of files may not have so many bytes, or they are lost, which the \
                 log tells. Give `cache_bytes` in [blobs] more, restart, and try again.",
                brought.gone, brought.total
            );
            return Err(Error::conflict("cache_full", text));
        }
        return if rehearse { Ok(()) } else { remember(data, REMEMBERED, None) };
    }
}
