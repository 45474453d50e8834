//! deSEC's API, version 1: all records of a name and type are one thing, which is read, changed and written as a whole.

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Api, quoted};
use crate::domain::acme::records::{Record, Trouble};

/// Where it is.
pub(super) const API: &str = "https://desec.io/api/v1";
/// For how many seconds resolvers keep a record: the least that most of its domains may have. Authorities ask the zone's own servers.
const TTL_S: u32 = 3_600;

pub(super) async fn change(api: &Api, record: &Record, is_to_be: bool) -> Result<(), Trouble> {
    let label = record.label();
    let path = format!("/domains/{}/rrsets/{}/TXT/", record.zone, label.unwrap_or("@"));
    let found = api.call(Method::GET, &path, None).await?;
    let quoted = quoted(&record.value);
    let (mut records, ttl_s) = match found.status {
        StatusCode::OK => {
            let all = found.body.get("records").and_then(Value::as_array);
            let all = all.ok_or_else(|| Trouble::Nonsense(String::from("its answer has no records")))?;
            let ttl_s = found.body.get("ttl").and_then(Value::as_u64).unwrap_or(TTL_S.into());
            (all.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>(), ttl_s)
        }
        // Neither a zone that is not there nor a name without records.
        StatusCode::NOT_FOUND => (Vec::new(), TTL_S.into()),
        StatusCode::FORBIDDEN => return Err(Trouble::Rights),
        _ => return Err(found.trouble()),
    };
    if records.contains(&quoted) == is_to_be {
        return Ok(());
    }
    if is_to_be {
        records.push(quoted);
    } else {
        records.retain(|it| *it != quoted);
    }
    // With no records left, the name goes.
    let body = json!([{ "subname": label.unwrap_or_default(), "type": "TXT", "ttl": ttl_s, "records": records }]);
    let said = api.call(Method::PATCH, &format!("/domains/{}/rrsets/", record.zone), Some(&body)).await?;
    match said.status {
        _ if said.status.is_success() => Ok(()),
        StatusCode::NOT_FOUND if !said.body.is_null() => Err(Trouble::NoZone),
        StatusCode::FORBIDDEN => Err(Trouble::Rights),
        _ => Err(said.trouble()),
    }
}
