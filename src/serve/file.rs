//! Large files: hashed on first use and after any change, then sent from their pages, or by the system from the open file.
//!
//! Never sends a file whose (device, inode, size, mtime, ctime) differ from those of the hashed one. A change
//! in the same tick of the file system's clock as the hashing, of the same size, is not seen until the scrub.
//! All calls but [`body`] and [`Files::at_hand`] block.

use std::{
    collections::VecDeque,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use moka::{policy::EvictionPolicy, sync::Cache};
use rustix::process::{Resource, getrlimit};

use super::{incident::Damage, mapping};
use crate::{
    base::{
        blob_dir::{BlobDir, BlobError},
        hash::{Hasher, Sha256},
        tasks::Tasks,
    },
    http::{
        pieces,
        range::Span,
        respond::{Body, BodyError},
        stored::Stored,
    },
};

/// Files remembered as verified: each costs a descriptor and a mapping, which counts as cache of the kernel and not as our memory.
const KNOWN_MAX: u64 = 4_096;
/// They have this part of the descriptors: connections need the others.
const KNOWN_PART: u64 = 8;
/// A file that nobody asks for is let go, so that a removed one gives its space back.
const KNOWN_IDLE: Duration = Duration::from_mins(5);
/// How often a file is hashed that changes while it is hashed.
const TRIES: u32 = 3;
/// Read at once where a file is not mapped.
const CHUNK: u64 = 256 * 1024;
/// Hashed at once.
const HASH_CHUNK: usize = 256 * 1024;

/// The bytes of a verified file.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// In memory, or mapped.
    Bytes(Stored),
    /// To be read piece by piece.
    File(Arc<File>),
}

/// What tells one state of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }
}

impl From<&Metadata> for Identity {
    fn from(it: &Metadata) -> Self {
        Self {
            device: it.dev(),
            inode: it.ino(),
            size: it.size(),
            modified: (it.mtime(), it.mtime_nsec()),
            changed: (it.ctime(), it.ctime_nsec()),
        }
    }
}

/// Large files that were hashed, with what came out.
#[derive(Debug)]
pub(super) struct Files {
    dir: BlobDir,
    map: bool,
    tasks: Tasks,
    known: Cache<Sha256, (Identity, Result<Content, Damage>)>,
}

impl Files {
    /// Of the blobs in `dir`. Without `map`, files are read and never mapped.
    pub(super) fn new(dir: BlobDir, map: bool, tasks: Tasks) -> Self {
        let most = getrlimit(Resource::Nofile).current.map_or(KNOWN_MAX, |it| KNOWN_MAX.min(it / KNOWN_PART));
        Self::knowing(dir, map, tasks, most)
    }

    fn knowing(dir: BlobDir, map: bool, tasks: Tasks, most: u64) -> Self {
        // The least recently used goes: a new file that is not taken in would be hashed for each of its answers.
        let lru = EvictionPolicy::lru();
        let known = Cache::builder().max_capacity(most).eviction_policy(lru).time_to_idle(KNOWN_IDLE).build();
        Self { dir, map, tasks, known }
    }

    /// The content of a blob of `size` bytes, where its file is open and is as it was when it was verified. Asks the kernel, and no disk.
    pub(super) fn at_hand(&self, hash: Sha256, size: u64) -> Option<Content> {
        let (identity, verdict) = self.known.get(&hash)?;
        let content = verdict.ok()?;
        let Content::Bytes(stored) = &content else { return None };
        let about = stored.file()?.metadata().ok()?;
        if Identity::from(&about) == identity && about.nlink() > 0 {
            return (identity.size == size).then_some(content);
        }
        // Or its space would be held for as long as somebody asks.
        self.known.invalidate(&hash);
        None
    }

    /// The next one who asks for it has it hashed.
    pub(super) fn forget(&self, hash: Sha256) {
        self.known.invalidate(&hash);
    }

    /// Whether files are sent from where they lie, and not read piece by piece.
    pub(super) fn are_mapped(&self) -> bool {
        self.map && !self.dir.is_shared() && File::open(self.dir.root()).is_ok_and(mapping::may_map)
    }

    /// The verified content of a blob of `size` bytes.
    pub(super) fn open(&self, hash: Sha256, size: u64) -> Result<Content, BlobError> {
        self.open_by(hash, size, hash_of)
    }

    fn open_by(
        &self,
        hash: Sha256,
        size: u64,
        hash_of: impl Fn(&File) -> io::Result<Sha256>,
    ) -> Result<Content, BlobError> {
        let mut good = false;
        for _ in 0..TRIES {
            let file = self.dir.open_local(&hash)?;
            let seen = Identity::of(&file)?;
            // Another size is other bytes, and need not be read to know it.
            if seen.size != size {
                return Err(BlobError::Corrupt);
            }
            if let Some((identity, verdict)) = self.known.get(&hash)
                && identity == seen
            {
                // A bad file is not hashed again for each request: that would be a way to keep us busy.
                return verdict.map_err(|_| BlobError::Corrupt);
            }
            good = hash_of(&file)? == hash;
            // An upload of the same bytes may have renewed its time meanwhile; then the hash says nothing yet.
            if Identity::of(&file)? == seen {
                let verdict = if good { Ok(self.content(file)?) } else { Err(Damage::Altered) };
                self.known.insert(hash, (seen, verdict.clone()));
                return verdict.map_err(|_| BlobError::Corrupt);
            }
        }
        // Renewed all the time, its bytes are still right: it is only too early to say so.
        if good { Err(BlobError::Io(io::ErrorKind::ResourceBusy.into())) } else { Err(BlobError::Corrupt) }
    }

    fn content(&self, file: File) -> io::Result<Content> {
        // Where other machines may change a file, a mapping could be cut short under us.
        let file = Arc::new(file);
        if self.map && !self.dir.is_shared() && mapping::may_map(&*file) {
            Ok(Content::Bytes(Stored::of(mapping::map(&file, &self.tasks)?, file)))
        } else {
            Ok(Content::File(file))
        }
    }
}

/// Hashes by reading: unlike a mapping, that survives a file that is cut short meanwhile.
fn hash_of(mut file: &File) -> io::Result<Sha256> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; HASH_CHUNK];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
}

/// The body of the bytes from `first` on, `length` of them; they must lie within the content.
pub(super) fn body(content: Content, first: u64, length: u64, tasks: &Tasks) -> Body {
    if let Content::Bytes(bytes) = content {
        return Body::stored(part(&bytes, first, length));
    }
    let (mut at, mut left) = (first, length);
    pieces::body(tasks, move || {
        let take = left.min(CHUNK);
        if take == 0 {
            return Ok(None);
        }
        let bytes = read(&content, at, take)?;
        at = at.saturating_add(take);
        left = left.saturating_sub(take);
        Ok(Some(bytes))
    })
}

/// What a body is made of.
#[derive(Clone, Debug)]
pub(super) enum Piece {
    /// Words between the parts of a file.
    Words(Bytes),
    /// A part of it, which must lie within the content.
    Part(Span),
}

impl Piece {
    /// In bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Words(words) => u64::try_from(words.len()).unwrap_or(u64::MAX),
            Self::Part(part) => part.length(),
        }
    }
}

/// The body of these pieces, one behind the other.
pub(super) fn pieces_of(content: Content, pieces: Vec<Piece>, tasks: &Tasks) -> Body {
    if let Content::Bytes(bytes) = content {
        let made = pieces.into_iter().map(move |it| match it {
            Piece::Words(words) => words,
            Piece::Part(span) => part(&bytes, span.first, span.length()).into_parts().0,
        });
        return Body::boxed(StreamBody::new(tokio_stream::iter(made.map(|it| Ok::<_, BodyError>(Frame::data(it))))));
    }
    let mut left = VecDeque::from(pieces);
    pieces::body(tasks, move || match left.pop_front() {
        None => Ok(None),
        Some(Piece::Words(words)) => Ok(Some(words)),
        Some(Piece::Part(Span { first, last })) => {
            let next = first.saturating_add(CHUNK);
            if next <= last {
                left.push_front(Piece::Part(Span { first: next, last }));
            }
            read(&content, first, CHUNK.min(last.saturating_sub(first).saturating_add(1))).map(Some)
        }
    })
}

/// The bytes from `first` on, `length` of them; they must lie within the content. Blocks.
pub(super) fn read(content: &Content, first: u64, length: u64) -> io::Result<Bytes> {
    match content {
        Content::Bytes(bytes) => Ok(part(bytes, first, length).into_parts().0),
        Content::File(file) => {
            let mut buffer = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut buffer, first)?;
            Ok(buffer.into())
        }
    }
}

fn part(stored: &Stored, first: u64, length: u64) -> Stored {
    let from = usize::try_from(first).unwrap_or(usize::MAX);
    stored.slice(from..from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    async fn sent(content: &Content, first: u64, length: u64) -> Result<Bytes, BodyError> {
        Ok(body(content.clone(), first, length, &Tasks::new()).collect().await?.to_bytes())
    }

    #[tokio::test]
    async fn a_file_that_may_not_be_mapped_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let dir = BlobDir::open(folder.path()).unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(700_001).collect();
        let hash = dir.put(&bytes).unwrap();
        for map in [true, false] {
            let files = Files::new(dir.clone(), map, Tasks::new());
            let content = files.open(hash, 700_001).unwrap();
            assert_eq!(matches!(content, Content::File(_)), !map);
            assert!(sent(&content, 0, 700_001).await.unwrap() == bytes);
            assert_eq!(sent(&content, 299_999, 300_000).await.unwrap(), bytes[299_999..599_999]);
            let span = |first, last| Piece::Part(Span { first, last });
            let pieces =
                vec![Piece::Words(Bytes::from_static(b"a")), span(600_000, 700_000), span(7, 7), span(0, 599_999)];
            let length: u64 = pieces.iter().map(Piece::length).sum();
            let got = pieces_of(content.clone(), pieces, &Tasks::new()).collect().await.unwrap().to_bytes();
            assert!(got == [b"a", &bytes[600_000..], &bytes[7..8], &bytes[..600_000]].concat());
            assert_eq!(u64::try_from(got.len()).unwrap(), length);
            assert!(matches!(files.open(hash, 700_000), Err(BlobError::Corrupt)));
        }
        // Cut short while it is sent: the body breaks off and never ends as if it were whole.
        let content = Files::new(dir.clone(), false, Tasks::new()).open(hash, 700_001).unwrap();
        let path = files_of(folder.path());
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(300_000).unwrap();
        assert!(sent(&content, 0, 700_001).await.is_err());
    }

    #[test]
    fn a_file_that_is_put_again_while_it_is_hashed_is_not_altered() {
        let folder = tempfile::tempdir().unwrap();
        let dir = BlobDir::open(folder.path()).unwrap();
        let bytes = vec![7; 300_000];
        let hash = dir.put(&bytes).unwrap();
        let files = Files::new(dir.clone(), true, Tasks::new());
        let busy = files.open_by(hash, 300_000, |file| {
            let found = hash_of(file);
            let mut wait = 0;
            // The clock of a file system has ticks: until its time is another.
            let before = file.metadata()?.ctime_nsec();
            while file.metadata()?.ctime_nsec() == before {
                dir.put(&bytes)?;
                wait += 1;
                assert!(wait < 1_000_000);
            }
            found
        });
        assert!(matches!(busy, Err(BlobError::Io(error)) if error.kind() == io::ErrorKind::ResourceBusy));
        assert!(files.open(hash, 300_000).is_ok());
    }

    #[test]
    fn a_file_is_at_hand_for_as_long_as_it_is_the_one_that_was_verified() {
        use std::{fs, os::unix::fs::PermissionsExt as _};

        let folder = tempfile::tempdir().unwrap();
        let dir = BlobDir::open(folder.path()).unwrap();
        let bytes = vec![7; 300_000];
        let hash = dir.put(&bytes).unwrap();
        let files = Files::new(dir.clone(), true, Tasks::new());
        let is_at_hand = |size| files.at_hand(hash, size).is_some();
        assert!(!is_at_hand(300_000), "nobody has verified it");
        files.open(hash, 300_000).unwrap();
        assert!(is_at_hand(300_000) && !is_at_hand(300_001) && is_at_hand(300_000));
        // As nobody would do it: in place.
        let path = files_of(folder.path());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let inside = fs::OpenOptions::new().write(true).open(&path).unwrap();
        inside.write_all_at(&[8; 1_000], 7).unwrap();
        assert!(!is_at_hand(300_000) && !files.known.contains_key(&hash));
        assert!(matches!(files.open(hash, 300_000), Err(BlobError::Corrupt)));
        assert!(!is_at_hand(300_000), "it was found bad");

        fs::remove_file(&path).unwrap();
        dir.put(&bytes).unwrap();
        files.open(hash, 300_000).unwrap();
        assert!(is_at_hand(300_000));
        fs::remove_file(files_of(folder.path())).unwrap();
        assert!(
            !is_at_hand(300_000) && !files.known.contains_key(&hash),
            "nothing holds the space of what was removed"
        );
    }

    #[test]
    fn a_new_file_is_remembered_also_when_others_are_asked_for_more() {
        let folder = tempfile::tempdir().unwrap();
        let dir = BlobDir::open(folder.path()).unwrap();
        let files = Files::knowing(dir.clone(), true, Tasks::new(), 2);
        let put = |seed: u8| dir.put(&[seed; 1_000]).unwrap();
        let (a, b, new) = (put(1), put(2), put(3));
        for _ in 0..50 {
            files.open(a, 1_000).unwrap();
            files.open(b, 1_000).unwrap();
            files.known.run_pending_tasks();
        }
        files.open(new, 1_000).unwrap();
        files.known.run_pending_tasks();
        assert!(files.known.contains_key(&new) && !files.known.contains_key(&a));
    }

    fn files_of(folder: &std::path::Path) -> std::path::PathBuf {
        let found = crate::base::files::walk(folder).unwrap();
        assert_eq!(found.len(), 1);
        folder.join(&found[0])
    }
}
