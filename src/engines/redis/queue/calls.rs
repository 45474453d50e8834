//! Commands in, calls of scripts out; and who waits for which answer.

use tokio::sync::oneshot;

use crate::{
    base::{ids::Id, random, retry::Backoff},
    domain::{
        Error, Result,
        job::{Job, JobId, NewJob, Queue},
        tenant::TenantId,
    },
    ports::queue::{Command, Depth, Fate, Finish, JobFilter, LISTED_MAX, Next, Outcome},
};

use super::{
    reply::letter,
    scripts::{Call, Which},
};

/// Bytes of a stored failure text: a page for people, not a log.
const ERROR_BYTES_MAX: usize = 4_000;
/// Bytes of a stored title.
const TITLE_BYTES_MAX: usize = 1_000;
/// Where in a call of `next` it says that it is said again.
const AGAIN: usize = 2;
/// Arguments of a call that takes in the jobs of several: those of about 1,000 jobs.
const TOGETHER_MAX: usize = 14_000;

/// Who waits for the answer of a call.
pub(super) enum Asker {
    /// Those whose jobs one call takes in, in their order.
    Enqueue(Vec<oneshot::Sender<Result<u64>>>),
    Next {
        queue: Queue,
        finished: Vec<(JobId, u32)>,
        answer: oneshot::Sender<Result<Next>>,
    },
    Get(oneshot::Sender<Result<Option<Job>>>),
    Fates(oneshot::Sender<Result<Vec<Fate>>>),
    List(oneshot::Sender<Result<Vec<Job>>>),
    Depths(oneshot::Sender<Result<[Depth; 4]>>),
    Cancel(JobId, oneshot::Sender<Result<bool>>),
    Drain(Queue, oneshot::Sender<Result<()>>),
    /// Progress, pauses, what may be forgotten.
    Repeatable(oneshot::Sender<Result<()>>),
    /// Rerun, dismiss.
    Once(oneshot::Sender<Result<()>>),
    /// The engine itself: leases that nobody took.
    Untaken(Vec<Finish>),
    Renew,
    Sweep,
    /// The engine itself, without use for the answer.
    Nobody,
}

impl Asker {
    /// Whether the call may be made again when its answer was lost.
    pub(super) const fn may_repeat(&self) -> bool {
        !matches!(self, Self::Cancel(..) | Self::Once(_))
    }

    /// Answers with an error.
    pub(super) fn refuse(self, error: &Error) {
        let error = error.clone();
        match self {
            Self::Enqueue(all) => all.into_iter().for_each(|to| drop(to.send(Err(error.clone())))),
            Self::Next { answer, .. } => drop(answer.send(Err(error))),
            Self::Get(to) => drop(to.send(Err(error))),
            Self::Fates(to) => drop(to.send(Err(error))),
            Self::List(to) => drop(to.send(Err(error))),
            Self::Depths(to) => drop(to.send(Err(error))),
            Self::Cancel(_, to) => drop(to.send(Err(error))),
            Self::Drain(_, to) | Self::Repeatable(to) | Self::Once(to) => drop(to.send(Err(error))),
            Self::Untaken(_) | Self::Renew | Self::Sweep | Self::Nobody => {}
        }
    }
}

/// The call that a command is, and who asks. `None`: it was refused at once. `ahead_ms`: how far the clock of Redis is ahead of ours.
pub(super) fn call(command: Command, waiting_max: u64, ahead_ms: i64) -> Option<(Call, Asker)> {
    Some(match command {
        Command::Enqueue(jobs, to) => {
            if let Some(error) = jobs.iter().find_map(|it| it.check().err()) {
                drop(to.send(Err(error)));
                return None;
            }
            (enqueue(&jobs, waiting_max, ahead_ms), Asker::Enqueue(vec![to]))
        }
        Command::Next { queue, take, finished, answer } => {
            let ended = finished.iter().map(|it| (it.id, it.attempt)).collect();
            (next(queue, take, &finished), Asker::Next { queue, finished: ended, answer })
        }
        Command::Progress(id, attempt, percent, to) => {
            let mut call = change("progress", &id.to_string());
            call.push(attempt.to_string());
            call.push(percent.min(100).to_string());
            (call, Asker::Repeatable(to))
        }
        Command::Get(id, to) => (look("get", &[id.to_string()]), Asker::Get(to)),
        Command::Fates(ids, to) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            (look("fates", &ids), Asker::Fates(to))
        }
        Command::Settled(before_ms, to) => {
            let mut call = keep("settled");
            call.push(before_ms.saturating_add(ahead_ms).to_string());
            (call, Asker::Repeatable(to))
        }
        Command::List(filter, to) => (list(&filter), Asker::List(to)),
        Command::Depths(tenant, to) => {
            let whose = tenant.map_or_else(String::new, |it| owner(Some(it)));
            (look("depths", &[whose]), Asker::Depths(to))
        }
        Command::Rerun(id, to) => (change("rerun", &id.to_string()), Asker::Once(to)),
        Command::Cancel(id, to) => (change("cancel", &id.to_string()), Asker::Cancel(id, to)),
        Command::Bury(id, error, to) => {
            let mut call = change("bury", &id.to_string());
            call.push(cut(&error, ERROR_BYTES_MAX));
            (call, Asker::Once(to))
        }
        Command::Dismiss(id, to) => (change("dismiss", &id.to_string()), Asker::Once(to)),
        Command::Pause(queue, paused, to) => (pause(queue, paused), Asker::Repeatable(to)),
        Command::PauseTenant(tenant, paused, to) => {
            let mut call = change("stop", &owner(Some(tenant)));
            call.push(flag(paused));
            (call, Asker::Repeatable(to))
        }
        Command::Drain(queue, to) => (pause(queue, true), Asker::Drain(queue, to)),
    })
}

/// Adds a call to those that are made together. Jobs that several bring one after the other are taken in by one call.
pub(super) fn add(work: &mut Vec<(Call, Asker)>, call: Call, asker: Asker) {
    match (work.last_mut(), asker) {
        (Some((before, Asker::Enqueue(all))), Asker::Enqueue(more))
            if before.args.len() + call.args.len() <= TOGETHER_MAX =>
        {
            // Each begins with the bound on what waits and the difference of the clocks, which are the same for all.
            before.args.extend(call.args.into_iter().skip(2));
            all.extend(more);
        }
        (_, asker) => work.push((call, asker)),
    }
}

/// Marks a call as made for the second time.
pub(super) fn say_again(call: &mut Call) {
    if call.which == Which::Next
        && let Some(again) = call.args.get_mut(AGAIN)
    {
        b"1".as_slice().clone_into(again);
    }
}

/// A call of the engine itself.
pub(super) fn keep(what: &str) -> Call {
    Call::new(Which::Keep, &[what])
}

/// Ends attempts, then leases jobs.
pub(super) fn next(queue: Queue, take: usize, finished: &[Finish]) -> Call {
    let mut call = Call::new(Which::Next, &[&queue.number().to_string(), &take.to_string(), "0"]);
    for finish in finished {
        let (word, error, after_ms) = match &finish.outcome {
            Outcome::Done => ("D", "", None),
            Outcome::Retry { error, after_ms } => ("R", error.as_str(), *after_ms),
            Outcome::Cancel { error } => ("C", error.as_str(), None),
            Outcome::Snooze { after_ms } => ("S", "", Some(*after_ms)),
            Outcome::Release => ("L", "", None),
        };
        call.push(finish.id.to_string());
        call.push(finish.attempt.to_string());
        call.push(word);
        call.push(cut(error, ERROR_BYTES_MAX));
        call.push(after_ms.map_or_else(String::new, |it| it.to_string()));
        call.push(random::below(1 << 32).to_string());
    }
    call
}

fn enqueue(jobs: &[NewJob], waiting_max: u64, ahead_ms: i64) -> Call {
    let first = [waiting_max.to_string(), ahead_ms.to_string(), jobs.len().to_string()];
    let mut call = Call::new(Which::Enqueue, &first.each_ref().map(String::as_str));
    for job in jobs {
        let after: String = job.after.iter().map(ToString::to_string).collect();
        call.push(job.id.to_string());
        call.push(job.queue.number().to_string());
        call.push(owner(job.tenant));
        call.push(&job.kind);
        call.push(&job.payload);
        call.push(job.priority.to_string());
        call.push(job.run_at_ms.to_string());
        call.push(cut(&job.title, TITLE_BYTES_MAX));
        call.push(job.created_ms.to_string());
        call.push(job.unique.as_deref().unwrap_or(""));
        call.push(after);
        call.push(options(job));
        call.push(if job.queue.rate(&job.kind).is_some() { "l" } else { "f" });
    }
    call
}

/// What a worker of BullMQ must know of a job: how often and when to try again. It removes none, since we do.
fn options(job: &NewJob) -> String {
    let rules = job.queue.rules();
    let (kind, wait_ms) = match rules.backoff {
        Backoff::Fixed(ms) => ("fixed", ms),
        Backoff::Exponential(ms) => ("exponential", ms),
    };
    format!(
        r#"{{"attempts":{},"backoff":{{"type":"{kind}","delay":{wait_ms}}},"priority":{},"removeOnComplete":false,"removeOnFail":false}}"#,
        rules.attempts,
        101 - i16::from(job.priority),
    )
}

fn look(what: &str, args: &[String]) -> Call {
    let mut call = Call::new(Which::Look, &[what]);
    for arg in args {
        call.push(arg);
    }
    call
}

/// What time alone brings.
pub(super) fn tick() -> Call {
    look("tick", &[])
}

fn list(filter: &JobFilter) -> Call {
    look(
        "list",
        &[
            filter.queue.map_or(0, Queue::number).to_string(),
            filter.state.map_or("", letter).to_owned(),
            filter.tenant.map_or_else(String::new, |it| owner(Some(it))),
            filter.after.map_or_else(String::new, |it| it.to_string()),
            filter.limit.min(LISTED_MAX).to_string(),
        ],
    )
}

fn change(what: &str, which: &str) -> Call {
    Call::new(Which::Change, &[what, which])
}

fn pause(queue: Queue, paused: bool) -> Call {
    let mut call = change("pause", &queue.number().to_string());
    call.push(flag(paused));
    call
}

const fn flag(yes: bool) -> &'static str {
    if yes { "1" } else { "0" }
}

/// Whose a job is, as it stands in keys.
fn owner(tenant: Option<TenantId>) -> String {
    tenant.map_or_else(|| String::from("-"), |it| Id::to_string(&it.0))
}

/// The first bytes of a text, up to a border between characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or(text)
}
