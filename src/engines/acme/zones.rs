//! Providers of DNS by their HTTP APIs: a TXT record is set there, and taken away again; and of caches, which are purged.
//!
//! Guarantees: the token is in no message and no `Debug`, and is sent to the provider's API alone. One change of a zone is made at a time, since
//! some providers know only all records of a name, and others lock a zone that changes; no zone waits for another one.

mod cloudflare;
mod desec;
mod hetzner;
mod purge;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue},
};
use serde_json::Value;

use super::https::{Https, retry_after_s};
use crate::{
    base::tasks::Tasks,
    domain::acme::{
        Refusal,
        records::{Provider, Record, Trouble},
    },
    ports::{
        acme::Later,
        dns::Dns,
        zones::{Access, Zones as Port},
    },
};

/// Times that a call is made again where its provider wants a moment, and the longest such moment; whoever wants more is told of.
const AGAIN_MAX: usize = 4;
const MOMENT_MAX_S: u64 = 10;
/// How long a zone that is locked by another change is left alone.
const LOCKED: Duration = Duration::from_secs(1);
/// Characters of a provider's words that people are shown.
const WORDS_MAX: usize = 200;

/// Changes zones.
#[derive(Debug)]
pub struct Zones {
    tasks: Tasks,
    dns: Dns,
    /// By zone.
    one_at_a_time: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Zones {
    /// What it needs to run beside goes to `tasks`; `dns` tells where providers are.
    pub fn new(tasks: Tasks, dns: Dns) -> Arc<Self> {
        Arc::new(Self { tasks, dns, one_at_a_time: Mutex::default() })
    }

    async fn change(&self, access: &Access, record: &Record, is_to_be: bool) -> Result<(), Trouble> {
        let turn = {
            let mut turns = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(record.zone.clone()).or_default())
        };
        let _alone = turn.lock().await;
        let (base, scheme) = match access.provider {
            Provider::Cloudflare => (cloudflare::API, "Bearer"),
            Provider::Hetzner => (hetzner::API, "Bearer"),
            Provider::Desec => (desec::API, "Token"),
            Provider::Manual => return Ok(()),
        };
        let https = Https::new(access.roots.as_deref(), self.tasks.clone(), self.dns.clone()).map_err(trouble)?;
        // A line break or a letter of no header in the file: no provider has given such a token.
        let mut authorization =
            HeaderValue::from_str(&format!("{scheme} {}", access.token.as_str())).map_err(|_| Trouble::Token)?;
        authorization.set_sensitive(true);
        let base = access.api.as_deref().unwrap_or(base).trim_end_matches('/').to_owned();
        let api = Api { https, base, authorization, signature: None };
        match (access.provider, is_to_be) {
            (Provider::Cloudflare, true) => cloudflare::set(&api, record).await,
            (Provider::Cloudflare, false) => cloudflare::remove(&api, record).await,
            (Provider::Hetzner, true) => hetzner::set(&api, record).await,
            (Provider::Hetzner, false) => hetzner::remove(&api, record).await,
            (Provider::Desec, _) => desec::change(&api, record, is_to_be).await,
            (Provider::Manual, _) => Ok(()),
        }
    }
}

impl Port for Zones {
    fn set<'a>(&'a self, access: &'a Access, record: &'a Record) -> Later<'a, Result<(), Trouble>> {
        Box::pin(self.change(access, record, true))
    }

    fn remove<'a>(&'a self, access: &'a Access, record: &'a Record) -> Later<'a, Result<(), Trouble>> {
        Box::pin(self.change(access, record, false))
    }
}

/// The API of a provider.
struct Api {
    https: Https,
    base: String,
    authorization: HeaderValue,
    /// One more header, for who checks what was sent.
    signature: Option<(HeaderName, HeaderValue)>,
}

/// What an API has answered: no refusal that all of them have.
struct Said {
    status: StatusCode,
    /// `Null`: it was no JSON.
    body: Value,
}

impl Said {
    /// What went wrong, where that is none of what the provider is known to say.
    fn trouble(&self) -> Trouble {
        if self.body.is_null() {
            return Trouble::Nonsense(format!("it answered {}", self.status));
        }
        Trouble::Refused(words(&self.body).unwrap_or_else(|| format!("it answered {}", self.status)))
    }
}

impl Api {
    /// Asks, again after a moment where the provider wants one.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Said, Trouble> {
        for turn in 0.. {
            let request = Request::builder()
                .method(method.clone())
                .uri(format!("{}{path}", self.base))
                .header(AUTHORIZATION, self.authorization.clone())
                .header(ACCEPT, "application/json")
                .header(CONTENT_TYPE, "application/json");
            let request = match &self.signature {
                Some((name, value)) => request.header(name, value.clone()),
                None => request,
            };
            let sent = body.map_or_else(Bytes::new, |it| Bytes::from(it.to_string()));
            let request = request.body(Full::new(sent)).map_err(|error| Trouble::Nonsense(error.to_string()))?;
            let answer = self.https.send(request).await.map_err(trouble)?;
            let (status, later_s) = (answer.status(), retry_after_s(answer.headers()));
            let body: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
            let moment = match status {
                StatusCode::TOO_MANY_REQUESTS => {
                    later_s.filter(|it| *it <= MOMENT_MAX_S).map(|it| Duration::from_secs(it.max(1)))
                }
                StatusCode::LOCKED => Some(LOCKED),
                _ => None,
            };
            if let Some(moment) = moment.filter(|_| turn < AGAIN_MAX) {
                tokio::time::sleep(moment).await;
                continue;
            }
            let said = || words(&body).unwrap_or_else(|| format!("it answered {status}"));
            return match status {
                StatusCode::UNAUTHORIZED => Err(Trouble::Token),
                StatusCode::TOO_MANY_REQUESTS => Err(Trouble::Limited(later_s)),
                StatusCode::LOCKED => Err(Trouble::Broken(said())),
                _ if status.is_server_error() => Err(Trouble::Broken(said())),
                _ if status.is_redirection() => Err(Trouble::Nonsense(format!("it answered {status}"))),
                // A program of the operator's may say whatever it likes with its success.
                _ if status.is_success()
                    && body.is_null()
                    && status != StatusCode::NO_CONTENT
                    && self.signature.is_none() =>
                {
                    Err(Trouble::Nonsense(format!("it answered {status} without JSON")))
                }
                _ => Ok(Said { status, body }),
            };
        }
        Err(Trouble::Slow)
    }
}

/// Its own words in an answer, as each of the providers puts them.
fn words(body: &Value) -> Option<String> {
    let text = ["/errors/0/message", "/error/message", "/detail"].iter().find_map(|it| body.pointer(it)?.as_str());
    let text = match text {
        Some(text) => text.to_owned(),
        None if body.is_object() || body.is_array() => body.to_string(),
        None => return None,
    };
    Some(text.chars().take(WORDS_MAX).collect())
}

/// What a text is in a zone file, as APIs have it.
fn quoted(value: &str) -> String {
    format!("\"{value}\"")
}

fn trouble(refusal: Refusal) -> Trouble {
    match refusal {
        Refusal::Away(why) => Trouble::Away(why),
        Refusal::Untrusted(why) => Trouble::Untrusted(why),
        Refusal::Slow => Trouble::Slow,
        Refusal::Nonsense(why) | Refusal::NoDirectory(why) => Trouble::Nonsense(why),
        other => Trouble::Nonsense(format!("{other:?}")),
    }
}
