//! Servers that rules of deployments name (`/api/* https://api.example.com/:splat 200`): made when the first request is for one, and let go
//! when none has come for a while.
//!
//! Which deployments are served says nothing of their rules, and previews have rules too: so nobody is connected to, or kept in memory, whom no
//! visitor asks for. They are not looked at, lead to public addresses alone, and have the times and limits that a route has by default.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{counts::Counts, group::Group};
use crate::domain::site::SiteId;

/// How long one is kept that nobody asks for.
const KEPT_FOR: Duration = Duration::from_mins(2);
/// Servers of one site at once: its deployments may name several dozen each.
const SERVERS_MAX: usize = 64;

/// All that are in use.
#[derive(Default)]
pub(super) struct Named(Mutex<HashMap<SiteId, Site>>);

/// Those of one site.
#[derive(Default)]
struct Site {
    name: String,
    counts: Arc<Counts>,
    servers: HashMap<String, Used>,
}

/// One of them, as a route of its own.
struct Used {
    group: Arc<Group>,
    last: Instant,
}

impl Used {
    fn is_idle(&self) -> bool {
        self.group.servers.iter().all(|it| it.active() == 0)
    }

    fn leave(self) {
        self.group.retired.cancel();
        self.group.servers.iter().for_each(|it| it.leave());
    }
}

impl Named {
    fn sites(&self) -> MutexGuard<'_, HashMap<SiteId, Site>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server of a site, made where it is not there yet; `None`: as many as there may be work on something.
    pub(super) fn get(
        &self,
        (id, name): (SiteId, &str),
        server: &str,
        now: Instant,
        make: impl FnOnce(&Arc<Counts>) -> Arc<Group>,
    ) -> Option<Arc<Group>> {
        let mut sites = self.sites();
        let site = sites.entry(id).or_default();
        if site.name != name {
            name.clone_into(&mut site.name);
        }
        if let Some(used) = site.servers.get_mut(server) {
            used.last = now;
            return Some(Arc::clone(&used.group));
        }
        if site.servers.len() >= SERVERS_MAX {
            let idle = site.servers.iter().filter(|(_, it)| it.is_idle());
            let longest = idle.min_by_key(|(_, it)| it.last)?.0.clone();
            site.servers.remove(&longest)?.leave();
        }
        let group = make(&site.counts);
        site.servers.insert(server.to_owned(), Used { group: Arc::clone(&group), last: now });
        Some(group)
    }

    /// Lets go of those that nobody has asked for lately, and of connections that are out of date.
    pub(super) fn tidy(&self, now: Instant) {
        for site in self.sites().values_mut() {
            let is_over =
                |_: &String, it: &mut Used| it.is_idle() && now.saturating_duration_since(it.last) >= KEPT_FOR;
            site.servers.extract_if(is_over).for_each(|(_, it)| it.leave());
            site.servers.values().flat_map(|it| &it.group.servers).for_each(|it| it.tidy());
        }
    }

    /// Keeps what is of these sites. Of others what is under way has its time, and no more.
    pub(super) fn keep(&self, sites: impl Iterator<Item = SiteId>) {
        let mut all = self.sites();
        if all.is_empty() {
            return;
        }
        let stay: HashSet<SiteId> = sites.collect();
        let gone = all.extract_if(|id, _| !stay.contains(id));
        gone.flat_map(|(_, site)| site.servers.into_values()).for_each(Used::leave);
    }

    /// Closes all connections that are kept, and keeps none more.
    pub(super) fn close(&self) {
        self.sites()
            .values()
            .flat_map(|it| it.servers.values())
            .flat_map(|it| &it.group.servers)
            .for_each(|it| it.close());
    }

    /// Each site with its name, how requests have ended, and its servers.
    pub(super) fn each(&self, mut of: impl FnMut(&str, &Counts, &mut dyn Iterator<Item = &Arc<Group>>)) {
        for site in self.sites().values() {
            of(&site.name, &site.counts, &mut site.servers.values().map(|it| &it.group));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::{ids::Id, tasks::Tasks},
        http::peer::Client,
        serve::proxy::{Found, Nobody, Proxies, shares::Owner, standing::May},
    };

    fn id(number: u8) -> SiteId {
        SiteId(Id::from_bytes([number; 16]))
    }

    #[tokio::test]
    async fn a_server_stays_while_it_is_asked_and_a_site_has_so_many_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let proxies = Proxies::new(Arc::new(Nobody), Tasks::new(), folder.path().to_owned());
        let find = |site: u8, at: usize| -> Option<Found> {
            proxies.find_named((id(site), "shop"), &format!("https://{at}.example.com")).ok()
        };
        let count = |site: u8| proxies.0.named.sites().get(&id(site)).map_or(0, |it| it.servers.len());
        let address = [127, 0, 0, 1].into();
        let client = Client { address, is_near: true, is_proxied: false, is_many: true, scheme: "http" };
        let owner = Owner::new(id(1), client);
        let first = find(1, 0).unwrap();
        assert!(Arc::ptr_eq(&first.group, &find(1, 0).unwrap().group), "one under several paths is one");
        let lease = first.group.servers[0].lease(May::All, owner).unwrap();
        let all: Vec<Found> = (1..SERVERS_MAX).map(|at| find(1, at).unwrap()).collect();
        // Those of others are theirs.
        assert!(find(2, 0).is_some() && count(1) == SERVERS_MAX && count(2) == 1);
        // The one that was asked longest ago, and works on nothing, makes room.
        assert!(find(1, 500).is_some() && count(1) == SERVERS_MAX);
        assert!(Arc::ptr_eq(&first.group, &find(1, 0).unwrap().group));
        assert!(all[0].group.retired.is_cancelled() && !all[1].group.retired.is_cancelled());
        let busy: Vec<_> =
            all.iter().skip(1).chain(&find(1, 500)).map(|it| it.group.servers[0].lease(May::All, owner)).collect();
        assert!(find(1, 501).is_none(), "all work on something");
        drop(busy);

        let now = Instant::now();
        proxies.0.named.tidy(now);
        assert_eq!((count(1), count(2)), (SERVERS_MAX, 1));
        proxies.0.named.tidy(now + KEPT_FOR);
        assert_eq!((count(1), count(2)), (1, 0), "what is under way stays");
        drop(lease);
        proxies.0.named.tidy(now + KEPT_FOR);
        assert_eq!(count(1), 0);
        find(1, 0).unwrap();
        proxies.0.named.keep([id(2)].into_iter());
        assert!(proxies.0.named.sites().keys().eq([&id(2)]));
    }
}
