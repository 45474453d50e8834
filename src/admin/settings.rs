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
    words::{self, When},
};
use crate::base::{files, units::ByteSize};

/// General settings.
#[derive(Debug, Template)]
#[template(path = "settings/general.html")]
pub(super) struct General {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) lead: String,
    pub(super) facts: Vec<(&'static str, String)>,
}

/// The tabs of the settings; users only for who may manage them.
pub(super) fn tabs(shell: &Shell, here: &str) -> Vec<Tab> {
    let mut tabs = Tab::list(
        here,
        [
            ("General", String::from("/settings")),
            ("API keys", String::from("/settings/keys")),
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
        ("Version", version.to_owned()),
        ("Panel", services.addresses.panel()),
        ("Sites", format!("NAME.{}{}", services.addresses.sites_domain, services.addresses.port)),
        ("Started", When::at(panel.started_ms, now).text),
    ];
    if shell.manages_server {
        facts.push(("Data", services.data.display().to_string()));
        if let Ok(space) = files::space(&services.data) {
            facts.push(("Disk", format!("{} of {} free", ByteSize(space.free), ByteSize(space.total))));
        }
    }
    facts.push(("Installation", services.instance.to_string()));
    show(&General {
        tabs: tabs(&shell, "General"),
        lead: format!("Chain Host {version}, running for {}.", words::span(now - panel.started_ms)),
        shell,
        facts,
    })
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
