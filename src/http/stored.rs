//! Bytes that are in memory, and where it is so also in a file that the system can send by itself, without a copy.

use std::{fs::File, ops::Range, sync::Arc};

use bytes::Bytes;

/// Fewer bytes cost the system less to copy than to find in a file.
pub const FILE_BYTES_MIN: usize = 16 * 1024;

/// Bytes, and where a file has the same ones.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    // Let go of first: what the bytes are of may hold the same file.
    file: Option<Part>,
    bytes: Bytes,
}

/// Where in a file bytes begin.
#[derive(Clone, Debug)]
pub struct Part {
    /// The file. Nobody changes it while it is open here.
    pub file: Arc<File>,
    /// Of its first byte.
    pub at: u64,
}

impl Stored {
    /// All bytes of a file, which must have no others.
    pub const fn of(bytes: Bytes, file: Arc<File>) -> Self {
        Self { bytes, file: Some(Part { file, at: 0 }) }
    }

    /// The bytes.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Some of them. Those that are not there are left out.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let to = range.end.min(self.bytes.len());
        let from = range.start.min(to);
        let at = u64::try_from(from).unwrap_or(u64::MAX);
        let file = self.file.as_ref().map(|it| Part { file: Arc::clone(&it.file), at: it.at.saturating_add(at) });
        Self { bytes: self.bytes.slice(from..to), file }
    }

    /// The bytes, and the file where they are worth it.
    pub fn into_parts(self) -> (Bytes, Option<Part>) {
        let is_worth_it = self.bytes.len() >= FILE_BYTES_MIN;
        (self.bytes, self.file.filter(|_| is_worth_it))
    }

    /// The file behind all of them, if there is one.
    pub fn file(&self) -> Option<&Arc<File>> {
        self.file.as_ref().map(|it| &it.file)
    }
}

impl<T: Into<Bytes>> From<T> for Stored {
    fn from(bytes: T) -> Self {
        Self { bytes: bytes.into(), file: None }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    #[test]
    fn a_part_of_the_bytes_is_that_part_of_the_file() {
        let file = tempfile::tempfile().unwrap();
        let bytes: Vec<u8> = (0..=255).cycle().take(4 * FILE_BYTES_MIN).collect();
        file.write_all_at(&bytes, 0).unwrap();
        let all = Stored::of(bytes.clone().into(), Arc::new(file));
        let most = 4 * FILE_BYTES_MIN;
        for (outer, inner) in [(0..most, 0..most), (7..most, 3..FILE_BYTES_MIN + 9), (100..most + 5, 1..most)] {
            let (bytes, part) = all.slice(outer).slice(inner).into_parts();
            let part = part.unwrap();
            let mut found = vec![0; bytes.len()];
            part.file.read_exact_at(&mut found, part.at).unwrap();
            assert!(found == bytes);
        }
        let few = all.slice(1..FILE_BYTES_MIN);
        assert_eq!((few.len(), few.is_empty()), (FILE_BYTES_MIN - 1, false));
        assert!(few.into_parts().1.is_none(), "few bytes are copied");
        assert!(all.slice(most..most + 1).is_empty());
    }
}
