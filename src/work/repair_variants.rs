//! Makes compressed forms anew that the data plane finds damaged.
//!
//! Each is removed first, so that a form that cannot be made again is at least not found damaged again. Until a new one
//! is there, visitors get the bytes as they are. Never touches a blob.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;

use super::{Context, compress_variants};
use crate::{
    base::{blob_dir::Coding, hash::Sha256},
    serve::incident::Damage,
};

/// Starts the task.
pub(super) fn start(context: &Arc<Context>) {
    let context = Arc::clone(context);
    let mut incidents = context.plane.incidents();
    context.tasks.clone().spawn(async move {
        loop {
            let heard = tokio::select! {
                heard = incidents.recv() => heard,
                () = context.tasks.stopping() => return,
            };
            match heard {
                Ok(incident) => {
                    if let Damage::Variant(coding) = incident.damage {
                        repair(&context, incident.blob, coding).await;
                    }
                }
                // Those that were missed are found again after the next start.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
}

async fn repair(context: &Context, blob: Sha256, coding: Coding) {
    let blobs = context.services.blobs.clone();
    let made = context.tasks.blocking(move || {
        blobs.remove_variant(&blob, coding)?;
        compress_variants::make(&blobs, &blob, coding)
    });
    match made.await {
        Some(Ok(true)) => {
            // Over the one that the store has, which may be damaged too.
            if let Err(error) = context.services.keep_variants_again(vec![(blob, coding)]).await {
                tracing::warn!(%error, %blob, "a compressed form could not be put into the store of files");
            }
            tracing::info!(%blob, coding = coding.token(), "a damaged compressed form was made again");
            // The next snapshot looks again which forms there are. The count goes down once it is seen to be right.
            if let Err(error) = context.services.look_again().await {
                tracing::warn!(%error, "other nodes look for the form at the next change");
            }
        }
        Some(Ok(false)) => context.plane.variant_removed(blob, coding),
        Some(Err(error)) => tracing::warn!(%error, %blob, "a damaged compressed form could not be made again"),
        // The panic is in the log.
        None => {}
    }
}
