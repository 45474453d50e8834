//! One statement of a person on a SQLite database, who may look at everything and change nothing.
//!
//! SECURITY: the connection is opened read-only and set to `query_only`; the statement must be one that reads.

use std::{path::Path, sync::mpsc, thread, time::Duration};

use rusqlite::{Connection, OpenFlags, types::ValueRef};

use crate::{
    domain::{Error, Result},
    ports::db::{Found, Kind, Value},
};

/// Runs one statement for at most `time`; at most `limit` rows.
pub fn ask(path: &Path, sql: &str, limit: usize, time: Duration) -> Result<Found> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(time)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        Ok(connection)
    };
    let connection = open().map_err(|error| said(&error))?;
    let interrupt = connection.get_interrupt_handle();
    let (done, is_done) = mpsc::sync_channel::<()>(1);
    let watch = thread::Builder::new().name(String::from("time-limit")).spawn(move || {
        if is_done.recv_timeout(time) == Err(mpsc::RecvTimeoutError::Timeout) {
            interrupt.interrupt();
        }
    })?;
    let found = rows(&connection, sql, limit);
    drop(done);
    crate::base::tasks::join_thread(watch);
    found.map_err(|error| said(&error))
}

fn rows(connection: &Connection, sql: &str, limit: usize) -> rusqlite::Result<Found> {
    let mut statement = connection.prepare(sql)?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut found = Found { columns, rows: Vec::new(), more: false };
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if found.rows.len() >= limit {
            found.more = true;
            break;
        }
        let values = (0..found.columns.len()).map(|at| {
            Ok(match row.get_ref(at)? {
                ValueRef::Null => Value::Null(Kind::Text),
                ValueRef::Integer(it) => Value::Int(it),
                ValueRef::Real(it) => Value::Real(it),
                ValueRef::Text(it) => Value::Text(String::from_utf8_lossy(it).into_owned()),
                ValueRef::Blob(it) => Value::Blob(it.to_vec()),
            })
        });
        found.rows.push(values.collect::<rusqlite::Result<_>>()?);
    }
    Ok(found)
}

fn said(error: &rusqlite::Error) -> Error {
    Error::invalid("sql", format!("SQLite says: {error}."))
}
