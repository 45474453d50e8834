//! Rules by which another server answers: `/api/* https://api.example.com/:splat 200`.

use super::{
    super::visitor::Named,
    refused::{Refused, all_are_refused},
    *,
};

const PASSED_ON: &[Taken] = &[
    // Another server answers, with path and query of the target, and the visitor's query where that has none.
    (
        PROXIES,
        "",
        "/api/* https://api.example.com/:splat 200",
        &[
            ("/api/a/b%20c?d=e%2Ff", "200 <- https://api.example.com/a/b%20c?d=e%2Ff"),
            ("/api/", "200 <- https://api.example.com/"),
            ("/api", "404 /404.html"),
        ],
    ),
    (
        PROXIES,
        AS_NETLIFY,
        "/api/* https://api.example.com/v1/:splat 200",
        &[("/api", "200 <- https://api.example.com/v1/"), ("/api/x", "200 <- https://api.example.com/v1/x")],
    ),
    (
        PROXIES,
        "",
        "/search q=:q https://s.example.com/find?term=:q&in=all 200",
        &[("/search?q=a%26b%2Fc&x=1", "200 <- https://s.example.com/find?term=a%26b%2Fc&in=all")],
    ),
    (
        PROXIES,
        "",
        "/u/:id/* http://u.example.com:8080/:id?rest=:splat 200",
        &[("/u/c%C3%A9/a/b?x", "200 <- http://u.example.com:8080/c%C3%A9?rest=a%2Fb")],
    ),
    // Signs stay as they are, but for one that some servers read as a blank.
    (
        PROXIES,
        "",
        "/f/* https://f.example.com/:splat 200",
        &[
            ("/f/C%2B%2B.pdf", "200 <- https://f.example.com/C%2B%2B.pdf"),
            ("/f/C++;v=1,2@x.pdf", "200 <- https://f.example.com/C%2B%2B;v=1,2@x.pdf"),
        ],
    ),
    (PROXIES, "", "/x https://x.example.com 200", &[("/x?a=b", "200 <- https://x.example.com?a=b")]),
    (
        PROXIES,
        "",
        "/* https://old.example.com/:splat 200",
        &[("/about.html", "200 /about.html"), ("/app", "308 -> /app/"), ("/x/y", "200 <- https://old.example.com/x/y")],
    ),
    (
        PROXIES,
        "",
        "/about.html https://old.example.com/a 200!",
        &[("/about.html", "200 <- https://old.example.com/a"), ("/b", "200 /b")],
    ),
];

#[test]
fn requests_are_passed_on_as_the_documentation_has_it() {
    all_give(PASSED_ON);
    // A whole folder is passed on also where paths are longer than those of files.
    let manifest = site("", "/f/* https://f.example.com/:splat 200\n/:a https://f.example.com/:a 200\n/* /b 302", "");
    let (manifest, long) = (manifest.unwrap(), "x".repeat(2_000));
    let of = |path: &str| in_words(super::super::resolve(&manifest, path, None));
    assert_eq!(of(&format!("/f/{long}")), format!("200 <- https://f.example.com/{long}"));
    assert_eq!([of(&format!("/{long}")), of(&format!("/f/{}", "x".repeat(9_000)))], ["404 /404.html"; 2]);
    let manifest = site("", "/x https://de.example.com/ 200 Country=de", "").unwrap();
    for (country, wanted) in [("DE", "200 <- https://de.example.com/"), ("FR", "404 /404.html")] {
        let visitor = Named { country: country.parse().ok(), language: None };
        assert_eq!(in_words(resolve_for(&manifest, "/x", None, &visitor).0), wanted, "{country}");
    }
}

const REFUSED: &[Refused] = &[
    (PROXIES, "", "_redirects", "/a https://b.org/ 404", "with status 404 the target must be a file"),
    (PROXIES, "", "_redirects", "/a https://b.org/ 200 signed=KEY", "what is passed on is not signed here"),
    (PROXIES, "", "_redirects", "/a https://me:word@b.org/ 200", "without user"),
    (PROXIES, "", "_redirects", "/:a https://:a.b.org/ 200", "without user, `*` or `:name`"),
    (PROXIES, "", "_redirects", "/a https://b.org:0/ 200", "`https://b.org:0` has a port that is none"),
    (PROXIES, "", "_redirects", "/a http://127.1/ 200", "`http://127.1` has no host that could be"),
    (PROXIES, "", "_redirects", "/a https://b.org/x/%2E%2e/y 200", "has no `.` or `..` segment"),
    (PROXIES, "", "_redirects", "/a https://b.org/x#y 200", "what stands behind `#` is never sent"),
    (PROXIES, "", "_redirects", "/a unix:/run/app.sock 200", "begins with `https://` or `http://`"),
];

#[test]
fn what_nobody_could_be_asked_is_refused() {
    all_are_refused(REFUSED);
}

#[test]
fn requests_are_passed_on_to_so_many_servers_and_no_more() {
    let lines = |count: usize| {
        let lines: Vec<String> = (0..count).map(|at| format!("/{at}/* https://{at}.example.com/:splat 200")).collect();
        lines.join("\n")
    };
    assert!(site("", &lines(32), "").is_ok());
    let message = site("", &lines(33), "").unwrap_err().message;
    assert!(message.contains("33 other servers; more than 32 are not taken"), "{message}");
    // One under several paths is one.
    let one = "/a/* https://a.example.com/:splat 200\n/b/* https://A.example.com/:splat 200\n".repeat(20);
    assert!(site("", &one, "").is_ok());
}
