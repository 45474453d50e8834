//! Bans, by site and network.

use crate::{
    base::ids::Id,
    domain::{
        Error, Result,
        access::{ServerScope, TenantScope},
        ban::{Ban, BanId, Cursor, Source},
        site::SiteId,
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

const COLUMNS: &str = "id, tenant_id, site_id, network, source, reason, made_by, created_ms, until_ms";

/// Bans of one server.
const ALL_MAX: i64 = 200_000;

/// What stands in the place of the site for a ban from all of the server.
const ALL_SITES: Id = Id::NIL;
/// What no ban has in that place.
const NO_SITE: Id = Id::from_bytes([255; 16]);

fn read(row: &Row) -> Result<Ban> {
    let site: SiteId = row.id(2)?;
    let network = row.text(3)?;
    Ok(Ban {
        id: row.id(0)?,
        tenant: row.id(1)?,
        site: (site.0 != ALL_SITES).then_some(site),
        network: network
            .parse()
            .map_err(|_| Error::internal(format!("a ban is of `{network}`, which is no network")))?,
        source: Source::parse(row.text(4)?)?,
        reason: row.text(5)?.to_owned(),
        made_by: row.text(6)?.to_owned(),
        created_ms: row.int(7)?,
        until_ms: row.opt_int(8)?,
    })
}

/// Keeps a ban in place of one of the same site and network.
pub fn put(tx: &mut WriteTx<'_>, scope: TenantScope, ban: &Ban) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "INSERT INTO ban (tenant_id, site_id, network, id, source, reason, made_by, created_ms, until_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (tenant_id, site_id, network) DO UPDATE SET
           source = excluded.source, reason = excluded.reason, made_by = excluded.made_by,
           created_ms = excluded.created_ms, until_ms = excluded.until_ms",
        params![
            tenant,
            ban.site.map_or(ALL_SITES, |it| it.0),
            ban.network.shortest(),
            ban.id.0,
            ban.source.word(),
            &ban.reason,
            &ban.made_by,
            ban.created_ms,
            ban.until_ms
        ],
    )?;
    Ok(())
}

/// A ban by its site and network.
pub fn find(tx: &mut ReadTx<'_>, scope: TenantScope, site: Option<SiteId>, network: &str) -> Result<Option<Ban>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {COLUMNS} FROM ban WHERE tenant_id = $1 AND site_id = $2 AND network = $3");
    tx.find(&sql, params![tenant, site.map_or(ALL_SITES, |it| it.0), network])?.as_ref().map(read).transpose()
}

/// A ban by its id.
pub fn find_by_id(tx: &mut ReadTx<'_>, scope: TenantScope, id: BanId) -> Result<Option<Ban>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {COLUMNS} FROM ban WHERE tenant_id = $1 AND id = $2");
    tx.find(&sql, params![tenant, id.0])?.as_ref().map(read).transpose()
}

/// At most `limit` of a tenant that have not ended: those that people have made first, then the newest first, so that an attack hides
/// none of them. Behind `after`; those from all sites of the server only where that is `of_all`.
pub fn list(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    now_ms: i64,
    of_all: bool,
    after: Option<Cursor>,
    limit: i64,
) -> Result<Vec<Ban>> {
    let tenant = tx.tenant(scope)?;
    let hidden = if of_all { NO_SITE } else { ALL_SITES };
    let holds = "(until_ms IS NULL OR until_ms > $2) AND site_id <> $3";
    let order = "ORDER BY source DESC, created_ms DESC, id DESC";
    let rows = match after {
        None => {
            let sql = format!("SELECT {COLUMNS} FROM ban WHERE tenant_id = $1 AND {holds} {order} LIMIT $4");
            tx.query(&sql, params![tenant, now_ms, hidden, limit])?
        }
        Some(Cursor { source, created_ms, id }) => {
            let sql = format!(
                "SELECT {COLUMNS} FROM ban WHERE tenant_id = $1 AND {holds} AND (source < $4 OR (source = $4
                   AND (created_ms < $5 OR (created_ms = $5 AND id < $6)))) {order} LIMIT $7"
            );
            tx.query(&sql, params![tenant, now_ms, hidden, source.word(), created_ms, id.0, limit])?
        }
    };
    rows.iter().map(read).collect()
}

/// At most `limit` from one site that have not ended, the newest first.
pub fn list_of_site(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    site: SiteId,
    now_ms: i64,
    limit: i64,
) -> Result<Vec<Ban>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM ban WHERE tenant_id = $1 AND site_id = $2 AND (until_ms IS NULL OR until_ms > $3)
           ORDER BY created_ms DESC, id DESC LIMIT $4"
    );
    tx.query(&sql, params![tenant, site.0, now_ms, limit])?.iter().map(read).collect()
}

/// How many of a tenant have not ended, of those that people or limits have made.
pub fn count(tx: &mut ReadTx<'_>, scope: TenantScope, source: Source, now_ms: i64) -> Result<i64> {
    let tenant = tx.tenant(scope)?;
    let sql = "SELECT COUNT(*) FROM ban WHERE tenant_id = $1 AND source = $2 AND (until_ms IS NULL OR until_ms > $3)";
    let row = tx.find(sql, params![tenant, source.word(), now_ms])?;
    row.map_or(Ok(0), |it| it.int(0))
}

/// Ends a ban.
pub fn delete(tx: &mut WriteTx<'_>, scope: TenantScope, id: BanId) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute("DELETE FROM ban WHERE tenant_id = $1 AND id = $2", params![tenant, id.0])?;
    Ok(())
}

/// All that have not ended.
pub fn list_all(tx: &mut ReadTx<'_>, leave: ServerScope, now_ms: i64) -> Result<Vec<Ban>> {
    tx.all_tenants(leave)?;
    let sql =
        format!("SELECT {COLUMNS} FROM ban WHERE until_ms IS NULL OR until_ms > $1 ORDER BY created_ms DESC LIMIT $2");
    tx.query(&sql, params![now_ms, ALL_MAX])?.iter().map(read).collect()
}

/// Those that have not ended and were made since then.
pub fn list_since(tx: &mut ReadTx<'_>, leave: ServerScope, now_ms: i64, since_ms: i64) -> Result<Vec<Ban>> {
    tx.all_tenants(leave)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM ban WHERE created_ms >= $2 AND (until_ms IS NULL OR until_ms > $1)
         ORDER BY created_ms DESC LIMIT $3"
    );
    tx.query(&sql, params![now_ms, since_ms, ALL_MAX])?.iter().map(read).collect()
}

/// Forgets those of all tenants that have ended.
pub fn delete_ended(tx: &mut WriteTx<'_>, leave: ServerScope, now_ms: i64) -> Result<u64> {
    tx.all_tenants(leave)?;
    tx.execute("DELETE FROM ban WHERE until_ms <= $1", params![now_ms])
}
