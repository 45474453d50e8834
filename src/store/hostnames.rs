//! Custom hostnames of sites. A global table: a name belongs to one site of the server.

use std::collections::HashMap;

use crate::{
    domain::{
        Result,
        access::{ServerScope, TenantScope},
        hostname::Hostname,
        site::SiteId,
        tenant::TenantId,
    },
    params,
    ports::db::{ReadTx, WriteTx},
};

/// Hostnames of one site, and of one server.
const PER_SITE_MAX: i64 = 1_000;
const ALL_MAX: i64 = 1_000_000;

/// Whose a hostname is.
pub fn find(tx: &mut ReadTx<'_>, name: &Hostname) -> Result<Option<(TenantId, SiteId)>> {
    let row = tx.find("SELECT tenant_id, site_id FROM hostname WHERE name = $1", params![name.as_str()])?;
    row.map(|row| Ok((row.id(0)?, row.id(1)?))).transpose()
}

/// Gives a hostname to a site.
pub fn insert(tx: &mut WriteTx<'_>, scope: TenantScope, site: SiteId, name: &Hostname, now_ms: i64) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "INSERT INTO hostname (name, tenant_id, site_id, created_ms) VALUES ($1, $2, $3, $4)",
        params![name.as_str(), tenant, site.0, now_ms],
    )?;
    Ok(())
}

/// Takes a hostname from a site; whether it had it.
pub fn delete(tx: &mut WriteTx<'_>, scope: TenantScope, site: SiteId, name: &Hostname) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let deleted = tx.execute(
        "DELETE FROM hostname WHERE name = $1 AND tenant_id = $2 AND site_id = $3",
        params![name.as_str(), tenant, site.0],
    )?;
    Ok(deleted > 0)
}

/// The hostnames of a site, by name.
pub fn list(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId) -> Result<Vec<String>> {
    let tenant = tx.tenant(scope)?;
    let rows = tx.query(
        "SELECT name FROM hostname WHERE tenant_id = $1 AND site_id = $2 ORDER BY name LIMIT $3",
        params![tenant, site.0, PER_SITE_MAX],
    )?;
    rows.iter().map(|row| row.text(0).map(str::to_owned)).collect()
}

/// The hostnames of a page of a tenant's sites, as [`super::sites::list_shown`] takes it: of each site, by name.
pub fn list_of_page(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    after: &str,
    limit: i64,
) -> Result<HashMap<SiteId, Vec<String>>> {
    let tenant = tx.tenant(scope)?;
    let rows = tx.query(
        "SELECT h.site_id, h.name FROM (SELECT id FROM site WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3) s
         JOIN hostname h ON h.tenant_id = $1 AND h.site_id = s.id ORDER BY h.name LIMIT $4",
        params![tenant, after, limit, ALL_MAX],
    )?;
    let mut found: HashMap<SiteId, Vec<String>> = HashMap::new();
    for row in rows {
        found.entry(row.id(0)?).or_default().push(row.text(1)?.to_owned());
    }
    Ok(found)
}

/// Every hostname of the server with its site.
pub fn list_all(tx: &mut ReadTx<'_>, _leave: ServerScope) -> Result<Vec<(SiteId, String)>> {
    let rows = tx.query("SELECT site_id, name FROM hostname ORDER BY name LIMIT $1", params![ALL_MAX])?;
    rows.iter().map(|row| Ok((row.id(0)?, row.text(1)?.to_owned()))).collect()
}
