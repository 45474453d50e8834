//! Reads a zip file by its central directory, an entry at a time.
//!
//! Strict where readers differ: the directory and the header before each file must say the same, nothing stands before
//! the first file, sizes and checksums must be those of the bytes.

use std::io::{BufReader, Read, Seek};

use zip::{
    CompressionMethod,
    ZipReadOptions,
    read::{ArchiveOffset, Config, ZipFileEntry},
    result::ZipError,
    // COMPAT: the crate may change this in a patch release, which the lock file holds back. Its stable reader keeps all
    // entries in memory before it says how many there are, and lets the last of equal names win.
    unstable::read::ZipIterable,
};

use super::{Intake, broken, cut_off, not_a_file, refused, shown};
use crate::domain::{Error, Result};

/// The bits of a Unix mode that say what a file is.
const KIND: u32 = 0o170_000;
const FOLDER: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;

/// Unpacks all entries.
pub(super) fn unpack(source: impl Read + Seek, intake: &mut Intake<'_>) -> Result<()> {
    let config = Config { archive_offset: ArchiveOffset::Known(0) };
    let archive = ZipIterable::try_new(BufReader::new(source), config).map_err(wrong)?;
    let mut archive = archive.enforce_header_consistency(true);
    let entries = archive.files().map_err(wrong)?;
    while let Some(entry) = entries.next() {
        let entry = entry.map_err(wrong)?;
        let name = entry.name_raw().to_vec();
        let Some(path) = intake.entry(&name)? else { continue };
        if is_folder(&entry)? {
            continue;
        }
        check(&entry)?;
        let size = entry.size();
        let mut file = entry.with_reader(entries.reader_mut(), ZipReadOptions::new()).map_err(wrong)?;
        let mut read = 0_u64;
        intake.file(path, |intake, buffer| {
            let length = file.read(buffer).map_err(|error| damaged(&name, error))?;
            intake.count(length)?;
            read = read.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
            Ok(length)
        })?;
        if read != size {
            return Err(damaged(&name, format!("{read} bytes instead of {size}")));
        }
    }
    Ok(())
}

/// Folders have names that end in `/`, and a mode that agrees.
fn is_folder(entry: &ZipFileEntry<'_>) -> Result<bool> {
    let kind = entry.unix_mode().unwrap_or_default() & KIND;
    match (entry.name_raw().ends_with(b"/"), kind) {
        (true, 0 | FOLDER) if entry.size() == 0 => Ok(true),
        (false, kind) if kind != FOLDER => Ok(false),
        _ => Err(not_a_file(entry.name_raw(), "half a folder and half a file")),
    }
}

/// Refuses what is no plain file that we can read.
fn check(entry: &ZipFileEntry<'_>) -> Result<()> {
    let name = entry.name_raw();
    match entry.unix_mode().unwrap_or_default() & KIND {
        0 | REGULAR => {}
        0o120_000 => return Err(not_a_file(name, "a symbolic link")),
        _ => return Err(not_a_file(name, "a device or a pipe")),
    }
    if entry.encrypted() {
        let message = format!("{} is encrypted. Pack the archive without a password", shown(name));
        return Err(refused("archive_encrypted", &message));
    }
    if !matches!(entry.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
        let message = format!("{} is compressed in a rare way. Pack the archive with deflate", shown(name));
        return Err(refused("archive_compression", &message));
    }
    Ok(())
}

fn wrong(error: ZipError) -> Error {
    match error {
        ZipError::Io(error) => broken(error),
        // The end of a zip file is its table of contents: where it is missing, most often the file was cut off.
        ZipError::InvalidArchive(why) if why.contains("end of central directory") || why.contains("EOCD") => {
            cut_off().because(why)
        }
        other => refused("archive_damaged", "The archive is damaged. Pack it anew and send it again").because(other),
    }
}

fn damaged(name: &[u8], why: impl std::fmt::Display) -> Error {
    let message = format!("{} is damaged in the archive. Pack it anew and send it again", shown(name));
    refused("archive_damaged", &message).because(why)
}
