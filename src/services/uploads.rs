//! The upload protocol: a list of files in, the missing hashes out, the bytes in frames, and the end.
//!
//! SECURITY: what is "there already" is answered from the site's own earlier deployments and from what this upload has
//! sent, never from the whole store: else a known hash would reveal, or fetch, another tenant's file (DECISIONS 5).

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{
    base::{
        blob_dir::{Batch, BlobDir, BlobError, BlobWriter},
        hash::Sha256,
        limits, random,
    },
    domain::{
        Error, Result,
        access::{Actor, Right, TenantScope},
        deployment::{Deployment, DeploymentId, DeploymentRef, Source, State},
        file_list::FileList,
        site::{Site, SiteId, SiteName},
    },
    ports::db::{ReadTx, WriteTx},
    store::{self, deployments::Wish},
};

use super::{Services, home::Fence, places};

/// Earlier deployments whose files need not be sent again: more would cost more to look through than it saves.
pub(super) const KNOWN_DEPLOYMENTS: i64 = 5;
/// Characters of a deployment's message and of an idempotency key.
const MESSAGE_CHARS_MAX: usize = 500;
const KEY_CHARS_MAX: usize = 200;

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// By what way the files come.
    pub source: Source,
    /// The sender's words.
    pub message: String,
    /// Publish when complete.
    pub publish: bool,
    /// Only while this one is live.
    pub if_live: Option<DeploymentId>,
    /// Take files named `.env*`.
    pub allow_env: bool,
    /// So that asking twice begins once.
    pub idempotency_key: Option<String>,
}

/// A deployment that waits for bytes.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The deployment.
    pub deployment: Deployment,
    /// The hashes whose bytes are to be sent.
    pub missing: Vec<Sha256>,
}

/// The body of a request in pieces, or why it broke off.
pub type Pieces = mpsc::Receiver<Result<Bytes>>;

impl Services {
    /// Begins a deployment from a list of files, or finds the one that was begun with the same key.
    pub async fn begin_upload(
        &self,
        actor: &Actor,
        name: &SiteName,
        list: FileList,
        request: Request,
    ) -> Result<Begun> {
        let scope = actor.require(Right::Deploy)?;
        request.check()?;
        // Before anything is kept; below it is asked for what will be sent.
        self.get_site(actor, name).await?;
        self.admit(0)?;
        let (blobs, bytes) = (self.blobs.clone(), list.to_bytes()?);
        let wanted = self.blocking(move || Ok(blobs.put(&bytes)?)).await?;
        let (asked, listed) = (&request, &list);
        let begun = self.fenced(|fence| async move {
            // So that the files may be sent to another server.
            self.keep_blob(wanted).await?;
            self.begin_wanted(actor, name, asked, (wanted, listed), fence).await
        });
        let (site, deployment) = begun.await?;
        let missing = if deployment.state == State::Uploading {
            self.find_missing(scope, &site, &deployment, &list).await?
        } else {
            Vec::new()
        };
        let sizes: HashMap<Sha256, u64> = list.files().iter().map(|it| (it.sha256, it.size)).collect();
        self.admit(missing.iter().filter_map(|it| sizes.get(it)).sum())?;
        Ok(Begun { deployment, missing })
    }

    /// The transaction of [`Services::begin_upload`]: the deployment that was begun with the same key, or a new one.
    async fn begin_wanted(
        &self,
        actor: &Actor,
        name: &SiteName,
        request: &Request,
        (wanted, list): (Sha256, &FileList),
        fence: Option<Fence>,
    ) -> Result<(Site, Deployment)> {
        let scope = actor.scope;
        let (services, actor, name, request) = (self.clone(), actor.clone(), name.clone(), request.clone());
        let counts = (list.files().len(), list.total_bytes());
        let begin = move |tx: &mut WriteTx<'_>| {
            if let Some(fence) = fence {
                fence.check(tx)?;
            }
            let site = store::sites::find(tx, scope, &name)?.ok_or_else(|| Error::not_found("site"))?;
            if let Some(key) = &request.idempotency_key
                && let Some(found) = store::deployments::find_by_key(tx, scope, site.id, key)?
            {
                let wish = store::deployments::find_wish(tx, scope, site.id, found.id)?;
                return if wish.and_then(|it| it.wanted) == Some(wanted) {
                    Ok((site, found))
                } else {
                    Err(Error::conflict("idempotency_key", "This Idempotency-Key was used for other files."))
                };
            }
            super::publish::check_live(tx, scope, &site, request.if_live)?;
            services.check_quota(tx, scope, counts.1, 0)?;
            let deployment = services.begin(tx, &actor, &site, State::Uploading, &request, Some(wanted), counts)?;
            Ok((site, deployment))
        };
        self.db.write(begin).await
    }

    /// Adds the row of a deployment that has begun.
    #[expect(clippy::too_many_arguments, reason = "one row, made in two places")]
    pub(super) fn begin(
        &self,
        tx: &mut WriteTx<'_>,
        actor: &Actor,
        site: &Site,
        state: State,
        request: &Request,
        wanted: Option<Sha256>,
        (files, bytes): (usize, u64),
    ) -> Result<Deployment> {
        let scope = actor.scope;
        let now = self.clock.now_ms();
        self.changes_sites(tx, scope);
        let deployment = Deployment {
            id: self.ids.next().into(),
            number: store::sites::take_number(tx, scope, site.id)?,
            state,
            source: request.source,
            message: request.message.trim().to_owned(),
            actor: actor.label.clone(),
            created_ms: now,
            finished_ms: None,
            manifest: None,
            root: None,
            files: i64::try_from(files).unwrap_or(i64::MAX),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            files_changed: None,
            files_sent: 0,
            bytes_sent: 0,
            // 20 base32 characters of 12.5 random bytes.
            preview: random::label::<13>().chars().take(20).collect(),
            problem: None,
        };
        let wish = Wish {
            wanted,
            allow_env: request.allow_env,
            publish: request.publish,
            if_live: request.if_live,
            idempotency_key: request.idempotency_key.clone(),
        };
        store::deployments::insert(tx, scope, site.id, self.node_id(), &deployment, &wish)?;
        let line = format!("Begun by {}.", actor.label);
        store::deployments::append_line(tx, scope, deployment.id, (&line, now))?;
        Ok(deployment)
    }

    /// The hashes of `list` whose bytes this upload still has to send, in the order of the list.
    async fn find_missing(
        &self,
        scope: TenantScope,
        site: &Site,
        of: &Deployment,
        list: &FileList,
    ) -> Result<Vec<Sha256>> {
        let (site, id) = (site.id, of.id);
        let (known, received) = self
            .db
            .read(move |tx| {
                let known = store::deployments::list_known(tx, scope, site, KNOWN_DEPLOYMENTS)?;
                Ok((known, store::uploads::list(tx, scope, id)?))
            })
            .await?;
        let (blobs, list, home) = (self.blobs.clone(), list.clone(), self.home.clone());
        let looked = self.blocking(move || {
            let received: HashSet<Sha256> = received.into_iter().collect();
            let mut there = received.clone();
            // With their sizes, which files that are not here cannot tell.
            let mut kept: HashSet<(Sha256, u64)> = HashSet::new();
            for hash in known {
                // The newest come first, and mostly have all.
                if list.files().iter().all(|it| there.contains(&it.sha256)) {
                    break;
                }
                // A list that cannot be read only means that more is sent.
                let Ok(bytes) = blobs.read_verified(&hash) else { continue };
                there.extend(FileList::hashes_in(&bytes)?);
                if home.is_some() {
                    kept.extend(FileList::from_bytes(&bytes)?.files().iter().map(|it| (it.sha256, it.size)));
                }
            }
            let mut asked = HashSet::new();
            let missing = list.files().iter().filter(|it| asked.insert(it.sha256));
            let (mut lacking, mut elsewhere) = (Vec::new(), Vec::new());
            for file in missing {
                match &home {
                    _ if !there.contains(&file.sha256) => lacking.push(file.sha256),
                    Some(home) if home.is_lost(&file.sha256) => lacking.push(file.sha256),
                    _ if blobs.size(&file.sha256) == Some(file.size) => {}
                    Some(_) if kept.contains(&(file.sha256, file.size)) => {}
                    Some(_) if received.contains(&file.sha256) => elsewhere.push((file.sha256, file.size)),
                    _ => lacking.push(file.sha256),
                }
            }
            Ok((lacking, elsewhere))
        });
        let (mut lacking, elsewhere) = looked.await?;
        if let Some(home) = &self.home {
            // Sent to another server, or no longer in the cache.
            lacking.extend(home.list_lacking(elsewhere).await?);
        }
        Ok(lacking)
    }

    /// Takes a framed body: `[32 bytes SHA-256][8 bytes big-endian length][bytes]`, repeated. Whole frames before a
    /// broken end are kept, so that an upload resumes. How many blobs came.
    pub async fn receive_blobs(
        &self,
        actor: &Actor,
        name: &SiteName,
        id: DeploymentId,
        mut pieces: Pieces,
    ) -> Result<usize> {
        let scope = actor.require(Right::Deploy)?;
        let _place = self.take_place(actor)?;
        let (site, _, list) = self.open_upload(scope, name, id).await?;
        self.admit(limits::BLOBS_BODY_BYTES_MAX)?;
        let wanted: HashMap<Sha256, u64> = list.files().iter().map(|it| (it.sha256, it.size)).collect();
        let mut frames = Frames::new(self.blobs.clone(), wanted.clone());
        // The body is waited for here, and written in short steps: a client that stands still holds no thread.
        let end = loop {
            let (step, more) = places::next(&mut pieces).await;
            let (services, mut taking) = (self.clone(), frames);
            let taken = self.blocking(move || {
                let taken = step.iter().try_for_each(|piece| taking.push(piece, &|bytes| services.admit(bytes)));
                Ok((taking, taken))
            });
            let taken = taken.await?;
            frames = taken.0;
            match taken.1.and(more) {
                Ok(true) => {}
                Ok(false) => break frames.check_end(),
                Err(error) => break Err(error),
            }
        };
        let ended = self.blocking(move || {
            let mut frames = frames;
            let kept = frames.keep();
            Ok((frames.kept, frames.bytes, kept))
        });
        let (received, bytes, kept) = ended.await?;
        let count = received.len();
        if count > 0 {
            let sizes = received.iter().filter_map(|it| Some((*it, *wanted.get(it)?)));
            self.keep_blobs(sizes.collect()).await?;
            let sent = (i64::try_from(count).unwrap_or(i64::MAX), i64::try_from(bytes).unwrap_or(i64::MAX));
            self.db.write(move |tx| note_received(tx, scope, site.id, id, &received, sent)).await?;
        }
        end.and(kept).map(|()| count)
    }

    /// Ends an upload: makes the manifest and publishes it, if that was asked for. Asking again answers the same.
    pub async fn finish_upload(&self, actor: &Actor, name: &SiteName, id: DeploymentId) -> Result<Deployment> {
        let scope = actor.require(Right::Deploy)?;
        let found = self.get_deployment(actor, name, DeploymentRef::Id(id)).await?.deployment;
        if found.state.is_complete() {
            return self.finish_again(actor, name, found).await;
        }
        let (site, deployment, list) = match self.open_upload(scope, name, id).await {
            Err(error) if error.code == "not_uploading" => {
                // Finished by another call since the look above: that one's answer is this one's too.
                let found = self.get_deployment(actor, name, DeploymentRef::Id(id)).await?.deployment;
                if found.state.is_complete() {
                    return self.finish_again(actor, name, found).await;
                }
                return Err(error);
            }
            opened => opened?,
        };
        let missing = self.find_missing(scope, &site, &deployment, &list).await?;
        if !missing.is_empty() {
            let text = format!("The bytes of {} files have not come yet. Send them, then finish again.", missing.len());
            return Err(Error::conflict("blobs_missing", text));
        }
        self.complete(actor, name, (id, None), list).await
    }

    /// The answer to a finish that was answered before. What could not be published then, because the site had changed, is
    /// looked at again: the first answer may have been lost.
    async fn finish_again(&self, actor: &Actor, name: &SiteName, found: Deployment) -> Result<Deployment> {
        if found.state != State::Ready {
            return Ok(found);
        }
        let (scope, of, id) = (actor.scope, name.clone(), found.id);
        let wish = self.db.read(move |tx| {
            let site = store::sites::find(tx, scope, &of)?.ok_or_else(|| Error::not_found("site"))?;
            store::deployments::find_wish(tx, scope, site.id, id)
        });
        match wish.await? {
            Some(wish) if wish.publish => self.roll_back(actor, name, Some(DeploymentRef::Id(id)), wish.if_live).await,
            _ => Ok(found),
        }
    }

    async fn open_upload(
        &self,
        scope: TenantScope,
        name: &SiteName,
        id: DeploymentId,
    ) -> Result<(Site, Deployment, FileList)> {
        let name = name.clone();
        let (site, deployment, wanted) = self.db.read(move |tx| find_open(tx, scope, &name, id)).await?;
        let blobs = self.blobs.clone();
        let list = self.blocking(move || FileList::from_bytes(&blobs.read_verified(&wanted)?));
        Ok((site, deployment, list.await?))
    }
}

/// Remembers what has come, unless the upload has ended meanwhile: nobody would ever forget it again.
fn note_received(
    tx: &mut WriteTx<'_>,
    scope: TenantScope,
    site: SiteId,
    id: DeploymentId,
    received: &[Sha256],
    sent: (i64, i64),
) -> Result<()> {
    let found = store::deployments::find(tx, scope, site, DeploymentRef::Id(id))?;
    let found = found.ok_or_else(|| Error::not_found("deployment"))?;
    if found.state != State::Uploading {
        return Err(ended(&found));
    }
    // What is sent again and again takes no more rows.
    let known: HashSet<Sha256> = store::uploads::list(tx, scope, id)?.into_iter().collect();
    let fresh: Vec<Sha256> = received.iter().filter(|it| !known.contains(it)).copied().collect();
    if !fresh.is_empty() {
        store::uploads::append(tx, scope, id, &fresh)?;
    }
    store::deployments::add_sent(tx, scope, site, id, sent)
}

fn ended(of: &Deployment) -> Error {
    let text = format!("Deployment {} is {} and takes no more files.", of.number, of.state.word());
    Error::conflict("not_uploading", text)
}

fn find_open(
    tx: &mut ReadTx<'_>,
    scope: TenantScope,
    name: &SiteName,
    id: DeploymentId,
) -> Result<(Site, Deployment, Sha256)> {
    let site = store::sites::find(tx, scope, name)?.ok_or_else(|| Error::not_found("site"))?;
    let missing = || Error::not_found("deployment");
    let deployment = store::deployments::find(tx, scope, site.id, DeploymentRef::Id(id))?.ok_or_else(missing)?;
    if deployment.state != State::Uploading {
        return Err(ended(&deployment));
    }
    let wish = store::deployments::find_wish(tx, scope, site.id, id)?.ok_or_else(missing)?;
    let wanted = wish.wanted.ok_or_else(|| Error::conflict("not_uploading", "This deployment takes no files."))?;
    Ok((site, deployment, wanted))
}

impl Request {
    pub(super) fn check(&self) -> Result<()> {
        if self.message.chars().count() > MESSAGE_CHARS_MAX || self.message.chars().any(char::is_control) {
            let text = format!("A message is one line of at most {MESSAGE_CHARS_MAX} characters.");
            return Err(Error::invalid("message", text).on("message"));
        }
        if self.idempotency_key.as_ref().is_some_and(|it| it.is_empty() || it.len() > KEY_CHARS_MAX) {
            let text = format!("An Idempotency-Key has 1 to {KEY_CHARS_MAX} characters.");
            return Err(Error::invalid("idempotency_key", text));
        }
        Ok(())
    }
}

/// Reads frames as they come and keeps their blobs, a batch at a time.
struct Frames {
    blobs: BlobDir,
    /// What the upload lists.
    wanted: HashMap<Sha256, u64>,
    /// What this request has brought, and must not bring again.
    taken: HashSet<Sha256>,
    head: Vec<u8>,
    open: Option<(BlobWriter, Sha256, u64)>,
    batch: Batch,
    /// Whole and staged, and durable.
    staged: Vec<Sha256>,
    kept: Vec<Sha256>,
    bytes: u64,
    /// Bytes of the frames begun, by their heads and with them.
    announced: u64,
    /// Bytes taken since the last look at the free space.
    unlooked: u64,
}

/// Bytes of a frame's head.
const HEAD: usize = 40;
const HEAD_BYTES: u64 = 40;
/// Blobs that become durable together: what waits in memory and in the folder of half-written files is bounded by it.
const BATCH_BLOBS_MAX: usize = 1_024;

impl Frames {
    fn new(blobs: BlobDir, wanted: HashMap<Sha256, u64>) -> Self {
        let (batch, head) = (blobs.batch(), Vec::with_capacity(HEAD));
        Self {
            blobs,
            wanted,
            taken: HashSet::new(),
            head,
            open: None,
            batch,
            staged: Vec::new(),
            kept: Vec::new(),
            bytes: 0,
            announced: 0,
            unlooked: 0,
        }
    }

    fn push(&mut self, mut piece: &[u8], admit: &dyn Fn(u64) -> Result<()>) -> Result<()> {
        self.unlooked = self.unlooked.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if self.unlooked >= limits::DISK_LOOK_BYTES {
            admit(limits::DISK_LOOK_BYTES)?;
            self.unlooked = 0;
        }
        while !piece.is_empty() {
            if let Some((writer, _, left)) = &mut self.open {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(piece.len());
                let (now, rest) = piece.split_at(take);
                writer.write(now)?;
                *left -= u64::try_from(take).unwrap_or(u64::MAX);
                piece = rest;
            } else {
                let (now, rest) = piece.split_at((HEAD - self.head.len()).min(piece.len()));
                self.head.extend_from_slice(now);
                piece = rest;
                if self.head.len() == HEAD {
                    self.begin()?;
                }
            }
            self.end_frame()?;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<()> {
        let wrong = || Error::internal("a frame's head has another length");
        let (hash, length) = self.head.split_first_chunk::<32>().ok_or_else(wrong)?;
        let length = u64::from_be_bytes(length.try_into().map_err(|_| wrong())?);
        let hash = Sha256(*hash);
        self.head.clear();
        // Heads count: else a request could hold any number of empty files.
        self.announced = self.announced.saturating_add(length).saturating_add(HEAD_BYTES);
        if !self.taken.is_empty() && self.announced > limits::BLOBS_BODY_BYTES_MAX {
            let text = "One request carries at most 64 MiB, unless it is a single file. Send the rest in another.";
            return Err(Error::too_large("body", text));
        }
        match self.wanted.get(&hash) {
            Some(size) if *size == length => {}
            Some(size) => {
                let text = format!("The file {hash} was listed with {size} bytes and is sent with {length}.");
                return Err(Error::invalid("blob_size", text));
            }
            None => {
                return Err(Error::invalid("blob_unlisted", format!("No file of the list has the hash {hash}.")));
            }
        }
        if !self.taken.insert(hash) {
            let text = format!("The bytes of {hash} came twice in this request. Send each file once.");
            return Err(Error::invalid("blob_twice", text));
        }
        self.open = Some((self.blobs.writer()?, hash, length));
        Ok(())
    }

    fn end_frame(&mut self) -> Result<()> {
        let Some((writer, hash, _)) = self.open.take_if(|(_, _, left)| *left == 0) else { return Ok(()) };
        let (_, size) = writer.finish(Some(hash), &mut self.batch).map_err(|error| match error {
            BlobError::Corrupt => {
                Error::invalid("blob_hash", format!("The bytes sent for {hash} have another hash. Send them again."))
            }
            other => std::io::Error::from(other).into(),
        })?;
        self.staged.push(hash);
        self.bytes += size;
        if self.batch.len() >= BATCH_BLOBS_MAX { self.keep() } else { Ok(()) }
    }

    /// Makes durable what is staged.
    fn keep(&mut self) -> Result<()> {
        let staged = std::mem::take(&mut self.staged);
        std::mem::replace(&mut self.batch, self.blobs.batch()).commit()?;
        self.kept.extend(staged);
        Ok(())
    }

    fn check_end(&self) -> Result<()> {
        if self.open.is_none() && self.head.is_empty() {
            return Ok(());
        }
        Err(Error::invalid("upload_cut", "The upload ended in the middle of a file. Send what is still missing."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: &[u8]) -> Vec<u8> {
        let length = u64::try_from(bytes.len()).unwrap().to_be_bytes();
        [&Sha256::of(bytes).0[..], &length, bytes].concat()
    }

    #[test]
    fn frames_are_read_in_pieces_of_any_size() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobDir::open(folder.path()).unwrap();
        let files: [&[u8]; 3] = [b"one", b"", b"three three"];
        let wanted = || files.iter().map(|it| (Sha256::of(it), u64::try_from(it.len()).unwrap())).collect();
        let body = files.iter().flat_map(|it| frame(it)).collect::<Vec<u8>>();
        for step in [1, 7, 40, 41, 1000] {
            let mut frames = Frames::new(blobs.clone(), wanted());
            body.chunks(step).for_each(|piece| frames.push(piece, &|_| Ok(())).unwrap());
            frames.check_end().unwrap();
            frames.keep().unwrap();
            assert_eq!((frames.kept.len(), frames.bytes), (3, 14), "{step}");
        }
        assert!(files.iter().all(|it| blobs.read_verified(&Sha256::of(it)).unwrap() == *it));
    }

    #[test]
    fn wrong_frames_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobDir::open(folder.path()).unwrap();
        let fresh = || Frames::new(blobs.clone(), HashMap::from([(Sha256::of(b"one"), 3)]));
        let code = |bytes: &[u8]| {
            let mut frames = fresh();
            frames.push(bytes, &|_| Ok(())).and_then(|()| frames.check_end()).unwrap_err().code
        };
        assert_eq!(code(&frame(b"one").repeat(2)), "blob_twice");
        assert_eq!(code(&frame(b"two")), "blob_unlisted");
        let mut wrong = frame(b"one");
        *wrong.last_mut().unwrap() = b'x';
        assert_eq!(code(&wrong), "blob_hash");
        wrong[39] = 4;
        assert_eq!(code(&wrong), "blob_size");
        assert_eq!(code(&frame(b"one")[..42]), "upload_cut");
        assert_eq!(code(&frame(b"one")[..20]), "upload_cut");
    }

    #[test]
    fn many_small_files_are_kept_on_the_way_and_their_heads_count() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobDir::open(folder.path()).unwrap();
        let files: Vec<Vec<u8>> = (0..3_000_u32).map(|it| it.to_be_bytes().to_vec()).collect();
        let mut frames = Frames::new(blobs.clone(), files.iter().map(|it| (Sha256::of(it), 4)).collect());
        let mut most = 0;
        for file in &files {
            frames.push(&frame(file), &|_| Ok(())).unwrap();
            most = most.max(std::fs::read_dir(folder.path().join("incoming")).unwrap().count());
        }
        assert!((1_000..=BATCH_BLOBS_MAX).contains(&most), "{most} files half written at once");
        assert_eq!(frames.kept.len(), 2 * BATCH_BLOBS_MAX);
        frames.keep().unwrap();
        assert_eq!((frames.kept.len(), frames.announced), (3_000, 3_000 * 44));
        // As if so many had come already.
        let more = b"more".to_vec();
        frames.wanted.insert(Sha256::of(&more), 4);
        frames.announced = limits::BLOBS_BODY_BYTES_MAX - 43;
        assert_eq!(frames.push(&frame(&more), &|_| Ok(())).unwrap_err().code, "body");
    }

    #[test]
    fn the_free_space_is_looked_at_on_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = BlobDir::open(folder.path()).unwrap();
        let film = vec![7; 3 * usize::try_from(limits::DISK_LOOK_BYTES).unwrap()];
        let size = u64::try_from(film.len()).unwrap();
        let mut frames = Frames::new(blobs, HashMap::from([(Sha256::of(&film), size)]));
        let looks = std::cell::Cell::new(0);
        let admit = |_| {
            looks.set(looks.get() + 1);
            if looks.get() < 3 { Ok(()) } else { Err(Error::unavailable("disk_reserve", "")) }
        };
        let body = frame(&film);
        let mut pieces = body.chunks(64 * 1024);
        let refused = pieces.find_map(|piece| frames.push(piece, &admit).err()).unwrap();
        assert_eq!((refused.code, looks.get()), ("disk_reserve", 3));
    }
}
