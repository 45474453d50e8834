//! Gives the data plane the bans of all nodes, and keeps those that limits have made here.

use std::{sync::Arc, time::Duration};

use tokio::time;

use super::Context;
use crate::{
    base::network::Network,
    domain::{Result, ban},
    serve::bans::{Ban, Made, Wanted},
    services::bans::Struck,
};

/// How long bans are gathered that limits make.
const GATHER: Duration = Duration::from_millis(500);

/// Wakes the task when a limit has made a ban.
pub(super) fn start(context: &Arc<Context>) {
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        loop {
            tokio::select! {
                () = context.plane.bans().made() => {}
                () = context.tasks.stopping() => break,
            }
            // An attack from many addresses is one transaction in this time, and not one for each.
            time::sleep(GATHER).await;
            context.services.signals().bans.notify_one();
        }
    });
}

/// One pass.
pub(super) async fn pass(context: Arc<Context>) -> Result<()> {
    let (services, bans) = (&context.services, context.plane.bans());
    let made = bans.take_made();
    let has_made = !made.is_empty();
    if !made.is_empty() {
        let now_ms = services.clock.now_ms();
        let struck = made.iter().map(|it| struck(it, now_ms)).collect();
        if let Err(error) = services.keep_struck(struck).await {
            // They hold on this node all the same.
            bans.put_back(made);
            context.plane.look_again();
            return Err(error);
        }
    }
    if has_made {
        // They are in force here already, whatever becomes of the reads.
        context.plane.look_again();
    }
    let now_ms = services.clock.now_ms();
    let left = |until_ms: i64| Duration::from_millis(u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or(0));
    let shown = |of: Vec<ban::Ban>| {
        of.into_iter().map(|it| Ban { site: it.site, network: it.network, left: it.until_ms.map(left) }).collect()
    };
    match bans.wanted() {
        Wanted::All => bans.replace(shown(services.list_all_bans().await?)),
        Wanted::Since(since_ms, all_after) => {
            bans.add(shown(services.list_bans_since(since_ms).await?));
            look_later(&context, all_after);
        }
    }
    bans.has_read(now_ms);
    context.plane.look_again();
    Ok(())
}

/// What was ended meanwhile shows among all of them alone.
fn look_later(context: &Arc<Context>, after: Duration) {
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        tokio::select! {
            () = time::sleep(after) => context.services.signals().bans.notify_one(),
            () = context.tasks.stopping() => {}
        }
    });
}

fn struck(made: &Made, now_ms: i64) -> Struck {
    let ms = |of: Duration| i64::try_from(of.as_millis()).unwrap_or(i64::MAX);
    let created_ms = now_ms.saturating_sub(ms(made.since.elapsed()));
    let until_ms = created_ms.saturating_add(ms(made.length));
    Struck { site: made.site, network: Network::of_client(made.address), created_ms, until_ms }
}
