//! The thread that asks: it takes all requests that wait, asks Redis in one turn, and answers.
//!
//! Twice a second it says on the channel that the line holds, connects where it is not connected, and tells the drops that still wait.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{Request, State, links::Links, wire, wire::Ask};
use crate::ports::cache::Tag;

/// Between two beats.
const BEAT: Duration = Duration::from_millis(500);
/// Requests in one turn: one of them waits for all before it.
const BATCH_MAX: usize = 128;
/// Drops in one message.
const DROPS_MAX: usize = 256;

/// What the thread works with.
pub(super) struct Worker {
    state: Arc<State>,
    requests: Receiver<Request>,
    links: Links,
}

impl Worker {
    pub(super) fn new(state: Arc<State>, requests: Receiver<Request>) -> Self {
        let links = Links::new(Arc::clone(&state));
        Self { state, requests, links }
    }

    /// Until nobody can ask any more.
    pub(super) fn run(mut self) {
        let mut next_beat = Instant::now();
        loop {
            let wait = next_beat.saturating_duration_since(Instant::now());
            match self.requests.recv_timeout(wait) {
                Ok(first) => {
                    let more = self.requests.try_iter().take(BATCH_MAX - 1);
                    let batch: Vec<Request> = std::iter::once(first).chain(more).collect();
                    if batch.iter().any(|it| matches!(it, Request::Drops)) {
                        self.tell_drops();
                    }
                    self.serve(batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if Instant::now() >= next_beat {
                self.beat();
                next_beat = Instant::now() + BEAT;
            }
        }
        // A restart leaves the others nothing old. This may connect, if it was not tried a moment ago.
        self.links.exchange(&[Ask::Tell(&[])]);
        self.tell_drops();
        // Whoever listens in this process hears it, and sees that it is over.
        if self.links.has_common() {
            self.links.exchange(&[Ask::Tell(&[])]);
        }
    }

    fn beat(&mut self) {
        self.state.drops().prune(Instant::now());
        let answers = self.links.exchange(&[Ask::Tell(&[])]);
        if self.links.were_made() {
            self.state.drops().again();
        }
        if answers.iter().all(Option::is_some) {
            self.tell_drops();
            self.state.answers();
        }
    }

    /// Gives the tags that were dropped new generations, and tells the other processes, in this order: who then loads finds
    /// the new generation.
    fn tell_drops(&mut self) {
        while self.links.has_common() {
            let tags = self.state.drops().take(DROPS_MAX);
            if tags.is_empty() {
                return;
            }
            let asks: Vec<Ask<'_>> = tags.iter().map(Ask::Drop).collect();
            let dropped = self.links.exchange(&asks);
            let told = self.tell(&tags);
            let done: Vec<bool> = dropped.iter().map(|it| told && it.is_some()).collect();
            self.state.drops().landed(&done);
            // What cannot be told now is told with the next beat.
            if done.contains(&false) {
                return;
            }
        }
    }

    fn tell(&mut self, tags: &[Tag]) -> bool {
        self.links.exchange(&[Ask::Tell(tags)]).iter().all(Option::is_some)
    }

    fn serve(&mut self, batch: Vec<Request>) {
        let mut asks = Vec::new();
        for request in &batch {
            match request {
                Request::Find { key, tag, .. } => asks.extend([Ask::Generation(tag), Ask::Value(key)]),
                Request::Keep { key, stamp, bytes, ttl } => asks.push(Ask::Keep { key, stamp, bytes, ttl: *ttl }),
                Request::Take { key, max, window_ms, .. } => {
                    asks.push(Ask::Take { key, max: *max, window_ms: *window_ms });
                }
                Request::Forget { key } => asks.push(Ask::Forget(key)),
                Request::Drops => {}
            }
        }
        let mut answers = self.links.exchange(&asks).into_iter();
        let mut next = || answers.next().flatten();
        for request in batch {
            // Who asked may wait no more.
            match request {
                Request::Find { answer, .. } => drop(answer.send(wire::found(next(), next()))),
                Request::Take { answer, .. } => drop(answer.send(wire::taken(next()))),
                Request::Keep { .. } | Request::Forget { .. } => drop(next()),
                Request::Drops => {}
            }
        }
    }
}
