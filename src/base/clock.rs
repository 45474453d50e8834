//! The time of day, passed in, so that tests own it.
//!
//! Only this file reads the system's clock. Never used to measure a duration: that is
//! `tokio::time::Instant`.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

/// Where the time of day comes from: the system, or a test.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    /// The system's, off by so much.
    Wrong(Arc<AtomicI64>),
    Manual(Arc<AtomicI64>),
}

/// Moves a clock. Made by [`Clock::manual`] and [`Clock::wrong`].
#[derive(Clone, Debug)]
pub struct Hands(Arc<AtomicI64>);

impl Clock {
    /// The clock of this machine.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `start_ms` until its hands are moved.
    pub fn manual(start_ms: i64) -> (Self, Hands) {
        let shared = Arc::new(AtomicI64::new(start_ms));
        (Self(Source::Manual(Arc::clone(&shared))), Hands(shared))
    }

    /// The clock of a machine that is `by_ms` ahead; its hands set it.
    pub fn wrong(by_ms: i64) -> (Self, Hands) {
        let shared = Arc::new(AtomicI64::new(by_ms));
        (Self(Source::Wrong(Arc::clone(&shared))), Hands(shared))
    }

    /// Whether it stands until somebody moves it.
    pub const fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the system's clock")]
    pub fn now_ms(&self) -> i64 {
        match &self.0 {
            Source::System => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                since.map_or(0, |it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX))
            }
            Source::Wrong(by) => Self::system().now_ms().saturating_add(by.load(Ordering::SeqCst)),
            Source::Manual(at) => at.load(Ordering::SeqCst),
        }
    }

    /// The same, some milliseconds ago: as the system notes it with each of its ticks, which costs less to read. For what is asked with
    /// each request.
    pub fn about_ms(&self) -> i64 {
        match &self.0 {
            Source::System => {
                let at = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
                at.tv_sec.saturating_mul(1_000).saturating_add(at.tv_nsec / 1_000_000)
            }
            Source::Wrong(_) | Source::Manual(_) => self.now_ms(),
        }
    }
}

/// Milliseconds since some moment, as of the system's last tick: for limits that are asked about with every byte, and no measure.
pub fn ticks_ms() -> u64 {
    let at = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    u64::try_from(at.tv_sec.saturating_mul(1_000).saturating_add(at.tv_nsec / 1_000_000)).unwrap_or(0)
}

impl Hands {
    /// Moves the clock by `by_ms`, which may be negative.
    pub fn advance(&self, by_ms: i64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

/// RFC 3339 in UTC with seconds, as the API shows times: `2026-11-24T06:00:31Z`.
pub fn rfc3339(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms.div_euclid(1000) * 1000)
        .map_or_else(|_| String::from("out of range"), |it| it.to_string())
}

/// The milliseconds of a time as [`rfc3339`] writes it, with any offset; `None` for other text.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_only_by_its_hands() {
        let (clock, hands) = Clock::manual(1_000);
        assert_eq!(clock.now_ms(), 1_000);
        hands.advance(-200);
        assert_eq!(clock.now_ms(), 800);
    }

    #[test]
    fn times_are_shown_in_utc_with_seconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_795_500_031_999), "2026-11-24T06:00:31Z");
        assert_eq!(parse_rfc3339("2026-11-24T07:00:31+01:00"), Some(1_795_500_031_000));
        assert_eq!([parse_rfc3339("yesterday"), parse_rfc3339("2026-11-24")], [None, None]);
    }
}
