//! Background work: jobs from the queues and tasks that compare wanted with actual.
//!
//! A job has input, is retried and idempotent; a task has none, looks for itself, and runs on a signal and on a period.
//! [`run_job`], [`start`], [`own_tasks`] and [`duties`] list all of them.

mod bans;
mod check_files;
mod compress_variants;
pub mod count_traffic;
mod driver;
mod fire_schedules;
mod nodes;
mod publish_snapshot;
mod purge_edge;
mod reconcile_outbox;
mod repair_variants;
pub mod runner;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use self::driver::Task;
use crate::{
    base::{ids::Id, tasks::Tasks},
    domain::{
        Error, Kind,
        job::Queue,
        node::Duty,
        schedule::{Chore, Times},
    },
    ports::queue::{Lease, Outcome},
    serve::DataPlane,
    services::{
        Services,
        agenda::{About, Entry, Every},
        edge, publish,
    },
};

/// What work needs.
#[derive(Clone, Debug)]
pub struct Context {
    /// The use cases.
    pub services: Services,
    /// What visitors see.
    pub plane: DataPlane,
    /// Where the snapshot is kept.
    pub snapshots: PathBuf,
    /// The id of this installation.
    pub instance: Id,
    /// What runs beside.
    pub tasks: Tasks,
    /// Whose jobs this process runs.
    pub queues: Vec<Queue>,
    /// When garbage is collected; `None`: at the start, and daily.
    pub garbage: Option<Times>,
}

/// How long a pass without a signal may be away: a lost signal is made good after this.
const SELDOM: Duration = Duration::from_mins(10);
/// Between two looks at the outbox for rows of a node that died.
const ORPHANS: Duration = Duration::from_secs(10);
const MINUTELY: Duration = Duration::from_mins(1);
const HOURLY: Duration = Duration::from_hours(1);
const DAILY: Duration = Duration::from_hours(24);

/// How long a job is put off that cannot be done because nothing may be written.
const FROZEN_MS: u64 = 5_000;

/// How long a job is put off that this node cannot do, and another one may.
const ELSEWHERE_MS: u64 = 3_000;

/// For so long, and so often, a kind of job that this version does not know is left to nodes of a newer one: a queue that stood still
/// has left it to nobody.
const UNKNOWN_MAX_MS: i64 = 10 * 60_000;
const UNKNOWN_TIMES_MAX: u32 = 200;

/// How long a job is put off for want of what it needs: space on the disk, the store of files, a database.
const LACKING_MS: u64 = 15_000;

/// What becomes of a job that ended with this error. What is not there now counts against no job: a disk that is full for a few
/// seconds would else use up all attempts of those that wait.
fn failed(error: Error) -> Outcome {
    match error.kind {
        Kind::Unavailable => Outcome::Snooze { after_ms: LACKING_MS },
        _ => Outcome::Retry { error: error.message, after_ms: None },
    }
}

/// Runs one job of any kind. While the data moves to another database nothing counts against a job.
async fn run_job(context: &Context, lease: &Lease) -> Outcome {
    let is_frozen = || context.services.db.frozen().is_some();
    if is_frozen() {
        return Outcome::Snooze { after_ms: FROZEN_MS };
    }
    // One that has begun where the jobs are now would run twice.
    if let Err(error) = context.services.ask_queue().await {
        return failed(error);
    }
    match run_known(context, lease).await {
        Outcome::Retry { .. } if is_frozen() => Outcome::Snooze { after_ms: FROZEN_MS },
        outcome => outcome,
    }
}

async fn run_known(context: &Context, lease: &Lease) -> Outcome {
    match lease.job.kind.as_str() {
        publish::COMPRESS_VARIANTS => compress_variants::run(context, lease).await,
        edge::PURGE_EDGE => purge_edge::run(context, lease).await,
        kind if kind == Chore::CheckFiles.word() => check_files::run(context, lease).await,
        _ => unknown(context, lease).await,
    }
}

/// What becomes of a job of a newer version: while nodes are updated one by one, another of them may do it.
async fn unknown(context: &Context, lease: &Lease) -> Outcome {
    let age_ms = context.services.clock.now_ms().saturating_sub(lease.job.created_ms);
    match context.services.has_workers().await {
        Ok(true) if may_be_known(age_ms, lease.attempt) => Outcome::Snooze { after_ms: ELSEWHERE_MS },
        Ok(_) => {
            Outcome::Cancel { error: format!("This version does not know jobs of the kind `{}`.", lease.job.kind) }
        }
        Err(error) => failed(error),
    }
}

/// Whether a job that was asked for so long ago, and taken so often, may still find a node that knows its kind.
const fn may_be_known(age_ms: i64, attempt: u32) -> bool {
    age_ms < UNKNOWN_MAX_MS || attempt < UNKNOWN_TIMES_MAX
}

/// Starts every task that this node's role has, and the runners of its queues.
pub fn start(context: &Context) {
    let shared = Arc::new(context.clone());
    nodes::start(&shared);
    if context.services.node.role.serves() {
        publish_snapshot::start(&shared);
        repair_variants::start(&shared);
        bans::start(&shared);
        count_traffic::start(&shared);
    } else {
        publish_snapshot::pass_over(&shared);
    }
    fire_schedules::start(&shared);
    runner::start(&shared);
    watch::start(&shared);
    reconcile_outbox::start(&shared);
    for task in own_tasks(context).into_iter().chain(duties(context)) {
        let about = About { name: task.name, text: task.text, duty: task.duty, every: task.every.clone() };
        let entry = Entry::new(about);
        if task.shown {
            context.services.agenda().add(&entry);
        }
        driver::start(&shared, task, entry);
    }
}

/// The tasks that every node has.
fn own_tasks(context: &Context) -> [Task; 3] {
    let services = &context.services;
    [
        Task {
            name: "relay-outbox",
            text: "Hands jobs that were asked for to the queue.",
            shown: true,
            duty: None,
            // What another node left in the outbox when it died is handed over by whoever looks next.
            every: Every::Period(if services.node.shares { ORPHANS } else { SELDOM }),
            signal: |it| Some(&it.signals().outbox),
            pass: |it, _| Box::pin(async move { it.services.relay_outbox().await.map(drop) }),
        },
        Task {
            name: "hold-bans",
            text: "Holds off who is banned from sites, and keeps the bans that limits have made.",
            shown: true,
            duty: None,
            every: Every::Period(MINUTELY),
            signal: |it| Some(&it.signals().bans),
            pass: |it, _| Box::pin(bans::pass(it)),
        },
        Task {
            name: "carry-files",
            text: "Carries files of this node's folder into the store of files.",
            // Without a store there is nothing to carry.
            shown: services.home.is_some(),
            duty: None,
            every: Every::Period(DAILY),
            signal: |_| None,
            pass: |it, _| Box::pin(async move { it.services.carry_over().await }),
        },
    ]
}

/// Asks an authority for what is wanted.
fn get_certificates(context: &Context) -> Task {
    Task {
        name: "get-certificates",
        text: "Gets certificates for hostnames from an authority, and renews them.",
        shown: context.services.acme.is_some(),
        duty: Some(Duty::Certify),
        every: Every::Period(MINUTELY),
        signal: |it| Some(&it.signals().certify),
        pass: |it, hold| {
            Box::pin(async move {
                let Some(hold) = hold else { return Ok(()) };
                it.services.certify(hold).await
            })
        },
    }
}

/// The tasks that only one node does.
fn duties(context: &Context) -> [Task; 7] {
    [
        get_certificates(context),
        Task {
            name: "seal-audit-log",
            text: "Seals new events of the audit log into their chain.",
            shown: true,
            duty: Some(Duty::Seal),
            every: Every::Period(SELDOM),
            signal: |it| Some(&it.signals().audit),
            pass: |it, hold| {
                Box::pin(async move {
                    let Some(hold) = hold else { return Ok(()) };
                    it.services.seal_audit(&hold).await.map(drop)
                })
            },
        },
        Task {
            name: "prune-deployments",
            text: "Removes old deployments beyond those that are kept, and uploads that were given up.",
            shown: true,
            duty: Some(Duty::Clean),
            every: Every::Period(HOURLY),
            signal: |it| Some(&it.signals().retention),
            pass: |it, hold| Box::pin(async move { it.services.prune(hold).await.map(drop) }),
        },
        Task {
            name: "forget-bans",
            text: "Forgets bans that have ended.",
            shown: false,
            duty: Some(Duty::Clean),
            every: Every::Period(HOURLY),
            signal: |_| None,
            pass: |it, _| Box::pin(async move { it.services.forget_bans().await.map(drop) }),
        },
        Task {
            name: "collect-garbage",
            text: "Removes stored files that no deployment names any more.",
            shown: true,
            duty: Some(Duty::Clean),
            every: context.garbage.clone().map_or(Every::Period(DAILY), Every::At),
            signal: |_| None,
            pass: |it, hold| Box::pin(async move { it.services.sweep(false, hold).await.map(drop) }),
        },
        prune_traffic(),
        Task {
            name: "keep-months",
            text: "Makes room for the months to come, and archives those that are kept no longer.",
            shown: true,
            duty: Some(Duty::Seal),
            every: Every::Period(HOURLY),
            signal: |_| None,
            pass: |it, hold| {
                Box::pin(async move {
                    let Some(hold) = hold else { return Ok(()) };
                    it.services.keep_months(&hold).await
                })
            },
        },
    ]
}

/// The one that bounds the tables of traffic.
fn prune_traffic() -> Task {
    Task {
        name: "prune-traffic",
        text: "Removes figures of traffic that are kept no longer.",
        shown: true,
        duty: Some(Duty::Clean),
        every: Every::Period(HOURLY),
        signal: |_| None,
        pass: |it, hold| {
            Box::pin(async move {
                let Some(hold) = hold else { return Ok(()) };
                it.services.prune_traffic(&hold).await
            })
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_is_not_there_now_counts_against_no_job() {
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem] {
            assert_eq!(failed(io::Error::from(kind).into()), Outcome::Snooze { after_ms: LACKING_MS });
        }
        let away = Error::unavailable("blobs_away", "The store of files does not answer.");
        assert_eq!(failed(away), Outcome::Snooze { after_ms: LACKING_MS });
        let broken = failed(io::Error::from(io::ErrorKind::InvalidData).into());
        assert!(matches!(broken, Outcome::Retry { after_ms: None, .. }), "{broken:?}");
    }

    #[test]
    fn a_job_of_a_kind_that_nobody_knows_waits_while_nodes_may_be_updated() {
        let often = u32::try_from(UNKNOWN_MAX_MS.unsigned_abs() / ELSEWHERE_MS).unwrap();
        assert_eq!(often, UNKNOWN_TIMES_MAX, "the same time, where nothing stands still");
        for (age_ms, attempt, wanted) in [
            (0, 1, true),
            (UNKNOWN_MAX_MS - 1, often, true),
            (UNKNOWN_MAX_MS, often, false),
            (7 * 24 * 3_600_000, 1, true),
            (-5_000, 1_000, true),
        ] {
            assert_eq!(may_be_known(age_ms, attempt), wanted, "{age_ms} {attempt}");
        }
    }
}
