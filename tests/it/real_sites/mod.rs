//! Real input: sites that real generators built, and one of 10,000 files. Every byte that is served is compared with the
//! file that it came from.
//!
//! The generators are pinned in `tests/real-sites` and kept, with what they built, in `target/real-sites`. A generator
//! that is missing fails the tests.

#![expect(
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "a test that panics says what went wrong, and is short before it is quick"
)]

mod eleventy;
mod many;
mod mkdocs;
mod source;

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    path::Path,
    process::Command,
    time::Duration,
};

use chainhost::base::hash::Sha256;
use serde_json::{Value, json};
use unicode_normalization::UnicodeNormalization as _;

use self::source::{Site, working_copy};
use crate::support::{Host, PROGRAM, keep_alive::Visitor, write_files};

/// Packs a folder as a zip, names in UTF-8.
const ZIP: &str = "
import sys, zipfile, pathlib
root = pathlib.Path(sys.argv[1])
with zipfile.ZipFile(sys.argv[2], 'w', zipfile.ZIP_DEFLATED) as out:
    for path in sorted(root.rglob('*')):
        out.write(path, path.relative_to(root))
";
/// Files at the root that are settings, which nobody is served.
const POLICY_FILES: [&str; 3] = ["_headers", "_redirects", "chainhost.toml"];

/// A server with one deployed site.
struct Deployed<'s> {
    host: Host,
    key: String,
    name: &'static str,
    site: &'s Site,
    report: Value,
}

impl<'s> Deployed<'s> {
    /// Deploys a folder for the first time.
    fn new(name: &'static str, site: &'s Site) -> Self {
        let host = Host::start();
        let key = host.key("owner@example.org", "super-admin");
        let mut deployed = Self { host, key, name, site, report: Value::Null };
        deployed.report = deployed.deploy(&site.folder);
        deployed
    }

    fn deploy(&self, folder: &Path) -> Value {
        let arguments = ["deploy", folder.to_str().unwrap(), "--site", self.name, "--create", "--json"];
        self.host.cli_json(&self.key, &arguments)
    }

    fn hostname(&self) -> String {
        format!("{}.localhost", self.name)
    }

    fn url(&self) -> String {
        format!("http://{}:{}", self.hostname(), self.host.port)
    }

    fn visitor(&self) -> Visitor {
        Visitor::new(&self.host, &self.hostname())
    }

    fn get(&self, path: &str) -> Value {
        self.host.api_json(&self.key, &format!("GET /api/v1/sites/{}{path}", self.name), "", 200)
    }

    /// All that was there was sent, each content once.
    fn was_sent_whole(&self) {
        let mut contents: Vec<_> =
            self.site.files.iter().map(|it| Sha256::of(&read(&self.site.folder.join(it)))).collect();
        contents.sort_unstable();
        contents.dedup();
        assert_eq!(self.report["files"], self.served().count(), "{}", self.report);
        assert_eq!(self.report["files_sent"], contents.len(), "{}", self.report);
    }

    /// The files that visitors get.
    fn served(&self) -> impl Iterator<Item = &'s str> {
        self.site.files.iter().map(String::as_str).filter(|it| !POLICY_FILES.contains(it))
    }

    /// Asks for every file, all on one connection, and compares.
    fn is_served_byte_by_byte(&self) {
        let mut visitor = self.visitor();
        for path in self.served() {
            let wanted = read(&self.site.folder.join(path));
            let url = address(path);
            let answer = visitor.get(&url, "");
            assert_eq!((answer.status, answer.header("content-encoding")), (200, None), "{url}");
            same(&url, &answer.body, &wanted);
            if let Some(folder) = url.strip_suffix("index.html") {
                same(folder, &visitor.get(folder, "").body, &wanted);
                let bare = folder.strip_suffix('/').filter(|it| !it.is_empty());
                if let Some(bare) = bare {
                    let moved = visitor.get(bare, "");
                    assert_eq!((moved.status, moved.header("location")), (308, Some(folder)), "{bare}");
                }
            }
        }
        assert_eq!(visitor.connections, 1, "the connection was not kept");
        let missing = visitor.get("/no-such-page/at-all", "");
        assert_eq!(missing.status, 404);
        same("the 404 page", &missing.body, &read(&self.site.folder.join("404.html")));
    }

    /// The same with each coding, once the job that compresses is done.
    fn is_served_compressed(&self) {
        // A key may not ask more often than some thousand times.
        let (patience, period) = (Duration::from_mins(5), Duration::from_millis(500));
        self.host.until_within(patience, period, "compressing", || {
            let jobs = self.host.api_json(&self.key, "GET /api/v1/jobs", "", 200);
            let jobs = jobs["items"].as_array().unwrap();
            let wanted: Vec<_> = jobs.iter().filter(|it| it["kind"] == "compress_variants").collect();
            assert!(wanted.iter().all(|it| it["error"].is_null()), "{wanted:?}");
            (!wanted.is_empty() && wanted.iter().all(|it| it["state"] == "done")).then_some(())
        });
        for coding in ["br", "zstd", "gzip"] {
            let mut visitor = self.visitor();
            let accept = format!("Accept-Encoding: {coding}\r\n");
            // The job's end tells the data plane, which looks a moment later.
            self.host.until("the compressed form", || {
                visitor.get("/", &accept).header("content-encoding").map(|it| assert_eq!(it, coding))
            });
            let (mut encoded, mut sent, mut plain) = (0, 0, 0);
            for path in self.served() {
                let (url, wanted) = (address(path), read(&self.site.folder.join(path)));
                let answer = visitor.get(&url, &accept);
                assert_eq!(answer.status, 200, "{url}");
                match answer.header("content-encoding") {
                    None => same(&url, &answer.body, &wanted),
                    Some(found) => {
                        assert_eq!(found, coding, "{url}");
                        assert!(
                            answer.header("vary").is_some_and(|it| it.eq_ignore_ascii_case("accept-encoding")),
                            "{url}"
                        );
                        assert!(answer.body.len() < wanted.len(), "{url}");
                        same(&url, &decode(coding, &answer.body), &wanted);
                        (encoded, sent, plain) = (encoded + 1, sent + answer.body.len(), plain + wanted.len());
                    }
                }
                if wanted.len() >= 2_000 && [".html", ".css", ".js", ".xml"].iter().any(|it| path.ends_with(it)) {
                    assert!(answer.header("content-encoding").is_some(), "{url} is not compressed with {coding}");
                }
            }
            println!("{}: {encoded} files with {coding}, {plain} bytes as {sent}", self.name);
            assert_eq!(visitor.connections, 1, "the connection was not kept");
        }
    }

    /// The bundle of the proof fits the folder and the site, and no changed folder.
    fn is_proved(&self) {
        let id = self.report["deployment"].as_str().unwrap();
        let call = format!("GET /api/v1/sites/{}/deployments/{id}/bundle", self.name);
        let bundle = self.host.api(&self.key, &call, b"");
        assert_eq!(bundle.status, 200);
        let file = self.host.beside("bundle.json");
        write_files(&self.host.beside(""), &[("bundle.json", &bundle.body)]);
        let verify = |more: &[&str]| {
            let out = Command::new(PROGRAM).arg("verify").arg(&file).args(more).output().unwrap();
            let text = [String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)].concat();
            (out.status.code(), text)
        };
        let manifest = self.report["manifest_sha256"].as_str().unwrap();
        for more in [["--dir", self.site.folder.to_str().unwrap()], ["--site", &self.url()]] {
            let (code, text) = verify(&more);
            assert!(code == Some(10) && text.contains(manifest), "{more:?}: {code:?} {text}");
        }
        let copy = working_copy(self.site);
        replace(copy.path(), "404.html", b"changed");
        let (code, text) = verify(&["--dir", copy.path().to_str().unwrap()]);
        assert!(code == Some(20) && text.contains("/404.html"), "{code:?} {text}");
    }

    /// Nothing new sends nothing; one new file sends one.
    fn is_deployed_again(&self) {
        let again = self.deploy(&self.site.folder);
        assert_eq!((&again["files_sent"], &again["bytes_sent"]), (&json!(0), &json!(0)), "{again}");
        assert_eq!(again["manifest_sha256"], self.report["manifest_sha256"]);

        let copy = working_copy(self.site);
        replace(copy.path(), "index.html", b"<!doctype html><title>New</title>");
        let changed = self.deploy(copy.path());
        assert_eq!((&changed["files_sent"], &changed["bytes_sent"]), (&json!(1), &json!(33)), "{changed}");
        assert_ne!(changed["manifest_sha256"], self.report["manifest_sha256"]);
        let mut visitor = self.visitor();
        same("/", &visitor.get("/", "").body, b"<!doctype html><title>New</title>");
        same("/404.html", &visitor.get("/404.html", "").body, &read(&self.site.folder.join("404.html")));
    }

    /// The folder as a zip, sent by `curl -T`, is the same deployment.
    fn is_deployed_by_curl(&self) {
        let zip = self.host.beside("site.zip");
        run(Command::new("python3").args(["-c", ZIP]).arg(&self.site.folder).arg(&zip));
        let answer = run(Command::new("curl")
            .args(["--silent", "--show-error", "--fail-with-body", "--header"])
            .arg(format!("Authorization: Bearer {}", self.key))
            .args(["--header", "Content-Type: application/zip", "-T"])
            .arg(&zip)
            .arg(format!("{}/api/v1/sites/{}/deployments", self.host.url(), self.name)));
        let begun: Value = serde_json::from_slice(&answer).unwrap();
        let path = format!("/deployments/{}", begun["id"].as_str().unwrap());
        let done = self.host.until("the archive", || {
            let it = self.get(&path);
            (it["state"] != "checking").then_some(it)
        });
        let wanted = (&json!("live"), &self.report["manifest_sha256"]);
        assert_eq!((&done["state"], &done["manifest_sha256"]), wanted, "{done}");
        // A real client decodes what it was sent.
        let home = run(Command::new("curl").args(["--silent", "--show-error", "--compressed", &self.url()]));
        same("/", &home, &read(&self.site.folder.join("index.html")));
    }
}

/// The address of a file: every byte of its name that a URL cannot hold is escaped. Written without the product's help.
fn address(path: &str) -> String {
    let mut url = String::from("/");
    // Names are kept in their composed form, which is also what people type.
    for byte in path.nfc().collect::<String>().bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            url.push(char::from(byte));
        } else {
            url += &format!("%{byte:02X}");
        }
    }
    url
}

/// Fails with the place where two contents part, not with all of both.
#[track_caller]
fn same(what: &str, found: &[u8], wanted: &[u8]) {
    if found != wanted {
        let at = found.iter().zip(wanted).position(|(a, b)| a != b);
        panic!("{what}: {} bytes instead of {}, first difference at {at:?}", found.len(), wanted.len());
    }
}

fn decode(coding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match coding {
        "br" => brotli::BrotliDecompress(&mut &*bytes, &mut plain).map(|()| 0),
        "zstd" => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut plain),
        _ => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain),
    }
    .unwrap();
    plain
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes a file anew: the old one may have other names, which must keep its bytes.
fn replace(folder: &Path, path: &str, bytes: &[u8]) {
    let path = folder.join(path);
    fs::remove_file(&path).unwrap();
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// Runs a command that must succeed; its standard output.
fn run(command: &mut Command) -> Vec<u8> {
    let name = command.get_program().to_owned();
    let out = command.output().unwrap_or_else(|error| panic!("{}: {error}; tests/run installs it", name.display()));
    let text = || [String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)].concat();
    assert!(out.status.success(), "{} failed:\n{}", name.display(), text());
    out.stdout
}

/// Opens these paths in Chromium. Its pictures are kept in `target/real-sites`.
fn look(deployed: &Deployed<'_>, paths: &[&str]) {
    source::install();
    let chromium = run(Command::new("sh").args(["-c", "command -v chromium || command -v chromium-browser"]));
    let chromium = String::from_utf8(chromium).unwrap();
    let out = run(Command::new("node")
        .current_dir(source::FOLDER.join("npm"))
        .arg(source::pins().join("look.mjs"))
        .args([&deployed.url(), source::FOLDER.to_str().unwrap(), deployed.name, chromium.trim()])
        .args(paths));
    let seen: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(seen["pages"], paths.len());
    assert!(seen["requests"].as_u64().unwrap() > 3, "{seen}");
}
