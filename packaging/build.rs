//! Gives the program the commit that it was built from, for `--version`. Without git it is "unknown".

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=packaging/build.rs");
    // Where git keeps them: in a work tree `.git` is a file. A path that is not there would mean a new build each time.
    for name in ["HEAD", "refs/heads"] {
        let path = Command::new("git").args(["rev-parse", "--git-path", name]).output().ok();
        let path = path.filter(|it| it.status.success()).and_then(|it| String::from_utf8(it.stdout).ok());
        if let Some(path) = path.filter(|it| std::path::Path::new(it.trim()).exists()) {
            println!("cargo:rerun-if-changed={}", path.trim());
        }
    }
    let commit = Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).output().ok();
    let commit = commit.filter(|it| it.status.success()).and_then(|it| String::from_utf8(it.stdout).ok());
    let commit = commit.as_deref().map_or("unknown", str::trim);
    println!("cargo:rustc-env=CHAINHOST_VERSION={} ({commit})", env!("CARGO_PKG_VERSION"));
}
