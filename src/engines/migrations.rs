//! Numbered steps that bring a SQLite database to the schema this binary knows.
//!
//! Guarantees: each step and its mark in `schema_version` are one transaction; before the first step on a
//! database that holds something, a copy stands beside it as `<path>.before-<number of that step>`; a
//! database of a newer binary, or one whose steps have other names, is refused and not changed.
//! It never goes a step back: the way back is the copy.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::{
    base::files,
    domain::{Error, Result, error::Kind},
};

use super::sqlite::statement::explain;

/// One step: its number (growing), its name, its SQL.
pub type Migration<'a> = (u32, &'a str, &'a str);

/// Takes the steps that `connection` (the database at `path`) has not taken yet.
pub fn apply(connection: &Connection, path: &Path, migrations: &[Migration<'_>]) -> Result<()> {
    check_order(migrations)?;
    let taken = taken(connection)?;
    check_known(&taken, migrations)?;
    let newest = taken.last().map_or(0, |(number, _)| *number);
    let mut pending = migrations.iter().filter(|(number, ..)| i64::from(*number) > newest).peekable();
    if let (Some((next, ..)), true) = (pending.peek(), holds_something(connection)?) {
        copy(connection, path, *next)?;
    }
    connection
        .execute_batch(
            "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT",
        )
        .map_err(|error| explain(&error, "schema_version"))?;
    for migration in pending {
        step(connection, *migration)?;
    }
    Ok(())
}

pub(super) fn check_order(migrations: &[Migration<'_>]) -> Result<()> {
    let grows = migrations.iter().zip(migrations.iter().skip(1)).all(|(a, b)| a.0 < b.0);
    if grows && migrations.first().is_none_or(|(number, ..)| *number > 0) {
        Ok(())
    } else {
        Err(Error::internal("the numbers of the migrations do not grow from 1"))
    }
}

/// The steps that the database has taken, oldest first.
fn taken(connection: &Connection) -> Result<Vec<(i64, String)>> {
    let read = || -> rusqlite::Result<Vec<(i64, String)>> {
        let known: i64 = connection.query_row(
            "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'table' AND name = 'schema_version'",
            [],
            |row| row.get(0),
        )?;
        if known == 0 {
            return Ok(Vec::new());
        }
        let mut statement = connection.prepare("SELECT version, name FROM schema_version ORDER BY version")?;
        statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
    };
    read().map_err(|error| explain(&error, "schema_version"))
}

pub(super) fn check_known(taken: &[(i64, String)], migrations: &[Migration<'_>]) -> Result<()> {
    let newest = migrations.last().map_or(0, |(number, ..)| i64::from(*number));
    for (number, name) in taken {
        if *number > newest {
            return Err(Error::new(
                Kind::Unavailable,
                "database_newer",
                format!(
                    "The database was written by a newer version of Chain Host: its schema has number {number}, this version \
                     knows {newest}. Start the newer version, or put back the copy that was made before the upgrade."
                ),
            ));
        }
        if !migrations.iter().any(|(known, word, _)| i64::from(*known) == *number && word == name) {
            return Err(Error::new(
                Kind::Unavailable,
                "database_foreign",
                format!(
                    "The database has a schema step {number} `{name}` that this version does not know. It belongs to another program or build."
                ),
            ));
        }
    }
    Ok(())
}

fn holds_something(connection: &Connection) -> Result<bool> {
    connection
        .query_row("SELECT COUNT(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))
        .map(|objects| objects > 0)
        .map_err(|error| explain(&error, "sqlite_schema"))
}

/// `<path><suffix>`, also for names that are not text.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn copy(connection: &Connection, path: &Path, next: u32) -> Result<()> {
    let last = beside(path, &format!(".before-{next}"));
    let fresh = beside(path, &format!(".before-{next}.tmp"));
    if fresh.exists() {
        fs::remove_file(&fresh)?;
    }
    let target = fresh.to_str().ok_or_else(|| Error::internal("the path of the database is not UTF-8"))?;
    connection.execute("VACUUM INTO ?1", [target]).map_err(|error| explain(&error, "VACUUM INTO"))?;
    check_copy(&fresh)?;
    // VACUUM INTO does not wait for the disk.
    File::open(&fresh)?.sync_all()?;
    fs::rename(&fresh, &last)?;
    if let Some(folder) = last.parent().filter(|it| !it.as_os_str().is_empty()) {
        files::sync_folder(folder)?;
    }
    Ok(())
}

/// Refuses a copy that is not whole: it is the way back, and nobody looks at it again before it is needed (CONTRACTS §2).
fn check_copy(path: &Path) -> Result<()> {
    let look = || -> rusqlite::Result<Option<String>> {
        let copy = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let said: String = copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if said != "ok" {
            return Ok(Some(said));
        }
        let sql = "SELECT \"table\" FROM pragma_foreign_key_check LIMIT 1";
        let strays = copy.query_row(sql, [], |row| row.get::<_, String>(0)).optional()?;
        Ok(strays.map(|table| format!("rows of `{table}` name rows that are not there")))
    };
    let detail = match look() {
        Ok(None) => return Ok(()),
        Ok(Some(detail)) => detail,
        Err(error) => error.to_string(),
    };
    Err(Error::unavailable(
        "database_damaged",
        "The database of this server is damaged: the copy that is made of it before an upgrade does not pass its checks. \
         Nothing was changed. Restore a backup, or start the version of before.",
    )
    .because(detail))
}

fn step(connection: &Connection, (number, name, sql): Migration<'_>) -> Result<()> {
    let what = format!("migration {number} {name}");
    let take = || -> rusqlite::Result<()> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        connection.execute_batch(sql)?;
        connection.execute("INSERT INTO schema_version (version, name) VALUES (?1, ?2)", (number, name))?;
        connection.execute_batch("COMMIT")
    };
    take().map_err(|error| {
        if !connection.is_autocommit() {
            // Should this fail too, closing the connection rolls back.
            drop(connection.execute_batch("ROLLBACK"));
        }
        explain(&error, &what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Migration<'_> = (1, "first", "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (7);");
    const TWO: Migration<'_> = (2, "second", "CREATE TABLE b (x INTEGER) STRICT;");
    const BROKEN: Migration<'_> = (3, "third", "CREATE TABLE c (x INTEGER) STRICT; NONSENSE;");

    fn count(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn steps_are_taken_once_and_a_copy_is_made_of_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let connection = Connection::open(&path).unwrap();
        apply(&connection, &path, &[ONE]).unwrap();
        assert!(!beside(&path, ".before-1").exists(), "an empty database needs no copy");
        apply(&connection, &path, &[ONE, TWO]).unwrap();
        apply(&connection, &path, &[ONE, TWO]).unwrap();
        assert_eq!(count(&connection, "SELECT COUNT(*) FROM schema_version"), 2);

        let before = Connection::open(beside(&path, ".before-2")).unwrap();
        assert_eq!(count(&before, "SELECT x FROM a"), 7);
        assert_eq!(count(&before, "SELECT MAX(version) FROM schema_version"), 1);
        assert!(!beside(&path, ".before-2.tmp").exists());
    }

    #[test]
    fn a_damaged_database_is_not_upgraded() {
        let tree =
            (1, "tree", "CREATE TABLE tree (id INTEGER PRIMARY KEY, above INTEGER REFERENCES tree (id)) STRICT;");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let connection = Connection::open(&path).unwrap();
        apply(&connection, &path, &[tree]).unwrap();
        // Behind the back of the checks, as a disk would.
        connection.execute_batch("PRAGMA foreign_keys = OFF; INSERT INTO tree VALUES (1, 7)").unwrap();
        let refused = apply(&connection, &path, &[tree, TWO]).unwrap_err();
        assert_eq!(refused.code, "database_damaged", "{refused}");
        assert!(!beside(&path, ".before-2").exists());
        assert_eq!(count(&connection, "SELECT MAX(version) FROM schema_version"), 1);
        connection.execute_batch("DELETE FROM tree").unwrap();
        apply(&connection, &path, &[tree, TWO]).unwrap();
        assert!(beside(&path, ".before-2").exists());
    }

    #[test]
    fn a_failed_step_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let connection = Connection::open(&path).unwrap();
        assert!(apply(&connection, &path, &[ONE, TWO, BROKEN]).is_err());
        assert_eq!(count(&connection, "SELECT MAX(version) FROM schema_version"), 2);
        assert_eq!(count(&connection, "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'c'"), 0);
    }

    #[test]
    fn newer_and_foreign_databases_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let connection = Connection::open(&path).unwrap();
        apply(&connection, &path, &[ONE, TWO]).unwrap();
        assert_eq!(apply(&connection, &path, &[ONE]).unwrap_err().code, "database_newer");
        let other = (2, "other", "SELECT 1");
        assert_eq!(apply(&connection, &path, &[ONE, other]).unwrap_err().code, "database_foreign");
        assert!(apply(&connection, &path, &[TWO, ONE]).is_err(), "numbers must grow");
    }
}
