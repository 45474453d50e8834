//! What jobs have done once and for all: a job runs at least once, what it does to the world outside happens once.
//!
//! A handler takes an effect in the transaction that records it, and acts only when it was the first. For what is sent (a letter, a
//! transaction of a chain) the row is the intent: it is taken before the sending, under a key that the receiver knows again.
//! `compress_variants` needs none: a variant has the name of its bytes, and is the same each time. `check_files` takes one for each
//! deployment that it found damaged, so that the audit log has that once.

use crate::{
    domain::{Result, access::TenantScope, job::JobId},
    params,
    ports::db::{ReadTx, WriteTx},
};

/// Takes the effect `name` of a job; `false` when an earlier attempt has taken it. Undone with its transaction.
pub fn take(tx: &mut WriteTx<'_>, scope: TenantScope, job: JobId, name: &str, now_ms: i64) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let sql = "INSERT INTO effect (tenant_id, job_id, name, created_ms) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, params![tenant, job.0, name, now_ms])? == 1)
}

/// Whether the effect `name` of a job was taken.
pub fn is_taken(tx: &mut ReadTx<'_>, scope: TenantScope, job: JobId, name: &str) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let sql = "SELECT 1 FROM effect WHERE tenant_id = $1 AND job_id = $2 AND name = $3";
    Ok(tx.find(sql, params![tenant, job.0, name])?.is_some())
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
