//! `chainhost sites try`: what an address of a site gives, and which of its rules says so.

use std::fmt::Write as _;

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{
        client::{Call, credentials::ServerArgument},
        diff,
        failure::Result,
        output::{self, Output},
        table::{Cell, Column, Table},
        terminal::{self, Terminal},
        text,
    },
    name, path,
};
use crate::{
    base::country::Country,
    domain::{deployment::DeploymentRef, site::SiteName},
};

/// The arguments of `sites try`.
#[derive(Args)]
pub(super) struct Try {
    /// The site
    #[arg(value_parser = name)]
    site: SiteName,
    /// The address: a path such as `/old?id=7`, or all of it
    url: String,
    /// Try the rules of this deployment, by number or id, instead of those that are live
    #[arg(long, value_parser = diff::reference)]
    deployment: Option<DeploymentRef>,
    /// Try it as somebody from this country: a code of two letters, such as de
    #[arg(long)]
    country: Option<Country>,
    /// Try it as somebody whose browser likes this language best, such as en or pt-br
    #[arg(long)]
    language: Option<String>,
    /// Print the server's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

/// What the server found.
#[derive(Deserialize)]
struct Tried {
    #[serde(default)]
    deployment: Option<Of>,
    #[serde(default)]
    taken_down: Option<String>,
    path: String,
    #[serde(default)]
    query: Option<String>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    location: Option<String>,
    #[serde(default)]
    file: Option<String>,
    #[serde(default)]
    passed_on: Option<String>,
    because: String,
    #[serde(default)]
    step: String,
    #[serde(default)]
    notes: Vec<String>,
    #[serde(default)]
    headers: Vec<Head>,
    #[serde(default)]
    redirects: Vec<Rule>,
}

#[derive(Deserialize)]
struct Of {
    number: i64,
    #[serde(default)]
    live: bool,
}

#[derive(Deserialize)]
struct Head {
    name: String,
    value: String,
    from: String,
    #[serde(default)]
    lines: Vec<u64>,
    #[serde(default)]
    rules: Vec<u64>,
}

#[derive(Deserialize)]
struct Rule {
    number: u64,
    #[serde(default)]
    line: Option<u64>,
    from: String,
    #[serde(default)]
    query: String,
    to: String,
    status: u16,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    conditions: String,
    verdict: String,
    why: String,
}

impl Try {
    pub(super) async fn run(self) -> Result<()> {
        let (client, Output { terminal, .. }) = output::open(&self.server)?;
        let country = self.country.map(|it| it.to_string());
        let asked = json!({
            "url": self.url, "deployment": self.deployment.map(diff::word), "country": country, "language": self.language,
        });
        let found: Value = client.call(&Call::post(&format!("{}/try", path(&self.site)), &asked)?).await?;
        if self.json {
            return output::json(&found);
        }
        let tried: Tried = output::read_one(found)?;
        if tried.taken_down.is_some() {
            terminal::note(&format!(
                "{} is taken down: visitors read the reason, and get this when it is back.",
                self.site
            ));
        }
        terminal::print(&show(&tried, terminal))
    }
}

fn show(tried: &Tried, terminal: Terminal) -> String {
    let query = tried.query.as_ref().map_or_else(String::new, |it| format!("?{it}"));
    let status = tried.status.map_or_else(String::new, |it| format!("{it} "));
    let what = match (&tried.location, &tried.file, &tried.passed_on) {
        (Some(to), ..) | (None, None, Some(to)) => to.as_str(),
        (None, Some(file), _) => file.as_str(),
        (None, None, None) if tried.step == "upstream" => "other servers",
        (None, None, None) => "a page of the host",
    };
    let mut out = format!(
        "{} → {status}{}\n{}\n",
        text::plain(&format!("{}{query}", tried.path)),
        text::plain(what),
        text::plain(&tried.because),
    );
    for note in &tried.notes {
        let _ = writeln!(out, "{}", text::plain(note));
    }
    match tried.deployment {
        Some(Of { number, live: true }) => drop(write!(out, "Deployment {number}, which is live.")),
        Some(Of { number, live: false }) => drop(write!(out, "Deployment {number}, which is not live.")),
        None => out.push_str("Nothing is published."),
    }
    if !tried.headers.is_empty() {
        let mut table = Table::new(&[Column::Whole("Header"), Column::Text("Value"), Column::Whole("From")]);
        for head in &tried.headers {
            table.push_row(vec![Cell::new(&head.name), Cell::new(&head.value), Cell::new(from(head))]);
        }
        let _ = write!(out, "\n\n{}", table.show(terminal));
    }
    // Those for other paths say nothing; how many there are does.
    let asked: Vec<&Rule> = tried.redirects.iter().filter(|it| it.verdict != "other_path").collect();
    if !asked.is_empty() {
        let columns =
            [Column::Text(""), Column::Number("Line"), Column::Text("Rule"), Column::Whole("What became of it")];
        let mut table = Table::new(&columns);
        for rule in &asked {
            let sign = if rule.verdict == "answers" { "→" } else { "" };
            let place = rule.line.map_or_else(|| format!("#{}", rule.number), |it| it.to_string());
            table.push_row(vec![Cell::new(sign), Cell::new(place), Cell::new(written(rule)), Cell::new(&rule.why)]);
        }
        let _ = write!(out, "\n\n{}", table.show(terminal));
    }
    let others = u64::try_from(tried.redirects.len() - asked.len()).unwrap_or(u64::MAX);
    if others > 0 {
        let rules = text::count(others, "rule");
        let _ = write!(out, "\n\n{rules} of _redirects {} for other paths.", if others == 1 { "is" } else { "are" });
    }
    out
}

/// A rule as its file has it.
fn written(rule: &Rule) -> String {
    let Rule { from, query, to, status, force, conditions, .. } = rule;
    let blank = |it: &str| if it.is_empty() { "" } else { " " };
    let (before, behind) = (blank(query), blank(conditions));
    format!("{from} {query}{before}{to} {status}{}{behind}{conditions}", if *force { "!" } else { "" })
}

/// Where a header comes from.
fn from(head: &Head) -> String {
    let all = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let s = |numbers: &[u64]| if numbers.len() == 1 { "" } else { "s" };
    match head.from.as_str() {
        "rules" if head.lines.is_empty() => format!("header rule{} {}", s(&head.rules), all(&head.rules)),
        "rules" => format!("line{} {} of _headers", s(&head.lines), all(&head.lines)),
        "redirect" => String::from("the rule"),
        "setting" => String::from("a setting"),
        "type" => String::from("the file's name"),
        _ => String::from("the host"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_comes_and_why() {
        let tried = json!({
            "deployment": { "id": "x", "number": 4, "live": true }, "taken_down": null, "path": "/old", "query": "a=1", "status": 301,
            "location": "/new?a=1", "file": null, "step": "rule", "because": "`/old` gives 301 to `/new?a=1`, because of line 2 of _redirects.",
            "rule": 2,
            "headers": [
                { "name": "location", "value": "/new?a=1", "from": "redirect", "lines": [], "rules": [] },
                { "name": "x-a", "value": "1, 2", "from": "rules", "lines": [2, 5], "rules": [1, 2] },
                { "name": "x-b", "value": "\u{1b}[2J", "from": "rules", "lines": [], "rules": [3] },
            ],
            "redirects": [
                { "number": 1, "line": 1, "from": "/x", "query": "", "to": "/y", "status": 302, "force": false, "verdict": "other_path", "why": "It is for another path." },
                { "number": 2, "line": 2, "from": "/old", "query": "", "to": "/new", "status": 301, "force": true, "conditions": "Country=DE", "verdict": "answers", "why": "It answers." },
                { "number": 3, "line": null, "from": "/old", "query": "b=:b", "to": "/z", "status": 302, "force": false, "verdict": "later", "why": "It fits, but line 2 comes before it." },
            ],
            "header_rules": [],
        });
        let shown = show(&serde_json::from_value(tried).unwrap(), Terminal::default());
        let wanted = "/old?a=1 → 301 /new?a=1\n\
            `/old` gives 301 to `/new?a=1`, because of line 2 of _redirects.\n\
            Deployment 4, which is live.\n\n";
        assert!(shown.starts_with(wanted), "{shown}");
        for part in [
            "lines 2, 5 of _headers",
            "header rule 3",
            "\\u{1b}[2J",
            "/old /new 301! Country=DE",
            "/old b=:b /z 302",
            "#3",
            "\n\n1 rule of _redirects is for",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("/x /y"), "{shown}");
    }
}
