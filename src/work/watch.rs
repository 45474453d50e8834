//! Watched folders: a site that is deployed from a folder on this server whenever the folder changes.
//!
//! Each site has a task of its own, so that a folder that never rests holds up no other. It waits until the folder is quiet
//! for two seconds, and looks again every minute in any case, since some file systems (NFS) tell nothing. One that is not there
//! yet is looked for every two seconds. Acts as the system user `watch`. A folder that is gone, or empty, changes nothing, and
//! neither does one with the files that were deployed from it last: what somebody has published since stays, also after a restart.

use std::{
    collections::HashMap,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{
    sync::{Notify, Semaphore},
    time,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Context;
use crate::{
    base::{
        beneath::Folder,
        hash::{Hasher, Sha256},
        limits,
    },
    domain::{
        Error, Kind, Result,
        deployment::Source,
        file_list::FileList,
        node::Duty,
        site::{Site, SiteId},
        tenant::TenantId,
    },
    services::{
        Services, folder, ingest,
        nodes::{BEAT, Hold},
        uploads::Request,
        watch::{Found, NOTHING_THERE},
    },
};

/// A folder must be unchanged for so long.
const QUIET: Duration = Duration::from_secs(2);
/// Without a sign of a change, look all the same.
const LOOK: Duration = Duration::from_mins(1);
/// Blobs that become durable together.
const BATCH: usize = 512;
/// Folders that are read at once: more would only keep the disk from everybody else.
const READ_AT_ONCE: usize = 4;

/// The task of one site. Dropped, it ends.
struct Follower {
    folder: PathBuf,
    _stop: DropGuard,
}

/// A folder and what its task has seen of it.
struct Watch {
    context: Arc<Context>,
    tenant: TenantId,
    site: SiteId,
    folder: PathBuf,
    /// Held while the folder is read.
    reading: Arc<Semaphore>,
    stop: CancellationToken,
    /// What was deployed last, by names, sizes and times.
    seen: Option<Sha256>,
}

/// Starts the task that has a follower for each watched folder.
pub(super) fn start(context: &Arc<Context>) {
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        let reading = Arc::new(Semaphore::new(READ_AT_ONCE));
        let mut followers: HashMap<SiteId, Follower> = HashMap::new();
        while !context.tasks.is_stopping() {
            let done = if context.services.hold(Duty::Watch).is_some() {
                pass(&context, &mut followers, &reading).await
            } else {
                followers.clear();
                Ok(())
            };
            if let Err(error) = &done {
                tracing::warn!(%error, "watched folders could not be looked at");
            }
            tokio::select! {
                () = context.services.signals().watch.notified() => {}
                () = time::sleep(BEAT), if context.services.node.shares => {}
                () = time::sleep(LOOK), if done.is_err() => {}
                () = context.tasks.stopping() => {}
            }
        }
    });
}

/// Ends the followers of folders that are not watched any more, and starts those of new ones.
async fn pass(
    context: &Arc<Context>,
    followers: &mut HashMap<SiteId, Follower>,
    reading: &Arc<Semaphore>,
) -> Result<()> {
    let sites = context.services.list_watched().await?;
    followers.retain(|id, it| {
        sites.iter().any(|(_, site)| site.id == *id && site.watch_folder.as_deref() == it.folder.to_str())
    });
    for (tenant, site) in sites {
        let Some(folder) = site.watch_folder.map(PathBuf::from) else { continue };
        followers.entry(site.id).or_insert_with(|| {
            let stop = context.tasks.token().child_token();
            let watch = Watch {
                context: Arc::clone(context),
                tenant,
                site: site.id,
                folder: folder.clone(),
                reading: Arc::clone(reading),
                stop: stop.clone(),
                seen: None,
            };
            context.tasks.spawn(watch.follow());
            Follower { folder, _stop: stop.drop_guard() }
        });
    }
    Ok(())
}

impl Watch {
    /// Looks whenever something changes, until told to stop.
    async fn follow(mut self) {
        let changed = Arc::new(Notify::new());
        let (mut is_missing, mut _watcher) = (true, None);
        while !self.stop.is_cancelled() {
            if is_missing && self.is_there().await {
                (is_missing, _watcher) = (false, watcher(&self.folder, &changed));
            }
            self.look_once().await;
            self.rest(&changed, is_missing).await;
        }
    }

    /// Waits until it is time to look: a folder that is not there yet tells nothing when it comes.
    async fn rest(&self, changed: &Notify, is_missing: bool) {
        let look = time::sleep(LOOK);
        tokio::pin!(look);
        loop {
            tokio::select! {
                () = changed.notified() => return,
                () = &mut look => return,
                () = self.stop.cancelled() => return,
                () = time::sleep(QUIET), if is_missing => if self.is_there().await { return },
            }
        }
    }

    async fn is_there(&self) -> bool {
        let folder = self.folder.clone();
        self.read(move || Ok(folder.is_dir())).await.unwrap_or(false)
    }

    /// Looks, and keeps what was found for people to see.
    async fn look_once(&mut self) {
        let services = self.context.services.clone();
        let Some(hold) = services.hold(Duty::Watch) else { return };
        let site = match services.find_watched_site(self.tenant, self.site).await {
            Ok(Some(site)) => site,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "a watched folder could not be looked at"),
        };
        // While a site is taken down nothing can be published; what is in the folder then, is once it is put back.
        if site.taken_down.is_some() {
            return;
        }
        let found = self.look(&site, &hold).await.unwrap_or_else(|error| {
            let folder = self.folder.display();
            tracing::warn!(site = %site.name, %folder, %error, "a watched folder was not deployed");
            Found::Refused(error.message)
        });
        services.note_look(self.tenant, &site, found);
    }

    /// Deploys the folder if its files are others than those that were deployed from it last.
    async fn look(&mut self, site: &Site, hold: &Hold) -> Result<Found> {
        let mut now = match self.stamp(site).await {
            Ok(now) => now,
            Err(missing) => return Ok(missing),
        };
        if self.seen == Some(now) {
            return Ok(Found::Same);
        }
        // Wait until nothing moves any more.
        loop {
            tokio::select! {
                () = time::sleep(QUIET) => {}
                () = self.stop.cancelled() => return Ok(Found::Same),
            }
            match self.stamp(site).await {
                Ok(later) if later == now => break,
                Ok(later) => now = later,
                Err(missing) => return Ok(missing),
            }
        }
        let done = self.deploy(site, hold).await;
        // Also when it fails: the same files would fail again, unless it was not their fault.
        let again =
            |error: &Error| error.kind == Kind::Unavailable || ["taken_down", "lease_lost"].contains(&error.code);
        if !done.as_ref().is_err_and(again) {
            self.seen = Some(now);
        }
        done.map(|()| Found::Deployed)
    }

    /// As [`stamp`], or why there is nothing to deploy.
    async fn stamp(&self, site: &Site) -> Result<Sha256, Found> {
        let folder = self.folder.clone();
        let stamped = self.read(move || Ok(stamp(&folder))).await;
        match stamped {
            Ok(Ok(Some(stamp))) => Ok(stamp),
            Ok(Err(error)) => {
                tracing::warn!(site = %site.name, folder = %self.folder.display(), %error, "a watched folder cannot be read");
                Err(Found::Missing(format!("The folder cannot be read: {error}.")))
            }
            Ok(Ok(None)) => Err(Found::Missing(String::from(NOTHING_THERE))),
            Err(_) => Err(Found::Missing(String::from("The look at it broke off. It is tried again in a minute."))),
        }
    }

    /// Runs what reads the folder, a few folders at a time.
    async fn read<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let _reading = self.reading.acquire().await.map_err(Error::internal)?;
        let done = self.context.tasks.blocking(work).await;
        done.unwrap_or_else(|| Err(Error::internal("reading a watched folder panicked")))
    }

    async fn deploy(&self, site: &Site, hold: &Hold) -> Result<()> {
        let services = &self.context.services;
        let actor = services.actor_system(self.tenant, "watch");
        let (taking, from) = (services.clone(), self.folder.clone());
        let list = self.read(move || take(&taking, &from)).await?;
        let hash = Sha256::of(&list.to_bytes()?);
        if services.is_last_watched(self.tenant, self.site, hash).await? {
            return Ok(());
        }
        if services.find_live_list(&actor, &site.name).await?.as_ref() != Some(&list) {
            let request = Request {
                source: Source::Watch,
                message: format!("From {}", self.folder.display()),
                publish: true,
                if_live: None,
                allow_env: false,
                idempotency_key: None,
            };
            let done = services.deploy_list(&actor, &site.name, list, request, Some(*hold)).await?;
            tracing::info!(site = %site.name, deployment = done.number, "deployed a watched folder");
        }
        services.remember_watched(hold, self.tenant, self.site, hash).await
    }
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

/// A digest of names, sizes and times; `None` when the folder is gone or has no file.
///
/// SECURITY: whoever may write to the folder must not be able to have others' files published. So no part of its path is a
/// symbolic link either, and what is read later is opened anew in the same way.
fn stamp(folder: &Path) -> io::Result<Option<Sha256>> {
    let folder = match Folder::open_real(folder) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(at) = open.pop() {
        for entry in folder.list(&at)? {
            let entry = entry?;
            let path = at.join(entry.name);
            if entry.about.is_dir() {
                open.push(path);
            } else if entry.about.is_file() {
                found.push((path, entry.about.stamp()));
            }
        }
    }
    if found.is_empty() {
        return Ok(None);
    }
    found.sort();
    let mut hasher = Hasher::new();
    for (path, numbers) in found {
        hasher.update(path.as_os_str().as_encoded_bytes());
        for number in numbers {
            hasher.update(&number.to_be_bytes());
        }
    }
    Ok(Some(hasher.finish()))
}

/// Refuses a folder that is more than a site may be, before anything of it is copied; its bytes.
fn measure(from: &Folder) -> Result<u64> {
    let (mut files, mut bytes) = (0_usize, 0_u64);
    folder::walk(from, false, &mut |_, about| {
        files += 1;
        bytes = bytes.saturating_add(about.size());
        if files > limits::SITE_FILES_MAX {
            let text = format!("{} has more than {} files.", from.path().display(), limits::SITE_FILES_MAX);
            return Err(Error::too_large("site_files", text));
        }
        if bytes > limits::SITE_BYTES_MAX { Err(too_many_bytes(from)) } else { Ok(()) }
    })?;
    Ok(bytes)
}

fn too_many_bytes(from: &Folder) -> Error {
    let text = format!("{} has more than {} bytes.", from.path().display(), limits::SITE_BYTES_MAX);
    Error::too_large("site_bytes", text)
}

/// Puts every file of the folder into the store.
fn take(services: &Services, from: &Path) -> Result<FileList> {
    let blobs = &services.blobs;
    let from = &Folder::open_real(from).map_err(|error| folder::unreadable("read", from, &error))?;
    services.admit(measure(from)?)?;
    let mut found = Vec::new();
    let mut batch = blobs.batch();
    // Files may grow while they are read.
    let (mut left, mut unlooked) = (limits::SITE_BYTES_MAX, 0_u64);
    folder::walk(from, false, &mut |relative, _| {
        let opened = from.file(&relative);
        let file = opened.map_err(|error| folder::unreadable("read", &from.path().join(&relative), &error))?;
        let mut writer = blobs.writer()?;
        let mut written = Ok(());
        folder::pieces(file.take(left.saturating_add(1)), |piece| {
            unlooked += u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if unlooked >= limits::DISK_LOOK_BYTES && written.is_ok() {
                unlooked = 0;
                written = services.admit(limits::DISK_LOOK_BYTES);
            }
            if written.is_ok() {
                written = writer.write(piece).map_err(Error::from);
            }
        })?;
        written?;
        let (hash, size) = writer.finish(None, &mut batch).map_err(io::Error::from)?;
        left = left.checked_sub(size).ok_or_else(|| too_many_bytes(from))?;
        found.push((relative.into_os_string().into_encoded_bytes(), size, hash));
        if batch.len() >= BATCH {
            std::mem::replace(&mut batch, blobs.batch()).commit()?;
        }
        Ok(())
    })?;
    batch.commit()?;
    ingest::listed(found, false)
}
