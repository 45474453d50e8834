//! Folds what visitors got into sums, and stores those every few seconds.
//!
//! A database that is away or takes no changes keeps nobody from anything: the sums stay in memory, which is bounded, and are stored later.
//! Who folds does nothing else, since the queues have room for moments only, and a database that stands still takes half a minute to be
//! given up.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::{self, Instant};

use super::Context;
use crate::{
    base::limits,
    domain::site::SiteId,
    serve::{DataPlane, snapshot::Settings, tally::Tally},
    services::{Services, traffic::Budget},
};

/// Between two looks whether something is to be done with the database.
const LOOK: Duration = Duration::from_millis(250);
/// Between two times that sums are stored.
const STORE: Duration = Duration::from_millis(limits::TRAFFIC_STORE_MS);
/// Between two sentences about a database that takes nothing.
const TOLD: Duration = Duration::from_mins(1);
/// Between two looks at what sites have used of their traffic.
const BUDGETS: Duration = Duration::from_secs(15);
/// Transactions at the end of the process.
const LAST_MAX: usize = 20;

/// Starts it, on a node that visitors come to.
pub(super) fn start(context: &Arc<Context>) {
    context.plane.tally().fold_always(&context.tasks);
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        let (services, tally) = (&context.services, context.plane.tally());
        let (mut stored, mut told): (Instant, Option<Instant>) = (Instant::now(), None);
        let mut looked: Option<Instant> = None;
        renew_salts(services, tally).await;
        loop {
            tokio::select! {
                () = time::sleep(LOOK) => {}
                () = context.tasks.stopping() => return,
            }
            if looked.is_none_or(|it| it.elapsed() >= BUDGETS) {
                look_at_budgets(services, &context.plane).await;
                looked = Some(Instant::now());
            }
            if stored.elapsed() < STORE {
                continue;
            }
            stored = Instant::now();
            renew_salts(services, tally).await;
            let Err(error) = store(services, tally).await else { continue };
            if told.is_none_or(|it| it.elapsed() >= TOLD) {
                told = Some(Instant::now());
                tracing::warn!(%error, "traffic could not be stored, and is kept in memory meanwhile");
            }
        }
    });
}

/// Stores what waits longest.
async fn store(services: &Services, tally: &Tally) -> crate::domain::Result<usize> {
    let batch = tally.take(limits::TRAFFIC_SITES_AT_ONCE);
    let many = batch.len();
    if many > 0
        && let Err((error, batch)) = services.keep_traffic(batch).await
    {
        tally.give_back(batch);
        return Err(error);
    }
    Ok(many)
}

/// Sees that the day has a salt that all nodes know, and that those of days that are over go. Without one, this node counts by its own.
async fn renew_salts(services: &Services, tally: &Tally) {
    if !tally.wants_salts(services.clock.now_ms(), limits::TRAFFIC_SALT_AHEAD_MS) {
        return;
    }
    match services.visit_salts().await {
        Ok(salts) => tally.set_salts(salts),
        Err(error) => tracing::debug!(%error, "the salt of the day is not known yet"),
    }
}

/// Looks which sites have used up their traffic. While the database is away, it stays as it was seen last.
async fn look_at_budgets(services: &Services, plane: &DataPlane) {
    let snapshot = plane.snapshot();
    let mut budgets: HashMap<SiteId, Budget> = HashMap::new();
    for (_, target) in snapshot.hosts() {
        if let Settings::Given(settings) = &target.settings
            && let Some(bytes) = settings.traffic.budget_bytes
        {
            budgets.insert(target.site, Budget { site: target.site, name: target.name.clone(), bytes });
        }
    }
    match services.watch_budgets(budgets.into_values().collect()).await {
        Ok(used_up) => {
            if plane.tally().set_used_up(used_up.into_iter().collect()) {
                plane.look_again();
            }
        }
        Err(error) => tracing::debug!(%error, "the traffic that sites have used is not known now"),
    }
}

/// Stores what is left when the process ends.
pub async fn last(services: &Services, tally: &Tally) {
    while tally.fold() > 0 {}
    for _ in 0..LAST_MAX {
        match store(services, tally).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "the traffic of the last seconds could not be stored");
                return;
            }
        }
    }
}
