//! What runs by itself: schedules of the tenant, and the server's own tasks; how each ended last, and when it is next.

use askama::Template;
use axum::extract::Path;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::{
    form::Problems,
    gate::Answer,
    questions::Question,
    shell::{Crumb, Notice, Place, Shell, Sign},
    visit::{Fields, Visit, again, go, show},
    words::{self, Fact, When},
};
use crate::{
    base::limits::PAGE_ROWS_MAX,
    domain::{
        Kind, Result,
        access::Right,
        job::{Job, State},
        schedule::{Chore, Missed},
        zone::Zone,
    },
    services::{
        agenda::{Every, TaskView},
        schedules::{ScheduleView, WantedSchedule},
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

/// The form for one more.
#[derive(Debug, Template)]
#[template(path = "schedules/new.html")]
pub(super) struct NewSchedule {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) chores: Vec<ChoreRow>,
    /// Names to choose from.
    pub(super) sites: Vec<String>,
    /// When it would run, on the clocks of its zone; empty while that is not right.
    pub(super) times: Vec<String>,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) site: String,
    pub(super) cron: String,
    pub(super) zone: String,
    pub(super) missed: String,
    pub(super) problems: Problems,
}

/// Something that can be asked for again and again.
#[derive(Clone, Debug)]
pub(super) struct ChoreRow {
    pub(super) word: &'static str,
    pub(super) words: &'static str,
    pub(super) text: &'static str,
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
                    format!("every {}", words::period(i64::try_from(period.as_millis()).unwrap_or(i64::MAX)))
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

/// Times that the form shows.
const SHOWN: usize = 3;

/// What was typed into the form.
#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    name: String,
    #[serde(default)]
    kind: String,
    #[serde(default)]
    site: String,
    #[serde(default)]
    cron: String,
    #[serde(default)]
    zone: String,
    #[serde(default)]
    missed: String,
    /// `look`: show the next times, and make nothing.
    #[serde(default)]
    act: String,
}

const fn chore_words(chore: Chore) -> &'static str {
    match chore {
        Chore::CheckFiles => "Check the files",
    }
}

/// When what is typed would run.
fn upcoming(visit: &Visit, sent: &Sent) -> Result<Vec<String>> {
    let zone = Zone::parse(sent.zone.trim())?;
    let times = visit.services.preview_schedule(&visit.actor, &sent.cron, zone.name(), SHOWN)?;
    Ok(times.into_iter().map(|it| zone.clock_time(it)).collect())
}

async fn form(visit: &Visit, sent: Sent, problems: Problems) -> Result<NewSchedule> {
    let sites = visit.services.list_sites(&visit.actor, "", PAGE_ROWS_MAX).await?;
    Ok(NewSchedule {
        shell: visit.shell(Place::Jobs).await?,
        crumbs: vec![Crumb::new("Jobs", "/jobs"), Crumb::new("What runs by itself", "/schedules")],
        chores: Chore::ALL.map(|it| ChoreRow { word: it.word(), words: chore_words(it), text: it.text() }).to_vec(),
        sites: sites.into_iter().map(|it| it.site.name.to_string()).collect(),
        times: upcoming(visit, &sent).unwrap_or_default(),
        name: sent.name,
        kind: sent.kind,
        site: sent.site,
        cron: sent.cron,
        zone: sent.zone,
        missed: sent.missed,
        problems,
    })
}

/// The form for a schedule.
pub(super) async fn new_form(visit: Visit) -> Answer {
    visit.actor.require(Right::ManageTenant)?;
    let sent = Sent {
        name: String::new(),
        kind: Chore::CheckFiles.word().to_owned(),
        site: String::new(),
        cron: String::from("0 3 * * *"),
        zone: Zone::UTC.name().to_owned(),
        missed: Missed::Once.word().to_owned(),
        act: String::new(),
    };
    show(&form(&visit, sent, Problems::none()).await?)
}

/// Makes a schedule, or shows when it would run.
pub(super) async fn create(visit: Visit, Fields(sent): Fields<Sent>) -> Answer {
    visit.actor.require(Right::ManageTenant)?;
    let looks = sent.act == "look";
    let done = if looks { upcoming(&visit, &sent).map(drop) } else { make(&visit, &sent).await };
    match done {
        Ok(()) if looks => show(&form(&visit, sent, Problems::none()).await?),
        Ok(()) => go(&visit.services, "/schedules", Some(Notice::ScheduleMade)),
        Err(error) if matches!(error.kind, Kind::Invalid | Kind::Conflict) => {
            let problems = Problems::of(&error, &["name", "site", "cron", "zone"]);
            again(&error, &form(&visit, sent, problems).await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn make(visit: &Visit, sent: &Sent) -> Result<()> {
    let site = sent.site.trim();
    let wanted = WantedSchedule {
        name: sent.name.clone(),
        cron: sent.cron.clone(),
        zone: sent.zone.trim().to_owned(),
        missed: sent.missed.clone(),
        kind: sent.kind.clone(),
        site: (!site.is_empty()).then(|| site.to_owned()),
    };
    visit.services.add_schedule(&visit.actor, wanted).await.map(drop)
}

/// The question before one goes.
pub(super) async fn delete_question(visit: Visit, Path(of): Path<String>) -> Answer {
    visit.actor.require(Right::ManageTenant)?;
    let found = visit.services.get_schedule(&visit.actor, &of).await?;
    let row = ScheduleRow::new(ScheduleView { schedule: found, last: None }, visit.now_ms());
    show(&Question {
        shell: visit.shell(Place::Jobs).await?,
        crumbs: vec![Crumb::new("Jobs", "/jobs"), Crumb::new("What runs by itself", "/schedules")],
        here: String::from("Delete"),
        title: format!("Delete {}?", row.name),
        text: vec![String::from("It asks for nothing any more. Jobs that it has asked for stay.")],
        facts: vec![Fact::plain("Asks for", row.title), Fact::mono("When", row.times)],
        keep: (String::from("Keep it"), String::from("/schedules")),
        act: (String::from("Delete the schedule"), format!("/schedules/{}/delete", row.path)),
        destroys: true,
        asked: None,
        typed: None,
        hidden: Vec::new(),
        problems: Problems::none(),
    })
}

/// Deletes it.
pub(super) async fn delete(visit: Visit, Path(of): Path<String>) -> Answer {
    visit.services.delete_schedule(&visit.actor, &of).await?;
    go(&visit.services, "/schedules", Some(Notice::ScheduleDeleted))
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
