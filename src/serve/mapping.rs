//! Maps a file into memory as bytes: the one `unsafe` of the data plane.
//!
//! Only files of the blob folder are mapped, only after they were verified, and never on a network file system.

use std::{fs::File, io, os::fd::AsFd};

use bytes::Bytes;
use memmap2::{Advice, Mmap};

/// Magic numbers (`statfs(2)`) of file systems whose files may change under us without our kernel knowing, or
/// whose pages may fail to come: NFS, SMB, CIFS, SMB2, FUSE, 9P, AFS, Coda, Ceph, NCP, `OCFS2`, GFS2.
const NETWORK: [u64; 12] = [
    0x6969,
    0x517b,
    0xff53_4d42,
    0xfe53_4d42,
    0x6573_5546,
    0x0102_1997,
    0x5346_414f,
    0x7375_7245,
    0x00c3_6400,
    0x564c,
    0x7461_636f,
    0x0116_1970,
];

/// Whether a file may be mapped where it lies.
pub(super) fn may_map(file: impl AsFd) -> bool {
    let Ok(about) = rustix::fs::fstatfs(file) else { return false };
    // Some platforms sign the number; only its lower 32 bits are used.
    let kind = i128::from(about.f_type) & 0xffff_ffff;
    !NETWORK.iter().any(|it| i128::from(*it) == kind)
}

/// The bytes of `file` by its pages, which the kernel is told to fetch.
#[expect(unsafe_code, reason = "a mapping is sound only while nobody changes the file, which no type can say")]
pub(super) fn map(file: &File) -> io::Result<Bytes> {
    // SAFETY: the bytes behind a shared mapping must not change while Rust sees them as `&[u8]`. A blob has mode
    // 0400, is written once under another name and replaced by rename only; a replaced or removed file keeps its
    // pages as long as they are mapped. Whether it is still the verified file is compared before each answer.
    // The race that is left: somebody with our user's or root's rights writes into the file in place, after that
    // comparison. Then the answer under way has their bytes, also those that the system has taken to send; and if they cut the file short, touching the
    // missing pages ends this process with SIGBUS (a plain socket write fails with EFAULT instead). Whoever can
    // do that can also replace this program, so we do not pay for a copy of every large file. A sector that the disk
    // cannot read any more has the same effect as a file cut short.
    let mapping = unsafe { Mmap::map(file) }?;
    // Advice only: without it the pages come one by one.
    drop(mapping.advise(Advice::WillNeed));
    Ok(Bytes::from_owner(mapping))
}
