//! Certificates that are kept, and how it stands with those that an authority is asked for.

use crate::{
    domain::{
        Result,
        access::{ServerScope, TenantScope},
        acme::Kind,
        certificate::kept::{CertificateId, Kept, Order, Source},
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

/// Certificates and orders of one tenant, and of one server.
const PER_TENANT_MAX: i64 = 10_000;
const ALL_MAX: i64 = 1_000_000;

const COLUMNS: &str =
    "tenant_id, id, names, source, for_server, chain, key_sealed, issuer, from_ms, until_ms, created_ms, seen_by";
const ORDER_COLUMNS: &str =
    "tenant_id, name, certificate_id, authority, next_ms, asked_ms, failures, problem_code, problem";

fn read(row: &Row) -> Result<Kept> {
    Ok(Kept {
        tenant: row.id(0)?,
        id: row.id(1)?,
        names: row.text(2)?.split_whitespace().map(str::to_owned).collect(),
        source: Source::parse(row.text(3)?)?,
        for_server: row.bool(4)?,
        chain: row.text(5)?.to_owned(),
        key_sealed: row.blob(6)?.to_vec(),
        issuer: row.text(7)?.to_owned(),
        from_ms: row.int(8)?,
        until_ms: row.int(9)?,
        created_ms: row.int(10)?,
        seen_by: row.opt_text(11)?.map(Kind::parse).transpose()?,
    })
}

fn read_order(row: &Row) -> Result<Order> {
    let problem = (row.opt_text(7)?, row.opt_text(8)?);
    Ok(Order {
        tenant: row.id(0)?,
        name: row.text(1)?.to_owned(),
        certificate: row.opt_id(2)?,
        authority: row.opt_text(3)?.map(str::to_owned),
        next_ms: row.int(4)?,
        asked_ms: row.opt_int(5)?,
        failures: row.int(6)?,
        problem: match problem {
            (Some(code), Some(text)) => Some((code.to_owned(), text.to_owned())),
            _ => None,
        },
    })
}

/// Keeps a certificate.
pub fn insert(tx: &mut WriteTx<'_>, scope: TenantScope, it: &Kept) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("INSERT INTO certificate ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)");
    tx.execute(
        &sql,
        params![
            tenant,
            it.id.0,
            it.names.join(" "),
            it.source.word(),
            it.for_server,
            &it.chain,
            it.key_sealed.clone(),
            &it.issuer,
            it.from_ms,
            it.until_ms,
            it.created_ms,
            it.seen_by.map(Kind::word)
        ],
    )?;
    Ok(())
}

/// One certificate.
pub fn find(tx: &mut ReadTx<'_>, scope: TenantScope, id: CertificateId) -> Result<Option<Kept>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {COLUMNS} FROM certificate WHERE tenant_id = $1 AND id = $2");
    tx.find(&sql, params![tenant, id.0])?.as_ref().map(read).transpose()
}

/// The certificates of a tenant, the newest first.
pub fn list(tx: &mut ReadTx<'_>, scope: TenantScope) -> Result<Vec<Kept>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {COLUMNS} FROM certificate WHERE tenant_id = $1 ORDER BY id DESC LIMIT $2");
    tx.query(&sql, params![tenant, PER_TENANT_MAX])?.iter().map(read).collect()
}

/// Removes a certificate; whether it was there.
pub fn delete(tx: &mut WriteTx<'_>, scope: TenantScope, id: CertificateId) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let deleted = tx.execute("DELETE FROM certificate WHERE tenant_id = $1 AND id = $2", params![tenant, id.0])?;
    Ok(deleted > 0)
}

/// Every certificate of the server, the oldest first.
pub fn list_all(tx: &mut ReadTx<'_>, leave: ServerScope) -> Result<Vec<Kept>> {
    tx.all_tenants(leave)?;
    let sql = format!("SELECT {COLUMNS} FROM certificate ORDER BY id LIMIT $1");
    tx.query(&sql, params![ALL_MAX])?.iter().map(read).collect()
}

/// Removes the certificates of all tenants that an authority gave, that have ended before `before_ms`, and that no hostname has: a clock
/// that is ahead takes nobody's away.
pub fn delete_ended(tx: &mut WriteTx<'_>, leave: ServerScope, before_ms: i64) -> Result<u64> {
    tx.all_tenants(leave)?;
    let sql = "DELETE FROM certificate WHERE source = $1 AND until_ms < $2 AND NOT EXISTS
               (SELECT 1 FROM certificate_order o WHERE o.tenant_id = certificate.tenant_id AND o.certificate_id = certificate.id)";
    tx.execute(sql, params![Source::Acme.word(), before_ms])
}

/// Writes how it stands with the certificate of a hostname.
pub fn put_order(tx: &mut WriteTx<'_>, scope: TenantScope, it: &Order) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    let (code, text) =
        it.problem.as_ref().map_or((None, None), |(code, text)| (Some(code.as_str()), Some(text.as_str())));
    let sql =
        "INSERT INTO certificate_order (tenant_id, name, certificate_id, authority, next_ms, asked_ms, failures, problem_code, problem)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (tenant_id, name) DO UPDATE SET certificate_id = excluded.certificate_id, authority = excluded.authority,
         next_ms = excluded.next_ms, asked_ms = excluded.asked_ms, failures = excluded.failures,
         problem_code = excluded.problem_code, problem = excluded.problem";
    tx.execute(
        sql,
        params![
            tenant,
            &it.name,
            it.certificate.map(|id| id.0),
            it.authority.as_deref(),
            it.next_ms,
            it.asked_ms,
            it.failures,
            code,
            text
        ],
    )?;
    Ok(())
}

/// How it stands with the certificates of a tenant's hostnames.
pub fn list_orders(tx: &mut ReadTx<'_>, scope: TenantScope) -> Result<Vec<Order>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {ORDER_COLUMNS} FROM certificate_order WHERE tenant_id = $1 ORDER BY name LIMIT $2");
    tx.query(&sql, params![tenant, PER_TENANT_MAX])?.iter().map(read_order).collect()
}

/// Lets a hostname be asked for at `next_ms`, if that is sooner than it would be.
pub fn bring_forward(tx: &mut WriteTx<'_>, scope: TenantScope, name: &str, next_ms: i64) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    let sql = "UPDATE certificate_order SET next_ms = $3 WHERE tenant_id = $1 AND name = $2 AND next_ms > $3";
    tx.execute(sql, params![tenant, name, next_ms])?;
    Ok(())
}

/// Those that were refused when they were asked for last, by name.
pub fn list_troubled(tx: &mut ReadTx<'_>, scope: TenantScope, limit: i64) -> Result<Vec<Order>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!(
        "SELECT {ORDER_COLUMNS} FROM certificate_order WHERE tenant_id = $1 AND problem IS NOT NULL ORDER BY name LIMIT $2"
    );
    tx.query(&sql, params![tenant, limit])?.iter().map(read_order).collect()
}

/// How it stands with one.
pub fn find_order(tx: &mut ReadTx<'_>, scope: TenantScope, name: &str) -> Result<Option<Order>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {ORDER_COLUMNS} FROM certificate_order WHERE tenant_id = $1 AND name = $2");
    tx.find(&sql, params![tenant, name])?.as_ref().map(read_order).transpose()
}

/// Forgets how it stands with one.
pub fn delete_order(tx: &mut WriteTx<'_>, scope: TenantScope, name: &str) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute("DELETE FROM certificate_order WHERE tenant_id = $1 AND name = $2", params![tenant, name])?;
    Ok(())
}

/// How it stands with all of the server.
pub fn list_all_orders(tx: &mut ReadTx<'_>, leave: ServerScope) -> Result<Vec<Order>> {
    tx.all_tenants(leave)?;
    let sql = format!("SELECT {ORDER_COLUMNS} FROM certificate_order ORDER BY next_ms LIMIT $1");
    tx.query(&sql, params![ALL_MAX])?.iter().map(read_order).collect()
}
