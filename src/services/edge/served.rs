//! Whether visitors are served what a purge is for: before that, a cache would fetch again what was there before, and keep it.
//!
//! With the embedded database there is one process, whose first pass counts too: until then it serves what was kept of the one before. Nodes
//! that share a database count the news of routes, which are told in the transaction of each change: each says with its signs of life up to
//! which number it serves ([`store::nodes::serve`]).

use std::time::Duration;

use tokio::time;

use super::Services;
use crate::{
    domain::{Result, node::Topic},
    store,
};

/// For so long a job waits for this node, which takes some milliseconds for a pass; then it gives its place to others, and comes again.
const HERE_MAX: Duration = Duration::from_millis(250);
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
    /// Those of this node are not.
    NotHere,
}

/// What visitors are to be served. It stays what it was while others change something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    /// News of all nodes, up to this number.
    number: i64,
    /// Changes of this process, up to this number, once it is known.
    here: Option<u64>,
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
    /// All that is in the database now.
    pub(super) async fn await_all(&self) -> Result<Awaited> {
        // Where nodes share a database, what another one has changed is known here once its news are.
        let number = self.db.read(|tx| store::nodes::count_news(tx, Topic::Routes)).await?;
        Ok(Awaited { number, here: None })
    }

    /// How far that is; other nodes are looked at once. `age_ms`: how long ago the change was, as far as that is known.
    pub(super) async fn look_served(&self, awaited: &mut Awaited, age_ms: i64) -> Result<Served> {
        if self.node.role.serves() {
            let here = async {
                let wanted = match awaited.here {
                    Some(wanted) => wanted,
                    None => *awaited.here.insert(self.signals().routes_known().await),
                };
                self.signals().routes_live(wanted).await;
                self.signals().routes_reach(awaited.number).await;
            };
            if time::timeout(HERE_MAX, here).await.is_err() {
                return Ok(Served::NotHere);
            }
        }
        let number = awaited.number;
        let mut all = Served::Everywhere;
        for (id, serves) in self.list_serving().await? {
            match node(number, serves, age_ms) {
                Served::Mostly if all == Served::Everywhere => {
                    tracing::debug!(node = %id, number, serves, "caches are purged although this node may not serve the change");
                    all = Served::Mostly;
                }
                Served::Everywhere | Served::Mostly => {}
                Served::NotYet | Served::NotHere => all = Served::NotYet,
            }
        }
        Ok(all)
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
