//! The outbox: jobs asked for in the transaction of the change that needs them, until the queue has them durably.

use crate::{
    domain::{
        Result,
        access::ServerScope,
        job::{JobId, NewJob, Queue},
    },
    params,
    ports::db::{ReadTx, Row, WriteTx},
};

/// Asks for a job. It runs when the transaction commits, and never otherwise.
pub fn enqueue(tx: &mut WriteTx<'_>, job: &NewJob) -> Result<()> {
    tx.execute(
        "INSERT INTO outbox (id, queue, kind, tenant_id, payload, priority, run_at_ms, title, created_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            job.id.0,
            job.queue.word(),
            &job.kind,
            job.tenant.map(|it| it.0),
            &job.payload,
            i64::from(job.priority),
            job.run_at_ms,
            &job.title,
            job.created_ms
        ],
    )?;
    Ok(())
}

fn read(row: &Row) -> Result<NewJob> {
    Ok(NewJob {
        id: row.id(0)?,
        queue: Queue::parse(row.text(1)?)?,
        kind: row.text(2)?.to_owned(),
        tenant: row.opt_id(3)?,
        payload: row.text(4)?.to_owned(),
        priority: i8::try_from(row.int(5)?).unwrap_or(0),
        run_at_ms: row.int(6)?,
        title: row.text(7)?.to_owned(),
        created_ms: row.int(8)?,
    })
}

/// The oldest `limit` rows.
pub fn list(tx: &mut ReadTx<'_>, _leave: ServerScope, limit: i64) -> Result<Vec<NewJob>> {
    let rows = tx.query(
        "SELECT id, queue, kind, tenant_id, payload, priority, run_at_ms, title, created_ms
         FROM outbox ORDER BY id LIMIT $1",
        params![limit],
    )?;
    rows.iter().map(read).collect()
}

/// Removes rows that the queue holds durably. Ids are taken one by one: the statement is prepared once.
pub fn delete(tx: &mut WriteTx<'_>, _leave: ServerScope, ids: &[JobId]) -> Result<()> {
    for id in ids {
        tx.execute("DELETE FROM outbox WHERE id = $1", params![id.0])?;
    }
    Ok(())
}
