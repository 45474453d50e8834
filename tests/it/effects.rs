//! What a job does once: however many attempts there are, at once or after each other, one of them is the first.

use std::sync::Arc;

use chainhost::{
    domain::{Error, access::Actor, job::JobId, node::Duty},
    store::effects,
};
use tokio::task::JoinSet;

use crate::months::{DAY_MS, Open, Rig, sqlite};

async fn take(rig: &Rig, actor: &Actor, job: JobId, name: &'static str) -> bool {
    let (scope, now) = (actor.scope, rig.services.clock.now_ms());
    rig.services.db.write(move |tx| effects::take(tx, scope, job, name, now)).await.unwrap()
}

async fn an_effect_is_taken_by_one_attempt(open: Open) {
    let rig = Arc::new(Rig::new(open, None).await);
    let job = JobId(rig.services.ids.next());
    let mut attempts = JoinSet::new();
    for _ in 0..32 {
        let rig = Arc::clone(&rig);
        attempts.spawn(async move { take(&rig, &rig.actor, job, "letter").await });
    }
    assert_eq!(attempts.join_all().await.into_iter().filter(|it| *it).count(), 1);
    assert!(!take(&rig, &rig.actor, job, "letter").await, "a later attempt is told so");

    // Another effect of the same job, the same of another job, and of another tenant's.
    let other = rig.other().await;
    assert!(take(&rig, &rig.actor, job, "second letter").await);
    assert!(take(&rig, &rig.actor, JobId(rig.services.ids.next()), "letter").await);
    assert!(take(&rig, &other, job, "letter").await);
}

async fn an_effect_goes_with_its_transaction_and_with_time(open: Open) {
    let rig = Rig::new(open, None).await;
    let (job, scope) = (JobId(rig.services.ids.next()), rig.actor.scope);
    let undone: Result<(), Error> = rig
        .services
        .db
        .write(move |tx| {
            assert!(effects::take(tx, scope, job, "letter", 1)?);
            Err(Error::conflict("changed", "Something else failed."))
        })
        .await;
    assert_eq!(undone.unwrap_err().code, "changed");
    assert!(take(&rig, &rig.actor, job, "letter").await, "what was not committed was not done");

    let prune = async || rig.services.prune(rig.services.hold(Duty::Clean)).await.unwrap();
    rig.hands.advance(90 * DAY_MS);
    prune().await;
    assert!(!take(&rig, &rig.actor, job, "letter").await, "as long as its job may run again");
    rig.hands.advance(1);
    prune().await;
    assert!(take(&rig, &rig.actor, job, "letter").await, "nothing is kept for ever");
}

#[tokio::test(flavor = "multi_thread")]
async fn once_on_sqlite() {
    an_effect_is_taken_by_one_attempt(sqlite).await;
    an_effect_goes_with_its_transaction_and_with_time(sqlite).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread")]
async fn once_on_postgres() {
    an_effect_is_taken_by_one_attempt(crate::months::postgres).await;
    an_effect_goes_with_its_transaction_and_with_time(crate::months::postgres).await;
}
