//! What is told of a site's traffic: sums in columns of a span, with the span before it, and the most frequent labels.

use std::collections::BTreeMap;

use crate::{
    base::limits,
    domain::{
        Error, Result,
        access::{Actor, Right, TenantScope},
        site::{SiteId, SiteName},
        site_settings::{SiteSettings, traffic::WhenUsedUp},
        traffic::{
            Counts, HOUR_MS, Period,
            tops::{self, Kind},
            visitors::Visitors,
        },
    },
    ports::db::ReadTx,
    store::{self, traffic::Sum},
};

use super::Services;

/// Labels of a list that are told.
const LABELS_TOLD: usize = 50;

/// A span of time in columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The rows that the columns are made of.
    pub period: Period,
    /// Where columns begin, and where the last one ends; whole periods.
    pub bounds: Vec<i64>,
}

/// The most frequent labels of one kind.
pub type Tops = Vec<(String, u64)>;

/// What is told of a span.
#[derive(Clone, Debug)]
pub struct Report {
    /// The span.
    pub span: Span,
    /// A sum for each column. Of minutes the visits are not known, and 0.
    pub columns: Vec<Sum>,
    /// The whole span.
    pub total: Sum,
    /// The span of the same length before it; of one that is not over, as much as has passed of it.
    pub before: Sum,
    /// Paths of pages.
    pub pages: Tops,
    /// Hosts that led here.
    pub referrers: Tops,
    /// Paths that are not there.
    pub missing: Tops,
    /// The day from which on there are figures; `None`: there are none at all.
    pub first_ms: Option<i64>,
    /// How much of its traffic of this month the site has used, where it has a budget.
    pub used: Option<Used>,
}

/// A part of a traffic budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Bytes sent in the month that is under way.
    pub sent: u64,
    /// Bytes that may be.
    pub budget: u64,
    /// Whether visitors get nothing once that is used up.
    pub stops: bool,
}

impl Span {
    /// Columns of one period each, which cover what is between two moments.
    pub fn of(period: Period, from_ms: i64, to_ms: i64) -> Result<Self> {
        let (first, length) = (period.start_of(from_ms), period.length_ms());
        if to_ms <= from_ms {
            return Err(Error::invalid("traffic_span", "The span has to end after it begins: change `from` or `to`.")
                .on("from"));
        }
        let many =
            usize::try_from(to_ms.saturating_sub(first).saturating_add(length - 1) / length).unwrap_or(usize::MAX);
        if many > limits::TRAFFIC_POINTS_MAX {
            let text = format!(
                "That would be more than {} figures: ask for a shorter span, or for a longer step.",
                limits::TRAFFIC_POINTS_MAX
            );
            return Err(Error::invalid("traffic_points", text).on("step"));
        }
        let bounds = (0..=i64::try_from(many).unwrap_or(0)).map(|it| first.saturating_add(it * length)).collect();
        Ok(Self { period, bounds })
    }

    fn begin_ms(&self) -> i64 {
        self.bounds.first().copied().unwrap_or(0)
    }

    fn end_ms(&self) -> i64 {
        self.bounds.last().copied().unwrap_or(0)
    }

    /// The column of a moment.
    fn column(&self, ms: i64) -> Option<usize> {
        let after = self.bounds.partition_point(|it| *it <= ms);
        (after < self.bounds.len()).then(|| after.checked_sub(1)).flatten()
    }
}

impl Services {
    /// The traffic of a site.
    pub async fn get_traffic(&self, actor: &Actor, name: &SiteName, span: Span) -> Result<Report> {
        let scope = actor.require(Right::Read)?;
        let (name, now) = (name.clone(), self.clock.now_ms());
        let read = move |tx: &mut ReadTx<'_>| {
            let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
            report(tx, scope, site.id, &span, now)
        };
        self.db.read_near(scope, read).await
    }
}

fn report(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, span: &Span, now: i64) -> Result<Report> {
    let (from_ms, to_ms) = (span.begin_ms(), span.end_ms());
    let before_ms = from_ms.saturating_sub(to_ms - from_ms);
    // Of what is under way, as much is compared as has passed.
    let passed_ms = before_ms.saturating_add(now.clamp(from_ms, to_ms) - from_ms);
    let rows = store::traffic::list(tx, scope, site, span.period, (from_ms, to_ms))?;
    let earlier = store::traffic::list(tx, scope, site, coarse(span, before_ms, now), (before_ms, passed_ms))?;
    let mut columns: Vec<Sum> =
        span.bounds.iter().take(span.bounds.len().saturating_sub(1)).map(|it| empty(*it)).collect();
    for row in &rows {
        if let Some(column) = span.column(row.start_ms).and_then(|it| columns.get_mut(it)) {
            column.counts.add(&row.counts);
            column.visits = column.visits.saturating_add(row.visits);
        }
    }
    let mut total = empty(from_ms);
    for it in &columns {
        total.counts.add(&it.counts);
    }
    let mut before = empty(before_ms);
    for it in &earlier {
        before.counts.add(&it.counts);
    }
    if span.period == Period::Day {
        total.visits = columns.iter().map(|it| it.visits).sum();
        before.visits = earlier.iter().map(|it| it.visits).sum();
    } else {
        let sketches = store::traffic::list_hours(tx, scope, site, (before_ms, to_ms))?;
        tell_visitors(span, passed_ms, &sketches, (&mut columns, &mut total, &mut before));
    }
    let (pages, referrers, missing) = lists(tx, scope, site, span, now)?;
    let first_ms = store::traffic::find_first(tx, scope, site)?;
    let used = used(tx, scope, site, now)?;
    Ok(Report { span: span.clone(), columns, total, before, pages, referrers, missing, first_ms, used })
}

fn used(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, now: i64) -> Result<Option<Used>> {
    let Some(document) = store::site_settings::find(tx, scope, site)? else { return Ok(None) };
    // Settings that cannot be read are told where they are shown.
    let Ok(SiteSettings { traffic, .. }) = SiteSettings::parse(&document) else { return Ok(None) };
    let Some(budget) = traffic.budget_bytes else { return Ok(None) };
    let sent = super::budget::sent_in_month(tx, scope, site, now)?;
    Ok(Some(Used { sent, budget, stops: traffic.when_used_up == WhenUsedUp::Stop }))
}

const fn empty(start_ms: i64) -> Sum {
    let counts = Counts { requests: 0, pages: 0, bots: 0, bytes: 0, unchanged: 0, classes: [0; 4] };
    Sum { start_ms, counts, visits: 0 }
}

/// The rows that tell of what was before: minutes of that may be gone.
fn coarse(span: &Span, before_ms: i64, now: i64) -> Period {
    let whole = |length: i64| before_ms.rem_euclid(length) == 0 && span.begin_ms().rem_euclid(length) == 0;
    let gone = now.saturating_sub(before_ms) > limits::TRAFFIC_MINUTES_KEPT_MS - HOUR_MS;
    match span.period {
        Period::Minute if gone && whole(HOUR_MS) => Period::Hour,
        other => other,
    }
}

/// Different visitors of each column, of the span and of the one before, from the sketches of hours. Where those are gone, what the rows
/// of the columns say stays, and the whole is the sum.
fn tell_visitors(
    span: &Span,
    passed_ms: i64,
    sketches: &[(i64, Visitors)],
    (columns, total, before): (&mut [Sum], &mut Sum, &mut Sum),
) {
    let mut joined: BTreeMap<usize, Visitors> = BTreeMap::new();
    let (mut of_span, mut of_before) = (Visitors::default(), Visitors::default());
    for (start_ms, sketch) in sketches {
        if *start_ms < span.begin_ms() {
            if *start_ms < passed_ms {
                of_before.join(sketch);
            }
            continue;
        }
        of_span.join(sketch);
        if let (Some(column), Period::Hour) = (span.column(*start_ms), span.period) {
            joined.entry(column).or_default().join(sketch);
        }
    }
    let told: u64 = columns.iter().map(|it| it.visits).sum();
    for (column, visitors) in joined {
        if let Some(it) = columns.get_mut(column) {
            it.visits = visitors.estimate();
        }
    }
    total.visits = if of_span.is_empty() { told } else { of_span.estimate() };
    before.visits = of_before.estimate();
}

fn lists(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, span: &Span, now: i64) -> Result<(Tops, Tops, Tops)> {
    // Hours, as long as they are kept; else whole days.
    let hourly =
        span.period != Period::Day && now.saturating_sub(span.begin_ms()) <= limits::TRAFFIC_MINUTES_KEPT_MS - HOUR_MS;
    let period = if hourly { Period::Hour } else { Period::Day };
    let range = (period.start_of(span.begin_ms()), span.end_ms());
    let mut found: [Vec<Tops>; 3] = Default::default();
    for (word, labels) in store::traffic::list_tops(tx, scope, site, period, range)? {
        let at = Kind::ALL.iter().position(|it| it.word() == word);
        if let Some(lists) = at.and_then(|it| found.get_mut(it)) {
            lists.push(labels);
        }
    }
    let [pages, referrers, missing] = found.map(|it| tops::join(it, LABELS_TOLD));
    Ok((pages, referrers, missing))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::traffic::{DAY_MS, MINUTE_MS};

    #[test]
    fn a_span_is_of_whole_periods_and_bounded() {
        let span = Span::of(Period::Hour, HOUR_MS + 5, 3 * HOUR_MS).unwrap();
        assert_eq!(span.bounds, [HOUR_MS, 2 * HOUR_MS, 3 * HOUR_MS]);
        let at = [0, HOUR_MS, 2 * HOUR_MS - 1, 2 * HOUR_MS, 3 * HOUR_MS].map(|it| span.column(it));
        assert_eq!(at, [None, Some(0), Some(0), Some(1), None]);
        assert_eq!(Span::of(Period::Day, 5, 5).unwrap_err().code, "traffic_span");
        assert_eq!(Span::of(Period::Minute, 0, 2 * DAY_MS).unwrap_err().code, "traffic_points");
        assert_eq!(Span::of(Period::Minute, i64::MIN, i64::MAX).unwrap_err().code, "traffic_points");
        assert_eq!(Span::of(Period::Minute, 0, DAY_MS).unwrap().bounds.len(), 1_441);
        assert_eq!(Span::of(Period::Minute, 0, MINUTE_MS + 1).unwrap().bounds.len(), 3);
    }
}
