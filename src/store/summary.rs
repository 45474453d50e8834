//! What a tenant has, at a glance: counts, and what happened last. Read by index or in one pass; never a row a file.

use crate::{
    domain::{
        Result,
        access::TenantScope,
        deployment::{Deployment, DeploymentRef},
        site::{Site, SiteName},
    },
    params,
    ports::db::ReadTx,
};

use super::{deployments, sites};

/// What a tenant has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Sites.
    pub sites: i64,
    /// Sites with a live deployment that are not taken down.
    pub live: i64,
    /// Hostnames besides those that every site has.
    pub hostnames: i64,
    /// Deployments that are kept.
    pub deployments: i64,
    /// Files of all live deployments.
    pub files: i64,
    /// Bytes of all live deployments.
    pub bytes: i64,
}

/// Counts what a tenant has.
pub fn count(tx: &mut ReadTx<'_>, scope: TenantScope) -> Result<Counts> {
    let tenant = tx.tenant(scope)?;
    let of_live = tx.one(
        "SELECT COUNT(*), CAST(COALESCE(SUM(d.files), 0) AS BIGINT), CAST(COALESCE(SUM(d.bytes), 0) AS BIGINT)
         FROM site s JOIN deployment d ON d.tenant_id = s.tenant_id AND d.site_id = s.id AND d.id = s.live
         WHERE s.tenant_id = $1 AND s.taken_down IS NULL",
        params![tenant],
    )?;
    let mut number = |sql: &str| tx.one(sql, params![tenant])?.int(0);
    Ok(Counts {
        sites: number("SELECT COUNT(*) FROM site WHERE tenant_id = $1")?,
        hostnames: number("SELECT COUNT(*) FROM hostname WHERE tenant_id = $1")?,
        deployments: number("SELECT COUNT(*) FROM deployment WHERE tenant_id = $1")?,
        live: of_live.int(0)?,
        files: of_live.int(1)?,
        bytes: of_live.int(2)?,
    })
}

/// The newest deployments of all sites of a tenant, with the site of each.
pub fn list_latest(tx: &mut ReadTx<'_>, scope: TenantScope, limit: i64) -> Result<Vec<(Site, Deployment)>> {
    named(
        tx,
        scope,
        "SELECT s.name, d.number FROM deployment d JOIN site s ON s.tenant_id = d.tenant_id AND s.id = d.site_id
         WHERE d.tenant_id = $1 ORDER BY d.id DESC LIMIT $2",
        limit,
    )
}

/// Sites whose newest deployment failed, with that deployment, the latest failure first.
pub fn list_failed(tx: &mut ReadTx<'_>, scope: TenantScope, limit: i64) -> Result<Vec<(Site, Deployment)>> {
    named(
        tx,
        scope,
        "SELECT s.name, d.number FROM site s JOIN deployment d
           ON d.tenant_id = s.tenant_id AND d.site_id = s.id AND d.number = s.next_number - 1
         WHERE s.tenant_id = $1 AND d.state = 'failed' ORDER BY d.id DESC LIMIT $2",
        limit,
    )
}

/// Sites that have nothing live and were made before `before_ms`, and those that are taken down.
pub fn list_dark(tx: &mut ReadTx<'_>, scope: TenantScope, before_ms: i64, limit: i64) -> Result<Vec<Site>> {
    let tenant = tx.tenant(scope)?;
    let rows = tx.query(
        "SELECT name FROM site
         WHERE tenant_id = $1 AND ((live IS NULL AND created_ms < $2) OR taken_down IS NOT NULL) ORDER BY name LIMIT $3",
        params![tenant, before_ms, limit],
    )?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        found.extend(sites::find(tx, scope, &SiteName::parse(row.text(0)?)?)?);
    }
    Ok(found)
}

/// The sites and deployments that a query names. The rows themselves are read where their columns are known.
fn named(tx: &mut ReadTx<'_>, scope: TenantScope, sql: &str, limit: i64) -> Result<Vec<(Site, Deployment)>> {
    let tenant = tx.tenant(scope)?;
    let rows = tx.query(sql, params![tenant, limit])?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(site) = sites::find(tx, scope, &SiteName::parse(row.text(0)?)?)? else { continue };
        let of = DeploymentRef::Number(row.int(1)?);
        if let Some(deployment) = deployments::find(tx, scope, site.id, of)? {
            found.push((site, deployment));
        }
    }
    Ok(found)
}
