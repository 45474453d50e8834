//! Requests that another server answers: what routes and rules of a site have in common.

use std::mem;

use hyper::{StatusCode, Uri, body::Body as _, http::request::Parts, http::uri::PathAndQuery};

use super::{
    open::{Head, Version},
    page::Refusal,
    person, proxy,
    visit::Visit,
};
use crate::{
    domain::{policy::split_url, site_settings::proxy::start},
    http::respond::{Body, Response},
    proof::resolve::visitor,
};

/// Where a rule of the deployment leads a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Onward {
    /// A whole URL, in ASCII.
    pub(super) to: String,
    /// What of the visitor that depends on.
    pub(super) depends: visitor::Asked,
}

impl Onward {
    /// Asks the server that the rule names. `past_basic`: a name and a password of this server's have let the request in; `known`: the version
    /// of the password that has.
    pub(super) async fn answer(
        &self,
        visit: &Visit<'_>,
        body: Body,
        past_basic: bool,
        known: Option<Version>,
    ) -> Result<Response, Refusal> {
        let (server, rest) = split_url(&self.to).ok_or(Refusal::Path)?;
        let parts = led(visit.parts, rest).ok_or(Refusal::Path)?;
        let mut found = visit.plane.proxies.find_named((visit.target.site, &visit.target.name), server)?;
        found.past_basic = past_basic;
        let mut response = pass(visit, found, &parts, body, known).await?;
        // What another visitor may get otherwise is for no cache that several have.
        if self.depends != visitor::Asked::default() {
            person::dress(response.headers_mut(), self.depends);
        }
        Ok(response)
    }
}

/// The same request for another path and query; `None` where some server would read more than a path in it.
///
/// SECURITY: values that a rule has taken from a request are in it, so that it is looked at as a whole.
fn led(parts: &Parts, rest: &str) -> Option<Parts> {
    let target: PathAndQuery = if rest.starts_with('/') { rest.parse() } else { format!("/{rest}").parse() }.ok()?;
    if start::goes_up(target.path()) {
        return None;
    }
    let mut parts = parts.clone();
    let mut uri = mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(target);
    parts.uri = Uri::from_parts(uri).ok()?;
    Some(parts)
}

/// Passes a request on. What is open then ends with what has let its visitor in.
pub(super) async fn pass(
    visit: &Visit<'_>,
    mut found: proxy::Found,
    parts: &Parts,
    body: Body,
    known: Option<Version>,
) -> Result<Response, Refusal> {
    let (plane, site) = (visit.plane, visit.target.site);
    found.open = proxy::may_open(parts).then(|| plane.open(site, Head::of(visit.asked), known));
    let response = found.answer(parts, body, visit.asked.client()).await?;
    Ok(lasting(visit, response, known))
}

/// An answer that ends with what has let its visitor in, if it lasts: also one whose length is known may, a download, or one that comes slowly.
pub(super) fn lasting(visit: &Visit<'_>, mut response: Response, known: Option<Version>) -> Response {
    let body = response.body();
    let may_last = !body.is_end_stream() && body.in_memory().is_none();
    if response.status() != StatusCode::SWITCHING_PROTOCOLS && may_last {
        let body = mem::replace(response.body_mut(), Body::empty());
        *response.body_mut() = visit.plane.lasting(body, visit.target.site, Head::of(visit.asked), known);
    }
    response
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    #[test]
    fn only_path_and_query_change() {
        for (asked, rest, wanted) in [
            ("/api/x?a=b", "/v1/x?a=b", Some("/v1/x?a=b")),
            ("/api/x", "", Some("/")),
            ("/api/x?a=b", "?a=b", Some("/?a=b")),
            ("http://site.test/api/x", "/x", Some("http://site.test/x")),
            ("/api/x", "/v1/%2e%2e/x", None),
            ("/api/x", "/v1/..%2Fadmin", None),
            ("/api/x", "/v1/..;/admin", None),
            ("/api/x", "/v1/a%2Fb?up=../..", Some("/v1/a%2Fb?up=../..")),
        ] {
            let (parts, ()) = Request::get(asked).header("x-a", "1").body(()).unwrap().into_parts();
            let led = led(&parts, rest);
            assert_eq!(led.as_ref().map(|it| it.uri.to_string()).as_deref(), wanted, "{asked} {rest}");
            assert!(led.is_none_or(|it| it.headers == parts.headers && it.method == parts.method));
        }
    }
}
