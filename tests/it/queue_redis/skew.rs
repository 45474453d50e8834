//! Nodes whose clocks are wrong by minutes, and are set while they work: who has a job, and when one starts, is told by Redis' own
//! clock alone.

use chainhost::{
    base::{
        clock::{Clock, Hands},
        secret::Secret,
    },
    domain::job::{BUILD, NewJob, Queue, State},
    engines::redis::{QueueRedis, Wish},
    ports::queue::{Finish, Jobs, Lease, Outcome},
};
use tokio::time::timeout;

use super::{DEADLINE, Rig, tenant, until};

const MINUTES_MS: i64 = 15 * 60_000;

/// A node whose clock is wrong by so much, and who can set it.
fn node(rig: &Rig, name: &str, wrong_ms: i64) -> (Jobs, Hands) {
    let (clock, hands) = Clock::wrong(wrong_ms);
    let wish = Wish { clock, ..rig.wish(name) };
    (Jobs::new(QueueRedis::open(&Secret::new(rig.url.clone()), &wish).unwrap()), hands)
}

async fn claim(jobs: &Jobs) -> Lease {
    jobs.next(Queue::Email, 1, Vec::new()).await.unwrap().1.pop().expect("a job")
}

async fn finish(jobs: &Jobs, lease: &Lease) {
    let finished = vec![Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done }];
    jobs.next(Queue::Email, 0, finished).await.unwrap().0.remove(0).unwrap();
}

/// One that dies and one that lives, with clocks that are wrong by so much, and a third that must take from the first alone.
async fn from_the_dead_alone(dies_ms: i64, lives_ms: i64, takes_ms: i64) {
    let rig = Rig::new();
    let ((dies, _), (lives, hands)) = (node(&rig, "dies", dies_ms), node(&rig, "lives", lives_ms));
    let (takes, others) = node(&rig, "takes", takes_ms);
    let new: Vec<NewJob> = (0..2).map(|_| rig.job(Queue::Email, tenant(1))).collect();
    dies.enqueue(new.clone()).await.unwrap();
    let lost = claim(&dies).await;
    let kept = claim(&lives).await;
    // From here on nobody says that it lives.
    drop(dies);
    // Clocks that jump take nothing from who lives.
    for by_ms in [2 * MINUTES_MS, -3 * MINUTES_MS] {
        hands.advance(by_ms);
        others.advance(-by_ms);
        assert!(takes.next(Queue::Email, 9, Vec::new()).await.unwrap().1.is_empty(), "both are leased");
    }
    let mut found = None;
    while found.is_none() {
        timeout(DEADLINE, takes.ready(Queue::Email)).await.expect("a wake-up");
        found = takes.next(Queue::Email, 9, Vec::new()).await.unwrap().1.pop();
    }
    let again = found.unwrap();
    assert_eq!((again.job.id, again.attempt), (lost.job.id, 2));
    // Longer than a lease has passed.
    let job = takes.get(kept.job.id).await.unwrap().unwrap();
    assert_eq!((job.state, job.attempt, job.deaths), (State::Running, 1, 0));
    finish(&takes, &again).await;
    finish(&lives, &kept).await;
    let depth = takes.depths(tenant(1)).await.unwrap().into_iter().nth(1).unwrap();
    assert_eq!((depth.waiting, depth.running, depth.done, depth.failed), (0, 0, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_clocks_take_no_job_from_a_live_worker_and_leave_none_with_a_dead_one() {
    tokio::join!(
        from_the_dead_alone(-MINUTES_MS, MINUTES_MS, 0),
        from_the_dead_alone(MINUTES_MS, -MINUTES_MS, MINUTES_MS),
        from_the_dead_alone(0, MINUTES_MS, -2 * MINUTES_MS),
    );
}

/// A job that is to run at once runs at once, and one that is put off by so long runs so much later, whoever asked for it and whoever
/// takes it.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_when_it_should_wherever_it_was_asked_for() {
    for wrong_ms in [MINUTES_MS, -MINUTES_MS] {
        let rig = Rig::new();
        let ((asks, _), (takes, _)) = (node(&rig, "asks", wrong_ms), node(&rig, "takes", -wrong_ms));
        let said_ms = rig.clock.now_ms() + wrong_ms;
        let at_once = NewJob { created_ms: said_ms, run_at_ms: said_ms, ..rig.job(Queue::Email, tenant(1)) };
        let soon = NewJob { created_ms: said_ms, run_at_ms: said_ms + 2_000, ..rig.job(Queue::Email, tenant(1)) };
        let late = NewJob { created_ms: said_ms, run_at_ms: said_ms + 60_000, ..rig.job(Queue::Email, tenant(1)) };
        // One that waits for another is put off as well.
        let bound = NewJob { after: vec![at_once.id], ..soon.clone() };
        let bound = NewJob { id: rig.job(Queue::Email, None).id, ..bound };
        asks.enqueue(vec![at_once.clone(), soon.clone(), late.clone(), bound.clone()]).await.unwrap();
        let lease = claim(&takes).await;
        assert_eq!(lease.job.id, at_once.id);
        finish(&takes, &lease).await;
        drop(asks);
        let mut found = Vec::new();
        until("those that were put off a little", async || {
            found.extend(takes.next(Queue::Email, 9, Vec::new()).await.unwrap().1);
            found.len() >= 2
        })
        .await;
        assert!(rig.clock.now_ms() >= soon.run_at_ms - wrong_ms, "not before");
        let ids: Vec<_> = found.iter().map(|it| it.job.id).collect();
        assert_eq!((ids.len(), ids.contains(&soon.id), ids.contains(&bound.id)), (2, true, true));
        let job = takes.get(late.id).await.unwrap().unwrap();
        assert_eq!((job.state, job.new), (State::Delayed, late));
    }
}

/// A job that was asked for at once by a node that is ahead, and is handed over by another, is not put off.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_that_is_ahead_wanted_at_once_another_hands_over_at_once() {
    let rig = Rig::new();
    let (behind, _) = node(&rig, "behind", -MINUTES_MS);
    let said_ms = rig.clock.now_ms() + MINUTES_MS;
    let at_once = NewJob { created_ms: said_ms, run_at_ms: said_ms, ..rig.job(Queue::Email, tenant(1)) };
    behind.enqueue(vec![at_once.clone()]).await.unwrap();
    assert_eq!(claim(&behind).await.job.id, at_once.id);
}

/// Five builds start in a minute, not five by each node's clock, also when these clocks are set meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn the_rate_of_builds_holds_between_nodes_whose_clocks_differ() {
    let rig = Rig::new();
    let (ahead, hands) = node(&rig, "ahead", MINUTES_MS);
    let (behind, others) = node(&rig, "behind", -MINUTES_MS);
    let builds = (0..12).map(|_| NewJob { kind: String::from(BUILD), ..rig.job(Queue::Deploy, tenant(1)) }).collect();
    ahead.enqueue(builds).await.unwrap();
    let claimed = async |jobs: &Jobs| jobs.next(Queue::Deploy, 9, Vec::new()).await.unwrap().1.len();
    assert_eq!(claimed(&behind).await, 5);
    for by_ms in [0, 2 * MINUTES_MS, -3 * MINUTES_MS] {
        hands.advance(by_ms);
        others.advance(-by_ms);
        assert_eq!((claimed(&ahead).await, claimed(&behind).await, claimed(&ahead).await), (0, 0, 0));
    }
}
