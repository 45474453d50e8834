//! The nodes that run one installation together: signs of life, duties of which each has one holder, and news.
//!
//! No node compares its time of day with another's. A holder is dead when its beat has not grown for [`DEAD_AFTER`] on the
//! clock of whoever looks, which does not go back; a holder that could not write its own beat for [`TRUST`] acts as if it held
//! nothing. A holder that was stopped in between still has its fence: [`Services::check_hold`] in the transaction of what is
//! done refuses one that is not the latest (CONTRACTS §1, clause 5).
//!
//! With the embedded database there is one process: it holds everything, and nothing of this is written.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    base::{ids::Id, random},
    domain::{
        Error, Result,
        access::Actor,
        node::{Duty, NodeId, Role, Topic},
    },
    ports::db::{ReadTx, WriteTx},
    store,
};

use super::Services;

/// Between two signs of life.
pub const BEAT: Duration = Duration::from_secs(2);
/// Between two looks at the news: what is published on one node is served by the others within a second.
pub const LOOK: Duration = Duration::from_millis(250);
/// After so long without a sign of life another takes what a node holds.
const DEAD_AFTER: Duration = Duration::from_secs(10);
/// For so long a node may believe its last written beat. Less than [`DEAD_AFTER`], by more than a transaction may take.
const TRUST: Duration = Duration::from_secs(5);

/// Which node this is.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// What it does.
    pub role: Role,
    /// What its operator says of it: `type=worker`.
    pub labels: Vec<String>,
    /// Others may run on the same database.
    pub shares: bool,
}

impl Node {
    /// The one process on an embedded database.
    pub const fn alone() -> Self {
        Self { id: NodeId(Id::NIL), role: Role::All, labels: Vec::new(), shares: false }
    }
}

/// The leave to do what only one node may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    duty: Duty,
    /// `None`: there is no other process.
    fence: Option<i64>,
}

impl Hold {
    /// A number that grows with every holder: for stores that refuse older ones.
    pub fn fence(&self) -> i64 {
        self.fence.unwrap_or(0)
    }
}

/// A node, for people.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Which.
    pub id: NodeId,
    /// `all`, `web` or `worker`.
    pub role: String,
    /// What its operator says of it.
    pub labels: Vec<String>,
    /// Its last sign of life, by its own time of day.
    pub seen_ms: i64,
    /// What only one node may do, and this one does.
    pub duties: Vec<String>,
    /// Whether it is the one that answers.
    pub this: bool,
}

/// What this process knows of itself and the others.
#[derive(Debug)]
pub(super) struct Nodes {
    known: Mutex<Known>,
    /// Duties have come or gone.
    changed: Notify,
}

#[derive(Debug)]
struct Known {
    epoch: Id,
    joined: bool,
    /// When the last beat was begun that was written.
    beaten: Option<Instant>,
    held: HashMap<Duty, i64>,
    others: HashMap<NodeId, (i64, Instant)>,
    news: HashMap<String, i64>,
}

impl Nodes {
    pub(super) fn new() -> Self {
        let known = Known {
            epoch: Id::from_bytes(random::bytes()),
            joined: false,
            beaten: None,
            held: HashMap::new(),
            others: HashMap::new(),
            news: HashMap::new(),
        };
        Self { known: Mutex::new(known), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Services {
    /// The leave for a duty, if this node has it now.
    pub fn hold(&self, duty: Duty) -> Option<Hold> {
        if !self.node.shares {
            return Some(Hold { duty, fence: None });
        }
        let known = self.nodes().lock();
        let fresh = known.beaten.is_some_and(|it| it.elapsed() < TRUST);
        known.held.get(&duty).filter(|_| fresh).map(|fence| Hold { duty, fence: Some(*fence) })
    }

    /// Resolves when duties may have come to this node, or gone.
    pub async fn duties_changed(&self) {
        self.nodes().changed.notified().await;
    }

    /// All nodes that run this installation.
    pub async fn list_nodes(&self, actor: &Actor) -> Result<Vec<NodeView>> {
        Self::require_server(actor)?;
        if !self.node.shares {
            return Ok(vec![NodeView {
                id: self.node.id,
                role: self.node.role.word().to_owned(),
                labels: self.node.labels.clone(),
                seen_ms: self.clock.now_ms(),
                duties: Duty::ALL.map(|it| it.word().to_owned()).to_vec(),
                this: true,
            }]);
        }
        let (seen, leases) = self.db.read(|tx| Ok((store::nodes::list(tx)?, store::nodes::list_leases(tx)?))).await?;
        let duties = |id: NodeId| leases.iter().filter(move |it| it.holder == Some(id)).map(|it| it.name.clone());
        let views = seen.into_iter().map(|it| NodeView {
            duties: duties(it.id).collect(),
            this: it.id == self.node.id,
            labels: it.labels.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect(),
            role: it.role,
            seen_ms: it.seen_ms,
            id: it.id,
        });
        Ok(views.collect())
    }

    /// Refuses, in the transaction of what is done with it, a leave that another node has by now.
    pub fn check_hold(&self, tx: &mut ReadTx<'_>, hold: &Hold) -> Result<()> {
        let Some(fence) = hold.fence else { return Ok(()) };
        if store::nodes::holds(tx, hold.duty, self.node.id, fence)? {
            return Ok(());
        }
        let text = format!("Another node has the duty `{}` by now.", hold.duty.word());
        Err(Error::conflict("lease_lost", text))
    }

    /// Writes a sign of life, and takes the duties that nobody holds.
    pub async fn beat(&self) -> Result<()> {
        let begun = Instant::now();
        let services = self.clone();
        // The others are looked at when the turn has come, which may be long after it was asked for.
        let held = self.db.write(move |tx| services.beat_in(tx, Instant::now())).await?;
        let mut known = self.nodes().lock();
        let was_fresh = known.beaten.is_some_and(|it| it.elapsed() < TRUST);
        known.beaten = Some(begun);
        known.joined = true;
        if known.held != held || !was_fresh {
            known.held = held;
            drop(known);
            self.nodes().changed.notify_waiters();
        }
        Ok(())
    }

    fn beat_in(&self, tx: &mut WriteTx<'_>, now: Instant) -> Result<HashMap<Duty, i64>> {
        let me = self.node.id;
        let (epoch, joined, mut held) = {
            let known = self.nodes().lock();
            (known.epoch, known.joined, known.held.clone())
        };
        let now_ms = self.clock.now_ms();
        if !joined || !store::nodes::beat(tx, me, epoch, now_ms)? {
            if joined {
                tracing::warn!("this node was taken for dead, or another process has its id; it gives up what it held");
            }
            store::nodes::join(tx, me, epoch, self.node.role, &self.node.labels.join(","), now_ms)?;
            held.clear();
        }
        let seen = store::nodes::list(tx)?;
        let dead = self.find_dead(&seen, now);
        let is_gone = |id: NodeId| dead.contains(&id) || !seen.iter().any(|it| it.id == id);
        let leases: HashMap<String, _> =
            store::nodes::list_leases(tx)?.into_iter().map(|it| (it.name.clone(), it)).collect();
        for duty in Duty::ALL {
            let lease = leases.get(duty.word());
            let holder = lease.and_then(|it| it.holder);
            if holder == Some(me) && lease.map(|it| it.fence) == held.get(&duty).copied() {
                continue;
            }
            held.remove(&duty);
            // What an earlier process of this node held is taken anew, with a fence of its own.
            if holder.is_none_or(|it| it == me || is_gone(it)) {
                held.insert(duty, store::nodes::take(tx, duty, me)?);
            }
        }
        for id in dead {
            store::nodes::forget(tx, id)?;
        }
        Ok(held)
    }

    /// Nodes whose beat has not grown for long.
    fn find_dead(&self, seen: &[store::nodes::Seen], now: Instant) -> Vec<NodeId> {
        let mut known = self.nodes().lock();
        known.others.retain(|id, _| seen.iter().any(|it| it.id == *id));
        let mut dead = Vec::new();
        for it in seen.iter().filter(|it| it.id != self.node.id) {
            let (beat, since) = known.others.entry(it.id).or_insert((it.beat, now));
            if *beat != it.beat {
                (*beat, *since) = (it.beat, now);
            } else if now.saturating_duration_since(*since) >= DEAD_AFTER {
                dead.push(it.id);
            }
        }
        dead
    }

    /// Gives back what this node holds, when it stops in order.
    pub async fn leave(&self) -> Result<()> {
        if !self.node.shares {
            return Ok(());
        }
        let (me, epoch) = (self.node.id, {
            let mut known = self.nodes().lock();
            known.held.clear();
            known.epoch
        });
        self.db.write(move |tx| store::nodes::leave(tx, me, epoch)).await
    }

    /// Tells the other nodes of a change, in its transaction, and this one after the commit.
    pub(super) fn tell(&self, tx: &mut WriteTx<'_>, topic: Topic) -> Result<()> {
        if self.node.shares {
            store::nodes::tell(tx, topic)?;
        }
        let services = self.clone();
        tx.after_commit(move || services.hear(topic));
        Ok(())
    }

    /// Looks for what other nodes have told.
    pub async fn look_for_news(&self) -> Result<()> {
        let news = self.db.read(store::nodes::list_news).await?;
        for topic in Topic::ALL {
            let Some((word, number)) = news.iter().find(|(word, _)| word == topic.word()) else { continue };
            let before = self.nodes().lock().news.insert(word.clone(), *number);
            if before != Some(*number) {
                self.hear(topic);
            }
        }
        Ok(())
    }

    fn hear(&self, topic: Topic) {
        match topic {
            Topic::Routes => {
                self.signals().routes_changed();
            }
            Topic::Schedules => self.signals().schedules.notify_one(),
            Topic::Audit => self.signals().audit.notify_one(),
            Topic::Watch => self.signals().watch.notify_one(),
        }
    }
}
