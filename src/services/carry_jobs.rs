//! Brings the jobs of one queue to another, when the settings or `chainhost move` say that it is elsewhere now.
//!
//! Guarantees: an open job goes by the outbox, under its id, so that it is not lost wherever this breaks off, and the queue that
//! knows it takes it no second time. It begins anew there: its attempts are not counted on. A dead one is brought with its error,
//! to be looked at and started again. Queues and tenants that were paused are. Nothing is taken out of the old queue: whoever
//! calls this sees to it that nobody works on that one any more.

use serde::Serialize;

use crate::{
    base::ids::Id,
    domain::{
        Kind, Result,
        job::{Job, JobId, NewJob, Queue, State},
    },
    ports::{
        db::{Db, WriteTx},
        queue::{Fate, JobFilter, Jobs},
    },
    store,
};

use super::access;

/// Jobs of one page, and of one transaction.
const PAGE: u32 = 200;
/// Rows of the outbox whose jobs are asked for at once.
const ROWS: i64 = 2_000;

/// A time that nobody waits for: in the year 2096.
const ASLEEP_MS: i64 = 4_000_000_000_000;

/// What was brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Carried {
    /// Jobs that are still to be done.
    pub open: u64,
    /// Dead ones.
    pub dead: u64,
}

/// What becomes of the pauses of the queue that takes the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pauses {
    /// It may be in use: what is paused in either is paused.
    Join,
    /// Nobody works on it: it pauses what the other one does, whatever an earlier move that broke off has left.
    Replace,
}

/// Brings what `from` has to `to`, by way of the outbox of `db`.
pub async fn carry_jobs(db: &Db, from: &Jobs, to: &Jobs, pauses: Pauses) -> Result<Carried> {
    carry_pauses(db, from, to, pauses).await?;
    let (mut carried, mut after) = (Carried::default(), None);
    loop {
        // All states at once: a list of one state may end early.
        let page = from.list(JobFilter { after, limit: PAGE, ..JobFilter::default() }).await?;
        let Some(last) = page.last() else { return Ok(carried) };
        after = Some(last.new.id);
        let mut open = Vec::new();
        for job in page {
            match job.state {
                // Started again by hand, its time may be one that has not come, or that of a job that was brought as a dead one.
                State::Waiting | State::Running => {
                    open.push(NewJob { run_at_ms: job.new.run_at_ms.min(job.new.created_ms), ..job.new });
                }
                State::Delayed => open.push(job.new),
                State::Failed => carried.dead += u64::from(bury(to, job).await?),
                State::Done => {}
            }
        }
        carried.open += u64::try_from(open.len()).unwrap_or(u64::MAX);
        let ask = move |tx: &mut WriteTx<'_>| open.iter().try_for_each(|job| store::outbox::enqueue(tx, job));
        db.write(ask).await?;
    }
}

/// Brings dead jobs alone, also while others work on `to`: what that one has heard of within a day stays as it is there. How many.
pub async fn carry_dead(from: &Jobs, to: &Jobs) -> Result<u64> {
    let (mut dead, mut after) = (0, None);
    loop {
        let page = from.list(JobFilter { after, limit: PAGE, ..JobFilter::default() }).await?;
        let Some(last) = page.last() else { return Ok(dead) };
        after = Some(last.new.id);
        for job in page.into_iter().filter(|it| it.state == State::Failed) {
            dead += u64::from(bury(to, job).await?);
        }
    }
}

/// Takes the rows of jobs that have ended in `from` out of the outbox, so that the next queue does not do them again; how many. For a
/// queue on which nobody works.
pub async fn let_go_of_ended(db: &Db, from: &Jobs) -> Result<u64> {
    let (leave, mut after, mut count) = (access::server_scope(), JobId(Id::NIL), 0);
    loop {
        let ids = db.read(move |tx| store::outbox::list_handed(tx, leave, after, ROWS)).await?;
        let Some(last) = ids.last() else { return Ok(count) };
        after = *last;
        let fates = from.fates(ids.clone()).await?;
        let ended: Vec<JobId> = ids.into_iter().zip(fates).filter(|it| it.1 == Fate::Ended).map(|it| it.0).collect();
        count += u64::try_from(ended.len()).unwrap_or(u64::MAX);
        db.write(move |tx| store::outbox::delete(tx, leave, &ended)).await?;
    }
}

/// Takes in a dead job; `false` when the queue has it, or will not have it.
async fn bury(to: &Jobs, job: Job) -> Result<bool> {
    let (id, error) = (job.new.id, job.error.unwrap_or_default());
    // Until it is dead nobody may start it.
    let asleep = NewJob { run_at_ms: ASLEEP_MS, after: Vec::new(), ..job.new };
    let taken = match to.enqueue(vec![asleep]).await {
        // It has it already. Started again there meanwhile, it stays so.
        Ok(0) if !is_asleep(to, id).await? => return Ok(false),
        Ok(_) => to.bury(id, error).await,
        Err(error) => Err(error),
    };
    match taken {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind, Kind::Unavailable | Kind::Internal) => Err(error),
        Err(error) => {
            tracing::info!(job = %id, %error, "a dead job stays behind");
            Ok(false)
        }
    }
}

/// Whether a queue has a job between the two steps of [`bury`]: the one who took them was killed there.
async fn is_asleep(jobs: &Jobs, id: JobId) -> Result<bool> {
    let found = jobs.get(id).await?;
    Ok(found.is_some_and(|it| it.state == State::Delayed && it.new.run_at_ms == ASLEEP_MS))
}

async fn carry_pauses(db: &Db, from: &Jobs, to: &Jobs, pauses: Pauses) -> Result<()> {
    let depths = from.depths(None).await?;
    for (queue, depth) in Queue::ALL.into_iter().zip(depths) {
        if depth.paused || pauses == Pauses::Replace {
            to.pause(queue, depth.paused).await?;
        }
    }
    let leave = access::server_scope();
    let tenants = db.read(move |tx| store::tenants::list(tx, leave)).await?;
    for tenant in tenants {
        let stands = from.depths(Some(tenant.id)).await?.iter().any(|it| it.tenant_paused);
        if stands || pauses == Pauses::Replace {
            to.pause_tenant(tenant.id, stands).await?;
        }
    }
    Ok(())
}
