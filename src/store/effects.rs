//! What jobs have done once and for all: a job runs at least once, what it does to the world outside happens once.
//!
//! A handler takes an effect in the transaction that records it, and acts only when it was the first. For what is sent (a letter, a
//! transaction of a chain) the row is the intent: it is taken before the sending, under a key that the receiver knows again.
//! `compress_variants` needs none: a variant has the name of its bytes, and is the same each time. `check_files` takes one for each
//! deployment that it found damaged, so that the audit log has that once.

use crate::{
    domain::{
        Result,
        access::{ServerScope, TenantScope},
        job::JobId,
        site::SiteId,
    },
    params,
    ports::db::{ReadTx, Value, WriteTx},
};

/// Jobs in one statement.
const TAKEN_AT_ONCE: usize = 64;

/// Takes the effect `name` of a job; `false` when an earlier attempt has taken it. Undone with its transaction.
pub fn take(tx: &mut WriteTx<'_>, scope: TenantScope, job: JobId, name: &str, now_ms: i64) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let sql = "INSERT INTO effect (tenant_id, job_id, name, created_ms) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, params![tenant, job.0, name, now_ms])? == 1)
}

/// Those of these jobs that have taken an effect, each of the tenant whose the site is.
pub fn list_taken(tx: &mut ReadTx<'_>, leave: ServerScope, jobs: &[(SiteId, JobId)]) -> Result<Vec<JobId>> {
    tx.all_tenants(leave)?;
    let mut found = Vec::new();
    for chunk in jobs.chunks(TAKEN_AT_ONCE) {
        let list = |from: usize| (from..from + chunk.len()).map(|it| format!("${it}")).collect::<Vec<_>>().join(", ");
        let (sites, ids) = (list(1), list(1 + chunk.len()));
        let sql = format!(
            "SELECT DISTINCT e.job_id FROM site s JOIN effect e ON e.tenant_id = s.tenant_id AND e.job_id IN ({ids})
             WHERE s.id IN ({sites})"
        );
        let sites = chunk.iter().map(|it| Value::from(it.0.0));
        let values: Vec<Value> = sites.chain(chunk.iter().map(|it| Value::from(it.1.0))).collect();
        for row in tx.query(&sql, &values)? {
            found.push(row.id(0)?);
        }
    }
    Ok(found)
}

/// Whether something of a tenant was taken before `before_ms`.
pub fn has_old(tx: &mut ReadTx<'_>, scope: TenantScope, before_ms: i64) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let sql = "SELECT 1 FROM effect WHERE tenant_id = $1 AND created_ms < $2 LIMIT 1";
    Ok(tx.find(sql, params![tenant, before_ms])?.is_some())
}

/// Forgets what was taken before `before_ms`: by then its job can run no more.
pub fn delete_old(tx: &mut WriteTx<'_>, scope: TenantScope, before_ms: i64) -> Result<u64> {
    let tenant = tx.tenant(scope)?;
    tx.execute("DELETE FROM effect WHERE tenant_id = $1 AND created_ms < $2", params![tenant, before_ms])
}
