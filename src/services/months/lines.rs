//! A file of JSON lines, compressed with zstd, that is whole under its name or not there.
//!
//! It is written under a name that the next pass sweeps, and gets its own name when its bytes are on the disk.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use crate::{
    base::{
        files,
        hash::{Hasher, Sha256},
        random,
    },
    domain::{Error, Result},
};

/// The level that zstd itself takes when nothing is said.
const LEVEL: i32 = 3;

/// A file that is being written.
pub(super) struct Lines {
    encoder: zstd::Encoder<'static, Hashed>,
    folder: PathBuf,
    name: String,
    temporary: PathBuf,
    /// Lines so far.
    pub(super) count: i64,
}

/// Bytes on their way into a file.
struct Hashed {
    file: File,
    hasher: Hasher,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Lines {
    /// Begins the file `name` in `folder`, which is made when it is missing. What an earlier process left half written there goes.
    pub(super) fn create(folder: &Path, name: String) -> Result<Self> {
        files::private_folder(folder)?;
        files::sweep_unfinished(folder)?;
        let temporary = folder.join(format!(".{name}.{}.tmp", random::label::<5>()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        let encoder = zstd::Encoder::new(Hashed { file, hasher: Hasher::new() }, LEVEL)?;
        Ok(Self { encoder, folder: folder.to_owned(), name, temporary, count: 0 })
    }

    /// Adds lines.
    pub(super) fn append(&mut self, lines: &[serde_json::Value]) -> Result<()> {
        for line in lines {
            serde_json::to_writer(&mut self.encoder, line).map_err(Error::internal)?;
            self.encoder.write_all(b"\n")?;
            self.count += 1;
        }
        Ok(())
    }

    /// Ends the file; its path and the SHA-256 of its bytes.
    pub(super) fn finish(self) -> Result<(PathBuf, Sha256)> {
        let Hashed { file, hasher } = self.encoder.finish()?;
        file.sync_all()?;
        let path = self.folder.join(&self.name);
        fs::rename(&self.temporary, &path)?;
        files::sync_folder(&self.folder)?;
        Ok((path, hasher.finish()))
    }
}
