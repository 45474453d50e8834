//! Prepared statements on PostgreSQL: only where a connection leads to one session, and never in the way of a change of the tables.

use std::thread;

use chainhost::{
    base::secret::Secret,
    domain::Result,
    engines::postgres::{Postgres, Wish},
    params,
    ports::db::{Db, ReadTx},
};
use postgres::{Client, NoTls};

use crate::support::postgres::{Database, Way};

const COUNTER: &[(u32, &str, &str)] = &[(
    1,
    "counter",
    "CREATE TABLE counter (id BIGINT PRIMARY KEY, value BIGINT NOT NULL); INSERT INTO counter VALUES (1, 7);",
)];

/// With one connection that writes and one that reads.
fn db(url: &str) -> Db {
    let url = Secret::new(url.to_owned());
    let wish = move || {
        Postgres::open(&Wish { url: &url, direct_url: None, replica_urls: &[], pool: 2, known: false }, COUNTER)
    };
    Db::new(thread::spawn(wish).join().unwrap().unwrap())
}

/// Runs a statement as somebody else would.
fn run(database: &Database, sql: &'static str) {
    let url = database.direct_url();
    thread::spawn(move || Client::connect(&url, NoTls).unwrap().batch_execute(sql).unwrap()).join().unwrap();
}

fn find(tx: &mut ReadTx<'_>) -> Result<i64> {
    tx.one("SELECT value FROM counter WHERE id = $1", params![1_i64])?.int(0)
}

/// What is prepared on the connection that reads.
async fn prepared(db: &Db) -> i64 {
    // The question itself is not to be counted.
    let sql = "SELECT COUNT(*) FROM pg_prepared_statements WHERE strpos(statement, 'coun' || 'ter') > 0";
    db.read(move |tx| tx.one(sql, &[])?.int(0)).await.unwrap()
}

async fn read_often(db: &Db) {
    for _ in 0..20 {
        assert_eq!(db.read(find).await.unwrap(), 7);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_is_prepared_once_on_a_server() {
    let database = Database::new(Way::Direct);
    let db = db(&database.url());
    db.read(find).await.unwrap();
    assert_eq!(prepared(&db).await, 0, "what comes once is not");
    read_often(&db).await;
    assert_eq!(prepared(&db).await, 1);
    // Hundreds of texts leave no more than some.
    for number in 0..500 {
        let sql = format!("SELECT value + {number} FROM counter");
        for _ in 0..2 {
            let sql = sql.clone();
            assert_eq!(db.read(move |tx| tx.one(&sql, &[])?.int(0)).await.unwrap(), 7 + number);
        }
    }
    let kept = prepared(&db).await;
    assert!((100..=200).contains(&kept), "{kept}");
    read_often(&db).await;
}

async fn nothing_is_prepared(way: Way) {
    let database = Database::new(way);
    let engines = [db(&database.url()), db(&database.url()), db(&database.url())];
    let mut asked = tokio::task::JoinSet::new();
    for engine in &engines {
        for _ in 0..4 {
            let engine = engine.clone();
            asked.spawn(async move {
                for _ in 0..25 {
                    assert_eq!(engine.read(find).await.unwrap(), 7);
                    let set = |tx: &mut chainhost::ports::db::WriteTx<'_>| {
                        tx.execute("UPDATE counter SET value = $1", params![7_i64])
                    };
                    engine.write(set).await.unwrap();
                }
            });
        }
    }
    asked.join_all().await;
    for engine in &engines {
        assert_eq!(prepared(engine).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_prepared_behind_a_pooler() {
    nothing_is_prepared(Way::Pooled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_prepared_behind_a_pooler_that_ignores_settings() {
    nothing_is_prepared(Way::Ignoring).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_does_not_fit_the_tables_any_more_is_made_again() {
    let database = Database::new(Way::Direct);
    let db = db(&database.url());
    read_often(&db).await;
    // A new column is none of its business.
    run(&database, "ALTER TABLE counter ADD COLUMN more BIGINT");
    read_often(&db).await;
    // Another type is: the first statement of a transaction is run again.
    let text = |tx: &mut ReadTx<'_>| {
        Ok(tx.one("SELECT value FROM counter WHERE id = $1", params![1_i64])?.text(0)?.to_owned())
    };
    run(&database, "ALTER TABLE counter ALTER COLUMN value TYPE TEXT");
    assert_eq!(db.read(text).await.unwrap(), "7");
    for _ in 0..3 {
        assert_eq!(db.read(text).await.unwrap(), "7");
    }
    // Behind others it fails with a sentence, and the next time it does not.
    run(&database, "ALTER TABLE counter ALTER COLUMN value TYPE BIGINT USING CAST(value AS BIGINT)");
    let second = |tx: &mut ReadTx<'_>| tx.query("SELECT 1 FROM counter", &[]).and_then(|_| find(tx));
    assert_eq!(db.read(second).await.unwrap_err().code, "database_changed");
    assert_eq!(db.read(second).await.unwrap(), 7);
    read_often(&db).await;
    assert!(prepared(&db).await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_meets_an_old_plan_saves_nothing_and_the_next_one_does() {
    let database = Database::new(Way::Direct);
    let db = db(&database.url());
    let add = |tx: &mut chainhost::ports::db::WriteTx<'_>| {
        tx.execute("UPDATE counter SET id = id", &[])?;
        tx.one("UPDATE counter SET value = value RETURNING value", &[]).map(|_| ())
    };
    for _ in 0..5 {
        db.write(add).await.unwrap();
    }
    run(&database, "ALTER TABLE counter ALTER COLUMN value TYPE TEXT");
    assert_eq!(db.write(add).await.unwrap_err().code, "database_changed");
    db.write(add).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_forgets_what_was_prepared_is_not_asked_for_it_again() {
    let database = Database::new(Way::Direct);
    let db = db(&database.url());
    read_often(&db).await;
    assert_eq!(prepared(&db).await, 1);
    db.read(|tx| tx.query("DEALLOCATE ALL", &[]).map(|_| ())).await.unwrap();
    read_often(&db).await;
    assert_eq!(prepared(&db).await, 0);
    // A new session may be trusted again.
    run(
        &database,
        "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    read_often(&db).await;
    assert_eq!(prepared(&db).await, 1);
}
