//! Copies the rows of all tables from one database to another of the same schema, page by page in the order of their keys.
//!
//! Guarantees: tables and columns are those of the databases' own catalogues, so that no table is forgotten; a page is made equal
//! whatever the target held before, so that a copy that broke off goes on by beginning again; what is counted and hashed of the
//! target are the rows as they were read back from it.
//! It never copies the marks of a move itself, nor `schema_version`, which each database has of its own.

pub mod changes;

use std::{collections::HashMap, fmt::Write as _};

use crate::{
    domain::{Error, Result},
    params,
    ports::db::{Dialect, Kind, MOVED, ReadTx, Row, Value, WriteTx},
};

use super::settings;

/// No limit of rows.
const ALL: usize = usize::MAX >> 1;

/// Parameters of one INSERT: both databases take more.
const PARAMETERS_MAX: usize = 16_000;

/// A column: its name and the type of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    name: String,
    kind: Kind,
}

/// A table with the columns of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    columns: Vec<Column>,
    /// Places in `columns`, in the order of the key.
    key: Vec<usize>,
}

/// A row, each value of the type of its column.
pub type Values = Vec<Value>;

/// The tables of this database and their columns, by name.
pub fn tables(tx: &mut ReadTx<'_>) -> Result<Vec<Table>> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => {
            "SELECT m.name, p.name, p.type, p.pk - 1 FROM sqlite_schema m JOIN pragma_table_info(m.name) p
             WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
             AND m.name NOT IN ('schema_version', 'chainhost_changed')
             ORDER BY m.name, p.cid"
        }
        // The numbers of an index's columns are counted from 0.
        Dialect::Postgres => {
            "SELECT CAST(c.relname AS TEXT), CAST(a.attname AS TEXT), format_type(a.atttypid, a.atttypmod),
             COALESCE(CAST(array_position(CAST(i.indkey AS int2[]), a.attnum) AS BIGINT), -1)
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
             LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
             WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND NOT c.relispartition
             AND c.relname NOT IN ('schema_version', 'chainhost_changed') ORDER BY c.relname, a.attnum"
        }
    };
    let mut found: Vec<(Table, Vec<(i64, usize)>)> = Vec::new();
    for row in tx.query(sql, &[])? {
        let name = row.text(0)?;
        if found.last().is_none_or(|(table, _)| table.name != name) {
            found.push((Table { name: name.to_owned(), columns: Vec::new(), key: Vec::new() }, Vec::new()));
        }
        let Some((table, key)) = found.last_mut() else { continue };
        if row.int(3)? >= 0 {
            key.push((row.int(3)?, table.columns.len()));
        }
        table.columns.push(Column { name: row.text(1)?.to_owned(), kind: kind(row.text(2)?)? });
    }
    for (table, key) in &mut found {
        key.sort_unstable();
        table.key = key.iter().map(|(_, at)| *at).collect();
        if table.key.is_empty() {
            return Err(Error::internal(format!("the table {} has no primary key", table.name)));
        }
    }
    Ok(found.into_iter().map(|(table, _)| table).collect())
}

fn kind(word: &str) -> Result<Kind> {
    match word.to_ascii_lowercase().as_str() {
        "boolean" => Ok(Kind::Bool),
        "bigint" | "integer" => Ok(Kind::Int),
        "double precision" | "real" => Ok(Kind::Real),
        "text" => Ok(Kind::Text),
        "blob" | "bytea" => Ok(Kind::Blob),
        other => Err(Error::internal(format!("a column has the type {other}, which is not copied"))),
    }
}

/// The tables that both databases have, with the types of the one that knows more: SQLite keeps booleans as numbers. An error
/// when a table or a column is in one of them only.
pub fn agree(one: &[Table], other: &[Table]) -> Result<Vec<Table>> {
    let differ = |what: &str| Error::internal(format!("the two databases have different schemas: {what}"));
    if one.len() != other.len() {
        return Err(differ("the number of tables"));
    }
    let agreed = one.iter().zip(other).map(|(one, other)| {
        let word = |table: &Table, at: usize| table.columns.get(at).map(|it| it.name.clone());
        let key = |table: &Table| table.key.iter().map(|at| word(table, *at)).collect::<Vec<_>>();
        let same = one.name == other.name && one.columns.len() == other.columns.len() && key(one) == key(other);
        if !same {
            return Err(differ(&one.name));
        }
        let mut table = one.clone();
        for column in &mut table.columns {
            let Some(twin) = other.columns.iter().find(|it| it.name == column.name) else {
                return Err(differ(&format!("{}.{}", one.name, column.name)));
            };
            if twin.kind == Kind::Bool {
                column.kind = Kind::Bool;
            }
        }
        Ok(table)
    });
    agreed.collect()
}

impl Table {
    /// The rows that are not part of the data: the marks of a move.
    fn only(&self) -> String {
        if self.name == "setting" {
            format!("name NOT IN ('{}', '{}')", settings::MOVED_TO, settings::FILLING)
        } else {
            String::from("1 = 1")
        }
    }

    fn names<'a>(&'a self, places: impl Iterator<Item = usize> + 'a) -> String {
        let names = places.filter_map(|at| self.columns.get(at)).map(|it| format!("\"{}\"", it.name));
        names.collect::<Vec<_>>().join(", ")
    }

    fn key_names(&self) -> String {
        self.names(self.key.iter().copied())
    }

    /// The key of a row.
    pub fn key_of(&self, row: &[Value]) -> Values {
        self.key.iter().filter_map(|at| row.get(*at)).cloned().collect()
    }

    /// A row with the types that the columns have.
    fn typed(&self, row: Row) -> Result<Values> {
        let wrong = |column: &Column, value: &Value| {
            Error::internal(format!("{}.{} holds {value:?}, which is no {:?}", self.name, column.name, column.kind))
        };
        let typed = row.0.into_iter().zip(&self.columns).map(|(value, column)| match (column.kind, value) {
            (kind, Value::Null(_)) => Ok(Value::Null(kind)),
            (Kind::Bool, Value::Int(it @ (0 | 1))) => Ok(Value::Bool(it == 1)),
            (Kind::Bool, it @ Value::Bool(_))
            | (Kind::Int, it @ Value::Int(_))
            | (Kind::Real, it @ Value::Real(_))
            | (Kind::Text, it @ Value::Text(_))
            | (Kind::Blob, it @ Value::Blob(_)) => Ok(it),
            (_, value) => Err(wrong(column, &value)),
        });
        typed.collect()
    }

    fn condition(&self, after: &[Value], last: &[Value]) -> (String, Values) {
        let mut sql = self.only();
        let mut params = Vec::new();
        for (sign, key) in [(">", after), ("<=", last)] {
            if !key.is_empty() {
                let numbers = places(params.len(), key.len());
                // Writing into a String cannot fail.
                let _ = write!(sql, " AND ({}) {sign} ({numbers})", self.key_names());
                params.extend_from_slice(key);
            }
        }
        (sql, params)
    }
}

/// `$3, $4` after two others.
fn places(before: usize, count: usize) -> String {
    (1..=count).map(|it| format!("${}", before + it)).collect::<Vec<_>>().join(", ")
}

/// The rows behind the key `after` (empty: from the first) up to the key `last` (empty: no end), at most `limit`.
pub fn read(tx: &mut ReadTx<'_>, table: &Table, after: &[Value], last: &[Value], limit: usize) -> Result<Vec<Values>> {
    let (condition, params) = table.condition(after, last);
    let columns = table.names(0..table.columns.len());
    let (name, key) = (&table.name, table.key_names());
    let sql = format!("SELECT {columns} FROM \"{name}\" WHERE {condition} ORDER BY {key} LIMIT {limit}");
    tx.query(&sql, &params)?.into_iter().map(|row| table.typed(row)).collect()
}

/// How many rows a table has.
pub fn count(tx: &mut ReadTx<'_>, table: &Table) -> Result<u64> {
    let sql = format!("SELECT COUNT(*) FROM \"{}\" WHERE {}", table.name, table.only());
    u64::try_from(tx.one(&sql, &[])?.int(0)?).map_err(Error::internal)
}

/// How many rows there are behind the key `after`, up to `limit`, and the key of the last of so many when there are more: for
/// reads whose time is limited.
pub fn count_some(tx: &mut ReadTx<'_>, table: &Table, after: &[Value], limit: usize) -> Result<(u64, Option<Values>)> {
    let (condition, params) = table.condition(after, &[]);
    let (name, key) = (&table.name, table.key_names());
    let last = limit.saturating_sub(1);
    let sql = format!("SELECT {key} FROM \"{name}\" WHERE {condition} ORDER BY {key} LIMIT 1 OFFSET {last}");
    if let Some(row) = tx.find(&sql, &params)? {
        return Ok((u64::try_from(limit).map_err(Error::internal)?, Some(row.0)));
    }
    let sql = format!("SELECT COUNT(*) FROM \"{name}\" WHERE {condition}");
    Ok((u64::try_from(tx.one(&sql, &params)?.int(0)?).map_err(Error::internal)?, None))
}

/// A row as bytes that no other row has: each value with its type and its length.
pub fn encode(row: &[Value], out: &mut Vec<u8>) {
    let mut bytes = |tag: u8, bytes: &[u8]| {
        out.push(tag);
        out.extend_from_slice(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
        out.extend_from_slice(bytes);
    };
    for value in row {
        match value {
            Value::Null(_) => bytes(0, &[]),
            Value::Bool(it) => bytes(1, &[u8::from(*it)]),
            Value::Int(it) => bytes(2, &it.to_be_bytes()),
            Value::Real(it) => bytes(3, &it.to_bits().to_be_bytes()),
            Value::Text(it) => bytes(4, it.as_bytes()),
            Value::Blob(it) => bytes(5, it),
        }
    }
}

/// About the bytes of a row.
pub fn size(row: &[Value]) -> usize {
    let bytes = row.iter().map(|value| match value {
        Value::Text(it) => it.len(),
        Value::Blob(it) => it.len(),
        _ => 8,
    });
    bytes.sum()
}

/// Rows between two keys, all that the source has there.
#[derive(Clone, Debug, Default)]
pub struct Span {
    /// The key before them; empty: from the first.
    pub after: Values,
    /// The last key that belongs to them, whether a row has it or not; empty: no end.
    pub end: Values,
    /// The rows.
    pub rows: Vec<Values>,
}

/// Makes the target's rows of a span equal to the source's. Answers them as the target has them now.
pub fn apply(tx: &mut WriteTx<'_>, table: &Table, span: &Span) -> Result<Vec<Values>> {
    let found = read(tx, table, &span.after, &span.end, ALL)?;
    if found == span.rows {
        return Ok(found);
    }
    let missing = weed(tx, table, &span.rows, found)?;
    let at_once = (PARAMETERS_MAX / table.columns.len().max(1)).clamp(1, 500);
    for part in missing.chunks(at_once) {
        insert(tx, table, part)?;
    }
    read(tx, table, &span.after, &span.end, ALL)
}

/// Removes the target's rows of a span that the source has not, or has otherwise: what comes may have a name that they have.
pub fn clear_wrong(tx: &mut WriteTx<'_>, table: &Table, span: &Span) -> Result<()> {
    let found = read(tx, table, &span.after, &span.end, ALL)?;
    weed(tx, table, &span.rows, found).map(|_| ())
}

/// Removes those of `found` that are not among `rows`; which of `rows` are then missing.
fn weed<'r>(tx: &mut WriteTx<'_>, table: &Table, rows: &'r [Values], found: Vec<Values>) -> Result<Vec<&'r Values>> {
    let encoded = |row: &[Value]| {
        let mut bytes = Vec::new();
        encode(&table.key_of(row), &mut bytes);
        bytes
    };
    let mut there: HashMap<Vec<u8>, Values> = found.into_iter().map(|row| (encoded(&row), row)).collect();
    let mut missing = Vec::new();
    for row in rows {
        let key = encoded(row);
        if there.get(&key) == Some(row) {
            there.remove(&key);
        } else {
            missing.push(row);
        }
    }
    for row in there.values() {
        remove(tx, table, &table.key_of(row))?;
    }
    Ok(missing)
}

fn remove(tx: &mut WriteTx<'_>, table: &Table, key: &[Value]) -> Result<()> {
    let sql = format!("DELETE FROM \"{}\" WHERE ({}) = ({})", table.name, table.key_names(), places(0, key.len()));
    tx.execute(&sql, key).map(|_| ())
}

fn insert(tx: &mut WriteTx<'_>, table: &Table, rows: &[&Values]) -> Result<()> {
    let width = table.columns.len();
    let values: Vec<String> = (0..rows.len()).map(|row| format!("({})", places(row * width, width))).collect();
    let columns = table.names(0..width);
    let sql = format!("INSERT INTO \"{}\" ({columns}) VALUES {}", table.name, values.join(", "));
    let params: Values = rows.iter().flat_map(|row| row.iter().cloned()).collect();
    tx.execute(&sql, &params).map(|_| ())
}

/// Removes what stands behind the last row of the source; all rows when the key is empty.
pub fn cut(tx: &mut WriteTx<'_>, table: &Table, last: &[Value]) -> Result<()> {
    let (condition, params) = table.condition(last, &[]);
    tx.execute(&format!("DELETE FROM \"{}\" WHERE {condition}", table.name), &params).map(|_| ())
}

/// What a database says of itself: whose it is, and the marks of a move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// The installation.
    pub instance: Option<String>,
    /// It takes no change any more; its data is there.
    pub moved_to: Option<String>,
    /// It is being filled with the data of this installation.
    pub filling: Option<String>,
}

/// Reads the marks.
pub fn marks(tx: &mut ReadTx<'_>) -> Result<Marks> {
    Ok(Marks {
        instance: settings::find(tx, settings::INSTANCE)?,
        moved_to: settings::find(tx, settings::MOVED_TO)?,
        filling: settings::find(tx, settings::FILLING)?,
    })
}

/// Makes a database ready to be filled: nobody starts on it before [`open`].
pub fn prepare(tx: &mut WriteTx<'_>, tables: &[Table], instance: &str) -> Result<()> {
    for table in tables {
        for event in EVENTS {
            let sql = match tx.dialect() {
                Dialect::Sqlite => format!("DROP TRIGGER IF EXISTS \"chainhost_moved_{}_{event}\"", table.name),
                Dialect::Postgres => format!("DROP TRIGGER IF EXISTS chainhost_moved_{event} ON \"{}\"", table.name),
            };
            tx.execute(&sql, &[])?;
        }
    }
    settings::set(tx, settings::FILLING, instance)?;
    tx.execute("DELETE FROM setting WHERE name = $1", params![settings::MOVED_TO]).map(|_| ())
}

/// Has a database that plans by what it knows of its tables look at this one, whose rows came at once: it would do so by itself a minute
/// later, and plan badly until then.
pub fn analyze(tx: &mut WriteTx<'_>, table: &Table) -> Result<()> {
    take_time(tx)?;
    tx.execute(&format!("ANALYZE \"{}\"", table.name), &[]).map(|_| ())
}

/// The database is complete: servers may start on it.
pub fn open(tx: &mut WriteTx<'_>) -> Result<()> {
    tx.execute("DELETE FROM setting WHERE name = $1", params![settings::FILLING]).map(|_| ())
}

const EVENTS: [&str; 3] = ["insert", "update", "delete"];

/// Marks a database whose data is elsewhere now. From the commit on it refuses every change by itself, whoever asks: a process
/// that has not heard of the move can acknowledge nothing.
pub fn close(tx: &mut WriteTx<'_>, tables: &[Table], moved_to: &str) -> Result<()> {
    settings::set(tx, settings::MOVED_TO, moved_to)?;
    if tx.dialect() == Dialect::Postgres {
        let sql = format!(
            "CREATE OR REPLACE FUNCTION chainhost_moved() RETURNS trigger LANGUAGE plpgsql AS \
             $chainhost$ BEGIN RAISE EXCEPTION '{MOVED}'; END $chainhost$"
        );
        tx.execute(&sql, &[])?;
    }
    for table in tables {
        for event in EVENTS {
            let (name, when) = (&table.name, event.to_uppercase());
            let sql = match tx.dialect() {
                Dialect::Sqlite => format!(
                    "CREATE TRIGGER \"chainhost_moved_{name}_{event}\" BEFORE {when} ON \"{name}\" \
                     BEGIN SELECT RAISE(ABORT, '{MOVED}'); END"
                ),
                Dialect::Postgres => format!(
                    "CREATE TRIGGER chainhost_moved_{event} BEFORE {when} ON \"{name}\" \
                     FOR EACH STATEMENT EXECUTE FUNCTION chainhost_moved()"
                ),
            };
            tx.execute(&sql, &[])?;
        }
    }
    Ok(())
}

/// Lets the transaction that reads all last as long as it takes, however long it waits for the other database.
pub fn take_time(tx: &mut WriteTx<'_>) -> Result<()> {
    if tx.dialect() == Dialect::Postgres {
        tx.execute("SET LOCAL statement_timeout = 0", &[])?;
        tx.execute("SET LOCAL idle_in_transaction_session_timeout = 0", &[])?;
    }
    Ok(())
}
