//! `_headers` as the two documentations have it: what a file gets.

use std::fmt::Write as _;

use super::{AS_CLOUDFLARE, AS_NETLIFY, CLOUDFLARE_HEADERS, NETLIFY_HEADERS, Taken, site};
use crate::{
    base::hash::Sha256,
    proof::{build, manifest::Manifest},
};

/// The headers that rules give a file: `name: value; …`.
pub(super) fn headed(manifest: &Manifest, path: &str) -> String {
    let mut out = String::new();
    for (name, value) in manifest.policy().headers_for(path) {
        let _ = write!(out, "{}{name}: {value}", if out.is_empty() { "" } else { "; " });
    }
    out
}

const HEADERS: &[Taken] = &[
    (
        CLOUDFLARE_HEADERS,
        "",
        "# This is a comment\n/secure/page.html\n  X-Frame-Options: DENY\n  X-Content-Type-Options: nosniff\n  Referrer-Policy: no-referrer\n\n/static/*\n  Access-Control-Allow-Origin: *\n  X-Robots-Tag: nosnippet\n/*\n  X-Robots-Tag: noindex",
        &[
            (
                "/secure/page.html",
                "referrer-policy: no-referrer; x-content-type-options: nosniff; x-frame-options: DENY; x-robots-tag: noindex",
            ),
            ("/static/image.jpg", "access-control-allow-origin: *; x-robots-tag: nosnippet, noindex"),
            ("/index.html", "x-robots-tag: noindex"),
        ],
    ),
    // A rule is held against paths of files; as the others read it, against addresses too.
    (CLOUDFLARE_HEADERS, "clean_urls = true", "/secure/page\n  X-A: 1", &[("/secure/page.html", "")]),
    (
        CLOUDFLARE_HEADERS,
        "clean_urls = true\nrules = \"cloudflare\"",
        "/secure/page\n  X-A: 1\n/\n  X-B: 2\n/*\n  X-B: 3",
        &[("/secure/page.html", "x-a: 1; x-b: 3"), ("/index.html", "x-b: 2, 3"), ("/b", "x-b: 3")],
    ),
    (
        CLOUDFLARE_HEADERS,
        AS_CLOUDFLARE,
        "/templates/index:n.html\n  X-A: 1\n/:page.html\n  X-A: 2",
        &[("/templates/index2.html", "x-a: 1"), ("/templates/index.html", ""), ("/about.html", "x-a: 2")],
    ),
    (NETLIFY_HEADERS, AS_NETLIFY, "/en/\n  X-A: 1", &[("/en/index.html", "x-a: 1"), ("/en/404.html", "")]),
    (CLOUDFLARE_HEADERS, "", "/*\n  X-A: 1\n  X-A: 2\n/b\n  X-A: 3", &[("/b", "x-a: 1, 2, 3"), ("/c", "x-a: 1, 2")]),
    // A header that a later block takes away.
    (
        CLOUDFLARE_HEADERS,
        "",
        "/*\n  Content-Security-Policy: default-src 'self';\n  X-A: 1\n\n/*.jpg\n  ! Content-Security-Policy",
        &[
            ("/static/image.jpg", "x-a: 1"),
            ("/static/styles.css", "content-security-policy: default-src 'self';; x-a: 1"),
            ("/b", "content-security-policy: default-src 'self';; x-a: 1"),
        ],
    ),
    (
        CLOUDFLARE_HEADERS,
        "",
        "/*\n  X-A: 1\n/static/*\n  ! X-A\n  X-A: 2\n/static/*.css\n  X-A: 3",
        &[("/static/image.jpg", "x-a: 2"), ("/static/styles.css", "x-a: 2, 3"), ("/b", "x-a: 1")],
    ),
    (CLOUDFLARE_HEADERS, "", "/*\n  X-A: 1\n/*\n  ! X-A", &[("/b", ""), ("/index.html", "")]),
    (CLOUDFLARE_HEADERS, "", "/*\n  ! Access-Control-Allow-Origin", &[("/b", "")]),
    (
        CLOUDFLARE_HEADERS,
        "",
        "/*\n  Cache-Control: no-store\n/b\n  ! Cache-Control",
        &[("/b", ""), ("/c", "cache-control: no-store")],
    ),
    // Without `rules`, a value is sent as it stands.
    (
        CLOUDFLARE_HEADERS,
        "",
        "/movies/:title\n  x-movie-name: You are watching \":title\"",
        &[("/movies/alien", "x-movie-name: You are watching \":title\"")],
    ),
    // As Cloudflare fills it in: with what visitors ask for, which has escapes.
    (
        CLOUDFLARE_HEADERS,
        AS_CLOUDFLARE,
        "/movies/:title\n  x-movie-name: You are watching \":title\"",
        &[("/movies/alien", "x-movie-name: You are watching \"alien\""), ("/b", "")],
    ),
    (
        CLOUDFLARE_HEADERS,
        AS_CLOUDFLARE,
        "/*\n  Link: </assets/:splat/main.js>; rel=preload; as=script, </assets/:splat/lang.js>; rel=preload\n  X-A: :other",
        &[
            ("/b", "link: </assets/b/main.js>; rel=preload; as=script, </assets/b/lang.js>; rel=preload; x-a: :other"),
            // An empty value is none.
            (
                "/index.html",
                "link: </assets//main.js>; rel=preload; as=script, </assets//lang.js>; rel=preload; x-a: :other",
            ),
        ],
    ),
    (CLOUDFLARE_HEADERS, AS_CLOUDFLARE, "/secure/:p\n  X-A: :p", &[("/secure/page.html", "x-a: page.html")]),
    (
        CLOUDFLARE_HEADERS,
        "clean_urls = true\nrules = \"cloudflare\"",
        "/secure/:p\n  X-A: :p\n/templates/:p\n  X-A: at :p\n/app/*\n  X-B: :splat",
        &[
            ("/secure/page.html", "x-a: page"),
            ("/templates/index2.html", "x-a: at index2"),
            // Nobody there asks for `index.html`.
            ("/templates/index.html", ""),
            ("/app/index.html", ""),
            ("/app/main.js", "x-b: main.js"),
        ],
    ),
    // In the order of the lines, and left out again by a later block.
    (
        CLOUDFLARE_HEADERS,
        AS_CLOUDFLARE,
        "/*\n  X-A: 0\n  X-B: 0\n/static/*\n  X-A: 1\n  X-A: :splat!\n  X-A: 2\n  ! X-B\n/static/*.css\n  ! X-A",
        &[("/static/image.jpg", "x-a: 0, 1, image.jpg!, 2"), ("/static/styles.css", ""), ("/b", "x-a: 0; x-b: 0")],
    ),
    (
        CLOUDFLARE_HEADERS,
        AS_CLOUDFLARE,
        "/:lang/:page.html\n  Content-Language: :lang\n  X-A: :page of :lang, :pages, ::x",
        &[
            ("/en/index.html", ""),
            ("/en/404.html", "content-language: en; x-a: 404 of en, 404s, ::x"),
            ("/about.html", ""),
        ],
    ),
    (
        CLOUDFLARE_HEADERS,
        AS_CLOUDFLARE,
        "/static/:a.:b\n  Content-Type: text/:b",
        &[("/static/styles.css", "content-type: text/css")],
    ),
    (
        CLOUDFLARE_HEADERS,
        "",
        "/app/*\n  Permissions-Policy: document-domain=()\n  Content-Security-Policy: script-src 'self'; frame-ancestors 'none';",
        &[(
            "/app/main.js",
            "content-security-policy: script-src 'self'; frame-ancestors 'none';; permissions-policy: document-domain=()",
        )],
    ),
    (
        NETLIFY_HEADERS,
        "",
        "# a path:\n/templates/index.html\n  # headers for that path:\n  X-Frame-Options: DENY\n# another path:\n/templates/index2.html\n  X-Frame-Options: SAMEORIGIN",
        &[
            ("/templates/index.html", "x-frame-options: DENY"),
            ("/templates/index2.html", "x-frame-options: SAMEORIGIN"),
        ],
    ),
    // Blanks are for people.
    (NETLIFY_HEADERS, "", "  /b\nX-A: 1\n\tX-B: 2", &[("/b", "x-a: 1; x-b: 2")]),
    (
        NETLIFY_HEADERS,
        "",
        "/*\n  cache-control: max-age=0\n  cache-control: no-cache\n  cache-control: no-store\n  cache-control: must-revalidate",
        &[("/b", "cache-control: max-age=0, no-cache, no-store, must-revalidate")],
    ),
    (NETLIFY_HEADERS, "", "/templates/:page\n  X-A: 1", &[("/templates/index.html", "x-a: 1"), ("/index.html", "")]),
    (NETLIFY_HEADERS, "", "/*.js\n  X-A: 1", &[("/app/main.js", "x-a: 1"), ("/b", "")]),
    // Cloudflare takes one `*` in a path.
    (CLOUDFLARE_HEADERS, "", "/*/main.*\n  X-A: 1", &[("/app/main.js", "x-a: 1"), ("/b", "")]),
    // Netlify leaves these out without a word.
    (
        NETLIFY_HEADERS,
        "",
        "/b\n  Accept-Ranges: none\n  Age: 1\n  Allow: GET\n  Alt-Svc: clear\n  Server: mine",
        &[("/b", "accept-ranges: none; age: 1; allow: GET; alt-svc: clear; server: mine")],
    ),
];

#[test]
fn headers_as_two_documentations_have_them() {
    for (page, toml, lines, paths) in HEADERS {
        let manifest = site(toml, "", lines).unwrap_or_else(|error| panic!("{page}: {lines}: {error}"));
        for (path, wanted) in *paths {
            assert_eq!(headed(&manifest, path), *wanted, "{page}: {path} with {toml}\n{lines}");
        }
    }
}

#[test]
fn headers_are_left_out_of_any_files_or_the_deploy_is_refused() {
    // Names that mean something in a pattern: one rule for each file must not reach another one.
    let headers = "/*\n  X-A: 1\n/d/*\n  ! X-A\n";
    let deployed = |files: &[&str]| {
        let mut list: Vec<build::Found> = Vec::new();
        for (path, text) in files.iter().map(|it| (*it, "x")).chain([("_headers", headers)]) {
            list.push((path.as_bytes().to_vec(), text.len().try_into().unwrap(), Sha256::of(text.as_bytes())));
        }
        build::manifest(&list, false, |_, _| Ok(headers.into()))
    };
    let first = deployed(&["a:b", "a*c", "d/x", "e:f/y", "e:f/z"]).unwrap();
    assert_eq!(["/a:b", "/a*c", "/d/x", "/e:f/z"].map(|it| headed(&first, it)), ["x-a: 1", "x-a: 1", "", "x-a: 1"]);
    let message = deployed(&["a*", "d/a", "ab", "d/ab"]).map(|it| headed(&it, "/d/ab")).unwrap_err().message;
    assert!(message.contains("_headers, line 3: no rule can be made that fits `/a"), "{message}");
    // More rules than a manifest takes: the sentence says what to do.
    let many: Vec<String> = (0..2_100).map(|at| format!("{at}.e{at}")).chain([String::from("d/x")]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let message = deployed(&many).unwrap_err().message;
    assert!(
        message.contains("_headers, line 1: to leave headers out of single files, more than 2000 rules"),
        "{message}"
    );
}

proptest::proptest! {
    /// Each file has the values that its own path gives.
    #[test]
    fn filling_in_means_what_it_says(
        blocks in proptest::collection::vec("/(\\*|:a|:a/:b|a/\\*|:a\\.:b|:a-\\*|b/:a-:b)", 1..4),
        files in proptest::collection::btree_set("([ab]/)?[ab-]{1,3}(\\.[xy])?", 1..8),
    ) {
        let mut text = String::new();
        for (at, path) in blocks.iter().enumerate() {
            let _ = writeln!(text, "{path}\n  x-a: {at}\n  x-a: :b<:a>(:splat)\n  x-b: :a{at}");
        }
        let folders = ["a", "b"].map(|it| files.iter().any(|file| file.starts_with(&format!("{it}/"))));
        let kept = files.iter().filter(|it| !(folders[0] && *it == "a" || folders[1] && *it == "b"));
        let mut list: Vec<build::Found> = kept.map(|it| (it.clone().into_bytes(), 1, Sha256::of(b"x"))).collect();
        for (name, text) in [("_headers", text.as_str()), ("chainhost.toml", AS_CLOUDFLARE)] {
            list.push((name.as_bytes().to_vec(), text.len().try_into().unwrap(), Sha256::of(text.as_bytes())));
        }
        let read = |path: &[u8], _: &Sha256| Ok(if path == b"_headers" { text.clone() } else { AS_CLOUDFLARE.into() }.into_bytes());
        let made = build::manifest(&list, false, read).unwrap();
        for entry in made.entries() {
            let (mut first, mut second) = (Vec::new(), Vec::new());
            for (at, path) in blocks.iter().enumerate() {
                let Some(taken) = crate::domain::policy::captures(path, entry.path.as_str()) else { continue };
                let put = |text: String| taken.iter().fold(text, |text, (name, it)| text.replace(&format!(":{name}"), it));
                first.extend([at.to_string(), put(String::from(":b<:a>(:splat)"))]);
                second.push(put(format!(":a{at}")));
            }
            let wanted = [("x-a", first), ("x-b", second)].into_iter().filter(|(_, it)| !it.is_empty());
            let wanted = wanted.map(|(name, values)| (name.to_owned(), values.join(", "))).collect();
            proptest::prop_assert_eq!(made.policy().headers_for(entry.path.as_str()), wanted, "{}\n{}", entry.path, text);
        }
    }

    /// Each file has the headers that its blocks say, in their order, whatever they take from one another.
    #[test]
    fn leaving_headers_out_means_what_it_says(
        blocks in proptest::collection::vec(("/(\\*|[ab]/\\*|\\*\\.[xy]|[ab]|[ab]/[ab]\\.x)", "(x-a|x-b)", proptest::bool::ANY), 1..6),
        files in proptest::collection::btree_set("([ab]/)?[ab]{1,2}(\\.[xy])?", 1..8),
    ) {
        let mut text = String::new();
        for (at, (path, name, leaves)) in blocks.iter().enumerate() {
            let _ = if *leaves { writeln!(text, "{path}\n  ! {name}") } else { writeln!(text, "{path}\n  {name}: {at}") };
        }
        let folders = ["a", "b"].map(|it| files.iter().any(|file| file.starts_with(&format!("{it}/"))));
        let kept = files.iter().filter(|it| !(folders[0] && *it == "a" || folders[1] && *it == "b"));
        let mut list: Vec<build::Found> = kept.map(|it| (it.clone().into_bytes(), 1, Sha256::of(b"x"))).collect();
        list.push((b"_headers".to_vec(), text.len().try_into().unwrap(), Sha256::of(text.as_bytes())));
        let made = build::manifest(&list, false, |_, _| Ok(text.clone().into_bytes())).unwrap();
        for entry in made.entries() {
            let mut wanted = std::collections::BTreeMap::<String, Vec<String>>::new();
            for (at, (path, name, leaves)) in blocks.iter().enumerate() {
                if !crate::domain::policy::fits(path, entry.path.as_str()) {
                } else if *leaves {
                    wanted.remove(name);
                } else {
                    wanted.entry(name.clone()).or_default().push(at.to_string());
                }
            }
            let wanted = wanted.into_iter().map(|(name, values)| (name, values.join(", "))).collect();
            proptest::prop_assert_eq!(made.policy().headers_for(entry.path.as_str()), wanted, "{}\n{}", entry.path, text);
        }
    }
}
