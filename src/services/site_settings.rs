//! The settings of a site: read, and changed by a merge patch.

use serde_json::{Map, Value};

use super::Services;
use crate::{
    domain::{
        Error, Kind, Result,
        access::{Actor, Right, TenantScope},
        event::Event,
        hostname::Hostname,
        site::{Site, SiteName},
        site_settings::{SiteSettings, firewall::Rule},
    },
    ports::db::ReadTx,
    store,
};

/// The code of what is refused since the settings are others than those that a change was made for.
pub const CHANGED: &str = "site_settings_changed";

/// A change of settings, as the audit log has it.
pub(super) struct Told {
    /// `site.settings_changed`, or what it is.
    pub(super) kind: &'static str,
    /// What was done.
    pub(super) text: String,
}

impl Services {
    /// The settings of a site.
    pub async fn get_site_settings(&self, actor: &Actor, name: &SiteName) -> Result<SiteSettings> {
        let scope = actor.require(Right::Read)?;
        let name = name.clone();
        self.db.read(move |tx| find(tx, scope, &name).map(|(_, settings)| settings)).await
    }

    /// Applies a merge patch (RFC 7396) to the settings of a site, whole or not at all. What they are then, once visitors are served by
    /// them.
    pub async fn change_site_settings(
        &self,
        actor: &Actor,
        name: &SiteName,
        patch: Map<String, Value>,
    ) -> Result<SiteSettings> {
        self.change_site_settings_of(actor, name, patch, |_| true).await
    }

    /// The same, if the settings still are those that the patch was made for: `is_same` says so, in the transaction that writes.
    pub async fn change_site_settings_of(
        &self,
        actor: &Actor,
        name: &SiteName,
        patch: Map<String, Value>,
        is_same: impl Fn(&SiteSettings) -> bool + Send + Sync + 'static,
    ) -> Result<SiteSettings> {
        let of = name.clone();
        self.write_site_settings(actor, name, move |before| {
            if !is_same(before) {
                let text = "Somebody has changed these settings since you have read them, and nothing was saved. Read them again, and \
                            send what you want of them as they are now.";
                return Err(Error::new(Kind::Stale, CHANGED, text));
            }
            let after = before.patched(&patch)?;
            let text = format!("changed the settings of {of}: {}", after.differing(before).join(", "));
            Ok((after, Told { kind: "site.settings_changed", text }))
        })
        .await
    }

    /// Changes the settings of a site, whole or not at all. `change` gives what they become, and what is told of it.
    pub(super) async fn write_site_settings(
        &self,
        actor: &Actor,
        name: &SiteName,
        change: impl Fn(&SiteSettings) -> Result<(SiteSettings, Told)> + Send + Sync + 'static,
    ) -> Result<SiteSettings> {
        let scope = actor.require(Right::ManageSites)?;
        let (services, actor, name) = (self.clone(), actor.clone(), name.clone());
        let written = self.db.write(move |tx| {
            let (site, before) = find(tx, scope, &name)?;
            let (mut after, told) = change(&before)?;
            let admits = |address| services.outside.dns.admit(address).is_ok();
            after.proxy = after.proxy.granted(&before.proxy, actor.may(Right::ManageServer), &admits)?;
            if after == before {
                return Ok(after);
            }
            services.check_canonical(tx, scope, &site, &after)?;
            services.check_countries(&before, &after)?;
            if after.is_default() {
                store::site_settings::delete(tx, scope, site.id)?;
            } else {
                store::site_settings::put(tx, scope, site.id, &after.text(), services.clock.now_ms())?;
            }
            services.changes_routes(tx, scope)?;
            services.purge_for_settings(tx, &actor, &site, (&before, &after))?;
            services.record(tx, &actor, &Event::new(told.kind, "site", &name, told.text))?;
            Ok(after)
        });
        let settings = written.await?;
        self.served(scope).await;
        Ok(settings)
    }

    /// A rule that can never fit is none, and who writes one shall know. What is kept already stays.
    fn check_countries(&self, before: &SiteSettings, after: &SiteSettings) -> Result<()> {
        let is_new = |rule: &&Rule| rule.wants_countries() && !before.firewall.rules.contains(rule);
        let Some(rule) = after.firewall.rules.iter().find(is_new) else { return Ok(()) };
        if self.outside.countries.is_given() {
            return Ok(());
        }
        let text = format!(
            "The rule `{}` asks for countries, and this server has no database of them. Take the countries out, or let the server's operator \
             name a file with `database` in [geo].",
            rule.name
        );
        Err(Error::invalid("no_countries", text).on("firewall.rules"))
    }

    /// A visitor must not be sent where another site is, or none.
    fn check_canonical(
        &self,
        tx: &mut ReadTx<'_>,
        scope: TenantScope,
        site: &Site,
        settings: &SiteSettings,
    ) -> Result<()> {
        let Some(canonical) = &settings.addresses.canonical else { return Ok(()) };
        let own = format!("{}.{}", site.name, self.addresses.sites_domain);
        let is_ours = canonical.as_str() == own
            || store::hostnames::find(tx, canonical)?
                .is_some_and(|(tenant, of)| tenant == scope.tenant() && of == site.id);
        if is_ours {
            return Ok(());
        }
        let text =
            format!("`{canonical}` is no hostname of this site. Add it to the site first, or name one that it has.");
        Err(Error::invalid("site_canonical", text).on("addresses.canonical"))
    }
}

/// A site with its settings.
fn find(tx: &mut ReadTx<'_>, scope: TenantScope, name: &SiteName) -> Result<(Site, SiteSettings)> {
    let site = store::sites::find(tx, scope, name)?.ok_or_else(|| Error::not_found("site"))?;
    let settings = read(tx, scope, &site)?;
    Ok((site, settings))
}

fn read(tx: &mut ReadTx<'_>, scope: TenantScope, site: &Site) -> Result<SiteSettings> {
    let document = store::site_settings::find(tx, scope, site.id)?;
    document.map_or_else(|| Ok(SiteSettings::default()), |it| SiteSettings::parse(&it))
}

/// Refuses to take a hostname away that visitors are sent to.
pub(super) fn check_leaves(tx: &mut ReadTx<'_>, scope: TenantScope, site: &Site, hostname: &Hostname) -> Result<()> {
    if read(tx, scope, site)?.addresses.canonical.as_ref() != Some(hostname) {
        return Ok(());
    }
    let text = format!(
        "Visitors of this site are sent to `{hostname}` (`addresses.canonical`). Name another hostname there first, or none."
    );
    Err(Error::conflict("hostname_canonical", text).on("hostname"))
}
