//! Sample pages of sites and their deployments.

use super::{HOSTILE, Sample, levels, mark, problem, render, server, shell, traffic::traffic, when};
use crate::{
    admin::{
        certificates::HostnameStanding,
        deployments::{
            self, Act, Change, ChangeRow, Changes, Deploy, Deployment, Diff, FileRow, Files, Head, Log, LogLine,
            LogPage, Other, Proof, ProofPage, Row,
        },
        doctor::Check,
        form::Problems,
        hostnames::{HostnameRow, Hostnames},
        questions::{Question, TextField},
        seal::{Level, Size},
        shell::{Crumb, Notice, Pager, Place, Shell, Sign},
        sites::{
            self, Asking, BlockRow, Budget, Choice, Given, HeadRow, LinkMade, LinkRow, Live, Month, NewSite, PersonRow,
            RedirectRow, Site, SiteDeployments, SiteRow, SiteRules, SiteSettings, SiteTraffic, Sites, Standing,
            TrafficSpan, Values, Watch, Wrong,
        },
        words::{self, Fact},
    },
    base::hash::Sha256,
    domain::{
        doctor::{Finding, Level as Grade, Report},
        site_settings::SiteSettings as Document,
    },
    services::traffic::Used,
};

/// A check with all that can be on its page.
fn check() -> Check {
    let finding = |level, text: &str, seen: &str| Finding { code: "x", level, text: text.into(), seen: seen.into() };
    let findings = vec![
        finding(
            Grade::Problem,
            "The AAAA record of www.harbour.example leads to 2001:db8:9::9, where this server does not answer, and authorities try that before the A record, which is right: change it to 2001:db8::7, or remove it.",
            HOSTILE,
        ),
        finding(
            Grade::Problem,
            "The CAA records of harbour.example allow ca.example and not Let's Encrypt: add `harbour.example CAA 0 issue \"letsencrypt.org\"`.",
            "harbour.example CAA 0 issue \"ca.example\"",
        ),
        finding(
            Grade::Warning,
            "The name server ns2.harbour.example of harbour.example does not answer for www.harbour.example: mend it, or take it out of the zone's NS records and from your registrar.",
            "no answer in time from 198.51.100.53",
        ),
        finding(Grade::Good, "www.harbour.example belongs to the site harbour-cafe.", ""),
        finding(
            Grade::Good,
            "Port 80 of 203.0.113.5 is answered by this server, as far as that shows from here.",
            "A 203.0.113.5",
        ),
    ];
    let report = Report { host: "www.harbour.example".into(), findings };
    Check::new(shell(Place::Sites), "harbour-cafe", report)
}

fn certified() -> HostnameStanding {
    HostnameStanding {
        sign: Sign::Ok,
        state: "Good",
        text: "Certificate until 14 February, renews itself 15 January".into(),
        can_retry: false,
    }
}

fn check_well() -> Check {
    let mut check = check();
    check.wrong.clear();
    check.summary = "Nothing stands in the way of a certificate.";
    check
}

fn rows() -> Vec<Row> {
    let row = |number: i64, title: &str, sign, words, live, unpublished, detail: &str| Row {
        number,
        href: format!("/sites/harbour-cafe/deployments/{number}"),
        title: title.into(),
        seal: mark(title, if sign == Sign::Bad { Level::Broken } else { Level::Sealed }, Size::Mini),
        live,
        down: false,
        unpublished,
        sign,
        words,
        when: when("5 h ago"),
        actor: "owner@quay.example".into(),
        detail: detail.into(),
        preview: (sign == Sign::Ok).then(|| "http://abcdefghij0123456789--harbour-cafe.localhost:8080/".into()),
        act: match (live, unpublished, sign) {
            (false, true, Sign::Ok) => Some(Act { words: "Publish", href: "/q".into(), back: false }),
            (false, false, Sign::Ok) => Some(Act { words: "Roll back", href: "/q".into(), back: true }),
            _ => None,
        },
    };
    vec![
        row(44, "Spring menu", Sign::Now, "Checking", false, false, "from the panel"),
        row(43, "Try the new menu page", Sign::Ok, "Ready", false, true, "11 files changed"),
        row(42, "Winter opening hours", Sign::Ok, "Live", true, false, "6 files changed"),
        row(41, "Compress the photographs", Sign::Ok, "Was live", false, false, "52 files changed"),
        row(40, HOSTILE, Sign::Bad, "Failed", false, false, "line 3 of _redirects is not a rule; 39 stayed live"),
        row(39, "Redirect the old booking page", Sign::Ok, "Was live", false, false, "1 file changed"),
    ]
}

fn head(here: &str) -> Head {
    let href = "/sites/harbour-cafe/deployments/42";
    Head {
        crumbs: vec![
            Crumb::new("Sites", "/sites"),
            Crumb::new("harbour-cafe", "/sites/harbour-cafe"),
            Crumb::new("Deployments", "/sites/harbour-cafe/deployments"),
        ],
        tabs: deployments::tabs(href, here),
        site: "harbour-cafe".into(),
        number: 42,
        href: href.into(),
        live: true,
        sign: Sign::Ok,
        words: "Done in 19 s",
        lead: "Winter opening hours. Published 5 h ago by owner@quay.example.".into(),
        standing: down(),
        preview: Some("http://abcdefghij0123456789--harbour-cafe.localhost:8080/".into()),
        act: None,
    }
}

/// Taken down, and deployed from a folder that is gone.
fn down() -> Standing {
    Standing {
        name: "harbour-cafe".into(),
        taken_down: Some(HOSTILE.into()),
        folder: Some("/srv/www/harbour-cafe".into()),
        problem: Some("There is no such folder on this server, or no file is in it.".into()),
        may_manage: true,
    }
}

/// Deployed from a folder.
fn watched() -> Standing {
    Standing { taken_down: None, problem: None, ..down() }
}

fn changes() -> Changes {
    let row = |path: &str, change, size: &str, by: &str| ChangeRow {
        path: path.into(),
        change,
        size: size.into(),
        by: by.into(),
    };
    Changes {
        against: 41,
        words: "3 new, 2 changed, 1 gone".into(),
        rows: vec![
            row("/index.html", Change::Changed, "11,204 B", "+412"),
            row("/hours/index.html", Change::Changed, "6,031 B", "−88"),
            row("/img/terrace-winter.avif", Change::New, "184,220 B", ""),
            row("/img/terrace-winter-720.avif", Change::New, "61,077 B", ""),
            row("/css/site.5f1c.css", Change::New, "14,890 B", ""),
            row(HOSTILE, Change::Gone, "14,702 B", ""),
        ],
        more: 12,
        policy: true,
    }
}

fn log(events: bool) -> Log {
    let line = |time: &str, text: &str, class| LogLine { time: time.into(), text: text.into(), class };
    Log {
        lines: vec![
            line("08:11:43", "received 6 of 318 files, 271 kB; 312 were here already", ""),
            line("08:11:58", "unpacked 318 files, 24.6 MB", ""),
            line("08:12:01", "warning: img/terrace.jpg is 1.9 MB", "warn"),
            line("08:12:03", "headers: 4, redirects: 11, all understood", ""),
            line("08:12:04", "manifest sealed 7c1e09ab4f33d2e8", "ok"),
            line("08:12:05", HOSTILE, "err"),
        ],
        earlier: 20,
        events: events.then(|| "/sites/harbour-cafe/deployments/42/events".into()),
    }
}

fn file_rows() -> Vec<FileRow> {
    let paths =
        ["/index.html", "/404.html", "/hours/index.html", "/css/site.5f1c.css", "/img/terrace-winter.avif", HOSTILE];
    paths
        .into_iter()
        .map(|path| FileRow {
            path: path.into(),
            url: path.contains("index").then(|| "http://preview.localhost:8080/".into()),
            size: "11,204 B".into(),
            media_type: words::media("text/html; charset=utf-8"),
            hash: words::shortened(&Sha256::of(path.as_bytes()).hex()),
        })
        .collect()
}

fn proof() -> Proof {
    Proof {
        seal: mark("Winter opening hours", Level::Sealed, Size::Large),
        levels: levels(),
        facts: vec![
            ("Manifest", words::grouped(&Sha256::of(b"m").hex())),
            ("Site root", words::grouped(&Sha256::of(b"r").hex())),
        ],
        bundle: "/sites/harbour-cafe/deployments/42/proof/bundle".into(),
        command: "chainhost verify harbour-cafe-42.chproof.json --dir ./dist --offline".into(),
    }
}

pub(super) fn site() -> Site {
    Site {
        shell: shell(Place::Sites),
        crumbs: vec![Crumb::new("Sites", "/sites")],
        tabs: sites::tabs("harbour-cafe", "Overview"),
        name: "harbour-cafe".into(),
        url: "http://harbour-cafe.localhost:8080/".into(),
        address: "harbour-cafe.localhost:8080".into(),
        other: Some(("harbour-cafe.example".into(), "http://harbour-cafe.example/".into())),
        lead: String::new(),
        standing: watched(),
        live: Some(Live {
            seal: mark("Winter opening hours", Level::Sealed, Size::Medium),
            number: 42,
            href: "/sites/harbour-cafe/deployments/42".into(),
            title: "Winter opening hours".into(),
            text:
                "Published 5 h ago by owner@quay.example, from the command line. 318 files, 24.6 MB; 6 files changed."
                    .into(),
            hash: words::shortened(&Sha256::of(b"m").hex()),
            levels: levels(),
        }),
        rows: rows(),
        total: 44,
        hostnames: vec![
            ("harbour-cafe.localhost".into(), "http://harbour-cafe.localhost/".into(), "Always there"),
            ("harbour-cafe.example".into(), "http://harbour-cafe.example/".into(), "Your own"),
        ],
        facts: vec![
            Fact::plain("Made", "3 October"),
            Fact::path("Watches", "/srv/www/harbour-cafe"),
            Fact::plain("Kept", "20 deployments, and the live one"),
        ],
        command: "chainhost deploy ./dist --site harbour-cafe --server http://localhost:8080".into(),
        may_deploy: true,
    }
}

fn question(destroys: bool) -> Question {
    Question {
        shell: shell(Place::Sites),
        crumbs: vec![Crumb::new("Sites", "/sites"), Crumb::new("harbour-cafe", "/sites/harbour-cafe")],
        here: if destroys { "Delete" } else { "Roll back" }.into(),
        title: if destroys { "Delete harbour-cafe?" } else { "Roll back to 41?" }.into(),
        text: if destroys {
            vec![
                "All 3 hostnames stop answering at once, and its 44 deployments with their previews go. This cannot be undone.".into(),
                "The name rests for 30 days before anybody can take it.".into(),
            ]
        } else {
            vec![
                "Visitors get the files and rules of deployment 41 at once, all together.".into(),
                "42 stays here; you can publish it again.".into(),
            ]
        },
        facts: if destroys {
            Vec::new()
        } else {
            vec![
                Fact::plain("Live now", "42 · Winter opening hours"),
                Fact::plain("Then", "41 · Compress the photographs"),
            ]
        },
        keep: (if destroys { "Keep the site" } else { "Keep 42 live" }.into(), "/sites/harbour-cafe".into()),
        act: (
            if destroys { "Delete the site" } else { "Roll back to 41" }.into(),
            "/sites/harbour-cafe/rollback/41".into(),
        ),
        destroys,
        asked: None,
        typed: destroys.then(|| "harbour-cafe".into()),
        hidden: vec![("live", "0199".into())],
        problems: Problems::none(),
    }
}

/// The rules of a site, before or after an address is tried.
fn rules(tries: bool) -> SiteRules {
    let redirect = |place: &str, from: &str, to: &str, status: &str, sign: Option<Sign>, said: &str| RedirectRow {
        place: place.into(),
        from: from.into(),
        query: match from {
            "/menu" => "day=:day".into(),
            "/booking" => "Country=AT,DE Language=de".into(),
            _ => String::new(),
        },
        to: to.into(),
        status: status.into(),
        said: if tries || sign == Some(Sign::Look) { said.into() } else { String::new() },
        sign: if tries { sign.filter(|it| *it != Sign::Look) } else { sign.filter(|it| *it == Sign::Look) },
        answers: tries && sign == Some(Sign::Ok),
        elsewhere: (tries && sign.is_none()).then_some("another path"),
    };
    let other = "It is for another path.";
    let block = |place: &str, path: &str, set: &[(&str, &str)], files: &str, applies| BlockRow {
        place: place.into(),
        path: path.into(),
        set: set.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        files: files.into(),
        idle: files == "no file",
        applies,
    };
    let head = |name: &str, value: &str, from: &str| HeadRow {
        name: name.into(),
        value: value.into(),
        from: from.into(),
        own: from.contains("line"),
    };
    let answer = Given {
        status: "301".into(),
        good: true,
        words: "Visitors are sent to",
        what: "/book/table?from=booking".into(),
        because: "`/booking` gives 301 to `/book/table?from=booking`, because of line 4 of _redirects.".into(),
        notes: vec![format!("Who asks for it too often gets 429 (`limits.rates`). {HOSTILE}")],
        heads: vec![
            head("cache-control", "private, no-cache", "the host"),
            head("content-type", "text/plain; charset=utf-8", "the host"),
            head("location", "/book/table?from=booking", "_redirects, line 4"),
        ],
    };
    SiteRules {
        shell: shell(Place::Sites),
        crumbs: vec![Crumb::new("Sites", "/sites"), Crumb::new("harbour-cafe", "/sites/harbour-cafe")],
        tabs: sites::tabs("harbour-cafe", "Rules"),
        name: "harbour-cafe".into(),
        lead: "7 redirects and rewrites and 5 blocks of headers, sealed with deployment 42, which is live.".into(),
        standing: Standing::default(),
        url: if tries { "/booking".into() } else { String::new() },
        visitor: tries.then(|| Asking {
            countries: vec![("AT".into(), "Austria", true), ("DE".into(), "Germany", false)],
            languages: true,
            language: "de".into(),
            note: None,
        }),
        choices: vec![
            Choice { number: 43, words: "43".into(), chosen: false },
            Choice { number: 42, words: "42, live".into(), chosen: true },
        ],
        problems: Problems::none(),
        answer: tries.then_some(answer),
        redirects: vec![
            redirect("1", "/menu", "/menus/:day.html", "302", None, other),
            redirect("2", "/speisekarte/*", "/menu/:splat", "301", None, other),
            redirect("4", "/booking", "/book/table?from=booking", "301", Some(Sign::Ok), "It answers."),
            redirect(
                "5",
                "/hours.html",
                "/hours/",
                "301",
                Some(Sign::Look),
                "Never asked: `/hours.html` answers there. `301!` goes before files.",
            ),
            redirect(
                "6",
                "/:page",
                "/pages/:page",
                "302",
                Some(Sign::Off),
                "It fits, but line 4 of _redirects comes before it.",
            ),
            redirect("9", "/shop/*", "https://shop.harbour.example/:splat", "308!", None, other),
            redirect("12", HOSTILE, "/closed.html", "410", None, other),
        ],
        redirects_more: 0,
        blocks: vec![
            block(
                "2",
                "/*",
                &[("x-frame-options", "DENY"), ("referrer-policy", "strict-origin-when-cross-origin")],
                "318 files",
                false,
            ),
            block("6", "/css/*", &[("cache-control", "public, max-age=31536000, immutable")], "12 files", false),
            block("8", "/hours", &[("x-robots-tag", "noindex")], "no file", false),
            block(
                "10",
                "/*.html",
                &[(
                    "content-security-policy",
                    "default-src 'self'; img-src 'self' https://images.harbour.example; frame-ancestors 'none'",
                )],
                "41 files",
                false,
            ),
            block("14", HOSTILE, &[("x-a", HOSTILE)], "1 file", tries),
        ],
        blocks_more: 12,
        spread: true,
        idle: true,
        facts: vec![
            Fact::mono("A folder's page", "index.html"),
            Fact::plain("Clean URLs", "on: /about is /about.html"),
            Fact::mono("Everything else", "/404.html 404"),
        ],
        any: true,
    }
}

#[expect(clippy::too_many_lines, reason = "a list of values")]
pub(super) fn pages() -> Vec<Sample> {
    let row = |name: &str, sign, words: &str, live| SiteRow {
        name: name.into(),
        href: format!("/sites/{name}"),
        hostnames: format!("{name}.localhost, {name}.example"),
        sign,
        words: words.into(),
        live,
        deployments: 42,
        size: "24 MB".into(),
    };
    let list = Sites {
        shell: Shell { notice: Some(Notice::SiteDeleted), ..shell(Place::Sites) },
        lead: "14 sites, 13 of them live; 22 hostnames.".into(),
        rows: vec![
            row("harbour-cafe", Sign::Ok, "Up", Some((42, when("5 h ago")))),
            row("lantern-books", Sign::Bad, "Last one failed", Some((8, when("12 November")))),
            row("ferry-status", Sign::Todo, "Empty", None),
        ],
        pager: Pager { shown: "1 to 3 of 14".into(), first: None, next: Some("/sites?after=x".into()) },
        command: String::new(),
    };
    let new = NewSite {
        shell: shell(Place::Sites),
        crumbs: vec![Crumb::new("Sites", "/sites")],
        name: HOSTILE.into(),
        suffix: ".localhost:8080".into(),
        command: "chainhost deploy ./dist --site my-site --create --server http://localhost:8080".into(),
        problems: problem(),
    };
    let all = SiteDeployments {
        shell: shell(Place::Sites),
        crumbs: vec![Crumb::new("Sites", "/sites"), Crumb::new("harbour-cafe", "/sites/harbour-cafe")],
        tabs: sites::tabs("harbour-cafe", "Deployments"),
        name: "harbour-cafe".into(),
        lead: "44 deployments; 42 is live.".into(),
        standing: down(),
        rows: rows(),
        pager: Pager { shown: "6 of 44".into(), first: Some("/a".into()), next: Some("/b".into()) },
        may_deploy: true,
    };
    let document = r#"{"maintenance":{"on":true,"text":"We paint the walls.","allow":["203.0.113.7"],"page":"/closed.html"},"access":{"mode":"form","paths":["/intern"]},
        "hotlink":{"on":true},"cors":{"origins":["https://app.example.org"]},"errors":{"404":"/errors/404.html"},
        "caching":{"edge":true,"tags":{"blog":["/blog/:page","/feed.xml"]}}}"#;
    let mut values = Values::of(&Document::parse(document).unwrap_or_default());
    let sent = [("cors.origins", "*"), ("cors.credentials", "on"), ("cors.max_age_s", "600")];
    let wrong = Wrong {
        section: "cors".into(),
        problems: Problems::with(
            "cors.credentials",
            "`cors.credentials` with the origin `*` would let every page of the web read what only its visitor may see. Name the origins.",
        ),
        sent: sent.into_iter().map(|(key, value)| (key.into(), value.into())).collect(),
    };
    values.typed(&wrong.section, &wrong.sent);
    let settings = SiteSettings {
        shell: shell(Place::Sites),
        crumbs: vec![Crumb::new("Sites", "/sites"), Crumb::new("harbour-cafe", "/sites/harbour-cafe")],
        tabs: sites::tabs("harbour-cafe", "Settings"),
        parts: sites::parts("harbour-cafe", "General"),
        name: "harbour-cafe".into(),
        lead: "It serves what was deployed and nothing else.".into(),
        standing: down(),
        facts: vec![Fact::plain("Kept", "20 deployments besides the live one and the one before it")],
        watch: Some(Watch {
            folder: HOSTILE.into(),
            looked: Some(when("41 s ago")),
            problem: Some("The folder cannot be read: Permission denied.".into()),
        }),
        folder: HOSTILE.into(),
        wrong,
        values,
        doubts: vec!["There is no file `/closed.html` in what is live (`maintenance.page`). Visitors read the host's page until a deployment has it.".into()],
        hostnames: vec!["harbour.example".into(), "www.harbour.example".into()],
        cached: vec!["harbour.example".into(), "www.harbour.example".into()],
        may_purge: true,
        month: Month {
            sent: String::new(),
            budget: Some(Budget::of(Used { sent: 91_000_000_000, budget: 100_000_000_000, stops: true }, 1_795_530_000_000)),
        },
        people: vec![
            PersonRow { name: "ada".into(), changed: when("5 h ago"), remove: "/x".into() },
            PersonRow { name: HOSTILE.into(), changed: when("12 November"), remove: "/x".into() },
        ],
        links: vec![
            LinkRow { id: "abcdefgh".into(), note: "for the press".into(), maintenance: false, ends: when("in 6 days"), is_over: false, remove: "/x".into() },
            LinkRow { id: "ijklmnop".into(), note: HOSTILE.into(), maintenance: true, ends: when("12 November"), is_over: true, remove: "/x".into() },
        ],
        may_watch: true,
        consequence: "Its hostnames stop answering, its 44 deployments go. This cannot be undone.".into(),
        may_manage: true,
    };
    let made = LinkMade {
        shell: shell(Place::Sites),
        crumbs: vec![
            Crumb::new("Sites", "/sites"),
            Crumb::new("harbour-cafe", "/sites/harbour-cafe"),
            Crumb::new("Settings", "/x"),
        ],
        name: "harbour-cafe".into(),
        url: "https://harbour.example/.well-known/chainhost/link/kq5pcmevn2x6wyd4a3zt7hbgsfu2lrj4/intern/".into(),
        ends: when("in 7 days"),
        back: "/x".into(),
    };
    let hostnames = Hostnames {
        shell: shell(Place::Sites),
        crumbs: vec![Crumb::new("Sites", "/sites"), Crumb::new("harbour-cafe", "/sites/harbour-cafe")],
        tabs: sites::tabs("harbour-cafe", "Hostnames"),
        site: "harbour-cafe".into(),
        lead: "It answers under 4 hostnames.".into(),
        standing: Standing::default(),
        own: "harbour-cafe.localhost:8080".into(),
        own_url: "http://harbour-cafe.localhost:8080/".into(),
        own_standing: Some(certified()),
        is_asked: true,
        rows: vec![
            HostnameRow {
                hostname: "harbour.example".into(),
                url: "http://harbour.example/".into(),
                standing: Some(certified()),
            },
            HostnameRow {
                hostname: "www.harbour.example".into(),
                url: "http://www.harbour.example/".into(),
                standing: Some(HostnameStanding {
                    sign: Sign::Bad,
                    state: "No certificate",
                    text: "DNS knows no name www.harbour.example, says Let's Encrypt. Add an A or AAAA record for it that leads to this \
                           server. Tried again in 18 min."
                        .into(),
                    can_retry: true,
                }),
            },
            HostnameRow {
                hostname: "a-very-long-hostname-of-a-harbour-where-ships-and-cafes-are.example".into(),
                url: "http://long.example/".into(),
                standing: Some(HostnameStanding {
                    sign: Sign::Now,
                    state: "Under way",
                    text: "A certificate is asked for.".into(),
                    can_retry: false,
                }),
            },
        ],
        hostname: HOSTILE.into(),
        problems: Problems::with("hostname", "That is not a hostname."),
        may_manage: true,
    };
    let take_down = Question {
        title: "Take harbour-cafe down?".into(),
        typed: None,
        asked: Some(TextField {
            key: "reason",
            words: "Why, for visitors",
            hint: "One sentence. Everybody who opens the site reads it.",
            value: HOSTILE.into(),
            max: 500,
        }),
        problems: Problems::with("reason", "Say in 1 to 500 characters why, since visitors read it."),
        ..question(true)
    };
    vec![
        ("overview", render(&server::overview()), "Two things need you."),
        ("sites", render(&list), "Its hostnames answer no more"),
        ("site-new", render(&new), "cannot be a site&#39;s name"),
        ("site", render(&site()), "Winter opening hours"),
        ("site-deployments", render(&all), "Compress the photographs"),
        ("site-settings", render(&settings), "Danger zone"),
        ("site-link-made", render(&made), "I have it"),
        ("site-traffic", render(&traffic(TrafficSpan::Week)), "less than in the 7 days before"),
        ("site-traffic-hours", render(&traffic(TrafficSpan::Hours)), "Each bar is an hour"),
        ("site-traffic-months", render(&traffic(TrafficSpan::Months)), "The same as a table"),
        (
            "site-traffic-none",
            render(&SiteTraffic { told: None, lead: "Nothing was counted yet.".into(), ..traffic(TrafficSpan::Days) }),
            "There are no figures yet.",
        ),
        ("site-rules", render(&rules(false)), "Never asked: <code>/hours.html</code>"),
        ("site-rules-tried", render(&rules(true)), "because of line 4 of _redirects"),
        (
            "site-rules-wrong",
            render(&SiteRules {
                url: HOSTILE.into(),
                problems: Problems::with("url", "`old` is no address of a site: write `/old`."),
                ..rules(false)
            }),
            "There is a problem",
        ),
        ("site-rules-none", render(&SiteRules { any: false, ..rules(false) }), "There are no rules yet."),
        ("hostnames", render(&hostnames), "www.harbour.example"),
        ("hostname-check", render(&check()), "No certificate would come"),
        ("hostname-well", render(&check_well()), "Nothing stands in the way"),
        ("rollback", render(&question(false)), "Keep 42 live"),
        ("delete", render(&question(true)), "to confirm</label>"),
        ("take-down", render(&take_down), "Why, for visitors"),
    ]
}

pub(super) fn deployments() -> Vec<Sample> {
    let shell = || shell(Place::Sites);
    let at_a_glance = |events| Deployment {
        shell: Shell { notice: Some(Notice::Published), ..shell() },
        head: head("Summary"),
        problem: None,
        changes: Some(changes()),
        log: log(events),
        files: file_rows(),
        files_words: "318 files, 24.6 MB".into(),
        proof: Some(proof()),
    };
    let failed = Deployment {
        head: Head { live: false, sign: Sign::Bad, words: "Failed", preview: None, ..head("Summary") },
        problem: Some("Line 3 of _redirects is not a rule. Deployment 41 is still live.".into()),
        changes: None,
        files: Vec::new(),
        proof: None,
        ..at_a_glance(false)
    };
    let files = Files {
        shell: shell(),
        head: head("Files"),
        words: "318 files, 24.6 MB".into(),
        rows: file_rows(),
        pager: Pager { shown: "1 to 6 of 318".into(), first: None, next: Some("/x".into()) },
    };
    let diff = |changes| Diff {
        shell: shell(),
        head: head("Changes"),
        others: vec![
            Other { number: 41, title: "Compress the photographs".into(), chosen: true },
            Other { number: 39, title: HOSTILE.into(), chosen: false },
        ],
        changes,
    };
    let proof_page = ProofPage {
        shell: shell(),
        head: head("Proof"),
        seal: mark("Winter opening hours", Level::Sealed, Size::Huge),
        sentence: "These 318 files were sealed together on 23 November.".into(),
        proof: proof(),
    };
    let deploy = Deploy {
        shell: shell(),
        crumbs: vec![Crumb::new("Sites", "/sites"), Crumb::new("harbour-cafe", "/sites/harbour-cafe")],
        site: "harbour-cafe".into(),
        lead: "Deployment 42 is live and stays so until the new files are whole.".into(),
        standing: watched(),
        message: "Spring".into(),
        publish: true,
        down: false,
        command: "chainhost deploy ./dist --site harbour-cafe --server http://localhost:8080".into(),
        problems: Problems::with("archive", "The archive is not a zip."),
    };
    vec![
        ("deployment", render(&at_a_glance(true)), "Changed since 41"),
        ("deployment-failed", render(&failed), "nothing of it was published"),
        ("files", render(&files), "1 to 6 of 318"),
        ("diff", render(&diff(Some(changes()))), "And 12 more"),
        ("diff-none", render(&diff(None)), "There is nothing to compare it with."),
        ("log", render(&LogPage { shell: shell(), head: head("Log"), log: log(false) }), "As text"),
        ("proof", render(&proof_page), "What is not proven"),
        ("deploy", render(&deploy), "The archive is not a zip."),
    ]
}
