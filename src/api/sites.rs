//! `/api/v1/sites`: sites and their hostnames.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, Page, done, json, ok},
    caller::{Caller, Json, ListQuery, Params},
};
use crate::{
    base::clock::rfc3339,
    domain::site::SiteName,
    services::{
        Services,
        sites::{Change, SiteChanges, SiteView},
    },
};

#[derive(Debug, Serialize)]
struct Site {
    id: String,
    name: String,
    url: String,
    hostnames: Vec<String>,
    created_at: String,
    live: Option<Live>,
    deployments: i64,
    taken_down: Option<String>,
    watch_folder: Option<String>,
    watch: Option<Watch>,
}

/// What the last look at the watched folder found.
#[derive(Debug, Serialize)]
struct Watch {
    looked_at: String,
    problem: Option<String>,
}

#[derive(Debug, Serialize)]
struct Live {
    id: String,
    number: i64,
    published_at: Option<String>,
}

impl Site {
    fn new(services: &Services, it: SiteView) -> Self {
        let watch = services.find_watching(&it.site);
        let published_at = it.published_ms.map(rfc3339);
        Self {
            id: it.site.id.to_string(),
            name: it.site.name.to_string(),
            url: it.url,
            hostnames: it.hostnames,
            created_at: rfc3339(it.site.created_ms),
            live: it.live.map(|live| Live { id: live.id.to_string(), number: live.number, published_at }),
            deployments: it.deployments,
            taken_down: it.site.taken_down,
            watch_folder: it.site.watch_folder,
            watch: watch.map(|it| Watch { looked_at: rfc3339(it.looked_ms), problem: it.problem }),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSite {
    name: String,
}

pub(super) async fn list(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Params(query): Params<ListQuery>,
) -> Answer {
    let limit = query.limit()?;
    let found = services.list_sites(&actor, query.after.as_deref().unwrap_or_default(), limit + 1).await?;
    let sites = found.into_iter().map(|it| Site::new(&services, it)).collect();
    ok(&Page::new(sites, limit, |it: &Site| it.name.clone()))
}

pub(super) async fn create(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Json(new): Json<NewSite>,
) -> Answer {
    json(StatusCode::CREATED, &Site::new(&services, services.create_site(&actor, &new.name).await?))
}

pub(super) async fn get(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
) -> Answer {
    ok(&Site::new(&services, services.get_site(&actor, &SiteName::parse(&name)?).await?))
}

pub(super) async fn delete(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
) -> Answer {
    services.delete_site(&actor, &SiteName::parse(&name)?).await?;
    done()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Changes {
    #[serde(default)]
    taken_down: Change,
    #[serde(default)]
    watch_folder: Change,
}

/// A key of a PATCH body: absent leaves the value, null clears it.
impl<'de> Deserialize<'de> for Change {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::deserialize(deserializer).map(Self::To)
    }
}

pub(super) async fn change(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    Json(changes): Json<Changes>,
) -> Answer {
    let name = SiteName::parse(&name)?;
    let changes = SiteChanges { taken_down: changes.taken_down, watch_folder: changes.watch_folder };
    let site = services.change_site(&actor, &name, changes).await.map_err(|error| match error.field {
        // The panel's forms have names of their own.
        Some("reason") => error.on("taken_down"),
        Some("folder") => error.on("watch_folder"),
        _ => error,
    })?;
    ok(&Site::new(&services, site))
}

pub(super) async fn add_hostname(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path((name, hostname)): Path<(String, String)>,
) -> Answer {
    services.add_hostname(&actor, &SiteName::parse(&name)?, &hostname).await?;
    done()
}

pub(super) async fn remove_hostname(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path((name, hostname)): Path<(String, String)>,
) -> Answer {
    services.remove_hostname(&actor, &SiteName::parse(&name)?, &hostname).await?;
    done()
}
