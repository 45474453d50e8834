//! A folder of blobs that several servers use, such as one on NFS.
//!
//! Other servers' unfinished files are theirs for a day. A blob that is found too old is set aside and looked at again
//! before it goes: another server may have put it again meanwhile. What the file system must be able to do is tried by
//! [`check`] before anything relies on it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use super::{BlobDir, FOLDERS, Temporary, files, folder_of, gone};
use crate::base::{hash::Sha256, random};

/// The file with the id of the installation whose blobs these are.
pub const MARK: &str = "chainhost-instance";
/// Unfinished files of other servers are swept when they are older: no upload takes so long.
const LEFT_MS_MAX: i64 = 24 * 3_600_000;
/// What the clock of a file server may be off. Garbage collection counts by the times of files, in hours.
const CLOCK_MS_MAX: i64 = 5 * 60_000;

impl BlobDir {
    /// A folder that other servers use too, as it is: nothing in it is looked at or made. `node` is the label of this server,
    /// the same at each start and no other's. Before anything is put into it, [`BlobDir::open_shared`] is called.
    pub fn name_shared(root: &Path, node: &str) -> Self {
        Self::at(root, Some(node))
    }

    /// As [`BlobDir::open`], in a folder that other servers use too; `node` as in [`BlobDir::name_shared`].
    pub fn open_shared(root: &Path, node: &str) -> io::Result<Self> {
        for name in FOLDERS {
            files::private_folder(&root.join(name))?;
        }
        let now_ms = written_ms(&fresh(root)?.1)?;
        for left in fs::read_dir(root.join("incoming"))? {
            let left = left?;
            let name = left.file_name();
            let Some((of, label)) = name.to_str().and_then(|it| it.rsplit_once('-')) else { continue };
            // Another may have finished or swept it since the folder was read.
            let Ok(about) = left.metadata() else { continue };
            let is_ours = of == node || about.mtime().saturating_mul(1000) < now_ms - LEFT_MS_MAX;
            if about.is_file() && random::is_label::<15>(label.as_bytes()) && is_ours {
                gone(fs::remove_file(left.path()))?;
            }
        }
        Ok(Self::at(root, Some(node)))
    }

    /// Whether a blob is really as old as it looked: it is moved out of the way, and back when it is not. A reader may find
    /// it missing for that moment.
    pub(super) fn set_aside(&self, hash: &Sha256, before_ms: i64) -> io::Result<bool> {
        let (path, mut aside) = (self.path(hash), self.temporary());
        match fs::rename(&path, &aside.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            moved => moved?,
        }
        // Opened, since a network file system may remember the times of files for a while, but not of one just opened.
        if written_ms(&File::open(&aside.path)?)? < before_ms {
            return Ok(true);
        }
        fs::rename(&aside.path, &path)?;
        aside.moved = true;
        files::sync_folder(folder_of(&path)?)?;
        Ok(false)
    }
}

/// Whether a folder may be taken by an installation that has no mark in it yet: it is missing, or has nothing in it.
pub fn is_empty(root: &Path) -> io::Result<bool> {
    match fs::read_dir(root) {
        Ok(mut entries) => Ok(entries.all(|it| it.is_ok_and(|it| it.file_name() == "lost+found"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whose blobs are in a folder, by its mark.
pub fn mark(root: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(root.join(MARK)) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Marks a folder that has no mark; another that does so at the same moment is read back.
pub fn set_mark(root: &Path, text: &str) -> io::Result<Option<String>> {
    let marked = root.join(MARK);
    let path = root.join("incoming").join(format!("probe-{}", random::label::<15>()));
    let temporary = Temporary { path, moved: false };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    match fs::hard_link(&temporary.path, &marked) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => files::sync_folder(root)?,
    }
    mark(root)
}

/// Tries what we rely on in the folders of a store: they are on one file system, a rename replaces a file at once, and what
/// was synced is there. With `now_ms`, its clock is compared too. The reason when something does not hold.
pub fn check(root: &Path, now_ms: Option<i64>) -> io::Result<Result<(), String>> {
    let mut devices = Vec::new();
    for name in FOLDERS {
        devices.push(fs::metadata(root.join(name))?.dev());
    }
    devices.dedup();
    if devices.len() > 1 {
        return Ok(Err(format!(
            "its folders {} are not on one file system, so that files cannot be moved between them at once. Name the folder \
             in which all of them are to be as `folder` in [blobs]",
            FOLDERS.join(", ")
        )));
    }
    let Some(now_ms) = now_ms else { return Ok(Ok(())) };
    let (first, _) = fresh(root)?;
    let (mut second, file) = fresh(root)?;
    let tried = fs::rename(&second.path, &first.path).and_then(|()| {
        second.moved = true;
        files::sync_folder(&root.join("incoming"))?;
        Ok(fs::read(&first.path)? == second.label().as_bytes() && !second.path.exists())
    });
    match tried {
        Ok(true) => {}
        Ok(false) => return Ok(Err(String::from("a file that was moved over another is not the one that is there"))),
        Err(error) => {
            return Ok(Err(format!("a file cannot be moved over another, or its folder not synced: {error}")));
        }
    }
    let off_ms = written_ms(&file)? - now_ms;
    if off_ms.abs() > CLOCK_MS_MAX {
        let (minutes, way) = (off_ms.abs() / 60_000, if off_ms > 0 { "ahead of" } else { "behind" });
        return Ok(Err(format!("its clock is {minutes} minutes {way} ours. Set the clocks of both machines by NTP")));
    }
    Ok(Ok(()))
}

/// A new synced file with its own label in it. It goes when it is dropped.
fn fresh(root: &Path) -> io::Result<(Temporary, File)> {
    let path = root.join("incoming").join(format!("probe-{}", random::label::<15>()));
    let temporary = Temporary { path, moved: false };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.path)?;
    file.write_all(temporary.label().as_bytes())?;
    file.sync_all()?;
    Ok((temporary, file))
}

impl Temporary {
    fn label(&self) -> String {
        self.path.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }
}

fn written_ms(file: &File) -> io::Result<i64> {
    let about = file.metadata()?;
    Ok(about.mtime().saturating_mul(1000) + about.mtime_nsec() / 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const OLD: Duration = Duration::from_secs(1_000);

    fn age(path: &Path) {
        OpenOptions::new().read(true).open(path).unwrap().set_modified(UNIX_EPOCH + OLD).unwrap();
    }

    #[test]
    fn two_servers_share_a_folder_and_leave_each_others_files_alone() {
        let folder = tempfile::tempdir().unwrap();
        let one = BlobDir::open_shared(folder.path(), "one").unwrap();
        let mut writer = one.writer().unwrap();
        writer.write(b"half").unwrap();
        let two = BlobDir::open_shared(folder.path(), "two").unwrap();
        assert!(one.is_shared());
        // What the other was writing is still there, and can be ended.
        writer.write(b" and half").unwrap();
        let mut batch = one.batch();
        let (hash, _) = writer.finish(None, &mut batch).unwrap();
        batch.commit().unwrap();
        assert_eq!(two.read_verified(&hash).unwrap(), b"half and half");
        // After a crash, one's own files go at once and those of others after a day.
        for name in ["one", "two"] {
            for age_it in [false, true] {
                let path = folder.path().join("incoming").join(format!("{name}-{}", random::label::<15>()));
                File::create(&path).unwrap();
                if age_it {
                    age(&path);
                }
            }
        }
        File::create(folder.path().join("incoming/theirs-whoever")).unwrap();
        BlobDir::open_shared(folder.path(), "one").unwrap();
        let left = || fs::read_dir(folder.path().join("incoming")).unwrap().count();
        assert_eq!(left(), 2, "the young file of the other, and what is nobody's");
        BlobDir::open_shared(folder.path(), "two").unwrap();
        assert_eq!(left(), 1);
    }

    #[test]
    fn what_another_server_puts_again_is_not_too_old() {
        let folder = tempfile::tempdir().unwrap();
        let one = BlobDir::open_shared(folder.path(), "one").unwrap();
        let two = BlobDir::open_shared(folder.path(), "two").unwrap();
        let hash = one.put(b"content").unwrap();
        age(&one.path(&hash));
        two.put(b"content").unwrap();
        // As if it had looked old before the other put it.
        assert!(!one.set_aside(&hash, 2_000_000).unwrap());
        assert_eq!(one.read_verified(&hash).unwrap(), b"content");
        age(&one.path(&hash));
        assert!(one.remove_older(&hash, 2_000_000).unwrap());
        assert!(!two.has(&hash) && !two.remove_older(&hash, 2_000_000).unwrap());
        assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_file_system_must_do_is_tried() {
        let folder = tempfile::tempdir().unwrap();
        BlobDir::open_shared(folder.path(), "one").unwrap();
        let now_ms = written_ms(&fresh(folder.path()).unwrap().1).unwrap();
        check(folder.path(), Some(now_ms)).unwrap().unwrap();
        for (off, word) in [(-400_000, "ahead of"), (400_000, "behind")] {
            let why = check(folder.path(), Some(now_ms + off)).unwrap().unwrap_err();
            assert!(why.contains(word) && why.contains("6 minutes"), "{why}");
        }
        // Another file system, which every Linux has.
        let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
        fs::remove_dir(folder.path().join("blobs")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), folder.path().join("blobs")).unwrap();
        let why = check(folder.path(), None).unwrap().unwrap_err();
        assert!(why.contains("one file system"), "{why}");
        assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
    }

    #[test]
    fn a_mark_is_set_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_empty(folder.path()).unwrap() && is_empty(&folder.path().join("no")).unwrap());
        BlobDir::open_shared(folder.path(), "one").unwrap();
        assert!(!is_empty(folder.path()).unwrap());
        assert_eq!(mark(folder.path()).unwrap(), None);
        assert_eq!(set_mark(folder.path(), "a").unwrap().as_deref(), Some("a"));
        assert_eq!(set_mark(folder.path(), "b").unwrap().as_deref(), Some("a"));
        assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
    }
}
