//! The cache port: bounded, with a time to live, single flight and tags. Nothing lives only here.
//!
//! SECURITY: keys carry their tenant; rights are never cached (they are read fresh).

use std::{any::Any, sync::Arc, time::Duration};

use crate::domain::{Result, tenant::TenantId};

/// Times to live from the scaling guide.
pub mod ttl {
    use std::time::Duration;

    /// Answers of the API and pages: the guide's 5 to 30 minutes.
    pub const APPLICATION: Duration = Duration::from_mins(5);
    /// Frequent queries: the guide's 1 to 5 minutes.
    pub const DATABASE: Duration = Duration::from_mins(1);
    /// The sites of a user: the guide's 5 minutes.
    pub const SITES: Duration = Duration::from_mins(5);
}

/// What a cached value belongs to. A change drops everything with its tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tag {
    /// The sites of a tenant: names, hostnames, live deployments.
    Sites(TenantId),
    /// Everything of the server: users, settings.
    Server,
}

/// A key: what, of which tenant, which one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// What kind of value: one constant word a call site.
    pub what: &'static str,
    /// Whose; `None` only for values that every signed-in user may see.
    pub tenant: Option<TenantId>,
    /// Which one.
    pub which: String,
}

/// A cached value.
pub type Cached = Arc<dyn Any + Send + Sync>;

/// A cache engine. It works on values of any type behind `Arc<dyn Any>`.
pub trait CacheEngine: Send + Sync {
    /// A value that is still good.
    fn get(&self, key: &Key) -> Option<Cached>;
    /// Keeps a value of about `weight` bytes for `ttl`, unless `tag` was dropped since `generation` was read.
    fn put(&self, key: Key, tag: &Tag, generation: u64, value: Cached, weight: u32, ttl: Duration);
    /// The generation of a tag: it grows with every drop.
    fn generation(&self, tag: &Tag) -> u64;
    /// Drops everything with this tag.
    fn drop_tag(&self, tag: &Tag);
    /// One flight at a time: the lock that a loader of `key` holds.
    fn flight(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>>;
}

/// The cache as services see it. Cheap to clone.
#[derive(Clone)]
pub struct Cache(Arc<dyn CacheEngine>);

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

impl Cache {
    /// Wraps an engine.
    pub fn new(engine: Arc<dyn CacheEngine>) -> Self {
        Self(engine)
    }

    /// The cached value, or what `load` gives: at most one load of a key at a time, others wait for it.
    /// A value loaded while its tag was dropped is returned but not kept. Errors are not cached.
    pub async fn get_or<T, F, Fut>(&self, key: Key, tag: Tag, ttl: Duration, load: F) -> Result<Arc<T>>
    where
        T: Send + Sync + 'static,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<(T, u32)>> + Send,
    {
        if let Some(found) = self.peek(&key) {
            return Ok(found);
        }
        let flight = self.0.flight(&key);
        let _alone = flight.lock().await;
        if let Some(found) = self.peek(&key) {
            return Ok(found);
        }
        let generation = self.0.generation(&tag);
        let (value, weight) = load().await?;
        let value = Arc::new(value);
        let cached: Cached = Arc::<T>::clone(&value);
        self.0.put(key, &tag, generation, cached, weight, ttl);
        Ok(value)
    }

    fn peek<T: Send + Sync + 'static>(&self, key: &Key) -> Option<Arc<T>> {
        self.0.get(key)?.downcast().ok()
    }

    /// Drops everything with this tag. Called after the commit that changed it.
    pub fn drop_tag(&self, tag: &Tag) {
        self.0.drop_tag(tag);
    }
}
