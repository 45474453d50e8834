//! `/api/v1/certificates`, `/hostnames`: certificates that are kept, and how it stands with those of hostnames.

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
    domain::{
        Error,
        acme::{self, records::Record},
        certificate::Standing,
    },
    services::{Services, certificates::CertificateView, certify::HostnameCertificate},
};

#[derive(Debug, Serialize)]
struct Certificate {
    id: String,
    names: Vec<String>,
    source: &'static str,
    issuer: String,
    valid_from: String,
    valid_until: String,
    created_at: String,
    standing: &'static str,
    for_server: bool,
    shown_for: Vec<String>,
}

impl From<CertificateView> for Certificate {
    fn from(it: CertificateView) -> Self {
        Self {
            id: it.kept.id.to_string(),
            names: it.kept.names,
            source: it.kept.source.word(),
            issuer: it.kept.issuer,
            valid_from: rfc3339(it.kept.from_ms),
            valid_until: rfc3339(it.kept.until_ms),
            created_at: rfc3339(it.kept.created_ms),
            standing: match it.standing {
                Standing::Good => "good",
                Standing::EndsSoon(_) => "ends_soon",
                Standing::Over => "over",
                Standing::Early => "early",
            },
            for_server: it.kept.for_server,
            shown_for: it.shown_for,
        }
    }
}

pub(super) async fn list(State(services): State<Services>, Caller(actor, _): Caller) -> Answer {
    let found = services.list_certificates(&actor).await?;
    let items: Vec<Certificate> = found.into_iter().map(Certificate::from).collect();
    ok(&serde_json::json!({ "items": items, "next": null }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewCertificate {
    chain: String,
    key: Secret,
}

pub(super) async fn upload(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Json(new): Json<NewCertificate>,
) -> Answer {
    let made = services.upload_certificate(&actor, &new.chain, &new.key).await?;
    json(StatusCode::CREATED, &Certificate::from(made))
}

pub(super) async fn delete(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(id): Path<String>,
) -> Answer {
    let id = id.parse().map_err(|_| Error::not_found("certificate"))?;
    services.delete_certificate(&actor, id).await?;
    done()
}

/// Shows how it stands with the certificate of each hostname.
pub(super) async fn hostnames(State(services): State<Services>, Caller(actor, _): Caller) -> Answer {
    let found = services.list_hostname_certificates(&actor).await?;
    let item = |it: HostnameCertificate| {
        let certificate = it.shown.map(|(id, source, until_ms)| {
            serde_json::json!({ "id": id.to_string(), "source": source.word(), "valid_until": rfc3339(until_ms) })
        });
        let order = it.order.filter(|_| it.is_asked);
        let problem = order.as_ref().and_then(|it| it.problem.as_ref());
        serde_json::json!({
            "hostname": it.hostname,
            "certificate": certificate,
            "asked": it.is_asked,
            "authority": order.as_ref().and_then(|it| it.authority.as_deref()).map(acme::authority_name),
            "asked_at": order.as_ref().and_then(|it| it.asked_ms).map(rfc3339),
            "next_at": order.as_ref().map(|it| rfc3339(it.next_ms)),
            "failures": order.as_ref().map_or(0, |it| it.failures),
            "records": it.records.iter().map(record).collect::<Vec<_>>(),
            "problem": problem.map(|(code, text)| serde_json::json!({ "code": code, "message": text })),
        })
    };
    let items: Vec<_> = found.into_iter().map(item).collect();
    ok(&serde_json::json!({ "items": items, "next": null }))
}

fn record(it: &Record) -> serde_json::Value {
    serde_json::json!({ "name": it.name, "type": "TXT", "value": it.value })
}

pub(super) async fn retry(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(hostname): Path<String>,
) -> Answer {
    services.retry_certificate(&actor, &hostname).await?;
    done()
}
