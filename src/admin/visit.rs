//! Who visits the panel: a session read from its cookie, and what stands around their pages.

use axum::{
    extract::{Form, FromRequest, FromRequestParts, OptionalFromRequestParts, Query, Request},
    http::request::Parts,
};
use hyper::{
    HeaderMap, StatusCode,
    header::{HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE, USER_AGENT},
};
use serde::de::DeserializeOwned;

use super::{
    Panel, cookies,
    gate::{Answer, Failure, SIGN_IN, ours},
    page,
    shell::{Alone, Notice, Place, Shell, Theme},
};
use crate::{
    domain::{Error, Result, access::Actor, access::Right},
    http::{
        peer::{Client, RequestId},
        respond,
    },
    services::{
        Services,
        access::{Origin, Whoami},
    },
};

/// Somebody who is signed in. A handler that takes one is reached by nobody else.
pub(super) struct Visit {
    pub(super) services: Services,
    pub(super) actor: Actor,
    pub(super) who: Whoami,
    theme: Theme,
    notice: Option<Notice>,
}

/// Somebody who may or may not be signed in.
pub(super) struct Stranger {
    pub(super) services: Services,
    pub(super) origin: Origin,
    /// Whether they are on this machine, and came through no proxy.
    pub(super) is_near: bool,
    /// `https` when this server or a trusted proxy has ended their TLS.
    pub(super) scheme: &'static str,
    /// The browser's own words.
    pub(super) agent: String,
    pub(super) theme: Theme,
    pub(super) notice: Option<Notice>,
}

impl Visit {
    /// What stands around a page at `place`.
    pub(super) async fn shell(&self, place: Place) -> Result<Shell> {
        let depths = self.services.queue_depths(&self.actor).await?;
        let failed = depths.iter().map(|it| it.failed).sum::<u64>();
        Ok(Shell {
            server: self.services.addresses.panel_host.clone(),
            user: self.who.user.email.to_string(),
            grade: match (self.who.user.super_admin, self.actor.may(Right::ManageTenant)) {
                (true, _) => "super admin",
                (false, true) => "admin",
                (false, false) => "user",
            },
            manages_tenant: self.actor.may(Right::ManageTenant),
            manages_server: self.actor.may(Right::ManageServer),
            theme: self.theme,
            place,
            jobs_failed: i64::try_from(failed).unwrap_or(i64::MAX),
            notice: self.notice,
        })
    }

    /// The time of day.
    pub(super) fn now_ms(&self) -> i64 {
        self.services.clock.now_ms()
    }

    /// Whether the visitor may do this.
    pub(super) fn may(&self, right: Right) -> bool {
        self.actor.may(right)
    }
}

impl Stranger {
    /// What stands around their page.
    pub(super) fn alone(&self) -> Alone {
        Alone { server: self.services.addresses.panel_host.clone(), theme: self.theme }
    }
}

/// The scheme that the client of a request used.
pub(super) fn scheme(extensions: &http::Extensions) -> &'static str {
    extensions.get::<Client>().map_or("http", |it| it.scheme)
}

fn origin(parts: &Parts) -> Origin {
    Origin {
        address: parts.extensions.get::<Client>().map(|it| it.address),
        request_id: parts.extensions.get::<RequestId>().cloned().unwrap_or_default().0,
        seen: cookies::seen(&parts.headers),
    }
}

impl FromRequestParts<Panel> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, panel: &Panel) -> Result<Self, Failure> {
        let found = <Self as OptionalFromRequestParts<Panel>>::from_request_parts(parts, panel).await?;
        found.ok_or_else(|| Error::unauthenticated(SIGN_IN, "You are not signed in.").into())
    }
}

impl OptionalFromRequestParts<Panel> for Visit {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, panel: &Panel) -> Result<Option<Self>, Failure> {
        let services = panel.services.clone();
        let name = cookies::session_name(scheme(&parts.extensions), services.instance);
        let Some(token) = cookies::find(&parts.headers, &name) else { return Ok(None) };
        let found = services.actor_by_session(token, origin(parts)).await?;
        let (theme, notice) = (cookies::theme(&parts.headers), cookies::notice(&parts.headers));
        Ok(found.map(|(actor, who)| Self { services, actor, who, theme, notice }))
    }
}

impl FromRequestParts<Panel> for Stranger {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, panel: &Panel) -> Result<Self, Failure> {
        Ok(Self {
            services: panel.services.clone(),
            origin: origin(parts),
            is_near: parts.extensions.get::<Client>().is_some_and(|it| it.is_near),
            scheme: scheme(&parts.extensions),
            agent: text(&parts.headers, &USER_AGENT).to_owned(),
            theme: cookies::theme(&parts.headers),
            notice: cookies::notice(&parts.headers),
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> &'a str {
    headers.get(name).and_then(|it| it.to_str().ok()).unwrap_or_default()
}

/// A form without files. Its size is bounded by the router.
pub(super) struct Fields<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Panel> for Fields<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, panel: &Panel) -> Result<Self, Failure> {
        let cut = "The form did not arrive as this page sends it. Load the page again and send it once more.";
        let read = Form::<T>::from_request(request, panel).await;
        read.map(|Form(it)| Self(it)).map_err(|error| Error::invalid("form", cut).because(error).into())
    }
}

/// The query of an address.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Panel> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &Panel) -> Result<Self, Failure> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(it)| Self(it))
            .map_err(|error| Error::not_found("page").because(error).into())
    }
}

/// A page with status 200.
pub(super) fn show<T: askama::Template>(page: &T) -> Answer {
    let text = page::text(page).map_err(Error::internal)?;
    Ok(ours(respond::html(StatusCode::OK, text)))
}

/// A form again, with what is wrong.
pub(super) fn again<T: askama::Template>(error: &Error, page: &T) -> Answer {
    // 401 would ask for another way to sign in than this form.
    let status = match crate::http::problem::status(error.kind) {
        StatusCode::UNAUTHORIZED => StatusCode::BAD_REQUEST,
        status => status,
    };
    let text = page::text(page).map_err(Error::internal)?;
    let mut response = respond::html(status, text);
    if let Some(seconds) = error.retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    Ok(ours(response))
}

/// Goes to a page, which tells what was done.
pub(super) fn go(_: &Services, to: &str, notice: Option<Notice>) -> Answer {
    let mut response = respond::empty(StatusCode::SEE_OTHER);
    response.headers_mut().insert(LOCATION, HeaderValue::from_str(to).map_err(Error::internal)?);
    if let Some(cookie) = notice.and_then(|it| cookies::set_notice(Some(it))) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(ours(response))
}
