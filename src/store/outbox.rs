//! The outbox: jobs asked for in the transaction of the change that needs them, until the queue has them durably.

use crate::{
    base::ids::Id,
    domain::{
        Error, Result,
        access::ServerScope,
        job::{JobId, NewJob, Queue},
        tenant::TenantId,
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

const COLUMNS: &str =
    "id, queue, kind, tenant_id, payload, priority, run_at_ms, title, created_ms, unique_key, after_ids";

/// Asks for a job. It runs when the transaction commits, and never otherwise. A job that waits here already stays as it is.
pub fn enqueue(tx: &mut WriteTx<'_>, job: &NewJob) -> Result<()> {
    // What no queue takes fails the change that asks for it, and not the relay.
    job.check()?;
    let sql = format!(
        "INSERT INTO outbox ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (id) DO NOTHING"
    );
    let after: Vec<u8> = job.after.iter().flat_map(|it| *it.0.as_bytes()).collect();
    tx.execute(
        &sql,
        params![
            job.id.0,
            job.queue.word(),
            &job.kind,
            job.tenant.map(|it| it.0),
            &job.payload,
            i64::from(job.priority),
            job.run_at_ms,
            &job.title,
            job.created_ms,
            job.unique.clone(),
            Some(after).filter(|it| !it.is_empty())
        ],
    )?;
    Ok(())
}

/// Bytes of the payloads that are read at once, and one payload more at most.
pub const BYTES_AT_ONCE: usize = 8 << 20;

fn read(row: &Row) -> Result<NewJob> {
    Ok(NewJob {
        id: row.id(0)?,
        queue: Queue::parse(row.text(1)?)?,
        kind: row.text(2)?.to_owned(),
        tenant: row.opt_id(3)?,
        payload: row.text(4)?.to_owned(),
        priority: i8::try_from(row.int(5)?).map_err(Error::internal)?,
        run_at_ms: row.int(6)?,
        title: row.text(7)?.to_owned(),
        created_ms: row.int(8)?,
        unique: row.opt_text(9)?.map(str::to_owned),
        after: row.opt_blob(10)?.map(read_ids).unwrap_or_default(),
    })
}

fn read_ids(packed: &[u8]) -> Vec<JobId> {
    packed.as_chunks().0.iter().map(|it| JobId(Id::from_bytes(*it))).collect()
}

/// A row that waits for the relay.
#[derive(Debug)]
pub struct Waiting {
    /// The id of its job.
    pub id: JobId,
    /// Whose it is.
    pub tenant: Option<TenantId>,
    /// How large its payload is.
    pub bytes: usize,
    /// The job, or why the row cannot be read as one: another version may have written it.
    pub job: Result<NewJob>,
}

/// The oldest `limit` rows after the one with the id `after`, fewer where their payloads have more than [`BYTES_AT_ONCE`] together,
/// without those that are set aside; those that were handed over only when they are asked for.
pub fn list(
    tx: &mut ReadTx<'_>,
    _leave: ServerScope,
    after: JobId,
    limit: i64,
    handed_too: bool,
) -> Result<Vec<Waiting>> {
    let and = if handed_too { "" } else { "AND handed_ms IS NULL" };
    let some = format!("FROM outbox WHERE id > $1 AND refused IS NULL {and}");
    // How long a payload is stands beside it: neither engine reads it for that.
    let sql = format!(
        "SELECT {COLUMNS} {some} AND id <=
           (SELECT id FROM
              (SELECT id, bytes, SUM(bytes) OVER (ORDER BY id) AS so_far FROM
                 (SELECT id, octet_length(payload) AS bytes {some} ORDER BY id LIMIT $2) AS sized) AS summed
            WHERE so_far - bytes < {BYTES_AT_ONCE} ORDER BY id DESC LIMIT 1)
         ORDER BY id LIMIT $2"
    );
    let rows = tx.query(&sql, params![after.0, limit])?;
    let waiting = |row: &Row| {
        Ok(Waiting { id: row.id(0)?, tenant: row.opt_id(3)?, bytes: row.text(4).map_or(0, str::len), job: read(row) })
    };
    rows.iter().map(waiting).collect()
}

/// Sets a row aside that the queue will never take, with the reason for whoever looks. It stays until somebody removes it.
pub fn set_aside(tx: &mut WriteTx<'_>, _leave: ServerScope, id: JobId, why: &str) -> Result<()> {
    tx.execute("UPDATE outbox SET refused = $2 WHERE id = $1", params![id.0, why])?;
    Ok(())
}

/// Marks rows as handed to a queue that may lose them.
pub fn mark_handed(tx: &mut WriteTx<'_>, _leave: ServerScope, ids: &[JobId], now_ms: i64) -> Result<()> {
    for id in ids {
        tx.execute("UPDATE outbox SET handed_ms = $2 WHERE id = $1", params![id.0, now_ms])?;
    }
    Ok(())
}

/// Keeps a job that a queue has that may lose it: until it has ended, unless its row is there.
pub fn keep_handed(tx: &mut WriteTx<'_>, leave: ServerScope, job: &NewJob, now_ms: i64) -> Result<()> {
    enqueue(tx, job)?;
    mark_handed(tx, leave, &[job.id], now_ms)
}

/// Lets rows be handed over again that were lost.
pub fn unmark(tx: &mut WriteTx<'_>, _leave: ServerScope, ids: &[JobId]) -> Result<()> {
    for id in ids {
        tx.execute("UPDATE outbox SET handed_ms = NULL WHERE id = $1", params![id.0])?;
    }
    Ok(())
}

/// The oldest `limit` rows after the one with the id `after` that were handed over.
pub fn list_handed(tx: &mut ReadTx<'_>, _leave: ServerScope, after: JobId, limit: i64) -> Result<Vec<JobId>> {
    let sql = "SELECT id FROM outbox WHERE id > $1 AND handed_ms IS NOT NULL ORDER BY id LIMIT $2";
    tx.query(sql, params![after.0, limit])?.iter().map(|row| row.id(0)).collect()
}

/// Removes rows that the queue holds durably. Ids are taken one by one: the statement is prepared once.
pub fn delete(tx: &mut WriteTx<'_>, _leave: ServerScope, ids: &[JobId]) -> Result<()> {
    for id in ids {
        tx.execute("DELETE FROM outbox WHERE id = $1", params![id.0])?;
    }
    Ok(())
}
