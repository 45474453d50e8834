//! Deployments as people see them: lists, files, logs, differences.

use std::collections::BTreeMap;

use crate::{
    base::hash::Sha256,
    domain::{
        Error, Result,
        access::{Actor, Right},
        deployment::{Deployment, DeploymentRef},
        site::{Site, SiteName},
    },
    proof::manifest::Manifest,
    store,
};

use super::Services;

/// A deployment with its addresses.
#[derive(Clone, Debug)]
pub struct DeploymentView {
    /// The deployment.
    pub deployment: Deployment,
    /// Its site.
    pub site: Site,
    /// The address of the site.
    pub url: String,
    /// The address of this deployment alone; `None` until it is complete.
    pub preview_url: Option<String>,
}

/// How two deployments differ.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Path and size of what only the first has.
    pub added: Vec<(String, u64)>,
    /// Path and size of what only the second has.
    pub removed: Vec<(String, u64)>,
    /// Path, size, and size in the second, of what has other bytes or another type.
    pub changed: Vec<(String, u64, u64)>,
    /// Redirects, headers or the like differ.
    pub policy_changed: bool,
}

impl Services {
    pub(super) fn show(&self, site: &Site, deployment: Deployment) -> DeploymentView {
        DeploymentView {
            url: self.addresses.site(&site.name),
            preview_url: deployment
                .state
                .is_complete()
                .then(|| self.addresses.preview(&deployment.preview, &site.name)),
            site: site.clone(),
            deployment,
        }
    }

    /// A page of a site's deployments, newest first, below the number `below`.
    pub async fn list_deployments(
        &self,
        actor: &Actor,
        name: &SiteName,
        below: Option<i64>,
        limit: u32,
    ) -> Result<Vec<DeploymentView>> {
        let scope = actor.require(Right::Read)?;
        let (services, name) = (self.clone(), name.clone());
        self.db
            .read_near(scope, move |tx| {
                let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
                let found = store::deployments::list(tx, scope, site.id, below.unwrap_or(i64::MAX), limit.into())?;
                Ok(found.into_iter().map(|it| services.show(&site, it)).collect())
            })
            .await
    }

    /// One deployment.
    pub async fn get_deployment(&self, actor: &Actor, name: &SiteName, of: DeploymentRef) -> Result<DeploymentView> {
        let scope = actor.require(Right::Read)?;
        let (services, name) = (self.clone(), name.clone());
        let read = self.db.read(move |tx| {
            let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
            let found = store::deployments::find(tx, scope, site.id, of)?;
            let found = found.ok_or_else(|| Error::not_found("deployment"))?;
            Ok(services.show(&site, found))
        });
        let view = read.await?;
        if view.deployment.state.is_complete() {
            self.settled().await;
        }
        Ok(view)
    }

    /// The log of a deployment: when, and what.
    pub async fn list_log(&self, actor: &Actor, name: &SiteName, of: DeploymentRef) -> Result<Vec<(i64, String)>> {
        let scope = actor.require(Right::Read)?;
        let id = self.get_deployment(actor, name, of).await?.deployment.id;
        self.db.read_near(scope, move |tx| store::deployments::list_lines(tx, scope, id)).await
    }

    /// The exact bytes of a complete deployment's manifest.
    pub async fn read_manifest(&self, actor: &Actor, name: &SiteName, of: DeploymentRef) -> Result<(Sha256, Vec<u8>)> {
        let found = self.get_deployment(actor, name, of).await?.deployment;
        let hash = found.manifest.ok_or_else(|| {
            let text = format!("Deployment {} is {} and has no manifest.", found.number, found.state.word());
            Error::conflict("not_complete", text)
        })?;
        let blobs = self.blobs.clone();
        let bytes = self.blocking(move || Ok(blobs.read_verified(&hash)?));
        Ok((hash, bytes.await?))
    }

    /// The files and policy of a complete deployment.
    pub async fn get_manifest(&self, actor: &Actor, name: &SiteName, of: DeploymentRef) -> Result<Manifest> {
        let (_, bytes) = self.read_manifest(actor, name, of).await?;
        self.blocking(move || Manifest::parse(&bytes)).await
    }

    /// What `of` has that `against` has not, and so on.
    pub async fn diff(
        &self,
        actor: &Actor,
        name: &SiteName,
        of: DeploymentRef,
        against: DeploymentRef,
    ) -> Result<Difference> {
        let new = self.get_manifest(actor, name, of).await?;
        let old = self.get_manifest(actor, name, against).await?;
        self.blocking(move || Ok(difference(&new, &old))).await
    }
}

fn difference(new: &Manifest, old: &Manifest) -> Difference {
    let mut left: BTreeMap<&str, _> = old.entries().iter().map(|it| (it.path.as_str(), it)).collect();
    let mut found = Difference { policy_changed: new.policy() != old.policy(), ..Difference::default() };
    for entry in new.entries() {
        let path = entry.path.to_string();
        match left.remove(entry.path.as_str()) {
            None => found.added.push((path, entry.size)),
            Some(before) if before.sha256 != entry.sha256 || before.media_type != entry.media_type => {
                found.changed.push((path, entry.size, before.size));
            }
            Some(_) => {}
        }
    }
    found.removed = left.into_values().map(|it| (it.path.to_string(), it.size)).collect();
    found
}
