//! The common end of every way to deploy: files are there, so make the manifest, keep it, publish it.

use std::sync::Arc;

use crate::{
    base::{
        blob_dir::BlobDir,
        hash::Sha256,
        units::{ByteSize, thousands},
    },
    domain::{
        Error, Kind, Result,
        access::Actor,
        deployment::{Deployment, DeploymentId, DeploymentRef, State},
        event::Event,
        file_list::FileList,
        site::{SiteId, SiteName},
    },
    ports::db::WriteTx,
    proof::{build, manifest::Manifest, site_tree},
    store::{self, deployments::Wish},
};

use super::{
    Services,
    doctor::Outside,
    nodes::Hold,
    publish::{Move, check_publish},
    rules,
};

/// What the blobs and the list became.
struct Made {
    manifest: Sha256,
    root: [u8; 32],
    wanted: Sha256,
    files: i64,
    bytes: i64,
    changed: i64,
    /// What people should know of its rules.
    notes: Vec<String>,
}

impl Services {
    /// Makes deployment `id` complete from `list`, whose blobs are all there, and publishes it if that was asked for.
    /// Files that cannot be a site fail the deployment, and the site stays as it is. When a part of the server is away, the
    /// deployment stays open, and the caller decides whether anybody will finish it. `hold`: of the task that deploys, if only one
    /// node may.
    pub(super) async fn complete(
        &self,
        actor: &Actor,
        name: &SiteName,
        (id, hold): (DeploymentId, Option<Hold>),
        list: FileList,
    ) -> Result<Deployment> {
        let (scope, of) = (actor.scope, name.clone());
        let (site, wish, live) = self
            .db
            .read(move |tx| {
                let site = store::sites::find(tx, scope, &of)?.ok_or_else(|| Error::not_found("site"))?;
                let wish = store::deployments::find_wish(tx, scope, site.id, id)?
                    .ok_or_else(|| Error::not_found("deployment"))?;
                let live = match site.live {
                    Some(live) => store::deployments::find(tx, scope, site.id, DeploymentRef::Id(live))?,
                    None => None,
                };
                Ok((site, wish, live.and_then(|it| it.manifest)))
            })
            .await?;
        let (blobs, allow_env, outside) = (self.blobs.clone(), wish.allow_env, self.outside.clone());
        let mut needs: Vec<(Sha256, u64)> = list.files().iter().map(|it| (it.sha256, it.size)).collect();
        let made = self.blocking(move || make(&blobs, &list, (allow_env, live), &outside)).await;
        let made = match made {
            Ok(made) => made,
            // A full disk is not the sender's fault: with space again, the same call goes on.
            Err(error) if error.kind == Kind::Unavailable => return Err(error),
            Err(error) => {
                self.fail(actor, name, id, &error).await?;
                return Err(error);
            }
        };
        let own = [made.manifest, made.wanted].map(|it| (it, self.blobs.size(&it).unwrap_or(0)));
        if wish.wanted != Some(made.wanted) {
            self.pin(scope, (site.id, id), own[1], hold).await?;
        }
        needs.sort_unstable();
        needs.dedup();
        self.keep_files(scope, site.id, &needs).await?;
        let (made, wish) = (Arc::new(made), Arc::new(wish));
        let written = self
            .fenced(|fence| {
                let (services, acting, site_id) = (self.clone(), actor.clone(), site.id);
                let (made, wish) = (Arc::clone(&made), Arc::clone(&wish));
                async move {
                    services.keep_blobs(own.to_vec()).await?;
                    let keeping = services.clone();
                    let keep = move |tx: &mut WriteTx<'_>| {
                        if let Some(fence) = fence {
                            fence.check(tx)?;
                        }
                        keeping.keep(tx, &acting, site_id, id, &made, &wish)
                    };
                    services.write_held(hold, keep).await
                }
            })
            .await;
        let (deployment, published) = match written {
            Ok(written) => written,
            Err(error) if error.code == "quota" => {
                self.fail(actor, name, id, &error).await?;
                return Err(error);
            }
            Err(error) => return Err(error),
        };
        self.shown(scope).await;
        published.map(|()| deployment)
    }

    /// The transaction of [`Services::complete`]: what the deployment is now, and why it was not published if it was to be.
    fn keep(
        &self,
        tx: &mut WriteTx<'_>,
        actor: &Actor,
        site: SiteId,
        id: DeploymentId,
        made: &Made,
        wish: &Wish,
    ) -> Result<(Deployment, Result<()>)> {
        let scope = actor.scope;
        let site = store::sites::find_by_id(tx, scope, site)?.ok_or_else(|| Error::not_found("site"))?;
        let found = store::deployments::find(tx, scope, site.id, DeploymentRef::Id(id))?
            .ok_or_else(|| Error::not_found("deployment"))?;
        if found.state.is_complete() {
            // Finished twice at once: the first one counts.
            return Ok((found, Ok(())));
        }
        if !matches!(found.state, State::Uploading | State::Checking) {
            // Given up meanwhile: its blobs are nobody's any more.
            let text = format!("Deployment {} is {} and takes no more files.", found.number, found.state.word());
            return Err(Error::conflict("not_uploading", text));
        }
        let now = self.clock.now_ms();
        let (bytes, counted) = (u64::try_from(made.bytes).unwrap_or(0), u64::try_from(found.bytes).unwrap_or(0));
        self.check_quota(tx, scope, bytes, counted)?;
        let done = Deployment {
            state: State::Ready,
            finished_ms: Some(now),
            manifest: Some(made.manifest),
            root: Some(made.root),
            files: made.files,
            bytes: made.bytes,
            files_changed: Some(made.changed),
            ..found
        };
        self.changes_routes(tx, scope)?;
        store::deployments::complete(tx, scope, site.id, &done, made.wanted)?;
        store::uploads::delete(tx, scope, id)?;
        store::deployments::append_line(tx, scope, id, (&summary(&done), now))?;
        for note in &made.notes {
            store::deployments::append_line(tx, scope, id, (note, now))?;
        }
        if !wish.publish {
            let text = format!("sent {} {} without publishing it", site.name, done.number);
            self.record(tx, actor, &Event::new("deployment.created", "site", &site.name, text))?;
            return Ok((done, Ok(())));
        }
        if let Err(refused) = check_publish(tx, scope, &site, wish.if_live) {
            store::deployments::append_line(tx, scope, id, (&refused.message, now))?;
            return Ok((done, Err(refused)));
        }
        self.move_live(tx, actor, &site, Some(&done), Move::Deploy)?;
        Ok((Deployment { state: State::Live, ..done }, Ok(())))
    }

    /// Ends a deployment badly and keeps the reason for people.
    pub(super) async fn fail(&self, actor: &Actor, name: &SiteName, id: DeploymentId, why: &Error) -> Result<()> {
        // What the sender cannot mend is not theirs to read: the log has it.
        let text = why.message.clone();
        if why.kind == Kind::Internal {
            tracing::error!(error = %why, deployment = %id, "a deployment failed");
        }
        let (scope, services, actor, name) = (actor.scope, self.clone(), actor.clone(), name.clone());
        self.db
            .write(move |tx| {
                let Some(site) = store::sites::find(tx, scope, &name)? else { return Ok(()) };
                let now = services.clock.now_ms();
                if !store::deployments::fail(tx, scope, site.id, id, (&text, now))? {
                    // Another call has finished it meanwhile.
                    return Ok(());
                }
                services.changes_sites(tx, scope);
                store::uploads::delete(tx, scope, id)?;
                let line = format!("Failed: {text}");
                store::deployments::append_line(tx, scope, id, (&line, now))?;
                let text = format!("a deployment of {} failed", site.name);
                services.record(tx, &actor, &Event::new("deployment.failed", "site", &site.name, text))
            })
            .await
    }
}

fn make(
    blobs: &BlobDir,
    list: &FileList,
    (allow_env, live): (bool, Option<Sha256>),
    outside: &Outside,
) -> Result<Made> {
    let files: Vec<build::Found> =
        list.files().iter().map(|it| (it.path.clone().into_bytes(), it.size, it.sha256)).collect();
    let read = |_: &[u8], hash: &Sha256| blobs.read_verified(hash).map_err(Error::from);
    let manifest = build::manifest(&files, allow_env, read)?;
    rules::check_passed_on(&manifest, &|address| outside.dns.admit(address).is_ok())?;
    let before = live.and_then(|it| blobs.read_verified(&it).ok()).and_then(|it| Manifest::parse(&it).ok());
    let changed = manifest.entries().iter().filter(|entry| {
        let same = before.as_ref().and_then(|it| it.find(entry.path.as_str()));
        same.is_none_or(|it| it.sha256 != entry.sha256)
    });
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let root = site_tree::site_root(&manifest);
    let mut batch = blobs.batch();
    let mut hashes = Vec::new();
    for bytes in [manifest.to_bytes(), list.to_bytes()?] {
        let mut writer = blobs.writer()?;
        writer.write(&bytes)?;
        hashes.push(writer.finish(None, &mut batch).map_err(std::io::Error::from)?.0);
    }
    let [manifest_hash, wanted] = hashes.try_into().map_err(|_| Error::internal("two blobs were not two"))?;
    batch.commit()?;
    Ok(Made {
        manifest: manifest_hash,
        root,
        wanted,
        files: count(manifest.entries().len()),
        bytes: i64::try_from(manifest.total_bytes()).unwrap_or(i64::MAX),
        changed: count(changed.count()),
        notes: rules::notes(&manifest, &outside.countries),
    })
}

fn summary(of: &Deployment) -> String {
    let number = |it: i64| thousands(u64::try_from(it).unwrap_or(0));
    let size = ByteSize(u64::try_from(of.bytes).unwrap_or(0));
    let changed = of.files_changed.map_or_else(String::new, |it| format!(", {} new or changed", number(it)));
    let files = if of.files == 1 { "file" } else { "files" };
    format!("Checked {} {files}, {size}{changed}.", number(of.files))
}
