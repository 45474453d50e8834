//! Hetzner's zones in the API of its cloud, version 1: records are added to those of a name, and taken from them.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Api, Said, quoted};
use crate::domain::acme::records::{Record, Trouble};

/// Where it is.
pub(super) const API: &str = "https://api.hetzner.cloud/v1";
/// Its shortest time for which resolvers keep a record, in seconds.
const TTL_S: u32 = 60;

pub(super) async fn set(api: &Api, record: &Record) -> Result<(), Trouble> {
    let body = json!({ "ttl": TTL_S, "records": [{ "value": quoted(&record.value) }] });
    let said = api.call(Method::POST, &path(record, "add_records"), Some(&body)).await?;
    match (said.status, code(&said)) {
        // The name itself is made where it is not there.
        (StatusCode::NOT_FOUND, Some("not_found")) => Err(Trouble::NoZone),
        (_, Some("uniqueness_error")) => Ok(()),
        _ => good(&said),
    }
}

pub(super) async fn remove(api: &Api, record: &Record) -> Result<(), Trouble> {
    let body = json!({ "records": [{ "value": quoted(&record.value) }] });
    let said = api.call(Method::POST, &path(record, "remove_records"), Some(&body)).await?;
    if code(&said) == Some("not_found") { Ok(()) } else { good(&said) }
}

fn path(record: &Record, action: &str) -> String {
    format!("/zones/{}/rrsets/{}/TXT/actions/{action}", record.zone, record.label().unwrap_or("@"))
}

fn good(said: &Said) -> Result<(), Trouble> {
    match said.status {
        _ if said.status.is_success() => Ok(()),
        StatusCode::FORBIDDEN => Err(Trouble::Rights),
        _ => Err(said.trouble()),
    }
}

fn code(said: &Said) -> Option<&str> {
    said.body.pointer("/error/code").and_then(Value::as_str)
}
