//! Sites: the list, a new one, one with its chain of deployments, and its settings.

use askama::Template;
use axum::extract::{Multipart, Path};
use serde::Deserialize;

use super::{
    deployments::{self, LevelRow, Outcome, Row},
    form::Problems,
    gate::Answer,
    markup::Markup,
    questions::Question,
    shell::{Crumb, Notice, Pager, Place, Shell, Sign, Tab},
    visit::{Asked, Fields, Visit, again, go, show},
    words::{self, When},
};
use crate::{
    base::limits,
    domain::{Error, Result, access::Right, deployment::DeploymentRef, site::SiteName},
    services::{Services, sites::SiteView},
};

/// All sites of the tenant.
#[derive(Debug, Template)]
#[template(path = "sites/sites.html")]
pub(super) struct Sites {
    pub(super) shell: Shell,
    /// How things are, in a sentence.
    pub(super) lead: String,
    pub(super) rows: Vec<SiteRow>,
    pub(super) pager: Pager,
    /// Shown while there is no site.
    pub(super) command: String,
}

/// A site in the list.
#[derive(Clone, Debug)]
pub(super) struct SiteRow {
    pub(super) name: String,
    pub(super) href: String,
    pub(super) hostnames: String,
    pub(super) sign: Sign,
    pub(super) words: String,
    /// Number of the live deployment and when it was published.
    pub(super) live: Option<(i64, When)>,
    pub(super) deployments: i64,
    pub(super) size: String,
}

/// The form for a new site.
#[derive(Debug, Template)]
#[template(path = "sites/new.html")]
pub(super) struct NewSite {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) name: String,
    /// `.localhost:8080`: what follows the name in its first address.
    pub(super) suffix: String,
    pub(super) command: String,
    pub(super) problems: Problems,
}

/// A site at a glance.
#[derive(Debug, Template)]
#[template(path = "sites/site.html")]
pub(super) struct Site {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) tabs: Vec<Tab>,
    pub(super) name: String,
    pub(super) url: String,
    /// The address without its scheme.
    pub(super) address: String,
    /// What follows the address in the sentence under the title.
    pub(super) lead: String,
    /// Why it is taken down, when it is.
    pub(super) taken_down: Option<String>,
    pub(super) live: Option<Live>,
    pub(super) rows: Vec<Row>,
    /// All deployments of the site.
    pub(super) total: i64,
    pub(super) hostnames: Vec<(String, String)>,
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) command: String,
    pub(super) may_deploy: bool,
}

/// The live deployment on its sheet.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) seal: Markup,
    pub(super) number: i64,
    pub(super) href: String,
    pub(super) title: String,
    pub(super) text: String,
    pub(super) hash: String,
    pub(super) levels: Vec<LevelRow>,
}

/// All deployments of a site.
#[derive(Debug, Template)]
#[template(path = "sites/deployments.html")]
pub(super) struct SiteDeployments {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) tabs: Vec<Tab>,
    pub(super) name: String,
    pub(super) lead: String,
    pub(super) rows: Vec<Row>,
    pub(super) pager: Pager,
    pub(super) may_deploy: bool,
}

/// Settings of a site, and its end.
#[derive(Debug, Template)]
#[template(path = "sites/settings.html")]
pub(super) struct SiteSettings {
    pub(super) shell: Shell,
    pub(super) crumbs: Vec<Crumb>,
    pub(super) tabs: Vec<Tab>,
    pub(super) name: String,
    pub(super) lead: String,
    pub(super) facts: Vec<(&'static str, String)>,
    /// What goes when the site is deleted.
    pub(super) consequence: String,
    pub(super) may_manage: bool,
}

/// The tabs of a site.
pub(super) fn tabs(name: &str, here: &str) -> Vec<Tab> {
    Tab::list(
        here,
        [
            ("Overview", format!("/sites/{name}")),
            ("Deployments", format!("/sites/{name}/deployments")),
            ("Hostnames", format!("/sites/{name}/hostnames")),
            ("Settings", format!("/sites/{name}/settings")),
        ],
    )
}

/// Sites of one page of the list.
const LISTED: u32 = 50;
/// Deployments on the first page of a site, and on a page of all of them.
const ROWS: u32 = 6;
const ROWS_PAGE: u32 = 30;

/// How to deploy a site from one's own machine.
pub(super) fn command(services: &Services, name: &str, create: bool) -> String {
    let create = if create { " --create" } else { "" };
    format!("chainhost deploy ./dist --site {name}{create} --server {}", services.addresses.for_commands())
}

/// The name in an address; what cannot be one is not there.
pub(super) fn named(name: &str) -> Result<SiteName> {
    SiteName::parse(name).map_err(|_| Error::not_found("site"))
}

/// An address as people say it: without scheme and closing slash.
fn bare(url: &str) -> String {
    url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/').to_owned()
}

fn crumbs(name: Option<&SiteName>) -> Vec<Crumb> {
    let mut crumbs = vec![Crumb::new("Sites", "/sites")];
    crumbs.extend(name.map(|it| Crumb::new(it.as_str(), format!("/sites/{it}"))));
    crumbs
}

fn site_row(of: &SiteView, now_ms: i64) -> SiteRow {
    let (sign, words) = match (&of.site.taken_down, &of.live) {
        (Some(_), _) => (Sign::Look, "Taken down"),
        (None, Some(_)) => (Sign::Ok, "Up"),
        (None, None) => (Sign::Todo, "Empty"),
    };
    let own = bare(&of.url);
    let more = of.hostnames.len().saturating_sub(1);
    let hostnames = match of.hostnames.first() {
        None => own,
        Some(first) if more == 0 => format!("{first}, {own}"),
        Some(first) => format!("{first} and {} more", more + 1),
    };
    SiteRow {
        name: of.site.name.to_string(),
        href: format!("/sites/{}", of.site.name),
        hostnames,
        sign,
        words: words.to_owned(),
        live: of.live.as_ref().map(|it| (it.number, When::at(of.published_ms.unwrap_or(it.created_ms), now_ms))),
        deployments: of.deployments,
        size: of.live.as_ref().map(|it| words::size(it.bytes)).unwrap_or_default(),
    }
}

#[derive(Deserialize)]
pub(super) struct After {
    #[serde(default)]
    after: String,
}

/// The list.
pub(super) async fn list(visit: Visit, Asked(asked): Asked<After>) -> Answer {
    let now = visit.now_ms();
    let counts = visit.services.counts(&visit.actor).await?;
    let mut found = visit.services.list_sites(&visit.actor, &asked.after, LISTED + 1).await?;
    let more = found.len() > usize::try_from(LISTED).unwrap_or(usize::MAX);
    found.truncate(usize::try_from(LISTED).unwrap_or(usize::MAX));
    let next = found.last().filter(|_| more).map(|it| format!("/sites?after={}", it.site.name));
    let first = (!asked.after.is_empty()).then(|| String::from("/sites"));
    let shown = if first.is_none() && next.is_none() {
        String::new()
    } else {
        format!("{} of {}", found.len(), words::thousands(counts.sites))
    };
    let lead = if counts.sites == 0 {
        String::from("There is none yet.")
    } else {
        format!(
            "{}, {} of them live; {} of your own.",
            words::count(counts.sites, "site", "sites"),
            words::thousands(counts.live),
            words::count(counts.hostnames, "hostname", "hostnames")
        )
    };
    show(&Sites {
        shell: visit.shell(Place::Sites).await?,
        lead,
        rows: found.iter().map(|it| site_row(it, now)).collect(),
        pager: Pager { shown, first, next },
        command: command(&visit.services, "my-site", true),
    })
}

async fn new_page(visit: &Visit, name: String, problems: Problems) -> Result<NewSite> {
    let addresses = &visit.services.addresses;
    Ok(NewSite {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(None),
        name,
        suffix: format!(".{}{}", addresses.sites_domain, addresses.port),
        command: command(&visit.services, "my-site", true),
        problems,
    })
}

/// The form for a new site.
pub(super) async fn new_form(visit: Visit) -> Answer {
    visit.actor.require(Right::CreateSites)?;
    show(&new_page(&visit, String::new(), Problems::none()).await?)
}

/// Makes a site, with its first deployment when an archive came along.
pub(super) async fn create(visit: Visit, form: Multipart) -> Answer {
    let (upload, outcome) = deployments::receive(&visit, None, form).await;
    match outcome {
        Outcome::Begun(name, begun) => deployments::begun_page(&visit, &name, &begun),
        Outcome::Empty(name) => go(&visit.services, &format!("/sites/{name}"), Some(Notice::SiteCreated)),
        Outcome::Refused(name, error) => deployments::refused(&visit, &name, upload, error).await,
        Outcome::NotMade(error) if deployments::is_about_the_form(&error) => {
            let problems = Problems::of(&error, &["name"]);
            again(&error, &new_page(&visit, upload.name, problems).await?)
        }
        Outcome::NotMade(error) => Err(error.into()),
    }
}

/// A site at a glance.
pub(super) async fn site(visit: Visit, Path(name): Path<String>) -> Answer {
    let (name, now) = (named(&name)?, visit.now_ms());
    let found = visit.services.get_site(&visit.actor, &name).await?;
    let rows = visit.services.list_deployments(&visit.actor, &name, None, ROWS).await?;
    let may_deploy = visit.may(Right::Deploy);
    let number = found.live.as_ref().map(|it| it.number);
    let live = match number {
        Some(number) => {
            let view = visit.services.get_deployment(&visit.actor, &name, DeploymentRef::Number(number)).await?;
            Some(deployments::live(&view, found.published_ms, now))
        }
        None => None,
    };
    let lead = match found.hostnames.len() {
        0 => String::new(),
        1 => format!(" and {}", found.hostnames.first().map_or("", String::as_str)),
        many => format!(" and {many} more hostnames"),
    };
    let mut hostnames = vec![(bare(&found.url), String::from("Always there"))];
    hostnames.extend(found.hostnames.iter().map(|it| (it.clone(), String::from("Your own"))));
    let mut facts = vec![("Made", When::at(found.site.created_ms, now).text)];
    facts.extend(found.site.watch_folder.clone().map(|it| ("Watches", it)));
    facts.push(("Kept", kept()));
    show(&Site {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(None),
        tabs: tabs(name.as_str(), "Overview"),
        address: bare(&found.url),
        url: found.url,
        lead,
        taken_down: found.site.taken_down,
        live,
        rows: rows.iter().map(|it| deployments::row(it, number, may_deploy, now)).collect(),
        total: found.deployments,
        hostnames,
        facts,
        command: command(&visit.services, name.as_str(), false),
        may_deploy,
        name: name.to_string(),
    })
}

fn kept() -> String {
    format!("{} deployments, the live one and the one before", limits::DEPLOYMENTS_KEPT)
}

#[derive(Deserialize)]
pub(super) struct Below {
    below: Option<i64>,
}

/// All deployments of a site.
pub(super) async fn all_deployments(visit: Visit, Path(name): Path<String>, Asked(asked): Asked<Below>) -> Answer {
    let (name, now) = (named(&name)?, visit.now_ms());
    let found = visit.services.get_site(&visit.actor, &name).await?;
    let mut rows = visit.services.list_deployments(&visit.actor, &name, asked.below, ROWS_PAGE + 1).await?;
    let more = rows.len() > usize::try_from(ROWS_PAGE).unwrap_or(usize::MAX);
    rows.truncate(usize::try_from(ROWS_PAGE).unwrap_or(usize::MAX));
    let here = format!("/sites/{name}/deployments");
    let next = rows.last().filter(|_| more).map(|it| format!("{here}?below={}", it.deployment.number));
    let first = asked.below.is_some().then_some(here);
    let shown = if first.is_none() && next.is_none() {
        String::new()
    } else {
        format!("{} of {}", rows.len(), words::thousands(found.deployments))
    };
    let number = found.live.as_ref().map(|it| it.number);
    let is_live = number.map_or_else(|| String::from("none is live"), |it| format!("{it} is live"));
    let may_deploy = visit.may(Right::Deploy);
    show(&SiteDeployments {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(Some(&name)),
        tabs: tabs(name.as_str(), "Deployments"),
        lead: format!("{} kept; {is_live}.", words::count(found.deployments, "deployment", "deployments")),
        rows: rows.iter().map(|it| deployments::row(it, number, may_deploy, now)).collect(),
        pager: Pager { shown, first, next },
        may_deploy,
        name: name.to_string(),
    })
}

/// Settings of a site.
pub(super) async fn settings(visit: Visit, Path(name): Path<String>) -> Answer {
    let name = named(&name)?;
    let found = visit.services.get_site(&visit.actor, &name).await?;
    let mut facts = vec![("Address", bare(&found.url)), ("Kept", kept())];
    facts.push((
        "Watches",
        found
            .site
            .watch_folder
            .clone()
            .unwrap_or_else(|| String::from("no folder; files come by upload and command line")),
    ));
    show(&SiteSettings {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(Some(&name)),
        tabs: tabs(name.as_str(), "Settings"),
        lead: String::from("It serves what was deployed and nothing else."),
        facts,
        consequence: consequence(&found),
        may_manage: visit.may(Right::ManageSites),
        name: name.to_string(),
    })
}

fn consequence(of: &SiteView) -> String {
    let hostnames = i64::try_from(of.hostnames.len()).unwrap_or(i64::MAX).saturating_add(1);
    format!(
        "{} at once, and {} with their previews. This cannot be undone.",
        if hostnames == 1 {
            String::from("Its hostname stops answering")
        } else {
            format!("All {hostnames} hostnames stop answering")
        },
        if of.deployments == 1 {
            String::from("its one deployment goes")
        } else {
            format!("its {} deployments go", of.deployments)
        },
    )
}

async fn delete_page(visit: &Visit, name: &SiteName, problems: Problems) -> Result<Question> {
    visit.actor.require(Right::ManageSites)?;
    let found = visit.services.get_site(&visit.actor, name).await?;
    Ok(Question {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(Some(name)),
        here: String::from("Delete"),
        title: format!("Delete {name}?"),
        text: vec![
            consequence(&found),
            String::from(
                "What was written to the audit log stays. The name rests for 30 days before another tenant can take it.",
            ),
        ],
        facts: Vec::new(),
        keep: (String::from("Keep the site"), format!("/sites/{name}")),
        act: (String::from("Delete the site"), format!("/sites/{name}/delete")),
        destroys: true,
        typed: Some(name.to_string()),
        hidden: Vec::new(),
        problems,
    })
}

/// The question before a site goes.
pub(super) async fn delete_question(visit: Visit, Path(name): Path<String>) -> Answer {
    show(&delete_page(&visit, &named(&name)?, Problems::none()).await?)
}

#[derive(Deserialize)]
pub(super) struct Confirm {
    #[serde(default)]
    confirm: String,
}

/// Deletes a site whose name was typed.
pub(super) async fn delete(visit: Visit, Path(name): Path<String>, Fields(sent): Fields<Confirm>) -> Answer {
    let name = named(&name)?;
    if sent.confirm.trim() != name.as_str() {
        let text = format!("Type {name} to delete it. Nothing was deleted.");
        let error = Error::invalid("confirm", text.clone());
        return again(&error, &delete_page(&visit, &name, Problems::with("confirm", text)).await?);
    }
    visit.services.delete_site(&visit.actor, &name).await?;
    go(&visit.services, "/sites", Some(Notice::SiteDeleted))
}
