//! What protects a site: how often visitors may ask, which requests get nothing, and who is shut out for that now.

use askama::Template;
use axum::extract::Path;

use super::{
    super::{
        form::Problems,
        gate::Answer,
        shell::{Crumb, Place, Shell, Sign, Tab},
        visit::{Visit, show},
        words::{self, When},
    },
    Standing,
    around::{Values, settings_crumbs},
    lists::{Section, firewall, limits},
    named,
    rows::{self, Row},
    settings::{self, Wrong},
    tabs,
};
use crate::{
    domain::{
        Result,
        access::Right,
        ban::{Ban, Source},
        site::SiteName,
        site_settings::{
            firewall::{Action, Firewall},
            limits::Limits,
        },
    },
    services::front::Counted,
};

/// Bans that are on the page; the others are on the page of all bans.
const LISTED: usize = 5;

/// Limits and firewall of a site.
#[derive(Debug, Template)]
#[template(path = "sites/protection.html")]
pub(in super::super) struct SiteProtection {
    pub(in super::super) shell: Shell,
    pub(in super::super) crumbs: Vec<Crumb>,
    pub(in super::super) tabs: Vec<Tab>,
    pub(in super::super) parts: Vec<Tab>,
    pub(in super::super) name: String,
    pub(in super::super) lead: String,
    pub(in super::super) standing: Standing,
    pub(in super::super) limits: Form,
    pub(in super::super) firewall: Form,
    /// What of the firewall does not do what it seems to.
    pub(in super::super) doubt: Option<String>,
    /// What has fitted the firewall.
    pub(in super::super) met: Vec<MetRow>,
    /// Since when that is counted, where anything of it is.
    pub(in super::super) counted_since: Option<When>,
    /// Whether other servers count for themselves.
    pub(in super::super) is_one_of_several: bool,
    pub(in super::super) shut_out: Vec<ShutOut>,
    /// How many more there are.
    pub(in super::super) more: usize,
    pub(in super::super) may_manage: bool,
}

/// A form with a list.
#[derive(Clone, Debug)]
pub(in super::super) struct Form {
    /// What is set of it at present.
    pub(in super::super) state: String,
    pub(in super::super) sign: Sign,
    pub(in super::super) values: Values,
    pub(in super::super) rows: Vec<Row>,
    pub(in super::super) problems: Problems,
    /// What it was made of.
    pub(in super::super) as_of: String,
}

/// A rule or set that requests have fitted.
#[derive(Clone, Debug)]
pub(in super::super) struct MetRow {
    pub(in super::super) name: String,
    pub(in super::super) is_set: bool,
    /// Whether they were refused, or told and answered.
    pub(in super::super) refuses: bool,
    /// `12 requests`.
    pub(in super::super) requests: String,
    pub(in super::super) since: When,
    pub(in super::super) last: When,
    pub(in super::super) path: String,
}

impl MetRow {
    fn new(of: Counted, now_ms: i64) -> Option<Self> {
        let hits = of.hits?;
        Some(Self {
            name: of.name,
            is_set: of.is_set,
            refuses: of.action == Action::Block,
            requests: words::count(i64::try_from(hits.requests).unwrap_or(i64::MAX), "request", "requests"),
            since: When::at(hits.first_ms, now_ms),
            last: When::at(hits.last_ms, now_ms),
            path: hits.path,
        })
    }
}

/// Somebody who gets nothing of the site.
#[derive(Clone, Debug)]
pub(in super::super) struct ShutOut {
    pub(in super::super) id: String,
    pub(in super::super) network: String,
    pub(in super::super) why: String,
    pub(in super::super) since: When,
    pub(in super::super) ends: Option<When>,
}

impl ShutOut {
    fn new(ban: &Ban, now_ms: i64) -> Self {
        let why = match ban.source {
            Source::Limit => String::from("by the limits of this site"),
            Source::Person if ban.reason.is_empty() => format!("by {}", ban.made_by),
            Source::Person => format!("by {}: {}", ban.made_by, ban.reason),
        };
        Self {
            id: ban.id.to_string(),
            network: ban.network.shortest(),
            why,
            since: When::at(ban.created_ms, now_ms),
            ends: ban.until_ms.map(|it| When::at(it, now_ms)),
        }
    }
}

impl Form {
    /// The form of a section as it is set, or with what was typed into it.
    pub(in super::super) fn new(
        section: Section,
        settings: &crate::domain::site_settings::SiteSettings,
        wrong: &Wrong,
    ) -> Self {
        let as_of = section.as_of(settings, wrong);
        let (state, sign, mut values, mut set, list) = match section {
            Section::Limits => {
                let (state, sign) = limits_state(&settings.limits);
                (state, sign, limits::values(&settings.limits), limits::rates(&settings.limits), &limits::RATES)
            }
            Section::Firewall | Section::Proxy => {
                let (state, sign) = firewall_state(&settings.firewall);
                (
                    state,
                    sign,
                    firewall::values(&settings.firewall),
                    firewall::rules(&settings.firewall),
                    &firewall::RULES,
                )
            }
        };
        let mut problems = Problems::none();
        let is_typed = wrong.section == section.word();
        if is_typed {
            values = Values::sent(&wrong.sent);
            set = rows::sent(list, &wrong.sent);
            problems = wrong.problems.clone();
        }
        let more = is_typed && wrong.sent.contains_key("more");
        Self { state, sign, values, rows: rows::shown(list, set, more), problems, as_of }
    }
}

/// What a list says of itself beside its heading.
fn limits_state(limits: &Limits) -> (String, Sign) {
    match limits.rates.len() {
        0 => (String::from("No rates"), Sign::Off),
        1 => (String::from("1 rate"), Sign::Ok),
        many => (format!("{many} rates"), Sign::Ok),
    }
}

fn firewall_state(firewall: &Firewall) -> (String, Sign) {
    let sets = match firewall.sets.len() {
        0 => None,
        1 => Some(String::from("1 set")),
        many => Some(format!("{many} sets")),
    };
    let rules = match firewall.rules.len() {
        0 => None,
        1 => Some(String::from("1 rule")),
        many => Some(format!("{many} rules")),
    };
    match (sets, rules) {
        (None, None) => (String::from("Off"), Sign::Off),
        (Some(one), None) | (None, Some(one)) => (one, Sign::Ok),
        (Some(sets), Some(rules)) => (format!("{sets}, {rules}"), Sign::Ok),
    }
}

/// How the site is protected, in two sentences.
pub(in super::super) fn lead(limits: &Limits, firewall: &Firewall) -> String {
    let rates = limits.rates.len();
    let rates_said = match rates {
        0 => String::from("Visitors may ask as often as they like"),
        1 => String::from("One rate holds"),
        many => format!("{} rates hold", words::spelled(many)),
    };
    let ban = limits.ban.filter(|_| rates > 0 || *firewall != Firewall::default()).map(|it| {
        format!("; who is refused {} is shut out for {}", times(it.after), words::span(i64::from(it.for_s) * 1_000))
    });
    let sets = match (firewall.sets.is_empty(), firewall.sets_do) {
        (true, _) => None,
        (false, Action::Log) => Some("known attacks are told in the log"),
        (false, Action::Block | Action::Allow) => Some("known attacks are refused"),
    };
    let rules = match firewall.rules.len() {
        0 => None,
        1 => Some(String::from("one rule decides first")),
        many => Some(format!("{} rules decide first", words::spelled(many).to_lowercase())),
    };
    let attacks = match (sets, rules) {
        (None, None) => String::from("no request is looked at"),
        (Some(sets), None) => sets.to_owned(),
        (None, Some(rules)) => rules.replace(" first", " which requests get an answer"),
        (Some(sets), Some(rules)) => format!("{sets}, and {rules}"),
    };
    let mut attacks = attacks.chars();
    let attacks: String = attacks.next().into_iter().flat_map(char::to_uppercase).chain(attacks).collect();
    format!("{rates_said}{}. {attacks}.", ban.unwrap_or_default())
}

fn times(number: u32) -> String {
    match number {
        1 => String::from("once"),
        2 => String::from("twice"),
        many => format!("{} times", words::thousands(i64::from(many))),
    }
}

/// The page, with what was typed into a form that was refused.
pub(super) async fn page(visit: &Visit, name: &SiteName, wrong: Wrong) -> Result<SiteProtection> {
    let now = visit.now_ms();
    let settings = visit.services.get_site_settings(&visit.actor, name).await?;
    let found = visit.services.get_site(&visit.actor, name).await?;
    let met = visit.services.get_firewall_hits(&visit.actor, name).await?;
    let mut bans = visit.services.list_bans_of(&visit.actor, name).await?;
    let more = bans.len().saturating_sub(LISTED);
    bans.truncate(LISTED);
    Ok(SiteProtection {
        shell: visit.shell(Place::Sites).await?,
        crumbs: settings_crumbs(name),
        tabs: tabs(name.as_str(), "Settings"),
        parts: settings::parts(name.as_str(), "Protection"),
        lead: lead(&settings.limits, &settings.firewall),
        standing: Standing::of(visit, &found.site),
        limits: Form::new(Section::Limits, &settings, &wrong),
        firewall: Form::new(Section::Firewall, &settings, &wrong),
        doubt: visit.services.doubt_of_countries(&settings.firewall),
        counted_since: met.since_ms.filter(|_| !met.counted.is_empty()).map(|it| When::at(it, now)),
        is_one_of_several: visit.services.node.shares,
        met: met.counted.into_iter().filter_map(|it| MetRow::new(it, now)).collect(),
        shut_out: bans.iter().map(|it| ShutOut::new(it, now)).collect(),
        more,
        may_manage: visit.may(Right::ManageSites),
        name: name.to_string(),
    })
}

/// Limits and firewall.
pub(in super::super) async fn protection(visit: Visit, Path(name): Path<String>) -> Answer {
    show(&page(&visit, &named(&name)?, Wrong::none()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::site_settings::SiteSettings;

    #[test]
    fn the_page_says_first_how_the_site_is_protected() {
        for (document, wanted) in [
            ("{}", "Visitors may ask as often as they like. No request is looked at."),
            (r#"{"limits":{"rates":[{"requests":1,"every_s":1}]}}"#, "One rate holds. No request is looked at."),
            (
                r#"{"limits":{"rates":[{"requests":1,"every_s":1},{"requests":2,"every_s":1}],"ban":{"after":20}},"firewall":{"sets":["probes"]}}"#,
                "Two rates hold; who is refused 20 times is shut out for 1 h. Known attacks are refused.",
            ),
            (
                r#"{"limits":{"ban":{"after":1,"for_s":86400}},"firewall":{"sets":["probes"],"sets_do":"log","rules":[{"name":"a","path":"/a"}]}}"#,
                "Visitors may ask as often as they like; who is refused once is shut out for 1 day. Known attacks are told in the log, and one rule decides first.",
            ),
            (
                r#"{"firewall":{"rules":[{"name":"a","path":"/a"},{"name":"b","path":"/b"}]}}"#,
                "Visitors may ask as often as they like. Two rules decide which requests get an answer.",
            ),
        ] {
            let settings = SiteSettings::parse(document).unwrap();
            assert_eq!(lead(&settings.limits, &settings.firewall), wanted);
        }
    }
}
