//! Use cases: transactions, authorisation, audit and enqueueing. Nothing here knows HTTP, templates or an engine.
//!
//! A method takes the `Actor` first and asks it for the right that it needs; what comes back of `Actor::require` is the
//! only leave for a tenant's rows. A change and its audit row, its jobs and its publication are one transaction; caches
//! and the data plane hear of it after the commit.

pub mod access;
pub mod agenda;
pub mod archive;
mod audit;
pub mod bans;
pub mod bundle;
pub mod carry_jobs;
pub mod certificates;
pub mod certify;
pub mod check_files;
mod claim;
pub mod collect;
mod complete;
pub mod deployments;
pub mod doctor;
pub mod edge;
pub mod folder;
pub mod front;
pub mod home;
pub mod ingest;
pub mod jobs;
mod keys;
pub mod latency;
mod months;
pub mod nodes;
mod password;
mod places;
pub mod publish;
mod relay;
pub mod routes;
pub mod rules;
pub mod schedules;
pub mod secrets;
mod sign_in;
pub mod signals;
pub mod site_guests;
pub mod site_settings;
pub mod sites;
pub mod stores;
pub mod summary;
pub mod traffic;
pub mod uploads;
pub mod upstreams;
mod users;
pub mod watch;
pub mod windows;
mod zone;

use std::{path::PathBuf, sync::Arc};

use crate::{
    base::{
        blob_dir::BlobDir,
        clock::Clock,
        files,
        ids::{Id, Ids},
        tasks::Tasks,
        units::ByteSize,
    },
    domain::{
        Error, Result,
        access::{Actor, TenantScope},
        event::Event,
        month::Retention,
        node::Topic,
        site::SiteName,
    },
    ports::{
        cache::Cache,
        counts::Counts,
        db::{Db, ReadTx, WriteTx},
        queue::Jobs,
    },
    store,
};

pub use crate::ports::queue::{Depth, JobFilter};

use self::{
    agenda::Agenda,
    certify::Acme,
    doctor::Outside,
    edge::Edge,
    front::Front,
    home::Home,
    latency::Latency,
    months::Months,
    nodes::{Node, Nodes},
    password::Hashing,
    places::Places,
    relay::Outlook,
    secrets::Secrets,
    signals::Signals,
    stores::Stores,
    upstreams::Upstreams,
    watch::Looks,
    windows::Windows,
};

/// What the services stand on, made once by the composition root.
#[derive(Debug)]
pub struct Ground {
    /// The database.
    pub db: Db,
    /// The queue.
    pub jobs: Jobs,
    /// The cache.
    pub cache: Cache,
    /// What is counted together with other processes.
    pub counts: Counts,
    /// The bytes.
    pub blobs: BlobDir,
    /// Where they live when the folder is a cache.
    pub home: Option<Home>,
    /// The time of day.
    pub clock: Clock,
    /// The maker of ids.
    pub ids: Ids,
    /// What runs beside.
    pub tasks: Tasks,
    /// The data folder.
    pub data: PathBuf,
    /// Where sites and panel are reached.
    pub addresses: Addresses,
    /// Bytes that must stay free on the disk; `None`: the smaller of a tenth and 1 GiB.
    pub disk_reserve: Option<u64>,
    /// Bytes that all kept deployments of one tenant may have together; `None`: as many as the disk takes.
    pub tenant_bytes_max: Option<u64>,
    /// How long rows are kept in tables by month.
    pub retention: Retention,
    /// The id of this installation.
    pub instance: Id,
    /// Which of its nodes this is.
    pub node: Node,
    /// Where the data is, for people.
    pub stores: Stores,
    /// The master key under which secrets are kept.
    pub secrets: Secrets,
    /// Authorities that are asked for certificates, if any are.
    pub acme: Option<Acme>,
    /// Caches in front of the server that are purged, if any are.
    pub edge: Option<Edge>,
    /// Names and addresses of the world outside.
    pub outside: Outside,
}

/// Where sites and panel are reached from outside.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The domain below which every site has its name: `localhost`.
    pub sites_domain: String,
    /// `:8080`, or empty for the scheme's own port.
    pub port: String,
    /// The panel's host without port: `localhost`.
    pub panel_host: String,
    /// The port that the server listens on: on this machine, `localhost` with it is the panel too.
    pub local_port: u16,
}

impl Addresses {
    /// The address of a site.
    pub fn site(&self, name: &SiteName) -> String {
        format!("{}://{name}.{}{}/", self.scheme, self.sites_domain, self.port)
    }

    /// The preview address of a deployment.
    pub fn preview(&self, label: &str, name: &SiteName) -> String {
        format!("{}://{label}--{name}.{}{}/", self.scheme, self.sites_domain, self.port)
    }

    /// The panel for who sits at this machine, or comes through SSH; without a slash at its end.
    pub fn local_panel(&self) -> String {
        format!("http://localhost:{}", self.local_port)
    }

    /// Whether this is the panel's host.
    pub fn is_panel(&self, host: &str) -> bool {
        host == self.panel_host
    }

    /// The panel, without a slash at its end.
    pub fn panel(&self) -> String {
        format!("{}://{}{}", self.scheme, self.panel_host, self.port)
    }
}

/// All use cases. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Services(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ground: Ground,
    signals: Signals,
    windows: Windows,
    hashing: Hashing,
    looks: Looks,
    places: Places,
    nodes: Nodes,
    months: Months,
    latency: Arc<Latency>,
    agenda: Agenda,
    outlook: Outlook,
    upstreams: Upstreams,
    front: Front,
    word: doctor::Word,
    works: edge::Works,
}

impl std::ops::Deref for Services {
    type Target = Ground;

    fn deref(&self) -> &Ground {
        &self.0.ground
    }
}

impl Services {
    /// Makes the services.
    pub fn new(ground: Ground) -> Self {
        let hashing = Hashing::new(ground.tasks.clone());
        let windows = Windows::new(ground.clock.clone(), ground.counts.clone());
        let nodes = Nodes::new(ground.node.id);
        let inner = Inner {
            ground,
            signals: Signals::new(),
            windows,
            hashing,
            looks: Looks::default(),
            places: Places::default(),
            nodes,
            months: Months::default(),
            latency: Arc::default(),
            agenda: Agenda::default(),
            outlook: Outlook::default(),
            upstreams: Upstreams::default(),
            front: Front::default(),
            word: doctor::Word::default(),
            works: edge::Works::default(),
        };
        Self(Arc::new(inner))
    }

    /// Where the relay looks.
    fn outlook(&self) -> &Outlook {
        &self.0.outlook
    }

    /// What changed, for tasks and pages that wait.
    pub fn signals(&self) -> &Signals {
        &self.0.signals
    }

    /// The windows of the limits on tries and calls.
    pub fn windows(&self) -> &Windows {
        &self.0.windows
    }

    fn upstreams(&self) -> &Upstreams {
        &self.0.upstreams
    }

    fn front(&self) -> &Front {
        &self.0.front
    }

    fn word(&self) -> &doctor::Word {
        &self.0.word
    }

    fn works(&self) -> &edge::Works {
        &self.0.works
    }

    fn hashing(&self) -> &Hashing {
        &self.0.hashing
    }

    fn looks(&self) -> &Looks {
        &self.0.looks
    }

    fn nodes(&self) -> &Nodes {
        &self.0.nodes
    }

    fn places(&self) -> &Places {
        &self.0.places
    }

    fn months(&self) -> &Months {
        &self.0.months
    }

    /// Writes an event of `actor` in the transaction of the change.
    fn record(&self, tx: &mut WriteTx<'_>, actor: &Actor, event: &Event) -> Result<()> {
        store::audit_log::append(tx, self.ids.next(), actor, event, self.clock.now_ms())?;
        self.tell(tx, Topic::Audit)
    }

    /// Runs work that blocks, or that takes long on large input, on the pool for it.
    pub async fn blocking<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        self.tasks.blocking(work).await.unwrap_or_else(|| Err(Error::internal("a blocking task panicked")))
    }

    /// Refuses a deployment that would take its tenant above the quota. `counted`: its bytes that are counted already.
    fn check_quota(&self, tx: &mut ReadTx<'_>, scope: TenantScope, bytes: u64, counted: u64) -> Result<()> {
        let Some(max) = self.tenant_bytes_max else { return Ok(()) };
        let used = u64::try_from(store::deployments::sum_bytes(tx, scope)?).unwrap_or(0).saturating_sub(counted);
        if used.saturating_add(bytes) <= max {
            return Ok(());
        }
        let (used, bytes, max) = (ByteSize(used), ByteSize(bytes), ByteSize(max));
        let text = format!(
            "The deployments of this tenant that are kept or under way have {used}, and {bytes} more would be above its quota of {max}. Delete a \
             site or ask the server's admin for more."
        );
        Err(Error::conflict("quota", text))
    }

    /// Refuses work that would leave too little free on the disk (DECISIONS 25).
    pub fn admit(&self, bytes: u64) -> Result<()> {
        // The bytes may be on another disk than the rest.
        let (own, of_blobs) = (files::space(&self.data)?, files::space(self.blobs.root())?);
        let space = if of_blobs.free < own.free { of_blobs } else { own };
        let reserve = space.reserve(self.disk_reserve);
        if space.free.saturating_sub(bytes) >= reserve {
            return Ok(());
        }
        if let Some(home) = &self.home {
            // What the store has too can leave the disk: asked again, it may fit.
            home.want_space(bytes);
        }
        let (free, reserve) = (ByteSize(space.free), ByteSize(reserve));
        Err(Error::unavailable(
            "disk_reserve",
            format!(
                "The disk of this server has {free} free and keeps {reserve} in reserve, so {} more are not taken. Nothing \
                 was changed; sites go on answering. Free some space, or remove old deployments and run \
                 `chainhost gc`.",
                ByteSize(bytes)
            ),
        ))
    }
}
