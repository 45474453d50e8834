//! The database's contract, against the port alone. An engine joins with one line of [`suite`].

use std::{path::Path, sync::Arc};

use chainhost::{
    base::{
        clock::Clock,
        ids::{Id, Ids},
    },
    domain::{Error, Result},
    engines::{schema, sqlite::Sqlite},
    params,
    ports::db::{Db, Value},
};
use tokio::sync::oneshot;

/// What every statement of the suite works on.
const TABLE: &str = "CREATE TABLE thing (
    id BLOB PRIMARY KEY, number INTEGER NOT NULL UNIQUE, text TEXT, flag INTEGER NOT NULL, share REAL NOT NULL
) STRICT;";

/// Opens the engine in a folder: an empty one, or one that a test has used before.
type Open = fn(&Path) -> Db;

#[cfg(feature = "postgres")]
mod on_postgres {
    use std::{fs, path::Path};

    use chainhost::{
        base::secret::Secret,
        engines::postgres::{Postgres, Wish},
        ports::db::Db,
    };

    use crate::support::postgres::{Database, Way};

    const TABLE: &str = "CREATE TABLE thing (
        id BYTEA PRIMARY KEY, number BIGINT NOT NULL UNIQUE, text TEXT COLLATE \"C\", flag BOOLEAN NOT NULL,
        share DOUBLE PRECISION NOT NULL
    );";

    /// The database of a folder: made when the folder has none yet. It stays until the servers end.
    fn open(folder: &Path, way: Way) -> Db {
        let file = folder.join("url");
        let url = fs::read_to_string(&file).unwrap_or_else(|_| {
            let url = Database::new(way).keep();
            crate::support::write_files(folder, &[("url", url.as_bytes())]);
            url
        });
        let engine = std::thread::spawn(move || {
            let url = Secret::new(url);
            Postgres::open(
                &Wish { url: &url, direct_url: None, replica_urls: &[], pool: 6, known: false },
                &[(1, "suite", TABLE)],
            )
        });
        Db::new(engine.join().unwrap().unwrap())
    }

    pub(super) fn postgres(folder: &Path) -> Db {
        open(folder, Way::Direct)
    }

    pub(super) fn pgbouncer(folder: &Path) -> Db {
        open(folder, Way::Pooled)
    }
}

#[cfg(feature = "postgres")]
use on_postgres::{pgbouncer, postgres};

fn sqlite(folder: &Path) -> Db {
    let engine = Sqlite::open(&folder.join("db"), &[(1, "suite", TABLE)]).unwrap();
    Db::new(engine)
}

async fn add(db: &Db, number: i64, text: Option<&'static str>) -> Result<u64> {
    let id = Ids::new(Clock::system()).next();
    db.write(move |tx| {
        tx.execute(
            "INSERT INTO thing (id, number, text, flag, share) VALUES ($1, $2, $3, $4, $5)",
            params![id, number, text, number % 2 == 0, 0.5],
        )
    })
    .await
}

async fn numbers(db: &Db) -> Vec<i64> {
    let rows = db.read(|tx| tx.query("SELECT number FROM thing ORDER BY number LIMIT 1000", params![])).await;
    rows.unwrap().iter().map(|row| row.int(0).unwrap()).collect()
}

async fn every_kind_comes_back_as_it_went(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    assert_eq!(add(&db, 2, Some("naïve 文書 ''")).await.unwrap(), 1);
    assert_eq!(add(&db, i64::MIN, None).await.unwrap(), 1);
    let rows = db.read(|tx| {
        tx.query("SELECT number, text, flag, share, id FROM thing ORDER BY number DESC LIMIT $1", params![9_i64])
    });
    let rows = rows.await.unwrap();
    assert_eq!(rows[0].text(1).unwrap(), "naïve 文書 ''");
    assert!(rows[0].bool(2).unwrap());
    assert!((rows[0].real(3).unwrap() - 0.5).abs() < f64::EPSILON);
    assert!(rows[0].id::<Id>(4).unwrap() > Id::NIL);
    assert_eq!((rows[1].int(0).unwrap(), rows[1].opt_text(1).unwrap()), (i64::MIN, None));
    assert!(rows[1].text(1).is_err() && rows[1].int(9).is_err(), "another type, and a column that is not there");
}

async fn a_text_with_nul_is_refused(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    assert_eq!(add(&db, 1, Some("a\0b")).await.unwrap_err().code, "text_nul");
    assert_eq!(numbers(&db).await, Vec::<i64>::new());
}

async fn a_failed_statement_is_the_end_of_its_transaction(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    add(&db, 1, None).await.unwrap();
    let sql = "INSERT INTO thing (id, number, flag, share) VALUES ($1, $2, FALSE, 0.0)";
    let swallowed = db.write(move |tx| {
        tx.execute(sql, params![Ids::new(Clock::system()).next(), 2_i64])?;
        let clash = tx.execute(sql, params![Ids::new(Clock::system()).next(), 1_i64]).unwrap_err();
        assert_eq!(clash.code, "unique");
        assert_eq!(tx.query("SELECT number FROM thing LIMIT 1", &[]).unwrap_err().code, "unique");
        Ok(())
    });
    assert_eq!(swallowed.await.unwrap_err().code, "unique");
    assert_eq!(numbers(&db).await, [1]);
}

async fn a_read_sees_one_moment_and_cannot_write(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    add(&db, 1, None).await.unwrap();
    let (looked, has_looked) = oneshot::channel();
    let (write, is_written) = std::sync::mpsc::channel::<()>();
    let count = |tx: &mut chainhost::ports::db::ReadTx<'_>| tx.one("SELECT COUNT(*) FROM thing", &[])?.int(0);
    let reader = db.clone();
    let mut reading = tokio::task::JoinSet::new();
    reading.spawn(async move {
        reader
            .read(move |tx| {
                let before = count(tx)?;
                looked.send(()).unwrap();
                is_written.recv().unwrap();
                let after = count(tx)?;
                // The type has no way to write; a statement that would is refused by the database.
                let refused = tx.query("DELETE FROM thing RETURNING number", &[]).is_err();
                Ok((before, after, refused))
            })
            .await
    });
    has_looked.await.unwrap();
    add(&db, 2, None).await.unwrap();
    write.send(()).unwrap();
    assert_eq!(reading.join_next().await.unwrap().unwrap().unwrap(), (1, 1, true));
    assert_eq!(numbers(&db).await, [1, 2]);
}

async fn parameters_go_by_their_number(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    add(&db, 1, Some("one")).await.unwrap();
    let found = db.read(|tx| {
        tx.one("SELECT $2 || text || $1 || $2 FROM thing WHERE number = $3", params!["<", ">", 1_i64])?
            .text(0)
            .map(str::to_owned)
    });
    assert_eq!(found.await.unwrap(), ">one<>");
    let none = db.read(|tx| tx.find("SELECT number FROM thing WHERE number = $1", &[Value::from(None::<i64>)]));
    assert!(none.await.unwrap().is_none());
}

async fn an_error_undoes_its_own_transaction_alone(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..60_i64 {
        let db = db.clone();
        asked.spawn(async move {
            db.write(move |tx| {
                tx.execute(
                    "INSERT INTO thing (id, number, flag, share) VALUES ($1, $2, $3, 0.0)",
                    params![Ids::new(Clock::system()).next(), number, false],
                )?;
                if number % 3 == 0 { Err(Error::invalid("third", "No.")) } else { Ok(()) }
            })
            .await
        });
    }
    let failed = asked.join_all().await.into_iter().filter(Result::is_err).count();
    assert_eq!(failed, 20);
    assert_eq!(numbers(&db).await, (0..60).filter(|it| it % 3 != 0).collect::<Vec<_>>());
}

async fn a_clash_is_a_conflict_that_a_transaction_survives(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    add(&db, 1, None).await.unwrap();
    assert_eq!(add(&db, 1, None).await.unwrap_err().code, "unique");
    let kept = db.write(|tx| {
        let sql = "INSERT INTO thing (id, number, flag, share) VALUES ($1, $2, $3, 0.0)
                   ON CONFLICT (number) DO UPDATE SET text = 'again' RETURNING text";
        let row = tx.find(sql, params![Ids::new(Clock::system()).next(), 1_i64, false])?;
        row.ok_or_else(|| Error::internal("no row"))?.text(0).map(str::to_owned)
    });
    assert_eq!(kept.await.unwrap(), "again");
}

async fn a_dropped_future_does_not_cut_a_transaction(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    for number in 0..20 {
        let asked = add(&db, number, None);
        // Polled once, so that it is on its way, and then forgotten.
        tokio::select! { biased; _ = asked => {}, () = std::future::ready(()) => {} }
    }
    // What was asked before is done before.
    add(&db, 99, None).await.unwrap();
    assert_eq!(numbers(&db).await.len(), 21);
}

async fn what_waits_for_a_commit_finds_it_and_no_other(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    let waiting = |number: i64| {
        let (told, hears) = oneshot::channel();
        let insert = "INSERT INTO thing (id, number, flag, share) VALUES ($1, $2, TRUE, 0.5)";
        let id = Ids::new(Clock::system()).next();
        let written = db.write(move |tx| {
            tx.after_commit(move || told.send(()).unwrap());
            tx.execute(insert, params![id, number])
        });
        (written, hears)
    };
    // The caller does not wait for its answer: only the signal says that there is something to find.
    let (written, hears) = waiting(1);
    let (found, written) = tokio::join!(
        async {
            hears.await.unwrap();
            numbers(&db).await
        },
        written
    );
    assert_eq!((found, written.unwrap()), (vec![1], 1));
    let (written, hears) = waiting(1);
    assert!(written.await.is_err());
    assert!(hears.await.is_err(), "told of a commit that was none");
}

async fn what_was_answered_is_there_after_a_restart(open: Open) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    for number in 0..10 {
        add(&db, number, None).await.unwrap();
    }
    drop(db);
    assert_eq!(numbers(&open(folder.path())).await.len(), 10);
}

macro_rules! clauses {
    ($engine:ident: $($clause:ident)*) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $clause() {
            super::$clause(super::$engine).await;
        })*
    };
}

macro_rules! suite {
    ($($clause:ident)*) => {
        mod on_sqlite {
            clauses! { sqlite: $($clause)* }
        }
        #[cfg(feature = "postgres")]
        mod on_a_server {
            clauses! { postgres: $($clause)* }
        }
        #[cfg(feature = "postgres")]
        mod behind_a_pooler {
            clauses! { pgbouncer: $($clause)* }
        }
    };
}

suite! {
    every_kind_comes_back_as_it_went
    a_text_with_nul_is_refused
    a_failed_statement_is_the_end_of_its_transaction
    a_read_sees_one_moment_and_cannot_write
    parameters_go_by_their_number
    an_error_undoes_its_own_transaction_alone
    a_clash_is_a_conflict_that_a_transaction_survives
    a_dropped_future_does_not_cut_a_transaction
    what_waits_for_a_commit_finds_it_and_no_other
    what_was_answered_is_there_after_a_restart
}

/// The numbers and names of the steps are the same for every database, and grow.
#[test]
fn the_schema_is_numbered() {
    assert!(schema::SQLITE.iter().zip(1..).all(|((number, name, _), wanted)| *number == wanted && !name.is_empty()));
    let folder = tempfile::tempdir().unwrap();
    let engine: Arc<Sqlite> = Sqlite::open(&folder.path().join("db"), schema::SQLITE).unwrap();
    chainhost::ports::db::Database::close(&*engine);
}
