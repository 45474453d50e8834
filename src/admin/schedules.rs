//! What runs by itself: schedules of the tenant, and the server's own tasks; how each ended last, and when it is next.

use askama::Template;
use axum::extract::Path;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    gate::Answer,
    shell::{Crumb, Notice, Place, Shell, Sign},
    visit::{Visit, go, show},
    words::{self, When},
};
use crate::{
    domain::{
        access::Right,
        job::{Job, State},
    },
    services::{
        agenda::{Every, TaskView},
        schedules::ScheduleView,
    },
};

/// The page.
#[derive(Debug, Template)]
#[template(path = "schedules/schedules.html")]
pub(super) struct Schedules {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) lead: String,
    /// The tenant of who looks.
    pub(super) tenant: String,
    pub(super) rows: Vec<ScheduleRow>,
    /// Whether schedules may be run and paused.
    pub(super) may_change: bool,
    /// Empty for who may not see what concerns the server.
    pub(super) tasks: Vec<TaskRow>,
}

/// A schedule.
#[derive(Clone, Debug)]
pub(super) struct ScheduleRow {
    pub(super) name: String,
    /// The name as a part of an address.
    pub(super) path: String,
    /// What it asks for.
    pub(super) title: String,
    /// `0 3 * * * (Europe/Berlin)`
    pub(super) times: String,
    pub(super) paused: bool,
    pub(super) next: Option<When>,
    pub(super) last: Option<Last>,
}

/// The newest job of a schedule.
#[derive(Clone, Debug)]
pub(super) struct Last {
    pub(super) sign: Sign,
    pub(super) words: &'static str,
    pub(super) when: When,
    pub(super) error: String,
}

/// A task of the server.
#[derive(Clone, Debug)]
pub(super) struct TaskRow {
    pub(super) name: &'static str,
    pub(super) text: &'static str,
    /// Whether this node does it.
    pub(super) here: bool,
    pub(super) sign: Sign,
    pub(super) words: &'static str,
    pub(super) when: Option<When>,
    /// Why it failed, or how long it took.
    pub(super) note: String,
    pub(super) next: Option<When>,
    /// `every 10 min`
    pub(super) every: String,
}

impl Last {
    fn new(job: Job, now_ms: i64) -> Self {
        let (sign, words, at_ms) = match job.state {
            State::Waiting => (Sign::Todo, "Waits", job.new.created_ms),
            State::Delayed => (Sign::Todo, "Waits to be tried again", job.new.created_ms),
            State::Running => (Sign::Now, "Runs", job.started_ms.unwrap_or(job.new.created_ms)),
            State::Done => (Sign::Ok, "Done", job.finished_ms.unwrap_or(job.new.created_ms)),
            State::Failed => (Sign::Bad, "Failed", job.finished_ms.unwrap_or(job.new.created_ms)),
        };
        Self { sign, words, when: When::at(at_ms, now_ms), error: job.error.unwrap_or_default() }
    }
}

impl ScheduleRow {
    fn new(ScheduleView { schedule: it, last }: ScheduleView, now_ms: i64) -> Self {
        Self {
            path: utf8_percent_encode(&it.name, NON_ALPHANUMERIC).to_string(),
            times: format!("{} ({})", it.cron.text(), it.zone.name()),
            name: it.name,
            title: it.template.title,
            paused: it.paused,
            next: it.next_ms.map(|it| When::at(it, now_ms)),
            last: last.map(|it| Last::new(it, now_ms)),
        }
    }
}

impl TaskRow {
    fn new(TaskView { about, standing: it, here }: TaskView, now_ms: i64) -> Self {
        let (sign, words, at_ms) = match (it.running, &it.error, it.ended_ms) {
            (true, ..) => (Sign::Now, "Runs", it.began_ms),
            (false, Some(_), at) => (Sign::Bad, "Failed", at),
            (false, None, Some(at)) => (Sign::Ok, "Done", Some(at)),
            (false, None, None) => (Sign::Todo, "Not yet", None),
        };
        let took = || words::span(i64::try_from(it.took_ms).unwrap_or(i64::MAX));
        let note = match (&it.error, it.failures, it.ended_ms) {
            (Some(error), 2.., _) => format!("{error} It failed {} times one after another.", it.failures),
            (Some(error), ..) => error.clone(),
            (None, _, Some(_)) if !it.running => format!("in {}", took()),
            _ => String::new(),
        };
        Self {
            name: about.name,
            text: about.text,
            here,
            sign,
            words,
            when: at_ms.map(|it| When::at(it, now_ms)),
            note,
            next: it.next_ms.map(|it| When::at(it, now_ms)),
            every: match &about.every {
                Every::Period(period) => {
                    format!("every {}", words::span(i64::try_from(period.as_millis()).unwrap_or(i64::MAX)))
                }
                Every::At(times) => format!("at {} ({})", times.cron.text(), times.zone.name()),
            },
        }
    }
}

/// The first sentence.
fn lead(rows: &[ScheduleRow], tasks: &[TaskRow]) -> String {
    let schedules = rows.iter().filter(|it| it.last.as_ref().is_some_and(|it| it.sign == Sign::Bad));
    let tasks = tasks.iter().filter(|it| it.here && it.sign == Sign::Bad);
    match schedules.map(|it| it.name.as_str()).chain(tasks.map(|it| it.name)).collect::<Vec<_>>().as_slice() {
        [] => String::from("Nothing of it failed when it ran last."),
        [one] => format!("{one} failed when it ran last."),
        many => format!("{} of them failed when they ran last.", words::spelled(many.len())),
    }
}

/// The page.
pub(super) async fn list(visit: Visit) -> Answer {
    let now = visit.now_ms();
    let found = visit.services.list_schedules_with_last(&visit.actor).await?;
    let rows: Vec<_> = found.into_iter().map(|it| ScheduleRow::new(it, now)).collect();
    let tasks = if visit.may(Right::ManageServer) { visit.services.list_tasks(&visit.actor)? } else { Vec::new() };
    let tasks: Vec<_> = tasks.into_iter().map(|it| TaskRow::new(it, now)).collect();
    show(&Schedules {
        shell: visit.shell(Place::Jobs).await?,
        crumbs: vec![Crumb::new("Jobs", "/jobs")],
        lead: lead(&rows, &tasks),
        tenant: visit.who.tenant.name.clone(),
        rows,
        may_change: visit.may(Right::ManageTenant),
        tasks,
    })
}

/// Asks for no more jobs of a schedule.
pub(super) async fn pause(visit: Visit, Path(of): Path<String>) -> Answer {
    visit.services.pause_schedule(&visit.actor, &of, true).await?;
    go(&visit.services, "/schedules", Some(Notice::SchedulePaused))
}

/// Asks for them again.
pub(super) async fn resume(visit: Visit, Path(of): Path<String>) -> Answer {
    visit.services.pause_schedule(&visit.actor, &of, false).await?;
    go(&visit.services, "/schedules", Some(Notice::ScheduleResumed))
}

/// Asks for its job now.
pub(super) async fn run(visit: Visit, Path(of): Path<String>) -> Answer {
    visit.services.run_schedule(&visit.actor, &of).await?;
    go(&visit.services, "/schedules", Some(Notice::ScheduleRun))
}

/// Has a task of the server look now.
pub(super) async fn run_task(visit: Visit, Path(of): Path<String>) -> Answer {
    visit.services.run_task(&visit.actor, &of).await?;
    go(&visit.services, "/schedules", Some(Notice::TaskRun))
}
