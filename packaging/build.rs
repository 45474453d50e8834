//! Gives the program the commit that it was built from, for `--version`. Without git it is "unknown".

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/refs/heads");
    let commit = Command::new("git").args(["rev-parse", "--short=10", "HEAD"]).output().ok();
    let commit = commit.filter(|it| it.status.success()).and_then(|it| String::from_utf8(it.stdout).ok());
    let commit = commit.as_deref().map_or("unknown", str::trim);
    println!("cargo:rustc-env=CHAINHOST_VERSION={} ({commit})", env!("CARGO_PKG_VERSION"));
}
