//! `chainhost manifest`: what is taken, skipped and refused of a folder, with the real program.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use chainhost::{base::hash::Sha256, proof::manifest::Manifest};
use tempfile::TempDir;

fn run(dir: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chainhost")).arg("manifest").arg(dir).args(more).output().unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test's own files need not survive a power cut")]
fn site(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn refused(dir: &Path) -> String {
    let out = run(dir, &[]);
    assert_eq!(out.status.code(), Some(2));
    assert!(out.stdout.is_empty());
    String::from_utf8(out.stderr).unwrap()
}

#[test]
fn a_folder_has_one_manifest_whatever_lies_beside_its_files() {
    let files = [("index.html", "<h1>hi</h1>"), ("404.html", "no"), ("é/a.css", "a{}"), (".well-known/x", "x")];
    let plain = site(&files);
    let noisy = site(&[&files[..], &[(".git/config", "g"), ("é/.DS_Store", "d"), ("node_modules/.env", "s")]].concat());
    fs::create_dir(noisy.path().join("empty")).unwrap();
    let out = plain.path().join("node_modules");
    let first = run(plain.path(), &["--out", out.to_str().unwrap()]);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(first.stdout, run(noisy.path(), &[]).stdout);

    let bytes = fs::read(out).unwrap();
    let printed = String::from_utf8(first.stdout).unwrap();
    assert!(printed.starts_with(&format!("sha256 {}\nsiteRoot 0x", Sha256::of(&bytes))), "{printed}");
    let cid = Command::new(env!("CARGO_BIN_EXE_chainhost")).arg("cid").arg(noisy.path()).output().unwrap();
    assert!(printed.ends_with(&format!("\ncid {}", String::from_utf8(cid.stdout).unwrap())), "{printed}");
    let manifest = Manifest::parse(&bytes).unwrap();
    let paths: Vec<&str> = manifest.entries().iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["/.well-known/x", "/404.html", "/index.html", "/é/a.css"]);
    assert_eq!(manifest.find("/index.html").unwrap().sha256, Sha256::of(b"<h1>hi</h1>"));
    assert_eq!(manifest.policy().fallback.as_ref().unwrap().status, 404);
}

#[test]
fn the_common_tool_checks_a_folder_by_its_sums() {
    let dir = site(&[("index.html", "hi"), ("a b/ü.css", "a{}"), (".git/x", "x"), ("_headers", "/*\n  X-A: 1\n")]);
    let sums = tempfile::tempdir().unwrap();
    let file = sums.path().join("SHA256SUMS");
    assert_eq!(run(dir.path(), &["--sums", file.to_str().unwrap()]).status.code(), Some(0));
    let check = || Command::new("sha256sum").arg("-c").arg(&file).current_dir(dir.path()).output().unwrap();
    let good = check();
    assert_eq!(String::from_utf8_lossy(&good.stdout), "./a b/ü.css: OK\n./index.html: OK\n");
    assert!(good.status.success());
    fs::remove_file(dir.path().join("index.html")).unwrap();
    assert!(!check().status.success());
}

#[test]
fn what_cannot_be_a_site_is_refused_with_its_reason() {
    assert!(refused(Path::new("/no/such/folder")).contains("/no/such/folder"));
    refused(site(&[]).path());
    assert!(refused(site(&[("a/.env.local", "secret")]).path()).contains(".env"));
    assert!(refused(site(&[("A.html", ""), ("a.html", "")]).path()).to_lowercase().contains("a.html"));
    assert!(refused(site(&[("index.html", ""), ("_headers", "/*")]).path()).contains("_headers"));
    let linked = site(&[("index.html", "")]);
    std::os::unix::fs::symlink("/etc/passwd", linked.path().join("link")).unwrap();
    assert!(refused(linked.path()).contains("link is not a regular file"));
}

#[test]
fn policy_files_become_policy_and_are_not_served() {
    let dir = site(&[
        ("index.html", "hi"),
        ("data/x", "1,2"),
        ("_headers", "/data/*\n  Content-Type: text/csv\n/*\n  X-A: 1\n"),
        ("_redirects", "/old/* /:splat 302\n"),
        ("chainhost.toml", "clean_urls = true\nspa = true\n"),
    ]);
    let out = dir.path().join(".git");
    let done = run(dir.path(), &["--out", out.to_str().unwrap()]);
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let manifest = Manifest::parse(&fs::read(out).unwrap()).unwrap();
    assert_eq!(manifest.entries().len(), 2);
    assert_eq!(manifest.find("/data/x").unwrap().media_type, "text/csv");
    assert_eq!((manifest.policy().headers.len(), manifest.policy().redirects.len()), (2, 1));
    assert_eq!(manifest.policy().fallback.as_ref().unwrap().status, 200);
}
