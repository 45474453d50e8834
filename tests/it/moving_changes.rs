//! What changes while a move copies: it is noted, followed and counted, and the time without changes does not grow with what stays.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use chainhost::{
    app::moving::{self, Ask, Progress, Report, Watch, Wish},
    base::{secret::Secret, tasks::Tasks},
    config::server::{Flags, Server},
    domain::Result,
    engines::{schema, sqlite::Sqlite},
    params,
    ports::db::{Db, Value, WriteTx},
    store::copy::{self, changes},
};

use crate::{
    moving::{add_events, ask, open_postgres},
    support::{
        Host,
        postgres::{Database, Way},
    },
};

const ID: [u8; 16] = [7; 16];

fn change(tx: &mut WriteTx<'_>) -> Result<()> {
    let (id, other) = (ID.as_slice(), [8_u8; 16]);
    for value in ["one", "two"] {
        tx.execute(
            "INSERT INTO setting (name, value) VALUES ('näme', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            params![value],
        )?;
    }
    tx.execute(
        "INSERT INTO upload_part (tenant_id, deployment_id, part, hashes) VALUES ($1, $1, -3, $1), ($1, $2, 1, $1)",
        params![id, other.as_slice()],
    )?;
    tx.execute("UPDATE upload_part SET part = 9000000000 WHERE part = 1", &[])?;
    tx.execute(
        "INSERT INTO audit_log (tenant_id, created_ms, id, actor, address, kind, entity, entity_id, text)
         VALUES ($1, 1700000000000, $1, '', '', '', '', '', ''), ($1, 1, $1, '', '', '', '', '', '')",
        params![id],
    )?;
    tx.execute("DELETE FROM audit_log WHERE created_ms = 1", &[])?;
    tx.execute("DELETE FROM setting WHERE name = 'before'", &[])?;
    Ok(())
}

async fn notes_what_changes(db: &Db) {
    db.write(|tx| tx.execute("INSERT INTO setting (name, value) VALUES ('before', '')", &[])).await.unwrap();
    let tables = db.read(copy::tables).await.unwrap();
    assert!(!db.read(changes::was_watched).await.unwrap());
    let to_watch = tables.clone();
    db.write(move |tx| changes::watch(tx, &to_watch)).await.unwrap();
    assert_eq!(db.read(copy::tables).await.unwrap(), tables, "it is no table of the data");
    db.write(change).await.unwrap();
    let id = || Value::Blob(ID.to_vec());
    let part = |deployment: u8, part: i64| {
        (String::from("upload_part"), vec![id(), Value::Blob(vec![deployment; 16]), Value::Int(part)])
    };
    let event = |created_ms: i64| (String::from("audit_log"), vec![id(), Value::Int(created_ms), id()]);
    let setting = |name: &str| (String::from("setting"), vec![Value::Text(name.to_owned())]);
    let mut wanted = vec![
        part(7, -3),
        part(8, 1),
        part(8, 9_000_000_000),
        event(1),
        event(1_700_000_000_000),
        setting("before"),
        setting("näme"),
    ];
    let mut taken = Vec::new();
    // Some at a time, and none twice.
    for _ in 0..4 {
        let tables = tables.clone();
        taken.extend(db.write(move |tx| changes::take_changed(tx, &tables, 2)).await.unwrap());
    }
    let order = |it: &changes::Changed| format!("{it:?}");
    wanted.sort_by_key(order);
    taken.sort_by_key(order);
    assert_eq!(taken, wanted);
    let (to_ask, to_list) = (tables.clone(), tables.clone());
    assert!(db.read(move |tx| changes::is_watched(tx, &to_ask)).await.unwrap());
    let left = db.read(move |tx| changes::list_changed(tx, &to_list, 10)).await.unwrap();
    assert_eq!(left, []);
    let one = tables[0].clone();
    db.write(move |tx| changes::unwatch_table(tx, &one)).await.unwrap();
    let to_ask = tables.clone();
    assert!(!db.read(move |tx| changes::is_watched(tx, &to_ask)).await.unwrap(), "one table is not watched");
    for table in tables {
        db.write(move |tx| changes::unwatch_table(tx, &table)).await.unwrap();
    }
    db.write(changes::unwatch).await.unwrap();
    assert!(!db.read(changes::was_watched).await.unwrap());
    db.write(|tx| tx.execute("UPDATE setting SET value = 'three'", &[])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_what_changes_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    notes_what_changes(&Db::new(Sqlite::open(&folder.path().join("db"), schema::SQLITE).unwrap())).await;
    let database = Database::new(Way::Direct);
    notes_what_changes(&open_postgres(&database.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_are_made_in_pages() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::new(Sqlite::open(&folder.path().join("db"), schema::SQLITE).unwrap());
    db.write(change).await.unwrap();
    let tables = db.read(copy::tables).await.unwrap();
    let table = tables.into_iter().find(|it| it.name == "upload_part").unwrap();
    let (of, all) = (table.clone(), table.clone());
    let (rows, last) = db.read(move |tx| copy::count_some(tx, &of, &[], 1)).await.unwrap();
    let last = last.unwrap();
    assert_eq!((rows, &last[2]), (1, &Value::Int(-3)));
    assert_eq!(db.read(move |tx| copy::count_some(tx, &table, &last, 2)).await.unwrap(), (1, None));
    assert_eq!(db.read(move |tx| copy::count_some(tx, &all, &[], 2)).await.unwrap().0, 2);
}

/// What a move said, and the rows that each of its steps looked at.
#[derive(Default)]
struct Steps(Mutex<Vec<(&'static str, u64)>>);

impl Steps {
    fn hear(&self, progress: Progress) {
        let mut steps = self.0.lock().unwrap();
        match progress {
            Progress::Step(name, _) => steps.push((name, 0)),
            Progress::Rows(rows) => steps.last_mut().unwrap().1 += rows,
        }
    }

    fn rows(&self, step: &str) -> u64 {
        self.0.lock().unwrap().iter().filter(|it| it.0 == step).map(|it| it.1).sum()
    }
}

/// Moves without a server, and does `work` at the first step with this name.
fn move_and(
    host: &Host,
    to: &str,
    step: &'static str,
    work: impl Fn() + Send + Sync + 'static,
) -> (Result<Report>, Arc<Steps>) {
    let steps = Arc::new(Steps::default());
    let (hears, done) = (Arc::clone(&steps), AtomicU64::new(0));
    let watch: Watch = Arc::new(move |progress| {
        hears.hear(progress);
        if matches!(progress, Progress::Step(name, _) if name == step) && done.fetch_add(1, Ordering::SeqCst) == 0 {
            work();
        }
    });
    let settings = Server::load(&Flags { data: Some(host.data().clone()), ..Flags::default() }).unwrap();
    let wish =
        Wish { to: Some(Secret::new(to.to_owned())), redis: None, blobs: None, rehearse: false, skip_rehearsal: true };
    let ask: Ask<'_> = &|_| Ok(None);
    let moved = thread::scope(|scope| {
        let moving = scope.spawn(|| {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            moving::run(&runtime, &settings, &wish, ask, &watch)
        });
        moving.join().unwrap()
    });
    (moved, steps)
}

fn rows(report: &Report, table: &str) -> u64 {
    report.tables.iter().find(|it| it.table == table).unwrap().rows
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_look_is_at_what_changed_and_not_at_all() {
    let database = Database::new(Way::Direct);
    let mut host = Host::start_embedded();
    host.key("owner@example.org", "super-admin");
    assert_eq!(host.stop(), Some(0));
    add_events(&host, 20_000).await;
    // While all is copied, rows come, change and go, a name goes from one row to another, and the last row of many parts goes.
    let path = host.data().join("chainhost.db");
    let work = move || {
        let path = path.clone();
        thread::spawn(move || {
            let db = Db::new(Sqlite::open(&path, schema::SQLITE).unwrap());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let work = |tx: &mut WriteTx<'_>| {
                tx.execute("UPDATE audit_log SET text = 'changed' WHERE text LIKE 'event 77%'", &[])?;
                tx.execute("DELETE FROM audit_log WHERE text LIKE 'event 10%'", &[])?;
                tx.execute("INSERT INTO setting (name, value) VALUES ('came', 'late')", &[])?;
                tx.execute("DELETE FROM tenant", &[])?;
                tx.execute(
                    "INSERT INTO tenant (id, name, created_ms) VALUES ($1, 'default', 1)",
                    params![ID.as_slice()],
                )
            };
            runtime.block_on(db.write(work)).unwrap();
        })
        .join()
        .unwrap();
    };
    let (moved, steps) = move_and(&host, &database.url(), "copying what has changed", work);
    let moved = moved.unwrap();
    // 10, 100…109, 1000…1099 and 10000…10999 are gone.
    let there = open_postgres(&database.url());
    let events = "SELECT COUNT(*) FROM audit_log WHERE kind = 'test'";
    assert_eq!(there.read(move |tx| tx.one(events, &[])?.int(0)).await.unwrap(), 20_000 - 1_111);
    assert!(rows(&moved, "audit_log") >= 20_000 - 1_111);
    assert!(steps.rows("copying") >= 20_000);
    assert!(steps.rows("the last look") < 5_000, "{:?}", steps.0);
    let changed = "SELECT COUNT(*) FROM audit_log WHERE text = 'changed'";
    assert_eq!(there.read(move |tx| tx.one(changed, &[])?.int(0)).await.unwrap(), 111);
    let name = "SELECT COUNT(*) FROM tenant WHERE id = $1 AND name = 'default'";
    assert_eq!(there.read(move |tx| tx.one(name, params![ID.as_slice()])?.int(0)).await.unwrap(), 1);
    assert!(!there.read(changes::was_watched).await.unwrap());
    // The same rows have the same hash, whatever way they came: back over what the file has left.
    let (back, _) = move_and(&host, "sqlite", "copying", || {});
    let back = back.unwrap();
    for (there, back) in moved.tables.iter().zip(&back.tables) {
        assert_eq!((&there.table, there.rows, &there.sha256), (&back.table, back.rows, &back.sha256));
    }
    let left = ask(&host, "SELECT name FROM sqlite_schema WHERE name LIKE 'chainhost_changed%'");
    assert_eq!(left, Vec::<serde_json::Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_taken_away_meanwhile_is_noticed() {
    let database = Database::new(Way::Direct);
    let mut host = Host::start_embedded();
    host.key("owner@example.org", "super-admin");
    assert_eq!(host.stop(), Some(0));
    add_events(&host, 3_000).await;
    let before = move_and(&host, &database.url(), "copying", || {}).0.unwrap();
    // As the removal of a month does it: no trigger hears of the rows.
    let url = database.url();
    let drop_month = move || {
        let url = url.clone();
        let sql = "CREATE TABLE audit_gone (LIKE audit_log INCLUDING ALL);
                   ALTER TABLE audit_log DETACH PARTITION audit_log_default; DROP TABLE audit_log_default;
                   ALTER TABLE audit_log ATTACH PARTITION audit_gone DEFAULT";
        thread::spawn(move || postgres::Client::connect(&url, postgres::NoTls).unwrap().batch_execute(sql).unwrap())
            .join()
            .unwrap();
    };
    let (back, steps) = move_and(&host, "sqlite", "copying what has changed", drop_month);
    let back = back.unwrap();
    assert!(rows(&before, "audit_log") >= 3_000);
    assert!(steps.rows("copying") >= 3_000);
    let left = ask(&host, "SELECT COUNT(*) AS n FROM audit_log WHERE kind = 'test'");
    assert_eq!((rows(&back, "audit_log") < 3_000, &left[0]["n"]), (true, &serde_json::Value::from(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_somebody_ended_stops_the_move() {
    let database = Database::new(Way::Direct);
    let mut host = Host::start_embedded();
    assert_eq!(host.stop(), Some(0));
    let path = host.data().join("chainhost.db");
    let work = move || {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch("DROP TRIGGER chainhost_changed_site_update").unwrap();
    };
    let (moved, _) = move_and(&host, &database.url(), "copying what has changed", work);
    assert_eq!(moved.unwrap_err().code, "not_watched");
    // What was killed in the middle leaves a watch, which the next start ends.
    let path = host.data().join("chainhost.db");
    let db = Db::new(Sqlite::open(&path, schema::SQLITE).unwrap());
    assert!(!db.read(changes::was_watched).await.unwrap());
    let tables = db.read(copy::tables).await.unwrap();
    db.write(move |tx| changes::watch(tx, &tables)).await.unwrap();
    drop(db);
    host.restart();
    let left = ask(&host, "SELECT name FROM sqlite_schema WHERE name LIKE 'chainhost_changed%'");
    assert_eq!(left, Vec::<serde_json::Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_lives_when_its_number_grows_whatever_its_clock_says() {
    let database = Database::new(Way::Direct);
    let mut host = Host::start_embedded();
    host.key("owner@example.org", "super-admin");
    assert_eq!(host.stop(), Some(0));
    let db = Db::new(Sqlite::open(&host.data().join("chainhost.db"), schema::SQLITE).unwrap());
    // Its clock is far ahead, then far behind.
    let ahead =
        "INSERT INTO node (id, epoch, role, labels, beat, seen_ms) VALUES ($1, $1, 'all', '', 5, 9000000000000)";
    db.write(move |tx| tx.execute(ahead, params![ID.as_slice()])).await.unwrap();
    let stop = Arc::new(AtomicU64::new(0));
    let tasks = Tasks::new();
    let (beats, may) = (db.clone(), Arc::clone(&stop));
    tasks.spawn(async move {
        while may.load(Ordering::SeqCst) == 0 {
            beats.write(|tx| tx.execute("UPDATE node SET beat = beat + 1, seen_ms = 0", &[])).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
    let refused = move_and(&host, &database.url(), "", || {}).0;
    assert_eq!(refused.unwrap_err().code, "nodes");
    stop.store(1, Ordering::SeqCst);
    tasks.stop();
    tasks.join().await;
    db.write(|tx| tx.execute("UPDATE node SET seen_ms = 9000000000000", &[])).await.unwrap();
    drop(db);
    // It says nothing any more.
    move_and(&host, &database.url(), "", || {}).0.unwrap();
}
