//! The database port: one SQL text with `$1…$n`, one synchronous transaction closure, any engine.
//!
//! Guarantees of every engine:
//! - [`Db::write`] runs its closure in one transaction and answers after the commit is durable; an
//!   error of the closure, or a dropped engine, leaves nothing behind.
//! - After a statement has failed, its transaction runs no other, and is not kept even when the closure says that all is well.
//! - A text with the character NUL is refused, since PostgreSQL cannot store it.
//! - [`Db::read`] sees one consistent snapshot and cannot write.
//! - A dropped future does not cut a transaction: the closure still runs to its end.
//!
//! SQL rules: parameters are bound by number wherever they stand; times are `*_ms` BIGINT; booleans are
//! BOOLEAN; ids are BLOB(16)/BYTEA; JSON is TEXT and not queried; `ON CONFLICT … DO UPDATE … RETURNING`;
//! `ORDER BY` ends in a unique column; lists have a `LIMIT`; a difference that cannot be avoided is a
//! function on [`Dialect`].

use std::{
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{SyncSender, TrySendError},
    },
    time::Duration,
};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    base::{hash::Sha256, ids::Id},
    domain::{
        Error, Result,
        access::{ServerScope, TenantScope},
    },
    ports::{
        fatal::{self, Fatal},
        parts::Parts,
        position::{Position, Seen},
    },
};

/// The parameters `$1…$n` of a statement, each turned into a [`Value`].
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::ports::db::Value::from($value)),*] };
}

/// The type of a parameter, needed where its value is NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// BOOLEAN.
    Bool,
    /// BIGINT.
    Int,
    /// DOUBLE PRECISION.
    Real,
    /// TEXT.
    Text,
    /// BLOB or BYTEA.
    Blob,
}

/// A parameter or a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// NULL of a kind. Columns that come back NULL have the kind `Text`; nobody looks at it.
    Null(Kind),
    /// BOOLEAN.
    Bool(bool),
    /// BIGINT.
    Int(i64),
    /// DOUBLE PRECISION.
    Real(f64),
    /// TEXT.
    Text(String),
    /// BLOB or BYTEA.
    Blob(Vec<u8>),
}

/// A Rust type that is a parameter, and the kind of its NULL.
pub trait Param: Into<Value> {
    /// The kind of `None::<Self>`.
    const KIND: Kind;
}

macro_rules! param {
    ($($type:ty => $kind:ident, $it:ident, $make:expr;)*) => {$(
        impl From<$type> for Value {
            fn from($it: $type) -> Self { Self::$kind($make) }
        }
        impl Param for $type { const KIND: Kind = Kind::$kind; }
    )*};
}

param! {
    bool => Bool, it, it;
    i64 => Int, it, it;
    f64 => Real, it, it;
    &str => Text, it, it.to_owned();
    String => Text, it, it;
    &String => Text, it, it.clone();
    Vec<u8> => Blob, it, it;
    &[u8] => Blob, it, it.to_vec();
    Id => Blob, it, it.as_bytes().to_vec();
    Sha256 => Blob, it, it.0.to_vec();
    [u8; 32] => Blob, it, it.to_vec();
}

impl<T: Param> From<Option<T>> for Value {
    fn from(it: Option<T>) -> Self {
        it.map_or(Self::Null(T::KIND), Into::into)
    }
}

/// One row of an answer, read by position with the type that the column must have.
#[derive(Clone, Debug, PartialEq)]
pub struct Row(pub Vec<Value>);

impl Row {
    /// The first `at` columns, and those after them: a row of a join.
    pub fn split(mut self, at: usize) -> (Self, Self) {
        let rest = self.0.split_off(at.min(self.0.len()));
        (self, Self(rest))
    }

    fn wrong(&self, at: usize, wanted: &str) -> Error {
        Error::internal(format!("column {at} is {:?}, not {wanted}", self.0.get(at)))
    }

    /// A column that is not NULL, BIGINT.
    pub fn int(&self, at: usize) -> Result<i64> {
        self.opt_int(at)?.ok_or_else(|| self.wrong(at, "a number"))
    }

    /// A column that may be NULL, BIGINT.
    pub fn opt_int(&self, at: usize) -> Result<Option<i64>> {
        match self.0.get(at) {
            Some(Value::Int(it)) => Ok(Some(*it)),
            Some(Value::Null(_)) => Ok(None),
            _ => Err(self.wrong(at, "a number or NULL")),
        }
    }

    /// A column that is not NULL, DOUBLE PRECISION.
    pub fn real(&self, at: usize) -> Result<f64> {
        match self.0.get(at) {
            Some(Value::Real(it)) => Ok(*it),
            _ => Err(self.wrong(at, "a real number")),
        }
    }

    /// A column that is not NULL, BOOLEAN (SQLite stores 0 and 1).
    pub fn bool(&self, at: usize) -> Result<bool> {
        match self.0.get(at) {
            Some(Value::Bool(it)) => Ok(*it),
            Some(Value::Int(it @ (0 | 1))) => Ok(*it == 1),
            _ => Err(self.wrong(at, "a boolean")),
        }
    }

    /// A column that is not NULL, TEXT.
    pub fn text(&self, at: usize) -> Result<&str> {
        self.opt_text(at)?.ok_or_else(|| self.wrong(at, "text"))
    }

    /// A column that may be NULL, TEXT.
    pub fn opt_text(&self, at: usize) -> Result<Option<&str>> {
        match self.0.get(at) {
            Some(Value::Text(it)) => Ok(Some(it)),
            Some(Value::Null(_)) => Ok(None),
            _ => Err(self.wrong(at, "text or NULL")),
        }
    }

    /// A column that is not NULL, BLOB.
    pub fn blob(&self, at: usize) -> Result<&[u8]> {
        self.opt_blob(at)?.ok_or_else(|| self.wrong(at, "bytes"))
    }

    /// A column that may be NULL, BLOB.
    pub fn opt_blob(&self, at: usize) -> Result<Option<&[u8]>> {
        match self.0.get(at) {
            Some(Value::Blob(it)) => Ok(Some(it)),
            Some(Value::Null(_)) => Ok(None),
            _ => Err(self.wrong(at, "bytes or NULL")),
        }
    }

    /// A column of `N` bytes: an id, a hash.
    pub fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        self.blob(at)?.try_into().map_err(|_| self.wrong(at, "bytes of that length"))
    }

    /// A column of `N` bytes or NULL.
    pub fn opt_bytes<const N: usize>(&self, at: usize) -> Result<Option<[u8; N]>> {
        self.opt_blob(at)?.map(|it| it.try_into().map_err(|_| self.wrong(at, "bytes of that length"))).transpose()
    }

    /// A column that is an id.
    pub fn id<T: From<Id>>(&self, at: usize) -> Result<T> {
        self.bytes(at).map(|it| Id::from_bytes(it).into())
    }

    /// A column that is an id or NULL.
    pub fn opt_id<T: From<Id>>(&self, at: usize) -> Result<Option<T>> {
        Ok(self.opt_bytes(at)?.map(|it| Id::from_bytes(it).into()))
    }
}

/// What a person's question found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Names.
    pub columns: Vec<String>,
    /// A value for each column.
    pub rows: Vec<Vec<Value>>,
    /// There were more rows than asked for.
    pub more: bool,
}

/// The few places where the two databases need other words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// SQLite.
    Sqlite,
    /// PostgreSQL.
    Postgres,
}

/// What an engine gives a transaction: run a statement, get its rows and the number of rows it changed.
pub trait Executor {
    /// The words of this database.
    fn dialect(&self) -> Dialect;
    /// Runs one statement.
    fn run(&mut self, sql: &str, params: &[Value]) -> Result<(Vec<Row>, u64)>;
    /// From now on, until the transaction ends, shows the rows of one tenant only, or again of all: for an engine that has a wall of
    /// its own between tenants.
    fn enter(&mut self, tenant: Option<Id>) -> Result<()> {
        let _ = tenant;
        Ok(())
    }
}

/// A transaction that can only read.
pub struct ReadTx<'a> {
    executor: &'a mut dyn Executor,
    failed: Option<Error>,
    /// Every tenant that was entered, and the one that is.
    tenants: Vec<Id>,
    entered: Option<Id>,
}

impl<'a> ReadTx<'a> {
    /// Wraps what an engine gives.
    pub fn new(executor: &'a mut dyn Executor) -> Self {
        Self { executor, failed: None, tenants: Vec::new(), entered: None }
    }

    /// The words of this database.
    pub fn dialect(&self) -> Dialect {
        self.executor.dialect()
    }

    fn run(&mut self, sql: &str, params: &[Value]) -> Result<(Vec<Row>, u64)> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        // PostgreSQL cannot store it, so no engine takes it.
        if params.iter().any(|it| matches!(it, Value::Text(text) if text.contains('\0'))) {
            return Err(Error::invalid(
                "text_nul",
                "A text holds the character NUL, which cannot be stored. Remove it.",
            ));
        }
        self.executor.run(sql, params).inspect_err(|error| self.failed = Some(error.clone()))
    }

    /// Enters a tenant's rows, and gives the id that each statement on them binds. What is written here is remembered for it.
    pub fn tenant(&mut self, scope: TenantScope) -> Result<Id> {
        let id = scope.tenant().0;
        if !self.tenants.contains(&id) {
            self.tenants.push(id);
        }
        self.enter(Some(id)).map(|()| id)
    }

    /// Leaves the tenant that was entered last, for statements on the rows of all.
    pub fn all_tenants(&mut self, _leave: ServerScope) -> Result<()> {
        self.enter(None)
    }

    fn enter(&mut self, tenant: Option<Id>) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.entered != tenant {
            self.executor.enter(tenant).inspect_err(|error| self.failed = Some(error.clone()))?;
            self.entered = tenant;
        }
        Ok(())
    }

    /// All rows of a SELECT.
    pub fn query(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Row>> {
        self.run(sql, params).map(|(rows, _)| rows)
    }

    /// The first row of a SELECT, if there is one.
    pub fn find(&mut self, sql: &str, params: &[Value]) -> Result<Option<Row>> {
        Ok(self.query(sql, params)?.into_iter().next())
    }

    /// The one row of a SELECT that always has one (COUNT, SUM).
    pub fn one(&mut self, sql: &str, params: &[Value]) -> Result<Row> {
        self.find(sql, params)?.ok_or_else(|| Error::internal(format!("no row from: {sql}")))
    }
}

/// A transaction that can also write. Derefs to [`ReadTx`].
pub struct WriteTx<'a>(ReadTx<'a>, Vec<Afterwards>);

/// What waits for a commit.
type Afterwards = Box<dyn FnOnce() + Send>;

impl<'a> WriteTx<'a> {
    /// Wraps what an engine gives.
    pub fn new(executor: &'a mut dyn Executor) -> Self {
        Self(ReadTx::new(executor), Vec::new())
    }

    /// Runs `work` once the commit is durable, and never when there is none: to wake those who then look at the database.
    /// Woken inside the transaction, they would find nothing yet. It must be short, since other answers wait behind it.
    pub fn after_commit(&mut self, work: impl FnOnce() + Send + 'static) {
        self.1.push(Box::new(work));
    }

    /// Runs an INSERT, UPDATE or DELETE; the number of rows it changed.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        self.0.run(sql, params).map(|(_, changed)| changed)
    }
}

impl<'a> Deref for WriteTx<'a> {
    type Target = ReadTx<'a>;

    fn deref(&self) -> &ReadTx<'a> {
        &self.0
    }
}

impl DerefMut for WriteTx<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// A write closure on its way to an engine. The engine calls [`WriteJob::run`] once inside a
/// transaction (or savepoint), commits when it said `true`, and then calls [`WriteJob::done`] with
/// the fate of the commit. It must call `done` in every case.
pub trait WriteJob: Send {
    /// Runs the closure; `true` asks for a commit.
    fn run(&mut self, tx: &mut WriteTx<'_>) -> bool;
    /// Answers the caller. A commit comes with the position of the log after it, where the engine has one.
    fn done(self: Box<Self>, committed: Result<Position>);
}

/// A replica that has not answered after this long has failed.
const NEAR_MAX: Duration = Duration::from_secs(3);

/// A read closure on its way to an engine, with the transaction or the reason why there is none.
pub type ReadJob = Box<dyn FnOnce(Result<&mut ReadTx<'_>>) + Send>;

/// A database engine.
pub trait Database: Send + Sync {
    /// Queues a write. Never blocks for long: a full queue answers the job with `Unavailable`.
    fn submit_write(&self, job: Box<dyn WriteJob>);
    /// Queues a read.
    fn submit_read(&self, job: ReadJob);
    /// Queues a read on a replica that has come as far as `seen`; gives it back when there is none. A job that is dropped without
    /// having been called, or whose transaction fails, is asked again elsewhere.
    fn submit_near(&self, seen: Position, job: ReadJob) -> Option<ReadJob> {
        let _ = seen;
        Some(job)
    }
    /// Its replicas.
    fn replicas(&self) -> Vec<Replica> {
        Vec::new()
    }
    /// Tells whether the database is there: `Err` says why the control plane is down.
    fn health(&self) -> Result<()>;
    /// The sign that this process must end, when the engine's own disk can fail under it.
    fn fatal(&self) -> Option<Fatal> {
        None
    }
    /// Its connections, when it has some that are limited.
    fn pool(&self) -> Option<Pool> {
        None
    }
    /// The parts of its tables by month, when it keeps those in parts.
    fn parts(&self) -> Option<Arc<dyn Parts>> {
        None
    }
    /// Takes no more, finishes what waits and lets go of the database. Blocks until done.
    fn close(&self);
}

/// A replica of a database, for the metrics.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Host, port and database.
    pub name: String,
    /// Whether it is read from.
    pub in_use: bool,
    /// Reads that it was given since the start.
    pub reads: u64,
}

/// The connections of an engine, for the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Most at once.
    pub most: usize,
    /// Open now.
    pub open: usize,
    /// At work now, of those that read.
    pub at_work: usize,
    /// Reads that were begun since the start.
    pub waits: u64,
    /// How long all of these waited for a connection, together.
    pub waited: Duration,
}

/// The database as features see it. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    engine: Arc<dyn Database>,
    seen: Arc<Seen>,
    gate: Arc<Mutex<Option<Freeze>>>,
}

/// Why nothing may be written, and until when.
struct Freeze {
    why: Error,
    /// `None`: for as long as this process lives.
    until: Option<Instant>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Db")
    }
}

struct Closure<F, T> {
    work: Option<F>,
    tenants: Vec<Id>,
    seen: Arc<Seen>,
    out: Option<Result<T>>,
    afterwards: Vec<Afterwards>,
    answer: oneshot::Sender<Result<T>>,
}

impl<F, T> WriteJob for Closure<F, T>
where
    F: FnOnce(&mut WriteTx<'_>) -> Result<T> + Send,
    T: Send,
{
    fn run(&mut self, tx: &mut WriteTx<'_>) -> bool {
        let Some(work) = self.work.take() else { return false };
        let out = work(tx);
        self.afterwards = std::mem::take(&mut tx.1);
        self.tenants = std::mem::take(&mut tx.0.tenants);
        let out = match tx.0.failed.take() {
            Some(error) => out.and(Err(error)),
            None => out,
        };
        let commit = out.is_ok();
        self.out = Some(out);
        commit
    }

    fn done(self: Box<Self>, committed: Result<Position>) {
        let out = match (self.out, committed) {
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
            (Some(out), Ok(position)) => {
                // Before anybody hears of the write, who then reads.
                self.seen.wrote(&self.tenants, position);
                self.afterwards.into_iter().for_each(|work| work());
                out
            }
            (None, Ok(_)) => Err(Error::internal("the engine did not run the transaction")),
        };
        // The caller may be gone; the transaction stands all the same.
        drop(self.answer.send(out));
    }
}

/// What callers hear of an engine that has ended.
pub fn stopped() -> Error {
    Error::unavailable("database_stopped", "The database of this server has stopped. Try again in a moment.")
}

/// What callers hear when too many wait already.
pub fn busy() -> Error {
    Error::unavailable("database_busy", "Too much is waiting for the database of this server. Try again in a moment.")
}

/// Hands a write to the thread of an engine that writes; without one, or when too much waits, it is refused.
pub fn queue_write(writer: Option<&SyncSender<Box<dyn WriteJob>>>, job: Box<dyn WriteJob>) {
    let Some(writer) = writer else { return job.done(Err(stopped())) };
    match writer.try_send(job) {
        Ok(()) => {}
        Err(TrySendError::Full(job)) => job.done(Err(busy())),
        Err(TrySendError::Disconnected(job)) => job.done(Err(stopped())),
    }
}

/// Why nothing may be written, unless its time is over.
fn frozen(gate: &mut Option<Freeze>) -> Option<Error> {
    gate.take_if(|it| it.until.is_some_and(|until| Instant::now() >= until));
    gate.as_ref().map(|it| it.why.clone())
}

/// What callers hear of a database that was moved elsewhere: it refuses every change by itself.
pub fn moved() -> Error {
    Error::unavailable(
        "database_moved",
        "The data of this server was moved to another database. Nothing can be changed until the server is restarted: \
         systemctl restart chainhost",
    )
}

/// What the refusal of a moved database says, by which the engines know it.
pub const MOVED: &str = "chainhost: moved to another database";

impl Db {
    /// Wraps an engine.
    pub fn new(engine: Arc<dyn Database>) -> Self {
        Self { engine, seen: Arc::default(), gate: Arc::default() }
    }

    fn gate(&self) -> MutexGuard<'_, Option<Freeze>> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses writes with `why`, for `time` or for as long as this process lives, and answers when those that were asked for
    /// before have ended. Reads go on. Asked again, it begins anew.
    pub async fn freeze(&self, why: Error, time: Option<Duration>) -> Result<()> {
        {
            let mut gate = self.gate();
            // What is refused for as long as this process lives is not refused for a time instead.
            if gate.as_ref().is_none_or(|it| it.until.is_some()) {
                *gate = Some(Freeze { why, until: time.map(|it| Instant::now() + it) });
            }
        }
        self.queue(|_| Ok(())).await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Takes writes again, unless they are refused for good.
    pub fn thaw(&self) {
        self.gate().take_if(|it| it.until.is_some());
    }

    /// Why nothing may be written now, if so.
    pub fn frozen(&self) -> Option<Error> {
        frozen(&mut self.gate())
    }

    /// Runs `work` in one write transaction; answers after the commit is durable.
    pub async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        // The gate is held until the write is queued: none slips in behind those that a freeze waits for.
        let answered = {
            let mut gate = self.gate();
            if let Some(why) = frozen(&mut gate) {
                return Err(why);
            }
            self.queue(work)
        };
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn queue<T, F>(&self, work: F) -> oneshot::Receiver<Result<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let seen = Arc::clone(&self.seen);
        let job = Closure { work: Some(work), tenants: Vec::new(), seen, out: None, afterwards: Vec::new(), answer };
        self.engine.submit_write(Box::new(job));
        answered
    }

    /// Runs `work` in one read transaction.
    pub async fn read<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut ReadTx<'_>) -> Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.engine.submit_read(Box::new(move |tx| {
            drop(answer.send(tx.and_then(work)));
        }));
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Runs `work` in one read transaction of a tenant, perhaps on a replica: on one that has all that this process has written of
    /// the tenant, and what its clients have shown. Others' newest writes may be missing, so nothing that decides a right or a
    /// write is read this way. What a replica cannot answer is read again, here.
    pub async fn read_near<T, F>(&self, scope: TenantScope, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut ReadTx<'_>) -> Result<T> + Send + Sync + 'static,
    {
        let work = Arc::new(work);
        let there = Arc::clone(&work);
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move |tx: Result<&mut ReadTx<'_>>| {
            let Ok(tx) = tx else { return };
            let out = there(tx);
            if tx.failed.is_none() {
                drop(answer.send(out));
            }
        });
        if self.engine.submit_near(self.seen.of(scope.tenant().0), job).is_none()
            && let Ok(Ok(out)) = tokio::time::timeout(NEAR_MAX, answered).await
        {
            return out;
        }
        self.read(move |tx| work(tx)).await
    }

    /// Remembers the position that a client of a tenant has shown; whether it is news here.
    pub fn shown(&self, scope: TenantScope, position: Position) -> bool {
        self.seen.shown(scope.tenant().0, position)
    }

    /// The position after the last write of this process, for clients to show to others.
    pub fn latest(&self) -> Position {
        self.seen.latest()
    }

    /// The replicas.
    pub fn replicas(&self) -> Vec<Replica> {
        self.engine.replicas()
    }

    /// Whether the database is there.
    pub fn health(&self) -> Result<()> {
        self.engine.health()
    }

    /// Waits until the disk has failed under the database and this process must end, and says why.
    pub async fn failed(&self) -> Error {
        fatal::told(self.engine.fatal()).await
    }

    /// The connections, when they are limited.
    pub fn pool(&self) -> Option<Pool> {
        self.engine.pool()
    }

    /// The parts of tables by month, when the engine keeps them in parts.
    pub fn parts(&self) -> Option<Arc<dyn Parts>> {
        self.engine.parts()
    }
}
