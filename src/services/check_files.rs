//! The check of what is live, for people who want to know before their visitors do: what it looks at, and what it found.

use serde::{Deserialize, Serialize};

use crate::{
    base::limits::PAGE_ROWS_MAX,
    domain::{
        Error, Result,
        deployment::{Deployment, DeploymentRef},
        event::Event,
        job::{JobId, Queue},
        schedule::{Chore, Template},
        site::{Site, SiteId},
        tenant::TenantId,
    },
    ports::db::ReadTx,
    store,
};

use super::{Services, access};

/// The input of a job that checks files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// Whose files; `None`: those of all sites of the tenant.
    pub site: Option<SiteId>,
}

/// A site and what its visitors are served, if anything.
pub type Served = (Site, Option<Deployment>);

/// What a schedule asks for that checks the files of `site`, or of all.
pub(super) fn template(site: Option<Site>) -> Result<Template> {
    let scope = Scope { site: site.as_ref().map(|it| it.id) };
    let of = site.map_or_else(|| String::from("all sites"), |it| it.name.to_string());
    Ok(Template {
        queue: Queue::Blockchain,
        kind: Chore::CheckFiles.word().to_owned(),
        payload: serde_json::to_string(&scope).map_err(Error::internal)?,
        priority: 0,
        title: format!("Check the files of {of}"),
    })
}

fn served(tx: &mut ReadTx<'_>, tenant: TenantId, site: Site) -> Result<Served> {
    let live = match site.live {
        Some(id) => store::deployments::find(tx, access::task_scope(tenant), site.id, DeploymentRef::Id(id))?,
        None => None,
    };
    Ok((site, live))
}

impl Services {
    /// What visitors of a site are served now; `None` when there is no such site.
    pub async fn find_served(&self, tenant: TenantId, site: SiteId) -> Result<Option<Served>> {
        let read = move |tx: &mut ReadTx<'_>| {
            let found = store::sites::find_by_id(tx, access::task_scope(tenant), site)?;
            found.map(|it| served(tx, tenant, it)).transpose()
        };
        self.db.read(read).await
    }

    /// Some sites of a tenant by name, after the name `after`; none when that was all.
    pub async fn list_served(&self, tenant: TenantId, after: String) -> Result<Vec<Site>> {
        let read =
            move |tx: &mut ReadTx<'_>| store::sites::list(tx, access::task_scope(tenant), &after, PAGE_ROWS_MAX.into());
        self.db.read(read).await
    }

    /// Writes into the audit log what a check has found damaged, once for a job and a deployment, however often the job is tried.
    pub async fn record_damage(
        &self,
        tenant: TenantId,
        job: JobId,
        (site, deployment): (&Site, &Deployment),
        text: String,
    ) -> Result<()> {
        let (services, name, effect) = (self.clone(), site.name.clone(), format!("damage of {}", deployment.id));
        let written = self.db.write(move |tx| {
            if store::effects::take(tx, access::task_scope(tenant), job, &effect, services.clock.now_ms())? {
                let event = Event::new("site.damaged", "site", &name, text);
                services.record(tx, &services.actor_system(tenant, "check"), &event)?;
            }
            Ok(())
        });
        written.await
    }
}
