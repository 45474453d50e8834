//! Several processes on the same queues: they share the work, hear of one another, and take over from one that died.

use std::collections::HashSet;

use chainhost::{
    domain::job::{JobId, NewJob, Queue, State},
    ports::queue::{Finish, Jobs, Lease, Outcome},
};
use tokio::time::timeout;

use super::{DEADLINE, Rig, tenant, until};
use crate::support::redis;

async fn claim(jobs: &Jobs, queue: Queue, take: usize) -> Vec<Lease> {
    jobs.next(queue, take, Vec::new()).await.unwrap().1
}

/// Waits for wake-ups, of which some may be for nothing, until one is for a job.
async fn woken(jobs: &Jobs, queue: Queue) -> Lease {
    loop {
        timeout(DEADLINE, jobs.ready(queue)).await.expect("a wake-up");
        if let Some(lease) = claim(jobs, queue, 1).await.pop() {
            return lease;
        }
    }
}

async fn finish(jobs: &Jobs, lease: &Lease) -> chainhost::domain::Result<()> {
    let finished = vec![Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done }];
    jobs.next(lease.job.queue, 0, finished).await.unwrap().0.remove(0)
}

/// Each job is leased once, tenants take turns across processes, and a limit of the cluster is one of all of them.
#[tokio::test]
async fn processes_share_the_queues() {
    let rig = Rig::new();
    let (one, two) = (Jobs::new(rig.open("one").0), Jobs::new(rig.open("two").0));
    let new: Vec<NewJob> = (0..30).map(|n| rig.job(Queue::Deploy, tenant(1 + n % 3))).collect();
    one.enqueue(new.clone()).await.unwrap();
    let mut seen = HashSet::new();
    for _ in 0..5 {
        let (a, b) = tokio::join!(claim(&one, Queue::Deploy, 3), claim(&two, Queue::Deploy, 3));
        for leases in [&a, &b] {
            let tenants: HashSet<_> = leases.iter().map(|it| it.job.tenant).collect();
            assert_eq!((leases.len(), tenants.len()), (3, 3));
        }
        for lease in a.iter().chain(&b) {
            assert!(seen.insert(lease.job.id), "leased twice");
        }
        // Only who has it ends it.
        for (has, others, leases) in [(&one, &two, &a), (&two, &one, &b)] {
            for lease in leases {
                assert_eq!(finish(others, lease).await.unwrap_err().code, "stale_lease");
                finish(has, lease).await.unwrap();
                assert_eq!(finish(has, lease).await.unwrap_err().code, "stale_lease");
            }
        }
    }
    assert_eq!(seen.len(), 30);
    one.enqueue((0..3).map(|_| rig.job(Queue::Backup, None)).collect()).await.unwrap();
    let lease = claim(&one, Queue::Backup, 1).await.remove(0);
    assert!(claim(&two, Queue::Backup, 1).await.is_empty());
    finish(&one, &lease).await.unwrap();
    woken(&two, Queue::Backup).await;
}

/// Attempts that one call ends in any order, one of which somebody has taken away: each has its own answer, and all
/// others run on.
#[tokio::test]
async fn ends_in_any_order_leave_what_runs() {
    let (rig, redis) = (Rig::new(), redis::shared());
    let jobs = Jobs::new(rig.open("one").0);
    jobs.enqueue((0..10).map(|n| rig.job(Queue::Email, tenant(1 + n % 3))).collect()).await.unwrap();
    let leases = claim(&jobs, Queue::Email, 10).await;
    let active = format!("{}:email:active", rig.prefix);
    redis.ask(&["LREM", &active, "0", &leases[2].job.id.to_string()]);
    let retry = || Outcome::Retry { error: String::from("not now"), after_ms: Some(600_000) };
    let end = |at: usize| (at, if at == 1 { retry() } else { Outcome::Done });
    let ends = [0, 1, 2, 3, 5, 3].map(end).map(|(at, outcome)| Finish {
        id: leases[at].job.id,
        attempt: leases[at].attempt,
        outcome,
    });
    let (ended, _) = jobs.next(Queue::Email, 0, ends.into()).await.unwrap();
    assert_eq!(ended.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true, true, false]);
    let left: Vec<_> = [9, 8, 7, 6, 4].iter().map(|&at| leases[at].job.id.to_string()).collect();
    assert_eq!(redis.ask(&["LRANGE", &active, "0", "-1"]).lines().collect::<Vec<_>>(), left);
    for (number, state) in [(0, State::Done), (1, State::Delayed), (3, State::Done), (4, State::Running)] {
        assert_eq!(jobs.get(leases[number].job.id).await.unwrap().unwrap().state, state, "{number}");
    }
    let mut done = 0;
    for number in 1..=3 {
        done += jobs.depths(tenant(number)).await.unwrap()[1].done;
    }
    assert_eq!(done, 3);
}

/// A job that one call gives back and leases again has the lock of its new lease.
#[tokio::test]
async fn what_is_given_back_and_leased_by_one_call_is_locked() {
    let (rig, redis) = (Rig::new(), redis::shared());
    let jobs = Jobs::new(rig.open("one").0);
    jobs.enqueue(vec![rig.job(Queue::Email, None)]).await.unwrap();
    let lease = claim(&jobs, Queue::Email, 1).await.remove(0);
    let lock = format!("{}:email:{}:lock", rig.prefix, lease.job.id);
    let back = Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Release };
    let (_, again) = jobs.next(Queue::Email, 1, vec![back]).await.unwrap();
    assert_eq!((again[0].job.id, redis.ask(&["EXISTS", &lock])), (lease.job.id, String::from("1")));
}

/// What one process does wakes the other, tells its workers, and answers its drains.
#[tokio::test]
async fn processes_hear_of_one_another() {
    let rig = Rig::new();
    let (one, two) = (Jobs::new(rig.open("one").0), Jobs::new(rig.open("two").0));
    let job = rig.job(Queue::Email, tenant(1));
    one.enqueue(vec![job.clone()]).await.unwrap();
    let lease = woken(&two, Queue::Email).await;
    assert_eq!(lease.job, job);
    assert!(!one.cancel(job.id).await.unwrap());
    timeout(DEADLINE, lease.cancelled.cancelled()).await.expect("a sign");
    let drain = one.drain(Queue::Email);
    let end = async {
        until("the pause", async || two.depths(None).await.unwrap()[1].paused).await;
        let error = String::from("told to");
        let finished = vec![Finish { id: job.id, attempt: lease.attempt, outcome: Outcome::Cancel { error } }];
        two.next(Queue::Email, 0, finished).await.unwrap();
    };
    let (drained, ()) = tokio::join!(timeout(DEADLINE, drain), end);
    drained.expect("an answer").unwrap();
    one.enqueue(vec![rig.job(Queue::Email, tenant(1))]).await.unwrap();
    assert!(claim(&two, Queue::Email, 1).await.is_empty());
    one.pause(Queue::Email, false).await.unwrap();
    woken(&two, Queue::Email).await;
}

/// The jobs of a process that died go to another once its lease has run out, and count a death; those of one that lives stay.
#[tokio::test]
async fn a_process_takes_over_from_one_that_died() {
    let rig = Rig::new();
    let (dies, _) = rig.open("dies");
    let (lives, takes) = (Jobs::new(rig.open("lives").0), Jobs::new(rig.open("takes").0));
    let ids: Vec<JobId> = {
        let dies = Jobs::new(std::sync::Arc::<chainhost::engines::redis::QueueRedis>::clone(&dies));
        let new: Vec<NewJob> = (0..4).map(|_| rig.job(Queue::Deploy, tenant(1))).collect();
        dies.enqueue(new.clone()).await.unwrap();
        assert_eq!(claim(&dies, Queue::Deploy, 3).await.len(), 3);
        new.iter().map(|it| it.id).collect()
    };
    let kept = claim(&lives, Queue::Deploy, 1).await.remove(0);
    assert_eq!(kept.job.id, ids[3]);
    // From here on nobody says that it lives.
    drop(dies);
    let mut leases = Vec::new();
    while leases.len() < 3 {
        timeout(DEADLINE, takes.ready(Queue::Deploy)).await.expect("a wake-up");
        leases.extend(claim(&takes, Queue::Deploy, 9).await);
    }
    assert_eq!(leases.iter().map(|it| it.job.id).collect::<Vec<_>>(), ids[..3], "in their places");
    for lease in &leases {
        let job = takes.get(lease.job.id).await.unwrap().unwrap();
        assert_eq!((job.attempt, job.deaths), (2, 1));
        finish(&takes, lease).await.unwrap();
    }
    // Longer than a lease has passed, and its holder has said that it lives.
    assert_eq!(takes.get(ids[3]).await.unwrap().unwrap().state, State::Running);
    finish(&lives, &kept).await.unwrap();
    let counts = takes.depths(tenant(1)).await.unwrap()[0];
    assert_eq!((counts.waiting, counts.running, counts.done, counts.failed), (0, 0, 4, 0));
}

/// A second start under the same name takes back at once what the first left, long before a lease runs out.
#[tokio::test]
async fn a_second_start_takes_back_what_the_first_left() {
    let rig = Rig::new();
    let wish = || chainhost::engines::redis::Wish { lease: DEADLINE * 20, ..rig.wish("one") };
    let url = chainhost::base::secret::Secret::new(rig.url.clone());
    let open = || chainhost::engines::redis::QueueRedis::open(&url, &wish()).unwrap();
    let other = Jobs::new(rig.open("two").0);
    {
        let jobs = Jobs::new(open());
        jobs.enqueue((0..2).map(|_| rig.job(Queue::Email, None)).collect()).await.unwrap();
        assert_eq!(claim(&jobs, Queue::Email, 1).await.len(), 1);
    }
    assert_eq!(claim(&other, Queue::Email, 9).await.len(), 1, "the other one is still leased");
    let jobs = Jobs::new(open());
    let lease = claim(&jobs, Queue::Email, 9).await.remove(0);
    assert_eq!(lease.attempt, 2);
    assert_eq!(jobs.get(lease.job.id).await.unwrap().unwrap().deaths, 1);
}
