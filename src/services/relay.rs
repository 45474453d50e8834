//! The relay hands the outbox to the queue.
//!
//! A row goes when the queue has its job durably, and the queue takes no id twice, so that a crash in between changes
//! nothing. A queue that may lose jobs leaves the rows, marked, until their jobs have ended; what it no longer knows is handed
//! over again. No row stands in the way of another tenant's: what the queue will never take is set aside with the reason, and
//! who has too many jobs waiting is passed over until some have ended.
//!
//! A node that goes on with a Redis which the jobs have left, since it was not restarted after `chainhost move --redis`, hands nothing
//! over, lets no row go and begins no job ([`Services::ask_queue`]): the nodes on the other Redis do.

mod outlook;

use std::collections::{HashMap, HashSet};

use crate::{
    base::ids::Id,
    domain::{
        Error, Kind, Result,
        event::Event,
        job::{JobId, NewJob},
        tenant::TenantId,
    },
    ports::{
        db::{ReadTx, WriteTx},
        queue::Fate,
    },
    store::{self, outbox::Waiting},
};

pub(super) use self::outlook::Outlook;
use super::{Services, access};

/// Outbox rows handed over at once (DECISIONS 20), as far as `store::outbox::BYTES_AT_ONCE` allows.
const RELAYED_AT_ONCE: usize = 2_048;

/// What became of some rows.
#[derive(Debug, Default)]
struct Handed {
    /// The queue has them.
    taken: Vec<JobId>,
    /// The queue will never have them, and why.
    refused: Vec<(JobId, Option<TenantId>, String)>,
}

/// What some rows came to.
struct Relayed {
    /// So many the queue has now.
    count: usize,
    /// The oldest that stays for another look.
    left: Option<JobId>,
}

impl Services {
    /// Tells the relay of a row that this process has put into the outbox, once that is committed.
    pub(super) fn outbox_has(&self, id: JobId) {
        self.outlook().tell(id);
        self.signals().outbox.notify_one();
    }

    /// Hands what waits in the outbox to the queue, from the oldest row to the newest; how many rows. Not every look begins at the
    /// oldest row that there can be ([`outlook`]).
    pub async fn relay_outbox(&self) -> Result<usize> {
        let leave = access::server_scope();
        let limit = i64::try_from(RELAYED_AT_ONCE).unwrap_or(i64::MAX);
        // What was handed to another queue before this one is not in this one.
        let handed_too = self.jobs.keeps();
        let mut crowded: HashSet<Option<TenantId>> = HashSet::new();
        let mut look = self.outlook().begin();
        let (mut after, mut count, mut left) = (look.from, 0, None);
        loop {
            let services = self.clone();
            let waiting = move |tx: &mut ReadTx<'_>| {
                services.check_queue(tx)?;
                store::outbox::list(tx, leave, after, limit, handed_too)
            };
            let rows = self.db.read(waiting).await?;
            // Those that a job waits for must be with the queue before it.
            if !look.is_whole() && rows.iter().any(|it| waits_for_older(it, look.from)) {
                look = self.outlook().begin_whole();
                after = look.from;
                continue;
            }
            let Some(last) = rows.last() else { break };
            after = last.id;
            let bytes: usize = rows.iter().map(|it| it.bytes).sum();
            let full = rows.len() >= RELAYED_AT_ONCE || bytes >= store::outbox::BYTES_AT_ONCE;
            let relayed = self.relay(rows, &mut crowded).await?;
            count += relayed.count;
            // They come in their order: the first that is left is the oldest.
            left = left.or(relayed.left);
            if !full {
                break;
            }
        }
        self.outlook().end(look, left, self.clock.now_ms());
        Ok(count)
    }

    /// Follows what was handed to a queue that may lose it; how many jobs it has lost.
    pub async fn reconcile_outbox(&self) -> Result<usize> {
        let leave = access::server_scope();
        let limit = i64::try_from(RELAYED_AT_ONCE).unwrap_or(i64::MAX);
        let (mut after, mut count) = (JobId(Id::NIL), 0);
        if self.jobs.keeps() {
            return Ok(0);
        }
        let settled_ms = self.settled_until().await?;
        loop {
            let ids = self.db.read(move |tx| store::outbox::list_handed(tx, leave, after, limit)).await?;
            let Some(newest) = ids.last() else { break };
            after = *newest;
            let full = ids.len() >= RELAYED_AT_ONCE;
            let fates = self.jobs.fates(ids.clone()).await?;
            let with = |wanted: Fate| -> Vec<JobId> {
                ids.iter().zip(&fates).filter(|it| *it.1 == wanted).map(|it| *it.0).collect()
            };
            let (ended, unknown) = (with(Fate::Ended), with(Fate::Unknown));
            let lost = unknown.len();
            count += lost;
            if !ended.is_empty() || !unknown.is_empty() {
                let services = self.clone();
                let settle = move |tx: &mut WriteTx<'_>| {
                    services.check_queue(tx)?;
                    store::outbox::delete(tx, leave, &ended)?;
                    store::outbox::unmark(tx, leave, &unknown)
                };
                self.db.write(settle).await?;
            }
            // Not at the end alone, which a queue that goes away once more keeps this from reaching.
            if lost > 0 {
                self.outbox_has(JobId(Id::NIL));
            }
            if !full {
                break;
            }
        }
        if count > 0 {
            tracing::warn!(count, "the job queue has lost jobs; they are handed over again");
        }
        // Not before the last row of an ended job is gone: a queue that forgot its id would take the row for a new job.
        self.jobs.settled(settled_ms).await?;
        Ok(count)
    }

    /// Until when a pass that begins now settles what has ended. A row that waits may have been handed over by a process that died
    /// before it could mark it; its job may have ended at any time since the row was written.
    async fn settled_until(&self) -> Result<i64> {
        let leave = access::server_scope();
        let now_ms = self.clock.now_ms();
        let services = self.clone();
        let waiting = move |tx: &mut ReadTx<'_>| {
            services.check_queue(tx)?;
            store::outbox::list(tx, leave, JobId(Id::NIL), 1, false)
        };
        let oldest = self.db.read(waiting).await?;
        let written_ms = oldest.first().map_or(now_ms, |row| row.job.as_ref().map_or(0, |job| job.created_ms));
        Ok(now_ms.min(written_ms))
    }

    /// Refuses to go on with a queue that has the jobs of this installation no more.
    ///
    /// Errors: `queue_left`.
    fn check_queue(&self, tx: &mut ReadTx<'_>) -> Result<()> {
        if !self.node.shares {
            return Ok(());
        }
        match store::settings::find(tx, store::settings::QUEUE_PLACE)? {
            Some(place) if Some(&place) != self.node.queue.as_ref() => {
                let at = store::settings::find(tx, store::settings::QUEUE)?;
                Err(queue_left(&at.unwrap_or_default()))
            }
            // When none has them, the node that has left the last one goes on with it until its restart.
            _ => Ok(()),
        }
    }

    /// The same, before a job begins.
    pub async fn ask_queue(&self) -> Result<()> {
        if !self.node.shares {
            return Ok(());
        }
        let services = self.clone();
        self.db.read(move |tx| services.check_queue(tx)).await
    }

    /// Hands these rows over.
    async fn relay(&self, rows: Vec<Waiting>, crowded: &mut HashSet<Option<TenantId>>) -> Result<Relayed> {
        let mut handed = Handed::default();
        let all: Vec<JobId> = rows.iter().map(|it| it.id).collect();
        let mut good = Vec::with_capacity(rows.len());
        for row in rows {
            match row.job.and_then(|job| job.check().map(|()| job)) {
                Ok(job) if crowded.contains(&job.tenant) => {}
                Ok(job) => good.push(job),
                Err(error) => handed.refused.push((row.id, row.tenant, error.to_string())),
            }
        }
        let ids = good.iter().map(|it| it.id).collect();
        // All of them as a rule: one commit of the queue.
        match self.enqueue_jobs(good.clone()).await? {
            None => handed.taken = ids,
            Some(_) => {
                for (tenant, jobs) in by_tenant(good) {
                    if !self.hand_over(jobs, &mut handed).await? {
                        tracing::warn!(tenant = ?tenant.map(|it| it.to_string()), "has too many jobs waiting; more wait in the outbox");
                        crowded.insert(tenant);
                    }
                }
            }
        }
        let count = handed.taken.len();
        let gone: HashSet<JobId> = handed.taken.iter().copied().chain(handed.refused.iter().map(|it| it.0)).collect();
        let left = all.into_iter().find(|it| !gone.contains(it));
        if count > 0 || !handed.refused.is_empty() {
            self.settle(handed).await?;
            self.signals().touch();
        }
        Ok(Relayed { count, left })
    }

    /// Enqueues jobs; `None` when the queue has them, or why it takes none of them. An error when it is not there.
    async fn enqueue_jobs(&self, jobs: Vec<NewJob>) -> Result<Option<Error>> {
        if jobs.is_empty() {
            return Ok(None);
        }
        match self.jobs.enqueue(jobs).await {
            Ok(_) => Ok(None),
            Err(error) if matches!(error.kind, Kind::Unavailable | Kind::Internal) => Err(error),
            Err(error) => Ok(Some(error)),
        }
    }

    /// Hands over jobs of one tenant, the oldest first, as many as the queue takes; `false` when it takes no more now.
    async fn hand_over(&self, mut jobs: Vec<NewJob>, handed: &mut Handed) -> Result<bool> {
        let mut step = jobs.len();
        while !jobs.is_empty() {
            step = step.clamp(1, jobs.len());
            let part: Vec<NewJob> = jobs.iter().take(step).cloned().collect();
            match self.enqueue_jobs(part).await? {
                None => handed.taken.extend(jobs.drain(..step).map(|it| it.id)),
                Some(_) if step > 1 => step /= 2,
                Some(error) if error.kind == Kind::TooMany => return Ok(false),
                Some(error) => {
                    handed.refused.extend(jobs.drain(..1).map(|it| (it.id, it.tenant, error.to_string())));
                    step = jobs.len();
                }
            }
        }
        Ok(true)
    }

    /// Takes the rows out of the way: those that the queue has, and those that it will never have.
    async fn settle(&self, handed: Handed) -> Result<()> {
        let leave = access::server_scope();
        for (id, _, why) in &handed.refused {
            tracing::error!(job = %id, why, "a job cannot be queued; its row stays in the outbox, set aside");
        }
        let services = self.clone();
        let (keeps, now_ms) = (self.jobs.keeps(), self.clock.now_ms());
        self.db
            .write(move |tx| {
                services.check_queue(tx)?;
                if keeps {
                    store::outbox::delete(tx, leave, &handed.taken)?;
                } else {
                    store::outbox::mark_handed(tx, leave, &handed.taken, now_ms)?;
                }
                for (id, tenant, why) in &handed.refused {
                    store::outbox::set_aside(tx, leave, *id, why)?;
                    if let Some(tenant) = *tenant {
                        let text = format!("set the job {id} aside, since it cannot be queued");
                        let actor = services.actor_system(tenant, "relay");
                        services.record(tx, &actor, &Event::new("job.set_aside", "job", id, text))?;
                    }
                }
                Ok(())
            })
            .await
    }
}

fn queue_left(at: &str) -> Error {
    let text = format!(
        "The jobs of this installation were moved to the Redis at {at}, while this node works with the queue that had them before, and so \
         begins none. Sites go on answering. Name that Redis in `queue_url` of [redis] or in CHAINHOST_REDIS_QUEUE_URL, and restart this node."
    );
    Error::unavailable("queue_left", text)
}

/// Whether a row's job waits for one whose row may lie before where a look began.
fn waits_for_older(row: &Waiting, from: JobId) -> bool {
    row.job.as_ref().is_ok_and(|job| job.after.iter().any(|it| *it <= from))
}

/// The jobs of each tenant, in their order.
fn by_tenant(jobs: Vec<NewJob>) -> HashMap<Option<TenantId>, Vec<NewJob>> {
    let mut found: HashMap<_, Vec<NewJob>> = HashMap::new();
    for job in jobs {
        found.entry(job.tenant).or_default().push(job);
    }
    found
}
