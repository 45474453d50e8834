//! Signing in with e-mail and password, and signing out.

use askama::Template;
use hyper::header::SET_COOKIE;
use serde::Deserialize;

use super::{
    cookies,
    form::Problems,
    gate::Answer,
    shell::{Alone, Notice},
    visit::{Asked as Asking, Fields, Stranger, Visit, again, go, show},
};
use crate::{
    base::secret::Secret,
    domain::{Error, Kind},
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

#[derive(Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    next: String,
}

/// The form; for a server without an owner the way to claim it, and for who is signed in the way on.
pub(super) async fn form(stranger: Stranger, visit: Option<Visit>, Asking(asked): Asking<Asked>) -> Answer {
    let next = within(&asked.next);
    if visit.is_some() {
        return go(&stranger.services, if next.is_empty() { "/" } else { next }, None);
    }
    if stranger.services.is_unclaimed().await? {
        return go(&stranger.services, "/claim", None);
    }
    show(&SignIn {
        alone: stranger.alone(),
        email: String::new(),
        next: next.to_owned(),
        notice: stranger.notice,
        problems: Problems::none(),
    })
}

#[derive(Deserialize)]
pub(super) struct Sent {
    email: String,
    password: Secret,
    #[serde(default)]
    next: String,
}

/// Begins a session.
pub(super) async fn sign_in(stranger: Stranger, Fields(sent): Fields<Sent>) -> Answer {
    let services = &stranger.services;
    let next = within(&sent.next);
    match services.sign_in(&sent.email, sent.password, &stranger.origin, &stranger.agent).await {
        Ok(secret) => enter(&stranger, &secret, if next.is_empty() { "/" } else { next }, None),
        Err(error) if matches!(error.kind, Kind::Invalid | Kind::Unauthenticated | Kind::TooMany | Kind::Forbidden) => {
            let problems = Problems::with("password", error.message.clone());
            let page =
                SignIn { alone: stranger.alone(), email: sent.email, next: next.to_owned(), notice: None, problems };
            again(&error, &page)
        }
        Err(error) => Err(error.into()),
    }
}

/// Goes to a page with a new session.
pub(super) fn enter(stranger: &Stranger, secret: &Secret, to: &str, notice: Option<Notice>) -> Answer {
    let services = &stranger.services;
    let mut response = go(services, to, notice)?;
    let cookie = cookies::session(stranger.scheme, services.instance, Some(secret.expose()));
    response.headers_mut().append(SET_COOKIE, cookie.ok_or_else(|| Error::internal("a secret cannot be a cookie"))?);
    Ok(response)
}

/// Ends the session. Who has none is signed out too.
pub(super) async fn sign_out(stranger: Stranger, visit: Option<Visit>) -> Answer {
    let services = &stranger.services;
    if let Some(visit) = visit
        && let Some(id) = visit.who.session
    {
        services.end_session(&visit.actor, id).await?;
    }
    let mut response = go(services, "/sign-in", Some(Notice::SignedOut))?;
    if let Some(cookie) = cookies::session(stranger.scheme, services.instance, None) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

/// SECURITY: a path of this panel, or nothing: never another origin, which `//`, `/\\` or a control could name.
fn within(next: &str) -> &str {
    let fits = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= 2_000
        && next.bytes().all(|b| (0x21..0x7f).contains(&b) && b != b'\\');
    if fits { next } else { "" }
}

#[cfg(test)]
mod tests {
    use super::within;

    #[test]
    fn one_goes_on_within_the_panel_only() {
        for good in ["/", "/jobs?queue=deploy", "/sites/a/deployments/1"] {
            assert_eq!(within(good), good);
        }
        for wrong in ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "/ü", "javascript:x"]
        {
            assert_eq!(within(wrong), "", "{wrong:?}");
        }
    }
}
