//! Schedules: what is asked for again and again, and when it is due next.

use crate::{
    domain::{
        Result,
        access::{ServerScope, TenantScope},
        cron::Cron,
        job::Queue,
        schedule::{Missed, Schedule, ScheduleId, Template},
        zone::Zone,
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

const COLUMNS: &str =
    "tenant_id, id, name, cron, zone, missed, queue, kind, payload, priority, title, paused, next_ms, created_ms";

fn read(row: &Row) -> Result<Schedule> {
    Ok(Schedule {
        tenant: row.id(0)?,
        id: row.id(1)?,
        name: row.text(2)?.to_owned(),
        cron: Cron::parse(row.text(3)?)?,
        zone: Zone::parse(row.text(4)?)?,
        missed: Missed::parse(row.text(5)?)?,
        template: Template {
            queue: Queue::parse(row.text(6)?)?,
            kind: row.text(7)?.to_owned(),
            payload: row.text(8)?.to_owned(),
            priority: i8::try_from(row.int(9)?).unwrap_or(0),
            title: row.text(10)?.to_owned(),
        },
        paused: row.bool(11)?,
        next_ms: row.opt_int(12)?,
        created_ms: row.int(13)?,
    })
}

/// Adds a schedule of the scope's tenant.
pub fn insert(tx: &mut WriteTx<'_>, scope: TenantScope, it: &Schedule) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    let sql = format!(
        "INSERT INTO schedule ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
    );
    tx.execute(
        &sql,
        params![
            tenant,
            it.id.0,
            &it.name,
            it.cron.text(),
            it.zone.name(),
            it.missed.word(),
            it.template.queue.word(),
            &it.template.kind,
            &it.template.payload,
            i64::from(it.template.priority),
            &it.template.title,
            it.paused,
            it.next_ms,
            it.created_ms
        ],
    )?;
    Ok(())
}

/// The tenant's schedules by name, at most `limit`.
pub fn list(tx: &mut ReadTx<'_>, scope: TenantScope, limit: i64) -> Result<Vec<Schedule>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {COLUMNS} FROM schedule WHERE tenant_id = $1 ORDER BY name LIMIT $2");
    tx.query(&sql, params![tenant, limit])?.iter().map(read).collect()
}

/// How many schedules the tenant has.
pub fn count(tx: &mut ReadTx<'_>, scope: TenantScope) -> Result<i64> {
    let tenant = tx.tenant(scope)?;
    tx.one("SELECT COUNT(*) FROM schedule WHERE tenant_id = $1", params![tenant])?.int(0)
}

/// One schedule by name.
pub fn find(tx: &mut ReadTx<'_>, scope: TenantScope, name: &str) -> Result<Option<Schedule>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT {COLUMNS} FROM schedule WHERE tenant_id = $1 AND name = $2");
    tx.find(&sql, params![tenant, name])?.as_ref().map(read).transpose()
}

/// Stops or starts a schedule; when it is due next comes with it.
pub fn change_paused(
    tx: &mut WriteTx<'_>,
    scope: TenantScope,
    id: ScheduleId,
    paused: bool,
    next_ms: Option<i64>,
) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute(
        "UPDATE schedule SET paused = $3, next_ms = $4 WHERE tenant_id = $1 AND id = $2",
        params![tenant, id.0, paused, next_ms],
    )?;
    Ok(())
}

/// Removes a schedule.
pub fn delete(tx: &mut WriteTx<'_>, scope: TenantScope, id: ScheduleId) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    tx.execute("DELETE FROM schedule WHERE tenant_id = $1 AND id = $2", params![tenant, id.0])?;
    Ok(())
}

/// When the first schedule of any tenant is due.
pub fn find_next(tx: &mut ReadTx<'_>, leave: ServerScope) -> Result<Option<i64>> {
    tx.all_tenants(leave)?;
    tx.one("SELECT MIN(next_ms) FROM schedule WHERE next_ms IS NOT NULL", params![])?.opt_int(0)
}

/// The schedules of all tenants that are due at `now_ms`, the longest due first.
///
/// A row that this version cannot read is given as its key and what is wrong, so that it does not stop the others.
pub fn list_due(
    tx: &mut ReadTx<'_>,
    leave: ServerScope,
    now_ms: i64,
    limit: i64,
) -> Result<Vec<Result<Schedule, Unreadable>>> {
    tx.all_tenants(leave)?;
    let sql = format!(
        "SELECT {COLUMNS} FROM schedule WHERE next_ms IS NOT NULL AND next_ms <= $1
         ORDER BY next_ms, tenant_id, id LIMIT $2"
    );
    let rows = tx.query(&sql, params![now_ms, limit])?;
    rows.iter()
        .map(|row| {
            let key = (row.id(0)?, row.id(1)?, row.opt_int(12)?);
            Ok(read(row).map_err(|error| Unreadable { tenant: key.0, id: key.1, next_ms: key.2, error }))
        })
        .collect()
}

/// A schedule whose expression or zone this version does not know.
#[derive(Debug)]
pub struct Unreadable {
    /// Whose.
    pub tenant: crate::domain::tenant::TenantId,
    /// Which.
    pub id: ScheduleId,
    /// When it was due.
    pub next_ms: Option<i64>,
    /// Why.
    pub error: crate::domain::Error,
}

/// Moves a schedule from one due time to the next; `false` when somebody else has moved it since it was read.
pub fn advance(
    tx: &mut WriteTx<'_>,
    scope: TenantScope,
    id: ScheduleId,
    from_ms: Option<i64>,
    to_ms: Option<i64>,
) -> Result<bool> {
    let tenant = tx.tenant(scope)?;
    let moved = tx.execute(
        "UPDATE schedule SET next_ms = $4 WHERE tenant_id = $1 AND id = $2 AND next_ms = $3",
        params![tenant, id.0, from_ms, to_ms],
    )?;
    Ok(moved > 0)
}
