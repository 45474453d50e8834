//! The master that Sentinels know by a name.
//!
//! All are asked in turn, beginning with the one that last led to the master: one that is cut off may name a master of yesterday. A
//! master is one that says so itself (`ROLE`), as the guidelines for Sentinel's clients demand.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use redis::{Connection, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, cmd};

use super::{
    dial::{Dialler, Until, permitted},
    url::Node,
};

/// A Sentinel that does not answer for this long is passed over.
const SENTINEL_MAX: Duration = Duration::from_millis(500);
/// A master that does not answer for this long is one that another Sentinel may already know better than.
const MASTER_MAX: Duration = Duration::from_secs(1);

/// Sentinels, and how to reach whom they name.
pub(super) struct Sentinels {
    name: String,
    nodes: Vec<Node>,
    /// The index of the one that is asked first.
    first: AtomicUsize,
    asking: Dialler,
    to_master: Dialler,
}

impl Sentinels {
    pub(super) fn new(name: String, nodes: Vec<Node>, asking: Dialler, to_master: Dialler) -> Self {
        Self { name, nodes, first: AtomicUsize::new(0), asking, to_master }
    }

    /// What stands for the master, whichever it is.
    pub(super) fn place(&self) -> Node {
        Node { host: self.name.clone(), port: 0 }
    }

    /// A connection to the master.
    pub(super) fn connect(&self, until: &Until) -> RedisResult<Connection> {
        let mut tried = Vec::new();
        let mut last = None;
        let first = self.first.load(Ordering::Relaxed);
        let order = self.nodes.iter().enumerate().cycle().skip(first).take(self.nodes.len());
        for (index, sentinel) in order {
            let Ok(time) = until.left_at_most(SENTINEL_MAX) else { break };
            let node = match self.ask(sentinel, time) {
                Ok(node) if tried.contains(&node) => continue,
                Ok(node) => node,
                // What is wrong with a master says more than that a Sentinel is down.
                Err(error) => {
                    last.get_or_insert(error);
                    continue;
                }
            };
            match self.enter(&node, until) {
                Ok(connection) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => last = Some(error),
            }
            tried.push(node);
        }
        match (last, until.left()) {
            (Some(error), _) | (None, Err(error)) => Err(error),
            (None, Ok(_)) => Err(RedisError::from((ErrorKind::EmptySentinelList, "no Sentinel is named"))),
        }
    }

    /// Whom a Sentinel takes for the master.
    fn ask(&self, sentinel: &Node, time: Duration) -> RedisResult<Node> {
        let mut connection = self.asking.dial(sentinel, time)?;
        let named: Option<(String, u16)> =
            cmd("SENTINEL").arg("get-master-addr-by-name").arg(&self.name).query(&mut connection)?;
        let unknown = || RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "no master by this name"));
        let (host, port) = named.ok_or_else(unknown)?;
        Ok(Node { host, port })
    }

    /// A connection to a server that is a master.
    fn enter(&self, node: &Node, until: &Until) -> RedisResult<Connection> {
        let mut connection = self.to_master.dial(node, until.left_at_most(MASTER_MAX)?)?;
        let role: Vec<Value> = permitted(cmd("ROLE").query(&mut connection))?;
        match role.first() {
            // Whoever may not ask learns it from the first write.
            None => Ok(connection),
            Some(Value::BulkString(word)) if word == b"master" => Ok(connection),
            Some(_) => Err(RedisError::from((
                ErrorKind::Server(ServerErrorKind::ReadOnly),
                "the server that the Sentinels name is no master",
            ))),
        }
    }
}
