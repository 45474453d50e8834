//! The canonical manifest: the files and the policy of a deployment, as exact bytes (INTEGRITY §2).
//!
//! A [`Manifest`] is always whole: sorted, not empty, without names that collide, with its fallback among
//! its entries and a policy that was checked. The same files and policy give the same bytes by every way of deploying (DECISIONS 33).
//! Nothing here knows a site, a time or where bytes are kept.

use std::collections::HashMap;

use serde::Deserialize;

use crate::{
    base::hash::Sha256,
    domain::{Error, Result, policy::Policy, site_path::SitePath},
    proof::canonical,
};

/// Larger integers lose digits in other readers of JSON (RFC 8785 §3.2.2.3).
const SIZE_MAX: u64 = (1 << 53) - 1;

/// One file of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Where it is served.
    pub path: SitePath,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Its size in bytes.
    pub size: u64,
    /// Its media type, frozen at deploy.
    pub media_type: String,
}

/// The files and the policy of a deployment. Entries are sorted by the unsigned UTF-8 bytes of `path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
    policy: Policy,
}

impl Manifest {
    /// Sorts and checks; the error names the first path that does not fit.
    pub fn new(mut entries: Vec<Entry>, policy: Policy) -> Result<Self> {
        // Text compares by its UTF-8 bytes, which is the order that the format asks for.
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        if entries.is_empty() {
            return Err(invalid("manifest_empty", "There are no files to deploy. A site needs at least one."));
        }
        entries.iter().try_for_each(check_entry)?;
        check_names(&entries)?;
        policy.check()?;
        policy.check_heads(entries.iter().map(|it| it.path.as_str()))?;
        let manifest = Self { entries, policy };
        manifest.check_fallback()?;
        Ok(manifest)
    }

    /// Reads canonical bytes; anything that [`Manifest::to_bytes`] would write otherwise is refused.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let stored: Stored = serde_json::from_slice(bytes)
            .map_err(|error| invalid("manifest_syntax", "This is not a manifest of this version.").because(error))?;
        if stored.format != canonical::MANIFEST_FORMAT {
            let wanted = canonical::MANIFEST_FORMAT;
            return Err(invalid("manifest_format", format!("The manifest's format must be `{wanted}`.")));
        }
        let entries = stored.entries.into_iter().map(StoredEntry::check).collect::<Result<_>>()?;
        let manifest = Self::new(entries, stored.policy)?;
        if manifest.to_bytes() != bytes {
            return Err(invalid("manifest_not_canonical", "The manifest is not in its canonical form (RFC 8785)."));
        }
        Ok(manifest)
    }

    /// The canonical bytes: what is stored, hashed and published.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::manifest(&self.entries, &self.policy)
    }

    /// SHA-256 of the canonical bytes: the deployment's name for everybody. Encodes anew on each call.
    pub fn sha256(&self) -> Sha256 {
        Sha256::of(&self.to_bytes())
    }

    /// Sorted, but with a policy of any shape: for tests that rules hold even where the check has a hole.
    #[cfg(test)]
    pub(crate) fn with_any_policy(entries: Vec<Entry>, policy: Policy) -> Result<Self> {
        Ok(Self { policy, ..Self::new(entries, Policy::default())? })
    }

    /// The files, sorted by path.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The policy.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The file at exactly `path`.
    pub fn find(&self, path: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok()?;
        self.entries.get(at)
    }

    /// The bytes of all files together.
    pub fn total_bytes(&self) -> u64 {
        self.entries.iter().fold(0, |sum, entry| sum.saturating_add(entry.size))
    }

    /// What `sha256sum -c` reads in a folder with the files (DECISIONS 42).
    pub fn sha256sums(&self) -> String {
        let mut sums = String::new();
        for entry in &self.entries {
            sums.extend([entry.sha256.hex().as_str(), "  .", entry.path.as_str(), "\n"]);
        }
        sums
    }

    fn check_fallback(&self) -> Result<()> {
        let Some(fallback) = &self.policy.fallback else {
            return Ok(());
        };
        if !matches!(fallback.status, 200 | 404) {
            return Err(invalid("fallback_status", "The status of the fallback must be 200 or 404."));
        }
        if self.find(fallback.path.as_str()).is_none() {
            let path = &fallback.path;
            return Err(invalid("fallback_missing", format!("The fallback `{path}` is not among the files. Add it.")));
        }
        Ok(())
    }
}

/// The shape of the bytes; [`Manifest::new`] checks the meaning.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    entries: Vec<StoredEntry>,
    format: String,
    policy: Policy,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredEntry {
    path: SitePath,
    sha256: String,
    size: u64,
    #[serde(rename = "type")]
    media_type: String,
}

impl StoredEntry {
    fn check(self) -> Result<Entry> {
        let sha256 = self.sha256.parse().map_err(|error| {
            invalid("manifest_hash", format!("The hash of `{}` cannot be read: {error}.", self.path))
        })?;
        Ok(Entry { path: self.path, sha256, size: self.size, media_type: self.media_type })
    }
}

fn check_entry(entry: &Entry) -> Result<()> {
    if entry.size > SIZE_MAX {
        return Err(invalid("file_size", format!("The size of `{}` is beyond what a manifest can hold.", entry.path)));
    }
    // SECURITY: the type is sent as a header and hashed before a NUL, so it can hold neither line ends nor NUL.
    if entry.media_type.is_empty() || !entry.media_type.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Err(invalid("media_type", format!("The media type of `{}` must be printable ASCII.", entry.path)));
    }
    Ok(())
}

/// Refuses two names that one file system or one reader would take for the same. Paths are NFC already.
fn check_names(entries: &[Entry]) -> Result<()> {
    let mut names = HashMap::with_capacity(entries.len());
    for entry in entries {
        let path = entry.path.as_str();
        if let Some(other) = names.insert(path.to_ascii_lowercase(), path) {
            return Err(if other == path {
                invalid("path_duplicate", format!("The path `{path}` is there twice. Keep one of the files."))
            } else {
                let text = format!("The paths `{other}` and `{path}` differ in upper and lower case only. Rename one.");
                invalid("path_collision", text)
            });
        }
    }
    for entry in entries {
        let folded = entry.path.as_str().to_ascii_lowercase();
        let folders = folded.match_indices('/').filter_map(|(at, _)| folded.get(..at));
        for folder in folders {
            if let Some(file) = names.get(folder) {
                let path = &entry.path;
                let text = format!("`{file}` is a file and also the folder of `{path}`. Rename one.");
                return Err(invalid("path_file_and_folder", text));
            }
        }
    }
    Ok(())
}

fn invalid(code: &'static str, message: impl Into<String>) -> Error {
    Error::invalid(code, message).on("files")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        media_type,
        policy::{Fallback, HeaderRule},
    };

    fn entry(path: &str) -> Entry {
        Entry {
            path: SitePath::parse(path).unwrap(),
            sha256: Sha256::of(path.as_bytes()),
            size: path.len().try_into().unwrap(),
            media_type: media_type::of(path).to_owned(),
        }
    }

    fn manifest(paths: &[&str]) -> Result<Manifest> {
        Manifest::new(paths.iter().map(|path| entry(path)).collect(), Policy::default())
    }

    #[test]
    fn the_bytes_are_exact() {
        let hash = Sha256::of(b"/\xc3\xa9.html");
        let wanted = format!(
            "{{\"entries\":[{{\"path\":\"/\u{e9}.html\",\"sha256\":\"{hash}\",\"size\":8,\"type\":\"text/html; charset=utf-8\"}}],\
             \"format\":\"chainhost/manifest@v1\",\"policy\":{{\"clean_urls\":false,\"fallback\":null,\"headers\":[],\
             \"index\":\"index.html\",\"redirects\":[]}}}}"
        );
        let made = manifest(&["/\u{e9}.html"]).unwrap();
        assert_eq!(String::from_utf8(made.to_bytes()).unwrap(), wanted);
        assert_eq!(made.sha256(), Sha256::of(wanted.as_bytes()));
        assert_eq!(Manifest::parse(wanted.as_bytes()).unwrap(), made);
    }

    #[test]
    fn entries_are_sorted_by_bytes_and_found() {
        // U+FFFD sorts after U+10000 in UTF-16 and before it in UTF-8.
        let made = manifest(&["/b", "/\u{10000}", "/a-b", "/a/b", "/\u{fffd}", "/B2"]).unwrap();
        let paths: Vec<_> = made.entries().iter().map(|entry| entry.path.as_str()).collect();
        assert_eq!(paths, ["/B2", "/a-b", "/a/b", "/b", "/\u{fffd}", "/\u{10000}"]);
        for path in paths {
            assert_eq!(made.find(path).unwrap().path.as_str(), path);
        }
        assert!(made.find("/a").is_none());
        assert_eq!(made.total_bytes(), 3 + 4 + 4 + 2 + 4 + 5);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (paths, code) in [
            (&[][..], "manifest_empty"),
            (&["/a", "/a"], "path_duplicate"),
            (&["/A.html", "/a.html"], "path_collision"),
            (&["/a", "/a/b"], "path_file_and_folder"),
            (&["/A", "/a/b/c"], "path_file_and_folder"),
        ] {
            assert_eq!(manifest(paths).unwrap_err().code, code, "{paths:?}");
        }
        let mut large = entry("/a");
        large.size = 1 << 53;
        assert_eq!(Manifest::new(vec![large], Policy::default()).unwrap_err().code, "file_size");
        let mut split = entry("/a");
        split.media_type = String::from("text/html\r\nx: y");
        assert_eq!(Manifest::new(vec![split], Policy::default()).unwrap_err().code, "media_type");
    }

    #[test]
    fn the_fallback_is_one_of_the_files() {
        let policy = |status| Policy {
            fallback: Some(Fallback { path: SitePath::parse("/404.html").unwrap(), status }),
            ..Policy::default()
        };
        let code =
            |path, status| Manifest::new(vec![entry(path)], policy(status)).map_or_else(|error| error.code, |_| "ok");
        assert_eq!(code("/404.html", 404), "ok");
        assert_eq!(code("/404.html", 500), "fallback_status");
        assert_eq!(code("/index.html", 404), "fallback_missing");
    }

    #[test]
    fn what_all_rules_give_one_path_has_bounds() {
        let rule = |matches: &str, count: usize, bytes: usize| HeaderRule {
            matches: matches.to_owned(),
            set: (0..count)
                .map(|at| (format!("x-{matches}-{at}").replace(['/', '*'], "_"), "a".repeat(bytes)))
                .collect(),
        };
        let made = |headers: Vec<HeaderRule>| {
            let entries = vec![entry("/a/b.css"), entry("/c.css")];
            Manifest::new(entries, Policy { headers, ..Policy::default() })
        };
        // Each rule is fine, and so is each path but one.
        assert!(made(vec![rule("/*", 32, 1), rule("/a/*", 32, 1), rule("/c.css", 32, 1)]).is_ok());
        let error = made(vec![rule("/*", 32, 1), rule("/a/*", 33, 1), rule("/c.css", 32, 1)]).unwrap_err();
        assert_eq!(error.code, "policy_headers");
        assert!(error.message.contains("`/a/b.css` 65 headers") && error.message.contains("64"), "{}", error.message);
        let error = made(vec![rule("/a/*", 2, 3_500), rule("/*", 2, 3_500), rule("/*.css", 1, 3_500)]).unwrap_err();
        assert_eq!(error.code, "policy_headers");
        assert!(error.message.contains("16384 bytes"), "{}", error.message);
        // A type is no header more, and equal names are one.
        let types = (0..100).map(|_| HeaderRule {
            matches: String::from("/*"),
            set: vec![(String::from("content-type"), "a/b".repeat(500)), (String::from("x-a"), String::from("1"))],
        });
        assert!(made(types.collect()).is_ok());
    }

    #[test]
    fn rules_that_take_long_to_match_are_refused() {
        let made = |rules: usize, pattern: fn(usize) -> String| {
            let set = vec![(String::from("x-a"), String::from("1"))];
            let headers = (0..rules).map(|at| HeaderRule { matches: pattern(at), set: set.clone() }).collect();
            let paths = (0..5_000).map(|at| entry(&format!("/folder-{}/{}/file-{at}.css", at % 70, "a".repeat(200))));
            Manifest::new(paths.collect(), Policy { headers, ..Policy::default() }).map_or_else(|it| it.code, |_| "ok")
        };
        assert_eq!(made(2_000, |at| format!("/folder-{at}/*")), "ok");
        assert_eq!(made(2_000, |at| format!("/*.x{at}")), "ok");
        assert_eq!(made(100, |at| format!("/*b{at}*")), "ok");
        assert_eq!(made(2_000, |at| format!("/folder-1/a{at}")), "ok");
        assert_eq!(made(2_000, |at| format!("/*b{at}*")), "policy_work");
    }

    #[test]
    fn only_canonical_bytes_are_read() {
        let text = String::from_utf8(manifest(&["/a.txt", "/b.txt"]).unwrap().to_bytes()).unwrap();
        let first = text.find("{\"path\"").unwrap();
        let second = text.rfind("{\"path\"").unwrap();
        let end = text.find("],\"format\"").unwrap();
        let (a, b) = (&text[first..second - 1], &text[second..end]);
        let swapped = format!("{}{b},{a}{}", &text[..first], &text[end..]);
        for (bytes, code) in [
            (format!("{text}\n"), "manifest_not_canonical"),
            (text.replace(":{", ": {"), "manifest_not_canonical"),
            (text.replace(",\"policy\"", ", \"policy\""), "manifest_not_canonical"),
            (text.replace("/a.txt", "\\u002fa.txt"), "manifest_not_canonical"),
            (swapped, "manifest_not_canonical"),
            (text.replace("@v1", "@v2"), "manifest_format"),
            (text.replace("\"format\"", "\"site\":1,\"format\""), "manifest_syntax"),
            (text.replace("/a.txt", "/../a.txt"), "manifest_syntax"),
            (text.replace(",\"redirects\":[]", ""), "manifest_syntax"),
            (text.replacen("\"sha256\":\"", "\"sha256\":\"0", 1), "manifest_hash"),
        ] {
            assert_eq!(Manifest::parse(bytes.as_bytes()).unwrap_err().code, code, "{bytes}");
        }
    }

    #[test]
    fn sums_are_what_the_common_tool_reads() {
        let hash = |path: &str| Sha256::of(path.as_bytes()).hex();
        assert_eq!(
            manifest(&["/b c", "/a/b"]).unwrap().sha256sums(),
            format!("{}  ./a/b\n{}  ./b c\n", hash("/a/b"), hash("/b c"))
        );
    }
}
