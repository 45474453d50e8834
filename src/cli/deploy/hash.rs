//! SHA-256 of all files with several threads. Small files stay in memory, within a bound, to be sent without a second
//! reading.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
};

use bytes::Bytes;
use indicatif::ProgressBar;

use super::{
    feed::PIECE_BYTES,
    scan::{Found, Problems},
};
use crate::{
    base::{
        beneath::Folder,
        hash::{Hasher, Sha256},
    },
    cli::{
        failure::{Failure, Result},
        text,
    },
};

/// Bytes of small files kept: with the pieces under way (`feed`) no more than 64 MiB hold content of files.
const KEPT_BYTES_MAX: u64 = 48 * 1024 * 1024;
/// More threads than this only wait for the disk.
const THREADS_MAX: usize = 8;

/// A file to deploy, with the name of its bytes.
#[derive(Debug)]
pub(super) struct Hashed {
    /// Its path on the site.
    pub(super) path: String,
    /// Where it lies in the folder.
    pub(super) file: PathBuf,
    /// SHA-256 of the bytes that were read.
    pub(super) sha256: Sha256,
    /// How many they were.
    pub(super) size: u64,
    /// The bytes themselves, of a small file.
    pub(super) kept: Option<Bytes>,
}

/// The files of a deployment, and the folder that holds them.
#[derive(Debug)]
pub(super) struct Files {
    /// Held open, so that all bytes come from the folder that was looked at.
    pub(super) folder: Folder,
    /// Sorted by path.
    pub(super) list: Vec<Hashed>,
}

/// Reads all files once. The order stays; all problems are told at once.
pub(super) fn hash(folder: Folder, found: Vec<Found>, bar: &ProgressBar) -> Result<Files> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let (next, kept) = (AtomicUsize::new(0), AtomicU64::new(0));
    let work = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(it) = found.get(at) else { return done };
            done.push((at, read(&folder, it, &kept)));
            bar.inc(1);
        }
    };
    let mut results = Vec::with_capacity(found.len());
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            results.extend(thread.join().map_err(|_| Failure::Input(String::from("Reading the files broke off.")))?);
        }
        Ok::<_, Failure>(())
    })?;
    results.sort_unstable_by_key(|(at, _)| *at);
    let (mut problems, mut hashed) = (Problems::default(), Vec::with_capacity(found.len()));
    for ((_, result), it) in results.into_iter().zip(found) {
        match result {
            Ok((_, size, _)) if size != it.size => problems.push(changed(&folder.path().join(&it.file))),
            Ok((sha256, size, kept)) => hashed.push(Hashed { path: it.path, file: it.file, sha256, size, kept }),
            Err(error) => problems.push(unreadable(&folder.path().join(&it.file), &error)),
        }
    }
    problems.end()?;
    Ok(Files { folder, list: hashed })
}

/// The sentence for a file whose bytes are no longer those that were announced.
pub(super) fn changed(file: &Path) -> String {
    format!("{} changed while deploying. Deploy again when the folder is finished.", shown(file))
}

/// The sentence for a file that cannot be read.
pub(super) fn unreadable(file: &Path, error: &io::Error) -> String {
    format!("Cannot read {}: {error}.", shown(file))
}

fn shown(file: &Path) -> String {
    text::plain(&file.to_string_lossy())
}

fn read(folder: &Folder, found: &Found, kept: &AtomicU64) -> io::Result<(Sha256, u64, Option<Bytes>)> {
    let mut file = folder.file(&found.file)?;
    let piece = u64::try_from(PIECE_BYTES).unwrap_or(u64::MAX);
    if found.size > piece {
        return stream(&mut file);
    }
    // One more than announced, so that growth is seen.
    let mut bytes = Vec::with_capacity(usize::try_from(found.size).unwrap_or(0).saturating_add(1));
    file.take(found.size.saturating_add(1)).read_to_end(&mut bytes)?;
    let (sha256, size) = (Sha256::of(&bytes), u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    let before = kept.fetch_add(size, Ordering::Relaxed);
    let fits = before.saturating_add(size) <= KEPT_BYTES_MAX;
    if !fits {
        kept.fetch_sub(size, Ordering::Relaxed);
    }
    Ok((sha256, size, fits.then(|| bytes.into())))
}

fn stream(file: &mut File) -> io::Result<(Sha256, u64, Option<Bytes>)> {
    let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0_u64, vec![0; PIECE_BYTES]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hasher.finish(), size, None));
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        size = size.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}
