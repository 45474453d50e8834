//! Caches in front of the server (CDNs): whose hostnames they have, and the jobs that purge what has changed there.
//!
//! Guarantees: a purge is asked for in the transaction of the change, and made once visitors are served by it on every node, or a cache would
//! fetch again what was there before. A tenant purges hostnames and tags of its own sites alone, of hostnames that are shown to lead here,
//! and never a whole zone. Whoever publishes does not wait for a provider.

mod changes;
mod known;
mod people;
mod proof;
mod run;
mod served;
mod works;

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::known::Known;
use super::{Services, access};
use crate::{
    domain::{
        Error, Result,
        access::{Actor, Right, TenantScope},
        acme::records::zone_of,
        edge::What,
        job::{NewJob, Queue},
        site::{Site, SiteId},
        site_settings::SiteSettings,
        tenant::TenantId,
    },
    ports::{
        db::{ReadTx, WriteTx},
        edge::{Access, Edge as Port},
    },
    store,
};

pub use self::{
    run::{Ended, Failed, Run},
    works::Works,
};

/// The job that purges caches.
pub const PURGE_EDGE: &str = "purge_edge";
/// So long changes of a whole site are gathered into one purge.
const GATHER: Duration = Duration::from_secs(2);
/// How long the other nodes take at least until they serve a change and have said so: there is no use in looking before.
const ELSEWHERE_MS: i64 = 1_500;
/// Sections of the settings of a site that change no answer which a cache could have.
const QUIET: [&str; 3] = ["guests", "limits", "traffic"];

/// A zone, and who keeps its caches.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The zone, as its provider knows it.
    pub zone: String,
    /// How that one is spoken to.
    pub access: Access,
}

/// The caches of the settings.
pub struct Edge {
    engine: Arc<dyn Port>,
    entries: Vec<Entry>,
    known: Known,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl Edge {
    /// These zones.
    pub fn new(engine: Arc<dyn Port>, entries: Vec<Entry>) -> Self {
        Self { engine, entries, known: Known::default() }
    }

    /// The smallest zone that a hostname is in.
    fn zone(&self, host: &str) -> Option<&str> {
        zone_of(host, self.entries.iter().map(|it| it.zone.as_str()))
    }
}

/// The input of the job.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Purge {
    /// Of which site.
    pub site: SiteId,
    /// Its name.
    pub name: String,
    /// Its hostnames when that was asked for, as far as caches are known to have them: a site that was deleted has none any more.
    pub hosts: Vec<String>,
    /// What.
    pub what: What,
    /// Whether a super admin has changed it, or wants it: they purge any hostname.
    #[serde(default)]
    pub by_operator: bool,
}

impl Services {
    /// The hostnames of a site that caches are known to have.
    fn edge_hosts(&self, tx: &mut ReadTx<'_>, scope: TenantScope, site: &Site) -> Result<Vec<String>> {
        let Some(edge) = &self.edge else { return Ok(Vec::new()) };
        let mut hosts = store::hostnames::list(tx, scope, site.id)?;
        hosts.push(format!("{}.{}", site.name, self.addresses.sites_domain));
        hosts.retain(|it| edge.zone(it).is_some());
        Ok(hosts)
    }

    /// Asks for what caches have of a site to be purged, once this transaction is committed; nothing where none are known to have it. Called
    /// behind [`Services::changes_routes`]: jobs wait for the transactions that have called that.
    pub(super) fn purge(&self, tx: &mut WriteTx<'_>, actor: &Actor, site: &Site, what: What) -> Result<()> {
        let hosts = self.edge_hosts(tx, actor.scope, site)?;
        self.purge_hosts(tx, actor, site, hosts, what)
    }

    /// The same of one hostname, which the site has got or has lost.
    pub(super) fn purge_hostname(
        &self,
        tx: &mut WriteTx<'_>,
        actor: &Actor,
        site: &Site,
        hostname: &str,
    ) -> Result<()> {
        let is_there = self.edge.as_ref().is_some_and(|it| it.zone(hostname).is_some());
        let hosts = if is_there { vec![hostname.to_owned()] } else { Vec::new() };
        self.purge_hosts(tx, actor, site, hosts, What::All)
    }

    /// The same where the settings of a site have changed in a way that its answers have.
    pub(super) fn purge_for_settings(
        &self,
        tx: &mut WriteTx<'_>,
        actor: &Actor,
        site: &Site,
        (before, after): (&SiteSettings, &SiteSettings),
    ) -> Result<()> {
        if after.differing(before).iter().all(|it| QUIET.contains(it)) {
            return Ok(());
        }
        self.purge(tx, actor, site, What::All)
    }

    fn purge_hosts(
        &self,
        tx: &mut WriteTx<'_>,
        actor: &Actor,
        site: &Site,
        hosts: Vec<String>,
        what: What,
    ) -> Result<()> {
        let Some(edge) = self.edge.as_ref().filter(|_| !hosts.is_empty()) else { return Ok(()) };
        let is_all = what == What::All;
        let mut job = self.purge_job(actor, site, hosts, what)?;
        // Publications, which are purged file by file and at once, find themselves done by those before them.
        if is_all {
            let (key, wait) = edge.known.gather(site.id, &job.payload, Instant::now(), || self.ids.next());
            // Behind that of a purge that has begun meanwhile, which may not do what this one is for.
            job.id = self.ids.next().into();
            job.unique = Some(format!("purge {} {key}", site.id));
            let wait_ms = i64::try_from(wait.as_millis()).map_err(Error::internal)?;
            job.run_at_ms = job.run_at_ms.max(job.created_ms.saturating_add(wait_ms));
        }
        self.ask_for_purge(tx, &job)
    }

    /// A job that purges caches as soon as visitors can be served by what it is for.
    fn purge_job(&self, actor: &Actor, site: &Site, hosts: Vec<String>, what: What) -> Result<NewJob> {
        let now = self.clock.now_ms();
        let by_operator = actor.may(Right::ManageServer);
        let purge = Purge { site: site.id, name: site.name.to_string(), hosts, what, by_operator };
        Ok(NewJob {
            id: self.ids.next().into(),
            queue: Queue::Deploy,
            kind: PURGE_EDGE.to_owned(),
            tenant: Some(actor.scope.tenant()),
            payload: serde_json::to_string(&purge).map_err(Error::internal)?,
            priority: 0,
            run_at_ms: if self.node.shares { now.saturating_add(ELSEWHERE_MS) } else { now },
            title: format!("Purge caches of {}", site.name),
            created_ms: now,
            unique: None,
            after: Vec::new(),
        })
    }

    fn ask_for_purge(&self, tx: &mut WriteTx<'_>, job: &NewJob) -> Result<()> {
        store::outbox::enqueue(tx, job)?;
        let (services, id) = (self.clone(), job.id);
        tx.after_commit(move || services.outbox_has(id));
        Ok(())
    }
}

/// Whether answers of a site have tags.
fn is_at_edge(tx: &mut ReadTx<'_>, scope: TenantScope, site: &Site) -> Result<bool> {
    let document = store::site_settings::find(tx, scope, site.id)?;
    document.map_or(Ok(false), |it| Ok(SiteSettings::parse(&it)?.caching.edge))
}

/// Leave for the tenant of a job.
const fn scope_of(tenant: TenantId) -> TenantScope {
    access::task_scope(tenant)
}
