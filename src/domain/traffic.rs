//! What visitors of a site asked for, in sums: nothing here knows who anybody was.
//!
//! A sum is of one site and one minute, hour or day (UTC). Sums add up, sketches of visitors and lists of labels are joined, so that
//! several nodes can count the same site and none has to know of the others.

pub mod agent;
pub mod label;
pub mod sums;
pub mod tops;
pub mod visitors;

use super::{Error, Result};

/// A minute in milliseconds.
pub const MINUTE_MS: i64 = 60_000;
/// An hour.
pub const HOUR_MS: i64 = 60 * MINUTE_MS;
/// A day.
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// How long one row of sums is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// From the whole minute on.
    Minute,
    /// From the whole hour on.
    Hour,
    /// From midnight on, UTC.
    Day,
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// The stored word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Reads the stored word.
    pub fn parse(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|it| it.word() == word).ok_or_else(|| {
            Error::invalid("traffic_step", "Figures are there for each `minute`, `hour` or `day`: name one of them.")
                .on("step")
        })
    }

    /// How long it is.
    pub const fn length_ms(self) -> i64 {
        match self {
            Self::Minute => MINUTE_MS,
            Self::Hour => HOUR_MS,
            Self::Day => DAY_MS,
        }
    }

    /// The start of the one that a moment is in.
    pub const fn start_of(self, ms: i64) -> i64 {
        ms.saturating_sub(ms.rem_euclid(self.length_ms()))
    }
}

/// Sums of one site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers in all, to programs too.
    pub requests: u64,
    /// Pages that people looked at.
    pub pages: u64,
    /// Answers to programs: crawlers, monitors, scripts.
    pub bots: u64,
    /// Bytes of bodies that were sent.
    pub bytes: u64,
    /// Answers without a body, since the client had the file already (304).
    pub unchanged: u64,
    /// Answers by class of status: 2xx, 3xx, 4xx, 5xx.
    pub classes: [u64; 4],
}

impl Counts {
    /// Adds what another has.
    pub fn add(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.pages = self.pages.saturating_add(other.pages);
        self.bots = self.bots.saturating_add(other.bots);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.unchanged = self.unchanged.saturating_add(other.unchanged);
        for (sum, more) in self.classes.iter_mut().zip(other.classes) {
            *sum = sum.saturating_add(more);
        }
    }

    /// Counts one answer.
    pub fn count(&mut self, status: u16, bytes: u64, is_page: bool, is_bot: bool) {
        let class = usize::from(status / 100).checked_sub(2);
        let mut one = Self {
            requests: 1,
            pages: u64::from(is_page),
            bots: u64::from(is_bot),
            bytes,
            unchanged: u64::from(status == 304),
            classes: [0; 4],
        };
        if let Some(it) = class.and_then(|it| one.classes.get_mut(it)) {
            *it = 1;
        }
        self.add(&one);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_begin_on_whole_ones_also_before_1970() {
        assert_eq!(Period::Minute.start_of(119_999), 60_000);
        assert_eq!(Period::Hour.start_of(HOUR_MS), HOUR_MS);
        assert_eq!(Period::Day.start_of(-1), -DAY_MS);
        for period in Period::ALL {
            assert_eq!(Period::parse(period.word()).unwrap(), period);
        }
        assert_eq!(Period::parse("year").unwrap_err().code, "traffic_step");
    }

    #[test]
    fn answers_are_counted_once_in_their_class() {
        let mut counts = Counts::default();
        for (status, bytes) in [(200, 10), (304, 0), (404, 5), (503, 1), (99, 0), (700, 0)] {
            counts.count(status, bytes, status == 200, status == 404);
        }
        assert_eq!(counts.requests, 6);
        assert_eq!(counts.classes, [1, 1, 1, 1]);
        assert_eq!((counts.bytes, counts.pages, counts.bots, counts.unchanged), (16, 1, 1, 1));
        let mut twice = counts;
        twice.add(&counts);
        assert_eq!((twice.requests, twice.bytes, twice.classes), (12, 32, [2, 2, 2, 2]));
    }
}
