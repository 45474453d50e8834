//! One statement on one SQLite connection: parameters by name, rows as values, errors as sentences.
//!
//! Guarantees: `$2` before `$1` is bound right; a statement never runs outside a transaction.
//! It never decides about transactions: the writer and the readers do.

use std::{collections::HashMap, time::Duration};

use rusqlite::{
    Connection, ErrorCode, Statement,
    ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID, SQLITE_CONSTRAINT_UNIQUE},
    types::{ToSqlOutput, ValueRef},
};
use tokio::time::Instant;

use crate::{
    domain::{Error, Result},
    ports::db::{Dialect, Executor, Kind, MOVED, Row, Value, moved},
};

/// A longer read would keep the write-ahead log from being folded in (CONTRACTS §2).
const READ_MAX: Duration = Duration::from_secs(5);

/// Statements kept prepared by each connection: more than the product has.
const KEPT_MAX: usize = 256;

/// A connection with the statements that it has prepared before.
pub(super) struct Session<'c> {
    connection: &'c Connection,
    kept: HashMap<String, Statement<'c>>,
}

impl<'c> Session<'c> {
    /// Nothing prepared yet.
    pub(super) fn new(connection: &'c Connection) -> Self {
        Self { connection, kept: HashMap::new() }
    }

    /// Whether no transaction is open.
    pub(super) fn is_autocommit(&self) -> bool {
        self.connection.is_autocommit()
    }

    /// Runs a statement without parameters and rows: BEGIN, SAVEPOINT, COMMIT.
    pub(super) fn execute(&mut self, sql: &str) -> rusqlite::Result<()> {
        self.prepared(sql)?.execute([]).map(|_| ())
    }

    /// Runs a statement without parameters that answers one row; the number in its column `at`.
    pub(super) fn number(&mut self, sql: &str, at: usize) -> rusqlite::Result<i64> {
        self.prepared(sql)?.query_row([], |row| row.get(at))
    }

    fn prepared(&mut self, sql: &str) -> rusqlite::Result<&mut Statement<'c>> {
        if !self.kept.contains_key(sql) {
            let fresh = self.connection.prepare(sql)?;
            if self.kept.len() >= KEPT_MAX {
                // SQL made at run time fills this; starting again is simpler than an order of use.
                self.kept.clear();
            }
            self.kept.insert(sql.to_owned(), fresh);
        }
        self.kept.get_mut(sql).ok_or(rusqlite::Error::InvalidQuery)
    }
}

/// Runs the statements of one transaction on its connection.
pub(super) struct Statements<'a, 'c> {
    session: &'a mut Session<'c>,
    /// When a read has taken too long. Writes are not cut: that would only move the waiting to a retry.
    until: Option<Instant>,
    /// Why SQLite gave up the whole transaction, when it did.
    lost: Option<Error>,
    /// Set when the disk or the file failed under a statement.
    broken: Option<(Harm, rusqlite::Error)>,
}

impl<'a, 'c> Statements<'a, 'c> {
    /// For a write transaction that has begun.
    pub(super) const fn writing(session: &'a mut Session<'c>) -> Self {
        Self { session, until: None, lost: None, broken: None }
    }

    /// For a read transaction that has begun.
    pub(super) fn reading(session: &'a mut Session<'c>) -> Self {
        Self { session, until: Some(Instant::now() + READ_MAX), lost: None, broken: None }
    }

    /// Why the whole transaction is gone, if it is: SQLite rolls back by itself when the disk is full or fails.
    pub(super) fn lost(&self) -> Option<Error> {
        self.session
            .is_autocommit()
            .then(|| self.lost.clone().unwrap_or_else(|| Error::internal("a statement ended the transaction")))
    }

    /// What failed, when the disk or the file did.
    pub(super) const fn broken(&self) -> Option<&(Harm, rusqlite::Error)> {
        self.broken.as_ref()
    }

    fn attempt(&mut self, sql: &str, params: &[Value]) -> Result<(Vec<Row>, u64), Failure> {
        let until = self.until;
        let connection = self.session.connection;
        let statement = self.session.prepared(sql)?;
        bind(statement, sql, params)?;
        let rows = steps(statement, sql, until);
        // Bound texts and blobs would stay in memory until the next use.
        statement.clear_bindings();
        let changed = if statement.readonly() { 0 } else { connection.changes() };
        Ok((rows?, changed))
    }
}

impl Executor for Statements<'_, '_> {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn run(&mut self, sql: &str, params: &[Value]) -> Result<(Vec<Row>, u64)> {
        // INVARIANT: after SQLite gave up a transaction, the next statement would commit by itself.
        if let Some(error) = self.lost() {
            return Err(error);
        }
        in_time(self.until)?;
        self.attempt(sql, params).map_err(|failure| {
            let error = match failure {
                Failure::Ours(error) => error,
                Failure::Engine(error) => {
                    let explained = explain(&error, sql);
                    if let (None, Some(harm)) = (&self.broken, breaks(&error)) {
                        self.broken = Some((harm, error));
                    }
                    explained
                }
            };
            if self.session.is_autocommit() {
                self.lost = Some(error.clone());
            }
            error
        })
    }
}

fn in_time(until: Option<Instant>) -> Result<()> {
    match until {
        Some(until) if Instant::now() > until => {
            Err(Error::unavailable("query_too_slow", "This took too long to look up. Ask for less at once."))
        }
        _ => Ok(()),
    }
}

fn steps(statement: &mut Statement<'_>, sql: &str, until: Option<Instant>) -> Result<Vec<Row>, Failure> {
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let values = (0..columns).map(|at| value(row.get_ref(at)?, sql)).collect::<Result<_, Failure>>()?;
        out.push(Row(values));
        if out.len().is_multiple_of(256) {
            in_time(until)?;
        }
    }
    Ok(out)
}

/// What can go wrong with a statement: in SQLite, or in how it was asked.
enum Failure {
    Engine(rusqlite::Error),
    Ours(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Engine(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Ours(error)
    }
}

/// To SQLite `$1` is a *name*, numbered by where it first stands: so look each name up.
fn bind(statement: &mut Statement<'_>, sql: &str, params: &[Value]) -> Result<(), Failure> {
    let wrong = |what: &str| Failure::Ours(Error::internal(format!("{what}: {sql}")));
    if statement.parameter_count() != params.len() {
        return Err(wrong("another number of parameters than the statement names"));
    }
    for index in 1..=statement.parameter_count() {
        let number = statement
            .parameter_name(index)
            .and_then(|name| name.strip_prefix('$'))
            .and_then(|digits| digits.parse::<usize>().ok())
            .ok_or_else(|| wrong("a parameter is not named $n"))?;
        let given =
            number.checked_sub(1).and_then(|at| params.get(at)).ok_or_else(|| wrong("a parameter is not given"))?;
        let given = match given {
            Value::Null(_) => ValueRef::Null,
            Value::Bool(it) => ValueRef::Integer(i64::from(*it)),
            Value::Int(it) => ValueRef::Integer(*it),
            Value::Real(it) => ValueRef::Real(*it),
            Value::Text(it) => ValueRef::Text(it.as_bytes()),
            Value::Blob(it) => ValueRef::Blob(it),
        };
        statement.raw_bind_parameter(index, ToSqlOutput::Borrowed(given))?;
    }
    Ok(())
}

fn value(found: ValueRef<'_>, sql: &str) -> Result<Value, Failure> {
    Ok(match found {
        ValueRef::Null => Value::Null(Kind::Text),
        ValueRef::Integer(it) => Value::Int(it),
        ValueRef::Real(it) => Value::Real(it),
        ValueRef::Text(it) => match std::str::from_utf8(it) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => {
                return Err(Error::internal(format!("text that is not UTF-8 from: {sql}")).into());
            }
        },
        ValueRef::Blob(it) => Value::Blob(it.to_vec()),
    })
}

/// What is not to be trusted any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// A call to the disk failed, a sync perhaps.
    Disk,
    /// The bytes in the file make no sense.
    File,
}

/// Whether an error means that the disk or the file is not to be trusted any more.
pub(super) fn breaks(error: &rusqlite::Error) -> Option<Harm> {
    match error.sqlite_error_code()? {
        ErrorCode::SystemIoFailure => Some(Harm::Disk),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Some(Harm::File),
        _ => None,
    }
}

/// An error of SQLite as the product says it; `what` is the statement, for the log.
pub(in crate::engines) fn explain(error: &rusqlite::Error, what: &str) -> Error {
    let detail = format!("{error} in: {what}");
    let extended = error.sqlite_error().map_or(0, |it| it.extended_code);
    if [SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_ROWID].contains(&extended) {
        return Error::conflict("unique", "This exists already. Choose another.").because(detail);
    }
    if error.to_string().contains(MOVED) {
        return moved().because(detail);
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::unavailable(
            "disk_full",
            "The disk of this server is full. Nothing was changed; sites go on answering. Free some space and try again.",
        )
        .because(detail),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::unavailable("database_busy", "The database of this server is busy. Try again in a moment.").because(detail)
        }
        _ if breaks(error).is_some() => super::broken().because(detail),
        _ => Error::internal(detail),
    }
}
