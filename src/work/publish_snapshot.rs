//! Rebuilds the snapshot from the database whenever what visitors see has changed, serves it, and keeps it on disk.
//!
//! Visitors get the new one before it is on disk: after a crash the database says the same again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time;

use super::Context;
use crate::{
    domain::{Error, Result, site::SiteId},
    serve::{
        snapshot::{Given, Served, Settings, Snapshot, State, Target},
        snapshot_file,
    },
    services::routes::{self, Route},
};

/// Pause after a pass that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Starts the task.
pub(super) fn start(context: &Arc<Context>) {
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        let mut wanted = context.services.signals().routes_wanted();
        loop {
            // Everything up to this number is in the database before the read below begins.
            let number = *wanted.borrow_and_update();
            let failed = match pass(&context).await {
                Ok(()) => {
                    context.services.signals().routes_applied(number);
                    false
                }
                Err(error) => {
                    tracing::warn!(%error, "the snapshot could not be rebuilt");
                    true
                }
            };
            tokio::select! {
                changed = wanted.changed(), if !failed => if changed.is_err() { break },
                () = time::sleep(PAUSE), if failed => {}
                () = context.tasks.stopping() => break,
            }
        }
    });
}

/// On a node without visitors: who waits until they are served what was changed waits for nothing.
pub(super) fn pass_over(context: &Arc<Context>) {
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        let mut wanted = context.services.signals().routes_wanted();
        loop {
            let number = *wanted.borrow_and_update();
            context.services.signals().routes_applied(number);
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { break },
                () = context.tasks.stopping() => break,
            }
        }
    });
}

async fn pass(context: &Context) -> Result<()> {
    let routes = context.services.list_routes().await?;
    // By the time of day as well, so that it goes back neither when the newest snapshots on disk were damaged.
    let now = u64::try_from(context.services.clock.now_ms()).unwrap_or(0);
    let generation = (context.plane.snapshot().generation + 1).max(now);
    let mut snapshot = Snapshot::new(context.instance, generation);
    let mut known = HashMap::new();
    for route in routes.all {
        let (host, target) = target(route, &mut known);
        snapshot.insert(&host, Arc::new(target));
    }
    context.plane.publish(snapshot).map_err(Error::internal)?;
    context.services.signals().routes_serve(routes.number);
    let (folder, plane) = (context.snapshots.clone(), context.plane.clone());
    let kept = context.tasks.blocking(move || snapshot_file::save(&folder, &plane.snapshot())).await;
    if let Some(Err(error)) = kept {
        // It is served; the next change tries to keep it again.
        tracing::warn!(%error, "the snapshot is served but could not be kept on disk");
    }
    Ok(())
}

/// A host with what it shows. All hosts of a site share its settings.
fn target(route: Route, known: &mut HashMap<SiteId, Settings>) -> (String, Target) {
    let state = match (route.taken_down, route.serves) {
        (Some(reason), _) => State::TakenDown(reason),
        (None, Some((deployment, manifest))) => State::Live(Served { deployment, manifest, proof: true }),
        (None, None) => State::Empty,
    };
    let made = || match route.settings {
        routes::Settings::Plain => Settings::Plain,
        routes::Settings::Given(settings) => Settings::Given(Given::new((*settings).clone())),
        routes::Settings::Unreadable => Settings::Unreadable,
    };
    let settings = known.entry(route.site).or_insert_with(made).clone();
    (route.host, Target { site: route.site, name: route.name, preview: route.preview, state, settings })
}
