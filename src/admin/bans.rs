//! Who gets nothing of a site: by a limit or by somebody; listed, ended, and one more.

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;

use super::{
    form::Problems,
    gate::Answer,
    settings,
    shell::{Notice, Pager, Place, Shell, Tab},
    visit::{Asked, Fields, Visit, again, go, show},
    words::{self, When},
};
use crate::{
    domain::{
        Error, Kind, Result,
        ban::{self, Cursor, Source},
        site::SiteName,
    },
    services::bans::{BanView, NewBan},
};

const HERE: &str = "/settings/bans";
/// Bans on a page.
const LISTED: u32 = 100;

/// The bans, and the form for one more.
#[derive(Debug, Template)]
#[template(path = "settings/bans.html")]
pub(super) struct Bans {
    pub(super) shell: Shell,
    pub(super) tabs: Vec<Tab>,
    pub(super) lead: String,
    pub(super) rows: Vec<BanRow>,
    pub(super) pager: Pager,
    pub(super) network: String,
    pub(super) site: String,
    pub(super) time: String,
    pub(super) reason: String,
    pub(super) problems: Problems,
    /// Whether a ban may be from all sites.
    pub(super) of_all: bool,
}

/// A ban.
#[derive(Clone, Debug)]
pub(super) struct BanRow {
    pub(super) id: String,
    pub(super) network: String,
    pub(super) site: String,
    pub(super) why: String,
    pub(super) by: String,
    pub(super) made: When,
    pub(super) ends: Option<When>,
}

impl BanRow {
    fn new(BanView { ban, site }: BanView, now_ms: i64) -> Self {
        Self {
            id: ban.id.to_string(),
            network: ban.network.shortest(),
            site: site.map_or_else(String::new, |it| it.to_string()),
            why: ban.reason,
            by: match ban.source {
                Source::Person => ban.made_by,
                Source::Limit => String::from("a limit of the site"),
            },
            made: When::at(ban.created_ms, now_ms),
            ends: ban.until_ms.map(|it| When::at(it, now_ms)),
        }
    }
}

/// What was typed into the form.
#[derive(Deserialize)]
pub(super) struct Sent {
    #[serde(default)]
    network: String,
    #[serde(default)]
    site: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    reason: String,
}

/// Which page of the list.
#[derive(Default, Deserialize)]
pub(super) struct After {
    after: Option<String>,
}

async fn page(visit: &Visit, after: Option<Cursor>, sent: Sent, problems: Problems) -> Result<Bans> {
    let shell = visit.shell(Place::Settings).await?;
    let now = visit.now_ms();
    let found = visit.services.list_bans(&visit.actor, after, LISTED).await?;
    let count = i64::try_from(found.items.len()).unwrap_or(i64::MAX);
    let next = found.next.map(|it| format!("{HERE}?after={it}"));
    let first = after.is_some().then(|| String::from(HERE));
    let is_part = first.is_some() || next.is_some();
    let shown = if is_part { format!("{count} bans") } else { String::new() };
    let lead = match count {
        _ if is_part => String::from("Those that people have shut out, then those that limits have, the newest first."),
        0 => String::from("Nobody is shut out."),
        1 => String::from("One address or network is shut out."),
        many => format!("{} are shut out.", words::count(many, "address or network", "addresses and networks")),
    };
    Ok(Bans {
        tabs: settings::tabs(&shell, "Bans"),
        of_all: shell.manages_server,
        shell,
        lead,
        rows: found.items.into_iter().map(|it| BanRow::new(it, now)).collect(),
        pager: Pager { shown, first, next },
        network: sent.network,
        site: sent.site,
        time: sent.time,
        reason: sent.reason,
        problems,
    })
}

/// The bans.
pub(super) async fn list(visit: Visit, Asked(asked): Asked<After>) -> Answer {
    let after = asked.after.as_deref().map(str::parse).transpose().map_err(|_| Error::not_found("page"))?;
    let empty = Sent { network: String::new(), site: String::new(), time: String::from("3600"), reason: String::new() };
    show(&page(&visit, after, empty, Problems::none()).await?)
}

fn read(sent: &Sent) -> Result<NewBan> {
    let site = Some(sent.site.trim()).filter(|it| !it.is_empty());
    let site = site.map(SiteName::parse).transpose().map_err(|error| error.on("site"))?;
    let for_s = match sent.time.as_str() {
        "0" => None,
        seconds => {
            let wrong = |_| Error::invalid("ban_time", "Choose for how long.").on("time");
            Some(seconds.parse().map_err(wrong)?)
        }
    };
    Ok(NewBan { network: ban::parse_network(&sent.network)?, site, for_s, reason: sent.reason.clone() })
}

/// Shuts somebody out.
pub(super) async fn add(visit: Visit, Fields(sent): Fields<Sent>) -> Answer {
    let made = match read(&sent) {
        Ok(new) => visit.services.add_ban(&visit.actor, new).await.map(drop),
        Err(error) => Err(error),
    };
    match made {
        Ok(()) => go(&visit.services, HERE, Some(Notice::BanAdded)),
        Err(error) if matches!(error.kind, Kind::Invalid | Kind::Conflict | Kind::NotFound) => {
            let error = if error.kind == Kind::NotFound {
                Error::invalid("site", format!("There is no site `{}` of yours.", sent.site.trim())).on("site")
            } else {
                error
            };
            let problems = Problems::of(&error, &["network", "site", "time", "reason"]);
            again(&error, &page(&visit, None, sent, problems).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Ends a ban. It can be made again, so nobody is asked.
pub(super) async fn remove(visit: Visit, Path(id): Path<String>) -> Answer {
    let id = id.parse().map_err(|_| Error::not_found("ban"))?;
    visit.services.remove_ban(&visit.actor, id).await?;
    go(&visit.services, HERE, Some(Notice::BanRemoved))
}
