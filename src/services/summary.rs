//! How everything is, at a glance: what the first page of the panel says.

use crate::{
    domain::{
        Result,
        access::{Actor, Right},
        certificate::kept::Order,
        site::Site,
    },
    ports::{
        cache::{Key, Tag, ttl},
        db::ReadTx,
    },
    store,
};

use super::{Services, deployments::DeploymentView, keys::key_owner};

pub use crate::store::summary::Counts;

/// A site that was made and given nothing for so long needs a person.
const EMPTY_MS: i64 = 24 * 3_600_000;
/// About what the counts of a tenant take in the cache.
const COUNTS_BYTES: u32 = 64;
/// Rows of each list: a page that needs more than an eye takes in says the number instead.
const LISTED_MAX: i64 = 6;

/// How the tenant's sites are.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What there is.
    pub counts: Counts,
    /// The newest deployments of all sites.
    pub latest: Vec<DeploymentView>,
    /// The newest deployment of each site where that one failed.
    pub failed: Vec<DeploymentView>,
    /// Sites that show nothing: empty for a day, or taken down.
    pub dark: Vec<Site>,
    /// Hostnames for which an authority gave no certificate, by name.
    pub uncertified: Vec<Order>,
    /// Whether anything was published and is not unpublished; a site that is taken down counts.
    pub has_published: bool,
    /// Whether there is an API key that the actor may see.
    pub has_key: bool,
}

impl Services {
    /// What the actor's tenant has: kept as long as the list of its sites is.
    pub async fn counts(&self, actor: &Actor) -> Result<Counts> {
        let scope = actor.require(Right::Read)?;
        let key = Key { what: "counts", tenant: Some(scope.tenant()), which: String::new() };
        let load = || async move {
            let read = move |tx: &mut ReadTx<'_>| store::summary::count(tx, scope);
            Ok((self.read_to_keep(scope, read).await?, COUNTS_BYTES))
        };
        Ok(*self.cache.get_or(key, Tag::Sites(scope.tenant()), ttl::SITES, load).await?)
    }

    /// How the actor's tenant is.
    pub async fn summary(&self, actor: &Actor) -> Result<Summary> {
        let scope = actor.require(Right::Read)?;
        let counts = self.counts(actor).await?;
        let (services, before, keys_of) = (self.clone(), self.clock.now_ms() - EMPTY_MS, key_owner(actor)?);
        self.db
            .read_near(scope, move |tx| {
                let show = |found: Vec<_>| found.into_iter().map(|(site, it)| services.show(&site, it)).collect();
                Ok(Summary {
                    counts,
                    latest: show(store::summary::list_latest(tx, scope, LISTED_MAX)?),
                    failed: show(store::summary::list_failed(tx, scope, LISTED_MAX)?),
                    dark: store::summary::list_dark(tx, scope, before, LISTED_MAX)?,
                    // Where nobody is asked, there is nothing to find.
                    uncertified: match services.acme {
                        Some(_) => store::certificates::list_troubled(tx, scope, LISTED_MAX)?,
                        None => Vec::new(),
                    },
                    has_published: store::summary::any_published(tx, scope)?,
                    has_key: store::api_keys::any(tx, scope, keys_of)?,
                })
            })
            .await
    }
}
