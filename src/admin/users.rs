//! Users of the tenant: who may sign in, as what.

use askama::Template;

use super::{
    form::Problems,
    shell::{Shell, Sign, Tab},
    words::When,
};

/// The users, and the form for one more.
#[derive(Debug, Template)]
#[template(path = "settings/users.html")]
pub(super) struct Users {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) lead: String,
    pub(super) rows: Vec<UserRow>,
    pub(super) email: String,
    pub(super) role: String,
    pub(super) problems: Problems,
}

/// A user.
#[derive(Clone, Debug)]
pub(super) struct UserRow {
    pub(super) id: String,
    pub(super) email: String,
    pub(super) grade: &'static str,
    pub(super) sign: Sign,
    pub(super) words: &'static str,
    pub(super) disabled: bool,
    pub(super) created: When,
    /// Whether it is who looks at the page.
    pub(super) this: bool,
}
