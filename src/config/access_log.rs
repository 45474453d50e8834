//! Whether visitors' requests are logged, and how.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::{
    base::units::ByteSize,
    domain::{Error, Result},
};

/// The folder for it in the data folder.
const FOLDER: &str = "logs";
/// The file in it, where no path is set.
const NAME: &str = "access.log";
/// Bytes of the file before it is set aside.
const ROTATE_BYTES: u64 = 64 << 20;
/// A file that holds less than what is written at once would be set aside with every write.
const ROTATE_BYTES_MIN: u64 = 64 << 10;
/// Files that are kept.
const KEEP: usize = 14;
/// All of them are listed whenever one is set aside.
const KEEP_MAX: usize = 10_000;

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The combined format of Apache and nginx.
    Combined,
    /// The same behind host and port, as Apache's `vhost_combined`.
    Vhost,
    /// A JSON object.
    Json,
}

/// The access log of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// How lines are written.
    pub format: Format,
    /// The file.
    pub path: PathBuf,
    /// Bytes of it before it is set aside.
    pub rotate_bytes: u64,
    /// How many that were set aside are kept.
    pub keep: usize,
    /// Whether a line has the country of the client.
    pub country: bool,
}

/// The section `[access_log]` of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    format: Option<Spanned<String>>,
    path: Option<Spanned<PathBuf>>,
    rotate_bytes: Option<Spanned<String>>,
    keep: Option<Spanned<i64>>,
    country: Option<Spanned<bool>>,
}

/// The settings of the section; `None`: nothing is logged. `wrong` makes the error of what begins at a byte of the file.
pub(super) fn read(
    section: &Section,
    data: &Path,
    wrong: impl Fn(usize, &str, &str) -> Error,
) -> Result<Option<AccessLog>> {
    let rest = [
        section.path.as_ref().map(|it| (it.span().start, "path")),
        section.rotate_bytes.as_ref().map(|it| (it.span().start, "rotate_bytes")),
        section.keep.as_ref().map(|it| (it.span().start, "keep")),
        section.country.as_ref().map(|it| (it.span().start, "country")),
    ];
    let Some(format) = &section.format else {
        // Whoever says where it is wants one.
        return rest.into_iter().flatten().next().map_or(Ok(None), |(at, key)| {
            Err(wrong(at, key, "nothing is logged without a format: add `format`, such as \"combined\""))
        });
    };
    let kind = parse(format.get_ref()).map_err(|why| wrong(format.span().start, "format", &why))?;
    let country = section.country.as_ref().filter(|it| *it.get_ref());
    if let Some(it) = country.filter(|_| kind != Format::Json) {
        return Err(wrong(
            it.span().start,
            "country",
            "only lines of JSON have a place for it: write format = \"json\", or leave it out",
        ));
    }
    Ok(Some(AccessLog {
        format: kind,
        country: country.is_some(),
        path: match &section.path {
            None => data.join(FOLDER).join(NAME),
            Some(it) => {
                check_path(it.get_ref(), data).map_err(|why| wrong(it.span().start, "path", &why))?;
                it.get_ref().clone()
            }
        },
        rotate_bytes: match &section.rotate_bytes {
            None => ROTATE_BYTES,
            Some(it) => bytes(it.get_ref()).map_err(|why| wrong(it.span().start, "rotate_bytes", &why))?,
        },
        keep: match &section.keep {
            None => KEEP,
            Some(it) => count(*it.get_ref()).map_err(|why| wrong(it.span().start, "keep", &why))?,
        },
    }))
}

fn parse(word: &str) -> Result<Format, String> {
    match word {
        "combined" => Ok(Format::Combined),
        "vhost" => Ok(Format::Vhost),
        "json" => Ok(Format::Json),
        _ => Err(format!("`{}` is not a format; write \"combined\", \"vhost\" or \"json\"", word.escape_debug())),
    }
}

fn check_path(path: &Path, data: &Path) -> Result<(), String> {
    let is_folder = path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") || path.is_dir();
    if is_folder {
        return Err(format!("`{}` is a folder; name the file in it", path.display()));
    }
    let absolute = |it: &Path| std::path::absolute(it).unwrap_or_else(|_| it.to_owned());
    let (path, data) = (absolute(path), absolute(data));
    // A start takes no folder for the server's own in which it finds names that it does not know.
    if path.starts_with(&data) && !path.starts_with(data.join(FOLDER)) {
        let why = "lies among the files of the server itself; choose a name in";
        return Err(format!("`{}` {why} `{}`, or a place outside", path.display(), data.join(FOLDER).display()));
    }
    Ok(())
}

fn bytes(text: &str) -> Result<u64, String> {
    let size: ByteSize = text.parse().map_err(|error| format!("{error}"))?;
    if size.0 < ROTATE_BYTES_MIN {
        return Err(format!("`{}` is too small; write \"64 KiB\" or more", text.escape_debug()));
    }
    Ok(size.0)
}

fn count(number: i64) -> Result<usize, String> {
    let count = usize::try_from(number).ok().filter(|it| (1..=KEEP_MAX).contains(it));
    count.ok_or_else(|| format!("`{number}` files cannot be kept; write a number from 1 to {KEEP_MAX}"))
}
