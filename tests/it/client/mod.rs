//! The commands that speak to a server, with the real program against a fake of the API.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

mod commands;
mod deploy;
mod fake;
mod sign_in;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use self::fake::Fake;

/// The program with an environment of its own: what the tester has set must not matter.
fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chainhost"));
    command.env_clear().env("HOME", home).stdin(Stdio::null());
    command
}

/// Runs a command with the fake's address and key from the environment.
fn run(fake: &Fake, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    let mut command = program(home.path());
    command.env("CHAINHOST_SERVER", fake.url()).env("CHAINHOST_KEY", &fake.key);
    command.args(arguments).output().unwrap()
}

/// Runs a command that must do its work; gives what it prints.
fn good(fake: &Fake, arguments: &[&str]) -> String {
    let out = run(fake, arguments);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    text(&out.stdout)
}

/// Runs a command that must fail so; gives what it says.
fn bad(fake: &Fake, arguments: &[&str], code: i32) -> String {
    let out = run(fake, arguments);
    assert_eq!(out.status.code(), Some(code), "{}{}", text(&out.stdout), text(&out.stderr));
    assert_eq!(text(&out.stdout), "");
    text(&out.stderr)
}

fn good_json(fake: &Fake, arguments: &[&str]) -> Value {
    serde_json::from_str(&good(fake, arguments)).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test's own files need not survive a power cut")]
fn write(dir: &Path, path: &str, bytes: impl AsRef<[u8]>) {
    let path = dir.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        write(dir.path(), path, text);
    }
    dir
}
