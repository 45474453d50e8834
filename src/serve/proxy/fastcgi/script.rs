//! Which program of a folder answers a path.
//!
//! SECURITY: a program is a regular file whose name ends in `.php`, in the folder also when all links are followed. A file of another name
//! is never run, whatever stands behind it in the path (`/upload/photo.jpg/x.php`), and hidden ones and those that the route does not let run neither.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Stderr;
use crate::{
    base::tasks::Tasks,
    domain::{site_settings::proxy::scripts::Scripts, url_path::decode_path},
    serve::page::Refusal,
};

/// What answers a path for which nothing else is there.
const FRONT: &str = "index.php";
const EXTENSION: &str = ".php";
/// Parts of a path that are looked at.
const SEGMENTS_MAX: usize = 64;

/// A program, and what is behind it in the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Script {
    /// The folder, with links followed.
    pub(crate) root: String,
    /// The file, too.
    pub(crate) filename: String,
    /// Its path below the folder.
    pub(crate) name: String,
    /// What is behind that, with `/` in front, or nothing.
    pub(crate) path_info: String,
}

/// Finds the program for a raw path.
pub(crate) async fn script(
    tasks: &Tasks,
    root: &str,
    path: &str,
    scripts: &Arc<Scripts>,
    stderr: &Stderr,
) -> Result<Script, Refusal> {
    let path = decode_path(path).ok_or(Refusal::Path)?.into_owned();
    let (root, scripts, stderr) = (PathBuf::from(root), Arc::clone(scripts), stderr.clone());
    let found = tasks.blocking(move || {
        let may_run = |asked: &str, found: &str| {
            let may = scripts.may_run(asked, found);
            if !may {
                stderr.may_not_run(asked);
            }
            may
        };
        find(&root, &path, may_run)
    });
    let found = found.await;
    found.flatten().ok_or(Refusal::NotFound)
}

fn find(root: &Path, path: &str, may_run: impl Fn(&str, &str) -> bool) -> Option<Script> {
    let root = fs::canonicalize(root).ok()?;
    let whole = root.to_str()?.to_owned();
    // Nothing where there is no such program; and inside, nothing where it may not run.
    let program = |name: &str, path_info: &str| {
        let file = fs::canonicalize(root.join(name.trim_start_matches('/'))).ok()?;
        let below = file.strip_prefix(&root).ok()?.to_str()?;
        if !file.is_file() || !below.ends_with(EXTENSION) {
            return None;
        }
        Some(may_run(name, &format!("/{below}")).then(|| Script {
            root: whole.clone(),
            filename: file.to_string_lossy().into_owned(),
            name: name.to_owned(),
            path_info: path_info.to_owned(),
        }))
    };
    let is_hidden = path.split('/').any(|it| it.starts_with('.') && it != ".well-known");
    if !is_hidden {
        let ends = path.match_indices('/').skip(1).map(|it| it.0).chain([path.len()]);
        for end in ends.take(SEGMENTS_MAX) {
            let (name, rest) = path.split_at_checked(end)?;
            if name.ends_with(EXTENSION)
                && let Some(found) = program(name, rest)
            {
                // SECURITY: what is meant for a program that may not run is for no other one: not its body, nor its password.
                return found;
            }
        }
        let folder = path.trim_end_matches('/');
        if let Some(found) = program(&format!("{folder}/{FRONT}"), "") {
            return found;
        }
    }
    program(&format!("/{FRONT}"), "").flatten()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::{base::files::write_atomic, domain::site_settings::proxy::Route};

    #[test]
    fn programs_are_found_and_nothing_else_is_run() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("public");
        for name in ["public/blog", "public/.git", "public/dir.php", "public/upload", "outside"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        for name in [
            "public/index.php",
            "public/a.php",
            "public/blog/index.php",
            "public/.git/x.php",
            "public/upload/photo.jpg",
            "public/notes.txt",
            "outside/secret.php",
        ] {
            write_atomic(&folder.path().join(name), b"<?php", 0o644).unwrap();
        }
        symlink("../outside/secret.php", root.join("link.php")).unwrap();
        symlink("notes.txt", root.join("notes.php")).unwrap();
        symlink("public", folder.path().join("current")).unwrap();
        let of = |path: &str| {
            let it = find(&root, path, |_, _| true).unwrap();
            format!("{} {}", it.name, it.path_info)
        };
        for (path, wanted) in [
            ("/", "/index.php "),
            ("/a.php", "/a.php "),
            ("/a.php/x/y", "/a.php /x/y"),
            ("/a.php/", "/a.php /"),
            ("/a.php/b.php", "/a.php /b.php"),
            ("/blog", "/blog/index.php "),
            ("/blog/", "/blog/index.php "),
            ("/blog/post/7", "/index.php "),
            ("/missing.php", "/index.php "),
            ("/notes.txt", "/index.php "),
            ("/upload/photo.jpg/x.php", "/index.php "),
            ("/upload/photo.jpg", "/index.php "),
            ("/dir.php", "/index.php "),
            ("/link.php", "/index.php "),
            ("/notes.php", "/index.php "),
            ("/.git/x.php", "/index.php "),
            ("/A.PHP", "/index.php "),
        ] {
            assert_eq!(of(path), wanted, "{path}");
        }
        let linked = find(&folder.path().join("current"), "/a.php", |_, _| true).unwrap();
        assert_eq!(linked.filename, fs::canonicalize(root.join("a.php")).unwrap().to_str().unwrap());
        fs::remove_file(root.join("index.php")).unwrap();
        assert_eq!(find(&root, "/x", |_, _| true), None);
        assert_eq!(find(Path::new("/nowhere"), "/a.php", |_, _| true), None);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_refused() {
        let scripts = Arc::new(Scripts::new(&Route::new("/", &[])));
        for path in ["/a%2fb", "/../a.php", "/a%00.php", "/a\\b"] {
            assert_eq!(
                script(&Tasks::new(), "/", path, &scripts, &Stderr::default()).await,
                Err(Refusal::Path),
                "{path}"
            );
        }
    }
}
