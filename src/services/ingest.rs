//! Deploying from an archive, and from files that are in the blob store already.
//!
//! An archive is received whole before a deployment begins: what breaks off leaves nothing behind. Unpacking runs beside
//! the call, which answers at once with the deployment to look at.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use crate::{
    base::{files, hash::Sha256, limits, random, retry::Backoff},
    domain::{
        Error, Kind, Result,
        access::{Actor, Right},
        deployment::{Deployment, DeploymentId, DeploymentRef, State},
        file_list::{FileList, ListedFile},
        site::SiteName,
    },
    store,
};

use super::{
    Services, archive,
    nodes::Hold,
    places,
    uploads::{Pieces, Request},
};

/// The folder for archives that are being received, in the data folder. Emptied at start.
const FOLDER: &str = "archives";
/// Pause while the database cannot be written.
const PAUSE: Backoff = Backoff::Exponential(500);

impl Services {
    /// Takes an archive in and begins to unpack it. `media_type` is what the sender calls it; its first bytes decide.
    pub async fn receive_archive(
        &self,
        actor: &Actor,
        name: &SiteName,
        media_type: &str,
        request: Request,
        pieces: Pieces,
    ) -> Result<Deployment> {
        actor.require(Right::Deploy)?;
        request.check()?;
        let site = self.get_site(actor, name).await?.site;
        if let Some(key) = request.idempotency_key.clone() {
            let (scope, id) = (actor.scope, site.id);
            let known = self.db.read(move |tx| store::deployments::find_by_key(tx, scope, id, &key)).await?;
            if let Some(known) = known {
                return Ok(known);
            }
        }
        let place = self.take_place(actor)?;
        // Received and unpacked at the same time, at least once each.
        self.admit(0)?;
        let received = self.receive(pieces).await?;
        let media_type = media_type.to_owned();
        let (received, kind) = self
            .blocking(move || {
                let mut file = fs::File::open(&received.0)?;
                let kind = archive::Kind::of(Some(&media_type), &mut file)?;
                Ok((received, kind))
            })
            .await?;
        let (services, acting, wish) = (self.clone(), actor.clone(), request.clone());
        let begun = self.db.write(move |tx| {
            let site = store::sites::find_by_id(tx, acting.scope, site.id)?.ok_or_else(|| Error::not_found("site"))?;
            super::publish::check_live(tx, acting.scope, &site, wish.if_live)?;
            services.begin(tx, &acting, &site, State::Checking, &wish, None, (0, 0))
        });
        let begun = begun.await?;
        let (services, actor, name, id) = (self.clone(), actor.clone(), name.clone(), begun.id);
        self.tasks.spawn(async move {
            let unpacked = services.unpack(received, kind, request.allow_env).await;
            drop(place);
            let ended = match unpacked {
                Ok(list) => services.complete_or_fail(&actor, &name, (id, None), list).await.map(|_| ()),
                Err(error) => services.fail_surely(&actor, &name, id, &error).await,
            };
            if let Err(error) = ended {
                tracing::warn!(%error, deployment = %id, "a deployment did not end well");
            }
        });
        Ok(begun)
    }

    /// As [`Services::complete`], for files that nobody sends again: whatever goes wrong fails the deployment.
    async fn complete_or_fail(
        &self,
        actor: &Actor,
        name: &SiteName,
        (id, hold): (DeploymentId, Option<Hold>),
        list: FileList,
    ) -> Result<Deployment> {
        let done = self.complete(actor, name, (id, hold), list).await;
        if let Err(error) = &done {
            // One that is complete, and was only not published, stays so.
            self.fail_surely(actor, name, id, error).await?;
        }
        done
    }

    /// As [`Services::fail`], again and again while the database cannot be written: nobody else would end the deployment.
    async fn fail_surely(&self, actor: &Actor, name: &SiteName, id: DeploymentId, why: &Error) -> Result<()> {
        let mut failures = 0;
        loop {
            match self.fail(actor, name, id, why).await {
                Err(error) if error.kind == Kind::Unavailable => failures += 1,
                ended => return ended,
            }
            tokio::select! {
                () = tokio::time::sleep(PAUSE.ceiling(failures)) => {}
                // The next start does it.
                () = self.tasks.stopping() => return Ok(()),
            }
        }
    }

    async fn unpack(&self, received: Received, kind: archive::Kind, allow_env: bool) -> Result<FileList> {
        let services = self.clone();
        self.blocking(move || {
            let file = io::BufReader::new(fs::File::open(&received.0)?);
            let (stop, admit) = (|| services.tasks.is_stopping(), |bytes| services.admit(bytes));
            let watch = archive::Watch { cancelled: &stop, admit: &admit };
            listed(archive::unpack(kind, file, &services.blobs, allow_env, watch)?, allow_env)
        })
        .await
    }

    /// Writes an archive down as it comes, in short steps: a client that stands still holds no thread.
    async fn receive(&self, mut pieces: Pieces) -> Result<Received> {
        let received = Received(self.data.join(FOLDER).join(random::label::<15>()));
        let path = received.0.clone();
        let open = move || Ok(OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?);
        let mut file = self.blocking(open).await?;
        let (mut size, mut looked) = (0_u64, 0_u64);
        loop {
            let (step, more) = places::next(&mut pieces).await;
            let more = more?;
            size += step.iter().map(|it| u64::try_from(it.len()).unwrap_or(u64::MAX)).sum::<u64>();
            if size > limits::ARCHIVE_BYTES_MAX {
                let text = format!("The archive has more than {} bytes.", limits::ARCHIVE_BYTES_MAX);
                return Err(Error::too_large("archive_size", text));
            }
            let look = size - looked >= limits::DISK_LOOK_BYTES;
            if look {
                looked = size;
            }
            let services = self.clone();
            let written = self.blocking(move || {
                if look {
                    services.admit(limits::DISK_LOOK_BYTES)?;
                }
                step.iter().try_for_each(|piece| file.write_all(piece))?;
                Ok(file)
            });
            file = written.await?;
            if !more {
                break;
            }
        }
        if size == 0 {
            let text = "The body is empty. Send a zip, tar.gz or tar.zst archive.";
            return Err(Error::invalid("archive_empty", text));
        }
        Ok(received)
    }

    /// Deploys a list of files whose blobs are in the store already. `hold`: of the task that does it, if only one node may.
    pub async fn deploy_list(
        &self,
        actor: &Actor,
        name: &SiteName,
        list: FileList,
        request: Request,
        hold: Option<Hold>,
    ) -> Result<Deployment> {
        actor.require(Right::Deploy)?;
        request.check()?;
        let (services, acting, of) = (self.clone(), actor.clone(), name.clone());
        let counts = (list.files().len(), list.total_bytes());
        let begun = self.write_held(hold, move |tx| {
            let site = store::sites::find(tx, acting.scope, &of)?.ok_or_else(|| Error::not_found("site"))?;
            services.check_quota(tx, acting.scope, counts.1, 0)?;
            services.begin(tx, &acting, &site, State::Checking, &request, None, counts)
        });
        let begun = begun.await?;
        self.complete_or_fail(actor, name, (begun.id, hold), list).await
    }

    /// The list of files that the live deployment was made from, if there is one.
    pub async fn find_live_list(&self, actor: &Actor, name: &SiteName) -> Result<Option<FileList>> {
        let scope = actor.require(Right::Read)?;
        let view = self.get_site(actor, name).await?;
        let Some(live) = view.site.live else { return Ok(None) };
        let site = view.site.id;
        let wish = self.db.read(move |tx| store::deployments::find_wish(tx, scope, site, live)).await?;
        let Some(wanted) = wish.and_then(|it| it.wanted) else { return Ok(None) };
        let blobs = self.blobs.clone();
        let list = self.blocking(move || FileList::from_bytes(&blobs.read_verified(&wanted)?));
        list.await.map(Some)
    }

    /// Waits until a deployment has ended, well or badly.
    pub async fn wait_deployment(&self, actor: &Actor, name: &SiteName, of: DeploymentRef) -> Result<Deployment> {
        let mut changed = self.signals().changed.subscribe();
        loop {
            changed.borrow_and_update();
            let found = self.get_deployment(actor, name, of).await?.deployment;
            if !matches!(found.state, State::Uploading | State::Checking) {
                return Ok(found);
            }
            changed.changed().await.map_err(Error::internal)?;
        }
    }

    /// At start: removes what was being received when the process ended.
    pub fn sweep_archives(&self) -> Result<()> {
        let folder = self.data.join(FOLDER);
        files::private_folder(&folder)?;
        for left in fs::read_dir(folder)? {
            let left = left?;
            if random::is_label::<15>(left.file_name().as_encoded_bytes()) {
                fs::remove_file(left.path())?;
            }
        }
        Ok(())
    }
}

/// What came out of an archive or a folder, as a checked list.
pub fn listed(found: Vec<(Vec<u8>, u64, Sha256)>, allow_env: bool) -> Result<FileList> {
    let files = found
        .into_iter()
        .map(|(path, size, sha256)| {
            let path = String::from_utf8(path).map_err(|error| {
                let shown = String::from_utf8_lossy(error.as_bytes()).escape_debug().to_string();
                Error::invalid("path_not_utf8", format!("The name `{shown}` is not UTF-8. Rename the file."))
                    .on("files")
            })?;
            Ok(ListedFile { path, size, sha256 })
        })
        .collect::<Result<_>>()?;
    FileList::new(files, allow_env)
}

/// A received file that goes when nobody needs it any more.
struct Received(PathBuf);

impl Drop for Received {
    fn drop(&mut self) {
        // What stays is swept at the next start.
        drop(fs::remove_file(&self.0));
    }
}
