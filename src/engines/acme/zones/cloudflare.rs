//! Cloudflare's API, version 4: a zone has an id, and each record has one.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Api, Said, quoted, words};
use crate::domain::acme::records::{Record, Trouble};

/// Where it is.
pub(super) const API: &str = "https://api.cloudflare.com/client/v4";
/// Its shortest time for which resolvers keep a record, in seconds.
const TTL_S: u32 = 60;
/// "Invalid request headers", "Invalid API Token": the text is no token.
const NO_TOKEN: [u64; 2] = [6_003, 1_000];
/// "An identical record already exists", and of older servers.
const THERE: [u64; 2] = [81_058, 81_057];

pub(super) async fn set(api: &Api, record: &Record) -> Result<(), Trouble> {
    let zone = zone(api, &record.zone).await?;
    let body = json!({ "type": "TXT", "name": record.name, "content": quoted(&record.value), "ttl": TTL_S });
    let said = api.call(Method::POST, &format!("/zones/{zone}/dns_records"), Some(&body)).await?;
    if code(&said).is_some_and(|it| THERE.contains(&it)) {
        return Ok(());
    }
    good(&said).map(drop)
}

pub(super) async fn remove(api: &Api, record: &Record) -> Result<(), Trouble> {
    let zone = zone(api, &record.zone).await?;
    let path = format!("/zones/{zone}/dns_records?type=TXT&per_page=100&name={}", record.name);
    let said = api.call(Method::GET, &path, None).await?;
    let found = good(&said)?.as_array().ok_or_else(|| nonsense("records"))?;
    let quoted = quoted(&record.value);
    for it in found {
        let content = it.get("content").and_then(Value::as_str).unwrap_or_default();
        if content != record.value && content != quoted {
            continue;
        }
        let id = it.get("id").and_then(Value::as_str).ok_or_else(|| nonsense("id of a record"))?;
        let said = api.call(Method::DELETE, &format!("/zones/{zone}/dns_records/{id}"), None).await?;
        if said.status != StatusCode::NOT_FOUND {
            good(&said)?;
        }
    }
    Ok(())
}

/// The id of the zone.
pub(super) async fn zone(api: &Api, name: &str) -> Result<String, Trouble> {
    let said = api.call(Method::GET, &format!("/zones?name={name}"), None).await?;
    let found = good(&said)?.as_array().ok_or_else(|| nonsense("zones"))?;
    // A token that may not see the zone is told of none.
    let first = found.first().ok_or(Trouble::NoZone)?;
    let id = first.get("id").and_then(Value::as_str).ok_or_else(|| nonsense("id of a zone"))?;
    Ok(id.to_owned())
}

/// What is in an answer that says that all went well.
pub(super) fn good(said: &Said) -> Result<&Value, Trouble> {
    if said.status.is_success() && said.body.get("success") == Some(&Value::Bool(true)) {
        return said.body.get("result").ok_or_else(|| nonsense("result"));
    }
    let is_token = code(said).is_some_and(|it| NO_TOKEN.contains(&it))
        || words(&said.body).is_some_and(|it| it.contains("Invalid access token"));
    Err(match said.status {
        _ if is_token => Trouble::Token,
        StatusCode::FORBIDDEN => Trouble::Rights,
        _ => said.trouble(),
    })
}

fn code(said: &Said) -> Option<u64> {
    said.body.pointer("/errors/0/code")?.as_u64()
}

fn nonsense(what: &str) -> Trouble {
    Trouble::Nonsense(format!("its answer has no {what}"))
}
