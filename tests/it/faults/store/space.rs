//! The disk of the cache is full before the cache comes to its bound.

use super::{super::disk::SmallDisk, *};
use crate::support::write_files;

const MIB: u64 = 1 << 20;

#[test]
fn a_cache_leaves_the_disk_room_for_the_next_deploy() {
    let bucket = Bucket::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chainhost.toml");
    let settings = format!("disk_reserve = '10 MiB'\n{}", bucket.settings("cache_bytes = '1 GiB'"));
    write_files(folder.path(), &[("chainhost.toml", settings.as_bytes())]);
    let disk = SmallDisk::mount(folder.path().join("data"));
    let host = Host::start_in(folder, &["--config", file.to_str().unwrap()]);
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.must("POST /api/v1/sites", &json!({ "name": "large" }), 201);
    let mut seed = crate::support::seed::Seed::new(21);
    let large: Vec<(String, Vec<u8>)> = (0..20).map(|it| (format!("{it}.bin"), seed.bytes(1_000_000))).collect();
    api.deploy("large", &large, &Wish::default()).unwrap();
    let before = cache_bytes(&host);

    // Of 64 MiB that a part of an upload may bring and 10 MiB in reserve, something is lacking.
    disk.fill_to(70 * MIB);
    let mut refusals = 0;
    let done = host.until("the cache to make room", || match api.deploy("hello", &version(1), &Wish::default()) {
        Ok(done) => Some(done),
        Err(answer) => {
            assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("disk_reserve")), "{}", answer.text());
            refusals += 1;
            None
        }
    });
    assert_eq!(done["state"], "live");
    assert!(refusals > 0, "there was room from the start");
    assert!(cache_bytes(&host) < before, "nothing left the cache");
    assert_eq!(whole_site(host.port, "hello"), 1);
    for (path, bytes) in &large {
        assert!(host.get("large.localhost", &format!("/{path}")).body == *bytes, "{path}: {}", host.log());
    }
    // The server first, since its files are on the disk.
    drop(host);
    drop(disk);
}
