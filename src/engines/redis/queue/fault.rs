//! Errors, in the words of the port.

use redis::RedisError;

use super::super::link::Address;
use crate::{domain::Error, ports::queue};

pub(super) use crate::ports::queue::{resumed, stale};

/// The code of a Redis that is away.
pub(super) const UNREACHABLE: &str = "queue_unreachable";

/// Redis is away, or what it said makes no sense.
pub(super) fn unreachable(detail: impl std::fmt::Display) -> Error {
    Error::unavailable(
        UNREACHABLE,
        "The Redis of the job queue does not answer. Sites go on answering; no job starts until it is back. Try again in a moment.",
    )
    .because(detail)
}

/// No connection to this Redis could be made, for whoever only asks it something.
pub(super) fn cannot_ask(address: &Address, error: &RedisError) -> Error {
    Error::unavailable(UNREACHABLE, address.explain(error).message).because(error)
}

/// No connection to this Redis could be made, which has the jobs.
pub(super) fn cannot_connect(address: &Address, error: &RedisError) -> Error {
    let why = address.explain(error).message;
    let text = format!("{why} It has the job queue: sites go on answering, and no job starts until it can be used.");
    Error::unavailable(UNREACHABLE, text).because(error)
}

/// Whether an error ends by itself, or when somebody mends the Redis: a start does not wait for that.
pub(super) fn may_pass(error: &Error) -> bool {
    [UNREACHABLE, "queue_full", "queue_disk", "queue_replicas"].contains(&error.code)
}

/// Redis answered with an error.
pub(super) fn said(error: &RedisError) -> Error {
    match error.code() {
        Some("OOM") => Error::unavailable(
            "queue_full",
            "The Redis of the job queue has no memory left for another job. Raise its maxmemory, or let jobs end.",
        )
        .because(error),
        Some("MISCONF") => Error::unavailable(
            "queue_disk",
            "The Redis of the job queue cannot save to its disk and takes no jobs. Free space there, or see its log.",
        )
        .because(error),
        Some("NOREPLICAS") => Error::unavailable(
            "queue_replicas",
            "The Redis of the job queue has fewer replicas than its min-replicas-to-write asks for, and takes no jobs.",
        )
        .because(error),
        Some("NOPERM") => Error::unavailable(
            "queue_forbidden",
            "The Redis of the job queue does not let its user do what the queue needs. Give the user more rights, with `ACL SETUSER`.",
        )
        .because(error),
        _ => unreachable(error),
    }
}

/// Whether an error says that this server cannot be used now, so that another connection must be made.
pub(super) fn is_away(error: &RedisError) -> bool {
    let codes =
        ["LOADING", "MASTERDOWN", "READONLY", "CLUSTERDOWN", "MOVED", "ASK", "NOAUTH", "TRYAGAIN", "UNKILLABLE"];
    error.code().is_some_and(|it| codes.contains(&it)) || is_moving(error)
}

/// Whether a script ended at its beginning, since a cluster is moving the slot of the keys from this node to another.
fn is_moving(error: &RedisError) -> bool {
    error.detail().is_some_and(|it| it.contains("access a non local key"))
}

/// This Redis throws away what it has no memory for.
pub(super) fn evicts(name: &str, policy: &str) -> Error {
    Error::unavailable(
        "queue_evicts",
        format!(
            "The Redis at {name} may throw jobs away: its maxmemory-policy is {policy}. Change that with \
             `redis-cli -u redis://{name} CONFIG SET maxmemory-policy noeviction`, keep it with \
             `redis-cli -u redis://{name} CONFIG REWRITE` (both with --askpass where it wants a password), or use another Redis for the cache than for the queue."
        ),
    )
}

/// This Redis lacks commands that are needed.
pub(super) fn old(name: &str, version: &str) -> Error {
    let text = format!("The Redis at {name} is {version}. The job queue needs Redis 6.2 or later, or Valkey.");
    Error::unavailable("queue_old", text)
}

/// The user of this Redis may not do what the scripts do.
pub(super) fn forbids(name: &str, lacking: &[String]) -> Error {
    let what = lacking.join(", ");
    let text = format!(
        "The Redis at {name} does not let its user call {what}, which the job queue needs. Give the user the rights, with \
         `ACL SETUSER` and `+@all ~*`, or with + and the name of each command."
    );
    Error::unavailable("queue_forbidden", text)
}

/// This Redis holds the queues of somebody else.
fn foreign(instance: &str) -> Error {
    Error::unavailable(
        "queue_foreign",
        format!(
            "The Redis of the job queue holds the queues of another installation, whose id is {instance}. Give each its own: \
             another Redis, or another number at the end of `queue_url`, as in redis://host:6379/1. If that installation is \
             gone, remove the keys there that begin with {{chainhost}}:"
        ),
    )
}

/// This Redis has queues of this installation that are not those in use.
pub(super) fn other(name: &str) -> Error {
    let text = format!(
        "The Redis at {name} is not the one that has the jobs of this server now: it had them before, or was to get them. Nothing \
         in it was changed. Let `queue_url` lead to the one that has them, and restart."
    );
    Error::unavailable("queue_other", text)
}

/// What a script refused, by its code.
pub(super) fn refused(code: &str, more: &str, waiting_max: u64) -> Error {
    match code {
        "stale_lease" => stale(),
        "not_found" => Error::not_found("job"),
        "queue_foreign" => foreign(more),
        "job_after" => Error::invalid("job_after", "A job can only wait for jobs of its own tenant.").on("after"),
        "jobs_waiting_max" => Error::too_many(
            "jobs_waiting_max",
            format!("{waiting_max} jobs of this tenant wait already, and no more may. Try again when some have ended."),
            60,
        ),
        "job_unique" => queue::not_unique(),
        "job_waits" => queue::waits(),
        "job_rerun" => Error::conflict(
            "job_state",
            format!("This job is {more}; only failed and delayed jobs can be started again."),
        ),
        "job_started" => Error::conflict("job_state", "This job has started, or has ended."),
        "job_ended" => Error::conflict("job_state", "This job has ended; it can be dismissed."),
        "job_not_ended" => Error::conflict("job_state", "This job has not ended; it can be cancelled."),
        other => Error::internal(format!("a script of the job queue refused with `{other}`")),
    }
}
