//! Archives of every kind, good and hostile, built by hand.

use std::io::{Cursor, Write as _};

use chainhost::{
    base::{blob_dir::BlobDir, hash::Sha256},
    domain::{Error, Result},
    proof::build,
    services::archive::{Kind, Watch, unpack},
};
use flate2::{Compression, Crc, write::DeflateEncoder, write::GzEncoder};
use tar::{EntryType, Header};

type Files = Vec<(Vec<u8>, u64, Sha256)>;

/// Nobody stops it, and the disk has room.
const FREELY: Watch<'_> = Watch { cancelled: &|| false, admit: &|_| Ok(()) };

fn store() -> (tempfile::TempDir, BlobDir) {
    let dir = tempfile::tempdir().unwrap();
    let blobs = BlobDir::open(dir.path()).unwrap();
    (dir, blobs)
}

fn take(kind: Kind, bytes: &[u8]) -> Result<Files> {
    let (_dir, blobs) = store();
    let files = unpack(kind, Cursor::new(bytes), &blobs, false, FREELY)?;
    for (path, size, hash) in &files {
        let kept = blobs.read_verified(hash).unwrap();
        assert_eq!(u64::try_from(kept.len()).unwrap(), *size, "{}", String::from_utf8_lossy(path));
    }
    Ok(files)
}

fn code(kind: Kind, bytes: &[u8]) -> &'static str {
    take(kind, bytes).map_or_else(|error| error.code, |_| "ok")
}

fn error(kind: Kind, bytes: &[u8]) -> Error {
    take(kind, bytes).unwrap_err()
}

fn names(files: &Files) -> Vec<String> {
    files.iter().map(|(path, _, _)| String::from_utf8(path.clone()).unwrap()).collect()
}

// ---- tar ----

/// One entry: header and data, filled to whole blocks. The name goes in as it is.
fn entry(kind: EntryType, name: &[u8], data: &[u8]) -> Vec<u8> {
    sized(kind, name, data, u64::try_from(data.len()).unwrap())
}

fn sized(kind: EntryType, name: &[u8], data: &[u8], size: u64) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_mut_bytes().get_mut(..name.len()).unwrap().copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    let mut out = header.as_bytes().to_vec();
    out.extend(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn file(name: &str, data: &[u8]) -> Vec<u8> {
    entry(EntryType::Regular, name.as_bytes(), data)
}

fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        let rest = format!(" {key}={value}\n");
        let mut length = rest.len() + 1;
        while length != rest.len() + length.to_string().len() {
            length += 1;
        }
        data.extend(format!("{length}{rest}").bytes());
    }
    data
}

fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1024]].concat()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

// ---- zip ----

/// One zip entry; what is `None` is told as it is.
#[derive(Clone, Default)]
struct Zipped<'a> {
    name: &'a [u8],
    data: &'a [u8],
    deflate: bool,
    flags: u16,
    mode: u32,
    method: Option<u16>,
    size: Option<u32>,
    crc: Option<u32>,
    local_name: Option<&'a [u8]>,
}

fn zipped<'a>(name: &'a str, data: &'a [u8]) -> Zipped<'a> {
    Zipped { name: name.as_bytes(), data, ..Zipped::default() }
}

fn short(number: usize) -> [u8; 2] {
    u16::try_from(number).unwrap().to_le_bytes()
}

fn long(number: usize) -> [u8; 4] {
    u32::try_from(number).unwrap().to_le_bytes()
}

fn zip(entries: &[Zipped<'_>]) -> Vec<u8> {
    let (mut out, mut directory) = (Vec::new(), Vec::new());
    for it in entries {
        let packed = if it.deflate {
            let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(it.data).unwrap();
            encoder.finish().unwrap()
        } else {
            it.data.to_vec()
        };
        let mut crc = Crc::new();
        crc.update(it.data);
        let mut common = Vec::new();
        common.extend(it.flags.to_le_bytes());
        common.extend(it.method.unwrap_or(if it.deflate { 8 } else { 0 }).to_le_bytes());
        common.extend([0, 0, 0x21, 0]);
        common.extend(it.crc.unwrap_or(crc.sum()).to_le_bytes());
        common.extend(long(packed.len()));
        common.extend(it.size.unwrap_or(u32::try_from(it.data.len()).unwrap()).to_le_bytes());
        let start = long(out.len());
        let local = it.local_name.unwrap_or(it.name);
        out.extend(b"PK\x03\x04\x14\0");
        out.extend(&common);
        out.extend(short(local.len()));
        out.extend(short(0));
        out.extend(local);
        out.extend(packed);
        directory.extend(b"PK\x01\x02\x14\x03\x14\0");
        directory.extend(&common);
        directory.extend(short(it.name.len()));
        directory.extend([0; 8]);
        directory.extend((it.mode << 16).to_le_bytes());
        directory.extend(start);
        directory.extend(it.name);
    }
    let start = long(out.len());
    let count = short(entries.len());
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([count, count].concat());
    out.extend(long(directory.len()));
    out.extend(start);
    out.extend(short(0));
    out
}

// ---- the tests ----

#[test]
fn the_same_site_comes_out_of_every_kind() {
    let files: [(&str, &[u8]); 5] = [
        ("index.html", b"<h1>hi</h1>"),
        ("a/b.css", b""),
        ("_headers", b"/*\n  X-A: 1\n"),
        (".git/config", b"x"),
        ("node_modules/x/.env", b"secret"),
    ];
    let mut tape = vec![entry(EntryType::Directory, b"./", b""), entry(EntryType::Directory, b"./a/", b"")];
    tape.extend(files.iter().map(|(name, data)| file(&format!("./{name}"), data)));
    let tape = tar(&tape);
    let mut entries = vec![zipped("a/", b"")];
    entries.extend(files.iter().map(|(name, data)| Zipped { deflate: true, mode: 0o100_644, ..zipped(name, data) }));
    let (_dir, blobs) = store();
    let manifests: Vec<_> = [
        (Kind::Tar, tape.clone()),
        (Kind::TarGz, gz(&tape)),
        (Kind::TarZst, zstd::encode_all(&tape[..], 3).unwrap()),
        (Kind::Zip, zip(&entries)),
    ]
    .into_iter()
    .map(|(kind, bytes)| {
        assert_eq!(Kind::of(None, &mut Cursor::new(&bytes)).unwrap(), kind);
        let mut found = unpack(kind, Cursor::new(&bytes), &blobs, false, FREELY).unwrap();
        found.sort();
        assert_eq!(names(&found), ["_headers", "a/b.css", "index.html"]);
        build::manifest(&found, false, |_, hash| Ok(blobs.read_verified(hash).unwrap())).unwrap()
    })
    .collect();
    assert_eq!(manifests[0].policy().headers.len(), 1);
    assert_eq!(manifests[0].entries().len(), 2);
    assert!(manifests.iter().all(|it| *it == manifests[0]));
}

#[test]
fn the_kind_is_seen_by_bytes_and_else_by_type() {
    let kind = |content_type, bytes: &[u8]| Kind::of(content_type, &mut Cursor::new(bytes)).map_err(|error| error.code);
    assert_eq!(kind(Some("application/x-tar"), &gz(b"")), Ok(Kind::TarGz));
    assert_eq!(kind(Some("Application/X-Tar; x=y"), b"old tar without its word"), Ok(Kind::Tar));
    assert_eq!(kind(Some("text/html"), b"<html>"), Err("archive_kind"));
    assert_eq!(kind(None, b""), Err("archive_kind"));
}

#[test]
fn names_that_lead_elsewhere_are_refused_in_every_kind() {
    for (name, wanted) in [
        (&b"../x"[..], "archive_path"),
        (b"a/../../x", "archive_path"),
        (b"..", "archive_path"),
        (b"/etc/passwd", "archive_path"),
        (b"node_modules/../x", "archive_path"),
        (b"a\\..\\x", "archive_path"),
        (b"C:\\x", "archive_path"),
        (b"a//b", "path_segment"),
        (b"a/./b", "path_segment"),
        (b"a\x01b", "path_character"),
        (b"\xff.html", "path_not_utf8"),
        (b"e\xf9.html", "path_not_utf8"),
        (b".env", "env_file"),
        (b".well-known/chainhost/x", "path_reserved"),
    ] {
        let shown = String::from_utf8_lossy(name);
        assert_eq!(code(Kind::Tar, &tar(&[entry(EntryType::Regular, name, b"x")])), wanted, "tar {shown}");
        assert_eq!(code(Kind::Zip, &zip(&[Zipped { name, ..zipped("", b"x") }])), wanted, "zip {shown}");
    }
    assert_eq!(code(Kind::Zip, &zip(&[zipped("a\0b", b"x")])), "archive_path");
    assert_eq!(code(Kind::Tar, &tar(&[entry(EntryType::Directory, b"../x/", b"")])), "archive_path");
    let long_name = [entry(EntryType::XHeader, b"x", &pax(&[("path", "a\0b")])), file("b", b"")].concat();
    assert_eq!(code(Kind::Tar, &tar(&[long_name])), "archive_path");
    assert!(error(Kind::Tar, &tar(&[entry(EntryType::Regular, b"\xff.html", b"")])).message.contains(".html"));
    let (_dir, blobs) = store();
    let secret = tar(&[file(".env", b"x")]);
    assert_eq!(unpack(Kind::Tar, Cursor::new(secret), &blobs, true, FREELY).unwrap().len(), 1);
}

#[test]
fn what_is_no_plain_file_is_refused_by_name() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::new(b'V'),
    ] {
        let found = error(Kind::Tar, &tar(&[file("a", b""), entry(kind, b"evil", b"")]));
        assert_eq!(found.code, "not_a_file", "{kind:?}");
        assert!(found.message.contains("`evil`"), "{}", found.message);
    }
    let linked = entry(EntryType::Symlink, b"node_modules/.bin/x", b"");
    assert_eq!(names(&take(Kind::Tar, &tar(&[linked, file("a", b"")])).unwrap()), ["a"]);
    for mode in [0o120_777, 0o020_666, 0o060_666, 0o010_666, 0o140_666] {
        let found = error(Kind::Zip, &zip(&[Zipped { mode, ..zipped("evil", b"/etc/passwd") }]));
        assert_eq!(found.code, "not_a_file", "{mode:o}");
    }
    assert_eq!(code(Kind::Zip, &zip(&[Zipped { mode: 0o040_755, ..zipped("a", b"") }])), "not_a_file");
    assert_eq!(code(Kind::Zip, &zip(&[Zipped { mode: 0o100_644, ..zipped("a/", b"") }])), "not_a_file");
    assert_eq!(code(Kind::Zip, &zip(&[zipped("a/", b"hidden")])), "not_a_file");
    assert_eq!(code(Kind::Tar, &tar(&[entry(EntryType::Directory, b"a/", b"hidden")])), "archive_damaged");
}

#[test]
fn a_name_comes_once() {
    assert_eq!(code(Kind::Tar, &tar(&[file("a", b"1"), file("./a", b"2")])), "archive_duplicate");
    assert_eq!(code(Kind::Zip, &zip(&[zipped("a", b"1"), zipped("a", b"2")])), "archive_duplicate");
    assert_eq!(code(Kind::Tar, &tar(&[file("_headers", b"1"), file("_headers", b"2")])), "archive_duplicate");
}

#[test]
fn long_names_are_whole_or_refused() {
    let name = format!("{}/é.html", "long".repeat(40));
    let gnu = [entry(EntryType::GNULongName, b"././@LongLink", format!("{name}\0").as_bytes()), file("cut", b"1")];
    assert_eq!(names(&take(Kind::Tar, &tar(&[gnu.concat()])).unwrap()), [name.as_str()]);
    let records = pax(&[("path", name.as_str()), ("mtime", "1.5"), ("size", "1")]);
    let with_pax = [entry(EntryType::XHeader, b"PaxHeader", &records), file("cut", b"1")];
    assert_eq!(names(&take(Kind::Tar, &tar(&[with_pax.concat()])).unwrap()), [name.as_str()]);
    let global = entry(EntryType::XGlobalHeader, b"pax_global_header", &pax(&[("comment", "a commit")]));
    assert_eq!(names(&take(Kind::Tar, &tar(&[global, file("a", b"")])).unwrap()), ["a"]);

    let both = tar(&[[gnu[0].clone(), with_pax.concat()].concat()]);
    let twice = tar(&[[gnu[0].clone(), gnu.concat()].concat()]);
    let other_size = [entry(EntryType::XHeader, b"x", &pax(&[("size", "512")])), file("a", b"1")];
    let unreadable = [entry(EntryType::XHeader, b"x", b"99 path=a\n"), file("a", b"1")];
    let everywhere = entry(EntryType::XGlobalHeader, b"x", &pax(&[("path", "b")]));
    let holes = [entry(EntryType::XHeader, b"x", &pax(&[("GNU.sparse.major", "1")])), file("a", b"1")];
    let huge = sized(EntryType::XHeader, b"x", b"", 1 << 30);
    let dangling = tar(&[entry(EntryType::XHeader, b"x", &pax(&[("path", "b")]))]);
    for (bytes, wanted) in [
        (both, "archive_damaged"),
        (twice, "archive_damaged"),
        (tar(&[other_size.concat()]), "archive_damaged"),
        (tar(&[unreadable.concat()]), "archive_damaged"),
        (tar(&[everywhere, file("a", b"1")]), "archive_damaged"),
        (tar(&[holes.concat()]), "not_a_file"),
        (tar(&[huge]), "archive_damaged"),
        (dangling, "archive_cut_off"),
    ] {
        assert_eq!(code(Kind::Tar, &bytes), wanted);
    }
}

#[test]
fn every_cut_is_seen() {
    let files = [file("a.txt", &[b'x'; 700]), file("b.txt", b"2")];
    let whole = tar(&files);
    for end in (0..files.concat().len() + 511).step_by(37) {
        assert_eq!(code(Kind::Tar, &whole[..end]), "archive_cut_off", "{end}");
    }
    let packed = gz(&whole);
    for end in 0..packed.len() {
        assert!(take(Kind::TarGz, &packed[..end]).is_err(), "{end}");
    }
    let packed = zstd::encode_all(&whole[..], 3).unwrap();
    for end in 0..packed.len() {
        assert!(take(Kind::TarZst, &packed[..end]).is_err(), "{end}");
    }
    let packed = zip(&[Zipped { deflate: true, ..zipped("a.txt", b"some text, some text") }]);
    for end in 0..packed.len() {
        assert!(take(Kind::Zip, &packed[..end]).is_err(), "{end}");
    }
    assert_eq!(code(Kind::Zip, &packed[..packed.len() - 30]), "archive_cut_off");
}

#[test]
fn damage_is_seen() {
    let whole = tar(&[file("a.txt", b"text")]);
    let mut wrong = whole.clone();
    wrong[3] ^= 1;
    assert_eq!(code(Kind::Tar, &wrong), "archive_damaged");
    assert_eq!(code(Kind::Tar, &[whole.clone(), file("b", b"hidden")].concat()), "archive_damaged");
    let mut wrong = gz(&whole);
    let checksum = wrong.len() - 8;
    wrong[checksum] ^= 1;
    assert_eq!(code(Kind::TarGz, &wrong), "archive_damaged");
    for kind in [Kind::Zip, Kind::Tar, Kind::TarGz, Kind::TarZst] {
        assert!(take(kind, &[b'?'; 2000]).is_err());
        assert!(take(kind, b"").is_err());
    }

    let text = zipped("a", b"some text");
    for wrong in [
        Zipped { crc: Some(1), ..text.clone() },
        Zipped { size: Some(8), ..text.clone() },
        Zipped { size: Some(10), ..text.clone() },
        Zipped { deflate: true, size: Some(8), ..text.clone() },
        Zipped { deflate: true, size: Some(10), ..text.clone() },
        Zipped { method: Some(8), ..text.clone() },
        Zipped { local_name: Some(b"b"), ..text.clone() },
    ] {
        assert_eq!(code(Kind::Zip, &zip(&[wrong])), "archive_damaged");
    }
    let prefixed = [b"#!/bin/sh\n".to_vec(), zip(std::slice::from_ref(&text))].concat();
    assert!(take(Kind::Zip, &prefixed).is_err());
    assert_eq!(code(Kind::Zip, &zip(&[Zipped { flags: 1, ..text.clone() }])), "archive_encrypted");
    assert_eq!(code(Kind::Zip, &zip(&[Zipped { method: Some(12), ..text }])), "archive_compression");
}

#[test]
fn gzip_may_have_many_members() {
    let whole = tar(&[file("a.txt", &[b'x'; 3000]), file("b.txt", b"2")]);
    let (front, back) = whole.split_at(1234);
    let members = [gz(front), gz(b""), gz(back)].concat();
    assert_eq!(names(&take(Kind::TarGz, &members).unwrap()), ["a.txt", "b.txt"]);
    assert!(take(Kind::TarGz, &[gz(&whole), b"garbage".to_vec()].concat()).is_err());
}

#[test]
fn a_decoder_takes_no_more_memory_than_it_should() {
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(24).unwrap();
    encoder.write_all(&tar(&[file("a", b"x")])).unwrap();
    let found = error(Kind::TarZst, &encoder.finish().unwrap());
    assert_eq!(found.code, "archive_compression");
    assert!(found.message.contains("level 19"));
}

#[test]
fn bombs_are_stopped_by_what_comes_out() {
    // Declared small, unpacks to 64 MiB.
    let zeros = vec![0; 64 << 20];
    assert_eq!(code(Kind::TarGz, &gz(&tar(&[file("a", &zeros)]))), "archive_ratio");
    assert_eq!(code(Kind::TarZst, &zstd::encode_all(&tar(&[file("a", &zeros)])[..], 1).unwrap()), "archive_ratio");
    assert_eq!(code(Kind::Zip, &zip(&[Zipped { deflate: true, ..zipped("a", &zeros) }])), "archive_ratio");
    let skipped = file("node_modules/a", &zeros);
    assert_eq!(code(Kind::TarGz, &gz(&tar(&[skipped]))), "archive_ratio");
    assert_eq!(code(Kind::TarGz, &gz(&[tar(&[]), zeros].concat())), "archive_ratio");
    // Below the free part any ratio is fine.
    assert_eq!(code(Kind::TarGz, &gz(&tar(&[file("a", &vec![0; 16 << 20])]))), "ok");
}

#[test]
fn too_many_entries_are_refused_also_when_they_are_left_out() {
    let many: Vec<Vec<u8>> = (0..50_001).map(|it| file(&format!("node_modules/{it}"), b"")).collect();
    assert_eq!(code(Kind::Tar, &tar(&many)), "site_files");
    let globals = vec![entry(EntryType::XGlobalHeader, b"g", b""); 50_001];
    assert_eq!(code(Kind::Tar, &tar(&globals)), "site_files");
}

#[test]
fn the_free_space_is_looked_at_while_unpacking() {
    let (_dir, blobs) = store();
    let asked = std::cell::Cell::new(0);
    let admit = |bytes| {
        asked.set(asked.get() + bytes);
        if asked.get() <= 12 << 20 { Ok(()) } else { Err(Error::unavailable("disk_reserve", "")) }
    };
    let watch = Watch { admit: &admit, ..FREELY };
    // One large file, and many small ones, which take blocks too.
    let large = tar(&[file("a", &vec![b'a'; 17 << 20])]);
    assert_eq!(unpack(Kind::Tar, Cursor::new(&large), &blobs, false, watch).unwrap_err().code, "disk_reserve");
    asked.set(0);
    let many: Vec<Vec<u8>> = (0..4_500).map(|it| file(&format!("{it}.txt"), b"")).collect();
    assert_eq!(unpack(Kind::Tar, Cursor::new(&tar(&many)), &blobs, false, watch).unwrap_err().code, "disk_reserve");
}

#[test]
fn blobs_are_committed_in_batches_and_a_stop_is_heard() {
    let many: Vec<Vec<u8>> = (0..2_500).map(|it| file(&format!("{it}.txt"), it.to_string().as_bytes())).collect();
    let bytes = tar(&many);
    let (_dir, blobs) = store();
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 6_000
    };
    assert_eq!(
        unpack(Kind::Tar, Cursor::new(&bytes), &blobs, false, Watch { cancelled: &stop, ..FREELY }).unwrap_err().code,
        "cancelled"
    );
    assert_eq!(blobs.list().unwrap().len(), 1_024);
    assert_eq!(unpack(Kind::Tar, Cursor::new(&bytes), &blobs, false, FREELY).unwrap().len(), 2_500);
    assert_eq!(blobs.list().unwrap().len(), 2_500);
}

const KINDS: [Kind; 4] = [Kind::Tar, Kind::TarGz, Kind::TarZst, Kind::Zip];

/// A small archive of two files, one of them with a long name's header where the kind has those.
fn two_files(kind: Kind) -> Vec<u8> {
    let tape = tar(&[
        file("a.txt", &[b'x'; 300]),
        [entry(EntryType::XHeader, b"x", &pax(&[("path", "b.txt")])), file("b", b"2")].concat(),
    ]);
    match kind {
        Kind::Tar => tape,
        Kind::TarGz => gz(&tape),
        Kind::TarZst => zstd::encode_all(&tape[..], 3).unwrap(),
        Kind::Zip => zip(&[Zipped { deflate: true, ..zipped("a.txt", b"text text text") }, zipped("b/c.txt", b"2")]),
    }
}

/// How many files may come out of damaged bytes: no more than were put in, except where nothing tells of the damage. A
/// frame of zstd without a checksum may say something else, as long as each header that it says is whole.
fn at_most(kind: Kind, bytes: &[u8]) -> usize {
    if kind == Kind::TarZst { zstd::decode_all(bytes).map_or(0, |tape| tape.len() / 512) } else { 2 }
}

#[test]
fn a_frame_without_a_checksum_may_say_something_else() {
    let mut bytes = two_files(Kind::TarZst);
    // The kind of the second header moves into its padding, where it counts the same: a header of a file, three of them.
    assert_eq!(
        std::mem::replace(&mut bytes[107], b'2'),
        b'1',
        "the frame is another one: look for a byte that does this"
    );
    let files = take(Kind::TarZst, &bytes).unwrap();
    assert_eq!(names(&files), ["a.txt", "x", "b"]);
    assert!(files.len() <= at_most(Kind::TarZst, &bytes));
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]
    #[test]
    fn flipped_bytes_never_panic(at in 0_usize..4000, byte: u8, kind in 0_usize..4) {
        let kind = KINDS[kind];
        let mut bytes = two_files(kind);
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(files) = take(kind, &bytes) {
            proptest::prop_assert!(files.len() <= at_most(kind, &bytes));
        }
    }
}
