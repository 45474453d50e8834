//! A site of 10,000 files and about 200 MB, with sizes as sites have them.

use std::collections::BTreeMap;

use chainhost::base::hash::Sha256;
use serde_json::json;

use super::{
    Deployed, address, replace, same,
    source::{Site, kept, working_copy},
};
use crate::support::{
    read_files,
    seed::{Seed, paragraph},
    write_files,
};

const FILES: usize = 10_000;

/// Writes the site. Three of five files are pages, one of four is a picture, and some few are large.
fn write(folder: &std::path::Path) {
    let mut seed = Seed::new(3);
    let mut words = String::new();
    while words.len() < 400_000 {
        words += &format!("<p>{}</p>\n", paragraph(&mut seed));
    }
    let words = words.into_bytes();
    for number in 1..FILES {
        let place = format!("{}/{:02}", seed.pick(&["blog", "docs/v1", "docs/v2", "größe", "写真"]), number % 70);
        let (path, bytes) = match number % 100 {
            0..60 => {
                let (from, length) = (seed.below(300_000), seed.between(1_000, 28_000));
                let head = format!("<!doctype html><title>{number}</title>");
                (format!("{place}/page-{number}.html"), [head.as_bytes(), &words[from..from + length]].concat())
            }
            60..85 => {
                let length = seed.between(4_000, 36_000);
                (format!("{place}/picture {number}.jpg"), seed.bytes(length))
            }
            85..93 => {
                let length = seed.between(200, 80_000);
                (format!("assets/{number}.js"), [format!("//{number}\n").as_bytes(), &words[..length]].concat())
            }
            93..99 => (format!("data/{place}/{number}.json"), format!("{{\"number\":{number}}}\n").into_bytes()),
            _ => {
                let length = seed.between(100_000, 800_000);
                (format!("media/{number}.mp4"), seed.bytes(length))
            }
        };
        write_files(folder, &[(&path, &bytes)]);
    }
    write_files(folder, &[("index.html", b"<!doctype html><title>Many</title>")]);
}

fn site() -> Site {
    // What is written follows from these two files alone.
    let key = [include_str!("many.rs"), include_str!("../support/seed.rs")].concat();
    Site::of(kept("many", &Sha256::of(key.as_bytes()), write))
}

#[test]
fn ten_thousand_files_are_deployed_and_one_change_sends_one() {
    let site = site();
    let on_disk: BTreeMap<String, Vec<u8>> =
        read_files(&site.folder).into_iter().map(|(path, bytes)| (format!("/{path}"), bytes)).collect();
    let bytes: usize = on_disk.values().map(Vec::len).sum();
    assert!(on_disk.len() == FILES && (180_000_000..260_000_000).contains(&bytes), "{} {bytes}", on_disk.len());

    let deployed = Deployed::new("many", &site);
    println!("{bytes} bytes: {}", deployed.report);
    let sent = (&deployed.report["files"], &deployed.report["files_sent"], &deployed.report["bytes_sent"]);
    assert_eq!(sent, (&json!(FILES), &json!(FILES), &json!(bytes)));
    let kept = deployed.get("/deployments/1");
    assert_eq!((&kept["state"], &kept["problem"], &kept["bytes"]), (&json!("live"), &json!(null), &json!(bytes)));

    // All names, sizes and hashes, as the API lists them.
    let (mut after, mut listed) = (String::new(), 0);
    loop {
        let page = deployed.get(&format!("/deployments/1/files?limit=200&after={after}"));
        for file in page["items"].as_array().unwrap() {
            let path = file["path"].as_str().unwrap();
            let wanted = on_disk.get(path).unwrap_or_else(|| panic!("{path} was not deployed"));
            let wanted = (&json!(wanted.len()), &json!(Sha256::of(wanted).hex()));
            assert_eq!((&file["size"], &file["sha256"]), wanted, "{path}");
            listed += 1;
        }
        match page["next"].as_str() {
            Some(next) => after = address(next.strip_prefix('/').unwrap()),
            None => break,
        }
    }
    assert_eq!(listed, FILES);

    // And the bytes of all.
    let start = tokio::time::Instant::now();
    let mut visitor = deployed.visitor();
    for (path, wanted) in &on_disk {
        let answer = visitor.get(&address(&path[1..]), "");
        assert_eq!(answer.status, 200, "{path}");
        same(path, &answer.body, wanted);
    }
    println!("compared in {} ms", start.elapsed().as_millis());
    assert_eq!(visitor.connections, 1, "the connection was not kept");

    let copy = working_copy(&site);
    let (path, before) = on_disk.iter().nth(FILES / 2).unwrap();
    let changed = [&before[..], b"\n"].concat();
    replace(copy.path(), &path[1..], &changed);
    let report = deployed.deploy(copy.path());
    println!("one changed: {report}");
    assert_eq!((&report["files_sent"], &report["bytes_sent"]), (&json!(1), &json!(changed.len())), "{report}");
    same(path, &visitor.get(&address(&path[1..]), "").body, &changed);
}
