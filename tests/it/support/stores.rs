//! Where the servers of the tests keep what they know: what `CHAINHOST_TEST_DATABASE` and `CHAINHOST_TEST_QUEUE` ask for.

use std::process::Command;

#[cfg(any(feature = "postgres", feature = "redis"))]
use chainhost::base::secret::Secret;
use chainhost::{app::ground::Wish, config::database::Postgres};

#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(feature = "redis")]
use super::redis;

/// The stores of one server, which no other has. With none of them, all is in its data folder.
#[derive(Default)]
pub(crate) struct Stores {
    #[cfg(feature = "postgres")]
    database: Option<postgres::Database>,
    #[cfg(feature = "redis")]
    redis: Option<redis::Pair>,
}

impl Stores {
    /// Those that the tests are to use.
    pub(crate) fn asked() -> Self {
        Self {
            #[cfg(feature = "postgres")]
            database: database(),
            #[cfg(feature = "redis")]
            redis: (queue_kind() == "redis").then(redis::Pair::new),
        }
    }

    /// Tells a program of them.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "redis")),
        expect(clippy::unused_self, reason = "there are none")
    )]
    pub(crate) fn name_to(&self, command: &mut Command) {
        #[cfg(feature = "postgres")]
        if let Some(database) = &self.database {
            command.env("CHAINHOST_DATABASE_URL", database.url());
            command.env("CHAINHOST_DATABASE_DIRECT_URL", database.direct_url());
        }
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            command.env("CHAINHOST_REDIS_QUEUE_URL", redis.queue_url());
            command.env("CHAINHOST_REDIS_CACHE_URL", redis.cache_url());
        }
        #[cfg(not(any(feature = "postgres", feature = "redis")))]
        let _ = command;
    }

    /// The settings of the database on a server; `None` when it is the embedded one.
    #[cfg_attr(not(feature = "postgres"), expect(clippy::unused_self, reason = "then there is only one kind"))]
    pub(crate) fn database_settings(&self) -> Option<Postgres> {
        #[cfg(feature = "postgres")]
        if let Some(database) = &self.database {
            let url = Secret::new(database.url());
            return Some(Postgres { url: url.into(), direct_url: None, replica_urls: Vec::new(), pool: 4 });
        }
        None
    }

    /// The wish of who opens them while the server is stopped.
    pub(crate) fn wish(&self) -> Wish {
        let wish = super::ground::wish(self.database_settings());
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            let secret = |url| Some(Secret::new(url).into());
            return Wish { queue_url: secret(redis.queue_url()), cache_url: secret(redis.cache_url()), ..wish };
        }
        wish
    }
}

/// The kind of database that the tests are to use.
#[cfg(feature = "postgres")]
fn database_kind() -> &'static str {
    static KIND: std::sync::OnceLock<&str> = std::sync::OnceLock::new();
    KIND.get_or_init(|| kind("CHAINHOST_TEST_DATABASE", ["sqlite", "postgres", "pgbouncer"]))
}

/// Whether the database is one that nodes can share.
pub(crate) fn is_shared() -> bool {
    #[cfg(feature = "postgres")]
    let is_shared = database_kind() != "sqlite";
    #[cfg(not(feature = "postgres"))]
    let is_shared = false;
    is_shared
}

/// An empty database of that kind; `None` for a file.
#[cfg(feature = "postgres")]
pub(super) fn database() -> Option<postgres::Database> {
    match database_kind() {
        "postgres" => Some(postgres::Database::new(postgres::Way::Direct)),
        "pgbouncer" => Some(postgres::Database::new(postgres::Way::Pooled)),
        _ => None,
    }
}

/// Where the tests are to have queue and cache.
#[cfg(feature = "redis")]
pub(super) fn queue_kind() -> &'static str {
    static KIND: std::sync::OnceLock<&str> = std::sync::OnceLock::new();
    KIND.get_or_init(|| kind("CHAINHOST_TEST_QUEUE", ["redb", "redis"]))
}

/// Which of those that are known a variable names; without it, the first.
#[cfg(any(feature = "postgres", feature = "redis"))]
fn kind<const N: usize>(variable: &str, known: [&'static str; N]) -> &'static str {
    let asked = std::env::var_os(variable).unwrap_or_else(|| known.first().unwrap().into());
    let found = known.into_iter().find(|it| asked == **it);
    found.unwrap_or_else(|| panic!("{variable} is {}, not one of {known:?}", asked.display()))
}
