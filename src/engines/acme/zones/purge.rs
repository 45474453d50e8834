//! Purging of caches: by Cloudflare's API, version 4, and by a webhook of the operator's.
//!
//! A whole zone is never purged: other sites may be in it.

use hyper::{
    Method, StatusCode,
    header::{HeaderName, HeaderValue},
};
use serde_json::{Map, Value, json};

use super::{Api, Zones, cloudflare, trouble};
use crate::{
    base::hash,
    domain::{
        acme::records::Trouble,
        edge::{Batch, Provider},
    },
    engines::acme::https::Https,
    ports::{
        acme::Later,
        edge::{Access, Call, Edge},
    },
};

/// The time, in seconds, and the HMAC-SHA-256 in hexadecimal of that, a dot and the body: `t=1796040000,v1=…`.
const SIGNATURE: HeaderName = HeaderName::from_static("chainhost-signature");

impl Edge for Zones {
    fn purge<'a>(&'a self, access: &'a Access, call: &'a Call) -> Later<'a, Result<(), Trouble>> {
        Box::pin(self.purge_one(access, call))
    }
}

impl Zones {
    async fn purge_one(&self, access: &Access, call: &Call) -> Result<(), Trouble> {
        let https = Https::new(access.roots.as_deref(), self.tasks.clone(), self.dns.clone()).map_err(trouble)?;
        let base = access.api.as_deref().unwrap_or(cloudflare::API).trim_end_matches('/').to_owned();
        match access.provider {
            Provider::Cloudflare => {
                let mut authorization =
                    HeaderValue::from_str(&format!("Bearer {}", access.token.as_str())).map_err(|_| Trouble::Token)?;
                authorization.set_sensitive(true);
                let api = Api { https, base, authorization, signature: None };
                let zone = cloudflare::zone(&api, &call.zone).await?;
                let body = json!({ (cloudflare_key(&call.batch)): named(&call.batch) });
                let said = api.call(Method::POST, &format!("/zones/{zone}/purge_cache"), Some(&body)).await?;
                cloudflare::good(&said).map(drop)
            }
            Provider::Webhook => {
                let body = webhook_body(call);
                let signed = signature(access.token.as_bytes(), call.now_ms, &body.to_string());
                let signature = HeaderValue::try_from(signed).map_err(|error| Trouble::Nonsense(error.to_string()))?;
                let api = Api {
                    https,
                    base,
                    authorization: HeaderValue::from_static("Signature"),
                    signature: Some((SIGNATURE, signature)),
                };
                let said = api.call(Method::POST, "", Some(&body)).await?;
                match said.status {
                    it if it.is_success() => Ok(()),
                    StatusCode::FORBIDDEN => Err(Trouble::Rights),
                    _ => Err(said.trouble()),
                }
            }
        }
    }
}

/// The key under which Cloudflare reads a batch.
const fn cloudflare_key(batch: &Batch) -> &'static str {
    match batch {
        Batch::Hosts(_) => "hosts",
        Batch::Tags(_) => "tags",
        Batch::Urls(_) => "files",
    }
}

fn named(batch: &Batch) -> &[String] {
    let (Batch::Hosts(all) | Batch::Tags(all) | Batch::Urls(all)) = batch;
    all
}

fn webhook_body(call: &Call) -> Value {
    let mut body = Map::new();
    for (key, value) in [("event", "purge"), ("zone", &call.zone), ("site", &call.site)] {
        body.insert(key.to_owned(), value.into());
    }
    let key = match call.batch {
        Batch::Hosts(_) => "hosts",
        Batch::Tags(_) => "tags",
        Batch::Urls(_) => "urls",
    };
    body.insert(key.to_owned(), named(&call.batch).into());
    Value::Object(body)
}

fn signature(secret: &[u8], now_ms: i64, body: &str) -> String {
    let time = now_ms.div_euclid(1_000);
    let signed = hash::hmac(secret, format!("{time}.{body}").as_bytes());
    format!("t={time},v1={}", data_encoding::HEXLOWER.encode(&signed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_told_what_is_meant_and_signed() {
        let batch = Batch::Tags(vec![String::from("a")]);
        let call =
            Call { zone: String::from("zone.test"), batch, site: String::from("shop"), now_ms: 1_796_040_000_999 };
        let body = webhook_body(&call).to_string();
        assert_eq!(body, r#"{"event":"purge","site":"shop","tags":["a"],"zone":"zone.test"}"#);
        let one = signature(b"secret", call.now_ms, &body);
        assert!(one.starts_with("t=1796040000,v1=") && one.len() == 16 + 64, "{one}");
        assert_ne!(signature(b"another", call.now_ms, &body), one);
        assert_ne!(signature(b"secret", call.now_ms + 1_000, &body), one);
        assert_ne!(signature(b"secret", call.now_ms, "{}"), one);
    }
}
