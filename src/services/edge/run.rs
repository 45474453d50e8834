//! The job that purges caches: what it means, as of when it runs, and the calls that do it.
//!
//! Idempotent: whatever breaks off is made again from its beginning. Several publications in a row are purged together by the first job that
//! runs; the others find that done.

use super::{
    Edge, Purge, Services,
    changes::Changes,
    is_at_edge,
    known::{self, Begun},
    people::{unknown, unproved},
    scope_of,
    served::Served,
    works::{Ready, Work},
};
use crate::{
    base::{
        blob_dir::{BlobDir, BlobError},
        hash::Sha256,
    },
    domain::{
        Error, Result,
        acme::records::Trouble,
        edge::{self, Batch, What, own_tag, path_tag},
        job::JobId,
        site::SiteId,
        tenant::TenantId,
    },
    ports::{db::ReadTx, edge::Call},
    proof::manifest::Manifest,
    store,
};

/// Publications that are compared one by one; after more, all of the site is purged.
const STEPS_MAX: usize = 10;
/// Files or addresses that are purged one by one after a publish: what one call takes. All hostnames of a site are one call too.
const NAMED_MAX: usize = edge::CALL_MAX;
/// Addresses that are purged one by one because somebody has named them, on each hostname: what five calls take, of which the free plan of
/// Cloudflare has as many in a minute. Beyond that, their hostnames are purged as a whole, which is one.
const ADDRESSES_MAX: usize = 5 * edge::CALL_MAX;
/// Calls that are made for one tenant in ten minutes: all tenants share what a provider takes of the operator.
const CALLS_MAX: u32 = 120;
const CALLS_WINDOW_MS: i64 = 10 * 60_000;
/// How old a publication is at least that a job of an earlier one purges too where several nodes serve: all of them serve it by then,
/// also when their clocks differ.
const SETTLED_MS: i64 = 10_000;
/// For so long a plan waits until visitors are served by it, before it is made anew.
const READY_MS: i64 = 15 * 60_000;
/// After so long without a pass here people are told.
const STUCK_MS: i64 = 120_000;
/// For so long a job that this node has no cache for is left to others.
const ELSEWHERE_MAX_MS: i64 = 10 * 60_000;

/// A job that runs.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Its id.
    pub id: JobId,
    /// Whose it is.
    pub tenant: TenantId,
    /// When it was asked for.
    pub created_ms: i64,
    /// What it is to do.
    pub purge: &'a Purge,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Caches were purged, by this job or by another one.
    Done,
    /// Visitors are not served yet by what it is for: nothing was purged.
    Early,
    /// A part of it was done; the next one can begin at once.
    More,
    /// This node does not know the caches, and another one may.
    Elsewhere,
    /// They were not purged, or not all of them.
    Failed(Failed),
}

/// Why a provider did not purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// For people.
    pub text: String,
    /// What went wrong.
    pub trouble: Trouble,
    /// For how long the job is tried by now, milliseconds; the time for which its queue stood still is not counted.
    pub tried_ms: i64,
}

impl Failed {
    const fn new(text: String, trouble: Trouble) -> Self {
        Self { text, trouble, tried_ms: 0 }
    }
}

/// Publications, from the one before what is purged to the last one that is, with their manifests.
struct Steps {
    manifests: Vec<Option<Sha256>>,
    through: i64,
    /// Whether answers have tags.
    tagged: bool,
}

/// What is purged.
#[derive(Debug)]
pub(super) struct Plan {
    batches: Vec<Batch>,
    /// What was changed by these publications; `None`: it is not about publications, or not known which.
    steps: Option<known::Publications>,
}

impl Plan {
    /// Whether all of the site is.
    fn is_whole(&self) -> bool {
        self.batches.iter().all(|it| matches!(it, Batch::Hosts(_)))
    }
}

impl Services {
    /// Purges caches as a job says.
    pub async fn purge_edge(&self, run: &Run<'_>) -> Result<Ended> {
        let mut work = self.works().take(run.id, self.clock.now_ms());
        let mut ended = self.go_on(run, &mut work).await;
        if let Ok(Ended::Failed(failed)) = &mut ended {
            failed.tried_ms = work.tried_ms;
        }
        let is_over = match &ended {
            Ok(Ended::Done) => true,
            Ok(Ended::Failed(failed)) => !edge::may_pass(&failed.trouble),
            _ => false,
        };
        if !is_over {
            self.works().keep(run.id, work);
        }
        ended
    }

    async fn go_on(&self, run: &Run<'_>, work: &mut Work) -> Result<Ended> {
        let (purge, age_ms) = (run.purge, self.clock.now_ms().saturating_sub(run.created_ms));
        let Some(edge) = &self.edge else { return self.elsewhere(work.alone_ms, purge.hosts.first()).await };
        let is_open = |host: &String| !edge.known.has_done(run, host);
        if !purge.hosts.iter().any(is_open) {
            return Ok(Ended::Done);
        }
        let (services, tenant, of) = (self.clone(), run.tenant, purge.clone());
        let kept = self.db.read(move |tx| services.kept_hosts(tx, tenant, &of)).await?;
        let hosts: Vec<String> = kept.iter().filter(|it| is_open(it)).cloned().collect();
        work.leave(&kept, &hosts);
        // First: a zone that this node has would be purged once more with each look of theirs.
        let missing = hosts.iter().find(|it| edge.zone(it).is_none());
        if missing.is_some() && self.elsewhere(work.alone_ms, missing).await? == Ended::Elsewhere {
            return Ok(Ended::Elsewhere);
        }
        let waiting = work.take_ready(self.clock.now_ms() - READY_MS);
        if waiting.is_none() {
            let proved = self.proved_hosts(edge, run.tenant, purge.by_operator, &work.open(&hosts)).await?;
            work.learn(proved);
        }
        // Those that need no visit at once; those that are found meanwhile together, since each call is counted.
        if !work.found.is_empty() && (waiting.is_some() || !work.has_more || work.purged.is_empty()) {
            // A plan that has waited goes on waiting for the same, or changes of others would keep it for ever.
            let mut ready = match waiting {
                Some(ready) => ready,
                None => self.make_ready(edge, run, work).await?,
            };
            let served = self.look_served(&mut ready.awaited, age_ms).await?;
            if matches!(served, Served::NotYet | Served::NotHere) {
                let waits_ms = self.clock.now_ms().saturating_sub(ready.made_ms);
                work.ready = Some(ready);
                return Ok(early(served, waits_ms));
            }
            match self.call_providers(edge, run, &ready.hosts, &ready.plan).await {
                Some(failed) if edge::may_pass(&failed.trouble) => {
                    // Where they lead is asked once more, since it may be long until then.
                    work.found.clear();
                    return Ok(Ended::Failed(failed));
                }
                // It is for people, and keeps no other hostname from what is to be done.
                Some(failed) => work.refused = work.refused.take().or(Some(failed)),
                None if served == Served::Everywhere => {
                    let all = ready.plan.is_whole().then_some(ready.begun);
                    let purged: Vec<String> =
                        ready.hosts.iter().filter(|it| edge.zone(it).is_some()).cloned().collect();
                    edge.known.did(purge.site, &purged, ready.plan.steps, all);
                }
                None => {}
            }
            work.found.retain(|it| !ready.hosts.contains(it));
            work.purged.extend(ready.hosts);
        }
        if work.has_more {
            return Ok(Ended::More);
        }
        let lacking = if missing.is_some() { Some(self.elsewhere(work.alone_ms, missing).await?) } else { None };
        Ok(ending(work, lacking))
    }

    /// What is planned is of now; then visitors are served by it, and only then it is purged.
    async fn make_ready(&self, edge: &Edge, run: &Run<'_>, work: &Work) -> Result<Ready> {
        let now_ms = self.clock.now_ms();
        let mark = self.ids.next().into();
        let begun = Begun { mark, settled_ms: now_ms.saturating_sub(SETTLED_MS), shares: self.node.shares };
        // Once for a plan: with each look of one that waits, those behind it would take less together.
        edge.known.begin(run.purge.site);
        let plan = self.plan_purge(run.tenant, run.purge, &work.found).await?;
        let awaited = self.await_all().await?;
        Ok(Ready { plan, hosts: work.found.clone(), awaited, begun, made_ms: now_ms })
    }

    /// Makes the calls. What one provider does not do keeps no other from it; what may pass is told first, since the job goes on then.
    async fn call_providers(&self, edge: &Edge, run: &Run<'_>, hosts: &[String], plan: &Plan) -> Option<Failed> {
        let mut failed: Option<Failed> = None;
        for entry in &edge.entries {
            let is_here = |host: &str| edge.zone(host) == Some(entry.zone.as_str());
            let batches = plan.batches.iter().map(|it| within(it, hosts, &is_here));
            for batch in batches.flat_map(Batch::split) {
                if let Err(paused) = self.count_call(run).await {
                    return Some(paused);
                }
                let site = run.purge.name.clone();
                let call = Call { zone: entry.zone.clone(), batch, site, now_ms: self.clock.now_ms() };
                if let Err(trouble) = edge.engine.purge(&entry.access, &call).await {
                    tracing::warn!(zone = entry.zone, site = run.purge.name, ?trouble, "caches were not purged");
                    if failed.as_ref().is_none_or(|it| !edge::may_pass(&it.trouble)) {
                        let text = edge::explain(entry.access.provider, &entry.zone, &trouble);
                        failed = Some(Failed::new(text, trouble));
                    }
                    break;
                }
            }
        }
        failed
    }

    /// Counts a call of a tenant; when there were enough, how long it waits.
    async fn count_call(&self, run: &Run<'_>) -> Result<(), Failed> {
        let key = format!("edge {}", run.tenant);
        let what =
            "Very much was purged for this tenant, and all tenants share what the provider takes: the rest waits.";
        let counted = self.windows().take(&key, CALLS_MAX, CALLS_WINDOW_MS, "edge_calls", what).await;
        // Whoever is refused in person is told to try again: a job does that by itself.
        counted.map_err(|error| Failed::new(what.to_owned(), Trouble::Limited(error.retry_after_s)))
    }

    /// What becomes of a job whose hostnames this node has no cache for.
    async fn elsewhere(&self, alone_ms: i64, host: Option<&String>) -> Result<Ended> {
        let others = self.has_workers().await?;
        if others && alone_ms < ELSEWHERE_MAX_MS {
            return Ok(Ended::Elsewhere);
        }
        let host = host.map_or("the site", String::as_str);
        let text = if others {
            format!(
                "For ten minutes no node took this job that has an [[edge]] with the zone of {host} and could read its token, so that its caches \
                 were not purged. Give all nodes the same settings, restart those that lack it, and run the job again."
            )
        } else {
            format!(
                "This node has no [[edge]] with the zone of {host}, or could not read its token, so that its caches were not purged. Give all \
                 nodes the same settings, restart this one, and run the job again."
            )
        };
        Ok(Ended::Failed(Failed::new(text, Trouble::NoZone)))
    }

    /// What a job means, for these of its hostnames.
    async fn plan_purge(&self, tenant: TenantId, purge: &Purge, hosts: &[String]) -> Result<Plan> {
        let all = || Plan { batches: vec![Batch::Hosts(hosts.to_vec())], steps: None };
        let (from, to) = match &purge.what {
            What::All => return Ok(all()),
            What::Named { urls, tags } => {
                let tags = tags.iter().map(|it| own_tag(purge.site, it)).collect();
                return Ok(Plan { batches: vec![addressed(urls, hosts), Batch::Tags(tags)], steps: None });
            }
            What::Changed { from, to } => (*from, *to),
        };
        let (site, now) = (purge.site, self.clock.now_ms());
        let before_ms = if self.node.shares { now.saturating_sub(SETTLED_MS) } else { i64::MAX };
        let Some(steps) = self.db.read(move |tx| steps(tx, tenant, site, (from, to), before_ms)).await? else {
            return Ok(all());
        };
        let through = steps.through;
        // All of it: also what was changed before.
        let whole_plan = || Plan { steps: Some(known::Publications { from: 0, through }), ..all() };
        let (blobs, tagged) = (self.blobs.clone(), steps.tagged);
        let Some(changes) = self.blocking(move || changes(&blobs, &steps.manifests)).await? else {
            return Ok(whole_plan());
        };
        let urls: Vec<String> = changes.paths.iter().flat_map(|it| whole(it, hosts)).collect();
        let tags: Vec<String> = changes.files.iter().map(|it| path_tag(site, it)).collect();
        if urls.len() > NAMED_MAX || tags.len() > NAMED_MAX {
            return Ok(whole_plan());
        }
        // By address too: an answer whose file says itself what caches do has no tag of ours.
        let mut batches = vec![Batch::Urls(urls)];
        if tagged {
            batches.insert(0, Batch::Tags(tags));
        }
        Ok(Plan { batches, steps: Some(known::Publications { from, through }) })
    }
}

/// What becomes of a job whose visitors are not served yet. Other nodes are waited for with an end; this one is told of, since the job would
/// wait without a word.
fn early(served: Served, waits_ms: i64) -> Ended {
    if served != Served::NotHere || waits_ms < STUCK_MS {
        return Ended::Early;
    }
    let text = "The caches were not purged, since this server does not show its visitors yet what was changed, and they would keep what was \
                there before. Its log says why the snapshot could not be rebuilt.";
    Ended::Failed(Failed::new(text.to_owned(), Trouble::Broken(String::from("snapshot"))))
}

/// What becomes of a job that has done what it could. `lacking`: the same, for what this node has no cache for. All that was not purged is told,
/// and what is tried again last, since the job goes on then.
fn ending(work: &mut Work, lacking: Option<Ended>) -> Ended {
    let mut told: Vec<Failed> = work.refused.iter().cloned().collect();
    match lacking {
        Some(Ended::Failed(failed)) => told.push(failed),
        Some(other) => return other,
        None => {}
    }
    if !work.elsewhere.is_empty() {
        told.push(Failed::new(unproved(&work.elsewhere), Trouble::Refused(String::from("unproved"))));
    }
    let open = work.take_unknown();
    let mut trouble = told.first().map(|it| it.trouble.clone());
    if !open.is_empty() {
        trouble = Some(Trouble::Away(String::from("where hostnames lead")));
        told.push(Failed::new(unknown(&open), Trouble::Slow));
    }
    let Some(trouble) = trouble else { return Ended::Done };
    let text: Vec<String> = told.into_iter().map(|it| it.text).collect();
    Ended::Failed(Failed::new(text.join(" "), trouble))
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
    rows.retain(|it| it.seq >= from);
    // Nodes have clocks of their own, and none is left out between others.
    rows.truncate(rows.iter().take_while(|it| it.seq <= to || it.created_ms <= before_ms).count());
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

/// What purges these addresses: each of them, or all that their hostnames have when that would be too many calls.
fn addressed(urls: &[String], hosts: &[String]) -> Batch {
    let all: Vec<String> = urls.iter().flat_map(|it| whole(it, hosts)).collect();
    if all.len() <= ADDRESSES_MAX {
        return Batch::Urls(all);
    }
    Batch::Hosts(hosts.iter().filter(|host| all.iter().any(|it| host_of(it) == **host)).cloned().collect())
}

/// The whole addresses that a path has on these hostnames: providers know a file by scheme and host too.
fn whole(url: &str, hosts: &[String]) -> Vec<String> {
    if !url.starts_with('/') {
        return if hosts.contains(&host_of(url)) { vec![url.to_owned()] } else { Vec::new() };
    }
    let of = |host: &String| ["https", "http"].map(|scheme| format!("{scheme}://{host}{url}"));
    hosts.iter().flat_map(of).collect()
}

/// The host of a whole address.
fn host_of(url: &str) -> String {
    url.split('/').nth(2).unwrap_or_default().to_ascii_lowercase()
}

/// What of a batch is in a zone.
fn within(batch: &Batch, hosts: &[String], is_here: &impl Fn(&str) -> bool) -> Batch {
    match batch {
        Batch::Hosts(all) => Batch::Hosts(all.iter().filter(|it| is_here(it)).cloned().collect()),
        Batch::Urls(all) => Batch::Urls(all.iter().filter(|it| is_here(&host_of(it))).cloned().collect()),
        Batch::Tags(all) if hosts.iter().any(|it| is_here(it)) => Batch::Tags(all.clone()),
        Batch::Tags(_) => Batch::Tags(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_addresses_are_purged_by_their_hostnames() {
        let hosts: Vec<String> = (0..50).map(|it| format!("h{it}.test")).collect();
        let urls: Vec<String> = (0..5).map(|it| format!("/{it}.css")).collect();
        let Batch::Urls(all) = addressed(&urls, &hosts) else { panic!("500 are named") };
        assert_eq!(all.len(), ADDRESSES_MAX);
        let mut more = urls;
        more.push(String::from("/more.css"));
        assert_eq!(addressed(&more, &hosts), Batch::Hosts(hosts.clone()));
        // Another's is none of them, whatever a job says.
        let named = ["https://H1.test/a", "https://other.test/"].map(String::from);
        assert_eq!(addressed(&named, &hosts), Batch::Urls(vec![named[0].clone()]));
        let far: Vec<String> = (0..501).map(|it| format!("https://h7.test/{it}")).collect();
        assert_eq!(addressed(&far, &hosts), Batch::Hosts(vec![String::from("h7.test")]));
    }
}
