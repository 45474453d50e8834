//! The time of day as the Redis of the queues has it: all who share them count by its clock, so that rates, delays and ages hold
//! between machines whose clocks differ, and when one of these is set.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::clock::Clock;

/// From such a difference on somebody should set a clock.
const TOLD_MS: i64 = 5_000;

/// What the clock of Redis says, as far as it was asked; until then, what that of this machine says. One that a test moves is followed
/// as it is.
#[derive(Debug)]
pub(super) struct Time {
    clock: Clock,
    /// What it was, and when. From there on it is counted on.
    known: Option<(i64, Instant)>,
    was_told: bool,
}

impl Time {
    /// Not asked yet.
    pub(super) const fn new(clock: Clock) -> Self {
        Self { clock, known: None, was_told: false }
    }

    /// Milliseconds since 1970, by the clock of Redis.
    pub(super) fn now_ms(&self) -> i64 {
        self.known.map_or_else(|| self.clock.now_ms(), |(at_ms, at)| at_ms.saturating_add(whole_ms(at.elapsed())))
    }

    /// How far the clock of Redis is ahead of ours now.
    pub(super) fn ahead_ms(&self) -> i64 {
        self.now_ms().saturating_sub(self.clock.now_ms())
    }

    /// Asks Redis for its time.
    pub(super) fn ask<E>(&mut self, redis: &str, theirs_ms: impl FnOnce() -> Result<i64, E>) -> Result<(), E> {
        if self.clock.is_manual() {
            return Ok(());
        }
        let asked = Instant::now();
        let theirs_ms = theirs_ms()?;
        self.note(asked, theirs_ms, Instant::now());
        let ahead_ms = self.ahead_ms();
        let is_far = ahead_ms.saturating_abs() >= TOLD_MS;
        if is_far && !self.was_told {
            tracing::warn!(
                redis,
                ahead_ms,
                "the clocks of this machine and of its Redis differ; jobs keep to that of Redis. Let NTP set both"
            );
        }
        self.was_told = is_far;
        Ok(())
    }

    /// Nobody knows when between question and answer Redis looked at its clock: what was known stays where it may be true, so that
    /// time does not jump with each question.
    fn note(&mut self, asked: Instant, theirs_ms: i64, heard: Instant) {
        let latest_ms = theirs_ms.saturating_add(whole_ms(heard.duration_since(asked)));
        let expected_ms = |(at_ms, at): (i64, Instant)| at_ms.saturating_add(whole_ms(heard.duration_since(at)));
        let now_ms = self.known.map_or(theirs_ms, expected_ms).clamp(theirs_ms, latest_ms);
        self.known = Some((now_ms, heard));
    }
}

fn whole_ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn the_time_is_known_as_well_as_the_way_there_lets_it_be() {
        let (mut time, start) = (Time::new(Clock::system()), Instant::now());
        let mut after = |asked_ms, theirs_ms, heard_ms| {
            let at = |ms| start + Duration::from_millis(ms);
            time.note(at(asked_ms), theirs_ms, at(heard_ms));
            time.known.map(|it| it.0)
        };
        assert_eq!(after(1_000, 500_000, 1_020), Some(500_000));
        assert_eq!(after(2_000, 500_990, 2_020), Some(501_000), "as it was expected");
        assert_eq!(after(3_000, 501_995, 3_004), Some(501_995), "at least");
        assert_eq!(after(4_000, 502_900, 4_010), Some(502_910), "at most");
        assert_eq!(after(5_000, 503_500, 6_000), Some(504_500), "after a slow answer no more is known");
        assert_eq!(after(7_000, 9_000, 7_001), Some(9_001), "it was set back");
    }

    #[test]
    fn a_clock_that_a_test_moves_is_followed_as_it_is() {
        let (clock, hands) = Clock::manual(1_000);
        let mut time = Time::new(clock);
        let asked = time.ask("one", || Ok::<_, Infallible>(99_000));
        assert!(asked.is_ok());
        hands.advance(5);
        assert_eq!((time.now_ms(), time.ahead_ms()), (1_005, 0));
    }

    #[test]
    fn a_machine_whose_clock_is_wrong_and_is_set_keeps_to_the_other() {
        let (clock, hands) = Clock::wrong(-900_000);
        let mut time = Time::new(clock);
        let theirs_ms = Clock::system().now_ms();
        let asked = time.ask("one", || Ok::<_, Infallible>(theirs_ms));
        assert!(asked.is_ok());
        for by_ms in [0, 1_800_000, -60_000] {
            hands.advance(by_ms);
            assert!((theirs_ms..theirs_ms + 60_000).contains(&time.now_ms()));
        }
        assert!((-840_000 - 60_000..=-840_000 + 60_000).contains(&time.ahead_ms()), "{}", time.ahead_ms());
    }
}
