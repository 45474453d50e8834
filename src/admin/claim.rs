//! The first contact: whoever opens the printed link makes the first user. There is no other way in.

use askama::Template;

use super::{form::Problems, shell::Alone};

/// The form behind a claim link that works.
#[derive(Debug, Template)]
#[template(path = "claim/claim.html")]
pub(super) struct Claim {
    pub(super) alone: Alone,
    /// The token of the link; sent back with the form.
    pub(super) token: String,
    pub(super) email: String,
    pub(super) problems: Problems,
}

/// The page of a server without an owner, for whoever has no link or an old one.
#[derive(Debug, Template)]
#[template(path = "claim/waiting.html")]
pub(super) struct Waiting {
    pub(super) alone: Alone,
    /// Whether a link was used that does not work.
    pub(super) stale: bool,
}
