//! Nodes whose clocks are wrong by minutes, and are set while they work: who has a job is told by Redis' own clock alone.

use chainhost::{
    base::{
        clock::{Clock, Hands},
        secret::Secret,
    },
    domain::job::{NewJob, Queue, State},
    engines::redis::{QueueRedis, Wish},
    ports::queue::{Finish, Jobs, Lease, Outcome},
};
use tokio::time::timeout;

use super::{DEADLINE, Rig, tenant, until};

const MINUTES_MS: i64 = 15 * 60_000;

/// A node whose clock is wrong by so much, and who can set it.
fn node(rig: &Rig, name: &str, wrong_ms: i64) -> (Jobs, Hands) {
    let (clock, hands) = Clock::manual(rig.clock.now_ms() + wrong_ms);
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

/// A job that is to run at once runs at once, also where it was asked for by a node that is ahead; one that is put off is not lost when
/// the node whose clock set its time is gone: it runs when the others' clocks say so.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_node_that_is_ahead_asked_for_runs_on_one_that_is_behind() {
    let rig = Rig::new();
    let ((ahead, hands), (behind, others)) = (node(&rig, "ahead", MINUTES_MS), node(&rig, "behind", -MINUTES_MS));
    let now_ms = rig.clock.now_ms();
    let at_once = NewJob { created_ms: now_ms + MINUTES_MS, ..rig.job(Queue::Email, tenant(1)) };
    let later = NewJob { run_at_ms: now_ms + MINUTES_MS + 1_000, ..rig.job(Queue::Email, tenant(1)) };
    ahead.enqueue(vec![at_once.clone(), later.clone()]).await.unwrap();
    let lease = claim(&behind).await;
    assert_eq!(lease.job.id, at_once.id);
    finish(&behind, &lease).await;
    assert!(behind.next(Queue::Email, 9, Vec::new()).await.unwrap().1.is_empty(), "its time has not come");
    // By the clock that set its time it has.
    hands.advance(2_000);
    let lease = claim(&ahead).await;
    assert_eq!(lease.job.id, later.id);
    finish(&ahead, &lease).await;
    // And without that clock, by the others'.
    let orphan = NewJob { run_at_ms: now_ms + MINUTES_MS + 60_000, ..rig.job(Queue::Email, tenant(1)) };
    ahead.enqueue(vec![orphan.clone()]).await.unwrap();
    drop(ahead);
    assert!(behind.next(Queue::Email, 9, Vec::new()).await.unwrap().1.is_empty());
    others.advance(2 * MINUTES_MS + 61_000);
    let mut found = None;
    until("the job that was put off", async || {
        found = behind.next(Queue::Email, 9, Vec::new()).await.unwrap().1.pop();
        found.is_some()
    })
    .await;
    assert_eq!(found.unwrap().job.id, orphan.id);
}
