//! What the ports ask for, made with particular engines.
//!
//! | File | Port | Made with |
//! |---|---|---|
//! | `acme` | `ports::acme`, `ports::zones`, `ports::edge` | ACME, by instant-acme; APIs of providers of DNS and of caches |
//! | `sqlite` | `ports::db` | SQLite, bundled: one writer, four readers |
//! | `postgres` | `ports::db` | PostgreSQL, also behind a pooler (feature `postgres`) |
//! | `queue_redb` | `ports::queue` | redb: one file, one thread, one commit a batch |
//! | `cache_moka` | `ports::cache` | moka: bounded by weight, in memory |
//! | `redis` | `ports::queue`, `ports::cache` | Redis (feature `redis`) |
//! | `dns` | `ports::dns` | messages of hickory, sockets and a cache of our own |
//! | `reach` | `ports::reach` | hyper's client, and what Linux says of its interfaces |
//! | `blobs_s3` | `ports::blobs` | a bucket of a store that speaks S3 (feature `s3`) |
//! | `migrations` | – | numbered steps of the schema |
//! | `schema` | – | those steps, a file each |
//!
//! No engine imports another, and none knows what a site is.

pub mod acme;
#[cfg(feature = "s3")]
pub mod blobs_s3;
pub mod cache_moka;
pub mod dns;
pub mod migrations;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod queue_redb;
pub mod reach;
#[cfg(feature = "redis")]
pub mod redis;
pub mod schema;
pub mod sqlite;
