//! What answers of scripts mean for the thread, and who is told.

use redis::Value;
use tokio::{sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        Result,
        job::{JobId, Queue},
    },
    ports::queue::{Finish, Lease, Next, Outcome},
};

use super::{
    super::{
        calls::Asker,
        fault::{said, stale, unreachable},
        reply::{self, Reply},
        session::Answer,
    },
    Answers, Held, QueueThread,
};

/// What is sent once all is known: it gives back the leases that nobody took.
type Send = Box<dyn FnOnce() -> Vec<Finish>>;

impl QueueThread {
    /// Reads the frame of an answer, and wakes.
    pub(super) fn read(&mut self, answer: Answer) -> Result<Value> {
        let reply = Reply::read(answer.map_err(|error| said(&error))?)?;
        self.due_ms = reply.due_ms;
        // Woken before answered: who has an answer knows that no wake-up of it is still to come.
        reply.woken.into_iter().for_each(|it| self.shared.ready.ring(it));
        reply::accepted(reply.answer, self.waiting_max)
    }

    /// Tells answers to those who wait for them, while no call is under way. Who drains a queue hears first that it is empty.
    pub(super) fn tell(&mut self, answers: Answers) {
        let sends = self.settle_all(answers);
        self.answer_drains();
        self.untaken.extend(sends.into_iter().flat_map(|send| send()));
    }

    /// The same while Redis works. Nobody has drained a queue before that.
    pub(super) fn tell_meanwhile(&mut self, answers: Answers) {
        let sends = self.settle_all(answers);
        self.untaken.extend(sends.into_iter().flat_map(|send| send()));
    }

    fn settle_all(&mut self, answers: Answers) -> Vec<Send> {
        let answers: Vec<(Asker, Result<Value>)> =
            answers.into_iter().map(|(asker, answer)| (asker, self.read(answer))).collect();
        answers.into_iter().map(|(asker, value)| self.settle(asker, value)).collect()
    }

    /// What an answer means for this process; the answer itself is sent by what this gives.
    fn settle(&mut self, asker: Asker, value: Result<Value>) -> Send {
        match asker {
            Asker::Enqueue(all) => {
                let answers = value.and_then(|it| reply::taken_in(it, all.len(), self.waiting_max));
                Box::new(move || {
                    match answers {
                        Ok(answers) => all.into_iter().zip(answers).for_each(|(to, it)| drop(to.send(it))),
                        Err(error) => Asker::Enqueue(all).refuse(&error),
                    }
                    Vec::new()
                })
            }
            Asker::Next { queue, finished, answer } => {
                let next = value.and_then(|it| self.next(queue, &finished, it));
                Box::new(move || match answer.send(next) {
                    Err(Ok((_, leases))) => leases.into_iter().map(Lease::released).collect(),
                    _ => Vec::new(),
                })
            }
            Asker::Get(to) => later(to, value.and_then(|it| reply::job(first(it)?))),
            Asker::Fates(to) => later(to, value.and_then(reply::fates)),
            Asker::List(to) => {
                let jobs = value.and_then(|it| {
                    let jobs = reply::list(it)?.into_iter().map(reply::job).collect::<Result<Vec<_>>>();
                    Ok(jobs?.into_iter().flatten().collect())
                });
                later(to, jobs)
            }
            Asker::Depths(to) => later(to, value.and_then(reply::depths)),
            Asker::Cancel(id, to) => {
                let removed = value.and_then(|it| reply::is_well(&it));
                if matches!(removed, Ok(false)) {
                    self.tell_to_end(id);
                }
                later(to, removed)
            }
            Asker::Drain(queue, to) => match value {
                Ok(_) => {
                    self.drains.push((queue, to));
                    nothing()
                }
                Err(error) => later(to, Err(error)),
            },
            Asker::Repeatable(to) | Asker::Once(to) => later(to, value.map(drop)),
            Asker::Renew => {
                self.renewed(value);
                nothing()
            }
            Asker::Sweep => {
                value.err().iter().for_each(|error| self.was_refused(error));
                nothing()
            }
            Asker::Untaken(finished) => {
                if let Err(error) = value {
                    tracing::warn!(%error, "leases that nobody took go back only when they have run out");
                }
                // What is lost belongs to a handler that still works. Nobody makes the others longer any more.
                for fence in finished.iter().map(|it| (it.id, it.attempt)) {
                    if self.held.get(&fence).is_some_and(|it| !it.lost) {
                        self.held.remove(&fence);
                    }
                }
                nothing()
            }
            Asker::Nobody => {
                if let Err(error) = value {
                    tracing::warn!(%error, "the job queue could not do what was due");
                }
                nothing()
            }
        }
    }

    fn next(&mut self, queue: Queue, finished: &[(JobId, u32)], value: Value) -> Result<Next> {
        let [answers, leases] = <[Value; 2]>::try_from(reply::list(value)?).map_err(|_| unreachable("no two lists"))?;
        let answers = reply::list(answers)?.iter().map(reply::is_well).collect::<Result<Vec<_>>>()?;
        let leases = reply::list(leases)?.into_iter().map(|it| reply::lease(it, queue)).collect::<Result<Vec<_>>>()?;
        let ended = answers.into_iter().map(|well| if well { Ok(()) } else { Err(stale()) }).collect();
        for fence in finished {
            self.held.remove(fence);
        }
        let mut taken = Vec::new();
        for (id, attempt, job) in leases {
            let before = self.held.get_mut(&(id, attempt)).map(|it| it.lost = true);
            let job = match job {
                Ok(job) if before.is_none() => job,
                // A handler of this process still works on an attempt with this number, of before Redis lost its data. The next
                // claim has another number.
                Ok(_) => {
                    self.untaken.push(Finish { id, attempt, outcome: Outcome::Release });
                    continue;
                }
                Err(error) => {
                    tracing::warn!(job = %id, %error, "a job of another program makes no sense");
                    self.untaken.push(Finish { id, attempt, outcome: Outcome::Cancel { error: error.to_string() } });
                    continue;
                }
            };
            let cancelled = CancellationToken::new();
            self.held.insert((id, attempt), Held { cancelled: cancelled.clone(), lost: false });
            taken.push(Lease { job, attempt, cancelled });
        }
        Ok((ended, taken))
    }

    /// Some leases are longer now; some are not ours any more.
    fn renewed(&mut self, value: Result<Value>) {
        let lists = value.and_then(|it| {
            let [lost, cancelled] =
                <[Value; 2]>::try_from(reply::list(it)?).map_err(|_| unreachable("no two lists"))?;
            Ok((reply::list(lost)?, reply::list(cancelled)?))
        });
        let (lost, cancelled) = match lists {
            Ok(lists) => lists,
            Err(error) => return self.was_refused(&error),
        };
        if std::mem::take(&mut self.refused) {
            // Others who live must say so before anybody calls them dead.
            self.sweep_at = Instant::now() + self.lease;
        }
        // An id and an attempt each.
        for pair in lost.chunks_exact(2) {
            let [id, attempt] = pair else { continue };
            let (Ok(id), Ok(attempt)) = (reply::id(id), reply::int(attempt)) else { continue };
            let Some(held) = u32::try_from(attempt).ok().and_then(|it| self.held.get_mut(&(id, it))) else { continue };
            tracing::warn!(job = %id, attempt, "this process was silent for too long; the job is no longer its own");
            held.lost = true;
            held.cancelled.cancel();
        }
        for id in cancelled.iter().filter_map(|it| reply::id(it).ok()) {
            self.tell_to_end(id);
        }
    }
}

fn later<T: std::marker::Send + 'static>(to: oneshot::Sender<Result<T>>, value: Result<T>) -> Send {
    Box::new(move || {
        drop(to.send(value));
        Vec::new()
    })
}

fn nothing() -> Send {
    Box::new(Vec::new)
}

fn first(value: Value) -> Result<Value> {
    Ok(reply::list(value)?.into_iter().next().unwrap_or(Value::Nil))
}
