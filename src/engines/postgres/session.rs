//! One connection to PostgreSQL: typed statements, rows as values, errors as sentences.
//!
//! Guarantees: a statement is prepared under a name only where the connection has shown that it leads to one session, so any pooler in
//! transaction mode may stand between (FINDINGS D); a statement never runs after another one of its transaction has failed.
//! It never decides about transactions: the writer and the readers do.

use std::{pin::pin, time::Duration};

use tokio::time::Instant;
use tokio_postgres::{
    SimpleQueryMessage, Statement,
    error::SqlState,
    types::{IsNull, ToSql, Type, to_sql_checked},
};
use tokio_stream::StreamExt as _;

use crate::{
    base::ids::Id,
    domain::{Error, Result},
    ports::db::{Dialect, Executor, Kind, MOVED, Row, Value, moved},
};

use super::{
    address::Address,
    client::{Client, Unmade},
    prepared::{Prepared, Stale, Way, stale},
    wall,
};

/// A connection. Used and dropped on plain threads only: its client drives a runtime of its own.
pub(super) struct Session {
    client: Client,
    /// `None`: nothing may be prepared on it.
    prepared: Option<Prepared>,
    /// When the server answered last.
    heard: Instant,
}

impl Session {
    /// Connects. Each answer may take as long as one to a read, until [`Session::limit`] says otherwise. The error is the one that
    /// people see.
    pub(super) fn connect(address: &Address) -> Result<Self> {
        let found = address.connect().map_err(|error| match &error {
            Unmade::Engine(told) if told.code().is_some() => {
                explain(told, "connecting").because(format!("{}: {error}", address.name()))
            }
            _ => unreachable(address.name()).because(error),
        });
        let (client, is_whole) = found?;
        let mut session = Self { client, prepared: is_whole.then(Prepared::default), heard: Instant::now() };
        session.limit(Some(address.limits().read));
        Ok(session)
    }

    /// How long each answer may take from now on; `None` is for what only the end of the network may break off.
    pub(super) const fn limit(&mut self, limit: Option<Duration>) {
        self.client.limit(limit);
    }

    /// Whether the connection is of no more use.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether it is of no more use since an answer did not come in time.
    pub(super) const fn is_silent(&self) -> bool {
        self.client.is_silent()
    }

    /// How long ago the server has answered last.
    pub(super) fn unheard(&self) -> Duration {
        self.heard.elapsed()
    }

    /// Asks for nothing but an answer, within `limit`; whether it came. Each answer after it may take as long as `then`.
    pub(super) fn answers(&mut self, limit: Duration, then: Duration) -> bool {
        self.limit(Some(limit));
        let answered = self.simple("").is_ok();
        self.limit(Some(then));
        answered
    }

    /// Runs statements without parameters in one round trip; the columns of the last row, as text.
    pub(super) fn simple(&mut self, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
        let mut last = Vec::new();
        for message in self.client.simple_query(sql)? {
            if let SimpleQueryMessage::Row(row) = message {
                last = (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect();
            }
        }
        self.heard = Instant::now();
        Ok(last)
    }

    fn run(&mut self, sql: &str, params: &[Value]) -> Result<(Vec<Row>, u64), Failure> {
        let types: Vec<Type> = params.iter().map(wire_type).collect();
        let prepared = self.prepare(sql, &types)?;
        let found = self.client.ask(async |it| {
            let values = params.iter().map(Typed);
            let found = match &prepared {
                Some(statement) => it.query_raw(statement, values).await?,
                None => it.query_typed_raw(sql, values.zip(types)).await?,
            };
            let mut found = pin!(found);
            let mut rows = Vec::new();
            while let Some(row) = found.next().await {
                let row = row?;
                let columns = row.columns().iter().enumerate();
                let values =
                    columns.map(|(at, column)| value(&row, at, column.type_(), sql)).collect::<Result<_, Failure>>()?;
                rows.push(Row(values));
            }
            Ok::<_, Failure>((rows, found.rows_affected().unwrap_or(0)))
        })?;
        self.heard = Instant::now();
        Ok(found)
    }

    /// The prepared statement of a text that has come before, where there may be one.
    fn prepare(&mut self, sql: &str, types: &[Type]) -> Result<Option<Statement>, tokio_postgres::Error> {
        let Some(prepared) = &mut self.prepared else { return Ok(None) };
        match prepared.way(sql, types) {
            Way::Plain => Ok(None),
            Way::Ready(statement) => Ok(Some(statement)),
            Way::Prepare => {
                let statement = self.client.ask(async |it| it.prepare_typed(sql, types).await)?;
                prepared.keep(sql, statement.clone());
                Ok(Some(statement))
            }
        }
    }

    /// Forgets what is prepared, for good when the session is not always the same.
    fn unprepare(&mut self, why: Stale) {
        self.prepared = (why == Stale::Plan).then(Prepared::default);
        if why == Stale::Session {
            tracing::warn!(
                "a session of the database has lost what was prepared on it; statements are planned at each call"
            );
        }
    }
}

/// Runs the statements of one transaction on its connection.
pub(super) struct Statements<'a> {
    session: &'a mut Session,
    /// Whether the wall between tenants stands.
    wall: bool,
    /// How the transaction was begun, if it may be begun again as long as nothing has run in it.
    begin: Option<&'static str>,
}

impl<'a> Statements<'a> {
    /// For a transaction that has begun.
    pub(super) const fn new(session: &'a mut Session, wall: bool) -> Self {
        Self { session, wall, begin: None }
    }

    /// For one that was begun with `begin`, and may begin again before its first statement.
    pub(super) const fn begun(session: &'a mut Session, wall: bool, begin: &'static str) -> Self {
        Self { session, wall, begin: Some(begin) }
    }

    /// Runs a statement once more that failed for being prepared, in a new transaction. Where the old one has run others before, what
    /// they have read or written would be lost: whoever asked has to ask again.
    fn again(&mut self, why: Stale, sql: &str, params: &[Value]) -> Result<(Vec<Row>, u64), Failure> {
        self.session.unprepare(why);
        let Some(begin) = self.begin.take() else { return Err(Failure::Ours(changed())) };
        self.session.simple("ROLLBACK")?;
        self.session.simple(begin)?;
        self.session.run(sql, params)
    }
}

impl Executor for Statements<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn run(&mut self, sql: &str, params: &[Value]) -> Result<(Vec<Row>, u64)> {
        let mut found = self.session.run(sql, params);
        if let Err(Failure::Engine(error)) = &found
            && let Some(why) = stale(error)
        {
            found = self.again(why, sql, params);
        }
        self.begin = None;
        found.map_err(|failure| match failure {
            Failure::Engine(error) => explain(&error, sql),
            Failure::Ours(error) => error,
        })
    }

    fn enter(&mut self, tenant: Option<Id>) -> Result<()> {
        if self.wall { self.run(wall::ENTER, &[Value::Text(wall::spell(tenant))]).map(|_| ()) } else { Ok(()) }
    }
}

/// What can go wrong with a statement: in PostgreSQL or on the way to it, or in how it was asked.
enum Failure {
    Engine(tokio_postgres::Error),
    Ours(Error),
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Engine(error)
    }
}

#[derive(Debug)]
struct Typed<'a>(&'a Value);

impl ToSql for Typed<'_> {
    fn to_sql(&self, ty: &Type, out: &mut bytes::BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match self.0 {
            Value::Null(_) => Ok(IsNull::Yes),
            Value::Bool(it) => it.to_sql(ty, out),
            Value::Int(it) => it.to_sql(ty, out),
            Value::Real(it) => it.to_sql(ty, out),
            Value::Text(it) => it.to_sql(ty, out),
            Value::Blob(it) => it.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

const fn wire_type(value: &Value) -> Type {
    match value {
        Value::Null(Kind::Bool) | Value::Bool(_) => Type::BOOL,
        Value::Null(Kind::Int) | Value::Int(_) => Type::INT8,
        Value::Null(Kind::Real) | Value::Real(_) => Type::FLOAT8,
        Value::Null(Kind::Text) | Value::Text(_) => Type::TEXT,
        Value::Null(Kind::Blob) | Value::Blob(_) => Type::BYTEA,
    }
}

fn value(row: &tokio_postgres::Row, at: usize, ty: &Type, sql: &str) -> Result<Value, Failure> {
    fn read<T>(found: Option<T>, make: impl FnOnce(T) -> Value) -> Value {
        found.map_or(Value::Null(Kind::Text), make)
    }
    Ok(match *ty {
        Type::BOOL => read(row.try_get(at)?, Value::Bool),
        Type::INT8 => read(row.try_get(at)?, Value::Int),
        Type::INT4 => read(row.try_get::<_, Option<i32>>(at)?, |it| Value::Int(it.into())),
        Type::FLOAT8 => read(row.try_get(at)?, Value::Real),
        Type::TEXT | Type::VARCHAR | Type::NAME => read(row.try_get(at)?, Value::Text),
        Type::BYTEA => read(row.try_get(at)?, Value::Blob),
        _ => {
            return Err(Failure::Ours(Error::internal(format!(
                "column {at} has the type {ty}, which no row may have: {sql}"
            ))));
        }
    })
}

/// The database cannot be reached.
pub(super) fn unreachable(name: &str) -> Error {
    Error::unavailable(
        "database_unreachable",
        format!(
            "The PostgreSQL at {name} cannot be reached. Sites go on answering; nothing can be changed until it is back. \
             Check that it runs and that this server may connect to it."
        ),
    )
}

/// The connection was lost in a transaction, or the server ends it.
pub(super) fn lost() -> Error {
    Error::unavailable(
        "database_lost",
        "The connection to the database was lost. Nothing was changed; sites go on answering. Try again in a moment.",
    )
}

/// A prepared statement does not fit the tables any more.
fn changed() -> Error {
    Error::unavailable(
        "database_changed",
        "The tables of the database were changed at this moment. Nothing was saved; sites go on answering. Try again.",
    )
}

/// An error of PostgreSQL as the product says it; `what` is the statement, for the log.
pub(super) fn explain(error: &tokio_postgres::Error, what: &str) -> Error {
    let detail = format!("{} in: {what}", whole(error));
    let Some(code) = error.code() else {
        return if error.is_closed() || is_io(error) { lost() } else { Error::internal(&detail) }.because(detail);
    };
    let out = if error.as_db_error().is_some_and(|it| it.message() == MOVED) {
        moved()
    } else if *code == SqlState::UNIQUE_VIOLATION {
        Error::conflict("unique", "This exists already. Choose another.")
    } else if *code == SqlState::QUERY_CANCELED {
        Error::unavailable("query_too_slow", "This took too long to look up. Ask for less at once.")
    } else if [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED, SqlState::TOO_MANY_CONNECTIONS]
        .contains(code)
    {
        Error::unavailable("database_busy", "The database of this server is busy. Try again in a moment.")
    } else if *code == SqlState::DISK_FULL || *code == SqlState::OUT_OF_MEMORY {
        Error::unavailable(
            "disk_full",
            "The database server has no space left. Nothing was changed; sites go on answering. Free some space there and try again.",
        )
    } else if *code == SqlState::READ_ONLY_SQL_TRANSACTION {
        Error::unavailable(
            "database_read_only",
            "The database takes no changes: it is a standby, or is set to read only. Sites go on answering. \
             Let the database URL lead to the primary.",
        )
    } else if *code == SqlState::INVALID_PASSWORD || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION {
        Error::unavailable(
            "database_refused",
            "PostgreSQL refuses this user or password. Correct the database URL and restart.",
        )
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        Error::unavailable(
            "database_missing",
            "PostgreSQL has no database of that name. Make it with CREATE DATABASE, or correct the database URL.",
        )
    } else if ends_session(code) {
        lost()
    } else {
        Error::internal(&detail)
    };
    out.because(detail)
}

/// What an error says, with its causes: alone it is a class of errors only.
pub(super) fn whole(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if cause.is::<std::io::Error>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// The server shuts down, starts, or ends this session: another connection is needed.
fn ends_session(code: &SqlState) -> bool {
    [
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
        SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
        // PgBouncer's own: it has lost its server, or none was free in time.
        SqlState::PROTOCOL_VIOLATION,
        SqlState::CONNECTION_EXCEPTION,
        SqlState::CONNECTION_FAILURE,
        SqlState::CONNECTION_DOES_NOT_EXIST,
        SqlState::SQLSERVER_REJECTED_ESTABLISHMENT_OF_SQLCONNECTION,
    ]
    .contains(code)
}
