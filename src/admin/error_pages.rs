//! What the panel says when a page cannot be given. Never the reason that is for the log.

use askama::Template;
use hyper::header::{HeaderMap, HeaderValue, RETRY_AFTER};

use super::{assets, page, shell::Alone};
use crate::{
    domain::Error,
    http::{problem, respond::Response},
};

/// A page about an error.
#[derive(Debug, Template)]
#[template(path = "error_pages/error.html")]
pub(super) struct ErrorPage {
    pub(super) alone: Alone,
    /// `404`.
    pub(super) status: u16,
    /// One sentence, without its full stop in the title bar.
    pub(super) title: String,
    /// What is and what to do.
    pub(super) text: String,
    /// Which request it was.
    pub(super) request_id: String,
    /// Whether the log has the reason under that id.
    pub(super) logged: bool,
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

/// Title and text for an error: what is not there is said once.
pub(super) fn words(status: u16, message: &str) -> (String, String) {
    let is_one = message.ends_with('.') && !message.trim_end_matches('.').contains(['.', '`', '\n']);
    if status == 404 && is_one && message.starts_with("There is no such ") {
        return (message.to_owned(), String::new());
    }
    (title(status).to_owned(), message.to_owned())
}

/// The answer while the control plane is not there: sites are served, the panel is not.
pub fn unavailable(error: &Error, server: &str, request_id: &str) -> Response {
    let status = problem::status(error.kind);
    let page = ErrorPage {
        alone: Alone { server: server.to_owned(), theme: super::shell::Theme::System },
        status: status.as_u16(),
        title: title(status.as_u16()).to_owned(),
        text: error.message.clone(),
        request_id: request_id.to_owned(),
        logged: false,
        signed_in: false,
    };
    let mut response = page::answer(status, &page);
    page::protect(response.headers_mut());
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// The style sheet and the icon of that page, which needs no control plane.
pub fn asset(path: &str, headers: &HeaderMap) -> Option<Response> {
    assets::answer(path, headers)
}
