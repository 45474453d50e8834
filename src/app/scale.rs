//! What `chainhost scale` does: it distributes a database, or says with which statements one does it oneself.

use crate::{config::database::Postgres, domain::Result, engines::schema};

/// The statements that distribute a database over a Citus cluster, in their order.
pub fn citus() -> Vec<String> {
    schema::citus().into_iter().map(|(_, sql)| sql + ";").collect()
}

/// The statements that put up the wall between tenants, in their order.
pub fn row_security() -> Vec<String> {
    schema::row_security().into_iter().map(|sql| sql + ";").collect()
}

/// Puts the wall up; whether it stands for the user that the server connects as. Blocks; must not be called on a thread of an async
/// runtime.
#[cfg(feature = "postgres")]
pub fn run_row_security(settings: &Postgres) -> Result<bool> {
    let url = settings.direct_url.as_deref().unwrap_or(&settings.url);
    crate::engines::postgres::wall::put_up(url, &schema::row_security())
}

/// Puts it up, in a build that can.
#[cfg(not(feature = "postgres"))]
pub fn run_row_security(_settings: &Postgres) -> Result<bool> {
    Err(super::ground::no_postgres())
}

/// Runs them on the coordinator, past a pooler; which tables that distributed. Blocks; must not be called on a thread of an async
/// runtime.
#[cfg(feature = "postgres")]
pub fn run_citus(settings: &Postgres) -> Result<Vec<String>> {
    let url = settings.direct_url.as_deref().unwrap_or(&settings.url);
    crate::engines::postgres::citus::distribute(url, &schema::citus())
}

/// Runs them, in a build that can.
#[cfg(not(feature = "postgres"))]
pub fn run_citus(_settings: &Postgres) -> Result<Vec<String>> {
    Err(super::ground::no_postgres())
}
