//! Sections of a site's settings that have lists: saved as a whole, with what was typed kept when something is wrong.
//!
//! A list is set whole, so that a form which was opened before somebody else has saved would undo that: it says what it was made of
//! (`as_of`), and is refused once when that is not there any more. That is compared in the transaction that writes, so that of two who save
//! at once one is told. A form that is shown again for another reason stays of what it was made of.

pub(super) mod firewall;
pub(super) mod limits;
pub(super) mod proxy;

use std::collections::BTreeMap;

use axum::extract::Path;
use serde_json::{Map, Value, json};

use super::{
    super::{
        form::Problems,
        gate::Answer,
        shell::Notice,
        visit::{Fields, Visit, again, go, show},
    },
    around, named, protection,
    rows::{List, Row, judge, place},
    settings::Wrong,
    upstreams,
};
use crate::{
    domain::{Error, Kind, access::Right, site::SiteName, site_settings::SiteSettings},
    services::site_settings::CHANGED,
};

/// The field that says what a form was made of, and the code of a form without it.
pub(super) const AS_OF: &str = "as_of";

/// A section with lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Section {
    /// `limits`.
    Limits,
    /// `firewall`.
    Firewall,
    /// `proxy`.
    Proxy,
}

/// What a form was read as.
pub(super) struct Read {
    /// The section as it is to be.
    pub(super) section: Value,
    /// The rows that stay, in the order of the list, each with what it says.
    pub(super) rows: Vec<(Row, Value)>,
    /// What could not be read.
    pub(super) problems: Problems,
}

impl Section {
    fn parse(word: &str) -> Option<Self> {
        [Self::Limits, Self::Firewall, Self::Proxy].into_iter().find(|it| it.word() == word)
    }

    /// Its key.
    pub(in super::super) const fn word(self) -> &'static str {
        match self {
            Self::Limits => "limits",
            Self::Firewall => "firewall",
            Self::Proxy => "proxy",
        }
    }

    const fn list(self) -> &'static List {
        match self {
            Self::Limits => &limits::RATES,
            Self::Firewall => &firewall::RULES,
            Self::Proxy => &proxy::ROUTES,
        }
    }

    fn read(self, sent: &BTreeMap<String, String>, before: &SiteSettings, may_lead_inside: bool) -> Read {
        match self {
            Self::Limits => limits::read(sent, before),
            Self::Firewall => firewall::read(sent, before),
            Self::Proxy => proxy::read(sent, before, may_lead_inside),
        }
    }

    /// The page with its form.
    pub(super) fn here(self, name: &SiteName) -> String {
        match self {
            Self::Limits => format!("/sites/{name}/settings/protection"),
            Self::Firewall => format!("/sites/{name}/settings/protection#firewall"),
            Self::Proxy => format!("/sites/{name}/settings/proxy"),
        }
    }

    /// What a form is made of: of these settings, or of those that it was made of when it was refused.
    pub(in super::super) fn as_of(self, settings: &SiteSettings, wrong: &Wrong) -> String {
        let sent = wrong.sent.get(AS_OF).filter(|_| wrong.section == self.word());
        sent.cloned().unwrap_or_else(|| settings.mark_of(self.word()))
    }
}

/// Saves a section: one with lists, or one of single values.
pub(in super::super) async fn save(
    visit: Visit,
    Path((name, section)): Path<(String, String)>,
    fields: Fields<BTreeMap<String, String>>,
) -> Answer {
    match Section::parse(&section) {
        Some(section) => save_lists(&visit, &named(&name)?, section, fields.0).await,
        None => around::save(visit, Path((name, section)), fields).await,
    }
}

/// Saves the routes: the page with their form has the address that it is sent to.
pub(in super::super) async fn save_routes(
    visit: Visit,
    Path(name): Path<String>,
    Fields(sent): Fields<BTreeMap<String, String>>,
) -> Answer {
    save_lists(&visit, &named(&name)?, Section::Proxy, sent).await
}

async fn save_lists(visit: &Visit, name: &SiteName, section: Section, mut sent: BTreeMap<String, String>) -> Answer {
    visit.actor.require(Right::ManageSites)?;
    let before = visit.services.get_site_settings(&visit.actor, name).await?;
    if sent.contains_key("more") {
        let wrong = Wrong { section: section.word().to_owned(), problems: Problems::none(), sent };
        return match section {
            Section::Limits | Section::Firewall => show(&protection::page(visit, name, wrong).await?),
            Section::Proxy => show(&upstreams::page(visit, name, wrong).await?),
        };
    }
    let read = section.read(&sent, &before, visit.may(Right::ManageServer));
    let patch = Map::from_iter([(section.word().to_owned(), read.section.clone())]);
    let as_of = sent.get(AS_OF).cloned();
    let refused = if let Some(refused) = refusal(section, &before, &read, &patch, as_of.as_deref()) {
        refused
    } else {
        let is_same = move |it: &SiteSettings| as_of.as_ref() == Some(&it.mark_of(section.word()));
        match visit.services.change_site_settings_of(&visit.actor, name, patch, is_same).await {
            Ok(_) => return go(&visit.services, &section.here(name), Some(Notice::SettingsSaved)),
            Err(error) if error.code == CHANGED => changed(),
            Err(error) => (of_services(section, &read, &error).ok_or_else(|| error.clone())?, error),
        }
    };
    let (problems, error) = refused;
    if [CHANGED, AS_OF].contains(&error.code) {
        // They are told: what they send next is meant for what is set now.
        sent.remove(AS_OF);
    }
    let wrong = Wrong { section: section.word().to_owned(), problems, sent };
    match section {
        Section::Limits | Section::Firewall => again(&error, &protection::page(visit, name, wrong).await?),
        Section::Proxy => again(&error, &upstreams::page(visit, name, wrong).await?),
    }
}

/// Why a form is refused before anything is tried.
fn refusal(
    section: Section,
    before: &SiteSettings,
    read: &Read,
    patch: &Map<String, Value>,
    as_of: Option<&str>,
) -> Option<(Problems, Error)> {
    let problems = judge(section.list(), &read.rows, &read.problems);
    if problems.any() {
        return Some((problems, Error::invalid("site_settings", "")));
    }
    if let Err(error) = before.patched(patch) {
        return Some((Problems::of(&error, limits::SINGLE), error));
    }
    let Some(as_of) = as_of else {
        let text = "The form does not say which settings it was made of (`as_of`), and nothing was saved. Below is what was sent: look \
                    whether you still want it, and save it once more.";
        let error = Error::invalid(AS_OF, text);
        return Some((Problems::of(&error, &[]), error));
    };
    // What was read of untouched rows is of these settings.
    (as_of != before.mark_of(section.word())).then(changed)
}

/// Why a form is refused that was made of other settings.
pub(super) fn changed() -> (Problems, Error) {
    let text = "Somebody has changed these settings since you opened the form, and nothing was saved. Below is what you have typed: \
                saved once more, it takes the place of theirs. Load the page anew to see theirs.";
    let error = Error::conflict(CHANGED, text);
    (Problems::of(&error, &[]), error)
}

/// What the services refuse of a form that can be read; `None`: it is about something else than the form.
fn of_services(section: Section, read: &Read, error: &Error) -> Option<Problems> {
    match error.kind {
        Kind::Invalid | Kind::TooLarge => Some(Problems::of(error, limits::SINGLE)),
        Kind::Forbidden if section == Section::Proxy => {
            let mut problems = Problems::none();
            let at = error.message.split_once("proxy.routes[").and_then(|it| it.1.split_once(']'));
            let row = at.and_then(|it| it.0.parse::<usize>().ok()).and_then(|it| read.rows.get(it));
            match row {
                Some((row, _)) => place(row, &proxy::ungranted(error), &mut problems),
                None => return None,
            }
            Some(problems)
        }
        _ => None,
    }
}

/// The value of a list or `null`, which is the default.
pub(super) fn or_null<T: Into<Value>>(all: Vec<T>) -> Value {
    if all.is_empty() { Value::Null } else { json!(all.into_iter().map(Into::into).collect::<Vec<Value>>()) }
}
