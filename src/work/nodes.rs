//! Signs of life of this node, and looks at what the others have told. Nothing of it runs beside the embedded database.

use std::{sync::Arc, time::Duration};

use tokio::time;

use super::Context;
use crate::services::nodes::{BEAT, LOOK};

/// After a look that failed: the database is away, and others say so too.
const AWAY: Duration = Duration::from_secs(1);

/// Starts both.
pub(super) fn start(context: &Arc<Context>) {
    if !context.services.node.shares {
        return;
    }
    let beating = Arc::clone(context);
    context.tasks.spawn(async move {
        let mut failing = false;
        loop {
            match beating.services.beat().await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "this node cannot say that it lives; another may take its duties");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = time::sleep(BEAT) => {}
                () = beating.tasks.stopping() => break,
            }
        }
    });
    let looking = Arc::clone(context);
    context.tasks.spawn(async move {
        loop {
            let wait = if looking.services.look_for_news().await.is_ok() { LOOK } else { AWAY };
            tokio::select! {
                () = time::sleep(wait) => {}
                () = looking.tasks.stopping() => break,
            }
        }
    });
}
