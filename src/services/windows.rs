//! Limits on how often: so many in a window, counted in memory, by key; and, where several processes share counts, there too.
//!
//! What is counted in memory is lost with the process, which gives an attacker a few tries more at a restart and nothing else. While the
//! shared counts are away, each process counts for itself.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use crate::{
    base::{clock::Clock, network},
    domain::{Error, Result},
    ports::counts::{Counts, Taken},
};

/// Keys remembered at once: bounds the memory that an attacker can take.
const KEYS_MAX: usize = 50_000;

/// Counters by key, each in a fixed window from its first use.
#[derive(Debug)]
pub struct Windows {
    clock: Clock,
    counts: Mutex<HashMap<String, Count>>,
    shared: Counts,
}

#[derive(Debug)]
struct Count {
    ends_ms: i64,
    window_ms: i64,
    used: u32,
}

impl Count {
    /// Whether it still counts. One that ends later than a whole window from now is from before the clock was set back, and would
    /// shut everybody out until the clock is there again.
    const fn is_under_way(&self, now: i64) -> bool {
        self.ends_ms > now && self.ends_ms <= now.saturating_add(self.window_ms)
    }
}

impl Windows {
    /// Nothing counted yet in this process.
    pub fn new(clock: Clock, shared: Counts) -> Self {
        Self { clock, counts: Mutex::default(), shared }
    }

    /// Counts one use of `key`; past `max` in `window_ms` it is refused with the time to wait.
    pub async fn take(&self, key: &str, max: u32, window_ms: i64, code: &'static str, what: &str) -> Result<()> {
        // In memory first: who is refused there costs the others nothing.
        self.take_here(key, max, window_ms, code, what)?;
        match self.shared.take(key, max, window_ms).await {
            Some(Taken::Refused { left_ms }) => Err(refused(left_ms, code, what)),
            Some(Taken::Counted) | None => Ok(()),
        }
    }

    fn take_here(&self, key: &str, max: u32, window_ms: i64, code: &'static str, what: &str) -> Result<()> {
        let now = self.clock.now_ms();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= KEYS_MAX {
            counts.retain(|_, it| it.is_under_way(now));
            // SECURITY: a count that is under way is never given up for a new one, or many addresses could free one from
            // its limit. Who comes new waits instead until some have ended.
            if counts.len() >= KEYS_MAX && !counts.contains_key(key) {
                let text = "Very many are trying at the moment. Try again in 1 minute.";
                return Err(Error::too_many(code, text, 60));
            }
        }
        let count = counts.entry(key.to_owned()).or_insert(Count { ends_ms: now + window_ms, window_ms, used: 0 });
        if !count.is_under_way(now) {
            *count = Count { ends_ms: now + window_ms, window_ms, used: 0 };
        }
        if count.used >= max {
            return Err(refused(count.ends_ms - now, code, what));
        }
        count.used += 1;
        drop(counts);
        Ok(())
    }

    /// Gives the uses of `key` back: it was the right password after all.
    pub fn forget(&self, key: &str) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        self.shared.forget(key);
    }
}

/// There were enough, for the next `left_ms`.
fn refused(left_ms: i64, code: &'static str, what: &str) -> Error {
    let seconds = u64::try_from(left_ms.saturating_add(999) / 1000).unwrap_or(1).max(1);
    let minutes = seconds.div_ceil(60);
    let wait = if minutes == 1 { String::from("1 minute") } else { format!("{minutes} minutes") };
    Error::too_many(code, format!("{what} Try again in {wait}."), seconds)
}

/// What a client's address counts as.
pub fn by_address(address: Option<IpAddr>) -> String {
    address.map(|it| network::counted(it).to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_counts_refuses_and_opens_again() {
        let (clock, hands) = Clock::manual(1_000);
        let windows = Windows::new(clock, Counts::default());
        let take = || windows.take_here("k", 2, 60_000, "limit", "Too many.");
        assert!(take().is_ok() && take().is_ok());
        let refused = take().unwrap_err();
        assert_eq!((refused.code, refused.retry_after_s), ("limit", Some(60)));
        assert!(windows.take_here("other", 1, 60_000, "limit", "").is_ok());
        // No crowd makes it forget.
        let other = |number: usize| windows.take_here(&format!("other {number}"), 2, 60_000, "limit", "Too many.");
        assert!((2..KEYS_MAX).all(|it| other(it).is_ok()));
        assert_eq!(other(KEYS_MAX).unwrap_err().retry_after_s, Some(60));
        assert!(take().is_err() && other(2).is_ok() && other(2).is_err());
        hands.advance(60_000);
        assert!(take().is_ok());
        windows.forget("k");
        assert!(take().is_ok() && take().is_ok());
    }

    #[test]
    fn a_clock_that_is_set_back_shuts_nobody_out() {
        let (clock, hands) = Clock::manual(1_790_000_000_000);
        let windows = Windows::new(clock, Counts::default());
        let take = |key: &str| windows.take_here(key, 1, 60_000, "limit", "Too many.");
        assert!(take("k").is_ok() && take("k").is_err());
        // By less than a window, the wait is no longer than a window.
        hands.advance(-30_000);
        assert!(take("k").is_ok() && take("k").is_err());
        hands.advance(-24 * 60 * 60 * 1000);
        assert!(take("k").is_ok());
        assert_eq!(take("k").unwrap_err().retry_after_s, Some(60));
        // Nor does a crowd from before keep others out.
        assert!((1..KEYS_MAX).all(|it| take(&format!("old {it}")).is_ok()));
        assert!(take("new").is_err());
        hands.advance(-24 * 60 * 60 * 1000);
        assert!(take("new").is_ok());
    }
}
