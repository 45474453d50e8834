//! Reads a tar stream block by block: ustar, GNU long names and PAX records.
//!
//! Strict where readers differ: every header's checksum, whole blocks, one long name for a file, no size that two
//! headers give differently, an end marker and nothing but zeros behind it.

use std::io::{self, Read};

use tar::{EntryType, Header};

use super::{Intake, broken, cut_off, not_a_file, refused, shown};
use crate::domain::{Error, Result};

const BLOCK: usize = 512;
/// Bytes of one long name or PAX header: names have at most 1,024, the rest is room for attributes that we leave out.
const EXTENSION_BYTES_MAX: u64 = 256 * 1024;

/// Unpacks the whole stream.
pub(super) fn unpack(source: impl Read, intake: &mut Intake<'_>) -> Result<()> {
    let mut tape = Tape { source };
    let mut extended = Extended::default();
    while let Some(header) = tape.header(intake)? {
        let size = header.entry_size().map_err(|_| damaged("a header has no size"))?;
        match header.entry_type() {
            EntryType::XGlobalHeader => {
                // Counted as an entry, or an archive of nothing else would keep us busy.
                intake.entry(b".")?;
                Extended::default().read_pax(&tape.extension(size, intake)?)?.refuse_global()?;
            }
            EntryType::XHeader if extended.pax.is_none() => {
                let records = tape.extension(size, intake)?;
                extended.read_pax(&records)?;
            }
            EntryType::GNULongName if extended.long_name.is_none() => {
                extended.long_name = Some(text(tape.extension(size, intake)?));
            }
            EntryType::GNULongLink if !extended.long_link => {
                tape.extension(size, intake)?;
                extended.long_link = true;
            }
            EntryType::XHeader | EntryType::GNULongName | EntryType::GNULongLink => {
                return Err(damaged("two headers describe the same file"));
            }
            kind => {
                let extended = std::mem::take(&mut extended);
                one(&mut tape, &header, kind, size, &extended, intake)?;
            }
        }
    }
    if extended != Extended::default() {
        return Err(cut_off());
    }
    tape.only_zeros(intake)
}

/// One entry with its data.
fn one(
    tape: &mut Tape<impl Read>,
    header: &Header,
    kind: EntryType,
    size: u64,
    extended: &Extended,
    intake: &mut Intake<'_>,
) -> Result<()> {
    let name = extended.name(header)?;
    if extended.size.is_some_and(|it| it != size) {
        return Err(damaged(&format!("two headers give {} different sizes", shown(&name))));
    }
    let wanted = intake.entry(&name)?;
    let regular = matches!(kind, EntryType::Regular | EntryType::Continuous);
    // Old tar has no type for folders: their names end in `/`.
    let folder = kind == EntryType::Directory || (regular && name.ends_with(b"/"));
    if size > 0 && (folder || !regular) {
        return Err(damaged(&format!("{} is no file and has bytes", shown(&name))));
    }
    match (wanted, folder, regular) {
        (_, true, _) => Ok(()),
        (Some(path), _, true) if !extended.sparse => {
            let mut left = size;
            intake.file(path, |intake, buffer| tape.piece(&mut left, buffer, intake))?;
            tape.padding(size, intake)
        }
        (Some(_), _, _) => Err(not_a_file(&name, what(kind))),
        (None, _, _) => {
            let (mut left, mut buffer) = (size, vec![0; super::CHUNK]);
            loop {
                let length = tape.piece(&mut left, &mut buffer, intake)?;
                if length == 0 {
                    return tape.padding(size, intake);
                }
                intake.count_file(length)?;
            }
        }
    }
}

fn what(kind: EntryType) -> &'static str {
    match kind {
        EntryType::Link => "a hard link",
        EntryType::Symlink => "a symbolic link",
        EntryType::Char | EntryType::Block => "a device",
        EntryType::Fifo => "a pipe",
        EntryType::GNUSparse | EntryType::Regular | EntryType::Continuous => "a file with holes (sparse)",
        _ => "of an unknown kind",
    }
}

fn damaged(why: &str) -> Error {
    refused("archive_damaged", &format!("The archive is damaged: {why}. Pack it anew and send it again"))
}

/// What headers in front of a file say of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extended {
    pax: Option<()>,
    path: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
    long_name: Option<Vec<u8>>,
    long_link: bool,
}

impl Extended {
    /// Reads PAX records: `LENGTH KEY=VALUE\n`, the length counting itself and the line end.
    fn read_pax(&mut self, mut records: &[u8]) -> Result<&mut Self> {
        self.pax = Some(());
        let wrong = || damaged("its extended headers cannot be read");
        while !records.is_empty() {
            let blank = records.iter().position(|b| *b == b' ').ok_or_else(wrong)?;
            let digits = records.get(..blank).and_then(|it| str::from_utf8(it).ok()).ok_or_else(wrong)?;
            let length: usize = digits.parse().map_err(|_| wrong())?;
            let (record, rest) = records.split_at_checked(length).ok_or_else(wrong)?;
            let record = record.get(blank + 1..).and_then(|it| it.strip_suffix(b"\n")).ok_or_else(wrong)?;
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(wrong)?;
            let (key, value) = record.split_at_checked(equals).ok_or_else(wrong)?;
            let value = value.get(1..).unwrap_or_default();
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"size" => {
                    let size = str::from_utf8(value).ok().and_then(|it| it.parse().ok());
                    self.size = Some(size.ok_or_else(wrong)?);
                }
                _ => self.sparse |= key.starts_with(b"GNU.sparse."),
            }
            records = rest;
        }
        Ok(self)
    }

    /// A global header that speaks of names or sizes would mean every file, and readers differ on that.
    fn refuse_global(&self) -> Result<()> {
        if self.path.is_some() || self.size.is_some() || self.sparse {
            return Err(damaged("a global header names a path or a size"));
        }
        Ok(())
    }

    /// The entry's name by the header that goes first.
    fn name(&self, header: &Header) -> Result<Vec<u8>> {
        match (&self.path, &self.long_name) {
            (Some(_), Some(_)) => Err(damaged("two headers describe the same file")),
            (Some(name), None) | (None, Some(name)) => Ok(name.clone()),
            (None, None) => Ok(header.path_bytes().into_owned()),
        }
    }
}

/// A long name ends at its NUL.
fn text(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|b| *b == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// The stream of blocks.
struct Tape<R> {
    source: R,
}

impl<R: Read> Tape<R> {
    /// The next header; `None` at the end marker.
    fn header(&mut self, intake: &mut Intake<'_>) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        self.exact(header.as_mut_bytes(), intake)?;
        if header.as_bytes().iter().all(|b| *b == 0) {
            return Ok(None);
        }
        // The sum is over the header with blanks in its own place.
        let sum: u32 = header.as_bytes().iter().map(|b| u32::from(*b)).sum();
        let own: u32 = header.as_old().cksum.iter().map(|b| u32::from(*b)).sum();
        if header.cksum().ok() != Some(sum - own + 8 * 32) {
            return Err(refused(
                "archive_damaged",
                "The archive is damaged or not a tar file. Pack it anew and send it again",
            ));
        }
        Ok(Some(header))
    }

    /// The data of a header that describes another.
    fn extension(&mut self, size: u64, intake: &mut Intake<'_>) -> Result<Vec<u8>> {
        if size > EXTENSION_BYTES_MAX {
            return Err(damaged("an extended header is too large"));
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        self.exact(&mut bytes, intake)?;
        self.padding(size, intake)?;
        Ok(bytes)
    }

    /// The next piece of a file's data, of which `left` bytes are to come; 0 at its end.
    fn piece(&mut self, left: &mut u64, buffer: &mut [u8], intake: &mut Intake<'_>) -> Result<usize> {
        let most = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let length = read(&mut self.source, buffer.get_mut(..most).unwrap_or_default())?;
        if length == 0 {
            return Err(cut_off());
        }
        intake.count(length)?;
        *left -= u64::try_from(length).unwrap_or(*left);
        Ok(length)
    }

    /// What fills the last block of `size` bytes.
    fn padding(&mut self, size: u64, intake: &mut Intake<'_>) -> Result<()> {
        let over = usize::try_from(size % 512).unwrap_or_default();
        let mut block = [0; BLOCK];
        match over {
            0 => Ok(()),
            _ => self.exact(block.get_mut(over..).unwrap_or_default(), intake),
        }
    }

    fn exact(&mut self, bytes: &mut [u8], intake: &mut Intake<'_>) -> Result<()> {
        self.source.read_exact(bytes).map_err(broken)?;
        intake.count(bytes.len())
    }

    /// Reads to the end, so that the last checksum of the compression is checked too.
    fn only_zeros(&mut self, intake: &mut Intake<'_>) -> Result<()> {
        let mut buffer = vec![0; super::CHUNK];
        loop {
            let length = read(&mut self.source, &mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            intake.count(length)?;
            if buffer.get(..length).unwrap_or_default().iter().any(|b| *b != 0) {
                return Err(damaged("there is something behind its end"));
            }
        }
    }
}

fn read(source: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    loop {
        match source.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(broken),
        }
    }
}
