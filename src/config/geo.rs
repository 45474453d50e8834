//! Where the database of countries is.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::Spanned;

use crate::domain::{Error, Result};

/// The section `[geo]` of the file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    database: Option<Spanned<PathBuf>>,
}

/// The path, if one is set: `variable` wins, and one of the file begins at the `folder` of that file. `wrong` makes the error of what begins at a
/// byte of the file.
pub(super) fn read(
    section: &Section,
    variable: Option<OsString>,
    folder: &Path,
    wrong: impl Fn(usize, &str, &str) -> Error,
) -> Result<Option<PathBuf>> {
    let Some(database) = &section.database else { return Ok(variable.map(PathBuf::from)) };
    if database.get_ref().as_os_str().is_empty() {
        let why = "name a file, such as \"/var/lib/GeoIP/GeoLite2-Country.mmdb\", or leave the key out";
        return Err(wrong(database.span().start, "database", why));
    }
    Ok(Some(variable.map_or_else(|| folder.join(database.get_ref()), PathBuf::from)))
}
