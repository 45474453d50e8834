//! What the policy files say, and where they are wrong.

use super::*;
use crate::domain::policy::{HeaderRule, Redirect};

fn of(headers: &str, redirects: &str, toml: &str) -> Result<Policy> {
    let files = PolicyFiles {
        headers: Some(headers.as_bytes()),
        redirects: Some(redirects.as_bytes()),
        toml: Some(toml.as_bytes()),
    };
    policy(&files, &[])
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn nothing_says_the_defaults() {
    assert_eq!(policy(&PolicyFiles::default(), &[]).unwrap(), Policy::default());
    assert_eq!(of("", "\n# nothing\n", "").unwrap(), Policy::default());
    let page = policy(&PolicyFiles::default(), &["/404.html"]).unwrap().fallback.unwrap();
    assert_eq!((page.path.as_str(), page.status), ("/404.html", 404));
}

#[test]
fn header_blocks_are_read_in_order() {
    let text = "\u{feff}# all\n/*\r\n  X-Frame-Options: DENY\r\n\tCache-Control:  max-age=60 \n\n  # inside\n  Link: <https://a.b/>; rel=x\n/a%20b/:id\n  content-type: text/plain\n";
    let policy = of(text, "", "").unwrap();
    assert_eq!(
        policy.headers,
        [
            HeaderRule {
                matches: String::from("/*"),
                set: pairs(&[
                    ("x-frame-options", "DENY"),
                    ("cache-control", "max-age=60"),
                    ("link", "<https://a.b/>; rel=x")
                ]),
            },
            HeaderRule { matches: String::from("/a b/:id"), set: pairs(&[("content-type", "text/plain")]) },
        ]
    );
    assert_eq!(policy.type_for("/a b/1"), Some("text/plain"));
    assert_eq!(policy.type_for("/a"), None);
}

#[test]
fn redirects_are_read_in_order() {
    let text = "/old /new\n  /blog/*\thttps://blog.example.org:8443/:splat 302! # moved\n/s id=:id q=1 /item/:id 200\n/gone /gone.html 410\n";
    let rule = |from: &str, query: &[(&str, &str)], to: &str, status, force| Redirect {
        force,
        from: from.to_owned(),
        query: pairs(query),
        status,
        to: to.to_owned(),
        ..Redirect::default()
    };
    assert_eq!(
        of("", text, "").unwrap().redirects,
        [
            rule("/old", &[], "/new", 301, false),
            rule("/blog/*", &[], "https://blog.example.org:8443/:splat", 302, true),
            rule("/s", &[("id", ":id"), ("q", "1")], "/item/:id", 200, false),
            rule("/gone", &[], "/gone.html", 410, false),
        ]
    );
}

#[test]
fn of_whom_a_rule_holds_is_read_with_and_without_a_status() {
    let of_rule = |line: &str, toml: &str| {
        let rule = of("", line, toml).unwrap().redirects.remove(0);
        let countries: Vec<_> = rule.when.countries.iter().map(|it| it.code().to_owned()).collect();
        (rule.status, rule.force, countries.join(","), rule.when.languages.join(","))
    };
    let said =
        |status, force, countries: &str, languages: &str| (status, force, countries.to_owned(), languages.to_owned());
    assert_eq!(of_rule("/ /anz 302 Country=au,nz", ""), said(302, false, "AU,NZ", ""));
    assert_eq!(of_rule("/ /anz Country=au", ""), said(301, false, "AU", ""));
    assert_eq!(of_rule("/ /anz Country=au", "rules = \"cloudflare\""), said(302, true, "AU", ""));
    assert_eq!(of_rule("/* /he/:splat 200! Language=he,pt_BR country=IL # all", ""), said(200, true, "IL", "he,pt-br"));
    // Both ways of writing a path have the condition.
    let twice = of("", "/a /b 302 Country=at", "rules = \"netlify\"").unwrap().redirects;
    assert!(twice.len() == 2 && twice.iter().all(|it| it.when.countries.len() == 1), "{twice:?}");
}

#[test]
fn settings_are_read() {
    let settings = of("", "", "clean_urls = true\nindex = \"home.html\"\nspa = true\n").unwrap();
    assert!(settings.clean_urls);
    let page = settings.fallback.unwrap();
    assert_eq!((settings.index.as_str(), page.path.as_str(), page.status), ("home.html", "/home.html", 200));
    let page = of("", "", "[fallback]\npath = \"/no.html\"\n").unwrap().fallback.unwrap();
    assert_eq!((page.path.as_str(), page.status), ("/no.html", 404));
    let files = PolicyFiles { toml: Some(b"spa = true"), ..PolicyFiles::default() };
    assert_eq!(policy(&files, &["/404.html"]).unwrap().fallback.unwrap().status, 200);
}

#[test]
fn a_wrong_line_is_named() {
    for (headers, redirects, toml, wanted) in [
        ("  X: 1", "", "", "_headers, line 1: a header stands before"),
        ("/a\n/b\n  X: 1", "", "", "_headers, line 1: it sets no header"),
        ("/a\n  X 1", "", "", "_headers, line 2: a header looks like"),
        ("/a\n  X Y: 1", "", "", "line 2: `x y` is not"),
        ("/a\n  X:", "", "", "line 2: `x` has no value"),
        ("/a\n  X: é", "", "", "line 2: the value of `x` must be printable"),
        ("/a\n  X: a\rb", "", "", "line 2: the value of `x` must be printable"),
        ("/a\n  X: a\0b", "", "", "line 2: the value of `x` must be printable"),
        ("/a\n  Set-Cookie: a=b", "", "", "line 2: the host itself sets `set-cookie`"),
        ("/a\n  Date: a", "", "", "the host itself sets `date`"),
        ("/a\n  ETag: a", "", "", "the host itself sets `etag`"),
        ("/a\n  Content-Length: 1", "", "", "the host itself sets"),
        ("/a\n  Transfer-Encoding: chunked", "", "", "the host itself sets"),
        ("/a\n  Connection: x", "", "", "the host itself sets"),
        ("X: 1", "", "", "_headers, line 1: `X: 1` must begin with `/`"),
        ("/*/*/*/*/*\n  X: 1", "", "", "at most 4 of `*`"),
        ("/a:b\n  X: 1", "", "", "fills a whole segment"),
        ("/a/%2e%2e\n  X: 1", "", "", "cannot be matched"),
        ("/%2A\n  X: 1", "", "", "cannot be matched"),
        ("/a\n  X: 1\n/b?c=d\n  X: 1", "", "", "_headers, line 3: a path is matched without `?`"),
        ("", "/z /y\n/a?id=1 /b", "", "_redirects, line 2: a path is matched without `?`"),
        ("", "/a?id=1 /b", "", "as in `/from name=value /to`"),
        ("", "/a?id=1 /b", "", "is `%3F`"),
        ("", "/a#top /b", "", "line 1: a path is matched without `#`"),
        ("/a#b\n  X: 1", "", "", "is `%23`"),
        ("", "\n/a", "", "_redirects, line 2: there is no target"),
        ("", "a /b", "", "line 1: `a` must begin with `/`"),
        ("", "https://x.y/a /b", "", "must begin with `/`"),
        ("", "/a b", "", "a target is a path with one `/`"),
        ("", "/a //b", "", "a target is a path with one `/`"),
        ("", "/a /\\b", "", "no backslash"),
        ("", "/a javascript:alert(1)", "", "a target is a path"),
        ("", "/* https://a.b:splat", "", "the host of a target"),
        ("", "/:a https://:a.b/", "", "the host of a target"),
        ("", "/a https://u@b/", "", "the host of a target"),
        ("", "/a https:///b", "", "the host of a target"),
        ("", "/a /b 304", "", "the status 304"),
        ("", "/a /b x", "", "`x` is not a status"),
        ("", "/a https://b.c 404", "", "must be a file of this site"),
        ("", "/a /b 301 Country=uk", "", "the United Kingdom is `gb`"),
        ("", "/a /b 301 Country=de,xx", "", "line 1: `xx` is not the code of a country"),
        ("", "/a /b 301 Country=de Country=at", "", "`Country=at` is the second of its kind"),
        ("", "/a /b 301 Country=,", "", "`Country=,` names none"),
        ("", "/a /b 301 Country=", "", "`Country=` is too much. A line looks like"),
        ("", "/a /b 301 Country=de,de", "", "the country `DE` is there twice"),
        ("", "/a /b 302 Language=deutsch-at_x!", "", "`deutsch-at-x!` is not a language"),
        ("", "/a /b 302 Language=en,EN", "", "the language `en` is there twice"),
        ("", "/a /b 302 Cookie=a", "", "choose by its cookie"),
        ("", "/a /b 302 Country=de extra", "", "`extra` is too much"),
        ("", "/*/* /:splat", "", "at most 1 of `*`"),
        ("", "/:a/:a /b", "", "`:a` is there twice"),
        ("", "/:splat /b", "", "is not a placeholder"),
        ("", "/a /:splat", "", "`:splat` of the target is not in"),
        ("", "/a /x?y=:b", "", "`:b` of the target is not in"),
        ("", "", "\ncleanurls = true", "chainhost.toml, line 2: unknown field"),
        ("", "", "a = ", "chainhost.toml, line 1"),
        ("", "", "spa = 1", "chainhost.toml, line 1"),
        ("", "", "index = \"a/b\"", "line 1: `index` must be"),
        ("", "", "spa = true\nfallback = { path = \"/a\", status = 200 }", "exclude one another"),
        ("", "", "clean_urls = true\nfallback = { path = \"/a\", status = 500 }", "line 2: the status"),
        ("", "", "fallback = { path = \"a\" }", "line 1: The path `a`"),
    ] {
        let message = of(headers, redirects, toml).unwrap_err().message;
        assert!(message.contains(wanted), "{message} / {wanted}");
    }
}

#[test]
fn sizes_are_bounded() {
    let many = "/a\n  X: 1\n".repeat(2_001);
    assert!(of(&many, "", "").unwrap_err().message.contains("2001 header rules"));
    assert!(of("", &"/a /b\n".repeat(2_001), "").unwrap_err().message.contains("2001 redirect rules"));
    let twice = of("", &"/a /b\n".repeat(1_001), "rules = \"netlify\"").unwrap_err().message;
    assert!(twice.contains("The 1001 lines of _redirects are 2002 rules with `rules = \"netlify\"`"), "{twice}");
    assert_eq!(of("", &"#".repeat(600_000), "").unwrap_err().code, "policy_file_size");
    let long = format!("/a\n  X: {}\n", "x".repeat(9_000));
    assert!(of(&long, "", "").unwrap_err().message.contains("clients refuse"));
    let files = PolicyFiles { headers: Some(b"/a\n  X: 1\n/\xff"), ..PolicyFiles::default() };
    assert!(policy(&files, &[]).unwrap_err().message.contains("_headers, line 3: this is not UTF-8"));
}

/// What `_headers` and Cloudflare's reading make of files.
fn filled(headers: &str, paths: &[&str]) -> Result<Vec<(String, String)>> {
    let toml = Some(b"rules = \"cloudflare\"".as_slice());
    let read = read(&PolicyFiles { headers: Some(headers.as_bytes()), toml, ..PolicyFiles::default() }, paths)?;
    assert_eq!(read.header_lines.len(), read.policy.headers.len());
    assert!(read.header_lines.iter().all(|(line, set)| *line == 1 && set == &[2]), "{:?}", read.header_lines);
    Ok(read.policy.headers.into_iter().map(|it| (it.matches, it.set[0].1.clone())).collect())
}

#[test]
fn values_are_filled_in_with_few_rules() {
    let rule = |matches: &str, value: &str| (matches.to_owned(), value.to_owned());
    // A rule for each text, and not for each file, where a pattern says which files.
    let many: Vec<String> = (0..3_000).map(|at| format!("/{}/{at}.html", ["de", "en"][at % 2])).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(filled("/:lang/*\n  X: :lang", &many).unwrap(), [rule("/de/*", "de"), rule("/en/*", "en")]);
    // The first takes as much as it can, so that `/x-:b` would fit both.
    assert_eq!(filled("/:a-:b\n  X: :a", &["/x-y", "/x-y-z"]).unwrap(), [rule("/x-y", "x"), rule("/x-y-:b", "x-y")]);
    // As visitors ask for them, and what means something in a pattern does not do so in a name.
    assert_eq!(filled("/f/*\n  X: :splat", &["/f/\u{e9} \".x"]).unwrap(), [rule("/f/\u{e9} \".x", "%C3%A9%20%22.x")]);
    assert_eq!(filled("/:a\n  X: :a", &["/x:y", "/x*z"]).unwrap(), [rule("/x*z", "x*z"), rule("/x*y", "x:y")]);
    let message = filled("/:a\n  X: :a", &["/x:y", "/xzy"]).unwrap_err().message;
    assert!(message.contains("_headers, line 1: no rule can be made that fits `/x:y`"), "{message}");
    // A block that fits no file is none.
    assert_eq!(filled("/n/:a\n  X: :a", &["/x"]).unwrap(), []);
}

#[test]
fn what_is_filled_in_is_bounded() {
    let files = |count: usize| (0..count).map(|at| format!("/f/{at}")).collect::<Vec<_>>();
    let refused = |headers: &str, count: usize| {
        let files = files(count);
        filled(headers, &files.iter().map(String::as_str).collect::<Vec<_>>())
            .map(|it| it.len())
            .map_err(|it| it.message)
    };
    assert_eq!(refused("/f/*\n  X: :splat", 2_000), Ok(2_000));
    let message = refused("/f/*\n  X: :splat", 2_001).unwrap_err();
    assert!(
        message.contains("_headers, line 2: `:splat` is filled in for each file that fits, and more than 2000 rules"),
        "{message}"
    );
    let message = refused(&format!("/f/*\n  X: :splat{}", "x".repeat(1_000)), 600).unwrap_err();
    assert!(message.contains("more than 524288 bytes would be needed"), "{message}");
    assert_eq!(refused(&format!("/:f/*\n  X: {}", ":f".repeat(4_000)), 2_001), Ok(1));
    let message = refused(&format!("/f/*\n  X: {}", ":splat".repeat(1_000)), 2_000).unwrap_err();
    assert!(message.contains("bytes would be needed"), "{message}");
    let long = format!("/f/{}", "x".repeat(250));
    let message = filled(&format!("/f/*\n  X: {}", ":splat".repeat(40)), &[&long]).unwrap_err().message;
    assert!(message.contains("_headers, line 2: its headers have"), "{message}");
}

proptest::proptest! {
    #[test]
    fn reading_never_panics(
        headers in "(/[a*: ]{0,4}\n|  [A-Za-z:]{0,5}: .{0,5}\n|  ! ?[A-Za-z]{0,3}\n|.{0,9}\n){0,5}",
        redirects in "((/[a*:b/]{0,5} ){1,3}[0-9!]{0,4}\n|.{0,9}\n){0,5}",
        paths in proptest::collection::vec("(/[ab:*\u{e9}]{1,2}){1,3}(\\.html)?|(/a){0,2}/404\\.html", 0..5),
    ) {
        let files = PolicyFiles { headers: Some(headers.as_bytes()), redirects: Some(redirects.as_bytes()), toml: Some(redirects.as_bytes()) };
        drop(policy(&files, &[]));
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        for toml in ["", "rules = \"netlify\"", "rules = \"cloudflare\"\nclean_urls = true", "nearest_404 = true"] {
            let files = PolicyFiles { toml: Some(toml.as_bytes()), ..files };
            if let Ok(read) = read(&files, &paths) {
                read.policy.check().unwrap();
                assert_eq!(read.redirect_lines.len(), read.policy.redirects.len());
                let lines = read.header_lines.iter().map(|(_, set)| set.len());
                assert!(lines.eq(read.policy.headers.iter().map(|it| it.set.len())));
            }
        }
    }
}
