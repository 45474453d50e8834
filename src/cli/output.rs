//! What the commands of the client have in common: their beginning, and results as JSON.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    client::{Client, credentials::ServerArgument},
    failure::{Failure, Result},
    terminal::{self, Terminal},
};
use crate::{base::clock::Clock, config::client::Environment};

/// How results are shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    /// Standard output.
    pub(super) terminal: Terminal,
    /// Now, for relative times.
    pub(super) now_ms: i64,
}

/// A client with server and key, and how to show what it answers.
pub(super) fn open(server: &ServerArgument) -> Result<(Client, Output)> {
    let environment = Environment::from_environment();
    let terminal = Terminal::of_stdout(environment.no_color);
    Ok((server.client(environment)?, Output { terminal, now_ms: Clock::system().now_ms() }))
}

/// Prints one JSON value.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value);
    terminal::print(&text.map_err(|error| Failure::Server(format!("This cannot be shown as JSON: {error}.")))?)
}

/// Prints one JSON value on one line.
pub(super) fn json_line(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value);
    terminal::print(&text.map_err(|error| Failure::Server(format!("This cannot be shown as JSON: {error}.")))?)
}

/// Reads a value of an answer.
pub(super) fn read_one<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value)
        .map_err(|error| Failure::Server(format!("The server's answer is not what this version expects: {error}.")))
}

/// Reads the rows of a list.
pub(super) fn read<T: DeserializeOwned>(rows: Vec<Value>) -> Result<Vec<T>> {
    rows.into_iter().map(read_one).collect()
}

/// Says that a list was longer than asked for.
pub(super) fn more(more: bool) {
    if more {
        terminal::note("There are more; --limit N shows more of them.");
    }
}
