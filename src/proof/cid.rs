//! Content ids (`UnixFS`) by the profile `unixfs-v1-2025` (IPIP-499): the names that IPFS gives to a site's files and folders.
//!
//! Version 1, SHA-256, raw leaves of 1 MiB, balanced trees of 1,024 links, no mode or time; a folder whose block has more
//! than 262,144 bytes is a hash trie of 256 places. A CID says nothing without its profile. Nothing here does IO.

mod folder;

use std::fmt;

use crate::base::hash::{Hasher, Sha256};

pub use folder::folder;

/// Bytes of a leaf; the last of a file may have fewer.
pub const CHUNK_BYTES: usize = 1024 * 1024;
/// Links of one node of a file.
const LINKS_MAX: usize = 1_024;

/// What the bytes of a block are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Codec {
    /// Bytes of a file.
    Raw,
    /// A node with links.
    DagPb,
}

/// A content id of version 1 with SHA-256. Text form: multibase `b`, base32 in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cid {
    codec: Codec,
    digest: Sha256,
}

impl Cid {
    /// Version, codec, the multihash's code and length, the digest.
    fn to_bytes(self) -> [u8; 36] {
        let codec = match self.codec {
            Codec::Raw => 0x55,
            Codec::DagPb => 0x70,
        };
        let mut bytes = [0; 36];
        for (to, from) in bytes.iter_mut().zip([1, codec, 0x12, 0x20].iter().chain(&self.digest.0)) {
            *to = *from;
        }
        bytes
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", data_encoding::BASE32_NOPAD.encode(&self.to_bytes()).to_ascii_lowercase())
    }
}

/// A file or folder as a link names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its CID.
    pub cid: Cid,
    /// Bytes of its block and of all below it.
    pub tree_bytes: u64,
}

impl Node {
    /// A file of at most [`CHUNK_BYTES`]: its CID holds the SHA-256 of its bytes as it is.
    pub const fn small_file(sha256: Sha256, size: u64) -> Self {
        Self { cid: Cid { codec: Codec::Raw, digest: sha256 }, tree_bytes: size }
    }
}

/// A file whose bytes come in pieces.
#[derive(Debug, Default)]
pub struct FileNode {
    leaf: Hasher,
    leaf_bytes: usize,
    leaves: Vec<Part>,
}

/// A part of a file: a leaf, or a node over leaves.
#[derive(Clone, Copy, Debug)]
struct Part {
    node: Node,
    /// Bytes of the file in it.
    file_bytes: u64,
}

impl FileNode {
    /// A file without bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece, of any length.
    pub fn write(&mut self, mut bytes: &[u8]) {
        while let Some((now, rest)) = bytes.split_at_checked(CHUNK_BYTES - self.leaf_bytes) {
            // A full leaf ends only when more bytes come: the last one may be full.
            if rest.is_empty() {
                break;
            }
            self.take(now);
            self.end_leaf();
            bytes = rest;
        }
        self.take(bytes);
    }

    fn take(&mut self, bytes: &[u8]) {
        self.leaf.update(bytes);
        self.leaf_bytes += bytes.len();
    }

    fn end_leaf(&mut self) {
        let size = u64::try_from(std::mem::take(&mut self.leaf_bytes)).unwrap_or(u64::MAX);
        let node = Node::small_file(std::mem::take(&mut self.leaf).finish(), size);
        self.leaves.push(Part { node, file_bytes: size });
    }

    /// The node of the whole file.
    pub fn finish(mut self) -> Node {
        self.end_leaf();
        let mut parts = self.leaves;
        // All leaves are at one depth: a single part left over gets a node of its own too.
        while parts.len() > 1 {
            parts = parts.chunks(LINKS_MAX).map(file_node).collect();
        }
        parts.first().map_or_else(|| Node::small_file(Sha256::of(b""), 0), |part| part.node)
    }
}

fn file_node(parts: &[Part]) -> Part {
    let file_bytes = parts.iter().map(|part| part.file_bytes).sum();
    let mut unixfs = vec![0x08, 2];
    varint_field(&mut unixfs, 0x18, file_bytes);
    for part in parts {
        varint_field(&mut unixfs, 0x20, part.file_bytes);
    }
    let links = parts.iter().map(|part| Link { name: String::new(), node: part.node }).collect();
    Part { node: dag_pb(links, &unixfs).0, file_bytes }
}

/// A named link of a node.
#[derive(Clone, Debug)]
struct Link {
    name: String,
    node: Node,
}

/// The node with these links, sorted by name, and `UnixFS` data; also the length of its block.
fn dag_pb(mut links: Vec<Link>, unixfs: &[u8]) -> (Node, usize) {
    links.sort_by(|a, b| a.name.cmp(&b.name));
    let mut block = Vec::with_capacity(unixfs.len() + 8 + links.len() * 64);
    let mut below = 0_u64;
    for link in &links {
        let mut bytes = Vec::with_capacity(64);
        bytes_field(&mut bytes, 0x0a, &link.node.cid.to_bytes());
        bytes_field(&mut bytes, 0x12, link.name.as_bytes());
        varint_field(&mut bytes, 0x18, link.node.tree_bytes);
        bytes_field(&mut block, 0x12, &bytes);
        below = below.saturating_add(link.node.tree_bytes);
    }
    bytes_field(&mut block, 0x0a, unixfs);
    let own = u64::try_from(block.len()).unwrap_or(u64::MAX);
    let cid = Cid { codec: Codec::DagPb, digest: Sha256::of(&block) };
    (Node { cid, tree_bytes: below.saturating_add(own) }, block.len())
}

/// A protobuf field of bytes.
fn bytes_field(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    varint_field(out, tag, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    out.extend(bytes);
}

/// A protobuf field of a number, little groups of seven bits first.
fn varint_field(out: &mut Vec<u8>, tag: u8, mut number: u64) {
    out.push(tag);
    loop {
        let [low, ..] = number.to_le_bytes();
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests;
