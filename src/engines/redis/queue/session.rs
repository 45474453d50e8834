//! A connection to Redis with the scripts loaded, on a server that may hold jobs.
//!
//! Guarantees: no wait is longer than the limits of the connection; after an error of the connection it is used no more.

use redis::{Connection, RedisError, RedisResult, Script, Value, cmd};

use crate::domain::{Error, Result};

use super::{
    super::link::Address,
    Limits,
    fault::{cannot_ask, cannot_connect, evicts, forbids, is_away, old, other, refused, said, unreachable},
    scripts::{Call, Scripts, SharedArgs},
};

/// Tries the commands of all scripts on keys like theirs.
const RIGHTS: &str = include_str!("scripts/rights.lua");
/// How long the key is kept that shows that changes are taken.
const PROBE_KEPT_MS: u64 = 60_000;
/// What a Redis answers that is there and takes no changes.
const REFUSALS: [&str; 3] = ["OOM", "MISCONF", "NOREPLICAS"];

/// A connection that is in use.
pub(super) struct Session {
    connection: Connection,
}

/// What became of one call: what its script answered, or an error of the server.
pub(super) type Answer = Result<Value, RedisError>;

impl Session {
    /// Connects to the Redis that has the jobs, and makes sure that it throws nothing away.
    pub(super) fn open(address: &Address, scripts: &Scripts, limits: Limits) -> Result<Self> {
        Self::begin(address, scripts, limits.connect(address).map_err(|error| cannot_connect(address, &error))?)
    }

    /// The same with any Redis, for who only asks it something.
    pub(super) fn visit(address: &Address, scripts: &Scripts, limits: Limits) -> Result<Self> {
        Self::begin(address, scripts, limits.connect(address).map_err(|error| cannot_ask(address, &error))?)
    }

    fn begin(address: &Address, scripts: &Scripts, connection: Connection) -> Result<Self> {
        let mut session = Self { connection };
        session.check(address.name())?;
        session.warn(address.name());
        session.load(scripts).map_err(|error| said(&error))?;
        session.check_rights(address.name(), scripts.prefix())?;
        Ok(session)
    }

    /// Makes sure that this user may do all that scripts do: one that may not would end a script halfway.
    fn check_rights(&mut self, name: &str, prefix: &str) -> Result<()> {
        let asked = Script::new(RIGHTS).key(format!("{prefix}:host:rights")).arg(prefix).invoke(&mut self.connection);
        match asked {
            Ok::<Vec<String>, _>(lacking) if lacking.is_empty() => Ok(()),
            Ok(lacking) => Err(forbids(name, &lacking)),
            Err(error) => Err(said(&error)),
        }
    }

    /// Whether this Redis takes changes now. `Err` of `Err`: the connection is broken or the server cannot be used.
    pub(super) fn takes_changes(&mut self, prefix: &str) -> RedisResult<Result<()>> {
        let kept = cmd("SET")
            .arg(format!("{prefix}:host:probe"))
            .arg(1)
            .arg("PX")
            .arg(PROBE_KEPT_MS)
            .exec(&mut self.connection);
        match kept {
            Ok(()) => Ok(Ok(())),
            Err(error) if error.code().is_some_and(|it| REFUSALS.contains(&it)) => Ok(Err(said(&error))),
            Err(error) => Err(error),
        }
    }

    /// Looks at the server again: somebody may have changed its settings, or made it a replica.
    pub(super) fn check(&mut self, name: &str) -> Result<()> {
        let info = self.info().map_err(|error| said(&error))?;
        let field = |wanted: &str| value_of(&info, wanted);
        if field("loading").is_some_and(|it| it != "0") {
            return Err(unreachable("it is loading its data"));
        }
        if field("role").is_some_and(|it| it != "master") {
            return Err(unreachable("it is a replica, not a master"));
        }
        if let Some(version) = field("redis_version").filter(|it| is_old(it)) {
            return Err(old(name, version));
        }
        match field("maxmemory_policy") {
            Some("noeviction") | None => Ok(()),
            Some(policy) => Err(evicts(name, policy)),
        }
    }

    /// CONFIG GET is forbidden in some hosted ones; INFO says the same.
    fn info(&mut self) -> RedisResult<String> {
        cmd("INFO").arg("everything").query(&mut self.connection)
    }

    fn warn(&mut self, name: &str) {
        if self.info().is_ok_and(|it| value_of(&it, "aof_enabled") == Some("0")) {
            tracing::warn!(
                redis = name,
                "this Redis keeps no append-only file: after a crash of it, jobs that had not ended are brought back from the \
                 database. `CONFIG SET appendonly yes` in redis-cli makes it keep them, and `CONFIG REWRITE` after it, or \
                 `appendonly yes` in redis.conf, lets that outlast a restart of it"
            );
        }
    }

    /// What its clock says, in milliseconds since 1970.
    pub(super) fn time_ms(&mut self) -> RedisResult<i64> {
        let (seconds, micros): (i64, i64) = cmd("TIME").query(&mut self.connection)?;
        Ok(seconds.saturating_mul(1_000).saturating_add(micros / 1_000))
    }

    fn load(&mut self, scripts: &Scripts) -> RedisResult<()> {
        scripts.all().iter().try_for_each(|it| it.load(&mut self.connection).map(drop))
    }

    /// Calls scripts, all at once. Their answers are still to be received. `Err`: as of `receive`.
    pub(super) fn send(&mut self, scripts: &Scripts, calls: &[&Call], shared: &SharedArgs<'_>) -> RedisResult<()> {
        let mut bytes = Vec::new();
        for call in calls {
            scripts.command(call, shared).write_packed_command(&mut bytes);
        }
        self.connection.send_packed_command(&bytes)
    }

    /// The answers of the calls that were sent last, in order. `Err`: the connection is broken or the server cannot be used now,
    /// and nobody knows which calls were done.
    pub(super) fn receive(
        &mut self,
        scripts: &Scripts,
        calls: &[&Call],
        shared: &SharedArgs<'_>,
    ) -> RedisResult<Vec<Answer>> {
        let mut answers = calls.iter().map(|_| self.answer()).collect::<RedisResult<Vec<_>>>()?;
        let lost = |it: &Answer| it.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT"));
        if answers.iter().any(lost) {
            // Somebody has flushed the scripts. Those that were not there have done nothing.
            self.load(scripts)?;
            for (answer, call) in answers.iter_mut().zip(calls).filter(|it| lost(it.0)) {
                self.send(scripts, &[*call], shared)?;
                *answer = self.answer()?;
            }
        }
        Ok(answers)
    }

    fn answer(&mut self) -> RedisResult<Answer> {
        match self.connection.recv_response()? {
            Value::ServerError(error) => {
                let error = RedisError::from(error);
                if is_away(&error) { Err(error) } else { Ok(Err(error)) }
            }
            value => Ok(Ok(value)),
        }
    }

    /// The id of the installation whose queues these are, and the word of these queues, once they have them.
    pub(super) fn whose(&mut self, prefix: &str) -> RedisResult<(Option<String>, Option<String>)> {
        cmd("HMGET").arg(format!("{prefix}:host:about")).arg(&["owner", "place"]).query(&mut self.connection)
    }

    /// Sees that these are the queues of `owner` with the word `place`, and gives it to those that have none.
    pub(super) fn check_place(&mut self, name: &str, prefix: &str, owner: &str, place: &str) -> Result<()> {
        if place.is_empty() {
            return Ok(());
        }
        let has = match self.whose(prefix).map_err(|error| said(&error))? {
            (Some(other), _) if other != owner => return Err(refused("queue_foreign", &other, 0)),
            (_, Some(has)) => has,
            // Lost with all else, or from before there were such words.
            (_, None) => self.place(prefix, place).map_err(|error| said(&error))?,
        };
        if has == place { Ok(()) } else { Err(other(name)) }
    }

    /// Gives these queues a word by which they are known wherever they are; the one that they have, which may be another.
    pub(super) fn place(&mut self, prefix: &str, word: &str) -> RedisResult<String> {
        let about = format!("{prefix}:host:about");
        cmd("HSETNX").arg(&about).arg("place").arg(word).exec(&mut self.connection)?;
        cmd("HGET").arg(about).arg("place").query(&mut self.connection)
    }

    /// Lets another connection of this process, which waits in Redis, go on.
    pub(super) fn unblock(&mut self, client: i64) {
        // It ends by itself a little later, too.
        drop(cmd("CLIENT").arg("UNBLOCK").arg(client).query::<Value>(&mut self.connection));
    }
}

/// Whether a Redis lacks commands of the scripts: one would end halfway. Others that speak its protocol name the version that they are
/// like; what cannot be read is let be.
fn is_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(|it| it.parse::<u32>().ok());
    matches!((numbers.next().flatten(), numbers.next().flatten()), (Some(major), Some(minor)) if (major, minor) < (6, 2))
}

fn value_of<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|it| it.strip_prefix(name)?.strip_prefix(':'))
}

/// The error of a reply that makes no sense.
pub(super) fn senseless(what: &str) -> Error {
    unreachable(format!("a script answered something else than {what}"))
}

#[cfg(test)]
mod tests {
    use super::is_old;

    #[test]
    fn versions_without_what_the_scripts_need() {
        for (version, old) in [("5.0.14", true), ("6.0.16", true), ("6.2.0", false), ("7.0.15", false), ("10.0", false)]
        {
            assert_eq!(is_old(version), old, "{version}");
        }
        assert!(!is_old("unstable") && !is_old(""));
    }
}
