//! What people have set for a site, around what it shows: who is sent elsewhere before, and what is added behind.
//!
//! A site without settings never comes here.

mod addresses;

use super::{Asked, page::Refusal, snapshot::Target, visit::Visit};
use crate::{
    domain::site_settings::{SiteSettings, traffic::WhenUsedUp},
    http::respond::{Body, Response},
};

/// A request to a site with settings.
pub(super) struct Gate<'a> {
    pub(super) settings: &'a SiteSettings,
    pub(super) target: &'a Target,
    pub(super) asked: Asked<'a>,
}

impl Gate<'_> {
    /// The whole way of such a request, in order.
    pub(super) async fn answer(&self, visit: &Visit<'_>, _body: Body) -> Response {
        // 1. Those who are at another address than they should be, and those who come when all traffic is used up.
        let mut response = match addresses::elsewhere(self) {
            Some(elsewhere) => elsewhere,
            None if self.is_used_up(visit) => Refusal::UsedUp.answer(&self.asked.parts.headers),
            // 2. The files.
            None => visit.shown().await,
        };
        // 3. What every answer has.
        addresses::remember(self, response.headers_mut());
        response
    }

    /// Whether the site has sent as much as it may, and is to send no more then.
    fn is_used_up(&self, visit: &Visit<'_>) -> bool {
        self.settings.traffic.when_used_up == WhenUsedUp::Stop && visit.plane.tally.is_used_up(self.target.site)
    }
}
