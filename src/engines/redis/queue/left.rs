//! What is asked of the queues in a Redis that nobody of this installation works on: whose they are, and that they forget.

use redis::Value;

use crate::{
    base::{random, secret::Secret},
    domain::Result,
};

use super::{
    super::link::Address,
    Wish,
    calls::keep,
    fault::{refused, said, unreachable},
    reply::{self, Reply},
    scripts::{Call, Scripts, SharedArgs},
    session::Session,
};

/// A connection of somebody who takes no job.
struct Visit<'w> {
    session: Session,
    scripts: Scripts,
    token: String,
    wish: &'w Wish,
}

impl<'w> Visit<'w> {
    fn begin(url: &Secret, wish: &'w Wish) -> Result<Self> {
        let scripts = Scripts::new(&wish.prefix);
        let session = Session::open(&Address::parse(url)?, &scripts, wish.limits)?;
        Ok(Self { session, scripts, token: format!("{}:{}", wish.node, random::below(1 << 52)), wish })
    }

    fn ask(&mut self, call: &Call) -> Result<Value> {
        let lease_ms = u64::try_from(self.wish.lease.as_millis()).unwrap_or(u64::MAX);
        let shared =
            SharedArgs { now_ms: self.wish.clock.now_ms(), token: &self.token, node: &self.wish.node, lease_ms };
        self.session.send(&self.scripts, &[call], &shared).map_err(unreachable)?;
        let answer = self.session.receive(&self.scripts, &[call], &shared).map_err(unreachable)?.pop();
        let answer = answer.ok_or_else(|| unreachable("no answer"))?.map_err(|error| said(&error))?;
        reply::accepted(Reply::read(answer)?.answer, self.wish.waiting_max)
    }
}

/// Sees that the queues at `url` are those of [`Wish::owner`], or of nobody yet. Changes nothing. Blocks.
///
/// Errors: `queue_foreign`, and those of [`super::QueueRedis::open`].
pub fn check_owner(url: &Secret, wish: &Wish) -> Result<()> {
    let mut visit = Visit::begin(url, wish)?;
    match visit.session.owner(&wish.prefix).map_err(|error| said(&error))? {
        Some(owner) if owner != wish.owner => Err(refused("queue_foreign", &owner, 0)),
        _ => Ok(()),
    }
}

/// Lets the queues at `url` forget all jobs that came from this program, also what they know of those that have gone, so that they
/// take them again. Jobs that other programs have put in stay. How many went. Blocks.
///
/// Errors: those of [`super::QueueRedis::open`]. Broken off, it is to be asked for again.
pub fn clear(url: &Secret, wish: &Wish) -> Result<u64> {
    let mut visit = Visit::begin(url, wish)?;
    let (mut gone, mut after) = (0, String::new());
    loop {
        let mut call = keep("clear");
        call.push(&after);
        let [some, last] = <[Value; 2]>::try_from(reply::list(visit.ask(&call)?)?)
            .map_err(|_| unreachable("a number and a ref were expected"))?;
        gone += u64::try_from(reply::int(&some)?).unwrap_or(0);
        after = reply::text(&last)?;
        if after.is_empty() {
            return Ok(gone);
        }
    }
}
