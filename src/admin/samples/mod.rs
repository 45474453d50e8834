//! Every page with sample values: rendered by the tests below, and written out as a gallery to look at.

mod server;
mod settings;
mod sites;
mod traffic;

use std::{collections::BTreeSet, fs, io::Write as _, path::Path};

use askama::Template;

use super::{
    deployments::LevelRow,
    form::Problems,
    markup::Markup,
    page,
    seal::{self, Level, Size},
    shell::{Alone, Place, Shell, Theme},
    words::When,
};
use crate::base::hash::Sha256;

/// Name of a page, the page, and a sentence that must be on it.
type Sample = (&'static str, String, &'static str);

/// What somebody outside might type to break a page.
const HOSTILE: &str = "<script>alert(1)</script>\" onload='x' <!--sprite--> href=\"#i-lock\"";

fn shell(place: Place) -> Shell {
    Shell {
        server: "quay-1.example".into(),
        user: "owner@quay.example".into(),
        grade: "super admin",
        manages_tenant: true,
        manages_server: true,
        theme: Theme::System,
        place,
        jobs_failed: 1,
        notice: None,
    }
}

fn alone() -> Alone {
    Alone { server: "quay-1.example".into(), theme: Theme::System }
}

fn when(text: &str) -> When {
    When { text: text.into(), exact: "2026-11-23T08:12:04Z".into() }
}

fn problem() -> Problems {
    Problems::with("name", "`Harbour Cafe` cannot be a site's name: use only a-z, 0-9 and -.")
}

fn levels() -> Vec<LevelRow> {
    vec![
        LevelRow { reached: true, name: "Sealed", text: "318 files and the rules in one manifest, 08:12:04".into() },
        LevelRow { reached: false, name: "Logged", text: "Not yet logged: the public log comes later".into() },
        LevelRow { reached: false, name: "Anchored", text: "Not yet: needs the log".into() },
    ]
}

fn mark(label: &str, level: Level, size: Size) -> Markup {
    seal::draw(
        Some(&Sha256::of(label.as_bytes())),
        level,
        size,
        (size != Size::Mini).then_some("Seal of deployment 42"),
    )
}

fn pages() -> Vec<Sample> {
    let mut out = Vec::new();
    out.extend(sites::pages());
    out.extend(settings::pages());
    out.extend(sites::deployments());
    out.extend(server::outside());
    out.extend(server::pages());
    out.extend(server::settings());
    out.extend(server::empty());
    out
}

fn render<T: Template>(page: &T) -> String {
    page::text(page).expect("renders")
}

/// The values of an attribute on a page.
fn values<'a>(page: &'a str, attribute: &str) -> Vec<&'a str> {
    let mark = format!(" {attribute}=\"");
    page.split(mark.as_str()).skip(1).filter_map(|rest| rest.split_once('"')).map(|(value, _)| value).collect()
}

#[test]
fn every_page_renders_and_says_what_it_is_for() {
    for (name, page, sentence) in pages() {
        assert!(page.starts_with("<!doctype html>"), "{name}");
        assert!(page.trim_end().ends_with("</html>"), "{name}");
        assert!(page.contains(sentence), "{name}: {sentence}");
        assert_eq!(page.matches("<h1").count(), 1, "{name}: one first heading");
        assert_eq!(page.matches("<main").count(), 1, "{name}: one main part");
        assert!(!page.contains("<!--sprite-->"), "{name}: the symbols were not put in");
    }
}

#[test]
fn nothing_from_outside_becomes_markup() {
    for (name, page, _) in pages() {
        let scripts = page.matches("<script").count();
        assert_eq!(scripts, page.matches("<script src=\"/assets/panel.").count(), "{name}: an inline script");
        assert!(!page.contains(" style=") && !page.contains("<style"), "{name}: an inline style");
        assert!(!page.contains("onload='") && !page.contains(" onclick="), "{name}: a handler");
    }
}

#[test]
fn ids_are_unique_and_references_lead_somewhere() {
    for (name, page, _) in pages() {
        let ids = values(&page, "id");
        let known: BTreeSet<_> = ids.iter().copied().collect();
        assert_eq!(known.len(), ids.len(), "{name}: an id stands twice: {ids:?}");
        for attribute in ["for", "aria-labelledby", "aria-describedby", "popovertarget"] {
            for reference in values(&page, attribute).iter().flat_map(|it| it.split(' ')) {
                assert!(known.contains(reference), "{name}: {attribute} leads to `{reference}`");
            }
        }
        for symbol in values(&page, "href").iter().filter_map(|it| it.strip_prefix("#i-")) {
            assert!(known.contains(format!("i-{symbol}").as_str()), "{name}: no symbol `{symbol}`");
        }
        for form in page.split("<form").skip(1) {
            let (head, _) = form.split_once('>').expect("a form has an end");
            assert!(head.contains("method=") && head.contains("action="), "{name}: {head}");
        }
    }
}

#[test]
fn pages_are_small() {
    for (name, page, _) in pages() {
        assert!(page.len() < 40_000, "{name}: {} bytes", page.len());
    }
}

#[test]
fn templates_hold_no_style_no_script_and_no_raw_text() {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("templates")];
    let mut seen = 0;
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            seen += 1;
            for forbidden in ["style=", "<style", "|safe", "| safe", "javascript:", " onclick", " onload", "escape("] {
                assert!(!text.contains(forbidden), "{}: {forbidden}", path.display());
            }
            for script in text.split("<script").skip(1) {
                assert!(script.starts_with(" src=\"{{ crate::admin::assets::js() }}\""), "{}", path.display());
            }
        }
    }
    assert!(seen > 20, "the templates were not found");
}

/// Writes the sample pages and the assets to `target/panel-gallery`, for `tests/panel/shoot.mjs --gallery`.
#[test]
#[ignore = "writes files to look at"]
fn gallery() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/panel-gallery");
    fs::create_dir_all(folder.join("assets")).unwrap();
    let write = |path: &str, bytes: &[u8]| {
        fs::File::create(folder.join(path.trim_start_matches('/'))).unwrap().write_all(bytes).unwrap();
    };
    for (name, page, _) in pages() {
        write(&format!("{name}.html"), page.as_bytes());
    }
    write(crate::admin::assets::css(), include_bytes!("../../../assets/panel.css"));
    write(crate::admin::assets::js(), include_bytes!("../../../assets/panel.js"));
    write(crate::admin::assets::icon(), include_bytes!("../../../assets/seal.svg"));
}
