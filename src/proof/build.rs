//! From a list of files to a manifest: the one way that folder, archive, upload and watched folder share.
//!
//! The same files give the same bytes, whatever brought them (DECISIONS 33, 36 to 39). The bytes of the policy files come
//! through a function and must have the hash of the list. Nothing here does IO.

use crate::{
    base::{
        hash::Sha256,
        limits::{POLICY_FILE_BYTES_MAX, POLICY_STEPS_MAX, SITE_BYTES_MAX, SITE_FILES_MAX},
    },
    domain::{
        Error, Result, media_type,
        policy::{HeaderIndex, Policy, too_much_work},
        policy_files::{self, PolicyFiles},
        site_path::{PolicyFile, Selected, select},
    },
    proof::manifest::{Entry, Manifest},
};

/// A file as it came: its path below the site's root (bytes, `/` between segments, none in front), size and hash.
pub type Found = (Vec<u8>, u64, Sha256);

/// The manifest of `files`.
///
/// Files that no site has (`.git`, `node_modules` …) may be in the list or not. `allow_env` lets `.env*` through. `read`
/// gives the bytes of one file of the list, by its path and hash; it is asked for `_headers`, `_redirects` and
/// `chainhost.toml` only.
pub fn manifest(
    files: &[Found],
    allow_env: bool,
    mut read: impl FnMut(&[u8], &Sha256) -> Result<Vec<u8>>,
) -> Result<Manifest> {
    let mut entries = Vec::with_capacity(files.len().min(SITE_FILES_MAX));
    let mut texts: [Option<Vec<u8>>; 3] = Default::default();
    let mut total = 0_u64;
    for (path, size, sha256) in files {
        match select(path, allow_env)? {
            Selected::Skip => {}
            Selected::Policy(which) => {
                let [headers, redirects, toml] = &mut texts;
                let place = match which {
                    PolicyFile::Headers => headers,
                    PolicyFile::Redirects => redirects,
                    PolicyFile::Toml => toml,
                };
                let text = policy_text(path, *size, sha256, &mut read)?;
                if place.replace(text).is_some() {
                    let path = String::from_utf8_lossy(path);
                    let message = format!("The path `/{path}` is there twice. Keep one of the files.");
                    return Err(Error::invalid("path_duplicate", message).on("files"));
                }
            }
            Selected::File(path) => {
                total = total.saturating_add(*size);
                let media_type = media_type::of(path.as_str()).to_owned();
                entries.push(Entry { path, sha256: *sha256, size: *size, media_type });
                check_limits(entries.len(), total)?;
            }
        }
    }
    let [headers, redirects, toml] = &texts;
    let texts = PolicyFiles { headers: headers.as_deref(), redirects: redirects.as_deref(), toml: toml.as_deref() };
    let paths: Vec<&str> = entries.iter().map(|it| it.path.as_str()).collect();
    let policy = policy_files::policy(&texts, &paths)?;
    apply_types(&mut entries, &policy)?;
    Manifest::new(entries, policy)
}

/// Replaces the types of the entries for which a rule sets `Content-Type` (DECISIONS 38).
pub fn apply_types(entries: &mut [Entry], policy: &Policy) -> Result<()> {
    let index = HeaderIndex::of_types(&policy.headers);
    let mut left = POLICY_STEPS_MAX;
    for entry in entries {
        let found = index.type_within(entry.path.as_str(), &mut left).ok_or_else(too_much_work)?;
        if let Some(media_type) = found {
            media_type.clone_into(&mut entry.media_type);
        }
    }
    Ok(())
}

/// Refuses more files or bytes than one deployment may have; for whoever counts while the files come in.
pub fn check_limits(files: usize, bytes: u64) -> Result<()> {
    if files > SITE_FILES_MAX {
        let message = format!("There are more than {SITE_FILES_MAX} files. Deploy only what visitors ask for.");
        return Err(Error::too_large("site_files", message).on("files"));
    }
    if bytes > SITE_BYTES_MAX {
        let megabytes = SITE_BYTES_MAX / (1024 * 1024);
        let message = format!("The files have more than {megabytes} MiB together. Leave large ones out.");
        return Err(Error::too_large("site_bytes", message).on("files"));
    }
    Ok(())
}

/// The bytes of a policy file, checked against the list.
fn policy_text(
    path: &[u8],
    size: u64,
    sha256: &Sha256,
    read: &mut impl FnMut(&[u8], &Sha256) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    let name = String::from_utf8_lossy(path);
    if usize::try_from(size).is_ok_and(|it| it <= POLICY_FILE_BYTES_MAX) {
        let text = read(path, sha256)?;
        if Sha256::of(&text) == *sha256 {
            return Ok(text);
        }
        let message = format!("{name} changed while it was read. Deploy again when nothing writes there.");
        return Err(Error::conflict("file_changed", message).on("files"));
    }
    let message = format!("{name} has more than {POLICY_FILE_BYTES_MAX} bytes. Join rules with `*`.");
    Err(Error::too_large("policy_file_size", message).on("files"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(files: &[(&str, &str)]) -> Vec<Found> {
        let one = |(path, text): &(&str, &str)| {
            (path.as_bytes().to_vec(), text.len().try_into().unwrap(), Sha256::of(text.as_bytes()))
        };
        files.iter().map(one).collect()
    }

    fn build(files: &[(&str, &str)]) -> Result<Manifest> {
        let read = |_: &[u8], hash: &Sha256| {
            let found = files.iter().find(|(_, text)| Sha256::of(text.as_bytes()) == *hash);
            Ok(found.unwrap().1.as_bytes().to_vec())
        };
        manifest(&list(files), false, read)
    }

    #[test]
    fn the_same_files_are_the_same_site_in_any_order_and_company() {
        let files = [
            ("index.html", "hi"),
            ("404.html", "no"),
            ("_headers", "/data/*\n  Content-Type: text/csv\n/*\n  X-A: 1\n"),
            ("_redirects", "/a /index.html 200\n"),
            ("data/x", "1,2"),
        ];
        let made = build(&files).unwrap();
        let mut other = files.to_vec();
        other.reverse();
        other.push((".git/config", "x"));
        other.push(("node_modules/.env", "x"));
        assert_eq!(build(&other).unwrap(), made);
        let paths: Vec<&str> = made.entries().iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, ["/404.html", "/data/x", "/index.html"]);
        assert_eq!(made.find("/data/x").unwrap().media_type, "text/csv");
        assert_eq!((made.policy().headers.len(), made.policy().redirects.len()), (2, 1));
        assert_eq!(made.policy().fallback.as_ref().unwrap().status, 404);
        assert_eq!(Manifest::parse(&made.to_bytes()).unwrap(), made);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let code = |files: &[(&str, &str)]| build(files).map_or_else(|error| error.code, |_| "ok");
        assert_eq!(code(&[("_headers", "")]), "manifest_empty");
        assert_eq!(code(&[("a", ""), ("_redirects", "/a /b"), ("_redirects", "/a /c")]), "path_duplicate");
        assert_eq!(code(&[("a", ""), ("_headers", "X: y")]), "policy_file");
        assert_eq!(code(&[("a", ""), ("chainhost.toml", "spa = true")]), "fallback_missing");
        assert_eq!(code(&[("a", ""), ("chainhost.toml", &"#".repeat(600_000))]), "policy_file_size");
        assert_eq!(code(&[("/a", "")]), "path_segment");
        assert_eq!(code(&[(".env", "")]), "env_file");
        assert!(manifest(&list(&[(".env", "")]), true, |_, _| Ok(Vec::new())).is_ok());
        let changed = manifest(&list(&[("a", ""), ("_headers", "1")]), false, |_, _| Ok(Vec::new()));
        assert_eq!(changed.unwrap_err().code, "file_changed");
        let huge = vec![(b"a".to_vec(), SITE_BYTES_MAX + 1, Sha256::of(b""))];
        assert_eq!(manifest(&huge, false, |_, _| Ok(Vec::new())).unwrap_err().code, "site_bytes");
    }
}
