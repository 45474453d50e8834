//! Background work: jobs from the queues and tasks that compare wanted with actual.
//!
//! A job has input, is retried and idempotent; a task has none, looks for itself, and runs on a signal and on a period.
//! [`run_job`] and [`start`] list all of them.

mod compress_variants;
mod driver;
mod fire_schedules;
mod nodes;
mod publish_snapshot;
mod reconcile_outbox;
mod repair_variants;
pub mod runner;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Notify;

use crate::{
    base::{ids::Id, tasks::Tasks},
    domain::{job::Queue, node::Duty},
    ports::queue::{Lease, Outcome},
    serve::DataPlane,
    services::{Services, publish},
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
}

/// How long a pass without a signal may be away: a lost signal is made good after this.
const SELDOM: Duration = Duration::from_mins(10);
/// Between two looks at the outbox for rows of a node that died.
const ORPHANS: Duration = Duration::from_secs(10);
const HOURLY: Duration = Duration::from_hours(1);
const DAILY: Duration = Duration::from_hours(24);

/// How long a job is put off that cannot be done because nothing may be written.
const FROZEN_MS: u64 = 5_000;

/// Runs one job of any kind. While the data moves to another database nothing counts against a job.
async fn run_job(context: &Context, lease: &Lease) -> Outcome {
    let is_frozen = || context.services.db.frozen().is_some();
    if is_frozen() {
        return Outcome::Snooze { after_ms: FROZEN_MS };
    }
    match run_known(context, lease).await {
        Outcome::Retry { .. } if is_frozen() => Outcome::Snooze { after_ms: FROZEN_MS },
        outcome => outcome,
    }
}

async fn run_known(context: &Context, lease: &Lease) -> Outcome {
    match lease.job.kind.as_str() {
        publish::COMPRESS_VARIANTS => compress_variants::run(context, lease).await,
        other => Outcome::Cancel { error: format!("This version does not know jobs of the kind `{other}`.") },
    }
}

/// Starts every task that this node's role has, and the runners of its queues.
pub fn start(context: &Context) {
    let shared = Arc::new(context.clone());
    nodes::start(&shared);
    if context.services.node.role.serves() {
        publish_snapshot::start(&shared);
        repair_variants::start(&shared);
    } else {
        publish_snapshot::pass_over(&shared);
    }
    fire_schedules::start(&shared);
    runner::start(&shared);
    watch::start(&shared);
    reconcile_outbox::start(&shared);
    let drive = |name, duty, period, signal: fn(&Services) -> Option<&Notify>, pass| {
        driver::start(&shared, driver::Task { name, duty, period, signal, pass });
    };
    // What another node left in the outbox when it died is handed over by whoever looks next.
    let relay_period = if context.services.node.shares { ORPHANS } else { SELDOM };
    drive(
        "relay outbox",
        None,
        relay_period,
        |it| Some(&it.signals().outbox),
        |it, _| Box::pin(async move { it.services.relay_outbox().await.map(drop) }),
    );
    drive(
        "seal audit log",
        Some(Duty::Seal),
        SELDOM,
        |it| Some(&it.signals().audit),
        |it, hold| {
            Box::pin(async move {
                let Some(hold) = hold else { return Ok(()) };
                it.services.seal_audit(&hold).await.map(drop)
            })
        },
    );
    drive(
        "prune deployments",
        Some(Duty::Clean),
        HOURLY,
        |it| Some(&it.signals().retention),
        |it, hold| Box::pin(async move { it.services.prune(hold).await.map(drop) }),
    );
    drive(
        "collect garbage",
        Some(Duty::Clean),
        DAILY,
        |_| None,
        |it, hold| Box::pin(async move { it.services.sweep(false, hold).await.map(drop) }),
    );
    drive(
        "keep months",
        Some(Duty::Seal),
        HOURLY,
        |_| None,
        |it, hold| {
            Box::pin(async move {
                let Some(hold) = hold else { return Ok(()) };
                it.services.keep_months(&hold).await
            })
        },
    );
    // Each node carries what is in its own folder.
    drive(
        "carry files into the store",
        None,
        DAILY,
        |_| None,
        |it, _| Box::pin(async move { it.services.carry_over().await }),
    );
}
