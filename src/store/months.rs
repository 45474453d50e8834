//! What all tables by month have in common: their oldest rows, the removal of a month, the files that months were archived in.

use crate::{
    base::hash::Sha256,
    domain::{
        Result,
        access::{ServerScope, TenantScope},
        month::{Month, MonthTable},
    },
    params,
    ports::db::{ReadTx, WriteTx},
};

/// When the oldest row of a tenant was made.
pub fn find_oldest(tx: &mut ReadTx<'_>, scope: TenantScope, table: MonthTable) -> Result<Option<i64>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!("SELECT MIN(created_ms) FROM {} WHERE tenant_id = $1", table.name());
    tx.one(&sql, params![tenant])?.opt_int(0)
}

/// How many rows of a month a tenant has.
pub fn count(tx: &mut ReadTx<'_>, scope: TenantScope, table: MonthTable, month: Month) -> Result<i64> {
    let tenant = tx.tenant(scope)?;
    let (from_ms, to_ms) = month.range_ms();
    let sql =
        format!("SELECT COUNT(*) FROM {} WHERE tenant_id = $1 AND created_ms >= $2 AND created_ms < $3", table.name());
    tx.one(&sql, params![tenant, from_ms, to_ms])?.int(0)
}

/// Removes at most `limit` rows of a month of a tenant; how many. For engines that cannot take a month away at once.
pub fn delete_some(
    tx: &mut WriteTx<'_>,
    scope: TenantScope,
    table: MonthTable,
    month: Month,
    limit: i64,
) -> Result<u64> {
    let tenant = tx.tenant(scope)?;
    let (from_ms, to_ms) = month.range_ms();
    let name = table.name();
    let sql = format!(
        "DELETE FROM {name} WHERE tenant_id = $1 AND (created_ms, id) IN
           (SELECT created_ms, id FROM {name} WHERE tenant_id = $1 AND created_ms >= $2 AND created_ms < $3 LIMIT $4)"
    );
    tx.execute(&sql, params![tenant, from_ms, to_ms, limit])
}

/// A file with rows of a month.
#[derive(Clone, Debug)]
pub struct Archived {
    /// Counts up from 1 for each month of a table.
    pub part: i64,
    /// Its path in the data folder of the server that made it.
    pub file: String,
    /// Of the file.
    pub sha256: Sha256,
    /// Rows in it.
    pub entries: i64,
}

/// The last file that rows of a month were archived in.
pub fn find_archived(
    tx: &mut ReadTx<'_>,
    _leave: ServerScope,
    table: MonthTable,
    month: Month,
) -> Result<Option<Archived>> {
    let row = tx.find(
        "SELECT part, file, sha256, entries FROM month_archive WHERE name = $1 AND month = $2 ORDER BY part DESC LIMIT 1",
        params![table.name(), month.to_string()],
    )?;
    row.map(|row| {
        let (file, sha256) = (row.text(1)?.to_owned(), Sha256(row.bytes(2)?));
        Ok(Archived { part: row.int(0)?, file, sha256, entries: row.int(3)? })
    })
    .transpose()
}

/// Adds a file that rows of a month were archived in.
pub fn insert_archived(
    tx: &mut WriteTx<'_>,
    _leave: ServerScope,
    (table, month): (MonthTable, Month),
    it: &Archived,
    now_ms: i64,
) -> Result<()> {
    tx.execute(
        "INSERT INTO month_archive (name, month, part, file, sha256, entries, created_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![table.name(), month.to_string(), it.part, &it.file, it.sha256, it.entries, now_ms],
    )?;
    Ok(())
}
