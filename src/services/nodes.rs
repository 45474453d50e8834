//! The nodes that run one installation together: signs of life, duties of which each has one holder, and news.
//!
//! No node compares its time of day with another's. A holder is dead when its beat has not grown for [`DEAD_AFTER`] on the
//! clock of whoever looks, which does not go back; a holder that could not write its own beat for [`TRUST`] acts as if it held
//! nothing. A holder that was stopped in between still has its fence: [`Services::check_hold`] in the transaction of what is
//! done refuses one that is not the latest (CONTRACTS §1, clause 5).
//!
//! Each process writes its signs of life under the id of its data folder, with a word of its own (`epoch`). One that finds another
//! process's word in its row has a copied folder, or is the one that it was copied from: it gives up its duties and goes on under
//! a new id, so that the two never take duties from one another in turn.
//!
//! With the embedded database there is one process: it holds everything, and nothing of this is written.

use std::{
    collections::HashMap,
    fs, io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::{
    base::{files, ids::Id, random},
    domain::{
        Error, Result,
        access::Actor,
        node::{Duty, NodeId, Role, Topic},
    },
    ports::db::{ReadTx, WriteTx},
    store::{self, nodes::Sign},
};

use super::Services;

/// The file of the data folder with the id of its node.
pub const FILE: &str = "node";

/// Between two signs of life.
pub const BEAT: Duration = Duration::from_secs(2);
/// Between two looks at the news: what is published on one node is served by the others within a second.
pub const LOOK: Duration = Duration::from_millis(250);
/// After so long without a sign of life another takes what a node holds.
const DEAD_AFTER: Duration = Duration::from_secs(10);
/// For so long a node may believe its last written beat. Less than [`DEAD_AFTER`], by more than a transaction may take.
const TRUST: Duration = Duration::from_secs(5);

/// A node that has shown no sign of life for so long is called silent: soon others take its duties.
const SILENT_AFTER: Duration = Duration::from_secs(8);

/// Which node this is.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its id at the start; what it is by now says [`Services::node_id`].
    pub id: NodeId,
    /// What it does.
    pub role: Role,
    /// What its operator says of it: `type=worker`.
    pub labels: Vec<String>,
    /// Others may run on the same database.
    pub shares: bool,
    /// The word of the Redis that has its jobs; `None`: they are in its data folder.
    pub queue: Option<String>,
}

impl Node {
    /// The one process on an embedded database.
    pub const fn alone() -> Self {
        Self { id: NodeId(Id::NIL), role: Role::All, labels: Vec::new(), shares: false, queue: None }
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
    /// For how long its signs of life have not come, by the clock of the node that answers.
    pub quiet: Duration,
    /// Whether that is long.
    pub silent: bool,
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
    id: NodeId,
    epoch: Id,
    joined: bool,
    /// When the last beat was begun that was written.
    beaten: Option<Instant>,
    held: HashMap<Duty, i64>,
    others: HashMap<NodeId, (i64, Instant)>,
    news: HashMap<String, i64>,
    /// What the others were told last of what visitors are served here.
    served: Option<i64>,
}

impl Nodes {
    pub(super) fn new(id: NodeId) -> Self {
        let known = Known {
            id,
            epoch: Id::from_bytes(random::bytes()),
            joined: false,
            beaten: None,
            held: HashMap::new(),
            others: HashMap::new(),
            news: HashMap::new(),
            served: None,
        };
        Self { known: Mutex::new(known), changed: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of the node with this data folder, made at its first start: a restart finds what the node has held.
pub fn find_id(data: &Path) -> Result<NodeId> {
    let path = data.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let wrong = |_| Error::internal(format!("{} does not hold the id of a node", path.display()));
            text.trim().parse().map(NodeId).map_err(wrong)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = new_id();
            keep_id(data, id)?;
            Ok(id)
        }
        Err(error) => Err(error.into()),
    }
}

fn new_id() -> NodeId {
    NodeId(Id::from_bytes(random::bytes()))
}

fn keep_id(data: &Path, id: NodeId) -> Result<()> {
    Ok(files::write_atomic(&data.join(FILE), format!("{id}\n").as_bytes(), 0o600)?)
}

impl Services {
    /// The id of this node. It changes when another process has the same.
    pub fn node_id(&self) -> NodeId {
        self.nodes().lock().id
    }

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
                id: self.node_id(),
                role: self.node.role.word().to_owned(),
                labels: self.node.labels.clone(),
                seen_ms: self.clock.now_ms(),
                quiet: Duration::ZERO,
                silent: false,
                duties: Duty::ALL.map(|it| it.word().to_owned()).to_vec(),
                this: true,
            }]);
        }
        let (seen, leases) = self.db.read(|tx| Ok((store::nodes::list(tx)?, store::nodes::list_leases(tx)?))).await?;
        let duties = |id: NodeId| leases.iter().filter(move |it| it.holder == Some(id)).map(|it| it.name.clone());
        let views = seen.into_iter().map(|it| {
            let (this, quiet) = (it.id == self.node_id(), self.quiet(&it));
            NodeView {
                duties: duties(it.id).collect(),
                silent: !this && quiet >= SILENT_AFTER,
                this,
                quiet,
                labels: it.labels.split(',').filter(|it| !it.is_empty()).map(str::to_owned).collect(),
                role: it.role,
                seen_ms: it.seen_ms,
                id: it.id,
            }
        });
        Ok(views.collect())
    }

    /// For how long another node's number has not grown, as far as this one has looked.
    fn quiet(&self, of: &store::nodes::Seen) -> Duration {
        let known = self.nodes().lock();
        let since = known.others.get(&of.id).filter(|(beat, _)| *beat == of.beat).map(|(_, since)| *since);
        since.map_or(Duration::ZERO, |it| it.elapsed())
    }

    /// Refuses, in the transaction of what is done with it, a leave that another node has by now.
    pub fn check_hold(&self, tx: &mut ReadTx<'_>, hold: &Hold) -> Result<()> {
        let Some(fence) = hold.fence else { return Ok(()) };
        if store::nodes::holds(tx, hold.duty, self.node_id(), fence)? {
            return Ok(());
        }
        Err(lease_lost(hold.duty))
    }

    /// As [`Services::check_hold`], in a transaction of its own: before a step that is none of the database's. `None`: a person asks
    /// for it, and needs no leave.
    pub(super) async fn ask_hold(&self, hold: Option<Hold>) -> Result<()> {
        let Some(hold) = hold else { return Ok(()) };
        let services = self.clone();
        self.db.read(move |tx| services.check_hold(tx, &hold)).await
    }

    /// Refuses, from memory alone, a leave that this node may not believe any more: between the steps of what takes long.
    pub(super) fn believe_hold(&self, hold: Option<&Hold>) -> Result<()> {
        match hold {
            Some(hold) if self.hold(hold.duty) != Some(*hold) => Err(lease_lost(hold.duty)),
            _ => Ok(()),
        }
    }

    /// A write transaction that the database refuses when another node has the duty by now.
    pub(super) async fn write_held<T: Send + 'static>(
        &self,
        hold: Option<Hold>,
        work: impl FnOnce(&mut WriteTx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let services = self.clone();
        let checked = move |tx: &mut WriteTx<'_>| {
            if let Some(hold) = &hold {
                services.check_hold(tx, hold)?;
            }
            work(tx)
        };
        self.db.write(checked).await
    }

    /// Writes a sign of life, and takes the duties that nobody holds.
    pub async fn beat(&self) -> Result<()> {
        let begun = Instant::now();
        let services = self.clone();
        // The others are looked at when the turn has come, which may be long after it was asked for.
        let served = self.node.role.serves().then(|| self.signals().routes_served().unwrap_or(0));
        let (id, held) = self.db.write(move |tx| services.beat_in(tx, Instant::now(), served)).await?;
        self.go_on_as(id).await;
        let mut known = self.nodes().lock();
        let was_fresh = known.beaten.is_some_and(|it| it.elapsed() < TRUST);
        known.beaten = Some(begun);
        known.joined = true;
        known.served = served;
        if known.held != held || !was_fresh {
            known.held = held;
            drop(known);
            self.nodes().changed.notify_waiters();
        }
        Ok(())
    }

    /// Takes the id that the last sign of life was written under, if it is another than before, also for the next start.
    async fn go_on_as(&self, id: NodeId) {
        let before = std::mem::replace(&mut self.nodes().lock().id, id);
        if before == id {
            return;
        }
        tracing::error!(
            %before, %id,
            "another process runs under the id of this node: its data folder was copied. This node has given up what only one may do and \
             goes on under a new id"
        );
        let data = self.data.clone();
        if let Err(error) = self.blocking(move || keep_id(&data, id)).await {
            tracing::warn!(%error, "the new id of this node could not be written; its next start has the old one");
        }
    }

    /// One sign of life: the id that it was written under, and what this node holds. `served`: up to which news visitors are served here,
    /// if any are.
    fn beat_in(&self, tx: &mut WriteTx<'_>, now: Instant, served: Option<i64>) -> Result<(NodeId, HashMap<Duty, i64>)> {
        let (mut me, epoch, joined, told, mut held) = {
            let known = self.nodes().lock();
            (known.id, known.epoch, known.joined, known.served, known.held.clone())
        };
        let now_ms = self.clock.now_ms();
        let sign = if joined { store::nodes::beat(tx, me, epoch, now_ms)? } else { Sign::Missing };
        if sign != Sign::Written {
            if sign == Sign::Foreign {
                me = new_id();
            } else if joined {
                tracing::warn!("this node was taken for dead; it gives up what it held");
            }
            store::nodes::join(tx, me, epoch, self.node.role, &self.node.labels.join(","), now_ms)?;
            held.clear();
        }
        let seen = store::nodes::list(tx)?;
        if sign != Sign::Written {
            forget_served(tx, &seen)?;
        }
        if let Some(number) = served.filter(|it| sign != Sign::Written || told != Some(*it)) {
            store::nodes::serve(tx, me, number)?;
        }
        let dead = self.find_dead(&seen, me, now);
        let is_gone = |id: NodeId| dead.contains(&id) || !seen.iter().any(|it| it.id == id);
        let leases: HashMap<String, _> =
            store::nodes::list_leases(tx)?.into_iter().map(|it| (it.name.clone(), it)).collect();
        for duty in Duty::ALL {
            if !self.may_hold(duty) {
                // Taken by an earlier process of this node, perhaps.
                held.remove(&duty);
                store::nodes::release(tx, duty, me)?;
                continue;
            }
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
        Ok((me, held))
    }

    /// The other nodes that live and answer visitors, each with the news up to which it does ([`store::nodes::serve`]).
    pub(super) async fn list_serving(&self) -> Result<Vec<(NodeId, Option<i64>)>> {
        let others = self.list_living().await?;
        let served = self.db.read(store::nodes::list_served).await?;
        let serving = others.into_iter().filter(|it| it.role != Role::Worker.word());
        Ok(serving.map(|it| (it.id, served.get(&it.id).copied())).collect())
    }

    /// Whether another node lives that could take a job which this one has given back.
    pub async fn has_workers(&self) -> Result<bool> {
        // A queue in the data folder is this node's alone.
        if !self.node.shares || self.node.queue.is_none() {
            return Ok(false);
        }
        Ok(self.list_living().await?.iter().any(|it| it.role != Role::Web.word()))
    }

    /// The other nodes whose signs of life have not been missing for long.
    async fn list_living(&self) -> Result<Vec<store::nodes::Seen>> {
        if !self.node.shares {
            return Ok(Vec::new());
        }
        let (me, mut seen) = (self.node_id(), self.db.read(store::nodes::list).await?);
        seen.retain(|it| it.id != me && self.quiet(it) < DEAD_AFTER);
        Ok(seen)
    }

    /// Whether this node could do a duty at all.
    fn may_hold(&self, duty: Duty) -> bool {
        duty != Duty::Certify || self.can_certify()
    }

    /// Nodes whose beat has not grown for long.
    fn find_dead(&self, seen: &[store::nodes::Seen], me: NodeId, now: Instant) -> Vec<NodeId> {
        let mut known = self.nodes().lock();
        known.others.retain(|id, _| seen.iter().any(|it| it.id == *id));
        let mut dead = Vec::new();
        for it in seen.iter().filter(|it| it.id != me) {
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
        let (me, epoch) = {
            let mut known = self.nodes().lock();
            known.held.clear();
            (known.id, known.epoch)
        };
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
            Topic::Bans => self.signals().bans.notify_one(),
            Topic::Watch => self.signals().watch.notify_one(),
            Topic::Certificates => {
                self.signals().certificates_changed();
                self.signals().certify.notify_one();
            }
        }
    }
}

/// Forgets what nodes serve that are not there any more: one of an earlier release that took another for dead has left that.
fn forget_served(tx: &mut WriteTx<'_>, seen: &[store::nodes::Seen]) -> Result<()> {
    let served = store::nodes::list_served(tx)?;
    served
        .into_keys()
        .filter(|id| !seen.iter().any(|it| it.id == *id))
        .try_for_each(|id| store::nodes::serve_no_more(tx, id))
}

fn lease_lost(duty: Duty) -> Error {
    Error::conflict("lease_lost", format!("Another node has the duty `{}` by now.", duty.word()))
}
