//! `/api/v1/schedules` and `/tasks`: what is asked for again and again, and what the server does by itself.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    answer::{Answer, done, json, ok},
    caller::{Caller, Json},
    jobs::Job,
};
use crate::{
    base::clock::rfc3339,
    domain::{schedule::Missed, zone::Zone},
    services::{
        Services,
        agenda::{Every, TaskView},
        schedules::{ScheduleView, WantedSchedule},
    },
};

/// Times that are told of a schedule.
const UPCOMING: usize = 3;

#[derive(Debug, Serialize)]
struct Schedule {
    name: String,
    cron: String,
    zone: String,
    missed: &'static str,
    queue: &'static str,
    kind: String,
    title: String,
    paused: bool,
    next_at: Option<String>,
    /// From the next one on, as many as there are up to [`UPCOMING`].
    upcoming: Vec<String>,
    last: Option<Job>,
}

impl From<ScheduleView> for Schedule {
    fn from(ScheduleView { schedule: it, last }: ScheduleView) -> Self {
        let upcoming = it.upcoming(UPCOMING);
        Self {
            name: it.name,
            cron: it.cron.text().to_owned(),
            zone: it.zone.name().to_owned(),
            missed: it.missed.word(),
            queue: it.template.queue.word(),
            kind: it.template.kind,
            title: it.template.title,
            paused: it.paused,
            next_at: it.next_ms.map(rfc3339),
            upcoming: upcoming.into_iter().map(rfc3339).collect(),
            last: last.map(Job::from),
        }
    }
}

pub(super) async fn list(State(services): State<Services>, Caller(actor, _): Caller) -> Answer {
    let schedules = services.list_schedules_with_last(&actor).await?;
    let items: Vec<Schedule> = schedules.into_iter().map(Schedule::from).collect();
    ok(&json!({ "items": items, "next": null }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSchedule {
    name: String,
    cron: String,
    #[serde(default = "utc")]
    zone: String,
    #[serde(default = "once")]
    missed: String,
    kind: String,
    #[serde(default)]
    site: Option<String>,
}

fn utc() -> String {
    Zone::UTC.name().to_owned()
}

fn once() -> String {
    Missed::Once.word().to_owned()
}

pub(super) async fn create(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Json(new): Json<NewSchedule>,
) -> Answer {
    let NewSchedule { name, cron, zone, missed, kind, site } = new;
    let wanted = WantedSchedule { name, cron, zone, missed, kind, site };
    let schedule = services.add_schedule(&actor, wanted).await?;
    json(StatusCode::CREATED, &Schedule::from(ScheduleView { schedule, last: None }))
}

pub(super) async fn delete(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(of): Path<String>,
) -> Answer {
    services.delete_schedule(&actor, &of).await?;
    done()
}

pub(super) async fn pause(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(of): Path<String>,
) -> Answer {
    services.pause_schedule(&actor, &of, true).await?;
    done()
}

pub(super) async fn resume(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(of): Path<String>,
) -> Answer {
    services.pause_schedule(&actor, &of, false).await?;
    done()
}

pub(super) async fn run(State(services): State<Services>, Caller(actor, _): Caller, Path(of): Path<String>) -> Answer {
    let job = services.run_schedule(&actor, &of).await?;
    json(StatusCode::ACCEPTED, &json!({ "id": job.to_string() }))
}

pub(super) async fn tasks(State(services): State<Services>, Caller(actor, _): Caller) -> Answer {
    let items: Vec<_> = services.list_tasks(&actor)?.into_iter().map(task).collect();
    ok(&json!({ "items": items, "next": null }))
}

fn task(TaskView { about, standing: it, here }: TaskView) -> serde_json::Value {
    let (every, times) = match &about.every {
        Every::Period(period) => (Some(period.as_secs()), None),
        Every::At(times) => (None, Some(times)),
    };
    json!({
        "name": about.name,
        "does": about.text,
        "every_seconds": every,
        "cron": times.map(|it| it.cron.text()),
        "zone": times.map(|it| it.zone.name()),
        "here": here,
        "running": it.running,
        "began_at": it.began_ms.map(rfc3339),
        "ended_at": it.ended_ms.map(rfc3339),
        "took_ms": it.ended_ms.map(|_| it.took_ms),
        "error": it.error,
        "failures": it.failures,
        "next_at": it.next_ms.filter(|_| here).map(rfc3339),
    })
}

pub(super) async fn run_task(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(of): Path<String>,
) -> Answer {
    services.run_task(&actor, &of).await?;
    done()
}
