//! What a tenant has, at a glance: counts, and what happened last. Read by index or in one pass; never a row a file.

use serde::{Deserialize, Serialize};

use crate::{
    domain::{Result, access::TenantScope, deployment::Deployment, site::Site},
    params,
    ports::db::{ReadTx, Row},
};

use super::{deployments, sites};

/// What a tenant has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    let found = tx.one(
        "SELECT (SELECT COUNT(*) FROM site WHERE tenant_id = $1), COUNT(*),
           (SELECT COUNT(*) FROM hostname WHERE tenant_id = $1), (SELECT COUNT(*) FROM deployment WHERE tenant_id = $1),
           CAST(COALESCE(SUM(d.files), 0) AS BIGINT), CAST(COALESCE(SUM(d.bytes), 0) AS BIGINT)
         FROM site s JOIN deployment d ON d.tenant_id = s.tenant_id AND d.site_id = s.id AND d.id = s.live
         WHERE s.tenant_id = $1 AND s.taken_down IS NULL",
        params![tenant],
    )?;
    Ok(Counts {
        sites: found.int(0)?,
        live: found.int(1)?,
        hostnames: found.int(2)?,
        deployments: found.int(3)?,
        files: found.int(4)?,
        bytes: found.int(5)?,
    })
}

/// Whether a site of a tenant has something published, also while that site is taken down.
pub fn any_published(tx: &mut ReadTx<'_>, scope: TenantScope) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let sql = "SELECT 1 FROM site WHERE tenant_id = $1 AND live IS NOT NULL LIMIT 1";
    Ok(!tx.query(sql, params![tenant])?.is_empty())
}

/// The newest deployments of all sites of a tenant, with the site of each. They are taken before their sites are looked for: a database
/// that knows nothing yet of its tables would else put each beside each.
pub fn list_latest(tx: &mut ReadTx<'_>, scope: TenantScope, limit: i64) -> Result<Vec<(Site, Deployment)>> {
    let (site, deployment) = (sites::COLUMNS, deployments::COLUMNS);
    let sql = format!(
        "SELECT {site}, {deployment}
         FROM (SELECT * FROM deployment WHERE tenant_id = $1 ORDER BY id DESC LIMIT $2) d
         JOIN site s ON s.tenant_id = $1 AND s.id = d.site_id ORDER BY d.id DESC LIMIT $2"
    );
    pairs(tx, scope, &sql, limit)
}

/// Sites whose newest deployment failed, with that deployment, the latest failure first. Failed deployments are looked at by an index of
/// their own (`deployment_failed`), newest first, and not all sites.
pub fn list_failed(tx: &mut ReadTx<'_>, scope: TenantScope, limit: i64) -> Result<Vec<(Site, Deployment)>> {
    let (site, deployment) = (sites::COLUMNS, deployments::COLUMNS);
    let sql = format!(
        "SELECT {site}, {deployment}
         FROM (SELECT * FROM deployment f WHERE f.tenant_id = $1 AND f.state = 'failed' AND f.number =
                 (SELECT n.next_number - 1 FROM site n WHERE n.tenant_id = $1 AND n.id = f.site_id)
               ORDER BY f.id DESC LIMIT $2) d
         JOIN site s ON s.tenant_id = $1 AND s.id = d.site_id ORDER BY d.id DESC LIMIT $2"
    );
    pairs(tx, scope, &sql, limit)
}

/// Sites that have nothing live and were made before `before_ms`, and those that are taken down. The index `site_dark` has these alone:
/// its condition stands here word by word, since only then a database knows that it may use it.
pub fn list_dark(tx: &mut ReadTx<'_>, scope: TenantScope, before_ms: i64, limit: i64) -> Result<Vec<Site>> {
    let tenant = tx.tenant(scope)?;
    let columns = sites::COLUMNS;
    let sql = format!(
        "SELECT {columns} FROM site s
         WHERE s.tenant_id = $1 AND (s.live IS NULL OR s.taken_down IS NOT NULL)
           AND (s.created_ms < $2 OR s.taken_down IS NOT NULL)
         ORDER BY s.name LIMIT $3"
    );
    tx.query(&sql, params![tenant, before_ms, limit])?.iter().map(sites::read).collect()
}

/// Rows of a site and a deployment of it.
fn pairs(tx: &mut ReadTx<'_>, scope: TenantScope, sql: &str, limit: i64) -> Result<Vec<(Site, Deployment)>> {
    let tenant = tx.tenant(scope)?;
    let pair = |row: Row| {
        let (site, deployment) = row.split(sites::WIDTH);
        Ok((sites::read(&site)?, deployments::read(&deployment)?))
    };
    tx.query(sql, params![tenant, limit])?.into_iter().map(pair).collect()
}
