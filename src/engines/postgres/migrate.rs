//! Brings a PostgreSQL database to the schema that this binary knows.
//!
//! Guarantees: as for SQLite, each step and its mark are one transaction, a newer or foreign database is refused and not changed, and
//! before the first step on a database that holds something its tables are copied, here into the schema `chainhost_before_<step>`.
//! Of several processes that start at once, one takes the steps and the others wait for it.
//! It never goes through a pooler when there is a direct way.

use std::time::Duration;

use super::{
    super::migrations::{Migration, check_known, check_order},
    session::{Session, explain},
};
use crate::domain::{Error, Result};

/// Waits for other processes that migrate, and for their locks. The number is that of the writers: none writes meanwhile.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock(7163082312784573300)";

/// How long the answer to that may take: a little longer than the server waits.
const TURN_MAX: Duration = Duration::from_secs(65);

/// Takes the steps that the database has not taken yet; each answer after them may take as long as `then`. With `known`, an empty database is refused: one that this server had is gone.
pub(super) fn apply(session: &mut Session, migrations: &[Migration<'_>], known: bool, then: Duration) -> Result<()> {
    check_order(migrations)?;
    session.limit(Some(TURN_MAX));
    run(session, BEGIN)?;
    // A large table takes as long as it takes.
    session.limit(None);
    let out = steps(session, migrations, known);
    let word = if out.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = run(session, word);
    session.limit(Some(then));
    out.and(ended.map(|_| ()))
}

fn run(session: &mut Session, sql: &str) -> Result<Vec<String>> {
    session.simple(sql).map_err(|error| explain(&error, sql))
}

fn steps(session: &mut Session, migrations: &[Migration<'_>], known: bool) -> Result<()> {
    let there = run(session, "SELECT COALESCE(CAST(to_regclass('schema_version') AS TEXT), '')")?;
    let taken = match there.first().map(String::as_str) {
        None | Some("") if known => return Err(missing()),
        None | Some("") => Vec::new(),
        Some(_) => taken(session)?,
    };
    check_known(&taken, migrations)?;
    let newest = taken.last().map_or(0, |(number, _)| *number);
    let mut pending = migrations.iter().filter(|(number, ..)| i64::from(*number) > newest).peekable();
    if let (Some((next, ..)), false) = (pending.peek(), taken.is_empty()) {
        copy(session, *next)?;
    }
    if taken.is_empty() {
        run(session, "CREATE TABLE schema_version (version BIGINT PRIMARY KEY, name TEXT COLLATE \"C\" NOT NULL)")?;
    }
    for (number, name, sql) in pending {
        session.simple(sql).map_err(|error| explain(&error, &format!("migration {number} {name}")))?;
        // The names are ours: letters and underscores.
        run(session, &format!("INSERT INTO schema_version (version, name) VALUES ({number}, '{name}')"))?;
    }
    Ok(())
}

fn taken(session: &mut Session) -> Result<Vec<(i64, String)>> {
    let sql = "SELECT COALESCE(string_agg(version || ' ' || name, ',' ORDER BY version), '') FROM schema_version";
    let all = run(session, sql)?.into_iter().next().unwrap_or_default();
    all.split(',')
        .filter(|it| !it.is_empty())
        .map(|it| {
            let (number, name) = it.split_once(' ').ok_or_else(|| Error::internal(format!("schema_version: {it}")))?;
            Ok((number.parse().map_err(Error::internal)?, name.to_owned()))
        })
        .collect()
}

/// The rows of all tables, without keys and indexes, in a schema of their own.
fn copy(session: &mut Session, next: u32) -> Result<()> {
    let schema = format!("chainhost_before_{next}");
    run(
        session,
        &format!(
            "DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema};
             DO $$ DECLARE it record; BEGIN
               FOR it IN SELECT c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                 WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY c.relname
               LOOP EXECUTE format('CREATE TABLE {schema}.%I AS TABLE %I', it.name, it.name); END LOOP;
             END $$"
        ),
    )
    .map(|_| ())
}

fn missing() -> Error {
    Error::unavailable(
        "database_missing",
        "The PostgreSQL database is empty, while this server has had one. Sites go on answering; nothing can be changed. \
         Correct the database URL or restore a backup, and restart.",
    )
}
