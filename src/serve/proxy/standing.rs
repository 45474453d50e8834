//! Whether a server gets requests: what its last answers and the looks at it say.

use std::time::Duration;

use tokio::time::Instant;

use crate::domain::site_settings::proxy::{Failing, Health};

/// What is known of a server.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Requests that failed one after another.
    failed: u32,
    /// Until when no request is sent to it.
    out_until: Option<Instant>,
    /// One request tries whether it is back.
    is_tried: bool,
    /// The looks at it say that it is down.
    is_down: bool,
    /// Looks one after another that say otherwise than `is_down`.
    otherwise: u32,
}

/// What a server may be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    /// Whatever comes.
    All,
    /// One request, to see whether it is back.
    Try,
    /// Nothing, as long as there is another.
    Rests,
    /// Nothing: it has said so when it was looked at.
    Down,
}

impl Standing {
    pub(super) fn may(&self, now: Instant) -> May {
        match self.out_until {
            _ if self.is_down => May::Down,
            None => May::All,
            Some(until) if now < until || self.is_tried => May::Rests,
            Some(_) => May::Try,
        }
    }

    /// A request goes to it to see whether it is back.
    pub(super) const fn try_it(&mut self) {
        self.is_tried = true;
    }

    /// A request that was to show whether it is back has ended without showing it.
    pub(super) const fn give_up_trying(&mut self) {
        self.is_tried = false;
    }

    /// It has answered. Whether it was out until now.
    pub(super) const fn answered(&mut self) -> bool {
        self.failed = 0;
        self.is_tried = false;
        self.out_until.take().is_some()
    }

    /// It has not. Whether it is out from now on, and was not before.
    pub(super) fn failed(&mut self, failing: Failing, now: Instant) -> bool {
        self.failed = self.failed.saturating_add(1);
        let was_tried = std::mem::take(&mut self.is_tried);
        if failing.after == 0 || (self.failed < failing.after && !was_tried) {
            return false;
        }
        let was_out = self.out_until.replace(now + Duration::from_secs(failing.for_s.into())).is_some();
        !was_out
    }

    /// It was looked at. Whether that changes how it counts.
    pub(super) const fn looked(&mut self, is_well: bool, health: &Health) -> bool {
        if is_well != self.is_down {
            self.otherwise = 0;
            return false;
        }
        self.otherwise = self.otherwise.saturating_add(1);
        let wanted = if is_well { health.passes } else { health.fails };
        if self.otherwise < wanted {
            return false;
        }
        self.is_down = !is_well;
        self.otherwise = 0;
        if is_well {
            // It may be asked at once, whatever came before.
            self.answered();
        }
        true
    }

    /// Nobody looks at it any more.
    pub(super) const fn forget_looks(&mut self) {
        self.is_down = false;
        self.otherwise = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_fails_rests_and_is_tried_once() {
        let failing = Failing { after: 2, for_s: 10 };
        let (mut standing, start) = (Standing::default(), Instant::now());
        let at = |s| start + Duration::from_secs(s);
        assert!(!standing.failed(failing, start));
        assert!(!standing.answered(), "one answer in between, and it counts anew");
        assert!(!standing.failed(failing, start));
        assert_eq!(standing.may(start), May::All);
        assert!(standing.failed(failing, start));
        assert_eq!((standing.may(at(9)), standing.may(at(10))), (May::Rests, May::Try));
        standing.try_it();
        assert_eq!(standing.may(at(10)), May::Rests, "one request alone tries it");
        standing.give_up_trying();
        assert_eq!(standing.may(at(10)), May::Try);
        standing.try_it();
        assert!(!standing.failed(failing, at(11)), "it was out before");
        assert_eq!((standing.may(at(20)), standing.may(at(21))), (May::Rests, May::Try), "once is enough then");
        assert!(standing.answered());
        assert_eq!(standing.may(at(11)), May::All);
        (0..9).for_each(|_| assert!(!standing.failed(Failing { after: 0, for_s: 10 }, start)));
        assert_eq!(standing.may(start), May::All);
    }

    #[test]
    fn looks_count_one_after_another() {
        let health = Health { path: String::from("/"), every_s: 1, timeout_s: 1, status: None, fails: 2, passes: 3 };
        let mut standing = Standing::default();
        let mut look = |is_well| (standing.looked(is_well, &health), standing.may(Instant::now()) == May::Down);
        assert_eq!([true, false, true, false].map(&mut look), [(false, false); 4]);
        assert_eq!(look(false), (true, true));
        assert_eq!([true, true, false, true, true].map(&mut look), [(false, true); 5]);
        assert_eq!(look(true), (true, false));
    }
}
