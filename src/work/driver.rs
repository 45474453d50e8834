//! Drives a task: a pass at start, on each signal and on each period, one at a time.
//!
//! A pass that fails is logged and tried again after a pause that grows; it never ends the task.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::{sync::Notify, time};

use super::Context;
use crate::{
    base::retry::Backoff,
    domain::{Result, node::Duty},
    services::{
        Services,
        nodes::{self, Hold},
    },
};

/// The pass of a task.
pub(super) type Pass = fn(Arc<Context>, Option<Hold>) -> Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// A task: what it is called, whose duty it is, when it runs and what it does.
#[derive(Clone, Copy)]
pub(super) struct Task {
    pub(super) name: &'static str,
    /// `None`: every node does it.
    pub(super) duty: Option<Duty>,
    pub(super) period: Duration,
    pub(super) signal: fn(&Services) -> Option<&Notify>,
    pub(super) pass: Pass,
}

const BACKOFF: Backoff = Backoff::Exponential(500);

/// Starts the task.
pub(super) fn start(context: &Arc<Context>, task: Task) {
    let context = Arc::clone(context);
    context.tasks.clone().spawn(async move {
        let mut failures = 0;
        while !context.tasks.is_stopping() {
            let hold = match task.duty {
                Some(duty) => match wait_for(&context, duty).await {
                    Some(hold) => Some(hold),
                    None => break,
                },
                None => None,
            };
            let wait = match (task.pass)(Arc::clone(&context), hold).await {
                Ok(()) => {
                    failures = 0;
                    task.period
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(task = task.name, %error, failures, "a pass failed");
                    BACKOFF.ceiling(failures).min(task.period)
                }
            };
            let signalled = async {
                match (task.signal)(&context.services) {
                    // While it fails, signals do not shorten the pause.
                    Some(signal) if failures == 0 => signal.notified().await,
                    _ => std::future::pending().await,
                }
            };
            tokio::select! {
                () = signalled => {}
                () = time::sleep(wait) => {}
                () = context.tasks.stopping() => {}
            }
        }
    });
}

/// Waits until this node has a duty; `None` when the process stops first.
pub(super) async fn wait_for(context: &Context, duty: Duty) -> Option<Hold> {
    loop {
        if context.tasks.is_stopping() {
            return None;
        }
        if let Some(hold) = context.services.hold(duty) {
            return Some(hold);
        }
        tokio::select! {
            () = context.services.duties_changed() => {}
            () = time::sleep(nodes::BEAT) => {}
            () = context.tasks.stopping() => {}
        }
    }
}
