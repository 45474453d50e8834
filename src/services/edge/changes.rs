//! What two deployments have different for visitors, as far as it can be purged file by file.

use std::collections::BTreeSet;

use crate::proof::{
    manifest::Manifest,
    resolve::{Resolution, decode_path, resolve, url_path},
};

/// What has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Files whose answers are others now, at whatever address they were.
    pub(super) files: BTreeSet<String>,
    /// Paths, as browsers send them, at which a file was or is that has changed.
    pub(super) paths: BTreeSet<String>,
}

impl Changes {
    /// Adds what is different between `old` and `new`. `false`: that cannot be said file by file.
    pub(super) fn add(&mut self, old: &Manifest, new: &Manifest) -> bool {
        // Rules decide about any answer.
        if old.policy() != new.policy() {
            return false;
        }
        let same = |it: &crate::proof::manifest::Entry, other: &Manifest| {
            other
                .find(it.path.as_str())
                .is_some_and(|other| other.sha256 == it.sha256 && other.media_type == it.media_type)
        };
        for gone in old.entries().iter().filter(|it| !same(it, new)) {
            self.files.insert(gone.path.to_string());
            self.paths.extend(addresses(old, gone.path.as_str()));
        }
        for come in new.entries().iter().filter(|it| !same(it, old)) {
            if old.find(come.path.as_str()).is_none() && rewrites(new) {
                return false;
            }
            self.files.insert(come.path.to_string());
            let addresses = addresses(new, come.path.as_str());
            // Where the file is now another one may have answered: a fallback, or one with a clean address.
            for path in addresses.iter().filter_map(|it| decode_path(it)) {
                if let Resolution::File { entry, .. } = resolve(old, &path, None) {
                    self.files.insert(entry.path.to_string());
                }
            }
            self.paths.extend(addresses);
        }
        true
    }
}

/// Whether a rule shows one file at the address of others: then no address says which file was there.
fn rewrites(manifest: &Manifest) -> bool {
    manifest.policy().redirects.iter().any(|it| matches!(it.status, 200 | 404 | 410))
}

/// The paths at which a file answers, without rules; percent-encoded.
fn addresses(manifest: &Manifest, path: &str) -> Vec<String> {
    let Some(entry) = manifest.find(path) else { return Vec::new() };
    let clean = url_path(manifest, entry);
    let whole = crate::proof::resolve::encode(path);
    if clean == whole { vec![clean] } else { vec![clean, whole] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::hash::Sha256,
        domain::{
            policy::{Fallback, Policy, Redirect, When},
            site_path::SitePath,
        },
        proof::manifest::Entry,
    };

    fn manifest(files: &[(&str, &str)], policy: Policy) -> Manifest {
        let entry = |(path, bytes): &(&str, &str)| Entry {
            path: SitePath::parse(path).unwrap(),
            sha256: Sha256::of(bytes.as_bytes()),
            size: 1,
            media_type: String::from("text/html"),
        };
        let mut entries: Vec<Entry> = files.iter().map(entry).collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Manifest::new(entries, policy).unwrap()
    }

    fn words(all: &BTreeSet<String>) -> String {
        all.iter().cloned().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_what_is_different_is_named() {
        let clean = Policy { clean_urls: true, ..Policy::default() };
        let spa = Policy {
            fallback: Some(Fallback { path: SitePath::parse("/index.html").unwrap(), status: 200 }),
            ..Policy::default()
        };
        let index = ("/index.html", "i");
        for (policy, old, new, files, paths) in [
            (Policy::default(), &[index][..], &[index][..], "", ""),
            (Policy::default(), &[index], &[("/index.html", "j")], "/index.html", "/ /index.html"),
            (Policy::default(), &[index, ("/a b.css", "1")], &[index], "/a b.css", "/a%20b.css"),
            (Policy::default(), &[index], &[index, ("/a.css", "1")], "/a.css", "/a.css"),
            // With clean addresses, `/about` was shown by the page and is now shown by the folder's neighbour.
            (
                clean.clone(),
                &[index, ("/about.html", "1")],
                &[index, ("/about.html", "1"), ("/about", "2")],
                "/about /about.html",
                "/about",
            ),
            // What was the page for all that is not there.
            (spa, &[index], &[index, ("/a.css", "1")], "/a.css /index.html", "/a.css"),
        ] {
            let mut changes = Changes::default();
            assert!(changes.add(&manifest(old, policy.clone()), &manifest(new, policy)));
            assert_eq!((words(&changes.files).as_str(), words(&changes.paths).as_str()), (files, paths));
        }
    }

    #[test]
    fn what_rules_decide_is_not_named() {
        let rule = Redirect {
            force: false,
            from: String::from("/app/*"),
            query: Vec::new(),
            status: 200,
            to: String::from("/index.html"),
            when: When::default(),
        };
        let ruled = Policy { redirects: vec![rule], ..Policy::default() };
        let index = ("/index.html", "i");
        let one = |files: &[(&str, &str)]| manifest(files, ruled.clone());
        assert!(!Changes::default().add(&manifest(&[index], Policy::default()), &one(&[index])));
        assert!(!Changes::default().add(&one(&[index]), &one(&[index, ("/app/x", "1")])));
        assert!(Changes::default().add(&one(&[index]), &one(&[("/index.html", "j")])));
        assert!(Changes::default().add(&one(&[index, ("/a", "1")]), &one(&[index])));
    }
}
