//! What this process does by itself again and again: how each task's last pass ended, and when the next one is.
//!
//! Kept in memory alone: each node knows of its own passes, and a restart begins anew.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::domain::{
    Error, Result,
    access::{Actor, Right},
    event::Event,
    node::Duty,
    schedule::Times,
};

use super::Services;

/// When a task runs, besides on its signal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Every {
    /// At the start, and so long after each pass.
    Period(Duration),
    /// At these times alone.
    At(Times),
}

/// A task as people know it.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name, in commands and addresses: `collect-garbage`.
    pub name: &'static str,
    /// What it does, as a sentence.
    pub text: &'static str,
    /// Whose duty it is; `None`: every node does it.
    pub duty: Option<Duty>,
    /// When.
    pub every: Every,
}

/// How a task is.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// When the last pass began, in this process.
    pub began_ms: Option<i64>,
    /// When the last one that has ended did so.
    pub ended_ms: Option<i64>,
    /// How long that one took.
    pub took_ms: u64,
    /// When the last one ended that ended well.
    pub well_ms: Option<i64>,
    /// Why that one failed, for people.
    pub error: Option<String>,
    /// How many failed one after another.
    pub failures: u32,
    /// A pass is under way.
    pub running: bool,
    /// When the next one is; `None` while one is under way, and when no time comes any more.
    pub next_ms: Option<i64>,
}

/// A task and how it is.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// What it is.
    pub about: About,
    /// How it is, when this node does it.
    pub standing: Standing,
    /// Whether this node does it now: of those with a duty, only one node does.
    pub here: bool,
}

/// The entry of a task. The task itself writes it.
#[derive(Debug)]
pub struct Entry {
    about: About,
    standing: Mutex<Standing>,
    asked: Notify,
}

impl Entry {
    /// For a task that nobody shall see, too.
    pub fn new(about: About) -> Arc<Self> {
        Arc::new(Self { about, standing: Mutex::default(), asked: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pass begins.
    pub fn begin(&self, now_ms: i64) {
        let mut it = self.lock();
        it.running = true;
        it.began_ms = Some(now_ms);
        it.next_ms = None;
    }

    /// It has ended; how many have failed one after another.
    pub fn end(&self, now_ms: i64, took: Duration, ended: &Result<()>) -> u32 {
        let mut it = self.lock();
        it.running = false;
        it.ended_ms = Some(now_ms);
        it.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        match ended {
            Ok(()) => {
                it.well_ms = Some(now_ms);
                it.failures = 0;
                it.error = None;
            }
            Err(error) => {
                it.failures = it.failures.saturating_add(1);
                it.error = Some(error.message.clone());
            }
        }
        it.failures
    }

    /// When the next pass is.
    pub fn plan(&self, next_ms: Option<i64>) {
        self.lock().next_ms = next_ms;
    }

    /// Resolves when somebody has asked for a pass since the last one began.
    pub async fn asked(&self) {
        self.asked.notified().await;
    }
}

/// The tasks of this process.
#[derive(Debug, Default)]
pub struct Agenda(Mutex<Vec<Arc<Entry>>>);

impl Agenda {
    fn all(&self) -> Vec<Arc<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a task that people see.
    pub fn add(&self, entry: &Arc<Entry>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(entry));
    }
}

impl Services {
    /// The tasks of this process, to be filled by them.
    pub fn agenda(&self) -> &Agenda {
        &self.0.agenda
    }

    fn does(&self, about: &About) -> bool {
        about.duty.is_none_or(|it| self.hold(it).is_some())
    }

    /// The tasks of this process and how they are, in the order in which they were started.
    pub fn tasks_here(&self) -> Vec<TaskView> {
        let view = |it: Arc<Entry>| TaskView {
            here: self.does(&it.about),
            about: it.about.clone(),
            standing: it.lock().clone(),
        };
        self.agenda().all().into_iter().map(view).collect()
    }

    /// What this node does by itself again and again.
    pub fn list_tasks(&self, actor: &Actor) -> Result<Vec<TaskView>> {
        actor.require(Right::ManageServer)?;
        Ok(self.tasks_here())
    }

    /// Has a task make a pass now, or right after the one that is under way.
    pub async fn run_task(&self, actor: &Actor, name: &str) -> Result<()> {
        actor.require(Right::ManageServer)?;
        let found = self.agenda().all().into_iter().find(|it| it.about.name == name);
        let entry = found.ok_or_else(|| Error::not_found("task"))?;
        if !self.does(&entry.about) {
            let text = "Another node does this. `chainhost nodes` says which; ask there.";
            return Err(Error::conflict("task_elsewhere", text));
        }
        let event = Event::new("task.asked", "task", &name, format!("asked for the task {name}"));
        let (services, actor) = (self.clone(), actor.clone());
        self.db.write(move |tx| services.record(tx, &actor, &event)).await?;
        entry.asked.notify_one();
        Ok(())
    }
}
