//! `/api/v1/bans`: who gets nothing of a site.

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
    domain::{Error, ban, site::SiteName},
    services::{
        Services,
        bans::{BanView, NewBan},
    },
};

#[derive(Debug, Serialize)]
struct Ban {
    id: String,
    network: String,
    site: Option<String>,
    source: &'static str,
    reason: String,
    made_by: String,
    created_at: String,
    until: Option<String>,
}

impl From<BanView> for Ban {
    fn from(BanView { ban, site }: BanView) -> Self {
        Self {
            id: ban.id.to_string(),
            network: ban.network.shortest(),
            site: site.map(|it| it.to_string()),
            source: ban.source.word(),
            reason: ban.reason,
            made_by: ban.made_by,
            created_at: rfc3339(ban.created_ms),
            until: ban.until_ms.map(rfc3339),
        }
    }
}

pub(super) async fn list(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Params(query): Params<ListQuery>,
) -> Answer {
    let page = services.list_bans(&actor, query.cursor()?, query.limit()?).await?;
    let items = page.items.into_iter().map(Ban::from).collect();
    ok(&Page { items, next: page.next.map(|it| it.to_string()) })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BanWish {
    network: String,
    #[serde(default)]
    site: Option<String>,
    #[serde(default)]
    for_s: Option<u32>,
    #[serde(default)]
    reason: String,
}

pub(super) async fn add(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Json(wish): Json<BanWish>,
) -> Answer {
    let site = wish.site.as_deref().map(SiteName::parse).transpose().map_err(|error| error.on("site"))?;
    let network = ban::parse_network(&wish.network)?;
    let new = NewBan { network, site, for_s: wish.for_s, reason: wish.reason };
    json(StatusCode::CREATED, &Ban::from(services.add_ban(&actor, new).await?))
}

pub(super) async fn remove(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(id): Path<String>,
) -> Answer {
    let id = id.parse().map_err(|_| Error::not_found("ban"))?;
    services.remove_ban(&actor, id).await?;
    done()
}
