//! `/api/v1/sites/{name}/people` and `/links`: who is let into a protected site.

use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, done, json, ok},
    caller::{Caller, Json},
};
use crate::{
    base::{clock::rfc3339, secret::Secret},
    domain::{Error, site::SiteName, site_settings::guests},
    services::{Services, site_guests::NewLink},
};

#[derive(Debug, Serialize)]
struct Person {
    name: String,
    changed_at: String,
}

pub(super) async fn list_people(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
) -> Answer {
    let guests = services.list_site_guests(&actor, &SiteName::parse(&name)?).await?;
    let people = guests.people.into_iter().map(|it| Person { name: it.name, changed_at: rfc3339(it.changed_ms) });
    ok(&serde_json::json!({ "items": people.collect::<Vec<_>>(), "next": null }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Password {
    password: Secret,
}

pub(super) async fn put_person(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path((name, user)): Path<(String, String)>,
    Json(new): Json<Password>,
) -> Answer {
    services.put_site_person(&actor, &SiteName::parse(&name)?, &user, new.password).await?;
    done()
}

pub(super) async fn remove_person(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path((name, user)): Path<(String, String)>,
) -> Answer {
    services.remove_site_person(&actor, &SiteName::parse(&name)?, &user).await?;
    done()
}

/// A link. Its address is there once, when it is made.
#[derive(Debug, Serialize)]
struct Link {
    id: String,
    note: String,
    maintenance: bool,
    created_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
}

impl Link {
    fn new(it: guests::Link, url: Option<String>) -> Self {
        Self {
            id: it.id,
            note: it.note,
            maintenance: it.maintenance,
            created_at: rfc3339(it.made_ms),
            expires_at: rfc3339(it.expires_ms),
            url,
        }
    }
}

pub(super) async fn list_links(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
) -> Answer {
    let guests = services.list_site_guests(&actor, &SiteName::parse(&name)?).await?;
    let links: Vec<_> = guests.links.into_iter().map(|it| Link::new(it, None)).collect();
    ok(&serde_json::json!({ "items": links, "next": null }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSiteLink {
    #[serde(default)]
    note: String,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    maintenance: bool,
    #[serde(default)]
    path: String,
}

pub(super) async fn create_link(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    Json(new): Json<NewSiteLink>,
) -> Answer {
    let read = |text: &String| {
        let wrong = || Error::invalid("expires_at", "Give the time as in 2027-01-31T00:00:00Z.").on("expires_at");
        text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(|_| wrong())
    };
    let expires_ms = new.expires_at.as_ref().map(read).transpose()?;
    let new = NewLink { note: new.note, expires_ms, maintenance: new.maintenance, path: new.path };
    let made = services.create_site_link(&actor, &SiteName::parse(&name)?, new).await?;
    json(StatusCode::CREATED, &Link::new(made.link, Some(made.url)))
}

pub(super) async fn remove_link(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path((name, link)): Path<(String, String)>,
) -> Answer {
    services.remove_site_link(&actor, &SiteName::parse(&name)?, &link).await?;
    done()
}
