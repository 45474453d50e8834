//! The traffic of a site: visits and requests over a span, what was asked for most, and what was not there. All times are UTC.

mod plot;

use askama::Template;
use axum::extract::Path;
use serde::Deserialize;

use super::{
    super::{
        gate::Answer,
        shell::{Crumb, Place, Shell, Tab},
        visit::{Asked, Visit, show},
        words,
    },
    Standing, crumbs, named, tabs,
};
use crate::{
    base::country::Country,
    domain::{
        month::Month,
        traffic::{Counts, DAY_MS, HOUR_MS, Period},
    },
    services::traffic::{Report, Span, Sum, Tops, Used},
};

pub(in super::super) use self::plot::Plot;

/// Labels of a list on the page.
const LISTED: usize = 10;

/// The traffic of a site.
#[derive(Debug, Template)]
#[template(path = "sites/traffic.html")]
pub(in super::super) struct SiteTraffic {
    pub(in super::super) shell: Shell,
    pub(in super::super) crumbs: Vec<Crumb>,
    pub(in super::super) tabs: Vec<Tab>,
    pub(in super::super) name: String,
    pub(in super::super) lead: String,
    pub(in super::super) standing: Standing,
    /// Nothing where there are no figures at all.
    pub(in super::super) told: Option<Told>,
}

/// What there is to tell.
#[derive(Clone, Debug)]
pub(in super::super) struct Told {
    /// Word, address, and whether it is the one that is shown.
    pub(in super::super) choices: Vec<(&'static str, String, bool)>,
    pub(in super::super) figures: Vec<Figure>,
    pub(in super::super) plot: Plot,
    /// How much of the month's traffic is used, where the site has a budget.
    pub(in super::super) budget: Option<Budget>,
    /// The shares of answers.
    pub(in super::super) answers: Vec<Bar>,
    pub(in super::super) lists: Vec<List>,
}

/// A sum with what became of it.
#[derive(Clone, Debug)]
pub(in super::super) struct Figure {
    pub(in super::super) name: &'static str,
    pub(in super::super) value: String,
    /// `12 % more than in the 7 days before`.
    pub(in super::super) change: String,
}

/// How much of its traffic of a month a site has used.
#[derive(Clone, Debug)]
pub(in super::super) struct Budget {
    /// `62 GB of 100 GB are used in November`.
    pub(in super::super) text: String,
    /// Percent, for the drawing: at most 100.
    pub(in super::super) percent: u64,
    /// What one should know, from 80 % on.
    pub(in super::super) warning: Option<(&'static str, String)>,
}

/// A list of the most frequent.
#[derive(Clone, Debug)]
pub(in super::super) struct List {
    pub(in super::super) id: &'static str,
    pub(in super::super) title: &'static str,
    pub(in super::super) about: &'static str,
    /// What is said when there is nothing.
    pub(in super::super) nothing: &'static str,
    pub(in super::super) mono: bool,
    pub(in super::super) bars: Vec<Bar>,
    /// How many more there are.
    pub(in super::super) more: usize,
}

/// A label with a bar behind it.
#[derive(Clone, Debug)]
pub(in super::super) struct Bar {
    pub(in super::super) label: String,
    pub(in super::super) count: String,
    /// Thousandths of the whole width.
    pub(in super::super) width: u64,
    /// Whether it says that something is wrong.
    pub(in super::super) bad: bool,
}

#[derive(Default, Deserialize)]
pub(in super::super) struct Wanted {
    #[serde(default)]
    span: String,
}

/// A span that can be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Choice {
    /// By hours.
    Hours,
    /// By six hours.
    Week,
    /// By days.
    Days,
    /// By months.
    Months,
}

impl Choice {
    /// All of them, the shortest first.
    const ALL: [Self; 4] = [Self::Hours, Self::Week, Self::Days, Self::Months];

    /// The word in the address.
    const fn word(self) -> &'static str {
        match self {
            Self::Hours => "24h",
            Self::Week => "7d",
            Self::Days => "30d",
            Self::Months => "12m",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Hours => "24 hours",
            Self::Week => "7 days",
            Self::Days => "30 days",
            Self::Months => "12 months",
        }
    }

    /// What a column is.
    const fn column(self) -> &'static str {
        match self {
            Self::Hours => "hour",
            Self::Week => "6 hours",
            Self::Days => "day",
            Self::Months => "month",
        }
    }

    fn parse(word: &str) -> Self {
        Self::ALL.into_iter().find(|it| it.word() == word).unwrap_or(Self::Week)
    }

    /// The span that ends with what is under way.
    pub(in super::super) fn span(self, now_ms: i64) -> Span {
        let columns = |period: Period, end: i64, many: i64, length: i64| Span {
            period,
            bounds: (0..=many).map(|it| end.saturating_sub((many - it) * length)).collect(),
        };
        let tomorrow = Period::Day.start_of(now_ms).saturating_add(DAY_MS);
        match self {
            Self::Hours => columns(Period::Hour, Period::Hour.start_of(now_ms).saturating_add(HOUR_MS), 24, HOUR_MS),
            Self::Week => columns(Period::Hour, tomorrow, 28, 6 * HOUR_MS),
            Self::Days => columns(Period::Day, tomorrow, 30, DAY_MS),
            Self::Months => {
                let first = Month::of(now_ms).plus(-11);
                Span { period: Period::Day, bounds: (0..=12).map(|it| first.plus(it).start_ms()).collect() }
            }
        }
    }
}

/// The page.
pub(in super::super) async fn traffic(visit: Visit, Path(name): Path<String>, Asked(wanted): Asked<Wanted>) -> Answer {
    let (name, now) = (named(&name)?, visit.now_ms());
    let choice = Choice::parse(&wanted.span);
    let site = visit.services.get_site(&visit.actor, &name).await?;
    let report = visit.services.get_traffic(&visit.actor, &name, choice.span(now)).await?;
    show(&SiteTraffic {
        shell: visit.shell(Place::Sites).await?,
        crumbs: crumbs(Some(&name)),
        tabs: tabs(name.as_str(), "Traffic"),
        lead: lead(&report, choice),
        standing: Standing::of(&visit, &site.site),
        told: report.first_ms.map(|_| Told::of(name.as_str(), &report, choice, now)),
        name: name.to_string(),
    })
}

fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What the page says first.
pub(in super::super) fn lead(report: &Report, choice: Choice) -> String {
    if report.first_ms.is_none() {
        return String::from("Nothing was counted yet.");
    }
    let visits = words::count(int(report.total.visits), "visit", "visits");
    let requests = words::count(int(report.total.counts.requests), "request", "requests");
    format!("{visits} and {requests} in {}.", last(choice))
}

const fn last(choice: Choice) -> &'static str {
    match choice {
        Choice::Hours => "the last 24 hours",
        Choice::Week => "the last 7 days",
        Choice::Days => "the last 30 days",
        Choice::Months => "the last 12 months",
    }
}

impl Told {
    /// What a report says.
    pub(in super::super) fn of(name: &str, report: &Report, choice: Choice, now_ms: i64) -> Self {
        let choices = Choice::ALL
            .into_iter()
            .map(|it| (it.name(), format!("/sites/{name}/traffic?span={}", it.word()), it == choice));
        Self {
            choices: choices.collect(),
            figures: figures(report, choice, now_ms),
            plot: Plot::of(report, choice, now_ms),
            budget: report.used.map(|it| Budget::of(it, now_ms)),
            answers: answers(&report.total.counts),
            lists: lists(report),
        }
    }
}

fn figures(report: &Report, choice: Choice, now_ms: i64) -> Vec<Figure> {
    // A site that is new has no time before that could be compared.
    let since = report.first_ms.filter(|it| *it > report.before.start_ms);
    let figure = |name, value: String, of: fn(&Sum) -> u64| {
        let change = match since {
            Some(first) => format!("since {}", plot::day(first, now_ms)),
            None => change(of(&report.total), of(&report.before), choice),
        };
        Figure { name, value, change }
    };
    let number = |it: u64| words::thousands(int(it));
    let total = &report.total;
    vec![
        figure("Visits", number(total.visits), |it| it.visits),
        figure("Pages looked at", number(total.counts.pages), |it| it.counts.pages),
        figure("Requests", number(total.counts.requests), |it| it.counts.requests),
        figure("Sent", words::size(int(total.counts.bytes)), |it| it.counts.bytes),
    ]
}

/// A sum against the one before.
fn change(now: u64, before: u64, choice: Choice) -> String {
    let span = match choice {
        Choice::Hours => "24 hours",
        Choice::Week => "7 days",
        Choice::Days => "30 days",
        Choice::Months => "12 months",
    };
    if before == 0 {
        return if now == 0 {
            format!("none in the {span} before either")
        } else {
            format!("none in the {span} before")
        };
    }
    let percent = now.abs_diff(before).saturating_mul(100).saturating_add(before / 2) / before;
    match (percent, now >= before) {
        (0, _) => format!("as in the {span} before"),
        (200.., true) => {
            format!("{} times the {span} before", words::thousands(int(now.saturating_add(before / 2) / before)))
        }
        (percent, true) => format!("{percent} % more than in the {span} before"),
        (percent, false) => format!("{percent} % less than in the {span} before"),
    }
}

/// `91 GB were sent in November so far.`
pub(super) fn sent(bytes: u64, now_ms: i64) -> String {
    if bytes == 0 {
        return format!("Nothing was sent in {} so far.", plot::month(now_ms));
    }
    format!("{} were sent in {} so far.", words::size(int(bytes)), plot::month(now_ms))
}

impl Budget {
    /// What is to be said of it.
    pub(in super::super) fn of(used: Used, now_ms: i64) -> Self {
        let (sent, whole) = (words::size(int(used.sent)), words::size(int(used.budget)));
        let month = plot::month(now_ms);
        let permille = share(used.sent, used.budget);
        let ends = if used.stops {
            "Once it is used up, visitors get a page of the host with 503 until the month is over."
        } else {
            "Visitors are served all the same."
        };
        let now = if used.stops { "Visitors get a page of the host with 503." } else { ends };
        let warning = match permille {
            1_000.. => Some(("The traffic of this month is used up", String::from(now))),
            800.. => Some(("Most of the traffic of this month is used", String::from(ends))),
            _ => None,
        };
        let text = format!("{sent} of {whole} are used in {month}: {}.", percent(used.sent, used.budget));
        Self { text, percent: permille.div_ceil(10), warning }
    }
}

/// The share of something in thousandths.
fn share(part: u64, whole: u64) -> u64 {
    part.saturating_mul(1_000).checked_div(whole).unwrap_or(0).min(1_000)
}

/// `12.3 %`; what is there is never shown as nothing.
fn percent(part: u64, whole: u64) -> String {
    match share(part, whole) {
        0 if part > 0 => String::from("under 0.1 %"),
        995.. if part < whole => String::from("over 99 %"),
        it if it % 10 == 0 || it >= 100 => format!("{} %", (it + 5) / 10),
        it => format!("{}.{} %", it / 10, it % 10),
    }
}

fn answers(counts: &Counts) -> Vec<Bar> {
    let [found, elsewhere, wrong, broken] = counts.classes;
    let elsewhere = elsewhere.saturating_sub(counts.unchanged);
    let all = counts.requests;
    let bar = |label: &str, count: u64, bad: bool| Bar {
        label: label.to_owned(),
        count: format!("{} · {}", words::thousands(int(count)), percent(count, all)),
        width: share(count, all),
        bad: bad && count > 0,
    };
    vec![
        bar("Found (2xx)", found, false),
        bar("Unchanged, kept by the browser (304)", counts.unchanged, false),
        bar("Sent elsewhere (3xx)", elsewhere, false),
        bar("Not there, or refused (4xx)", wrong, false),
        bar("Failed on the server (5xx)", broken, true),
        bar("Asked for by programs", counts.bots, false),
    ]
}

fn lists(report: &Report) -> Vec<List> {
    let list = |id, title, about, nothing, mono, tops: &Tops| {
        let most = tops.first().map_or(0, |it| it.1);
        let bars = tops.iter().take(LISTED).map(|(label, count)| Bar {
            label: label.clone(),
            count: words::thousands(int(*count)),
            width: share(*count, most),
            bad: false,
        });
        List { id, title, about, nothing, mono, bars: bars.collect(), more: tops.len().saturating_sub(LISTED) }
    };
    let mut lists = vec![
        list("pages", "Pages", "Looked at most", "Nobody looked at a page.", true, &report.pages),
        list(
            "from",
            "Came from",
            "Sites with a link that was followed",
            "Nobody came by a link of another site.",
            false,
            &report.referrers,
        ),
        list(
            "missing",
            "Not found",
            "Asked for, and not there (404)",
            "Everything that people asked for was there.",
            true,
            &report.missing,
        ),
    ];
    // Where no database says them, nothing is missing.
    if !report.countries.is_empty() {
        let named = |(code, count): &(String, u64)| {
            (code.parse::<Country>().map_or(code.as_str(), |it| it.name()).to_owned(), *count)
        };
        let countries: Tops = report.countries.iter().map(named).collect();
        lists.push(list("countries", "Countries", "Pages looked at from there", "", false, &countries));
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_end_with_what_is_under_way() {
        // 24 November 2026, 06:00:31 UTC.
        let now = 1_795_500_031_999;
        for (choice, columns) in [(Choice::Hours, 24), (Choice::Week, 28), (Choice::Days, 30), (Choice::Months, 12)] {
            let span = choice.span(now);
            assert_eq!(span.bounds.len(), columns + 1);
            assert!(span.bounds.windows(2).all(|it| it[0] < it[1]));
            assert!(span.bounds.iter().all(|it| span.period.start_of(*it) == *it), "{choice:?}");
            let last = &span.bounds[columns - 1..];
            assert!(choice == Choice::Week || (last[0] <= now && now < last[1]), "{choice:?}");
            assert_eq!(Choice::parse(choice.word()), choice);
        }
        assert_eq!(Choice::parse("for ever"), Choice::Week);
    }

    #[test]
    fn changes_and_shares_are_said_as_they_are() {
        let all = [(0, 0), (3, 0), (112, 100), (40, 100), (100, 100), (700, 100)];
        assert_eq!(
            all.map(|(now, before)| change(now, before, Choice::Hours)),
            [
                "none in the 24 hours before either",
                "none in the 24 hours before",
                "12 % more than in the 24 hours before",
                "60 % less than in the 24 hours before",
                "as in the 24 hours before",
                "7 times the 24 hours before",
            ]
        );
        let shares = [(0, 0), (0, 5), (1, 100_000), (99_999, 100_000), (1, 80), (1, 3), (5, 5)];
        assert_eq!(
            shares.map(|(part, whole)| percent(part, whole)),
            ["0 %", "0 %", "under 0.1 %", "over 99 %", "1.2 %", "33 %", "100 %"]
        );
    }
}
