//! Manifests as served: read by their hash when first asked for, verified, and kept within a bound.
//!
//! Many who ask for a cold site wait for one load. A manifest that cannot be had is reported, and tried again with
//! the next request.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use hyper::header::HeaderValue;
use moka::{policy::EvictionPolicy, sync::Cache};

use super::{
    flight::Flight,
    headers::{self, Prepared},
    incident::{Damage, Incidents},
    snapshot::Served,
};
use crate::{
    base::{blob_dir::BlobDir, limits::MANIFEST_BYTES_MAX, tasks::Tasks},
    proof::manifest::{Entry, Manifest},
};

/// Rough memory of an entry beside its texts, and of the prepared headers of one.
const ENTRY_BYTES: usize = 160;
const PREPARED_BYTES: usize = 1_800;
/// Entries of one manifest whose headers are kept; beyond, they are made for each answer.
const PREPARED_MAX: usize = 4_096;

/// One deployment's files with the headers of their answers.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) manifest: Manifest,
    link: Option<HeaderValue>,
    prepared: Vec<OnceLock<Arc<Prepared>>>,
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
        if self.kept.load(Ordering::Relaxed) >= PREPARED_MAX {
            return make();
        }
        Arc::clone(slot.get_or_init(|| {
            self.kept.fetch_add(1, Ordering::Relaxed);
            make()
        }))
    }

    /// What it takes at most: it is weighed once, before any header is prepared.
    fn weight(&self) -> u32 {
        let entries = self.manifest.entries();
        let texts: usize = entries.iter().map(|it| it.path.as_str().len() + it.media_type.len()).sum();
        let policy = self.manifest.policy();
        let rules: usize = policy.redirects.iter().map(|it| 200 + it.from.len() + it.to.len()).sum();
        let set = policy.headers.iter().flat_map(|rule| &rule.set);
        let blocks: usize = set.map(|(name, value)| 120 + name.len() + value.len()).sum();
        let own = entries.len() * ENTRY_BYTES + texts + rules + blocks;
        u32::try_from(own + entries.len().min(PREPARED_MAX) * PREPARED_BYTES).unwrap_or(u32::MAX)
    }
}

/// The manifests in memory.
#[derive(Debug)]
pub(super) struct Indexes {
    dir: BlobDir,
    incidents: Arc<Incidents>,
    kept: Cache<Served, Arc<Index>>,
    loads: Flight<Served, Result<Arc<Index>, Damage>>,
}

impl Indexes {
    pub(super) fn new(dir: BlobDir, incidents: Arc<Incidents>) -> Self {
        let kept = Cache::builder()
            .max_capacity(MANIFEST_BYTES_MAX)
            .weigher(|_: &Served, index: &Arc<Index>| index.weight())
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { dir, incidents, kept, loads: Flight::new() }
    }

    /// The index of a deployment.
    pub(super) async fn get(&self, served: Served, tasks: &Tasks) -> Result<Arc<Index>, Damage> {
        if let Some(found) = self.kept.get(&served) {
            return Ok(found);
        }
        let load = async {
            let (dir, incidents) = (self.dir.clone(), Arc::clone(&self.incidents));
            let loaded = tasks.blocking(move || load(&dir, &incidents, served)).await;
            let index = loaded.unwrap_or(Err(Damage::Unreadable))?;
            self.kept.insert(served, Arc::clone(&index));
            Ok(index)
        };
        Box::pin(self.loads.join(served, load)).await
    }
}

fn load(dir: &BlobDir, incidents: &Incidents, served: Served) -> Result<Arc<Index>, Damage> {
    let bytes = dir.read_verified(&served.manifest).map_err(|error| {
        let damage = Damage::from(&error);
        incidents.report(served.manifest, damage, &error);
        damage
    })?;
    let manifest = Manifest::parse(&bytes).map_err(|error| {
        incidents.report(served.manifest, Damage::NotAManifest, &error);
        Damage::NotAManifest
    })?;
    incidents.verified(served.manifest);
    Ok(Arc::new(Index::new(manifest, served)))
}
