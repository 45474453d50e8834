//! Which node of a cluster has the keys with a tag.
//!
//! Learnt from `CLUSTER SLOTS` of any node; nodes that were learnt are asked before those of the URL, which may be long gone. What was
//! learnt may be old, so the node itself is asked for a key of the slot, and its MOVED is followed.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Connection, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, cmd};

use super::{
    dial::{Dialler, Until, permitted},
    url::Node,
};

/// A node that does not answer for this long is passed over.
const NODE_MAX: Duration = Duration::from_millis(500);
/// Slots of a cluster.
const SLOTS: u16 = 16_384;
/// Nodes that are remembered besides those of the URL.
const NODES_MAX: usize = 256;
/// How often one is sent on before it is an error.
const HOPS_MAX: usize = 5;

/// A cluster, and what is known of it.
pub(super) struct Cluster {
    seeds: Vec<Node>,
    dialler: Dialler,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Learnt, in the order in which they are asked.
    nodes: Vec<Node>,
    ranges: Vec<Range>,
}

/// Slots in a row, and the master that has them.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
    node: Node,
}

/// What a node answers to whom asks for a key.
enum Entered {
    Owner(Connection),
    Elsewhere(Node),
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Node>, dialler: Dialler) -> Self {
        Self { seeds, dialler, known: Mutex::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who has the keys with a tag, as far as that is known.
    pub(super) fn place(&self, tag: &str) -> Option<Node> {
        let slot = slot_of(tag);
        // The newest is the last.
        self.known().ranges.iter().rev().find(|it| (it.first..=it.last).contains(&slot)).map(|it| it.node.clone())
    }

    /// Who has which slots is asked again.
    pub(super) fn forget(&self) {
        self.known().ranges.clear();
    }

    /// A connection to the node that has the keys with a tag.
    pub(super) fn connect(&self, tag: &str, until: &Until) -> RedisResult<(Node, Connection)> {
        let mut asked = false;
        for _ in 0..HOPS_MAX {
            let node = if let Some(node) = self.place(tag) {
                node
            } else {
                self.ask(until)?;
                asked = true;
                let nobody = || server_error(ServerErrorKind::ClusterDown, "no node has the slot");
                self.place(tag).ok_or_else(nobody)?
            };
            match self.enter(&node, tag, until) {
                Ok(Entered::Owner(connection)) => return Ok((node, connection)),
                Ok(Entered::Elsewhere(node)) => {
                    let slot = slot_of(tag);
                    self.known().ranges.push(Range { first: slot, last: slot, node });
                }
                // It is gone, or was demoted: others may know who has its slots now.
                Err(error) => {
                    self.forget();
                    if asked {
                        return Err(error);
                    }
                }
            }
        }
        self.forget();
        Err(server_error(ServerErrorKind::TryAgain, "the slot is on its way from node to node"))
    }

    /// Connects to a node and asks it for a key.
    fn enter(&self, node: &Node, tag: &str, until: &Until) -> RedisResult<Entered> {
        let mut connection = self.dialler.dial(node, until.left_at_most(NODE_MAX)?)?;
        let answer = permitted(cmd("EXISTS").arg(format!("{{{tag}}}")).query::<i64>(&mut connection));
        match answer {
            Ok(_) => Ok(Entered::Owner(connection)),
            Err(error) => match (error.kind(), error.redirect_node()) {
                (ErrorKind::Server(ServerErrorKind::Moved), Some((address, _))) => {
                    Ok(Entered::Elsewhere(node_of(address, node).ok_or(error)?))
                }
                // It has the slot and is giving it away: what it still has is to be had from it alone.
                (ErrorKind::Server(ServerErrorKind::Ask), _) => Ok(Entered::Owner(connection)),
                _ => Err(error),
            },
        }
    }

    /// Asks the nodes in turn who has which slots.
    fn ask(&self, until: &Until) -> RedisResult<()> {
        let mut order = self.known().nodes.clone();
        for seed in &self.seeds {
            if !order.contains(seed) {
                // A seed is asked early: all that was learnt may be gone.
                order.insert(order.len().min(1), seed.clone());
            }
        }
        let mut last = None;
        for node in order {
            let Ok(time) = until.left_at_most(NODE_MAX) else { break };
            match self.ask_one(&node, time) {
                Ok((ranges, nodes)) => {
                    let mut known = self.known();
                    *known = Known { nodes, ranges };
                    return Ok(());
                }
                Err(error) => {
                    self.put_last(&node);
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| server_error(ServerErrorKind::ClusterDown, "no node answers")))
    }

    /// A node that does not answer is asked after the others from now on.
    fn put_last(&self, node: &Node) {
        let mut known = self.known();
        if let Some(at) = known.nodes.iter().position(|it| it == node) {
            let node = known.nodes.remove(at);
            known.nodes.push(node);
        }
    }

    fn ask_one(&self, node: &Node, time: Duration) -> RedisResult<(Vec<Range>, Vec<Node>)> {
        let mut connection = self.dialler.dial(node, time)?;
        let answer: Vec<Vec<Value>> = cmd("CLUSTER").arg("SLOTS").query(&mut connection)?;
        let (mut ranges, mut nodes) = (Vec::new(), vec![node.clone()]);
        for entry in &answer {
            let [Value::Int(first), Value::Int(last), servers @ ..] = entry.as_slice() else { continue };
            let servers: Vec<Node> = servers.iter().filter_map(|it| server_of(it, node)).collect();
            for server in &servers {
                if nodes.len() < NODES_MAX && !nodes.contains(server) {
                    nodes.push(server.clone());
                }
            }
            // The first is the master, the others follow it.
            if let (Ok(first), Ok(last), Some(node)) = (u16::try_from(*first), u16::try_from(*last), servers.first()) {
                ranges.push(Range { first, last, node: node.clone() });
            }
        }
        Ok((ranges, nodes))
    }
}

/// The slot of a tag: CRC-16/XMODEM of it modulo the number of slots, as the cluster specification has it.
fn slot_of(tag: &str) -> u16 {
    let shifted = |crc: u16| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    let crc = tag.bytes().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| shifted(crc)));
    crc % SLOTS
}

/// A server in an answer to `CLUSTER SLOTS`. One that does not know its own name is where we asked.
fn server_of(value: &Value, asked: &Node) -> Option<Node> {
    let Value::Array(fields) = value else { return None };
    let [host, Value::Int(port), ..] = fields.as_slice() else { return None };
    let host = match host {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok()?,
        Value::SimpleString(text) => text.clone(),
        _ => String::new(),
    };
    let host = if host.is_empty() || host == "?" { asked.host.clone() } else { host };
    Some(Node { host, port: u16::try_from(*port).ok()? })
}

/// The server in a MOVED: `host:port`, `:port` for the same host, or an IPv6 address with a port behind its last colon.
fn node_of(address: &str, asked: &Node) -> Option<Node> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = if host.is_empty() || host == "?" { asked.host.clone() } else { host.to_owned() };
    Some(Node { host, port: port.parse().ok()? })
}

fn server_error(kind: ServerErrorKind, text: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Server(kind), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        // From `redis-cli cluster keyslot`.
        assert_eq!(slot_of("123456789"), 0x31c3);
        assert_eq!(slot_of("chainhost"), 1_188);
    }

    #[test]
    fn a_node_that_does_not_know_its_name_is_where_it_was_asked() {
        let asked = Node { host: String::from("a"), port: 1 };
        let of = |host: Value| server_of(&Value::Array(vec![host, Value::Int(7)]), &asked).unwrap().to_string();
        assert_eq!(of(Value::Nil), "a:7");
        assert_eq!(of(Value::BulkString(b"?".to_vec())), "a:7");
        assert_eq!(of(Value::BulkString(b"10.0.0.1".to_vec())), "10.0.0.1:7");
        assert_eq!(node_of(":8", &asked).unwrap().to_string(), "a:8");
        assert_eq!(node_of("::1:8", &asked).unwrap().to_string(), "[::1]:8");
    }
}
