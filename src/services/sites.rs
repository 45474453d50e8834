//! Sites and their hostnames: made, listed, taken down, deleted.

use serde::{Deserialize, Serialize};

use crate::{
    base::limits,
    domain::{
        Error, Result,
        access::{Actor, Right, TenantScope},
        deployment::Deployment,
        event::Event,
        hostname::Hostname,
        node::Topic,
        site::{Site, SiteName},
    },
    ports::{
        cache::{Key, Tag, ttl},
        db::{ReadTx, WriteTx},
    },
    store,
};

use super::{Services, publish::Move, site_settings};

/// Hostnames of one site: each needs a certificate.
const HOSTNAMES_MAX: usize = 100;

/// About what a site takes in the cache.
const ROW_BYTES: usize = 600;

/// A site with what pages and the API show of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SiteView {
    /// The site.
    pub site: Site,
    /// Its own hostnames, besides the one below the sites' domain.
    pub hostnames: Vec<String>,
    /// The live deployment.
    pub live: Option<Deployment>,
    /// When it was published.
    pub published_ms: Option<i64>,
    /// How many deployments are kept.
    pub deployments: i64,
    /// Its address.
    pub url: String,
}

/// A value that is changed, or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Change {
    /// It stays as it is.
    #[default]
    Keep,
    /// It becomes this, or nothing.
    To(Option<String>),
}

impl Change {
    /// The text that it is changed to, when there is one.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Keep => None,
            Self::To(value) => value.as_deref(),
        }
    }
}

/// What of a site is changed.
#[derive(Clone, Debug, Default)]
pub struct SiteChanges {
    /// Taken down for a reason that visitors read, or put back.
    pub taken_down: Change,
    /// Deployed from a folder on this server, or no longer.
    pub watch_folder: Change,
}

impl Services {
    /// Makes a site.
    pub async fn create_site(&self, actor: &Actor, name: &str) -> Result<SiteView> {
        let scope = actor.require(Right::CreateSites)?;
        let name = SiteName::parse(name)?;
        if self.addresses.is_panel(&format!("{name}.{}", self.addresses.sites_domain)) {
            let text = format!("A site `{name}` would have the address of this panel. Choose another name.");
            return Err(Error::invalid("site_name_reserved", text).on("name"));
        }
        let (services, actor, wanted) = (self.clone(), actor.clone(), name.clone());
        let made = self.db.write(move |tx| {
            let now = services.clock.now_ms();
            if let Some(holder) = store::sites::find_name(tx, &wanted)? {
                check_free(scope, &wanted, &holder, now)?;
            }
            let site = Site {
                id: services.ids.next().into(),
                name: wanted,
                created_ms: now,
                live: None,
                taken_down: None,
                watch_folder: None,
            };
            services.changes_routes(tx, scope)?;
            store::sites::take_name(tx, scope, &site.name, site.id)?;
            store::sites::insert(tx, scope, &site)?;
            services.tell(tx, Topic::Certificates)?;
            let text = format!("made the site {}", site.name);
            services.record(tx, &actor, &Event::new("site.created", "site", &site.name, text))?;
            services.view(tx, scope, &site.name)
        });
        let made = made.await?;
        self.served(scope).await;
        Ok(made)
    }

    /// One site.
    pub async fn get_site(&self, actor: &Actor, name: &SiteName) -> Result<SiteView> {
        let scope = actor.require(Right::Read)?;
        let (services, name) = (self.clone(), name.clone());
        self.db.read(move |tx| services.view(tx, scope, &name)).await
    }

    /// A page of the tenant's sites by name, after the name `after`.
    pub async fn list_sites(&self, actor: &Actor, after: &str, limit: u32) -> Result<Vec<SiteView>> {
        let scope = actor.require(Right::Read)?;
        let key = Key { what: "sites", tenant: Some(scope.tenant()), which: format!("{limit} {after}") };
        let (services, after) = (self.clone(), after.to_owned());
        let load = || async move {
            let reading = services.clone();
            let read = move |tx: &mut ReadTx<'_>| -> Result<Vec<SiteView>> {
                let found = store::sites::list_shown(tx, scope, &after, limit.into())?;
                Ok(found.into_iter().map(|it| reading.listed(it)).collect())
            };
            let found = services.read_to_keep(scope, read).await?;
            let weight = u32::try_from(found.len() * ROW_BYTES).unwrap_or(u32::MAX);
            Ok((found, weight))
        };
        let found = self.cache.get_or(key, Tag::Sites(scope.tenant()), ttl::SITES, load).await?;
        Ok((*found).clone())
    }

    /// Reads what will be kept in the cache. What all nodes will be shown for minutes must not be a replica's, which may be behind.
    pub(super) async fn read_to_keep<T, F>(&self, scope: TenantScope, read: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut ReadTx<'_>) -> Result<T> + Send + Sync + 'static,
    {
        match self.cache.shared() {
            Some(_) => self.db.read(read).await,
            None => self.db.read_near(scope, read).await,
        }
    }

    fn listed(&self, it: store::sites::Listed) -> SiteView {
        SiteView {
            url: self.addresses.site(&it.site.name),
            site: it.site,
            hostnames: it.hostnames,
            live: it.live,
            published_ms: it.published_ms,
            deployments: it.deployments,
        }
    }

    /// A site as lists show it.
    fn view(&self, tx: &mut ReadTx<'_>, scope: TenantScope, name: &SiteName) -> Result<SiteView> {
        let found = store::sites::find_shown(tx, scope, name)?.ok_or_else(|| Error::not_found("site"))?;
        Ok(self.listed(found))
    }

    /// Deletes a site with its deployments. Its name rests for 30 days, for others; its history stays.
    pub async fn delete_site(&self, actor: &Actor, name: &SiteName) -> Result<()> {
        let scope = actor.require(Right::ManageSites)?;
        let (services, actor, name) = (self.clone(), actor.clone(), name.clone());
        self.db
            .write(move |tx| {
                let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
                if site.live.is_some() {
                    services.move_live(tx, &actor, &site, None, Move::Takedown)?;
                }
                store::sites::release_name(tx, scope, &name, services.clock.now_ms())?;
                services.changes_routes(tx, scope)?;
                store::sites::delete(tx, scope, site.id)?;
                services.tell(tx, Topic::Watch)?;
                let text = format!("deleted the site {name}");
                services.record(tx, &actor, &Event::new("site.deleted", "site", &name, text))
            })
            .await?;
        self.signals().watch.notify_one();
        self.served(scope).await;
        Ok(())
    }

    /// Takes a site down with a reason that visitors read, or with `None` puts it back.
    pub async fn change_taken_down(&self, actor: &Actor, name: &SiteName, reason: Option<String>) -> Result<()> {
        let changes = SiteChanges { taken_down: Change::To(reason), ..SiteChanges::default() };
        self.change_site(actor, name, changes).await.map(drop)
    }

    /// Deploys a site from a folder on this server whenever it changes, or with `None` no longer.
    pub async fn change_watch_folder(&self, actor: &Actor, name: &SiteName, folder: Option<String>) -> Result<()> {
        let changes = SiteChanges { watch_folder: Change::To(folder), ..SiteChanges::default() };
        self.change_site(actor, name, changes).await.map(drop)
    }

    /// Changes all that is given, or nothing. The site as the change leaves it: of the same transaction, so that what is saved is
    /// never answered with the failure of a look behind it.
    pub async fn change_site(&self, actor: &Actor, name: &SiteName, changes: SiteChanges) -> Result<SiteView> {
        let SiteChanges { taken_down, watch_folder } = changes;
        let (shows, watches) = (taken_down != Change::Keep, watch_folder != Change::Keep);
        // A folder of the server is read with the server's rights, so only its admin may name one.
        let scope = actor.require(if watches { Right::ManageServer } else { Right::ManageSites })?;
        if shows {
            actor.require(Right::ManageSites)?;
        }
        if taken_down.text().is_some_and(|it| it.trim().is_empty() || it.len() > 500) {
            let text = "Say in 1 to 500 characters why, since visitors read it.";
            return Err(Error::invalid("takedown_reason", text).on("reason"));
        }
        if let Some(folder) = watch_folder.text() {
            self.check_watched(folder).await?;
        }
        let (services, actor, name) = (self.clone(), actor.clone(), name.clone());
        let written = self.db.write(move |tx| {
            let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
            if let Change::To(reason) = &taken_down
                && site.taken_down != *reason
            {
                services.hide(tx, &actor, &site, reason.as_deref())?;
            }
            if let Change::To(folder) = &watch_folder
                && site.watch_folder != *folder
            {
                services.watch(tx, &actor, &site, folder.as_deref())?;
            }
            services.view(tx, scope, &name)
        });
        let site = written.await?;
        if watches {
            self.look_at_once(scope.tenant(), &site.site).await;
            self.signals().watch.notify_one();
        }
        if shows {
            self.shown(scope).await;
        }
        Ok(site)
    }

    fn watch(&self, tx: &mut WriteTx<'_>, actor: &Actor, site: &Site, folder: Option<&str>) -> Result<()> {
        store::sites::change_watch_folder(tx, actor.scope, site.id, folder)?;
        self.changes_sites(tx, actor.scope);
        self.tell(tx, Topic::Watch)?;
        let text = match folder {
            Some(folder) => format!("deploys {} from {folder} from now on", site.name),
            None => format!("stopped deploying {} from a folder", site.name),
        };
        self.record(tx, actor, &Event::new("site.watch_changed", "site", &site.name, text))
    }

    /// Gives a hostname to a site.
    pub async fn add_hostname(&self, actor: &Actor, name: &SiteName, hostname: &str) -> Result<()> {
        let scope = actor.require(Right::ManageSites)?;
        let hostname = Hostname::parse(hostname)?;
        let own = hostname.as_str();
        let below = own.strip_suffix(&self.addresses.sites_domain).is_some_and(|it| it.is_empty() || it.ends_with('.'));
        if below || own == self.addresses.panel_host {
            let text = format!("`{hostname}` belongs to the host itself. Use a name of your own domain.");
            return Err(Error::invalid("hostname_reserved", text).on("hostname"));
        }
        let (services, actor, name) = (self.clone(), actor.clone(), name.clone());
        self.db
            .write(move |tx| {
                let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
                match store::hostnames::find(tx, &hostname)? {
                    Some((_, holder)) if holder == site.id => return Ok(()),
                    Some(_) => {
                        let text = format!("`{hostname}` is used by another site of this server.");
                        return Err(Error::conflict("hostname_taken", text).on("hostname"));
                    }
                    None => {}
                }
                if store::hostnames::list(tx, scope, site.id)?.len() >= HOSTNAMES_MAX {
                    let text = format!("A site has at most {HOSTNAMES_MAX} hostnames.");
                    return Err(Error::conflict("hostnames_max", text));
                }
                services.changes_routes(tx, scope)?;
                store::hostnames::insert(tx, scope, site.id, &hostname, services.clock.now_ms())?;
                services.tell(tx, Topic::Certificates)?;
                services.purge_hostname(tx, &actor, &site, hostname.as_str())?;
                let text = format!("gave {hostname} to {name}");
                services.record(tx, &actor, &Event::new("hostname.added", "site", &name, text))
            })
            .await?;
        self.served(scope).await;
        Ok(())
    }

    /// Takes a hostname from a site.
    pub async fn remove_hostname(&self, actor: &Actor, name: &SiteName, hostname: &str) -> Result<()> {
        let scope = actor.require(Right::ManageSites)?;
        let hostname = Hostname::parse(hostname)?;
        let (services, actor, name) = (self.clone(), actor.clone(), name.clone());
        self.db
            .write(move |tx| {
                let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
                site_settings::check_leaves(tx, scope, &site, &hostname)?;
                if !store::hostnames::delete(tx, scope, site.id, &hostname)? {
                    return Err(Error::not_found("hostname on this site"));
                }
                services.changes_routes(tx, scope)?;
                services.purge_hostname(tx, &actor, &site, hostname.as_str())?;
                let text = format!("took {hostname} from {name}");
                services.record(tx, &actor, &Event::new("hostname.removed", "site", &name, text))
            })
            .await?;
        self.served(scope).await;
        Ok(())
    }
}

fn check_free(scope: TenantScope, name: &SiteName, holder: &store::sites::NameHolder, now_ms: i64) -> Result<()> {
    let taken = |text: String| Err(Error::conflict("site_name_taken", text).on("name"));
    match holder.deleted_ms {
        None => taken(format!("There is a site `{name}` on this server already. Choose another name.")),
        Some(at) if holder.tenant != scope.tenant() && at + limits::NAME_REST_MS > now_ms => {
            taken(format!("`{name}` was another tenant's until lately and rests for 30 days. Choose another name."))
        }
        Some(_) => Ok(()),
    }
}
