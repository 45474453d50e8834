//! Jobs as people see them, and the relay that hands the outbox to the queue.

use crate::{
    domain::{
        Error, Result,
        access::{Actor, Right},
        event::Event,
        job::{Job, JobId, Queue},
        tenant::TenantId,
    },
    ports::queue::{Depth, JobFilter},
    store,
};

use super::{Services, access};

/// Outbox rows handed over at once (DECISIONS 20).
const RELAYED_AT_ONCE: usize = 2_048;

impl Services {
    /// Hands what waits in the outbox to the queue; how many rows. A row goes when the queue has its job durably, and the
    /// queue takes no id twice, so that a crash in between changes nothing.
    pub async fn relay_outbox(&self) -> Result<usize> {
        let leave = access::server_scope();
        let limit = i64::try_from(RELAYED_AT_ONCE).unwrap_or(i64::MAX);
        let rows = self.db.read(move |tx| store::outbox::list(tx, leave, limit)).await?;
        if rows.is_empty() {
            return Ok(0);
        }
        let ids: Vec<JobId> = rows.iter().map(|it| it.id).collect();
        let count = ids.len();
        self.jobs.enqueue(rows).await?;
        self.db.write(move |tx| store::outbox::delete(tx, leave, &ids)).await?;
        self.signals().touch();
        Ok(count)
    }

    /// Whose jobs the actor sees: their tenant's, or all for a super admin.
    fn visible(actor: &Actor) -> Result<Option<TenantId>> {
        let scope = actor.require(Right::Read)?;
        Ok(if actor.may(Right::ManageServer) { None } else { Some(scope.tenant()) })
    }

    /// A list of jobs, newest first.
    pub async fn list_jobs(&self, actor: &Actor, filter: JobFilter) -> Result<Vec<Job>> {
        let tenant = Self::visible(actor)?;
        self.jobs.list(JobFilter { tenant, ..filter }).await
    }

    /// Counts of the four queues.
    pub async fn queue_depths(&self, actor: &Actor) -> Result<[Depth; 4]> {
        self.jobs.depths(Self::visible(actor)?).await
    }

    /// One job.
    pub async fn get_job(&self, actor: &Actor, id: JobId) -> Result<Job> {
        let tenant = Self::visible(actor)?;
        let found = self.jobs.get(id).await?.filter(|it| tenant.is_none() || it.new.tenant == tenant);
        found.ok_or_else(|| Error::not_found("job"))
    }

    /// Runs a failed or delayed job now.
    pub async fn rerun_job(&self, actor: &Actor, id: JobId) -> Result<()> {
        self.change_job(actor, id, "job.rerun", "re-ran").await?;
        self.jobs.rerun(id).await?;
        self.signals().touch();
        Ok(())
    }

    /// Removes a job that has not started; `false` when it runs.
    pub async fn cancel_job(&self, actor: &Actor, id: JobId) -> Result<bool> {
        self.change_job(actor, id, "job.cancelled", "cancelled").await?;
        let removed = self.jobs.cancel(id).await?;
        self.signals().touch();
        Ok(removed)
    }

    /// Removes an ended job from the list.
    pub async fn dismiss_job(&self, actor: &Actor, id: JobId) -> Result<()> {
        self.change_job(actor, id, "job.dismissed", "dismissed").await?;
        self.jobs.dismiss(id).await?;
        self.signals().touch();
        Ok(())
    }

    /// Stops or starts the claims of a queue, for all tenants. What runs goes on; what waits keeps its place. It stays so
    /// over a restart.
    pub async fn change_queue_paused(&self, actor: &Actor, queue: Queue, paused: bool) -> Result<()> {
        actor.require(Right::ManageServer)?;
        let depths = self.jobs.depths(None).await?;
        if Queue::ALL.into_iter().zip(depths).any(|(it, depth)| it == queue && depth.paused == paused) {
            return Ok(());
        }
        let (kind, word) = if paused { ("queue.paused", "paused") } else { ("queue.resumed", "resumed") };
        let event = Event::new(kind, "queue", &queue.word(), format!("{word} the queue {}", queue.word()));
        let (services, actor) = (self.clone(), actor.clone());
        self.db.write(move |tx| services.record(tx, &actor, &event)).await?;
        self.jobs.pause(queue, paused).await?;
        self.signals().touch();
        Ok(())
    }

    async fn change_job(&self, actor: &Actor, id: JobId, kind: &'static str, word: &str) -> Result<()> {
        actor.require(Right::Deploy)?;
        let job = self.get_job(actor, id).await?;
        let event = Event::new(kind, "job", &id, format!("{word} the job “{}”", job.new.title));
        let (services, actor) = (self.clone(), actor.clone());
        self.db.write(move |tx| services.record(tx, &actor, &event)).await
    }
}
