//! Whether visitors are served what a purge is for: before that, a cache would fetch again what was there before, and keep it.
//!
//! With the embedded database there is one process, whose first pass counts too: until then it serves what was kept of the one before. Nodes
//! that share a database count the news of routes, which are told in the transaction of each change: each says with its signs of life up to
//! which number it serves ([`store::nodes::serve`]).

use std::time::Duration;

use tokio::time::{self, Instant};

use super::Services;
use crate::{
    domain::{Result, node::Topic},
    services::nodes::{BEAT, LOOK},
    store,
};

/// For so long a job waits before it gives its place to others: nodes tell what they serve every [`BEAT`].
const WAIT: Duration = Duration::from_secs(2 * BEAT.as_secs() + 1);
/// So old a change is served by nodes that say nothing of it: those of the release before.
const UNTOLD_MS: i64 = 10_000;
/// For so long a change waits for a node that lives, and does not serve it: it has trouble of its own, which its log tells.
const LAGGING_MS: i64 = 120_000;

/// How far a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Served {
    /// Visitors are served it, by all nodes.
    Everywhere,
    /// By all nodes that are waited for.
    Mostly,
    /// Some are not, yet.
    NotYet,
}

/// What one node is to a change of this age in milliseconds; `number`: the news it must serve; `serves`: those that it says it does.
const fn node(number: i64, serves: Option<i64>, age_ms: i64) -> Served {
    match serves {
        Some(serves) if serves >= number => Served::Everywhere,
        Some(_) if age_ms >= LAGGING_MS => Served::Mostly,
        None if age_ms >= UNTOLD_MS => Served::Mostly,
        _ => Served::NotYet,
    }
}

impl Services {
    /// Waits, for some seconds at most, until visitors are served all that was in the database before this call; how far that is then.
    /// `age_ms`: how long ago the change was, as far as that is known.
    pub(super) async fn wait_until_served(&self, age_ms: i64) -> Result<Served> {
        let ends = Instant::now() + WAIT;
        // Where nodes share a database, what another one has changed is known here once its news are.
        let number = self.db.read(|tx| store::nodes::count_news(tx, Topic::Routes)).await?;
        if self.node.role.serves() {
            let here = async {
                self.signals().routes_settled().await;
                self.signals().routes_reach(number).await;
            };
            if time::timeout_at(ends, here).await.is_err() {
                return Ok(Served::NotYet);
            }
        }
        loop {
            let others = self.list_serving().await?;
            let mut all = Served::Everywhere;
            for (id, serves) in others {
                match node(number, serves, age_ms) {
                    Served::Mostly if all == Served::Everywhere => {
                        tracing::debug!(node = %id, number, serves, "caches are purged although this node may not serve the change");
                        all = Served::Mostly;
                    }
                    Served::Everywhere | Served::Mostly => {}
                    Served::NotYet => all = Served::NotYet,
                }
            }
            if all != Served::NotYet || Instant::now() >= ends {
                return Ok(all);
            }
            time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_waited_for_with_an_end() {
        for (serves, age_ms, wanted) in [
            (Some(7), 0, Served::Everywhere),
            (Some(8), 0, Served::Everywhere),
            (Some(6), 0, Served::NotYet),
            (Some(0), UNTOLD_MS, Served::NotYet),
            (Some(6), LAGGING_MS, Served::Mostly),
            (None, UNTOLD_MS - 1, Served::NotYet),
            (None, UNTOLD_MS, Served::Mostly),
        ] {
            assert_eq!(node(7, serves, age_ms), wanted, "{serves:?} after {age_ms} ms");
        }
    }
}
