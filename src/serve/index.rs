//! Manifests as served: read by their hash when first asked for, verified, and kept within a bound.
//!
//! Many who ask for a cold site wait for one load. A manifest that cannot be had is reported, and tried again with
//! the next request.

use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicUsize, Ordering},
};

use hyper::header::HeaderValue;
use moka::{policy::EvictionPolicy, sync::Cache};

use super::{
    headers::{self, Prepared},
    incident::{Damage, Incidents},
    near::{Near, Spread},
    snapshot::Served,
    source,
};
use crate::{
    base::{
        blob_dir::{BlobDir, BlobError},
        flight::Flight,
        limits::MANIFEST_BYTES_MAX,
        tasks::Tasks,
    },
    proof::manifest::{Entry, Manifest},
};

/// Rough memory of an entry beside its texts.
const ENTRY_BYTES: usize = 160;
/// Memory for the prepared headers of one manifest, for each of its entries: what a policy of usual size takes.
const PREPARED_BYTES: usize = 2_000;
/// Entries of one manifest that bring such memory. What does not fit is made for each answer.
const PREPARED_MAX: usize = 4_096;

/// One deployment's files with the headers of their answers.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) manifest: Manifest,
    link: Option<HeaderValue>,
    prepared: Vec<OnceLock<Arc<Prepared>>>,
    /// Bytes of prepared headers that are kept.
    kept: AtomicUsize,
}

impl Index {
    fn new(manifest: Manifest, served: Served) -> Self {
        let link = if served.proof { headers::proof_link(served.deployment) } else { None };
        let mut prepared = Vec::new();
        prepared.resize_with(manifest.entries().len(), OnceLock::new);
        Self { manifest, link, prepared, kept: AtomicUsize::new(0) }
    }

    /// The headers of an entry's answers.
    pub(super) fn prepare(&self, entry: &Entry) -> Arc<Prepared> {
        let make = || Arc::new(Prepared::new(entry, self.manifest.policy(), self.link.as_ref()));
        let at = self.manifest.entries().binary_search_by(|it| it.path.cmp(&entry.path));
        let Some(slot) = at.ok().and_then(|at| self.prepared.get(at)) else { return make() };
        if let Some(found) = slot.get() {
            return Arc::clone(found);
        }
        let prepared = make();
        let bytes = prepared.bytes();
        let kept = self.kept.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if kept > self.room() || slot.set(Arc::clone(&prepared)).is_err() {
            self.kept.fetch_sub(bytes, Ordering::Relaxed);
        }
        prepared
    }

    /// Bytes of prepared headers that may be kept.
    fn room(&self) -> usize {
        self.prepared.len().min(PREPARED_MAX) * PREPARED_BYTES
    }

    /// What it takes at most: it is weighed once, before any header is prepared, and never keeps more than there is room.
    fn weight(&self) -> u32 {
        let entries = self.manifest.entries();
        let texts: usize = entries.iter().map(|it| it.path.as_str().len() + it.media_type.len()).sum();
        let policy = self.manifest.policy();
        let rules: usize = policy.redirects.iter().map(|it| 200 + it.from.len() + it.to.len()).sum();
        let set = policy.headers.iter().flat_map(|rule| &rule.set);
        let blocks: usize = set.map(|(name, value)| 120 + name.len() + value.len()).sum();
        let own = entries.len() * ENTRY_BYTES + texts + rules + blocks;
        u32::try_from(own + self.room()).unwrap_or(u32::MAX)
    }
}

impl Spread for Served {
    fn spread(&self) -> u64 {
        // Deployments of the same files have the same manifest, and differ where their ids are chance.
        let [.., a, b, c, d] = *self.deployment.0.as_bytes();
        self.manifest.first() ^ u64::from(u32::from_be_bytes([a, b, c, d]))
    }
}

/// The manifests in memory.
#[derive(Debug)]
pub(super) struct Indexes {
    dir: BlobDir,
    incidents: Arc<Incidents>,
    kept: Cache<Served, Arc<Index>>,
    /// Of those that are kept. Held by none of these: what is let go of leaves the memory with the last visit that reads it.
    near: Near<Served, Weak<Index>>,
    loads: Flight<Served, Result<Arc<Index>, Damage>>,
}

impl Indexes {
    pub(super) fn new(dir: BlobDir, incidents: Arc<Incidents>) -> Self {
        let kept = Cache::builder()
            .max_capacity(MANIFEST_BYTES_MAX)
            .weigher(|_: &Served, index: &Arc<Index>| index.weight())
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { dir, incidents, kept, near: Near::new(), loads: Flight::new() }
    }

    /// The index of a deployment.
    pub(super) async fn get(&self, served: Served, tasks: &Tasks) -> Result<Arc<Index>, Damage> {
        if let Some(near) = self.near.get(served)
            && let Some(found) = near.value.upgrade()
        {
            if near.is_due && self.kept.get(&served).is_none() {
                self.kept.insert(served, Arc::clone(&found));
            }
            return Ok(found);
        }
        if let Some(found) = self.kept.get(&served) {
            self.near.put(served, Arc::downgrade(&found));
            return Ok(found);
        }
        let load = async {
            let hash = served.manifest;
            let read = source::read(&self.dir, hash, tasks, move |dir| dir.read_local(&hash)).await;
            let incidents = Arc::clone(&self.incidents);
            let loaded = tasks.blocking(move || load(read, &incidents, served)).await;
            let index = loaded.unwrap_or(Err(Damage::Unreadable))?;
            self.kept.insert(served, Arc::clone(&index));
            Ok(index)
        };
        Box::pin(self.loads.join(served, load)).await
    }
}

fn load(read: Result<Vec<u8>, BlobError>, incidents: &Incidents, served: Served) -> Result<Arc<Index>, Damage> {
    let bytes = read.map_err(|error| {
        let damage = Damage::from(&error);
        // What is only away comes back by itself.
        if !matches!(error, BlobError::Away(_)) {
            incidents.report(served.manifest, damage, &error);
        }
        damage
    })?;
    let manifest = Manifest::parse(&bytes).map_err(|error| {
        incidents.report(served.manifest, Damage::NotAManifest, &error);
        Damage::NotAManifest
    })?;
    incidents.verified(served.manifest);
    Ok(Arc::new(Index::new(manifest, served)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{hash::Sha256, ids::Id},
        domain::{
            deployment::DeploymentId,
            policy::{HeaderRule, Policy},
            site_path::SitePath,
        },
    };

    /// An index of 100 files, each with headers of `bytes` bytes.
    fn index(bytes: usize) -> Index {
        let entry = |at: usize| Entry {
            path: SitePath::parse(&format!("/{at}.css")).unwrap(),
            sha256: Sha256::of(b"a"),
            size: 1,
            media_type: String::from("text/css"),
        };
        let set = vec![(String::from("x-a"), "a".repeat(bytes))];
        let headers = (0..100).map(|at| HeaderRule { matches: format!("/{at}.css"), set: set.clone() }).collect();
        let policy = Policy { headers, ..Policy::default() };
        let manifest = Manifest::new((0..100).map(entry).collect(), policy).unwrap();
        let served = Served { deployment: DeploymentId(Id::NIL), manifest: manifest.sha256(), proof: true };
        Index::new(manifest, served)
    }

    #[test]
    fn what_is_kept_is_within_what_was_weighed() {
        for (bytes, all) in [(10, true), (8_000, false)] {
            let index = index(bytes);
            let prepare = || index.manifest.entries().iter().map(|it| index.prepare(it)).collect::<Vec<_>>();
            let (once, again) = (prepare(), prepare());
            let kept: Vec<_> = once.iter().zip(&again).filter(|(a, b)| Arc::ptr_eq(a, b)).collect();
            let total: usize = kept.iter().map(|(it, _)| it.bytes()).sum();
            assert_eq!(index.kept.load(Ordering::Relaxed), total);
            assert_eq!((kept.len() == 100, total <= index.room()), (all, true), "{} {total}", kept.len());
            assert!(kept.len() > 10 && total < usize::try_from(index.weight()).unwrap());
        }
    }
}
