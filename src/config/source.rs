//! The text of a configuration file, to tell people lines by.

use std::{
    fs,
    path::{Path, PathBuf},
};

use toml::Spanned;

/// The text of the file, to tell lines by.
#[derive(Default)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    text: String,
}

impl Source {
    /// Reads it; one that cannot be read has no lines.
    pub(super) fn read(path: &Path) -> Self {
        Self { path: path.to_owned(), text: fs::read_to_string(path).unwrap_or_default() }
    }

    /// Where a value stands, for people: file, line, key.
    pub(super) fn place<T>(&self, value: &Spanned<T>, key: &str) -> String {
        self.place_at(value.span().start, key)
    }

    /// The same for what begins at a byte of the file.
    pub(super) fn place_at(&self, start: usize, key: &str) -> String {
        let before = self.text.get(..start).unwrap_or_default();
        format!("{} line {}, `{key}`", self.path.display(), before.matches('\n').count() + 1)
    }
}
