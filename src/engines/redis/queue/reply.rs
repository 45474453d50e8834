//! What scripts answer, read. What does not make sense is an error, never a guess.

use redis::Value;

use crate::{
    base::ids::Id,
    domain::{
        Error, Result,
        job::{Job, JobId, NewJob, Queue, State},
        tenant::TenantId,
    },
    ports::queue::{Depth, Fate},
};

use super::{fault::refused, session::senseless};

/// What every script answers.
pub(super) struct Reply {
    /// Its own answer.
    pub(super) answer: Value,
    /// The queues in which a job became claimable.
    pub(super) woken: Vec<Queue>,
    /// When there is something to do without being asked.
    pub(super) due_ms: Option<i64>,
}

impl Reply {
    /// Reads the frame around an answer.
    pub(super) fn read(value: Value) -> Result<Self> {
        let Value::Array(parts) = value else { return Err(senseless("a list")) };
        let [answer, woken, due] = <[Value; 3]>::try_from(parts).map_err(|_| senseless("three parts"))?;
        let due_ms = int(&due)?;
        Ok(Self { answer, woken: queues(&text(&woken)?), due_ms: (due_ms >= 0).then_some(due_ms) })
    }
}

/// The queues of a text of numbers.
pub(super) fn queues(numbers: &str) -> Vec<Queue> {
    let of = |digit: u8| Queue::ALL.into_iter().find(|it| it.number() == digit.wrapping_sub(b'0'));
    numbers.bytes().filter_map(of).collect()
}

/// An answer that may be a refusal.
pub(super) fn accepted(answer: Value, waiting_max: u64) -> Result<Value> {
    let Value::Array(parts) = &answer else { return Ok(answer) };
    if !matches!(parts.first(), Some(Value::BulkString(word)) if word == b"refused") {
        return Ok(answer);
    }
    let word = |at: usize| parts.get(at).map(text).transpose().map(Option::unwrap_or_default);
    Err(refused(&word(1)?, &word(2)?, waiting_max))
}

/// How many jobs of each who asked were new, or why none was taken.
pub(super) fn taken_in(answers: Value, count: usize, waiting_max: u64) -> Result<Vec<Result<u64>>> {
    let answers = list(answers)?;
    if answers.len() != count {
        return Err(senseless("as many numbers as were asked for"));
    }
    let one = |it| accepted(it, waiting_max).and_then(|it| Ok(u64::try_from(int(&it)?).unwrap_or(0)));
    Ok(answers.into_iter().map(one).collect())
}

/// A number.
pub(super) fn int(value: &Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::BulkString(_) => text(value)?.parse().map_err(|_| senseless("a number")),
        _ => Err(senseless("a number")),
    }
}

pub(super) fn text(value: &Value) -> Result<String> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Ok(text.clone()),
        Value::Int(number) => Ok(number.to_string()),
        _ => Err(senseless("a text")),
    }
}

fn maybe(value: &Value) -> Result<Option<String>> {
    if matches!(value, Value::Nil) { Ok(None) } else { text(value).map(Some) }
}

/// A list.
pub(super) fn list(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) => Ok(values),
        _ => Err(senseless("a list")),
    }
}

/// An id of 32 digits.
pub(super) fn id(value: &Value) -> Result<JobId> {
    text(value)?.parse().map_err(|_| senseless("an id"))
}

/// What was enqueued: name, tenant, data, priority, time, title, created, key, others.
fn new_job(id: JobId, queue: Queue, values: &[Value]) -> Result<NewJob> {
    let [kind, tenant, payload, priority, run_at, title, created, unique, after, ..] = values else {
        return Err(senseless("a job"));
    };
    let after = maybe(after)?.unwrap_or_default();
    let ids = after.as_bytes().chunks_exact(32).filter_map(|it| std::str::from_utf8(it).ok()?.parse().ok());
    Ok(NewJob {
        id,
        queue,
        kind: text(kind)?,
        tenant: text(tenant)?.parse::<Id>().ok().map(TenantId),
        // BullMQ lets a job be without data.
        payload: maybe(payload)?.unwrap_or_else(|| String::from("null")),
        priority: i8::try_from(int(priority)?).map_err(|_| senseless("a priority"))?,
        run_at_ms: int(run_at)?,
        title: text(title)?,
        created_ms: int(created)?,
        unique: maybe(unique)?,
        after: ids.map(JobId).collect(),
    })
}

/// A lease: its fence, and what was enqueued, or why that makes no sense.
pub(super) fn lease(value: Value, queue: Queue) -> Result<(JobId, u32, Result<NewJob>)> {
    let values = list(value)?;
    let [first, attempt, rest @ ..] = values.as_slice() else { return Err(senseless("a lease")) };
    let (id, attempt) = (id(first)?, u32::try_from(int(attempt)?).map_err(|_| senseless("an attempt"))?);
    Ok((id, attempt, new_job(id, queue, rest)))
}

/// A job as people see it; `None` when it is not kept.
pub(super) fn job(value: Value) -> Result<Option<Job>> {
    if matches!(value, Value::Nil) {
        return Ok(None);
    }
    let values = list(value)?;
    let [first, queue, rest @ ..] = values.as_slice() else { return Err(senseless("a job")) };
    let queue = queues(&text(queue)?).pop().ok_or_else(|| senseless("a queue"))?;
    let [.., state, attempt, deaths, error, started, finished, progress] = rest else {
        return Err(senseless("a job"));
    };
    let number = |value: &Value| -> Result<Option<i64>> { Ok(maybe(value)?.and_then(|it| it.parse().ok())) };
    let small = |value: &Value| -> Result<u32> { Ok(number(value)?.and_then(|it| it.try_into().ok()).unwrap_or(0)) };
    Ok(Some(Job {
        new: new_job(id(first)?, queue, rest)?,
        state: state_of(&text(state)?)?,
        attempt: small(attempt)?,
        deaths: small(deaths)?,
        error: maybe(error)?,
        started_ms: number(started)?,
        finished_ms: number(finished)?,
        // A worker of BullMQ may say anything here.
        progress: u8::try_from(small(progress)?).unwrap_or(0).min(100),
    }))
}

fn state_of(letter: &str) -> Result<State> {
    match letter {
        "w" => Ok(State::Waiting),
        "d" => Ok(State::Delayed),
        "r" => Ok(State::Running),
        "c" => Ok(State::Done),
        "f" => Ok(State::Failed),
        _ => Err(senseless("a state")),
    }
}

/// The letter of a state.
pub(super) const fn letter(state: State) -> &'static str {
    match state {
        State::Waiting => "w",
        State::Delayed => "d",
        State::Running => "r",
        State::Done => "c",
        State::Failed => "f",
    }
}

/// Counts of all queues.
pub(super) fn depths(value: Value) -> Result<[Depth; 4]> {
    let found = list(value)?.into_iter().map(depth).collect::<Result<Vec<Depth>>>()?;
    found.try_into().map_err(|_| senseless("four counts"))
}

fn depth(value: Value) -> Result<Depth> {
    let values = list(value)?;
    let [waiting, delayed, running, done, failed, oldest, paused, tenant_paused] = values.as_slice() else {
        return Err(senseless("counts"));
    };
    let count = |value: &Value| -> Result<u64> { Ok(u64::try_from(int(value)?).unwrap_or(0)) };
    Ok(Depth {
        waiting: count(waiting)?,
        delayed: count(delayed)?,
        running: count(running)?,
        done: count(done)?,
        failed: count(failed)?,
        oldest_ms: text(oldest)?.parse().ok(),
        paused: int(paused)? != 0,
        tenant_paused: int(tenant_paused)? != 0,
    })
}

/// What is known of ids.
pub(super) fn fates(value: Value) -> Result<Vec<Fate>> {
    let fate = |value: Value| -> Result<Fate> {
        match text(&value)?.as_str() {
            "open" => Ok(Fate::Open),
            "ended" => Ok(Fate::Ended),
            "unknown" => Ok(Fate::Unknown),
            _ => Err(senseless("a fate")),
        }
    };
    list(value)?.into_iter().map(fate).collect()
}

/// The answer of a script to one of several: 0 is well.
pub(super) fn is_well(value: &Value) -> Result<bool, Error> {
    Ok(int(value)? == 0)
}
