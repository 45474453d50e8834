//! Caches in front of the server (CDNs): whose hostnames they have, and the jobs that purge what has changed there.
//!
//! Guarantees: a purge is asked for in the transaction of the change, and made once visitors are served by it, or a cache would fetch again
//! what was there before. A tenant purges hostnames and tags of its own sites alone, and never a whole zone. Whoever publishes does not wait
//! for a provider.

mod changes;
mod run;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{Services, access};
use crate::{
    domain::{
        Error, Result,
        access::{Actor, Right, TenantScope},
        acme::records::zone_of,
        edge::{self, What},
        event::Event,
        job::{JobId, NewJob, Queue},
        site::{Site, SiteId, SiteName},
        site_settings::SiteSettings,
    },
    ports::{
        db::{ReadTx, WriteTx},
        edge::{Access, Edge as Port},
    },
    store,
};

pub use self::run::Failed;

/// The job that purges caches.
pub const PURGE_EDGE: &str = "purge_edge";
/// How long the other nodes take until they serve a change: they look for news four times a second.
const ELSEWHERE_MS: i64 = 1_500;
/// Purges that the people and programs of one tenant ask for in ten minutes: providers count all calls of an operator together.
const ASKED_MAX: u32 = 60;
const ASKED_WINDOW_MS: i64 = 10 * 60_000;
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
    /// Up to which publication caches of a site were purged by this process, and for which hostnames.
    done: Mutex<HashMap<SiteId, (i64, Vec<String>)>>,
}

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edge").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl Edge {
    /// These zones.
    pub fn new(engine: Arc<dyn Port>, entries: Vec<Entry>) -> Self {
        Self { engine, entries, done: Mutex::default() }
    }

    fn has_done(&self, site: SiteId, to: i64, hosts: &[String]) -> bool {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.get(&site).is_some_and(|it| it.0 >= to && hosts.iter().all(|host| it.1.contains(host)))
    }

    fn did(&self, site: SiteId, through: i64, hosts: &[String]) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.get(&site).is_none_or(|it| it.0 <= through) {
            done.insert(site, (through, hosts.to_vec()));
        }
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

    /// Asks for what caches have of a site to be purged, once this transaction is committed; nothing where none are known to have it.
    pub(super) fn purge(
        &self,
        tx: &mut WriteTx<'_>,
        scope: TenantScope,
        site: &Site,
        what: What,
    ) -> Result<Option<JobId>> {
        let hosts = self.edge_hosts(tx, scope, site)?;
        self.purge_hosts(tx, scope, site, hosts, what)
    }

    /// The same of one hostname, which the site has got or has lost.
    pub(super) fn purge_hostname(
        &self,
        tx: &mut WriteTx<'_>,
        scope: TenantScope,
        site: &Site,
        hostname: &str,
    ) -> Result<()> {
        let is_there = self.edge.as_ref().is_some_and(|it| it.zone(hostname).is_some());
        let hosts = if is_there { vec![hostname.to_owned()] } else { Vec::new() };
        self.purge_hosts(tx, scope, site, hosts, What::All).map(drop)
    }

    fn purge_hosts(
        &self,
        tx: &mut WriteTx<'_>,
        scope: TenantScope,
        site: &Site,
        hosts: Vec<String>,
        what: What,
    ) -> Result<Option<JobId>> {
        if hosts.is_empty() {
            return Ok(None);
        }
        let now = self.clock.now_ms();
        let purge = Purge { site: site.id, name: site.name.to_string(), hosts, what };
        let job = NewJob {
            id: self.ids.next().into(),
            queue: Queue::Deploy,
            kind: PURGE_EDGE.to_owned(),
            tenant: Some(scope.tenant()),
            payload: serde_json::to_string(&purge).map_err(Error::internal)?,
            priority: 0,
            run_at_ms: if self.node.shares { now.saturating_add(ELSEWHERE_MS) } else { now },
            title: format!("Purge caches of {}", site.name),
            created_ms: now,
            unique: None,
            after: Vec::new(),
        };
        store::outbox::enqueue(tx, &job)?;
        let services = self.clone();
        tx.after_commit(move || services.outbox_has(job.id));
        Ok(Some(job.id))
    }

    /// The same where the settings of a site have changed in a way that its answers have.
    pub(super) fn purge_for_settings(
        &self,
        tx: &mut WriteTx<'_>,
        scope: TenantScope,
        site: &Site,
        (before, after): (&SiteSettings, &SiteSettings),
    ) -> Result<()> {
        if after.differing(before).iter().all(|it| QUIET.contains(it)) {
            return Ok(());
        }
        self.purge(tx, scope, site, What::All).map(drop)
    }

    /// The hostnames of a site that caches are known to have, for people.
    pub async fn list_edge_hosts(&self, actor: &Actor, name: &SiteName) -> Result<Vec<String>> {
        let scope = actor.require(Right::Read)?;
        if self.edge.is_none() {
            return Ok(Vec::new());
        }
        let (services, name) = (self.clone(), name.clone());
        let read = move |tx: &mut ReadTx<'_>| {
            let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
            services.edge_hosts(tx, scope, &site)
        };
        self.db.read(read).await
    }

    /// Has caches purged: of these addresses and tags of a site, or of all that it has when there are none. The job that does it.
    pub async fn purge_site(
        &self,
        actor: &Actor,
        name: &SiteName,
        urls: Vec<String>,
        tags: Vec<String>,
    ) -> Result<JobId> {
        let scope = actor.require(Right::Deploy)?;
        if urls.len() + tags.len() > edge::NAMED_MAX {
            let text = format!(
                "At most {} addresses and tags are purged at once. Name fewer, or none to purge the whole site.",
                edge::NAMED_MAX
            );
            return Err(Error::invalid("edge_many", text).on("urls"));
        }
        tags.iter().try_for_each(|it| edge::check_tag(it))?;
        let named = urls.iter().map(|it| edge::check_url(it)).collect::<Result<Vec<_>>>()?;
        let (services, actor, name) = (self.clone(), actor.clone(), name.clone());
        let asked = format!("purge {}", scope.tenant());
        let (reading, of) = (self.clone(), name.clone());
        let read = move |tx: &mut ReadTx<'_>| {
            let site = store::sites::find(tx, scope, &of)?.ok_or_else(|| Error::not_found("site"))?;
            Ok((reading.edge_hosts(tx, scope, &site)?, is_at_edge(tx, scope, &site)?))
        };
        let (hosts, at_edge) = self.db.read(read).await?;
        check(&hosts, &named, !tags.is_empty() && !at_edge)?;
        self.windows().take(&asked, ASKED_MAX, ASKED_WINDOW_MS, "purges", "Caches were purged too often.").await?;
        let what = if urls.is_empty() && tags.is_empty() { What::All } else { What::Named { urls, tags } };
        let written = self.db.write(move |tx| {
            let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
            let words = match &what {
                What::Named { urls, tags } => format!("{} addresses and {} tags", urls.len(), tags.len()),
                _ => String::from("all"),
            };
            let job = services.purge(tx, scope, &site, what)?.ok_or_else(none)?;
            let text = format!("had caches of {name} purged ({words})");
            services.record(tx, &actor, &Event::new("site.purged", "site", &name, text))?;
            Ok(job)
        });
        let job = written.await?;
        Ok(job)
    }

    /// What of the setting `caching.edge` does not do what it seems to.
    pub(super) async fn doubt_of_caching(
        &self,
        actor: &Actor,
        name: &SiteName,
        settings: &SiteSettings,
    ) -> Result<Option<String>> {
        if !settings.caching.edge || !self.list_edge_hosts(actor, name).await?.is_empty() {
            return Ok(None);
        }
        let hours = settings.caching.edge_max_age_s.div_ceil(3_600);
        Ok(Some(format!(
            "Nobody purges caches of this site: none of its hostnames is in a zone of [[edge]] in the settings of the server. What a cache \
             keeps stays as it was for up to {hours} hours after a publish."
        )))
    }
}

/// Whether answers of a site have tags.
fn is_at_edge(tx: &mut ReadTx<'_>, scope: TenantScope, site: &Site) -> Result<bool> {
    let document = store::site_settings::find(tx, scope, site.id)?;
    document.map_or(Ok(false), |it| Ok(SiteSettings::parse(&it)?.caching.edge))
}

/// Refuses what is not the site's. `named` are the hosts of addresses.
fn check(hosts: &[String], named: &[Option<String>], lacks_tags: bool) -> Result<()> {
    if hosts.is_empty() {
        return Err(none());
    }
    if let Some(other) = named.iter().flatten().find(|it| !hosts.contains(it)) {
        let text = format!(
            "`{}` is no hostname of this site that caches are known to have. They have: {}.",
            other.escape_debug(),
            hosts.join(", ")
        );
        return Err(Error::invalid("edge_host", text).on("urls"));
    }
    if lacks_tags {
        let text = "The answers of this site have no tags. Set `caching.edge` to true first, or name addresses.";
        return Err(Error::conflict("edge_no_tags", text).on("tags"));
    }
    Ok(())
}

fn none() -> Error {
    let text = "None of the site's hostnames is in a zone whose caches this server knows. Its operator adds the zone as [[edge]] to the \
                settings of the server.";
    Error::conflict("edge_none", text)
}

/// Leave for the tenant of a job.
fn scope_of(tenant: crate::domain::tenant::TenantId) -> TenantScope {
    access::task_scope(tenant)
}
