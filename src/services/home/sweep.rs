//! Garbage collection in the store: what no kept deployment names, in short rounds between which deployments go on.
//!
//! One collection at a time in all of the installation. Only objects with names of our shape are looked at.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_stream::StreamExt as _;

use super::{
    super::{Services, collect::Marks, nodes::Hold},
    Home,
    deploy::{self, Fence},
};
use crate::{
    base::{hash::Sha256, retry::Backoff},
    domain::{Error, Kind, Result},
    ports::{
        blobs::{Name, StoreError},
        db::WriteTx,
    },
    store::{self, settings::SWEEP},
};

/// Objects removed in one collection: the next one sees the rest, and memory is bounded.
const REMOVED_MAX: usize = 100_000;
/// Objects removed with one request.
const STEP: usize = 500;
/// A round begins no request later. Deployments wait for its end.
const ROUND_MAX: Duration = Duration::from_secs(2);
/// Between two rounds, so that deployments that wait come through: they look more often.
const PAUSE: Duration = Duration::from_secs(1);
/// A request that is not answered for so long may still be under way in the store.
const DELETE_MAX: Duration = Duration::from_secs(30);
/// Pause while the database cannot be written.
const AGAIN: Backoff = Backoff::Fixed(1_000);
/// How often it is tried to say that a round has ended, after which others take it for dead.
const ENDS: u32 = 60;

/// What a round has done.
struct Round {
    marks: Marks,
    /// Objects that were looked at.
    taken: usize,
    removed: Vec<(Sha256, u64)>,
    failed: Option<Error>,
    /// A request may still be under way.
    unsure: bool,
}

impl Services {
    /// Finds objects of the store that nothing names and that were last put before `before_ms`, and unless it is a `dry_run`
    /// removes them; the blobs among them with their sizes, and what is marked by then.
    pub(in crate::services) async fn sweep_store(
        &self,
        dry_run: bool,
        before_ms: i64,
        mut marks: Marks,
        hold: Option<Hold>,
    ) -> Result<(Vec<(Sha256, u64)>, Marks)> {
        let Some(home) = &self.home else { return Ok((Vec::new(), marks)) };
        home.claimed().await?;
        let mut found = home.list_unmarked(&marks, before_ms).await?;
        if dry_run {
            // Compressed forms go with their blobs, and are not counted.
            return Ok((found.into_iter().filter_map(blob).collect(), marks));
        }
        let mut removed = Vec::new();
        loop {
            // Before the round, so that nobody waits while lists are read.
            marks = self.mark_more(marks).await?;
            found.retain(|(name, _)| !marks.contains(&name.hash()));
            if found.is_empty() {
                return Ok((removed, marks));
            }
            let round = self.remove_round(home, &found, marks, hold).await?;
            removed.extend(round.removed);
            if let Some(error) = round.failed {
                return Err(error);
            }
            found.drain(..round.taken.min(found.len()));
            marks = round.marks;
            if !found.is_empty() {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    // The next collection sees the rest.
                    () = self.tasks.stopping() => return Ok((removed, marks)),
                }
            }
        }
    }

    /// One round: says that it removes, looks who has begun, removes, says that it has ended.
    async fn remove_round(
        &self,
        home: &Home,
        found: &[(Name, u64)],
        marks: Marks,
        hold: Option<Hold>,
    ) -> Result<Round> {
        let id = self.ids.next().to_string();
        let before = self.db.read(|tx| store::settings::find(tx, SWEEP)).await?;
        // Two at once would each say that nobody removes any more while the other still does.
        if home.0.rounds.is_sweeping(before.as_deref()) {
            return Err(deploy::swept());
        }
        let (before, row) = (Fence::of(before), deploy::sweeping(&id));
        let announce = move |tx: &mut WriteTx<'_>| {
            before.check(tx)?;
            store::settings::set(tx, SWEEP, &row)
        };
        let begun = Instant::now();
        self.write_held(hold, announce).await?;
        // What was begun until now pins its blobs; what begins from now on finds the row of this round.
        let round = match self.mark_more(marks).await {
            Ok(marks) => Ok(self.remove_some(home, found, marks, begun, hold).await),
            Err(error) => Err(error),
        };
        if !round.as_ref().is_ok_and(|it| it.unsure) {
            self.end_round(&id).await?;
        }
        round
    }

    async fn remove_some(
        &self,
        home: &Home,
        found: &[(Name, u64)],
        marks: Marks,
        begun: Instant,
        hold: Option<Hold>,
    ) -> Round {
        let mut round = Round { marks, taken: 0, removed: Vec::new(), failed: None, unsure: false };
        for step in found.chunks(STEP) {
            // Also when it took long to look who has begun: others wait.
            if begun.elapsed() > ROUND_MAX {
                break;
            }
            let gone: Vec<(Name, u64)> =
                step.iter().filter(|(name, _)| !round.marks.contains(&name.hash())).copied().collect();
            let names: Vec<Name> = gone.iter().map(|(name, _)| *name).collect();
            for name in &names {
                home.forget(name.hash());
            }
            if let Err(error) = self.ask_hold(hold).await {
                round.failed = Some(error);
                break;
            }
            if let Err((error, unsure)) = home.delete(names).await {
                (round.failed, round.unsure) = (Some(error), unsure);
                break;
            }
            round.taken += step.len();
            round.removed.extend(gone.into_iter().filter_map(blob));
        }
        round
    }

    /// Says that a round has ended, also when the database is away for a moment: others would wait.
    async fn end_round(&self, id: &str) -> Result<()> {
        let mut failures = 0;
        loop {
            let id = id.to_owned();
            let end = move |tx: &mut WriteTx<'_>| {
                // Taken for dead meanwhile, another may have begun.
                let own = store::settings::find(tx, SWEEP)?.is_some_and(|it| it.starts_with(&id));
                if own { store::settings::set(tx, SWEEP, &deploy::idle(&id)) } else { Ok(()) }
            };
            match self.db.write(end).await {
                Err(error) if error.kind == Kind::Unavailable && failures < ENDS => failures += 1,
                ended => return ended,
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN.ceiling(failures)) => {}
                () = self.tasks.stopping() => return Ok(()),
            }
        }
    }
}

impl Home {
    async fn list_unmarked(&self, marks: &Marks, before_ms: i64) -> Result<Vec<(Name, u64)>> {
        let mut listed = self.0.store.list();
        let mut found = Vec::new();
        while let Some(item) = listed.next().await {
            let (name, about) = item.map_err(|it| self.explain(&it))?;
            if about.written_ms < before_ms && !marks.contains(&name.hash()) {
                found.push((name, about.size));
                if found.len() >= REMOVED_MAX {
                    break;
                }
            }
        }
        Ok(found)
    }

    /// Removes objects. With an error, whether the store may still be at it.
    async fn delete(&self, names: Vec<Name>) -> std::result::Result<(), (Error, bool)> {
        if names.is_empty() {
            return Ok(());
        }
        let late = |_| StoreError::Away(String::from("it does not answer in time"));
        let deleted = timeout(DELETE_MAX, self.0.store.delete(names)).await.map_err(late).and_then(|it| it);
        deleted.map_err(|error| {
            let unsure = matches!(error, StoreError::Away(_));
            let error = self.explain(&error);
            (Error { message: format!("Garbage collection stops: {}", error.message), ..error }, unsure)
        })
    }
}

fn blob((name, size): (Name, u64)) -> Option<(Sha256, u64)> {
    matches!(name, Name::Blob(_)).then(|| (name.hash(), size))
}
