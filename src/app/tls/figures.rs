//! How it stands with the certificates that are shown, for `/metrics` and the log.

use super::{Shelf, State};
use crate::domain::certificate::Certificate;

/// Between two lines of the log that say that certificates are overdue.
const TOLD_S: i64 = 24 * 3_600;
/// Names in such a line.
const NAMES_MAX: usize = 10;

/// A certificate that is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::app) struct Figure {
    /// Its first name.
    pub(in crate::app) name: String,
    /// Where it is kept: `file` or `database`.
    pub(in crate::app) from: &'static str,
    /// Until when it counts, Unix seconds.
    pub(in crate::app) until_s: i64,
    /// Whether less than a third of its time is left: by then the next one should be here.
    pub(in crate::app) is_overdue: bool,
}

fn figure(name: Option<&String>, from: &'static str, facts: &Certificate, now_s: i64) -> Figure {
    let (lifetime, left) = (facts.until_s.saturating_sub(facts.from_s), facts.until_s.saturating_sub(now_s));
    Figure { name: name.cloned().unwrap_or_default(), from, until_s: facts.until_s, is_overdue: left < lifetime / 3 }
}

impl State {
    pub(super) fn figures(&self, now_s: i64) -> Vec<Figure> {
        let files = self.files.iter().filter_map(|it| it.found.as_ref()).map(|it| &it.pair.facts);
        let files = files.map(|it| figure(it.names.first(), "file", it, now_s));
        let kept = self.kept.iter().map(|it| figure(it.names.first(), "database", &it.pair.facts, now_s));
        files.chain(kept).collect()
    }

    /// Says once a day which certificates are overdue.
    pub(super) fn warn(&mut self, now_s: i64) {
        let is_told = self.told_s.is_some_and(|it| (now_s - TOLD_S..=now_s).contains(&it));
        if is_told {
            return;
        }
        let overdue: Vec<String> =
            self.figures(now_s).into_iter().filter(|it| it.is_overdue).map(|it| it.name).collect();
        if overdue.is_empty() {
            return;
        }
        self.told_s = Some(now_s);
        let names = overdue.iter().take(NAMES_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
        tracing::warn!(
            names,
            count = overdue.len(),
            "certificates are shown of which less than a third of their time is left, and there are no new ones: `chainhost certificates` says why"
        );
    }
}

impl Shelf {
    /// Every certificate that is shown.
    pub(in crate::app) fn figures(&self) -> Vec<Figure> {
        self.state().figures(self.0.clock.now_ms() / 1_000)
    }
}
