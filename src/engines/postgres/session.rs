//! One connection to PostgreSQL: typed statements, rows as values, errors as sentences.
//!
//! Guarantees: a statement is prepared under a name only where the connection has shown that it leads to one session, so any pooler in
//! transaction mode may stand between (FINDINGS D); a statement never runs after another one of its transaction has failed.
//! It never decides about transactions: the writer and the readers do.

use std::{cell::Cell, pin::pin, time::Duration};

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
    NO_SESSION,
    address::Address,
    client::{Client, Unmade},
    prepared::{Prepared, Stale, Way, stale},
    wall,
};

/// What PgBouncer says to who has waited for a session for as long as its setting of this name says.
const WAITED_IN_VAIN: &str = "query_wait_timeout";

/// A connection. Used and dropped on plain threads only: its client drives a runtime of its own.
pub(super) struct Session {
    client: Client,
    /// `None`: nothing may be prepared on it.
    prepared: Option<Prepared>,
    /// How long a pooler has to give it a session for a transaction; `None` where it has one of its own.
    turn: Option<Duration>,
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
            Unmade::NoSession(_) => no_session().because(format!("{}: {error}", address.name())),
            _ => unreachable(address.name()).because(error),
        });
        let (client, is_whole) = found?;
        let limits = address.limits();
        let (prepared, turn) = if is_whole { (Some(Prepared::default()), None) } else { (None, Some(limits.turn())) };
        let mut session = Self { client, prepared, turn, heard: Instant::now() };
        session.limit(Some(limits.read));
        Ok(session)
    }

    /// How long each answer may take from now on; `None` is for what only the end of the network may break off.
    pub(super) const fn limit(&mut self, limit: Option<Duration>) {
        self.client.limit(limit);
    }

    /// Whether it has shown that it leads to one session.
    pub(super) const fn is_whole(&self) -> bool {
        self.prepared.is_some()
    }

    /// Whether the connection is of no more use.
    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Whether the connection has ended while nobody used it, as far as this machine knows.
    pub(super) fn has_ended(&mut self) -> bool {
        self.client.listen();
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

    /// Asks for nothing but an answer, within `limit` and the time of a pooler; whether it came. Each answer after it may take as long
    /// as `then`.
    pub(super) fn answers(&mut self, limit: Duration, then: Duration) -> bool {
        self.limit(Some(self.turn.map_or(limit, |it| it.min(limit))));
        let answered = self.simple("").is_ok();
        self.limit(Some(then));
        answered
    }

    /// Runs statements without parameters in one round trip; the columns of the last row, as text.
    pub(super) fn simple(&mut self, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
        let found = self.client.simple_query(sql)?;
        self.heard = Instant::now();
        Ok(last_row(found))
    }

    /// The same for statements before which a transaction begins, in the same round trip. Where that does not begin in time, since a
    /// pooler has no session free, the connection is given up.
    pub(super) fn begin(&mut self, ahead: &str, sql: &str) -> Result<Vec<String>, tokio_postgres::Error> {
        let found = self.client.ask_in_turn(self.turn, async |it, has_begun| {
            // On their way in this order.
            let (before, found) = tokio::join!(biased; first(it, ahead, has_begun), it.simple_query(sql));
            before.and(found)
        })?;
        self.heard = Instant::now();
        Ok(last_row(found))
    }

    /// Runs a statement. What has to run before it, without parameters, goes in the same round trip; when that fails, the statement
    /// has not answered anything, whatever it did. It takes next to no time, so that it shows whether a pooler has given a session.
    fn run(&mut self, ahead: &str, sql: &str, params: &[Value]) -> Result<(Vec<Row>, u64), Failure> {
        let types: Vec<Type> = params.iter().map(wire_type).collect();
        let way = self.prepared.as_mut().map_or(Way::Plain, |it| it.way(sql, &types));
        let mut made = None;
        let turn = if ahead.is_empty() { None } else { self.turn };
        let found = self.client.ask_in_turn(turn, async |it, has_begun| {
            let found = query(it, way, &mut made, sql, params, types);
            if ahead.is_empty() {
                return found.await;
            }
            // On their way in this order.
            let (before, found) = tokio::join!(biased; first(it, ahead, has_begun), found);
            before.map_err(Failure::Ahead).and(found)
        });
        if let (Some(prepared), Some(made)) = (&mut self.prepared, made) {
            prepared.keep(sql, made);
        }
        if found.is_ok() {
            self.heard = Instant::now();
        }
        found
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

/// Asks what comes before all else, and tells by the cell that it was answered.
async fn first(
    client: &tokio_postgres::Client,
    sql: &str,
    has_begun: &Cell<bool>,
) -> Result<(), tokio_postgres::Error> {
    let answered = client.simple_query(sql).await.map(drop);
    has_begun.set(true);
    answered
}

/// The columns of the last row, as text.
fn last_row(found: Vec<SimpleQueryMessage>) -> Vec<String> {
    let last =
        found.into_iter().rev().find_map(|it| if let SimpleQueryMessage::Row(row) = it { Some(row) } else { None });
    last.map_or_else(Vec::new, |row| (0..row.len()).map(|at| row.get(at).unwrap_or_default().to_owned()).collect())
}

/// Asks a statement in this way; one that is prepared for it is left in `made`.
async fn query(
    client: &tokio_postgres::Client,
    way: Way,
    made: &mut Option<Statement>,
    sql: &str,
    params: &[Value],
    types: Vec<Type>,
) -> Result<(Vec<Row>, u64), Failure> {
    let prepared = match way {
        Way::Plain => None,
        Way::Ready(statement) => Some(statement),
        Way::Prepare => Some(made.insert(client.prepare_typed(sql, &types).await?).clone()),
    };
    let values = params.iter().map(Typed);
    let found = match &prepared {
        Some(statement) => client.query_raw(statement, values).await?,
        None => client.query_typed_raw(sql, values.zip(types)).await?,
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
    Ok((rows, found.rows_affected().unwrap_or(0)))
}

/// A transaction that begins with its first statement, in the same round trip.
struct Beginning<'a> {
    with: &'static str,
    /// Gives another connection when this one shows to be of no use before anything has run on it.
    renew: &'a dyn Fn(&Session) -> Option<Result<Session>>,
}

/// Runs the statements of one transaction on its connection.
pub(super) struct Statements<'a> {
    session: &'a mut Session,
    /// Whether the wall between tenants stands.
    wall: bool,
    /// `None` once it has begun.
    beginning: Option<Beginning<'a>>,
    /// Enters or leaves a tenant with the next statement.
    enter: String,
}

impl<'a> Statements<'a> {
    /// For a transaction that has begun.
    pub(super) const fn new(session: &'a mut Session, wall: bool) -> Self {
        Self { session, wall, beginning: None, enter: String::new() }
    }

    /// For one that begins with its first statement. `renew` is asked for another connection, once, when that fails on this one; it
    /// answers `None` when there is to be no second try.
    pub(super) const fn beginning(
        session: &'a mut Session,
        wall: bool,
        with: &'static str,
        renew: &'a dyn Fn(&Session) -> Option<Result<Session>>,
    ) -> Self {
        Self { session, wall, beginning: Some(Beginning { with, renew }), enter: String::new() }
    }

    /// Whether there is a transaction to end.
    pub(super) const fn has_begun(&self) -> bool {
        self.beginning.is_none()
    }

    /// Begins, and runs the first statement.
    fn first(&mut self, it: &Beginning<'_>, sql: &str, params: &[Value]) -> Result<(Vec<Row>, u64), Failure> {
        let ahead = format!("{};{}", it.with, self.enter);
        let mut found = self.session.run(&ahead, sql, params);
        if matches!(found, Err(Failure::Ahead(_)))
            && let Some(renewed) = (it.renew)(self.session)
        {
            *self.session = renewed.map_err(Failure::Ours)?;
            found = self.session.run(&ahead, sql, params);
        }
        let Some(why) = found.as_ref().err().and_then(Failure::stale) else { return found };
        // In a new transaction: nothing has run in this one.
        self.session.unprepare(why);
        self.session.simple("ROLLBACK")?;
        self.session.run(&ahead, sql, params)
    }

    /// Runs one of the others. Once more is not possible for one that failed for being prepared: what the transaction has read or
    /// written before would be lost, so whoever asked has to ask again.
    fn next(&mut self, sql: &str, params: &[Value]) -> Result<(Vec<Row>, u64), Failure> {
        let found = self.session.run(&self.enter, sql, params);
        let Some(why) = found.as_ref().err().and_then(Failure::stale) else { return found };
        self.session.unprepare(why);
        Err(Failure::Ours(changed()))
    }
}

impl Executor for Statements<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn run(&mut self, sql: &str, params: &[Value]) -> Result<(Vec<Row>, u64)> {
        let found = match self.beginning.take() {
            Some(it) => self.first(&it, sql, params),
            None => self.next(sql, params),
        };
        self.enter.clear();
        found.map_err(|failure| match failure {
            Failure::Ahead(error) | Failure::Engine(error) => explain(&error, sql),
            Failure::Ours(error) => error,
        })
    }

    fn enter(&mut self, tenant: Option<Id>) -> Result<()> {
        if self.wall {
            self.enter = wall::enter(tenant);
        }
        Ok(())
    }
}

/// What can go wrong with a statement: in PostgreSQL or on the way to it, or in how it was asked.
enum Failure {
    /// What had to run before it: where that begins a transaction, nothing has run in one.
    Ahead(tokio_postgres::Error),
    Engine(tokio_postgres::Error),
    Ours(Error),
}

impl Failure {
    /// Whether the statement failed for being prepared.
    fn stale(&self) -> Option<Stale> {
        if let Self::Engine(error) = self { stale(error) } else { None }
    }
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

/// A pooler takes connections, and has no session of the server for them.
fn no_session() -> Error {
    Error::unavailable(
        NO_SESSION,
        "The pooler before PostgreSQL answers, but has no session of the database free, or cannot reach it. Sites go on answering; nothing \
         can be changed until it has one. End the transactions that hold them, or give it a larger pool (default_pool_size of PgBouncer).",
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
        if !error.is_closed() && !is_io(error) {
            return Error::internal(&detail).because(detail);
        }
        tracing::warn!(error = %detail, "a connection to the database was lost while it was in use");
        return lost().because(detail);
    };
    let out = if error.as_db_error().is_some_and(|it| it.message() == MOVED) {
        moved()
    } else if error.as_db_error().is_some_and(|it| it.message() == WAITED_IN_VAIN) {
        no_session()
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
            "PostgreSQL refuses this user or password. Correct the database URL; a server is restarted then.",
        )
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        Error::unavailable(
            "database_missing",
            "PostgreSQL has no database of that name. Make it with CREATE DATABASE, or correct the database URL.",
        )
    } else if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        Error::unavailable(
            "database_forbidden",
            "PostgreSQL does not let the user of the database URL do what is needed: it must own the database and all tables \
             in it. Say ALTER DATABASE name OWNER TO user, and where another one has made the tables REASSIGN OWNED BY that \
             one TO user, as somebody who may, and try again.",
        )
    } else if ends_session(code) {
        tracing::warn!(error = %detail, "a connection to the database was ended while it was in use");
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
