//! What people bring from Cloudflare Pages and Netlify: each case of their documentation, as a line and what a request gets.
//!
//! A row names its page, and gives `chainhost.toml`, `_redirects` or `_headers`, and requests with their answers. Those of `_headers` are in
//! [`headers`], and what is refused in [`refused`].

mod headers;
mod proxies;
mod refused;

use super::{
    decode_path, resolve_for,
    tests::{in_words, said},
    visitor::Named,
};
use crate::{
    base::hash::Sha256,
    domain::Error,
    proof::{build, manifest::Manifest},
};

/// <https://developers.cloudflare.com/pages/configuration/redirects/>
const CLOUDFLARE: &str = "Cloudflare Pages, Redirects";
/// <https://developers.cloudflare.com/pages/configuration/headers/>
const CLOUDFLARE_HEADERS: &str = "Cloudflare Pages, Headers";
/// <https://docs.netlify.com/manage/routing/redirects/overview/>
const NETLIFY: &str = "Netlify, Redirects and rewrites";
/// <https://docs.netlify.com/manage/routing/redirects/redirect-options/>
const OPTIONS: &str = "Netlify, Redirect options";
/// <https://docs.netlify.com/manage/routing/redirects/rewrites-proxies/>
const PROXIES: &str = "Netlify, Rewrites and proxies";
/// <https://docs.netlify.com/manage/routing/headers/>
const NETLIFY_HEADERS: &str = "Netlify, Custom headers";

const AS_NETLIFY: &str = "rules = \"netlify\"";
const AS_CLOUDFLARE: &str = "rules = \"cloudflare\"";

const FILES: &[&str] = &[
    "index.html",
    "404.html",
    "about.html",
    "app/index.html",
    "app/main.js",
    "b",
    "best-pets/cats.html",
    "best-pets/dogs",
    "c",
    "en/404.html",
    "en/deep/404.html",
    "en/index.html",
    "movies/alien",
    "partials/chat.html",
    "secure/page.html",
    "static/image.jpg",
    "static/styles.css",
    "store-closed",
    "templates/index.html",
    "templates/index2.html",
];

fn site(toml: &str, redirects: &str, headers: &str) -> Result<Manifest, Error> {
    let mut files: Vec<(&str, &str)> = FILES.iter().map(|it| (*it, *it)).collect();
    files.extend([("chainhost.toml", toml), ("_redirects", redirects), ("_headers", headers)]);
    let list: Vec<build::Found> = files
        .iter()
        .map(|(path, text)| (path.as_bytes().to_vec(), text.len().try_into().unwrap(), Sha256::of(text.as_bytes())))
        .collect();
    let read = |path: &[u8], _: &Sha256| Ok(files.iter().find(|it| it.0.as_bytes() == path).unwrap().1.into());
    build::manifest(&list, false, read)
}

/// What a request gets: `301 -> /x`, `200 /file`.
fn answered(manifest: &Manifest, request: &str) -> String {
    let (path, query) = request.split_once('?').map_or((request, None), |(path, query)| (path, Some(query)));
    said(manifest, &decode_path(path).unwrap(), query)
}

/// Page, `chainhost.toml`, `_redirects`, requests and answers.
type Taken = (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str)]);

const REDIRECTS: &[Taken] = &[
    // Cloudflare's example, as it is read without a word about whose it is …
    (CLOUDFLARE, "", "/home301 / 301", &[("/home301", "301 -> /"), ("/home301/", "404 /404.html")]),
    (CLOUDFLARE, "", "/home302 / 302", &[("/home302", "302 -> /")]),
    (CLOUDFLARE, "", "/querystrings /?query=string 301", &[("/querystrings?a=b", "301 -> /?query=string")]),
    (CLOUDFLARE, "", "/twitch https://twitch.tv", &[("/twitch", "301 -> https://twitch.tv")]),
    (
        CLOUDFLARE,
        "",
        "/trailing /trailing/ 301",
        &[("/trailing", "301 -> /trailing/"), ("/trailing/", "404 /404.html")],
    ),
    (CLOUDFLARE, "", "/notrailing/ /nottrailing 301", &[("/notrailing/", "301 -> /nottrailing")]),
    (CLOUDFLARE, "", "/page/ /page2/#fragment 301", &[("/page/?a=b", "301 -> /page2/?a=b#fragment")]),
    (CLOUDFLARE, "", "/blog/* https://blog.my.domain/:splat", &[("/blog/a/b", "301 -> https://blog.my.domain/a/b")]),
    (
        CLOUDFLARE,
        "",
        "/products/:code/:name /products?code=:code&name=:name",
        &[("/products/7/a&b", "301 -> /products?code=7&name=a%26b")],
    ),
    // … and as Cloudflare reads it.
    (CLOUDFLARE, AS_CLOUDFLARE, "/twitch https://twitch.tv", &[("/twitch", "302 -> https://twitch.tv")]),
    (CLOUDFLARE, AS_CLOUDFLARE, "/trailing /trailing/ 301", &[("/trailing", "301 -> /trailing/")]),
    (CLOUDFLARE, AS_CLOUDFLARE, "/about.html /a 301", &[("/about.html", "301 -> /a")]),
    (CLOUDFLARE, "", "/about.html /a 301", &[("/about.html", "200 /about.html")]),
    (CLOUDFLARE, "", "/a / 303\n/b2 / 307\n/c2 / 308", &[("/a", "303 -> /"), ("/b2", "307 -> /"), ("/c2", "308 -> /")]),
    (CLOUDFLARE, "", "/x / 302\n/x /about.html 301", &[("/x", "302 -> /")]),
    (CLOUDFLARE, "", "# comment\n\n  /x / 302", &[("/x", "302 -> /")]),
    (
        CLOUDFLARE,
        "",
        "/blog/:year/:month/:date/:slug /news/:year/:month/:date/:slug",
        &[("/blog/2026/11/30/hi", "301 -> /news/2026/11/30/hi"), ("/blog/2026/11/hi", "404 /404.html")],
    ),
    (
        CLOUDFLARE,
        "",
        "/movies/:title /media/:title",
        &[("/movies/x", "301 -> /media/x"), ("/movies/a/b", "404 /404.html")],
    ),
    (CLOUDFLARE, AS_CLOUDFLARE, "/movies/* /about.html 200", &[("/movies/alien", "200 /about.html")]),
    // One step: /a shows /b, and not what /b shows.
    (CLOUDFLARE, AS_CLOUDFLARE, "/a /b 200\n/b /c 200", &[("/a", "200 /b"), ("/b", "200 /c")]),
    (CLOUDFLARE, "", "/a /b 200\n/b /c 200", &[("/a", "200 /b"), ("/b", "200 /b")]),
    (CLOUDFLARE, "", "/about/faq/* /about.html 200", &[("/about/faq/x", "200 /about.html")]),
    // A placeholder within a segment: `[^/]+` (`generateRuleRegExp` in `rules-engine.ts` of `cloudflare/workers-sdk`).
    (
        CLOUDFLARE,
        AS_CLOUDFLARE,
        "/articles/:slug.html /blog/:slug 301",
        &[
            ("/articles/hi.html", "301 -> /blog/hi"),
            ("/articles/a.b.html?c=d", "301 -> /blog/a.b?c=d"),
            ("/articles/%C3%A9%20x.html", "301 -> /blog/%C3%A9%20x"),
            ("/articles/.html", "404 /404.html"),
            ("/articles/a/b.html", "404 /404.html"),
            ("/articles/hi.htm", "404 /404.html"),
        ],
    ),
    (
        CLOUDFLARE,
        AS_CLOUDFLARE,
        "/blog-:year /b",
        &[("/blog-2026", "302 -> /b"), ("/blog-", "404 /404.html"), ("/blog-2026/x", "404 /404.html")],
    ),
    (
        CLOUDFLARE,
        AS_CLOUDFLARE,
        "/:year-:month-:day-:slug.html /:year/:month/:day/:slug\n/@:user /users/:user\n/v:major.:minor/* /docs/:major/:minor/:splat?v=:major.:minor 301",
        &[
            ("/2026-11-30-a.html", "302 -> /2026/11/30/a"),
            // The earlier ones take as much as they can.
            ("/2026-11-30-a-b.html", "302 -> /2026-11/30/a/b"),
            ("/@me", "302 -> /users/me"),
            ("/v1.2.3/a/b", "301 -> /docs/1.2/3/a/b?v=1.2.3"),
        ],
    ),
    (
        CLOUDFLARE,
        AS_CLOUDFLARE,
        "/post/:id-* /p/:id/:splat\n/*/old-:n /:splat/new/:n",
        &[("/post/7-a/b-c", "302 -> /p/7/a/b-c"), ("/x/y/old-1", "302 -> /x/y/new/1")],
    ),
    // One in front of a file, and one that shows a file.
    (
        CLOUDFLARE,
        AS_CLOUDFLARE,
        "/:page.html /:page 301\n/pet-:name /best-pets/:name.html 200",
        &[("/about.html", "301 -> /about"), ("/pet-cats", "200 /best-pets/cats.html"), ("/pet-x", "404 /404.html")],
    ),
    // No value leads to another host, or out of a rule's path.
    (
        CLOUDFLARE,
        AS_CLOUDFLARE,
        "/x:a /:a 301\n/go-:a https://x.org/:a 301",
        &[("/x@y.org", "301 -> /@y.org"), ("/x/y.org", "404 /404.html"), ("/go-@y.org", "301 -> https://x.org/@y.org")],
    ),
    // The closest 404.html, as in "Serving Pages"; elsewhere it is asked for.
    (
        CLOUDFLARE,
        AS_CLOUDFLARE,
        "/en/old / 301",
        &[
            ("/en/x/y", "404 /en/404.html"),
            ("/en/deep/x", "404 /en/deep/404.html"),
            ("/x", "404 /404.html"),
            ("/en/old", "301 -> /"),
            ("/en/", "200 /en/index.html"),
        ],
    ),
    (CLOUDFLARE, "", "", &[("/en/x", "404 /404.html"), ("/en/deep/404.html", "200 /en/deep/404.html")]),
    (CLOUDFLARE, "nearest_404 = true", "", &[("/en/x", "404 /en/404.html"), ("/en/deep", "404 /en/404.html")]),
    (CLOUDFLARE, "rules = \"cloudflare\"\nnearest_404 = false", "", &[("/en/x", "404 /404.html")]),
    // Not in Cloudflare's grammar, but in ours, under either name.
    (
        CLOUDFLARE,
        AS_CLOUDFLARE,
        "/en/* /en/404.html 404",
        &[("/en/x", "404 /en/404.html"), ("/en/", "200 /en/index.html")],
    ),
    (CLOUDFLARE, AS_CLOUDFLARE, "/shop id=:id /blog/:id 301", &[("/shop?id=7", "301 -> /blog/7?id=7")]),
    (CLOUDFLARE, "", "/blog/* /404.html 404", &[("/blog/x", "404 /404.html")]),
    // A redirect goes before a file there, and here with `!`.
    (CLOUDFLARE, "", "/about.html /a 302!", &[("/about.html", "302 -> /a")]),
    (
        CLOUDFLARE,
        "",
        "/old/* /new/:splat",
        &[("/old/a/b%20c?d=e", "301 -> /new/a/b%20c?d=e"), ("/old/", "301 -> /new/")],
    ),
    (CLOUDFLARE, "", "/a/*/z /b/:splat", &[("/a/x/y/z", "301 -> /b/x/y"), ("/a/x", "404 /404.html")]),
    (NETLIFY, "", "/home /", &[("/home", "301 -> /")]),
    (NETLIFY, "", "/home\t/\t302\r\n\r\n# a line\r\n", &[("/home", "302 -> /")]),
    (NETLIFY, "", "/a%20b /b%20c", &[("/a%20b", "301 -> /b%20c")]),
    (NETLIFY, "", "/blog/my-post.php /blog/my-post", &[("/blog/my-post.php", "301 -> /blog/my-post")]),
    (NETLIFY, "", "/news /blog # behind a line", &[("/news?a=b", "301 -> /blog?a=b"), ("/News", "404 /404.html")]),
    (NETLIFY, "", "/cuties https://www.petsofnetlify.com", &[("/cuties", "301 -> https://www.petsofnetlify.com")]),
    (
        NETLIFY,
        "",
        "/authors/c%C3%A9line /authors/about-c%C3%A9line",
        &[("/authors/c%C3%A9line", "301 -> /authors/about-c%C3%A9line")],
    ),
    (OPTIONS, "", "/my-redirect / 302", &[("/my-redirect", "302 -> /")]),
    (OPTIONS, "", "/ecommerce /store-closed 404", &[("/ecommerce", "404 /store-closed")]),
    (OPTIONS, "", "/ecommerce /nowhere 404", &[("/ecommerce", "none")]),
    (OPTIONS, "", "/pass-through /index.html 200", &[("/pass-through", "200 /index.html")]),
    (OPTIONS, "", "", &[("/nowhere", "404 /404.html")]),
    (OPTIONS, "", "/en/* /en/404.html 404", &[("/en/x", "404 /en/404.html"), ("/de/x", "404 /404.html")]),
    (OPTIONS, "", "/news/* /blog/:splat", &[("/news/2004/01/10/my-story", "301 -> /blog/2004/01/10/my-story")]),
    (OPTIONS, "", "/news/* /blog/:splat", &[("/news/", "301 -> /blog/"), ("/news", "404 /404.html")]),
    (OPTIONS, AS_NETLIFY, "/news/* /blog/:splat", &[("/news", "301 -> /blog/"), ("/news/a", "301 -> /blog/a")]),
    (
        OPTIONS,
        "",
        "/jobs/customer-ninja-rockstar /careers/support-engineer\n/jobs/* /careers/:splat\n/jobs/outdated-job-link /careers/position-filled",
        &[
            ("/jobs/customer-ninja-rockstar", "301 -> /careers/support-engineer"),
            ("/jobs/outdated-job-link", "301 -> /careers/outdated-job-link"),
        ],
    ),
    (
        OPTIONS,
        "",
        "/news/:month/:date/:year/:slug /blog/:year/:month/:date/:slug",
        &[("/news/02/12/2004/my-story", "301 -> /blog/2004/02/12/my-story")],
    ),
    (OPTIONS, "", "/news/:y/:m/:d /blog-:y-:m-:d.html", &[("/news/2004/02/12", "301 -> /blog-2004-02-12.html")]),
    (
        OPTIONS,
        "",
        "/store id=:id /blog/:id 301",
        &[("/store?id=my-blog-post", "301 -> /blog/my-blog-post?id=my-blog-post")],
    ),
    (OPTIONS, "", "/store id=:id /blog/:id 301", &[("/store", "404 /404.html"), ("/store?other=1", "404 /404.html")]),
    (
        OPTIONS,
        "",
        "/articles id=:id tag=:tag /posts/:tag/:id 301\n/articles id=:id /posts/:id 301\n/articles /posts 301",
        &[
            ("/articles?tag=t&id=1", "301 -> /posts/t/1?tag=t&id=1"),
            ("/articles?id=1", "301 -> /posts/1?id=1"),
            ("/articles", "301 -> /posts"),
        ],
    ),
    (
        OPTIONS,
        "",
        "/path/* param1=:value1 param2=:value2 /otherpath/:value1/:value2/:splat 301\n/path/* param1=:value1 /otherpath/:value1/:splat 301\n/path/* /otherpath/:splat 301",
        &[
            ("/path/x?param2=b&param1=a", "301 -> /otherpath/a/b/x?param2=b&param1=a"),
            ("/path/x?param1=a", "301 -> /otherpath/a/x?param1=a"),
            ("/path/x", "301 -> /otherpath/x"),
        ],
    ),
    // A closing slash: as written, or as Netlify reads it.
    (OPTIONS, "", "/blog/title-with-a-typo /blog/typo-free-title", &[("/blog/title-with-a-typo/", "404 /404.html")]),
    (
        OPTIONS,
        AS_NETLIFY,
        "/blog/title-with-a-typo /blog/typo-free-title",
        &[
            ("/blog/title-with-a-typo", "301 -> /blog/typo-free-title"),
            ("/blog/title-with-a-typo/", "301 -> /blog/typo-free-title"),
        ],
    ),
    (OPTIONS, AS_NETLIFY, "/:a/x/ /:a 302", &[("/1/x", "302 -> /1"), ("/1/x/", "302 -> /1")]),
    // What would never end at Netlify ends here.
    (
        OPTIONS,
        AS_NETLIFY,
        "/blog/remove-my-slashes/ /blog/remove-my-slashes 301!\n/* /about.html 200",
        &[
            ("/blog/remove-my-slashes/", "301 -> /blog/remove-my-slashes"),
            ("/blog/remove-my-slashes", "200 /about.html"),
        ],
    ),
    (OPTIONS, AS_NETLIFY, "/news/* /news/:splat 301\n/a /b 302", &[("/news", "301 -> /news/"), ("/a/", "302 -> /b")]),
    (
        PROXIES,
        "",
        "/* /index.html 200",
        &[("/a/b", "200 /index.html"), ("/partials/chat.html", "200 /partials/chat.html")],
    ),
    (PROXIES, "", "/app/* /app/index.html 200!", &[("/app/main.js", "200 /app/index.html")]),
    (PROXIES, "", "/best-pets/dogs /best-pets/cats.html 200!", &[("/best-pets/dogs", "200 /best-pets/cats.html")]),
    (PROXIES, "", "/best-pets/dogs /best-pets/cats.html 200", &[("/best-pets/dogs", "200 /best-pets/dogs")]),
    (
        PROXIES,
        "",
        "/app/* 200\n/* / 302",
        &[("/app/main.js", "200 /app/main.js"), ("/app/x", "404 /404.html"), ("/x", "302 -> /")],
    ),
];

#[test]
fn redirects_as_two_documentations_have_them() {
    all_give(REDIRECTS);
}

fn all_give(rows: &[Taken]) {
    for (page, toml, lines, requests) in rows {
        let manifest = site(toml, lines, "").unwrap_or_else(|error| panic!("{page}: {lines}: {error}"));
        for (request, wanted) in *requests {
            assert_eq!(answered(&manifest, request), *wanted, "{page}: {request} with {toml}\n{lines}");
        }
    }
}

/// Page, `chainhost.toml`, `_redirects`, and requests with country and language of who asks, and their answers.
type ForSome =
    (&'static str, &'static str, &'static str, &'static [(&'static str, &'static str, &'static str, &'static str)]);

const CONDITIONS: &[ForSome] = &[
    (
        OPTIONS,
        "",
        "/ /anz 302! Country=au,nz",
        &[
            ("/", "AU", "", "302 -> /anz"),
            ("/", "NZ", "", "302 -> /anz"),
            ("/", "AT", "", "200 /index.html"),
            ("/", "", "", "200 /index.html"),
        ],
    ),
    // Without `!` a file goes before it, as everywhere.
    (OPTIONS, "", "/ /anz 302 Country=au,nz", &[("/", "AU", "", "200 /index.html")]),
    (
        OPTIONS,
        AS_NETLIFY,
        "/israel/* /israel/he/:splat 302 Language=he",
        &[
            ("/israel/a", "", "he", "302 -> /israel/he/a"),
            ("/israel", "", "he-IL", "302 -> /israel/he/"),
            ("/israel/a", "IL", "en", "404 /404.html"),
        ],
    ),
    // Both must fit, and a line behind is for all others.
    (
        OPTIONS,
        "",
        "/china/* /china/zh-cn/:splat 302 Country=cn,hk,tw Language=zh-cn,zh\n/china/* /china/en/:splat 302",
        &[
            ("/china/a", "CN", "zh-CN", "302 -> /china/zh-cn/a"),
            ("/china/a", "HK", "zh-TW", "302 -> /china/zh-cn/a"),
            ("/china/a", "CN", "en", "302 -> /china/en/a"),
            ("/china/a", "DE", "zh", "302 -> /china/en/a"),
            ("/china/a", "", "", "302 -> /china/en/a"),
        ],
    ),
    (
        OPTIONS,
        "",
        "/x /about.html 200 Country=de",
        &[("/x", "DE", "", "200 /about.html"), ("/x", "FR", "", "404 /404.html")],
    ),
    (
        OPTIONS,
        "",
        "/x /about.html 404 language=DE",
        &[("/x", "", "de-AT", "404 /about.html"), ("/x", "", "", "404 /404.html")],
    ),
    (
        OPTIONS,
        "",
        "/x id=:id /y/:id Country=de",
        &[("/x?id=7", "DE", "", "301 -> /y/7?id=7"), ("/x", "DE", "", "404 /404.html")],
    ),
    // Not in Cloudflare's grammar, but in ours, under either name.
    (
        CLOUDFLARE,
        AS_CLOUDFLARE,
        "/ /us 302 Country=us",
        &[("/", "US", "", "302 -> /us"), ("/", "AT", "", "200 /index.html")],
    ),
];

#[test]
fn conditions_hold_of_those_whom_they_name() {
    for (page, toml, lines, requests) in CONDITIONS {
        let manifest = site(toml, lines, "").unwrap_or_else(|error| panic!("{page}: {lines}: {error}"));
        // What is stored is what is read again.
        assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest, "{lines}");
        for (request, country, language, wanted) in *requests {
            let (path, query) = request.split_once('?').map_or((*request, None), |(path, query)| (path, Some(query)));
            let given = |it: &str| (!it.is_empty()).then(|| it.to_owned());
            let visitor = Named { country: given(country).map(|it| it.parse().unwrap()), language: given(language) };
            let (found, _) = resolve_for(&manifest, &decode_path(path).unwrap(), query, &visitor);
            assert_eq!(in_words(found), *wanted, "{page}: {request} {visitor:?} with {toml}\n{lines}");
        }
    }
}

/// Limits of the others are theirs: what they count, and how much of it is fine here.
#[test]
fn what_others_have_limits_for_is_taken() {
    // Cloudflare: 2,000 plain redirects and 100 with signs, 1,000 characters a line; 100 blocks of headers, 2,000 characters a line, one `*`.
    let many: Vec<String> = (0..1_000).map(|at| format!("/a{at}/* /b{at}/:splat\n/c{at} /d{at}\n")).collect();
    let many = many.concat();
    let manifest = site("", &many, "").unwrap();
    assert_eq!(answered(&manifest, "/a999/x"), "301 -> /b999/x");
    let error = site("", &format!("{many}/one /more\n"), "").unwrap_err().message;
    assert!(error.contains("2001 redirect rules; more than 2000 are not taken. Join some with `*`"), "{error}");
    let long = format!("/long https://a.example/{}", "x".repeat(1_500));
    assert!(answered(&site("", &long, "").unwrap(), "/long").ends_with("xxx"));
    let error = site("", &format!("/long /{}", "x".repeat(2_100)), "").unwrap_err().message;
    assert!(error.contains("_redirects, line 1: a target has at most 2048 bytes"), "{error}");
    let blocks: Vec<String> = (0..200).map(|at| format!("/*/x{at}*/*\n  X-A: 1\n")).collect();
    let value = format!("{}/b\n  Content-Security-Policy: {}\n", blocks.concat(), "a ".repeat(1_500));
    assert_eq!(headers::headed(&site("", "", &value).unwrap(), "/b").len(), "content-security-policy: ".len() + 2_999);
}

#[test]
fn the_example_of_the_readme_is_understood() {
    let readme = include_str!("../../../README.md");
    let (_, rest) = readme.split_once("```\n# _redirects: ").unwrap();
    let (lines, _) = rest.split_once("```").unwrap();
    let manifest = site("", &format!("# {lines}"), "").unwrap();
    for (request, wanted) in [
        ("/old", "301 -> /new"),
        ("/blog/2026/hi", "302 -> /news/hi?y=2026"),
        ("/store?id=7", "301 -> /item/7?id=7"),
        ("/docs/a", "301 -> https://docs.example.org/a"),
        ("/app/x/y", "200 /app/index.html"),
        ("/kept.html", "301 -> /other.html"),
    ] {
        assert_eq!(answered(&manifest, request), wanted, "{request}");
    }
}

#[test]
fn a_folder_whose_name_means_something_has_no_closest_page() {
    let list: Vec<build::Found> = ["a:b/404.html", "chainhost.toml"]
        .map(|it| (it.as_bytes().to_vec(), 18, Sha256::of(b"nearest_404 = true")))
        .to_vec();
    let message = build::manifest(&list, false, |_, _| Ok(b"nearest_404 = true".to_vec())).unwrap_err().message;
    assert!(message.contains("`/a:b/404.html` cannot be the one for its folder"), "{message}");
}
