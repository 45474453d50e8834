//! The settings of sites, a document each.

use crate::{
    domain::{
        Result,
        access::{ServerScope, TenantScope},
        site::SiteId,
    },
    params,
    ports::db::{ReadTx, WriteTx},
};

/// Documents of one server.
const ALL_MAX: i64 = 1_000_000;

/// The document of a site that has one.
pub fn find(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId) -> Result<Option<String>> {
    let tenant = tx.tenant(scope)?;
    let sql = "SELECT document FROM site_setting WHERE tenant_id = $1 AND site_id = $2";
    tx.find(sql, params![tenant, site.0])?.map(|row| row.text(0).map(str::to_owned)).transpose()
}

/// Keeps the document of a site in place of the one before.
pub fn put(tx: &mut WriteTx<'_>, scope: TenantScope, site: SiteId, document: &str, now_ms: i64) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "INSERT INTO site_setting (tenant_id, site_id, document, changed_ms) VALUES ($1, $2, $3, $4)
         ON CONFLICT (tenant_id, site_id) DO UPDATE SET document = excluded.document, changed_ms = excluded.changed_ms",
        params![tenant, site.0, document, now_ms],
    )?;
    Ok(())
}

/// Forgets the document of a site.
pub fn delete(tx: &mut WriteTx<'_>, scope: TenantScope, site: SiteId) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute("DELETE FROM site_setting WHERE tenant_id = $1 AND site_id = $2", params![tenant, site.0])?;
    Ok(())
}

/// The documents of all sites.
pub fn list_all(tx: &mut ReadTx<'_>, leave: ServerScope) -> Result<Vec<(SiteId, String)>> {
    tx.all_tenants(leave)?;
    let rows =
        tx.query("SELECT site_id, document FROM site_setting ORDER BY tenant_id, site_id LIMIT $1", params![ALL_MAX])?;
    rows.iter().map(|row| Ok((row.id(0)?, row.text(1)?.to_owned()))).collect()
}
