//! Unpacks an archive of a site into blobs: zip, tar, tar.gz and tar.zst.
//!
//! Only regular files get in, each read to its last byte and counted as it comes, whatever headers say. Nothing is
//! written under a name of the archive, no link is followed, and what one reader would take for another path, kind or
//! size refuses the whole archive (CONTRACTS §5, DECISIONS 25). All calls block.
//!
//! After an error some blobs may stay without a manifest that names them; garbage collection takes them.

mod tarball;
mod zipfile;

use std::{
    collections::HashSet,
    io::{self, BufReader, Read, Seek, SeekFrom},
};

use crate::{
    base::{
        blob_dir::{Batch, BlobDir, BlobError},
        hash::Sha256,
        limits::{
            ARCHIVE_BYTES_MAX, ARCHIVE_RATIO_FREE_BYTES, ARCHIVE_RATIO_MAX, DISK_LOOK_BYTES, SITE_BYTES_MAX,
            SITE_FILES_MAX,
        },
    },
    domain::{
        Error, Result,
        site_path::{Selected, select},
    },
};

/// Blobs that are committed together: one sync costs as much as many, and so many names fit a folder well.
const BATCH_BLOBS_MAX: usize = 1_024;
/// 8 MiB: what RFC 8878 §3.1.1.1.2 asks decoders to have, and all that one upload may take of our memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;
/// What a file costs on the disk besides its bytes, about: small ones count too.
const FILE_BYTES: usize = 4 * 1024;
/// Bytes moved at a time.
const CHUNK: usize = 64 * 1024;

/// How an archive is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A zip file, stored or deflated.
    Zip,
    /// A tar file as it is.
    Tar,
    /// A tar file in gzip.
    TarGz,
    /// A tar file in Zstandard.
    TarZst,
}

impl Kind {
    /// Tells by the archive's first bytes, which are looked at from the start, and where these say nothing by the
    /// `Content-Type` that came with it.
    pub fn of(content_type: Option<&str>, source: &mut (impl Read + Seek)) -> Result<Self> {
        source.seek(SeekFrom::Start(0)).map_err(broken)?;
        let mut first = Vec::with_capacity(512);
        source.take(512).read_to_end(&mut first).map_err(broken)?;
        if let Some(kind) = Self::by_magic(&first) {
            return Ok(kind);
        }
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match media_type.to_ascii_lowercase().as_str() {
            "application/zip" | "application/x-zip-compressed" => Ok(Self::Zip),
            "application/x-tar" | "application/tar" => Ok(Self::Tar),
            "application/gzip" | "application/x-gzip" => Ok(Self::TarGz),
            "application/zstd" | "application/x-zstd" => Ok(Self::TarZst),
            _ => Err(refused("archive_kind", "This is not an archive. Send a zip, tar, tar.gz or tar.zst file")),
        }
    }

    fn by_magic(first: &[u8]) -> Option<Self> {
        match first {
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Self::Zip),
            [0x1f, 0x8b, ..] => Some(Self::TarGz),
            // A frame, or one that may be skipped before it.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::TarZst),
            _ => (first.get(257..262) == Some(b"ustar")).then_some(Self::Tar),
        }
    }
}

/// What may end the unpacking from outside.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Asked often; when it says yes the rest is given up.
    pub cancelled: &'a dyn Fn() -> bool,
    /// Asked for each [`DISK_LOOK_BYTES`] that are to be written; may refuse.
    pub admit: &'a dyn Fn(u64) -> Result<()>,
}

impl std::fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// Unpacks `source` into `blobs` and lists path, size and hash of each file: what `proof::build::manifest` takes.
///
/// Files that no site has (`.git`, `node_modules` …) are left out; `allow_env` lets `.env*` through, which else refuse the
/// archive.
pub fn unpack(
    kind: Kind,
    mut source: impl Read + Seek,
    blobs: &BlobDir,
    allow_env: bool,
    watch: Watch<'_>,
) -> Result<Vec<(Vec<u8>, u64, Sha256)>> {
    let packed = source.seek(SeekFrom::End(0)).map_err(broken)?;
    if packed > ARCHIVE_BYTES_MAX {
        let megabytes = ARCHIVE_BYTES_MAX / (1024 * 1024);
        return Err(too_large("archive_size", &format!("The archive has more than {megabytes} MiB")));
    }
    source.seek(SeekFrom::Start(0)).map_err(broken)?;
    let mut intake = Intake {
        blobs,
        batch: blobs.batch(),
        allow_env,
        watch,
        packed,
        unpacked: 0,
        bytes: 0,
        entries: 0,
        unlooked: 0,
        names: HashSet::new(),
        files: Vec::new(),
    };
    match kind {
        Kind::Zip => zipfile::unpack(source, &mut intake)?,
        Kind::Tar => tarball::unpack(source, &mut intake)?,
        Kind::TarGz => tarball::unpack(flate2::bufread::MultiGzDecoder::new(BufReader::new(source)), &mut intake)?,
        Kind::TarZst => {
            let mut decoder = zstd::Decoder::new(source).map_err(broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
            tarball::unpack(decoder, &mut intake)?;
        }
    }
    intake.batch.commit()?;
    Ok(intake.files)
}

/// What takes the files of an archive, whatever its format, and counts.
struct Intake<'a> {
    blobs: &'a BlobDir,
    batch: Batch,
    allow_env: bool,
    watch: Watch<'a>,
    /// Bytes of the archive itself.
    packed: u64,
    /// Bytes that came out of it, also those that are skipped.
    unpacked: u64,
    /// Bytes of files among these.
    bytes: u64,
    entries: usize,
    /// Bytes written since the last look at the free space.
    unlooked: u64,
    /// Hashes of the paths: 50,000 paths of 1,024 bytes would be much to keep twice.
    names: HashSet<Sha256>,
    files: Vec<(Vec<u8>, u64, Sha256)>,
}

impl Intake<'_> {
    /// Counts one entry and looks at its name. `None`: it is not part of a site.
    fn entry(&mut self, name: &[u8]) -> Result<Option<Vec<u8>>> {
        self.go_on()?;
        self.entries += 1;
        if self.entries > SITE_FILES_MAX {
            let message = format!("The archive has more than {SITE_FILES_MAX} entries");
            return Err(too_large("site_files", &message));
        }
        check_name(name)?;
        let mut relative = name;
        while let Some(rest) = relative.strip_prefix(b"./") {
            relative = rest;
        }
        let relative = relative.strip_suffix(b"/").unwrap_or(relative);
        if matches!(relative, b"" | b".") {
            return Ok(None);
        }
        Ok(match select(relative, self.allow_env)? {
            Selected::Skip => None,
            Selected::File(_) => Some(relative.to_vec()),
            Selected::Policy(_) => {
                // These do not count, however the files come. Each name can be there once.
                self.entries = self.entries.saturating_sub(1);
                Some(relative.to_vec())
            }
        })
    }

    /// Counts bytes that came out of the archive, of whatever sense.
    fn count(&mut self, bytes: usize) -> Result<()> {
        self.go_on()?;
        self.unpacked = self.unpacked.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        // SECURITY: counted, not declared. Small archives of text compress well, hence the free part.
        if self.unpacked > ARCHIVE_RATIO_FREE_BYTES && self.unpacked / ARCHIVE_RATIO_MAX > self.packed {
            let message = format!("The archive unpacks to more than {ARCHIVE_RATIO_MAX} times its size");
            return Err(too_large("archive_ratio", &message));
        }
        Ok(())
    }

    /// Counts bytes of a file, kept or not.
    fn count_file(&mut self, bytes: usize) -> Result<()> {
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.bytes > SITE_BYTES_MAX {
            let megabytes = SITE_BYTES_MAX / (1024 * 1024);
            return Err(too_large("site_bytes", &format!("The archive unpacks to more than {megabytes} MiB")));
        }
        Ok(())
    }

    /// Takes a file: `next` gives its pieces, and an empty one at its end.
    fn file(&mut self, path: Vec<u8>, mut next: impl FnMut(&mut Self, &mut [u8]) -> Result<usize>) -> Result<()> {
        if !self.names.insert(Sha256::of(&path)) {
            let message = format!("{} is in the archive twice. Pack it anew", shown(&path));
            return Err(refused("archive_duplicate", &message));
        }
        let mut writer = self.blobs.writer()?;
        let mut buffer = vec![0; CHUNK];
        loop {
            let length = next(self, &mut buffer)?;
            if length == 0 {
                break;
            }
            let piece = buffer.get(..length).unwrap_or_default();
            self.count_file(piece.len())?;
            self.look(piece.len())?;
            writer.write(piece)?;
        }
        self.look(FILE_BYTES)?;
        let (hash, size) = writer.finish(None, &mut self.batch).map_err(io_error)?;
        self.files.push((path, size, hash));
        if self.batch.len() >= BATCH_BLOBS_MAX {
            std::mem::replace(&mut self.batch, self.blobs.batch()).commit()?;
        }
        Ok(())
    }

    /// Looks at the free space every few bytes written: what an archive unpacks to is not known before.
    fn look(&mut self, bytes: usize) -> Result<()> {
        self.unlooked = self.unlooked.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if self.unlooked >= DISK_LOOK_BYTES {
            (self.watch.admit)(DISK_LOOK_BYTES)?;
            self.unlooked = 0;
        }
        Ok(())
    }

    fn go_on(&self) -> Result<()> {
        if (self.watch.cancelled)() {
            return Err(Error::unavailable("cancelled", "The upload was stopped. Nothing was changed; send it again."));
        }
        Ok(())
    }
}

/// Refuses names that lead out of the archive, also those of entries that are left out.
fn check_name(name: &[u8]) -> Result<()> {
    let why = if name.starts_with(b"/") {
        "its name begins with `/`"
    } else if name.split(|b| *b == b'/').any(|it| it == b"..") {
        "its name has a `..`"
    } else if name.contains(&b'\\') {
        "its name has a backslash. Use a tool that parts folders with `/`"
    } else if name.contains(&0) {
        "its name has a NUL"
    } else {
        return Ok(());
    };
    Err(refused("archive_path", &format!("{} cannot be part of a site: {why}", shown(name))))
}

/// A hostile name must not flood a log, a terminal or a page.
fn shown(name: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(name).chars().take(200).flat_map(char::escape_debug).collect();
    format!("`{text}`")
}

/// An entry that is no plain file.
fn not_a_file(name: &[u8], what: &str) -> Error {
    let message = format!("{} is {what}. Only files and folders are taken; put a copy of the file there", shown(name));
    refused("not_a_file", &message)
}

/// The archive ends too early.
fn cut_off() -> Error {
    refused("archive_cut_off", "The archive is cut off: it ends in the middle. Send it again")
}

/// What reading an archive failed with: damage of the archive, or of the machine.
fn broken(error: io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return Error::from(error);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => cut_off(),
        // The decoder has no kind of its own for this, only words.
        _ if error.to_string().contains("too much memory") => refused(
            "archive_compression",
            "The archive needs too much memory to unpack. Compress it with zstd at level 19 or lower, without --long",
        ),
        _ => refused("archive_damaged", "The archive is damaged. Pack it anew and send it again").because(error),
    }
}

fn io_error(error: BlobError) -> Error {
    Error::from(io::Error::from(error))
}

fn refused(code: &'static str, message: &str) -> Error {
    Error::invalid(code, format!("{message}.")).on("archive")
}

fn too_large(code: &'static str, message: &str) -> Error {
    Error::too_large(code, format!("{message}. Send only what visitors ask for.")).on("archive")
}
