//! What people have set for a site, around what it shows: who is stopped or sent elsewhere before, and what is added behind.
//!
//! A site without settings never comes here. What cannot be read closes the site.

mod addresses;
mod cookie;
mod cors;
mod door;
pub(super) mod doors;
pub(super) mod edge;
mod guard;
mod guests;
mod hotlink;
mod pages;
pub(super) mod rules;
mod upstreams;

use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap, HeaderValue};

use self::{door::Door, doors::Doors, hotlink::Hotlink, rules::Rules};
use super::{
    Asked,
    bans::Bans,
    hits::Hits,
    open::{Right, Version},
    page::Refusal,
    rates::Rates,
    snapshot::{Snapshot, State, Target},
    tally::Tally,
    visit::Visit,
};
use crate::{
    base::countries::Countries,
    domain::site_settings::{SiteSettings, traffic::WhenUsedUp},
    http::{
        connect,
        respond::{Body, Response},
    },
    proof::resolve,
};

/// The headers that [`Gate::right`] looks at, copied.
pub(super) fn looked_at(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in headers {
        let value = match *name {
            COOKIE => cookie::ours(value),
            _ if *name == AUTHORIZATION || guard::looks_at(name, value) => {
                HeaderValue::from_bytes(value.as_bytes()).ok()
            }
            _ => None,
        };
        if let Some(value) = value {
            kept.append(name.clone(), value);
        }
    }
    kept
}

/// A request to a site with settings.
pub(super) struct Gate<'a> {
    pub(super) settings: &'a SiteSettings,
    pub(super) rules: &'a Rules,
    pub(super) snapshot: &'a Snapshot,
    pub(super) target: &'a Target,
    pub(super) asked: Asked<'a>,
    /// The time of day, in seconds.
    pub(super) now_s: i64,
    pub(super) rates: &'a Rates,
    pub(super) bans: &'a Bans,
    pub(super) tally: &'a Tally,
    pub(super) hits: &'a Hits,
    pub(super) countries: &'a Countries,
}

impl Gate<'_> {
    /// The whole way of such a request.
    pub(super) async fn answer(&self, visit: &Visit<'_>, body: Body) -> Response {
        let parts = self.asked.parts;
        let path = resolve::decode_path(parts.uri.path());
        let path = path.as_deref();
        let mut response = match self.shown(visit, path, body).await {
            Ok(shown) => shown,
            Err(refusal) => pages::page(self, visit, &refusal).await,
        };
        // What every answer has.
        if let Some(cors) = &self.rules.cors {
            cors.dress(parts, path, response.headers_mut());
        }
        addresses::remember(self, response.headers_mut());
        response
    }

    /// The steps, in order. Each ends the request, or lets it on.
    async fn shown(&self, visit: &Visit<'_>, path: Option<&str>, body: Body) -> Result<Response, Refusal> {
        let (parts, doors) = (self.asked.parts, &visit.plane.doors);
        // 1. Who asks too often, or for what no visitor asks for.
        if let Some(refusal) = guard::refused(self) {
            return Err(refusal);
        }
        // 2. What nobody has here, whatever is at the path.
        if let Some(why) = connect::refused(parts) {
            return Err(why.into());
        }
        // 3. A site that was taken down says so, whoever asks.
        if matches!(self.target.state, State::TakenDown(_)) {
            return visit.answer().await;
        }
        // 4. The ways in and out of the site.
        let mut body = Some(body);
        if let Some(answer) = guests::answer(self, doors, &mut body).await? {
            return Ok(answer);
        }
        // 5. A site that has sent as much as it may.
        if self.is_used_up() {
            return Err(Refusal::UsedUp);
        }
        // 6. Maintenance.
        if let Some(closed) = self.rules.maintenance.as_ref().filter(|_| !self.is_let_through()) {
            return Err(Refusal::Maintenance { text: closed.text.clone(), after_s: closed.after_s });
        }
        // 7. Those who are at another address than they should be.
        if let Some(elsewhere) = addresses::elsewhere(self) {
            return Ok(elsewhere);
        }
        // 8. Browsers that ask whether they may ask.
        if let Some(answer) = self.rules.cors.as_ref().and_then(|it| it.preflight(parts, path)) {
            return Ok(answer);
        }
        // 9. Passwords.
        let door = self.rules.door.as_ref();
        let guarded = door.filter(|it| it.guards(path));
        let known = match guarded {
            Some(door) => door.admit(self, doors).await?,
            None => None,
        };
        // 10. Pages of others that show files as their own. What cannot be read may be any of them to an upstream.
        let embedded = self.rules.hotlink.as_ref().filter(|it| path.is_none_or(|path| it.is_about(path)));
        if embedded.is_some_and(|it| !it.allows(&parts.headers, |host| self.is_ours(host))) {
            return Err(Refusal::Hotlink);
        }
        // What is not the same for all is nothing for a cache that many ask.
        let edge =
            self.rules.edge.as_ref().filter(|_| guarded.is_none() && embedded.is_none() && self.is_same_for_all(path));
        let visit = &Visit { edge, ..*visit };
        // 11. What other servers answer, and the files.
        let body = body.take().unwrap_or_else(Body::empty);
        let (mut response, guarded) = match door.filter(|_| guarded.is_none()) {
            Some(door) => self.before(door, visit, body).await?,
            None => (upstreams::shown(self, visit, body, known).await, guarded),
        };
        if let (Ok(response), Some(door)) = (&mut response, guarded) {
            door.keep_private(response.headers_mut());
        }
        if let (Ok(response), Some(_)) = (&mut response, embedded) {
            Hotlink::dress(response.headers_mut());
        }
        response
    }

    /// What is at a path that is before a door, unless a rule brings out a file that is behind it.
    async fn before<'d>(
        &self,
        door: &'d Door,
        visit: &Visit<'_>,
        body: Body,
    ) -> Result<(Result<Response, Refusal>, Option<&'d Door>), Refusal> {
        let outside = Visit { locked: Some(&door.prefixes), ..*visit };
        match upstreams::shown(self, &outside, body, None).await {
            // A file's, and no upstream's: nothing has read the body.
            Err(Refusal::Locked) => {
                door.admit(self, &visit.plane.doors).await?;
                Ok((visit.answer().await, Some(door)))
            }
            other => Ok((other, None)),
        }
    }

    /// Whether a visitor who was let in before still is, as far as that can be said without hashing his password; `known`: the version of
    /// which it is known to be right.
    pub(super) fn right(&self, known: Option<Version>) -> Right {
        let is_closed = self.is_used_up() || (self.rules.maintenance.is_some() && !self.is_let_through());
        if is_closed || guard::is_blocked(self) {
            return Right::Ends;
        }
        self.door().map_or(Right::Stays, |it| it.right(self, known))
    }

    /// Whether his password is right; `None`: it is not looked at now.
    pub(super) async fn asks(&self, doors: &Doors) -> Option<bool> {
        let Some(door) = self.door() else { return Some(true) };
        match door.admit(self, doors).await {
            Ok(_) => Some(true),
            Err(Refusal::Basic(_)) => Some(false),
            Err(_) => None,
        }
    }

    /// The door that is before what is asked for.
    fn door(&self) -> Option<&Door> {
        let path = resolve::decode_path(self.asked.parts.uri.path());
        self.rules.door.as_ref().filter(|it| it.guards(path.as_deref()))
    }

    /// Whether the visitor sees the site during maintenance.
    fn is_let_through(&self) -> bool {
        let client = self.asked.client();
        let allowed = |address| self.rules.maintenance.iter().flat_map(|it| &it.allow).any(|it| it.contains(address));
        let has_link = || {
            let headers = &self.asked.parts.headers;
            let ring = self.rules.guests.as_ref()?;
            cookie::find(ring, self.target.site, headers, self.now_s, client.scheme == "https")
        };
        allowed(client.address) || has_link().is_some_and(|it| it.maintenance)
    }

    /// Whether visitors get the same at a path, wherever they come from: nobody sees through maintenance, or reads by CORS what others
    /// may not. A preview is for few, and nobody purges it.
    fn is_same_for_all(&self, path: Option<&str>) -> bool {
        let rules = self.rules;
        !self.target.preview && rules.maintenance.is_none() && rules.cors.as_ref().is_none_or(|it| it.is_same(path))
    }

    /// Whether a host is one of this very site.
    fn is_ours(&self, host: &str) -> bool {
        host == self.asked.host || self.snapshot.find(host).is_some_and(|it| it.site == self.target.site)
    }

    /// Whether the site has sent as much as it may, and is to send no more then.
    fn is_used_up(&self) -> bool {
        self.settings.traffic.when_used_up == WhenUsedUp::Stop && self.tally.is_used_up(self.target.site)
    }
}
