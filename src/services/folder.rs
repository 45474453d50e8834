//! A folder of finished files on this machine, walked as every way of deploying walks one.
//!
//! The same files are taken, skipped and refused as in a deployment (DECISIONS 36, 37). Symbolic links are not
//! followed. Changes nothing.

use std::{
    fs::{self, File},
    io,
    os::unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::domain::{
    Error, Result,
    site_path::{self, Selected},
};

/// The error for a file or folder that the system does not give.
pub fn unreadable(act: &str, path: &Path, error: &io::Error) -> Error {
    Error::invalid("folder", format!("Cannot {act} {}: {error}", path.display()))
}

/// Calls `each` with the path of every file below `dir` that is not skipped.
pub fn walk(dir: &Path, allow_env: bool, each: &mut dyn FnMut(PathBuf) -> Result<()>) -> Result<()> {
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

/// Opens a file to be read. SECURITY: a link put in a file's place after the folder was read is not followed, and a pipe is not waited for.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Calls `each` with the bytes of a file in their order.
pub fn pieces(mut file: impl io::Read, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            length => each(buffer.get(..length).unwrap_or_default()),
        }
    }
}
