//! `/api/v1/sites/{name}/traffic`: what visitors of a site asked for, in sums.

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, ok},
    caller::{Caller, Params},
};
use crate::{
    base::clock::{self, rfc3339},
    domain::{
        Error, Result,
        site::SiteName,
        traffic::{DAY_MS, HOUR_MS, Period},
    },
    services::{
        Services,
        traffic::{Report, Span, Sum, Tops},
    },
};

#[derive(Deserialize)]
pub(super) struct TrafficQuery {
    from: Option<String>,
    to: Option<String>,
    step: Option<String>,
}

impl TrafficQuery {
    /// What is asked for: the last hour by minutes, day by hours, or month by days, unless it is said.
    fn span(&self, now_ms: i64) -> Result<Span> {
        let step = self.step.as_deref().map_or(Ok(Period::Hour), Period::parse)?;
        let usual = match step {
            Period::Minute => HOUR_MS,
            Period::Hour => DAY_MS,
            Period::Day => 30 * DAY_MS,
        };
        // The one that is under way counts too.
        let to = moment(self.to.as_deref(), "to")?.unwrap_or_else(|| step.start_of(now_ms) + step.length_ms());
        let from = moment(self.from.as_deref(), "from")?.unwrap_or_else(|| to.saturating_sub(usual));
        Span::of(step, from, to)
    }
}

fn moment(text: Option<&str>, field: &'static str) -> Result<Option<i64>> {
    let wrong = || {
        let example = "2026-11-24T06:00:00Z";
        Error::invalid("time", format!("`{field}` is a time such as `{example}`.")).on(field)
    };
    text.map(|it| clock::parse_rfc3339(it).ok_or_else(wrong)).transpose()
}

#[derive(Debug, Serialize)]
struct Traffic {
    step: &'static str,
    from: String,
    to: String,
    total: TrafficSum,
    before: TrafficSum,
    points: Vec<TrafficSum>,
    pages: Vec<TrafficLabel>,
    referrers: Vec<TrafficLabel>,
    missing: Vec<TrafficLabel>,
    countries: Vec<TrafficLabel>,
    since: Option<String>,
}

#[derive(Debug, Serialize)]
struct TrafficSum {
    at: String,
    requests: u64,
    pages: u64,
    visits: Option<u64>,
    bots: u64,
    bytes: u64,
    unchanged: u64,
    status_2xx: u64,
    status_3xx: u64,
    status_4xx: u64,
    status_5xx: u64,
}

#[derive(Debug, Serialize)]
struct TrafficLabel {
    label: String,
    count: u64,
}

impl TrafficSum {
    fn new(it: &Sum, knows_visits: bool) -> Self {
        let [status_2xx, status_3xx, status_4xx, status_5xx] = it.counts.classes;
        Self {
            at: rfc3339(it.start_ms),
            requests: it.counts.requests,
            pages: it.counts.pages,
            visits: knows_visits.then_some(it.visits),
            bots: it.counts.bots,
            bytes: it.counts.bytes,
            unchanged: it.counts.unchanged,
            status_2xx,
            status_3xx,
            status_4xx,
            status_5xx,
        }
    }
}

impl Traffic {
    fn new(it: Report) -> Self {
        let labels = |tops: Tops| tops.into_iter().map(|(label, count)| TrafficLabel { label, count }).collect();
        let bounds = &it.span.bounds;
        Self {
            step: it.span.period.word(),
            from: rfc3339(bounds.first().copied().unwrap_or(0)),
            to: rfc3339(bounds.last().copied().unwrap_or(0)),
            total: TrafficSum::new(&it.total, true),
            before: TrafficSum::new(&it.before, true),
            points: it.columns.iter().map(|sum| TrafficSum::new(sum, it.span.period != Period::Minute)).collect(),
            pages: labels(it.pages),
            referrers: labels(it.referrers),
            missing: labels(it.missing),
            countries: labels(it.countries),
            since: it.first_ms.map(rfc3339),
        }
    }
}

pub(super) async fn get(
    State(services): State<Services>,
    Caller(actor, _): Caller,
    Path(name): Path<String>,
    Params(query): Params<TrafficQuery>,
) -> Answer {
    let span = query.span(services.clock.now_ms())?;
    ok(&Traffic::new(services.get_traffic(&actor, &SiteName::parse(&name)?, span).await?))
}
