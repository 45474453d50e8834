//! `chainhost sites traffic`: visits, requests and bytes of a site by day, with small plots, and what was asked for most.

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{
    super::{
        client::{Call, credentials::ServerArgument},
        failure::Result,
        output::{self, Output},
        table::{Cell, Column, Table},
        terminal::{self, Terminal},
        text,
    },
    name, path,
};
use crate::{
    base::{
        clock::rfc3339,
        country::Country,
        units::{ByteSize, thousands},
    },
    domain::{
        site::SiteName,
        traffic::{DAY_MS, Period},
    },
};

/// Labels of each list.
const LISTED: usize = 10;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The arguments of `sites traffic`.
#[derive(Args)]
pub(super) struct Traffic {
    /// The site
    #[arg(value_parser = name)]
    site: SiteName,
    /// How many days, with today
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(i64).range(1..=1_096))]
    days: i64,
    /// Print the server's object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

#[derive(Deserialize)]
struct Told {
    total: Sum,
    before: Sum,
    points: Vec<Sum>,
    #[serde(default)]
    pages: Vec<Label>,
    #[serde(default)]
    referrers: Vec<Label>,
    #[serde(default)]
    missing: Vec<Label>,
    #[serde(default)]
    countries: Vec<Label>,
    #[serde(default)]
    since: Option<String>,
}

#[derive(Deserialize)]
struct Sum {
    at: String,
    requests: u64,
    pages: u64,
    #[serde(default)]
    visits: Option<u64>,
    bots: u64,
    bytes: u64,
    status_4xx: u64,
    status_5xx: u64,
}

#[derive(Deserialize)]
struct Label {
    label: String,
    count: u64,
}

impl Traffic {
    pub(super) async fn run(self) -> Result<()> {
        let (client, Output { terminal, now_ms }) = output::open(&self.server)?;
        let to = Period::Day.start_of(now_ms).saturating_add(DAY_MS);
        let (from, to) = (rfc3339(to.saturating_sub(self.days * DAY_MS)), rfc3339(to));
        let call = format!("{}/traffic?step=day&from={from}&to={to}", path(&self.site));
        let found: Value = client.call(&Call::get(&call)).await?;
        if self.json {
            return output::json(&found);
        }
        let told: Told = output::read_one(found)?;
        terminal::print(&show(&told, &self.site, terminal))
    }
}

/// A bar for each value, the highest as high as a line.
fn spark(values: &[u64]) -> String {
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let bar = |value: &u64| {
        // Something is never shown as nothing.
        let step = (u128::from(*value) * 8).div_ceil(u128::from(most)).clamp(1, 8);
        usize::try_from(step - 1).ok().and_then(|it| BARS.get(it)).copied().unwrap_or('█')
    };
    values.iter().map(|it| if *it == 0 { '·' } else { bar(it) }).collect()
}

/// `+12 %` against what was before.
fn change(now: u64, before: u64) -> String {
    if before == 0 {
        return String::from(if now == 0 { "as before" } else { "none before" });
    }
    let percent = now.abs_diff(before).saturating_mul(100).saturating_add(before / 2) / before;
    match (percent, now >= before) {
        (0, _) => String::from("as before"),
        (percent, true) => format!("+{} %", thousands(percent)),
        (percent, false) => format!("-{percent} %"),
    }
}

fn show(told: &Told, site: &SiteName, terminal: Terminal) -> String {
    if told.since.is_none() {
        return format!("There are no figures of {site} yet: they come some seconds after its first visitors.");
    }
    let series = |of: fn(&Sum) -> u64| told.points.iter().map(of).collect::<Vec<u64>>();
    let visits = |it: &Sum| it.visits.unwrap_or(0);
    let (now, before) = (&told.total, &told.before);
    let mut whole =
        Table::new(&[Column::Whole("In all"), Column::Number("Now"), Column::Whole("Before"), Column::Whole("By day")]);
    for (what, value, change, series) in [
        ("Visits", thousands(visits(now)), change(visits(now), visits(before)), series(visits)),
        ("Pages", thousands(now.pages), change(now.pages, before.pages), series(|it| it.pages)),
        ("Requests", thousands(now.requests), change(now.requests, before.requests), series(|it| it.requests)),
        ("Bytes", ByteSize(now.bytes).to_string(), change(now.bytes, before.bytes), series(|it| it.bytes)),
        ("Programs", thousands(now.bots), change(now.bots, before.bots), series(|it| it.bots)),
        (
            "Errors 4xx",
            thousands(now.status_4xx),
            change(now.status_4xx, before.status_4xx),
            series(|it| it.status_4xx),
        ),
        (
            "Errors 5xx",
            thousands(now.status_5xx),
            change(now.status_5xx, before.status_5xx),
            series(|it| it.status_5xx),
        ),
    ] {
        // A line of a hundred bars fits no terminal.
        let shown = series.get(series.len().saturating_sub(60)..).unwrap_or(&series);
        whole.push([Cell::new(what), Cell::new(value), Cell::new(change), Cell::new(spark(shown))]);
    }
    let mut parts = vec![whole.show(terminal)];
    let first = told.points.first().map(|it| it.at.as_str()).unwrap_or_default();
    parts.push(format!("Days are of UTC, from {} to today.", text::plain(first.get(..10).unwrap_or(first))));
    let named = |it: &Label| {
        let name = it.label.parse::<Country>().map_or(it.label.as_str(), |it| it.name()).to_owned();
        Label { label: name, count: it.count }
    };
    let countries: Vec<Label> = told.countries.iter().map(named).collect();
    let lists = [
        ("Pages", &told.pages),
        ("Came from", &told.referrers),
        ("Not found (404)", &told.missing),
        ("Pages by country", &countries),
    ];
    for (head, labels) in lists {
        if labels.is_empty() {
            continue;
        }
        let mut table = Table::new(&[Column::Number("Count"), Column::Text(head)]);
        for it in labels.iter().take(LISTED) {
            table.push([Cell::new(thousands(it.count)), Cell::new(&it.label)]);
        }
        parts.push(table.show(terminal));
    }
    parts.join("\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_and_changes_say_what_is_so() {
        assert_eq!(spark(&[0, 1, 50, 100]), "·▁▄█");
        assert_eq!(spark(&[0, 0]), "··");
        assert_eq!(spark(&[u64::MAX]), "█");
        let all =
            [(0, 0), (5, 0), (110, 100), (50, 100), (100, 100), (100_000, 1)].map(|(now, then)| change(now, then));
        assert_eq!(all, ["as before", "none before", "+10 %", "-50 %", "as before", "+9,999,900 %"]);
    }

    #[test]
    fn what_a_client_has_sent_steers_no_terminal() {
        let sum = || {
            serde_json::json!({ "at": "2026-11-24T00:00:00Z", "requests": 3, "pages": 2, "visits": 1, "bots": 0,
            "bytes": 2_048, "status_4xx": 1, "status_5xx": 0 })
        };
        let told = serde_json::json!({ "total": sum(), "before": sum(), "points": [sum()], "since": "2026-11-24T00:00:00Z",
            "missing": [{ "label": "/\u{1b}[2J", "count": 1 }] });
        let shown = show(&serde_json::from_value(told).unwrap(), &SiteName::parse("one").unwrap(), Terminal::default());
        assert!(!shown.contains('\u{1b}') && shown.contains("/\\u{1b}[2J"), "{shown}");
        assert!(shown.contains("Visits") && shown.contains('█') && shown.contains("from 2026-11-24"), "{shown}");
    }
}
