//! Storage: what no deployment needs any more, before and after it is removed.

use askama::Template;

use super::shell::Shell;

/// A dry run of the garbage collection.
#[derive(Debug, Template)]
#[template(path = "settings/storage.html")]
pub(super) struct Storage {
    pub(super) shell: Shell,
    pub(super) lead: String,
    /// `3.4 GB` in use, `120 MB` unused: name, value, note.
    pub(super) figures: Vec<(&'static str, String, String)>,
    /// Hash and size of the first unused blobs.
    pub(super) rows: Vec<(String, String)>,
    /// Those that are not in `rows`.
    pub(super) more: i64,
    /// Whether there is anything to remove.
    pub(super) removable: bool,
}
