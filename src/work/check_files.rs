//! The job that reads every file of what is live and says which are damaged or gone: on a schedule, its owner hears of it before a
//! visitor does.
//!
//! Changes no file. Where the folder is a cache of a store, it is the store that is read, all of it and past the folder: a good copy in
//! the folder does not hide that the store has none, and nothing is pushed out of the folder by what nobody has asked for. Only what is
//! damaged in the folder is brought anew, and counts as whole. Idempotent: what it finds is written down once for each job and deployment.

use std::collections::HashMap;

use super::Context;
use crate::{
    base::{
        blob_dir::{BlobDir, BlobError},
        hash::Sha256,
    },
    domain::{
        Result,
        deployment::Deployment,
        site::{Site, SiteId},
        tenant::TenantId,
    },
    ports::queue::{Lease, Outcome},
    proof::manifest::Manifest,
    serve::DataPlane,
    services::check_files::Scope,
};

/// Files that a sentence names.
const NAMED_MAX: usize = 5;
/// Sites that the job's error names.
const SITES_MAX: usize = 5;
/// Characters of a path that are shown.
const PATH_CHARS_MAX: usize = 80;
/// How often a site is looked at again whose live deployment was replaced meanwhile.
const LOOKS_MAX: usize = 5;

/// What was read of one deployment.
#[derive(Debug, Default)]
struct Found {
    files: usize,
    /// How many are not as they were deployed.
    bad: usize,
    /// How many of those are served here all the same, from a cache.
    cached: usize,
    /// The first of them, and what is wrong.
    named: Vec<String>,
}

/// Why a check ended early.
enum Early {
    /// The server stops, or somebody has cancelled the job.
    Told,
    /// For people; worth another try.
    Failed(String),
}

/// Runs the job.
pub(super) async fn run(context: &Context, lease: &Lease) -> Outcome {
    let Ok(scope) = serde_json::from_str::<Scope>(&lease.job.payload) else {
        return Outcome::Cancel { error: String::from("The job does not say what to check.") };
    };
    let Some(tenant) = lease.job.tenant else {
        return Outcome::Cancel { error: String::from("The job does not say whose files to check.") };
    };
    let checked = match scope.site {
        Some(site) => match check_site(context, lease, tenant, site).await {
            Ok(None) => {
                let error = "The site is no more. Delete the schedule that checks it.";
                return Outcome::Cancel { error: String::from(error) };
            }
            Ok(Some(text)) => Ok(Vec::from_iter(text)),
            Err(early) => Err(early),
        },
        None => check_all(context, lease, tenant).await,
    };
    match checked {
        Ok(bad) if bad.is_empty() => Outcome::Done,
        Ok(bad) => {
            let more = bad.len().saturating_sub(SITES_MAX);
            let mut error: Vec<String> = bad.into_iter().take(SITES_MAX).collect();
            if more > 0 {
                error.push(format!("And {more} more sites: the audit log has all."));
            }
            Outcome::Cancel { error: error.join(" ") }
        }
        Err(Early::Told) => Outcome::Release,
        Err(Early::Failed(error)) => Outcome::Retry { error, after_ms: None },
    }
}

impl From<crate::domain::Error> for Early {
    fn from(error: crate::domain::Error) -> Self {
        Self::Failed(error.message)
    }
}

/// A sentence for each site of which something is damaged.
async fn check_all(context: &Context, lease: &Lease, tenant: TenantId) -> Result<Vec<String>, Early> {
    let (mut bad, mut after) = (Vec::new(), String::new());
    loop {
        let sites = context.services.list_served(tenant, after).await?;
        let Some(last) = sites.last() else { return Ok(bad) };
        after = last.name.to_string();
        for site in sites {
            bad.extend(check_site(context, lease, tenant, site.id).await?.flatten());
        }
    }
}

/// What is damaged of a site, as a sentence, if anything; `None` when there is no such site.
async fn check_site(
    context: &Context,
    lease: &Lease,
    tenant: TenantId,
    site: SiteId,
) -> Result<Option<Option<String>>, Early> {
    for _ in 0..LOOKS_MAX {
        let Some((site, live)) = context.services.find_served(tenant, site).await? else { return Ok(None) };
        let Some((live, manifest)) = live.and_then(|it| it.manifest.map(|manifest| (it, manifest))) else {
            return Ok(Some(None));
        };
        let found = read_all(context, lease, manifest).await?;
        if found.bad == 0 {
            return Ok(Some(None));
        }
        // What was published since may have had the files of this one removed.
        let now = context.services.find_served(tenant, site.id).await?;
        if now.is_some_and(|(now, _)| now.live == Some(live.id)) {
            let text = tell(&site, &live, &found);
            tracing::error!(site = %site.name, deployment = live.number, bad = found.bad, "files of a site are damaged");
            let event = format!("found damage: {text}");
            context.services.record_damage(tenant, lease.job.id, (&site, &live), event).await?;
            return Ok(Some(Some(text)));
        }
    }
    Err(Early::Failed(String::from("The site was published again and again while it was read.")))
}

fn tell(site: &Site, live: &Deployment, found: &Found) -> String {
    let more = found.bad.saturating_sub(found.named.len());
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let (name, number) = (&site.name, live.number);
    let what = match found.cached {
        0 => "cannot be served",
        cached if cached == found.bad => "are served from the cache of a server alone",
        _ => "cannot be served, or from the cache of a server alone",
    };
    format!("{} of {} files of {name} {number} {what}: {}{more}.", found.bad, found.files, found.named.join(", "))
}

async fn read_all(context: &Context, lease: &Lease, manifest: Sha256) -> Result<Found, Early> {
    let (blobs, plane) = (context.services.blobs.clone(), context.plane.clone());
    let (tasks, cancelled) = (context.tasks.clone(), lease.cancelled.clone());
    let stop = move || tasks.is_stopping() || cancelled.is_cancelled();
    match context.tasks.blocking(move || read(&blobs, &plane, manifest, &stop)).await {
        Some(Ok(Some(found))) => Ok(found),
        Some(Ok(None)) => Err(Early::Told),
        Some(Err(error)) => Err(error.into()),
        None => Err(Early::Failed(String::from("The reading broke off. The log of the server has the reason."))),
    }
}

/// Reads the manifest and what it names; `None` when told to stop before the end. An error where the files cannot be had at all now,
/// which says nothing about them.
fn read(blobs: &BlobDir, plane: &DataPlane, manifest: Sha256, stop: &dyn Fn() -> bool) -> Result<Option<Found>> {
    let mut found = Found::default();
    if let Some(wrong) = look(blobs, plane, manifest)? {
        found.files = 1;
        found.note("its list of files", wrong);
    }
    let bytes = match blobs.read_verified(&manifest) {
        Ok(bytes) => bytes,
        Err(error @ BlobError::Away(_)) => return Err(error.into()),
        // Told above.
        Err(_) if found.bad > 0 => return Ok(Some(found)),
        Err(error) => return Err(error.into()),
    };
    // What is known of each blob: many paths may have the same bytes.
    let mut seen: HashMap<Sha256, Option<Wrong>> = HashMap::new();
    for entry in Manifest::parse(&bytes)?.entries() {
        if stop() {
            return Ok(None);
        }
        found.files += 1;
        let wrong = match seen.get(&entry.sha256) {
            Some(known) => *known,
            None => look(blobs, plane, entry.sha256)?,
        };
        seen.insert(entry.sha256, wrong);
        if let Some(wrong) = wrong {
            found.note(entry.path.as_str(), wrong);
        }
    }
    Ok(Some(found))
}

/// What is wrong with a blob.
#[derive(Clone, Copy, Debug)]
struct Wrong {
    words: &'static str,
    /// The store alone has it not.
    cached: bool,
}

/// What is wrong with a blob, if anything.
fn look(blobs: &BlobDir, plane: &DataPlane, blob: Sha256) -> Result<Option<Wrong>> {
    let looked = match blobs.home() {
        None => blobs.open_verified(&blob).map(drop),
        Some(home) => match (home.check_blocking(blob), blobs.check_local(&blob)) {
            (Ok(()), Err(BlobError::Corrupt)) => home.fetch_blocking(blob),
            (Err(error @ (BlobError::Missing | BlobError::Corrupt)), Ok(())) => {
                let gone = matches!(error, BlobError::Missing);
                let words = if gone { "is gone from the bucket" } else { "is damaged in the bucket" };
                return Ok(Some(Wrong { words, cached: true }));
            }
            (stored, _) => stored,
        },
    };
    match looked {
        Ok(()) => {
            plane.found_whole(blob);
            Ok(None)
        }
        Err(error @ BlobError::Away(_)) => Err(error.into()),
        Err(error) => {
            // What looks after damaged blobs hears of it.
            plane.found_damaged(blob, &error);
            let words = match error {
                BlobError::Missing => "is gone",
                BlobError::Corrupt => "is damaged",
                BlobError::Io(_) | BlobError::Away(_) => "cannot be read",
            };
            Ok(Some(Wrong { words, cached: false }))
        }
    }
}

impl Found {
    fn note(&mut self, path: &str, wrong: Wrong) {
        self.bad += 1;
        self.cached += usize::from(wrong.cached);
        if self.named.len() < NAMED_MAX {
            let cut = path.char_indices().nth(PATH_CHARS_MAX).and_then(|(at, _)| path.get(..at));
            let path = cut.map_or_else(|| path.to_owned(), |cut| format!("{cut}…"));
            self.named.push(format!("{path} {}", wrong.words));
        }
    }
}
