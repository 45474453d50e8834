//! Waiting times between tries: exponential with full jitter, or fixed.

use std::time::Duration;

use super::random;

/// How long to wait before the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backoff {
    /// The same time after every failure, in milliseconds.
    Fixed(u64),
    /// `base × 2^(attempt − 1)`, in milliseconds, at most one hour.
    Exponential(u64),
}

/// No wait is longer than an hour, so that a repaired cause is noticed the same day.
pub const WAIT_MS_MAX: u64 = 3_600_000;

impl Backoff {
    /// The upper bound of the wait after attempt number `attempt` (1 = first) failed.
    pub fn ceiling(self, attempt: u32) -> Duration {
        let ms = match self {
            Self::Fixed(ms) => ms,
            Self::Exponential(base) => {
                base.saturating_mul(1_u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX))
            }
        };
        Duration::from_millis(ms.min(WAIT_MS_MAX))
    }

    /// The wait itself. Exponential: uniform in `0..=ceiling` ("full jitter"), so that many failures
    /// of one moment do not come back as one wave.
    pub fn wait(self, attempt: u32) -> Duration {
        let ceiling = self.ceiling(attempt);
        match self {
            Self::Fixed(_) => ceiling,
            Self::Exponential(_) => {
                let ms = u64::try_from(ceiling.as_millis()).unwrap_or(WAIT_MS_MAX);
                Duration::from_millis(random::below(ms.saturating_add(1)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_capped() {
        let backoff = Backoff::Exponential(5_000);
        assert_eq!(backoff.ceiling(1), Duration::from_secs(5));
        assert_eq!(backoff.ceiling(3), Duration::from_secs(20));
        assert_eq!(backoff.ceiling(64), Duration::from_hours(1));
        assert_eq!(backoff.ceiling(u32::MAX), Duration::from_hours(1));
        for _ in 0..100 {
            assert!(backoff.wait(2) <= Duration::from_secs(10));
        }
        assert_eq!(Backoff::Fixed(60_000).wait(9), Duration::from_mins(1));
    }
}
