//! Where a Redis is, and connections to it.
//!
//! Guarantees: a password is never in a message, nor in `Debug`. It keeps no connection: [`Address::connect`] makes one, on a
//! plain thread, and whoever has it drops it after any error and connects again.

use std::time::Duration;

use redis::{Client, Connection, IntoConnectionInfo as _, RedisResult};

use crate::{
    base::secret::Secret,
    domain::{Error, Result},
};

/// A Redis that does not take a connection for this long is down.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// An answer that takes longer never comes.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A Redis that can be connected to.
pub struct Address {
    client: Client,
    name: String,
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Address({})", self.name)
    }
}

impl Address {
    /// Reads `redis://user:password@host:port/database` or `rediss://…`.
    pub fn parse(url: &Secret) -> Result<Self> {
        let info = url.expose().into_connection_info().map_err(|error| wrong(&error.to_string()))?;
        let name = info.addr().to_string();
        let client = Client::open(info).map_err(|error| wrong(&error.to_string()))?;
        Ok(Self { client, name })
    }

    /// Host and port, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new connection to the master that has the keys with the tag `{chainhost}`, with time limits. Blocks.
    pub fn connect(&self) -> RedisResult<Connection> {
        let connection = self.client.get_connection_with_timeout(CONNECT_MAX)?;
        connection.set_read_timeout(Some(ANSWER_MAX))?;
        connection.set_write_timeout(Some(ANSWER_MAX))?;
        Ok(connection)
    }
}

fn wrong(why: &str) -> Error {
    let text = format!("The Redis URL cannot be used: {why}. Write redis://user:password@host:6379/0.");
    Error::invalid("redis_url", text)
}
