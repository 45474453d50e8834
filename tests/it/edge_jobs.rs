//! Jobs that purge caches, on real stores and without a server: when they wait, whom they leave a job to, whose hostnames they purge and
//! what becomes of it. The provider is the test's.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use chainhost::{
    base::{
        clock::{Clock, Hands},
        ids::{Id, Ids},
        tasks::Tasks,
    },
    domain::{
        access::Actor,
        acme::{Kind as Seen, records::Trouble},
        certificate::kept::{Kept, Source},
        dns::{Answer, Failure, Kind, Record},
        edge::{Batch, Provider, What},
        hostname::Hostname,
        job::{JobId, NewJob, Queue},
        node::{NodeId, Role},
        site::{Site, SiteId, SiteName},
        tenant::{Tenant, TenantId},
        user,
    },
    ports::{
        acme::Later,
        db::WriteTx,
        dns::{Answered, Dns, Names, Way},
        edge::{Access, Call, Edge as Port},
        queue::Jobs,
        reach::{Reach, Reached, Said, Silence},
    },
    services::{
        Ground, Services,
        doctor::{self, Outside},
        edge::{Edge, Ended, Entry, Failed, PURGE_EDGE, Purge, Run},
        nodes::Node,
    },
    store,
};
use tempfile::TempDir;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::{
    conformance::Place as _,
    queue_redb::MemoryPlace,
    support::{base::Base, ground::ground},
};

const MINUTE_MS: i64 = 60_000;

/// An address that leads to the server of the test, one that leads to another, and one at which nobody is.
pub(crate) const HERE: &str = "9.9.9.9";
pub(crate) const OTHER: &str = "8.8.8.8";
pub(crate) const NOBODY: &str = "7.7.7.7";

/// The world outside. Names of which it was told nothing have no addresses.
#[derive(Debug, Default)]
pub(crate) struct World {
    names: Mutex<HashMap<String, Result<&'static str, Failure>>>,
    here: OnceLock<Services>,
    /// The hostnames that were visited.
    pub(crate) visited: Mutex<Vec<String>>,
}

impl World {
    pub(crate) fn lead(&self, host: &str, to: Result<&'static str, Failure>) {
        self.names.lock().unwrap().insert(host.to_owned(), to);
    }
}

impl Names for World {
    fn ask<'a>(&'a self, name: &'a str, kind: Kind, _way: Way) -> Answered<'a> {
        let found = self.names.lock().unwrap().get(name).copied();
        Box::pin(async move {
            let Some(address) = found.transpose()?.filter(|_| kind == Kind::A) else { return Ok(Answer::default()) };
            Ok(Answer { records: vec![Record::A(address.parse().unwrap())], ttl_s: 60, ..Answer::default() })
        })
    }

    fn local(&self, _name: &str) -> Vec<IpAddr> {
        Vec::new()
    }

    fn servers(&self) -> Vec<SocketAddr> {
        Vec::new()
    }
}

impl Reach for World {
    fn get<'a>(&'a self, address: SocketAddr, host: &'a str, path: &'a str) -> Reached<'a> {
        self.visited.lock().unwrap().push(host.to_owned());
        let nonce = path.strip_prefix(doctor::HERE).unwrap();
        let here = || self.here.get().unwrap().answer_here(host, nonce, false).unwrap().into_bytes();
        let said = match address.ip().to_string().as_str() {
            HERE => Ok(Said { status: 200, body: here(), ..Said::default() }),
            OTHER => Ok(Said { status: 404, ..Said::default() }),
            _ => Err(Silence::TimedOut),
        };
        Box::pin(async move { said })
    }

    fn get_by_tls<'a>(&'a self, address: SocketAddr, _host: &'a str, _path: &'a str) -> Reached<'a> {
        panic!("{address} was asked by TLS, and nobody orders a certificate");
    }

    fn own(&self) -> Vec<IpAddr> {
        Vec::new()
    }
}

/// A provider that takes on everything, but for zones that a test has it fail for.
#[derive(Default)]
pub(crate) struct Played {
    calls: Mutex<Vec<(String, Batch)>>,
    fails: Mutex<HashMap<&'static str, Trouble>>,
}

impl Port for Played {
    fn purge<'a>(&'a self, _access: &'a Access, call: &'a Call) -> Later<'a, Result<(), Trouble>> {
        self.calls.lock().unwrap().push((call.zone.clone(), call.batch.clone()));
        let fails = self.fails.lock().unwrap().get(call.zone.as_str()).cloned();
        Box::pin(async move { fails.map_or(Ok(()), Err) })
    }
}

impl Played {
    pub(crate) fn taken(&self) -> Vec<(String, Batch)> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    pub(crate) fn fail(&self, zone: &'static str, trouble: Trouble) {
        self.fails.lock().unwrap().insert(zone, trouble);
    }
}

/// A process with services, and what its provider was asked.
pub(crate) struct Process {
    pub(crate) services: Services,
    pub(crate) provider: Arc<Played>,
    pub(crate) world: Arc<World>,
    /// Of its time of day.
    pub(crate) hands: Hands,
    pub(crate) tenant: TenantId,
    _folder: TempDir,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

impl Process {
    /// One that knows the caches of these zones, if there are any, and serves visitors all that there is.
    pub(crate) async fn start(base: &Base, node: Node, zones: &[&str]) -> Self {
        let it = Self::start_cold(base, node, zones).await;
        it.services.signals().routes_applied(u64::MAX);
        it.services.signals().routes_serve(i64::MAX);
        it
    }

    /// One that has not made its first pass.
    pub(crate) async fn start_cold(base: &Base, node: Node, zones: &[&str]) -> Self {
        let (folder, provider, world) =
            (tempfile::tempdir().unwrap(), Arc::<Played>::default(), Arc::<World>::default());
        let (clock, hands) = Clock::manual(Clock::system().now_ms());
        let access = Access {
            provider: Provider::Webhook,
            token: Zeroizing::new(String::from("secret")),
            api: None,
            roots: None,
        };
        let entries = zones.iter().map(|zone| Entry { zone: (*zone).to_owned(), access: access.clone() }).collect();
        let edge = (!zones.is_empty()).then(|| Edge::new(Arc::<Played>::clone(&provider), entries));
        let jobs = Jobs::new(MemoryPlace::new(3).open(clock.clone(), 100));
        let ground = ground(folder.path(), base.open(), jobs, clock);
        let names: Arc<dyn Names> = Arc::<World>::clone(&world);
        let outside = Outside {
            dns: Dns::new(names, &[]),
            reach: Arc::<World>::clone(&world),
            http_port: 80,
            ..Outside::default()
        };
        let services = Services::new(Ground { tasks: Tasks::new(), node, edge, outside, ..ground });
        world.here.set(services.clone()).unwrap();
        let tenant = services.actor_local().await.unwrap().scope.tenant();
        Self { services, provider, world, hands, tenant, _folder: folder }
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.services.clock.now_ms()
    }

    /// Runs a job of a tenant that was asked for so long ago.
    pub(crate) async fn run(&self, tenant: TenantId, age_ms: i64, purge: &Purge) -> Ended {
        self.run_as(self.services.ids.next().into(), tenant, age_ms, purge).await
    }

    /// The same of a job that may have run before.
    pub(crate) async fn run_as(&self, id: JobId, tenant: TenantId, age_ms: i64, purge: &Purge) -> Ended {
        let created_ms = self.now_ms() - age_ms;
        self.services.purge_edge(&Run { id, tenant, created_ms, purge }).await.unwrap()
    }

    /// Tells the others what visitors are served here.
    async fn serve(&self, number: i64) {
        self.services.signals().routes_serve(number);
        self.services.beat().await.unwrap();
    }

    /// A site of a tenant, with hostnames.
    pub(crate) async fn add_site(&self, tenant: TenantId, name: &str, hosts: &[String]) -> Site {
        let (actor, name) = (self.person(tenant), SiteName::parse(name).unwrap());
        self.services.create_site(&actor, name.as_str()).await.unwrap();
        let (scope, hosts) = (actor.scope, hosts.to_vec());
        let add = move |tx: &mut WriteTx<'_>| {
            let site = store::sites::find(tx, scope, &name)?.unwrap();
            for host in hosts {
                store::hostnames::insert(tx, scope, site.id, &Hostname::parse(&host)?, 1)?;
            }
            Ok(site)
        };
        self.services.db.write(add).await.unwrap()
    }

    /// An admin of a tenant.
    pub(crate) fn person(&self, tenant: TenantId) -> Actor {
        Actor { role: user::Role::Admin, ..self.services.actor_system(tenant, "test") }
    }

    /// What a job says that was asked for, once it is in the queue.
    pub(crate) async fn handed_over(&self, id: JobId) -> Purge {
        self.services.relay_outbox().await.unwrap();
        let job = self.services.jobs.get(id).await.unwrap().unwrap();
        serde_json::from_str(&job.new.payload).unwrap()
    }

    /// A job of a tenant that has died.
    pub(crate) async fn die(&self, tenant: TenantId, purge: &Purge) -> JobId {
        let now_ms = self.now_ms();
        let job = NewJob {
            id: self.services.ids.next().into(),
            queue: Queue::Deploy,
            kind: PURGE_EDGE.to_owned(),
            tenant: Some(tenant),
            payload: serde_json::to_string(purge).unwrap(),
            priority: 0,
            run_at_ms: now_ms,
            title: String::from("Purge caches of shop"),
            created_ms: now_ms,
            unique: None,
            after: Vec::new(),
        };
        let id = job.id;
        self.services.jobs.enqueue(vec![job]).await.unwrap();
        self.services.jobs.bury(id, String::from("no")).await.unwrap();
        id
    }

    /// A certificate of a tenant.
    pub(crate) async fn keep(
        &self,
        tenant: TenantId,
        name: &str,
        (source, seen_by): (Source, Option<Seen>),
        until_ms: i64,
    ) {
        let kept = Kept {
            id: self.services.ids.next().into(),
            tenant,
            names: vec![name.to_owned()],
            source,
            seen_by,
            for_server: false,
            chain: String::new(),
            key_sealed: Vec::new(),
            issuer: String::new(),
            from_ms: 0,
            until_ms,
            created_ms: 0,
        };
        let scope = self.services.actor_system(tenant, "test").scope;
        self.services.db.write(move |tx| store::certificates::insert(tx, scope, &kept)).await.unwrap();
    }

    /// Another tenant than the operator's.
    pub(crate) async fn another_tenant(&self) -> TenantId {
        let id: TenantId = self.services.ids.next().into();
        let tenant = Tenant { id, name: format!("other-{id}"), created_ms: 1 };
        self.services.db.write(move |tx| store::tenants::insert(tx, &tenant)).await.unwrap();
        id
    }
}

fn node(role: Role, queue: Option<&str>) -> Node {
    let id = NodeId(Ids::new(Clock::system()).next());
    Node { id, role, labels: Vec::new(), shares: true, queue: queue.map(str::to_owned) }
}

pub(crate) fn purge(hosts: &[&str], what: What) -> Purge {
    let hosts = hosts.iter().map(|it| (*it).to_owned()).collect();
    Purge { site: SiteId(Id::from_bytes([7; 16])), name: String::from("shop"), hosts, what, by_operator: false }
}

pub(crate) fn all(zone: &str, hosts: &[&str]) -> (String, Batch) {
    (zone.to_owned(), Batch::Hosts(hosts.iter().map(|it| (*it).to_owned()).collect()))
}

pub(crate) fn failed(ended: Ended) -> Failed {
    let Ended::Failed(failed) = ended else { panic!("{ended:?}") };
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_purged_before_visitors_are_served_it() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start_cold(&base, Node::alone(), &["zone.test"]).await;
    let job = purge(&["www.zone.test"], What::All);
    assert_eq!(process.run(process.tenant, 0, &job).await, Ended::Early, "what an earlier process kept is served");
    process.services.signals().routes_serve(0);
    assert_eq!(process.run(process.tenant, 0, &job).await, Ended::Done);
    assert_eq!(process.provider.taken(), [all("zone.test", &["www.zone.test"])]);
    process.services.signals().routes_changed();
    assert_eq!(process.run(process.tenant, 60 * MINUTE_MS, &job).await, Ended::Early, "a change is not served yet");
    assert_eq!(process.provider.taken(), []);
    process.services.signals().routes_applied(1);
    assert_eq!(process.run(process.tenant, 0, &job).await, Ended::Done);
    assert_eq!(process.provider.taken().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_waits_for_every_node_that_serves() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let one = Process::start(&base, node(Role::All, None), &["zone.test"]).await;
    let web = Process::start_cold(&base, node(Role::Web, None), &[]).await;
    let worker = Process::start_cold(&base, node(Role::Worker, None), &[]).await;
    let job = purge(&["www.zone.test"], What::All);
    // Each of a site of its own: none finds itself done by another.
    let run = async |age_ms| {
        let job = Purge { site: SiteId(one.services.ids.next()), ..job.clone() };
        one.run(one.tenant, age_ms, &job).await
    };
    worker.services.beat().await.unwrap();
    one.serve(0).await;
    assert_eq!(run(0).await, Ended::Done, "nobody comes to a worker");
    // Somebody has changed something: its number is 1.
    one.services.look_again().await.unwrap();
    assert_eq!(run(0).await, Ended::Early, "not even here");
    one.serve(1).await;
    assert_eq!(run(0).await, Ended::Done);
    assert_eq!(one.provider.taken().len(), 2);
    web.services.beat().await.unwrap();
    assert_eq!(run(20_000).await, Ended::Early, "it has just started");
    web.serve(1).await;
    assert_eq!(run(0).await, Ended::Done);
    one.services.look_again().await.unwrap();
    one.serve(2).await;
    assert_eq!(run(20_000).await, Ended::Early);
    assert_eq!(one.provider.taken().len(), 1);
    assert_eq!(run(2 * MINUTE_MS).await, Ended::Done, "one with troubles of its own keeps nobody for ever");
    // A node of the release before lives, and says nothing.
    web.services.beat().await.unwrap();
    base.run("DELETE FROM news WHERE topic LIKE 'serves %'");
    assert_eq!(run(9_000).await, Ended::Early);
    assert_eq!(run(10_000).await, Ended::Done);
    web.serve(2).await;
    one.services.look_again().await.unwrap();
    one.serve(3).await;
    web.services.leave().await.unwrap();
    assert_eq!(run(0).await, Ended::Done, "who has left serves nobody");
    assert_eq!(base.count("SELECT COUNT(*) FROM news WHERE topic LIKE 'serves %'"), 1);
    // What nodes say of themselves is no news of theirs.
    let news = one.services.db.read(store::nodes::list_news).await.unwrap();
    assert!(news.iter().all(|it| !it.0.contains(' ')), "{news:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_that_waits_has_no_place_and_comes_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let one = Process::start(&base, node(Role::All, None), &["zone.test"]).await;
    let web = Process::start_cold(&base, node(Role::Web, None), &[]).await;
    one.services.look_again().await.unwrap();
    one.serve(1).await;
    web.services.beat().await.unwrap();
    let (job, id) = (purge(&["www.zone.test"], What::All), one.services.ids.next().into());
    let begin = Instant::now();
    assert_eq!(one.run_as(id, one.tenant, 0, &job).await, Ended::Early);
    assert!(begin.elapsed() < Duration::from_secs(2), "others have its place by now: {:?}", begin.elapsed());
    // What others change meanwhile is not what it waits for.
    one.services.look_again().await.unwrap();
    one.serve(2).await;
    web.serve(1).await;
    assert_eq!(one.run(one.tenant, 0, &job).await, Ended::Early, "a job that is new waits for the change of others");
    assert_eq!(one.run_as(id, one.tenant, 0, &job).await, Ended::Done);
    assert_eq!(one.provider.taken(), [all("zone.test", &["www.zone.test"])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_take_on_a_change_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start_cold(&base, Node::alone(), &["zone.test"]).await;
    let (job, id) = (purge(&["www.zone.test"], What::All), process.services.ids.next().into());
    let run = || process.run_as(id, process.tenant, 0, &job);
    assert_eq!(run().await, Ended::Early);
    process.hands.advance(2 * MINUTE_MS - 1);
    assert_eq!(run().await, Ended::Early);
    process.hands.advance(1);
    let told = failed(run().await);
    assert!(matches!(told.trouble, Trouble::Broken(_)), "it goes on: {told:?}");
    assert!(told.text.ends_with("Its log says why the snapshot could not be rebuilt."), "{}", told.text);
    assert_eq!(process.provider.taken(), []);
    process.services.signals().routes_serve(0);
    assert_eq!(run().await, Ended::Done);
    // What a job was tried for before has nothing to do with it.
    let id = process.services.ids.next().into();
    let run = || process.run_as(id, process.tenant, 0, &job);
    process.provider.fail("zone.test", Trouble::Slow);
    assert_eq!(failed(run().await).trouble, Trouble::Slow);
    process.hands.advance(5 * MINUTE_MS);
    process.services.signals().routes_changed();
    assert_eq!(run().await, Ended::Early);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_for_caches_of_others_is_left_to_them() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let without = Process::start(&base, node(Role::All, Some("redis")), &[]).await;
    let part = Process::start(&base, node(Role::Worker, Some("redis")), &["part.test"]).await;
    let job = purge(&["www.part.test", "www.zone.test"], What::All);
    let no_edge = "This node has no [[edge]] with the zone of www.part.test, or could not read its token,";
    without.services.beat().await.unwrap();
    let alone = failed(without.run(without.tenant, 0, &job).await);
    assert!(alone.text.starts_with(no_edge) && alone.trouble == Trouble::NoZone, "{}", alone.text);
    part.services.beat().await.unwrap();
    assert_eq!(part.run(part.tenant, 0, &job).await, Ended::Elsewhere);
    assert_eq!(part.provider.taken(), [], "not again and again until another one takes it");
    // Ten minutes of tries here, however long its queue stood still or another node had it.
    let id = without.services.ids.next().into();
    let late = async |of: &Process| {
        let pauses = [0, 5 * MINUTE_MS].into_iter().chain([20_000; 28]);
        for pause_ms in pauses {
            of.hands.advance(pause_ms);
            assert_eq!(of.run_as(id, of.tenant, 7 * 60 * MINUTE_MS, &job).await, Ended::Elsewhere);
        }
        of.hands.advance(10_000);
        failed(of.run_as(id, of.tenant, 7 * 60 * MINUTE_MS, &job).await)
    };
    let told = late(&without).await;
    assert_eq!(told.tried_ms, 5 * MINUTE_MS + 570_000);
    let late_text = told.text;
    assert!(
        late_text.starts_with("For ten minutes no node took this job") && late_text.ends_with("run the job again.")
    );
    let late = late(&part).await;
    assert!(late.text.contains("with the zone of www.zone.test"), "{}", late.text);
    assert_eq!(part.provider.taken(), [all("part.test", &["www.part.test"])], "what it can is done at last");
    // A queue in its own data folder is nobody else's.
    let own = Process::start(&base, node(Role::All, None), &[]).await;
    assert!(failed(own.run(own.tenant, 0, &job).await).text.starts_with("This node has no [[edge]]"));
    // A node that runs no jobs takes none.
    part.services.leave().await.unwrap();
    let web = Process::start(&base, node(Role::Web, Some("redis")), &["zone.test"]).await;
    web.services.beat().await.unwrap();
    assert!(failed(without.run(without.tenant, 0, &job).await).text.starts_with(no_edge));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_provider_keeps_no_other_from_purging() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start(&base, Node::alone(), &["a.test", "b.test", "c.test", "deep.a.test"]).await;
    let hosts = ["www.a.test", "www.b.test", "www.c.test", "x.deep.a.test"];
    let job = purge(&hosts, What::All);
    let run = || process.run(process.tenant, 0, &job);
    let asked = || {
        let mut zones: Vec<String> = process.provider.taken().into_iter().map(|it| it.0).collect();
        zones.sort();
        zones.join(" ")
    };
    process.provider.fail("a.test", Trouble::Token);
    let text = failed(run().await).text;
    assert!(text.starts_with("The caches of a.test were not purged: the webhook does not believe who asks."), "{text}");
    assert_eq!(asked(), "a.test b.test c.test deep.a.test");
    // What may pass is told first: the job goes on then.
    process.provider.fail("c.test", Trouble::Slow);
    let told = failed(run().await);
    assert_eq!((told.trouble, asked().as_str()), (Trouble::Slow, "a.test b.test c.test deep.a.test"));
    assert!(told.text.starts_with("The caches of c.test were not purged: "), "{}", told.text);
    process.provider.fail("a.test", Trouble::NoZone);
    process.provider.fails.lock().unwrap().remove("c.test");
    let text = failed(run().await).text;
    assert!(text.contains("the webhook has no zone a.test for this token."), "{text}");
    process.provider.fails.lock().unwrap().clear();
    asked();

    // A hostname in no zone is said, once those that are in one are purged.
    let job = purge(&["www.a.test", "www.elsewhere.test"], What::All);
    let text = failed(process.run(process.tenant, 0, &job).await).text;
    assert!(text.starts_with("This node has no [[edge]] with the zone of www.elsewhere.test,"), "{text}");
    assert_eq!(process.provider.taken(), [all("a.test", &["www.a.test"])]);
    assert_eq!(run().await, Ended::Done);
    assert_eq!(asked(), "a.test b.test c.test deep.a.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_purges_hostnames_that_lead_here() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start(&base, Node::alone(), &["zone.test", "localhost"]).await;
    let other = process.another_tenant().await;
    let job = purge(&["shop.localhost", "www.zone.test"], What::All);
    // What is below the domain of all sites is the host's to give.
    let own = all("localhost", &["shop.localhost"]);
    let told = failed(process.run(other, 0, &job).await);
    let nothing = "Nothing shows that www.zone.test leads to this server, so that its caches are not purged:";
    assert!(told.text.starts_with(nothing), "{}", told.text);
    assert_eq!(process.provider.taken(), std::slice::from_ref(&own));
    let named =
        What::Named { urls: vec![String::from("https://www.zone.test/a"), String::from("/b")], tags: Vec::new() };
    failed(process.run(other, 0, &purge(&["shop.localhost", "www.zone.test"], named)).await);
    let urls = ["https", "http"].map(|it| format!("{it}://shop.localhost/b"));
    assert_eq!(process.provider.taken(), [(String::from("localhost"), Batch::Urls(urls.to_vec()))]);
    // The operator may, and their own sites.
    let both = [all("zone.test", &["www.zone.test"]), own];
    let by_operator = Purge { by_operator: true, ..job.clone() };
    assert_eq!((process.run(other, 0, &by_operator).await, process.provider.taken()), (Ended::Done, both.to_vec()));
    let theirs = Purge { site: SiteId(Id::from_bytes([8; 16])), ..job.clone() };
    assert_eq!((process.run(process.tenant, 0, &theirs).await, process.provider.taken()), (Ended::Done, both.to_vec()));
    // A certificate that somebody has brought shows nothing, nor does one by a record in DNS, which the operator's token may have set. One for
    // which its authority has come here does, while it counts.
    let now = process.now_ms();
    for (from, until_ms, is_proof) in [
        ((Source::Uploaded, None), now + MINUTE_MS, false),
        ((Source::Acme, None), now + MINUTE_MS, false),
        ((Source::Acme, Some(Seen::Dns01)), now + MINUTE_MS, false),
        ((Source::Acme, Some(Seen::Http01)), now - 1, false),
        ((Source::Acme, Some(Seen::Http01)), now + MINUTE_MS, true),
    ] {
        process.keep(other, "www.zone.test", from, until_ms).await;
        let site = SiteId(process.services.ids.next());
        let ended = process.run(other, 0, &Purge { site, ..job.clone() }).await;
        assert_eq!(ended == Ended::Done, is_proof, "{from:?} until {until_ms}: {ended:?}");
        assert_eq!(process.provider.taken().len(), if is_proof { 2 } else { 1 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_uses_of_the_providers_calls_has_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let base = Base::new(folder.path(), "db");
    let process = Process::start(&base, Node::alone(), &["zone.test"]).await;
    // Two hundred addresses on each of a hundred hostnames are two hundred calls; their hostnames are one.
    let hosts: Vec<String> = (0..100).map(|it| format!("h{it}.zone.test")).collect();
    let urls = (0..100).map(|it| format!("/{it}")).collect();
    let many = Purge { hosts: hosts.clone(), ..purge(&[], What::Named { urls, tags: Vec::new() }) };
    assert_eq!(process.run(process.tenant, 0, &many).await, Ended::Done);
    assert_eq!(process.provider.taken(), [(String::from("zone.test"), Batch::Hosts(hosts))]);
    let named = |it: i32| purge(&["www.zone.test"], What::Named { urls: vec![format!("/{it}")], tags: Vec::new() });
    for it in 1..120 {
        assert_eq!(process.run(process.tenant, 0, &named(it)).await, Ended::Done, "{it}");
    }
    let told = failed(process.run(process.tenant, 0, &named(0)).await);
    assert!(matches!(told.trouble, Trouble::Limited(Some(1..=600))), "{told:?}");
    let wanted = "Very much was purged for this tenant, and all tenants share what the provider takes: the rest waits.";
    assert_eq!(told.text, wanted, "nobody has to try again what is tried again");
    assert_eq!(process.provider.taken().len(), 119);
    let other = process.another_tenant().await;
    let theirs = Purge { by_operator: true, ..named(0) };
    assert_eq!(process.run(other, 0, &theirs).await, Ended::Done, "others have their own");
}
