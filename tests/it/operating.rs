//! Operating the queues: pausing a tenant, draining, and how long jobs take; by the use cases, the API, the command line, the panel.

use std::{path::Path, time::Duration};

use chainhost::{
    base::{clock::Clock, ids::Id, limits::JOBS_WAITING_MAX},
    domain::{
        access::Actor,
        error::Kind,
        job::{JobId, NewJob, Queue},
        tenant::TenantId,
        user::Role,
    },
    ports::queue::{Finish, Lease, Outcome},
    services::Services,
};
use tokio::time::timeout;

use crate::support::{
    Host,
    base::Base,
    browser::{Browser, archive},
    ground::ground,
};

const OWNER: &str = "owner@example.org";
const MATE: &str = "mate@example.org";
/// Nothing here takes so long unless it is wrong.
const DEADLINE: Duration = Duration::from_secs(30);
const AT_ONCE: Duration = Duration::ZERO;

/// The services without a server, in a folder.
struct Rig {
    services: Services,
    _base: Base,
    _folder: tempfile::TempDir,
}

fn services(folder: &Path, base: &Base) -> Services {
    let jobs = base.open_queue(&Clock::system(), JOBS_WAITING_MAX);
    Services::new(ground(folder, base.open(), jobs, Clock::system()))
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = Base::new(folder.path(), "chainhost.db");
        Self { services: services(folder.path(), &base), _base: base, _folder: folder }
    }

    fn of(&self, tenant: u8, role: Role, super_admin: bool) -> Actor {
        let tenant = TenantId(Id::from_bytes([tenant; 16]));
        Actor { role, super_admin, ..self.services.actor_system(tenant, "test") }
    }

    async fn enqueue(&self, tenant: u8, count: usize) {
        let job = |_| NewJob {
            id: JobId(self.services.ids.next()),
            queue: Queue::Deploy,
            kind: String::from("test"),
            tenant: Some(TenantId(Id::from_bytes([tenant; 16]))),
            payload: String::from("{}"),
            priority: 0,
            run_at_ms: 0,
            title: String::from("A test"),
            created_ms: self.services.clock.now_ms(),
            unique: None,
            after: Vec::new(),
        };
        let jobs: Vec<_> = (0..count).map(job).collect();
        assert_eq!(self.services.jobs.enqueue(jobs).await.unwrap(), u64::try_from(count).unwrap());
    }

    async fn claim(&self, take: usize) -> Vec<Lease> {
        self.services.jobs.next(Queue::Deploy, take, Vec::new()).await.unwrap().1
    }

    async fn finish(&self, lease: &Lease) {
        let end = Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done };
        self.services.jobs.next(Queue::Deploy, 0, vec![end]).await.unwrap().0.remove(0).unwrap();
        self.services.signals().touch();
    }

    async fn events(&self, actor: &Actor) -> Vec<String> {
        self.services.list_audit(actor, None, 20).await.unwrap().into_iter().map(|it| it.kind).collect()
    }
}

#[tokio::test]
async fn a_queue_is_drained_for_as_long_as_asked() {
    let rig = Rig::new();
    let (owner, services) = (rig.of(1, Role::Admin, true), &rig.services);
    rig.enqueue(1, 3).await;
    let leases = rig.claim(2).await;
    assert_eq!(services.drain_queue(&owner, Queue::Deploy, AT_ONCE).await.unwrap(), 2);
    assert!(rig.claim(9).await.is_empty(), "it is paused");
    let ending = async {
        rig.finish(&leases[0]).await;
        assert_eq!(services.drain_queue(&owner, Queue::Deploy, AT_ONCE).await.unwrap(), 1);
        rig.finish(&leases[1]).await;
    };
    let drain = services.drain_queue(&owner, Queue::Deploy, DEADLINE);
    let (left, ()) = timeout(DEADLINE, async { tokio::join!(drain, ending) }).await.expect("it is drained");
    assert_eq!(left.unwrap(), 0);
    assert_eq!(rig.events(&owner).await, ["queue.paused"], "once");

    // Whoever resumes it meanwhile ends the wait.
    services.change_queue_paused(&owner, Queue::Deploy, false).await.unwrap();
    let lease = rig.claim(1).await.remove(0);
    let drain = services.drain_queue(&owner, Queue::Deploy, DEADLINE);
    let resume = async {
        while !services.queue_depths(&owner).await.unwrap()[0].paused {
            tokio::task::yield_now().await;
        }
        services.change_queue_paused(&owner, Queue::Deploy, false).await.unwrap();
    };
    let (left, ()) = timeout(DEADLINE, async { tokio::join!(drain, resume) }).await.expect("it hears of that");
    assert_eq!(left.unwrap_err().code, "queue_resumed");
    rig.finish(&lease).await;
    let admin = rig.of(1, Role::Admin, false);
    let refused = services.drain_queue(&admin, Queue::Deploy, AT_ONCE).await;
    assert_eq!(refused.unwrap_err().kind, Kind::Forbidden);
    assert!(!services.queue_depths(&owner).await.unwrap()[0].paused, "nothing was changed");
}

#[tokio::test]
async fn a_tenants_admin_pauses_and_drains_its_own_jobs_only() {
    let rig = Rig::new();
    let (admin, other, services) = (rig.of(1, Role::Admin, false), rig.of(2, Role::Admin, false), &rig.services);
    rig.enqueue(1, 2).await;
    let lease = rig.claim(1).await.remove(0);
    assert_eq!(services.drain_jobs(&admin, AT_ONCE).await.unwrap(), 1);
    assert!(services.are_jobs_paused(&admin).await.unwrap());
    assert!(!services.are_jobs_paused(&other).await.unwrap());
    let depths = services.queue_depths(&admin).await.unwrap();
    assert!(depths.iter().all(|it| it.tenant_paused && !it.paused), "no queue is: {depths:?}");
    rig.enqueue(2, 1).await;
    let theirs = rig.claim(9).await;
    assert_eq!((theirs.len(), theirs[0].job.tenant), (1, Some(other.scope.tenant())));

    let drain = services.drain_jobs(&admin, DEADLINE);
    let (left, ()) = timeout(DEADLINE, async { tokio::join!(drain, rig.finish(&lease)) }).await.expect("drained");
    assert_eq!(left.unwrap(), 0, "what another tenant runs is not waited for");
    let user = rig.of(1, Role::User, false);
    assert_eq!(services.change_jobs_paused(&user, false).await.unwrap_err().kind, Kind::Forbidden);
    assert_eq!(services.drain_jobs(&user, AT_ONCE).await.unwrap_err().kind, Kind::Forbidden);
    services.change_jobs_paused(&other, false).await.unwrap();
    assert!(rig.claim(9).await.is_empty(), "another tenant changes nothing here");
    services.change_jobs_paused(&admin, false).await.unwrap();
    services.change_jobs_paused(&admin, false).await.unwrap();
    assert_eq!(rig.claim(9).await.len(), 1);
    assert_eq!(rig.events(&admin).await, ["jobs.resumed", "jobs.paused"]);
    assert!(rig.events(&other).await.is_empty());
}

/// The times of jobs that ended, read from the queue, are those of who asks.
#[tokio::test]
async fn how_long_jobs_took_is_told_to_who_may_see_them() {
    let rig = Rig::new();
    let (admin, owner) = (rig.of(1, Role::Admin, false), rig.of(2, Role::Admin, true));
    assert_eq!(rig.services.lately(&admin).await.unwrap()[0].wait, None);
    rig.enqueue(1, 3).await;
    rig.enqueue(2, 2).await;
    for lease in rig.claim(9).await {
        rig.finish(&lease).await;
    }
    let (own, all) = (rig.services.lately(&admin).await.unwrap(), rig.services.lately(&owner).await.unwrap());
    assert_eq!((own[0].jobs, all[0].jobs, own[1].jobs), (3, 5, 0));
    let (wait, run) = (own[0].wait.unwrap(), own[0].run.unwrap());
    assert!(wait.p50_ms <= wait.p95_ms && run.p50_ms <= run.p95_ms);
}

/// A figure of `/metrics`.
fn figure(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[test]
fn times_of_jobs_are_in_the_metrics_the_api_and_the_panel() {
    let host = Host::start();
    let key = host.key(OWNER, "super-admin");
    let mut owner = Browser::signed_in(&host, OWNER);
    assert!(!owner.page("/jobs").contains("How long they take"), "nothing was measured yet");
    owner.upload("/sites/new", &[("name", "hello")], Some(&archive(&[("index.html", b"one")])));
    host.until("its job", || {
        let done = host.api_json(&key, "GET /api/v1/jobs?state=done", "", 200);
        done.pointer("/items/0/title").map(drop)
    });
    let text = host.get("localhost", "/metrics").text();
    for name in ["chainhost_job_wait_seconds", "chainhost_job_run_seconds"] {
        assert!(text.contains(&format!("# TYPE {name} histogram\n")), "{text}");
        let of = |rest: &str| figure(&text, &format!("{name}{rest}"));
        let mut before = 0;
        for end in ["0.001", "0.005", "0.01", "0.05", "0.1", "0.5", "1", "5", "10", "30", "60", "300", "900", "1800"] {
            let count: u64 = of(&format!("_bucket{{queue=\"deploy\",le=\"{end}\"}}")).parse().unwrap();
            assert!(count >= before, "{name} {end}");
            before = count;
        }
        assert_eq!(of("_bucket{queue=\"deploy\",le=\"3600\"}"), "1");
        assert_eq!(of("_bucket{queue=\"deploy\",le=\"+Inf\"}"), "1");
        assert_eq!(of("_count{queue=\"deploy\"}"), "1");
        assert!((0.0..3_600.0).contains(&of("_sum{queue=\"deploy\"}").parse::<f64>().unwrap()));
        assert_eq!(of("_count{queue=\"email\"}"), "0");
    }
    let queues = host.api_json(&key, "GET /api/v1/queues", "", 200);
    let of = |queue: usize, name: &str| queues.pointer(&format!("/items/{queue}/{name}")).unwrap().as_u64();
    assert!(of(0, "wait_p50_ms").is_some() && of(0, "run_p95_ms") >= of(0, "run_p50_ms"));
    assert_eq!(of(1, "wait_p50_ms"), None, "no mail was sent");
    let shown = host.cli(&key, &["jobs", "queues"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("Wait p50") && shown.lines().nth(1).unwrap().starts_with("deploy      open"), "{shown}");
    assert!(owner.page("/jobs").contains("How long they take"));
}

#[test]
fn a_tenants_jobs_are_paused_drained_and_resumed_by_its_admin() {
    let host = Host::start();
    let key = host.key(MATE, "admin");
    let mut mate = Browser::signed_in(&host, MATE);
    let page = mate.page("/jobs");
    assert!(page.contains("/jobs/pause") && !page.contains("/jobs/queues/"), "{page}");
    assert_eq!(mate.post("/jobs/pause", "").status, 303);
    let page = mate.page("/jobs");
    assert!(page.contains("The jobs of the tenant default are paused") && page.contains("/jobs/resume"), "{page}");
    mate.upload("/sites/new", &[("name", "hello")], Some(&archive(&[("index.html", b"one")])));
    let deploy = |name: &str| {
        let queues = host.api_json(&key, "GET /api/v1/queues", "", 200);
        queues.pointer(&format!("/items/0/{name}")).unwrap().clone()
    };
    host.until("its job", || (deploy("waiting") == 1).then_some(()));
    assert!(deploy("tenant_paused") == true && deploy("paused") == false);
    assert!(mate.page("/jobs").contains("when the jobs of the tenant default are resumed"));
    assert!(mate.page("/").contains("The jobs of the tenant default are paused"));
    let out = host.cli(&key, &["jobs"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("chainhost jobs resume --tenant"), "{out:?}");
    let out = host.cli(&key, &["jobs", "drain", "--tenant"]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("nothing of it runs"), "{out:?}");
    for wrong in [&["jobs", "pause"][..], &["jobs", "pause", "--tenant", "deploy"], &["jobs", "drain", "post"]] {
        assert_eq!(host.cli(&key, wrong).status.code(), Some(2), "{wrong:?}");
    }
    let long = host.api(&key, "POST /api/v1/jobs/drain", br#"{"wait_seconds":61}"#);
    assert_eq!((long.status, long.text().contains("0 to 60")), (400, true), "{}", long.text());
    assert_eq!(host.api_json(&key, "POST /api/v1/jobs/drain", "{}", 200)["running"], 0);

    let user_key = host.key("user@example.org", "user");
    let mut user = Browser::signed_in(&host, "user@example.org");
    let page = user.page("/jobs");
    assert!(page.contains("The jobs of the tenant default are paused") && !page.contains("/jobs/resume"), "no button");
    assert_eq!(user.post("/jobs/resume", "").status, 403);
    for call in ["POST /api/v1/jobs/resume", "POST /api/v1/jobs/drain", "POST /api/v1/queues/deploy/drain"] {
        assert_eq!(host.api(&user_key, call, b"{}").status, 403, "{call}");
    }
    assert_eq!(mate.post("/jobs/resume", "").status, 303);
    host.until("the job", || (deploy("done") == 1).then_some(()));
}

#[test]
fn a_queue_is_drained_by_a_command() {
    let host = Host::start();
    let key = host.key(OWNER, "super-admin");
    let out = host.cli(&key, &["jobs", "drain", "deploy", "--timeout", "5"]);
    assert!(out.status.success(), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stdout).contains("chainhost jobs resume deploy"), "{out:?}");
    let shown = host.cli_json(&key, &["jobs", "queues", "--json"]);
    assert_eq!(shown[0]["paused"], true);
    assert!(host.cli(&key, &["jobs", "resume", "deploy"]).status.success());
    let wrong = "0".repeat(32);
    for act in ["cancel", "dismiss", "rerun"] {
        let out = host.cli(&key, &["jobs", act, &wrong]);
        assert_eq!(out.status.code(), Some(1), "{out:?}");
        assert!(String::from_utf8_lossy(&out.stderr).contains("There is no such job"), "{out:?}");
    }
}

/// A task of `/api/v1/tasks`.
fn task(host: &Host, key: &str, name: &str) -> serde_json::Value {
    let tasks = host.api_json(key, "GET /api/v1/tasks", "", 200);
    let all = tasks.get("items").unwrap().as_array().unwrap();
    all.iter().find(|it| it["name"] == name).unwrap_or_else(|| panic!("no {name} in {tasks}")).clone()
}

#[test]
fn the_servers_own_work_is_listed_and_run_when_asked() {
    let mut host = Host::start_configured("[garbage]\nat = \"0 3 1 1 *\"\nzone = \"Europe/Berlin\"\n");
    let key = host.key(OWNER, "super-admin");
    // Work on a period is done at the start, work at set times is not.
    let pruned = host.until("a pass", || {
        let it = task(&host, &key, "prune-deployments");
        (it["ended_at"].is_string() && it["next_at"].is_string()).then_some(it)
    });
    assert_eq!(
        (&pruned["every_seconds"], &pruned["error"], &pruned["here"]),
        (&3_600.into(), &().into(), &true.into())
    );
    let garbage = task(&host, &key, "collect-garbage");
    assert_eq!((&garbage["cron"], &garbage["zone"]), (&"0 3 1 1 *".into(), &"Europe/Berlin".into()));
    assert!(garbage["ended_at"].is_null() && garbage["every_seconds"].is_null(), "{garbage}");
    let planned =
        host.until("its next time", || task(&host, &key, "collect-garbage")["next_at"].as_str().map(str::to_owned));
    assert!(planned.ends_with("-01-01T02:00:00Z") || planned.ends_with("-01-01T02:00:00.000Z"), "{planned}");
    assert!(
        !host.get("localhost", "/metrics").text().contains("last_success_timestamp_seconds{task=\"collect-garbage\"}")
    );

    let out = host.cli(&key, &["schedules", "run", "collect-garbage"]);
    assert!(String::from_utf8_lossy(&out.stdout).contains("collect-garbage looks now"), "{out:?}");
    host.until("the pass", || task(&host, &key, "collect-garbage")["ended_at"].is_string().then_some(()));
    let text = host.get("localhost", "/metrics").text();
    assert!(text.contains("chainhost_task_last_success_timestamp_seconds{task=\"collect-garbage\"} "), "{text}");
    assert_eq!(figure(&text, "chainhost_task_failures{task=\"collect-garbage\"}"), "0");
    let out = host.cli(&key, &["schedules"]);
    let shown = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(shown.contains("collect-garbage") && shown.contains("0 3 1 1 * (Europe/Berlin)"), "{shown}");
    assert!(shown.contains("prune-deployments") && shown.contains("every hour"), "{shown}");
    assert!(String::from_utf8_lossy(&out.stderr).contains("no schedule"), "{out:?}");
    assert_eq!(host.cli(&key, &["schedules", "run", "nothing"]).status.code(), Some(1));
    assert_eq!(host.cli(&key, &["schedules", "pause", "nothing"]).status.code(), Some(1));

    {
        let mut owner = Browser::signed_in(&host, OWNER);
        let page = owner.page("/schedules");
        assert!(page.contains("/tasks/collect-garbage/run") && page.contains("at 0 3 1 1 * (Europe/Berlin)"), "{page}");
        assert!(!page.contains("carry-files"), "there is no store of files");
        assert_eq!(owner.post("/tasks/collect-garbage/run", "").status, 303);
        assert!(owner.page("/schedules").contains("The task looks now"));
        assert_eq!(owner.post("/tasks/nothing/run", "").status, 404);
        let events = host.api_json(&key, "GET /api/v1/audit", "", 200);
        let asked = events["items"].as_array().unwrap().iter().filter(|it| it["kind"] == "task.asked").count();
        assert_eq!(asked, 2);

        let mate_key = host.key(MATE, "admin");
        let mut mate = Browser::signed_in(&host, MATE);
        let page = mate.page("/schedules");
        assert!(page.contains("has no schedule") && !page.contains("collect-garbage"), "{page}");
        assert_eq!(mate.post("/tasks/collect-garbage/run", "").status, 403);
        assert_eq!(host.api(&mate_key, "POST /api/v1/tasks/collect-garbage/run", b"").status, 403);
        let out = host.cli(&mate_key, &["schedules"]);
        assert!(out.status.success() && out.stdout.is_empty(), "{out:?}");
    }
    assert_eq!(host.stop(), Some(0), "a set time far away holds no stop up");
}
