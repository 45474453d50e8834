//! Which rows change while a copy is made: triggers write the keys into a table, whoever changes them.
//!
//! Guarantees: a change that is committed after [`watch`] has its key in the table, with the same commit; a key is in it once.
//! It sees changes of rows only: a part of a table that is taken away as a whole is seen by counting.

use crate::{
    domain::{Error, Result},
    ports::db::{Dialect, Kind, ReadTx, Value, WriteTx},
};

use super::{EVENTS, Table, Values, places};

/// The table of the keys, and what the triggers' names begin with. No table of the product.
pub(super) const LOG: &str = "chainhost_changed";

/// A row that has changed, come or gone: its table and its key.
pub type Changed = (String, Values);

/// Begins to note what changes in `tables`. What was noted before is gone.
pub fn watch(tx: &mut WriteTx<'_>, tables: &[Table]) -> Result<()> {
    let width = tables.iter().map(|it| it.key.len()).max().unwrap_or(1);
    let names = log_columns(width);
    let key = names.join(", ");
    let sql = match tx.dialect() {
        // Columns without a type, for keys of every type.
        Dialect::Sqlite => {
            let columns = names.join(" NOT NULL, ");
            format!(
                "CREATE TABLE {LOG} (name TEXT NOT NULL, {columns} NOT NULL, PRIMARY KEY (name, {key})) WITHOUT ROWID"
            )
        }
        Dialect::Postgres => {
            let columns = names.join(" BYTEA NOT NULL, ");
            format!(
                "CREATE TABLE {LOG} (name TEXT COLLATE \"C\" NOT NULL, {columns} BYTEA NOT NULL, PRIMARY KEY (name, {key}))"
            )
        }
    };
    tx.execute(&sql, &[])?;
    for table in tables {
        for sql in triggers(tx.dialect(), table, width)? {
            tx.execute(&sql, &[])?;
        }
    }
    Ok(())
}

fn log_columns(width: usize) -> Vec<String> {
    (1..=width).map(|it| format!("k{it}")).collect()
}

/// The statements that make the triggers of a table.
fn triggers(dialect: Dialect, table: &Table, width: usize) -> Result<Vec<String>> {
    let name = &table.name;
    let (old, new) = (note(dialect, table, width, "OLD")?, note(dialect, table, width, "NEW")?);
    Ok(match dialect {
        Dialect::Sqlite => {
            let of = |event: &str| {
                let notes = match event {
                    "insert" => new.clone(),
                    "delete" => old.clone(),
                    _ => format!("{old} {new}"),
                };
                let when = event.to_uppercase();
                format!("CREATE TRIGGER \"{LOG}_{name}_{event}\" AFTER {when} ON \"{name}\" BEGIN {notes} END")
            };
            EVENTS.iter().map(|it| of(it)).collect()
        }
        Dialect::Postgres => vec![
            format!(
                "CREATE OR REPLACE FUNCTION \"{LOG}_{name}\"() RETURNS trigger LANGUAGE plpgsql AS $chainhost$ BEGIN \
                 IF TG_OP <> 'INSERT' THEN {old} END IF; IF TG_OP <> 'DELETE' THEN {new} END IF; RETURN NULL; \
                 END $chainhost$"
            ),
            format!(
                "CREATE TRIGGER {LOG} AFTER INSERT OR UPDATE OR DELETE ON \"{name}\" \
                 FOR EACH ROW EXECUTE FUNCTION \"{LOG}_{name}\"()"
            ),
        ],
    })
}

/// The statement that notes the key of a row.
fn note(dialect: Dialect, table: &Table, width: usize, row: &str) -> Result<String> {
    let mut values = Vec::new();
    for column in table.key.iter().filter_map(|at| table.columns.get(*at)) {
        let value = format!("{row}.\"{}\"", column.name);
        values.push(match (dialect, column.kind) {
            (Dialect::Sqlite, _) | (_, Kind::Blob) => value,
            (Dialect::Postgres, Kind::Text) => format!("convert_to({value}, 'UTF8')"),
            (Dialect::Postgres, Kind::Int) => format!("int8send({value})"),
            (_, kind) => return Err(Error::internal(format!("{} has a {kind:?} in its key", table.name))),
        });
    }
    let empty = if dialect == Dialect::Sqlite { "x''" } else { "CAST('' AS bytea)" };
    values.resize(width, String::from(empty));
    let (name, columns) = (&table.name, log_columns(width).join(", "));
    let values = values.join(", ");
    Ok(format!("INSERT INTO chainhost_changed (name, {columns}) VALUES ('{name}', {values}) ON CONFLICT DO NOTHING;"))
}

/// Whether the triggers of all `tables` are there: whoever took one away may have changed something unseen.
pub fn is_watched(tx: &mut ReadTx<'_>, tables: &[Table]) -> Result<bool> {
    let (sql, each) = match tx.dialect() {
        Dialect::Sqlite => (
            "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'chainhost\\_changed\\_%' ESCAPE '\\'",
            EVENTS.len(),
        ),
        Dialect::Postgres => (
            "SELECT COUNT(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
             JOIN pg_namespace n ON n.oid = c.relnamespace WHERE t.tgname = 'chainhost_changed' AND t.tgenabled = 'O'
             AND n.nspname = current_schema() AND NOT c.relispartition",
            1,
        ),
    };
    let found = usize::try_from(tx.one(sql, &[])?.int(0)?).map_err(Error::internal)?;
    Ok(found == each * tables.len())
}

/// At most `limit` keys that were noted.
pub fn list_changed(tx: &mut ReadTx<'_>, tables: &[Table], limit: usize) -> Result<Vec<Changed>> {
    let width = tables.iter().map(|it| it.key.len()).max().unwrap_or(1);
    let columns = log_columns(width).join(", ");
    let sql = format!("SELECT name, {columns} FROM chainhost_changed ORDER BY name, {columns} LIMIT {limit}");
    let mut changed = Vec::new();
    for row in tx.query(&sql, &[])? {
        let name = row.text(0)?.to_owned();
        let Some(table) = tables.iter().find(|it| it.name == name) else { continue };
        let kinds = table.key.iter().filter_map(|at| table.columns.get(*at)).map(|it| it.kind);
        let values = row.0.into_iter().skip(1).zip(kinds).map(|(value, kind)| plain(value, kind));
        changed.push((name, values.collect::<Result<_>>()?));
    }
    Ok(changed)
}

/// A value of a key as its column has it.
fn plain(value: Value, kind: Kind) -> Result<Value> {
    match (value, kind) {
        (Value::Blob(bytes), Kind::Text) => String::from_utf8(bytes).map(Value::Text).map_err(Error::internal),
        (Value::Blob(bytes), Kind::Int) => {
            let bytes = <[u8; 8]>::try_from(bytes).map_err(|_| Error::internal("a key of another length"))?;
            Ok(Value::Int(i64::from_be_bytes(bytes)))
        }
        (value, _) => Ok(value),
    }
}

/// As [`list_changed`], and forgets them: their rows are to be read after this transaction has committed, not before.
pub fn take_changed(tx: &mut WriteTx<'_>, tables: &[Table], limit: usize) -> Result<Vec<Changed>> {
    let changed = list_changed(tx, tables, limit)?;
    let width = tables.iter().map(|it| it.key.len()).max().unwrap_or(1);
    let columns = log_columns(width).join(", ");
    let sql = format!("SELECT name, {columns} FROM chainhost_changed ORDER BY name, {columns} LIMIT 1 OFFSET {limit}");
    match tx.find(&sql, &[])? {
        None => tx.execute("DELETE FROM chainhost_changed", &[]),
        Some(next) => {
            let numbers = places(0, width + 1);
            tx.execute(&format!("DELETE FROM chainhost_changed WHERE (name, {columns}) < ({numbers})"), &next.0)
        }
    }?;
    Ok(changed)
}

/// Whether something is left of [`watch`].
pub fn was_watched(tx: &mut ReadTx<'_>) -> Result<bool> {
    let sql = match tx.dialect() {
        Dialect::Sqlite => "SELECT COUNT(*) FROM sqlite_schema WHERE name LIKE 'chainhost\\_changed%' ESCAPE '\\'",
        Dialect::Postgres => {
            "SELECT COUNT(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relname = 'chainhost_changed' AND n.nspname = current_schema()"
        }
    };
    Ok(tx.one(sql, &[])?.int(0)? > 0)
}

/// Ends what [`watch`] began in one table. A transaction each, so that nobody who reads waits for more than one table.
pub fn unwatch_table(tx: &mut WriteTx<'_>, table: &Table) -> Result<()> {
    let name = &table.name;
    match tx.dialect() {
        Dialect::Sqlite => {
            for event in EVENTS {
                tx.execute(&format!("DROP TRIGGER IF EXISTS \"{LOG}_{name}_{event}\""), &[])?;
            }
        }
        Dialect::Postgres => {
            tx.execute(&format!("DROP TRIGGER IF EXISTS {LOG} ON \"{name}\""), &[])?;
            tx.execute(&format!("DROP FUNCTION IF EXISTS \"{LOG}_{name}\"()"), &[])?;
        }
    }
    Ok(())
}

/// The end of it, once no table is watched any more.
pub fn unwatch(tx: &mut WriteTx<'_>) -> Result<()> {
    tx.execute(&format!("DROP TABLE IF EXISTS {LOG}"), &[]).map(|_| ())
}
