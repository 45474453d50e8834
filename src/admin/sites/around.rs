//! What is set around the files of a site: a form for each section of its settings without lists (`lists` has the others), people
//! with passwords, and links.
//!
//! The names of fields are the keys of the settings, so that what the API refuses stands beside the field that it is about.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Path;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    super::{
        form::Problems,
        gate::Answer,
        questions::Question,
        shell::{Crumb, Notice, Place, Shell},
        visit::{Fields, Visit, again, go, show},
        words::{Fact, When},
    },
    crumbs,
    lists::{AS_OF, changed},
    named,
    rows::{Cell, is_untouched},
    settings::{Wrong, here, page},
};
use crate::{
    base::{secret::Secret, units::ByteSize},
    domain::{
        Error, Kind as ErrorKind, Result,
        access::Right,
        hostname::Hostname,
        site_settings::{SiteSettings, access::Mode, addresses::Https, errors, guests::Guests, traffic::WhenUsedUp},
    },
    services::{site_guests::NewLink, site_settings::CHANGED},
};

const DAY_MS: i64 = 86_400_000;

/// The value that says what the form of a section is made of.
fn as_of(section: &str) -> String {
    format!("{AS_OF}.{section}")
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Text,
    Number,
    /// Bytes, as people write them.
    Size,
    /// Several, a line each, or with blanks or commas between them.
    List,
    /// Several, a line each.
    Lines,
    /// Names with one or several patterns: a name and a pattern a line.
    Tags,
    Flag,
}

/// The fields of the forms, those of a section behind one another.
const FIELDS: &[(&str, Holds)] = &[
    ("addresses.canonical", Holds::Text),
    ("addresses.https", Holds::Text),
    ("addresses.hsts.max_age_s", Holds::Number),
    ("addresses.hsts.subdomains", Holds::Flag),
    ("addresses.hsts.preload", Holds::Flag),
    ("maintenance.on", Holds::Flag),
    ("maintenance.text", Holds::Text),
    ("maintenance.retry_after_s", Holds::Number),
    ("maintenance.allow", Holds::List),
    ("maintenance.page", Holds::Text),
    ("access.mode", Holds::Text),
    ("access.paths", Holds::Lines),
    ("access.session_hours", Holds::Number),
    ("hotlink.on", Holds::Flag),
    ("hotlink.extensions", Holds::List),
    ("hotlink.allow", Holds::List),
    ("hotlink.without_referer", Holds::Flag),
    ("cors.origins", Holds::List),
    ("cors.methods", Holds::List),
    ("cors.headers", Holds::List),
    ("cors.expose", Holds::List),
    ("cors.max_age_s", Holds::Number),
    ("cors.credentials", Holds::Flag),
    ("cors.paths", Holds::Lines),
    ("errors.401", Holds::Text),
    ("errors.403", Holds::Text),
    ("errors.404", Holds::Text),
    ("errors.410", Holds::Text),
    ("errors.429", Holds::Text),
    ("errors.500", Holds::Text),
    ("errors.502", Holds::Text),
    ("errors.503", Holds::Text),
    ("errors.504", Holds::Text),
    ("traffic.budget_bytes", Holds::Size),
    ("traffic.when_used_up", Holds::Text),
    ("caching.edge", Holds::Flag),
    ("caching.edge_max_age_s", Holds::Number),
    ("caching.tags", Holds::Tags),
];

/// The section of a field.
fn section_of((key, _): &(&'static str, Holds)) -> &'static str {
    key.split_once('.').map_or(key, |(section, _)| section)
}

/// The sections with a form of single values.
fn sections() -> impl Iterator<Item = &'static str> {
    FIELDS.chunk_by(|one, next| section_of(one) == section_of(next)).filter_map(|of_one| of_one.first()).map(section_of)
}

/// The fields of one form.
fn fields_of(section: &str) -> Vec<(&'static str, Holds)> {
    FIELDS.iter().copied().filter(|it| section_of(it) == section).collect()
}

/// What the fields show.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Values(BTreeMap<String, String>);

impl Values {
    /// As they are set.
    pub(in super::super) fn of(settings: &SiteSettings) -> Self {
        let SiteSettings { addresses, maintenance, access, hotlink, cors, errors, traffic, caching, .. } = settings;
        let mut it = Self::default();
        for section in sections() {
            it.put(&as_of(section), settings.mark_of(section));
        }
        it.put("addresses.canonical", addresses.canonical.as_ref().map_or("", Hostname::as_str));
        let https = match addresses.https {
            Https::Server => "server",
            Https::Always => "always",
            Https::Both => "both",
        };
        it.put("addresses.https", https);
        it.put("addresses.hsts.max_age_s", addresses.hsts.map_or_else(String::new, |it| it.max_age_s.to_string()));
        it.flag("addresses.hsts.subdomains", addresses.hsts.is_some_and(|it| it.subdomains));
        it.flag("addresses.hsts.preload", addresses.hsts.is_some_and(|it| it.preload));
        it.flag("maintenance.on", maintenance.on);
        it.put("maintenance.text", &maintenance.text);
        it.put("maintenance.retry_after_s", maintenance.retry_after_s.to_string());
        it.list("maintenance.allow", &maintenance.allow);
        it.put("maintenance.page", maintenance.page.as_deref().unwrap_or_default());
        let mode = match access.mode {
            Mode::Open => "open",
            Mode::Basic => "basic",
            Mode::Form => "form",
        };
        it.put("access.mode", mode);
        it.list("access.paths", &access.paths);
        it.put("access.session_hours", access.session_hours.to_string());
        it.flag("hotlink.on", hotlink.on);
        it.put("hotlink.extensions", hotlink.extensions.join(" "));
        it.list("hotlink.allow", &hotlink.allow);
        it.flag("hotlink.without_referer", hotlink.without_referer);
        it.list("cors.origins", &cors.origins);
        it.put("cors.methods", cors.methods.join(" "));
        it.put("cors.headers", cors.headers.join(" "));
        it.put("cors.expose", cors.expose.join(" "));
        it.put("cors.max_age_s", cors.max_age_s.to_string());
        it.flag("cors.credentials", cors.credentials);
        it.list("cors.paths", &cors.paths);
        for status in errors::STATUSES {
            it.put(errors::field(status), errors.0.get(&status).map_or("", String::as_str));
        }
        it.put("traffic.budget_bytes", traffic.budget_bytes.map_or_else(String::new, |it| ByteSize(it).exact()));
        it.flag("caching.edge", caching.edge);
        it.put("caching.edge_max_age_s", caching.edge_max_age_s.to_string());
        let tags = caching.tags.iter().flat_map(|(tag, all)| all.iter().map(move |it| format!("{tag} {it}")));
        it.list("caching.tags", &tags.collect::<Vec<_>>());
        it.put("traffic.when_used_up", if traffic.when_used_up == WhenUsedUp::Stop { "stop" } else { "tell" });
        it
    }

    /// What was sent, whatever it is.
    pub(super) fn sent(fields: &BTreeMap<String, String>) -> Self {
        Self(fields.clone())
    }

    pub(super) fn put(&mut self, key: &str, value: impl Into<String>) {
        self.0.insert(key.to_owned(), value.into());
    }

    pub(super) fn flag(&mut self, key: &str, on: bool) {
        self.put(key, if on { "on" } else { "" });
    }

    pub(super) fn list(&mut self, key: &str, entries: &[String]) {
        self.put(key, entries.join("\n"));
    }

    /// With what was typed into the form of a section.
    pub(in super::super) fn typed(&mut self, section: &str, sent: &BTreeMap<String, String>) {
        for (key, _) in fields_of(section) {
            self.put(key, sent.get(key).cloned().unwrap_or_default());
        }
        // It stays of what it was made of.
        if let Some(mark) = sent.get(AS_OF) {
            self.put(&as_of(section), mark.as_str());
        }
    }

    /// The text of a field.
    pub(in super::super) fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// A field with its name.
    pub(in super::super) fn cell(&self, key: &str) -> Cell {
        Cell { key: key.to_owned(), value: self.text(key).to_owned() }
    }

    /// Whether a box is ticked.
    pub(in super::super) fn on(&self, key: &str) -> bool {
        !self.text(key).is_empty()
    }

    /// Whether a field has this value.
    pub(in super::super) fn is(&self, key: &str, value: &str) -> bool {
        self.text(key) == value
    }

    /// The fields with their values.
    #[cfg(test)]
    pub(super) fn into_fields(self) -> BTreeMap<String, String> {
        self.0
    }

    /// How many error pages there are.
    pub(in super::super) fn pages(&self) -> usize {
        errors::STATUSES.into_iter().filter(|it| self.on(errors::field(*it))).count()
    }
}

/// The merge patch that a form means where `shown` is set: of the fields that differ from that. What does not stays as it is, also where a form
/// would send it otherwise (blanks, ends of lines).
fn patch(section: &str, sent: &BTreeMap<String, String>, shown: &Values) -> Result<Map<String, Value>> {
    let mut patch = Map::new();
    for (key, holds) in fields_of(section) {
        let text = sent.get(key).map_or("", String::as_str);
        if is_untouched(shown.text(key), text) {
            continue;
        }
        let text = text.trim();
        let value = match holds {
            Holds::Flag => Value::from(!text.is_empty()),
            _ if text.is_empty() => Value::Null,
            Holds::Text => Value::from(text),
            Holds::Number => {
                let wrong = |_| Error::invalid("number", "Write a whole number, in digits alone.").on(key);
                Value::from(text.parse::<u32>().map_err(wrong)?)
            }
            Holds::Size => {
                let wrong = |error| Error::invalid("size", format!("{error}.")).on(key);
                Value::from(text.parse::<ByteSize>().map_err(wrong)?.0)
            }
            Holds::Lines => text.lines().map(str::trim).filter(|it| !it.is_empty()).collect(),
            Holds::Tags => tags(text),
            Holds::List => text.split(|it: char| it.is_whitespace() || it == ',').filter(|it| !it.is_empty()).collect(),
        };
        put(&mut patch, &key.split('.').collect::<Vec<_>>(), value);
    }
    // Without a time there is nothing for browsers to remember, whatever else is ticked.
    let has_hsts = sent.get("addresses.hsts.max_age_s").is_some_and(|it| !it.trim().is_empty());
    if section == "addresses" && !has_hsts {
        put(&mut patch, &["addresses", "hsts"], Value::Null);
    }
    Ok(patch)
}

/// Lines of a name and a pattern; a pattern may have blanks in it.
fn tags(text: &str) -> Value {
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|it| !it.is_empty()) {
        let (tag, pattern) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        all.entry(tag).or_default().extend(Some(pattern.trim()).filter(|it| !it.is_empty()));
    }
    all.into_iter().map(|(tag, patterns)| (tag.to_owned(), Value::from(patterns))).collect()
}

/// Lets a patch take away the tags that it does not name: the form has all of them.
fn only_these_tags(patch: &mut Map<String, Value>, before: &SiteSettings) {
    if let Some(Value::Object(tags)) = patch.get_mut("caching").and_then(|it| it.get_mut("tags")) {
        for gone in before.caching.tags.keys().filter(|it| !tags.contains_key(*it)).cloned().collect::<Vec<_>>() {
            tags.insert(gone, Value::Null);
        }
    }
}

fn put(object: &mut Map<String, Value>, names: &[&str], value: Value) {
    match names {
        [] => {}
        [last] => drop(object.insert((*last).to_owned(), value)),
        [first, rest @ ..] => {
            let inner = object.entry(*first).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

/// Saves one section.
pub(super) async fn save(
    visit: Visit,
    Path((name, section)): Path<(String, String)>,
    Fields(mut sent): Fields<BTreeMap<String, String>>,
) -> Answer {
    let name = named(&name)?;
    let fields: Vec<&'static str> = fields_of(&section).into_iter().map(|(key, _)| key).collect();
    if fields.is_empty() {
        return Err(Error::not_found("page").into());
    }
    let saved = async {
        let before = visit.services.get_site_settings(&visit.actor, &name).await?;
        let mut patch = patch(&section, &sent, &Values::of(&before))?;
        if section == "caching" {
            only_these_tags(&mut patch, &before);
        }
        // A form that somebody has opened sends all of its fields, also those that another one has changed since.
        let (made_of, of) = (sent.get(AS_OF).cloned(), section.clone());
        let is_same = move |it: &SiteSettings| made_of.as_ref().is_none_or(|made_of| *made_of == it.mark_of(&of));
        visit.services.change_site_settings_of(&visit.actor, &name, patch, is_same).await
    };
    match saved.await {
        Ok(_) => go(&visit.services, &here(&name), Some(Notice::SettingsSaved)),
        Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::TooLarge) => {
            let wrong = Wrong { section, problems: Problems::of(&error, &fields), sent };
            again(&error, &page(&visit, &name, None, wrong).await?)
        }
        Err(error) if error.code == CHANGED => {
            // They are told: what they send next is meant for what is set now.
            sent.remove(AS_OF);
            let (problems, error) = changed();
            again(&error, &page(&visit, &name, None, Wrong { section, problems, sent }).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Somebody with a password.
#[derive(Clone, Debug)]
pub(in super::super) struct PersonRow {
    pub(in super::super) name: String,
    pub(in super::super) changed: When,
    /// Where the question is that takes the password away.
    pub(in super::super) remove: String,
}

/// A link.
#[derive(Clone, Debug)]
pub(in super::super) struct LinkRow {
    pub(in super::super) id: String,
    pub(in super::super) note: String,
    pub(in super::super) maintenance: bool,
    pub(in super::super) ends: When,
    pub(in super::super) is_over: bool,
    /// Where the question is that takes it back.
    pub(in super::super) remove: String,
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// The rows of a page.
pub(in super::super) fn rows(site: &str, guests: Guests, now_ms: i64) -> (Vec<PersonRow>, Vec<LinkRow>) {
    let mut guests = guests;
    guests.people.sort_by(|a, b| a.name.cmp(&b.name));
    guests.links.sort_by(|a, b| (a.expires_ms, &a.id).cmp(&(b.expires_ms, &b.id)));
    let people = guests.people.into_iter().map(|it| PersonRow {
        remove: format!("/sites/{site}/people/{}/remove", escaped(&it.name)),
        name: it.name,
        changed: When::at(it.changed_ms, now_ms),
    });
    let links = guests.links.into_iter().map(|it| LinkRow {
        remove: format!("/sites/{site}/links/{}/remove", escaped(&it.id)),
        id: it.id,
        note: it.note,
        maintenance: it.maintenance,
        ends: When::at(it.expires_ms, now_ms),
        is_over: it.expires_ms <= now_ms,
    });
    (people.collect(), links.collect())
}

#[derive(Deserialize)]
pub(in super::super) struct NewPerson {
    name: String,
    password: Secret,
}

/// Gives somebody a password.
pub(in super::super) async fn add_person(
    visit: Visit,
    Path(name): Path<String>,
    Fields(sent): Fields<NewPerson>,
) -> Answer {
    let site = named(&name)?;
    match visit.services.put_site_person(&visit.actor, &site, sent.name.trim(), sent.password).await {
        Ok(()) => go(&visit.services, &here(&site), Some(Notice::PersonAdded)),
        Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::TooLarge) => {
            let typed = BTreeMap::from([(String::from("name"), sent.name)]);
            let problems = Problems::of(&error, &["name", "password"]);
            let wrong = Wrong { section: String::from("people"), problems, sent: typed };
            again(&error, &page(&visit, &site, None, wrong).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The question before somebody's password is taken away.
pub(in super::super) async fn remove_person_question(
    visit: Visit,
    Path((name, person)): Path<(String, String)>,
) -> Answer {
    let site = named(&name)?;
    visit.actor.require(Right::ManageSites)?;
    let guests = visit.services.list_site_guests(&visit.actor, &site).await?;
    let known = guests.find_person(&person).ok_or_else(|| Error::not_found("person with a password for this site"))?;
    show(&Question {
        shell: visit.shell(Place::Sites).await?,
        crumbs: settings_crumbs(&site),
        here: String::from("Remove"),
        title: format!("Take the password of {person} away?"),
        text: vec![format!(
            "{person} is asked for a password again with the next page, and has none. Others stay as they are."
        )],
        facts: vec![Fact::plain("Set", When::at(known.changed_ms, visit.now_ms()).text)],
        keep: (String::from("Keep it"), here(&site)),
        act: (String::from("Take it away"), format!("/sites/{site}/people/{}/remove", escaped(&person))),
        destroys: true,
        asked: None,
        typed: None,
        hidden: Vec::new(),
        problems: Problems::none(),
    })
}

/// Takes somebody's password away.
pub(in super::super) async fn remove_person(visit: Visit, Path((name, person)): Path<(String, String)>) -> Answer {
    let site = named(&name)?;
    visit.services.remove_site_person(&visit.actor, &site, &person).await?;
    go(&visit.services, &here(&site), Some(Notice::PersonRemoved))
}

#[derive(Deserialize)]
pub(in super::super) struct LinkFields {
    #[serde(default)]
    note: String,
    #[serde(default)]
    days: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    maintenance: Option<String>,
}

/// The one page that shows the address of a link.
#[derive(Debug, Template)]
#[template(path = "sites/link_made.html")]
pub(in super::super) struct LinkMade {
    pub(in super::super) shell: Shell,
    pub(in super::super) crumbs: Vec<Crumb>,
    pub(in super::super) name: String,
    pub(in super::super) url: String,
    pub(in super::super) ends: When,
    pub(in super::super) back: String,
}

/// Makes a link and shows its address, this once.
pub(in super::super) async fn add_link(
    visit: Visit,
    Path(name): Path<String>,
    Fields(sent): Fields<LinkFields>,
) -> Answer {
    let site = named(&name)?;
    // All that can fail comes before the link is made: an address that could not be shown would be lost.
    let shell = visit.shell(Place::Sites).await?;
    let made = async {
        let wrong = || Error::invalid("days", "Choose when the link ends.").on("days");
        let days: i64 = sent.days.parse().ok().filter(|it| (1..=366).contains(it)).ok_or_else(wrong)?;
        let new = NewLink {
            note: sent.note.clone(),
            expires_ms: Some(visit.now_ms() + days * DAY_MS),
            maintenance: sent.maintenance.is_some(),
            path: sent.path.trim().to_owned(),
        };
        visit.services.create_site_link(&visit.actor, &site, new).await
    };
    match made.await {
        Ok(made) => show(&LinkMade {
            shell,
            crumbs: settings_crumbs(&site),
            name: site.to_string(),
            url: made.url,
            ends: When::at(made.link.expires_ms, visit.now_ms()),
            back: here(&site),
        }),
        Err(error) if matches!(error.kind, ErrorKind::Invalid | ErrorKind::Conflict | ErrorKind::TooLarge) => {
            let typed = [("note", sent.note), ("days", sent.days), ("path", sent.path)];
            let typed = typed.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
            let problems = Problems::of(&error, &["note", "days", "path"]);
            let wrong = Wrong { section: String::from("links"), problems, sent: typed };
            again(&error, &page(&visit, &site, None, wrong).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The question before a link is taken back.
pub(in super::super) async fn remove_link_question(visit: Visit, Path((name, link)): Path<(String, String)>) -> Answer {
    let site = named(&name)?;
    visit.actor.require(Right::ManageSites)?;
    let guests = visit.services.list_site_guests(&visit.actor, &site).await?;
    let known =
        guests.links.into_iter().find(|it| it.id == link).ok_or_else(|| Error::not_found("link of this site"))?;
    let mut facts = vec![Fact::mono("Link", known.id.as_str())];
    if !known.note.is_empty() {
        facts.push(Fact::plain("For", known.note.as_str()));
    }
    facts.push(Fact::plain("Works until", When::at(known.expires_ms, visit.now_ms()).text));
    show(&Question {
        shell: visit.shell(Place::Sites).await?,
        crumbs: settings_crumbs(&site),
        here: String::from("Take back"),
        title: String::from("Take this link back?"),
        text: vec![String::from(
            "It opens the site no longer, and whoever came in with it is asked for a password with the next page.",
        )],
        facts,
        keep: (String::from("Keep it"), here(&site)),
        act: (String::from("Take it back"), format!("/sites/{site}/links/{}/remove", escaped(&link))),
        destroys: true,
        asked: None,
        typed: None,
        hidden: Vec::new(),
        problems: Problems::none(),
    })
}

/// Takes a link back.
pub(in super::super) async fn remove_link(visit: Visit, Path((name, link)): Path<(String, String)>) -> Answer {
    let site = named(&name)?;
    visit.services.remove_site_link(&visit.actor, &site, &link).await?;
    go(&visit.services, &here(&site), Some(Notice::LinkRemoved))
}

pub(super) fn settings_crumbs(site: &crate::domain::site::SiteName) -> Vec<Crumb> {
    let mut crumbs = crumbs(Some(site));
    crumbs.push(Crumb::new("Settings", here(site)));
    crumbs
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sent(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// Of a form that shows a site of which nothing was set.
    fn patch(section: &str, sent: &BTreeMap<String, String>) -> Result<Map<String, Value>> {
        super::patch(section, sent, &Values::of(&SiteSettings::default()))
    }

    #[test]
    fn a_form_is_the_patch_of_its_section_and_of_no_other() {
        let form = sent(&[
            ("maintenance.on", "on"),
            ("maintenance.text", " Soon. "),
            ("maintenance.retry_after_s", ""),
            ("maintenance.allow", "192.0.2.1\r\n 10.0.0.0/8, ::1"),
            ("access.mode", "form"),
        ]);
        let wanted = json!({ "maintenance": {
            "on": true, "text": "Soon.", "retry_after_s": null, "allow": ["192.0.2.1", "10.0.0.0/8", "::1"],
        } });
        assert_eq!(Value::Object(patch("maintenance", &form).unwrap()), wanted);
        let none = json!({ "addresses": { "https": "both", "hsts": null } });
        let form = sent(&[("addresses.https", "both"), ("addresses.hsts.preload", "on")]);
        assert_eq!(Value::Object(patch("addresses", &form).unwrap()), none);
        assert_eq!(patch("cors", &sent(&[("cors.max_age_s", "ten")])).unwrap_err().field, Some("cors.max_age_s"));
        assert_eq!(
            patch("traffic", &sent(&[("traffic.budget_bytes", "a lot")])).unwrap_err().field,
            Some("traffic.budget_bytes")
        );
        let traffic = json!({ "traffic": { "budget_bytes": 100_000_000_000_u64, "when_used_up": "stop" } });
        let form = sent(&[("traffic.budget_bytes", "100 GB"), ("traffic.when_used_up", "stop")]);
        assert_eq!(Value::Object(patch("traffic", &form).unwrap()), traffic);
        assert_eq!(patch("errors", &sent(&[("errors.404", "/x.html")])).unwrap()["errors"]["404"], "/x.html");
        assert!(fields_of("guests").is_empty() && fields_of("").is_empty());
        let form = sent(&[
            ("caching.edge", "on"),
            ("caching.tags", "blog /blog/*\r\n news\t/a b \r\n\r\nblog /feed.xml\nbare"),
        ]);
        let tags = json!({ "blog": ["/blog/*", "/feed.xml"], "news": ["/a b"], "bare": [] });
        let wanted = json!({ "caching": { "edge": true, "edge_max_age_s": null, "tags": tags } });
        assert_eq!(Value::Object(patch("caching", &form).unwrap()), wanted);
    }

    /// Each form shows what is set, and sends it back as it was.
    #[test]
    fn what_is_shown_is_what_is_sent_back() {
        let document = json!({
            "addresses": { "canonical": "a.example.org", "https": "always", "hsts": { "max_age_s": 300, "subdomains": true } },
            "maintenance": { "on": true, "text": "Soon.", "retry_after_s": 60, "allow": ["::1"], "page": "/a.html" },
            "access": { "mode": "form", "paths": ["/a", "/b c"], "session_hours": 2 },
            "hotlink": { "on": true, "extensions": ["png"], "allow": ["a.example"], "without_referer": false },
            "cors": { "origins": ["https://a.example"], "methods": ["PUT"], "headers": ["x-a"], "expose": ["x-b"], "max_age_s": 1, "credentials": true, "paths": ["/a"] },
            "errors": { "404": "/x.html", "504": "/y.html" },
            "traffic": { "budget_bytes": 1_500_000_000, "when_used_up": "stop" },
            "caching": { "edge": true, "edge_max_age_s": 60, "tags": { "a": ["/a", "/b c/*"], "b": ["/b"] } },
        });
        let settings = SiteSettings::parse(&document.to_string()).unwrap();
        let values = Values::of(&settings);
        assert_eq!(values.pages(), 2);
        for section in SiteSettings::sections().into_iter().filter(|it| !fields_of(it).is_empty()) {
            assert!(super::patch(section, &values.0, &values).unwrap().is_empty(), "{section}: nobody touched it");
            let patch = patch(section, &values.0).unwrap();
            assert_eq!(settings.patched(&patch).unwrap(), settings, "{section}");
            let made = SiteSettings::default().patched(&patch).unwrap();
            assert_eq!(made.differing(&SiteSettings::default()), [section]);
        }
    }
}
