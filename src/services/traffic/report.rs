//! What is told of a site's traffic: sums in columns of a span, with the span before it, and the most frequent labels.

use crate::{
    base::limits,
    domain::{
        Error, Result,
        access::{Actor, Right, TenantScope},
        site::{SiteId, SiteName},
        site_settings::{SiteSettings, traffic::WhenUsedUp},
        traffic::{
            Counts, DAY_MS, HOUR_MS, Period,
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
    /// The whole span. Visits of minutes are those of the hours that they are of, and no more than the pages.
    pub total: Sum,
    /// The span of the same length before it; of one that is not over, as much as has passed of it.
    pub before: Sum,
    /// Paths of pages.
    pub pages: Tops,
    /// Hosts that led here.
    pub referrers: Tops,
    /// Paths that are not there.
    pub missing: Tops,
    /// Countries that people looked at pages from, by their codes; none where no database says them.
    pub countries: Tops,
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

    /// Bytes that a site has sent in the month that is under way.
    pub async fn get_sent_in_month(&self, actor: &Actor, name: &SiteName) -> Result<u64> {
        let scope = actor.require(Right::Read)?;
        let (name, now) = (name.clone(), self.clock.now_ms());
        let read = move |tx: &mut ReadTx<'_>| {
            let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
            super::budget::sent_in_month(tx, scope, site.id, now)
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
        let whole_days = (Period::Day.start_of(before_ms), to_ms);
        let days = store::traffic::list(tx, scope, site, Period::Day, whole_days)?;
        let sketches = store::traffic::list_hours(tx, scope, site, (Period::Hour.start_of(before_ms), to_ms))?;
        let by_hours = span.period == Period::Hour;
        let hours: Vec<Sum> = earlier.iter().chain(&rows).filter(|_| by_hours).copied().collect();
        let known = Known { days: &days, hours: &hours, sketches: &sketches, now };
        for (column, bounds) in columns.iter_mut().zip(span.bounds.windows(2)).filter(|_| by_hours) {
            column.visits = known.visits((column.start_ms, bounds.last().copied().unwrap_or(column.start_ms)));
        }
        total.visits = known.visits((from_ms, to_ms));
        before.visits = known.visits((before_ms, passed_ms));
        if !by_hours {
            total.visits = total.visits.min(total.counts.pages);
            before.visits = before.visits.min(before.counts.pages);
        }
    }
    let [pages, referrers, missing, countries] = lists(tx, scope, site, span, now)?;
    let first_ms = store::traffic::find_first(tx, scope, site)?;
    let used = used(tx, scope, site, now)?;
    Ok(Report { span: span.clone(), columns, total, before, pages, referrers, missing, countries, first_ms, used })
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

/// What is known of visitors of a site.
struct Known<'a> {
    days: &'a [Sum],
    /// The sums of hours, by time; none where minutes are told.
    hours: &'a [Sum],
    /// The sketches of hours, by time, of the last days.
    sketches: &'a [(i64, Visitors)],
    now: i64,
}

impl Known<'_> {
    /// Different visitors of a span, where those of each day are others: each day has a salt of its own. So whole days are in their rows,
    /// which are kept for long, and sketches tell of parts of days.
    fn visits(&self, (from_ms, to_ms): (i64, i64)) -> u64 {
        let first = self.days.partition_point(|it| it.start_ms.saturating_add(DAY_MS) <= from_ms);
        let days = self.days.get(first..).unwrap_or_default();
        days.iter().take_while(|it| it.start_ms < to_ms).map(|day| self.visits_of(day, (from_ms, to_ms))).sum()
    }

    fn visits_of(&self, day: &Sum, (from_ms, to_ms): (i64, i64)) -> u64 {
        let end_ms = day.start_ms.saturating_add(DAY_MS);
        if from_ms <= day.start_ms && (to_ms >= end_ms || to_ms > self.now) {
            return day.visits;
        }
        // Nobody knows at which minutes of an hour its visitors came.
        let (from_ms, to_ms) = (Period::Hour.start_of(from_ms).max(day.start_ms), to_ms.min(end_ms));
        let sketches = between(self.sketches, |it| it.0, (from_ms, to_ms));
        let hours = between(self.hours, |it| it.start_ms, (from_ms, to_ms));
        let has = |it: &Sum| sketches.binary_search_by_key(&it.start_ms, |sketch| sketch.0).is_ok();
        if hours.iter().all(|it| it.visits == 0 || has(it)) {
            let mut joined = Visitors::default();
            for (_, sketch) in sketches {
                joined.join(sketch);
            }
            return joined.estimate();
        }
        // Whoever came in two hours is in both, and nobody more than in the day.
        hours.iter().map(|it| it.visits).sum::<u64>().min(day.visits)
    }
}

/// Those of a list by time that are from one moment on and before another.
fn between<T>(list: &[T], time: impl Fn(&T) -> i64, (from_ms, to_ms): (i64, i64)) -> &[T] {
    let (first, end) = (list.partition_point(|it| time(it) < from_ms), list.partition_point(|it| time(it) < to_ms));
    list.get(first..end).unwrap_or_default()
}

fn lists(tx: &mut ReadTx<'_>, scope: TenantScope, site: SiteId, span: &Span, now: i64) -> Result<[Tops; 4]> {
    // Hours, as long as they are kept; else whole days.
    let hourly =
        span.period != Period::Day && now.saturating_sub(span.begin_ms()) <= limits::TRAFFIC_MINUTES_KEPT_MS - HOUR_MS;
    let period = if hourly { Period::Hour } else { Period::Day };
    let range = (period.start_of(span.begin_ms()), span.end_ms());
    let mut found: [Vec<Tops>; 4] = Default::default();
    for (word, labels) in store::traffic::list_tops(tx, scope, site, period, range)? {
        let at = Kind::ALL.iter().position(|it| it.word() == word);
        if let Some(lists) = at.and_then(|it| found.get_mut(it)) {
            lists.push(tops::certain(labels));
        }
    }
    Ok(found.map(|it| tops::join(it, LABELS_TOLD)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::traffic::MINUTE_MS;

    #[test]
    fn visits_of_whole_days_are_those_of_their_rows_and_parts_of_days_are_in_sketches() {
        let sum = |start_ms, visits| Sum { visits, ..empty(start_ms) };
        let sketch = |hour: i64, hashes: std::ops::Range<u32>| {
            let mut visitors = Visitors::default();
            hashes.for_each(|it| visitors.insert(it));
            (hour * HOUR_MS, visitors)
        };
        // Fourteen days of 100 visitors; the sketches of the last two are there: of hour 12, 60 people, and of hour 13, 60 with 20 of those.
        let days: Vec<Sum> = (0..14).map(|it| sum(it * DAY_MS, 100)).collect();
        let hours: Vec<Sum> =
            (0..14).flat_map(|it| [12, 13].map(|hour| sum(it * DAY_MS + hour * HOUR_MS, 60))).collect();
        let sketches = [sketch(300, 0..60), sketch(301, 40..100), sketch(324, 200..260), sketch(325, 240..300)];
        let known = Known { days: &days, hours: &hours, sketches: &sketches, now: 13 * DAY_MS + 14 * HOUR_MS };
        assert_eq!(known.visits((7 * DAY_MS, 14 * DAY_MS)), 700);
        assert_eq!(known.visits((0, 7 * DAY_MS)), 700, "as many days before are compared");
        assert_eq!(known.visits((0, 6 * DAY_MS + 13 * HOUR_MS)), 660, "of the last one, as much as has passed");
        assert_eq!(known.visits((0, 6 * DAY_MS + 14 * HOUR_MS)), 700, "both hours have no more than the day");
        assert_eq!(known.visits((12 * DAY_MS + 13 * HOUR_MS, 13 * DAY_MS + 13 * HOUR_MS)), 60 + 60);
        assert_eq!(known.visits((12 * DAY_MS + HOUR_MS, 12 * DAY_MS + 14 * HOUR_MS)), 100);
        assert_eq!(known.visits((13 * DAY_MS, 13 * DAY_MS + 15 * HOUR_MS)), 100, "the day that is under way");
        let by_minutes = Known { hours: &[], ..known };
        let at = |minute: i64| 13 * DAY_MS + 13 * HOUR_MS + minute * MINUTE_MS;
        assert_eq!(by_minutes.visits((at(-30), at(30))), 100, "both hours that minutes are of");
        assert_eq!(by_minutes.visits((at(30), at(90))), 60);
        assert_eq!(by_minutes.visits((at(60), at(90))), 0);
        assert_eq!(known.visits((20 * DAY_MS, 21 * DAY_MS)), 0);
    }

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
