//! What was set aside of the access log: `NAME.YYYYMMDD-NUMBER`, compressed beside requests to the same with `.gz`.
//!
//! Numbers count up and say what is older, whatever the clock says. A file leaves only when its compressed form is whole on the disk, or
//! when there are more than are kept; so an end at any moment loses no line, and what it left half done is put right by the next pass.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{Builder, JoinHandle},
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use tokio::time::Instant;

use crate::base::files;

/// The mode of every file of the log: its group may read it.
pub(super) const MODE: u32 = 0o640;
/// Between looks at the sign to stop.
const CHUNK: usize = 64 * 1024;
/// A pass that failed is tried again then: for want of space, mostly.
const AGAIN: Duration = Duration::from_mins(1);

/// Where old files are, and how many are kept.
#[derive(Clone, Debug)]
pub(super) struct Place {
    folder: PathBuf,
    /// The name of the file that is written to.
    name: String,
    keep: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Packed,
    Unfinished,
}

struct Old {
    number: u64,
    kind: Kind,
    path: PathBuf,
}

impl Place {
    pub(super) fn new(path: &Path, keep: usize) -> Self {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { folder: folder.to_owned(), name, keep }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the file that is written to goes now.
    pub(super) fn next(&self, now_ms: i64) -> io::Result<PathBuf> {
        let last = self.find()?.iter().map(|it| it.number).max().unwrap_or(0);
        let day = jiff::Timestamp::from_millisecond(now_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let day = jiff::tz::Offset::UTC.to_datetime(day);
        let (year, month, number) = (day.year(), day.month(), last.saturating_add(1));
        Ok(self.folder.join(format!("{}.{year:04}{month:02}{:02}-{number:06}", self.name, day.day())))
    }

    fn find(&self) -> io::Result<Vec<Old>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some((number, kind)) = name.to_str().and_then(|it| self.parse(it)) else { continue };
            if entry.file_type()?.is_file() {
                found.push(Old { number, kind, path: entry.path() });
            }
        }
        found.sort_unstable_by_key(|it| it.number);
        Ok(found)
    }

    /// Number and kind of a name that has our shape; others are somebody else's.
    fn parse(&self, name: &str) -> Option<(u64, Kind)> {
        let rest = name.strip_prefix(&self.name)?.strip_prefix('.')?;
        let (stem, kind) = match rest.split_once('.') {
            None => (rest, Kind::Plain),
            Some((stem, "gz")) => (stem, Kind::Packed),
            Some((stem, "gz.tmp")) => (stem, Kind::Unfinished),
            Some(_) => return None,
        };
        let (day, number) = stem.split_once('-')?;
        let is_number = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
        if day.len() != 8 || number.len() < 6 || !is_number(day) || !is_number(number) {
            return None;
        }
        Some((number.parse().ok()?, kind))
    }

    /// One pass: sweeps what an earlier process left half done, removes what is not kept, compresses the rest.
    fn tidy(&self, stop: &AtomicBool) -> io::Result<()> {
        let found = self.find()?;
        let packed: BTreeSet<u64> = found.iter().filter(|it| it.kind == Kind::Packed).map(|it| it.number).collect();
        let whole: BTreeSet<u64> = found.iter().filter(|it| it.kind != Kind::Unfinished).map(|it| it.number).collect();
        let kept: BTreeSet<u64> = whole.into_iter().rev().take(self.keep).collect();
        let (stays, goes): (Vec<Old>, Vec<Old>) = found.into_iter().partition(|it| {
            let is_twin = it.kind == Kind::Plain && packed.contains(&it.number);
            it.kind != Kind::Unfinished && kept.contains(&it.number) && !is_twin
        });
        goes.iter().try_for_each(|it| fs::remove_file(&it.path))?;
        stays.iter().filter(|it| it.kind == Kind::Plain).try_for_each(|it| pack(&it.path, stop))
    }
}

/// Puts the compressed form of a file in its place.
fn pack(path: &Path, stop: &AtomicBool) -> io::Result<()> {
    let named = |ending: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    let (unfinished, packed) = (named(".gz.tmp"), named(".gz"));
    let written = compress(path, &unfinished, stop).and_then(|()| fs::rename(&unfinished, &packed));
    if let Err(error) = written {
        // The error that matters is the first; what is left is swept by the next pass.
        drop(fs::remove_file(&unfinished));
        return Err(error);
    }
    if let Some(folder) = path.parent() {
        files::sync_folder(folder)?;
    }
    fs::remove_file(path)
}

fn compress(from: &Path, to: &Path, stop: &AtomicBool) -> io::Result<()> {
    let mut from = File::open(from)?;
    let to = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(to)?;
    to.set_permissions(Permissions::from_mode(MODE))?;
    let mut to = GzEncoder::new(to, Compression::default());
    let mut chunk = vec![0; CHUNK];
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let read = from.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..read).filter(|it| !it.is_empty()) else { break };
        to.write_all(bytes)?;
    }
    to.finish()?.sync_all()
}

/// The thread that makes passes when there is something to do.
#[derive(Debug)]
pub(super) struct Archive {
    place: Place,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
    is_due: bool,
    not_before: Instant,
}

impl Archive {
    /// With a first pass to make.
    pub(super) fn new(place: Place) -> Self {
        Self { place, stop: Arc::default(), thread: None, is_due: true, not_before: Instant::now() }
    }

    /// Something was set aside.
    pub(super) fn wake(&mut self) {
        self.is_due = true;
        self.look();
    }

    /// Begins a pass that is due, unless one is under way.
    pub(super) fn look(&mut self) {
        if let Some(ended) = self.thread.take_if(|it| it.is_finished()) {
            match ended.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let folder = self.place.folder.display();
                    tracing::warn!(%error, %folder, "old access logs are not compressed or removed yet; trying again");
                    (self.is_due, self.not_before) = (true, Instant::now() + AGAIN);
                }
                Err(_) => tracing::error!("compressing old access logs panicked"),
            }
        }
        if !self.is_due || self.thread.is_some() || Instant::now() < self.not_before {
            return;
        }
        let (place, stop) = (self.place.clone(), Arc::clone(&self.stop));
        let pass = move || {
            yield_to_others();
            place.tidy(&stop)
        };
        match Builder::new().name(String::from("access-log-gz")).spawn(pass) {
            Ok(thread) => (self.thread, self.is_due) = (Some(thread), false),
            Err(error) => {
                tracing::warn!(%error, "old access logs are not compressed yet; trying again");
                self.not_before = Instant::now() + AGAIN;
            }
        }
    }

    /// Breaks off what is under way: the next start goes on.
    pub(super) fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Requests go before the compression, which nobody waits for.
fn yield_to_others() {
    // On Linux that is about this thread alone; elsewhere it would be about the process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!(%error, "compressing access logs goes on as any work");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, name: &str, text: &[u8]) {
        files::write_atomic(&folder.join(name), text, 0o640).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    fn unpacked(path: &Path) -> Vec<u8> {
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(File::open(path).unwrap()).read_to_end(&mut text).unwrap();
        text
    }

    #[test]
    fn a_pass_puts_right_whatever_an_end_in_between_has_left() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path();
        let place = Place::new(&folder.join("l.log"), 3);
        // Killed before the compression, in the middle of it, and before the plain file was removed.
        write(folder, "l.log.20260102-000004", b"four\n");
        write(folder, "l.log.20260103-000005", b"five\n");
        write(folder, "l.log.20260103-000005.gz.tmp", b"half");
        write(folder, "l.log.20260101-000003", b"three\n");
        pack(&folder.join("l.log.20260101-000003"), &AtomicBool::new(false)).unwrap();
        write(folder, "l.log.20260101-000003", b"three\n");
        // Too old, though its clock was ahead.
        write(folder, "l.log.20290101-000002", b"two\n");
        // Somebody else's.
        let others = [
            "l.log",
            "l.log.1",
            "l.log.2.gz",
            "l.log.20260101-1",
            "l.log.20260101-000001.gz.old",
            "m.log.20260101-000001",
        ];
        for name in others {
            write(folder, name, b"theirs");
        }
        let next = place.next(1_795_999_939_007).unwrap();
        assert_eq!(next.file_name().unwrap(), "l.log.20261130-000006");
        place.tidy(&AtomicBool::new(false)).unwrap();
        let mut wanted: Vec<String> = others.iter().map(|it| (*it).to_owned()).collect();
        wanted.extend(["0101-000003", "0102-000004", "0103-000005"].map(|it| format!("l.log.2026{it}.gz")));
        wanted.sort();
        assert_eq!(names(folder), wanted);
        for (name, text) in [("0101-000003", "three\n"), ("0102-000004", "four\n"), ("0103-000005", "five\n")] {
            let path = folder.join(format!("l.log.2026{name}.gz"));
            assert_eq!(unpacked(&path), text.as_bytes());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        }
    }

    #[test]
    fn a_pass_that_is_broken_off_leaves_the_plain_file() {
        let base = tempfile::tempdir().unwrap();
        write(base.path(), "l.log.20260101-000001", b"one\n");
        let place = Place::new(&base.path().join("l.log"), 3);
        place.tidy(&AtomicBool::new(true)).unwrap_err();
        assert_eq!(names(base.path()), ["l.log.20260101-000001"]);
    }
}
