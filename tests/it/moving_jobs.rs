//! The queue of a server goes to a Redis and comes back, and the Redis from master to master: nothing is lost, and nothing is done twice
//! that need not be.

use std::{sync::Arc, time::Duration};

use chainhost::{
    base::{
        clock::Clock,
        ids::{Id, Ids},
        secret::Secret,
    },
    domain::{
        job::{NewJob, Queue, State},
        tenant::TenantId,
    },
    engines::{
        queue_redb::QueueRedb,
        redis::{QueueRedis, Wish},
    },
    ports::queue::{JobFilter, Jobs},
};
use serde_json::Value;

use crate::{
    moving::{ask, command, deploy, moved_with, run, said},
    support::{Host, redis::Server, redis_ha::Watched},
};

/// How long a failover and what follows may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// The queue in the data folder of a server that does not run.
pub(crate) async fn in_folder<T>(host: &Host, work: impl AsyncFnOnce(&Jobs) -> T) -> T {
    let engine = QueueRedb::open(&host.data().join("queue.redb"), Clock::system()).unwrap();
    let out = work(&Jobs::new(Arc::<QueueRedb>::clone(&engine))).await;
    engine.close();
    out
}

/// The queue in a Redis, looked at by nobody who works.
pub(crate) async fn in_redis<T>(redis: &Server, work: impl AsyncFnOnce(&Jobs) -> T) -> T {
    let url = redis.url();
    let open = move || QueueRedis::open(&Secret::new(url), &Wish::new("looks", Clock::system())).unwrap();
    let engine = std::thread::spawn(open).join().unwrap();
    let out = work(&Jobs::new(Arc::<QueueRedis>::clone(&engine))).await;
    engine.close();
    out
}

pub(crate) fn job(ids: &Ids, tenant: Option<TenantId>, title: &str) -> NewJob {
    let now_ms = Clock::system().now_ms();
    NewJob {
        id: ids.next().into(),
        queue: Queue::Email,
        kind: String::from("test"),
        tenant,
        payload: format!("{{\"title\":\"{title}\"}}"),
        priority: 3,
        run_at_ms: now_ms,
        title: title.to_owned(),
        created_ms: now_ms,
        unique: Some(title.to_owned()),
        after: Vec::new(),
    }
}

/// Every open or dead job: title, state, error, payload.
pub(crate) async fn all(jobs: &Jobs) -> Vec<(String, State, Option<String>, String)> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = jobs.list(JobFilter { after, limit: 200, ..JobFilter::default() }).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.new.id);
        let open = page.into_iter().filter(|it| it.state != State::Done);
        all.extend(open.map(|it| (it.new.title, it.state, it.error, it.new.payload)));
    }
    all.sort_by(|one, other| one.0.cmp(&other.0));
    all
}

/// The deploys' jobs, with how often each was begun.
fn done(host: &Host, key: &str) -> Vec<(String, i64)> {
    let jobs = host.cli_json(key, &["jobs", "--state", "done", "--json"]);
    let jobs = jobs.as_array().unwrap().iter();
    let mut done: Vec<_> =
        jobs.map(|it| (it["id"].as_str().unwrap().to_owned(), it["attempt"].as_i64().unwrap())).collect();
    done.sort();
    done
}

/// A move to where the jobs are says so, as one of the data does, and does not begin with anything else.
fn stays(host: &Host, to: &str, place: &str) {
    for more in [&["--rehearse"][..], &["--blobs", "folder"], &[]] {
        let out = run(host, &[&["move", "--redis", to][..], more].concat());
        assert!(out.status.code() == Some(1) && out.stdout.is_empty(), "{out:?}");
        assert!(said(&out).contains(&format!("The jobs of this server are in {place} already")), "{}", said(&out));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_go_to_a_redis_and_come_back() {
    let redis = Server::start(&["--appendonly", "yes"]);
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    let tenant = ask(&host, "SELECT id FROM tenant")[0]["id"].as_str().unwrap().parse::<Id>().unwrap().into();
    assert_eq!(host.stop(), Some(0));
    let ids = Ids::new(Clock::system());
    let (waiting, dead) = (job(&ids, Some(tenant), "a waiting"), job(&ids, None, "c dead"));
    let later = NewJob { run_at_ms: Clock::system().now_ms() + 3_600_000, ..job(&ids, None, "b later") };
    let after = NewJob { after: vec![later.id], ..job(&ids, None, "d after") };
    let dead_id = dead.id;
    let before = in_folder(&host, async |jobs| {
        jobs.pause(Queue::Email, true).await.unwrap();
        jobs.pause(Queue::Deploy, true).await.unwrap();
        jobs.pause_tenant(tenant, true).await.unwrap();
        jobs.enqueue(vec![waiting, later, dead, after]).await.unwrap();
        jobs.bury(dead_id, String::from("it rained")).await.unwrap();
        all(jobs).await
    })
    .await;
    assert_eq!(before.len(), 4);
    host.restart();
    for site in ["one", "two"] {
        deploy(&host, &key, site, "<p>one</p>");
    }
    let deployed = || ask(&host, "SELECT id FROM outbox").is_empty();
    host.until("the queue has the jobs of the deploys", || deployed().then_some(()));

    let report = moved_with(&host, &["--redis", &redis.url()]);
    assert!(report["to"].is_null() && report["queue"].as_str().unwrap().starts_with("redis://127.0.0.1"), "{report}");
    assert_eq!(report["settings"][0]["variable"], "CHAINHOST_REDIS_QUEUE_URL");
    assert_eq!(host.stop(), Some(0));
    host.restart();
    assert!(host.data().join("queue.redb.left").exists() && !host.data().join("queue.redb").exists());
    host.until("the outbox is handed over", || {
        ask(&host, "SELECT id FROM outbox WHERE handed_ms IS NULL").is_empty().then_some(())
    });
    in_redis(&redis, async |jobs| {
        let mine: Vec<_> = all(jobs).await.into_iter().filter(|it| before.contains(it)).collect();
        assert_eq!(mine, before);
        assert_eq!(
            jobs.depths(None).await.unwrap().map(|it| (it.waiting, it.paused)),
            [(2, true), (1, true), (0, false), (0, false)]
        );
        assert!(jobs.depths(Some(tenant)).await.unwrap()[3].tenant_paused);
        // A dead job can be started again where it is now.
        assert_eq!(jobs.get(dead_id).await.unwrap().unwrap().state, State::Failed);
        // The deploys' jobs are done here.
        jobs.pause_tenant(tenant, false).await.unwrap();
        jobs.pause(Queue::Deploy, false).await.unwrap();
    })
    .await;
    host.until("they are done", || (done(&host, &key).len() == 2).then_some(()));
    let ended = done(&host, &key);
    stays(&host, &redis.url(), &redis.url());

    let report = moved_with(&host, &["--redis", "none"]);
    assert_eq!((&report["queue"], &report["jobs"]["dead"]), (&Value::from("folder"), &Value::from(1)));
    assert!(!host.data().join("queue-url").exists());
    assert_eq!(host.stop(), Some(0));
    // What has ended is not in the outbox any more: nobody does it again.
    let mut left = ask(&host, "SELECT title FROM outbox ORDER BY title");
    left.retain(|it| it["title"] != "a waiting" && it["title"] != "b later" && it["title"] != "d after");
    assert_eq!(left, Vec::<Value>::new());
    host.restart();
    host.until("the queue has them", || ask(&host, "SELECT id FROM outbox").is_empty().then_some(()));
    assert!(ended.iter().all(|it| it.1 == 1), "{ended:?}");
    assert_eq!(done(&host, &key), []);
    stays(&host, "none", "the data folder");
    assert_eq!(host.stop(), Some(0));
    let back = in_folder(&host, async |jobs| {
        assert!(jobs.depths(None).await.unwrap()[1].paused);
        all(jobs).await
    })
    .await;
    assert_eq!(back, before);
}

/// Settings alone bring the jobs of a server to a Redis; they do not take the server away from it while its jobs are there.
#[tokio::test(flavor = "multi_thread")]
async fn settings_alone_leave_no_job_behind() {
    const URL: &str = "CHAINHOST_REDIS_QUEUE_URL";
    let mut redis = Server::start(&["--appendonly", "yes"]);
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    assert_eq!(host.stop(), Some(0));
    let ids = Ids::new(Clock::system());
    let (waiting, dead) = (job(&ids, None, "a waiting"), job(&ids, None, "b dead"));
    let dead_id = dead.id;
    let before = in_folder(&host, async |jobs| {
        jobs.pause(Queue::Email, true).await.unwrap();
        jobs.enqueue(vec![waiting, dead]).await.unwrap();
        jobs.bury(dead_id, String::from("it rained")).await.unwrap();
        all(jobs).await
    })
    .await;
    let handed_over = |host: &Host| {
        host.until("the outbox is handed over", || {
            ask(host, "SELECT id FROM outbox WHERE handed_ms IS NULL").is_empty().then_some(())
        });
    };
    let named = [(URL, redis.url())];
    host.become_as(&named, &[]);
    host.restart();
    handed_over(&host);
    assert_eq!(host.stop(), Some(0));
    assert!(!host.data().join("queue.redb").exists() && !host.data().join("queue-url").exists());
    assert_eq!(in_redis(&redis, all).await, before);

    // The setting is gone: the sites are served, and nothing touches the jobs.
    host.become_as(&[], &[]);
    host.restart();
    assert_eq!(host.get("localhost", "/healthz").json()["control"], "queue_elsewhere");
    let refused = host.api(&key, "GET /api/v1/me", b"");
    assert_eq!((refused.status, &refused.json()["code"]), (503, &Value::from("queue_elsewhere")));
    assert!(refused.text().contains("chainhost move --redis none"), "{}", refused.text());
    assert_eq!(host.stop(), Some(0));
    assert!(!host.data().join("queue.redb").exists());
    assert_eq!(ask(&host, "SELECT title FROM outbox")[0]["title"], "a waiting");

    // They are brought back, and then no setting is needed.
    let mut back = command(&host, &["move", "--redis", "none"]);
    let out = back.envs(named.clone()).output().unwrap();
    assert!(out.status.success(), "{}", said(&out));
    host.restart();
    host.until("the queue has them", || ask(&host, "SELECT id FROM outbox").is_empty().then_some(()));
    assert_eq!(host.get("localhost", "/healthz").json()["control"], "ok");
    assert_eq!(host.stop(), Some(0));
    assert_eq!(in_folder(&host, all).await, before);

    // To the Redis once more, which is then gone for good: what had not ended is in the database.
    redis.ask(&["FLUSHALL"]);
    host.become_as(&named, &[]);
    host.restart();
    handed_over(&host);
    assert_eq!(host.stop(), Some(0));
    redis.kill();
    host.become_as(&[], &[]);
    let out = run(&host, &["move", "--redis", "none"]);
    assert!(out.status.success(), "{}", said(&out));
    host.restart();
    host.until("the queue has them", || ask(&host, "SELECT id FROM outbox").is_empty().then_some(()));
    assert_eq!(host.stop(), Some(0));
    // The pause was lost as well, so that it was begun.
    let left: Vec<String> = in_folder(&host, all).await.into_iter().map(|it| it.0).collect();
    assert_eq!(left, ["a waiting"]);
}

/// A server whose Redis dies finds the new master by itself, and does the jobs of what was deployed meanwhile.
#[test]
fn a_server_goes_on_after_a_failover() {
    let mut watched = Watched::start();
    let host = Host::start_as(&[("CHAINHOST_REDIS_QUEUE_URL", watched.url())], &[]);
    let key = host.key("owner@example.org", "super-admin");
    // A row goes when its job has ended, also where a master forgets what another has done.
    let all_done = |what: &str| {
        host.until_within(PATIENCE, Duration::from_millis(200), what, || {
            // Nobody can list jobs while the queue has no master.
            let listed = host.cli(&key, &["jobs", "--state", "failed", "--json"]);
            let failed: Value = serde_json::from_slice(&listed.stdout).ok().filter(|_| listed.status.success())?;
            assert_eq!(failed, Value::Array(Vec::new()));
            ask(&host, "SELECT id FROM outbox").is_empty().then_some(())
        });
    };
    deploy(&host, &key, "one", "<p>one</p>");
    all_done("the job of before");
    let master = watched.master();
    watched.servers[master].kill();
    // Nobody who deploys notices.
    for site in ["two", "three"] {
        deploy(&host, &key, site, "<p>more</p>");
    }
    all_done("the jobs of during the failover");
    deploy(&host, &key, "four", "<p>four</p>");
    all_done("the job of after");
    host.until_within(PATIENCE, Duration::from_millis(200), "the queue to have a master", || {
        (host.get("localhost", "/healthz").json()["queue"] == "ok").then_some(())
    });
}

#[test]
fn a_redis_that_cannot_hold_jobs_is_refused() {
    let redis = Server::start(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]);
    let host = Host::start_embedded();
    let refused = run(&host, &["move", "--redis", &redis.url()]);
    assert!(!refused.status.success());
    stays(&host, "none", "the data folder");
    let nowhere = run(&host, &["move", "--redis", &format!("redis://127.0.0.1:{}", crate::support::free_port())]);
    assert!(!nowhere.status.success() && !host.data().join("queue-url").exists());
}
