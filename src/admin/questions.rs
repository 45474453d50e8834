//! The page of a question: each act that is hard to take back asks once, on a page of its own.

use askama::Template;

use super::{
    form::Problems,
    shell::{Crumb, Shell},
    words::Fact,
};

/// A question. The safe answer is first.
#[derive(Debug, Template)]
#[template(path = "questions/question.html")]
pub(super) struct Question {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    /// The last crumb.
    pub(super) here: String,
    /// `Roll back to 41?`
    pub(super) title: String,
    /// What happens, what stays.
    pub(super) text: Vec<String>,
    /// Facts that help to decide.
    pub(super) facts: Vec<Fact>,
    /// `Keep 42 live` and where it leads.
    pub(super) keep: (String, String),
    /// `Roll back to 41` and where the form is sent.
    pub(super) act: (String, String),
    /// Whether it destroys something.
    pub(super) destroys: bool,
    /// What else is asked.
    pub(super) asked: Option<TextField>,
    /// The word that has to be typed.
    pub(super) typed: Option<String>,
    /// Sent with the answer: `(name, value)`.
    pub(super) hidden: Vec<(&'static str, String)>,
    pub(super) problems: Problems,
}

/// A line of text that belongs to the answer.
#[derive(Clone, Debug)]
pub(super) struct TextField {
    pub(super) key: &'static str,
    pub(super) words: &'static str,
    pub(super) hint: &'static str,
    pub(super) value: String,
    /// Characters at most.
    pub(super) max: usize,
}
