//! Field notes that Eleventy builds, with the names that other sites have trouble with.

use std::{fs, process::Command};

use super::{
    Deployed, address, run,
    source::{FOLDER, Files, Site, built, pins},
};
use crate::support::seed::{Seed, markdown, paragraph, png, sentence};

const NOTES: usize = 180;
/// Names that need care in a URL, on a disk or in both. The last one is decomposed, as some systems write it.
const ODD_NAMES: [&str; 9] = [
    "static/odd/a b+c&d=e.txt",
    "static/odd/what? no#hash.txt",
    "static/odd/100%25 sure %2F.txt",
    "static/odd/it's (really), here; [1]@{2}!.txt",
    "static/odd/\"quoted\" <tag> |pipe^`.txt",
    "static/odd/…/ünïcödé-ß-🚢.txt",
    "static/odd/UPPER.TXT",
    "static/odd/.hidden",
    "static/odd/re\u{301}sume\u{301}.txt",
];

fn sources() -> Files {
    let mut seed = Seed::new(2);
    let mut files = Vec::new();
    let front =
        |title: &str, layout: &str, more: &str| format!("---\ntitle: \"{title}\"\nlayout: {layout}\n{more}---\n");
    for number in 1..=NOTES {
        let folder = seed.pick(&["coast", "été/août", "island/north", "空"]);
        let title = format!("Note {number}: {}", sentence(&mut seed));
        let text = markdown(&mut seed, &title, &[(String::from("All notes"), String::from("/"))]);
        let picture = format!("\n![A picture](/pictures/{}.png)\n", number % 20 + 1);
        let page = front(&title, "page.njk", "") + &text + &picture;
        files.push((format!("content/notes/{folder}/note-{number}.md"), page.into_bytes()));
    }
    let home = front("Field notes", "list.njk", "") + "# Field notes\n\n" + &paragraph(&mut seed);
    files.push((String::from("content/index.md"), home.into_bytes()));
    let lost =
        front("Nothing here", "page.njk", "permalink: /404.html\n") + "# Nothing here\n\nThis page is not here.\n";
    files.push((String::from("content/404.md"), lost.into_bytes()));
    let about = front("About", "page.njk", "permalink: /about.html\n") + "# About\n\n" + &paragraph(&mut seed);
    files.push((String::from("content/about.md"), about.into_bytes()));
    for number in 1..=20 {
        files.push((format!("static/pictures/{number}.png"), png(&mut seed, 64)));
    }
    for name in ODD_NAMES {
        files.push((name.to_owned(), sentence(&mut seed).into_bytes()));
    }
    let mut script = String::from("document.documentElement.dataset.ready = 'yes';\n");
    while script.len() < 900_000 {
        script += &format!("// {}\n", sentence(&mut seed));
    }
    for (path, text) in [
        ("static/app.3f9a1c77.js", script.as_str()),
        ("static/style.4be91f02.css", "body { font: 1.1rem/1.5 serif; max-width: 40rem; margin: 2rem auto }\n"),
        ("static/_headers", "/pictures/*\n  X-Picture: yes\n/*.html\n  Referrer-Policy: same-origin\n"),
        ("static/_redirects", "/old/:page /notes/coast/:page/ 301\n/start / 302\n"),
        ("static/.well-known/security.txt", "Contact: mailto:security@example.org\n"),
        ("static/.nojekyll", ""),
        ("static/robots.txt", "User-agent: *\nAllow: /\n"),
    ] {
        files.push((path.to_owned(), text.as_bytes().to_vec()));
    }
    let folder = pins().join("eleventy");
    for path in ["eleventy.config.mjs", "_includes/page.njk", "_includes/list.njk"] {
        files.push((path.to_owned(), fs::read(folder.join(path)).unwrap()));
    }
    files
}

fn site() -> Site {
    built("eleventy", &sources(), &pins().join("package-lock.json"), |folder| {
        let program = FOLDER.join("npm/node_modules/@11ty/eleventy/cmd.cjs");
        run(Command::new("node").arg(program).current_dir(folder));
    })
}

#[test]
fn an_eleventy_site_is_served_as_it_was_built() {
    let site = site();
    assert!(site.files.len() > NOTES + 30, "{} files", site.files.len());
    for name in ODD_NAMES {
        let name = name.strip_prefix("static/").unwrap();
        assert!(site.files.iter().any(|it| it == name), "{name}");
    }
    let deployed = Deployed::new("notes", &site);
    deployed.was_sent_whole();
    deployed.is_served_byte_by_byte();
    deployed.is_served_compressed();
    deployed.is_proved();

    // Its settings hold, and are no files.
    let mut visitor = deployed.visitor();
    let moved = visitor.get("/old/note-1?a=b", "");
    assert_eq!((moved.status, moved.header("location")), (301, Some("/notes/coast/note-1/?a=b")));
    assert_eq!(visitor.get("/pictures/1.png", "").header("x-picture"), Some("yes"));
    assert_eq!(visitor.get("/about.html", "").header("referrer-policy"), Some("same-origin"));
    assert!(visitor.get("/app.3f9a1c77.js", "").header("cache-control").unwrap().contains("immutable"));
    for hidden in ["/_headers", "/_redirects"] {
        assert_eq!(visitor.get(hidden, "").status, 404);
    }
    // A page that was written on a system with decomposed names links to them so.
    let decomposed = visitor.get("/odd/re%CC%81sume%CC%81.txt", "");
    let composed = visitor.get(&address("odd/résumé.txt"), "");
    assert_eq!((composed.status, decomposed.status, decomposed.body == composed.body), (200, 200, true));

    deployed.is_deployed_again();
    deployed.is_deployed_by_curl();
}

#[test]
fn a_browser_shows_an_eleventy_site_without_an_error() {
    let site = site();
    let note = site.files.iter().find_map(|it| it.strip_suffix("index.html").filter(|it| it.contains("空"))).unwrap();
    let deployed = Deployed::new("notes", &site);
    super::look(&deployed, &["/", &format!("/{note}"), "/about.html", "/no-such-page"]);
}
