//! Tables and properties of the resolution of paths.

use proptest::prelude::*;

use super::{
    explain::Verdict,
    visitor::{Asked, Named},
    *,
};
use crate::{
    base::hash::Sha256,
    domain::{
        media_type,
        policy::{Fallback, Policy, split_url},
        site_path::SitePath,
    },
};

fn entry(path: &str) -> Entry {
    Entry {
        path: SitePath::parse(path).unwrap(),
        sha256: Sha256::of(path.as_bytes()),
        size: 1,
        media_type: media_type::of(path).to_owned(),
    }
}

pub(super) fn site(paths: &[&str], policy: Policy) -> Manifest {
    Manifest::with_any_policy(paths.iter().map(|path| entry(path)).collect(), policy).unwrap()
}

pub(super) fn rule(from: &str, to: &str, status: u16) -> Redirect {
    Redirect { from: from.to_owned(), status, to: to.to_owned(), ..Redirect::default() }
}

pub(super) fn rules(redirects: Vec<Redirect>) -> Policy {
    Policy { redirects, ..Policy::default() }
}

/// The answer as a word: `200 /path`, `308 -> target`, `gone`, `none`.
pub(super) fn said(manifest: &Manifest, path: &str, query: Option<&str>) -> String {
    in_words(resolve(manifest, path, query))
}

pub(super) fn in_words(resolution: Resolution<'_>) -> String {
    match resolution {
        Resolution::File { entry, status } => format!("{status} {}", entry.path),
        Resolution::Redirect { status, to } => format!("{status} -> {to}"),
        Resolution::PassedOn { to } => format!("200 <- {to}"),
        Resolution::Gone => String::from("gone"),
        Resolution::NotFound => String::from("none"),
    }
}

fn table(manifest: &Manifest, rows: &[(&str, &str)]) {
    for (request, wanted) in rows {
        let (path, query) = request.split_once('?').map_or((*request, None), |(path, query)| (path, Some(query)));
        assert_eq!(said(manifest, path, query), *wanted, "{request}");
    }
}

#[test]
fn files_and_folders() {
    let files = ["/index.html", "/docs/index.html", "/about.html", "/a b.txt"];
    table(
        &site(&files, Policy::default()),
        &[
            ("/", "200 /index.html"),
            ("/index.html", "200 /index.html"),
            ("/about.html", "200 /about.html"),
            ("/about", "none"),
            ("/docs", "308 -> /docs/"),
            ("/docs?a=1", "308 -> /docs/?a=1"),
            ("/docs/", "200 /docs/index.html"),
            ("/docs/index.html", "200 /docs/index.html"),
            ("/about.html/", "none"),
            ("//", "none"),
            ("//docs", "none"),
            ("/a b.txt", "200 /a b.txt"),
            ("/docs/../about.html", "none"),
        ],
    );
}

#[test]
fn clean_urls_have_one_form() {
    let policy = Policy { clean_urls: true, ..Policy::default() };
    let files = [
        "/index.html",
        "/about.html",
        "/docs/index.html",
        "/both.html",
        "/both/index.html",
        "/plain",
        "/plain.html",
        "/..html",
        "/.well-known/chainhost.html",
        "/ü.html",
    ];
    let manifest = site(&files, policy);
    table(
        &manifest,
        &[
            ("/about", "200 /about.html"),
            ("/about.html", "308 -> /about"),
            ("/about.html?q=1", "308 -> /about?q=1"),
            ("/index.html", "308 -> /"),
            ("/index", "200 /index.html"),
            ("/docs/index.html", "308 -> /docs/"),
            ("/docs", "308 -> /docs/"),
            ("/both", "200 /both.html"),
            ("/both/", "200 /both/index.html"),
            ("/plain", "200 /plain"),
            ("/plain.html", "200 /plain.html"),
            ("/..html", "200 /..html"),
            ("/.well-known/chainhost.html", "200 /.well-known/chainhost.html"),
            ("/.well-known/chainhost", "none"),
            ("/ü.html", "308 -> /%C3%BC"),
        ],
    );
}

#[test]
fn rules_go_in_order_and_before_files_only_with_force() {
    let force = |it: Redirect| Redirect { force: true, ..it };
    let manifest = site(
        &["/index.html", "/app.html", "/gone.html", "/kept.html", "/moved.html"],
        rules(vec![
            rule("/kept.html", "/never", 301),
            force(rule("/moved.html", "/app.html", 302)),
            rule("/blog/:year/:slug", "/:slug?y=:year#top", 301),
            rule("/docs/*", "https://docs.example.org:8080/v1/:splat", 307),
            rule("/app/*", "/app.html", 200),
            rule("/loop/*", "/loop/:splat", 200),
            rule("/old/*", "/gone.html", 410),
            rule("/older/*", "/nowhere.html", 410),
            rule("/lost/*", "/nowhere.html", 404),
            rule("/any/*", "/:splat", 303),
        ]),
    );
    table(
        &manifest,
        &[
            ("/kept.html", "200 /kept.html"),
            ("/moved.html", "302 -> /app.html"),
            ("/moved.html?a=b&c", "302 -> /app.html?a=b&c"),
            ("/blog/2026/hi?x=1", "301 -> /hi?y=2026#top"),
            ("/docs/a/b c?x=1", "307 -> https://docs.example.org:8080/v1/a/b%20c?x=1"),
            ("/app/x/y?z", "200 /app.html"),
            ("/loop/x", "none"),
            ("/old/x", "410 /gone.html"),
            ("/older/x", "gone"),
            ("/lost/x", "none"),
            ("/any/a%b?c", "303 -> /a%25b?c"),
        ],
    );
}

#[test]
fn a_rule_with_conditions_answers_those_of_whom_they_hold() {
    let when = |countries: &[&str], languages: &[&str], it: Redirect| Redirect {
        when: When {
            countries: countries.iter().map(|it| it.parse().unwrap()).collect(),
            languages: languages.iter().map(|it| (*it).to_owned()).collect(),
        },
        ..it
    };
    let manifest = site(
        &["/index.html", "/at.html", "/b.html"],
        rules(vec![
            Redirect { force: true, ..when(&["AT"], &["en"], rule("/", "/at/en", 302)) },
            Redirect { force: true, ..when(&["AT", "CH"], &[], rule("/", "/at.html", 200)) },
            when(&["DE"], &[], rule("/shop", "/de", 302)),
            rule("/shop", "/all", 302),
            when(&["DE"], &[], rule("/b.html", "/never", 302)),
            when(&[], &["he"], rule("/israel/*", "/israel/he/:splat", 302)),
        ]),
    );
    for (path, country, language, wanted, of_country, of_language) in [
        ("/", None, None, "200 /index.html", true, true),
        ("/", Some("AT"), None, "200 /at.html", true, true),
        ("/", Some("AT"), Some("en-GB"), "302 -> /at/en", true, true),
        ("/", Some("CH"), Some("en"), "200 /at.html", true, true),
        ("/", Some("DE"), Some("en"), "200 /index.html", true, true),
        ("/shop", Some("DE"), None, "302 -> /de", true, false),
        ("/shop", Some("AT"), None, "302 -> /all", true, false),
        ("/shop", None, None, "302 -> /all", true, false),
        ("/b.html", Some("DE"), None, "200 /b.html", false, false),
        ("/israel/a", None, Some("he"), "302 -> /israel/he/a", false, true),
        ("/israel/a", Some("IL"), Some("en"), "none", false, true),
        ("/nowhere", Some("DE"), Some("he"), "none", false, false),
    ] {
        let visitor = Named { country: country.map(|it| it.parse().unwrap()), language: language.map(str::to_owned) };
        let (resolution, asked) = resolve_for(&manifest, path, None, &visitor);
        assert_eq!(in_words(resolution), wanted, "{path} {visitor:?}");
        assert_eq!(asked, Asked { country: of_country, language: of_language }, "{path} {visitor:?}");
    }
    let all: Vec<String> = resolve_all(&manifest, "/", None).0.into_iter().map(in_words).collect();
    assert_eq!(all, ["200 /index.html", "302 -> /at/en", "200 /at.html"]);
    assert_eq!(resolve_all(&manifest, "/b.html", None).0.len(), 1);
}

/// A manifest is somebody else's: what a path may give is found in one look at each rule.
#[test]
fn many_conditions_take_no_longer_than_many_rules() {
    let when =
        |it: Redirect| Redirect { when: When { countries: vec!["AT".parse().unwrap()], languages: Vec::new() }, ..it };
    let many =
        |force: bool| (0..1_000).map(move |at| Redirect { force, ..when(rule("/*", &format!("/{at}/:splat"), 302)) });
    let manifest = site(&["/index.html"], rules(many(true).chain(many(false)).collect()));
    let begun = tokio::time::Instant::now();
    for path in 0..100 {
        assert_eq!(resolve_all(&manifest, &format!("/x/{path}"), None).0.len(), 1_001);
    }
    // Each rule with each other would take minutes.
    assert!(begun.elapsed().as_secs() < 20, "{:?}", begun.elapsed());
}

#[test]
fn a_captured_value_stays_in_its_place() {
    let query =
        |it: Redirect, name: &str, value: &str| Redirect { query: vec![(name.to_owned(), value.to_owned())], ..it };
    let manifest = site(
        &["/index.html", "/post/a.html"],
        rules(vec![
            query(rule("/store", "/item/:id", 302), "id", ":id"),
            query(rule("/fixed", "/yes?done", 302), "v", "a b"),
            query(rule("/read", "/post/:id.html", 200), "id", ":id"),
            rule("/out/*", "https://example.org:splat", 301),
            rule("/search/*", "/find?q=:splat", 301),
            rule("/*", "/:splat", 301),
        ]),
    );
    table(
        &manifest,
        &[
            ("//evil.example", "301 -> /evil.example"),
            ("////evil.example", "301 -> /evil.example"),
            ("/store?id=7", "302 -> /item/7?id=7"),
            ("/store?id=%2F%2Fevil%0d%0a", "302 -> /item/%2F%2Fevil%0D%0A?id=%2F%2Fevil%0d%0a"),
            ("/store?id=..", "none"),
            ("/store?id=%ff", "none"),
            ("/store", "none"),
            ("/fixed?u=1&v=a+b", "302 -> /yes?done"),
            ("/fixed?v=a", "none"),
            ("/read?id=a", "200 /post/a.html"),
            ("/out/.evil.example", "301 -> https://example.org:splat"),
            ("/search/a&b=c+d", "301 -> /find?q=a%26b%3Dc%2Bd"),
        ],
    );
    // A query cannot hold these when it comes over HTTP; a caller's slip must not split a header all the same.
    assert_eq!(said(&manifest, "//x", Some("a\r\nb: c#d")), "301 -> /x?a%0D%0Ab:%20c%23d");
}

#[test]
fn the_fallback_answers_what_nothing_else_does() {
    let fallback = |path: &str, status| Some(Fallback { path: SitePath::parse(path).unwrap(), status });
    let page = Policy { fallback: fallback("/404.html", 404), ..Policy::default() };
    let app = Policy { fallback: fallback("/index.html", 200), ..rules(vec![rule("/x/*", "/no.html", 404)]) };
    table(
        &site(&["/404.html"], page),
        &[("/x", "404 /404.html"), ("/", "404 /404.html"), ("/404.html", "200 /404.html")],
    );
    table(
        &site(&["/index.html"], app),
        &[
            ("/deep/link", "200 /index.html"),
            ("/x/y", "none"),
            ("/.well-known/chainhost/proof/1", "none"),
            ("/.well-known/acme-challenge/t", "none"),
            ("/.well-known/acme-challenge", "none"),
        ],
    );
}

fn names() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-c%.: é]{1,3}|index\\.html|[ab]\\.html|\\.\\.html", 1..3)
        .prop_map(|parts| format!("/{}", parts.join("/")))
}

fn patterns() -> impl Strategy<Value = String> {
    proptest::collection::vec("[a-c*]{1,2}|:[ab]|\\*|https?://[a:]", 0..4).prop_map(|it| format!("/{}", it.join("/")))
}

prop_compose! {
    fn redirects()(
        force in any::<bool>(), from in patterns(), to in prop_oneof![patterns(), ".{0,12}", patterns().prop_map(|it| format!("https://x.org{it}"))],
        status in prop_oneof![Just(200), Just(301), Just(404), Just(410), any::<u16>()],
        query in proptest::collection::vec(("[ab]", "[ab]|:[ab]"), 0..2),
        countries in proptest::collection::vec(prop_oneof![Just("AT"), Just("DE")], 0..2),
        languages in proptest::collection::vec("en|de", 0..2),
    ) -> Redirect {
        let countries = countries.into_iter().map(|it| it.parse().unwrap()).collect();
        Redirect { force, from, query, status, to, when: When { countries, languages } }
    }
}

prop_compose! {
    fn manifests()(
        paths in proptest::collection::vec(names(), 1..6),
        clean_urls in any::<bool>(),
        index in prop_oneof![Just(String::from("index.html")), "[ab]\\.html", ""],
        redirects in proptest::collection::vec(redirects(), 0..4),
    )(
        manifest in Just(paths.iter().filter_map(|it| SitePath::parse(it).ok()).map(|it| entry(it.as_str())).collect())
            .prop_map(move |entries: Vec<Entry>| {
                let policy = Policy { clean_urls, index: index.clone(), redirects: redirects.clone(), fallback: None, headers: Vec::new() };
                Manifest::with_any_policy(entries, policy).ok()
            })
    ) -> Option<Manifest> { manifest }
}

proptest! {
    #[test]
    fn resolving_never_panics_and_never_leaves_the_manifest(
        manifest in manifests(), path in prop_oneof![names(), "/.{0,8}", ".{0,8}"], query in proptest::option::of(".{0,10}|[ab]=[ab/]"),
    ) {
        let Some(manifest) = manifest else { return Ok(()) };
        if let Some(path) = decode_path(&path) {
            prop_assert!(is_plain(&path));
        }
        match resolve(&manifest, &path, query.as_deref()) {
            Resolution::File { entry, .. } => prop_assert_eq!(manifest.find(entry.path.as_str()), Some(entry)),
            Resolution::Redirect { to, .. } => {
                prop_assert!(to.bytes().all(|it| it.is_ascii_graphic()), "{}", to);
                prop_assert!(!to.starts_with("//") && (to.starts_with('/') || to.starts_with("http")), "{}", to);
            }
            // Nothing that is taken from a request names the server.
            Resolution::PassedOn { to } => {
                prop_assert!(to.bytes().all(|it| it.is_ascii_graphic()), "{}", to);
                prop_assert_eq!(split_url(&to).map(|it| it.0), Some("https://x.org"));
            }
            Resolution::Gone | Resolution::NotFound => {}
        }
    }

    /// In whatever way conditions hold together.
    #[test]
    fn all_that_a_path_may_give_is_what_each_choice_of_conditions_gives(
        manifest in manifests(), path in prop_oneof![names(), "/[a-c]{0,2}(/[a-c]?)?"], query in proptest::option::of("[ab]=[ab/]"),
    ) {
        let Some(manifest) = manifest else { return Ok(()) };
        let mut wanted: Vec<Resolution<'_>> = Vec::new();
        for chosen in 0..1_u32 << manifest.policy().redirects.len() {
            let one = walk(&manifest, &path, query.as_deref(), &|at, _| chosen & (1 << at) != 0, &mut Nobody);
            if !wanted.contains(&one) {
                wanted.push(one);
            }
        }
        let (all, _) = resolve_all(&manifest, &path, query.as_deref());
        prop_assert_eq!(&all[0], &resolve(&manifest, &path, query.as_deref()));
        prop_assert!(all.len() == wanted.len() && wanted.iter().all(|it| all.contains(it)), "{:?} {:?}", all, wanted);
    }

    /// The two must never differ, and each rule has one reason that fits what answered.
    #[test]
    fn explaining_says_what_resolving_does(
        manifest in manifests(), path in prop_oneof![names(), "/[a-c]{0,2}(/[a-c]?)?", ".{0,8}"],
        query in proptest::option::of(".{0,10}|[ab]=[ab/]"),
        country in proptest::option::of("AT|DE|FR"), language in proptest::option::of("en|de-AT|fr"),
    ) {
        let Some(manifest) = manifest else { return Ok(()) };
        let visitor = Named { country: country.map(|it| it.parse().unwrap()), language };
        let said = explain::explain(&manifest, &path, query.as_deref(), &visitor);
        let (resolution, asked) = resolve_for(&manifest, &path, query.as_deref(), &visitor);
        prop_assert_eq!((&said.resolution, said.asked), (&resolution, asked));
        let (all, depends) = resolve_all(&manifest, &path, query.as_deref());
        prop_assert!(all.contains(&resolution), "{:?}", visitor);
        prop_assert_eq!(depends == Asked::default(), asked == Asked::default());
        if visitor == Named::default() || asked == Asked::default() {
            prop_assert_eq!(&resolution, &resolve(&manifest, &path, query.as_deref()));
        }
        let by_rule = matches!(said.step, Step::Rule | Step::RuleFirst);
        prop_assert_eq!(by_rule, said.rule.is_some());
        prop_assert_eq!(said.verdicts.len(), manifest.policy().redirects.len());
        for (at, verdict) in said.verdicts.iter().enumerate() {
            prop_assert_eq!(*verdict == Verdict::Answers, said.rule == Some(at), "{:?}", verdict);
            // One that answers is all it takes: without the rule another thing answers.
            let found = values(&manifest.policy().redirects[at], &path, query.as_deref()).is_some();
            let silent = matches!(verdict, Verdict::OtherPath | Verdict::Query(_));
            prop_assert!(*verdict == Verdict::NotAsked || found != silent, "{:?}", verdict);
        }
        match said.resolution {
            Resolution::File { status: 200, entry } if !by_rule => {
                let step = if entry.path.as_str() == path { Step::File } else if path.ends_with('/') { Step::Index } else { Step::Clean };
                prop_assert_eq!(said.step, step);
            }
            Resolution::Redirect { .. } => prop_assert!(by_rule || matches!(said.step, Step::CleanRedirect | Step::FolderSlash)),
            _ => {}
        }
    }

    #[test]
    fn every_entry_is_found_under_its_url(manifest in manifests()) {
        let Some(manifest) = manifest else { return Ok(()) };
        let policy = Policy { redirects: manifest.policy().redirects.iter().filter(|it| !it.force).cloned().collect(), ..manifest.policy().clone() };
        let manifest = Manifest::with_any_policy(manifest.entries().to_vec(), policy).unwrap();
        for entry in manifest.entries() {
            let url = url_path(&manifest, entry);
            prop_assert!(url.bytes().all(|it| it.is_ascii_graphic()));
            let path = decode_path(&url).unwrap();
            prop_assert_eq!(resolve(&manifest, &path, None), Resolution::File { entry, status: 200 }, "{}", url);
        }
    }
}
