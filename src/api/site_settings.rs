//! `/api/v1/sites/{name}/settings`: what people set for a site.

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, header::ETAG},
};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    answer::{Answer, ok},
    caller::{Caller, read, whole},
};
use crate::{
    base::clock::rfc3339,
    domain::{
        Error,
        access::Actor,
        site::SiteName,
        site_settings::{SiteSettings, firewall::Action},
    },
    http::conditional,
    services::{Services, front::Counted},
};

/// What of the settings does not do what it seems to.
const WARNINGS: &str = "warnings";
/// Largest patch: a document with room for what it takes away.
const PATCH_BYTES_MAX: usize = 128 * 1_024;

pub(super) async fn get(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
) -> Answer {
    let name = SiteName::parse(&name)?;
    let settings = services.get_site_settings(&actor, &name).await?;
    shown(&services, &actor, &name, &settings).await
}

/// What a firewall has met.
#[derive(Debug, Serialize)]
struct Firewall {
    node: String,
    since: Option<String>,
    rules: Vec<FirewallRule>,
}

/// A rule of it, or a set of known attacks.
#[derive(Debug, Serialize)]
struct FirewallRule {
    name: String,
    set: bool,
    action: &'static str,
    requests: u64,
    first_at: Option<String>,
    last_at: Option<String>,
    last_path: Option<String>,
}

impl From<Counted> for FirewallRule {
    fn from(Counted { name, is_set, action, hits }: Counted) -> Self {
        Self {
            name,
            set: is_set,
            action: if action == Action::Log { "log" } else { "block" },
            requests: hits.as_ref().map_or(0, |it| it.requests),
            first_at: hits.as_ref().map(|it| rfc3339(it.first_ms)),
            last_at: hits.as_ref().map(|it| rfc3339(it.last_ms)),
            last_path: hits.map(|it| it.path),
        }
    }
}

pub(super) async fn firewall(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
) -> Answer {
    let met = services.get_firewall_hits(&actor, &SiteName::parse(&name)?).await?;
    ok(&Firewall {
        node: met.node.to_string(),
        since: met.since_ms.map(rfc3339),
        rules: met.counted.into_iter().map(FirewallRule::from).collect(),
    })
}

pub(super) async fn change(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let mut patch: Map<String, Value> = read(&whole(body, PATCH_BYTES_MAX).await?)?;
    // It comes with answers, and these can be sent again.
    patch.remove(WARNINGS);
    let name = SiteName::parse(&name)?;
    let is_same = move |it: &SiteSettings| conditional::is_match(&headers, &it.etag());
    let settings = services.change_site_settings_of(&actor, &name, patch, is_same).await?;
    shown(&services, &actor, &name, &settings).await
}

/// What is set; what is not there is as it is by default. With what of it does not do what it seems to, and the tag that a change may name in
/// `If-Match`.
async fn shown(services: &Services, actor: &Actor, name: &SiteName, settings: &SiteSettings) -> Answer {
    let mut shown = settings.shown();
    // They hold: whoever has set them must not hear of a failure here.
    let warnings = services.doubts_of_settings(actor, name, settings).await.unwrap_or_default();
    if !warnings.is_empty() {
        shown.insert(WARNINGS.to_owned(), warnings.into());
    }
    let mut answer = ok(&shown)?;
    answer.headers_mut().insert(ETAG, HeaderValue::from_str(&settings.etag()).map_err(Error::internal)?);
    Ok(answer)
}
