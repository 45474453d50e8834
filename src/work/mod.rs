//! Background work: jobs from the queues and tasks that compare wanted with actual.
//!
//! A job has input, is retried and idempotent; a task has none, looks for itself, and runs on a signal and on a period.
//! [`run_job`] and [`start`] list all of them.

mod compress_variants;
mod driver;
mod fire_schedules;
mod publish_snapshot;
mod repair_variants;
pub mod runner;
mod watch;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Notify;

use crate::{
    base::{ids::Id, tasks::Tasks},
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
}

/// How long a pass without a signal may be away: a lost signal is made good after this.
const SELDOM: Duration = Duration::from_mins(10);
const HOURLY: Duration = Duration::from_hours(1);
const DAILY: Duration = Duration::from_hours(24);

/// Runs one job of any kind.
async fn run_job(context: &Context, lease: &Lease) -> Outcome {
    match lease.job.kind.as_str() {
        publish::COMPRESS_VARIANTS => compress_variants::run(context, lease).await,
        other => Outcome::Cancel { error: format!("This version does not know jobs of the kind `{other}`.") },
    }
}

/// Starts every task and the runners of all queues.
pub fn start(context: &Context) {
    let shared = Arc::new(context.clone());
    publish_snapshot::start(&shared);
    repair_variants::start(&shared);
    fire_schedules::start(&shared);
    runner::start(&shared);
    watch::start(&shared);
    let drive = |name, period, signal: fn(&Services) -> Option<&Notify>, pass| {
        driver::start(&shared, driver::Task { name, period, signal, pass });
    };
    drive(
        "relay outbox",
        SELDOM,
        |it| Some(&it.signals().outbox),
        |it| Box::pin(async move { it.services.relay_outbox().await.map(drop) }),
    );
    drive(
        "seal audit log",
        SELDOM,
        |it| Some(&it.signals().audit),
        |it| Box::pin(async move { it.services.seal_audit().await.map(drop) }),
    );
    drive(
        "prune deployments",
        HOURLY,
        |it| Some(&it.signals().retention),
        |it| Box::pin(async move { it.services.prune().await.map(drop) }),
    );
    drive("carry files into the store", DAILY, |_| None, |it| Box::pin(async move { it.services.carry_over().await }));
    drive("collect garbage", DAILY, |_| None, |it| Box::pin(async move { it.services.sweep(false).await.map(drop) }));
}
