//! What is wrong with a form that was sent, beside the field that it is about.
//!
//! A form that is refused is shown again with its values, never with its passwords.

use std::borrow::Cow;

use super::markup::Markup;
use crate::domain::Error;

/// The problems of a form; empty for one that is shown for the first time.
#[derive(Clone, Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

/// One problem.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    /// The field that it is about, when it is about one of this form.
    pub(super) field: Option<Cow<'static, str>>,
    /// Whose field that is, where there are several of its kind: `Rate 2`.
    pub(super) whose: String,
    /// One or two sentences: what is wrong and what to do.
    pub(super) text: String,
}

impl Problems {
    /// No problem.
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    /// The problem that `error` tells of; on a field only when the form has it.
    pub(super) fn of(error: &Error, fields: &[&str]) -> Self {
        let field = error.field.filter(|it| fields.contains(it));
        Self(vec![Problem { field: field.map(Cow::Borrowed), whose: String::new(), text: error.message.clone() }])
    }

    /// One problem with `field`.
    pub(super) fn with(field: &'static str, text: impl Into<String>) -> Self {
        Self(vec![Problem { field: Some(Cow::Borrowed(field)), whose: String::new(), text: text.into() }])
    }

    /// One more, with a field of a row: its name has the row's number in it.
    pub(super) fn add(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        whose: impl Into<String>,
        text: impl Into<String>,
    ) {
        self.0.push(Problem { field: Some(field.into()), whose: whose.into(), text: text.into() });
    }

    /// Whether there is any.
    pub(super) const fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Problem] {
        &self.0
    }

    /// The problem with `field`.
    pub(super) fn on(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|it| it.field.as_deref() == Some(field)).map(|it| it.text.as_str())
    }

    /// The attributes that tie a control to its hint and its error (`components/field.html` writes their ids).
    pub(super) fn ties(&self, field: &str, hint: bool) -> Markup {
        match (self.on(field).is_some(), hint) {
            (false, false) => Markup::default(),
            (false, true) => Markup(format!("aria-describedby=\"f-{field}-h\"")),
            (true, false) => Markup(format!("aria-invalid=\"true\" aria-describedby=\"f-{field}-e\"")),
            (true, true) => Markup(format!("aria-invalid=\"true\" aria-describedby=\"f-{field}-h f-{field}-e\"")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_tied_to_a_field_of_the_form_only() {
        let error = Error::invalid("site_name", "Use only a-z.").on("name").because("secret");
        let problems = Problems::of(&error, &["name"]);
        assert_eq!(problems.on("name"), Some("Use only a-z."));
        assert_eq!(
            problems.ties("name", true).to_string(),
            "aria-invalid=\"true\" aria-describedby=\"f-name-h f-name-e\""
        );
        let elsewhere = Problems::of(&error, &["email"]);
        assert!(elsewhere.any() && elsewhere.on("name").is_none());
        assert_eq!(elsewhere.ties("email", false).to_string(), "");
    }
}
