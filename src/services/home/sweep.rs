//! Garbage collection in the store: what no kept deployment names, page by page.
//!
//! One collection at a time in all of the installation. Only objects with names of our shape are looked at.

use std::collections::HashSet;

use tokio_stream::StreamExt as _;

use super::{
    super::{Services, nodes::Hold},
    Home,
    deploy::{self, SWEEP_MS_MAX},
};
use crate::{
    base::hash::Sha256,
    domain::{Error, Result},
    ports::{blobs::Name, db::WriteTx},
    store::{self, settings::SWEEP},
};

/// Objects removed in one pass: the next one sees the rest, and memory is bounded.
const REMOVED_MAX: usize = 100_000;
/// Objects removed with one request.
const STEP: usize = 1_000;

impl Services {
    /// Finds objects of the store that nothing names and that were last put before `before_ms`, and unless it is a `dry_run`
    /// removes them; the blobs among them with their sizes.
    pub(in crate::services) async fn sweep_store(
        &self,
        dry_run: bool,
        before_ms: i64,
        hold: Option<Hold>,
    ) -> Result<Vec<(Sha256, u64)>> {
        let Some(home) = &self.home else { return Ok(Vec::new()) };
        home.claimed().await?;
        let found = home.list_unmarked(&self.mark().await?, before_ms).await?;
        if found.is_empty() || dry_run {
            // Compressed forms go with their blobs, and are not counted.
            return Ok(found.into_iter().filter_map(blob).collect());
        }
        let (id, began_ms) = (self.ids.next().to_string(), self.clock.now_ms());
        let row = deploy::sweeping(&id, began_ms);
        let begin = move |tx: &mut WriteTx<'_>| {
            // Two at once would each say that nobody removes any more while the other still does.
            if deploy::is_sweeping(store::settings::find(tx, SWEEP)?.as_deref(), began_ms) {
                return Err(deploy::swept());
            }
            store::settings::set(tx, SWEEP, &row)
        };
        self.write_held(hold, begin).await?;
        let removed = self.remove_from_store(home, found, began_ms + SWEEP_MS_MAX, hold).await;
        let end = move |tx: &mut WriteTx<'_>| {
            // Taken for dead meanwhile, another may have begun.
            let own = store::settings::find(tx, SWEEP)?.is_some_and(|it| it.starts_with(&id));
            if own { store::settings::set(tx, SWEEP, &deploy::idle(&id)) } else { Ok(()) }
        };
        self.db.write(end).await?;
        removed
    }

    async fn remove_from_store(
        &self,
        home: &Home,
        found: Vec<(Name, u64)>,
        until_ms: i64,
        hold: Option<Hold>,
    ) -> Result<Vec<(Sha256, u64)>> {
        // What was begun since the first look pins its blobs; what begins from now on finds the row of this collection.
        let marked = self.mark().await?;
        let found: Vec<(Name, u64)> = found.into_iter().filter(|(name, _)| !marked.contains(&name.hash())).collect();
        let mut removed = Vec::new();
        for step in found.chunks(STEP) {
            if self.clock.now_ms() > until_ms {
                break;
            }
            let names: Vec<Name> = step.iter().map(|(name, _)| *name).collect();
            for name in &names {
                home.forget(name.hash());
            }
            self.ask_hold(hold).await?;
            home.delete(names).await?;
            removed.extend(step.iter().copied().filter_map(blob));
        }
        Ok(removed)
    }
}

impl Home {
    async fn list_unmarked(&self, marked: &HashSet<Sha256>, before_ms: i64) -> Result<Vec<(Name, u64)>> {
        let mut listed = self.0.store.list();
        let mut found = Vec::new();
        while let Some(item) = listed.next().await {
            let (name, about) = item.map_err(|it| self.explain(&it))?;
            if about.written_ms < before_ms && !marked.contains(&name.hash()) {
                found.push((name, about.size));
                if found.len() >= REMOVED_MAX {
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn delete(&self, names: Vec<Name>) -> Result<()> {
        self.0.store.delete(names).await.map_err(|error| {
            let error = self.explain(&error);
            Error { message: format!("Garbage collection stops: {}", error.message), ..error }
        })
    }
}

fn blob((name, size): (Name, u64)) -> Option<(Sha256, u64)> {
    matches!(name, Name::Blob(_)).then(|| (name.hash(), size))
}
