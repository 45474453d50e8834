//! Tests of the folder of blobs.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn store() -> (tempfile::TempDir, BlobDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = BlobDir::open(folder.path()).unwrap();
    (folder, dir)
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    File::create(path).unwrap().write_all(bytes).unwrap();
}

#[test]
fn blobs_are_listed_and_nobody_may_write_to_them() {
    let (_folder, dir) = store();
    let mut put = [b"one", b"two"].map(|it| dir.put(it).unwrap());
    put.sort();
    let mut listed: Vec<Sha256> = dir.list().unwrap().into_iter().map(|(hash, ..)| hash).collect();
    listed.sort();
    assert_eq!(listed, put);
    for hash in put {
        assert_eq!(fs::metadata(dir.path(&hash)).unwrap().permissions().mode() & 0o777, 0o400);
    }
}

#[test]
fn other_bytes_than_promised_are_refused_and_leave_nothing() {
    let (folder, dir) = store();
    let mut batch = dir.batch();
    let mut writer = dir.writer().unwrap();
    writer.write(b"evil").unwrap();
    assert!(matches!(writer.finish(Some(Sha256::of(b"good")), &mut batch), Err(BlobError::Corrupt)));
    assert!(batch.is_empty());
    drop(dir.writer().unwrap());
    assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
    File::create(folder.path().join("incoming/abcdefghijklmnopqrstuvwx")).unwrap();
    BlobDir::open(folder.path()).unwrap();
    assert_eq!(fs::read_dir(folder.path().join("incoming")).unwrap().count(), 0);
}

#[test]
fn changed_blobs_and_links_are_corrupt_and_the_right_bytes_repair_them() {
    let (folder, dir) = store();
    let hash = dir.put(b"content").unwrap();
    assert_eq!(dir.size(&hash), Some(7));
    overwrite(&dir.path(&hash), b"CONTENT");
    assert!(matches!(dir.read_verified(&hash), Err(BlobError::Corrupt)));
    dir.put(b"content").unwrap();
    assert_eq!(dir.read_verified(&hash).unwrap(), b"content");
    for wrong in [&b"short"[..], b"CONTENT"] {
        overwrite(&dir.path(&hash), wrong);
        let mut batch = dir.batch();
        let mut writer = dir.writer().unwrap();
        writer.write(b"content").unwrap();
        writer.finish(Some(hash), &mut batch).unwrap();
        batch.commit().unwrap();
        assert_eq!(dir.read_verified(&hash).unwrap(), b"content");
    }
    fs::remove_file(dir.path(&hash)).unwrap();
    std::os::unix::fs::symlink(folder.path().join("elsewhere"), dir.path(&hash)).unwrap();
    assert!(matches!(dir.read_verified(&hash), Err(BlobError::Corrupt)));
    assert!(!dir.has(&hash));
}

#[test]
fn what_is_put_again_is_not_too_old() {
    let (_folder, dir) = store();
    let hash = dir.put(b"content").unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
    File::open(dir.path(&hash)).unwrap().set_modified(old).unwrap();
    assert_eq!(dir.written_ms(&hash), Some(1_000));
    assert!(!dir.remove_older(&hash, 1_000).unwrap());
    dir.put(b"content").unwrap();
    assert!(!dir.remove_older(&hash, 1_001).unwrap() && dir.has(&hash));
    File::open(dir.path(&hash)).unwrap().set_modified(old).unwrap();
    assert!(dir.remove_older(&hash, 1_001).unwrap() && !dir.has(&hash));
    assert!(!dir.remove_older(&hash, 1_001).unwrap());
}

#[test]
fn variants_carry_their_digest() {
    let (_folder, dir) = store();
    let hash = dir.put(b"content").unwrap();
    assert!(dir.variant(&hash, Coding::Zstd).unwrap().is_none());
    dir.put_variant(&hash, Coding::Zstd, b"packed").unwrap();
    dir.put_variant(&hash, Coding::Zstd, b"packed").unwrap();
    assert_eq!(dir.variant(&hash, Coding::Zstd).unwrap(), Some((b"packed".to_vec(), Sha256::of(b"packed"))));
    assert_eq!(dir.variant_size(&hash, Coding::Zstd), Some(6));
    let path = dir.variant_path(&hash, Coding::Zstd);
    let mut bytes = fs::read(&path).unwrap();
    bytes[0] ^= 1;
    overwrite(&path, &bytes);
    assert!(matches!(dir.variant(&hash, Coding::Zstd), Err(BlobError::Corrupt)));
    overwrite(&path, b"x");
    assert!(matches!(dir.variant(&hash, Coding::Zstd), Err(BlobError::Corrupt)));
    dir.remove(&hash).unwrap();
    dir.remove(&hash).unwrap();
    assert!(!dir.has(&hash) && dir.variant_size(&hash, Coding::Zstd).is_none());
    assert!(matches!(dir.read_verified(&hash), Err(BlobError::Missing)));
}
