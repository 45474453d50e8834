//! API keys of who is signed in. The secret is shown once, on the page that answers its making.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;

use super::{
    form::Problems,
    gate::Answer,
    questions::Question,
    settings,
    shell::{Crumb, Notice, Place, Shell, Tab},
    visit::{Fields, Visit, again, go, show},
    words::{self, Fact, When},
};
use crate::domain::{Error, Kind, Result, access::KeyScope};

/// The keys, and the form for one more.
#[derive(Debug, Template)]
#[template(path = "settings/keys.html")]
pub(super) struct Keys {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) lead: String,
    pub(super) rows: Vec<KeyRow>,
    pub(super) name: String,
    pub(super) scope: String,
    pub(super) days: String,
    pub(super) problems: Problems,
}

/// A key.
#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) hint: String,
    /// `deploy`, `read`, `all` in words.
    pub(super) may: &'static str,
    /// Whose, when it is another's.
    pub(super) owner: String,
    pub(super) used: Option<When>,
    pub(super) ends: Option<When>,
}

/// The one page that shows a secret.
#[derive(Debug, Template)]
#[template(path = "settings/key_created.html")]
pub(super) struct KeyCreated {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) name: String,
    /// What the key may, as the end of a sentence.
    pub(super) may: &'static str,
    pub(super) secret: String,
    pub(super) command: String,
}

const DAY_MS: i64 = 24 * 3_600_000;
/// The longest life that the form offers.
const DAYS_MAX: i64 = 365;

const fn may(scope: KeyScope) -> &'static str {
    match scope {
        KeyScope::Read => "Only look",
        KeyScope::Deploy => "Look, deploy, make sites",
        KeyScope::All => "Everything its user may",
    }
}

const fn may_then(scope: KeyScope) -> &'static str {
    match scope {
        KeyScope::Read => "look, and change nothing",
        KeyScope::Deploy => "look, deploy, and make sites",
        KeyScope::All => "do everything that you may",
    }
}

/// What was typed into the form.
#[derive(Deserialize)]
pub(super) struct Sent {
    name: String,
    #[serde(default)]
    scope: String,
    #[serde(default)]
    days: String,
}

async fn page(visit: &Visit, sent: Sent, problems: Problems) -> Result<Keys> {
    let shell = visit.shell(Place::Settings).await?;
    let now = visit.now_ms();
    let found = visit.services.list_keys(&visit.actor).await?;
    let count = i64::try_from(found.len()).unwrap_or(i64::MAX);
    let lead = match count {
        0 => String::from("There is no key yet."),
        1 => String::from("There is one key."),
        many => format!("There are {}.", words::count(many, "key", "keys")),
    };
    let rows = found.into_iter().map(|it| KeyRow {
        id: it.id.to_string(),
        name: it.name,
        hint: it.hint,
        may: may(it.scope),
        owner: if it.email == shell.user { String::new() } else { it.email },
        used: it.used_ms.map(|ms| When::at(ms, now)),
        ends: it.expires_ms.map(|ms| When::at(ms, now)),
    });
    Ok(Keys {
        tabs: settings::tabs(&shell, "API keys"),
        rows: rows.collect(),
        shell,
        lead,
        name: sent.name,
        scope: sent.scope,
        days: sent.days,
        problems,
    })
}

/// The keys.
pub(super) async fn list(visit: Visit) -> Answer {
    let sent = Sent { name: String::new(), scope: String::from("deploy"), days: String::from("365") };
    show(&page(&visit, sent, Problems::none()).await?)
}

/// Makes a key and shows it, this once.
pub(super) async fn create(visit: Visit, Fields(sent): Fields<Sent>) -> Answer {
    // All that can fail comes before the key is made: a secret that could not be shown would be lost.
    let shell = visit.shell(Place::Settings).await?;
    let made = async {
        let scope = KeyScope::parse(&sent.scope)?;
        let wrong = || Error::invalid("days", "Choose when the key ends.").on("days");
        let days: i64 = sent.days.parse().ok().filter(|it| (0..=DAYS_MAX).contains(it)).ok_or_else(wrong)?;
        let expires_ms = (days > 0).then(|| visit.now_ms() + days * DAY_MS);
        let (_, secret) = visit.services.create_key(&visit.actor, &sent.name, scope, expires_ms).await?;
        Ok::<_, Error>((scope, secret))
    };
    match made.await {
        Ok((scope, secret)) => show(&KeyCreated {
            tabs: settings::tabs(&shell, "API keys"),
            shell,
            name: sent.name.trim().to_owned(),
            may: may_then(scope),
            secret: secret.expose().to_owned(),
            command: format!("chainhost login --server {}", visit.services.addresses.panel()),
        }),
        Err(error) if error.kind == Kind::Invalid => {
            let problems = Problems::of(&error, &["name", "days"]);
            again(&error, &page(&visit, sent, problems).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The question before a key is revoked.
pub(super) async fn revoke_question(visit: Visit, Path(id): Path<String>) -> Answer {
    let key = visit.services.list_keys(&visit.actor).await?.into_iter().find(|it| it.id.to_string() == id);
    let key = key.ok_or_else(|| Error::not_found("key"))?;
    let used = key.used_ms.map_or_else(|| String::from("never"), |ms| When::at(ms, visit.now_ms()).text);
    show(&Question {
        shell: visit.shell(Place::Settings).await?,
        crumbs: vec![Crumb::new("Settings", "/settings"), Crumb::new("API keys", "/settings/keys")],
        here: String::from("Revoke"),
        title: format!("Revoke {}?", key.name),
        text: vec![String::from("Whatever uses this key is refused from that moment on. What it deployed stays.")],
        facts: vec![
            Fact::mono("Key", key.hint),
            Fact::plain("May", may(key.scope)),
            Fact::plain("Of", key.email),
            Fact::plain("Last used", used),
        ],
        keep: (String::from("Keep it"), String::from("/settings/keys")),
        act: (String::from("Revoke the key"), format!("/settings/keys/{id}/revoke")),
        destroys: true,
        asked: None,
        typed: None,
        hidden: Vec::new(),
        problems: Problems::none(),
    })
}

/// Revokes a key.
pub(super) async fn revoke(visit: Visit, Path(id): Path<String>) -> Answer {
    let id = id.parse().map_err(|_| Error::not_found("key"))?;
    visit.services.revoke_key(&visit.actor, id).await?;
    go(&visit.services, "/settings/keys", Some(Notice::KeyRevoked))
}
