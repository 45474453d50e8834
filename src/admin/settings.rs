//! Settings: how this browser shows the panel, and what this server is.

use askama::Template;
use axum::extract::State;
use hyper::header::SET_COOKIE;
use serde::Deserialize;

use super::{
    Panel, cookies,
    gate::Answer,
    shell::{Notice, Place, Shell, Tab, Theme},
    visit::{Fields, Visit, go, show},
    words::{self, Fact, When},
};
use crate::base::{countries::Countries, files, units::ByteSize};

/// General settings.
#[derive(Debug, Template)]
#[template(path = "settings/general.html")]
pub(super) struct General {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) lead: String,
    pub(super) facts: Vec<Fact>,
    /// Where the data is; empty for who may not manage the server.
    pub(super) stores: Vec<Fact>,
}

/// The tabs of the settings; users only for who may manage them.
pub(super) fn tabs(shell: &Shell, here: &str) -> Vec<Tab> {
    let mut tabs = Tab::list(
        here,
        [
            ("General", String::from("/settings")),
            ("API keys", String::from("/settings/keys")),
            ("Certificates", String::from("/settings/certificates")),
            ("Bans", String::from("/settings/bans")),
            ("Sessions", String::from("/settings/sessions")),
            ("Password", String::from("/settings/password")),
        ],
    );
    if shell.manages_tenant {
        tabs.extend(Tab::list(here, [("Users", String::from("/settings/users"))]));
    }
    if shell.manages_server {
        tabs.extend(Tab::list(here, [("Nodes", String::from("/settings/nodes"))]));
    }
    tabs
}

/// The page.
pub(super) async fn general(State(panel): State<Panel>, visit: Visit) -> Answer {
    let shell = visit.shell(Place::Settings).await?;
    let services = &visit.services;
    let now = visit.now_ms();
    let version = env!("CARGO_PKG_VERSION");
    let mut facts = vec![
        Fact::plain("Version", version),
        Fact::plain("Panel", services.addresses.panel()),
        Fact::plain("Sites", format!("NAME.{}{}", services.addresses.sites_domain, services.addresses.port)),
        Fact::plain("Started", When::at(panel.started_ms, now).text),
    ];
    let mut stores = Vec::new();
    if shell.manages_server {
        let found = services.find_stores(&visit.actor)?;
        let lines = [("Database", &found.database), ("Queue", &found.queue), ("Cache", &found.cache)];
        stores.extend(lines.map(|(name, value)| Fact::words_and_paths(name, value)));
        stores.push(Fact::files("Files", found));
        stores.extend(countries(&services.outside.countries, now));
        facts.push(Fact::path("Data folder", &services.data.display().to_string()));
        if let Ok(space) = files::space(&services.data) {
            facts.push(Fact::plain("Disk", format!("{} of {} free", ByteSize(space.free), ByteSize(space.total))));
        }
    }
    facts.push(Fact::id("Installation", &services.instance.to_string()));
    show(&General {
        tabs: tabs(&shell, "General"),
        lead: format!("Chain Host {version}, running for {}.", words::span(now - panel.started_ms)),
        shell,
        facts,
        stores,
    })
}

/// The database of countries, where one is named: a file that is old tells of a year ago.
fn countries(countries: &Countries, now: i64) -> Option<Fact> {
    let path = countries.path()?.display().to_string();
    let about = countries.about().map(|it| format!("{}, made {}", it.kind, When::at(it.built_ms, now).text));
    let text = match (about, countries.fault()) {
        (Some(about), None) => format!("{about}, in {path}"),
        (Some(about), Some(_)) => {
            format!("{about}; the file that is now at {path} cannot be read, and the server's log says why")
        }
        (None, _) => format!("None: {path} cannot be read, and the server's log says why"),
    };
    Some(Fact::words_and_paths("Countries", &text))
}

#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    theme: String,
}

/// Keeps the theme in this browser.
pub(super) async fn theme(visit: Visit, Fields(sent): Fields<Sent>) -> Answer {
    let mut response = go(&visit.services, "/settings", Some(Notice::ThemeChosen))?;
    if let Some(cookie) = cookies::set_theme(Theme::parse(&sent.theme)) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}
