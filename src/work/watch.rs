//! Watched folders: a site that is deployed from a folder on this server whenever the folder changes.
//!
//! Waits until the folder is quiet for two seconds, and looks again every minute in any case, since some file systems
//! (NFS) tell nothing. Acts as the system user `watch`. A folder that is gone, or empty, changes nothing.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{sync::Notify, time};

use super::Context;
use crate::{
    base::{
        blob_dir::BlobDir,
        files,
        hash::{Hasher, Sha256},
    },
    domain::{
        Error, Kind, Result,
        deployment::Source,
        file_list::FileList,
        site::{Site, SiteId},
        tenant::TenantId,
    },
    services::{folder, ingest, uploads::Request, watch::Found},
};

/// A folder must be unchanged for so long.
const QUIET: Duration = Duration::from_secs(2);
/// Without a sign of a change, look all the same.
const LOOK: Duration = Duration::from_mins(1);
/// Blobs that become durable together.
const BATCH: usize = 512;

/// What is remembered of a site's folder between two looks.
struct Watched {
    folder: PathBuf,
    /// Absent when the system has no more watches to give: then only the look each minute helps.
    _watcher: Option<RecommendedWatcher>,
    /// What was deployed last, by names, sizes and times.
    seen: Option<Sha256>,
}

/// Starts the task.
pub(super) fn start(context: &Arc<Context>) {
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        let changed = Arc::new(Notify::new());
        let mut watched: HashMap<SiteId, Watched> = HashMap::new();
        while !context.tasks.is_stopping() {
            if let Err(error) = pass(&context, &mut watched, &changed).await {
                tracing::warn!(%error, "watched folders could not be looked at");
            }
            let idle = watched.is_empty();
            tokio::select! {
                () = context.services.signals().watch.notified() => {}
                () = changed.notified() => {}
                // A server without watched folders is not woken.
                () = time::sleep(LOOK), if !idle => {}
                () = context.tasks.stopping() => {}
            }
        }
    });
}

async fn pass(context: &Context, watched: &mut HashMap<SiteId, Watched>, changed: &Arc<Notify>) -> Result<()> {
    let sites = context.services.list_watched().await?;
    watched.retain(|id, it| {
        sites.iter().any(|(_, site)| site.id == *id && site.watch_folder.as_deref() == it.folder.to_str())
    });
    for (tenant, site) in sites {
        let Some(folder) = site.watch_folder.clone().map(PathBuf::from) else { continue };
        let entry = watched.entry(site.id).or_insert_with(|| Watched {
            _watcher: watcher(&folder, changed),
            folder: folder.clone(),
            seen: None,
        });
        let found = look(context, tenant, &site, &folder, &mut entry.seen).await.unwrap_or_else(|error| {
            tracing::warn!(site = %site.name, folder = %folder.display(), %error, "a watched folder was not deployed");
            Found::Refused(error.message)
        });
        context.services.note_look(tenant, &site, found);
    }
    Ok(())
}

fn watcher(folder: &Path, changed: &Arc<Notify>) -> Option<RecommendedWatcher> {
    let changed = Arc::clone(changed);
    let made = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the files makes events too; they say nothing.
        if !event.is_ok_and(|it| it.kind.is_access()) {
            changed.notify_one();
        }
    });
    let watched = made.and_then(|mut it| it.watch(folder, RecursiveMode::Recursive).map(|()| it));
    match watched {
        Ok(it) => Some(it),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "looking at this folder once a minute only");
            None
        }
    }
}

/// Deploys the folder if it differs from what is live.
async fn look(
    context: &Context,
    tenant: TenantId,
    site: &Site,
    folder: &Path,
    seen: &mut Option<Sha256>,
) -> Result<Found> {
    let mut now = match stamp_of(context, site, folder).await {
        Ok(now) => now,
        Err(missing) => return Ok(missing),
    };
    if *seen == Some(now) {
        return Ok(Found::Same);
    }
    // Wait until nothing moves any more.
    loop {
        tokio::select! {
            () = time::sleep(QUIET) => {}
            () = context.tasks.stopping() => return Ok(Found::Same),
        }
        match stamp_of(context, site, folder).await {
            Ok(later) if later == now => break,
            Ok(later) => now = later,
            Err(missing) => return Ok(missing),
        }
    }
    let done = deploy(context, tenant, site, folder).await;
    // Also when it fails: the same files would fail again, unless it was the server's fault.
    if !done.as_ref().is_err_and(|error| error.kind == Kind::Unavailable) {
        *seen = Some(now);
    }
    done.map(|()| Found::Deployed)
}

async fn deploy(context: &Context, tenant: TenantId, site: &Site, folder: &Path) -> Result<()> {
    let actor = context.services.actor_system(tenant, "watch");
    context.services.admit(0)?;
    let (blobs, from) = (context.services.blobs.clone(), folder.to_owned());
    let taken = context.tasks.blocking(move || take(&blobs, &from)).await;
    let list = taken.unwrap_or_else(|| Err(Error::internal("taking a folder panicked")))?;
    if context.services.find_live_list(&actor, &site.name).await?.as_ref() == Some(&list) {
        return Ok(());
    }
    let request = Request {
        source: Source::Watch,
        message: format!("From {}", folder.display()),
        publish: true,
        if_live: None,
        allow_env: false,
        idempotency_key: None,
    };
    let done = context.services.deploy_list(&actor, &site.name, list, request).await?;
    tracing::info!(site = %site.name, deployment = done.number, "deployed a watched folder");
    Ok(())
}

/// As [`stamp`], or why there is nothing to deploy.
async fn stamp_of(context: &Context, site: &Site, folder: &Path) -> Result<Sha256, Found> {
    let from = folder.to_owned();
    match context.tasks.blocking(move || stamp(&from)).await {
        Some(Ok(Some(stamp))) => Ok(stamp),
        Some(Err(error)) => {
            tracing::warn!(site = %site.name, folder = %folder.display(), %error, "a watched folder cannot be read");
            Err(Found::Missing(format!("The folder cannot be read: {error}.")))
        }
        Some(Ok(None)) => {
            Err(Found::Missing(String::from("There is no such folder on this server, or no file is in it.")))
        }
        None => Err(Found::Missing(String::from("The look at it broke off. It is tried again in a minute."))),
    }
}

/// A digest of names, sizes and times; `None` when the folder is gone or has no file.
fn stamp(folder: &Path) -> io::Result<Option<Sha256>> {
    let mut paths = match files::walk(folder) {
        Ok(paths) => paths,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if paths.is_empty() {
        return Ok(None);
    }
    paths.sort();
    let mut hasher = Hasher::new();
    for path in paths {
        // Removed since the walk: the next look sees the folder without it.
        let Ok(about) = fs::symlink_metadata(folder.join(&path)) else { continue };
        hasher.update(path.as_os_str().as_encoded_bytes());
        for number in [about.size(), about.mtime().unsigned_abs(), about.mtime_nsec().unsigned_abs(), about.ino()] {
            hasher.update(&number.to_be_bytes());
        }
    }
    Ok(Some(hasher.finish()))
}

/// Puts every file of the folder into the store.
fn take(blobs: &BlobDir, from: &Path) -> Result<FileList> {
    let mut found = Vec::new();
    let mut batch = blobs.batch();
    folder::walk(from, false, &mut |relative| {
        let path = from.join(&relative);
        let file = folder::open(&path).map_err(|error| folder::unreadable("read", &path, &error))?;
        let mut writer = blobs.writer()?;
        let mut written = Ok(());
        folder::pieces(file, |piece| {
            if written.is_ok() {
                written = writer.write(piece);
            }
        })?;
        written?;
        let (hash, size) = writer.finish(None, &mut batch).map_err(io::Error::from)?;
        found.push((relative.into_os_string().into_encoded_bytes(), size, hash));
        if batch.len() >= BATCH {
            std::mem::replace(&mut batch, blobs.batch()).commit()?;
        }
        Ok(())
    })?;
    batch.commit()?;
    ingest::listed(found, false)
}
