//! One statement of a person on a PostgreSQL database, who may look at everything and change nothing.
//!
//! SECURITY: it runs in a transaction that is read-only, and what is not exactly one statement is refused before: a COMMIT behind
//! it would end that transaction.

use std::time::Duration;

use tokio_postgres::{SimpleQueryMessage, types::Type};

use crate::{
    base::secret::Secret,
    domain::{Error, Result},
    ports::db::{Found, Kind, Value},
};

use super::{
    address::Address,
    session::{unreachable, whole},
};

/// The server ends a statement by itself; one that is later than this has no server any more.
const LATE: Duration = Duration::from_secs(5);

/// Runs one statement for at most `time`; at most `limit` rows. Blocks; must not be called on a thread of an async runtime.
pub fn ask(url: &Secret, sql: &str, limit: usize, time: Duration) -> Result<Found> {
    let said = |error: tokio_postgres::Error| Error::invalid("sql", format!("PostgreSQL says: {}.", whole(&error)));
    let address = Address::parse(url)?;
    let (mut client, _) = address.connect().map_err(|error| unreachable(address.name()).because(error))?;
    client.limit(Some(time + LATE));
    let begin =
        format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {}", time.as_millis());
    client.simple_query(&begin).map_err(said)?;
    let statement = client.ask(async |it| it.prepare(sql).await).map_err(said)?;
    let columns: Vec<(String, Type)> =
        statement.columns().iter().map(|it| (it.name().to_owned(), it.type_().clone())).collect();
    let word = sql.trim_start().split(|it: char| !it.is_ascii_alphabetic()).next().unwrap_or_default();
    // Of a cursor only what is shown is fetched. Not every statement can have one; those that cannot have few rows.
    let messages = if ["explain", "show"].contains(&word.to_ascii_lowercase().as_str()) {
        client.simple_query(sql)
    } else {
        let whole = sql.trim_end().trim_end_matches(';');
        client
            .simple_query(&format!("DECLARE shown NO SCROLL CURSOR FOR {whole}"))
            .and_then(|_| client.simple_query(&format!("FETCH {} FROM shown", limit.saturating_add(1))))
    };
    let mut found = Found { columns: Vec::new(), rows: Vec::new(), more: false };
    for message in messages.map_err(said)? {
        let SimpleQueryMessage::Row(row) = message else { continue };
        if found.rows.len() >= limit {
            found.more = true;
            break;
        }
        let values = columns.iter().enumerate().map(|(at, (_, ty))| value(row.get(at), ty));
        found.rows.push(values.collect());
    }
    found.columns = columns.into_iter().map(|(name, _)| name).collect();
    Ok(found)
}

/// A value from its text. What has no type of ours stays text.
fn value(text: Option<&str>, ty: &Type) -> Value {
    let Some(text) = text else { return Value::Null(Kind::Text) };
    let of_type = match *ty {
        Type::BOOL => Some(Value::Bool(text == "t")),
        Type::INT2 | Type::INT4 | Type::INT8 => text.parse().ok().map(Value::Int),
        Type::FLOAT4 | Type::FLOAT8 => text.parse().ok().map(Value::Real),
        Type::BYTEA => {
            text.strip_prefix("\\x").and_then(|it| data_encoding::HEXLOWER.decode(it.as_bytes()).ok()).map(Value::Blob)
        }
        _ => None,
    };
    of_type.unwrap_or_else(|| Value::Text(text.to_owned()))
}
