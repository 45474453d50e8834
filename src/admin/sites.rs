//! Sites: the list, a new one, one with its chain of deployments; its rules are in `rules`, its settings and its end in `settings`, the
//! forms for what is set around its files in `around`, those with lists in `lists`, on the pages `protection` and `upstreams`.

mod around;
mod lists;
mod protection;
mod rows;
mod rules;
mod settings;
mod traffic;
mod upstreams;

use askama::Template;
use axum::extract::{Multipart, Path};
use serde::Deserialize;

use super::{
    deployments::{self, LevelRow, Outcome, Row},
    form::Problems,
    gate::Answer,
    markup::Markup,
    shell::{Crumb, Notice, Pager, Place, Shell, Sign, Tab},
    visit::{Asked, Visit, again, go, show},
    words::{self, Fact, When},
};
use crate::{
    base::limits,
    domain::{
        Error, Result,
        access::Right,
        deployment::DeploymentRef,
        site::{Site as Stored, SiteName},
    },
    services::{Services, sites::SiteView},
};

pub(super) use self::around::{
    add_link, add_person, remove_link, remove_link_question, remove_person, remove_person_question,
};
pub(super) use self::lists::{save, save_routes};
pub(super) use self::protection::protection;
pub(super) use self::rules::rules;
pub(super) use self::settings::{
    delete, delete_question, purge, put_back, put_back_question, settings, stop_watching, take_down,
    take_down_question, watch,
};
pub(super) use self::traffic::traffic;
pub(super) use self::upstreams::routes;
#[cfg(test)]
pub(super) use self::{
    around::{LinkMade, LinkRow, PersonRow, Values},
    lists::Section,
    protection::{Form, MetRow, ShutOut, SiteProtection, lead as protection_lead},
    rules::{Asking, BlockRow, Choice, Given, HeadRow, RedirectRow, SiteRules},
    settings::{Month, SiteSettings, Watch, Wrong, parts},
    traffic::{Budget, Choice as TrafficSpan, SiteTraffic, Told, lead as traffic_lead},
    upstreams::{SiteProxy, lead as proxy_lead, rows as proxy_rows},
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
    /// The one other hostname and its address.
    pub(super) other: Option<(String, String)>,
    /// What follows the addresses in the sentence under the title.
    pub(super) lead: String,
    pub(super) standing: Standing,
    pub(super) live: Option<Live>,
    pub(super) rows: Vec<Row>,
    /// All deployments of the site.
    pub(super) total: i64,
    /// Hostname, address, note.
    pub(super) hostnames: Vec<(String, String, &'static str)>,
    pub(super) facts: Vec<Fact>,
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
    pub(super) standing: Standing,
    pub(super) rows: Vec<Row>,
    pub(super) pager: Pager,
    pub(super) may_deploy: bool,
}

/// What one should know of a site on each of its pages.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    pub(super) name: String,
    /// Why it is taken down, when it is.
    pub(super) taken_down: Option<String>,
    /// The folder that it is deployed from.
    pub(super) folder: Option<String>,
    /// What keeps the folder from being deployed.
    pub(super) problem: Option<String>,
    pub(super) may_manage: bool,
}

impl Standing {
    /// Whether there is anything to know.
    pub(super) const fn any(&self) -> bool {
        self.taken_down.is_some() || self.folder.is_some()
    }

    /// How `site` stands.
    pub(super) fn of(visit: &Visit, site: &Stored) -> Self {
        Self {
            name: site.name.to_string(),
            taken_down: site.taken_down.clone(),
            folder: site.watch_folder.clone(),
            problem: visit.services.find_watching(site).and_then(|it| it.problem),
            may_manage: visit.may(Right::ManageSites),
        }
    }
}

/// The tabs of a site.
pub(super) fn tabs(name: &str, here: &str) -> Vec<Tab> {
    Tab::list(
        here,
        [
            ("Overview", format!("/sites/{name}")),
            ("Deployments", format!("/sites/{name}/deployments")),
            ("Traffic", format!("/sites/{name}/traffic")),
            ("Rules", format!("/sites/{name}/rules")),
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
    format!("chainhost deploy ./dist --site {name}{create} --server {}", services.addresses.panel())
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
    let shown = of.live.as_ref().filter(|_| of.site.taken_down.is_none());
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
        live: shown.map(|it| (it.number, When::at(of.published_ms.unwrap_or(it.created_ms), now_ms))),
        deployments: of.deployments,
        size: shown.map(|it| words::size(it.bytes)).unwrap_or_default(),
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
    let some_down = found.iter().any(|it| it.site.taken_down.is_some());
    let lead = lead(counts.sites, counts.live, counts.hostnames, some_down);
    show(&Sites {
        shell: visit.shell(Place::Sites).await?,
        lead,
        rows: found.iter().map(|it| site_row(it, now)).collect(),
        pager: Pager { shown, first, next },
        command: command(&visit.services, "my-site", true),
    })
}

/// How the sites are, in a sentence.
fn lead(sites: i64, live: i64, hostnames: i64, some_down: bool) -> String {
    let up = match (sites, live) {
        (0, _) => return String::from("There is none yet."),
        (1, 1) => String::from("One site, and it is live"),
        (1, _) if some_down => String::from("One site, which is taken down"),
        (1, _) => String::from("One site, which shows nothing"),
        (all, live) if all == live => format!("{} sites, all of them live", words::thousands(all)),
        (all, live) => format!("{} sites, {} of them live", words::thousands(all), words::thousands(live)),
    };
    let own = match hostnames {
        0 => String::from("no hostname of your own yet"),
        many => format!("{} of your own", words::count(many, "hostname", "hostnames")),
    };
    format!("{up}; {own}.")
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
        0 | 1 => String::new(),
        many => format!(" and {many} more hostnames"),
    };
    let addresses = &visit.services.addresses;
    let url = |it: &String| format!("{}://{it}{}/", addresses.scheme, addresses.port);
    let mut hostnames = vec![(bare(&found.url), found.url.clone(), "Always there")];
    hostnames.extend(found.hostnames.iter().map(|it| (it.clone(), url(it), "Your own")));
    let other = match found.hostnames.as_slice() {
        [one] => Some((one.clone(), url(one))),
        _ => None,
    };
    let mut facts = vec![Fact::plain("Made", When::at(found.site.created_ms, now).text)];
    facts.extend(found.site.watch_folder.as_deref().map(|it| Fact::path("Watches", it)));
    facts.push(Fact::plain("Kept", kept()));
    show(&Site {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(None),
        tabs: tabs(name.as_str(), "Overview"),
        address: bare(&found.url),
        url: found.url,
        other,
        lead,
        standing: Standing::of(&visit, &found.site),
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
    let is_live = match number {
        None => String::from("none is live"),
        Some(it) if found.site.taken_down.is_some() => format!("{it} comes back when the site does"),
        Some(it) => format!("{it} is live"),
    };
    let may_deploy = visit.may(Right::Deploy);
    show(&SiteDeployments {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(Some(&name)),
        tabs: tabs(name.as_str(), "Deployments"),
        lead: format!("{} kept; {is_live}.", words::count(found.deployments, "deployment", "deployments")),
        standing: Standing::of(&visit, &found.site),
        rows: rows.iter().map(|it| deployments::row(it, number, may_deploy, now)).collect(),
        pager: Pager { shown, first, next },
        may_deploy,
        name: name.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::lead;

    #[test]
    fn the_list_says_how_the_sites_are() {
        assert_eq!(lead(0, 0, 0, false), "There is none yet.");
        assert_eq!(lead(1, 1, 0, false), "One site, and it is live; no hostname of your own yet.");
        assert_eq!(lead(1, 0, 1, false), "One site, which shows nothing; 1 hostname of your own.");
        assert_eq!(lead(1, 0, 0, true), "One site, which is taken down; no hostname of your own yet.");
        assert_eq!(lead(3, 3, 2, false), "3 sites, all of them live; 2 hostnames of your own.");
        assert_eq!(lead(1_400, 13, 2, false), "1,400 sites, 13 of them live; 2 hostnames of your own.");
    }
}
