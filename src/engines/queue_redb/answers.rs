//! Commands in, answers out: each caller hears of its fate after the commit, or of the failure of all.

use tokio::sync::oneshot;

use crate::{
    domain::{Error, Result},
    ports::queue::{Command, Finish, Lease, Next},
};

use super::{
    fault::{Fault, Step, broken},
    record,
    work::Work,
};

/// An answer that waits for the commit; it is given the error when that failed. What it gives back are the
/// leases that nobody took.
pub(super) type Reply = Box<dyn FnOnce(Option<&Error>) -> Vec<Finish> + Send>;

/// Does one command; its answer goes to `replies`. `Err`: the transaction is lost.
pub(super) fn work(work: &mut Work<'_, '_>, command: Command, replies: &mut Vec<Reply>) -> Step<()> {
    match command {
        Command::Enqueue(jobs, to) => settle(replies, to, work.enqueue(&jobs)),
        Command::Next { queue, take, finished, answer } => lease(replies, answer, work.next(queue, take, finished)),
        Command::Progress(id, attempt, percent, to) => settle(replies, to, work.progress(id, attempt, percent)),
        Command::Get(id, to) => settle(replies, to, work.get(id)),
        Command::Fates(ids, to) => settle(replies, to, work.fates(&ids)),
        // It keeps all: what ends is known for a day, and its row is gone by then.
        Command::Settled(_, to) => settle(replies, to, Ok(())),
        Command::List(filter, to) => settle(replies, to, work.list(&filter)),
        Command::Depths(tenant, to) => {
            let whose = tenant.map(|it| record::owner(Some(it)));
            settle(replies, to, Ok(work.depths(whose)))
        }
        Command::Rerun(id, to) => settle(replies, to, work.rerun(id)),
        Command::Cancel(id, to) => settle(replies, to, work.cancel(id)),
        Command::Bury(id, error, to) => settle(replies, to, work.bury(id, error)),
        Command::Dismiss(id, to) => settle(replies, to, work.dismiss(id)),
        Command::Pause(queue, paused, to) => settle(replies, to, work.pause(queue, paused)),
        Command::PauseTenant(tenant, paused, to) => {
            settle(replies, to, work.pause_tenant(record::owner(Some(tenant)), paused))
        }
        Command::Drain(queue, to) => {
            work.pause(queue, true)?;
            // Answered after the commit, at once or when the last job ends.
            work.book.drains.push((queue, to));
            Ok(())
        }
    }
}

/// What the caller hears, and what becomes of the transaction.
fn split<T>(step: Step<T>) -> (Result<T>, Step<()>) {
    match step {
        Ok(value) => (Ok(value), Ok(())),
        Err(Fault::Refused(error)) => (Err(error), Ok(())),
        Err(fault) => (Err(broken()), Err(fault)),
    }
}

fn settle<T: Send + 'static>(replies: &mut Vec<Reply>, to: oneshot::Sender<Result<T>>, step: Step<T>) -> Step<()> {
    let (value, fate) = split(step);
    replies.push(Box::new(move |failed| {
        drop(to.send(failed.map_or(value, |error| Err(error.clone()))));
        Vec::new()
    }));
    fate
}

fn lease(replies: &mut Vec<Reply>, to: oneshot::Sender<Result<Next>>, step: Step<Next>) -> Step<()> {
    let (value, fate) = split(step);
    replies.push(Box::new(move |failed| {
        let Err(Ok((_, leases))) = to.send(failed.map_or(value, |error| Err(error.clone()))) else {
            return Vec::new();
        };
        leases.into_iter().map(Lease::released).collect()
    }));
    fate
}
