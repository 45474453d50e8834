//! Opens the cache: in memory alone, or with a Redis behind it that other processes share.

use std::sync::Arc;

use crate::{
    base::{ids::Id, secret::Secret},
    domain::Result,
    engines::cache_moka::CacheMoka,
    ports::{cache::Cache, counts::Counts},
};

/// Bytes of the cache in memory.
const BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The cache, and the counts that come with a shared one.
pub(super) struct Caches {
    pub(super) cache: Cache,
    pub(super) counts: Counts,
    /// Tells the other processes what is still to be told, and ends.
    pub(super) close: Box<dyn FnOnce() + Send>,
}

/// Opens the cache of an installation. A Redis need not be there yet. `shares`: others may change what is cached.
pub(super) fn open(url: Option<&Secret>, instance: Id, shares: bool) -> Result<Caches> {
    let memory = CacheMoka::new(BYTES_MAX);
    if let Some(url) = url {
        return shared(url, instance, memory);
    }
    // Nobody tells us what other nodes change.
    let cache = if shares { Cache::brief(memory) } else { Cache::new(memory) };
    Ok(Caches { cache, counts: Counts::default(), close: Box::new(|| {}) })
}

#[cfg(feature = "redis")]
fn shared(url: &Secret, instance: Id, memory: Arc<CacheMoka>) -> Result<Caches> {
    use crate::engines::redis::CacheRedis;
    let redis = CacheRedis::open(url, instance, Arc::<CacheMoka>::clone(&memory))?;
    Ok(Caches {
        cache: Cache::with_shared(memory, Arc::<CacheRedis>::clone(&redis)),
        counts: Counts::shared(Arc::<CacheRedis>::clone(&redis)),
        close: Box::new(move || redis.close()),
    })
}

#[cfg(not(feature = "redis"))]
fn shared(_url: &Secret, _instance: Id, _memory: Arc<CacheMoka>) -> Result<Caches> {
    Err(missing())
}

#[cfg(not(feature = "redis"))]
pub(super) fn missing() -> crate::domain::Error {
    crate::domain::Error::invalid(
        "feature_missing",
        "This build has no Redis. Take a released binary, or build with `--features redis`.",
    )
}
