//! The nodes of an installation, the leases of what only one of them may do, and what they tell one another. Global tables.

use std::collections::HashMap;

use crate::{
    base::ids::Id,
    domain::{
        Result,
        node::{Duty, NodeId, Role, Topic},
    },
    params,
    ports::db::{ReadTx, WriteTx},
};

/// More nodes than anybody runs.
const LISTED_MAX: i64 = 1_000;
/// Before the id of a node, the topic under which it tells up to which news of [`Topic::Routes`] visitors are served by it. A node that
/// does not know of it takes it for a topic of others.
const SERVES: &str = "serves ";

/// A node as the others see it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which.
    pub id: NodeId,
    /// What it does.
    pub role: String,
    /// What its operator says of it.
    pub labels: String,
    /// Grows while it lives.
    pub beat: i64,
    /// Its own time of day at the last beat.
    pub seen_ms: i64,
}

/// What became of a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It is written.
    Written,
    /// The node is not entered any more: it was taken for dead.
    Missing,
    /// Another process has entered itself under the same id.
    Foreign,
}

/// Who holds a lease.
#[derive(Clone, Debug)]
pub struct Lease {
    /// Of which duty, by its word.
    pub name: String,
    /// The node; `None` when it was given back.
    pub holder: Option<NodeId>,
    /// Grows with every holder.
    pub fence: i64,
}

/// Enters a node that has started.
pub fn join(tx: &mut WriteTx<'_>, id: NodeId, epoch: Id, role: Role, labels: &str, now_ms: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO node (id, epoch, role, labels, beat, seen_ms) VALUES ($1, $2, $3, $4, 1, $5)
         ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch, role = excluded.role, labels = excluded.labels,
         beat = node.beat + 1, seen_ms = excluded.seen_ms",
        params![id.0, epoch, role.word(), labels, now_ms],
    )?;
    Ok(())
}

/// A sign of life of the process `epoch` under this id.
pub fn beat(tx: &mut WriteTx<'_>, id: NodeId, epoch: Id, now_ms: i64) -> Result<Sign> {
    let sql = "UPDATE node SET beat = beat + 1, seen_ms = $3 WHERE id = $1 AND epoch = $2";
    if tx.execute(sql, params![id.0, epoch, now_ms])? > 0 {
        return Ok(Sign::Written);
    }
    let is_there = tx.find("SELECT 1 FROM node WHERE id = $1", params![id.0])?.is_some();
    Ok(if is_there { Sign::Foreign } else { Sign::Missing })
}

/// Removes a node that leaves, and gives back what it holds.
pub fn leave(tx: &mut WriteTx<'_>, id: NodeId, epoch: Id) -> Result<()> {
    if tx.execute("DELETE FROM node WHERE id = $1 AND epoch = $2", params![id.0, epoch])? > 0 {
        tx.execute("UPDATE lease SET holder = NULL WHERE holder = $1", params![id.0])?;
        serve_no_more(tx, id)?;
    }
    Ok(())
}

/// Removes a node that has shown no sign of life.
pub fn forget(tx: &mut WriteTx<'_>, id: NodeId) -> Result<()> {
    tx.execute("DELETE FROM node WHERE id = $1", params![id.0])?;
    serve_no_more(tx, id)
}

/// All nodes.
pub fn list(tx: &mut ReadTx<'_>) -> Result<Vec<Seen>> {
    let rows =
        tx.query("SELECT id, role, labels, beat, seen_ms FROM node ORDER BY id LIMIT $1", params![LISTED_MAX])?;
    let seen = rows.iter().map(|row| {
        Ok(Seen {
            id: row.id(0)?,
            role: row.text(1)?.to_owned(),
            labels: row.text(2)?.to_owned(),
            beat: row.int(3)?,
            seen_ms: row.int(4)?,
        })
    });
    seen.collect()
}

/// All leases that were ever taken.
pub fn list_leases(tx: &mut ReadTx<'_>) -> Result<Vec<Lease>> {
    let rows = tx.query("SELECT name, holder, fence FROM lease ORDER BY name LIMIT $1", params![LISTED_MAX])?;
    let leases =
        rows.iter().map(|row| Ok(Lease { name: row.text(0)?.to_owned(), holder: row.opt_id(1)?, fence: row.int(2)? }));
    leases.collect()
}

/// Takes a lease, whoever has it; the new fence.
pub fn take(tx: &mut WriteTx<'_>, duty: Duty, id: NodeId) -> Result<i64> {
    tx.one(
        "INSERT INTO lease (name, holder, fence) VALUES ($1, $2, 1)
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, fence = lease.fence + 1 RETURNING fence",
        params![duty.word(), id.0],
    )?
    .int(0)
}

/// Gives one lease back, if this node has it.
pub fn release(tx: &mut WriteTx<'_>, duty: Duty, id: NodeId) -> Result<()> {
    tx.execute("UPDATE lease SET holder = NULL WHERE name = $1 AND holder = $2", params![duty.word(), id.0])?;
    Ok(())
}

/// Whether the lease is still that of this fence.
pub fn holds(tx: &mut ReadTx<'_>, duty: Duty, id: NodeId, fence: i64) -> Result<bool> {
    let sql = "SELECT 1 FROM lease WHERE name = $1 AND holder = $2 AND fence = $3";
    Ok(tx.find(sql, params![duty.word(), id.0, fence])?.is_some())
}

/// Tells the other nodes that something has changed.
pub fn tell(tx: &mut WriteTx<'_>, topic: Topic) -> Result<()> {
    tx.execute(
        "INSERT INTO news (topic, number) VALUES ($1, 1) ON CONFLICT (topic) DO UPDATE SET number = news.number + 1",
        params![topic.word()],
    )?;
    Ok(())
}

/// How often each topic has changed; those that never did are not listed.
pub fn list_news(tx: &mut ReadTx<'_>) -> Result<Vec<(String, i64)>> {
    let sql = "SELECT topic, number FROM news WHERE topic NOT LIKE 'serves %' ORDER BY topic LIMIT $1";
    let rows = tx.query(sql, params![LISTED_MAX])?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.int(1)?))).collect()
}

/// How often a topic has changed; 0: never.
pub fn count_news(tx: &mut ReadTx<'_>, topic: Topic) -> Result<i64> {
    let row = tx.find("SELECT number FROM news WHERE topic = $1", params![topic.word()])?;
    row.map_or(Ok(0), |row| row.int(0))
}

/// Says up to which news of [`Topic::Routes`] a node serves visitors; 0: none yet.
pub fn serve(tx: &mut WriteTx<'_>, id: NodeId, number: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO news (topic, number) VALUES ($1, $2) ON CONFLICT (topic) DO UPDATE SET number = excluded.number",
        params![format!("{SERVES}{id}"), number],
    )?;
    Ok(())
}

/// Forgets what a node has said that it serves.
pub fn serve_no_more(tx: &mut WriteTx<'_>, id: NodeId) -> Result<()> {
    tx.execute("DELETE FROM news WHERE topic = $1", params![format!("{SERVES}{id}")])?;
    Ok(())
}

/// What nodes have said that they serve ([`serve`]). Those of a release that says nothing of it are not among them.
pub fn list_served(tx: &mut ReadTx<'_>) -> Result<HashMap<NodeId, i64>> {
    let sql = "SELECT topic, number FROM news WHERE topic LIKE 'serves %' ORDER BY topic LIMIT $1";
    let rows = tx.query(sql, params![LISTED_MAX])?;
    let mut served = HashMap::new();
    for row in rows {
        if let Some(id) = row.text(0)?.strip_prefix(SERVES).and_then(|it| it.parse().ok()) {
            served.insert(NodeId(id), row.int(1)?);
        }
    }
    Ok(served)
}
