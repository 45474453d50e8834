//! What of the two documentations cannot be kept, and a part of the sentence with which the deploy is refused.

use super::{AS_CLOUDFLARE, AS_NETLIFY, CLOUDFLARE, CLOUDFLARE_HEADERS, NETLIFY_HEADERS, OPTIONS, site};

/// Page, `chainhost.toml`, file, lines, part of the sentence.
pub(super) type Refused = (&'static str, &'static str, &'static str, &'static str, &'static str);

const REFUSED: &[Refused] = &[
    (CLOUDFLARE, "", "_redirects", "/\n/a", "line 1: there is no target"),
    (CLOUDFLARE, "", "_redirects", "/a#top /b", "`#`: what stands behind it is never sent"),
    (CLOUDFLARE, "", "_redirects", "/*/a/* /b", "at most 1 of `*`"),
    (CLOUDFLARE, "", "_redirects", "/:a/:a /b", "`:a` is there twice"),
    (
        CLOUDFLARE,
        "",
        "_redirects",
        "/blog-:year /b",
        "within a segment, as in `/blog-:year`, write `rules = \"cloudflare\"`",
    ),
    (OPTIONS, AS_NETLIFY, "_redirects", "/blog-:year /b", "`:name` fills a whole segment"),
    (CLOUDFLARE, AS_CLOUDFLARE, "_redirects", "/a-:x/b-:x /b", "`:x` is there twice"),
    (CLOUDFLARE, AS_CLOUDFLARE, "_redirects", "/at-12:30 /b", "`:30` is not a placeholder"),
    (CLOUDFLARE, AS_CLOUDFLARE, "_redirects", "/a-:splat /b", "`:splat` is not a placeholder"),
    (CLOUDFLARE, AS_CLOUDFLARE, "_redirects", "/a-:x /b/:y", "`:y` of the target is not in"),
    (
        CLOUDFLARE,
        AS_CLOUDFLARE,
        "_redirects",
        "/:a-:b-:c-:d-:e-:f-:g-:h-:i-:j-:k-:l-:m-:n-:o-:p-:q /b",
        "has at most 16 of them, and this one 17",
    ),
    (
        CLOUDFLARE,
        AS_CLOUDFLARE,
        "_redirects",
        "/a /b\n/blog/* https://x.org/:splat 200",
        "line 2: with status 200 Cloudflare Pages shows files of this site alone",
    ),
    (CLOUDFLARE, "", "_redirects", "workers.example.com/* workers.example.com/blog/:splat 301", "must begin with `/`"),
    (CLOUDFLARE, "", "_redirects", "/* /preview/:splat 302 Cookie=preview", "choose by its cookie"),
    (CLOUDFLARE, AS_CLOUDFLARE, "_redirects", "/* /index.html 200", "`spa = true` into chainhost.toml"),
    (CLOUDFLARE, AS_CLOUDFLARE, "_redirects", "/app/* /app/index.html 200", "for the very files that the page needs"),
    (
        CLOUDFLARE,
        "rules = \"apache\"",
        "_redirects",
        "",
        "chainhost.toml, line 1: unknown variant `apache`, expected `netlify` or `cloudflare`",
    ),
    (CLOUDFLARE, "rules = \"own\"", "_redirects", "", "expected `netlify` or `cloudflare`"),
    (OPTIONS, "", "_redirects", "/* /legacy/:splat 200 Cookie=is_legacy,my_other_cookie", "choose by its cookie"),
    (OPTIONS, "", "_redirects", "/admin/* 200! Role=admin", "visitors have no roles here"),
    (OPTIONS, "", "_redirects", "/admin/* /login 404 Role=a", "visitors have no roles here"),
    (OPTIONS, "", "_redirects", "/admin 301", "there is no target before `301`"),
    (OPTIONS, "", "_redirects", "/a /b 999", "the status 999 is none of"),
    (OPTIONS, "", "_redirects", "/a /b 301 force", "`force` is too much"),
    (
        OPTIONS,
        "",
        "_redirects",
        "http://blog.yoursite.com/* https://www.yoursite.com/blog/:splat 301!",
        "holds for all hostnames",
    ),
    (
        CLOUDFLARE_HEADERS,
        "",
        "_headers",
        "https://myproject.pages.dev/*\n  X-Robots-Tag: noindex",
        "previews are kept out of search",
    ),
    (CLOUDFLARE_HEADERS, "", "_headers", "https://:project.pages.dev/*\n  X-A: 1", "holds for all hostnames"),
    (
        CLOUDFLARE_HEADERS,
        AS_CLOUDFLARE,
        "_headers",
        "/*/m/*\n  X-A: 1\n  x-m: :splat",
        "line 3: `:splat` is more than one part of this path",
    ),
    (
        CLOUDFLARE_HEADERS,
        AS_CLOUDFLARE,
        "_headers",
        "/:a/:a\n  x-m: :a",
        "line 2: `:a` is more than one part of this path",
    ),
    (
        CLOUDFLARE_HEADERS,
        "",
        "_headers",
        "/*\n  ! Cache-Control",
        "line 2: the host itself sets `cache-control` where no rule does",
    ),
    (CLOUDFLARE_HEADERS, "", "_headers", "/*\n  X: 1\n/b\n  ! ETag", "line 4: the host itself sets `etag`"),
    (
        CLOUDFLARE_HEADERS,
        "",
        "_headers",
        "/*\n  X: 1\n/b\n  ! X: 1",
        "line 4: a header that is left out looks like `! Name`",
    ),
    (CLOUDFLARE_HEADERS, "", "_headers", "/a\n/b\n  X: 1", "line 1: it sets no header"),
    (
        NETLIFY_HEADERS,
        "",
        "_headers",
        "/something/*\n  Basic-Auth: someuser:somepassword",
        "line 2: visitors would get this line with the passwords",
    ),
    (NETLIFY_HEADERS, "", "_headers", "/*\n  Set-Cookie: a=b", "the host itself sets `set-cookie`"),
    (NETLIFY_HEADERS, "", "_headers", "X-A: 1", "must begin with `/`"),
    (
        NETLIFY_HEADERS,
        "",
        "_headers",
        "/a\n  Location: /b",
        "line 2: a file is answered with 200, where this header leads nobody",
    ),
    (NETLIFY_HEADERS, "", "_headers", "/a\n  Connection: close", "line 2: the host itself sets `connection`"),
    (NETLIFY_HEADERS, "", "_headers", "/a\n  Content-Encoding: br", "the host itself sets `content-encoding`"),
    (NETLIFY_HEADERS, "", "_headers", "/a\n  Content-Length: 1", "the host itself sets `content-length`"),
    (NETLIFY_HEADERS, "", "_headers", "/a\n  Content-Range: x", "the host itself sets `content-range`"),
    (NETLIFY_HEADERS, "", "_headers", "/a\n  Date: x", "the host itself sets `date`"),
    (NETLIFY_HEADERS, "", "_headers", "/a\n  Trailer: x", "the host itself sets `trailer`"),
    (NETLIFY_HEADERS, "", "_headers", "/a\n  Transfer-Encoding: x", "the host itself sets `transfer-encoding`"),
    (NETLIFY_HEADERS, "", "_headers", "/a\n  Upgrade: x", "the host itself sets `upgrade`"),
    (CLOUDFLARE, "", "_redirects", "/blog/:2x /b", "`:2x` is not a placeholder"),
    (OPTIONS, "", "_redirects", "/ /a 302 Country=UK", "the United Kingdom is `gb`"),
    (OPTIONS, "", "_redirects", "/ /a 302 Country=eu", "name each country of the European Union"),
    (OPTIONS, "", "_redirects", "/ /a 302 Country=Germany", "two letters (ISO 3166)"),
    (OPTIONS, "", "_redirects", "/ /a 302 Language=english!", "is not a language"),
    (OPTIONS, "", "_redirects", "/ /a 302 City=Wien", "conditions are not known here"),
];

#[test]
fn what_cannot_be_kept_is_refused_with_file_line_and_a_way() {
    all_are_refused(REFUSED);
}

pub(super) fn all_are_refused(rows: &[Refused]) {
    for (page, toml, file, lines, wanted) in rows {
        let made = if *file == "_headers" { site(toml, "", lines) } else { site(toml, lines, "") };
        let message = made.expect_err(lines).message;
        let line = format!("{file}, line ");
        assert!(message.contains(wanted), "{page}: {lines}\n{message}");
        assert!(message.contains(&line) || !toml.is_empty(), "{page}: {lines}\n{message}");
    }
}
