//! What people ask of caches in front of the server: which hostnames they have, and that they are purged.

use super::{PURGE_EDGE, Purge, Services, is_at_edge, scope_of};
use crate::{
    domain::{
        Error, Result,
        access::{Actor, Right},
        edge::{self, What},
        event::Event,
        job::{Job, JobId, NewJob, State},
        site::SiteName,
        site_settings::SiteSettings,
        tenant::TenantId,
    },
    ports::db::ReadTx,
    store,
};

/// Purges that the people and programs of one tenant ask for in ten minutes: providers count all calls of an operator together.
const ASKED_MAX: u32 = 60;
const ASKED_WINDOW_MS: i64 = 10 * 60_000;
/// Hostnames that one sentence names.
const LISTED_MAX: usize = 100;

impl Services {
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
        let (services, of) = (self.clone(), name.clone());
        let read = move |tx: &mut ReadTx<'_>| {
            let site = store::sites::find(tx, scope, &of)?.ok_or_else(|| Error::not_found("site"))?;
            Ok((services.edge_hosts(tx, scope, &site)?, is_at_edge(tx, scope, &site)?))
        };
        let (known, at_edge) = self.db.read(read).await?;
        let Some(caches) = self.edge.as_ref().filter(|_| !known.is_empty()) else { return Err(none()) };
        let asked = format!("purge {}", scope.tenant());
        self.windows().take(&asked, ASKED_MAX, ASKED_WINDOW_MS, "purges", "Caches were purged too often.").await?;
        let proved = self.proved_hosts(caches, scope.tenant(), actor.may(Right::ManageServer), &known).await?;
        if proved.elsewhere.len() == known.len() {
            return Err(Error::conflict("edge_unproved", unproved(&known)));
        }
        let may_be: Vec<String> = known.iter().filter(|it| !proved.elsewhere.contains(it)).cloned().collect();
        check(&may_be, &named, !tags.is_empty() && !at_edge)?;
        // Also those that lead elsewhere, which the job tells: who has named none of them means all that the site has.
        let hosts = if tags.is_empty() { concerned(known, &named) } else { known };
        let what = if urls.is_empty() && tags.is_empty() { What::All } else { What::Named { urls, tags } };
        let (services, actor, name) = (self.clone(), actor.clone(), name.clone());
        let written = self.db.write(move |tx| {
            let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
            let words = match &what {
                What::Named { urls, tags } => format!("{} addresses and {} tags", urls.len(), tags.len()),
                _ => String::from("all"),
            };
            let mut own = services.edge_hosts(tx, scope, &site)?;
            own.retain(|it| hosts.contains(it));
            if own.is_empty() {
                return Err(none());
            }
            let job = services.purge_job(&actor, &site, own, what)?;
            services.ask_for_purge(tx, &job)?;
            let text = format!("had caches of {name} purged ({words})");
            services.record(tx, &actor, &Event::new("site.purged", "site", &name, text))?;
            Ok(job.id)
        });
        let job = written.await?;
        Ok(job)
    }

    /// Purges once more what a dead job was to purge, for who asks for that now: with their rights, and on the hostnames that the site has
    /// now. A job of its own, which is theirs. `None`: it is another kind of job, or it has not died.
    pub(in super::super) async fn purge_again(&self, actor: &Actor, dead: &Job) -> Result<Option<JobId>> {
        if dead.new.kind != PURGE_EDGE || dead.state != State::Failed {
            return Ok(None);
        }
        let said = serde_json::from_str::<Purge>(&dead.new.payload).ok();
        let Some((tenant, said)) = dead.new.tenant.zip(said) else { return Ok(None) };
        let (services, of) = (self.clone(), said.clone());
        let hosts = self.db.read(move |tx| services.hosts_again(tx, tenant, &of)).await?;
        if hosts.is_empty() {
            let text = "The hostnames of this job are not this site's any more. Remove the job from the list.";
            return Err(Error::conflict("edge_none", text));
        }
        let purge = Purge { hosts, by_operator: actor.may(Right::ManageServer), ..said };
        let now_ms = self.clock.now_ms();
        let job = NewJob {
            id: self.ids.next().into(),
            created_ms: now_ms,
            run_at_ms: now_ms,
            payload: serde_json::to_string(&purge).map_err(Error::internal)?,
            unique: None,
            after: Vec::new(),
            ..dead.new.clone()
        };
        let (services, id) = (self.clone(), job.id);
        self.db.write(move |tx| services.ask_for_purge(tx, &job)).await?;
        // It is in the way of nothing if this fails.
        self.jobs.dismiss(dead.new.id).await?;
        Ok(Some(id))
    }

    /// The hostnames of a job that is made once more: those that nobody else has got, and all that the site has now. One that was about a
    /// hostname that the site has lost stays with that.
    fn hosts_again(&self, tx: &mut ReadTx<'_>, tenant: TenantId, said: &Purge) -> Result<Vec<String>> {
        let mut hosts = self.kept_hosts(tx, tenant, said)?;
        let site = store::sites::find_by_id(tx, scope_of(tenant), said.site)?;
        let now = site.map_or_else(|| Ok(Vec::new()), |it| self.edge_hosts(tx, scope_of(tenant), &it))?;
        if now.iter().any(|it| said.hosts.contains(it)) {
            hosts.extend(now.into_iter().filter(|it| !said.hosts.contains(it)));
        }
        let What::Named { urls, tags } = &said.what else { return Ok(hosts) };
        let named = urls.iter().map(|it| edge::check_url(it)).collect::<Result<Vec<_>>>()?;
        Ok(if tags.is_empty() { concerned(hosts, &named) } else { hosts })
    }

    /// What of the setting `caching.edge` does not do what it seems to.
    pub(in super::super) async fn doubt_of_caching(
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

/// The hostnames that addresses are about, which have these hosts: a path is one of each.
fn concerned(hosts: Vec<String>, named: &[Option<String>]) -> Vec<String> {
    if named.is_empty() || named.contains(&None) {
        return hosts;
    }
    hosts.into_iter().filter(|host| named.iter().flatten().any(|it| it == host)).collect()
}

/// Refuses what is not the site's. `named` are the hosts of addresses.
fn check(hosts: &[String], named: &[Option<String>], lacks_tags: bool) -> Result<()> {
    if let Some(other) = named.iter().flatten().find(|it| !hosts.contains(it)) {
        let text = format!(
            "`{}` is no hostname of this site that caches are known to have and that is shown to lead to this server. These are: {}.",
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

/// Says of hostnames why their caches are not purged yet.
pub(super) fn unknown(hosts: &[(String, String)]) -> String {
    let all: Vec<String> = hosts.iter().map(|(host, why)| format!("{host} ({why})")).collect();
    format!(
        "The caches of these hostnames were not purged, since it could not be found out whether they lead to this server: {}.",
        listed(&all)
    )
}

/// So many of them as a person reads.
fn listed(hosts: &[String]) -> String {
    match hosts.get(..LISTED_MAX) {
        Some(first) if hosts.len() > LISTED_MAX => {
            format!("{} and {} more", first.join(", "), hosts.len() - LISTED_MAX)
        }
        _ => hosts.join(", "),
    }
}

/// Says of hostnames why their caches are not purged, and what to do.
pub(super) fn unproved(hosts: &[String]) -> String {
    format!(
        "Nothing shows that {} leads to this server, so that its caches are not purged: this server has got no certificate for it, and whoever \
         visits it in clear does not come here. `chainhost doctor` says why; let it lead here, and try it again.",
        listed(hosts)
    )
}
