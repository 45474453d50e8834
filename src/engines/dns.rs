//! The resolver: messages by `hickory-proto`, sockets and cache of our own.
//!
//! Answers are kept for as long as they say and an hour at most; that there is nothing, for as long as the zone says and five
//! minutes at most; that nobody answered, not at all. Many who ask for the same wait for one answer.
//!
//! SECURITY: each question has a number and a port of its own, and an answer counts only when it comes from the server that was
//! asked, with that number and that question. Only records on the chain of aliases from the name that was asked are taken.

mod hosts;
mod message;
mod servers;
mod wire;

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use moka::sync::Cache;
use tokio::time::{Instant, timeout};

use self::{hosts::Hosts, servers::Servers, wire::Ask};
use crate::{
    base::flight::Flight,
    domain::dns::{Answer, Failure, Kind},
    ports::dns::{Answered, Names, Way},
};

/// Answers that are kept: what a server of some thousand sites asks for in an hour, at some hundred bytes each.
const KEPT_MAX: u64 = 4_096;
/// The longest that records are kept: the guide's hour.
const TTL_MAX_S: u32 = 3_600;
/// The longest that it is kept that there is nothing: somebody may be waiting for the record that they have just made.
const NOTHING_TTL_MAX_S: u32 = 300;
/// Times that all servers are asked: a datagram may get lost.
const ROUNDS: usize = 2;
/// The longest that one answer is waited for, over all servers.
const ANSWER_MAX: Duration = Duration::from_secs(8);
/// Aliases that are followed (as most resolvers do).
const CHAIN_MAX: usize = 10;

/// What is kept, and asked for: a name and a kind.
type Key = (String, Kind);

#[derive(Clone, Debug)]
struct Kept {
    answer: Answer,
    until: Instant,
}

/// The resolver of a server.
#[derive(Debug)]
pub struct Resolver {
    servers: Servers,
    hosts: Hosts,
    kept: Cache<Key, Kept>,
    flights: Flight<(Key, Load), Result<Answer, Failure>>,
    /// The server that answered last, which is asked first.
    good: AtomicUsize,
    generation: AtomicUsize,
}

/// Of those who ask for the same, the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Load {
    Cached,
    Fresh,
    Unvalidated,
}

impl Resolver {
    /// Asks these name servers; none: those that `/etc/resolv.conf` names, also once it names others.
    pub fn new(servers: &[SocketAddr]) -> Self {
        Self::with(Servers::new(servers), Hosts::new("/etc/hosts"))
    }

    fn with(servers: Servers, hosts: Hosts) -> Self {
        let kept = Cache::new(KEPT_MAX);
        Self {
            servers,
            hosts,
            kept,
            flights: Flight::new(),
            good: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
        }
    }

    async fn answer(&self, name: &str, kind: Kind, way: Way) -> Result<Answer, Failure> {
        let load = match way {
            Way::At(server) => return self.at(server, name, kind).await,
            Way::Cached => Load::Cached,
            Way::Fresh => Load::Fresh,
            Way::Unvalidated => Load::Unvalidated,
        };
        let key = (name.to_owned(), kind);
        if load == Load::Cached
            && let Some(answer) = self.recall(&key, Instant::now())
        {
            return Ok(answer);
        }
        let found = self.flights.join((key.clone(), load), self.load(&key, load)).await?;
        Ok(found)
    }

    /// What the cache has and may still tell at a time.
    fn recall(&self, key: &Key, now: Instant) -> Option<Answer> {
        self.forget_others();
        let Kept { mut answer, until } = self.kept.get(key)?;
        let left = until.checked_duration_since(now).filter(|it| !it.is_zero())?;
        answer.ttl_s = u32::try_from(left.as_secs()).unwrap_or(answer.ttl_s);
        Some(answer)
    }

    /// Other servers may see other things: what was kept of the ones before counts no more.
    fn forget_others(&self) {
        let generation = self.servers.generation();
        if self.generation.swap(generation, Ordering::Relaxed) != generation {
            self.kept.invalidate_all();
        }
    }

    async fn load(&self, key: &Key, load: Load) -> Result<Answer, Failure> {
        let answer =
            timeout(ANSWER_MAX, self.follow(key, load == Load::Unvalidated)).await.unwrap_or(Err(Failure::Silent))?;
        if load != Load::Unvalidated && answer.ttl_s > 0 {
            let until = Instant::now() + Duration::from_secs(answer.ttl_s.into());
            self.kept.insert(key.clone(), Kept { answer: answer.clone(), until });
        }
        Ok(answer)
    }

    /// Asks, and goes on where the answer is an alias alone.
    async fn follow(&self, (name, kind): &Key, unvalidated: bool) -> Result<Answer, Failure> {
        let (mut chain, mut ttl_s, mut at) = (Vec::new(), u32::MAX, name.clone());
        loop {
            let found = self.once(&at, *kind, unvalidated).await?;
            chain.extend(found.chain.iter().cloned());
            ttl_s = ttl_s.min(found.ttl_s);
            let goes_on = found.records.is_empty() && !found.no_name && found.zone.is_none();
            match chain.last() {
                Some(_) if chain.len() > CHAIN_MAX => return Err(Failure::Loop),
                Some(last) if goes_on && !found.chain.is_empty() => at.clone_from(last),
                _ => return Ok(bounded(Answer { chain, ttl_s, ..found })),
            }
        }
    }

    /// One question to the servers in turn, beginning with the one that answered last.
    async fn once(&self, name: &str, kind: Kind, unvalidated: bool) -> Result<Answer, Failure> {
        let servers = self.servers.list();
        let first = self.good.load(Ordering::Relaxed);
        let mut worst = Failure::Unreachable;
        for turn in 0..servers.len() * ROUNDS {
            let at = (first + turn) % servers.len().max(1);
            let Some(server) = servers.get(at) else { break };
            let ask = Ask { name, kind, recurse: true, unvalidated };
            match wire::ask(*server, ask).await {
                Ok(answer) => {
                    self.good.store(at, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err(why) => worst = graver(worst, why),
            }
            // All have said that they cannot: another round would say the same.
            let have_said = matches!(worst, Failure::ServerFailed | Failure::Refused | Failure::Loop);
            if have_said && turn + 1 >= servers.len() {
                break;
            }
        }
        Err(worst)
    }

    /// What one server has itself.
    async fn at(&self, server: SocketAddr, name: &str, kind: Kind) -> Result<Answer, Failure> {
        let mut found = Err(Failure::Silent);
        for _ in 0..ROUNDS {
            found = wire::ask(server, Ask { name, kind, recurse: false, unvalidated: false }).await;
            if !matches!(found, Err(Failure::Silent)) {
                break;
            }
        }
        found.map(bounded)
    }
}

/// What a server has said counts more than that another one has said nothing.
const fn graver(one: Failure, other: Failure) -> Failure {
    const fn weight(it: Failure) -> u8 {
        match it {
            Failure::Unreachable => 0,
            Failure::Silent => 1,
            Failure::Malformed => 2,
            Failure::Refused => 3,
            Failure::ServerFailed => 4,
            Failure::Loop => 5,
        }
    }
    if weight(other) > weight(one) { other } else { one }
}

/// An answer that does not count for longer than we let it.
fn bounded(mut answer: Answer) -> Answer {
    let max = if answer.records.is_empty() { NOTHING_TTL_MAX_S } else { TTL_MAX_S };
    answer.ttl_s = answer.ttl_s.min(max);
    answer
}

impl Names for Resolver {
    fn ask<'a>(&'a self, name: &'a str, kind: Kind, way: Way) -> Answered<'a> {
        Box::pin(self.answer(name, kind, way))
    }

    fn local(&self, name: &str) -> Vec<IpAddr> {
        self.hosts.find(name)
    }

    fn servers(&self) -> Vec<SocketAddr> {
        self.servers.list().to_vec()
    }
}

/// The resolver of these name servers, for the port.
pub fn resolver(servers: &[SocketAddr]) -> Arc<dyn Names> {
    Arc::new(Resolver::new(servers))
}

#[cfg(test)]
mod tests;
