//! A node starts on the Redis that has the jobs, whatever its address is, and on no other; and what happens between a move of the queue
//! and the restart comes along.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{sync::Arc, thread, time::Duration};

use chainhost::{
    base::{clock::Clock, ids::Ids, secret::Secret},
    domain::job::{JobId, Queue, State},
    engines::redis::{QueueRedis, Wish},
    ports::queue::{Finish, JobFilter, Jobs, Outcome},
};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    moving::{ask, deploy, moved_with, run, said},
    moving_jobs::{all, in_folder, in_redis, job},
    support::{
        Host,
        postgres::{Database, Way},
        redis::Server,
    },
};

const URL: &str = "CHAINHOST_REDIS_QUEUE_URL";
const ABOUT: &str = "{chainhost}:host:about";

fn server() -> Server {
    Server::start(&["--appendonly", "yes"])
}

/// Starts on a Redis that the settings alone name; what the control plane says.
fn start_on(host: &mut Host, url: &str) -> Value {
    host.become_as(&[(URL, url.to_owned())], &[]);
    host.restart();
    host.get("localhost", "/healthz").json()["control"].clone()
}

fn handed_over(host: &Host) {
    host.until("the outbox is handed over", || {
        ask(host, "SELECT id FROM outbox WHERE handed_ms IS NULL").is_empty().then_some(())
    });
}

/// All that a database says of its queue.
fn settings(host: &Host) -> Vec<Value> {
    ask(host, "SELECT name, value FROM setting WHERE name LIKE 'queue%' ORDER BY name")
}

/// The jobs whose titles are known.
async fn states(jobs: &Jobs) -> Vec<(String, State)> {
    all(jobs).await.into_iter().map(|it| (it.0, it.1)).collect()
}

/// A server that has a waiting job and a dead one, in queues that are paused, in a Redis that its settings name.
async fn on(redis: &Server) -> (Host, String, String) {
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    assert_eq!(host.stop(), Some(0));
    let ids = Ids::new(Clock::system());
    let (waits, dead) = (job(&ids, None, "a waits"), job(&ids, None, "b dead"));
    let (waits_id, dead_id) = (waits.id, dead.id);
    in_folder(&host, async |jobs| {
        jobs.pause(Queue::Email, true).await.unwrap();
        jobs.enqueue(vec![waits, dead]).await.unwrap();
        jobs.bury(dead_id, String::from("it rained")).await.unwrap();
    })
    .await;
    assert_eq!(start_on(&mut host, &redis.url()), "ok");
    handed_over(&host);
    assert_eq!(host.stop(), Some(0));
    (host, key, waits_id.to_string())
}

/// Waits until a Redis has a job.
fn has(host: &Host, redis: &Server, id: &str) {
    let there = || redis.ask(&["ZRANGE", "{chainhost}:host:all", "0", "-1"]).contains(id);
    host.until("the Redis has the job", || there().then_some(()));
}

/// Sees that a start with this address is refused with this code and sentence, and that nothing is changed by it.
fn refused(host: &mut Host, key: &str, url: &str, look: &dyn Fn() -> String, code: &str) {
    let before = (settings(host), look());
    assert_eq!(start_on(host, url), code, "{url}");
    let answer = host.api(key, "GET /api/v1/me", b"");
    assert_eq!((answer.status, &answer.json()["code"]), (503, &Value::from(code)));
    let says = answer.text().contains("chainhost move --redis");
    assert!(code != "queue_other" || says, "{}", answer.text());
    assert_eq!(host.stop(), Some(0));
    assert_eq!((settings(host), look()), before, "{url}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_on_another_redis_changes_nothing() {
    let [mut home, other] = [server(), server()];
    let (mut host, key, waits) = on(&home).await;
    let keys = || {
        let mut keys: Vec<_> = other.ask(&["KEYS", "*"]).lines().map(str::to_owned).collect();
        keys.sort();
        format!("{keys:?} {}", other.ask(&["HGETALL", ABOUT]))
    };
    let jobs = in_redis(&home, all).await;
    assert_eq!(jobs.len(), 2);

    // An empty one, and one that was left before, or is somebody else's.
    refused(&mut host, &key, &other.url(), &keys, "queue_other");
    let instance = home.ask(&["HGET", ABOUT, "owner"]);
    other.ask(&["HSET", ABOUT, "owner", &instance, "place", "019abcde"]);
    refused(&mut host, &key, &other.url(), &keys, "queue_other");
    other.ask(&["HSET", ABOUT, "owner", "019abcde"]);
    refused(&mut host, &key, &other.url(), &keys, "queue_foreign");
    let nowhere = format!("redis://127.0.0.1:{}", crate::support::free_port());
    refused(&mut host, &key, &nowhere, &String::new, "queue_unreachable");
    assert_eq!(in_redis(&home, all).await, jobs);

    // The same one under other names.
    for url in [home.url().replace("127.0.0.1", "localhost"), format!("{}/0", home.url())] {
        assert_eq!(start_on(&mut host, &url), "ok", "{url}");
        assert_eq!(host.stop(), Some(0));
        assert_eq!(ask(&host, "SELECT name FROM setting WHERE name LIKE 'queue_left%'"), Vec::<Value>::new());
    }
    assert_eq!(in_redis(&home, all).await, jobs);
    // A copy of it, in whose place it was promoted.
    other.ask(&["FLUSHALL"]);
    other.ask(&["REPLICAOF", "127.0.0.1", &home.port.to_string()]);
    host.until("the copy", || (other.ask(&["HGET", ABOUT, "owner"]) == instance).then_some(()));
    other.ask(&["REPLICAOF", "NO", "ONE"]);
    home.kill();
    assert_eq!(start_on(&mut host, &other.url()), "ok");
    assert_eq!(host.stop(), Some(0));
    assert_eq!(in_redis(&other, all).await, jobs);

    // One that has lost all, at the same address: what had not ended is in the database. It is known again from then on.
    other.ask(&["FLUSHALL"]);
    assert_eq!(start_on(&mut host, &other.url()), "ok");
    has(&host, &other, &waits);
    assert_eq!(host.stop(), Some(0));
    let local = other.url().replace("127.0.0.1", "localhost");
    assert_eq!(start_on(&mut host, &local), "ok");
    assert_eq!(host.stop(), Some(0));
    // And other queues at the same address.
    other.ask(&["HSET", ABOUT, "place", "019abcde"]);
    refused(&mut host, &key, &local, &keys, "queue_other");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_redis_is_named_for_good_by_a_move_alone() {
    let [mut home, other, third] = [server(), server(), server()];
    let (mut host, key, waits) = on(&home).await;
    let keys = || other.ask(&["KEYS", "*"]);
    host.become_as(&[(URL, home.url())], &[]);
    moved_with(&host, &["--redis", &other.url()]);
    // Until a server has started there, the one of before may be started on; after that no more.
    std::fs::remove_file(host.data().join("queue-url")).unwrap();
    assert_eq!(start_on(&mut host, &home.url()), "ok");
    assert_eq!(host.stop(), Some(0));
    assert_eq!(start_on(&mut host, &other.url()), "ok");
    handed_over(&host);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(in_redis(&other, all).await.len(), 2);
    refused(&mut host, &key, &home.url(), &keys, "queue_other");
    // A command does not take jobs from where they are not.
    let out = run(&host, &["move", "--redis", &third.url()]);
    assert!(!out.status.success() && said(&out).contains("Name that one"), "{}", said(&out));

    // Gone for good: the settings name the new one, and the command accepts it.
    home.kill();
    drop(home);
    let mut gone = other;
    gone.kill();
    refused(&mut host, &key, &third.url(), &|| third.ask(&["KEYS", "*"]), "queue_other");
    let report = moved_with(&host, &["--redis", &third.url()]);
    assert!(report["left_behind"].as_str().unwrap().contains(&gone.port.to_string()), "{report}");
    assert_eq!(start_on(&mut host, &third.url()), "ok");
    has(&host, &third, &waits);
    assert_eq!(host.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_works_sees_other_queues_at_its_address() {
    let redis = server();
    let open = |place: &str| {
        let (url, wish) = (Secret::new(redis.url()), Wish::new("one", Clock::system()).placed(place.to_owned()));
        thread::spawn(move || QueueRedis::open(&url, &wish)).join().unwrap()
    };
    open("first").unwrap().close();
    assert_eq!(redis.ask(&["HGET", ABOUT, "place"]), "first");
    open("first").unwrap().close();
    assert_eq!(open("second").unwrap_err().code, "queue_other");
    assert_eq!(redis.ask(&["HGET", ABOUT, "place"]), "first");
    let engine = open("first").unwrap();
    let jobs = Jobs::new(Arc::<QueueRedis>::clone(&engine));
    redis.ask(&["HSET", ABOUT, "place", "second"]);
    redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
    redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    let begun = Instant::now();
    while !jobs.depths(None).await.is_err_and(|it| it.code == "queue_other") {
        assert!(begun.elapsed() < Duration::from_mins(1), "it is not told apart");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    engine.close();
}

/// Five jobs of a queue that is paused: two dead ones, and three that wait.
struct Five {
    titles: [&'static str; 5],
    ids: Vec<JobId>,
}

impl Five {
    async fn begin(host: &Host) -> Self {
        let titles = ["again", "dead", "dies", "ends", "waits"];
        let ids = Ids::new(Clock::system());
        let new: Vec<_> = titles.iter().map(|it| job(&ids, None, it)).collect();
        let five = Self { titles, ids: new.iter().map(|it| it.id).collect() };
        in_folder(host, async |jobs| {
            jobs.pause(Queue::Email, true).await.unwrap();
            jobs.enqueue(new).await.unwrap();
            for title in ["again", "dead"] {
                jobs.bury(five.id(title), String::from("it rained")).await.unwrap();
            }
        })
        .await;
        five
    }

    fn id(&self, title: &str) -> JobId {
        self.ids[self.titles.iter().position(|it| *it == title).unwrap()]
    }

    /// What people and workers do with them between a move and the restart.
    async fn change(&self, jobs: &Jobs) {
        jobs.rerun(self.id("again")).await.unwrap();
        jobs.bury(self.id("dies"), String::from("it snowed")).await.unwrap();
        jobs.pause(Queue::Backup, true).await.unwrap();
        jobs.pause(Queue::Email, false).await.unwrap();
        let (_, leases) = jobs.next(Queue::Email, 10, Vec::new()).await.unwrap();
        assert_eq!(leases.len(), 3);
        jobs.pause(Queue::Email, true).await.unwrap();
        let finish = leases.into_iter().map(|it| match it.job.id {
            id if id == self.id("ends") => Finish { id, attempt: it.attempt, outcome: Outcome::Done },
            _ => it.released(),
        });
        let (ended, _) = jobs.next(Queue::Email, 0, finish.collect()).await.unwrap();
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
    }
}

fn after() -> Vec<(String, State)> {
    let after =
        [("again", State::Waiting), ("dead", State::Failed), ("dies", State::Failed), ("waits", State::Waiting)];
    after.map(|it| (it.0.to_owned(), it.1)).to_vec()
}

/// A stopped server whose five jobs are in the first Redis, which it has worked with, and which a move leads to the second or into the folder.
async fn led_away(to_redis: bool) -> (Server, Server, Host, Five) {
    let [home, other] = [server(), server()];
    let mut host = Host::start_embedded();
    assert_eq!(host.stop(), Some(0));
    let five = Five::begin(&host).await;
    moved_with(&host, &["--redis", &home.url()]);
    host.restart();
    handed_over(&host);
    assert_eq!(host.stop(), Some(0));
    let to = if to_redis { other.url() } else { String::from("none") };
    moved_with(&host, &["--redis", &to]);
    (home, other, host, five)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_between_a_move_and_the_restart_comes_along() {
    for to_redis in [true, false] {
        let (home, other, mut host, five) = led_away(to_redis).await;
        in_redis(&home, async |jobs| five.change(jobs).await).await;
        // Killed while it takes over, it begins again.
        for round in 1..=6 {
            host.stumble(Duration::from_millis(40) * round);
        }
        host.restart();
        handed_over(&host);
        assert_eq!(host.stop(), Some(0));
        assert!(!host.data().join("queue-url.before").exists());
        let look = async |jobs: &Jobs| {
            assert_eq!(states(jobs).await, after(), "to Redis: {to_redis}");
            let paused = jobs.depths(None).await.unwrap().map(|it| it.paused);
            assert_eq!(paused, [false, true, false, true], "to Redis: {to_redis}");
        };
        if to_redis { in_redis(&other, look).await } else { in_folder(&host, look).await }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_gone_before_the_restart_is_told_of() {
    for to_redis in [true, false] {
        let (mut home, other, mut host, _) = led_away(to_redis).await;
        home.kill();
        host.restart();
        assert!(host.log().contains("cannot be asked again"), "{}", host.log());
        handed_over(&host);
        assert_eq!(host.stop(), Some(0));
        let look = async |jobs: &Jobs| {
            assert_eq!(states(jobs).await.len(), 5, "to Redis: {to_redis}");
        };
        if to_redis { in_redis(&other, look).await } else { in_folder(&host, look).await }
    }
}

/// The node that has moved the queue is not the first to start on the new Redis: what has died in the old one comes along all the same.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_died_before_another_node_started_comes_with_the_node_that_knows_the_old_redis() {
    let (database, [old, new]) = (Database::new(Way::Direct), [server(), server()]);
    let on = |queue: Option<&Server>| {
        let queue = queue.map(|it| (URL, it.url()));
        [("CHAINHOST_DATABASE_URL", database.url())].into_iter().chain(queue).collect::<Vec<_>>()
    };
    let (mut moves, mut other) = (Host::start_as(&on(Some(&old)), &[]), Host::start_as(&on(Some(&old)), &[]));
    for host in [&mut moves, &mut other] {
        assert_eq!(host.stop(), Some(0));
    }
    let ids = Ids::new(Clock::system());
    let (again, gone, late) = (job(&ids, None, "again"), job(&ids, None, "gone"), job(&ids, None, "late"));
    let (again_id, gone_id, late_id) = (again.id, gone.id, late.id);
    in_redis(&old, async |jobs| {
        jobs.pause(Queue::Email, true).await.unwrap();
        jobs.enqueue(vec![again, gone]).await.unwrap();
        for id in [again_id, gone_id] {
            jobs.bury(id, String::from("it rained")).await.unwrap();
        }
    })
    .await;
    moved_with(&moves, &["--redis", &new.url()]);
    in_redis(&old, async |jobs| {
        jobs.enqueue(vec![late]).await.unwrap();
        jobs.bury(late_id, String::from("it snowed")).await.unwrap();
    })
    .await;

    other.become_as(&on(Some(&new)), &[]);
    other.restart();
    assert!(other.log().contains("cannot be asked again"), "{}", other.log());
    in_redis(&new, async |jobs| {
        assert_eq!(states(jobs).await.len(), 2, "nobody has brought the late one yet");
        jobs.rerun(again_id).await.unwrap();
        jobs.dismiss(gone_id).await.unwrap();
        jobs.pause(Queue::Backup, true).await.unwrap();
    })
    .await;
    moves.become_as(&on(None), &[]);
    moves.restart();
    for host in [&mut moves, &mut other] {
        assert_eq!(host.stop(), Some(0));
    }
    assert!(!moves.data().join("queue-url.before").exists());
    in_redis(&new, async |jobs| {
        // What people did with the others since stays done.
        let wanted = [("again", State::Waiting), ("late", State::Failed)].map(|it| (it.0.to_owned(), it.1));
        assert_eq!(states(jobs).await, wanted);
        assert!(jobs.depths(None).await.unwrap()[3].paused);
    })
    .await;
}

/// A node that nobody has restarted after a move works with the old Redis still: it would do there what others do at the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_goes_on_with_the_redis_of_before_begins_nothing_there() {
    let (database, [old, new]) = (Database::new(Way::Direct), [server(), server()]);
    let on = |queue: &Server| vec![("CHAINHOST_DATABASE_URL", database.url()), (URL, queue.url())];
    let (mut moves, other) = (Host::start_as(&on(&old), &[]), Host::start_as(&on(&old), &[]));
    let key = other.key("owner@example.org", "super-admin");
    let once = job(&Ids::new(Clock::system()), None, "once");
    in_redis(&old, async |jobs| {
        jobs.pause(Queue::Email, true).await.unwrap();
        jobs.enqueue(vec![once]).await.unwrap();
    })
    .await;
    moved_with(&moves, &["--redis", &new.url()]);
    assert_eq!(moves.stop(), Some(0));
    moves.become_as(&on(&new), &[]);
    moves.restart();

    in_redis(&old, async |jobs| jobs.pause(Queue::Email, false).await.unwrap()).await;
    let begun = Instant::now();
    let put_off = vec![(String::from("once"), State::Delayed)];
    while in_redis(&old, states).await != put_off {
        assert!(begun.elapsed() < Duration::from_mins(1), "{:?}\n{}", in_redis(&old, states).await, other.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What is asked for here, others hand over.
    deploy(&other, &key, "shop", "<p>one</p>");
    handed_over(&other);
    assert!(other.log().contains("queue_left"), "{}", other.log());
    in_redis(&new, async |jobs| {
        assert_eq!(states(jobs).await, [(String::from("once"), State::Waiting)]);
        let rules = JobFilter { limit: 10, queue: Some(Queue::Deploy), ..JobFilter::default() };
        assert_eq!(jobs.list(rules).await.unwrap().len(), 1);
        jobs.pause(Queue::Email, false).await.unwrap();
    })
    .await;
    in_redis(&old, async |jobs| {
        assert_eq!(states(jobs).await, put_off);
        let rules = JobFilter { limit: 10, queue: Some(Queue::Deploy), ..JobFilter::default() };
        assert_eq!(jobs.list(rules).await.unwrap().len(), 0);
    })
    .await;
}

/// What a move has brought into the folder goes on to another Redis that the settings name before any start was without one.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_come_home_goes_on_to_the_redis_that_the_settings_name_next() {
    let (home, third, mut host, five) = led_away(false).await;
    in_redis(&home, async |jobs| five.change(jobs).await).await;
    assert_eq!(start_on(&mut host, &third.url()), "ok");
    handed_over(&host);
    assert_eq!(host.stop(), Some(0));
    in_redis(&third, async |jobs| {
        assert_eq!(states(jobs).await, after());
        let paused = jobs.depths(None).await.unwrap().map(|it| it.paused);
        assert_eq!(paused, [false, true, false, true]);
    })
    .await;
}

/// A move stands while the server goes back to the Redis of before for a while: what changes there comes along in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_stands_knows_the_redis_of_before_when_that_was_used_again() {
    let (home, other, mut host, five) = led_away(true).await;
    std::fs::remove_file(host.data().join("queue-url")).unwrap();
    assert_eq!(start_on(&mut host, &home.url()), "ok");
    assert_eq!(host.stop(), Some(0));
    in_redis(&home, async |jobs| five.change(jobs).await).await;
    assert_eq!(start_on(&mut host, &other.url()), "ok");
    handed_over(&host);
    assert_eq!(host.stop(), Some(0));
    in_redis(&other, async |jobs| assert_eq!(states(jobs).await, after())).await;
}
