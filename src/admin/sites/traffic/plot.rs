//! Two plots over one axis of time: visits above, requests below, and the figures of each column in words.

use super::{
    super::super::words::{self, thousands},
    Choice, int,
};
use crate::{base::clock::rfc3339, services::traffic::Report};

/// How wide a column is drawn, and how high a plot: the drawing stretches.
const WIDTH: u64 = 10;
const HEIGHT: u64 = 100;
/// The width of a bar in its column.
const BAR: u64 = 7;

/// Both plots.
#[derive(Clone, Debug)]
pub(in super::super::super) struct Plot {
    /// What a column is: `hour`.
    pub(in super::super::super) column: &'static str,
    /// The width of the drawing.
    pub(in super::super::super) width: u64,
    pub(in super::super::super) visits: Series,
    pub(in super::super::super) requests: Series,
    /// What stands below, in cells of the same width.
    pub(in super::super::super) axis: Vec<String>,
    pub(in super::super::super) columns: Vec<Column>,
}

/// One plot.
#[derive(Clone, Debug)]
pub(in super::super::super) struct Series {
    /// What is seen, in a sentence.
    pub(in super::super::super) title: String,
    /// The labels of the axis, the highest first.
    pub(in super::super::super) axis: [String; 3],
    pub(in super::super::super) bars: Vec<Rect>,
    /// The failed among them.
    pub(in super::super::super) bad: Vec<Rect>,
}

/// A bar, as drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super::super) struct Rect {
    pub(in super::super::super) x: u64,
    pub(in super::super::super) y: u64,
    pub(in super::super::super) width: u64,
    pub(in super::super::super) height: u64,
}

/// A column in words.
#[derive(Clone, Debug)]
pub(in super::super::super) struct Column {
    /// `Tue 24 November, 14:00`.
    pub(in super::super::super) when: String,
    /// In words, for who points at it: visits, requests, bytes.
    pub(in super::super::super) words: [String; 3],
    pub(in super::super::super) visits: String,
    pub(in super::super::super) pages: String,
    pub(in super::super::super) requests: String,
    pub(in super::super::super) sent: String,
    pub(in super::super::super) failed: String,
    /// On which side of the column its words stand: `start`, `mid` or `end`.
    pub(in super::super::super) side: &'static str,
    /// Whether it is to come yet.
    pub(in super::super::super) ahead: bool,
}

impl Plot {
    pub(super) fn of(report: &Report, choice: Choice, now_ms: i64) -> Self {
        let many = report.columns.len();
        let values = |of: fn(&crate::services::traffic::Sum) -> u64| report.columns.iter().map(of).collect::<Vec<_>>();
        let (visits, requests) = (values(|it| it.visits), values(|it| it.counts.requests));
        let failed = values(|it| it.counts.classes.last().copied().unwrap_or(0));
        let title = |what: &str, series: &[u64]| {
            let highest = series.iter().zip(&report.columns).max_by_key(|it| it.0);
            let most = highest.filter(|it| *it.0 > 0).map_or_else(String::new, |(most, column)| {
                format!(", at most {} ({})", thousands(int(*most)), moment(column.start_ms, choice, now_ms))
            });
            format!("{what} by {}{most}", choice.column())
        };
        let columns = report.columns.iter().enumerate().map(|(at, it)| Column {
            when: moment(it.start_ms, choice, now_ms),
            words: [
                words::count(int(it.visits), "visit", "visits"),
                words::count(int(it.counts.requests), "request", "requests"),
                words::size(int(it.counts.bytes)),
            ],
            visits: thousands(int(it.visits)),
            pages: thousands(int(it.counts.pages)),
            requests: thousands(int(it.counts.requests)),
            sent: words::size(int(it.counts.bytes)),
            failed: thousands(int(it.counts.classes.iter().skip(2).sum())),
            side: match at * 3 {
                it if it < many => "start",
                it if it < many * 2 => "mid",
                _ => "end",
            },
            ahead: it.start_ms > now_ms,
        });
        Self {
            column: choice.column(),
            width: WIDTH.saturating_mul(u64::try_from(many).unwrap_or(1)),
            visits: Series::of(title("Visits", &visits), &visits, &[]),
            requests: Series::of(title("Requests", &requests), &requests, &failed),
            axis: axis(&report.span.bounds, choice),
            columns: columns.collect(),
        }
    }

    /// The drawing's box.
    pub(in super::super::super) fn view(&self) -> String {
        format!("0 0 {} {HEIGHT}", self.width)
    }
}

impl Series {
    fn of(title: String, values: &[u64], failed: &[u64]) -> Self {
        let top = round_up(values.iter().copied().max().unwrap_or(0));
        let draw = |series: &[u64]| {
            let rects = series.iter().zip(0_u64..).filter(|it| *it.0 > 0).map(|(value, at)| {
                // Something is never drawn as nothing.
                let height = (value.saturating_mul(HEIGHT) / top).clamp(1, HEIGHT);
                Rect { x: at * WIDTH + (WIDTH - BAR) / 2, y: HEIGHT - height, width: BAR, height }
            });
            rects.collect()
        };
        let axis = [top, top / 2, 0].map(|it| thousands(int(it)));
        Self { title, axis, bars: draw(values), bad: draw(failed) }
    }
}

/// The next number that reads well, and can be halved: 2, 4, 10, 20, 40, 60, 80, 100, 200 …
fn round_up(value: u64) -> u64 {
    let mut unit = 1_u64;
    loop {
        let fitting = [2, 4, 6, 8, 10].into_iter().map(|it| unit.saturating_mul(it)).find(|it| *it >= value);
        if let Some(it) = fitting {
            return it;
        }
        unit = unit.saturating_mul(10);
    }
}

/// The labels below: of the first column of each cell.
fn axis(bounds: &[i64], choice: Choice) -> Vec<String> {
    let step = match choice {
        Choice::Hours | Choice::Week => 4,
        Choice::Days => 5,
        Choice::Months => 2,
    };
    let starts = bounds.iter().take(bounds.len().saturating_sub(1)).step_by(step);
    let label = |ms: &i64| match choice {
        Choice::Hours => time(*ms),
        Choice::Week => weekday(*ms).to_owned(),
        Choice::Days => short_day(*ms),
        Choice::Months => month(*ms).get(..3).unwrap_or_default().to_owned(),
    };
    starts.map(label).collect()
}

/// When a column begins, in words.
fn moment(ms: i64, choice: Choice, now_ms: i64) -> String {
    let date = || format!("{} {}", weekday(ms), day(ms, now_ms));
    match choice {
        Choice::Hours | Choice::Week => format!("{}, {}", date(), time(ms)),
        Choice::Days => date(),
        Choice::Months => format!("{} {}", month(ms), rfc3339(ms).get(..4).unwrap_or_default()),
    }
}

/// `14:00`.
fn time(ms: i64) -> String {
    words::time_of_day(ms).get(..5).unwrap_or_default().to_owned()
}

/// `24 November`, with the year when it is another one.
pub(super) fn day(ms: i64, now_ms: i64) -> String {
    words::day(ms, now_ms)
}

/// `24 Nov`.
fn short_day(ms: i64) -> String {
    let text = words::day(ms, ms);
    let (day, month) = text.split_once(' ').unwrap_or((&text, ""));
    format!("{day} {}", month.get(..3).unwrap_or(month))
}

/// `November`.
pub(super) fn month(ms: i64) -> String {
    let text = words::day(ms, ms);
    text.split_once(' ').map_or(text.clone(), |it| it.1.to_owned())
}

fn weekday(ms: i64) -> &'static str {
    const NAMES: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let at = ms.div_euclid(crate::domain::traffic::DAY_MS).rem_euclid(7);
    usize::try_from(at).ok().and_then(|it| NAMES.get(it)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_numbers_that_read_well() {
        let tops = [0, 1, 2, 3, 9, 10, 11, 99, 101, 4_321, u64::MAX].map(round_up);
        assert_eq!(tops, [2, 2, 2, 4, 10, 10, 20, 100, 200, 6_000, u64::MAX]);
    }

    #[test]
    fn bars_stand_on_the_ground_and_nothing_is_out_of_the_drawing() {
        let series = Series::of(String::new(), &[0, 1, 500, 1_000], &[0, 0, 250, 0]);
        assert_eq!(series.axis, ["1,000", "500", "0"]);
        let heights: Vec<(u64, u64)> = series.bars.iter().map(|it| (it.x, it.height)).collect();
        assert_eq!(heights, [(11, 1), (21, 50), (31, 100)]);
        assert!(series.bars.iter().chain(&series.bad).all(|it| it.y + it.height == HEIGHT));
        assert_eq!(series.bad, [Rect { x: 21, y: 75, width: 7, height: 25 }]);
    }

    #[test]
    fn times_are_said_in_utc() {
        // Tuesday, 24 November 2026, 06:00:31.
        let at = 1_795_500_031_999;
        assert_eq!(moment(at, Choice::Hours, at), "Tue 24 November, 06:00");
        assert_eq!(moment(at, Choice::Days, at), "Tue 24 November");
        assert_eq!(moment(at, Choice::Months, at), "November 2026");
        assert_eq!(short_day(at), "24 Nov");
        assert_eq!((weekday(0), weekday(-1)), ("Thu", "Wed"));
    }
}
