//! What visitors ask for is counted: exactly, by several nodes together, over kills, of hostile clients too, and not for ever.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::time::Duration;

use chainhost::{
    base::{clock::Clock, hash::Sha256},
    domain::{
        node::Duty,
        site::{SiteId, SiteName},
        traffic::{
            DAY_MS, HOUR_MS, MINUTE_MS, Period,
            sums::{Answered, Sums},
            tops::Kind,
        },
    },
    services::traffic::{Budget, Report, Span},
};
use serde_json::{Value, json};

use crate::{
    months::{Open, Rig, sqlite},
    support::{Host, browser::Browser, http, write_files},
};

const OWNER: &str = "owner@example.org";
const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0";

/// Deploys a site `shop` with two pages and a picture, at a time from which a minute is left of the day: who comes on two days is two visitors.
fn deploy(host: &Host) -> String {
    host.until_within(Duration::from_secs(70), Duration::from_secs(1), "a minute of one day", || {
        (Clock::system().now_ms() % DAY_MS < DAY_MS - MINUTE_MS).then_some(())
    });
    let key = host.key(OWNER, "super-admin");
    let folder = host.beside("shop");
    write_files(&folder, &[("index.html", b"<p>the shop</p>"), ("new.html", b"<p>new</p>"), ("a.png", b"picture")]);
    let out = host.cli(&key, &["deploy", folder.to_str().unwrap(), "--site", "shop", "--create"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    key
}

/// Asks for a path of the site; the status and the bytes of the body.
fn visit(host: &Host, path: &str, agent: &str, more: &str) -> (u16, u64) {
    let head = format!("GET {path} HTTP/1.1\r\nHost: shop.localhost\r\nUser-Agent: {agent}\r\n{more}");
    let answer = http::ask(host.port, &head, b"");
    (answer.status, u64::try_from(answer.body.len()).unwrap())
}

fn told(host: &Host, key: &str, query: &str) -> Value {
    host.api_json(key, &format!("GET /api/v1/sites/shop/traffic{query}"), "", 200)
}

/// Waits until so many requests are stored; all figures then.
fn counted(host: &Host, key: &str, requests: u64) -> Value {
    host.until_within(Duration::from_mins(1), Duration::from_millis(250), "the figures", || {
        let told = told(host, key, "");
        (told["total"]["requests"].as_u64().unwrap() >= requests).then_some(told)
    })
}

fn labels(of: &Value) -> Vec<(String, u64)> {
    let pair = |it: &Value| (it["label"].as_str().unwrap().to_owned(), it["count"].as_u64().unwrap());
    of.as_array().unwrap().iter().map(pair).collect()
}

fn owned(pairs: &[(&str, u64)]) -> Vec<(String, u64)> {
    pairs.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect()
}

#[test]
fn figures_are_exact_and_outlive_a_stop() {
    let mut host = Host::start();
    let key = deploy(&host);
    assert_eq!(told(&host, &key, "")["since"], Value::Null);
    let etag = host.get("shop.localhost", "/new.html").header("etag").unwrap().to_owned();
    let (mut bytes, mut asked) = (10, 1);
    for (times, path, agent, more, status) in [
        (3, "/", FIREFOX, "Referer: https://www.news.example/today?id=secret\r\n", 200),
        (2, "/new.html?token=secret", FIREFOX, "Referer: http://shop.localhost/\r\n", 200),
        (1, "/new.html", "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/142.0.0.0 Safari/537.36", "", 200),
        (1, "/new.html", FIREFOX, &format!("Accept: text/html\r\nIf-None-Match: {etag}\r\n"), 304),
        (4, "/a.png", FIREFOX, "", 200),
        (2, "/missing%20page", FIREFOX, "", 404),
        (5, "/", "curl/8.5.0", "", 200),
        (1, "/", FIREFOX, "Sec-Purpose: prefetch\r\n", 200),
    ] {
        for _ in 0..times {
            let got = visit(&host, path, agent, more);
            assert_eq!(got.0, status, "{path}");
            (bytes, asked) = (bytes + got.1, asked + 1);
        }
    }
    let told = counted(&host, &key, asked);
    let total = &told["total"];
    assert_eq!(total["requests"], asked);
    assert_eq!(total["bytes"], bytes);
    // The first look was by nobody who says who asks.
    assert_eq!((&total["pages"], &total["visits"], &total["bots"]), (&7.into(), &2.into(), &6.into()));
    let classes = ["status_2xx", "status_3xx", "status_4xx", "status_5xx", "unchanged"].map(|it| total[it].as_u64());
    assert_eq!(classes, [17, 1, 2, 0, 1].map(Some));
    assert_eq!(labels(&told["pages"]), owned(&[("/new.html", 4), ("/", 3)]));
    assert_eq!(labels(&told["referrers"]), owned(&[("news.example", 3)]));
    assert_eq!(labels(&told["missing"]), owned(&[("/missing page", 2)]));
    assert!(!told.to_string().contains("secret"), "{told}");
    assert_eq!(told["before"]["requests"], 0);
    assert_eq!(told["points"].as_array().unwrap().len(), 24);
    for step in ["minute", "hour", "day"] {
        let told = self::told(&host, &key, &format!("?step={step}"));
        let sum: u64 = told["points"].as_array().unwrap().iter().map(|it| it["requests"].as_u64().unwrap()).sum();
        assert_eq!((sum, &told["total"]["visits"]), (asked, &2.into()), "{step}");
    }
    let metrics = host.get("localhost", "/metrics").text();
    assert!(metrics.contains(&format!("chainhost_site_requests_total{{site=\"shop\"}} {asked}\n")), "{metrics}");
    assert!(metrics.contains("chainhost_traffic_dropped_total 0\n"), "{metrics}");

    // A stop stores what is left, and the same visitor is the same after a restart.
    visit(&host, "/", FIREFOX, "");
    assert_eq!(host.stop(), Some(0));
    host.restart();
    visit(&host, "/", FIREFOX, "");
    let told = counted(&host, &key, asked + 2);
    assert_eq!((&told["total"]["requests"], &told["total"]["visits"]), (&(asked + 2).into(), &2.into()));
    let shown = host.cli(&key, &["sites", "traffic", "shop"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("Visits") && shown.contains("/missing page"), "{shown}");

    // What is asked for wrongly is said so; a site that goes takes its figures along.
    for (query, field) in [
        ("?step=year", "step"),
        ("?from=yesterday", "from"),
        ("?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("?step=minute&from=2020-01-01T00:00:00Z", "step"),
    ] {
        let refused = host.api_json(&key, &format!("GET /api/v1/sites/shop/traffic{query}"), "", 400);
        assert_eq!(refused["field"], field, "{query}: {refused}");
    }
    host.api_json(&key, "DELETE /api/v1/sites/shop", "", 204);
    host.api_json(&key, "GET /api/v1/sites/shop/traffic", "", 404);
}

#[test]
fn a_kill_loses_no_more_than_was_not_stored() {
    let mut host = Host::start();
    let key = deploy(&host);
    for _ in 0..20 {
        visit(&host, "/", FIREFOX, "");
    }
    counted(&host, &key, 20);
    for _ in 0..5 {
        visit(&host, "/", FIREFOX, "");
    }
    host.kill();
    host.restart();
    visit(&host, "/", FIREFOX, "");
    // Its own request is stored, so that all is that will be.
    let told = host.until_within(Duration::from_mins(1), Duration::from_millis(250), "the figures", || {
        let told = told(&host, &key, "");
        let requests = told["total"]["requests"].as_u64().unwrap();
        (requests > 20).then_some((requests, told))
    });
    assert!((21..=26).contains(&told.0), "{}", told.0);
    assert_eq!(told.1["total"]["visits"], 1, "the salt of the day is the same");
}

#[cfg(feature = "postgres")]
#[test]
fn two_nodes_count_one_site_together() {
    use crate::support::{
        postgres::{Database, Way},
        read_files,
    };
    let database = Database::new(Way::Direct);
    let (one, other) = (Host::start_on(&database.url()), Host::start_on(&database.url()));
    let key = deploy(&one);
    // They share no folder of files.
    let blobs = |host: &Host| host.data().join("blobs");
    for (name, bytes) in read_files(&blobs(&one)) {
        write_files(&blobs(&other), &[(&name, &bytes)]);
    }
    other.until("the site is known", || (visit(&other, "/", "curl/8", "").0 == 200).then_some(()));
    let before = counted(&one, &key, 1)["total"]["requests"].as_u64().unwrap();
    for _ in 0..30 {
        visit(&one, "/", FIREFOX, "");
        visit(&other, "/", FIREFOX, "");
        visit(&other, "/new.html", &format!("{FIREFOX} other"), "");
    }
    let told = counted(&other, &key, before + 90);
    let total = &told["total"];
    assert_eq!((&total["requests"], &total["pages"]), (&(before + 90).into(), &90.into()));
    assert_eq!(total["visits"], 2, "who comes to both is one");
    assert_eq!(labels(&told["pages"]), owned(&[("/", 60), ("/new.html", 30)]));
}

/// A page that somebody looked at.
fn page(site: SiteId, at_ms: i64, visitor: u32, path: &str) -> Answered {
    let label = Some((Kind::Page, path.into()));
    Answered {
        site,
        at_ms,
        status: 200,
        bytes: 100,
        is_bot: false,
        visitor: Some(visitor),
        label,
        referrer: None,
        country: None,
    }
}

async fn keep(rig: &Rig, answers: impl IntoIterator<Item = Answered>) {
    let mut sums = Sums::default();
    answers.into_iter().for_each(|it| sums.take_in(it));
    rig.services.keep_traffic(sums.take(usize::MAX)).await.map_err(|it| it.0).unwrap();
}

async fn report(rig: &Rig, period: Period, from_ms: i64, to_ms: i64) -> Report {
    let span = Span::of(period, from_ms, to_ms).unwrap();
    rig.services.get_traffic(&rig.actor, &SiteName::parse("shop").unwrap(), span).await.unwrap()
}

async fn rows(rig: &Rig) -> [i64; 3] {
    rig.services
        .db
        .read(|tx| {
            let mut count = |table: &str| tx.one(&format!("SELECT COUNT(*) FROM {table}"), &[])?.int(0);
            Ok([count("traffic")?, count("traffic_top")?, count("traffic_visitors")?])
        })
        .await
        .unwrap()
}

async fn sums_of_days_and_the_end_of_what_is_kept(open: Open) {
    let rig = Rig::new(open, None).await;
    let now = rig.services.clock.now_ms();
    let site = rig.services.create_site(&rig.actor, "shop").await.unwrap().site.id;
    let midnight = Period::Day.start_of(now);
    // One visitor before and one behind midnight, stored in two steps; of a site that is not there nothing is kept.
    keep(&rig, [page(site, midnight - 1, 1, "/"), page(site, midnight, 2, "/"), page(site, midnight, 2, "/a")]).await;
    keep(&rig, [page(site, midnight, 2, "/"), page(site, midnight + HOUR_MS, 2, "/")]).await;
    keep(&rig, [page(SiteId(rig.services.ids.next()), midnight, 1, "/")]).await;
    let days = report(&rig, Period::Day, midnight - DAY_MS, midnight + DAY_MS).await;
    let of = |it: &Report| it.columns.iter().map(|it| (it.counts.requests, it.visits)).collect::<Vec<_>>();
    assert_eq!(of(&days), [(1, 1), (4, 1)]);
    assert_eq!(days.pages, owned(&[("/", 4), ("/a", 1)]));
    assert_eq!(days.first_ms, Some(midnight - DAY_MS));
    let hours = report(&rig, Period::Hour, midnight - HOUR_MS, midnight + 2 * HOUR_MS).await;
    assert_eq!(of(&hours), [(1, 1), (3, 1), (1, 1)]);
    assert_eq!((hours.total.visits, hours.total.counts.bytes), (2, 500));
    // Minutes of an hour that began before them, and such in which nobody came.
    for (from, to, visits) in [(0, 60, 1), (-30, 30, 2), (-1, 0, 1), (1, 61, 1), (60, 61, 1), (61, 121, 0), (-60, 0, 1)]
    {
        let (from_ms, to_ms) = (midnight + from * MINUTE_MS, midnight + to * MINUTE_MS);
        let minutes = report(&rig, Period::Minute, from_ms, to_ms).await;
        assert_eq!(
            (minutes.total.visits, minutes.columns.len()),
            (visits, usize::try_from(to - from).unwrap()),
            "{from}"
        );
    }
    let second = report(&rig, Period::Day, midnight, midnight + DAY_MS).await;
    assert_eq!((second.before.counts.requests, second.before.visits), (1, 1));
    // The next day is of another salt, and the one before is thrown away, also when the clock is set back in between.
    let salts = rig.services.visit_salts().await.unwrap();
    assert!(salts.iter().any(|it| it.0 == midnight), "{salts:?}");
    assert_eq!(rig.services.visit_salts().await.unwrap(), salts);
    rig.hands.advance(DAY_MS);
    let next = rig.services.visit_salts().await.unwrap();
    assert!(next.iter().all(|it| it.0 > midnight) && next[0].0 == midnight + DAY_MS);
    assert!(salts.iter().all(|it| it.0 != midnight || next.iter().all(|next| next.1 != it.1)));
    rig.hands.advance(-DAY_MS);
    let again = rig.services.visit_salts().await.unwrap();
    assert!(again.iter().any(|it| it.0 == midnight && it.1 != salts[0].1), "what is thrown away does not come back");
    assert!(again.contains(&next[0]));
    // Three minutes, three hours, two days; lists and sketches of hours and days.
    assert_eq!(rows(&rig).await, [3 + 3 + 2, 5, 5]);
    let hold = rig.services.hold(Duty::Clean).unwrap();
    for (days, left) in
        [(1, [8, 5, 5]), (3, [5, 2, 5]), (9, [5, 2, 0]), (61, [2, 2, 0]), (402, [2, 0, 0]), (1_100, [0; 3])]
    {
        rig.hands.advance(midnight + days * DAY_MS - rig.services.clock.now_ms());
        // One pass goes a day at most, for the sake of clocks that are ahead.
        rig.services.prune_traffic(&hold).await.unwrap();
        rig.services.prune_traffic(&hold).await.unwrap();
        assert_eq!(rows(&rig).await, left, "after {days} days");
    }
}

#[tokio::test]
async fn sums_of_days_and_the_end_of_what_is_kept_on_sqlite() {
    sums_of_days_and_the_end_of_what_is_kept(sqlite).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn sums_of_days_and_the_end_of_what_is_kept_on_postgres() {
    sums_of_days_and_the_end_of_what_is_kept(crate::months::postgres).await;
}

#[tokio::test]
async fn a_clock_that_is_ahead_costs_little() {
    let rig = Rig::new(sqlite, None).await;
    let now = rig.services.clock.now_ms();
    let site = rig.services.create_site(&rig.actor, "shop").await.unwrap().site.id;
    let noon = Period::Day.start_of(now) + 12 * HOUR_MS;
    keep(&rig, (0..30).map(|day| page(site, noon - day * DAY_MS, 1, "/"))).await;
    let hold = rig.services.hold(Duty::Clean).unwrap();
    rig.services.prune_traffic(&hold).await.unwrap();
    rig.hands.advance(3_650 * DAY_MS);
    // A visit that has the time of that clock says nothing of it.
    keep(&rig, [page(site, rig.services.clock.now_ms(), 1, "/")]).await;
    rig.services.prune_traffic(&hold).await.unwrap();
    rig.hands.advance(-3_650 * DAY_MS);
    let told = report(&rig, Period::Day, noon - 40 * DAY_MS, noon + DAY_MS).await;
    assert_eq!(told.total.counts.requests, 29, "a day has gone, and no more");
}

#[tokio::test]
async fn many_sites_of_two_tenants_are_stored_at_once_and_stay_apart() {
    let rig = Rig::new(sqlite, None).await;
    let (other, now) = (rig.other().await, rig.services.clock.now_ms());
    let mut sites = Vec::new();
    for n in 0..150 {
        let actor = if n % 2 == 0 { &rig.actor } else { &other };
        sites.push((n, rig.services.create_site(actor, &format!("site-{n}")).await.unwrap().site.id));
    }
    let times = |n: u32| (0..=n).map(move |visitor| (n, visitor));
    let all = || sites.iter().flat_map(|(n, site)| times(*n).map(|(n, it)| page(*site, now, it, &format!("/{n}"))));
    keep(&rig, all()).await;
    keep(&rig, all()).await;
    for (n, _) in &sites {
        let (name, span) =
            (SiteName::parse(&format!("site-{n}")).unwrap(), Span::of(Period::Day, now, now + 1).unwrap());
        let (own, foreign) = if n % 2 == 0 { (&rig.actor, &other) } else { (&other, &rig.actor) };
        let told = rig.services.get_traffic(own, &name, span.clone()).await.unwrap();
        let many = u64::from(n + 1);
        assert_eq!((told.total.counts.requests, told.total.visits), (2 * many, many), "{name}");
        assert_eq!(told.pages, owned(&[(&format!("/{n}"), 2 * many)]));
        assert_eq!(rig.services.get_traffic(foreign, &name, span).await.unwrap_err().code, "not_found");
    }
}

/// As the hash of a visitor.
fn hash(n: u32) -> u32 {
    u32::from_be_bytes(Sha256::of(&n.to_be_bytes()).0[..4].try_into().unwrap())
}

#[tokio::test]
async fn a_hostile_client_fills_no_table() {
    let rig = Rig::new(sqlite, None).await;
    let now = rig.services.clock.now_ms();
    let site = rig.services.create_site(&rig.actor, "shop").await.unwrap().site.id;
    for round in 0..10_u32 {
        let hostile = (0..10_000_u32).map(|n| page(site, now, hash(n), &format!("/{round}-{n}")));
        let people = (0..600_u32).map(|n| page(site, now, hash(n), "/real"));
        keep(&rig, hostile.chain(people)).await;
    }
    let told = report(&rig, Period::Day, now, now + 1).await;
    assert_eq!(told.total.counts.requests, 106_000);
    assert_eq!(told.pages[0].0, "/real");
    assert!(told.pages[0].1 > 5_000 && told.pages.len() == 50 && told.pages[1].1 <= 2, "{:?}", &told.pages[..3]);
    assert!(told.total.visits.abs_diff(10_000) < 500, "{}", told.total.visits);
    assert_eq!(rows(&rig).await, [3, 2, 2]);
}

#[test]
fn what_hostile_clients_ask_for_is_shown_as_text() {
    let host = Host::start();
    let key = deploy(&host);
    let long = format!("/{}", "x".repeat(6_000));
    let hostile = ["/%3Cscript%3Ealert(1)%3C/script%3E", "/%00", "/%ff%fe", "/%1b%5b2J", "/%E2%80%AEgpj.exe", &long];
    for path in hostile {
        let referer = "Referer: https://evil.example\"><script>alert(2)</script>/\r\n";
        assert!(matches!(visit(&host, path, FIREFOX, referer).0, 400 | 404), "{path}");
    }
    visit(&host, "/", FIREFOX, "Referer: https://evil.example/<script>alert(3)</script>\r\n");
    let told = counted(&host, &key, 7);
    let missing = labels(&told["missing"]);
    assert!(missing.iter().any(|it| it.0 == "/<script>alert(1)</script>"), "{missing:?}");
    assert!(missing.iter().all(|it| it.0.chars().count() <= 120 && !it.0.chars().any(char::is_control)));
    assert_eq!(labels(&told["referrers"]), owned(&[("evil.example", 1)]));
    let mut browser = Browser::signed_in(&host, OWNER);
    for span in ["", "?span=24h", "?span=30d", "?span=12m", "?span=%3Cscript%3E"] {
        let page = browser.page(&format!("/sites/shop/traffic{span}"));
        assert!(!page.contains("<script>alert") && !page.contains('\u{1b}') && !page.contains('\u{202e}'), "{page}");
        assert!(page.contains("script&") || page.contains("&lt;script") || page.contains("&#60;script"), "{page}");
        assert!(page.contains("evil.example") && page.contains("in UTC") && page.len() < 60_000);
    }
    assert_eq!(browser.get("/sites/nothing/traffic").status, 404);
}

#[tokio::test]
async fn a_budget_is_told_once_for_each_level_and_month() {
    let rig = Rig::new(sqlite, None).await;
    let (site, now) =
        (rig.services.create_site(&rig.actor, "shop").await.unwrap().site.id, rig.services.clock.now_ms());
    let budgets = || vec![Budget { site, name: String::from("shop"), bytes: 10_000 }];
    let send = |times: u32, at_ms: i64| keep(&rig, (0..times).map(move |n| page(site, at_ms, n, "/")));
    let told = async || {
        let all = rig.services.list_audit(&rig.actor, None, 200).await.unwrap();
        all.into_iter().filter(|it| it.kind == "site.traffic_used").map(|it| it.text).collect::<Vec<_>>()
    };
    send(79, now).await;
    assert_eq!(rig.services.watch_budgets(budgets()).await.unwrap(), []);
    assert_eq!(told().await, [""; 0]);
    send(1, now).await;
    for _ in 0..3 {
        assert_eq!(rig.services.watch_budgets(budgets()).await.unwrap(), []);
    }
    let near = "saw that shop has used 80 % of its traffic of 2026-01: 8.0 kB of 10 kB";
    assert_eq!(told().await, [near]);
    send(20, now).await;
    for _ in 0..3 {
        assert_eq!(rig.services.watch_budgets(budgets()).await.unwrap(), [site]);
    }
    assert_eq!(told().await, ["saw that shop has used all of its traffic of 2026-01: 10 kB of 10 kB", near]);
    // A minute later it is another month.
    rig.hands.advance(60_000);
    assert_eq!(rig.services.watch_budgets(budgets()).await.unwrap(), []);
    send(100, rig.services.clock.now_ms()).await;
    assert_eq!(rig.services.watch_budgets(budgets()).await.unwrap(), [site]);
    assert_eq!(told().await.len(), 3);
    assert_eq!(rig.services.watch_budgets(Vec::new()).await.unwrap(), []);
}

#[test]
fn a_site_whose_traffic_is_used_up_answers_with_the_hosts_page() {
    let host = Host::start();
    let key = deploy(&host);
    let folder = host.beside("shop");
    write_files(&folder, &[("large.bin", &vec![7; 600_000])]);
    assert!(host.cli(&key, &["deploy", folder.to_str().unwrap(), "--site", "shop"]).status.success());
    let set = host.cli(&key, &["sites", "settings", "shop", "traffic.budget_bytes=1 MB", "traffic.when_used_up=stop"]);
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    for _ in 0..2 {
        assert_eq!(visit(&host, "/large.bin", FIREFOX, "").0, 200);
    }
    let page = host.until_within(Duration::from_mins(1), Duration::from_millis(250), "the end of the traffic", || {
        let answer = host.get("shop.localhost", "/");
        (answer.status == 503).then_some(answer)
    });
    assert!(page.text().contains("used up its traffic") && page.header("retry-after") == Some("3600"));
    let said = host.api_json(&key, "POST /api/v1/sites/shop/try", r#"{"url":"/"}"#, 200);
    assert_eq!((&said["status"], &said["setting"]), (&json!(503), &json!("traffic.when_used_up")), "{said}");
    let log = host.api_json(&key, "GET /api/v1/audit", "", 200).to_string();
    assert!(log.contains("saw that shop has used all of its traffic"), "{log}");
    let shown = Browser::signed_in(&host, OWNER).page("/sites/shop/traffic");
    assert!(shown.contains("The traffic of this month is used up"), "{shown}");
    // More of it, and it is back.
    host.api_json(&key, "PATCH /api/v1/sites/shop/settings", r#"{"traffic":{"budget_bytes":"1 GB"}}"#, 200);
    host.until_within(Duration::from_mins(1), Duration::from_millis(250), "the site", || {
        (host.get("shop.localhost", "/").status == 200).then_some(())
    });
}

/// Nobody loads anything by HTTP here: one WebSocket sends for as long as it may.
#[test]
fn a_websocket_that_has_used_the_traffic_up_ends() {
    let host = Host::start();
    let key = deploy(&host);
    let to = format!("http://127.0.0.1:{}", http::websocket_upstream(60_000_000));
    let settings = serde_json::json!({
        "proxy": { "routes": [{ "path": "/live", "to": [to] }] },
        "traffic": { "budget_bytes": "1 MB", "when_used_up": "stop" },
    });
    host.api_json(&key, "PATCH /api/v1/sites/shop/settings", &settings.to_string(), 200);
    let mut socket = http::websocket(host.port, "shop.localhost", "/live");
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let came = std::io::copy(&mut socket, &mut std::io::sink()).unwrap();
    assert!(came > 1_000_000, "{came}");
    let told = host.until_within(Duration::from_mins(1), Duration::from_millis(250), "all of it", || {
        let told = told(&host, &key, "");
        (told["total"]["bytes"].as_u64().unwrap() >= came).then_some(told)
    });
    assert_eq!(told["total"]["requests"], 1, "{told}");
    assert_eq!(visit(&host, "/", FIREFOX, "").0, 503);
}
