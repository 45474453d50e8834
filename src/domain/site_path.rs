//! A path of a site's file as manifests have it, and which files of a folder become one.
//!
//! A [`SitePath`] is always checked, whether it comes from a folder, an archive, JSON or a manifest
//! (INTEGRITY §2, DECISIONS 16, 36, 37). Nothing here percent-decodes: `%20` is three characters of a name.

use std::fmt;

use serde::{Deserialize, Serialize};
use unicode_normalization::{UnicodeNormalization as _, is_nfc};

use crate::{
    base::limits::{PATH_BYTES_MAX, SEGMENT_BYTES_MAX},
    domain::{Error, Result},
};

/// What an object of version control, a desktop or a package tool is called: never part of a site.
const SKIPPED_SEGMENTS: [&[u8]; 6] = [b".git", b".hg", b".svn", b".DS_Store", b"__MACOSX", b"node_modules"];

/// Paths below these, and these themselves, are answered by the host (DECISIONS 16).
const RESERVED: [&str; 2] = ["/.well-known/chainhost", "/.well-known/acme-challenge"];

/// A checked path: begins with `/`, UTF-8 NFC, no empty, `.` or `..` segment, not reserved by the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SitePath(String);

impl SitePath {
    /// Checks `path`, which begins with `/`. It is taken as it is: text that is not NFC is refused here,
    /// while [`select`] converts the names of files.
    pub fn parse(path: &str) -> Result<Self> {
        check(path)?;
        Ok(Self(path.to_owned()))
    }

    /// The path, with its leading `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SitePath {
    type Error = Error;

    fn try_from(path: String) -> Result<Self> {
        check(&path)?;
        Ok(Self(path))
    }
}

impl fmt::Display for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A file of a deployed folder that becomes policy instead of being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyFile {
    /// `_headers`
    Headers,
    /// `_redirects`
    Redirects,
    /// `chainhost.toml`
    Toml,
}

/// What a file of a deployed folder is to the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// Served under this path.
    File(SitePath),
    /// Read as policy, not served.
    Policy(PolicyFile),
    /// Left out in every way of deploying.
    Skip,
}

/// Decides about one regular file by its path below the site's root: bytes with `/` between segments and
/// none in front. `allow_env` lets files named `.env*` through, which otherwise refuse the deploy.
pub fn select(relative: &[u8], allow_env: bool) -> Result<Selected> {
    // Before all else, so that odd names inside `.git` or `node_modules` refuse nothing.
    if relative.split(|byte| *byte == b'/').any(|segment| SKIPPED_SEGMENTS.contains(&segment)) {
        return Ok(Selected::Skip);
    }
    match relative {
        b"_headers" => return Ok(Selected::Policy(PolicyFile::Headers)),
        b"_redirects" => return Ok(Selected::Policy(PolicyFile::Redirects)),
        b"chainhost.toml" => return Ok(Selected::Policy(PolicyFile::Toml)),
        _ => {}
    }
    let Ok(text) = str::from_utf8(relative) else {
        let shown = String::from_utf8_lossy(relative);
        return Err(refused("path_not_utf8", &shown, "its name is not UTF-8. Rename the file"));
    };
    // SECURITY: any segment, since a folder `.env.d` holds secrets as a file `.env` does.
    if !allow_env && text.split('/').any(|segment| segment.starts_with(".env")) {
        return Err(refused(
            "env_file",
            text,
            "files named .env* usually hold secrets, and everybody could read them. Remove the file, or allow it explicitly",
        ));
    }
    let path: String = std::iter::once('/').chain(text.nfc()).collect();
    SitePath::try_from(path).map(Selected::File)
}

/// Whether the host itself answers at `path`, never a site.
pub fn is_reserved(path: &str) -> bool {
    let belongs = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    RESERVED.into_iter().any(belongs)
}

/// All rules for a path of a manifest.
fn check(path: &str) -> Result<()> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err(refused("path_relative", path, "it must begin with `/`"));
    };
    if path.len() > PATH_BYTES_MAX {
        return Err(refused("path_too_long", path, &format!("it has more than {PATH_BYTES_MAX} bytes. Shorten it")));
    }
    if path.chars().any(|c| c == '\\' || c.is_control()) {
        return Err(refused("path_character", path, "it has a backslash or a control character. Rename the file"));
    }
    for segment in rest.split('/') {
        if matches!(segment, "" | "." | "..") {
            return Err(refused("path_segment", path, "no part between slashes may be empty, `.` or `..`"));
        }
        if segment.len() > SEGMENT_BYTES_MAX {
            let why = format!("a part between slashes has more than {SEGMENT_BYTES_MAX} bytes. Shorten it");
            return Err(refused("path_too_long", path, &why));
        }
    }
    if !is_nfc(path) {
        return Err(refused("path_not_nfc", path, "it must be in Unicode normal form NFC"));
    }
    if is_reserved(path) {
        return Err(refused("path_reserved", path, "the host itself answers there. Remove the file"));
    }
    Ok(())
}

fn refused(code: &'static str, path: &str, why: &str) -> Error {
    // A hostile name must not flood a log, a terminal or a page.
    let shown: String = path.chars().take(200).flat_map(char::escape_debug).collect();
    Error::invalid(code, format!("The path `{shown}` cannot be part of a site: {why}.")).on("path")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(path: &str) -> &'static str {
        SitePath::parse(path).map_or_else(|error| error.code, |_| "ok")
    }

    #[test]
    fn parse_takes_and_refuses() {
        let long_segment = format!("/{}", "a".repeat(256));
        let long_path = "/abcdefg".repeat(129);
        for (path, wanted) in [
            ("/index.html", "ok"),
            ("/a%20b/%2e%2e/c d", "ok"),
            ("/\u{e9}.html", "ok"),
            ("/...", "ok"),
            ("/.well-known/security.txt", "ok"),
            ("/.well-known/chainhosting", "ok"),
            ("", "path_relative"),
            ("index.html", "path_relative"),
            ("/", "path_segment"),
            ("/a/", "path_segment"),
            ("//a", "path_segment"),
            ("/a/./b", "path_segment"),
            ("/a/../b", "path_segment"),
            ("/a\\b", "path_character"),
            ("/a\0b", "path_character"),
            ("/a\nb", "path_character"),
            ("/a\u{85}b", "path_character"),
            ("/e\u{301}.html", "path_not_nfc"),
            (long_segment.as_str(), "path_too_long"),
            (long_path.as_str(), "path_too_long"),
            ("/.well-known/chainhost", "path_reserved"),
            ("/.well-known/chainhost/proof", "path_reserved"),
            ("/.well-known/acme-challenge/token", "path_reserved"),
        ] {
            assert_eq!(code(path), wanted, "{path:?}");
        }
    }

    #[test]
    fn the_longest_segment_and_path_are_taken() {
        assert_eq!(code(&format!("/{}", "a".repeat(255))), "ok");
        assert_eq!(code(&"/abcdefg".repeat(128)), "ok");
    }

    #[test]
    fn json_is_checked_too() {
        assert_eq!(serde_json::from_str::<SitePath>("\"/a\"").unwrap().as_str(), "/a");
        assert!(serde_json::from_str::<SitePath>("\"/a/../b\"").is_err());
        assert_eq!(serde_json::to_string(&SitePath::parse("/\u{e9}").unwrap()).unwrap(), "\"/\u{e9}\"");
    }

    #[test]
    fn select_follows_the_decisions() {
        let file = |path: &str| Selected::File(SitePath::parse(path).unwrap());
        for (relative, wanted) in [
            (&b"index.html"[..], file("/index.html")),
            (b".hidden/a%20b", file("/.hidden/a%20b")),
            (b"e\xcc\x81.html", file("/\u{e9}.html")),
            (b"_headers", Selected::Policy(PolicyFile::Headers)),
            (b"_redirects", Selected::Policy(PolicyFile::Redirects)),
            (b"chainhost.toml", Selected::Policy(PolicyFile::Toml)),
            (b"docs/_headers", file("/docs/_headers")),
            (b".gitignore", file("/.gitignore")),
            (b".git/config", Selected::Skip),
            (b"a/.git", Selected::Skip),
            (b"a/node_modules/\xff/.env", Selected::Skip),
            (b"__MACOSX/._a", Selected::Skip),
            (b"a/.DS_Store", Selected::Skip),
        ] {
            assert_eq!(select(relative, false).unwrap(), wanted, "{relative:?}");
        }
        assert_eq!(select(b"a/.env.local", true).unwrap(), file("/a/.env.local"));
    }

    #[test]
    fn select_refuses_with_a_stable_code() {
        for (relative, wanted) in [
            (&b".env"[..], "env_file"),
            (b"a/.env.production", "env_file"),
            (b"\xff.html", "path_not_utf8"),
            (b"../etc/passwd", "path_segment"),
            (b"/etc/passwd", "path_segment"),
            (b".well-known/chainhost/proof", "path_reserved"),
        ] {
            assert_eq!(select(relative, false).unwrap_err().code, wanted, "{relative:?}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2_000))]

        #[test]
        fn no_name_of_a_file_is_too_much(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300),
            text in "(/?(\\.{0,3}|[a-zé\u{301}%\\\\ ]{0,4}|\\.well-known|chainhost|_headers|\\.env|\\.git)){0,8}",
            allow_env in proptest::prelude::any::<bool>(),
        ) {
            for name in [&*bytes, text.as_bytes()] {
                // A file that is taken has a path that is taken as it is.
                if let Ok(Selected::File(path)) = select(name, allow_env) {
                    proptest::prop_assert_eq!(SitePath::parse(path.as_str()).ok(), Some(path));
                }
            }
            for path in [String::from_utf8_lossy(&bytes), text.into()] {
                if let Ok(path) = SitePath::parse(&path) {
                    proptest::prop_assert!(path.as_str().starts_with('/') && !path.as_str().contains('\0'));
                }
            }
        }
    }
}
