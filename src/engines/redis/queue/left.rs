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
    time::Time,
};

/// A connection of somebody who takes no job.
struct Visit<'w> {
    session: Session,
    scripts: Scripts,
    token: String,
    time: Time,
    wish: &'w Wish,
}

impl<'w> Visit<'w> {
    fn begin(url: &Secret, wish: &'w Wish) -> Result<Self> {
        let scripts = Scripts::new(&wish.prefix);
        let address = Address::parse(url)?;
        let mut session = Session::visit(&address, &scripts, wish.limits)?;
        let mut time = Time::new(wish.clock.clone());
        time.ask(address.name(), || session.time_ms()).map_err(|error| said(&error))?;
        Ok(Self { session, scripts, time, token: format!("{}:{}", wish.node, random::below(1 << 52)), wish })
    }

    fn look(&mut self) -> Result<Option<String>> {
        match self.session.whose(&self.wish.prefix).map_err(|error| said(&error))? {
            (Some(owner), _) if owner != self.wish.owner => Err(refused("queue_foreign", &owner, 0)),
            (_, place) => Ok(place),
        }
    }

    fn ask(&mut self, call: &Call) -> Result<Value> {
        let lease_ms = u64::try_from(self.wish.lease.as_millis()).unwrap_or(u64::MAX);
        let shared = SharedArgs { now_ms: self.time.now_ms(), token: &self.token, node: &self.wish.node, lease_ms };
        self.session.send(&self.scripts, &[call], &shared).map_err(unreachable)?;
        let answer = self.session.receive(&self.scripts, &[call], &shared).map_err(unreachable)?.pop();
        let answer = answer.ok_or_else(|| unreachable("no answer"))?.map_err(|error| said(&error))?;
        reply::accepted(Reply::read(answer)?.answer, self.wish.waiting_max)
    }
}

/// The word of the queues at `url`, once they have one. Sees that they are those of [`Wish::owner`], or of nobody yet. Changes nothing.
/// Blocks.
///
/// Errors: `queue_unreachable` when this Redis is away, `queue_foreign`, and those of [`super::QueueRedis::open`].
pub fn look(url: &Secret, wish: &Wish) -> Result<Option<String>> {
    let mut visit = Visit::begin(url, wish)?;
    visit.look()
}

/// As [`look`], and gives the queues the owner and the word of the wish where they have none. Answers the word that they have. Blocks.
pub fn claim(url: &Secret, wish: &Wish) -> Result<String> {
    let mut visit = Visit::begin(url, wish)?;
    if let Some(place) = visit.look()? {
        return Ok(place);
    }
    let mut call = keep("owner");
    call.push(&wish.owner);
    visit.ask(&call)?;
    visit.session.place(&wish.prefix, &wish.place).map_err(|error| said(&error))
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
