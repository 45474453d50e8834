//! What is promised of blobs, clause by clause: in a folder, in a folder that servers share, and in a bucket with a folder
//! before it.
//!
//! A place joins by being a [`Place`] and a line at the end of this file.

#[cfg(feature = "s3")]
mod store;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, UNIX_EPOCH},
};

use chainhost::base::{
    blob_dir::{BlobDir, BlobError, Coding},
    files::write_atomic,
    hash::Sha256,
};
use tempfile::TempDir;

use crate::support::seed::Seed;

/// Where blobs live.
trait Place {
    /// The folder.
    fn root(&self) -> &Path;
    /// Opens it, as a process does that starts after the one before it has died.
    fn open(&self) -> BlobDir;
    /// Sees that a blob of the folder is where blobs live, as a deployment does before it is told to be there.
    /// In a folder alone it is there already.
    fn keep(&self, _dir: &BlobDir, _hash: Sha256) {}
    /// As [`Place::keep`], for a compressed form.
    fn keep_form(&self, _hash: Sha256, _coding: Coding) {}
    /// Whether what is lost or damaged in the folder comes back.
    fn is_cache(&self) -> bool {
        false
    }
}

/// The data folder of one server.
struct Plain(TempDir);

impl Plain {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Place for Plain {
    fn root(&self) -> &Path {
        self.0.path()
    }

    fn open(&self) -> BlobDir {
        BlobDir::open(self.root()).unwrap()
    }
}

/// A folder that servers share, seen by one of them.
struct Shared(TempDir);

impl Shared {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

impl Place for Shared {
    fn root(&self) -> &Path {
        self.0.path()
    }

    fn open(&self) -> BlobDir {
        BlobDir::open_shared(self.root(), "one").unwrap()
    }
}

/// The file of a blob.
fn path(place: &dyn Place, hash: &Sha256) -> PathBuf {
    let hex = hash.hex();
    place.root().join("blobs").join(&hex[..2]).join(hex)
}

fn form_path(place: &dyn Place, hash: &Sha256, coding: Coding) -> PathBuf {
    let hex = hash.hex();
    place.root().join("variants").join(&hex[..2]).join(format!("{hex}.{}", coding.extension()))
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    File::create(path).unwrap().write_all(bytes).unwrap();
}

/// What is half written.
fn incoming(place: &dyn Place) -> usize {
    fs::read_dir(place.root().join("incoming")).unwrap().count()
}

/// Makes a blob and its forms look as if they had been put long ago.
fn age(place: &dyn Place, hash: &Sha256) {
    for path in [path(place, hash)].into_iter().chain(Coding::ALL.map(|it| form_path(place, hash, it))) {
        if path.exists() {
            File::open(path).unwrap().set_modified(UNIX_EPOCH + Duration::from_secs(1_000)).unwrap();
        }
    }
}

/// Later than [`age`] says, and earlier than now.
const BEFORE_MS: i64 = 2_000_000;

fn is_missing<T>(found: &Result<T, BlobError>) -> bool {
    matches!(found, Err(BlobError::Missing))
}

fn is_corrupt<T>(found: &Result<T, BlobError>) -> bool {
    matches!(found, Err(BlobError::Corrupt))
}

fn what_is_put_is_read(place: &dyn Place) {
    let dir = place.open();
    let large = Seed::new(1).bytes(3_000_000);
    for bytes in [&b""[..], b"content", &large] {
        let hash = dir.put(bytes).unwrap();
        place.keep(&dir, hash);
        assert_eq!(hash, Sha256::of(bytes));
        assert!(dir.has(&hash));
        assert_eq!(dir.size(&hash), Some(u64::try_from(bytes.len()).unwrap()));
        assert!(dir.read_verified(&hash).unwrap() == bytes && dir.read_local(&hash).unwrap() == bytes);
        assert_eq!(dir.put(bytes).unwrap(), hash);
    }
    assert_eq!(incoming(place), 0);
    // Also by the process after this one.
    let again = place.open();
    assert!(again.read_verified(&Sha256::of(&large)).unwrap() == large);
    assert_eq!(again.list().unwrap().len(), 3);
}

fn a_part_is_read(place: &dyn Place) {
    let dir = place.open();
    let bytes = Seed::new(2).bytes(1_000_000);
    let hash = dir.put(&bytes).unwrap();
    place.keep(&dir, hash);
    if place.is_cache() {
        fs::remove_file(path(place, &hash)).unwrap();
    }
    let (file, size) = dir.open_verified(&hash).unwrap();
    assert_eq!(size, 1_000_000);
    let mut part = vec![0; 1_000];
    for from in [0_u64, 1, 65_535, 999_000] {
        file.read_exact_at(&mut part, from).unwrap();
        let from = usize::try_from(from).unwrap();
        assert!(part == bytes[from..from + 1_000], "{from}");
    }
    // It stays readable to whoever has it open.
    dir.remove(&hash).unwrap();
    file.read_exact_at(&mut part, 5).unwrap();
    assert!(part == bytes[5..1_005]);
}

fn other_bytes_than_promised_are_refused(place: &dyn Place) {
    let dir = place.open();
    let mut batch = dir.batch();
    let mut writer = dir.writer().unwrap();
    writer.write(b"evil").unwrap();
    assert!(is_corrupt(&writer.finish(Some(Sha256::of(b"good")), &mut batch)));
    assert!(batch.is_empty() && !dir.has(&Sha256::of(b"good")) && !dir.has(&Sha256::of(b"evil")));
    assert_eq!(incoming(place), 0);
}

fn a_batch_is_seen_at_its_commit(place: &dyn Place) {
    let dir = place.open();
    for count in [1_u32, 40] {
        let mut batch = dir.batch();
        let mut hashes = Vec::new();
        for number in 0..count {
            let mut writer = dir.writer().unwrap();
            writer.write(b"file ").unwrap();
            writer.write(format!("{count} {number}").as_bytes()).unwrap();
            hashes.push(writer.finish(None, &mut batch).unwrap().0);
        }
        assert!(!hashes.iter().any(|it| dir.has(it)));
        batch.commit().unwrap();
        assert!(hashes.iter().all(|it| dir.has(it)));
        assert_eq!(dir.read_verified(&hashes[0]).unwrap(), format!("file {count} 0").as_bytes());
    }
    // One that is given up leaves nothing.
    let mut batch = dir.batch();
    let mut writer = dir.writer().unwrap();
    writer.write(b"given up").unwrap();
    writer.finish(None, &mut batch).unwrap();
    drop(batch);
    assert!(!dir.has(&Sha256::of(b"given up")));
    assert_eq!(incoming(place), 0);
}

fn what_was_never_put_is_missing(place: &dyn Place) {
    let dir = place.open();
    let hash = Sha256::of(b"never put");
    assert!(is_missing(&dir.read_verified(&hash)) && is_missing(&dir.open_verified(&hash)));
    assert!(is_missing(&dir.read_local(&hash)) && is_missing(&dir.open_local(&hash)));
    assert!(!dir.has(&hash) && dir.size(&hash).is_none() && dir.written_ms(&hash).is_none());
    assert!(Coding::ALL.into_iter().all(|it| dir.variant(&hash, it).unwrap().is_none()));
    dir.remove(&hash).unwrap();
    assert!(!dir.remove_older(&hash, i64::MAX).unwrap());
    assert!(dir.list().unwrap().is_empty() && dir.list_variants().unwrap().is_empty());
}

fn damaged_bytes_are_never_given(place: &dyn Place) {
    let dir = place.open();
    let hash = dir.put(b"content").unwrap();
    place.keep(&dir, hash);
    let path = path(place, &hash);
    for damage in [&b"CONTENT"[..], b"conten", b"content and more", b""] {
        overwrite(&path, damage);
        assert!(is_corrupt(&dir.read_local(&hash)));
        if place.is_cache() {
            assert_eq!(dir.read_verified(&hash).unwrap(), b"content");
            assert_eq!(fs::read(&path).unwrap(), b"content", "the folder is mended too");
        } else {
            assert!(is_corrupt(&dir.read_verified(&hash)) && is_corrupt(&dir.open_verified(&hash)));
            // Sent again, it is whole again.
            dir.put(b"content").unwrap();
            assert_eq!(dir.read_verified(&hash).unwrap(), b"content");
        }
    }
    // Nor what somebody links to.
    let other = place.root().join("other");
    write_atomic(&other, b"content", 0o600).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    assert!(is_corrupt(&dir.read_local(&hash)) && !dir.has(&hash));
    dir.put(b"content").unwrap();
    assert!(dir.has(&hash) && !path.is_symlink());
    assert_eq!(fs::read(&other).unwrap(), b"content");
}

fn what_the_folder_has_lost_comes_back_or_is_missing(place: &dyn Place) {
    let dir = place.open();
    let hash = dir.put(b"content").unwrap();
    place.keep(&dir, hash);
    fs::remove_file(path(place, &hash)).unwrap();
    let found = dir.read_verified(&hash);
    if place.is_cache() {
        assert_eq!(found.unwrap(), b"content");
        assert!(dir.has(&hash));
    } else {
        assert!(is_missing(&found));
    }
}

fn forms_have_their_own_digest(place: &dyn Place) {
    let dir = place.open();
    let hash = dir.put(b"content").unwrap();
    place.keep(&dir, hash);
    for coding in Coding::ALL {
        let form = format!("as {}", coding.token()).into_bytes();
        dir.put_variant(&hash, coding, &form).unwrap();
        place.keep_form(hash, coding);
        assert_eq!(dir.variant(&hash, coding).unwrap(), Some((form.clone(), Sha256::of(&form))));
        assert_eq!(dir.variant_size(&hash, coding), Some(u64::try_from(form.len()).unwrap()));
    }
    assert_eq!(dir.list_variants().unwrap().len(), 3);
    for damage in [&b"short"[..], &[7; 60]] {
        overwrite(&form_path(place, &hash, Coding::Gzip), damage);
        assert!(is_corrupt(&dir.variant(&hash, Coding::Gzip)));
    }
    dir.remove_variant(&hash, Coding::Gzip).unwrap();
    assert_eq!(dir.variant(&hash, Coding::Gzip).unwrap(), None);
    // A cache brings them again, and nothing else changes.
    if let Some(home) = dir.home() {
        home.fetch_variants_blocking(hash);
        assert_eq!(dir.variant(&hash, Coding::Gzip).unwrap().unwrap().0, b"as gzip");
    }
    assert!(dir.variant(&hash, Coding::Brotli).unwrap().is_some());
    dir.remove(&hash).unwrap();
    assert!(dir.list_variants().unwrap().is_empty() && dir.list().unwrap().is_empty());
}

fn only_what_is_ours_is_listed(place: &dyn Place) {
    let dir = place.open();
    let mut wanted = BTreeMap::new();
    for number in 0..20_u32 {
        let bytes = vec![7; usize::try_from(number).unwrap()];
        wanted.insert(dir.put(&bytes).unwrap(), u64::from(number));
    }
    let hash = Sha256::of(b"");
    let folder = path(place, &hash).parent().unwrap().to_owned();
    write_atomic(&folder.join("notes.txt"), b"notes", 0o600).unwrap();
    fs::create_dir(folder.join(Sha256::of(b"a folder").hex())).unwrap();
    std::os::unix::fs::symlink(folder.join("notes.txt"), folder.join(Sha256::of(b"a link").hex())).unwrap();
    let now_ms = dir.written_ms(&hash).unwrap();
    let listed = dir.list().unwrap();
    assert_eq!(listed.iter().map(|(hash, size, _)| (*hash, *size)).collect::<BTreeMap<_, _>>(), wanted);
    assert!(listed.iter().all(|(.., at)| (at - now_ms).abs() < 3_600_000));
    assert!(dir.list_variants().unwrap().is_empty());
}

fn only_what_is_old_goes(place: &dyn Place) {
    let dir = place.open();
    let hash = dir.put(b"content").unwrap();
    dir.put_variant(&hash, Coding::Zstd, b"form").unwrap();
    assert!(!dir.remove_older(&hash, BEFORE_MS).unwrap(), "it is young");
    assert!(dir.has(&hash) && dir.variant(&hash, Coding::Zstd).unwrap().is_some());
    age(place, &hash);
    assert_eq!(dir.written_ms(&hash), Some(1_000_000));
    assert!(!dir.remove_older(&hash, 1_000_000).unwrap(), "the bound itself stays");
    // Put again, it counts as new.
    dir.put(b"content").unwrap();
    assert!(!dir.remove_older(&hash, BEFORE_MS).unwrap());
    // Also when it comes as part of an upload.
    age(place, &hash);
    let (mut batch, mut writer) = (dir.batch(), dir.writer().unwrap());
    writer.write(b"content").unwrap();
    writer.finish(Some(hash), &mut batch).unwrap();
    batch.commit().unwrap();
    assert!(!dir.remove_older(&hash, BEFORE_MS).unwrap());
    age(place, &hash);
    assert!(dir.remove_older(&hash, BEFORE_MS).unwrap());
    assert!(!dir.has(&hash) && dir.list_variants().unwrap().is_empty());
    assert!(!dir.remove_older(&hash, BEFORE_MS).unwrap(), "it is gone already");
    assert_eq!(incoming(place), 0);
}

fn many_may_put_the_same_at_once(place: &dyn Place) {
    let dir = place.open();
    let bytes = Seed::new(3).bytes(200_000);
    let hash = Sha256::of(&bytes);
    thread::scope(|scope| {
        for number in 0..8 {
            let (dir, bytes) = (dir.clone(), &bytes);
            scope.spawn(move || {
                for _ in 0..10 {
                    if number % 2 == 0 {
                        dir.put(bytes).unwrap();
                    } else {
                        let (mut batch, mut writer) = (dir.batch(), dir.writer().unwrap());
                        bytes.chunks(50_000).for_each(|it| writer.write(it).unwrap());
                        writer.finish(Some(hash), &mut batch).unwrap();
                        batch.commit().unwrap();
                    }
                    assert!(dir.read_verified(&hash).unwrap() == *bytes, "a reader saw something else");
                }
            });
        }
    });
    assert_eq!(dir.list().unwrap().len(), 1);
    assert_eq!(incoming(place), 0);
}

fn what_is_put_while_the_old_goes_stays(place: &dyn Place) {
    let dir = place.open();
    let hash = dir.put(b"content").unwrap();
    for _ in 0..200 {
        age(place, &hash);
        let (putting, removing) = (dir.clone(), dir.clone());
        let put = thread::spawn(move || putting.put(b"content").unwrap());
        let gone = thread::spawn(move || removing.remove_older(&hash, BEFORE_MS).unwrap());
        put.join().unwrap();
        gone.join().unwrap();
        assert_eq!(dir.read_local(&hash).unwrap(), b"content");
    }
    assert_eq!(incoming(place), 0);
}

/// Where a process of its own puts blobs until it is killed.
const KILLED: &str = "CHAINHOST_TEST_BLOBS";

#[test]
#[ignore = "run by others as a process of its own"]
fn puts_until_it_is_killed() {
    // Nothing to do for who runs all that is ignored.
    let Some(at) = std::env::var_os(KILLED).map(PathBuf::from) else { return };
    let dir =
        if at.ends_with("shared") { BlobDir::open_shared(&at, "one").unwrap() } else { BlobDir::open(&at).unwrap() };
    let mut seed = Seed::new(u64::from(std::process::id()));
    let mut out = std::io::stdout();
    loop {
        let mut batch = dir.batch();
        let mut hashes = Vec::new();
        for _ in 0..6 {
            let mut writer = dir.writer().unwrap();
            seed.bytes(300_000).chunks(10_000).for_each(|it| writer.write(it).unwrap());
            hashes.push(writer.finish(None, &mut batch).unwrap().0);
        }
        batch.commit().unwrap();
        for hash in hashes {
            writeln!(out, "kept {hash}").unwrap();
        }
        out.flush().unwrap();
    }
}

/// Kills a process that puts into `at` when it has put a few; what it said to be there, and what was half written.
fn put_and_kill(at: &Path) -> (Vec<Sha256>, usize) {
    let log = at.with_extension("log");
    let out = File::create(&log).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "conformance::blobs::puts_until_it_is_killed", "--ignored", "--nocapture"])
        .env(KILLED, at)
        .stdin(Stdio::null())
        .stdout(out.try_clone().unwrap())
        .stderr(out)
        .spawn()
        .unwrap();
    let began = tokio::time::Instant::now();
    let said = || fs::read_to_string(&log).unwrap();
    let kept = |said: &str| -> Vec<Sha256> {
        // The last line may be half written.
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(|it| it.strip_prefix("kept ")?.parse().ok()).collect()
    };
    while kept(&said()).len() < 12 {
        let is_late = began.elapsed() > super::queue::DEADLINE * 6;
        if is_late || child.try_wait().unwrap().is_some() {
            drop(child.kill());
            child.wait().unwrap();
            panic!("it did not put: {}", said());
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    (kept(&said()), fs::read_dir(at.join("incoming")).unwrap().count())
}

#[test]
fn what_a_killed_process_has_put_is_whole_and_the_rest_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["plain", "shared"] {
        let at = folder.path().join(name);
        fs::create_dir(&at).unwrap();
        let mut all = Vec::new();
        for _ in 0..3 {
            let (kept, _) = put_and_kill(&at);
            all.extend(kept);
            let dir = if name == "shared" { BlobDir::open_shared(&at, "one") } else { BlobDir::open(&at) }.unwrap();
            assert_eq!(fs::read_dir(at.join("incoming")).unwrap().count(), 0, "{name}");
            assert!(all.iter().all(|it| dir.read_verified(it).is_ok()), "{name}: something that was kept is not whole");
            // What it had not told yet is whole too, or not there.
            assert!(dir.list().unwrap().iter().all(|(it, ..)| dir.read_verified(it).is_ok()), "{name}");
        }
    }
}

/// One test for each clause.
macro_rules! tests {
    ($name:ident, $place:expr, $($clause:ident)*) => {
        mod $name {
            $(
                #[test]
                fn $clause() {
                    super::$clause(&$place);
                }
            )*
        }
    };
}

/// The whole suite, on a place of its own for each clause.
macro_rules! suite {
    ($name:ident, $place:expr) => {
        tests! {
            $name, $place,
            a_batch_is_seen_at_its_commit
            a_part_is_read
            damaged_bytes_are_never_given
            forms_have_their_own_digest
            many_may_put_the_same_at_once
            only_what_is_old_goes
            only_what_is_ours_is_listed
            other_bytes_than_promised_are_refused
            what_is_put_is_read
            what_is_put_while_the_old_goes_stays
            what_the_folder_has_lost_comes_back_or_is_missing
            what_was_never_put_is_missing
        }
    };
}

suite!(folder, super::Plain::new());
suite!(shared_folder, super::Shared::new());
#[cfg(feature = "s3")]
suite!(bucket, super::store::Cached::new());
