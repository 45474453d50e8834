//! The audit log: rows are inserted unsealed; a task then gives each a sequence and a hash in its tenant's chain.

use crate::{
    base::{hash::Sha256, ids::Id},
    domain::{
        Error, Result,
        access::{Actor, ServerScope, TenantScope},
        event::{Event, Recorded},
        month::Month,
        tenant::TenantId,
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

const COLUMNS: &str = "created_ms, id, seq, hash, actor, address, kind, entity, entity_id, text";

/// Writes an event of `actor` in their tenant.
pub fn append(tx: &mut WriteTx<'_>, id: Id, actor: &Actor, event: &Event, now_ms: i64) -> Result<()> {
    let tenant = tx.tenant(actor.scope)?;
    let address = actor.address.map(|it| it.to_string()).unwrap_or_default();
    tx.execute(
        "INSERT INTO audit_log (tenant_id, created_ms, id, actor, address, kind, entity, entity_id, text)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![tenant, now_ms, id, &actor.label, address, event.kind, event.entity, &event.entity_id, &event.text],
    )?;
    Ok(())
}

fn read(row: &Row) -> Result<Recorded> {
    Ok(Recorded {
        created_ms: row.int(0)?,
        id: row.id::<Id>(1)?.to_string(),
        seq: row.opt_int(2)?,
        hash: row.opt_bytes::<32>(3)?.map(|it| Sha256(it).hex()),
        actor: row.text(4)?.to_owned(),
        address: row.text(5)?.to_owned(),
        kind: row.text(6)?.to_owned(),
        entity: row.text(7)?.to_owned(),
        entity_id: row.text(8)?.to_owned(),
        text: row.text(9)?.to_owned(),
    })
}

/// A page of a tenant's events, newest first, older than the one with the id `after`. Events are as old as the time that they were
/// made at, and as their id among those of one time.
///
/// The newest months are read first, and older ones only as long as the page is not full: where each month has a part of its own, a
/// page costs what its months cost.
pub fn list(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    after: Option<Id>,
    limit: i64,
    now_ms: i64,
) -> Result<Vec<Recorded>> {
    let (before_ms, before) = match after {
        Some(after) => (find_time(tx, scope, after)?, after),
        None => (i64::MAX, Id::LAST),
    };
    let mut found = Vec::new();
    // What is dated in the future, by a clock that was set back since, comes with the present month.
    let (mut until_ms, mut month, mut months) = (i64::MAX, Month::of(before_ms.min(now_ms)), 1);
    loop {
        let is_last = months > MONTHS_MAX;
        let from_ms = if is_last { i64::MIN } else { month.start_ms() };
        let left = limit.saturating_sub(i64::try_from(found.len()).unwrap_or(i64::MAX));
        found.extend(list_between(tx, scope, (from_ms, until_ms), (before_ms, before), left)?);
        if is_last || found.len() >= usize::try_from(limit).unwrap_or(0) {
            return Ok(found);
        }
        // Who has few events has them anywhere: ever more months at once.
        (until_ms, month, months) = (from_ms, month.plus(-months), months * 2);
    }
}

/// Months that are looked at in one step before all that are left are.
const MONTHS_MAX: i64 = 16;

/// Events from `from_ms` on and before `until_ms`, which are before the time and the id, newest first.
fn list_between(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    (from_ms, until_ms): (i64, i64),
    (before_ms, before): (i64, Id),
    limit: i64,
) -> Result<Vec<Recorded>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM audit_log
         WHERE tenant_id = $1 AND created_ms >= $2 AND created_ms < $3 AND (created_ms, id) < ($4, $5)
         ORDER BY created_ms DESC, id DESC LIMIT $6"
    );
    tx.query(&sql, params![tenant, from_ms, until_ms, before_ms, before, limit])?.iter().map(read).collect()
}

/// When the event with this id was made: for one that is gone, about when its id was.
fn find_time(tx: &mut ReadTx<'_>, scope: TenantScope, id: Id) -> Result<i64> {
    let tenant = tx.tenant(scope)?;
    let sql =
        "SELECT created_ms FROM audit_log WHERE tenant_id = $1 AND id = $2 AND created_ms >= $3 AND created_ms < $4";
    // Nearly always in the month of its id.
    let (from_ms, until_ms) = Month::of(id.millis()).range_ms();
    for (from_ms, until_ms) in [(from_ms, until_ms), (i64::MIN, i64::MAX)] {
        if let Some(row) = tx.find(sql, params![tenant, id, from_ms, until_ms])? {
            return row.int(0);
        }
    }
    Ok(id.millis())
}

/// How many events of a kind a tenant has from `from_ms` on, whose sentence is one of two.
pub fn count_since(tx: &mut ReadTx<'_>, scope: TenantScope, kind: &str, from_ms: i64, texts: [&str; 2]) -> Result<i64> {
    let tenant = tx.tenant(scope)?;
    let sql =
        "SELECT COUNT(*) FROM audit_log WHERE tenant_id = $1 AND created_ms >= $2 AND kind = $3 AND text IN ($4, $5)";
    let [one, other] = texts;
    tx.find(sql, params![tenant, from_ms, kind, one, other])?.map_or(Ok(0), |row| row.int(0))
}

/// Tenants that have unsealed events.
pub fn list_unsealed_tenants(tx: &mut ReadTx<'_>, leave: ServerScope, limit: i64) -> Result<Vec<TenantId>> {
    tx.all_tenants(leave)?;
    let rows = tx.query(
        "SELECT DISTINCT tenant_id FROM audit_log WHERE seq IS NULL ORDER BY tenant_id LIMIT $1",
        params![limit],
    )?;
    rows.iter().map(|row| row.id(0)).collect()
}

/// Where a tenant's chain ends, and where what is kept of it begins.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// The sequence of the last sealed entry.
    pub seq: i64,
    /// Its hash.
    pub hash: Sha256,
    /// The sequence of the last entry that was archived, 0 when none was: what is kept begins with the next one.
    pub kept_seq: i64,
    /// The hash that the first kept entry follows.
    pub kept_hash: Sha256,
}

/// The head of a tenant's chain; `None` before the first entry was sealed.
pub fn find_head(tx: &mut ReadTx<'_>, scope: TenantScope) -> Result<Option<Head>> {
    let tenant = tx.tenant(scope)?;
    let row = tx.find("SELECT seq, hash, kept_seq, kept_hash FROM audit_head WHERE tenant_id = $1", params![tenant])?;
    let read = |row: Row| {
        let (hash, kept_hash) = (Sha256(row.bytes(1)?), Sha256(row.bytes(3)?));
        Ok(Head { seq: row.int(0)?, hash, kept_seq: row.int(2)?, kept_hash })
    };
    row.map(read).transpose()
}

/// Moves the end of a tenant's chain from the sequence `from` on, 0 when it has none; `before` is what its first entry follows.
/// INVARIANT: this is what makes a sequence unique in its tenant, since no index spans all months.
pub fn move_head(
    tx: &mut WriteTx<'_>,
    scope: TenantScope,
    from: i64,
    (seq, hash): (i64, Sha256),
    before: Sha256,
) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    let moved = tx.execute(
        "INSERT INTO audit_head (tenant_id, seq, hash, kept_seq, kept_hash) VALUES ($1, $3, $4, 0, $5)
         ON CONFLICT (tenant_id) DO UPDATE SET seq = excluded.seq, hash = excluded.hash WHERE audit_head.seq = $2",
        params![tenant, from, seq, hash, before],
    )?;
    if moved == 1 { Ok(()) } else { Err(Error::internal("two have sealed the same events")) }
}

/// Notes that a tenant's entries up to `to` are archived, from the one after `from` on; `false` when somebody else has moved that.
pub fn move_kept(tx: &mut WriteTx<'_>, scope: TenantScope, from: i64, to: i64, hash: Sha256) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let moved = tx.execute(
        "UPDATE audit_head SET kept_seq = $3, kept_hash = $4 WHERE tenant_id = $1 AND kept_seq = $2",
        params![tenant, from, to, hash],
    )?;
    Ok(moved > 0)
}

/// The last sequence of a tenant among the events of a time, and how many of these are not sealed yet.
pub fn find_last(tx: &mut ReadTx<'_>, scope: TenantScope, (from_ms, to_ms): (i64, i64)) -> Result<(i64, i64)> {
    let tenant = tx.tenant(scope)?;
    let row = tx.one(
        "SELECT COALESCE(MAX(seq), 0), COUNT(*) - COUNT(seq) FROM audit_log
         WHERE tenant_id = $1 AND created_ms >= $2 AND created_ms < $3",
        params![tenant, from_ms, to_ms],
    )?;
    Ok((row.int(0)?, row.int(1)?))
}

/// The oldest unsealed events of a tenant.
pub fn list_unsealed(tx: &mut ReadTx<'_>, scope: TenantScope, limit: i64) -> Result<Vec<Recorded>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {COLUMNS} FROM audit_log WHERE tenant_id = $1 AND seq IS NULL ORDER BY id LIMIT $2");
    tx.query(&sql, params![tenant, limit])?.iter().map(read).collect()
}

/// Sealed events in the order of their chain, from the sequence `from` on.
pub fn list_sealed(tx: &mut ReadTx<'_>, scope: TenantScope, from: i64, limit: i64) -> Result<Vec<Recorded>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {COLUMNS} FROM audit_log WHERE tenant_id = $1 AND seq >= $2 ORDER BY seq LIMIT $3");
    tx.query(&sql, params![tenant, from, limit])?.iter().map(read).collect()
}

/// Gives an event its place in the chain.
pub fn seal(tx: &mut WriteTx<'_>, scope: TenantScope, created_ms: i64, id: Id, seq: i64, hash: Sha256) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "UPDATE audit_log SET seq = $4, hash = $5 WHERE tenant_id = $1 AND created_ms = $2 AND id = $3 AND seq IS NULL",
        params![tenant, created_ms, id, seq, hash],
    )?;
    Ok(())
}
