//! Publications: append-only, one row for each move of a site's live pointer.

use crate::{
    base::hash::Sha256,
    domain::{Result, access::TenantScope, deployment::DeploymentId, site::SiteId},
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

/// One move of a live pointer.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Counts up from 1 for each site.
    pub seq: i64,
    /// `deploy`, `rollback` or `takedown`.
    pub kind: String,
    /// What became live; `None` after a takedown.
    pub deployment: Option<DeploymentId>,
    /// Its manifest.
    pub manifest: Option<Sha256>,
    /// Its site root.
    pub root: Option<[u8; 32]>,
    /// Its files.
    pub files: i64,
    /// Its bytes.
    pub bytes: i64,
    /// Who moved it.
    pub actor: String,
    /// When.
    pub created_ms: i64,
}

fn read(row: &Row) -> Result<Publication> {
    Ok(Publication {
        seq: row.int(0)?,
        kind: row.text(1)?.to_owned(),
        deployment: row.opt_id(2)?,
        manifest: row.opt_bytes(3)?.map(Sha256),
        root: row.opt_bytes(4)?,
        files: row.int(5)?,
        bytes: row.int(6)?,
        actor: row.text(7)?.to_owned(),
        created_ms: row.int(8)?,
    })
}

/// Adds a row.
pub fn append(tx: &mut WriteTx<'_>, scope: TenantScope, site: SiteId, it: &Publication) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "INSERT INTO publication
           (tenant_id, site_id, seq, kind, deployment_id, manifest, root, files, bytes, actor, created_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        params![
            tenant,
            site.0,
            it.seq,
            &it.kind,
            it.deployment.map(|it| it.0),
            it.manifest,
            it.root,
            it.files,
            it.bytes,
            &it.actor,
            it.created_ms
        ],
    )?;
    Ok(())
}

/// The newest `limit` of a site, newest first.
pub fn list(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, limit: i64) -> Result<Vec<Publication>> {
    let tenant = tx.tenant(scope)?;
    let rows = tx.query(
        "SELECT seq, kind, deployment_id, manifest, root, files, bytes, actor, created_ms FROM publication
         WHERE tenant_id = $1 AND site_id = $2 ORDER BY seq DESC LIMIT $3",
        params![tenant, site.0, limit],
    )?;
    rows.iter().map(read).collect()
}
