//! The use cases on real stores, without a server: what a row, a trigger or a small limit can provoke.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use chainhost::{
    base::{clock::Clock, hash::Sha256, ids::Id, secret::Secret, tasks::Tasks},
    domain::{
        access::{Actor, KeyScope},
        deployment::{Deployment, DeploymentRef, Source, State},
        error::Kind,
        file_list::{FileList, ListedFile},
        job::{JobId, NewJob, Queue},
        node::Duty,
        site::SiteName,
        tenant::TenantId,
    },
    ports::queue::{Command, Jobs, QueueEngine},
    services::{Ground, Services, access::Origin, nodes::Node, uploads::Request},
    store,
};
use tempfile::TempDir;
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    conformance::Place as _,
    queue_redb::MemoryPlace,
    support::{PASSWORD, PATIENCE, base::Base, ground::ground},
};

/// Services on stores of their own.
struct Rig {
    services: Services,
    actor: Actor,
    site: SiteName,
    base: Base,
    folder: TempDir,
}

impl Rig {
    /// With one site, `hello`.
    async fn new(jobs_waiting_max: u64, tenant_bytes_max: Option<u64>) -> Self {
        Self::new_at(Clock::system(), jobs_waiting_max, tenant_bytes_max).await
    }

    /// As [`Rig::new`], with the test's own time of day.
    async fn new_at(clock: Clock, jobs_waiting_max: u64, tenant_bytes_max: Option<u64>) -> Self {
        Self::with(clock, jobs_waiting_max, tenant_bytes_max, Node::alone()).await
    }

    /// One of several nodes, which has all duties.
    async fn shared() -> Self {
        let rig = Self::with(Clock::system(), 100, None, Node { shares: true, ..Node::alone() }).await;
        rig.services.beat().await.unwrap();
        rig
    }

    async fn with(clock: Clock, jobs_waiting_max: u64, tenant_bytes_max: Option<u64>, node: Node) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tasks = Tasks::new();
        // Nobody serves here, so that nobody may wait for it.
        tasks.stop();
        std::fs::create_dir(folder.path().join("archives")).unwrap();
        let base = Base::new(folder.path(), "db");
        let jobs = base.open_queue(&clock, jobs_waiting_max);
        let ground = ground(folder.path(), base.open(), jobs, clock);
        let services = Services::new(Ground { tasks, tenant_bytes_max, node, ..ground });
        let actor = services.actor_local().await.unwrap();
        let site = services.create_site(&actor, "hello").await.unwrap().site.name;
        Self { services, actor, site, base, folder }
    }

    fn count(&self, sql: &str) -> i64 {
        self.base.count(sql)
    }

    fn run(&self, sql: &str) {
        self.base.run(sql);
    }

    /// From now on a row more in a table makes this statement run, or fail when there is none.
    fn set_trap(&self, table: &str, statement: Option<&str>) {
        let sqlite = statement.unwrap_or("SELECT RAISE(ABORT, 'deaf')");
        let on_server = statement.unwrap_or("RAISE EXCEPTION 'deaf'");
        self.run(&self.base.of(
            format!("CREATE TRIGGER trap AFTER INSERT ON {table} BEGIN {sqlite}; END"),
            format!(
                "CREATE FUNCTION trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {on_server}; RETURN NULL; END $$;
                 CREATE TRIGGER trap AFTER INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION trap()"
            ),
        ));
    }

    fn remove_trap(&self, table: &str) {
        self.run(
            &self
                .base
                .of(String::from("DROP TRIGGER trap"), format!("DROP TRIGGER trap ON {table}; DROP FUNCTION trap()")),
        );
    }

    /// A list of one file, whose bytes are in the store.
    fn list(&self, path: &str, bytes: &[u8]) -> FileList {
        self.services.blobs.put(bytes).unwrap();
        let size = u64::try_from(bytes.len()).unwrap();
        FileList::new(vec![ListedFile { path: path.to_owned(), size, sha256: Sha256::of(bytes) }], false).unwrap()
    }

    /// Prunes as the one node that there is.
    async fn prune(&self) -> u64 {
        self.services.prune(self.services.hold(Duty::Clean)).await.unwrap()
    }

    async fn deploy(&self, list: FileList) -> chainhost::domain::Result<Deployment> {
        self.services.deploy_list(&self.actor, &self.site, list, request(), None).await
    }

    /// Asks for a job of a tenant as a change does.
    async fn ask(&self, tenant: Option<TenantId>) -> JobId {
        self.ask_as(JobId(self.services.ids.next()), tenant, Vec::new()).await
    }

    /// Puts a row with an id of the test's into the outbox, as another process does.
    async fn ask_as(&self, id: JobId, tenant: Option<TenantId>, after: Vec<JobId>) -> JobId {
        let job = NewJob { id, tenant, after, ..test_job() };
        self.services.db.write(move |tx| store::outbox::enqueue(tx, &job)).await.unwrap();
        id
    }

    async fn queued(&self, id: JobId) -> bool {
        self.services.jobs.get(id).await.unwrap().is_some()
    }
}

fn request() -> Request {
    Request {
        source: Source::Watch,
        message: String::new(),
        publish: true,
        if_live: None,
        allow_env: false,
        idempotency_key: None,
    }
}

#[tokio::test]
async fn a_row_that_no_queue_takes_holds_up_nobody() {
    let rig = Rig::new(100, None).await;
    let tenant = rig.actor.scope.tenant();
    let bad = [rig.ask(Some(tenant)).await, rig.ask(Some(tenant)).await, rig.ask(None).await];
    rig.run("UPDATE outbox SET queue = 'nonsense' WHERE id = (SELECT id FROM outbox ORDER BY id LIMIT 1)");
    let large = rig.base.of("printf('%70000d', 1)", "repeat(' ', 70000)");
    rig.run(&format!(
        "UPDATE outbox SET payload = {large}, queue = 'email' WHERE queue <> 'nonsense' AND tenant_id IS NOT NULL"
    ));
    rig.run("UPDATE outbox SET priority = 101 WHERE tenant_id IS NULL");
    let good = rig.ask(Some(tenant)).await;
    assert_eq!(rig.services.relay_outbox().await.unwrap(), 1);
    assert!(rig.queued(good).await);
    assert_eq!(
        rig.count("SELECT COUNT(*) FROM outbox WHERE refused <> ''"),
        3,
        "the bad rows are kept with the reason"
    );
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'job.set_aside'"), 2);
    // They are not looked at again.
    assert_eq!(rig.services.relay_outbox().await.unwrap(), 0);
    assert_eq!(rig.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'job.set_aside'"), 2);
    for id in bad {
        assert!(!rig.queued(id).await);
    }
    // The change itself is refused when it asks for such a job.
    let job = NewJob { id: JobId(rig.services.ids.next()), payload: "x".repeat(65 * 1024), ..test_job() };
    let refused = rig.services.db.write(move |tx| store::outbox::enqueue(tx, &job)).await.unwrap_err();
    assert_eq!(refused.code, "job_payload_too_large");
}

/// An engine that notes how large what it is handed is.
struct Weighed {
    engine: Arc<dyn QueueEngine>,
    bytes: Mutex<Vec<usize>>,
}

impl QueueEngine for Weighed {
    fn submit(&self, command: Command) {
        if let Command::Enqueue(jobs, _) = &command {
            self.bytes.lock().unwrap().push(jobs.iter().map(|it| it.payload.len()).sum());
        }
        self.engine.submit(command);
    }

    fn ready(&self, queue: Queue) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.engine.ready(queue)
    }
}

/// However large the jobs are that wait, no more than a few MiB of them are in memory at once.
#[tokio::test]
async fn the_relay_takes_large_jobs_a_few_at_a_time() {
    const MIB: usize = 1 << 20;
    let rig = Rig::new(10_000, None).await;
    let engine = MemoryPlace::new(2).open(Clock::system(), 10_000);
    let weighed = Arc::new(Weighed { engine, bytes: Mutex::default() });
    let engine: Arc<dyn QueueEngine> = Arc::<Weighed>::clone(&weighed);
    let base = Base::new(rig.folder.path(), "other");
    let services = Services::new(ground(rig.folder.path(), base.open(), Jobs::new(engine), Clock::system()));
    let ids: Vec<JobId> = (0..300).map(|_| JobId(services.ids.next())).collect();
    let asked = ids.clone();
    services
        .db
        .write(move |tx| {
            for (number, id) in asked.into_iter().enumerate() {
                let bytes = if number % 3 == 0 { 1 } else { 64 * 1024 };
                let job = NewJob { id, payload: "x".repeat(bytes), ..test_job() };
                store::outbox::enqueue(tx, &job)?;
            }
            Ok(())
        })
        .await
        .unwrap();
    assert_eq!(services.relay_outbox().await.unwrap(), 300);
    let bytes = weighed.bytes.lock().unwrap().clone();
    assert_eq!(bytes.iter().sum::<usize>(), 100 + 200 * 64 * 1024);
    assert!(bytes.len() == 2 && bytes.iter().all(|it| *it <= 8 * MIB + 64 * 1024), "{bytes:?}");
    for id in ids {
        assert!(services.jobs.get(id).await.unwrap().is_some());
    }
    // One that is larger than all that is read at once, which another program has written, stands in nobody's way.
    let (huge, small) = (JobId(services.ids.next()), JobId(services.ids.next()));
    for id in [huge, small] {
        services.db.write(move |tx| store::outbox::enqueue(tx, &NewJob { id, ..test_job() })).await.unwrap();
    }
    let text = base.of("printf('%20000000d', 1)", "repeat(' ', 20000000)");
    base.run(&format!("UPDATE outbox SET payload = {text} WHERE id = X'{}'", huge.0));
    assert_eq!(services.relay_outbox().await.unwrap(), 1);
    assert!(services.jobs.get(small).await.unwrap().is_some());
}

fn test_job() -> NewJob {
    NewJob {
        id: JobId(Id::NIL),
        queue: Queue::Deploy,
        kind: String::from("test"),
        tenant: None,
        payload: String::from("{}"),
        priority: 0,
        run_at_ms: 0,
        title: String::from("A test"),
        created_ms: 1,
        unique: None,
        after: Vec::new(),
    }
}

#[tokio::test]
async fn a_tenant_with_too_many_jobs_holds_up_nobody() {
    let rig = Rig::new(3, None).await;
    let (crowded, other) = (TenantId(rig.services.ids.next()), TenantId(rig.services.ids.next()));
    let mut theirs = Vec::new();
    for _ in 0..5 {
        theirs.push(rig.ask(Some(crowded)).await);
    }
    let others = [rig.ask(Some(other)).await, rig.ask(None).await];
    assert_eq!(rig.services.relay_outbox().await.unwrap(), 5);
    for id in theirs[..3].iter().chain(&others) {
        assert!(rig.queued(*id).await, "in its order, as many as fit");
    }
    assert_eq!(rig.count("SELECT COUNT(*) FROM outbox WHERE refused IS NULL AND handed_ms IS NULL"), 2);
    assert_eq!(rig.services.relay_outbox().await.unwrap(), 0);
    // When one has ended, the next goes in.
    assert!(rig.services.jobs.cancel(theirs[0]).await.unwrap());
    assert_eq!(rig.services.relay_outbox().await.unwrap(), 1);
    assert!(rig.queued(theirs[3]).await && !rig.queued(theirs[4]).await);
}

const START_MS: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 3_600_000;

/// The id of a job that was asked for at this time.
fn id_of(ms: i64, number: u8) -> JobId {
    JobId(Id::derived(ms, [number; 32]))
}

#[tokio::test]
async fn the_relay_looks_where_rows_can_be_and_misses_none_for_long() {
    let (clock, hands) = Clock::manual(START_MS);
    let rig = Rig::new_at(clock.clone(), 100, None).await;
    let relayed = async || rig.services.relay_outbox().await.unwrap();
    assert_eq!(relayed().await, 0);
    // Another process was a little late with its commit.
    let late = rig.ask_as(id_of(START_MS - 9_000, 1), None, Vec::new()).await;
    assert_eq!(relayed().await, 1);
    assert!(rig.queued(late).await);
    // The clock of one that has died was an hour late. Newer ones do not wait for its row, nor does a look go back so far.
    let older = rig.ask_as(id_of(START_MS - HOUR_MS, 2), None, Vec::new()).await;
    let newer = rig.ask(None).await;
    assert_eq!(relayed().await, 1);
    assert!(rig.queued(newer).await && !rig.queued(older).await);
    // A job that waits for it comes after it.
    let waits = rig.ask_as(id_of(START_MS, 3), None, vec![older]).await;
    assert_eq!(relayed().await, 2);
    assert!(rig.queued(older).await && rig.queued(waits).await);
    // A clock that went forward and back leaves nothing behind.
    hands.advance(HOUR_MS);
    assert_eq!(relayed().await, 0);
    hands.advance(-HOUR_MS);
    let behind = rig.ask_as(id_of(START_MS + 1, 4), None, Vec::new()).await;
    assert_eq!(relayed().await, 0);
    assert_eq!(relayed().await, 1, "the look after it is where the clock is again");
    assert!(rig.queued(behind).await);
    // A start looks at everything, and so does another relay of the same outbox.
    let oldest = rig.ask_as(id_of(1, 5), None, Vec::new()).await;
    assert_eq!(relayed().await, 0);
    let (db, jobs) = (rig.services.db.clone(), rig.services.jobs.clone());
    let other = Services::new(ground(rig.folder.path(), db, jobs, clock));
    assert_eq!(other.relay_outbox().await.unwrap(), 1);
    assert!(rig.queued(oldest).await);
    assert_eq!(rig.count("SELECT COUNT(*) FROM outbox WHERE handed_ms IS NULL"), 0);
}

#[tokio::test]
async fn what_was_postponed_is_found_however_long_it_waits() {
    let (clock, hands) = Clock::manual(START_MS);
    let rig = Rig::new_at(clock, 1, None).await;
    let crowded = Some(TenantId(rig.services.ids.next()));
    let theirs = [rig.ask(crowded).await, rig.ask(crowded).await, rig.ask(crowded).await];
    assert_eq!(rig.services.relay_outbox().await.unwrap(), 1);
    for number in 0..2 {
        for _ in 0..3 {
            hands.advance(HOUR_MS);
            let other = rig.ask(Some(TenantId(rig.services.ids.next()))).await;
            assert_eq!(rig.services.relay_outbox().await.unwrap(), 1);
            assert!(rig.queued(other).await && !rig.queued(theirs[number + 1]).await);
        }
        assert!(rig.services.jobs.cancel(theirs[number]).await.unwrap());
        assert_eq!(rig.services.relay_outbox().await.unwrap(), 1);
        assert!(rig.queued(theirs[number + 1]).await);
    }
}

#[tokio::test]
async fn what_cannot_be_recorded_does_not_happen() {
    let rig = Rig::new(100, None).await;
    let (services, origin) = (&rig.services, Origin::default());
    let password = || Secret::new(String::from(PASSWORD));
    let token = services.new_claim().await.unwrap().unwrap();
    rig.set_trap("audit_log", None);
    let claim = async || services.claim(token.expose(), "owner@example.org", password(), &origin, "").await;
    assert!(claim().await.is_err());
    let both = "SELECT (SELECT COUNT(*) FROM \"user\") + (SELECT COUNT(*) FROM session)";
    assert_eq!(rig.count(both), 0, "somebody has claimed the server, and no record says so");
    rig.remove_trap("audit_log");
    claim().await.unwrap();
    assert_eq!((rig.count(both), rig.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'server.claimed'")), (2, 1));

    rig.set_trap("audit_log", None);
    let sign_in = async || services.sign_in("owner@example.org", password(), &origin, "").await;
    assert_eq!(sign_in().await.unwrap_err().kind, Kind::Internal);
    assert_eq!(rig.count("SELECT COUNT(*) FROM session"), 1);
    rig.remove_trap("audit_log");
    sign_in().await.unwrap();
    assert_eq!(rig.count("SELECT COUNT(*) FROM session"), 2);
}

#[tokio::test]
async fn uploads_under_way_count_towards_the_quota_and_once() {
    let rig = Rig::new(100, Some(100)).await;
    let file = |it: u8| rig.list("index.html", &[it; 60]);
    let begun = rig.services.begin_upload(&rig.actor, &rig.site, file(1), request()).await.unwrap().deployment;
    let try_begin = async |list| rig.services.begin_upload(&rig.actor, &rig.site, list, request()).await;
    assert_eq!(try_begin(file(2)).await.unwrap_err().code, "quota");
    assert_eq!(rig.deploy(file(2)).await.unwrap_err().code, "quota");
    // It ends within the quota, since its own bytes are not counted twice.
    let (send, pieces) = tokio::sync::mpsc::channel(2);
    let frame = [&Sha256::of(&[1; 60]).0[..], &60_u64.to_be_bytes(), &[1; 60]].concat();
    send.send(Ok(frame.into())).await.unwrap();
    drop(send);
    assert_eq!(rig.services.receive_blobs(&rig.actor, &rig.site, begun.id, pieces).await.unwrap(), 1);
    assert_eq!(rig.services.finish_upload(&rig.actor, &rig.site, begun.id).await.unwrap().state, State::Live);
    assert_eq!(try_begin(file(2)).await.unwrap_err().code, "quota");
    assert_eq!(try_begin(rig.list("small.html", &[3; 40])).await.unwrap().deployment.state, State::Uploading);
}

/// What was kept of the list before is dropped with the commit, and not by who asked.
#[tokio::test]
async fn a_list_counts_an_upload_that_was_begun_for_somebody_who_hung_up() {
    let rig = Rig::new(100, None).await;
    let listed = async || rig.services.list_sites(&rig.actor, "", 10).await.unwrap()[0].deployments;
    let begun = Instant::now();
    for wait_ms in (10..).step_by(20) {
        assert!(begun.elapsed() < PATIENCE, "none was begun");
        assert_eq!(listed().await, 0);
        // While it is held up, others wait behind it.
        let (holds, is_held) = oneshot::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let db = rig.services.db.clone();
        let mut held = JoinSet::new();
        held.spawn(async move {
            db.write(move |_| {
                holds.send(()).unwrap();
                Ok(may_go_on.recv_timeout(PATIENCE).is_ok())
            })
            .await
        });
        is_held.await.unwrap();
        let upload = rig.services.begin_upload(&rig.actor, &rig.site, rig.list("a", b"a"), request());
        assert!(timeout(Duration::from_millis(wait_ms), upload).await.is_err(), "nobody held it up");
        go_on.send(()).unwrap();
        assert!(held.join_all().await.pop().unwrap().unwrap());
        // Whatever was asked for before has ended when this has.
        rig.services.db.write(|_| Ok(())).await.unwrap();
        if rig.count("SELECT COUNT(*) FROM deployment") == 1 {
            assert_eq!(listed().await, 1);
            return;
        }
    }
}

#[tokio::test]
async fn failed_deployments_push_out_no_complete_ones() {
    let rig = Rig::new(100, None).await;
    for number in 1..=3 {
        rig.deploy(rig.list("index.html", &[number])).await.unwrap();
    }
    for number in 0..25 {
        assert!(rig.deploy(rig.list("_redirects", format!("nonsense{number}\n").as_bytes())).await.is_err());
    }
    let count = |state: &str| rig.count(&format!("SELECT COUNT(*) FROM deployment WHERE state = '{state}'"));
    assert_eq!((count("live"), count("superseded"), count("failed")), (1, 2, 25));
    assert_eq!(rig.prune().await, 5);
    assert_eq!((count("live"), count("superseded"), count("failed")), (1, 2, 20));
    assert_eq!(rig.prune().await, 0);
    // Complete ones are counted as ever: twenty, with the live one among them.
    for number in 4..=30 {
        rig.deploy(rig.list("index.html", &[number])).await.unwrap();
    }
    rig.prune().await;
    assert_eq!((count("live"), count("superseded"), count("failed")), (1, 19, 20));
}

#[tokio::test]
async fn a_node_that_has_lost_cleaning_prunes_and_collects_nothing() {
    let rig = Rig::shared().await;
    for number in 0..25 {
        rig.deploy(rig.list("index.html", &[number])).await.unwrap();
    }
    rig.services.blobs.put(b"nobody's").unwrap();
    let hex = Sha256::of(b"nobody's").hex();
    let blob = rig.folder.path().join("blobs").join(&hex[..2]).join(&hex);
    let old = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    std::fs::OpenOptions::new().read(true).open(&blob).unwrap().set_modified(old).unwrap();
    let hold = rig.services.hold(Duty::Clean).unwrap();
    rig.run("UPDATE lease SET fence = fence + 1");
    let deployments = || rig.count("SELECT COUNT(*) FROM deployment");
    let before = deployments();
    assert_eq!(rig.services.prune(Some(hold)).await.unwrap_err().code, "lease_lost");
    assert_eq!(deployments(), before);
    assert_eq!(rig.services.sweep(false, Some(hold)).await.unwrap_err().code, "lease_lost");
    assert!(blob.exists());
    // Who has the duty by now does both.
    rig.services.beat().await.unwrap();
    assert_eq!(rig.prune().await, 5);
    let hold = rig.services.hold(Duty::Clean);
    assert_eq!(rig.services.sweep(false, hold).await.unwrap().blobs.len(), 1);
    assert!(!blob.exists());
}

#[tokio::test]
async fn a_node_that_has_lost_watched_folders_deploys_nothing() {
    let rig = Rig::shared().await;
    rig.deploy(rig.list("index.html", b"live")).await.unwrap();
    let deploy = |bytes: &'static [u8], hold| {
        let list = rig.list("index.html", bytes);
        rig.services.deploy_list(&rig.actor, &rig.site, list, request(), hold)
    };
    let hold = rig.services.hold(Duty::Watch);
    // The duty goes to another node while the files are checked.
    rig.set_trap("deployment", Some("UPDATE lease SET fence = fence + 1"));
    assert_eq!(deploy(b"new", hold).await.unwrap_err().code, "lease_lost");
    rig.remove_trap("deployment");
    assert_eq!(deploy(b"new", hold).await.unwrap_err().code, "lease_lost");
    let site = rig.services.get_site(&rig.actor, &rig.site).await.unwrap().site.id;
    let tenant = rig.actor.scope.tenant();
    let remembered = rig.services.remember_watched(&hold.unwrap(), tenant, site, Sha256::of(b"list")).await;
    assert_eq!(remembered.unwrap_err().code, "lease_lost");
    let count = |state: &str| rig.count(&format!("SELECT COUNT(*) FROM deployment WHERE state = '{state}'"));
    assert_eq!((count("live"), count("failed"), count("checking")), (1, 1, 0));
    rig.services.beat().await.unwrap();
    assert_eq!(deploy(b"new", rig.services.hold(Duty::Watch)).await.unwrap().state, State::Live);
}

#[tokio::test]
async fn a_node_is_silent_when_its_number_stands_still_whatever_its_clock_says() {
    let rig = Rig::shared().await;
    // Its time of day is decades behind.
    rig.run(
        "INSERT INTO node (id, epoch, role, labels, beat, seen_ms)
         VALUES (X'0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f', X'01', 'web', '', 1, 0)",
    );
    rig.services.beat().await.unwrap();
    rig.run("UPDATE node SET beat = beat + 1");
    let other = async || {
        let nodes = rig.services.list_nodes(&rig.actor).await.unwrap();
        nodes.into_iter().find(|it| !it.this).unwrap()
    };
    assert!(!other().await.silent, "its number has grown since it was looked at");
    let begun = Instant::now();
    // This one does not look again after this, so that the other is not taken for dead.
    rig.services.beat().await.unwrap();
    while !other().await.silent {
        assert!(begun.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() >= Duration::from_secs(7), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_was_interrupted_is_ended_behind_any_number_of_uploads() {
    let rig = Rig::new(100, None).await;
    let begun = rig.services.begin_upload(&rig.actor, &rig.site, rig.list("a", b"a"), request()).await.unwrap();
    let number = begun.deployment.number;
    // A thousand uploads are older than the one that is being unpacked.
    let id = rig.base.of("CAST(printf('%016d', i) AS BLOB)", "convert_to(lpad(i::text, 16, '0'), 'UTF8')");
    rig.run(&format!(
        "INSERT INTO deployment
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
         SELECT tenant_id, site_id, {id}, 1000 + i, 'uploading', source, message, actor,
           created_ms, finished_ms, wanted, manifest, root, files, bytes, files_changed, files_sent, bytes_sent, preview,
           problem, allow_env, publish, if_live, idempotency_key, node_id FROM deployment, n;
         UPDATE deployment SET state = 'checking', id = X'ffffffffffffffffffffffffffffffff' WHERE number < 1000;
         UPDATE deployment SET state = 'checking', node_id = X'01010101010101010101010101010101' WHERE number = 2000;",
    ));
    let mut changed = rig.services.signals().changed.subscribe();
    changed.borrow_and_update();
    rig.services.fail_interrupted(i64::MAX).await.unwrap();
    let found = rig.services.get_deployment(&rig.actor, &rig.site, DeploymentRef::Number(number)).await.unwrap();
    assert_eq!(found.deployment.state, State::Failed);
    assert!(changed.has_changed().unwrap(), "whoever waits for it was not told");
    assert_eq!(rig.count("SELECT COUNT(*) FROM deployment WHERE state = 'uploading'"), 999);
    // What another node unpacks goes on.
    assert_eq!(rig.count("SELECT number FROM deployment WHERE state = 'checking'"), 2_000);
}

#[tokio::test]
async fn nothing_is_kept_for_a_site_that_is_not_there_or_an_upload_that_has_ended() {
    let rig = Rig::new(100, None).await;
    let blobs = || rig.services.blobs.list().unwrap().len();
    let list = rig.list("index.html", b"one");
    let before = blobs();
    let nowhere = SiteName::parse("nowhere").unwrap();
    let refused = rig.services.begin_upload(&rig.actor, &nowhere, list.clone(), request()).await.unwrap_err();
    assert_eq!((refused.kind, blobs()), (Kind::NotFound, before));

    let begun = rig.services.begin_upload(&rig.actor, &rig.site, list, request()).await.unwrap().deployment;
    let (send, pieces) = tokio::sync::mpsc::channel(2);
    let receiving = rig.services.receive_blobs(&rig.actor, &rig.site, begun.id, pieces);
    let ending = async {
        let frame = [&Sha256::of(b"one").0[..], &3_u64.to_be_bytes(), b"one"].concat();
        // Half of it comes; the deployment ends; then the rest.
        send.send(Ok(frame[..10].to_vec().into())).await.unwrap();
        send.reserve_many(2).await.unwrap();
        rig.run("UPDATE deployment SET state = 'failed'");
        send.send(Ok(frame[10..].to_vec().into())).await.unwrap();
        drop(send);
    };
    let (received, ()) = tokio::join!(receiving, ending);
    assert_eq!(received.unwrap_err().code, "not_uploading");
    assert_eq!(rig.count("SELECT COUNT(*) FROM upload_part"), 0);
}

#[tokio::test]
async fn links_keys_and_sessions_end_when_they_are_said_to() {
    const MINUTE: i64 = 60_000;
    let (clock, hands) = Clock::manual(1_795_500_000_000);
    let rig = Rig::new_at(clock.clone(), 100, None).await;
    let (services, origin) = (&rig.services, Origin::default());
    let password = || Secret::new(String::from(PASSWORD));
    // A claim link: 30 minutes, and not one millisecond more.
    let token = services.new_claim().await.unwrap().unwrap();
    let claim = async |token: &str| services.claim(token, "owner@example.org", password(), &origin, "").await;
    hands.advance(30 * MINUTE);
    assert!(!services.is_claim_good(token.expose()).await.unwrap());
    assert_eq!(claim(token.expose()).await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(rig.count("SELECT COUNT(*) FROM \"user\""), 0);
    let token = services.new_claim().await.unwrap().unwrap();
    hands.advance(30 * MINUTE - 1);
    assert!(services.is_claim_good(token.expose()).await.unwrap());
    let session = claim(token.expose()).await.unwrap();

    // A session that rests for 30 minutes has ended; one that is used goes on, for 12 hours in all.
    // That it is used is noted beside the request.
    let noted = async || {
        let now_ms = clock.now_ms();
        for _ in 0..2_000 {
            if rig.count("SELECT COALESCE(MAX(seen_ms), 0) FROM session") >= now_ms {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("no use was noted");
    };
    let find = async |session: &Secret| services.actor_by_session(session.expose(), Origin::default()).await.unwrap();
    let (actor, _) = find(&session).await.unwrap();
    hands.advance(30 * MINUTE - 1);
    assert!(find(&session).await.is_some());
    noted().await;
    hands.advance(30 * MINUTE);
    assert!(find(&session).await.is_none(), "a session that rested for 30 minutes");
    assert!(services.list_sessions(&actor).await.unwrap().is_empty());
    let session = services.sign_in("owner@example.org", password(), &origin, "").await.unwrap();
    let mut minutes = 0;
    while minutes < 12 * 60 - 20 {
        minutes += 20;
        hands.advance(20 * MINUTE);
        assert!(find(&session).await.is_some(), "a session in use ended after {minutes} minutes");
        noted().await;
    }
    hands.advance(20 * MINUTE - 1);
    assert!(find(&session).await.is_some());
    hands.advance(1);
    assert!(find(&session).await.is_none(), "a session of 12 hours");

    // A key ends at its time, and says so.
    let expires_ms = clock.now_ms() + 90 * MINUTE;
    assert_eq!(
        services.create_key(&actor, "late", KeyScope::All, Some(clock.now_ms())).await.unwrap_err().code,
        "key_expires"
    );
    let (_, key) = services.create_key(&actor, "ci", KeyScope::Read, Some(expires_ms)).await.unwrap();
    let use_key = async || services.actor_by_key(key.expose(), Origin::default()).await;
    hands.advance(90 * MINUTE - 1);
    use_key().await.unwrap();
    hands.advance(1);
    let error = use_key().await.unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::Unauthenticated, "key_expired"));
}

#[tokio::test]
async fn a_key_is_used_a_thousand_times_in_a_quarter_of_an_hour() {
    let (clock, hands) = Clock::manual(1_795_500_000_000);
    let rig = Rig::new_at(clock, 100, None).await;
    let (services, origin) = (&rig.services, Origin::default());
    let token = services.new_claim().await.unwrap().unwrap();
    let password = Secret::new(String::from(PASSWORD));
    let session = services.claim(token.expose(), "owner@example.org", password, &origin, "").await.unwrap();
    let (actor, _) = services.actor_by_session(session.expose(), Origin::default()).await.unwrap().unwrap();
    let (_, one) = services.create_key(&actor, "one", KeyScope::Read, None).await.unwrap();
    let (_, two) = services.create_key(&actor, "two", KeyScope::Read, None).await.unwrap();
    let call = async |key: &Secret| services.actor_by_key(key.expose(), Origin::default()).await;
    for number in 0..1_000 {
        assert!(call(&one).await.is_ok(), "call {number}");
    }
    let refused = call(&one).await.unwrap_err();
    assert_eq!((refused.code, refused.retry_after_s), ("api_calls", Some(900)));
    assert!(call(&two).await.is_ok(), "each key has its own count");
    hands.advance(15 * 60_000 - 1);
    assert_eq!(call(&one).await.unwrap_err().retry_after_s, Some(1));
    hands.advance(1);
    assert!(call(&one).await.is_ok());
}

#[tokio::test]
async fn the_name_of_a_deleted_site_rests_for_thirty_days_for_others() {
    const DAY: i64 = 24 * 3_600_000;
    let (clock, hands) = Clock::manual(1_795_500_000_000);
    let rig = Rig::new_at(clock, 100, None).await;
    let services = &rig.services;
    let other = services.actor_system(TenantId(services.ids.next()), "test");
    let taken = async |actor: &Actor| services.create_site(actor, "hello").await.map(drop).map_err(|it| it.code);
    assert_eq!(taken(&other).await, Err("site_name_taken"));
    services.delete_site(&rig.actor, &rig.site).await.unwrap();
    assert_eq!(taken(&other).await, Err("site_name_taken"));
    hands.advance(30 * DAY - 1);
    assert_eq!(taken(&other).await, Err("site_name_taken"));
    // Who had it may have it back at any time, and the rest begins anew.
    assert_eq!(taken(&rig.actor).await, Ok(()));
    services.delete_site(&rig.actor, &rig.site).await.unwrap();
    hands.advance(30 * DAY - 1);
    assert_eq!(taken(&other).await, Err("site_name_taken"));
    hands.advance(1);
    assert_eq!(taken(&other).await, Ok(()));
    assert_eq!(taken(&rig.actor).await, Err("site_name_taken"));
}
