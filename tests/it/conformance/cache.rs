//! The cache's contract, against the port alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

#[cfg(feature = "redis")]
use chainhost::base::secret::Secret;
use chainhost::{
    base::ids::Id,
    domain::{Error, tenant::TenantId},
    engines::cache_moka::CacheMoka,
    ports::cache::{Cache, CacheEngine, Key, Tag},
};
use tokio::time::Instant;

#[cfg(feature = "redis")]
use crate::support::{redis, redis_ha};

const LONG: Duration = Duration::from_mins(5);

/// A cache of a clause's own, with room for a million bytes in memory.
struct Rig {
    first: Arc<dyn CacheEngine>,
    cache: Cache,
}

impl Rig {
    fn memory() -> Self {
        let first = CacheMoka::new(1_000_000);
        Self { cache: Cache::new(Arc::<CacheMoka>::clone(&first)), first }
    }

    /// With a Redis behind it. Patient, since a busy machine is not what this is about.
    #[cfg(feature = "redis")]
    fn shared() -> Self {
        use chainhost::{base::random, engines::redis::CacheRedis};
        let first = CacheMoka::new(1_000_000);
        let url = Secret::new(redis::shared().url());
        let instance = Id::from_bytes(random::bytes());
        let second = CacheRedis::open_with(&url, instance, Arc::<CacheMoka>::clone(&first), redis_ha::PATIENT).unwrap();
        let cache = Cache::with_shared(Arc::<CacheMoka>::clone(&first), second);
        redis_ha::until("the second layer", || cache.shared().unwrap().up);
        Self { first, cache }
    }
}

fn tenant(number: u8) -> TenantId {
    TenantId(Id::from_bytes([number; 16]))
}

fn key(which: &str) -> Key {
    Key { what: "test", tenant: Some(tenant(1)), which: which.to_owned() }
}

async fn load(cache: &Cache, key: Key, tag: Tag, ttl: Duration, value: u32) -> u32 {
    *cache.get_or(key, tag, ttl, async || Ok((value, 8))).await.unwrap()
}

async fn keeps_until_the_tag_is_dropped(rig: Rig) {
    let cache = rig.cache.clone();
    let (mine, theirs) = (Tag::Sites(tenant(1)), Tag::Sites(tenant(2)));
    assert_eq!(load(&cache, key("a"), mine.clone(), LONG, 1).await, 1);
    assert_eq!(load(&cache, key("a"), mine.clone(), LONG, 2).await, 1);
    cache.drop_tag(&theirs);
    cache.drop_tag(&Tag::Server);
    assert_eq!(load(&cache, key("a"), mine.clone(), LONG, 3).await, 1);
    cache.drop_tag(&mine);
    assert_eq!(load(&cache, key("a"), mine.clone(), LONG, 4).await, 4);
    assert_eq!(load(&cache, key("a"), mine, LONG, 5).await, 4);
}

async fn keys_are_told_apart(rig: Rig) {
    let cache = rig.cache.clone();
    let keys = [
        key("a"),
        key("b"),
        Key { tenant: Some(tenant(2)), ..key("a") },
        Key { tenant: None, ..key("a") },
        Key { what: "other", ..key("a") },
    ];
    for (value, key) in (0..).zip(&keys) {
        assert_eq!(load(&cache, key.clone(), Tag::Server, LONG, value).await, value);
    }
    for (value, key) in (0..).zip(keys) {
        assert_eq!(load(&cache, key, Tag::Server, LONG, 99).await, value);
    }
}

/// A change while a value is loaded: the value is given, but not kept.
async fn a_value_of_before_a_change_is_not_kept(rig: Rig) {
    let cache = rig.cache.clone();
    let stale = cache
        .get_or(key("a"), Tag::Server, LONG, async || {
            cache.drop_tag(&Tag::Server);
            Ok((1_u32, 8))
        })
        .await;
    assert_eq!(*stale.unwrap(), 1);
    assert_eq!(load(&cache, key("a"), Tag::Server, LONG, 2).await, 2);
}

async fn errors_are_not_kept(rig: Rig) {
    let cache = rig.cache.clone();
    let failed = cache.get_or(key("a"), Tag::Server, LONG, async || Err::<(u32, u32), _>(Error::internal("no"))).await;
    assert_eq!(failed.unwrap_err().code, "internal");
    assert_eq!(load(&cache, key("a"), Tag::Server, LONG, 2).await, 2);
}

/// Many ask at once: one loads, all get it. Others are not held up.
async fn one_flight_a_key(rig: Rig) {
    let cache = rig.cache.clone();
    let loads = Arc::new(AtomicU32::new(0));
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (cache, loads) = (cache.clone(), Arc::clone(&loads));
        asked.spawn(async move {
            let load = async || {
                // Others come to run while this one loads.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                Ok((loads.fetch_add(1, Ordering::SeqCst), 8))
            };
            *cache.get_or(key("a"), Tag::Server, LONG, load).await.unwrap()
        });
    }
    assert_eq!(asked.join_all().await, [0; 50]);
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    // A loader may itself ask for other keys.
    let outer = cache.get_or(key("b"), Tag::Server, LONG, async || {
        let mut sum = 0;
        for number in 0..200 {
            sum += load(&cache, key(&number.to_string()), Tag::Server, LONG, number).await;
        }
        Ok((sum, 8))
    });
    assert_eq!(*outer.await.unwrap(), 19_900);
}

async fn values_expire_each_at_its_time(rig: Rig) {
    let cache = rig.cache.clone();
    load(&cache, key("long"), Tag::Server, LONG, 1).await;
    load(&cache, key("short"), Tag::Server, Duration::from_millis(5), 1).await;
    assert_eq!(load(&cache, key("none"), Tag::Server, Duration::ZERO, 1).await, 1);
    assert_eq!(load(&cache, key("none"), Tag::Server, LONG, 2).await, 2);
    let deadline = Instant::now() + Duration::from_secs(20);
    while load(&cache, key("short"), Tag::Server, LONG, 2).await == 1 {
        assert!(Instant::now() < deadline, "a value outlives its time");
        tokio::task::yield_now().await;
    }
    assert_eq!(load(&cache, key("long"), Tag::Server, LONG, 2).await, 1);
}

/// The weights of all values together stay within the bound, whatever is put in.
async fn weight_is_bounded(rig: Rig) {
    let engine = &rig.first;
    let generation = engine.generation(&Tag::Server);
    let keys: Vec<Key> = (0..2_000).map(|number| key(&number.to_string())).collect();
    for key in &keys {
        engine.put(key.clone(), &Tag::Server, generation, Arc::new(1_u32), 10_000, LONG);
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let kept = keys.iter().filter(|it| engine.get(it).is_some()).count();
        if kept <= 100 {
            assert!(kept > 10, "only {kept} of about 98 that fit");
            break;
        }
        assert!(Instant::now() < deadline, "{kept} values of 10 kB in 1 MB");
        tokio::task::yield_now().await;
    }
    engine.put(key("big"), &Tag::Server, generation, Arc::new(1_u32), 2_000_000, LONG);
    assert!(engine.get(&key("big")).is_none(), "larger than all");
}

macro_rules! tests {
    ($engine:ident, $make:expr, $($clause:ident)*) => {
        mod $engine {
            $(#[tokio::test]
            async fn $clause() {
                super::$clause($make).await;
            })*
        }
    };
}

/// The whole suite, on an engine of its own for each clause, with room for a million bytes.
macro_rules! suite {
    ($engine:ident, $make:expr) => {
        tests! {
            $engine, $make,
            a_value_of_before_a_change_is_not_kept
            errors_are_not_kept
            keeps_until_the_tag_is_dropped
            keys_are_told_apart
            one_flight_a_key
            values_expire_each_at_its_time
            weight_is_bounded
        }
    };
}

suite!(moka, super::Rig::memory());
#[cfg(feature = "redis")]
suite!(redis_behind_moka, super::Rig::shared());
