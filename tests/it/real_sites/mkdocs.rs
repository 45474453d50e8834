//! A handbook that `MkDocs` builds with its material theme.

use std::{fs, process::Command};

use super::{
    Deployed, run,
    source::{FOLDER, Files, Site, built, pins},
};
use crate::support::seed::{Seed, markdown, png};

const CHAPTERS: [&str; 6] = ["quay", "boats", "tides and winds", "naïve", "Ελληνικά", "weather/near/far"];
const PAGES: usize = 25;

/// The sources: the same in every run.
fn sources() -> Files {
    let mut seed = Seed::new(1);
    let mut files = Vec::new();
    let mut page = |path: String, title: &str, links: &[(String, String)], seed: &mut Seed| {
        files.push((format!("docs/{path}"), markdown(seed, title, links).into_bytes()));
    };
    let name = |chapter: usize, number: usize| match (chapter, number) {
        (3, 1) => String::from("日本語"),
        (4, 1) => String::from("θάλασσα"),
        (2, _) => format!("page {number}"),
        _ => format!("page-{number}"),
    };
    for (chapter, folder) in CHAPTERS.iter().enumerate() {
        let links: Vec<_> = (1..=PAGES).map(|it| (format!("Page {it}"), format!("{}.md", name(chapter, it)))).collect();
        page(format!("{folder}/index.md"), &format!("All about {folder}"), &links, &mut seed);
        for number in 1..=PAGES {
            let next = number % PAGES + 1;
            let up = "../".repeat(folder.split('/').count());
            let links = [
                (format!("Page {next}"), format!("{}.md", name(chapter, next))),
                (String::from("Start"), format!("{up}index.md")),
            ];
            page(
                format!("{folder}/{}.md", name(chapter, number)),
                &format!("{folder}, page {number}"),
                &links,
                &mut seed,
            );
        }
    }
    let links: Vec<_> = CHAPTERS.iter().map(|it| (format!("About {it}"), format!("{it}/index.md"))).collect();
    let mut home = markdown(&mut seed, "Harbour handbook", &links);
    for number in 1..=12 {
        home += &format!("\n![Picture {number}](pictures/{number}.png)\n");
        files.push((format!("docs/pictures/{number}.png"), png(&mut seed, 96)));
    }
    files.push((String::from("docs/index.md"), home.into_bytes()));
    files.push((String::from("docs/downloads/charts.bin"), seed.bytes(2_500_000)));
    files.push((String::from("docs/downloads/empty.txt"), Vec::new()));
    let heights: Vec<_> = (0..60_000).map(|at| format!("{at},{},{}", seed.between(40, 320), seed.below(360))).collect();
    files.push((String::from("docs/downloads/heights.csv"), heights.join("\n").into_bytes()));
    files.push((String::from("mkdocs.yml"), fs::read(pins().join("mkdocs.yml")).unwrap()));
    files
}

fn site() -> Site {
    built("mkdocs", &sources(), &pins().join("requirements.txt"), |folder| {
        let mut mkdocs = Command::new(FOLDER.join("venv/bin/mkdocs"));
        mkdocs.args(["build", "--quiet"]).current_dir(folder);
        // The date in the site map is part of the site.
        mkdocs.env("SOURCE_DATE_EPOCH", "1700000000").env("NO_MKDOCS_2_WARNING", "1");
        run(&mut mkdocs);
    })
}

#[test]
fn a_mkdocs_site_is_served_as_it_was_built() {
    let site = site();
    assert!(site.files.len() > PAGES * CHAPTERS.len() + 30, "{} files", site.files.len());
    for wanted in ["naïve/日本語/index.html", "404.html", "search/search_index.json", "downloads/charts.bin"] {
        assert!(site.files.iter().any(|it| it == wanted), "{wanted}");
    }
    let deployed = Deployed::new("handbook", &site);
    deployed.was_sent_whole();
    deployed.is_served_byte_by_byte();
    deployed.is_served_compressed();
    deployed.is_proved();
    deployed.is_deployed_again();
    deployed.is_deployed_by_curl();
}

#[test]
fn a_browser_shows_a_mkdocs_site_without_an_error() {
    let site = site();
    let deployed = Deployed::new("handbook", &site);
    let paths = ["/", "/naïve/日本語/", "/tides and winds/page 7/", "/no-such-page"];
    super::look(&deployed, &paths);
}
