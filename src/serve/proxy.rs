//! What other servers answer: routes of sites to upstreams by HTTP, and to programs by FastCGI.
//!
//! Nothing here reads the database. What is sent to an upstream is built from a request that was read, and never its bytes. Bodies pass as they come, or are
//! gathered where a route says so ([`gather`], [`ahead`]), and none is kept. A change of settings takes effect for the next request; what is under way goes on with the server that has it.
//!
//! A request is matched by [`start`], given to a server in [`group`], with the headers that [`heads`] makes.

mod ahead;
mod bodies;
mod connect;
mod counts;
mod fastcgi;
mod gather;
mod group;
mod heads;
mod look;
mod named;
mod server;
mod shared;
mod shares;
mod standing;
mod tunnel;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use arc_swap::ArcSwap;
use hyper::{body::Body as _, http::request::Parts};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub use self::connect::{Nobody, Resolve, Resolved};
use self::{
    bodies::{Placed, Taken},
    connect::{Authorities, Way},
    counts::Counts,
    gather::Gather,
    group::{Asked, Group},
    named::Named,
    server::Server,
    shared::Shared,
    shares::Owner,
    standing::May,
};
use super::{
    open::Open,
    page::Refusal,
    snapshot::{Settings, Snapshot, State, Target},
};
use crate::{
    base::tasks::Tasks,
    domain::{
        site::SiteId,
        site_settings::{
            paths::Prefixes,
            proxy::{
                HostHeader, Proxy, Route,
                scripts::Scripts,
                start::{self, Start},
            },
        },
    },
    http::{
        peer::Client,
        respond::{Body, Patient, Response},
    },
};

/// How often connections that nobody uses are closed, and answers ended that nobody takes.
const TIDY: Duration = Duration::from_secs(5);

/// The routes of all sites. Cheap to clone.
#[derive(Clone)]
pub struct Proxies(Arc<Inner>);

struct Inner {
    sites: ArcSwap<HashMap<SiteId, Arc<Site>>>,
    named: Named,
    /// One change at a time.
    changing: Mutex<()>,
    resolver: Arc<dyn Resolve>,
    authorities: Arc<Authorities>,
    shared: Arc<Shared>,
    gather: Arc<Gather>,
    tasks: Tasks,
}

/// The routes of a site.
struct Site {
    name: String,
    settings: Proxy,
    groups: Vec<Arc<Group>>,
    counts: Arc<Counts>,
}

/// A route that a request is for.
pub struct Found {
    group: Arc<Group>,
    rest: String,
    /// Whether a name and a password of this server's have let the request in: the upstream gets no `Authorization` then. Whoever asks
    /// for them sets it.
    pub(super) past_basic: bool,
    /// What a WebSocket ends with.
    pub(super) open: Option<Arc<Open>>,
}

/// Figures of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Its name.
    pub site: String,
    /// How requests have ended, each with its count.
    pub outcomes: Vec<(&'static str, u64)>,
    /// Its upstreams: address, whether it gets requests, and how many it works on.
    pub upstreams: Vec<(String, bool, usize)>,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxies").field("sites", &self.0.sites.load().len()).finish_non_exhaustive()
    }
}

impl Proxies {
    /// Without routes. Addresses of upstreams are what `resolver` says; large bodies of requests are gathered in `folder`, which is made when
    /// one comes.
    pub fn new(resolver: Arc<dyn Resolve>, tasks: Tasks, folder: PathBuf) -> Self {
        let made = Self(Arc::new(Inner {
            sites: ArcSwap::default(),
            named: Named::default(),
            changing: Mutex::default(),
            resolver,
            authorities: Arc::default(),
            shared: Arc::default(),
            gather: Arc::new(Gather::new(folder, tasks.clone())),
            tasks: tasks.clone(),
        }));
        let inner = Arc::downgrade(&made.0);
        tasks.clone().spawn(async move {
            loop {
                let stops = tokio::select! {
                    () = sleep(TIDY) => false,
                    () = tasks.stopping() => true,
                };
                let Some(inner) = inner.upgrade() else { return };
                let sites = inner.sites.load();
                for server in sites.values().flat_map(|it| &it.groups).flat_map(|it| &it.servers) {
                    if stops { server.close() } else { server.tidy() }
                }
                if stops {
                    inner.named.close();
                    return;
                }
                inner.named.tidy(Instant::now());
                inner.shared.sweep(Instant::now());
            }
        });
        made
    }

    /// Takes these settings, each with its site and the site's name, in place of all that were before.
    pub fn set<'s>(&self, sites: impl Iterator<Item = (SiteId, &'s str, &'s Proxy)>) {
        let _one = self.0.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.0.sites.load_full();
        let mut after: HashMap<SiteId, Arc<Site>> = HashMap::new();
        for (id, name, settings) in sites.filter(|it| !it.2.routes.is_empty()) {
            if after.contains_key(&id) {
                continue;
            }
            let old = before.get(&id);
            let site = match old {
                Some(same) if same.settings == *settings && same.name == name => Arc::clone(same),
                _ => Arc::new(self.site((id, name), settings, old.map(|it| &**it))),
            };
            after.insert(id, site);
        }
        let after = Arc::new(after);
        self.0.sites.store(Arc::clone(&after));
        retire(&before, &after);
    }

    /// Takes what the sites of a snapshot have.
    pub(super) fn follow(&self, snapshot: &Snapshot) {
        let mut given: Vec<(SiteId, &str, &Proxy)> = Vec::new();
        for (_, target) in snapshot.hosts() {
            // A site that was taken down asks nobody for anything.
            if let (Settings::Given(settings), false) = (&target.settings, matches!(target.state, State::TakenDown(_)))
            {
                given.push((target.site, &target.name, &settings.proxy));
            }
        }
        let stays = |it: &&Arc<Target>| !matches!(it.state, State::TakenDown(_));
        self.0.named.keep(snapshot.hosts().map(|(_, target)| target).filter(stays).map(|it| it.site));
        if !given.is_empty() || !self.0.sites.load().is_empty() {
            self.set(given.into_iter());
        }
    }

    /// A site with what it keeps of itself: routes that are as they were, and servers that are still named.
    fn site(&self, (id, name): (SiteId, &str), settings: &Proxy, old: Option<&Site>) -> Site {
        let counts = old.map_or_else(Arc::default, |it| Arc::clone(&it.counts));
        let mut known: Vec<Arc<Server>> = old.map(Site::servers).unwrap_or_default();
        let groups = settings.routes.iter().map(|route| {
            if let Some(same) = old.and_then(|it| it.groups.iter().find(|it| it.route == *route)) {
                return Arc::clone(same);
            }
            self.group(id, route, &counts, &mut known, true)
        });
        Site { name: name.to_owned(), settings: settings.clone(), groups: groups.collect(), counts }
    }

    fn group(
        &self,
        site: SiteId,
        route: &Route,
        counts: &Arc<Counts>,
        known: &mut Vec<Arc<Server>>,
        leads_back: bool,
    ) -> Arc<Group> {
        let inside = route.inside == Some(true);
        let servers = route.upstreams().map(|upstream| {
            if let Some(same) = known.iter().find(|it| it.way.is(&upstream, inside, &route.tls)) {
                return Arc::clone(same);
            }
            let (authorities, resolver) = (Arc::clone(&self.0.authorities), Arc::clone(&self.0.resolver));
            let way = Way::new(upstream, inside, route.tls.clone(), authorities, resolver, self.0.tasks.clone());
            let server = Arc::new(Server::new(way, self.0.tasks.clone(), Arc::clone(&self.0.shared)));
            known.push(Arc::clone(&server));
            server
        });
        let group = Arc::new(Group {
            servers: servers.collect(),
            start: Start::new(&route.path),
            site,
            route: route.clone(),
            counts: Arc::clone(counts),
            gather: Arc::clone(&self.0.gather),
            tasks: self.0.tasks.clone(),
            retired: CancellationToken::new(),
            turn: AtomicUsize::new(0),
            stderr: fastcgi::Stderr::default(),
            scripts: Arc::new(Scripts::new(route)),
            leads_back,
        });
        match &route.health {
            Some(health) => self.0.tasks.spawn(look::follow(Arc::clone(&group), health.clone())),
            None => group.servers.iter().for_each(|it| it.forget_looks()),
        }
        group
    }

    /// The route of a site that a raw path is for; `Err`: the path has several readings.
    pub(super) fn find(&self, site: SiteId, path: &str) -> Result<Option<Found>, Refusal> {
        let sites = self.0.sites.load();
        let Some(site) = sites.get(&site) else { return Ok(None) };
        if start::goes_up(path) {
            return Err(Refusal::Path);
        }
        let longest = start::find(site.groups.iter(), |it| &it.start, path);
        Ok(longest.map(|(group, rest)| Found {
            group: Arc::clone(group),
            rest: rest.to_owned(),
            past_basic: false,
            open: None,
        }))
    }

    /// The way to a server that a rule of a site names, as in `https://api.example.com`: to its public addresses, and by its own name.
    pub(super) fn find_named(&self, site: (SiteId, &str), server: &str) -> Result<Found, Refusal> {
        let make = |counts: &Arc<Counts>| {
            let route = Route { host: HostHeader::Upstream, inside: Some(false), ..Route::new("/", &[server]) };
            self.group(site.0, &route, counts, &mut Vec::new(), false)
        };
        let group = self.0.named.get(site, server, Instant::now(), make).ok_or(Refusal::Busy)?;
        Ok(Found { group, rest: String::new(), past_basic: false, open: None })
    }

    /// Answers a request by an upstream of a site; `None` when none of its routes is for that path.
    pub async fn answer(&self, site: SiteId, parts: &Parts, body: Body, client: Client) -> Option<Response> {
        let answered = match self.find(site, parts.uri.path()) {
            Ok(found) => found?.answer(parts, body, client).await,
            Err(refusal) => Err(refusal),
        };
        Some(answered.unwrap_or_else(|refusal| refusal.answer(&parts.headers)))
    }

    /// Figures of each site with routes, by name.
    pub fn figures(&self) -> Vec<Figures> {
        let mut all: Vec<Figures> = self.0.sites.load().values().map(|it| it.figures()).collect();
        self.0.named.each(|name, counts, groups| {
            let servers: Vec<Arc<Server>> = groups.flat_map(|it| it.servers.iter().cloned()).collect();
            let more = Figures::of(name, counts, &servers);
            match all.iter_mut().find(|it| it.site == name) {
                Some(same) => same.add(more),
                None => all.push(more),
            }
        });
        all.sort_by(|a, b| a.site.cmp(&b.site));
        all
    }
}

impl Site {
    /// Each server once.
    fn servers(&self) -> Vec<Arc<Server>> {
        let mut all: Vec<Arc<Server>> = Vec::new();
        for server in self.groups.iter().flat_map(|it| &it.servers) {
            if !all.iter().any(|it| Arc::ptr_eq(it, server)) {
                all.push(Arc::clone(server));
            }
        }
        all
    }

    fn figures(&self) -> Figures {
        Figures::of(&self.name, &self.counts, &self.servers())
    }
}

impl Figures {
    fn of(site: &str, counts: &Counts, servers: &[Arc<Server>]) -> Self {
        let is_well = |it: &Server| matches!(it.may(), May::All | May::Try);
        let mut figures = Self { site: site.to_owned(), outcomes: counts.read(), upstreams: Vec::new() };
        figures.put(servers.iter().map(|it| (it.name.clone(), is_well(it), it.active())));
        figures
    }

    /// Adds upstreams; each is there once.
    fn put(&mut self, upstreams: impl Iterator<Item = (String, bool, usize)>) {
        for (name, is_well, active) in upstreams {
            match self.upstreams.iter_mut().find(|it| it.0 == name) {
                Some(same) => *same = (name, same.1 && is_well, same.2 + active),
                None => self.upstreams.push((name, is_well, active)),
            }
        }
    }

    /// Adds more of the same site.
    fn add(&mut self, more: Self) {
        for (outcome, count) in more.outcomes {
            match self.outcomes.iter_mut().find(|it| it.0 == outcome) {
                Some(same) => same.1 += count,
                None => self.outcomes.push((outcome, count)),
            }
        }
        self.put(more.upstreams.into_iter());
    }
}

/// Whether a request may become a WebSocket.
pub(super) fn may_open(parts: &Parts) -> bool {
    tunnel::can_open(parts)
}

/// Ends what is not there any more: looks at once, servers once what they work on has ended or had its time.
fn retire(before: &HashMap<SiteId, Arc<Site>>, after: &HashMap<SiteId, Arc<Site>>) {
    for (id, old) in before {
        let new = after.get(id);
        if new.is_some_and(|new| Arc::ptr_eq(new, old)) {
            continue;
        }
        for group in &old.groups {
            if !new.is_some_and(|it| it.groups.iter().any(|it| Arc::ptr_eq(it, group))) {
                group.retired.cancel();
            }
        }
        let stay = new.map(|it| it.servers()).unwrap_or_default();
        for server in old.servers() {
            if !stay.iter().any(|it| Arc::ptr_eq(it, &server)) {
                server.leave();
            }
        }
    }
}

impl Found {
    /// Whether a file of the site answers where there is one.
    pub(super) fn files_first(&self) -> bool {
        self.group.route.files_first
    }

    /// What is sent as it is from the folder with the programs of a FastCGI route, where a GET or HEAD asks for such a file. Nothing of it is
    /// sent that `locked` has; `now_s`: the time of day, in seconds. It has a place among what all upstreams work on until it is taken.
    pub(super) async fn public(
        &self,
        (parts, client): (&Parts, Client),
        locked: Option<&Prefixes>,
        now_s: i64,
    ) -> Option<Result<Response, Refusal>> {
        let Group { route, tasks, site, servers, .. } = &*self.group;
        // Which folder it is said somebody who manages the server.
        let root = route.root.as_deref().filter(|_| route.inside == Some(true))?;
        let (path, prefix) =
            if route.strip_prefix { (self.rest.as_str(), route.prefix()) } else { (parts.uri.path(), "") };
        let path = fastcgi::public::fitting(path, &route.plain_files)?;
        let shared = &servers.first()?.shared;
        let Some(place) = shared.exchange(Owner::new(*site, client)) else { return Some(Err(Refusal::Busy)) };
        let found = fastcgi::public::find(tasks, root, path, &route.plain_files, parts, now_s).await?;
        // A link may lead to where another path is, too.
        if locked.is_some_and(|it| it.may_reach(Some(&format!("{prefix}{}", found.path)))) {
            return None;
        }
        let idle = Duration::from_secs(route.timeout_s.idle.into());
        Some(found.answer.map(|response| {
            if response.body().is_end_stream() {
                return response;
            }
            response.map(|body| Body::boxed(Taken::new(shared, Placed { body, _place: place }, idle)))
        }))
    }

    /// Answers a request by one of the route's servers.
    pub(super) async fn answer(&self, parts: &Parts, body: Body, client: Client) -> Result<Response, Refusal> {
        let asked =
            Asked { parts, body, client, rest: &self.rest, past_basic: self.past_basic, open: self.open.clone() };
        let mut response = Box::pin(self.group.answer(asked)).await?;
        response.extensions_mut().insert(Patient);
        Ok(response)
    }
}
