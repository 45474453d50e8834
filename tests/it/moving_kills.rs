//! Who moves the queue is killed at any moment, and the same command ends the move: no job is lost, none is done twice, and a queue that
//! was left does nothing again when the server comes back to it.

use std::{collections::BTreeSet, process::Stdio, sync::Arc, thread, time::Duration};

use chainhost::{
    base::{clock::Clock, ids::Ids},
    domain::job::{Queue, State},
    engines::{queue_redb::QueueRedb, schema, sqlite::Sqlite},
    ports::{
        db::Db,
        queue::{Finish, Jobs, Outcome},
    },
    services::carry_jobs::{Pauses, carry_jobs},
};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    moving::{ask, command, moved_with, run, said},
    moving_jobs::{all, in_folder, in_redis, job},
    support::{Host, redis::Server},
};

/// Kills of each move.
const KILLS: u32 = 8;
/// Jobs that wait, and that are dead: more than a page together.
const WAITING: usize = 150;
const DEAD: usize = 80;

/// Begins the move again and again, and kills it later each time, until it comes to its end; and then it has come.
fn move_killed(host: &mut Host, to: &str, between: impl Fn(&mut Host, u32)) {
    // How long one takes that nobody kills: as if, where nothing is done.
    let begun = Instant::now();
    let looked = command(host, &["move", "--rehearse", "--redis", to]).output().unwrap();
    assert!(looked.status.success(), "{}", said(&looked));
    let whole = begun.elapsed() * 3;
    for round in 0..KILLS {
        let mut child = command(host, &["move", "--redis", to]);
        let mut child = child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(whole * (round + 1) / KILLS);
        drop(child.kill());
        child.wait().unwrap();
        between(host, round);
    }
    let out = run(host, &["move", "--redis", to]);
    // A start in between may have come to its end.
    assert!(out.status.success() || said(&out).contains("already"), "{}", said(&out));
}

/// Sees that the queue that the server has now gets all that waits.
fn handed_over(host: &Host) {
    host.until("the outbox is handed over", || {
        ask(host, "SELECT id FROM outbox WHERE handed_ms IS NULL").is_empty().then_some(())
    });
}

/// Does all that waits, and says what it was.
async fn work(jobs: &Jobs) -> Vec<String> {
    jobs.pause(Queue::Email, false).await.unwrap();
    let (mut did, mut finished) = (Vec::new(), Vec::new());
    loop {
        let (ended, leases) = jobs.next(Queue::Email, 50, std::mem::take(&mut finished)).await.unwrap();
        assert!(ended.iter().all(Result::is_ok), "{ended:?}");
        if leases.is_empty() {
            return did;
        }
        for lease in leases {
            assert_eq!(lease.attempt, 1);
            finished.push(Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done });
            did.push(lease.job.title);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_move_of_the_queue_loses_and_doubles_no_job() {
    let redis = [Server::start(&["--appendonly", "yes"]), Server::start(&["--appendonly", "yes"])];
    let mut host = Host::start_embedded();
    assert_eq!(host.stop(), Some(0));
    let ids = Ids::new(Clock::system());
    let new: Vec<_> = (0..WAITING + DEAD).map(|number| job(&ids, None, &format!("{number:03}"))).collect();
    let before = in_folder(&host, async |jobs| {
        jobs.pause(Queue::Email, true).await.unwrap();
        let dead: Vec<_> = new.iter().skip(WAITING).map(|it| it.id).collect();
        jobs.enqueue(new).await.unwrap();
        for id in dead {
            jobs.bury(id, String::from("it rained")).await.unwrap();
        }
        all(jobs).await
    })
    .await;
    assert_eq!(before.len(), WAITING + DEAD);

    // To a Redis: it is the start of the server that carries.
    move_killed(&mut host, &redis[0].url(), |_, _| {});
    for round in 1..=KILLS {
        host.stumble(Duration::from_millis(25) * round);
    }
    host.restart();
    handed_over(&host);
    // To another one, while the server works, stands, or comes again.
    move_killed(&mut host, &redis[1].url(), |host, round| match round % 3 {
        0 => host.kill(),
        1 => host.stumble(Duration::from_millis(150)),
        _ => host.restart(),
    });
    host.restart();
    handed_over(&host);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(in_redis(&redis[1], all).await, before);

    // And back into the folder.
    move_killed(&mut host, "none", |host, round| {
        if round % 2 == 0 {
            host.stumble(Duration::from_millis(300));
        }
    });
    host.restart();
    host.until("the queue has them", || ask(&host, "SELECT id FROM outbox").is_empty().then_some(()));
    assert_eq!(host.stop(), Some(0));
    let mut did = in_folder(&host, async |jobs| {
        assert_eq!(all(jobs).await, before);
        work(jobs).await
    })
    .await;
    did.sort();
    let waited = before.iter().filter(|it| it.1 == State::Waiting).map(|it| it.0.clone()).collect::<Vec<_>>();
    assert_eq!((did.len(), &did), (WAITING, &waited));

    // Both have the jobs still that were done elsewhere since: nobody does them again there.
    for redis in &redis {
        moved_with(&host, &["--redis", &redis.url()]);
        host.restart();
        handed_over(&host);
        assert_eq!(host.stop(), Some(0));
        let left = in_redis(redis, async |jobs| work(jobs).await).await;
        assert_eq!(left, Vec::<String>::new());
    }
}

/// Titles of what is open or dead.
async fn titles(jobs: &Jobs) -> Vec<String> {
    all(jobs).await.into_iter().map(|it| it.0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_left_does_nothing_again() {
    let redis = Server::start(&["--appendonly", "yes"]);
    let mut host = Host::start_embedded();
    assert_eq!(host.stop(), Some(0));
    let ids = Ids::new(Clock::system());
    let (gone, stays) = (job(&ids, None, "gone"), job(&ids, None, "stays"));
    let gone_id = gone.id;
    in_folder(&host, async |jobs| {
        jobs.pause(Queue::Email, true).await.unwrap();
        jobs.enqueue(vec![gone, stays]).await.unwrap();
    })
    .await;
    host.restart();
    // Thought better of before the restart: all is where it was.
    moved_with(&host, &["--redis", &redis.url()]);
    moved_with(&host, &["--redis", "none"]);
    assert_eq!(host.stop(), Some(0));
    host.restart();
    assert_eq!(host.stop(), Some(0));
    assert_eq!(in_folder(&host, titles).await, ["gone", "stays"]);

    moved_with(&host, &["--redis", &redis.url()]);
    host.restart();
    handed_over(&host);
    moved_with(&host, &["--redis", "none"]);
    assert_eq!(host.stop(), Some(0));
    host.restart();
    host.until("the queue has them", || ask(&host, "SELECT id FROM outbox").is_empty().then_some(()));
    assert_eq!(host.stop(), Some(0));
    in_folder(&host, async |jobs| jobs.cancel(gone_id).await.unwrap()).await;
    let still = in_redis(&redis, titles).await;
    assert_eq!(still, ["gone", "stays"], "the Redis has heard of nothing");

    moved_with(&host, &["--redis", &redis.url()]);
    host.restart();
    handed_over(&host);
    assert_eq!(host.stop(), Some(0));
    assert_eq!(in_redis(&redis, titles).await, ["stays"]);
    let marks = ask(&host, "SELECT name FROM setting WHERE name LIKE 'queue_left%'");
    assert_eq!(marks, Vec::<Value>::new());
    // What comes from now on is not taken out by the next start.
    host.restart();
    assert_eq!(host.stop(), Some(0));
    assert_eq!(in_redis(&redis, titles).await, ["stays"]);
}

/// What happened to a job elsewhere counts, not what a Redis has of it that was left meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_was_left_knows_nothing_of_then() {
    let redis = [Server::start(&["--appendonly", "yes"]), Server::start(&["--appendonly", "yes"])];
    let mut host = Host::start_embedded();
    assert_eq!(host.stop(), Some(0));
    let ids = Ids::new(Clock::system());
    let [first, mut second, dies] = ["first", "second", "dies"].map(|it| job(&ids, None, it));
    second.after = vec![first.id];
    let (first_id, dies_id) = (first.id, dies.id);
    in_folder(&host, async |jobs| {
        jobs.pause(Queue::Email, true).await.unwrap();
        jobs.enqueue(vec![first, second, dies]).await.unwrap();
    })
    .await;
    for redis in &redis {
        moved_with(&host, &["--redis", &redis.url()]);
        host.restart();
        handed_over(&host);
        assert_eq!(host.stop(), Some(0));
    }
    in_redis(&redis[1], async |jobs| {
        jobs.bury(dies_id, String::from("it rained")).await.unwrap();
        jobs.pause(Queue::Email, false).await.unwrap();
        let (_, leases) = jobs.next(Queue::Email, 1, Vec::new()).await.unwrap();
        assert_eq!(leases.iter().map(|it| it.job.id).collect::<Vec<_>>(), [first_id]);
        jobs.pause(Queue::Email, true).await.unwrap();
        let end = Finish { id: first_id, attempt: leases[0].attempt, outcome: Outcome::Done };
        assert!(jobs.next(Queue::Email, 0, vec![end]).await.unwrap().0.iter().all(Result::is_ok));
    })
    .await;
    host.restart();
    host.until("what has ended has no row", || (ask(&host, "SELECT id FROM outbox").len() == 1).then_some(()));
    moved_with(&host, &["--redis", &redis[0].url()]);
    // Thought better of, and then not.
    moved_with(&host, &["--redis", &redis[1].url()]);
    moved_with(&host, &["--redis", &redis[0].url()]);
    assert_eq!(host.stop(), Some(0));
    host.restart();
    handed_over(&host);
    assert_eq!(host.stop(), Some(0));
    let there = in_redis(&redis[0], all).await;
    let there: Vec<_> = there.iter().map(|it| (it.0.as_str(), it.1, it.2.as_deref())).collect();
    assert_eq!(there, [("dies", State::Failed, Some("it rained")), ("second", State::Waiting, None)]);
    let left = ask(&host, "SELECT name FROM setting WHERE name LIKE 'queue_left%'");
    assert_eq!(left.len(), 1, "{left:?}");
    let word = redis[1].ask(&["HGET", "{chainhost}:host:about", "place"]);
    assert!(word.len() > 30 && left[0].to_string().contains(&word), "{left:?}");
}

#[test]
fn a_queue_is_not_moved_to_a_redis_of_another_installation() {
    let redis = Server::start(&["--appendonly", "yes"]);
    let host = Host::start_embedded();
    redis.ask(&["HSET", "{chainhost}:host:about", "owner", "019abcde"]);
    for more in [&["--rehearse"][..], &[]] {
        let out = command(&host, &[&["move", "--redis", &redis.url()][..], more].concat()).output().unwrap();
        assert!(!out.status.success());
        assert!(said(&out).contains("another installation, whose id is 019abcde"), "{}", said(&out));
    }
    assert_eq!(redis.ask(&["HLEN", "{chainhost}:host:about"]).trim(), "1");
    assert!(!host.data().join("queue-url").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_started_again_meanwhile_is_not_dead_after_a_second_carrying() {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::new(Sqlite::open(&folder.path().join("db"), schema::SQLITE).unwrap());
    let open = |name: &str| QueueRedb::open(&folder.path().join(name), Clock::system()).unwrap();
    let engines = [open("from"), open("to")];
    let [from, to] = engines.clone().map(|it| Jobs::new(Arc::<QueueRedb>::clone(&it)));
    let ids = Ids::new(Clock::system());
    let (again, asleep) = (job(&ids, None, "again"), job(&ids, None, "asleep"));
    let (again_id, asleep_id) = (again.id, asleep.id);
    from.enqueue(vec![again, asleep.clone()]).await.unwrap();
    for id in [again_id, asleep_id] {
        from.bury(id, String::from("it rained")).await.unwrap();
    }
    // As who was killed between the two steps has left it: nobody may start it.
    let taken = to.enqueue(vec![chainhost::domain::job::NewJob { run_at_ms: 4_000_000_000_000, ..asleep }]).await;
    assert_eq!(taken.unwrap(), 1);
    to.pause(Queue::Backup, true).await.unwrap();
    let carried = carry_jobs(&db, &from, &to, Pauses::Replace).await.unwrap();
    assert_eq!((carried.open, carried.dead), (0, 2));
    let states = async |jobs: &Jobs| all(jobs).await.into_iter().map(|it| (it.0, it.1.word())).collect::<BTreeSet<_>>();
    let both = |one: State| {
        BTreeSet::from([(String::from("again"), one.word()), (String::from("asleep"), State::Failed.word())])
    };
    assert_eq!(states(&to).await, both(State::Failed));
    assert!(to.depths(None).await.unwrap().iter().all(|it| !it.paused));

    to.rerun(again_id).await.unwrap();
    carry_jobs(&db, &from, &to, Pauses::Join).await.unwrap();
    assert_eq!(states(&to).await, both(State::Waiting));
    for engine in engines {
        engine.close();
    }
}
