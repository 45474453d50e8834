//! Which bytes a client has sent for a deployment: one row a framed upload, with the hashes that came.

use crate::{
    base::hash::Sha256,
    domain::{Error, Result, access::TenantScope, deployment::DeploymentId},
    params,
    ports::db::{ReadTx, WriteTx},
};

/// Framed uploads of one deployment: far more than its bytes allow.
const PARTS_MAX: i64 = 100_000;

/// Adds the hashes of one framed upload.
pub fn append(tx: &mut WriteTx<'_>, scope: TenantScope, id: DeploymentId, hashes: &[Sha256]) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    let packed: Vec<u8> = hashes.iter().flat_map(|it| it.0).collect();
    tx.execute(
        "INSERT INTO upload_part (tenant_id, deployment_id, part, hashes)
         SELECT $1, $2, COUNT(*), $3 FROM upload_part WHERE tenant_id = $1 AND deployment_id = $2",
        params![tenant, id.0, packed],
    )?;
    Ok(())
}

/// All hashes that came for a deployment; some may be there twice.
pub fn list(tx: &mut ReadTx<'_>, scope: TenantScope, id: DeploymentId) -> Result<Vec<Sha256>> {
    let tenant = tx.tenant(scope)?;
    let rows = tx.query(
        "SELECT hashes FROM upload_part WHERE tenant_id = $1 AND deployment_id = $2 ORDER BY part LIMIT $3",
        params![tenant, id.0, PARTS_MAX],
    )?;
    let mut all = Vec::new();
    for row in &rows {
        let (hashes, rest) = row.blob(0)?.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(Error::internal("an upload part is not a list of hashes"));
        }
        all.extend(hashes.iter().map(|it| Sha256(*it)));
    }
    Ok(all)
}

/// Forgets the uploads of a deployment that is complete or given up.
pub fn delete(tx: &mut WriteTx<'_>, scope: TenantScope, id: DeploymentId) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute("DELETE FROM upload_part WHERE tenant_id = $1 AND deployment_id = $2", params![tenant, id.0])?;
    Ok(())
}
