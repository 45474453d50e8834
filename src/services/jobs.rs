//! Jobs as people see them, and the relay that hands the outbox to the queue.

use std::collections::BTreeMap;

use crate::{
    base::ids::Id,
    domain::{
        Error, Kind, Result,
        access::{Actor, Right},
        event::Event,
        job::{Job, JobId, NewJob},
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
    /// queue takes no id twice, so that a crash in between changes nothing. What the queue refuses holds up nobody else: a
    /// job that nobody could ever take is dropped and logged, one of a tenant that has too many waits here.
    pub async fn relay_outbox(&self) -> Result<usize> {
        let leave = access::server_scope();
        let limit = i64::try_from(RELAYED_AT_ONCE).unwrap_or(i64::MAX);
        let (mut after, mut relayed) = (JobId(Id::NIL), 0);
        loop {
            let rows = self.db.read(move |tx| store::outbox::list(tx, leave, after, limit)).await?;
            let Some(last) = rows.last() else { return Ok(relayed) };
            after = last.id;
            let ids = self.hand_over(rows).await?;
            relayed += ids.len();
            self.db.write(move |tx| store::outbox::delete(tx, leave, &ids)).await?;
            self.signals().touch();
        }
    }

    /// Hands jobs to the queue; which of them are settled.
    async fn hand_over(&self, rows: Vec<NewJob>) -> Result<Vec<JobId>> {
        let ids: Vec<JobId> = rows.iter().map(|it| it.id).collect();
        match self.jobs.enqueue(rows.clone()).await {
            Ok(_) => return Ok(ids),
            Err(error) if is_refusal(&error) => {}
            Err(error) => return Err(error),
        }
        // All or none were taken: one of them is refused. It is found by tenant, then one by one.
        let mut by_tenant: BTreeMap<Option<TenantId>, Vec<NewJob>> = BTreeMap::new();
        for row in rows {
            by_tenant.entry(row.tenant).or_default().push(row);
        }
        let mut settled = Vec::new();
        for rows in by_tenant.into_values() {
            match self.jobs.enqueue(rows.clone()).await {
                Ok(_) => settled.extend(rows.iter().map(|it| it.id)),
                Err(error) if is_refusal(&error) => self.hand_over_singly(rows, &mut settled).await?,
                Err(error) => return Err(error),
            }
        }
        Ok(settled)
    }

    async fn hand_over_singly(&self, rows: Vec<NewJob>, settled: &mut Vec<JobId>) -> Result<()> {
        for row in rows {
            let id = row.id;
            match self.jobs.enqueue(vec![row]).await {
                Ok(_) => settled.push(id),
                Err(error) if error.kind == Kind::TooMany => {
                    tracing::warn!(job = %id, %error, "jobs wait in the outbox for their tenant's turn");
                    // Those behind it are of the same tenant.
                    return Ok(());
                }
                Err(error) if is_refusal(&error) => {
                    tracing::error!(job = %id, %error, "the queue can never take this job; it is dropped");
                    settled.push(id);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
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

    async fn change_job(&self, actor: &Actor, id: JobId, kind: &'static str, word: &str) -> Result<()> {
        actor.require(Right::Deploy)?;
        let job = self.get_job(actor, id).await?;
        let event = Event::new(kind, "job", &id, format!("{word} the job “{}”", job.new.title));
        let (services, actor) = (self.clone(), actor.clone());
        self.db.write(move |tx| services.record(tx, &actor, &event)).await
    }
}

/// The queue is well, and does not want this.
const fn is_refusal(error: &Error) -> bool {
    matches!(error.kind, Kind::Invalid | Kind::TooLarge | Kind::TooMany)
}
