//! Settings that cannot be right end the start with a sentence, and show no secret.

use std::process::{Command, Stdio};

use super::*;
use crate::support::{PATIENCE, PROGRAM, write_files};

/// Starts a new server with these settings, which must not come up; its exit code and what it says.
fn refused(settings: &str) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[("chainhost.toml", settings.as_bytes())]);
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path().join("data"));
    command.arg("--config").arg(folder.path().join("chainhost.toml")).stdin(Stdio::null());
    let log = folder.path().join("log");
    command.stdout(fs::File::create(folder.path().join("out")).unwrap()).stderr(fs::File::create(&log).unwrap());
    let mut child = command.spawn().unwrap();
    let began = tokio::time::Instant::now();
    let ended = loop {
        match child.try_wait().unwrap() {
            Some(ended) => break Some(ended),
            None if began.elapsed() > PATIENCE => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    if ended.is_none() {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let said = fs::read_to_string(&log).unwrap();
    let ended = ended.unwrap_or_else(|| panic!("it runs: {said}"));
    assert!(!said.contains(s3::SECRET) && !said.contains("not-the-secret"), "a secret is shown: {said}");
    (ended.code(), said)
}

#[test]
fn a_wrong_secret_bucket_or_prefix_is_refused_with_a_sentence() {
    let bucket = Bucket::new();
    let (code, said) = refused(&s3::settings(&bucket.url(), "not-the-secret", ""));
    assert!(code == Some(2) && said.contains("refuses this key and secret"), "{code:?} {said}");
    let other = bucket.url().replacen("s3://chainhost/", "s3://no-such-bucket/", 1);
    let (code, said) = refused(&s3::settings(&other, s3::SECRET, ""));
    assert!(code == Some(2) && said.contains("The store of files cannot be used"), "{code:?} {said}");
    // Somebody else's files.
    bucket.put("holiday.jpg", b"picture".to_vec());
    let (code, said) = refused(&bucket.settings(""));
    assert!(code == Some(2) && said.contains("holiday.jpg"), "{code:?} {said}");
    assert_eq!(bucket.list().len(), 1);
}

#[test]
fn a_bucket_of_another_installation_is_refused() {
    let bucket = Bucket::new();
    let (host, api) = start(&bucket, "");
    api.deploy_version("hello", 1);
    wait_for_jobs(&host, &api, 1);
    let before = bucket.list();
    let (code, said) = refused(&bucket.settings(""));
    assert!(code == Some(2) && said.contains("belongs to another installation"), "{code:?} {said}");
    assert_eq!(bucket.list(), before);
}

#[test]
fn a_shared_folder_is_used_by_its_installation_alone() {
    let folder = tempfile::tempdir().unwrap();
    let shared = folder.path().join("shared");
    let settings = format!("[blobs]\nfolder = '{}'\n", shared.display());
    let mut host = Host::start_configured(&settings);
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    let mut files = version(1);
    files.push((String::from("film.bin"), crate::support::seed::Seed::new(5).bytes(600_000)));
    api.deploy("hello", &files, &Wish::default()).unwrap();
    assert_eq!(read_files(&shared.join("blobs")).len(), files.len() + 2);
    assert!(!host.data().join("blobs").exists());
    assert!(host.get("hello.localhost", "/film.bin").body == files.last().unwrap().1);
    // Read and not mapped: cut short under the server, the file costs its own answer and not the process.
    let path = s3::local(&shared, &chainhost::base::hash::Sha256::of(&files.last().unwrap().1).hex());
    let maps = fs::read_to_string(format!("/proc/{}/maps", host.pid())).unwrap();
    assert!(!maps.contains(path.file_name().unwrap().to_str().unwrap()), "{maps}");
    assert_eq!(host.stop(), Some(0));
    host.restart();
    assert_eq!(whole_site(host.port, "hello"), 1);

    let (code, said) = refused(&settings);
    assert!(code == Some(2) && said.contains("another installation"), "{code:?} {said}");
    let foreign = folder.path().join("foreign");
    write_files(&foreign, &[("holiday.jpg", b"picture")]);
    let (code, said) = refused(&format!("[blobs]\nfolder = '{}'\n", foreign.display()));
    assert!(code == Some(2) && said.contains("no mark of Chain Host"), "{code:?} {said}");
    assert_eq!(read_files(&foreign).len(), 1);
}

#[test]
fn a_shared_folder_that_is_not_mounted_is_not_begun_again() {
    let folder = tempfile::tempdir().unwrap();
    let (shared, away) = (folder.path().join("shared"), folder.path().join("away"));
    let mut host = Host::start_configured(&format!("[blobs]\nfolder = '{}'\n", shared.display()));
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    for mounted in [true, false] {
        assert_eq!(host.stop(), Some(0));
        fs::rename(&shared, &away).unwrap();
        if mounted {
            // As an empty mount point.
            fs::create_dir(&shared).unwrap();
        }
        host.restart();
        host.until("the lack to be told", || host.log().contains("it is not mounted, or was emptied").then_some(()));
        assert_eq!(shared.exists(), mounted);
        assert!(!mounted || fs::read_dir(&shared).unwrap().next().is_none(), "something was put into it");
        // It comes back without a restart.
        if mounted {
            fs::remove_dir(&shared).unwrap();
        }
        fs::rename(&away, &shared).unwrap();
        api.moved(&host);
        host.until("the control plane", || (api.call("GET /api/v1/sites", b"").status == 200).then_some(()));
        assert_eq!(whole_site(host.port, "hello"), 1);
        api.deploy_version("hello", 1);
    }
}
