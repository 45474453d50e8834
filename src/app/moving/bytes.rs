//! The bytes of sites, when they go from the data folder to a bucket or come back.

use std::path::Path;

use serde_json::json;
use tokio::runtime::Runtime;

use super::{Ask, Progress, Watch, places::remember};
use crate::{
    base::{ids::Id, secret::Secret},
    config::{
        blobs::{Blobs, Bucket, REMEMBERED},
        server::Server,
    },
    domain::{Error, Result},
    services::home::send::Sent,
};

/// Puts what the folder has into a bucket and reads all of it back, and lets the next start have its bytes there: that one carries what
/// has come since. A bucket of another installation, or one that cannot be used, is refused before. With `rehearse` the files are
/// verified where they are, and nothing is put.
pub(super) fn to_bucket(
    runtime: &Runtime,
    (settings, data): (&Server, &Path),
    url: &Secret,
    instance: Id,
    watch: &Watch,
    rehearse: bool,
) -> Result<Sent> {
    let bucket = Bucket::at(url.expose())?;
    if let Some(now) = &settings.blobs.bucket {
        let text = if now.to_string() == bucket.to_string() {
            format!("The files of this server are in {now} already.")
        } else {
            format!(
                "The files of this server are in {now}; the data folder has only some of them. Bring them home first, and restart: \
                 chainhost move --blobs folder"
            )
        };
        return Err(Error::conflict("same_store", text));
    }
    let sent = send(runtime, &settings.blobs, data, &bucket, instance, watch, rehearse)?;
    if !rehearse {
        remember(data, REMEMBERED, Some(url))?;
    }
    Ok(sent)
}

#[cfg(feature = "s3")]
fn send(
    runtime: &Runtime,
    blobs: &Blobs,
    data: &Path,
    bucket: &Bucket,
    instance: Id,
    watch: &Watch,
    rehearse: bool,
) -> Result<Sent> {
    use std::{cell::Cell, sync::Arc};

    use crate::{
        base::{blob_dir::BlobDir, clock::Clock, tasks::Tasks},
        engines::blobs_s3::S3,
        services::home::Home,
    };
    let store = S3::new(bucket)?;
    check(runtime, &*store, bucket, instance)?;
    let folder = match &blobs.folder {
        Some(shared) => BlobDir::name_shared(shared, &instance.to_string()),
        None => BlobDir::open(data)?,
    };
    let tasks = Tasks::new();
    let home = Home::new(Arc::<S3>::clone(&store), folder, None, None, Clock::system(), tasks.clone())?;
    let known = Cell::new(0);
    let progress = |total: u64, more: u64| {
        if known.replace(total) != total {
            watch(Progress::Step(if rehearse { "verifying files" } else { "sending files" }, total));
        }
        watch(Progress::Rows(more));
    };
    runtime.block_on(async {
        let sent = if rehearse { home.verify_all(progress).await } else { home.send_all(instance, progress).await };
        tasks.stop();
        tasks.join().await;
        sent
    })
}

#[cfg(feature = "s3")]
fn check(runtime: &Runtime, store: &dyn crate::ports::blobs::BlobStore, bucket: &Bucket, instance: Id) -> Result<()> {
    let mark = runtime.block_on(async { tokio::time::timeout(ASK_MAX, store.mark()).await });
    let wrong =
        |why: String| Error::conflict("blobs_store", format!("{bucket} cannot be used: {why}. Nothing was changed."));
    match mark {
        Ok(Ok(Some(mark))) if mark != instance.to_string() => {
            Err(wrong(String::from("it belongs to another installation")))
        }
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(wrong(error.to_string())),
        Err(_) => Err(wrong(String::from("it does not answer"))),
    }
}

/// How long a store may take to say whose it is.
#[cfg(feature = "s3")]
const ASK_MAX: std::time::Duration = std::time::Duration::from_secs(20);

#[cfg(not(feature = "s3"))]
fn send(
    _runtime: &Runtime,
    _blobs: &Blobs,
    _data: &Path,
    _bucket: &Bucket,
    _instance: Id,
    _watch: &Watch,
    _rehearse: bool,
) -> Result<Sent> {
    Err(Error::invalid(
        "feature_missing",
        "This build has no S3. Take a released binary, or build with `--features s3`.",
    ))
}

/// Files that are lost in a bucket that can be left all the same: their names go with each command.
const LOST_MAX: usize = 2_000;

/// Lets the running server bring all bytes into its folder, and the next start leave the bucket.
pub(super) fn to_folder(data: &Path, ask: Ask<'_>, watch: &Watch, rehearse: bool) -> Result<Sent> {
    let (mut after, mut begun, mut sent, mut lost) = (None, false, Sent::default(), Vec::new());
    loop {
        let command = json!({
            "command": "bring-home", "version": env!("CHAINHOST_VERSION"), "after": after, "leaves": !rehearse, "lost": lost
        });
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
        sent.files += brought.seen.saturating_sub(u64::try_from(brought.lost.len()).unwrap_or(0));
        lost.extend(brought.lost);
        if lost.len() > LOST_MAX {
            let text = "Thousands of files are whole neither in the bucket nor in the data folder; the log of the server names them. Restore \
                        a backup of the bucket, or delete the deployments that name them, and try again.";
            return Err(Error::conflict("files_lost", text));
        }
        sent.bytes += brought.bytes;
        if brought.next.is_some() {
            after = brought.next;
            continue;
        }
        if brought.gone > 0 {
            let text = format!(
                "{} of {} files are not in the data folder: the cache of files may not have so many bytes. Give `cache_bytes` in \
                 [blobs] more, restart, and try again.",
                brought.gone, brought.total
            );
            return Err(Error::conflict("cache_full", text));
        }
        sent.sha256 = brought.sha256;
        sent.lost = u64::try_from(lost.len()).unwrap_or(u64::MAX);
        if !rehearse {
            remember(data, REMEMBERED, None)?;
        }
        return Ok(sent);
    }
}
