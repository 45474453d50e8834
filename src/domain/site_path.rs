//! A path of a site's file as manifests have it (stub: the proof part fills this).

use serde::{Deserialize, Serialize};

/// A checked path: begins with `/`, UTF-8 NFC, no empty, `.` or `..` segment.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SitePath(String);

impl SitePath {
    /// The path, with its leading `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
