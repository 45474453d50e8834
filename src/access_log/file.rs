//! The file that is written to: opened again when somebody else has moved it away, set aside when it is full.
//!
//! INVARIANT: what is in it are whole lines. Where a write broke off in the middle of one (a full disk, a process that was killed), the
//! rest of that line is cut off, or ended before the next one.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::PathBuf,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use tokio::time::Instant;

use super::archive::{Archive, MODE, Place};
use crate::{base::clock::Clock, config::access_log::AccessLog as Settings};

/// Between two looks at whether the file is still there.
const LOOK: Duration = Duration::from_secs(1);
/// A file that cannot be set aside grows on until this is tried again.
const ROTATE_AGAIN: Duration = Duration::from_secs(5);

/// Lines that are to be written together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
}

/// The log on the disk.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    rotate_bytes: u64,
    place: Place,
    clock: Clock,
    open: Option<Open>,
    looked: Option<Instant>,
    rotate_not_before: Instant,
    pub(super) archive: Archive,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    /// Device and number: another file has others.
    identity: (u64, u64),
    is_regular: bool,
}

fn identity(about: &Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

impl LogFile {
    pub(super) fn new(settings: &Settings, clock: Clock) -> Self {
        let place = Place::new(&settings.path, settings.keep);
        Self {
            path: settings.path.clone(),
            rotate_bytes: settings.rotate_bytes,
            archive: Archive::new(place.clone()),
            place,
            clock,
            open: None,
            looked: None,
            rotate_not_before: Instant::now(),
        }
    }

    /// Once a second: sees whether the file is still the one that has this name, and opens the one that is, or a new one.
    pub(super) fn look(&mut self) -> io::Result<()> {
        if self.looked.is_some_and(|it| it.elapsed() < LOOK) {
            return Ok(());
        }
        self.looked = Some(Instant::now());
        if let Some(open) = &mut self.open {
            match fs::metadata(&self.path) {
                // Somebody may have cut it short in place.
                Ok(about) if identity(&about) == open.identity => open.size = about.len(),
                _ => self.open = None,
            }
        }
        self.opened()?;
        self.archive.look();
        Ok(())
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        if self.open.is_none() {
            DirBuilder::new().recursive(true).mode(0o750).create(self.place.folder())?;
            self.open = Some(self.open_new_or_old()?);
        }
        self.open.as_mut().ok_or_else(|| io::Error::other("no file"))
    }

    fn open_new_or_old(&self) -> io::Result<Open> {
        let file = match OpenOptions::new().append(true).create_new(true).mode(MODE).open(&self.path) {
            Ok(file) => {
                // Whatever the process may give to new files.
                file.set_permissions(Permissions::from_mode(MODE))?;
                file
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                OpenOptions::new().append(true).open(&self.path)?
            }
            Err(error) => return Err(error),
        };
        let about = file.metadata()?;
        let mut open =
            Open { file, size: about.len(), identity: identity(&about), is_regular: about.file_type().is_file() };
        if open.is_regular {
            // What another process writes after the file was set aside would be lost.
            if flock(&open.file, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK) {
                let why = "another process writes to this file; give each server a `path` of its own in [access_log]";
                return Err(io::Error::other(why));
            }
            if self.ends_within_a_line(open.size)? {
                open.size += 1;
                open.file.write_all(b"\n")?;
            }
        }
        Ok(open)
    }

    fn ends_within_a_line(&self, size: u64) -> io::Result<bool> {
        let Some(last) = size.checked_sub(1) else { return Ok(false) };
        let mut byte = [0];
        // Who may write and not read it has to go without.
        let Ok(file) = File::open(&self.path) else { return Ok(false) };
        file.read_exact_at(&mut byte, last)?;
        Ok(byte != *b"\n")
    }

    /// Writes the batch and empties it. After an error it has what was not written, beginning with a whole line; gives back how many
    /// lines were.
    pub(super) fn write(&mut self, batch: &mut Batch) -> (u64, io::Result<()>) {
        let size = u64::try_from(batch.bytes.len()).unwrap_or(u64::MAX);
        let is_full = |it: &Open| it.is_regular && it.size > 0 && it.size.saturating_add(size) > self.rotate_bytes;
        if self.open.as_ref().is_some_and(is_full) {
            self.rotate();
        }
        let open = match self.opened() {
            Ok(open) => open,
            Err(error) => return (0, Err(error)),
        };
        let (written, result) = write_all(&mut open.file, &batch.bytes);
        let before = open.size;
        open.size = before.saturating_add(u64::try_from(written).unwrap_or(0));
        if result.is_ok() {
            let lines = count(&batch.bytes);
            batch.bytes.clear();
            return (lines, Ok(()));
        }
        let whole = batch.bytes.get(..written).and_then(|it| memchr::memrchr(b'\n', it)).map_or(0, |it| it + 1);
        if whole < written && open.is_regular && open.file.metadata().is_ok_and(|it| it.len() == open.size) {
            // What cannot be cut off is ended when the file is opened again.
            drop(open.file.set_len(before.saturating_add(u64::try_from(whole).unwrap_or(0))));
        }
        self.open = None;
        let lines = batch.bytes.get(..whole).map_or(0, count);
        batch.bytes.drain(..whole);
        (lines, result)
    }

    /// Sets the file aside. What hinders that only lets it grow on.
    fn rotate(&mut self) {
        if Instant::now() < self.rotate_not_before {
            return;
        }
        match self.set_aside() {
            Ok(true) => self.archive.wake(),
            Ok(false) => self.rotate_not_before = Instant::now() + ROTATE_AGAIN,
            Err(error) => {
                let path = self.path.display();
                tracing::warn!(%error, %path, "the access log cannot be set aside and grows on: may files be made and renamed in its folder?");
                self.rotate_not_before = Instant::now() + Duration::from_mins(1);
            }
        }
    }

    /// Whether it was: what is reached through a link, or has another file's place by now, is not ours to rename.
    fn set_aside(&mut self) -> io::Result<bool> {
        let ours = self.open.as_ref().map(|it| it.identity);
        let about = fs::symlink_metadata(&self.path)?;
        if !about.is_file() || Some(identity(&about)) != ours {
            return Ok(false);
        }
        fs::rename(&self.path, self.place.next(self.clock.now_ms())?)?;
        self.open = None;
        Ok(true)
    }
}

/// How many bytes were written, also when that failed.
fn write_all(file: &mut File, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|it| !it.is_empty()) {
        match file.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

fn count(lines: &[u8]) -> u64 {
    u64::try_from(memchr::memchr_iter(b'\n', lines).count()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::symlink, path::Path};

    use super::*;
    use crate::{base::files, config::access_log::Format};

    fn log(path: &Path) -> LogFile {
        let settings =
            Settings { format: Format::Json, path: path.to_owned(), rotate_bytes: 100, keep: 5, country: false };
        LogFile::new(&settings, Clock::manual(1_795_999_939_007).0)
    }

    fn write(log: &mut LogFile, text: &str) -> u64 {
        let mut batch = Batch { bytes: text.as_bytes().to_vec() };
        let (lines, done) = log.write(&mut batch);
        done.unwrap();
        assert!(batch.bytes.is_empty());
        lines
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    /// Looks although no second has passed.
    fn look(log: &mut LogFile) -> io::Result<()> {
        log.looked = None;
        log.look()
    }

    #[test]
    fn a_line_that_broke_off_is_ended_before_the_next() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("new/folder/access.log");
        assert_eq!(write(&mut log(&path), "one\ntwo\n"), 2);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        File::options().append(true).open(&path).unwrap().write_all(b"192.0.2").unwrap();
        assert_eq!(write(&mut log(&path), "three\n"), 1);
        assert_eq!(text(&path), "one\ntwo\n192.0.2\nthree\n");
    }

    #[test]
    fn a_file_that_is_not_there_any_more_is_made_anew() {
        let base = tempfile::tempdir().unwrap();
        let (path, moved) = (base.path().join("l"), base.path().join("l.1"));
        let mut log = log(&path);
        write(&mut log, "one\n");
        fs::rename(&path, &moved).unwrap();
        write(&mut log, "two\n");
        look(&mut log).unwrap();
        assert_eq!(text(&path), "");
        write(&mut log, "three\n");
        assert_eq!((text(&moved).as_str(), text(&path).as_str()), ("one\ntwo\n", "three\n"));
        fs::remove_file(&path).unwrap();
        look(&mut log).unwrap();
        write(&mut log, "four\n");
        // Copied away and cut short in place.
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        look(&mut log).unwrap();
        write(&mut log, "five\n");
        assert_eq!((text(&path).as_str(), log.open.as_ref().unwrap().size), ("five\n", 5));
        // Moved, with another file in its place already.
        fs::rename(&path, &moved).unwrap();
        File::create(&path).unwrap();
        look(&mut log).unwrap();
        write(&mut log, "six\n");
        assert_eq!((text(&moved).as_str(), text(&path).as_str()), ("five\n", "six\n"));
    }

    #[test]
    fn a_full_file_is_set_aside_and_none_is_larger_than_it_may_be() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("l");
        let mut log = log(&path);
        let lines: Vec<String> = (0..12).map(|it| format!("{it:030}\n")).collect();
        for line in &lines {
            write(&mut log, line);
        }
        log.archive.stop();
        assert_eq!(text(&path), lines.get(9..).unwrap().concat());
        // Three lines of 31 bytes fit into 100.
        let mut found = files::walk(base.path()).unwrap();
        found.sort();
        let names: Vec<&str> = found.iter().map(|it| it.to_str().unwrap().trim_end_matches(".gz")).collect();
        assert_eq!(names, ["l", "l.20261130-000001", "l.20261130-000002", "l.20261130-000003"]);
    }

    #[test]
    fn what_is_reached_through_a_link_is_not_renamed() {
        let base = tempfile::tempdir().unwrap();
        let (path, real) = (base.path().join("l"), base.path().join("real"));
        symlink(&real, &path).unwrap();
        File::create(&real).unwrap();
        let mut log = log(&path);
        for number in 0..9 {
            write(&mut log, &format!("{number:030}\n"));
        }
        assert_eq!((text(&real).len(), files::walk(base.path()).unwrap().len()), (279, 1));
        assert!(fs::symlink_metadata(&path).unwrap().is_symlink());
    }

    #[test]
    fn a_disk_that_takes_nothing_keeps_the_batch_for_later() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("l");
        symlink("/dev/full", &path).unwrap();
        let mut log = log(&path);
        let mut batch = Batch { bytes: b"one\ntwo\n".to_vec() };
        let (lines, failed) = log.write(&mut batch);
        assert_eq!((lines, failed.unwrap_err().kind()), (0, io::ErrorKind::StorageFull));
        assert_eq!(batch.bytes, b"one\ntwo\n");
        fs::remove_file(&path).unwrap();
        assert_eq!(log.write(&mut batch).0, 2);
        assert_eq!(text(&path), "one\ntwo\n");
    }

    #[test]
    fn two_do_not_write_to_one_file() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("l");
        let mut first = log(&path);
        write(&mut first, "one\n");
        let mut second = log(&path);
        let error = look(&mut second).unwrap_err().to_string();
        assert!(error.contains("another process writes to this file"), "{error}");
        drop(first);
        look(&mut second).unwrap();
    }
}
