//! The job that purges caches in front of the server, after something has changed or because somebody wants it.
//!
//! A provider that is away, or that wants a pause, uses up no attempts: it is asked again for hours. What a person has to mend ends the job
//! at once, with the sentence that says how. Until visitors are served by what it is for, and on a node that does not know the caches while
//! another one may, a job is put off as if nobody had had it.

use super::Context;
use crate::{
    domain::{acme::records::Trouble, edge},
    ports::queue::{Lease, Outcome},
    services::edge::{Ended, Failed, Purge, Run},
};

/// How long it is tried, while its queue goes on.
const TRIED_MS: i64 = 6 * 3_600_000;
/// The shortest and the longest pause, whatever a provider says.
const PAUSE_MIN_MS: i64 = 5_000;
const PAUSE_MAX_MS: i64 = 5 * 60_000;
/// How long a job is put off that comes too early: the shortest and the longest time.
const EARLY_MIN_MS: u64 = 250;
const EARLY_MAX_MS: u64 = 3_000;
/// Between two parts of a job, so that others have a place too.
const MORE_MS: u64 = 100;

/// Runs the job.
pub(super) async fn run(context: &Context, lease: &Lease) -> Outcome {
    let Ok(purge) = serde_json::from_str::<Purge>(&lease.job.payload) else {
        return Outcome::Cancel { error: String::from("The job does not say what to purge.") };
    };
    let Some(tenant) = lease.job.tenant else {
        return Outcome::Cancel { error: String::from("The job does not say whose caches to purge.") };
    };
    let run = Run { id: lease.job.id, tenant, created_ms: lease.job.created_ms, purge: &purge };
    let ended = tokio::select! {
        ended = context.services.purge_edge(&run) => ended,
        () = lease.cancelled.cancelled() => return Outcome::Release,
        () = context.tasks.stopping() => return Outcome::Release,
    };
    match ended {
        Ok(Ended::Done) => Outcome::Done,
        Ok(Ended::Early) => Outcome::Snooze { after_ms: early_ms(lease.attempt) },
        Ok(Ended::More) => Outcome::Snooze { after_ms: MORE_MS },
        Ok(Ended::Elsewhere) => Outcome::Snooze { after_ms: super::ELSEWHERE_MS },
        Ok(Ended::Failed(failed)) => {
            let known = context.services.jobs.get(lease.job.id).await;
            let is_told = known.is_ok_and(|it| it.is_some_and(|it| it.error.is_some()));
            after(failed, is_told)
        }
        Err(error) => super::failed(error),
    }
}

/// Longer with each attempt: mostly it takes a moment, and a node that has just started takes longer.
fn early_ms(attempt: u32) -> u64 {
    (EARLY_MIN_MS << attempt.saturating_sub(1).min(8)).min(EARLY_MAX_MS)
}

/// What becomes of a job that a provider did not do. `is_told`: people can read of an earlier failure.
fn after(Failed { text, trouble, tried_ms }: Failed, is_told: bool) -> Outcome {
    if !edge::may_pass(&trouble) {
        return Outcome::Cancel { error: text };
    }
    if tried_ms >= TRIED_MS {
        return Outcome::Cancel { error: format!("{text} It was tried for six hours; run the job again.") };
    }
    let said_ms = match trouble {
        Trouble::Limited(Some(seconds)) => i64::try_from(seconds).ok().map(|it| it.saturating_mul(1_000)),
        _ => None,
    };
    let pause_ms = said_ms.unwrap_or(tried_ms / 2).clamp(PAUSE_MIN_MS, PAUSE_MAX_MS).unsigned_abs();
    // The first one leaves its sentence for people; none of the later ones counts.
    if is_told {
        Outcome::Snooze { after_ms: pause_ms }
    } else {
        Outcome::Retry { error: format!("{text} It is tried again."), after_ms: Some(pause_ms) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_too_early_comes_again_soon() {
        assert_eq!([1, 2, 4, 5, u32::MAX].map(early_ms), [250, 500, 2_000, 3_000, 3_000]);
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_told() {
        let of = |trouble: Trouble, is_told, tried_ms| {
            after(Failed { text: String::from("No."), trouble, tried_ms }, is_told)
        };
        let snooze = |after_ms| Outcome::Snooze { after_ms };
        let first = Outcome::Retry { error: String::from("No. It is tried again."), after_ms: Some(5_000) };
        assert_eq!(of(Trouble::Slow, false, 100), first);
        assert_eq!(of(Trouble::Slow, true, 100), snooze(5_000));
        assert_eq!(of(Trouble::Slow, true, 60_000), snooze(30_000));
        assert_eq!(of(Trouble::Slow, true, 3_600_000), snooze(300_000));
        assert_eq!(of(Trouble::Limited(Some(42)), true, 0), snooze(42_000));
        assert_eq!(of(Trouble::Limited(Some(86_400)), true, 0), snooze(300_000));
        assert_eq!(of(Trouble::Limited(None), true, 0), snooze(5_000));
        assert_eq!(of(Trouble::Token, false, 0), Outcome::Cancel { error: String::from("No.") });
        let late = of(Trouble::Broken(String::new()), true, TRIED_MS);
        assert!(matches!(late, Outcome::Cancel { error } if error.ends_with("run the job again.")));
    }
}
