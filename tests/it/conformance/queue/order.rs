//! Who is next, when, and who is woken.

use super::*;

/// Clause 6: first in, first out within a tenant; tenants take turns.
pub(super) async fn tenants_take_turns(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let many = rig.fill(Queue::Deploy, tenant(1), 0, 1_000).await;
    assert_eq!(rig.claim_ids(Queue::Deploy, 3).await, many[..3]);
    let few = rig.fill(Queue::Deploy, tenant(2), 0, 2).await;
    let host = rig.fill(Queue::Deploy, None, 0, 1).await;
    let next: Vec<JobId> = rig.claim_ids(Queue::Deploy, 5).await;
    assert_eq!(next, [many[3], few[0], host[0], many[4], few[1]]);
    assert_eq!(rig.claim_ids(Queue::Deploy, 300).await, many[5..305]);
    rig.restart();
    // What ran is at the front again, in its order.
    let host_again = rig.claim_ids(Queue::Deploy, 400).await;
    let mine: Vec<JobId> = host_again.into_iter().filter(|it| many.contains(it)).collect();
    assert_eq!(mine, many[..397]);
}

/// Clause 6: a tenant that comes in late waits for at most one job of each other.
pub(super) async fn ten_thousand_jobs_delay_another_by_one(place: &dyn Place) {
    let rig = Rig::new(place);
    rig.fill(Queue::Email, tenant(1), 0, 10_000).await;
    rig.claim(Queue::Email, 7).await;
    let late = rig.fill(Queue::Email, tenant(2), 0, 1).await;
    let next = rig.claim_ids(Queue::Email, 2).await;
    assert!(next.contains(&late[0]));
}

/// Clause 6, with many: each of ten thousand tenants is served once before the one with ten thousand jobs is served twice.
pub(super) async fn ten_thousand_tenants_each_get_their_turn(place: &dyn Place) {
    const TENANTS: u32 = 10_000;
    let mut rig = Rig::new(place);
    let flood = rig.fill(Queue::Email, tenant(1), 0, 10_000).await;
    let id = |number: u32| {
        let mut bytes = [9; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        TenantId(Id::from_bytes(bytes))
    };
    let jobs = (0..TENANTS).map(|number| NewJob { tenant: Some(id(number)), ..rig.job(Queue::Email) }).collect();
    rig.jobs().enqueue(jobs).await.unwrap();
    for restarted in [false, true] {
        let half = usize::try_from(TENANTS / 2).unwrap();
        let served = rig.claim(Queue::Email, half).await;
        let floods: Vec<JobId> = served.iter().map(|it| it.job.id).filter(|it| flood.contains(it)).collect();
        assert!(floods.len() <= 1, "{} jobs of one tenant", floods.len());
        let others: HashSet<_> = served.iter().map(|it| it.job.tenant).collect();
        assert_eq!(others.len(), half, "each once");
        let finished = served.iter().map(|it| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Done });
        rig.jobs().next(Queue::Email, 0, finished.collect()).await.unwrap();
        if !restarted {
            rig.restart();
        }
    }
    assert!(rig.jobs().depths(Some(id(0))).await.unwrap()[1].oldest_ms.is_none());
}

/// Higher priority first, but what has waited five minutes is not starved by it.
pub(super) async fn priority_goes_first_and_age_is_not_starved(place: &dyn Place) {
    let rig = Rig::new(place);
    let low = rig.fill(Queue::Deploy, tenant(1), 0, 3).await;
    let high = rig.fill(Queue::Deploy, tenant(2), 10, 200).await;
    assert_eq!(rig.claim_ids(Queue::Deploy, 3).await, high[..3]);
    rig.hands.advance(5 * 60_000);
    // The flood goes on to be fresh.
    let fresh = rig.fill(Queue::Deploy, tenant(3), 10, 200).await;
    let served = rig.claim_ids(Queue::Deploy, 9).await;
    let of = |ids: &[JobId]| served.iter().filter(|it| ids.contains(it)).count();
    assert_eq!((of(&low), of(&high), of(&fresh)), (3, 3, 3), "each takes its turn");
}

/// Within one tenant, too.
pub(super) async fn age_is_not_starved_by_ones_own_flood(place: &dyn Place) {
    let rig = Rig::new(place);
    let low = rig.fill(Queue::Deploy, tenant(1), -5, 2).await;
    rig.hands.advance(5 * 60_000);
    let high = rig.fill(Queue::Deploy, tenant(1), 5, 100).await;
    let served = rig.claim_ids(Queue::Deploy, 4).await;
    assert_eq!(served.iter().filter(|it| low.contains(it)).count(), 2);
    assert_eq!(served.iter().filter(|it| high.contains(it)).count(), 2);
}

/// Several released at once keep their order.
pub(super) async fn released_jobs_keep_their_order(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, tenant(1), 0, 400).await;
    let mut leases = rig.claim(Queue::Deploy, 300).await;
    leases.reverse();
    let finished =
        leases.iter().map(|it| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Release }).collect();
    let (answers, again) = rig.jobs().next(Queue::Deploy, 400, finished).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(again.into_iter().map(|it| it.job.id).collect::<Vec<_>>(), ids);
}

/// A delayed job wakes those who wait when it is due, without being asked.
pub(super) async fn a_due_job_wakes_its_queue(place: &dyn Place) {
    let rig = Rig::new(place);
    let job = NewJob { run_at_ms: START_MS + 40, ..rig.job(Queue::Email) };
    rig.jobs().enqueue(vec![job.clone()]).await.unwrap();
    assert_eq!(rig.state(job.id).await, Some(State::Delayed));
    assert!(rig.claim(Queue::Email, 1).await.is_empty());
    rig.settle(Queue::Email).await;
    rig.hands.advance(40);
    rig.woken(Queue::Email).await;
    assert_eq!(rig.claim_ids(Queue::Email, 1).await, [job.id]);
}

/// Delayed jobs survive a restart, also one that slept through their time.
pub(super) async fn delayed_jobs_survive(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let jobs: Vec<NewJob> =
        [50_000, 40_000].map(|after| NewJob { run_at_ms: START_MS + after, ..rig.job(Queue::Email) }).into();
    rig.jobs().enqueue(jobs.clone()).await.unwrap();
    rig.restart();
    assert!(rig.claim(Queue::Email, 2).await.is_empty());
    rig.engine = None;
    rig.hands.advance(60_000);
    rig.restart();
    rig.woken(Queue::Email).await;
    assert_eq!(rig.claim_ids(Queue::Email, 2).await, [jobs[1].id, jobs[0].id], "in the order of their times");
}

/// Waiting for work: woken by what makes a job claimable, and by nothing else.
pub(super) async fn wakes_when_there_is_work(place: &dyn Place) {
    let mut rig = Rig::new(place);
    rig.settle(Queue::Deploy).await;
    rig.jobs().depths(None).await.unwrap();
    rig.fill(Queue::Email, None, 0, 1).await;
    assert!(!rig.is_ready(Queue::Deploy).await, "nothing of this queue");
    rig.fill(Queue::Deploy, None, 0, 1).await;
    rig.woken(Queue::Deploy).await;
    let lease = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.settle(Queue::Deploy).await;
    rig.finish(&lease, Outcome::Cancel { error: String::new() }).await.unwrap();
    assert!(!rig.is_ready(Queue::Deploy).await);
    rig.jobs().rerun(lease.job.id).await.unwrap();
    rig.woken(Queue::Deploy).await;
    rig.jobs().pause(Queue::Deploy, true).await.unwrap();
    rig.settle(Queue::Deploy).await;
    rig.fill(Queue::Deploy, None, 0, 1).await;
    assert!(!rig.is_ready(Queue::Deploy).await, "paused");
    rig.jobs().pause(Queue::Deploy, false).await.unwrap();
    rig.woken(Queue::Deploy).await;
    rig.restart();
    rig.woken(Queue::Deploy).await;
    assert!(!rig.is_ready(Queue::Backup).await);
}

/// One that waits before the job comes is woken, not only one that asks later.
pub(super) async fn wakes_a_waiter(place: &dyn Place) {
    let rig = Rig::new(place);
    rig.settle(Queue::Deploy).await;
    let jobs = rig.jobs();
    let waits = timeout(DEADLINE, jobs.ready(Queue::Deploy));
    let (woken, _) = tokio::join!(waits, rig.fill(Queue::Deploy, None, 0, 1));
    woken.expect("a wake-up");
}

/// A queue that runs one job in the whole cluster gives one lease.
pub(super) async fn the_cluster_limit_holds(place: &dyn Place) {
    let rig = Rig::new(place);
    rig.fill(Queue::Blockchain, None, 0, 3).await;
    let lease = rig.claim(Queue::Blockchain, 3).await;
    assert_eq!(lease.len(), 1);
    assert!(rig.claim(Queue::Blockchain, 3).await.is_empty());
    rig.settle(Queue::Blockchain).await;
    rig.finish(&lease[0], Outcome::Done).await.unwrap();
    rig.woken(Queue::Blockchain).await;
    assert_eq!(rig.claim(Queue::Blockchain, 3).await.len(), 1);
}

/// Finishes and claims of one call are one step: a worker goes from job to job with one round.
pub(super) async fn finish_and_claim_in_one(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, None, 0, 40).await;
    let mut seen = HashSet::new();
    let mut finished = Vec::new();
    loop {
        let (answers, leases) = rig.jobs().next(Queue::Deploy, 8, std::mem::take(&mut finished)).await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
        if leases.is_empty() {
            break;
        }
        for lease in leases {
            assert!(seen.insert(lease.job.id), "leased twice");
            finished.push(Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done });
        }
    }
    assert_eq!(seen.len(), ids.len());
    assert_eq!(rig.jobs().depths(None).await.unwrap()[0].done, 40);
}
