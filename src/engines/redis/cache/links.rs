//! Connections to the nodes that have the keys, and questions to several of them.
//!
//! A node that failed is left alone for a moment: nobody waits for it meanwhile.

use std::{collections::HashMap, sync::Arc, sync::atomic::Ordering, time::Duration};

use redis::{Connection, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::time::Instant;

use super::{
    super::link::{Node, is_lost},
    PAUSE, State,
    wire::{Ask, COMMON},
};
use crate::base::{ids::Id, random};

/// How long it may take to find the node that all need: nobody waits for it while it is away.
const FIND_COMMON_MAX: Duration = Duration::from_secs(1);
/// Characters of the run that stand in keys.
const RUN_CHARS: usize = 16;

/// What the answers to one ask are; `None` when it failed.
pub(super) type Answer = Option<Vec<Value>>;

/// The connections.
pub(super) struct Links {
    state: Arc<State>,
    open: HashMap<Node, Link>,
    /// When a node failed; `None`: it was not found which node it is.
    failed: HashMap<Option<Node>, Instant>,
    made: bool,
}

struct Link {
    connection: Connection,
    /// The run of the Redis: a restart or a failover begins another one.
    run: String,
}

impl Links {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self { state, open: HashMap::new(), failed: HashMap::new(), made: false }
    }

    /// Whether a connection was made since this was last asked.
    pub(super) fn were_made(&mut self) -> bool {
        std::mem::take(&mut self.made)
    }

    /// Whether the node that all need is connected.
    pub(super) fn has_common(&self) -> bool {
        self.state.address.place(COMMON).is_some_and(|it| self.open.contains_key(&it))
    }

    /// Asks all, each at its node, in one turn a node.
    pub(super) fn exchange(&mut self, asks: &[Ask<'_>]) -> Vec<Answer> {
        let mut by_node: HashMap<Node, Vec<usize>> = HashMap::new();
        for (index, ask) in asks.iter().enumerate() {
            if let Some(node) = self.reach(&ask.tag()) {
                by_node.entry(node).or_default().push(index);
            }
        }
        let mut answers: Vec<Answer> = asks.iter().map(|_| None).collect();
        for (node, indices) in by_node {
            let of_node: Vec<&Ask<'_>> = indices.iter().filter_map(|it| asks.get(*it)).collect();
            for (index, answer) in indices.iter().zip(self.exchange_with(&node, &of_node)) {
                if let Some(place) = answers.get_mut(*index) {
                    *place = answer;
                }
            }
        }
        let failed = answers.iter().filter(|it| it.is_none()).count();
        self.state.errors.fetch_add(u64::try_from(failed).unwrap_or(0), Ordering::Relaxed);
        answers
    }

    /// The node that has the keys with a tag, connected.
    fn reach(&mut self, tag: &str) -> Option<Node> {
        let place = self.state.address.place(tag);
        if let Some(node) = &place
            && self.open.contains_key(node)
        {
            return place;
        }
        if self.failed.get(&place).is_some_and(|it| it.elapsed() < PAUSE) {
            return None;
        }
        let find_max = if tag == COMMON { FIND_COMMON_MAX } else { self.state.patience.answer };
        let made = self.state.address.connect_to(tag, find_max, self.state.patience.answer);
        let made = made.and_then(|(node, mut connection)| {
            let run = run_of(&mut connection)?;
            Ok((node, Link { connection, run }))
        });
        match made {
            Ok((node, link)) => {
                self.failed.remove(&place);
                self.open.insert(node.clone(), link);
                self.made = true;
                Some(node)
            }
            Err(error) => {
                self.failed.insert(place, Instant::now());
                self.tell(tag, &error);
                None
            }
        }
    }

    fn exchange_with(&mut self, node: &Node, asks: &[&Ask<'_>]) -> Vec<Answer> {
        let nothing = || asks.iter().map(|_| None).collect();
        let Some(link) = self.open.get_mut(node) else { return nothing() };
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        let mut counts = Vec::new();
        for ask in asks {
            let commands = self.state.names.commands(ask, &link.run);
            counts.push(commands.len());
            for command in commands {
                pipeline.add_command(command);
            }
        }
        let answered: RedisResult<Value> = pipeline.query(&mut link.connection);
        let mut values = match answered {
            Ok(Value::Array(values)) => values.into_iter(),
            Ok(_) => return nothing(),
            Err(error) => {
                self.lose(node, &error);
                return nothing();
            }
        };
        let mut first_error = None;
        let answers = counts.into_iter().map(|count| {
            let of_ask: RedisResult<Vec<Value>> = values.by_ref().take(count).map(Value::extract_error).collect();
            of_ask.map_err(|error| first_error.get_or_insert(error).clone()).ok()
        });
        let answers = answers.collect();
        if let Some(error) = first_error {
            self.refused(node, &error);
        }
        answers
    }

    /// A node answered with an error.
    fn refused(&mut self, node: &Node, error: &RedisError) {
        match error.kind() {
            // It has the keys no more, or is just giving them away; it may well have others.
            ErrorKind::Server(ServerErrorKind::Moved) => self.state.address.forget_places(),
            ErrorKind::Server(ServerErrorKind::Ask | ServerErrorKind::TryAgain) => {}
            _ if is_lost(error) => self.lose(node, error),
            _ => {
                let redis = self.state.address.name();
                tracing::debug!(redis, %error, "the second layer of the cache refuses something");
            }
        }
    }

    /// A node is of no use now.
    fn lose(&mut self, node: &Node, error: &RedisError) {
        self.open.remove(node);
        self.failed.insert(Some(node.clone()), Instant::now());
        if self.state.address.place(COMMON).is_none_or(|it| it == *node) {
            self.tell(COMMON, error);
        }
        self.state.address.forget_places();
    }

    /// Without the node that all need, nobody waits for the others either.
    fn tell(&self, tag: &str, error: &RedisError) {
        if tag == COMMON {
            self.state.fails(Some(error));
        }
    }
}

/// The run of a Redis. Where it may not be asked, each connection has its own: values then pass to no other process, drops do.
fn run_of(connection: &mut Connection) -> RedisResult<String> {
    let answer: RedisResult<String> = redis::cmd("INFO").arg("server").query(connection);
    let text = match answer {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => String::new(),
        Err(error) => return Err(error),
    };
    let run =
        text.lines().find_map(|it| it.strip_prefix("run_id:")).map(|it| it.trim().chars().take(RUN_CHARS).collect());
    Ok(run.filter(|it: &String| !it.is_empty()).unwrap_or_else(|| Id::from_bytes(random::bytes()).to_string()))
}
