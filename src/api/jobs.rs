//! `/api/v1/jobs` and `/queues`: the four queues and their jobs.

use std::time::Duration;

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, Page, done, ok},
    caller::{Caller, Json, ListQuery, Params},
};
use crate::{
    base::clock::rfc3339,
    domain::{
        Error, Result,
        job::{self, JobId, Queue},
    },
    services::{
        Depth, JobFilter, Services,
        jobs::DRAIN_WAIT_MAX,
        latency::{Lately, Percentiles},
    },
};

#[derive(Debug, Serialize)]
pub(super) struct Job {
    id: String,
    queue: &'static str,
    kind: String,
    title: String,
    state: &'static str,
    attempt: u32,
    deaths: u32,
    progress: u8,
    error: Option<String>,
    created_at: String,
    run_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
}

impl From<job::Job> for Job {
    fn from(it: job::Job) -> Self {
        Self {
            id: it.new.id.to_string(),
            queue: it.new.queue.word(),
            kind: it.new.kind,
            title: it.new.title,
            state: it.state.word(),
            attempt: it.attempt,
            deaths: it.deaths,
            progress: it.progress,
            error: it.error,
            created_at: rfc3339(it.new.created_ms),
            run_at: rfc3339(it.new.run_at_ms),
            started_at: it.started_ms.map(rfc3339),
            finished_at: it.finished_ms.map(rfc3339),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Filter {
    queue: Option<String>,
    state: Option<String>,
}

fn id(text: &str) -> Result<JobId> {
    text.parse().map_err(|_| Error::not_found("job"))
}

pub(super) async fn list(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Params(query): Params<ListQuery>,
    Params(filter): Params<Filter>,
) -> Answer {
    let limit = query.limit()?;
    let filter = JobFilter {
        queue: filter.queue.as_deref().map(Queue::parse).transpose()?,
        state: filter.state.as_deref().map(job::State::parse).transpose()?,
        tenant: None,
        after: query.cursor()?,
        limit: limit + 1,
    };
    let jobs = services.list_jobs(&actor, filter).await?.into_iter().map(Job::from).collect();
    ok(&Page::new(jobs, limit, |it: &Job| it.id.clone()))
}

pub(super) async fn depths(State(services): State<Services>, Caller(actor, _): Caller) -> Answer {
    let depths = services.queue_depths(&actor).await?;
    let tenant_paused = services.are_jobs_paused(&actor).await?;
    let lately = services.lately(&actor).await?;
    let show = |((queue, it), took): ((Queue, &Depth), &Lately)| {
        let p50 = |of: Option<Percentiles>| of.map(|it| it.p50_ms);
        let p95 = |of: Option<Percentiles>| of.map(|it| it.p95_ms);
        serde_json::json!({
            "queue": queue.word(), "waiting": it.waiting, "delayed": it.delayed, "running": it.running,
            "done": it.done, "failed": it.failed, "paused": it.paused, "tenant_paused": tenant_paused,
            "oldest_at": it.oldest_ms.map(rfc3339),
            "wait_p50_ms": p50(took.wait), "wait_p95_ms": p95(took.wait),
            "run_p50_ms": p50(took.run), "run_p95_ms": p95(took.run),
        })
    };
    let items: Vec<_> = Queue::ALL.into_iter().zip(&depths).zip(&lately).map(show).collect();
    ok(&serde_json::json!({ "items": items, "next": null }))
}

fn queue(text: &str) -> Result<Queue> {
    Queue::parse(text).map_err(|_| Error::not_found("queue"))
}

pub(super) async fn pause(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(of): Path<String>,
) -> Answer {
    services.change_queue_paused(&actor, queue(&of)?, true).await?;
    done()
}

pub(super) async fn resume(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(of): Path<String>,
) -> Answer {
    services.change_queue_paused(&actor, queue(&of)?, false).await?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Drain {
    #[serde(default = "wait_default")]
    wait_seconds: u64,
}

/// Long enough for most jobs, and shorter than what proxies wait for.
fn wait_default() -> u64 {
    30
}

impl Drain {
    fn wait(&self) -> Result<Duration> {
        let wait = Duration::from_secs(self.wait_seconds);
        if wait > DRAIN_WAIT_MAX {
            let text =
                format!("`wait_seconds` is a number from 0 to {}; ask again after that.", DRAIN_WAIT_MAX.as_secs());
            return Err(Error::invalid("wait_seconds", text).on("wait_seconds"));
        }
        Ok(wait)
    }
}

pub(super) async fn drain(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(of): Path<String>,
    Json(asked): Json<Drain>,
) -> Answer {
    let running = services.drain_queue(&actor, queue(&of)?, asked.wait()?).await?;
    ok(&serde_json::json!({ "running": running }))
}

pub(super) async fn pause_all(State(services): State<Services>, Caller(actor, _): Caller) -> Answer {
    services.change_jobs_paused(&actor, true).await?;
    done()
}

pub(super) async fn resume_all(State(services): State<Services>, Caller(actor, _): Caller) -> Answer {
    services.change_jobs_paused(&actor, false).await?;
    done()
}

pub(super) async fn drain_all(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Json(asked): Json<Drain>,
) -> Answer {
    let running = services.drain_jobs(&actor, asked.wait()?).await?;
    ok(&serde_json::json!({ "running": running }))
}

pub(super) async fn get(State(services): State<Services>, Caller(actor, _): Caller, Path(of): Path<String>) -> Answer {
    ok(&Job::from(services.get_job(&actor, id(&of)?).await?))
}

pub(super) async fn rerun(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(of): Path<String>,
) -> Answer {
    services.rerun_job(&actor, id(&of)?).await?;
    done()
}

pub(super) async fn cancel(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(of): Path<String>,
) -> Answer {
    let removed = services.cancel_job(&actor, id(&of)?).await?;
    ok(&serde_json::json!({ "removed": removed }))
}

pub(super) async fn dismiss(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(of): Path<String>,
) -> Answer {
    services.dismiss_job(&actor, id(&of)?).await?;
    done()
}
