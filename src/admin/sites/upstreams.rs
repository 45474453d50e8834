//! Which paths of a site other servers answer, how these stand, and what of that only somebody else can allow.

use askama::Template;
use axum::extract::Path;

use super::{
    super::{
        form::Problems,
        gate::Answer,
        shell::{Crumb, Place, Shell, Sign, Tab},
        visit::{Visit, show},
        words,
    },
    Standing,
    around::settings_crumbs,
    lists::{Section, proxy},
    named,
    rows::{self, Row},
    settings::{self, Wrong},
    tabs,
};
use crate::{
    domain::{
        Result,
        access::Right,
        site::SiteName,
        site_settings::{SiteSettings, proxy as domain},
    },
    services::upstreams::Upstream,
};

/// The routes of a site.
#[derive(Debug, Template)]
#[template(path = "sites/proxy.html")]
pub(in super::super) struct SiteProxy {
    pub(in super::super) shell: Shell,
    pub(in super::super) crumbs: Vec<Crumb>,
    pub(in super::super) tabs: Vec<Tab>,
    pub(in super::super) parts: Vec<Tab>,
    pub(in super::super) name: String,
    pub(in super::super) lead: String,
    pub(in super::super) standing: Standing,
    pub(in super::super) routes: Vec<RouteRow>,
    pub(in super::super) problems: Problems,
    /// What the form was made of.
    pub(in super::super) as_of: String,
    pub(in super::super) may_manage: bool,
    /// Whether they may name what is not public.
    pub(in super::super) may_lead_inside: bool,
}

/// A route.
#[derive(Clone, Debug)]
pub(in super::super) struct RouteRow {
    pub(in super::super) row: Row,
    pub(in super::super) servers: Vec<ServerRow>,
    /// What there is to know of whether it may lead inside.
    pub(in super::super) inside: Inside,
}

/// Whether a route may lead to addresses that are not public.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Inside {
    /// It leads to public addresses.
    Not,
    /// Somebody has allowed it.
    Allowed,
    /// It would, and nobody has.
    Wanted,
}

/// A server of a route.
#[derive(Clone, Debug)]
pub(in super::super) struct ServerRow {
    pub(in super::super) address: String,
    /// How it stands, where that is known.
    pub(in super::super) state: Option<(Sign, String)>,
}

impl ServerRow {
    fn new(address: &str, seen: &[Upstream]) -> Self {
        let known = domain::Upstream::parse(address).ok().map(|it| it.to_string());
        let state =
            seen.iter().find(|it| Some(&it.address) == known.as_ref()).map(|it| match (it.is_asked, it.active) {
                (false, _) => (Sign::Look, String::from("Fails, and is left alone")),
                (true, 0) => (Sign::Ok, String::from("Gets requests")),
                (true, many) => {
                    (Sign::Ok, format!("Works on {}", words::thousands(i64::try_from(many).unwrap_or(i64::MAX))))
                }
            });
        Self { address: address.to_owned(), state }
    }
}

/// The rows of a form, with how their servers stand.
pub(in super::super) fn rows(settings: &SiteSettings, seen: &[Upstream], wrong: &Wrong) -> Vec<RouteRow> {
    let is_typed = wrong.section == Section::Proxy.word();
    let set = if is_typed { rows::sent(&proxy::ROUTES, &wrong.sent) } else { proxy::routes(&settings.proxy) };
    let more = is_typed && wrong.sent.contains_key("more");
    let row = |row: Row| {
        let servers: Vec<ServerRow> = rows::lines(row.text("to")).iter().map(|it| ServerRow::new(it, seen)).collect();
        let leads = servers.iter().filter_map(|it| domain::Upstream::parse(&it.address).ok()).any(|it| it.is_inside());
        let is_same = |it: &&domain::Route| {
            it.path == row.text("path").trim()
                && it.to.iter().map(|it| it.trim()).eq(servers.iter().map(|it| it.address.as_str()))
        };
        let is_allowed = settings.proxy.routes.iter().find(is_same).is_some_and(|it| it.inside == Some(true));
        let inside = match (leads, is_allowed) {
            (false, _) => Inside::Not,
            (true, true) => Inside::Allowed,
            (true, false) => Inside::Wanted,
        };
        RouteRow { row, servers, inside }
    };
    rows::shown(&proxy::ROUTES, set, more).into_iter().map(row).collect()
}

/// What the page says first.
pub(in super::super) fn lead(settings: &SiteSettings, seen: &[Upstream]) -> String {
    let routes = match settings.proxy.routes.as_slice() {
        [] => return String::from("All of it is answered by what was deployed."),
        [one] if one.prefix().is_empty() => String::from("Other servers answer the whole site"),
        [_] => String::from("Other servers answer one path"),
        many => format!("Other servers answer {} paths", words::spelled(many.len()).to_lowercase()),
    };
    let failing = seen.iter().filter(|it| !it.is_asked).count();
    match (seen.len(), failing) {
        (0, _) => format!("{routes}."),
        (1, 0) => format!("{routes}, and the one that does gets requests."),
        (_, 0) => format!("{routes}, and all of them get requests."),
        (all, failing) if all == failing => format!("{routes}, and none of them does at the moment."),
        (_, 1) => format!("{routes}, and one of them fails."),
        (_, failing) => format!("{routes}, and {} of them fail.", words::spelled(failing).to_lowercase()),
    }
}

/// The page, with what was typed into a form that was refused.
pub(super) async fn page(visit: &Visit, name: &SiteName, wrong: Wrong) -> Result<SiteProxy> {
    let settings = visit.services.get_site_settings(&visit.actor, name).await?;
    let found = visit.services.get_site(&visit.actor, name).await?;
    let seen = visit.services.list_upstreams(&found.site);
    Ok(SiteProxy {
        shell: visit.shell(Place::Sites).await?,
        crumbs: settings_crumbs(name),
        tabs: tabs(name.as_str(), "Settings"),
        parts: settings::parts(name.as_str(), "Proxy"),
        lead: lead(&settings, &seen),
        standing: Standing::of(visit, &found.site),
        routes: rows(&settings, &seen, &wrong),
        as_of: Section::Proxy.as_of(&settings, &wrong),
        problems: if wrong.section == Section::Proxy.word() { wrong.problems } else { Problems::none() },
        may_manage: visit.may(Right::ManageSites),
        may_lead_inside: visit.may(Right::ManageServer),
        name: name.to_string(),
    })
}

/// The routes.
pub(in super::super) async fn routes(visit: Visit, Path(name): Path<String>) -> Answer {
    show(&page(&visit, &named(&name)?, Wrong::none()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(address: &str, is_asked: bool) -> Upstream {
        Upstream { address: address.to_owned(), is_asked, active: 0 }
    }

    #[test]
    fn the_page_says_first_who_answers_and_how_they_stand() {
        let of = |document: &str| SiteSettings::parse(document).unwrap();
        let none = of("{}");
        assert_eq!(lead(&none, &[]), "All of it is answered by what was deployed.");
        let one = of(r#"{"proxy":{"routes":[{"to":["http://a.example"]}]}}"#);
        assert_eq!(lead(&one, &[]), "Other servers answer the whole site.");
        let (a, b) = (seen("http://a.example", true), seen("http://b.example", false));
        assert_eq!(
            lead(&one, std::slice::from_ref(&a)),
            "Other servers answer the whole site, and the one that does gets requests."
        );
        let two = of(
            r#"{"proxy":{"routes":[{"path":"/a","to":["http://a.example"]},{"path":"/b","to":["http://b.example"]}]}}"#,
        );
        assert_eq!(lead(&two, &[a.clone(), b.clone()]), "Other servers answer two paths, and one of them fails.");
        assert_eq!(
            lead(&two, std::slice::from_ref(&b)),
            "Other servers answer two paths, and none of them does at the moment."
        );
        let rows = rows(&two, &[a, b], &Wrong::none());
        let states: Vec<_> = rows.iter().flat_map(|it| &it.servers).map(|it| it.state.as_ref().unwrap().0).collect();
        assert_eq!((rows.len(), states), (3, vec![Sign::Ok, Sign::Look]));
    }

    #[test]
    fn it_is_said_of_each_route_whether_it_was_allowed() {
        let settings = SiteSettings::parse(
            r#"{"proxy":{"routes":[{"path":"/a","to":["http://127.0.0.1:1"],"inside":true},{"path":"/b","to":["http://a.example"],"inside":false}]}}"#,
        )
        .unwrap();
        let told = |wrong: &Wrong| rows(&settings, &[], wrong).iter().map(|it| it.inside).collect::<Vec<_>>();
        assert_eq!(told(&Wrong::none()), [Inside::Allowed, Inside::Not, Inside::Not]);
        let sent = [("proxy.routes.0.path", "/a"), ("proxy.routes.0.to", "http://127.0.0.1:2")];
        let sent = sent.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        let wrong = Wrong { section: "proxy".into(), problems: Problems::none(), sent };
        assert_eq!(told(&wrong), [Inside::Wanted, Inside::Not]);
    }
}
