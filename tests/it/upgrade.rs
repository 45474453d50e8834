//! From an older schema to this one with all that was stored, and back by the copy that was made on the way.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{fs, path::Path};

use chainhost::engines::{schema::SQLITE, sqlite::Sqlite};
use rusqlite::Connection;
use serde_json::json;

use crate::support::{Host, PASSWORD, browser::Browser, write_files};

/// A database of a server as it was before the second step of the schema.
pub(crate) const FIRST: &str = include_str!("upgrade/schema_1.sql");
/// A key in it, which may do everything.
const KEY: &str = "ch_L7iO5pVAzH0annZSJ4PBDYBGgwrhMjzzrn8w7sBoXSMa7bYom";
/// The installation that it belongs to.
const INSTANCE: &str = "01a22463753d7000ab5a7fc798296df8\n";

/// Every object of a schema, but what the database itself keeps.
fn schema(database: &Connection) -> Vec<String> {
    let sql = "SELECT type || ' ' || name || ' ' || sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name";
    let mut statement = database.prepare(sql).unwrap();
    let all = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
    // The mark of the steps is made in words of its own.
    all.map(Result::unwrap).filter(|it| !it.contains(" schema_version ")).collect()
}

/// The tables of the first schema with their columns, as a statement that writes each row as text.
fn readings() -> Vec<String> {
    let database = Connection::open_in_memory().unwrap();
    database.execute_batch(FIRST).unwrap();
    let mut tables = database
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT IN ('schema_version') ORDER BY name")
        .unwrap();
    let names: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let reading = |name: &String| {
        let mut columns = database.prepare("SELECT name FROM pragma_table_info(?1)").unwrap();
        let columns = columns.query_map([name], |row| row.get::<_, String>(0)).unwrap();
        let quoted: Vec<String> = columns.map(|it| format!("quote(\"{}\")", it.unwrap())).collect();
        format!("SELECT '{name} ' || {} FROM \"{name}\" ORDER BY 1", quoted.join(" || ',' || "))
    };
    names.iter().map(reading).collect()
}

/// All rows, in the columns that the first schema had.
fn rows(database: &Connection) -> Vec<String> {
    let mut all = Vec::new();
    for reading in readings() {
        let mut statement = database.prepare(&reading).unwrap();
        all.extend(statement.query_map([], |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap));
    }
    all
}

fn check(database: &Connection, version: usize) {
    let text = |sql: &str| database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    assert_eq!(text("SELECT CAST(MAX(version) AS TEXT) FROM schema_version"), version.to_string());
}

/// Opens the database as a program does that knows so many steps, and closes it.
fn visit(path: &Path, steps: usize) -> chainhost::domain::Result<()> {
    Sqlite::open(path, SQLITE.get(..steps).unwrap()).map(drop)
}

#[test]
fn every_earlier_schema_is_upgraded_with_all_rows_and_can_be_had_back() {
    let newest = SQLITE.len();
    for number in 1..newest {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("chainhost.db");
        Connection::open(&path).unwrap().execute_batch(FIRST).unwrap();
        visit(&path, number).unwrap();
        let open = || Connection::open(&path).unwrap();
        let (before, old) = (rows(&open()), schema(&open()));
        assert!(before.len() > 30, "{before:?}");
        check(&open(), number);

        visit(&path, newest).unwrap();
        assert_eq!(rows(&open()), before, "from {number}");
        check(&open(), newest);
        // It has become what a new database is.
        let fresh = folder.path().join("fresh.db");
        visit(&fresh, newest).unwrap();
        assert_eq!(schema(&open()), schema(&Connection::open(&fresh).unwrap()), "from {number}");
        assert_eq!(visit(&path, number).unwrap_err().code, "database_newer", "an older program must not touch it");

        // Back: the copy in its place is what the older program had.
        let copy = folder.path().join(format!("chainhost.db.before-{}", number + 1));
        for name in ["chainhost.db", "chainhost.db-wal", "chainhost.db-shm"] {
            drop(fs::remove_file(folder.path().join(name)));
        }
        fs::copy(&copy, &path).unwrap();
        check(&open(), number);
        assert_eq!((rows(&open()), schema(&open())), (before.clone(), old), "back to {number}");
        visit(&path, number).unwrap();
        // And on again.
        visit(&path, newest).unwrap();
        assert_eq!(rows(&open()), before, "again from {number}");
        check(&open(), newest);
    }
}

/// The files of that server: two pages, their manifests, and the lists that they were sent by.
fn blobs() -> [(&'static str, String); 4] {
    let manifest = |hash: &str| {
        format!(
            "{{\"entries\":[{{\"path\":\"/index.html\",\"sha256\":\"{hash}\",\"size\":4,\"type\":\"text/html; charset=utf-8\"}}],\
             \"format\":\"chainhost/manifest@v1\",\"policy\":{{\"clean_urls\":false,\"fallback\":null,\"headers\":[],\
             \"index\":\"index.html\",\"redirects\":[]}}}}"
        )
    };
    let (one, two) = (
        "2c8b08da5ce60398e1f19af0e5dccc744df274b826abe585eaba68c525434806",
        "27dd8ed44a83ff94d557f9fd0412ed5a8cbca69ea04922d88c01184a07300a5a",
    );
    [
        (one, String::from("one\n")),
        (two, String::from("two\n")),
        ("ab3ae386f95f3f90de2d8eec03e4b31dfd9bad16a5847c02736cdee40a6084d5", manifest(one)),
        ("d0d339249bab981f9e62d152f49cfdcc55287e11e8806b39affb04fbf8cb2230", manifest(two)),
    ]
}

/// What the site answers at `/`.
pub(crate) fn served(host: &Host, name: &str) -> String {
    host.get(name, "/").text()
}

/// The files that the first schema's rows name, and the id of its installation.
pub(crate) fn write_kept_files(data: &Path) {
    write_files(data, &[("instance", INSTANCE.as_bytes())]);
    for (hash, text) in blobs() {
        write_files(&data.join("blobs").join(&hash[..2]), &[(hash, text.as_bytes())]);
    }
}

/// Signs in, looks, rolls back and deploys on a server that took over what the first schema kept.
pub(crate) fn use_what_was_kept(host: &Host) {
    for name in ["hello.localhost", "www.example.org"] {
        host.until("the site", || (served(host, name) == "two\n").then_some(()));
    }
    assert_eq!(host.api_json(KEY, "GET /api/v1/me", "", 200)["email"], "owner@example.org");
    assert!(Browser::signed_in(host, "owner@example.org").page("/sites").contains("hello"));
    let listed = host.api_json(KEY, "GET /api/v1/sites/hello/deployments", "", 200);
    let numbers: Vec<_> = listed["items"].as_array().unwrap().iter().map(|it| it["number"].clone()).collect();
    assert_eq!(numbers, [json!(2), json!(1)]);
    let job = "GET /api/v1/jobs/01a22463aa3d7000b1c6582d4f081a59";
    host.until("the job that waited", || {
        let answer = host.api(KEY, job, b"");
        (answer.status == 200 && answer.json()["state"] == "done").then_some(())
    });
    host.api_json(KEY, "POST /api/v1/sites/hello/rollback", r#"{"to":"1"}"#, 200);
    assert_eq!(served(host, "hello.localhost"), "one\n");
    write_files(&host.beside("site"), &[("index.html", b"three")]);
    host.cli_json(KEY, &["deploy", host.beside("site").to_str().unwrap(), "--site", "hello", "--json"]);
    assert_eq!(served(host, "hello.localhost"), "three");
}

#[test]
fn a_server_takes_over_what_the_first_schema_kept() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_kept_files(&data);
    Connection::open(data.join("chainhost.db")).unwrap().execute_batch(FIRST).unwrap();
    let mut host = Host::start_embedded_in(folder);
    use_what_was_kept(&host);
    let made =
        host.admin(&["create-user", "--email", "new@example.org", "--role", "user", "--password-stdin"], PASSWORD);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    // Back to the copy, as one does who goes back to the older program; the new one then begins from there again.
    assert_eq!(host.stop(), Some(0), "{}", host.log());
    let data = host.data();
    check(&Connection::open(data.join("chainhost.db")).unwrap(), SQLITE.len());
    check(&Connection::open(data.join("chainhost.db.before-2")).unwrap(), 1);
    for name in ["chainhost.db", "chainhost.db-wal", "chainhost.db-shm"] {
        drop(fs::remove_file(data.join(name)));
    }
    fs::copy(data.join("chainhost.db.before-2"), data.join("chainhost.db")).unwrap();
    host.restart();
    host.until("the site of then", || (served(&host, "hello.localhost") == "two\n").then_some(()));
    assert_eq!(host.stop(), Some(0), "{}", host.log());
}
