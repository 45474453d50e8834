//! The Keccak tree of a site, as OpenZeppelin's `StandardMerkleTree` 1.0.8 builds it over
//! `["string", "uint64", "bytes32", "bytes32"]` = (path, size, SHA-256, hash of type and headers).
//!
//! One reserved tuple `("", N, SHA-256(manifest), keccak256(JCS(policy)))` makes the root commit to the manifest and to
//! the number of files, which such a tree alone does not (DECISIONS 34, 35, 41). Never does IO.

use crate::{
    base::hash::keccak256,
    domain::policy::HeaderIndex,
    proof::{
        canonical,
        manifest::{Entry, Manifest},
    },
};

/// The root of the site tree: 32 bytes, as a contract compares them.
pub fn site_root(manifest: &Manifest) -> [u8; 32] {
    let count = u64::try_from(manifest.entries().len()).unwrap_or(u64::MAX);
    let reserved = leaf("", count, &manifest.sha256().0, &keccak256(&canonical::policy(manifest.policy())));
    let index = HeaderIndex::new(&manifest.policy().headers);
    let files = manifest.entries().iter().map(|it| file_leaf(it, &index));
    root(files.chain([reserved]).collect())
}

/// The leaf of one file.
fn file_leaf(entry: &Entry, index: &HeaderIndex<'_>) -> [u8; 32] {
    leaf(entry.path.as_str(), entry.size, &entry.sha256.0, &header_hash(entry, index))
}

/// `keccak256(type ‖ 0x00 ‖ block)`, a line `name: value\n` for each header. A rule's content-type stands in the type
/// already and is not repeated.
fn header_hash(entry: &Entry, index: &HeaderIndex<'_>) -> [u8; 32] {
    let mut bytes = entry.media_type.clone();
    bytes.push('\0');
    for (name, value) in index.headers_for(entry.path.as_str()) {
        if name != "content-type" {
            bytes.extend([name.as_str(), ": ", value.as_str(), "\n"]);
        }
    }
    keccak256(bytes.as_bytes())
}

/// `keccak256(keccak256(abi.encode(path, size, sha256, headers)))`: hashed twice, so that no inner node is a leaf.
fn leaf(path: &str, size: u64, sha256: &[u8; 32], headers: &[u8; 32]) -> [u8; 32] {
    let mut encoded = Vec::with_capacity(192 + path.len());
    // The string is dynamic: its place, four words on, stands in the head; its length and padded bytes in the tail.
    encoded.extend(word(128));
    encoded.extend(word(size));
    encoded.extend(sha256);
    encoded.extend(headers);
    encoded.extend(word(u64::try_from(path.len()).unwrap_or(u64::MAX)));
    encoded.extend(path.as_bytes());
    encoded.resize(encoded.len().next_multiple_of(32), 0);
    keccak256(&keccak256(&encoded))
}

/// A number as an ABI word: 32 bytes, big endian.
fn word(number: u64) -> impl Iterator<Item = u8> {
    [0; 24].into_iter().chain(number.to_be_bytes())
}

/// The root over leaves: sorted ascending, laid out from the end of a complete binary tree, pairs hashed in order.
fn root(mut leaves: Vec<[u8; 32]>) -> [u8; 32] {
    leaves.sort_unstable();
    // Node i has the children 2i+1 and 2i+2, so the next two nodes to be paired are always the two oldest made: a
    // queue of leaves, greatest index first, that takes each new parent at its end.
    let mut queue: std::collections::VecDeque<[u8; 32]> = leaves.into();
    loop {
        match (queue.pop_front(), queue.pop_front()) {
            (Some(one), Some(other)) => {
                let (low, high) = if one < other { (one, other) } else { (other, one) };
                queue.push_back(keccak256(&[low, high].concat()));
            }
            (Some(last), None) => return last,
            (None, _) => return [0; 32],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: [u8; 32]) -> String {
        data_encoding::HEXLOWER.encode(&bytes)
    }

    fn filled(paths: &[&str]) -> [u8; 32] {
        let leaves = paths.iter().zip(1_u8..);
        root(leaves.map(|(path, at)| leaf(path, 1_000 * u64::from(at), &[at; 32], &[0xa0 + at; 32])).collect())
    }

    /// Roots made by `@openzeppelin/merkle-tree` 1.0.8 from the same tuples.
    #[test]
    fn roots_agree_with_the_reference() {
        assert_eq!(hex(filled(&["/a"])), "9fc081140a5b0ee440edc99ce0043bf97bdc7f961726a770692682e2d2722975");
        assert_eq!(hex(filled(&["/a", "/b"])), "3a1227d9f56a910dd4db8aad3213b6d97e6c767fff9588adf9e17a66a3eec3d6");
        assert_eq!(
            hex(filled(&["/a", "/b", "/über/日本語.html"])),
            "254fd97a3c5e14d6e4678c4c4aa31434c3159bfe3001672b9dac50598e49facf"
        );
        assert_eq!(
            hex(filled(&["", "/b", "/c", "/d", "/e", "/f", &"/long".repeat(20)])),
            "8c7be7d4a6f73192489380de069692b2ce29a2ffef4a1baea883fa2ae8740c09"
        );
    }
}
