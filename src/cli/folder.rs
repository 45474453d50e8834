//! A folder of finished files, listed as every way of deploying lists one: path, size and SHA-256 of each file.
//!
//! The same files are taken, skipped and refused as in a deployment (DECISIONS 36, 37). Symbolic links are not
//! followed. Changes nothing.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Read},
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::{
    base::{
        hash::{Hasher, Sha256},
        limits::POLICY_FILE_BYTES_MAX,
    },
    domain::{
        Error, Result,
        site_path::{self, Selected},
    },
    proof::build::{self, Found},
};

/// The error for a file or folder that the system does not give.
pub(super) fn unreadable(act: &str, path: &Path, error: &io::Error) -> Error {
    Error::invalid("folder", format!("Cannot {act} {}: {error}", path.display()))
}

/// All files below `dir` that belong to its site or its policy.
pub(super) fn list(dir: &Path, allow_env: bool) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    walk(dir, allow_env, &mut |relative| {
        let file = dir.join(&relative);
        let (sha256, size) = open(&file).and_then(hash).map_err(|error| unreadable("read", &file, &error))?;
        found.push((relative.into_os_string().as_bytes().to_vec(), size, sha256));
        build::check_limits(found.len().saturating_sub(POLICY_FILES), 0)
    })?;
    Ok(found)
}

/// Files that become policy and are not counted among those of the site.
const POLICY_FILES: usize = 3;

/// The bytes of a policy file; `relative` is a path of [`list`].
pub(super) fn read(dir: &Path, relative: &[u8]) -> Result<Vec<u8>> {
    let path = dir.join(OsStr::from_bytes(relative));
    let mut bytes = Vec::new();
    // One more than allowed shows that there is too much.
    let limit = u64::try_from(POLICY_FILE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    open(&path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| unreadable("read", &path, &error))?;
    Ok(bytes)
}

/// Calls `each` with the path of every file below `dir` that is not skipped.
pub(super) fn walk(dir: &Path, allow_env: bool, each: &mut dyn FnMut(PathBuf) -> Result<()>) -> Result<()> {
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        let full = dir.join(&folder);
        for found in fs::read_dir(&full).map_err(|error| unreadable("read", &full, &error))? {
            let found = found.map_err(|error| unreadable("read", &full, &error))?;
            let relative = folder.join(found.file_name());
            let kind = found.file_type().map_err(|error| unreadable("read", &found.path(), &error))?;
            match site_path::select(relative.as_os_str().as_bytes(), allow_env)? {
                Selected::Skip => {}
                _ if kind.is_dir() => open.push(relative),
                _ if !kind.is_file() => {
                    let message =
                        "is not a regular file. Symbolic links and devices are not deployed; put a copy there";
                    return Err(Error::invalid("not_a_file", format!("{} {message}.", relative.display())));
                }
                Selected::Policy(_) | Selected::File(_) => each(relative)?,
            }
        }
    }
    Ok(())
}

/// SECURITY: a link put in a file's place after the folder was read is not followed, and a pipe is not waited for.
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Hash and size of the bytes that were read, whatever the folder says of the file.
pub(super) fn hash(mut file: impl Read) -> io::Result<(Sha256, u64)> {
    let (mut hasher, mut size, mut buffer) = (Hasher::new(), 0, vec![0; 128 * 1024]);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((hasher.finish(), size));
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        size += u64::try_from(read).unwrap_or(u64::MAX);
    }
}
