//! What the data plane of this process knows of visitors, and how it is reached: whether a site has sent all that it may, which rules of its
//! firewall their requests have fitted, and who comes by HTTPS.
//!
//! Services may not ask it: the composition root gives them a door ([`Look`]). Nothing here reads the database.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, OnceLock},
};

use super::Services;
use crate::domain::{
    Result,
    access::Actor,
    node::NodeId,
    site::{SiteId, SiteName},
    site_settings::firewall::Action,
};

/// Requests that have fitted a rule or set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hits {
    /// How many.
    pub requests: u64,
    /// When the first of them came, in milliseconds.
    pub first_ms: i64,
    /// When the last one came.
    pub last_ms: i64,
    /// For which path that was, cut to 200 bytes.
    pub path: String,
}

/// A rule of a firewall, or a set of known attacks, that refuses or tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its name.
    pub name: String,
    /// Whether it is a set.
    pub is_set: bool,
    /// What it does.
    pub action: Action,
    /// What has fitted it, if anything has.
    pub hits: Option<Hits>,
}

/// What the firewall of a site has met, as this process counts it.
#[derive(Clone, Debug)]
pub struct Met {
    /// Whose count it is.
    pub node: NodeId,
    /// Since when is counted; `None` where nobody is served.
    pub since_ms: Option<i64>,
    /// In the order in which they are looked at.
    pub counted: Vec<Counted>,
}

/// Who knows it.
pub trait Look: fmt::Debug + Send + Sync {
    /// Whether a site has sent as much as it may in this month.
    fn is_used_up(&self, site: SiteId) -> bool;
    /// Since when requests are counted that fit a rule of a firewall.
    fn counts_since_ms(&self) -> i64;
    /// What has fitted each rule (`false`) or set (`true`) of a site, by its name.
    fn hits(&self, site: SiteId) -> Vec<((String, bool), Hits)>;
    /// The port of HTTPS, as `:8443` or nothing, where there is a certificate for this host that browsers take.
    fn https_port(&self, host: &str) -> Option<String>;
    /// Whether visitors in clear are sent there unless their site says otherwise.
    fn redirects(&self) -> bool;
    /// Whether proxies are believed that say how a visitor came.
    fn has_proxies(&self) -> bool;
}

/// The door to who knows it; shut until the composition root opens it.
#[derive(Debug, Default)]
pub(super) struct Front(OnceLock<Arc<dyn Look>>);

impl Front {
    pub(super) fn look(&self) -> Option<&dyn Look> {
        self.0.get().map(|it| &**it)
    }
}

impl Services {
    /// From now on it is known. Said once.
    pub fn look_at_front(&self, by: Arc<dyn Look>) {
        // Who knows it stays the same for as long as the process lives.
        drop(self.front().0.set(by));
    }

    /// What the firewall of a site has met since this process has begun, or a rule is as it is.
    pub async fn get_firewall_hits(&self, actor: &Actor, name: &SiteName) -> Result<Met> {
        let (site, firewall) =
            (self.get_site(actor, name).await?.site.id, self.get_site_settings(actor, name).await?.firewall);
        let front = self.front().look();
        let mut met: HashMap<_, _> = front.map(|it| it.hits(site)).unwrap_or_default().into_iter().collect();
        let rules = firewall.rules.iter().map(|it| (it.name.as_str(), false, it.action));
        let sets = firewall.sets.iter().map(|it| (it.word(), true, firewall.sets_do));
        let counted = rules.chain(sets).filter(|it| it.2 != Action::Allow).map(|(name, is_set, action)| Counted {
            hits: met.remove(&(name.to_owned(), is_set)),
            name: name.to_owned(),
            is_set,
            action,
        });
        let counted = counted.collect();
        Ok(Met { node: self.node_id(), since_ms: front.map(Look::counts_since_ms), counted })
    }
}
