//! A second wall between tenants: row-level security, where somebody has put it up.
//!
//! Guarantees: once a transaction has entered a tenant, PostgreSQL itself shows and takes no row of another one, even to a statement that
//! forgot to ask for its tenant. A transaction that has entered none sees all, so that the host's own tasks work and nothing that is
//! shared by all tenants is ever taken for unused. The wall does not stand for superusers and roles with BYPASSRLS.
//! It never goes up by itself: it costs time in each transaction, and `pg_dump` then needs a superuser.

use super::{
    super::schema::{PLACES, Place},
    WRITERS_LOCK,
    address::Address,
    session::{Session, explain},
};
use crate::{
    base::{ids::Id, secret::Secret},
    domain::Result,
};

/// Begins a request among others in one transaction: the tenant of the one before is left.
pub(super) const SAVEPOINT: &str = "SAVEPOINT request; SELECT set_config('chainhost.tenant', '', true)";

/// Enters a tenant, or leaves the one that was entered. It holds until the transaction ends.
pub(super) fn enter(tenant: Option<Id>) -> String {
    // The policies spell it in hexadecimal digits: nothing in them needs quoting.
    let spelled = tenant.map_or_else(String::new, |it| it.to_string());
    format!("SELECT set_config('chainhost.tenant', '{spelled}', true)")
}

/// Whether the wall stands for the user of this session.
pub(super) fn stands(session: &mut Session) -> Result<bool> {
    let sql = "SELECT CAST(COALESCE(bool_or(row_security_active(polrelid)), FALSE) AS TEXT) FROM pg_policy
               WHERE polname = 'chainhost_tenant'";
    let found = session.simple(sql).map_err(|error| explain(&error, sql))?;
    Ok(found.first().is_some_and(|it| it == "true"))
}

/// The tables of tenants that are open beside a wall that stands: a later version has made them.
fn find_gaps(session: &mut Session) -> Result<Vec<String>> {
    // The names are ours: letters and underscores.
    let ours: Vec<String> =
        PLACES.iter().filter(|it| it.1 == Place::Tenant).map(|(name, _)| format!("'{name}'")).collect();
    let sql = format!(
        "SELECT COALESCE(string_agg(c.relname, ' ' ORDER BY c.relname), '') FROM pg_class c
         JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p') AND c.relname IN ({})
           AND NOT (c.relrowsecurity AND EXISTS
             (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'chainhost_tenant'))",
        ours.join(", ")
    );
    let found = session.simple(&sql).map_err(|error| explain(&error, &sql))?;
    Ok(found.first().map_or("", String::as_str).split_whitespace().map(str::to_owned).collect())
}

/// Tells of tables beside the wall, if there are any.
pub(super) fn warn_of_gaps(session: &mut Session) -> Result<()> {
    let gaps = find_gaps(session)?;
    if !gaps.is_empty() {
        tracing::error!(
            tables = gaps.join(", "),
            "row-level security does not stand for these tables of tenants. Run: chainhost scale row-security --run"
        );
    }
    Ok(())
}

/// Runs the `statements` that put the wall up, all or none, and says whether it now stands for the user of this URL. Blocks; must not
/// be called on a thread of an async runtime.
pub fn put_up(url: &Secret, statements: &[String]) -> Result<bool> {
    let mut session = Session::connect(&Address::parse(url)?)?;
    // It waits for other transactions, table by table.
    session.limit(None);
    let mut sql = format!("BEGIN; SET LOCAL lock_timeout = '60s'; SELECT pg_advisory_xact_lock({WRITERS_LOCK});");
    for statement in statements {
        sql.push_str(statement);
        sql.push(';');
    }
    sql.push_str("COMMIT");
    session.simple(&sql).map_err(|error| explain(&error, "row-level security"))?;
    stands(&mut session)
}
