//! The composition root: settings to engines to services to servers. Holds no rules.
//!
//! Order at start: the data folder and its lock, the snapshot and with it the sites, then database, queue and the
//! control plane. What of the control plane cannot start leaves the sites answering, and says why.

mod authorities;
mod awaited;
pub mod caches;
pub mod control;
mod countries;
mod demo;
mod edge;
mod front;
pub mod ground;
mod http3;
mod links;
pub mod logs;
mod metrics;
pub mod moving;
mod outside;
pub mod queues;
pub mod scale;
pub mod settings;
mod stores;
mod switch;
pub mod tls;
mod turnstile;
mod upstreams;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::net::TcpListener;

use crate::{
    access_log::AccessLog,
    base::{clock::Clock, ids::Id, tasks::Tasks},
    config::server::Server as Settings,
    domain::{Error, Result},
    http::peer::Trust,
    net::{
        connection::{Limits, Server},
        listen,
    },
    serve::{
        BODIES, DataPlane,
        snapshot::Snapshot,
        snapshot_file::{self, LoadError},
    },
    services::{Addresses, Services},
    work,
};

use self::{
    ground::{Folder, Opened},
    switch::Switch,
};

/// How long a shutdown waits for what still runs.
const JOIN_MAX: Duration = Duration::from_secs(75);

/// How long a process whose disk has failed waits for answers that are under way.
const JOIN_BROKEN_MAX: Duration = Duration::from_secs(5);

/// Pause before a database or a queue that could not be reached at the start is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(2);

/// How long a shutdown waits for the database to hear that this node leaves.
const LEAVE_MAX: Duration = Duration::from_secs(2);

/// Pause before what was left half done is looked at again.
const CLEAN_UP_AGAIN: Duration = Duration::from_secs(5);

fn bind(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>> {
    listen::bind(addresses).map_err(|error| Error::invalid("listen", error.to_string()))
}

/// The sockets to which clients speak TLS, and what is shown to them.
struct Secure {
    shelf: tls::Shelf,
    listeners: Vec<TcpListener>,
    for_proxies: Vec<TcpListener>,
    /// Beside each listener, where there is one: for HTTP/3.
    http3: Vec<Option<http3::Beside>>,
    /// `:8443` for who comes from outside, or empty for 443.
    port: String,
}

impl Secure {
    /// `None` where no TLS is spoken.
    fn open(settings: &Settings, addresses: &Addresses, plane: &DataPlane, tasks: &Tasks) -> Result<Option<Self>> {
        if !settings.tls.is_on() {
            return Ok(None);
        }
        if addresses.scheme != "https" {
            tracing::warn!(
                "HTTPS is spoken, and addresses of sites and panel are told in clear all the same: set `public_url` to the panel's address \
                 with https://"
            );
        }
        let (listeners, for_proxies) = (bind(&settings.tls.listen)?, bind(&settings.tls.proxy_protocol_listen)?);
        let own = listeners.first().and_then(|it| it.local_addr().ok()).map_or(443, |it| it.port());
        let port = match &settings.public_url {
            Some(url) if url.scheme == "https" => url.port.clone(),
            _ if own == 443 => String::new(),
            _ => format!(":{own}"),
        };
        let shelf = tls::start(settings, &addresses.panel_host, &Clock::system(), tasks)?;
        let (plane, panel) = (plane.clone(), addresses.panel_host.clone());
        shelf.certificates().answer_for(move |name| name == panel || plane.snapshot().find(name).is_some());
        let http3 = http3::open(&settings.tls, &listeners);
        Ok(Some(Self { shelf, listeners, for_proxies, http3, port }))
    }

    /// Answers who connects, by each version.
    fn attend(self, tasks: &Tasks, server: Server, settings: &Settings, switch: &Arc<Switch>) -> Result<()> {
        let server = server.with_tls(self.shelf.certificates()).map_err(Error::internal)?;
        let public = settings.public_url.as_ref().filter(|it| it.scheme == "https");
        // Where a firewall passes other ports on, those are told that it has outside.
        let outside = public.map(|it| it.port.trim_start_matches(':').parse().unwrap_or(443));
        for (listener, socket) in self.listeners.into_iter().zip(&self.http3) {
            let own = socket.as_ref().zip(listener.local_addr().ok());
            let elsewhere = own.and_then(|(it, own)| http3::elsewhere(it, outside.unwrap_or(own.port())));
            attend(tasks, &server.clone().with_elsewhere(elsewhere), vec![listener], switch);
        }
        http3::attend(tasks, &server, self.shelf.certificates(), self.http3.into_iter().flatten().collect(), switch)?;
        attend(tasks, &server.for_proxies(), self.for_proxies, switch);
        Ok(())
    }

    fn to_https(&self) -> tls::ToHttps {
        tls::ToHttps::new(self.shelf.certificates(), &self.port)
    }
}

/// Answers who connects to these.
fn attend(tasks: &Tasks, server: &Server, listeners: Vec<TcpListener>, switch: &Arc<Switch>) {
    for listener in listeners {
        let (server, switch) = (server.clone(), Arc::clone(switch));
        tasks.spawn(async move {
            server.run(listener, move |request, peer| Arc::clone(&switch).answer(request, peer)).await;
        });
    }
}

/// Runs a server until `stop` resolves, also when it is still starting. `ready` is called once, with the panel's address on
/// this machine, when sites and panel answer.
pub async fn serve(
    settings: Settings,
    with_demo: bool,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(&str),
) -> Result<()> {
    let tasks = Tasks::new();
    let folder = take_folder(&settings, &tasks)?;
    let plane = plane(&folder, &settings, &tasks)?;
    let (listeners, for_proxies) = (bind(&settings.listen)?, bind(&settings.proxy_protocol_listen)?);
    let bound: Vec<SocketAddr> = listeners.iter().filter_map(|it| it.local_addr().ok()).collect();
    let addresses = addresses(&settings, bound.first().map_or(80, SocketAddr::port));
    let control: Arc<ArcSwapOption<Services>> = Arc::default();
    // Who comes in clear comes in clear, unless only a proxy can have ended the TLS of the public address.
    let untold = if settings.tls.is_on() { "http" } else { addresses.scheme };
    let trust =
        Trust { proxies: settings.trusted_proxies.clone(), own: outside::own(&settings.outside), scheme: untold };
    let server = Server::new(tasks.clone(), Limits::default()).with_proxies(&trust.proxies).with_own(&trust.own);
    let tls = Secure::open(&settings, &addresses, &plane, &tasks)?;
    let to_https = tls.as_ref().map(Secure::to_https);
    let switch = Switch::new(plane.clone(), addresses.clone(), trust, settings.role, Arc::clone(&control));
    let log = access_log(&settings, &tasks);
    let shelf = tls.as_ref().map(|it| it.shelf.clone());
    let switch = switch.with_certificates(shelf.clone());
    let own = settings.acme.as_ref().map_or_else(Vec::new, |it| it.addresses.clone());
    let switch = Arc::new(switch.with_own(own).with_redirect(to_https, settings.tls.redirect).with_log(log.clone()));
    attend(&tasks, &server, listeners, &switch);
    attend(&tasks, &server.clone().for_proxies(), for_proxies, &switch);
    if let Some(tls) = tls {
        tls.attend(&tasks, server, &settings, &switch)?;
    }
    let opening = Opening {
        folder: &folder,
        settings: &settings,
        addresses: &addresses,
        plane: &plane,
        tasks: &tasks,
        control: &control,
        shelf: shelf.as_ref(),
    };
    let mut opened = None;
    let ran = async {
        match opening.open().await {
            Ok(it) => start(&opening, opened.insert(it), &switch, with_demo, &bound).await?,
            // A first start that fails has nothing to serve, and is better ended than half there.
            Err(error) if plane.snapshot().instance == Id::NIL && !folder.is_known() => return Err(error),
            Err(error) => {
                tracing::error!(%error, "the control plane is down; sites are served from the last snapshot");
                switch.explain(&error);
            }
        }
        if settings.role.serves() && addresses.panel() != addresses.local_panel() {
            tracing::info!(panel = addresses.panel(), "the panel is reached from outside at its own address");
        }
        ready(&what_is_ready(&settings, &addresses));
        // A database, a queue or a folder that is somewhere else can come back, and then the control plane does.
        let comes_back =
            settings.postgres.is_some() || settings.redis.queue_url.is_some() || settings.blobs.folder.is_some();
        if opened.is_none() && comes_back {
            let opened = opened.insert(opening.open_again(&switch).await);
            start(&opening, opened, &switch, with_demo, &bound).await?;
        }
        Err(failed(opened.as_ref()).await)
    };
    let ended = tokio::select! {
        ended = ran => ended,
        () = stop => Ok(()),
    };
    tracing::info!("stopping");
    tasks.stop();
    // Without its stores nothing that still runs comes to a good end: a new process is what helps.
    let join_max = if ended.is_ok() { JOIN_MAX } else { JOIN_BROKEN_MAX };
    if tokio::time::timeout(join_max, tasks.join()).await.is_err() {
        tracing::warn!(running = tasks.running(), "some tasks did not end in time");
    }
    control.store(None);
    close(opened, log, &plane).await;
    ended
}

/// The data folder, before a bucket where there is one.
fn take_folder(settings: &Settings, tasks: &Tasks) -> Result<Folder> {
    let mut folder = Folder::take_with(&settings.data, settings.blobs.folder.as_deref())?;
    if let Some(bucket) = &settings.blobs.bucket {
        folder.attach(bucket, settings.blobs.cache_bytes, settings.disk_reserve, tasks)?;
    }
    Ok(folder)
}

/// The access log, where one is wanted. Without it, sites are served all the same.
fn access_log(settings: &Settings, tasks: &Tasks) -> Option<AccessLog> {
    let wish = settings.access_log.as_ref().filter(|_| settings.role.serves())?;
    let started = AccessLog::start(wish, Clock::system(), tasks);
    started.inspect_err(|error| tracing::error!(%error, "there is no access log: a restart tries it again")).ok()
}

/// Waits until the disk has failed under a store; without end where none is open.
async fn failed(opened: Option<&Opened>) -> Error {
    match opened {
        Some(opened) => opened.failed().await,
        None => std::future::pending().await,
    }
}

async fn close(opened: Option<Opened>, log: Option<AccessLog>, plane: &DataPlane) {
    if let Some(log) = log {
        log.close().await;
    }
    if let Some(opened) = opened {
        let last = work::count_traffic::last(&opened.services, plane.tally());
        if tokio::time::timeout(LEAVE_MAX, last).await.is_err() {
            tracing::warn!("the traffic of the last seconds could not be stored in time");
        }
        leave(&opened.services).await;
        opened.close();
    }
}

/// Where the panel is, or what a worker does.
fn what_is_ready(settings: &Settings, addresses: &Addresses) -> String {
    if settings.role.serves() {
        return addresses.local_panel();
    }
    let queues: Vec<&str> = settings.queues.iter().map(|it| it.word()).collect();
    format!("worker for {}", queues.join(", "))
}

/// Gives back what this node holds, so that another has it at once; else it waits until this one counts as dead. Lets go of what
/// has ended in a queue that is shared: another queue, which knows nothing of that, would run it again.
async fn leave(services: &Services) {
    match tokio::time::timeout(LEAVE_MAX, services.reconcile_outbox()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => tracing::debug!(%error, "jobs that have ended are still in the outbox"),
        Err(_) => tracing::debug!("jobs that have ended are still in the outbox"),
    }
    match tokio::time::timeout(LEAVE_MAX, services.leave()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "this node could not say that it leaves"),
        Err(_) => tracing::warn!("this node could not say in time that it leaves"),
    }
}

/// What it takes to open the control plane.
struct Opening<'a> {
    folder: &'a Folder,
    settings: &'a Settings,
    addresses: &'a Addresses,
    plane: &'a DataPlane,
    tasks: &'a Tasks,
    control: &'a ArcSwapOption<Services>,
    shelf: Option<&'a tls::Shelf>,
}

impl Opening<'_> {
    /// Opens the control plane as soon as that can be done.
    async fn open_again(&self, switch: &Switch) -> Opened {
        loop {
            tokio::time::sleep(OPEN_AGAIN).await;
            match self.open().await {
                Ok(opened) => return opened,
                Err(error) => switch.explain(&error),
            }
        }
    }

    async fn open(&self) -> Result<Opened> {
        let served = self.plane.snapshot();
        let opened = ground::open(
            self.folder,
            &ground::Wish {
                addresses: self.addresses.clone(),
                disk_reserve: self.settings.disk_reserve,
                tenant_bytes_max: self.settings.tenant_bytes_max,
                clock: Clock::system(),
                tasks: self.tasks.clone(),
                snapshot: Some(served.instance).filter(|it| *it != Id::NIL),
                postgres: self.settings.postgres.clone(),
                role: self.settings.role,
                labels: self.settings.labels.clone(),
                retention: self.settings.retention,
                queue_url: self.settings.redis.queue_url.clone(),
                cache_url: self.settings.redis.cache_url.clone(),
                master_key_file: self.settings.master_key_file.clone(),
                acme: self.settings.acme.clone(),
                edge: self.settings.edge.clone(),
                outside: outside::open(&self.settings.outside, self.plane.countries().clone()),
            },
        )
        .await?;
        if served.instance != Id::NIL && served.instance != opened.services.instance {
            return Err(ground::foreign());
        }
        Ok(opened)
    }
}

/// Starts the control plane on its stores. A disk that fails meanwhile ends that: much here waits for what is then not done.
async fn start(
    opening: &Opening<'_>,
    opened: &Opened,
    switch: &Switch,
    with_demo: bool,
    bound: &[SocketAddr],
) -> Result<()> {
    tokio::select! {
        started = start_on(opening, &opened.services, switch, with_demo, bound) => started?,
        why = opened.failed() => return Err(why),
    }
    opening.control.store(Some(Arc::new(opened.services.clone())));
    Ok(())
}

async fn start_on(
    opening: &Opening<'_>,
    services: &Services,
    switch: &Switch,
    with_demo: bool,
    bound: &[SocketAddr],
) -> Result<()> {
    clean_up(services, opening.tasks).await;
    if services.node.role.serves() {
        switch.open(services);
    }
    services.look_at_front(Arc::new(switch.front()));
    services.look_at_upstreams(Arc::new(upstreams::Seen(opening.plane.clone())));
    let context = work::Context {
        services: services.clone(),
        plane: opening.plane.clone(),
        snapshots: opening.folder.path.clone(),
        instance: services.instance,
        tasks: opening.tasks.clone(),
        queues: opening.settings.queues.clone(),
        garbage: opening.settings.garbage.clone(),
    };
    if let Some(shelf) = opening.shelf {
        services.cover(&shelf.names_in_files());
        opening.tasks.spawn(tls::follow_challenges(shelf.clone(), services.clone(), opening.tasks.clone()));
        opening.tasks.spawn(tls::follow(shelf.clone(), services.clone(), opening.tasks.clone()));
    }
    work::start(&context);
    if !services.node.role.serves() {
        return Ok(());
    }
    // Others ask for it over HTTP, where nothing may wait for the database.
    if let Err(error) = services.check_word().await {
        tracing::debug!(%error, "checks of hostnames cannot be answered yet");
    }
    // The first snapshot stands before anybody is told that the server is ready.
    let number = services.signals().routes_changed();
    services.signals().routes_live(number).await;
    if with_demo {
        demo::deploy(services).await?;
    }
    if let Err(error) = control::start(services, opening.tasks, &opening.folder.path) {
        tracing::error!(%error, "the control socket is not there: `chainhost admin` needs a restart of the server");
    }
    if let Err(error) = links::announce(services, &opening.folder.path, bound).await {
        tracing::error!(%error, "no claim link could be made: `chainhost admin claim-link` makes one");
    }
    Ok(())
}

/// Ends what an earlier process has left half done. INVARIANT: nothing here keeps the sites from answering; on a full disk
/// it is tried until there is space.
async fn clean_up(services: &Services, tasks: &Tasks) {
    let started_ms = services.clock.now_ms();
    if let Err(error) = services.sweep_archives() {
        tracing::warn!(%error, "archives that were being received are left in the data folder");
    }
    // Nothing is accepted yet, so that all of it is from before, whatever the clock said then. Later only what is older can be told
    // from what this process unpacks.
    let Err(error) = services.fail_interrupted(i64::MAX).await else { return };
    tracing::warn!(%error, "deployments that were being unpacked still look so; trying again");
    let (services, stop) = (services.clone(), tasks.clone());
    tasks.spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(CLEAN_UP_AGAIN) => {}
                () = stop.stopping() => return,
            }
            if services.fail_interrupted(started_ms).await.is_ok() {
                return;
            }
        }
    });
}

/// The data plane with the last snapshot on disk, if there is one.
fn plane(folder: &Folder, settings: &Settings, tasks: &Tasks) -> Result<DataPlane> {
    let snapshot = match snapshot_file::load(&folder.path) {
        Err(damaged @ LoadError::AllDamaged(_)) => {
            tracing::error!("{damaged}");
            Snapshot::new(Id::NIL, 0)
        }
        Err(error) => return Err(Error::internal(error.to_string())),
        Ok(Some(loaded)) => {
            for damaged in &loaded.damaged {
                tracing::warn!(file = %damaged.display(), "a damaged snapshot was passed over");
            }
            loaded.snapshot
        }
        Ok(None) => Snapshot::new(Id::NIL, 0),
    };
    let resolver = Arc::new(outside::Upstreams::new(&settings.outside));
    let bodies = folder.path.join(BODIES);
    let countries = countries::open(settings.geo_database.as_deref(), tasks);
    let plane = DataPlane::resolving(folder.blobs.clone(), snapshot, tasks.clone(), Clock::system(), resolver, bodies)
        .knowing(countries);
    // Where caches are purged, what this snapshot has may be purged already.
    Ok(if settings.edge.is_empty() { plane } else { plane.of_before() })
}

/// Where sites and panel are reached, from the settings and the port that is listened on.
pub fn addresses(settings: &Settings, local_port: u16) -> Addresses {
    let own = || if local_port == 80 { String::new() } else { format!(":{local_port}") };
    let public = settings.public_url.as_ref();
    Addresses {
        scheme: public.map_or("http", |it| it.scheme),
        sites_domain: settings.sites_domain.clone(),
        port: public.map_or_else(own, |it| it.port.clone()),
        panel_host: settings.panel_host.clone(),
        local_port,
    }
}

/// The control socket of a data folder.
pub fn socket_path(data: &Path) -> std::path::PathBuf {
    data.join("control.sock")
}
