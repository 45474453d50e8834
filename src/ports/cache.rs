//! The cache port: bounded, with a time to live, single flight and tags. Nothing lives only here.
//!
//! There are one or two layers: values as they are in this process's memory, and, where several processes work on one database, their
//! bytes in a store that all of them see. Without the second layer, or while it is away, the first one does alone.
//!
//! SECURITY: keys carry their tenant; rights are never cached (they are read fresh).

use std::{any::Any, pin::Pin, sync::Arc, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::domain::{Result, tenant::TenantId};

/// Times to live from the scaling guide, of what is cached.
pub mod ttl {
    use std::time::Duration;

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
    /// Drops everything.
    fn drop_all(&self);
    /// One flight at a time: the lock that a loader of `key` holds.
    fn flight(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>>;
}

/// What comes later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What tells whether a tag was dropped since it was asked for. Only the layer that gave it can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(pub Vec<u8>);

/// What the second layer knows of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shared {
    /// Its value, which is good for so long.
    Value {
        /// As it was given to [`SharedCache::keep`].
        bytes: Vec<u8>,
        /// The rest of its time to live.
        left: Duration,
        /// To replace the value with.
        stamp: Stamp,
    },
    /// No value, or one of before its tag was dropped. One that is loaded from now on may be kept with this stamp.
    Nothing(Stamp),
    /// The layer cannot be asked now, and is to be told nothing.
    Away,
}

/// Figures of the second layer since the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedFigures {
    /// Whether it is there.
    pub up: bool,
    /// Values found.
    pub hits: u64,
    /// Values not found.
    pub misses: u64,
    /// Questions and orders that failed.
    pub errors: u64,
    /// Tags that other processes dropped, or all at once, when it is not known which.
    pub heard: u64,
}

/// The second layer: bytes that several processes see, and the word from one to the others that something changed.
///
/// It never fails: what it cannot do, it leaves. When the other processes cannot be heard, the first layer is kept
/// empty ([`CacheEngine::drop_all`]).
pub trait SharedCache: Send + Sync {
    /// What it knows of a key. Takes no longer than a quarter of a second.
    fn find<'a>(&'a self, key: &'a Key, tag: &'a Tag) -> Later<'a, Shared>;
    /// Keeps the bytes of a value for `ttl`, unless `tag` was dropped, by whomever, since the stamp was given.
    fn keep(&self, key: &Key, stamp: Stamp, bytes: Vec<u8>, ttl: Duration);
    /// Drops everything with this tag here, and in all other processes within a second. In this process the drop holds as soon as
    /// the call returns; it is repeated until it is done.
    fn drop_tag(&self, tag: &Tag);
    /// Figures for people.
    fn figures(&self) -> SharedFigures;
}

/// How long a value may be that another process has changed.
const BRIEF: Duration = Duration::from_secs(1);

/// The cache as services see it. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    first: Arc<dyn CacheEngine>,
    second: Option<Arc<dyn SharedCache>>,
    ttl_max: Duration,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cache")
    }
}

impl Cache {
    /// A cache of one layer.
    pub fn new(engine: Arc<dyn CacheEngine>) -> Self {
        Self { first: engine, second: None, ttl_max: Duration::MAX }
    }

    /// A cache of one layer beside others that do not hear of drops here, nor we of theirs: it keeps nothing for longer than a second.
    pub fn brief(engine: Arc<dyn CacheEngine>) -> Self {
        Self { first: engine, second: None, ttl_max: BRIEF }
    }

    /// A cache of two layers.
    pub fn with_shared(first: Arc<dyn CacheEngine>, second: Arc<dyn SharedCache>) -> Self {
        Self { first, second: Some(second), ttl_max: Duration::MAX }
    }

    /// The cached value, or what `load` gives with its weight: at most one load of a key at a time in this process, others wait
    /// for it. A value loaded while its tag was dropped is returned but not kept. Errors are not cached.
    pub async fn get_or<T, F, Fut>(&self, key: Key, tag: Tag, ttl: Duration, load: F) -> Result<Arc<T>>
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<(T, u32)>> + Send,
    {
        let ttl = ttl.min(self.ttl_max);
        if let Some(found) = self.peek(&key) {
            return Ok(found);
        }
        let flight = self.first.flight(&key);
        let _alone = flight.lock().await;
        if let Some(found) = self.peek(&key) {
            return Ok(found);
        }
        // Before all else: whatever is dropped from here on is not put into the first layer.
        let generation = self.first.generation(&tag);
        let stamp = match self.find_shared(&key, &tag, ttl).await {
            Shared::Away => None,
            Shared::Nothing(stamp) => Some(stamp),
            Shared::Value { bytes, left, stamp } => match serde_json::from_slice(&bytes) {
                Ok(value) => {
                    let weight = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                    return Ok(self.put(key, &tag, generation, value, weight, ttl.min(left)));
                }
                // Bytes that nobody of us wrote are replaced.
                Err(_) => Some(stamp),
            },
        };
        let (value, weight) = load().await?;
        if let (Some(second), Some(stamp)) = (&self.second, stamp)
            && let Ok(bytes) = serde_json::to_vec(&value)
        {
            second.keep(&key, stamp, bytes, ttl);
        }
        Ok(self.put(key, &tag, generation, value, weight, ttl))
    }

    async fn find_shared(&self, key: &Key, tag: &Tag, ttl: Duration) -> Shared {
        match &self.second {
            Some(second) if !ttl.is_zero() => second.find(key, tag).await,
            _ => Shared::Away,
        }
    }

    fn put<T: Send + Sync + 'static>(
        &self,
        key: Key,
        tag: &Tag,
        generation: u64,
        value: T,
        weight: u32,
        ttl: Duration,
    ) -> Arc<T> {
        let value = Arc::new(value);
        let cached: Cached = Arc::<T>::clone(&value);
        self.first.put(key, tag, generation, cached, weight, ttl);
        value
    }

    fn peek<T: Send + Sync + 'static>(&self, key: &Key) -> Option<Arc<T>> {
        self.first.get(key)?.downcast().ok()
    }

    /// Drops everything with this tag. Called after the commit that changed it.
    pub fn drop_tag(&self, tag: &Tag) {
        // The second layer first: nobody may take a value of before from it into the first one after that was emptied.
        if let Some(second) = &self.second {
            second.drop_tag(tag);
        }
        self.first.drop_tag(tag);
    }

    /// Figures of the second layer, where there is one.
    pub fn shared(&self) -> Option<SharedFigures> {
        self.second.as_ref().map(|it| it.figures())
    }
}
