//! Signing in with e-mail and password, and signing out.

use askama::Template;

use super::{
    form::Problems,
    shell::{Alone, Notice},
};

/// The sign-in form.
#[derive(Debug, Template)]
#[template(path = "sign_in/sign_in.html")]
pub(super) struct SignIn {
    pub(super) alone: Alone,
    pub(super) email: String,
    /// The page that was asked for; a path of this panel.
    pub(super) next: String,
    pub(super) notice: Option<Notice>,
    pub(super) problems: Problems,
}
