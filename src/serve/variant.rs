//! Sees that a compressed form decodes to the blob that it stands for.
//!
//! Its own digest shows rot only: this check is what lets the data plane send it under the blob's name. Takes no
//! more memory than the decoders' windows, and stops at the first byte too many.

use std::io::{self, Read};

use crate::base::{
    blob_dir::Coding,
    hash::{Hasher, Sha256},
};

/// Whether `bytes` decode to the blob `hash` of `size` bytes.
pub(super) fn decodes_to(bytes: &[u8], coding: Coding, hash: Sha256, size: u64) -> bool {
    let found = match coding {
        Coding::Brotli => digest(brotli::Decompressor::new(bytes, 64 * 1024), size),
        Coding::Gzip => digest(flate2::read::MultiGzDecoder::new(bytes), size),
        Coding::Zstd => zstd::stream::read::Decoder::with_buffer(bytes).and_then(|it| digest(it, size)),
    };
    found.is_ok_and(|it| it == Some(hash))
}

/// The digest of exactly `size` decoded bytes; `None` when there are more or fewer.
fn digest(mut decoder: impl Read, size: u64) -> io::Result<Option<Sha256>> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut left = size;
    loop {
        let read = decoder.read(&mut buffer)?;
        if read == 0 {
            return Ok((left == 0).then(|| hasher.finish()));
        }
        let Some(fewer) = u64::try_from(read).ok().and_then(|it| left.checked_sub(it)) else {
            return Ok(None);
        };
        left = fewer;
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_what_decodes_to_the_blob_passes() {
        let text = b"to be or not to be, that is the question".repeat(5_000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&text).unwrap();
        let mut brotli = Vec::new();
        brotli::CompressorWriter::new(&mut brotli, 4096, 5, 22).write_all(&text).unwrap();
        let forms = [
            (Coding::Gzip, gzip.finish().unwrap()),
            (Coding::Brotli, brotli),
            (Coding::Zstd, zstd::encode_all(&text[..], 3).unwrap()),
        ];
        let size = u64::try_from(text.len()).unwrap();
        for (coding, bytes) in forms {
            let hash = Sha256::of(&text);
            assert!(decodes_to(&bytes, coding, hash, size), "{coding:?}");
            assert!(!decodes_to(&bytes, coding, hash, size - 1), "{coding:?}");
            assert!(!decodes_to(&bytes, coding, hash, size + 1), "{coding:?}");
            assert!(!decodes_to(&bytes, coding, Sha256::of(b"other"), size), "{coding:?}");
            assert!(!decodes_to(&bytes[..bytes.len() / 2], coding, hash, size), "{coding:?}");
            assert!(!decodes_to(&text, coding, hash, size), "{coding:?}");
        }
    }
}
