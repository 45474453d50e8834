//! What is taken in is not lost, what is leased is fenced, and each attempt ends once.

use super::*;

/// Clause 1: what is acknowledged is there after a restart, as it was.
pub(super) async fn enqueue_is_durable(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let job = NewJob { tenant: tenant(3), priority: -7, title: String::from("Grüße"), ..rig.job(Queue::Deploy) };
    rig.jobs().enqueue(vec![job.clone()]).await.unwrap();
    rig.restart();
    let lease = rig.claim(Queue::Deploy, 5).await.remove(0);
    assert_eq!((lease.job, lease.attempt), (job, 1));
}

/// Clause 2: an id is taken once, and known for a day after the job has gone.
pub(super) async fn an_id_is_taken_once(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let jobs = rig.jobs();
    let job = rig.job(Queue::Deploy);
    assert_eq!(jobs.enqueue(vec![job.clone(), job.clone()]).await.unwrap(), 1);
    assert_eq!(jobs.enqueue(vec![job.clone()]).await.unwrap(), 0);
    let lease = rig.claim(Queue::Deploy, 9).await.remove(0);
    assert_eq!(jobs.enqueue(vec![job.clone()]).await.unwrap(), 0);
    rig.finish(&lease, Outcome::Done).await.unwrap();
    assert_eq!(jobs.enqueue(vec![job.clone()]).await.unwrap(), 0);
    jobs.dismiss(job.id).await.unwrap();
    drop(jobs);
    rig.restart();
    rig.hands.advance(DAY_MS - 1);
    assert_eq!(rig.jobs().enqueue(vec![job.clone()]).await.unwrap(), 0);
    rig.hands.advance(2);
    assert_eq!(rig.jobs().enqueue(vec![job]).await.unwrap(), 1);
}

/// Clause 2, too: ids of finished jobs are known however few finished jobs are kept.
pub(super) async fn ids_are_known_beyond_what_is_kept(place: &dyn Place) {
    let rig = Rig::new(place);
    let first = rig.job(Queue::Deploy);
    rig.jobs().enqueue(vec![first.clone()]).await.unwrap();
    rig.fill(Queue::Deploy, None, 0, 150).await;
    for lease in rig.claim(Queue::Deploy, 200).await {
        rig.finish(&lease, Outcome::Done).await.unwrap();
    }
    assert_eq!(rig.state(first.id).await, None);
    assert_eq!(rig.jobs().enqueue(vec![first]).await.unwrap(), 0);
}

/// Clause 3: what an old attempt says is refused.
pub(super) async fn old_attempts_are_fenced_off(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, None, 0, 1).await;
    let first = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.finish(&first, Outcome::Release).await.unwrap();
    let second = rig.claim(Queue::Deploy, 1).await.remove(0);
    assert_eq!((first.job.id, second.job.id), (ids[0], ids[0]));
    assert!(second.attempt > first.attempt, "a released attempt has a fence of its own");
    assert_eq!(code(rig.finish(&first, Outcome::Done).await), "stale_lease");
    assert_eq!(rig.finish(&first, Outcome::Done).await.unwrap_err().kind, Kind::Conflict);
    assert_eq!(code(rig.jobs().progress(first.job.id, first.attempt, 5).await), "stale_lease");
    rig.jobs().progress(second.job.id, second.attempt, 50).await.unwrap();
    assert_eq!(rig.jobs().get(ids[0]).await.unwrap().unwrap().progress, 50);
    rig.finish(&second, Outcome::Done).await.unwrap();
    assert_eq!(code(rig.finish(&second, Outcome::Done).await), "stale_lease");
    let job = rig.jobs().get(ids[0]).await.unwrap().unwrap();
    assert_eq!((job.state, job.progress, job.finished_ms), (State::Done, 100, Some(START_MS)));
}

/// Clause 3, with a restart between: the late worker of the old process is refused.
pub(super) async fn a_worker_of_before_is_fenced_off(place: &dyn Place) {
    let mut rig = Rig::new(place);
    rig.fill(Queue::Deploy, None, 0, 1).await;
    let before = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.restart();
    assert_eq!(code(rig.finish(&before, Outcome::Done).await), "stale_lease");
    let after = rig.claim(Queue::Deploy, 1).await.remove(0);
    assert_eq!(code(rig.finish(&before, Outcome::Done).await), "stale_lease");
    rig.finish(&after, Outcome::Done).await.unwrap();
}

/// Clauses 4 and 5: an attempt is durable before it starts; a job goes back at once when its worker died, to
/// its place; after three deaths it is dead.
pub(super) async fn a_job_that_kills_its_workers_dies(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let ids = rig.fill(Queue::Backup, tenant(1), 0, 2).await;
    for death in 1..=3 {
        assert_eq!(rig.claim_ids(Queue::Backup, 1).await, ids[..1]);
        rig.restart();
        let job = rig.jobs().get(ids[0]).await.unwrap().unwrap();
        assert_eq!((job.attempt, job.deaths), (death, death));
        assert_eq!(job.state, if death < 3 { State::Waiting } else { State::Failed });
        assert_eq!(job.error.as_deref(), (death == 3).then_some("worker died"));
    }
    assert_eq!(rig.claim_ids(Queue::Backup, 1).await, ids[1..]);
    let depth = rig.jobs().depths(tenant(1)).await.unwrap()[3];
    assert_eq!((depth.waiting, depth.running, depth.failed), (0, 1, 1));
}

/// A death is not an attempt: it has a limit of its own.
pub(super) async fn deaths_do_not_use_up_attempts(place: &dyn Place) {
    let mut rig = Rig::new(place);
    rig.fill(Queue::Backup, None, 0, 1).await;
    rig.claim(Queue::Backup, 1).await;
    rig.restart();
    let lease = rig.claim(Queue::Backup, 1).await.remove(0);
    rig.finish(&lease, retry(Some(0))).await.unwrap();
    assert_eq!(rig.state(lease.job.id).await, Some(State::Waiting));
    let lease = rig.claim(Queue::Backup, 1).await.remove(0);
    rig.finish(&lease, retry(Some(0))).await.unwrap();
    assert_eq!(rig.state(lease.job.id).await, Some(State::Failed));
}

/// Clause 7: retries wait, up to the attempts of the queue.
pub(super) async fn retries_back_off_and_end(place: &dyn Place) {
    let rig = Rig::new(place);
    let id = rig.fill(Queue::Backup, None, 0, 1).await[0];
    let lease = rig.claim(Queue::Backup, 1).await.remove(0);
    rig.finish(&lease, retry(None)).await.unwrap();
    assert_eq!(rig.state(id).await, Some(State::Delayed));
    rig.hands.advance(59_999);
    assert!(rig.claim(Queue::Backup, 1).await.is_empty(), "the backoff of backups is fixed: 60 s");
    rig.hands.advance(1);
    let lease = rig.claim(Queue::Backup, 1).await.remove(0);
    assert_eq!(lease.attempt, 2);
    rig.finish(&lease, retry(None)).await.unwrap();
    let job = rig.jobs().get(id).await.unwrap().unwrap();
    assert_eq!((job.state, job.error.as_deref()), (State::Failed, Some("it rained")));
}

/// Clause 7: full jitter never waits longer than the exponential bound, nor than an hour.
pub(super) async fn jitter_stays_below_its_bound(place: &dyn Place) {
    let rig = Rig::new(place);
    rig.fill(Queue::Email, None, 0, 50).await;
    for bound_ms in [10_000, 20_000, 40_000] {
        for lease in rig.claim(Queue::Email, 50).await {
            rig.finish(&lease, retry(None)).await.unwrap();
        }
        rig.hands.advance(bound_ms);
        assert_eq!(rig.jobs().depths(None).await.unwrap()[1].waiting, 50);
    }
}

/// Clause 7: a handler may say when, and may say never.
pub(super) async fn handlers_choose_when_and_whether(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, None, 0, 2).await;
    let leases = rig.claim(Queue::Deploy, 2).await;
    rig.finish(&leases[0], retry(Some(7_000))).await.unwrap();
    rig.finish(&leases[1], Outcome::Cancel { error: String::from("no such site") }).await.unwrap();
    rig.hands.advance(6_999);
    assert_eq!(rig.state(ids[0]).await, Some(State::Delayed));
    rig.hands.advance(1);
    assert_eq!(rig.state(ids[0]).await, Some(State::Waiting));
    let job = rig.jobs().get(ids[1]).await.unwrap().unwrap();
    assert_eq!((job.state, job.error.as_deref()), (State::Failed, Some("no such site")));
}

/// Clauses 7 and 12: a snooze and a release are not attempts; a release goes to the front.
pub(super) async fn snoozes_and_releases_do_not_count(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Backup, None, 0, 3).await;
    for _ in 0..5 {
        let lease = rig.claim(Queue::Backup, 1).await.remove(0);
        assert_eq!(lease.job.id, ids[0], "released to the front");
        rig.finish(&lease, Outcome::Release).await.unwrap();
    }
    for _ in 0..5 {
        rig.hands.advance(60_000);
        let lease = rig.claim(Queue::Backup, 1).await.remove(0);
        rig.finish(&lease, Outcome::Snooze { after_ms: 60_000 }).await.unwrap();
        assert_eq!(rig.state(lease.job.id).await, Some(State::Delayed));
    }
    rig.hands.advance(60_000);
    // Both attempts of a backup are still there for each.
    for _ in 0..3 {
        let lease = rig.claim(Queue::Backup, 1).await.remove(0);
        rig.finish(&lease, retry(Some(0))).await.unwrap();
        assert_eq!(rig.state(lease.job.id).await, Some(State::Waiting));
    }
    for _ in 0..3 {
        let lease = rig.claim(Queue::Backup, 1).await.remove(0);
        rig.finish(&lease, retry(Some(0))).await.unwrap();
        assert_eq!(rig.state(lease.job.id).await, Some(State::Failed));
    }
}

/// Leases whose taker is gone before they are given go back, and are not attempts.
pub(super) async fn leases_that_nobody_takes_go_back(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, None, 0, 2).await;
    rig.settle(Queue::Deploy).await;
    let (answer, gone) = oneshot::channel();
    drop(gone);
    let claim = Command::Next { queue: Queue::Deploy, take: 2, finished: Vec::new(), answer };
    rig.engine.as_ref().unwrap().submit(claim);
    rig.woken(Queue::Deploy).await;
    let leases = rig.claim(Queue::Deploy, 2).await;
    assert_eq!(leases.iter().map(|it| it.job.id).collect::<Vec<_>>(), ids);
    assert_eq!(leases[0].attempt, 2);
    assert_eq!(rig.jobs().get(ids[0]).await.unwrap().unwrap().deaths, 0);
}

/// So do those whose taker gives up when they were given already.
pub(super) async fn a_claim_that_is_given_up_goes_back(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, None, 0, 2).await;
    let jobs = rig.jobs();
    let mut claim = Box::pin(jobs.next(Queue::Deploy, 2, Vec::new()));
    tokio::select! {
        biased;
        // The engine was faster than our first look: there is nothing to give up.
        _ = &mut claim => return,
        () = std::future::ready(()) => {}
    }
    // Commands are answered in their order, so the leases have been given.
    assert_eq!(rig.jobs().depths(None).await.unwrap()[0].running, 2);
    rig.settle(Queue::Deploy).await;
    drop(claim);
    rig.woken(Queue::Deploy).await;
    assert_eq!(rig.claim_ids(Queue::Deploy, 2).await, ids);
}
