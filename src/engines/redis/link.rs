//! Where a Redis is, and connections to the master that has the keys with the tag `{chainhost}`.
//!
//! | File | Holds |
//! |---|---|
//! | `url` | the text of the address |
//! | `dial` | one connection to one server, with TLS and time limits |
//! | `sentinel` | which server is the master, as Sentinels say |
//! | `cluster` | which node has a slot |
//!
//! Guarantees: a password is never in a message, nor in `Debug`; finding the master and signing in takes no longer than about
//! [`CONNECT_MAX`] in all, also with a server that takes a connection and then says nothing; a master that became a replica is
//! refused. It keeps no connection: [`Address::connect`] makes one, on a plain thread, and whoever has it drops it when
//! [`is_lost`] says so, and connects again.

mod cluster;
mod dial;
mod sentinel;
mod url;

use std::time::Duration;

use redis::{Connection, ErrorKind, RedisError, RedisResult, ServerErrorKind};

use crate::{
    base::secret::Secret,
    domain::{Error, Result},
};

use self::{
    cluster::Cluster,
    dial::{Dialler, Until},
    sentinel::Sentinels,
    url::Kind,
};

pub(super) use self::url::Node;

/// A Redis whose master cannot be reached for this long is down.
pub(super) const CONNECT_MAX: Duration = Duration::from_secs(2);
/// An answer that takes longer never comes.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The tag of the keys that must all be on one node of a cluster.
pub(super) const TAG: &str = "chainhost";

/// A Redis that can be connected to.
pub struct Address {
    way: Way,
    name: String,
    tls: bool,
}

enum Way {
    Server(Node, Dialler),
    Sentinel(Sentinels),
    Cluster(Cluster),
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Address({})", self.name)
    }
}

impl Address {
    /// Reads `redis://user:password@host:port/database`, `rediss://…` (TLS; `?sslrootcert=FILE` names the certificates to verify
    /// with, the system's else), `redis+sentinel://user:password@host:port,host:port/NAME` or `redis+cluster://host:port,host:port`.
    /// The last two take `?tls=yes`.
    pub fn parse(url: &Secret) -> Result<Self> {
        let mut parts = url::parse(url.expose())?;
        let name = parts.nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let (login, sentinel_login) = (std::mem::take(&mut parts.login), std::mem::take(&mut parts.sentinel_login));
        let dialler = Dialler::new(&parts, login, parts.database)?;
        let way = match &parts.kind {
            Kind::Server => {
                let node = parts.nodes.first().cloned().ok_or_else(|| url::wrong("it names no host"))?;
                Way::Server(node, dialler)
            }
            Kind::Sentinel(master) => {
                let asking = Dialler::new(&parts, sentinel_login, 0)?;
                Way::Sentinel(Sentinels::new(master.clone(), parts.nodes, asking, dialler))
            }
            Kind::Cluster => Way::Cluster(Cluster::new(parts.nodes, dialler)),
        };
        Ok(Self { way, name, tls: parts.tls })
    }

    /// Hosts and ports, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A new connection to the master that has the keys with the tag `{chainhost}`, with time limits. Blocks.
    pub fn connect(&self) -> RedisResult<Connection> {
        self.connect_to(TAG, CONNECT_MAX, ANSWER_MAX).map(|(_, connection)| connection)
    }

    /// A new connection to the master that has the keys with a tag, and which one that is: found within about `find_max`, and
    /// with a limit of `answer_max` for each answer.
    pub(super) fn connect_to(
        &self,
        tag: &str,
        find_max: Duration,
        answer_max: Duration,
    ) -> RedisResult<(Node, Connection)> {
        let until = Until::within(find_max);
        let (node, connection) = match &self.way {
            Way::Server(node, dialler) => {
                let mut connection = dialler.dial(node, until.left()?)?;
                dial::permitted(redis::cmd("PING").exec(&mut connection))?;
                (node.clone(), connection)
            }
            // However often the master changes, it is the one place for all keys.
            Way::Sentinel(sentinels) => (sentinels.place(), sentinels.connect(&until)?),
            Way::Cluster(cluster) => cluster.connect(tag, &until)?,
        };
        dial::limit(&connection, answer_max)?;
        Ok((node, connection))
    }

    /// Where the keys with a tag are, as far as that is known without asking.
    pub(super) fn place(&self, tag: &str) -> Option<Node> {
        match &self.way {
            Way::Server(node, _) => Some(node.clone()),
            Way::Sentinel(sentinels) => Some(sentinels.place()),
            Way::Cluster(cluster) => cluster.place(tag),
        }
    }

    /// Where keys are is asked again: a node said that it has them no more, or it is gone.
    pub(super) fn forget_places(&self) {
        if let Way::Cluster(cluster) = &self.way {
            cluster.forget();
        }
    }

    /// An error of this Redis in words for people.
    pub fn explain(&self, error: &RedisError) -> Error {
        let name = &self.name;
        let text = match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) => {
                format!("The Redis at {name} refuses the user or the password of its URL.")
            }
            (_, Some("NOAUTH")) => format!("The Redis at {name} wants a password: redis://user:password@host:port."),
            (_, Some("NOPERM")) => format!("The Redis at {name} does not permit its URL's user what is needed."),
            (ErrorKind::MasterNameNotFoundBySentinel, _) => {
                format!("The Sentinels at {name} know no master by the name in their URL.")
            }
            (ErrorKind::Server(ServerErrorKind::Moved), _) => {
                format!("The Redis at {name} is a node of a cluster. Write redis+cluster:// in its URL.")
            }
            (_, Some("ERR")) if error.detail().is_some_and(|it| it.contains("cluster support disabled")) => {
                format!("The Redis at {name} is no cluster. Write redis:// in its URL.")
            }
            (_, Some("ERR")) if error.detail().is_some_and(|it| it.contains("DB index")) => {
                format!("The Redis at {name} has no database with the number at the end of its URL.")
            }
            // A server without TLS waits for the rest of what it takes for a command.
            _ if self.tls && (error.is_timeout() || error.is_io_error()) => {
                format!(
                    "The Redis at {name} cannot be reached by TLS. If it listens without TLS, write its URL without."
                )
            }
            _ => format!("The Redis at {name} cannot be reached."),
        };
        Error::unavailable("redis_unreachable", text).because(error)
    }
}

/// Whether a connection is of no more use after this error: it is cut, or leads to a server that has the keys no more, or not
/// now. Whoever had it drops it, connects again, and may try the same once more.
pub fn is_lost(error: &RedisError) -> bool {
    let of_server = |kind: ServerErrorKind| {
        matches!(
            kind,
            ServerErrorKind::Moved
                | ServerErrorKind::Ask
                | ServerErrorKind::TryAgain
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::BusyLoading
        )
    };
    match error.kind() {
        ErrorKind::Io
        | ErrorKind::Parse
        | ErrorKind::AuthenticationFailed
        | ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::ClusterConnectionNotFound => true,
        ErrorKind::Server(kind) if of_server(kind) => true,
        // A pipeline tells the kind of its first error alone. UNBLOCKED: who waited was told of a change of roles.
        _ => error.clone().into_server_errors().is_some_and(|errors| {
            errors.iter().any(|(_, it)| it.kind().is_some_and(of_server) || it.code() == "UNBLOCKED")
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Address> {
        Address::parse(&Secret::new(url.to_owned()))
    }

    #[test]
    fn the_name_is_made_of_hosts_and_ports_alone() {
        let address = parse("redis+sentinel://me:p@ss@a:1,b:2/main?sentinel_password=word").unwrap();
        assert_eq!(address.name(), "a:1,b:2");
        assert_eq!(format!("{address:?}"), "Address(a:1,b:2)");
    }

    #[test]
    fn certificates_that_cannot_be_read_are_an_error() {
        let error = parse("rediss://h?sslrootcert=/no/such.pem").unwrap_err();
        assert!(error.code == "redis_url" && error.message.contains("/no/such.pem"), "{error:?}");
    }

    #[test]
    fn what_makes_a_connection_useless() {
        for (answer, lost) in [
            ("-MOVED 12 127.0.0.1:7000\r\n", true),
            ("-ASK 12 127.0.0.1:7000\r\n", true),
            ("-READONLY You can't write against a read only replica.\r\n", true),
            ("-LOADING Redis is loading the dataset in memory\r\n", true),
            ("-UNBLOCKED force unblock from blocking operation\r\n", true),
            ("-NOSCRIPT No matching script.\r\n", false),
            ("-ERR unknown command\r\n", false),
            ("-OOM command not allowed\r\n", false),
        ] {
            let error = redis::parse_redis_value(answer.as_bytes()).unwrap().extract_error().unwrap_err();
            assert_eq!(is_lost(&error), lost, "{answer}");
        }
        assert!(is_lost(&RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut))));
    }
}
