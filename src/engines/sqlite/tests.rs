//! The promises of the port and of CONTRACTS §2, on real files.

use crate::ports::db::Database as _;
use std::os::unix::fs::PermissionsExt as _;

use crate::{
    domain::error::Kind as Class,
    ports::db::{Db, Value},
};

use super::*;

const SCHEMA: &[(u32, &str, &str)] =
    &[(1, "item", "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;")];

fn open(path: &Path) -> (Arc<Sqlite>, Db) {
    let engine = Sqlite::open(path, SCHEMA).unwrap();
    let db = Db::new(Arc::<Sqlite>::clone(&engine));
    (engine, db)
}

async fn add(db: &Db, id: i64, name: &'static str) -> Result<u64> {
    db.write(move |tx| tx.execute("INSERT INTO item (name, id) VALUES ($2, $1)", &[id.into(), name.into()])).await
}

async fn names(db: &Db) -> Vec<String> {
    db.read(|tx| {
        tx.query("SELECT name FROM item ORDER BY id", &[])?.iter().map(|row| row.text(0).map(str::to_owned)).collect()
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_failing_request_leaves_the_others_of_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (_engine, db) = open(&folder.path().join("db"));
    let (go, wait) = sync_channel::<()>(0);
    // Holds the writer until all others wait, so that they become one batch.
    let holder = db.write(move |tx| {
        wait.recv().unwrap();
        tx.execute("INSERT INTO item VALUES (0, 'holder')", &[])
    });
    let good = add(&db, 1, "one");
    let bad = db.write(|tx| {
        tx.execute("INSERT INTO item VALUES (2, 'two')", &[])?;
        Err::<(), _>(Error::invalid("no", "No."))
    });
    let clash = db.write(|tx| {
        tx.execute("INSERT INTO item VALUES (3, 'three')", &[])?;
        tx.execute("INSERT INTO item VALUES (4, 'three')", &[])
    });
    let panics = db.write(|tx| -> Result<()> {
        tx.execute("INSERT INTO item VALUES (5, 'five')", &[])?;
        panic!("a defect")
    });
    let last = add(&db, 6, "six");
    let release = async { go.send(()).unwrap() };
    let (holder, good, bad, clash, panics, last, ()) = tokio::join!(holder, good, bad, clash, panics, last, release);
    assert_eq!(holder.unwrap(), 1);
    assert_eq!((good.unwrap(), last.unwrap()), (1, 1));
    assert_eq!(bad.unwrap_err().code, "no");
    let clash = clash.unwrap_err();
    assert_eq!((clash.kind, clash.code), (Class::Conflict, "unique"));
    assert_eq!(panics.unwrap_err().kind, Class::Internal);
    assert_eq!(names(&db).await, ["holder", "one", "six"]);
}

#[tokio::test]
async fn a_read_cannot_write() {
    let folder = tempfile::tempdir().unwrap();
    let (_engine, db) = open(&folder.path().join("db"));
    assert!(db.read(|tx| tx.query("INSERT INTO item VALUES (1, 'x') RETURNING id", &[])).await.is_err());
    assert!(names(&db).await.is_empty());
}

#[tokio::test]
async fn parameters_are_bound_by_number_and_must_fit() {
    let folder = tempfile::tempdir().unwrap();
    let (_engine, db) = open(&folder.path().join("db"));
    let row = db
        .read(|tx| {
            tx.one(
                "SELECT $2, $1, $2, $3, $4, $5",
                &[1_i64.into(), "two".into(), None::<i64>.into(), true.into(), vec![0_u8, 255].into()],
            )
        })
        .await
        .unwrap();
    assert_eq!((row.text(0).unwrap(), row.int(1).unwrap(), row.text(2).unwrap()), ("two", 1, "two"));
    assert_eq!((row.opt_int(3).unwrap(), row.bool(4).unwrap(), row.blob(5).unwrap()), (None, true, &[0, 255][..]));
    let wrong: [(&str, &[Value]); 4] = [
        ("SELECT $1", &[]),
        ("SELECT $1", &[Value::Int(1), Value::Int(2)]),
        ("SELECT ?", &[Value::Int(1)]),
        ("SELECT $2", &[Value::Int(1)]),
    ];
    for (sql, params) in wrong {
        assert!(db.read(move |tx| tx.query(sql, params)).await.is_err(), "{sql}");
    }
}

#[tokio::test]
async fn a_deleted_file_or_log_is_refused() {
    for part in ["db", "db-wal"] {
        let folder = tempfile::tempdir().unwrap();
        let (engine, db) = open(&folder.path().join("db"));
        add(&db, 1, "one").await.unwrap();
        let (path, aside) = (folder.path().join(part), folder.path().join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        for replaced in [false, true] {
            if replaced {
                std::fs::copy(&aside, &path).unwrap();
            }
            assert_eq!(add(&db, 2, "two").await.unwrap_err().code, "database_gone");
            assert_eq!(db.read(|tx| tx.query("SELECT 1", &[])).await.unwrap_err().code, "database_gone");
            assert_eq!(engine.health().unwrap_err().code, "database_gone");
        }
        std::fs::rename(&aside, &path).unwrap();
        assert!(engine.health().is_ok());
        add(&db, 2, "two").await.unwrap();
    }
}

#[tokio::test]
async fn a_file_deleted_during_a_batch_is_not_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let (_engine, db) = open(&path);
    let out = db
        .write(move |tx| {
            std::fs::remove_file(&path).unwrap();
            tx.execute("INSERT INTO item VALUES (1, 'lost')", &[])
        })
        .await;
    assert_eq!(out.unwrap_err().code, "database_gone");
}

#[tokio::test]
async fn what_was_answered_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    let (engine, db) = open(&path);
    add(&db, 1, "one").await.unwrap();
    engine.close();
    assert_eq!(add(&db, 2, "two").await.unwrap_err().code, "database_stopped");
    assert_eq!(engine.health().unwrap_err().code, "database_stopped");
    assert!(!folder.path().join("db-wal").exists(), "the log is folded in");
    let (_engine, db) = open(&path);
    assert_eq!(names(&db).await, ["one"]);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_newer_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("db");
    drop(Sqlite::open(&path, &[SCHEMA[0], (2, "later", "CREATE TABLE later (x INTEGER) STRICT;")]).unwrap());
    let refused = Sqlite::open(&path, SCHEMA).unwrap_err();
    assert_eq!(refused.code, "database_newer");
    assert!(refused.message.contains("number 2"));
}

#[tokio::test]
async fn a_full_disk_undoes_the_transaction_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (_engine, db) = open(&folder.path().join("db"));
    add(&db, 1, "one").await.unwrap();
    // SQLite's own limit stands for the disk's; it raises the same error.
    db.write(|tx| tx.query("PRAGMA max_page_count = 8", &[]).map(|_| ())).await.unwrap();
    let full = db
        .write(|tx| {
            let sql = "INSERT INTO item (name) VALUES ($1)";
            let first = (0..20).find_map(|n| tx.execute(sql, &[format!("{n}{}", "x".repeat(4000)).into()]).err());
            // A request that goes on all the same must not get anything in.
            drop(tx.execute("INSERT INTO item VALUES (99, 'after')", &[]));
            first.map_or(Ok(()), Err)
        })
        .await
        .unwrap_err();
    assert_eq!((full.kind, full.code), (Class::Unavailable, "disk_full"));
    db.write(|tx| tx.query("PRAGMA max_page_count = 100000", &[]).map(|_| ())).await.unwrap();
    add(&db, 2, "two").await.unwrap();
    assert_eq!(names(&db).await, ["one", "two"]);
}
