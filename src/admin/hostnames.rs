//! Hostnames of a site: those that it has, and one more.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;

use super::{
    certificates::HostnameStanding,
    form::Problems,
    gate::Answer,
    questions::Question,
    shell::{Crumb, Notice, Place, Shell, Tab},
    sites,
    visit::{Fields, Visit, again, go, show},
};
use crate::domain::{Error, Kind, Result, access::Right, site::SiteName};

/// The hostnames of a site.
#[derive(Debug, Template)]
#[template(path = "hostnames/hostnames.html")]
pub(super) struct Hostnames {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) tabs: Vec<Tab>,
    pub(super) site: String,
    pub(super) lead: String,
    pub(super) standing: sites::Standing,
    /// The address that every site has.
    pub(super) own: String,
    pub(super) own_url: String,
    /// How it stands with its certificate.
    pub(super) own_standing: Option<HostnameStanding>,
    /// Whether an authority is asked for what has none.
    pub(super) is_asked: bool,
    pub(super) rows: Vec<HostnameRow>,
    /// What was typed.
    pub(super) hostname: String,
    pub(super) problems: Problems,
    pub(super) may_manage: bool,
}

/// A hostname that was added.
#[derive(Clone, Debug)]
pub(super) struct HostnameRow {
    pub(super) hostname: String,
    pub(super) url: String,
    pub(super) standing: Option<HostnameStanding>,
}

impl HostnameRow {
    /// Whether an authority can be asked for it now.
    fn retries(&self) -> bool {
        self.standing.as_ref().is_some_and(|it| it.can_retry)
    }
}

async fn page(visit: &Visit, name: &SiteName, hostname: String, problems: Problems) -> Result<Hostnames> {
    let found = visit.services.get_site(&visit.actor, name).await?;
    let own = found.url.split_once("://").map_or("", |(_, rest)| rest).trim_end_matches('/').to_owned();
    let addresses = &visit.services.addresses;
    let now = visit.now_ms();
    let certificates = visit.services.list_hostname_certificates(&visit.actor).await?;
    let of =
        |name: &str| certificates.iter().find(|it| it.hostname == name).and_then(|it| HostnameStanding::new(it, now));
    let rows = found.hostnames.iter().map(|it| HostnameRow {
        hostname: it.clone(),
        url: format!("{}://{it}{}/", addresses.scheme, addresses.port),
        standing: of(it),
    });
    let lead = match found.hostnames.len() {
        0 => String::from("It answers under the name that this server gave it, and under none of your own yet."),
        many => format!("It answers under {} hostnames.", many + 1),
    };
    Ok(Hostnames {
        shell: visit.shell(Place::Sites).await?,
        crumbs: vec![Crumb::new("Sites", "/sites"), Crumb::new(name.as_str(), format!("/sites/{name}"))],
        tabs: sites::tabs(name.as_str(), "Hostnames"),
        site: name.to_string(),
        lead,
        standing: sites::Standing::of(visit, &found.site),
        own_standing: of(own.split(':').next().unwrap_or_default()),
        is_asked: visit.services.acme.is_some(),
        own,
        own_url: found.url.clone(),
        rows: rows.collect(),
        hostname,
        problems,
        may_manage: visit.may(Right::ManageSites),
    })
}

/// The hostnames of a site.
pub(super) async fn list(visit: Visit, Path(name): Path<String>) -> Answer {
    show(&page(&visit, &sites::named(&name)?, String::new(), Problems::none()).await?)
}

#[derive(Deserialize)]
pub(super) struct Sent {
    hostname: String,
}

/// Gives one to the site.
pub(super) async fn add(visit: Visit, Path(name): Path<String>, Fields(sent): Fields<Sent>) -> Answer {
    let name = sites::named(&name)?;
    match visit.services.add_hostname(&visit.actor, &name, sent.hostname.trim()).await {
        Ok(()) => go(&visit.services, &format!("/sites/{name}/hostnames"), Some(Notice::HostnameAdded)),
        Err(error) if matches!(error.kind, Kind::Invalid | Kind::Conflict) => {
            let problems = Problems::with("hostname", error.message.clone());
            again(&error, &page(&visit, &name, sent.hostname, problems).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The question before one goes.
pub(super) async fn remove_question(visit: Visit, Path((name, hostname)): Path<(String, String)>) -> Answer {
    let name = sites::named(&name)?;
    visit.actor.require(Right::ManageSites)?;
    let found = visit.services.get_site(&visit.actor, &name).await?;
    let hostname =
        found.hostnames.into_iter().find(|it| *it == hostname).ok_or_else(|| Error::not_found("hostname"))?;
    show(&Question {
        shell: visit.shell(Place::Sites).await?,
        crumbs: vec![
            Crumb::new("Sites", "/sites"),
            Crumb::new(name.as_str(), format!("/sites/{name}")),
            Crumb::new("Hostnames", format!("/sites/{name}/hostnames")),
        ],
        here: String::from("Remove"),
        title: format!("Remove {hostname}?"),
        text: vec![format!("{name} no longer answers under it. Its other hostnames and its files stay.")],
        facts: Vec::new(),
        keep: (String::from("Keep it"), format!("/sites/{name}/hostnames")),
        act: (String::from("Remove the hostname"), format!("/sites/{name}/hostnames/{hostname}/remove")),
        destroys: true,
        asked: None,
        typed: None,
        hidden: Vec::new(),
        problems: Problems::none(),
    })
}

/// Takes one from the site.
pub(super) async fn remove(visit: Visit, Path((name, hostname)): Path<(String, String)>) -> Answer {
    let name = sites::named(&name)?;
    visit.services.remove_hostname(&visit.actor, &name, &hostname).await?;
    go(&visit.services, &format!("/sites/{name}/hostnames"), Some(Notice::HostnameRemoved))
}
