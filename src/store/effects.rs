//! What jobs have done once and for all: UNIQUE (job, name) makes a second run see it.

use crate::{
    base::ids::Id,
    domain::{Result, access::TenantScope, job::JobId},
    params,
    ports::db::WriteTx,
};

/// Notes that `job` did `name`; `false` when it had done so before, and must not do it again.
pub fn once(tx: &mut WriteTx<'_>, scope: Option<TenantScope>, job: JobId, name: &str, now_ms: i64) -> Result<bool> {
    let tenant = scope.map_or(Id::NIL, |it| it.tenant().0);
    let added = tx.execute(
        "INSERT INTO effect (tenant_id, job_id, name, created_ms) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        params![tenant, job.0, name, now_ms],
    )?;
    Ok(added > 0)
}

/// Forgets effects older than `before_ms`: their jobs cannot come back.
pub fn delete_old(tx: &mut WriteTx<'_>, before_ms: i64) -> Result<u64> {
    tx.execute("DELETE FROM effect WHERE created_ms < $1", params![before_ms])
}
