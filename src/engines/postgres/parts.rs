//! Tables in parts, one for each month of `created_ms`, and a default part for what fits none.
//!
//! Guarantees: a change of parts is one transaction, so that nothing is ever half attached or half gone; it waits for the writers' lock
//! and for a short time only, so that it never stands in the way of reads for long. Rows in the default part move into their
//! month's part when that is made.
//! It never goes through a pooler when there is a direct way.
//!
//! `DETACH PARTITION … CONCURRENTLY` is not used: PostgreSQL refuses it on a table with a default part, and without a default part a
//! write would fail whenever a month was not made in time.

use std::{sync::Arc, thread, time::Duration};

use super::{
    WRITERS_LOCK,
    address::Address,
    session::{Session, Statements, explain},
};
use crate::{
    domain::{Error, Result, month::Month},
    ports::{
        db::ReadTx,
        parts::{May, Parts, Strays},
    },
};

/// Four weeks: no two months that follow one another but one lie in one such span more than once.
const SPAN_MS: i64 = 28 * 24 * 60 * 60 * 1_000;
/// Spans of strays that are looked at in one go.
const SPANS_MAX: u32 = 500;

/// How long an answer may take: a little longer than the server allows a statement here.
const ANSWER_MAX: Duration = Duration::from_secs(65);

/// The parts of the tables of one database.
pub(super) struct MonthParts {
    address: Arc<Address>,
}

impl MonthParts {
    /// Of the database at this address.
    pub(super) const fn new(address: Arc<Address>) -> Self {
        Self { address }
    }

    /// Runs `work` on a connection of its own, on a thread of its own: the client drives a runtime.
    fn apart<T: Send>(&self, work: impl FnOnce(&mut Session) -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let there = thread::Builder::new().name(String::from("db-parts")).spawn_scoped(scope, || {
                let mut session = Session::connect(&self.address)?;
                session.limit(Some(ANSWER_MAX));
                work(&mut session)
            })?;
            there.join().unwrap_or_else(|_| Err(Error::internal("a change of parts panicked")))
        })
    }
}

impl Parts for MonthParts {
    fn make(&self, table: &str, months: &[Month]) -> Result<()> {
        let table = checked(table)?;
        self.apart(|session| {
            let there = list(session, table)?;
            let missing: Vec<Month> = months.iter().copied().filter(|it| !there.contains(it)).collect();
            if missing.is_empty() {
                return Ok(());
            }
            transaction(session, |session| {
                // Another process may have made them meanwhile.
                let there = list(session, table)?;
                for month in missing.iter().filter(|it| !there.contains(it)) {
                    make(session, table, *month)?;
                }
                Ok(())
            })
        })
    }

    fn list(&self, table: &str) -> Result<Vec<Month>> {
        let table = checked(table)?;
        self.apart(|session| list(session, table))
    }

    fn find_strays(&self, table: &str) -> Result<Strays> {
        let table = checked(table)?;
        // The first and the last of each span: each month that has strays has one of them.
        let sql = format!(
            "SELECT CAST((SELECT COUNT(*) FROM {table}_default) AS TEXT), COALESCE(string_agg(first || ',' || last, ','), '') FROM
               (SELECT MIN(created_ms) AS first, MAX(created_ms) AS last FROM {table}_default
                GROUP BY created_ms / {SPAN_MS} ORDER BY 1 LIMIT {SPANS_MAX}) AS spans"
        );
        let found = self.apart(|session| run(session, &sql))?;
        let count = found.first().and_then(|it| it.parse().ok()).unwrap_or(0);
        let times = found.get(1).map(String::as_str).unwrap_or_default().split(',');
        let mut months: Vec<Month> = times.filter_map(|it| it.parse().ok()).map(Month::of).collect();
        months.sort_unstable();
        months.dedup();
        Ok(Strays { count, months })
    }

    fn remove(&self, table: &str, month: Month, may: &May) -> Result<()> {
        let table = checked(table)?;
        self.apart(|session| {
            transaction(session, |session| {
                may(&mut ReadTx::new(&mut Statements::new(session, false)))?;
                if !list(session, table)?.contains(&month) {
                    return Ok(());
                }
                let part = format!("{table}_{}", month.suffix());
                run(session, &format!("ALTER TABLE {table} DETACH PARTITION {part}; DROP TABLE {part}")).map(|_| ())
            })
        })
    }
}

/// Names of tables are ours: letters and underscores.
fn checked(table: &str) -> Result<&str> {
    let is_ours = !table.is_empty() && table.bytes().all(|it| it.is_ascii_lowercase() || it == b'_');
    if is_ours { Ok(table) } else { Err(Error::internal(format!("{table} is no table by month"))) }
}

fn run(session: &mut Session, sql: &str) -> Result<Vec<String>> {
    session.simple(sql).map_err(|error| explain(&error, sql))
}

/// One transaction under the writers' lock. Whoever reads a table while a part comes or goes is waited for, for longer than a
/// read may take.
fn transaction<T>(session: &mut Session, work: impl FnOnce(&mut Session) -> Result<T>) -> Result<T> {
    run(
        session,
        &format!(
            "BEGIN; SET LOCAL lock_timeout = '6s'; SET LOCAL statement_timeout = '60s';
             SELECT pg_advisory_xact_lock({WRITERS_LOCK})"
        ),
    )?;
    let out = work(session);
    let ended = run(session, if out.is_ok() { "COMMIT" } else { "ROLLBACK" });
    out.and_then(|it| ended.map(|_| it))
}

fn list(session: &mut Session, table: &str) -> Result<Vec<Month>> {
    let sql = format!(
        "SELECT COALESCE(string_agg(c.relname, ','), '') FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = CAST('{table}' AS regclass)"
    );
    let found = run(session, &sql)?.into_iter().next().unwrap_or_default();
    let suffixes = found.split(',').filter_map(|it| it.strip_prefix(table)?.strip_prefix('_'));
    let mut months: Vec<Month> = suffixes.filter_map(|it| Month::parse(it).ok()).collect();
    months.sort_unstable();
    Ok(months)
}

fn make(session: &mut Session, table: &str, month: Month) -> Result<()> {
    let (from, to) = month.range_ms();
    let part = format!("{table}_{}", month.suffix());
    let waiting = format!(
        "SELECT COUNT(*) FROM (SELECT 1 FROM {table}_default WHERE created_ms >= {from} AND created_ms < {to} LIMIT 1) AS one"
    );
    let has_strays = run(session, &waiting)?.first().is_some_and(|it| it != "0");
    let moving = format!(
        "WITH moved AS (DELETE FROM {table}_default WHERE created_ms >= {from} AND created_ms < {to} RETURNING *)
           INSERT INTO {part} SELECT * FROM moved;"
    );
    let moving = if has_strays { moving.as_str() } else { "" };
    let sql = format!(
        "CREATE TABLE {part} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
         {moving}
         ALTER TABLE {table} ATTACH PARTITION {part} FOR VALUES FROM ({from}) TO ({to})"
    );
    run(session, &sql).map(|_| ())
}
