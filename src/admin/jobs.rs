//! Jobs: what runs, what waits, what failed and why, with the way out beside it.

use std::{collections::HashSet, convert::Infallible, time::Duration};

use askama::Template;
use axum::{
    extract::Path,
    response::{
        IntoResponse as _,
        sse::{Event, KeepAlive, Sse},
    },
};
use serde::Deserialize;
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;

use super::{
    gate::Answer,
    live::{Turn, Turns},
    overview::{self, QueueRow},
    shell::{Notice, Place, Shell, Sign},
    visit::{Asked, Visit, go, show},
    words::{self, When},
};
use crate::{
    domain::{
        Error, Result,
        access::Right,
        job::{Job, JobId, NewJob, Queue, State},
        tenant::TenantId,
    },
    services::{JobFilter, latency::Lately},
};

/// The jobs of the tenant.
#[derive(Debug, Template)]
#[template(path = "jobs/jobs.html")]
pub(super) struct Jobs {
    pub(super) shell: Shell,
    pub(super) lead: String,
    /// The queue that is looked at; all when absent.
    pub(super) queue: Option<&'static str>,
    pub(super) board: Board,
}

impl Jobs {
    /// Whether this queue is looked at alone.
    fn at(&self, name: &str) -> bool {
        self.queue == Some(name)
    }
}

/// The part of the page that changes by itself: what the stream of events carries.
#[derive(Clone, Debug, Template)]
#[template(path = "jobs/board.html")]
pub(super) struct Board {
    pub(super) queues: Vec<QueueRow>,
    pub(super) running: Vec<JobRow>,
    pub(super) failed: Vec<JobRow>,
    pub(super) waiting: Vec<JobRow>,
    pub(super) done: Vec<JobRow>,
    /// Whether the queues may be paused.
    pub(super) may_pause: bool,
    /// The tenant of who looks.
    pub(super) tenant: String,
    /// It starts no jobs.
    pub(super) tenant_paused: bool,
    /// Its jobs that run still, while it is paused.
    pub(super) tenant_running: u64,
    /// Whether who looks may pause it.
    pub(super) may_pause_tenant: bool,
    /// How long jobs took lately, of each queue that had any.
    pub(super) took: Vec<TookRow>,
    /// Jobs that wait, also those that are not listed.
    pub(super) waiting_total: i64,
}

/// A job.
#[derive(Clone, Debug)]
pub(super) struct JobRow {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) queue: &'static str,
    pub(super) attempt: u32,
    pub(super) attempts: u32,
    pub(super) when: When,
    pub(super) progress: u8,
    /// Why it failed, or why it is tried again.
    pub(super) error: String,
    /// Starts later: a retry or a snooze.
    pub(super) delayed: bool,
    /// What keeps it from starting, for a sentence that begins with "when".
    pub(super) held: Option<String>,
}

/// How long the jobs of a queue took that ended lately.
#[derive(Clone, Debug)]
pub(super) struct TookRow {
    pub(super) queue: &'static str,
    /// How many jobs this is of.
    pub(super) jobs: String,
    /// Half of them started within; `-` when none tells.
    pub(super) wait_half: String,
    /// 95 of a hundred started within.
    pub(super) wait_most: String,
    pub(super) run_half: String,
    pub(super) run_most: String,
}

/// Jobs of each list.
const LISTED: u32 = 30;
/// An open page reads again so seldom how long jobs took: up to 800 of them are looked at for it.
const TOOK_EVERY: Duration = Duration::from_secs(10);
/// Finished jobs on the page.
const DONE: usize = 8;

#[derive(Deserialize)]
pub(super) struct Filter {
    queue: Option<String>,
}

fn queue(filter: &Filter) -> Result<Option<Queue>> {
    filter.queue.as_deref().map(Queue::parse).transpose().map_err(|_| Error::not_found("queue"))
}

async fn took(visit: &Visit, queue: Option<Queue>) -> Result<Vec<TookRow>> {
    let lately = visit.services.lately(&visit.actor).await?;
    let length =
        |ms: Option<u64>| ms.map_or_else(|| String::from("-"), |it| words::span(i64::try_from(it).unwrap_or(i64::MAX)));
    let rows =
        Queue::ALL.into_iter().zip(lately).filter(|(it, of)| of.jobs > 0 && queue.is_none_or(|only| only == *it));
    let row = |(queue, of): (Queue, Lately)| TookRow {
        queue: queue.word(),
        jobs: words::count(i64::try_from(of.jobs).unwrap_or(i64::MAX), "job", "jobs"),
        wait_half: length(of.wait.map(|it| it.p50_ms)),
        wait_most: length(of.wait.map(|it| it.p95_ms)),
        run_half: length(of.run.map(|it| it.p50_ms)),
        run_most: length(of.run.map(|it| it.p95_ms)),
    };
    Ok(rows.map(row).collect())
}

/// Whose jobs do not start, of those that wait here.
async fn paused_tenants(visit: &Visit, jobs: &[&[Job]]) -> Result<HashSet<TenantId>> {
    let tenants: HashSet<TenantId> = jobs.iter().copied().flatten().filter_map(|it| it.new.tenant).collect();
    visit.services.paused_tenants(&visit.actor, tenants).await
}

async fn board(visit: &Visit, queue: Option<Queue>, took: Vec<TookRow>) -> Result<Board> {
    let services = &visit.services;
    let now = visit.now_ms();
    let list = async |state| {
        let filter = JobFilter { queue, state: Some(state), tenant: None, after: None, limit: LISTED };
        services.list_jobs(&visit.actor, filter).await
    };
    // Listed newest first, shown next first.
    let next_first = |mut jobs: Vec<Job>| {
        jobs.sort_by_key(|it| (it.new.run_at_ms, it.new.id));
        jobs
    };
    let queues = overview::queues(&services.queue_depths(&visit.actor).await?);
    let (waiting, delayed) = (next_first(list(State::Waiting).await?), next_first(list(State::Delayed).await?));
    let paused = paused_tenants(visit, &[&waiting, &delayed]).await?;
    let (own, tenant) = (visit.actor.scope.tenant(), visit.who.tenant.name.clone());
    let held = |job: &NewJob| match job.tenant {
        _ if queues.iter().any(|it| it.paused && it.name == job.queue.word()) => {
            Some(format!("the queue {} is resumed", job.queue.word()))
        }
        Some(of) if paused.contains(&of) && of == own => Some(format!("the jobs of the tenant {tenant} are resumed")),
        Some(of) if paused.contains(&of) => Some(String::from("the jobs of its tenant are resumed")),
        _ => None,
    };
    let rows = |jobs: Vec<Job>| jobs.into_iter().map(|it| row(it, &held, now)).collect::<Vec<_>>();
    let mut done = rows(list(State::Done).await?);
    done.truncate(DONE);
    let counted = queues.iter().filter(|it| queue.is_none_or(|queue| queue.word() == it.name));
    let tenant_paused = services.are_jobs_paused(&visit.actor).await?;
    Ok(Board {
        tenant_running: if tenant_paused { services.count_running_jobs(&visit.actor).await? } else { 0 },
        running: rows(list(State::Running).await?),
        failed: rows(list(State::Failed).await?),
        waiting_total: counted.map(|it| it.waiting).sum(),
        waiting: [rows(waiting), rows(delayed)].concat(),
        done,
        may_pause: visit.may(Right::ManageServer),
        tenant_paused,
        may_pause_tenant: visit.may(Right::ManageTenant),
        tenant: visit.who.tenant.name.clone(),
        took,
        queues,
    })
}

fn row(job: Job, held: &impl Fn(&NewJob) -> Option<String>, now_ms: i64) -> JobRow {
    let at = match job.state {
        State::Waiting => job.new.created_ms,
        State::Delayed => job.new.run_at_ms,
        State::Running => job.started_ms.unwrap_or(job.new.created_ms),
        State::Done | State::Failed => job.finished_ms.unwrap_or(job.new.created_ms),
    };
    JobRow {
        held: held(&job.new),
        id: job.new.id.to_string(),
        title: job.new.title,
        queue: job.new.queue.word(),
        attempt: job.attempt,
        attempts: job.new.queue.rules().attempts,
        when: When::at(at, now_ms),
        progress: job.progress,
        error: job.error.unwrap_or_default(),
        delayed: job.state == State::Delayed,
    }
}

/// The first sentence.
fn lead(board: &Board) -> String {
    let paused: Vec<_> = board.queues.iter().filter(|it| it.paused).map(|it| it.name).collect();
    let paused = match paused.as_slice() {
        [] => String::new(),
        [one] => format!(" The queue {one} is paused."),
        [first @ .., last] => format!(" The queues {} and {last} are paused.", first.join(", ")),
    };
    let own = if board.tenant_paused {
        format!(" The jobs of the tenant {} are paused.", board.tenant)
    } else {
        String::new()
    };
    format!("{}{paused}{own}", counted(board))
}

/// How many jobs run, wait and have failed.
fn counted(board: &Board) -> String {
    let (running, failed) = (board.running.len(), board.failed.len());
    if running == 0 && failed == 0 && board.waiting_total == 0 {
        return String::from("Nothing runs, nothing waits, and nothing failed.");
    }
    let many = |number: usize, one: &str, more: &str| match number {
        0 => format!("nothing {one}"),
        1 => format!("one {one}"),
        many => format!("{} {more}", words::spelled(many).to_lowercase()),
    };
    let waiting = usize::try_from(board.waiting_total).unwrap_or(usize::MAX);
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    let text = format!("{}, {}{failed}", many(running, "runs", "run"), many(waiting, "waits", "wait"));
    let mut letters = text.chars();
    let first = letters.next().map(|it| it.to_ascii_uppercase()).into_iter();
    first.chain(letters).chain(['.']).collect()
}

/// The page.
pub(super) async fn jobs(visit: Visit, Asked(filter): Asked<Filter>) -> Answer {
    let queue = queue(&filter)?;
    let board = board(&visit, queue, took(&visit, queue).await?).await?;
    show(&Jobs { shell: visit.shell(Place::Jobs).await?, lead: lead(&board), queue: queue.map(Queue::word), board })
}

/// The board whenever it differs from the one before.
pub(super) async fn events(visit: Visit, Asked(filter): Asked<Filter>) -> Answer {
    let queue = queue(&filter)?;
    let (sender, events) = mpsc::channel::<Result<Event, Infallible>>(2);
    let tasks = visit.services.tasks.clone();
    tasks.spawn(async move {
        let mut turns = Turns::new(&visit);
        let mut before = String::new();
        let mut known: Option<(Instant, Vec<TookRow>)> = None;
        while turns.next(&visit, &sender).await == Turn::Look {
            let fresh = known.as_ref().filter(|(at, _)| at.elapsed() < TOOK_EVERY).map(|(_, rows)| rows.clone());
            let rows = match fresh {
                Some(rows) => rows,
                None => match took(&visit, queue).await {
                    Ok(rows) => known.insert((Instant::now(), rows)).1.clone(),
                    Err(_) => break,
                },
            };
            let Ok(html) = board(&visit, queue, rows).await.and_then(|it| it.render().map_err(Error::internal)) else {
                break;
            };
            if html != before {
                before.clone_from(&html);
                if sender.send(Ok(Event::default().data(html))).await.is_err() {
                    break;
                }
            }
        }
    });
    Ok(Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::default()).into_response())
}

fn id(text: &str) -> Result<JobId> {
    text.parse().map_err(|_| Error::not_found("job"))
}

/// Starts no more jobs of a queue.
pub(super) async fn pause(visit: Visit, Path(of): Path<String>) -> Answer {
    change_paused(&visit, &of, true).await
}

/// Starts them again.
pub(super) async fn resume(visit: Visit, Path(of): Path<String>) -> Answer {
    change_paused(&visit, &of, false).await
}

async fn change_paused(visit: &Visit, of: &str, paused: bool) -> Answer {
    let queue = Queue::parse(of).map_err(|_| Error::not_found("queue"))?;
    visit.services.change_queue_paused(&visit.actor, queue, paused).await?;
    go(&visit.services, "/jobs", Some(if paused { Notice::QueuePaused } else { Notice::QueueResumed }))
}

/// Starts no more jobs of the tenant.
pub(super) async fn pause_all(visit: Visit) -> Answer {
    visit.services.change_jobs_paused(&visit.actor, true).await?;
    go(&visit.services, "/jobs", Some(Notice::JobsPaused))
}

/// Starts them again.
pub(super) async fn resume_all(visit: Visit) -> Answer {
    visit.services.change_jobs_paused(&visit.actor, false).await?;
    go(&visit.services, "/jobs", Some(Notice::JobsResumed))
}

/// Runs a failed or delayed job now.
pub(super) async fn rerun(visit: Visit, Path(of): Path<String>) -> Answer {
    visit.services.rerun_job(&visit.actor, id(&of)?).await?;
    go(&visit.services, "/jobs", Some(Notice::JobRerun))
}

/// Ends a job.
pub(super) async fn cancel(visit: Visit, Path(of): Path<String>) -> Answer {
    let removed = visit.services.cancel_job(&visit.actor, id(&of)?).await?;
    let notice = if removed { Notice::JobCancelled } else { Notice::JobRuns };
    go(&visit.services, "/jobs", Some(notice))
}

/// Puts an ended job away.
pub(super) async fn dismiss(visit: Visit, Path(of): Path<String>) -> Answer {
    visit.services.dismiss_job(&visit.actor, id(&of)?).await?;
    go(&visit.services, "/jobs", Some(Notice::JobDismissed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(tenant_paused: bool, tenant_running: u64) -> String {
        let board = Board {
            queues: Vec::new(),
            running: Vec::new(),
            failed: Vec::new(),
            waiting: Vec::new(),
            done: Vec::new(),
            may_pause: true,
            tenant: String::from("default"),
            tenant_paused,
            tenant_running,
            may_pause_tenant: true,
            took: Vec::new(),
            waiting_total: 0,
        };
        board.render().unwrap()
    }

    #[test]
    fn who_drains_a_tenant_sees_what_is_still_at_work() {
        let page = shown(true, 2);
        assert!(page.contains("Draining") && page.contains("2 still at work"), "{page}");
        assert!(page.contains("/jobs/resume") && !page.contains("/jobs/pause"), "{page}");
        let page = shown(true, 0);
        assert!(page.contains("None of them runs") && !page.contains("Draining"), "{page}");
        let page = shown(false, 0);
        assert!(page.contains("/jobs/pause") && !page.contains("None of them runs"), "{page}");
    }
}
