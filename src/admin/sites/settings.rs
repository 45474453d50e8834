//! Settings of a site: the folder that it is deployed from, taking it down and putting it back, and its end.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;

use super::{
    super::{
        form::Problems,
        gate::Answer,
        questions::{Question, TextField},
        shell::{Crumb, Notice, Place, Shell, Sign, Tab},
        visit::{Fields, Visit, again, go, show},
        words::{self, Fact, When},
    },
    Standing,
    around::{LinkRow, PersonRow, Values, rows},
    bare, crumbs, kept, named, tabs,
    traffic::{self, Budget},
};
use crate::{
    domain::{
        Error, Kind, Result,
        access::Right,
        site::SiteName,
        site_settings::traffic::{Traffic, WhenUsedUp},
    },
    services::{sites::SiteView, traffic::Used},
};

/// Settings of a site, and its end.
#[derive(Debug, Template)]
#[template(path = "sites/settings.html")]
pub(in super::super) struct SiteSettings {
    pub(in super::super) shell: Shell,
    pub(in super::super) crumbs: Vec<Crumb>,
    pub(in super::super) tabs: Vec<Tab>,
    pub(in super::super) parts: Vec<Tab>,
    pub(in super::super) name: String,
    pub(in super::super) lead: String,
    pub(in super::super) standing: Standing,
    pub(in super::super) facts: Vec<Fact>,
    pub(in super::super) watch: Option<Watch>,
    /// The path in the form.
    pub(in super::super) folder: String,
    pub(in super::super) wrong: Wrong,
    /// What is set, or was typed.
    pub(in super::super) values: Values,
    /// What of it does not do what it seems to.
    pub(in super::super) doubts: Vec<String>,
    pub(in super::super) hostnames: Vec<String>,
    /// Those that caches in front of the server are known to have.
    pub(in super::super) cached: Vec<String>,
    pub(in super::super) may_purge: bool,
    pub(in super::super) month: Month,
    pub(in super::super) people: Vec<PersonRow>,
    pub(in super::super) links: Vec<LinkRow>,
    /// What goes when the site is deleted.
    pub(in super::super) consequence: String,
    pub(in super::super) may_manage: bool,
    /// Whether they may name a folder of the server.
    pub(in super::super) may_watch: bool,
}

/// The traffic of the month that is under way.
#[derive(Clone, Debug)]
pub(in super::super) struct Month {
    /// `91 GB were sent in November so far.`
    pub(in super::super) sent: String,
    /// Against what it may be, where that is set.
    pub(in super::super) budget: Option<Budget>,
}

/// The pages of the settings of a site.
pub(in super::super) fn parts(name: &str, here: &str) -> Vec<Tab> {
    let at = format!("/sites/{name}/settings");
    Tab::list(
        here,
        [("General", at.clone()), ("Protection", format!("{at}/protection")), ("Proxy", format!("{at}/proxy"))],
    )
}

/// A form of the page that was refused.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Wrong {
    /// Which of them.
    pub(in super::super) section: String,
    pub(in super::super) problems: Problems,
    /// What was typed.
    pub(in super::super) sent: BTreeMap<String, String>,
}

impl Wrong {
    /// None was.
    pub(super) fn none() -> Self {
        Self::default()
    }

    fn with(section: &str, problems: Problems) -> Self {
        Self { section: section.to_owned(), problems, sent: BTreeMap::new() }
    }
}

impl SiteSettings {
    /// What is wrong with one of the forms.
    fn of(&self, section: &str) -> Problems {
        if self.wrong.section == section { self.wrong.problems.clone() } else { Problems::none() }
    }

    /// Text of a form without settings of its own.
    fn typed(&self, section: &str, key: &str) -> &str {
        let sent = self.wrong.sent.get(key).filter(|_| self.wrong.section == section);
        sent.map_or("", String::as_str)
    }
}

/// The watched folder of a site.
#[derive(Clone, Debug)]
pub(in super::super) struct Watch {
    pub(in super::super) folder: String,
    /// When it was looked at last; absent before the first look.
    pub(in super::super) looked: Option<When>,
    pub(in super::super) problem: Option<String>,
}

pub(super) async fn page(visit: &Visit, name: &SiteName, folder: Option<String>, wrong: Wrong) -> Result<SiteSettings> {
    let settings = visit.services.get_site_settings(&visit.actor, name).await?;
    // The page is of use without them.
    let doubts = visit.services.doubts_of_settings(&visit.actor, name, &settings).await.unwrap_or_default();
    let mut values = Values::of(&settings);
    let month = month(visit, name, &settings.traffic).await?;
    values.typed(&wrong.section, &wrong.sent);
    let (people, links) = rows(name.as_str(), settings.guests, visit.now_ms());
    let found = visit.services.get_site(&visit.actor, name).await?;
    let watching = visit.services.find_watching(&found.site);
    let watch = found.site.watch_folder.clone().map(|folder| Watch {
        folder,
        looked: watching.as_ref().map(|it| When::at(it.looked_ms, visit.now_ms())),
        problem: watching.and_then(|it| it.problem),
    });
    // The section below says more of the folder than the notice would.
    let standing = Standing { folder: None, ..Standing::of(visit, &found.site) };
    Ok(SiteSettings {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(Some(name)),
        tabs: tabs(name.as_str(), "Settings"),
        parts: parts(name.as_str(), "General"),
        lead: String::from("It serves what was deployed and nothing else."),
        standing,
        facts: vec![Fact::plain("Address", bare(&found.url)), Fact::plain("Kept", kept())],
        folder: folder.or_else(|| found.site.watch_folder.clone()).unwrap_or_default(),
        watch,
        wrong,
        values,
        doubts,
        hostnames: found.hostnames.clone(),
        cached: visit.services.list_edge_hosts(&visit.actor, name).await?,
        may_purge: visit.may(Right::Deploy),
        month,
        people,
        links,
        consequence: consequence(&found),
        may_manage: visit.may(Right::ManageSites),
        may_watch: visit.may(Right::ManageServer),
        name: name.to_string(),
    })
}

/// How much of its traffic of a month the site has used.
async fn month(visit: &Visit, name: &SiteName, set: &Traffic) -> Result<Month> {
    let used = visit.services.get_sent_in_month(&visit.actor, name).await?;
    let stops = set.when_used_up == WhenUsedUp::Stop;
    let budget = set.budget_bytes.map(|budget| Budget::of(Used { sent: used, budget, stops }, visit.now_ms()));
    Ok(Month { sent: traffic::sent(used, visit.now_ms()), budget })
}

/// Settings of a site.
pub(in super::super) async fn settings(visit: Visit, Path(name): Path<String>) -> Answer {
    show(&page(&visit, &named(&name)?, None, Wrong::none()).await?)
}

pub(super) fn here(name: &SiteName) -> String {
    format!("/sites/{name}/settings")
}

#[derive(Deserialize)]
pub(in super::super) struct Folder {
    folder: String,
}

/// Deploys the site from a folder on this server from now on.
pub(in super::super) async fn watch(visit: Visit, Path(name): Path<String>, Fields(sent): Fields<Folder>) -> Answer {
    let name = named(&name)?;
    let folder = sent.folder.trim().to_owned();
    match visit.services.change_watch_folder(&visit.actor, &name, Some(folder.clone())).await {
        Ok(()) => go(&visit.services, &here(&name), Some(Notice::WatchBegun)),
        Err(error) if error.kind == Kind::Invalid => {
            let wrong = Wrong::with("watch", Problems::of(&error, &["folder"]));
            again(&error, &page(&visit, &name, Some(folder), wrong).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Has caches in front of the server purged of the site.
pub(in super::super) async fn purge(visit: Visit, Path(name): Path<String>) -> Answer {
    let name = named(&name)?;
    visit.services.purge_site(&visit.actor, &name, Vec::new(), Vec::new()).await?;
    go(&visit.services, &here(&name), Some(Notice::Purged))
}

/// Deploys it from no folder any more.
pub(in super::super) async fn stop_watching(visit: Visit, Path(name): Path<String>) -> Answer {
    let name = named(&name)?;
    visit.services.change_watch_folder(&visit.actor, &name, None).await?;
    go(&visit.services, &here(&name), Some(Notice::WatchEnded))
}

#[derive(Default, Deserialize)]
pub(in super::super) struct Reason {
    #[serde(default)]
    reason: String,
}

async fn take_down_page(visit: &Visit, name: &SiteName, typed: Option<String>, problems: Problems) -> Result<Question> {
    visit.actor.require(Right::ManageSites)?;
    let found = visit.services.get_site(&visit.actor, name).await?;
    let before = found.site.taken_down;
    let down = before.is_some();
    Ok(Question {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(Some(name)),
        here: String::from("Take down"),
        title: if down { format!("Another reason for {name}?") } else { format!("Take {name} down?") },
        text: vec![
            String::from(
                "All of its hostnames and previews answer with your reason and nothing else, at once. No search engine keeps that page.",
            ),
            String::from("Its deployments and settings stay. You can put it back as it was."),
        ],
        facts: Vec::new(),
        keep: if down {
            (String::from("Keep the reason"), here(name))
        } else {
            (String::from("Keep the site up"), here(name))
        },
        act: (
            String::from(if down { "Change the reason" } else { "Take the site down" }),
            format!("/sites/{name}/take-down"),
        ),
        destroys: !down,
        asked: Some(TextField {
            key: "reason",
            words: "Why, for visitors",
            hint: "One sentence. Everybody who opens the site reads it.",
            value: typed.or(before).unwrap_or_default(),
            max: 500,
        }),
        typed: None,
        hidden: Vec::new(),
        problems,
    })
}

/// The question before a site is taken down.
pub(in super::super) async fn take_down_question(visit: Visit, Path(name): Path<String>) -> Answer {
    show(&take_down_page(&visit, &named(&name)?, None, Problems::none()).await?)
}

/// Takes a site down.
pub(in super::super) async fn take_down(
    visit: Visit,
    Path(name): Path<String>,
    Fields(sent): Fields<Reason>,
) -> Answer {
    let name = named(&name)?;
    // Its field has several lines, visitors read one sentence.
    let reason = sent.reason.split_whitespace().collect::<Vec<_>>().join(" ");
    match visit.services.change_taken_down(&visit.actor, &name, Some(reason.clone())).await {
        Ok(()) => go(&visit.services, &format!("/sites/{name}"), Some(Notice::TakenDown)),
        Err(error) if error.kind == Kind::Invalid => {
            let problems = Problems::of(&error, &["reason"]);
            again(&error, &take_down_page(&visit, &name, Some(reason), problems).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The question before a site is put back.
pub(in super::super) async fn put_back_question(visit: Visit, Path(name): Path<String>) -> Answer {
    let name = named(&name)?;
    visit.actor.require(Right::ManageSites)?;
    let found = visit.services.get_site(&visit.actor, &name).await?;
    let Some(reason) = found.site.taken_down else { return go(&visit.services, &here(&name), None) };
    let then = found.live.as_ref().map_or_else(
        || String::from("Visitors read that nothing is published, as before."),
        |live| format!("Visitors get deployment {} again at once, under all of its hostnames.", live.number),
    );
    show(&Question {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(Some(&name)),
        here: String::from("Put back"),
        title: format!("Put {name} back?"),
        text: vec![then],
        facts: vec![Fact::plain("Taken down", reason)],
        keep: (String::from("Keep it down"), format!("/sites/{name}")),
        act: (String::from("Put the site back"), format!("/sites/{name}/put-back")),
        destroys: false,
        asked: None,
        typed: None,
        hidden: Vec::new(),
        problems: Problems::none(),
    })
}

/// Puts a site back.
pub(in super::super) async fn put_back(visit: Visit, Path(name): Path<String>) -> Answer {
    let name = named(&name)?;
    visit.services.change_taken_down(&visit.actor, &name, None).await?;
    go(&visit.services, &format!("/sites/{name}"), Some(Notice::PutBack))
}

fn consequence(of: &SiteView) -> String {
    let hostnames = i64::try_from(of.hostnames.len()).unwrap_or(i64::MAX).saturating_add(1);
    format!(
        "{} at once, and {} with their previews. This cannot be undone.",
        if hostnames == 1 {
            String::from("Its hostname stops answering")
        } else {
            format!("{} stop answering", words::all(hostnames, "hostnames"))
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
        asked: None,
        typed: Some(name.to_string()),
        hidden: Vec::new(),
        problems,
    })
}

/// The question before a site goes.
pub(in super::super) async fn delete_question(visit: Visit, Path(name): Path<String>) -> Answer {
    show(&delete_page(&visit, &named(&name)?, Problems::none()).await?)
}

#[derive(Deserialize)]
pub(in super::super) struct Confirm {
    #[serde(default)]
    confirm: String,
}

/// Deletes a site whose name was typed.
pub(in super::super) async fn delete(visit: Visit, Path(name): Path<String>, Fields(sent): Fields<Confirm>) -> Answer {
    let name = named(&name)?;
    if sent.confirm.trim() != name.as_str() {
        let text = format!("Type {name} to delete it. Nothing was deleted.");
        let error = Error::invalid("confirm", text.clone());
        return again(&error, &delete_page(&visit, &name, Problems::with("confirm", text)).await?);
    }
    visit.services.delete_site(&visit.actor, &name).await?;
    go(&visit.services, "/sites", Some(Notice::SiteDeleted))
}
