//! A folder of finished files on this machine, walked as every way of deploying walks one.
//!
//! The same files are taken, skipped and refused as in a deployment (DECISIONS 36, 37). Symbolic links are not
//! followed, also not one that took the place of a folder meanwhile. Changes nothing.

use std::{
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use crate::{
    base::beneath::{About, Folder},
    domain::{
        Error, Result,
        site_path::{self, Selected},
    },
};

/// The error for a file or folder that the system does not give.
pub fn unreadable(act: &str, path: &Path, error: &io::Error) -> Error {
    Error::invalid("folder", format!("Cannot {act} {}: {error}", path.display()))
}

/// Calls `each` with the path of every file in `root` that is not skipped, and what the system says of it.
pub fn walk(root: &Folder, allow_env: bool, each: &mut dyn FnMut(PathBuf, About) -> Result<()>) -> Result<()> {
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        let failed = |error: io::Error| unreadable("read", &root.path().join(&folder), &error);
        for found in root.list(&folder).map_err(failed)? {
            let found = found.map_err(failed)?;
            let relative = folder.join(found.name);
            match site_path::select(relative.as_os_str().as_bytes(), allow_env)? {
                Selected::Skip => {}
                _ if found.about.is_dir() => open.push(relative),
                _ if !found.about.is_file() => {
                    let message =
                        "is not a regular file. Symbolic links and devices are not deployed; put a copy there";
                    return Err(Error::invalid("not_a_file", format!("{} {message}.", relative.display())));
                }
                Selected::Policy(_) | Selected::File(_) => each(relative, found.about)?,
            }
        }
    }
    Ok(())
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
