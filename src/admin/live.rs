//! When an open page looks again: after a signal of the services or a short while, as long as somebody is there.
//!
//! SECURITY: a stream lives for minutes and ends within a few seconds of its session, so that what a page shows is never
//! decided by rights that are gone.

use std::{convert::Infallible, time::Duration};

use axum::response::sse::Event;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::visit::Visit;
use crate::services::Services;

/// Between two looks without a signal: progress of jobs gives none.
const PAUSE: Duration = Duration::from_secs(2);
/// Between two looks after signals: a burst of changes is one change to an eye.
const LEAST: Duration = Duration::from_millis(150);
/// After this a page has to connect again, which asks for its session.
const LIFE: Duration = Duration::from_secs(600);

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Look again.
    Look,
    /// End the stream.
    End,
}

/// The turns of one stream.
pub(super) struct Turns {
    changed: watch::Receiver<u64>,
    services: Services,
    ends: Instant,
}

impl Turns {
    pub(super) fn new(visit: &Visit) -> Self {
        Self {
            changed: visit.services.signals().changed.subscribe(),
            services: visit.services.clone(),
            ends: Instant::now() + LIFE,
        }
    }

    /// Waits for the next turn.
    pub(super) async fn next(&mut self, visit: &Visit, sender: &mpsc::Sender<Result<Event, Infallible>>) -> Turn {
        tokio::select! {
            () = self.services.tasks.stopping() => return Turn::End,
            () = sender.closed() => return Turn::End,
            () = tokio::time::sleep(PAUSE) => {}
            changed = self.changed.changed() => {
                if changed.is_err() {
                    return Turn::End;
                }
                tokio::time::sleep(LEAST).await;
                self.changed.borrow_and_update();
            }
        }
        if Instant::now() >= self.ends || !is_signed_in(visit).await { Turn::End } else { Turn::Look }
    }
}

/// Whether the session is still there. Looking does not count as a use of it, so an open page keeps nobody signed in.
async fn is_signed_in(visit: &Visit) -> bool {
    let Some(id) = visit.who.session else { return false };
    visit.services.list_sessions(&visit.actor).await.is_ok_and(|it| it.iter().any(|it| it.id == id))
}
