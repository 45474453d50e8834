//! Limits on how often: so many in a window, counted in memory, by key.
//!
//! What is counted is lost with the process, which gives an attacker a few tries more at a restart and nothing else.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use crate::{
    base::{clock::Clock, network},
    domain::{Error, Result},
};

/// Keys remembered at once: bounds the memory that an attacker can take.
const KEYS_MAX: usize = 50_000;

/// Counters by key, each in a fixed window from its first use.
#[derive(Debug)]
pub struct Windows {
    clock: Clock,
    counts: Mutex<HashMap<String, Count>>,
}

#[derive(Debug)]
struct Count {
    ends_ms: i64,
    used: u32,
}

impl Windows {
    /// Nothing counted yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, counts: Mutex::default() }
    }

    /// Counts one use of `key`; past `max` in `window_ms` it is refused with the time to wait.
    pub fn take(&self, key: &str, max: u32, window_ms: i64, code: &'static str, what: &str) -> Result<()> {
        let now = self.clock.now_ms();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= KEYS_MAX {
            counts.retain(|_, it| it.ends_ms > now);
            // SECURITY: a count that is under way is never given up for a new one, or many addresses could free one from
            // its limit. Who comes new waits instead until some have ended.
            if counts.len() >= KEYS_MAX && !counts.contains_key(key) {
                let text = "Very many are trying at the moment. Try again in 1 minute.";
                return Err(Error::too_many(code, text, 60));
            }
        }
        let count = counts.entry(key.to_owned()).or_insert(Count { ends_ms: now + window_ms, used: 0 });
        if count.ends_ms <= now {
            *count = Count { ends_ms: now + window_ms, used: 0 };
        }
        if count.used >= max {
            let seconds = u64::try_from((count.ends_ms - now + 999) / 1000).unwrap_or(1).max(1);
            let minutes = seconds.div_ceil(60);
            let wait = if minutes == 1 { String::from("1 minute") } else { format!("{minutes} minutes") };
            return Err(Error::too_many(code, format!("{what} Try again in {wait}."), seconds));
        }
        count.used += 1;
        drop(counts);
        Ok(())
    }

    /// Gives the uses of `key` back: it was the right password after all.
    pub fn forget(&self, key: &str) {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
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
        let windows = Windows::new(clock);
        let take = || windows.take("k", 2, 60_000, "limit", "Too many.");
        assert!(take().is_ok() && take().is_ok());
        let refused = take().unwrap_err();
        assert_eq!((refused.code, refused.retry_after_s), ("limit", Some(60)));
        assert!(windows.take("other", 1, 60_000, "limit", "").is_ok());
        // No crowd makes it forget.
        let other = |number: usize| windows.take(&format!("other {number}"), 2, 60_000, "limit", "Too many.");
        assert!((2..KEYS_MAX).all(|it| other(it).is_ok()));
        assert_eq!(other(KEYS_MAX).unwrap_err().retry_after_s, Some(60));
        assert!(take().is_err() && other(2).is_ok() && other(2).is_err());
        hands.advance(60_000);
        assert!(take().is_ok());
        windows.forget("k");
        assert!(take().is_ok() && take().is_ok());
    }
}
