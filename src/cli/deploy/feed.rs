//! Frames of blobs: `[32 bytes SHA-256][8 bytes big-endian length][bytes]`, several in a request (DECISIONS 11).
//!
//! INVARIANT: a frame whose bytes are not those of its SHA-256 never ends: the request is broken off before its last
//! piece, so that the server cannot take it for whole.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, Read as _},
};

use bytes::{BufMut as _, Bytes, BytesMut};
use indicatif::ProgressBar;
use tokio::sync::mpsc::Sender;

use super::hash::{self, Files, Hashed};
use crate::{
    base::{
        beneath::Folder,
        hash::{Hasher, Sha256},
        limits::{BLOB_BODY_BYTES_MAX, BLOBS_BODY_BYTES_MAX},
    },
    cli::failure::{Failure, Result},
};

/// Bytes of a piece: large files are read and sent in such.
pub(super) const PIECE_BYTES: usize = 256 * 1024;
/// Pieces that wait for the connection: 4 MiB.
pub(super) const PIECES_WAITING: usize = 16;
/// The head of a frame.
const HEAD_BYTES: u64 = 40;
/// A frame must fit into one request, which it may have for itself.
pub(super) const FILE_BYTES_MAX: u64 = BLOB_BODY_BYTES_MAX - HEAD_BYTES;
/// Bytes of one request, but for a larger file: half of what a server takes, so that it writes one to disk while it
/// receives the next, and little is sent again after a lost connection.
const BATCH_BYTES: u64 = BLOBS_BODY_BYTES_MAX / 2;

/// What one request carries.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Which of the files.
    pub(super) files: Vec<usize>,
    /// Bytes of their frames.
    pub(super) length: u64,
    /// Bytes of the files alone.
    pub(super) content: u64,
}

/// Which files to send for the digests that the server misses, in requests of about equal size.
pub(super) fn batches(files: &[Hashed], missing: &[String]) -> Result<VecDeque<Batch>> {
    let by_hash: HashMap<Sha256, usize> = files.iter().enumerate().map(|(at, it)| (it.sha256, at)).collect();
    let unknown = || Failure::Server(String::from("The server asks for bytes that are not part of this deployment."));
    let mut wanted: Vec<usize> = Vec::with_capacity(missing.len());
    for hex in missing {
        let sha256: Sha256 = hex.parse().map_err(|_| unknown())?;
        wanted.push(*by_hash.get(&sha256).ok_or_else(unknown)?);
    }
    // In the order of paths, in which disks read well.
    wanted.sort_unstable();
    wanted.dedup();
    let mut all = VecDeque::new();
    let mut batch = Batch::default();
    for at in wanted {
        let size = files.get(at).map_or(0, |it| it.size);
        if batch.length + HEAD_BYTES + size > BATCH_BYTES && !batch.files.is_empty() {
            all.push_back(std::mem::take(&mut batch));
        }
        batch.files.push(at);
        batch.length += HEAD_BYTES + size;
        batch.content += size;
    }
    if !batch.files.is_empty() {
        all.push_back(batch);
    }
    Ok(all)
}

/// Why feeding ended early.
#[derive(Debug)]
pub(super) enum Ended {
    /// Nobody takes the pieces any more.
    NotWanted,
    /// A file is no longer what it was.
    Changed(String),
}

/// Sends the frames of a batch. Blocks while the connection is slower than the disk.
pub(super) fn feed(
    files: &Files,
    batch: &[usize],
    out: &Sender<io::Result<Bytes>>,
    bar: &ProgressBar,
) -> Result<(), Ended> {
    let give = |piece: Bytes| out.blocking_send(Ok(piece)).map_err(|_| Ended::NotWanted);
    let give_content = |piece: Bytes| {
        let length = u64::try_from(piece.len()).unwrap_or(0);
        give(piece).inspect(|()| bar.inc(length))
    };
    for it in batch.iter().filter_map(|at| files.list.get(*at)) {
        let mut head = BytesMut::with_capacity(40);
        head.put_slice(&it.sha256.0);
        head.put_u64(it.size);
        give(head.freeze())?;
        match &it.kept {
            Some(bytes) if bytes.is_empty() => {}
            Some(bytes) => give_content(bytes.clone())?,
            None => read_again(&files.folder, it, give_content)?,
        }
    }
    Ok(())
}

/// Reads a file once more and gives its pieces; the last only when all of them are what was announced.
fn read_again(folder: &Folder, it: &Hashed, give: impl Fn(Bytes) -> Result<(), Ended>) -> Result<(), Ended> {
    let path = folder.path().join(&it.file);
    let unreadable = |error: io::Error| Ended::Changed(hash::unreadable(&path, &error));
    let changed = || Ended::Changed(hash::changed(&path));
    let mut file = folder.file(&it.file).map_err(unreadable)?;
    let (mut hasher, mut left) = (Hasher::new(), it.size);
    while left > 0 {
        let mut piece = Vec::with_capacity(usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES));
        let wanted = u64::try_from(piece.capacity()).unwrap_or(left).min(left);
        (&mut file).take(wanted).read_to_end(&mut piece).map_err(unreadable)?;
        let read = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if read < wanted {
            return Err(changed());
        }
        hasher.update(&piece);
        left -= read;
        if left == 0 && hasher.clone().finish() != it.sha256 {
            return Err(changed());
        }
        give(piece.into())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn file(number: u8, size: u64) -> Hashed {
        let sha256 = Sha256::of(&[number]);
        Hashed { path: format!("/{number}"), file: PathBuf::from("/nowhere"), sha256, size, kept: None }
    }

    #[test]
    fn batches_are_bounded_and_hold_each_blob_once() {
        let mut files = vec![file(0, 10), file(1, BATCH_BYTES), file(2, 5), file(3, BATCH_BYTES - 80), file(4, 0)];
        files.push(file(0, 10));
        let missing: Vec<String> = files.iter().map(|it| it.sha256.hex()).collect();
        let found = batches(&files, &missing).unwrap();
        let members: Vec<&[usize]> = found.iter().map(|it| it.files.as_slice()).collect();
        assert_eq!(members, [&[1_usize][..], &[2], &[3, 4], &[5]]);
        assert_eq!(found.iter().map(|it| it.content).sum::<u64>(), 15 + 2 * BATCH_BYTES - 80);
        assert!(found.iter().all(|it| it.length <= BATCH_BYTES + HEAD_BYTES));
        assert!(batches(&files, &[]).unwrap().is_empty());
        assert!(batches(&files, &[Sha256::of(b"other").hex()]).is_err());
        assert!(batches(&files, &[String::from("zz")]).is_err());
    }

    #[test]
    fn a_file_that_changed_is_never_sent_whole() {
        let temp = tempfile::tempdir().unwrap();
        crate::base::files::write_atomic(&temp.path().join("a"), b"after!", 0o600).unwrap();
        let files = |it| Files { folder: Folder::open(temp.path()).unwrap(), list: vec![it] };
        let it = |sha256, size| Hashed { path: String::from("/a"), file: PathBuf::from("a"), sha256, size, kept: None };
        for wrong in [it(Sha256::of(b"before"), 6), it(Sha256::of(b"after!!"), 7)] {
            let (out, mut pieces) = tokio::sync::mpsc::channel(8);
            let ended = feed(&files(wrong), &[0], &out, &ProgressBar::hidden());
            assert!(matches!(ended, Err(Ended::Changed(why)) if why.contains("changed while deploying")));
            assert_eq!(pieces.blocking_recv().unwrap().unwrap().len(), 40);
            assert!(pieces.try_recv().is_err());
        }
        let (out, mut pieces) = tokio::sync::mpsc::channel(8);
        feed(&files(it(Sha256::of(b"after!"), 6)), &[0], &out, &ProgressBar::hidden()).unwrap();
        drop(pieces.blocking_recv());
        assert_eq!(pieces.blocking_recv().unwrap().unwrap(), "after!");
    }
}
