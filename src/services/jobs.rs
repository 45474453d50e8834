//! Jobs as people see them: listed, re-run, cancelled, dismissed; and queues: paused, drained, resumed.

use std::{collections::HashSet, time::Duration};

use tokio::time::{self, Instant};

use crate::{
    domain::{
        Error, Result,
        access::{Actor, Right},
        event::Event,
        job::{Job, JobId, NewJob, Queue},
        tenant::TenantId,
    },
    ports::queue::{Depth, JobFilter},
    store,
};

use super::{Services, access};

/// During a drain, running jobs are counted so often when nothing is told of them: they may run on other nodes.
const LOOK: Duration = Duration::from_secs(1);
/// The longest wait of one call: the client asks again, and neither end takes the other for dead.
pub const DRAIN_WAIT_MAX: Duration = Duration::from_mins(1);

/// What shall run nothing any more.
#[derive(Clone, Copy)]
enum Drained {
    Queue(Queue),
    Tenant(TenantId),
}

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

    /// Whether the jobs of the actor's tenant are paused.
    pub async fn are_jobs_paused(&self, actor: &Actor) -> Result<bool> {
        let scope = actor.require(Right::Read)?;
        self.is_tenant_paused(scope.tenant()).await
    }

    /// How many jobs of the actor's tenant run, in all queues: none, once what was paused is drained.
    pub async fn count_running_jobs(&self, actor: &Actor) -> Result<u64> {
        let scope = actor.require(Right::Read)?;
        Ok(self.jobs.depths(Some(scope.tenant())).await?.iter().map(|it| it.running).sum())
    }

    /// Which of these tenants are paused, as far as the actor may know: their own, or any for a super admin.
    pub async fn paused_tenants(&self, actor: &Actor, of: HashSet<TenantId>) -> Result<HashSet<TenantId>> {
        let visible = Self::visible(actor)?;
        let mut paused = HashSet::new();
        for tenant in of.into_iter().filter(|it| visible.is_none_or(|own| own == *it)) {
            if self.is_tenant_paused(tenant).await? {
                paused.insert(tenant);
            }
        }
        Ok(paused)
    }

    async fn is_tenant_paused(&self, tenant: TenantId) -> Result<bool> {
        Ok(self.jobs.depths(Some(tenant)).await?.iter().any(|it| it.tenant_paused))
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
        if self.purge_again(actor, &job).await?.is_none() {
            self.jobs.rerun(id).await?;
            self.keep_rerun(&job).await?;
        }
        self.signals().touch();
        self.record_job(actor, &job, "job.rerun", "re-ran").await
    }

    /// The outbox has let go of a job that had failed; a queue that may lose it needs its row again. Once it runs, and not before:
    /// until then the queue says that it has ended.
    async fn keep_rerun(&self, job: &Job) -> Result<()> {
        // Programs of others may have made one that the product does not ask for.
        if self.jobs.keeps() || job.new.check().is_err() {
            return Ok(());
        }
        let (leave, now_ms) = (access::server_scope(), self.clock.now_ms());
        // Whatever its time was: a job that was brought from another queue as a dead one has one that never comes.
        let job = NewJob { run_at_ms: job.new.created_ms.min(job.new.run_at_ms), ..job.new.clone() };
        self.db.write(move |tx| store::outbox::keep_handed(tx, leave, &job, now_ms)).await
    }

    /// Removes a job that has not started; `false` when it runs and was told to end.
    pub async fn cancel_job(&self, actor: &Actor, id: JobId) -> Result<bool> {
        let job = self.changeable_job(actor, id).await?;
        let removed = self.jobs.cancel(id).await?;
        self.signals().touch();
        self.record_job(actor, &job, "job.cancelled", "cancelled").await?;
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

    /// Pauses a queue, and waits until none of its jobs runs, for `wait` and a minute at most; how many still run. `Conflict`
    /// with the code `queue_resumed` when it was started again meanwhile.
    pub async fn drain_queue(&self, actor: &Actor, queue: Queue, wait: Duration) -> Result<u64> {
        self.change_queue_paused(actor, queue, true).await?;
        self.wait_for_none(Drained::Queue(queue), wait).await
    }

    /// Stops or starts the claims of all jobs of the actor's tenant, in all queues. What runs goes on; what waits keeps its
    /// place. It stays so over a restart.
    pub async fn change_jobs_paused(&self, actor: &Actor, paused: bool) -> Result<()> {
        let tenant = actor.require(Right::ManageTenant)?.tenant();
        if self.is_tenant_paused(tenant).await? == paused {
            return Ok(());
        }
        let (kind, word) = if paused { ("jobs.paused", "paused") } else { ("jobs.resumed", "resumed") };
        let event = Event::new(kind, "tenant", &tenant, format!("{word} all jobs of the tenant"));
        self.jobs.pause_tenant(tenant, paused).await?;
        self.signals().touch();
        let (services, actor) = (self.clone(), actor.clone());
        self.db.write(move |tx| services.record(tx, &actor, &event)).await
    }

    /// As [`Services::drain_queue`], for the jobs of the actor's tenant in all queues.
    pub async fn drain_jobs(&self, actor: &Actor, wait: Duration) -> Result<u64> {
        self.change_jobs_paused(actor, true).await?;
        let tenant = actor.require(Right::ManageTenant)?.tenant();
        self.wait_for_none(Drained::Tenant(tenant), wait).await
    }

    /// Waits until nothing of it runs, or `wait` is over, or the server stops; how many run then.
    async fn wait_for_none(&self, of: Drained, wait: Duration) -> Result<u64> {
        let ends = Instant::now() + wait.min(DRAIN_WAIT_MAX);
        let mut changed = self.signals().changed.subscribe();
        loop {
            changed.borrow_and_update();
            let running = self.running(of).await?;
            if running == 0 || Instant::now() >= ends || self.tasks.is_stopping() {
                return Ok(running);
            }
            tokio::select! {
                // An error means that the process ends.
                _ = changed.changed() => {}
                () = time::sleep_until(ends.min(Instant::now() + LOOK)) => {}
                () = self.tasks.stopping() => {}
            }
        }
    }

    async fn running(&self, of: Drained) -> Result<u64> {
        match of {
            Drained::Queue(queue) => {
                let depths = self.jobs.depths(None).await?;
                let found = Queue::ALL.into_iter().zip(depths).find(|(it, depth)| *it == queue && depth.paused);
                found.map(|(_, depth)| depth.running).ok_or_else(|| resumed("The queue was"))
            }
            Drained::Tenant(tenant) => {
                let depths = self.jobs.depths(Some(tenant)).await?;
                if !depths.iter().any(|it| it.tenant_paused) {
                    return Err(resumed("The jobs of this tenant were"));
                }
                Ok(depths.iter().map(|it| it.running).sum())
            }
        }
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

/// A drain came to nothing.
fn resumed(what: &str) -> Error {
    Error::conflict("queue_resumed", format!("{what} started again before those that ran had ended."))
}
