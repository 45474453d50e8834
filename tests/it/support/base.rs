//! The database and the queue of a test that has services and no server: of the kinds that `CHAINHOST_TEST_DATABASE` and
//! `CHAINHOST_TEST_QUEUE` ask for. The database is changed behind the back of the services as well.

use std::path::{Path, PathBuf};

use chainhost::{
    base::clock::Clock,
    engines::{schema, sqlite::Sqlite},
    ports::{db::Db, queue::Jobs},
};
use rusqlite::Connection;

#[cfg(feature = "postgres")]
use super::postgres;
#[cfg(any(feature = "postgres", feature = "redis"))]
use super::stores;
use crate::{conformance::Place, queue_redb::FilePlace};

/// A database and a queue that no other test has.
pub(crate) struct Base {
    /// Of the file, when it is one.
    path: PathBuf,
    #[cfg(feature = "postgres")]
    server: Option<postgres::Database>,
    queue: Box<dyn Place>,
}

impl Base {
    /// An empty one; a file has this name in the folder.
    pub(crate) fn new(folder: &Path, name: &str) -> Self {
        Self {
            path: folder.join(name),
            #[cfg(feature = "postgres")]
            server: stores::database(),
            #[cfg(feature = "redis")]
            queue: if stores::queue_kind() == "redis" {
                Box::new(crate::queue_redis::PrefixPlace::new())
            } else {
                Box::new(FilePlace::new())
            },
            #[cfg(not(feature = "redis"))]
            queue: Box::new(FilePlace::new()),
        }
    }

    /// Opens the queue. One that was opened before must be gone.
    pub(crate) fn open_queue(&self, clock: &Clock, waiting_max: u64) -> Jobs {
        Jobs::new(self.queue.open(clock.clone(), waiting_max))
    }

    /// Opens it, each time anew, as one process more does.
    pub(crate) fn open(&self) -> Db {
        #[cfg(feature = "postgres")]
        if let Some(server) = &self.server {
            use chainhost::{
                base::secret::Secret,
                engines::postgres::{Postgres, Wish},
            };
            let (url, direct) = (Secret::new(server.url()), Secret::new(server.direct_url()));
            let work = move || {
                let wish = Wish { url: &url, direct_url: Some(&direct), replica_urls: &[], pool: 4, known: false };
                Postgres::open(&wish, schema::POSTGRES)
            };
            // It waits for the network, and may not on a thread of a runtime.
            return Db::new(std::thread::spawn(work).join().unwrap().unwrap());
        }
        Db::new(Sqlite::open(&self.path, schema::SQLITE).unwrap())
    }

    /// The one that is asked for of two: for SQLite and for PostgreSQL.
    #[cfg_attr(not(feature = "postgres"), expect(clippy::unused_self, reason = "then there is only one kind"))]
    pub(crate) fn of<T>(&self, sqlite: T, on_server: T) -> T {
        #[cfg(feature = "postgres")]
        if self.server.is_some() {
            return on_server;
        }
        drop(on_server);
        sqlite
    }

    /// Runs statements. Bytes are written as SQLite writes them, `X'0f'`.
    pub(crate) fn run(&self, sql: &str) {
        #[cfg(feature = "postgres")]
        if let Some(server) = &self.server {
            server.ask(&sql.replace("X'", "'\\x"));
            return;
        }
        Connection::open(&self.path).unwrap().execute_batch(sql).unwrap();
    }

    /// The number that a statement gives.
    pub(crate) fn count(&self, sql: &str) -> i64 {
        #[cfg(feature = "postgres")]
        if let Some(server) = &self.server {
            return server.ask(&sql.replace("X'", "'\\x")).remove(0).parse().unwrap();
        }
        Connection::open(&self.path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}
