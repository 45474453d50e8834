//! `chainhost login` and `logout`: what is kept, for whom, and who never gets the key.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use super::{fake::Fake, program, text};

fn login(home: &Path, server: &str, key: &str) -> Output {
    let mut command = program(home);
    command.args(["login", "--server", server]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "  {key}").unwrap();
    child.wait_with_output().unwrap()
}

fn file(home: &Path) -> PathBuf {
    home.join(".config/chainhost/credentials.toml")
}

fn run(home: &Path, arguments: &[&str]) -> (i32, String) {
    let out = program(home).args(arguments).output().unwrap();
    (out.status.code().unwrap(), text(&out.stdout) + &text(&out.stderr))
}

#[test]
fn a_key_is_kept_for_its_server_and_forgotten() {
    let (fake, home) = (Fake::start(), tempfile::tempdir().unwrap());
    let out = login(home.path(), &fake.url(), &fake.key);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("as a@example.org (tenant default, admin)"), "{}", text(&out.stdout));
    assert_eq!(fs::metadata(file(home.path())).unwrap().permissions().mode() & 0o777, 0o600);

    let call = "GET /api/v1/sites?limit=200";
    fake.answer(call, 200, serde_json::json!({"items": [], "next": null}));
    assert_eq!(run(home.path(), &["sites"]).0, 0);
    assert_eq!(fake.calls().last().unwrap(), call);

    // SECURITY: another server must not get the key.
    let other = Fake::start();
    let (code, said) = run(home.path(), &["sites", "--server", &other.url()]);
    assert_eq!(code, 4, "{said}");
    assert_eq!(other.state().connections, 0);

    fs::set_permissions(file(home.path()), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = run(home.path(), &["sites"]);
    assert!(code == 2 && said.contains("chmod 600"), "{said}");

    assert_eq!(run(home.path(), &["logout"]).0, 0);
    assert!(!file(home.path()).exists());
    assert_eq!(run(home.path(), &["logout"]).0, 0);
    assert_eq!(run(home.path(), &["sites"]).0, 4);
}

#[test]
fn a_key_that_is_not_taken_is_not_kept() {
    let (fake, other, home) = (Fake::start(), Fake::start(), tempfile::tempdir().unwrap());
    let refused = login(home.path(), &fake.url(), &other.key);
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
    let typo = login(home.path(), &fake.url(), &fake.key[..50]);
    assert_eq!(typo.status.code(), Some(4));
    let empty = login(home.path(), &fake.url(), "");
    assert_eq!(empty.status.code(), Some(4));
    let nobody = login(home.path(), "http://127.0.0.1:1", &fake.key);
    assert_eq!(nobody.status.code(), Some(3));
    assert!(!file(home.path()).exists());
    for out in [&refused, &typo] {
        assert!(!text(&out.stderr).contains(&fake.key[3..40]) && !text(&out.stderr).contains(&other.key[3..40]));
    }
}
