//! What the data plane needs to know, read in one transaction: every host that is answered, and with what.

use std::{collections::HashMap, sync::Arc};

use crate::{
    base::hash::Sha256,
    domain::{
        Result,
        deployment::DeploymentId,
        node::Topic,
        site::{Site, SiteId},
        site_settings::SiteSettings,
    },
    store,
};

use super::{Services, access};

/// A host and what is served there.
#[derive(Clone, Debug)]
pub struct Route {
    /// The host, lower-case, without port.
    pub host: String,
    /// The site.
    pub site: SiteId,
    /// Its name.
    pub name: String,
    /// What is served; `None` while nothing is live.
    pub serves: Option<(DeploymentId, Sha256)>,
    /// A preview: not for search engines.
    pub preview: bool,
    /// Why the site is taken down, if it is.
    pub taken_down: Option<String>,
    /// What people have set for the site.
    pub settings: Settings,
}

/// What people have set for a site, as visitors are served by it.
#[derive(Clone, Debug, Default)]
pub enum Settings {
    /// Nothing.
    #[default]
    Plain,
    /// This.
    Given(Arc<SiteSettings>),
    /// Something that this program cannot read.
    Unreadable,
}

/// All routes of the server.
#[derive(Clone, Debug)]
pub struct Routes {
    /// How much news of routes nodes had told before these were read ([`super::signals::Signals::routes_serve`]).
    pub number: i64,
    /// Themselves.
    pub all: Vec<Route>,
}

impl Services {
    /// All routes of the server.
    pub async fn list_routes(&self) -> Result<Routes> {
        let leave = access::server_scope();
        let (number, sites, hostnames, complete, documents) = self
            .db
            .read(move |tx| {
                Ok((
                    // First: where a transaction sees what is committed while it reads, the rest is newer than this and never older.
                    store::nodes::count_news(tx, Topic::Routes)?,
                    store::sites::list_all(tx, leave)?,
                    store::hostnames::list_all(tx, leave)?,
                    store::deployments::list_complete(tx, leave)?,
                    store::site_settings::list_all(tx, leave)?,
                ))
            })
            .await?;
        let settings: HashMap<SiteId, Settings> =
            documents.into_iter().map(|(site, text)| (site, settings(site, &text))).collect();
        let domain = &self.addresses.sites_domain;
        let manifests: HashMap<DeploymentId, Sha256> = complete.iter().map(|it| (it.id, it.manifest)).collect();
        let sites: HashMap<SiteId, Site> = sites.into_iter().map(|(_, site)| (site.id, site)).collect();
        let route = |host: String, site: &Site, serves: Option<DeploymentId>, preview: bool| Route {
            host,
            site: site.id,
            name: site.name.to_string(),
            serves: serves.and_then(|id| manifests.get(&id).map(|manifest| (id, *manifest))),
            preview,
            taken_down: site.taken_down.clone(),
            settings: settings.get(&site.id).cloned().unwrap_or_default(),
        };
        let mut routes = Vec::with_capacity(sites.len() + hostnames.len() + complete.len());
        for site in sites.values() {
            routes.push(route(format!("{}.{domain}", site.name), site, site.live, false));
        }
        for (id, name) in hostnames {
            if let Some(site) = sites.get(&id) {
                routes.push(route(name, site, site.live, false));
            }
        }
        for it in &complete {
            if let Some(site) = sites.get(&it.site) {
                let host = format!("{}--{}.{domain}", it.preview, site.name);
                routes.push(route(host, site, Some(it.id), true));
            }
        }
        Ok(Routes { number, all: routes })
    }
}

/// Every host of a site shares its settings.
fn settings(site: SiteId, document: &str) -> Settings {
    match SiteSettings::parse(document) {
        Ok(settings) if settings.is_default() => Settings::Plain,
        Ok(settings) => Settings::Given(Arc::new(settings)),
        Err(error) => {
            tracing::error!(%site, %error, "the settings of a site cannot be read, so it answers with 503: set them again");
            Settings::Unreadable
        }
    }
}
