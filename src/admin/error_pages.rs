//! What the panel says when a page cannot be given. Never the reason that is for the log.

use askama::Template;

use super::shell::Alone;

/// A page about an error.
#[derive(Debug, Template)]
#[template(path = "error_pages/error.html")]
pub(super) struct ErrorPage {
    pub(super) alone: Alone,
    /// `404`.
    pub(super) status: u16,
    /// One sentence, without its full stop in the title bar.
    pub(super) title: &'static str,
    /// What is and what to do.
    pub(super) text: String,
    /// Under which the log has the reason.
    pub(super) request_id: String,
    /// Whether somebody is signed in, so that there is an overview to go to.
    pub(super) signed_in: bool,
}

/// The title for a status.
pub(super) const fn title(status: u16) -> &'static str {
    match status {
        401 => "You are not signed in.",
        403 => "You may not do this.",
        404 => "There is no such page.",
        405 => "This address takes no such request.",
        409 => "It has changed meanwhile.",
        413 => "That is too large.",
        429 => "That was too often.",
        503 => "A part of this server is not there just now.",
        500..=599 => "Something broke on this server.",
        _ => "That did not work.",
    }
}
