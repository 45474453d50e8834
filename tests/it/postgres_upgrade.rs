//! From the first schema of PostgreSQL to this one with all that was stored, and with a copy of it made on the way.
//!
//! The rows are those of the test with SQLite. A step that was released is never changed, so that the first one makes what it
//! made then.

use std::thread;

use chainhost::{
    base::{hash::Sha256, secret::Secret},
    domain::Result,
    engines::{
        postgres::{Postgres, Wish},
        schema::{POSTGRES, SQLITE},
    },
};
use rusqlite::{Connection, types::Value};

use crate::{
    support::{
        Host,
        postgres::{Database, Way},
    },
    upgrade::{FIRST, served, use_what_was_kept, write_kept_files},
};

/// A table of the first schema.
struct Table {
    name: String,
    /// Separated by commas.
    columns: String,
    rows: Vec<Vec<Value>>,
}

/// The tables of the first schema and what is in them.
fn tables() -> Vec<Table> {
    let database = Connection::open_in_memory().unwrap();
    database.execute_batch(FIRST).unwrap();
    let texts = |sql: &str| {
        let mut statement = database.prepare(sql).unwrap();
        let all = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        all.map(Result::unwrap).collect::<Vec<_>>()
    };
    let table = |name: String| {
        let columns: Vec<String> = texts(&format!("SELECT name FROM pragma_table_info('{name}')"));
        let columns: Vec<String> = columns.iter().map(|it| format!("\"{it}\"")).collect();
        let mut statement = database.prepare(&format!("SELECT {} FROM \"{name}\"", columns.join(","))).unwrap();
        let values = |row: &rusqlite::Row<'_>| (0..columns.len()).map(|at| row.get(at)).collect();
        let rows = statement.query_map([], values).unwrap().map(Result::unwrap).collect();
        Table { name, columns: columns.join(","), rows }
    };
    texts("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'schema_version' ORDER BY name")
        .into_iter()
        .map(table)
        .collect()
}

/// A value as a literal that a column of any type takes.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => String::from("NULL"),
        Value::Integer(it) => format!("'{it}'"),
        Value::Text(it) => format!("'{}'", it.replace('\'', "''")),
        Value::Blob(it) => format!("'\\x{}'", it.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()),
        Value::Real(it) => panic!("{it}"),
    }
}

/// Opens a database as a server does that knows so many steps, and closes it.
fn visit(url: &str, steps: usize) -> Result<()> {
    let url = Secret::new(url.to_owned());
    let work = move || {
        let wish = Wish { url: &url, direct_url: None, replica_urls: &[], pool: 2, known: false };
        Postgres::open(&wish, POSTGRES.get(..steps).unwrap()).map(drop)
    };
    thread::spawn(work).join().unwrap()
}

/// A database of a server as the first schema had it.
fn first() -> Database {
    let database = Database::new(Way::Direct);
    visit(&database.url(), 1).unwrap();
    for Table { name, columns, rows } in tables() {
        for row in rows {
            let values: Vec<String> = row.iter().map(literal).collect();
            database.ask(&format!("INSERT INTO \"{name}\" ({columns}) VALUES ({})", values.join(",")));
        }
    }
    database
}

/// All rows in the columns that the first schema had, of the tables in a schema.
fn rows(database: &Database, schema: &str) -> Vec<String> {
    let read = |it: Table| {
        let Table { name, columns, rows } = it;
        let all =
            database.ask(&format!("SELECT '{name} ' || ROW({columns})::text FROM {schema}.\"{name}\" ORDER BY 1"));
        assert_eq!(all.len(), rows.len(), "{name}");
        all
    };
    tables().into_iter().flat_map(read).collect()
}

/// All columns, indexes and keys.
fn schema(database: &Database) -> Vec<String> {
    database.ask(
        "SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default, collation_name) AS it
           FROM information_schema.columns WHERE table_schema = 'public'
         UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
         UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
           WHERE connamespace = 'public'::regnamespace
         ORDER BY 1",
    )
}

#[test]
fn every_earlier_schema_is_upgraded_with_all_rows_and_a_copy_of_them() {
    let newest = POSTGRES.len();
    let fresh = Database::new(Way::Direct);
    visit(&fresh.url(), newest).unwrap();
    for number in 1..newest {
        let database = first();
        let url = database.url();
        visit(&url, number).unwrap();
        let before = rows(&database, "public");
        assert!(before.len() > 30, "{before:?}");
        visit(&url, newest).unwrap();
        assert_eq!(rows(&database, "public"), before, "from {number}");
        assert_eq!(rows(&database, &format!("chainhost_before_{}", number + 1)), before, "the copy of {number}");
        let version = database.ask("SELECT MAX(version)::text FROM schema_version");
        assert_eq!(version, [newest.to_string()]);
        assert_eq!(schema(&database), schema(&fresh), "from {number}");
        assert_eq!(visit(&url, number).unwrap_err().code, "database_newer", "an older program must not touch it");
        assert_eq!(rows(&database, "public"), before, "the older program has touched it");
    }
}

/// The steps as they were released: the name, and what the sums for SQLite and PostgreSQL begin with. One that is changed would
/// leave who has taken it with another schema than who takes it later. A new step belongs here when it is released.
const RELEASED: [(&str, &str, &str); 6] = [
    ("start", "c498446b1fc4356e", "77975eecaa9d36b8"),
    ("aside", "68c58d29d6655f45", "48f5e0499a75e307"),
    ("schedules", "6ea38350d07f46ff", "90344ae709f79be9"),
    ("nodes", "ff991e4c97fc5743", "aaa014296b64c3fb"),
    ("handed_over", "db2727c375af5ac4", "33edebf6a58924c3"),
    ("glance", "094cb118e33a9268", "094cb118e33a9268"),
];

#[test]
fn a_released_step_is_never_changed() {
    let sum = |sql: &str| Sha256::of(sql.as_bytes()).hex()[..16].to_owned();
    for ((released, sqlite), postgres) in RELEASED.iter().zip(SQLITE).zip(POSTGRES) {
        assert_eq!((sqlite.1, sum(sqlite.2), sum(postgres.2)), (released.0, released.1.into(), released.2.into()));
    }
}

#[test]
fn a_server_takes_over_what_the_first_schema_kept() {
    let database = first();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_kept_files(&data);
    let mut host = Host::start_on_in(&database.url(), folder);
    use_what_was_kept(&host);
    assert_eq!(host.stop(), Some(0), "{}", host.log());
    assert!(database.ask("SELECT name FROM chainhost_before_2.site") == ["hello"], "no copy was made on the way");
    host.restart();
    host.until("the site as it is now", || (served(&host, "hello.localhost") == "three").then_some(()));
    assert_eq!(host.stop(), Some(0), "{}", host.log());
}
