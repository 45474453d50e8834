//! The CID of a folder: one block of links, or a hash trie of blocks where one would be too large.

use super::{Link, Node, bytes_field, dag_pb, varint_field};
use crate::domain::{Error, Result};

/// A folder's block has at most so many bytes (strict: one more makes a trie).
const BLOCK_BYTES_MAX: usize = 262_144;
/// The multihash code of Murmur3, of which the trie takes 64 bits.
const MURMUR3: u64 = 0x22;
/// Places of one block of a trie: one byte of the hash.
const PLACES: u64 = 256;

/// The node of a folder from its files: paths below it, parted by `/`, in any order.
pub fn folder(mut files: Vec<(&str, Node)>) -> Result<Node> {
    // Text compares by its UTF-8 bytes, which keeps all that is below one folder together.
    files.sort_by_key(|(path, _)| *path);
    below(&files)
}

/// The node of a folder with these sorted paths.
fn below(files: &[(&str, Node)]) -> Result<Node> {
    let mut links = Vec::new();
    for group in files.chunk_by(|(a, _), (b, _)| a.split('/').next() == b.split('/').next()) {
        let Some((path, node)) = group.first() else { continue };
        let (name, node) = match path.split_once('/') {
            None => (*path, *node),
            Some((name, _)) => {
                let inner = group.iter().filter_map(|(path, node)| Some((path.split_once('/')?.1, *node)));
                (name, below(&inner.collect::<Vec<_>>())?)
            }
        };
        links.push(Link { name: name.to_owned(), node });
    }
    let (node, block_bytes) = dag_pb(links.clone(), &[0x08, 1]);
    if block_bytes <= BLOCK_BYTES_MAX {
        return Ok(node);
    }
    let mut links: Vec<(u64, Link)> = links.into_iter().map(|link| (murmur3(link.name.as_bytes()), link)).collect();
    links.sort_by_key(|(hash, _)| *hash);
    trie(&links, 0)
}

/// A block of the trie over links that are sorted by hash and have the first `depth` bytes of it in common.
fn trie(links: &[(u64, Link)], depth: usize) -> Result<Node> {
    let byte = |hash: u64| hash.to_be_bytes().get(depth).copied();
    if depth >= 8 {
        return Err(Error::invalid(
            "cid_collision",
            "Two file names of one folder have the same Murmur3 hash, so the folder has no CID. Rename one.",
        )
        .on("files"));
    }
    let mut places = [0_u8; 32];
    let mut out = Vec::new();
    for group in links.chunk_by(|(a, _), (b, _)| byte(*a) == byte(*b)) {
        let Some((hash, link)) = group.first() else { continue };
        let place = byte(*hash).unwrap_or_default();
        // Big endian, as a number whose bit n stands for place n.
        if let Some(bits) = places.get_mut(31 - usize::from(place / 8)) {
            *bits |= 1 << (place % 8);
        }
        out.push(match group {
            [_] => Link { name: format!("{place:02X}{}", link.name), node: link.node },
            _ => Link { name: format!("{place:02X}"), node: trie(group, depth + 1)? },
        });
    }
    let zeros = places.iter().take_while(|it| **it == 0).count();
    let mut unixfs = vec![0x08, 5];
    bytes_field(&mut unixfs, 0x12, places.get(zeros..).unwrap_or_default());
    varint_field(&mut unixfs, 0x28, MURMUR3);
    varint_field(&mut unixfs, 0x30, PLACES);
    Ok(dag_pb(out, &unixfs).0)
}

/// The first 64 bits of `MurmurHash3_x64_128` with seed 0, by its public definition (Austin Appleby).
fn murmur3(bytes: &[u8]) -> u64 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let mix1 = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let mix2 = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let finish = |k: u64| {
        let k = (k ^ (k >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let k = (k ^ (k >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        k ^ (k >> 33)
    };
    // Missing bytes of the tail are zeros.
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |word, byte| word << 8 | u64::from(*byte));
    let (mut h1, mut h2) = (0_u64, 0_u64);
    let (blocks, tail) = bytes.as_chunks::<16>();
    for block in blocks {
        let (low, high) = block.split_at(8);
        h1 = (h1 ^ mix1(word(low))).rotate_left(27).wrapping_add(h2).wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ mix2(word(high))).rotate_left(31).wrapping_add(h1).wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let (low, high) = tail.split_at(tail.len().min(8));
    h2 ^= mix2(word(high));
    h1 ^= mix1(word(low));
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    (h1, h2) = (h1 ^ length, h2 ^ length);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    finish(h1).wrapping_add(finish(h2))
}
