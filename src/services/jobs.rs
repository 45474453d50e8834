//! Jobs as people see them: listed, re-run, cancelled, dismissed.

use crate::{
    domain::{
        Error, Result,
        access::{Actor, Right},
        event::Event,
        job::{Job, JobId, Queue},
        tenant::TenantId,
    },
    ports::queue::{Depth, JobFilter},
};

use super::Services;

impl Services {
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
        let job = self.changeable_job(actor, id).await?;
        self.jobs.rerun(id).await?;
        self.signals().touch();
        self.record_job(actor, &job, "job.rerun", "re-ran").await
    }

    /// Removes a job that has not started; `false` when it runs.
    pub async fn cancel_job(&self, actor: &Actor, id: JobId) -> Result<bool> {
        let job = self.changeable_job(actor, id).await?;
        let removed = self.jobs.cancel(id).await?;
        self.signals().touch();
        if removed {
            self.record_job(actor, &job, "job.cancelled", "cancelled").await?;
        }
        Ok(removed)
    }

    /// Removes an ended job from the list.
    pub async fn dismiss_job(&self, actor: &Actor, id: JobId) -> Result<()> {
        let job = self.changeable_job(actor, id).await?;
        self.jobs.dismiss(id).await?;
        self.signals().touch();
        self.record_job(actor, &job, "job.dismissed", "dismissed").await
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
        self.jobs.pause(queue, paused).await?;
        self.signals().touch();
        let (services, actor) = (self.clone(), actor.clone());
        self.db.write(move |tx| services.record(tx, &actor, &event)).await
    }

    async fn changeable_job(&self, actor: &Actor, id: JobId) -> Result<Job> {
        actor.require(Right::Deploy)?;
        self.get_job(actor, id).await
    }

    /// Records what was done with a job. The queue is another store than the audit log, so it is recorded once it is done:
    /// a sealed log must not say what did not happen.
    async fn record_job(&self, actor: &Actor, job: &Job, kind: &'static str, word: &str) -> Result<()> {
        let event = Event::new(kind, "job", &job.new.id, format!("{word} the job “{}”", job.new.title));
        let (services, actor) = (self.clone(), actor.clone());
        self.db.write(move |tx| services.record(tx, &actor, &event)).await
    }
}
