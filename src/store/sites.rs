//! Sites and the global register of their names.

use crate::{
    base::hash::Sha256,
    domain::{
        Result,
        access::{ServerScope, TenantScope},
        deployment::{Deployment, DeploymentId},
        site::{Site, SiteId, SiteName},
        tenant::TenantId,
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

use super::{deployments, hostnames};

pub(super) const COLUMNS: &str = "s.id, s.name, s.created_ms, s.live, s.taken_down, s.watch_folder";

/// How many [`COLUMNS`] are.
pub(super) const WIDTH: usize = 6;

/// Sites of one server: each read of all of them is bounded by this.
const SITES_MAX: i64 = 1_000_000;

pub(super) fn read(row: &Row) -> Result<Site> {
    Ok(Site {
        id: row.id(0)?,
        name: SiteName::parse(row.text(1)?)?,
        created_ms: row.int(2)?,
        live: row.opt_id(3)?,
        taken_down: row.opt_text(4)?.map(str::to_owned),
        watch_folder: row.opt_text(5)?.map(str::to_owned),
    })
}

/// Who has, or lately had, a name.
#[derive(Clone, Copy, Debug)]
pub struct NameHolder {
    /// The tenant.
    pub tenant: TenantId,
    /// The site.
    pub site: SiteId,
    /// When the site was deleted, if it was.
    pub deleted_ms: Option<i64>,
}

/// The holder of a name.
pub fn find_name(tx: &mut ReadTx<'_>, name: &SiteName) -> Result<Option<NameHolder>> {
    let row =
        tx.find("SELECT tenant_id, site_id, deleted_ms FROM site_name WHERE name = $1", params![name.as_str()])?;
    row.map(|row| Ok(NameHolder { tenant: row.id(0)?, site: row.id(1)?, deleted_ms: row.opt_int(2)? })).transpose()
}

/// Gives a name to a site, in place of one that was deleted.
pub fn take_name(tx: &mut WriteTx<'_>, scope: TenantScope, name: &SiteName, site: SiteId) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "INSERT INTO site_name (name, tenant_id, site_id, deleted_ms) VALUES ($1, $2, $3, NULL)
         ON CONFLICT (name) DO UPDATE SET tenant_id = excluded.tenant_id, site_id = excluded.site_id, deleted_ms = NULL",
        params![name.as_str(), tenant, site.0],
    )?;
    Ok(())
}

/// Lets a name rest.
pub fn release_name(tx: &mut WriteTx<'_>, scope: TenantScope, name: &SiteName, now_ms: i64) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "UPDATE site_name SET deleted_ms = $3 WHERE name = $1 AND tenant_id = $2",
        params![name.as_str(), tenant, now_ms],
    )?;
    Ok(())
}

/// Adds a site.
pub fn insert(tx: &mut WriteTx<'_>, scope: TenantScope, site: &Site) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "INSERT INTO site (tenant_id, id, name, created_ms, next_number, next_publication) VALUES ($1, $2, $3, $4, 1, 1)",
        params![tenant, site.id.0, site.name.as_str(), site.created_ms],
    )?;
    Ok(())
}

/// The site of a name.
pub fn find(tx: &mut ReadTx<'_>, scope: TenantScope, name: &SiteName) -> Result<Option<Site>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {COLUMNS} FROM site s WHERE s.tenant_id = $1 AND s.name = $2");
    tx.find(&sql, params![tenant, name.as_str()])?.as_ref().map(read).transpose()
}

/// The site of an id.
pub fn find_by_id(tx: &mut ReadTx<'_>, scope: TenantScope, id: SiteId) -> Result<Option<Site>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {COLUMNS} FROM site s WHERE s.tenant_id = $1 AND s.id = $2");
    tx.find(&sql, params![tenant, id.0])?.as_ref().map(read).transpose()
}

/// A page of a tenant's sites by name, after the name `after`.
pub fn list(tx: &mut ReadTx<'_>, scope: TenantScope, after: &str, limit: i64) -> Result<Vec<Site>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {COLUMNS} FROM site s WHERE s.tenant_id = $1 AND s.name > $2 ORDER BY s.name LIMIT $3");
    tx.query(&sql, params![tenant, after, limit])?.iter().map(read).collect()
}

/// A site with what stands beside it in a list.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The site.
    pub site: Site,
    /// Its live deployment.
    pub live: Option<Deployment>,
    /// When that was last published.
    pub published_ms: Option<i64>,
    /// How many deployments are kept.
    pub deployments: i64,
    /// Its own hostnames, by name.
    pub hostnames: Vec<String>,
}

/// Asks for the rows of `page`, which are of the table `site`, with what stands beside each; `$1` is the tenant. Of a site without a live
/// deployment no publication is looked at: none would be found among all that there are.
fn beside(page: &str) -> String {
    let live = deployments::COLUMNS;
    format!(
        "SELECT {COLUMNS},
           CASE WHEN s.live IS NOT NULL THEN
             (SELECT p.created_ms FROM publication p WHERE p.tenant_id = $1 AND p.site_id = s.id AND p.deployment_id = s.live
              ORDER BY p.seq DESC LIMIT 1) END,
           (SELECT COUNT(*) FROM deployment c WHERE c.tenant_id = $1 AND c.site_id = s.id),
           {live}
         FROM ({page}) s LEFT JOIN deployment d ON d.tenant_id = $1 AND d.site_id = s.id AND d.id = s.live"
    )
}

/// A row of [`beside`], without hostnames.
fn read_beside(row: Row) -> Result<Listed> {
    let (site, rest) = row.split(WIDTH);
    let (beside, live) = rest.split(2);
    Ok(Listed {
        site: read(&site)?,
        hostnames: Vec::new(),
        live: live.opt_blob(0)?.is_some().then(|| deployments::read(&live)).transpose()?,
        published_ms: beside.opt_int(0)?,
        deployments: beside.int(1)?,
    })
}

/// A page of a tenant's sites as lists show them, by name, after the name `after`: two statements, however many sites there are. The
/// page is taken first, so that a database that knows nothing yet of its tables looks at no more than its rows.
pub fn list_shown(tx: &mut ReadTx<'_>, scope: TenantScope, after: &str, limit: i64) -> Result<Vec<Listed>> {
    let tenant = tx.tenant(scope)?;
    let page = "SELECT * FROM site WHERE tenant_id = $1 AND name > $2 ORDER BY name LIMIT $3";
    let sql = format!("{} ORDER BY s.name LIMIT $3", beside(page));
    let rows = tx.query(&sql, params![tenant, after, limit])?;
    let mut hostnames = hostnames::list_of_page(tx, scope, after, limit)?;
    let mut show = |row: Row| {
        let it = read_beside(row)?;
        Ok(Listed { hostnames: hostnames.remove(&it.site.id).unwrap_or_default(), ..it })
    };
    rows.into_iter().map(&mut show).collect()
}

/// A site as lists show it, in two statements.
pub fn find_shown(tx: &mut ReadTx<'_>, scope: TenantScope, name: &SiteName) -> Result<Option<Listed>> {
    let tenant = tx.tenant(scope)?;
    let sql = beside("SELECT * FROM site WHERE tenant_id = $1 AND name = $2");
    let Some(row) = tx.find(&sql, params![tenant, name.as_str()])? else { return Ok(None) };
    let it = read_beside(row)?;
    Ok(Some(Listed { hostnames: hostnames::list(tx, scope, it.site.id)?, ..it }))
}

/// Every site of the server with its tenant, for the host's own tasks.
pub fn list_all(tx: &mut ReadTx<'_>, leave: ServerScope) -> Result<Vec<(TenantId, Site)>> {
    tx.all_tenants(leave)?;
    let sql = format!("SELECT {COLUMNS}, s.tenant_id FROM site s ORDER BY s.tenant_id, s.id LIMIT $1");
    tx.query(&sql, params![SITES_MAX])?.iter().map(|row| Ok((row.id(6)?, read(row)?))).collect()
}

/// Every site that is deployed from a folder.
pub fn list_watched(tx: &mut ReadTx<'_>, leave: ServerScope) -> Result<Vec<(TenantId, Site)>> {
    tx.all_tenants(leave)?;
    let sql = format!(
        "SELECT {COLUMNS}, s.tenant_id FROM site s WHERE s.watch_folder IS NOT NULL ORDER BY s.tenant_id, s.id LIMIT $1"
    );
    tx.query(&sql, params![SITES_MAX])?.iter().map(|row| Ok((row.id(6)?, read(row)?))).collect()
}

/// Takes the next deployment number of a site.
pub fn take_number(tx: &mut WriteTx<'_>, scope: TenantScope, id: SiteId) -> Result<i64> {
    let tenant = tx.tenant(scope)?;
    let row = tx.find(
        "UPDATE site SET next_number = next_number + 1 WHERE tenant_id = $1 AND id = $2 RETURNING next_number - 1",
        params![tenant, id.0],
    )?;
    row.ok_or_else(|| crate::domain::Error::not_found("site"))?.int(0)
}

/// Takes the next publication number of a site and moves its live pointer. INVARIANT: only `services::publish` calls
/// this, together with the row in `publication`.
pub fn move_live(tx: &mut WriteTx<'_>, scope: TenantScope, id: SiteId, live: Option<DeploymentId>) -> Result<i64> {
    let tenant = tx.tenant(scope)?;
    let row = tx.find(
        "UPDATE site SET live = $3, next_publication = next_publication + 1 WHERE tenant_id = $1 AND id = $2
         RETURNING next_publication - 1",
        params![tenant, id.0, live.map(|it| it.0)],
    )?;
    row.ok_or_else(|| crate::domain::Error::not_found("site"))?.int(0)
}

/// Takes a site down with a reason, or puts it back.
pub fn change_taken_down(tx: &mut WriteTx<'_>, scope: TenantScope, id: SiteId, reason: Option<&str>) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute("UPDATE site SET taken_down = $3 WHERE tenant_id = $1 AND id = $2", params![tenant, id.0, reason])?;
    Ok(())
}

/// The list of files that was last deployed from a site's folder.
pub fn find_watched(tx: &mut ReadTx<'_>, scope: TenantScope, id: SiteId) -> Result<Option<Sha256>> {
    let tenant = tx.tenant(scope)?;
    let row = tx.find("SELECT watched FROM site WHERE tenant_id = $1 AND id = $2", params![tenant, id.0])?;
    row.map_or(Ok(None), |row| Ok(row.opt_bytes(0)?.map(Sha256)))
}

/// Remembers the list of files that was last deployed from a site's folder.
pub fn change_watched(tx: &mut WriteTx<'_>, scope: TenantScope, id: SiteId, list: Sha256) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute("UPDATE site SET watched = $3 WHERE tenant_id = $1 AND id = $2", params![tenant, id.0, list])?;
    Ok(())
}

/// Sets or clears the folder that a site is deployed from. From another one nothing was deployed yet.
pub fn change_watch_folder(tx: &mut WriteTx<'_>, scope: TenantScope, id: SiteId, folder: Option<&str>) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "UPDATE site SET watch_folder = $3, watched = CASE WHEN watch_folder = $3 THEN watched ELSE NULL END
         WHERE tenant_id = $1 AND id = $2",
        params![tenant, id.0, folder],
    )?;
    Ok(())
}

/// Removes a site with its deployments. Publications and audit stay: they are history.
pub fn delete(tx: &mut WriteTx<'_>, scope: TenantScope, id: SiteId) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    for sql in [
        "DELETE FROM upload_part WHERE tenant_id = $1 AND deployment_id IN
           (SELECT id FROM deployment WHERE tenant_id = $1 AND site_id = $2)",
        "DELETE FROM deployment_log WHERE tenant_id = $1 AND deployment_id IN
           (SELECT id FROM deployment WHERE tenant_id = $1 AND site_id = $2)",
        "DELETE FROM deployment WHERE tenant_id = $1 AND site_id = $2",
        "DELETE FROM hostname WHERE tenant_id = $1 AND site_id = $2",
        "DELETE FROM site_setting WHERE tenant_id = $1 AND site_id = $2",
        "DELETE FROM site WHERE tenant_id = $1 AND id = $2",
    ] {
        tx.execute(sql, params![tenant, id.0])?;
    }
    Ok(())
}
