//! Whether settings can be used, as far as that can be known without asking anybody: what each engine says of the text of its URL.

use crate::{
    app::{authorities, edge, logs, tls},
    base::{countries::Countries, secret::Secret},
    config::{blobs::Bucket, server::Server},
    domain::{Error, Result},
};

/// What [`check`] refuses, and what a start goes on without: a bucket whose key is not set, a database of countries that cannot be read.
pub fn check_all(settings: &Server) -> Result<()> {
    check(settings)?;
    if let Some(path) = &settings.geo_database {
        let named = "`database` in [geo], or CHAINHOST_GEO_DATABASE";
        Countries::check(path).map_err(|error| Error::invalid("geo_database", format!("{named}: {error}.")))?;
    }
    settings.blobs.bucket.as_ref().map_or(Ok(()), Bucket::check_keys)
}

/// Refuses settings that no start could use. What is said begins with the setting that is meant, and quotes no password.
pub fn check(settings: &Server) -> Result<()> {
    logs::check(&settings.log)?;
    tls::check(&settings.tls)?;
    authorities::check(settings.acme.as_ref())?;
    edge::check(&settings.edge)?;
    if let Some(it) = &settings.postgres {
        named("`url` in [database], or CHAINHOST_DATABASE_URL", Some(&it.url), postgres)?;
        named("`direct_url` in [database], or CHAINHOST_DATABASE_DIRECT_URL", it.direct_url.as_deref(), postgres)?;
        for url in &it.replica_urls {
            named("`replica_urls` in [database], or CHAINHOST_DATABASE_REPLICA_URLS", Some(url), postgres)?;
        }
    }
    named("`queue_url` in [redis], or CHAINHOST_REDIS_QUEUE_URL", settings.redis.queue_url.as_deref(), redis)?;
    named("`cache_url` in [redis], or CHAINHOST_REDIS_CACHE_URL", settings.redis.cache_url.as_deref(), redis)
}

fn named(setting: &str, url: Option<&Secret>, check: fn(&Secret) -> Result<()>) -> Result<()> {
    let Some(url) = url else { return Ok(()) };
    check(url).map_err(|error| Error { message: format!("{setting}: {}", error.message), ..error })
}

#[cfg(feature = "postgres")]
fn postgres(url: &Secret) -> Result<()> {
    crate::engines::postgres::check(url)
}

#[cfg(not(feature = "postgres"))]
fn postgres(_url: &Secret) -> Result<()> {
    Err(super::ground::no_postgres())
}

#[cfg(feature = "redis")]
fn redis(url: &Secret) -> Result<()> {
    crate::engines::redis::Address::parse(url).map(drop)
}

#[cfg(not(feature = "redis"))]
fn redis(_url: &Secret) -> Result<()> {
    Err(super::caches::missing())
}
