//! The start: one sentence on how everything is, what needs a person, and what happened last.

use askama::Template;

use super::{
    markup::Markup,
    shell::{Shell, Sign},
    words::When,
};

/// The overview.
#[derive(Debug, Template)]
#[template(path = "overview/overview.html")]
pub(super) struct Overview {
    pub(super) shell: Shell,
    /// How things are: one clause.
    pub(super) state: String,
    /// What needs a person: one clause; absent when nothing does.
    pub(super) needs: Option<String>,
    /// The numbers behind the sentence.
    pub(super) lead: String,
    pub(super) wants: Vec<Want>,
    pub(super) figures: Vec<Figure>,
    pub(super) latest: Vec<Latest>,
    pub(super) queues: Vec<QueueRow>,
    pub(super) steps: Vec<Step>,
    /// Shown while there is no site: how to deploy from one's own machine.
    pub(super) command: String,
}

impl Overview {
    fn steps_done(&self) -> usize {
        self.steps.iter().filter(|it| it.done).count()
    }
}

/// Something that a person should do, with the act at its end.
#[derive(Clone, Debug)]
pub(super) struct Want {
    pub(super) bad: bool,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) act: &'static str,
    pub(super) href: String,
}

/// A number with its name and what it rests on.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) value: String,
    pub(super) unit: String,
    pub(super) note: String,
}

/// A deployment in the list of the latest.
#[derive(Clone, Debug)]
pub(super) struct Latest {
    pub(super) seal: Markup,
    pub(super) site: String,
    pub(super) href: String,
    pub(super) live: bool,
    pub(super) note: String,
    pub(super) sign: Sign,
    pub(super) words: &'static str,
    pub(super) when: When,
}

/// A queue at a glance.
#[derive(Clone, Debug)]
pub(super) struct QueueRow {
    pub(super) name: &'static str,
    pub(super) slots: usize,
    pub(super) running: usize,
    pub(super) waiting: i64,
    pub(super) failed: i64,
    pub(super) paused: bool,
}

impl QueueRow {
    /// One `true` for each busy slot, then one `false` for each free one; bounded for the eye.
    pub(super) fn slots(&self) -> impl Iterator<Item = bool> {
        let shown = self.slots.max(self.running).min(12);
        (0..shown).map(|at| at < self.running)
    }
}

/// A step of the way in, ticked off by what is, not by a click.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) done: bool,
    pub(super) text: &'static str,
    pub(super) href: &'static str,
    pub(super) note: String,
}
