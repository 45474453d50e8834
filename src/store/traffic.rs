//! Sums of what visitors asked for, sketches of who they were, and the most frequent labels.
//!
//! Sums are added to what is there; sketches and labels are read, joined and written in one transaction, in which no other node writes.

use crate::{
    domain::{
        Error, Result,
        access::{ServerScope, TenantScope},
        site::SiteId,
        tenant::TenantId,
        traffic::{
            Counts, Period,
            tops::{Kept, Kind},
            visitors::Visitors,
        },
    },
    params,
    ports::db::{ReadTx, Row, Value, WriteTx},
};

/// Rows of one statement: a text of SQL for each, so that few statements are prepared.
const CHUNKS: [usize; 4] = [64, 16, 4, 1];
/// Rows that are read at once.
const READ_MAX: i64 = 5_000;

const SUMS: &str =
    "start_ms, requests, pages, visits, bots, bytes, unchanged, status_2xx, status_3xx, status_4xx, status_5xx";

/// A row of a site, without what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Of which site.
    pub site: SiteId,
    /// How long.
    pub period: Period,
    /// Since when.
    pub start_ms: i64,
}

/// Sums of one period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Since when.
    pub start_ms: i64,
    /// Everything but the visits.
    pub counts: Counts,
    /// Different visitors.
    pub visits: u64,
}

/// Labels with what each has had.
pub type Labels = Vec<Kept>;

/// What is removed when it is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Sums.
    Sums(Period),
    /// The most frequent labels.
    Lists(Period),
    /// Sketches of visitors, of hours and days.
    Sketches,
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(row: &Row, at: usize) -> Result<u64> {
    Ok(u64::try_from(row.int(at)?).unwrap_or(0))
}

fn read(row: &Row) -> Result<Sum> {
    let of = |at| count(row, at);
    let counts = Counts {
        requests: of(1)?,
        pages: of(2)?,
        bots: of(4)?,
        bytes: of(5)?,
        unchanged: of(6)?,
        classes: [of(7)?, of(8)?, of(9)?, of(10)?],
    };
    Ok(Sum { start_ms: row.int(0)?, counts, visits: of(3)? })
}

/// Cuts rows into chunks of the few sizes that statements have.
fn chunks<T>(rows: &[T]) -> Vec<&[T]> {
    let (mut rest, mut out) = (rows, Vec::new());
    for size in CHUNKS {
        while rest.len() >= size {
            let (chunk, after) = rest.split_at(size);
            out.push(chunk);
            rest = after;
        }
    }
    out
}

/// `, $2, $3), ($1, $4, $5)`: what follows `($1` where a tenant gets rows with so many columns behind it.
fn places(rows: usize, columns: usize) -> String {
    let row = |at: usize| (0..columns).map(|it| format!(", ${}", 2 + at * columns + it)).collect::<Vec<_>>().concat();
    (0..rows).map(row).collect::<Vec<_>>().join("), ($1") + ")"
}

/// `$2, $3, $4`.
fn listed(from: usize, many: usize) -> String {
    (from..from + many).map(|it| format!("${it}")).collect::<Vec<_>>().join(", ")
}

/// Those of these sites that are there, of whatever tenant, and whose they are.
pub fn list_tenants(tx: &mut ReadTx<'_>, leave: ServerScope, sites: &[SiteId]) -> Result<Vec<(SiteId, TenantId)>> {
    tx.all_tenants(leave)?;
    let mut found = Vec::new();
    for chunk in chunks(sites) {
        let list = listed(1, chunk.len());
        let sql = format!("SELECT id, tenant_id FROM site WHERE id IN ({list})");
        let values: Vec<Value> = chunk.iter().map(|it| Value::from(it.0)).collect();
        for row in tx.query(&sql, &values)? {
            found.push((row.id(0)?, row.id(1)?));
        }
    }
    Ok(found)
}

/// What these sites have sent in a span of whole days, of whatever tenant, and whose they are; those that have sent nothing are not among them.
pub fn list_sent(
    tx: &mut ReadTx<'_>,
    leave: ServerScope,
    sites: &[SiteId],
    (from_ms, to_ms): (i64, i64),
) -> Result<Vec<(SiteId, TenantId, u64)>> {
    tx.all_tenants(leave)?;
    let mut found = Vec::new();
    for chunk in chunks(sites) {
        let list = listed(4, chunk.len());
        let sql = format!(
            "SELECT s.id, s.tenant_id, CAST(SUM(t.bytes) AS BIGINT) FROM site s
             JOIN traffic t ON t.tenant_id = s.tenant_id AND t.site_id = s.id
             WHERE s.id IN ({list}) AND t.period = $1 AND t.start_ms >= $2 AND t.start_ms < $3 GROUP BY s.id, s.tenant_id"
        );
        let mut values: Vec<Value> = params![Period::Day.word(), from_ms, to_ms].to_vec();
        values.extend(chunk.iter().map(|it| Value::from(it.0)));
        for row in tx.query(&sql, &values)? {
            found.push((row.id(0)?, row.id(1)?, count(&row, 2)?));
        }
    }
    Ok(found)
}

/// Adds to the sums of a tenant's sites. Visits are no sum: the higher number stays.
pub fn add(tx: &mut WriteTx<'_>, scope: TenantScope, rows: &[(Key, Counts, u64)]) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    for chunk in chunks(rows) {
        let places = places(chunk.len(), 13);
        let sql = format!(
            "INSERT INTO traffic (tenant_id, site_id, period, {SUMS}) VALUES ($1{places}
             ON CONFLICT (tenant_id, site_id, period, start_ms) DO UPDATE SET requests = traffic.requests + excluded.requests,
               pages = traffic.pages + excluded.pages, bots = traffic.bots + excluded.bots, bytes = traffic.bytes + excluded.bytes,
               visits = CASE WHEN excluded.visits > traffic.visits THEN excluded.visits ELSE traffic.visits END,
               unchanged = traffic.unchanged + excluded.unchanged, status_2xx = traffic.status_2xx + excluded.status_2xx,
               status_3xx = traffic.status_3xx + excluded.status_3xx, status_4xx = traffic.status_4xx + excluded.status_4xx,
               status_5xx = traffic.status_5xx + excluded.status_5xx"
        );
        let mut values = vec![Value::from(tenant)];
        for (key, counts, visits) in chunk {
            values.extend([Value::from(key.site.0), key.period.word().into(), key.start_ms.into()]);
            let numbers = [counts.requests, counts.pages, *visits, counts.bots, counts.bytes, counts.unchanged];
            values.extend(numbers.into_iter().chain(counts.classes).map(|it| Value::from(number(it))));
        }
        tx.execute(&sql, &values)?;
    }
    Ok(())
}

/// The sketches of a tenant's sites in one period.
pub fn list_visitors(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    (period, start_ms): (Period, i64),
    sites: &[SiteId],
) -> Result<Vec<(SiteId, Visitors)>> {
    let tenant = tx.tenant(scope)?;
    let mut found = Vec::new();
    for chunk in chunks(sites) {
        let list = listed(4, chunk.len());
        let sql = format!(
            "SELECT site_id, sketch FROM traffic_visitors WHERE tenant_id = $1 AND period = $2 AND start_ms = $3 AND site_id IN ({list})"
        );
        let mut values = vec![Value::from(tenant), period.word().into(), start_ms.into()];
        values.extend(chunk.iter().map(|it| Value::from(it.0)));
        for row in tx.query(&sql, &values)? {
            // What cannot be read is of another version, and is begun anew.
            found.push((row.id(0)?, Visitors::decode(row.blob(1)?).unwrap_or_default()));
        }
    }
    Ok(found)
}

/// The sketches of the hours of a site from a moment on and before another, by time.
pub fn list_hours(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    site: SiteId,
    (from_ms, to_ms): (i64, i64),
) -> Result<Vec<(i64, Visitors)>> {
    let tenant = tx.tenant(scope)?;
    let sql = "SELECT start_ms, sketch FROM traffic_visitors WHERE tenant_id = $1 AND site_id = $2 AND period = $3 AND start_ms >= $4
               AND start_ms < $5 ORDER BY start_ms LIMIT $6";
    let rows = tx.query(sql, params![tenant, site.0, Period::Hour.word(), from_ms, to_ms, READ_MAX])?;
    rows.iter().map(|row| Ok((row.int(0)?, Visitors::decode(row.blob(1)?).unwrap_or_default()))).collect()
}

/// Puts sketches in place of those that are there.
pub fn put_visitors(tx: &mut WriteTx<'_>, scope: TenantScope, rows: &[(Key, Vec<u8>)]) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    for chunk in chunks(rows) {
        let places = places(chunk.len(), 4);
        let sql = format!(
            "INSERT INTO traffic_visitors (tenant_id, site_id, period, start_ms, sketch) VALUES ($1{places}
             ON CONFLICT (tenant_id, site_id, period, start_ms) DO UPDATE SET sketch = excluded.sketch"
        );
        let mut values = vec![Value::from(tenant)];
        for (key, sketch) in chunk {
            values.extend([Value::from(key.site.0), key.period.word().into(), key.start_ms.into()]);
            values.push(sketch.clone().into());
        }
        tx.execute(&sql, &values)?;
    }
    Ok(())
}

/// The lists of a tenant's sites in one period.
pub fn list_labels(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    (period, start_ms): (Period, i64),
    sites: &[SiteId],
) -> Result<Vec<(SiteId, String, Labels)>> {
    let tenant = tx.tenant(scope)?;
    let mut found = Vec::new();
    for chunk in chunks(sites) {
        let list = listed(4, chunk.len());
        let sql = format!(
            "SELECT site_id, kind, labels FROM traffic_top WHERE tenant_id = $1 AND period = $2 AND start_ms = $3 AND site_id IN ({list})"
        );
        let mut values = vec![Value::from(tenant), period.word().into(), start_ms.into()];
        values.extend(chunk.iter().map(|it| Value::from(it.0)));
        for row in tx.query(&sql, &values)? {
            found.push((row.id(0)?, row.text(1)?.to_owned(), serde_json::from_str(row.text(2)?).unwrap_or_default()));
        }
    }
    Ok(found)
}

/// Puts lists in place of those that are there.
pub fn put_labels(tx: &mut WriteTx<'_>, scope: TenantScope, rows: &[(Key, Kind, Labels)]) -> Result<()> {
    let tenant = tx.tenant(scope)?;
    for chunk in chunks(rows) {
        let places = places(chunk.len(), 5);
        let sql = format!(
            "INSERT INTO traffic_top (tenant_id, site_id, period, start_ms, kind, labels) VALUES ($1{places}
             ON CONFLICT (tenant_id, site_id, period, start_ms, kind) DO UPDATE SET labels = excluded.labels"
        );
        let mut values = vec![Value::from(tenant)];
        for (key, kind, labels) in chunk {
            let text = serde_json::to_string(labels).map_err(Error::internal)?;
            values.extend([Value::from(key.site.0), key.period.word().into(), key.start_ms.into()]);
            values.extend([Value::from(kind.word()), text.into()]);
        }
        tx.execute(&sql, &values)?;
    }
    Ok(())
}

/// The sums of a site from a moment on and before another, by time.
pub fn list(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    site: SiteId,
    period: Period,
    (from_ms, to_ms): (i64, i64),
) -> Result<Vec<Sum>> {
    let tenant = tx.tenant(scope)?;
    let sql = format!(
        "SELECT {SUMS} FROM traffic WHERE tenant_id = $1 AND site_id = $2 AND period = $3 AND start_ms >= $4 AND start_ms < $5
         ORDER BY start_ms LIMIT $6"
    );
    tx.query(&sql, params![tenant, site.0, period.word(), from_ms, to_ms, READ_MAX])?.iter().map(read).collect()
}

/// The lists of a site from a moment on and before another.
pub fn list_tops(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    site: SiteId,
    period: Period,
    (from_ms, to_ms): (i64, i64),
) -> Result<Vec<(String, Labels)>> {
    let tenant = tx.tenant(scope)?;
    let sql =
        "SELECT kind, labels FROM traffic_top WHERE tenant_id = $1 AND site_id = $2 AND period = $3 AND start_ms >= $4
               AND start_ms < $5 ORDER BY start_ms, kind LIMIT $6";
    let rows = tx.query(sql, params![tenant, site.0, period.word(), from_ms, to_ms, READ_MAX])?;
    rows.iter()
        .map(|row| Ok((row.text(0)?.to_owned(), serde_json::from_str(row.text(1)?).unwrap_or_default())))
        .collect()
}

/// Bytes that a site has sent from the beginning of one day to that of another.
pub fn sum_bytes(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, (from_ms, to_ms): (i64, i64)) -> Result<u64> {
    let tenant = tx.tenant(scope)?;
    let sql = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM traffic WHERE tenant_id = $1 AND site_id = $2 AND period = $3
               AND start_ms >= $4 AND start_ms < $5";
    count(&tx.one(sql, params![tenant, site.0, Period::Day.word(), from_ms, to_ms])?, 0)
}

/// When the first sum of a site is from.
pub fn find_first(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId) -> Result<Option<i64>> {
    let tenant = tx.tenant(scope)?;
    let sql = "SELECT MIN(start_ms) FROM traffic WHERE tenant_id = $1 AND site_id = $2 AND period = $3";
    tx.one(sql, params![tenant, site.0, Period::Day.word()])?.opt_int(0)
}

/// When the oldest row of a tenant is from.
pub fn find_oldest(tx: &mut ReadTx<'_>, scope: TenantScope, rows: Rows) -> Result<Option<i64>> {
    let tenant = tx.tenant(scope)?;
    let row = match rows {
        Rows::Sums(period) => tx.one(
            "SELECT MIN(start_ms) FROM traffic WHERE tenant_id = $1 AND period = $2",
            params![tenant, period.word()],
        ),
        Rows::Lists(period) => tx.one(
            "SELECT MIN(start_ms) FROM traffic_top WHERE tenant_id = $1 AND period = $2",
            params![tenant, period.word()],
        ),
        Rows::Sketches => tx.one("SELECT MIN(start_ms) FROM traffic_visitors WHERE tenant_id = $1", params![tenant]),
    };
    row?.opt_int(0)
}

/// Removes some rows of a tenant that are from before a moment; how many.
pub fn delete_old(tx: &mut WriteTx<'_>, scope: TenantScope, rows: Rows, before_ms: i64, most: i64) -> Result<u64> {
    let tenant = tx.tenant(scope)?;
    match rows {
        Rows::Sums(period) => tx.execute(
            "DELETE FROM traffic WHERE tenant_id = $1 AND period = $2 AND (site_id, start_ms) IN
             (SELECT site_id, start_ms FROM traffic WHERE tenant_id = $1 AND period = $2 AND start_ms < $3 ORDER BY start_ms LIMIT $4)",
            params![tenant, period.word(), before_ms, most],
        ),
        Rows::Lists(period) => tx.execute(
            "DELETE FROM traffic_top WHERE tenant_id = $1 AND period = $2 AND (site_id, start_ms, kind) IN
             (SELECT site_id, start_ms, kind FROM traffic_top WHERE tenant_id = $1 AND period = $2 AND start_ms < $3
              ORDER BY start_ms LIMIT $4)",
            params![tenant, period.word(), before_ms, most],
        ),
        Rows::Sketches => tx.execute(
            "DELETE FROM traffic_visitors WHERE tenant_id = $1 AND (site_id, period, start_ms) IN
             (SELECT site_id, period, start_ms FROM traffic_visitors WHERE tenant_id = $1 AND start_ms < $2 ORDER BY start_ms LIMIT $3)",
            params![tenant, before_ms, most],
        ),
    }
}

/// The salts of days: of each, its start and the secret.
pub fn list_salts(tx: &mut ReadTx<'_>) -> Result<Vec<(i64, [u8; 32])>> {
    let rows = tx.query("SELECT day_ms, salt FROM traffic_salt ORDER BY day_ms LIMIT 16", &[])?;
    rows.iter().map(|row| Ok((row.int(0)?, row.bytes(1)?))).collect()
}

/// Keeps the salt of a day.
pub fn insert_salt(tx: &mut WriteTx<'_>, day_ms: i64, salt: [u8; 32]) -> Result<()> {
    tx.execute("INSERT INTO traffic_salt (day_ms, salt) VALUES ($1, $2)", params![day_ms, salt])?;
    Ok(())
}

/// Throws away the salts of days before one.
pub fn delete_salts(tx: &mut WriteTx<'_>, before_ms: i64) -> Result<()> {
    tx.execute("DELETE FROM traffic_salt WHERE day_ms < $1", params![before_ms])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_sizes() {
        let rows = [0; 150];
        let sizes: Vec<usize> = chunks(&rows).iter().map(|it| it.len()).collect();
        assert_eq!(sizes, [64, 64, 16, 4, 1, 1]);
        assert_eq!(places(2, 2), ", $2, $3), ($1, $4, $5)");
        assert_eq!(listed(2, 3), "$2, $3, $4");
    }
}
