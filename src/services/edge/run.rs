//! The job that purges caches: what it means, as of when it runs, and the calls that do it.
//!
//! Idempotent: whatever breaks off is made again from its beginning. Several publications in a row are purged together by the first job that
//! runs; the others find that done.

use super::{Purge, Services, changes::Changes, is_at_edge, scope_of};
use crate::{
    base::{
        blob_dir::{BlobDir, BlobError},
        hash::Sha256,
    },
    domain::{
        Error, Result,
        acme::records::Trouble,
        edge::{self, Batch, What, own_tag, path_tag},
        site::SiteId,
        tenant::TenantId,
    },
    ports::{db::ReadTx, edge::Call},
    proof::manifest::Manifest,
    store,
};

/// Publications that are compared one by one; after more, all of the site is purged.
const STEPS_MAX: usize = 10;
/// Files or addresses that are purged one by one: what one call takes. All hostnames of a site are one call too.
const NAMED_MAX: usize = edge::CALL_MAX;
/// How old a publication is at least that a job of an earlier one purges too where several nodes serve: all of them serve it by then,
/// also when their clocks differ.
const SETTLED_MS: i64 = 10_000;

/// Why a provider did not purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// For people.
    pub text: String,
    /// What went wrong.
    pub trouble: Trouble,
}

/// Publications, from the one before what is purged to the last one that is, with their manifests.
struct Steps {
    manifests: Vec<Option<Sha256>>,
    through: i64,
    /// Whether answers have tags.
    tagged: bool,
}

/// What is purged.
struct Plan {
    batches: Vec<Batch>,
    /// Up to which publication.
    through: Option<i64>,
}

impl Services {
    /// Purges caches as a job says.
    pub async fn purge_edge(&self, tenant: TenantId, purge: &Purge) -> Result<Option<Failed>> {
        // What is planned is of now; then visitors are served by it, and only then it is purged.
        let Some(plan) = self.plan_purge(tenant, purge).await? else { return Ok(None) };
        self.settled().await;
        let Some(edge) = &self.edge else {
            let text = "The settings of this node have no [[edge]], so that nothing was purged. Give all nodes the same settings, restart \
                        this one, and run the job again.";
            return Ok(Some(Failed { text: text.to_owned(), trouble: Trouble::NoZone }));
        };
        let mut failed = None;
        // What one provider does not do keeps no other from it; what may pass is told first, since the job goes on then.
        for entry in &edge.entries {
            let is_here = |host: &str| edge.zone(host) == Some(entry.zone.as_str());
            let batches = plan.batches.iter().map(|it| within(it, &purge.hosts, &is_here));
            for batch in batches.flat_map(Batch::split) {
                let call =
                    Call { zone: entry.zone.clone(), batch, site: purge.name.clone(), now_ms: self.clock.now_ms() };
                if let Err(trouble) = edge.engine.purge(&entry.access, &call).await {
                    tracing::warn!(zone = entry.zone, site = purge.name, ?trouble, "caches were not purged");
                    if failed.as_ref().is_none_or(|it: &Failed| !edge::may_pass(&it.trouble)) {
                        let text = edge::explain(entry.access.provider, &entry.zone, &trouble);
                        failed = Some(Failed { text, trouble });
                    }
                    break;
                }
            }
        }
        if let (None, Some(host)) = (&failed, purge.hosts.iter().find(|it| edge.zone(it).is_none())) {
            let text = format!(
                "This node has no [[edge]] with the zone of {host}, or could not read its token, so that its caches were not purged. Give all \
                 nodes the same settings, restart this one, and run the job again."
            );
            failed = Some(Failed { text, trouble: Trouble::NoZone });
        }
        if let (None, Some(through)) = (&failed, plan.through) {
            edge.did(purge.site, through, &purge.hosts);
        }
        Ok(failed)
    }

    /// What a job means; `None`: another one has done it.
    async fn plan_purge(&self, tenant: TenantId, purge: &Purge) -> Result<Option<Plan>> {
        let all = || Plan { batches: vec![Batch::Hosts(purge.hosts.clone())], through: None };
        let (from, to) = match &purge.what {
            What::All => return Ok(Some(all())),
            What::Named { urls, tags } => {
                let urls = urls.iter().flat_map(|it| whole(it, &purge.hosts)).collect();
                let tags = tags.iter().map(|it| own_tag(purge.site, it)).collect();
                return Ok(Some(Plan { batches: vec![Batch::Urls(urls), Batch::Tags(tags)], through: None }));
            }
            What::Changed { from, to } => (*from, *to),
        };
        if self.edge.as_ref().is_some_and(|it| it.has_done(purge.site, to, &purge.hosts)) {
            return Ok(None);
        }
        let (site, now) = (purge.site, self.clock.now_ms());
        let before_ms = if self.node.shares { now.saturating_sub(SETTLED_MS) } else { i64::MAX };
        let Some(steps) = self.db.read(move |tx| steps(tx, tenant, site, (from, to), before_ms)).await? else {
            return Ok(Some(all()));
        };
        let through = Some(steps.through);
        let (blobs, tagged) = (self.blobs.clone(), steps.tagged);
        let Some(changes) = self.blocking(move || changes(&blobs, &steps.manifests)).await? else {
            return Ok(Some(Plan { through, ..all() }));
        };
        let urls: Vec<String> = changes.paths.iter().flat_map(|it| whole(it, &purge.hosts)).collect();
        let tags: Vec<String> = changes.files.iter().map(|it| path_tag(site, it)).collect();
        if urls.len() > NAMED_MAX || tags.len() > NAMED_MAX {
            return Ok(Some(Plan { through, ..all() }));
        }
        // By address too: an answer whose file says itself what caches do has no tag of ours.
        let mut batches = vec![Batch::Urls(urls)];
        if tagged {
            batches.insert(0, Batch::Tags(tags));
        }
        Ok(Some(Plan { batches, through }))
    }
}

/// The publications that a job is about; `None`: they cannot be compared.
fn steps(
    tx: &mut ReadTx<'_>,
    tenant: TenantId,
    site: SiteId,
    (from, to): (i64, i64),
    before_ms: i64,
) -> Result<Option<Steps>> {
    let scope = scope_of(tenant);
    let Some(found) = store::sites::find_by_id(tx, scope, site)? else { return Ok(None) };
    let limit = i64::try_from(2 * STEPS_MAX).map_err(Error::internal)?;
    let mut rows = store::publications::list(tx, scope, site, limit)?;
    rows.reverse();
    rows.retain(|it| it.seq >= from && (it.seq <= to || it.created_ms <= before_ms));
    let (first, last) = (rows.first().map(|it| it.seq), rows.last().map(|it| it.seq));
    let Some(through) = last.filter(|it| first == Some(from) && *it >= to && rows.len() <= STEPS_MAX) else {
        return Ok(None);
    };
    let tagged = is_at_edge(tx, scope, &found)?;
    Ok(Some(Steps { manifests: rows.into_iter().map(|it| it.manifest).collect(), through, tagged }))
}

/// What the steps have changed together; `None`: that cannot be said file by file.
fn changes(blobs: &BlobDir, manifests: &[Option<Sha256>]) -> Result<Option<Changes>> {
    let mut read = Vec::with_capacity(manifests.len());
    for hash in manifests {
        let Some(hash) = hash else { return Ok(None) };
        match blobs.read_verified(hash) {
            Ok(bytes) => read.push(Manifest::parse(&bytes)?),
            // Removed meanwhile, or damaged: what it was is not known any more.
            Err(BlobError::Missing | BlobError::Corrupt) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
    let mut changes = Changes::default();
    let mut pairs = read.iter().zip(read.iter().skip(1));
    Ok(pairs.all(|(old, new)| changes.add(old, new)).then_some(changes))
}

/// The whole addresses that a path has: providers know a file by scheme and host too.
fn whole(url: &str, hosts: &[String]) -> Vec<String> {
    if !url.starts_with('/') {
        return vec![url.to_owned()];
    }
    let of = |host: &String| ["https", "http"].map(|scheme| format!("{scheme}://{host}{url}"));
    hosts.iter().flat_map(of).collect()
}

/// What of a batch is in a zone.
fn within(batch: &Batch, hosts: &[String], is_here: &impl Fn(&str) -> bool) -> Batch {
    let host_of = |url: &str| url.split('/').nth(2).unwrap_or_default().to_ascii_lowercase();
    match batch {
        Batch::Hosts(all) => Batch::Hosts(all.iter().filter(|it| is_here(it)).cloned().collect()),
        Batch::Urls(all) => Batch::Urls(all.iter().filter(|it| is_here(&host_of(it))).cloned().collect()),
        Batch::Tags(all) if hosts.iter().any(|it| is_here(it)) => Batch::Tags(all.clone()),
        Batch::Tags(_) => Batch::Tags(Vec::new()),
    }
}
