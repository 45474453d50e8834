//! The check of one hostname of a site: would an authority give a certificate for it?
//!
//! A page of its own, made anew with each look at it: what it shows is how things are at that moment.

use askama::Template;
use axum::extract::Path;

use super::{
    gate::Answer,
    shell::{Crumb, Place, Shell, Sign},
    sites,
    visit::{Visit, show},
};
use crate::domain::{
    Error, Result,
    access::Right,
    doctor::{Finding, Level, Report},
    site::SiteName,
};

/// What was found.
#[derive(Debug, Template)]
#[template(path = "hostnames/check.html")]
pub(super) struct Check {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) site: String,
    pub(super) hostname: String,
    /// The whole in one sentence.
    pub(super) summary: &'static str,
    /// What is not well, the worst first.
    pub(super) wrong: Vec<Row>,
    /// What is well.
    pub(super) well: Vec<Row>,
}

/// A finding.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) sign: Sign,
    /// For those who do not see the sign.
    pub(super) word: &'static str,
    pub(super) text: String,
    pub(super) seen: String,
}

impl From<Finding> for Row {
    fn from(it: Finding) -> Self {
        let (sign, word) = match it.level {
            Level::Good => (Sign::Ok, "Well:"),
            Level::Warning => (Sign::Look, "To look at:"),
            Level::Problem => (Sign::Bad, "In the way:"),
        };
        Self { sign, word, text: it.text, seen: it.seen }
    }
}

impl Check {
    pub(super) fn new(shell: Shell, site: &str, report: Report) -> Self {
        let summary = match report.worst() {
            Level::Good => "Nothing stands in the way of a certificate.",
            Level::Warning => "A certificate can come. Something is worth a look all the same.",
            Level::Problem => "No certificate would come as things are.",
        };
        let (well, wrong): (Vec<Finding>, Vec<Finding>) =
            report.findings.into_iter().partition(|it| it.level == Level::Good);
        Self {
            shell,
            crumbs: vec![
                Crumb::new("Sites", "/sites"),
                Crumb::new(site, format!("/sites/{site}")),
                Crumb::new("Hostnames", format!("/sites/{site}/hostnames")),
            ],
            site: site.to_owned(),
            hostname: report.host,
            summary,
            wrong: wrong.into_iter().map(Row::from).collect(),
            well: well.into_iter().map(Row::from).collect(),
        }
    }
}

/// Looks at a hostname of the site.
pub(super) async fn check(visit: Visit, Path((name, hostname)): Path<(String, String)>) -> Answer {
    let name = sites::named(&name)?;
    has(&visit, &name, &hostname).await?;
    let report = visit.services.check_hostname(&visit.actor, &hostname).await?;
    let shell = visit.shell(Place::Sites).await?;
    show(&Check::new(shell, name.as_str(), report))
}

/// Only what the site has is checked from its page.
async fn has(visit: &Visit, name: &SiteName, hostname: &str) -> Result<()> {
    visit.actor.require(Right::ManageSites)?;
    let found = visit.services.get_site(&visit.actor, name).await?;
    let is_own = format!("{name}.{}", visit.services.addresses.sites_domain) == hostname;
    if is_own || found.hostnames.iter().any(|it| it == hostname) { Ok(()) } else { Err(Error::not_found("hostname")) }
}
