//! One pass: gets what is due, some at a time, and hears of what comes meanwhile.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Acme,
    line::{Due, Line, Turn},
    lock,
};
use crate::{
    base::together,
    domain::{Error, Result},
    ports::acme::Later,
    services::{Services, nodes::Hold},
};

/// Certificates that are got at a time.
pub(super) const AT_ONCE: usize = 8;
/// How long one pass begins with one more hostname: what is due then is sorted anew in the next one.
const PASS_MAX: Duration = Duration::from_mins(5);
/// Between two looks at what has come meanwhile.
const HEARS_EVERY: Duration = Duration::from_secs(2);
/// How long the end of the process waits for orders that are under way: what an authority gives then would be lost.
const GRACE: Duration = Duration::from_secs(20);

impl Services {
    /// One pass: asks for what is due. Where the process stops, no more is begun, and what is under way has some seconds.
    pub async fn certify(&self, hold: Hold) -> Result<()> {
        let Some(acme) = &self.acme else { return Ok(()) };
        let covered = lock(&acme.covered).clone();
        let Some(covered) = covered.filter(|_| !acme.directories.is_empty()) else { return Ok(()) };
        self.master_key()?;
        let mut pass = Box::pin(self.pass(acme, &covered, hold));
        tokio::select! {
            done = &mut pass => return done,
            () = self.tasks.stopping() => {}
        }
        tokio::time::timeout(GRACE, pass).await.unwrap_or(Ok(()))
    }

    async fn pass(&self, acme: &Acme, covered: &[String], hold: Hold) -> Result<()> {
        let (due, seen) = self.find_due(acme, covered, hold).await?;
        self.sweep_records(acme, seen.all()).await?;
        let line = Line::new(acme, due);
        let until = Instant::now() + PASS_MAX;
        let ended = CancellationToken::new();
        let first = async {
            let work = || -> Later<'_, Result<()>> { Box::pin(self.take_turns(acme, hold, &line, until)) };
            let came = together::all((0..AT_ONCE).map(|_| work())).await;
            ended.cancel();
            came
        };
        let (came, late, heard) = tokio::join!(
            first,
            self.take_late_turns(acme, hold, &line, &ended),
            self.hear_of_more(acme, hold, &line, &ended)
        );
        // What is wanted anew, as a try by hand, is for the next pass.
        if heard.is_ok_and(|it| it) {
            self.signals().certify.notify_one();
        }
        came.into_iter().chain([late]).collect::<Result<()>>()?;
        if self.tasks.is_stopping() {
            return Ok(());
        }
        self.ask_windows(acme, &seen, hold).await
    }

    /// Gets one certificate after the other, until nothing is due and nothing under way.
    async fn take_turns(&self, acme: &Acme, hold: Hold, line: &Line<'_>, until: Instant) -> Result<()> {
        let mut failed = None;
        while !self.tasks.is_stopping() && Instant::now() < until {
            let changed = line.changed();
            match line.next() {
                Some(next) => {
                    if self.take_turn(acme, hold, next, &mut failed).await {
                        break;
                    }
                }
                None if line.is_idle() => break,
                // More may come while others are under way.
                None => drop(tokio::time::timeout_at(until, changed).await),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The same for what has come since the pass began, which others' names keep no place from; until all of them have ended.
    async fn take_late_turns(&self, acme: &Acme, hold: Hold, line: &Line<'_>, ended: &CancellationToken) -> Result<()> {
        let mut failed = None;
        while !self.tasks.is_stopping() && !ended.is_cancelled() {
            let changed = line.changed();
            let Some(next) = line.next_late() else {
                tokio::select! {
                    () = changed => continue,
                    () = ended.cancelled() => break,
                }
            };
            if self.take_turn(acme, hold, next, &mut failed).await {
                break;
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Gets one certificate; whether this node may get no more.
    async fn take_turn(
        &self,
        acme: &Acme,
        hold: Hold,
        ((wanted, before), _turn): (Due, Turn<'_>),
        failed: &mut Option<Error>,
    ) -> bool {
        let hostname = wanted.name.clone();
        let Err(error) = self.certify_one(acme, hold, wanted, before).await else { return false };
        tracing::warn!(hostname, %error, "what became of a certificate could not be kept");
        failed.insert(error).code == "lease_lost"
    }

    /// Adds what comes to be wanted while a pass goes on; whether it was heard of any.
    async fn hear_of_more(&self, acme: &Acme, hold: Hold, line: &Line<'_>, ended: &CancellationToken) -> Result<bool> {
        let mut has_heard = false;
        while !ended.is_cancelled() {
            tokio::select! {
                () = ended.cancelled() => break,
                () = self.signals().certify.notified() => {}
            }
            has_heard = true;
            let covered = lock(&acme.covered).clone().unwrap_or_default();
            line.add(self.find_due(acme, &covered, hold).await?.0);
            // What a pass itself does is heard of, too.
            drop(tokio::time::timeout(HEARS_EVERY, ended.cancelled()).await);
        }
        Ok(has_heard)
    }
}
