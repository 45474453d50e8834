//! Why an address gives what it gives, in sentences for the people who wrote the rules.

use super::{Known, RedirectRule, Rules, Verdict};
use crate::{
    domain::site_settings::firewall::{Action, Firewall},
    proof::resolve::{
        Resolution,
        explain::{self, Explanation, Step},
        visitor::Named,
    },
};

/// Why a path is answered by nobody.
pub(super) const UNREADABLE: &str = "No file can have this path, and visitors get a page of the host: there is a broken \
                                     escape, an escaped `/`, a backslash, or a `.` or `..` between slashes.";

/// Why a path is answered by the host.
pub(super) const RESERVED: &str =
    "Below `/.well-known/chainhost` and `/.well-known/acme-challenge` the host itself answers, on every site.";
/// Why nobody answers where nothing is published.
pub(super) const NOTHING: &str = "Nothing of the site is published yet, so that visitors get a page of the host.";

/// The step in one word.
pub(super) const fn step(step: Step) -> &'static str {
    match step {
        Step::Reserved => "reserved",
        Step::Unreadable => "unreadable",
        Step::RuleFirst | Step::Rule => "rule",
        Step::File => "file",
        Step::Index => "index",
        Step::Clean => "clean_url",
        Step::CleanRedirect => "clean_redirect",
        Step::FolderSlash => "folder_slash",
        Step::Fallback => "fallback",
        Step::Nothing => "nothing",
    }
}

/// `line 7 of _redirects`, or `redirect 3` where lines are not known.
fn place(rule: &RedirectRule) -> String {
    if rule.closest_404 {
        return String::from("the closest 404.html");
    }
    rule.line.map_or_else(|| format!("redirect {}", rule.number), |line| format!("line {line} of _redirects"))
}

/// Why `path` gives what it gives.
pub(super) fn because(said: &Explanation<'_>, path: &str, rules: &Rules) -> String {
    let file = match &said.resolution {
        Resolution::File { entry, .. } => entry.path.as_str(),
        _ => "",
    };
    match said.step {
        Step::RuleFirst | Step::Rule => by_rule(said, path, rules),
        Step::File => format!("`{path}` is a file."),
        Step::Index => format!("`{path}` is a folder, and `{file}` is the page for it."),
        Step::Clean => format!("`{path}` is the file `{file}`, since `clean_urls` is on."),
        Step::CleanRedirect => String::from("The file has a shorter address, since `clean_urls` is on."),
        Step::FolderSlash => format!("`{path}` is a folder, and the address of a folder ends in `/`."),
        Step::Fallback => match said.resolution {
            Resolution::File { status: 200, .. } => {
                format!("No file and no rule answers, and `{file}` is shown for everything else.")
            }
            _ => format!("No file and no rule answers, and `{file}` is the page for that."),
        },
        Step::Nothing => String::from(
            "No file and no rule answers, and there is no `404.html`, so that visitors get a page of the host.",
        ),
        Step::Reserved => String::from(RESERVED),
        Step::Unreadable => String::from(UNREADABLE),
    }
}

fn by_rule(said: &Explanation<'_>, path: &str, rules: &Rules) -> String {
    let Some(rule) = said.rule.and_then(|at| rules.redirects.get(at)) else { return String::new() };
    let place = place(rule);
    match &said.resolution {
        Resolution::File { entry, status: 200 } => format!("`{path}` shows `{}`, because of {place}.", entry.path),
        Resolution::File { entry, status } => {
            format!("`{path}` gives {status} with `{}`, because of {place}.", entry.path)
        }
        Resolution::Redirect { status, to } => format!("`{path}` gives {status} to `{to}`, because of {place}."),
        Resolution::PassedOn { to } => format!(
            "`{path}` is passed on to `{to}`, because of {place}: that server answers, and nothing of its answer is part of the proof."
        ),
        Resolution::Gone | Resolution::NotFound => format!(
            "`{path}` gives {} with a page of the host, because of {place}: its file `{}` is not there.",
            rule.status, rule.to
        ),
    }
}

/// Why no country is known of anybody, and what to do.
pub(super) const fn without_countries(known: Known) -> &'static str {
    match known {
        Known::Yes => "",
        Known::Unreadable => {
            "the database of countries cannot be read now, and the server's log says why; until it can be, the rules behind it answer."
        }
        Known::No => {
            "this server has no database of countries. Its operator names a file with `database` in [geo]; until then the rules behind it answer."
        }
    }
}

/// What of a firewall does not do what it seems to, and what happens instead.
pub(super) fn of_firewall(firewall: &Firewall, known: Known) -> Option<String> {
    let (why, help) = match known {
        Known::Yes => return None,
        Known::Unreadable => ("the server's database of them cannot be read now", "The server's log says why."),
        Known::No => {
            ("this server has no database of them", "The server's operator names a file with `database` in [geo].")
        }
    };
    let mut asking = firewall.rules.iter().filter(|it| it.wants_countries());
    let first = asking.clone().find(|it| it.action == Action::Block).or_else(|| asking.next())?;
    let then = match first.action {
        Action::Block => "whoever it is to keep out gets in",
        Action::Allow => "whoever it is to let through is looked at by what stands behind it",
        Action::Log => "nothing of it is told in the log",
    };
    let each = if firewall.rules.iter().filter(|it| it.wants_countries()).nth(1).is_some() {
        ", as each that asks for countries,"
    } else {
        " asks for countries and"
    };
    Some(format!("The rule `{}` of the firewall{each} fits nobody, since {why}: {then}. {help}", first.name))
}

fn other_country(rules: &Rules, at: usize, visitor: &Named) -> String {
    let conditions = rules.redirects.get(at).map(|it| it.conditions.as_str()).unwrap_or_default();
    match (rules.countries, visitor.country) {
        (Known::Yes, Some(country)) => format!("It fits the path, but {} is not in `{conditions}`.", country.name()),
        (Known::Yes, None) => {
            format!("It fits the path, but holds for `{conditions}` alone, and no country was named to try it with.")
        }
        (known, _) => format!("It fits the path, but holds for nobody: {}", without_countries(known)),
    }
}

fn other_language(rules: &Rules, at: usize, visitor: &Named) -> String {
    let conditions = rules.redirects.get(at).map(|it| it.conditions.as_str()).unwrap_or_default();
    match &visitor.language {
        Some(language) => format!("It fits the path, but the language `{language}` is not in `{conditions}`."),
        None => {
            format!("It fits the path, but holds for `{conditions}` alone, and no language was named to try it with.")
        }
    }
}

/// What became of the redirect with index `at`.
pub(super) fn verdict(of: &explain::Verdict, rules: &Rules, at: usize, visitor: &Named) -> Verdict {
    let place = |at: &usize| rules.redirects.get(*at).map(place).unwrap_or_default();
    let (word, why) = match of {
        explain::Verdict::Answers => ("answers", String::from("It answers.")),
        explain::Verdict::OtherPath => ("other_path", String::from("It is for another path.")),
        explain::Verdict::Query(name) => {
            ("query", format!("It fits the path, but the parameter `{name}` is missing or has another value."))
        }
        explain::Verdict::Country => ("country", other_country(rules, at, visitor)),
        explain::Verdict::Language => ("language", other_language(rules, at, visitor)),
        explain::Verdict::NoFile(to) => {
            ("no_file", format!("It fits, but there is no file `{to}`; no rule behind it is asked then."))
        }
        explain::Verdict::SamePlace => (
            "same_place",
            String::from("It fits, but leads to the very address that was asked for; no rule behind it is asked then."),
        ),
        explain::Verdict::Later(first) => ("later", format!("It fits, but {} comes before it.", place(first))),
        explain::Verdict::Forced(first) => ("later", format!("It fits, but {} goes before files.", place(first))),
        explain::Verdict::FileFirst => {
            let status = rules.redirects.get(at).map_or(301, |it| it.status);
            ("file_first", format!("It fits, but a file or folder answers first; `{status}!` goes before files."))
        }
        explain::Verdict::NotAsked => ("not_asked", String::from("Rules are not asked for this path.")),
    };
    Verdict { word, why }
}
