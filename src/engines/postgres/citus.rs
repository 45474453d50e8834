//! Distributes a database over a Citus cluster: tenants' tables by tenant, what is read with them to every node.
//!
//! Guarantees: all of it or nothing, in one transaction in which no server writes; what is distributed already stays as it is, so that it
//! may be run again after an upgrade.
//! It adds no worker: that is the business of whoever runs the cluster.

use super::{
    WRITERS_LOCK,
    address::Address,
    session::{Session, explain},
};
use crate::{
    base::secret::Secret,
    domain::{Error, Result},
};

/// Runs the `statements` (a table, and what distributes it) on the coordinator at `url`; which tables that distributed. Blocks; must
/// not be called on a thread of an async runtime.
pub fn distribute(url: &Secret, statements: &[(&str, String)]) -> Result<Vec<String>> {
    let mut session = Session::connect(&Address::parse(url)?)?;
    // Rows move to other machines, for as long as that takes.
    session.limit(None);
    let mut ask = |sql: &str| session.simple(sql).map_err(|error| explain(&error, sql));
    if value(&ask("SELECT COALESCE(CAST(to_regproc('create_distributed_table') AS TEXT), '')")?).is_empty() {
        return Err(Error::invalid(
            "citus_missing",
            "This PostgreSQL has no Citus: nothing was changed. Install it, run CREATE EXTENSION citus in this database, and add \
             the workers with citus_add_node.",
        ));
    }
    ask(&format!("BEGIN; SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock({WRITERS_LOCK})"))?;
    let has_list = !value(&ask("SELECT COALESCE(CAST(to_regclass('pg_dist_partition') AS TEXT), '')")?).is_empty();
    let mut done = Vec::new();
    for (table, sql) in statements {
        if has_list {
            let known =
                format!("SELECT COUNT(*) FROM pg_dist_partition WHERE logicalrelid = CAST('\"{table}\"' AS regclass)");
            if value(&ask(&known)?) != "0" {
                continue;
            }
        }
        ask(sql)?;
        done.push((*table).to_owned());
    }
    ask("COMMIT")?;
    Ok(done)
}

fn value(row: &[String]) -> &str {
    row.first().map_or("", String::as_str)
}
