//! How many requests to the panel and the API one client has at work at once: the others of it wait.
//!
//! SECURITY: visitors' requests take turns with these on the same threads. Whoever asks for very many pages at once, each of which costs more
//! than a file, would have every visitor wait until all of them are made.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};

use crate::{base::network, domain::Error};

/// Requests of one client at once. A browser has some ten.
const EACH_MAX: usize = 64;
/// How long a request waits for its turn.
const WAITS: Duration = Duration::from_secs(10);
/// From so many clients on those that have nothing at work are forgotten.
const KNOWN_MAX: usize = 1_024;

/// The clients that have something at work.
#[derive(Debug)]
pub(super) struct Turnstile {
    waits: Duration,
    known: Mutex<HashMap<IpAddr, Weak<Semaphore>>>,
}

impl Default for Turnstile {
    fn default() -> Self {
        Self::new(WAITS)
    }
}

impl Turnstile {
    /// At which a request waits for so long.
    fn new(waits: Duration) -> Self {
        Self { waits, known: Mutex::default() }
    }

    /// Waits until the client has fewer at work. What is returned is kept until the answer begins.
    ///
    /// Errors: `busy` when that takes too long.
    pub(super) async fn pass(&self, client: IpAddr) -> Result<OwnedSemaphorePermit, Error> {
        let of_client = self.of(network::counted(client));
        if let Ok(Ok(turn)) = time::timeout(self.waits, of_client.acquire_owned()).await {
            return Ok(turn);
        }
        let text = "Very many requests from your address are being worked on. Try again in a moment.";
        Err(Error::unavailable("busy", text))
    }

    fn of(&self, client: IpAddr) -> Arc<Semaphore> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(it) = known.get(&client).and_then(Weak::upgrade) {
            return it;
        }
        if known.len() >= KNOWN_MAX {
            known.retain(|_, it| it.strong_count() > 0);
        }
        let new = Arc::new(Semaphore::new(EACH_MAX));
        known.insert(client, Arc::downgrade(&new));
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_with_much_at_work_waits_and_others_do_not() {
        let turnstile = Turnstile::new(Duration::from_secs(1));
        let (one, neighbour, other) = ("2001:db8::1", "2001:db8::2", "192.0.2.1");
        let pass = |client: &str| turnstile.pass(client.parse().unwrap());
        let mut at_work = Vec::new();
        for _ in 0..EACH_MAX {
            at_work.push(pass(one).await.unwrap());
        }
        drop(pass(other).await.unwrap());
        assert_eq!(pass(neighbour).await.unwrap_err().code, "busy");
        let mut waiting = Box::pin(pass(one));
        assert!(time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
        at_work.pop();
        drop((waiting.await.unwrap(), at_work));
        assert_eq!(Arc::strong_count(&turnstile.of(network::counted(one.parse().unwrap()))), 1);
    }

    #[tokio::test]
    async fn who_has_nothing_at_work_is_forgotten() {
        let turnstile = Turnstile::default();
        let kept = turnstile.pass(IpAddr::from([192, 0, 2, 1])).await.unwrap();
        for number in 0..2 * u32::try_from(KNOWN_MAX).unwrap() {
            drop(turnstile.pass(IpAddr::from(number.to_be_bytes())).await.unwrap());
        }
        let known = turnstile.known.lock().unwrap();
        assert!(known.len() <= KNOWN_MAX && known.contains_key(&IpAddr::from([192, 0, 2, 1])), "{}", known.len());
        drop((known, kept));
    }
}
