//! What people see and do: lists, counts, limits, rerun, cancel, dismiss, pause.

use super::*;

/// Clause 9: what has not started is removed; what runs is for its runner to end.
pub(super) async fn cancel_removes_what_has_not_started(place: &dyn Place) {
    let rig = Rig::new(place);
    let jobs = rig.jobs();
    let ids = rig.fill(Queue::Deploy, tenant(1), 0, 300).await;
    let later = NewJob { run_at_ms: START_MS + 9_000, ..rig.job(Queue::Deploy) };
    jobs.enqueue(vec![later.clone()]).await.unwrap();
    assert!(jobs.cancel(later.id).await.unwrap());
    for id in &ids[..250] {
        assert!(jobs.cancel(*id).await.unwrap());
        assert_eq!(rig.state(*id).await, None);
    }
    rig.hands.advance(9_000);
    let lease = rig.claim(Queue::Deploy, 1).await.remove(0);
    assert_eq!(lease.job.id, ids[250]);
    assert!(!jobs.cancel(lease.job.id).await.unwrap());
    rig.finish(&lease, Outcome::Done).await.unwrap();
    assert_eq!(code(jobs.cancel(lease.job.id).await), "job_state");
    assert_eq!(code(jobs.cancel(ids[0]).await), "not_found");
    assert_eq!(rig.claim_ids(Queue::Deploy, 100).await, ids[251..]);
    // A cancelled job does not come back from the outbox.
    assert_eq!(jobs.enqueue(vec![later]).await.unwrap(), 0);
}

/// Clause 10: how many ended jobs are kept, for each queue, the last ones.
pub(super) async fn ended_jobs_are_kept_by_the_rules(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Backup, None, 0, 50).await;
    for number in 0..50 {
        rig.hands.advance(1);
        let lease = rig.claim(Queue::Backup, 1).await.remove(0);
        let outcome = if number % 2 == 0 { Outcome::Done } else { Outcome::Cancel { error: String::new() } };
        rig.finish(&lease, outcome).await.unwrap();
    }
    let depth = rig.jobs().depths(None).await.unwrap()[3];
    assert_eq!((depth.done, depth.failed), (25, 10));
    let failed = JobFilter { state: Some(State::Failed), limit: 200, ..JobFilter::default() };
    let kept: Vec<JobId> = rig.jobs().list(failed).await.unwrap().into_iter().map(|it| it.new.id).collect();
    let last: Vec<JobId> = ids.iter().copied().skip(1).step_by(2).skip(15).rev().collect();
    assert_eq!(kept, last);
}

/// Clause 10: dead letters are kept for 30 days, and so are jobs that ended well, where their numbers let them.
pub(super) async fn every_ended_job_goes_after_thirty_days(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, None, 0, 2).await;
    let leases = rig.claim(Queue::Deploy, 2).await;
    rig.finish(&leases[0], Outcome::Cancel { error: String::new() }).await.unwrap();
    rig.finish(&leases[1], Outcome::Done).await.unwrap();
    rig.hands.advance(30 * DAY_MS);
    assert_eq!((rig.state(ids[0]).await, rig.state(ids[1]).await), (Some(State::Failed), Some(State::Done)));
    rig.hands.advance(60_001);
    assert_eq!((rig.state(ids[0]).await, rig.state(ids[1]).await), (None, None));
    let depth = rig.jobs().depths(None).await.unwrap()[0];
    assert_eq!((depth.failed, depth.done), (0, 0));
}

/// Clause 10: dead → waiting with fresh attempts and deaths; delayed → waiting now.
pub(super) async fn rerun_starts_afresh(place: &dyn Place) {
    let rig = Rig::new(place);
    let jobs = rig.jobs();
    let id = rig.fill(Queue::Backup, None, 0, 1).await[0];
    let first = rig.claim(Queue::Backup, 1).await.remove(0);
    rig.finish(&first, Outcome::Cancel { error: String::from("why") }).await.unwrap();
    jobs.rerun(id).await.unwrap();
    assert_eq!(code(jobs.rerun(id).await), "job_state");
    let second = rig.claim(Queue::Backup, 1).await.remove(0);
    assert!(second.attempt > first.attempt);
    rig.finish(&second, retry(Some(60_000))).await.unwrap();
    assert_eq!(rig.state(id).await, Some(State::Delayed));
    jobs.rerun(id).await.unwrap();
    let third = rig.claim(Queue::Backup, 1).await.remove(0);
    rig.finish(&third, Outcome::Done).await.unwrap();
    assert_eq!(code(jobs.rerun(id).await), "job_state");
    assert_eq!(code(jobs.rerun(JobId(rig.ids.next())).await), "not_found");
    // The time it was to wait until passes without effect.
    rig.hands.advance(60_000);
    assert!(rig.claim(Queue::Backup, 1).await.is_empty());
}

/// A dead job of another queue is taken in, shown with its error, and can be started again; who waits for it dies with it.
pub(super) async fn a_dead_job_is_brought(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let (later, now) = (rig.fill(Queue::Backup, None, 0, 1).await[0], rig.fill(Queue::Email, tenant(1), 0, 1).await[0]);
    let jobs = rig.jobs();
    jobs.bury(later, String::from("it rained")).await.unwrap();
    jobs.bury(now, "x".repeat(9_000)).await.unwrap();
    assert_eq!(code(jobs.bury(now, String::new()).await), "job_state");
    assert_eq!(code(jobs.bury(JobId(rig.ids.next()), String::new()).await), "not_found");
    assert!(rig.claim(Queue::Email, 1).await.is_empty());
    drop(jobs);
    rig.restart();
    let jobs = rig.jobs();
    let kept = jobs.get(later).await.unwrap().unwrap();
    assert_eq!((kept.state, kept.error.as_deref()), (State::Failed, Some("it rained")));
    assert_eq!(jobs.get(now).await.unwrap().unwrap().error.unwrap().len(), 4_000);
    let depths = jobs.depths(None).await.unwrap();
    assert_eq!(depths.map(|it| (it.waiting, it.failed)), [(0, 0), (0, 1), (0, 0), (0, 1)]);
    jobs.rerun(later).await.unwrap();
    let lease = rig.claim(Queue::Backup, 1).await.remove(0);
    assert_eq!(lease.job.id, later);
    assert_eq!(code(jobs.bury(later, String::new()).await), "job_state");
    rig.finish(&lease, Outcome::Done).await.unwrap();
}

pub(super) async fn dismiss_removes_what_has_ended(place: &dyn Place) {
    let rig = Rig::new(place);
    let jobs = rig.jobs();
    let ids = rig.fill(Queue::Deploy, None, 0, 2).await;
    assert_eq!(code(jobs.dismiss(ids[0]).await), "job_state");
    let leases = rig.claim(Queue::Deploy, 2).await;
    assert_eq!(code(jobs.dismiss(ids[0]).await), "job_state");
    rig.finish(&leases[0], Outcome::Done).await.unwrap();
    rig.finish(&leases[1], Outcome::Cancel { error: String::new() }).await.unwrap();
    for id in ids {
        jobs.dismiss(id).await.unwrap();
        assert_eq!(rig.state(id).await, None);
        assert_eq!(code(jobs.dismiss(id).await), "not_found");
    }
}

/// Clause 11: a paused queue gives nothing, also after a restart; what runs may end.
pub(super) async fn pause_is_durable(place: &dyn Place) {
    let mut rig = Rig::new(place);
    rig.fill(Queue::Deploy, None, 0, 2).await;
    let lease = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.jobs().pause(Queue::Deploy, true).await.unwrap();
    assert!(rig.claim(Queue::Deploy, 1).await.is_empty());
    rig.finish(&lease, Outcome::Done).await.unwrap();
    rig.restart();
    assert!(rig.claim(Queue::Deploy, 1).await.is_empty());
    assert_eq!(rig.jobs().depths(None).await.unwrap().map(|it| it.paused), [true, false, false, false]);
    rig.jobs().pause(Queue::Deploy, false).await.unwrap();
    assert_eq!(rig.claim(Queue::Deploy, 1).await.len(), 1);
}

/// Clause 11: depths, of all and of one tenant.
pub(super) async fn depths_count(place: &dyn Place) {
    let mut rig = Rig::new(place);
    rig.fill(Queue::Deploy, tenant(1), 0, 4).await;
    rig.hands.advance(1_000);
    rig.fill(Queue::Deploy, tenant(2), 0, 2).await;
    let later = NewJob { tenant: tenant(2), run_at_ms: START_MS + DAY_MS, ..rig.job(Queue::Deploy) };
    rig.jobs().enqueue(vec![later]).await.unwrap();
    let leases = rig.claim(Queue::Deploy, 3).await;
    rig.finish(&leases[0], Outcome::Done).await.unwrap();
    rig.finish(&leases[1], Outcome::Cancel { error: String::new() }).await.unwrap();
    let numbers = |it: chainhost::ports::queue::Depth| (it.waiting, it.delayed, it.running, it.done, it.failed);
    for restarted in [false, true] {
        let all = rig.jobs().depths(None).await.unwrap();
        let running = u64::from(!restarted);
        assert_eq!(numbers(all[0]), (4 - running, 1, running, 1, 1));
        assert_eq!(all[0].oldest_ms, Some(START_MS));
        assert_eq!(numbers(all[1]), (0, 0, 0, 0, 0));
        let one = rig.jobs().depths(tenant(2)).await.unwrap()[0];
        assert_eq!(numbers(one), (1, 1, 0, 0, 1));
        assert_eq!(one.oldest_ms, Some(START_MS + 1_000));
        assert_eq!(rig.jobs().depths(tenant(9)).await.unwrap()[0].oldest_ms, None);
        rig.restart();
    }
}

/// Lists: newest first, filtered, page by page.
pub(super) async fn lists_are_filtered_and_paged(place: &dyn Place) {
    let rig = Rig::new(place);
    let mine = rig.fill(Queue::Deploy, tenant(1), 0, 30).await;
    let theirs = rig.fill(Queue::Email, tenant(2), 0, 30).await;
    let host = rig.fill(Queue::Deploy, None, 0, 3).await;
    let lease = rig.claim(Queue::Email, 1).await.remove(0);
    rig.finish(&lease, Outcome::Done).await.unwrap();
    let running = rig.claim_ids(Queue::Email, 2).await;
    let list = async |filter: JobFilter| -> Vec<JobId> {
        let limit = if filter.limit == 0 { 200 } else { filter.limit };
        rig.jobs().list(JobFilter { limit, ..filter }).await.unwrap().into_iter().map(|it| it.new.id).collect()
    };
    let newest_first = |ids: &[&[JobId]]| {
        let mut all = ids.concat();
        all.sort_unstable();
        all.reverse();
        all
    };
    assert_eq!(list(JobFilter::default()).await, newest_first(&[&mine, &theirs, &host]));
    let of_tenant = |number| JobFilter { tenant: tenant(number), ..JobFilter::default() };
    assert_eq!(list(of_tenant(1)).await, newest_first(&[&mine]));
    assert_eq!(list(JobFilter { queue: Some(Queue::Email), ..of_tenant(1) }).await, []);
    assert_eq!(list(JobFilter { state: Some(State::Done), ..of_tenant(1) }).await, []);
    assert_eq!(list(JobFilter { state: Some(State::Done), ..of_tenant(2) }).await, [lease.job.id]);
    let runs = JobFilter { state: Some(State::Running), ..JobFilter::default() };
    assert_eq!(list(runs).await, newest_first(&[&running]));
    let waits = JobFilter { state: Some(State::Waiting), queue: Some(Queue::Email), ..JobFilter::default() };
    assert_eq!(list(waits).await, newest_first(&[&theirs[3..]]));
    let mut paged = Vec::new();
    loop {
        let filter =
            JobFilter { queue: Some(Queue::Deploy), limit: 7, after: paged.last().copied(), ..JobFilter::default() };
        let page = list(filter).await;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, newest_first(&[&mine, &host]));
}

/// Limits are errors that say what to do, and nothing of the call is taken.
pub(super) async fn limits_are_told(place: &dyn Place) {
    let rig = Rig::with(place, 5);
    let jobs = rig.jobs();
    let payload = "x".repeat(limits::JOB_PAYLOAD_BYTES_MAX);
    let fits = NewJob { payload: payload.clone(), ..rig.job(Queue::Deploy) };
    let too_large = NewJob { payload: payload + "x", ..rig.job(Queue::Deploy) };
    assert_eq!(code(jobs.enqueue(vec![fits.clone(), too_large]).await), "job_payload_too_large");
    assert_eq!(jobs.enqueue(vec![fits]).await.unwrap(), 1);
    assert_eq!(code(jobs.enqueue(vec![NewJob { priority: 101, ..rig.job(Queue::Deploy) }]).await), "job_priority");
    assert_eq!(code(jobs.enqueue(vec![NewJob { kind: String::new(), ..rig.job(Queue::Deploy) }]).await), "job_kind");
    let mine = |queue| NewJob { tenant: tenant(1), ..rig.job(queue) };
    let five: Vec<NewJob> = (0..5).map(|_| mine(Queue::Email)).collect();
    jobs.enqueue(five.clone()).await.unwrap();
    assert_eq!(code(jobs.enqueue(vec![mine(Queue::Deploy)]).await), "jobs_waiting_max");
    assert_eq!(jobs.enqueue(five).await.unwrap(), 0, "known ones are no more");
    rig.fill(Queue::Deploy, tenant(2), 0, 4).await;
    rig.claim(Queue::Email, 1).await;
    assert_eq!(jobs.enqueue(vec![mine(Queue::Deploy)]).await.unwrap(), 1);
}
