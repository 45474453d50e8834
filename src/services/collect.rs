//! What goes: old deployments, uploads that were given up, and blobs that nothing names any more.
//!
//! Only our own blobs are ever removed: those in the blob store, older than a day, that no kept deployment's manifest or
//! list of files names. The live deployment and the one before it are never pruned.

use std::collections::HashSet;

use crate::{
    base::{
        blob_dir::{BlobDir, BlobError},
        hash::Sha256,
        limits,
    },
    domain::{
        Error, Result,
        access::{Actor, ServerScope, TenantScope},
        deployment::{DeploymentId, DeploymentRef, State},
        event::Event,
        file_list::FileList,
        node::Topic,
        site::{Site, SiteId},
        tenant::TenantId,
    },
    ports::db::{ReadTx, WriteTx},
    proof::manifest::Manifest,
    store,
};

use super::{Services, access, nodes::Hold};

/// Deployments looked at for each site in one round; the next round sees the rest.
const PRUNED_AT_ONCE: i64 = 500;
/// Unfinished deployments that are read at once to be ended.
const GIVEN_UP_AT_ONCE: i64 = 1_000;

/// What garbage collection frees, or would free.
#[derive(Clone, Debug, Default)]
pub struct Garbage {
    /// Each blob with its size, greatest first.
    pub blobs: Vec<(Sha256, u64)>,
    /// How many files the folder has, and their bytes, before anything was removed.
    pub stored: (usize, u64),
    /// Whether it was removed, or only found.
    pub removed: bool,
}

/// What may not go.
#[derive(Debug, Default)]
pub(super) struct Marks {
    hashes: HashSet<Sha256>,
    /// The lists that were read for it. SECURITY: a set of its own. That a hash is marked says nothing of what is below it:
    /// somebody may have the bytes of another's manifest as one of their files.
    walked: HashSet<(Sha256, bool)>,
}

impl Marks {
    pub(super) fn contains(&self, hash: &Sha256) -> bool {
        self.hashes.contains(hash)
    }
}

impl Garbage {
    /// Bytes of all of them.
    pub fn bytes(&self) -> u64 {
        self.blobs.iter().map(|(_, size)| size).sum()
    }
}

impl Services {
    /// Finds blobs that nothing names, and unless it is a `dry_run` removes them.
    pub async fn collect_garbage(&self, actor: &Actor, dry_run: bool) -> Result<Garbage> {
        Self::require_server(actor)?;
        let garbage = self.sweep(dry_run, None).await?;
        if !dry_run {
            let text = format!("removed {} unused blobs, {} bytes", garbage.blobs.len(), garbage.bytes());
            let event = Event::new("server.garbage_collected", "server", &self.instance, text);
            let (services, actor) = (self.clone(), actor.clone());
            self.db.write(move |tx| services.record(tx, &actor, &event)).await?;
        }
        Ok(garbage)
    }

    /// Mark and sweep, for the task, which has a `hold` of cleaning, and for people. A node that stood still and goes on removes
    /// nothing any more: what it has marked is old.
    pub async fn sweep(&self, dry_run: bool, hold: Option<Hold>) -> Result<Garbage> {
        let marks = self.mark_more(Marks::default()).await?;
        let before = self.clock.now_ms() - limits::BLOB_GRACE_MS;
        let (in_store, marks) = self.sweep_store(dry_run, before, marks, hold).await?;
        let blobs = self.blobs.clone();
        let listed = blobs.clone();
        let mut found = self.blocking(move || Ok(listed.list()?)).await?;
        let stored = (found.len(), found.iter().map(|(_, size, _)| size).sum());
        found.retain(|(hash, _, written_ms)| *written_ms < before && !marks.contains(hash));
        // What was begun since the first look pins its blobs: look again before anything goes.
        let marks = if found.is_empty() { marks } else { self.mark_more(marks).await? };
        found.retain(|(hash, ..)| !marks.contains(hash));
        let found = if dry_run {
            found
        } else {
            self.ask_hold(hold).await?;
            let services = self.clone();
            let may = move || services.believe_hold(hold.as_ref());
            self.blocking(move || remove_older(&blobs, found, before, may)).await?
        };
        let mut all: Vec<(Sha256, u64)> = found.iter().map(|(hash, size, _)| (*hash, *size)).collect();
        // What was in the store as well as in the folder before it is one blob.
        let here: HashSet<Sha256> = all.iter().map(|(hash, _)| *hash).collect();
        all.extend(in_store.into_iter().filter(|(hash, _)| !here.contains(hash)));
        all.sort_by_key(|(hash, size)| (std::cmp::Reverse(*size), *hash));
        Ok(Garbage { blobs: all, stored, removed: !dry_run })
    }

    /// Every hash that a kept deployment names.
    pub(super) async fn mark(&self) -> Result<HashSet<Sha256>> {
        Ok(self.mark_more(Marks::default()).await?.hashes)
    }

    /// As [`Services::mark`], beside what is marked already: only lists that were not read before are read.
    pub(super) async fn mark_more(&self, mut marks: Marks) -> Result<Marks> {
        let leave = access::server_scope();
        let roots = self.db.read(move |tx| store::deployments::list_roots(tx, leave)).await?;
        let blobs = self.blobs.clone();
        self.blocking(move || {
            for (manifest, wanted) in roots {
                for (root, is_manifest) in [(manifest, true), (wanted, false)] {
                    if let Some(root) = root
                        && marks.walked.insert((root, is_manifest))
                    {
                        marks.hashes.insert(root);
                        mark_below(&blobs, root, is_manifest, &mut marks.hashes)?;
                    }
                }
            }
            Ok(marks)
        })
        .await
    }

    /// Removes old deployments of every site, and ends uploads that were given up. How many went. `hold`: of cleaning.
    pub async fn prune(&self, hold: Option<Hold>) -> Result<u64> {
        let leave = access::server_scope();
        let sites = self.db.read(move |tx| store::sites::list_all(tx, leave)).await?;
        let now = self.clock.now_ms();
        let mut pruned = 0;
        for (tenant, site) in sites {
            let scope = access::task_scope(tenant);
            let id = site.id;
            // A read first: most sites have nothing to prune, and a write would wake the disk.
            let many = self.db.read(move |tx| Ok(list_prunable(tx, scope, id)?.len())).await?;
            if many > 0 {
                let services = self.clone();
                let gone = self.write_held(hold, move |tx| {
                    services.tell(tx, Topic::Routes)?;
                    services.changes_sites(tx, scope);
                    prune_site(tx, scope, id)
                });
                pruned += gone.await?;
            }
        }
        self.forget_effects(hold, now - limits::EFFECT_KEPT_MS).await?;
        let before = now - limits::UPLOAD_MS_MAX;
        let late =
            move |tx: &mut ReadTx<'_>, leave| store::deployments::list_unfinished(tx, leave, before, GIVEN_UP_AT_ONCE);
        self.give_up(hold, late, "It was not finished within a day.").await?;
        if self.node.shares {
            let orphaned = |tx: &mut ReadTx<'_>, leave| store::deployments::list_orphaned(tx, leave, GIVEN_UP_AT_ONCE);
            self.give_up(hold, orphaned, "The node that unpacked it is gone. Send it again.").await?;
        }
        Ok(pruned)
    }

    /// Forgets what jobs have done before `before_ms`.
    async fn forget_effects(&self, hold: Option<Hold>, before_ms: i64) -> Result<()> {
        let leave = access::server_scope();
        for tenant in self.db.read(move |tx| store::tenants::list(tx, leave)).await? {
            let scope = access::task_scope(tenant.id);
            if self.db.read(move |tx| store::effects::has_old(tx, scope, before_ms)).await? {
                self.write_held(hold, move |tx| store::effects::delete_old(tx, scope, before_ms)).await?;
            }
        }
        Ok(())
    }

    /// What was being unpacked when an earlier process ended cannot go on. `started_ms`: when this one began, or the largest number
    /// while it has accepted nothing.
    pub async fn fail_interrupted(&self, started_ms: i64) -> Result<()> {
        let why = "The server stopped while it was being unpacked. Send it again.";
        let mine = self.node_id();
        let list = move |tx: &mut ReadTx<'_>, leave| {
            store::deployments::list_interrupted(tx, leave, mine, started_ms, GIVEN_UP_AT_ONCE)
        };
        self.give_up(None, list, why).await
    }

    async fn give_up(
        &self,
        hold: Option<Hold>,
        list: impl Fn(&mut ReadTx<'_>, ServerScope) -> Result<Vec<(TenantId, SiteId, DeploymentId)>> + Copy + Send + 'static,
        why: &'static str,
    ) -> Result<()> {
        let leave = access::server_scope();
        let now = self.clock.now_ms();
        loop {
            let open = self.db.read(move |tx| list(tx, leave)).await?;
            if open.is_empty() {
                return Ok(());
            }
            for (tenant, site, id) in open {
                let scope = access::task_scope(tenant);
                let services = self.clone();
                let ended = self.write_held(hold, move |tx| {
                    if !store::deployments::fail(tx, scope, site, id, (why, now))? {
                        return Ok(());
                    }
                    // Whoever waits for it, or looks at it, sees its end.
                    services.changes_sites(tx, scope);
                    store::deployments::append_line(tx, scope, id, (why, now))?;
                    store::uploads::delete(tx, scope, id)
                });
                ended.await?;
            }
        }
    }
}

/// SECURITY: a manifest that cannot be read stops the collection: what it names is unknown, and must not go.
fn mark_below(blobs: &BlobDir, root: Sha256, is_manifest: bool, marked: &mut HashSet<Sha256>) -> Result<()> {
    let bytes = blobs.read_verified(&root).map_err(|error| match error {
        BlobError::Away(_) => Error::from(error),
        _ => Error::internal(format!("garbage collection stops: the list {root} cannot be read: {error}")),
    })?;
    if is_manifest {
        marked.extend(Manifest::parse(&bytes)?.entries().iter().map(|it| it.sha256));
    } else {
        marked.extend(FileList::from_bytes(&bytes)?.hashes());
    }
    Ok(())
}

/// Removes these blobs, while it may, but for those that somebody has put again meanwhile; which were removed.
fn remove_older(
    blobs: &BlobDir,
    mut found: Vec<(Sha256, u64, i64)>,
    before_ms: i64,
    may: impl Fn() -> Result<()>,
) -> Result<Vec<(Sha256, u64, i64)>> {
    let mut failed = Ok(());
    found.retain(|(hash, ..)| {
        failed.is_ok()
            && may().and_then(|()| Ok(blobs.remove_older(hash, before_ms)?)).unwrap_or_else(|error| {
                failed = Err(error);
                false
            })
    });
    failed?;
    Ok(found)
}

/// The deployments of a site that are not kept any more. Complete and failed ones are counted apart: what failed must not
/// push out what can be gone back to.
fn list_prunable(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId) -> Result<Vec<DeploymentId>> {
    let Some(site) = store::sites::find_by_id(tx, scope, site)? else { return Ok(Vec::new()) };
    let all = store::deployments::list(tx, scope, site.id, i64::MAX, PRUNED_AT_ONCE)?;
    let kept = usize::try_from(limits::DEPLOYMENTS_KEPT).unwrap_or(usize::MAX);
    let ids = |complete: bool| all.iter().filter(move |it| it.state.is_complete() == complete);
    let failed = ids(false).filter(|it| !matches!(it.state, State::Uploading | State::Checking));
    let over: Vec<DeploymentId> = ids(true).skip(kept).chain(failed.skip(kept)).map(|it| it.id).collect();
    if over.is_empty() {
        return Ok(over);
    }
    let before = find_shown_before(tx, scope, &site)?;
    Ok(over.into_iter().filter(|it| site.live != Some(*it) && before != Some(*it)).collect())
}

/// The kept deployment that was live before the present one.
fn find_shown_before(tx: &mut ReadTx<'_>, scope: TenantScope, site: &Site) -> Result<Option<DeploymentId>> {
    let history = store::publications::list(tx, scope, site.id, 50)?;
    for id in history.into_iter().filter_map(|it| it.deployment).filter(|it| Some(*it) != site.live) {
        if store::deployments::find(tx, scope, site.id, DeploymentRef::Id(id))?.is_some() {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn prune_site(tx: &mut WriteTx<'_>, scope: TenantScope, site: SiteId) -> Result<u64> {
    let over = list_prunable(tx, scope, site)?;
    for id in &over {
        store::deployments::delete(tx, scope, site, *id)?;
    }
    Ok(u64::try_from(over.len()).unwrap_or(u64::MAX))
}
