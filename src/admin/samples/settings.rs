//! The pages of a site's settings with lists: its protection, and what other servers answer.

use super::{HOSTILE, Sample, render, shell, when};
use crate::{
    admin::{
        form::Problems,
        shell::{Crumb, Notice, Place, Shell},
        sites::{
            self, Form, MetRow, Section, ShutOut, SiteProtection, SiteProxy, Standing, Wrong, protection_lead,
            proxy_lead, proxy_rows,
        },
    },
    domain::site_settings::SiteSettings,
    services::upstreams::Upstream,
};

fn crumbs() -> Vec<Crumb> {
    vec![
        Crumb::new("Sites", "/sites"),
        Crumb::new("harbour-cafe", "/sites/harbour-cafe"),
        Crumb::new("Settings", "/sites/harbour-cafe/settings"),
    ]
}

fn none() -> Wrong {
    Wrong { section: String::new(), problems: Problems::none(), sent: std::collections::BTreeMap::new() }
}

fn typed(section: &str, problems: Problems, sent: &[(&str, &str)]) -> Wrong {
    let sent = sent.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    Wrong { section: section.into(), problems, sent }
}

fn protection(document: &str, wrong: &Wrong, shut_out: Vec<ShutOut>) -> SiteProtection {
    let settings = SiteSettings::parse(document).unwrap();
    SiteProtection {
        shell: Shell { notice: shut_out.is_empty().then_some(Notice::SettingsSaved), ..shell(Place::Sites) },
        crumbs: crumbs(),
        tabs: sites::tabs("harbour-cafe", "Settings"),
        parts: sites::parts("harbour-cafe", "Protection"),
        name: "harbour-cafe".into(),
        lead: protection_lead(&settings.limits, &settings.firewall),
        standing: Standing::default(),
        limits: Form::new(Section::Limits, &settings, wrong),
        firewall: Form::new(Section::Firewall, &settings, wrong),
        doubt: None,
        counted_since: Some(when("2 d ago")),
        is_one_of_several: !shut_out.is_empty(),
        met: shut_out.iter().map(|it| met(&it.why)).collect(),
        more: if shut_out.is_empty() { 0 } else { 12 },
        shut_out,
        may_manage: true,
    }
}

fn met(name: &str) -> MetRow {
    MetRow {
        name: name.into(),
        is_set: name.len() > 20,
        refuses: name.len() > 20,
        requests: "1,204 requests".into(),
        since: when("3 h ago"),
        last: when("4 min ago"),
        path: HOSTILE.repeat(3),
    }
}

fn proxy(document: &str, seen: &[Upstream], wrong: &Wrong, may_lead_inside: bool) -> SiteProxy {
    let settings = SiteSettings::parse(document).unwrap();
    SiteProxy {
        shell: Shell { manages_server: may_lead_inside, ..shell(Place::Sites) },
        crumbs: crumbs(),
        tabs: sites::tabs("harbour-cafe", "Settings"),
        parts: sites::parts("harbour-cafe", "Proxy"),
        name: "harbour-cafe".into(),
        lead: proxy_lead(&settings, seen),
        standing: Standing::default(),
        routes: proxy_rows(&settings, seen, wrong),
        problems: wrong.problems.clone(),
        as_of: Section::Proxy.as_of(&settings, wrong),
        may_manage: true,
        may_lead_inside,
    }
}

const PROTECTED: &str = r#"{"limits":{"ban":{"after":20},"exempt":["203.0.113.7"],
    "rates":[{"requests":600,"every_s":60},{"path":"/login","methods":["POST"],"requests":5,"every_s":900},{"path":"/api/*","per":"site","requests":2000,"every_s":1}]},
    "firewall":{"sets":["dotfiles","probes"],"rules":[{"name":"Our monitoring","from":["192.0.2.0/24"],"do":"allow"},
    {"name":"Bots that do not say who they are","agent_has":"","path":"/api/*","methods":["GET","POST"]},
    {"name":"Old booking form","path":"/book/legacy.php","query_has":"table=","do":"log"}]}}"#;

const ROUTED: &str = r#"{"proxy":{"routes":[
    {"path":"/api/","to":["http://127.0.0.1:3000","http://127.0.0.1:3001"],"strip_prefix":true,"health":{"path":"/up"},"inside":true},
    {"path":"/blog","to":["fastcgi+unix:/run/php/php-fpm.sock"],"root":"/var/www/blog/public","files_first":true,"inside":true}]}}"#;

/// The pages.
pub(super) fn pages() -> Vec<Sample> {
    let out = |network: &str, why: &str, ends| ShutOut {
        id: "0199".into(),
        network: network.into(),
        why: why.into(),
        since: when("4 min ago"),
        ends,
    };
    let shut_out = vec![
        out("198.51.100.23", "by the limits of this site", Some(when("in 56 min"))),
        out("2001:db8:7:19::/64", "by the limits of this site", Some(when("in 41 min"))),
        out("203.0.113.0/24", HOSTILE, None),
    ];
    let mut problems = Problems::none();
    problems.add(
        "limits.rates.1.path",
        "Rate 2",
        "The path `Login`: it is written in small letters, and fits capital ones too. Write it as in /login or /api/*.",
    );
    problems.add("limits.rates.1.requests", "Rate 2", "Write a whole number, in digits alone.");
    let wrong = typed(
        "limits",
        problems,
        &[
            ("limits.rates.0.requests", "600"),
            ("limits.rates.0.every_s", "1"),
            ("limits.rates.0.every_s.unit", "minutes"),
            ("limits.rates.1.requests", HOSTILE),
            ("limits.rates.1.path", "Login"),
            ("limits.rates.2.requests", "9"),
            ("limits.rates.2.remove", "on"),
        ],
    );
    let mut problems = Problems::none();
    problems.add(
        "proxy.routes.2.to",
        "Route 3",
        "Sockets, FastCGI, and addresses of this machine or of a private network may only be named by who manages the server. Name a public address, or ask for it. A super admin can save this route for you.",
    );
    let sent = [
        ("proxy.routes.0.path", "/api/"),
        ("proxy.routes.0.to", "http://127.0.0.1:3000\nhttp://127.0.0.1:3001"),
        ("proxy.routes.2.path", HOSTILE),
        ("proxy.routes.2.to", "http://10.0.0.7:8080"),
    ];
    let ungranted = typed("proxy", problems, &sent);
    let at = |address: &str, is_asked, active| Upstream { address: address.into(), is_asked, active };
    let seen = [
        at("http://127.0.0.1:3000", true, 3),
        at("http://127.0.0.1:3001", false, 0),
        at("fastcgi+unix:/run/php/php-fpm.sock", true, 0),
    ];
    vec![
        ("site-protection", render(&protection(PROTECTED, &none(), shut_out)), "Shut out now"),
        (
            "site-protection-without-countries",
            render(&SiteProtection {
                doubt: Some(format!(
                    "The rule `{HOSTILE}` of the firewall asks for countries and fits nobody, since this server has no database of them: whoever it is to keep out gets in."
                )),
                ..protection(PROTECTED, &none(), Vec::new())
            }),
            "Not as it seems",
        ),
        ("site-protection-none", render(&protection("{}", &none(), Vec::new())), "No request is looked at."),
        ("site-protection-wrong", render(&protection(PROTECTED, &wrong, Vec::new())), "There is a problem"),
        ("site-proxy", render(&proxy(ROUTED, &seen, &none(), true)), "Fails, and is left alone"),
        ("site-proxy-none", render(&proxy("{}", &[], &none(), true)), "answered by what was deployed"),
        (
            "site-proxy-ungranted",
            render(&proxy(ROUTED, &seen, &ungranted, false)),
            "Only a super admin leads a route inside",
        ),
    ]
}

/// Who may only look sees what is set, and nothing that would change it.
#[test]
fn who_may_only_look_changes_nothing() {
    let page = SiteProtection { may_manage: false, ..protection(PROTECTED, &none(), Vec::new()) };
    let routes = SiteProxy { may_manage: false, ..proxy(ROUTED, &[], &none(), false) };
    for (page, value) in [(render(&page), "value=\"/login\""), (render(&routes), "value=\"/api/\"")] {
        assert!(page.contains(value), "{page}");
        let form = page.split_once("/settings/").unwrap().1;
        assert!(
            !form.contains("Save the") && !form.contains("name=\"more\"") && !form.contains("bans/0199/remove"),
            "{page}"
        );
        assert_eq!(page.matches("<fieldset class=\"stack gap-5\">").count(), 0, "a form that is not shut");
    }
}
