//! Proofs of an RFC 6962 log (RFC 9162 §2.1): hashes, roots, inclusion and consistency.
//!
//! Leaves are `SHA-256(0x00 ‖ entry)`, nodes `SHA-256(0x01 ‖ left ‖ right)`: no node can be taken for a leaf. An odd
//! node is promoted, never doubled. A proof must have exactly the length that index and size give: trailing or missing
//! hashes make it invalid. Never does IO.

use crate::base::hash::{Hasher, Sha256};

/// The hash of a leaf.
pub fn leaf_hash(entry: &[u8]) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(&[0]);
    hasher.update(entry);
    hasher.finish()
}

/// The hash of an inner node.
pub fn node_hash(left: &Sha256, right: &Sha256) -> Sha256 {
    let mut hasher = Hasher::new();
    hasher.update(&[1]);
    hasher.update(&left.0);
    hasher.update(&right.0);
    hasher.finish()
}

/// The root over leaf hashes; of none, `SHA-256("")` (RFC 9162 §2.1.1).
pub fn root(leaves: &[Sha256]) -> Sha256 {
    match leaves {
        [] => Sha256::of(b""),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node_hash(&root(left), &root(right))
        }
    }
}

/// The largest power of two smaller than `count` (for `count` ≥ 2).
const fn split(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

/// The path from leaf `index` to the root, nearest first; `None` when there is no such leaf.
pub fn inclusion_proof(leaves: &[Sha256], index: usize) -> Option<Vec<Sha256>> {
    if index >= leaves.len() {
        return None;
    }
    if leaves.len() == 1 {
        return Some(Vec::new());
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut proof, sibling) = if index < at {
        (inclusion_proof(left, index)?, root(right))
    } else {
        (inclusion_proof(right, index - at)?, root(left))
    };
    proof.push(sibling);
    Some(proof)
}

/// The proof that the log of the first `old` leaves is a prefix of this one; `None` unless 0 < `old` ≤ size.
pub fn consistency_proof(leaves: &[Sha256], old: usize) -> Option<Vec<Sha256>> {
    (0 < old && old <= leaves.len()).then(|| subproof(leaves, old, true))
}

/// SUBPROOF of RFC 9162 §2.1.4.1; `whole`: the old tree is a complete subtree that the verifier knows already.
fn subproof(leaves: &[Sha256], old: usize, whole: bool) -> Vec<Sha256> {
    if old == leaves.len() {
        return if whole { Vec::new() } else { vec![root(leaves)] };
    }
    let at = split(leaves.len());
    let (left, right) = leaves.split_at(at);
    let (mut proof, sibling) = if old <= at {
        (subproof(left, old, whole), root(right))
    } else {
        (subproof(right, old - at, false), root(left))
    };
    proof.push(sibling);
    proof
}

/// Whether `leaf` is entry `index` of the log of `size` entries with `root` (RFC 9162 §2.1.3.2).
pub fn verify_inclusion(leaf: &Sha256, index: u64, size: u64, root: &Sha256, proof: &[Sha256]) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && hash == *root
}

/// Whether the log of `size1` entries with `root1` is a prefix of the one of `size2` with `root2` (RFC 9162 §2.1.4.2).
/// Equal sizes need equal roots and no proof. From the empty log every log follows: its root must be the hash of
/// nothing and the proof empty.
pub fn verify_consistency(size1: u64, size2: u64, root1: &Sha256, root2: &Sha256, proof: &[Sha256]) -> bool {
    if size1 > size2 {
        return false;
    }
    if size1 == size2 {
        return proof.is_empty() && root1 == root2;
    }
    if size1 == 0 {
        return proof.is_empty() && *root1 == Sha256::of(b"");
    }
    // An old tree of a power of two is itself the first node, and is left out of the proof.
    let (first, rest) = if size1.is_power_of_two() {
        (root1, proof)
    } else {
        match proof.split_first() {
            Some(split) => split,
            None => return false,
        }
    };
    let (mut at, mut last) = (size1 - 1, size2 - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new = node_hash(&new, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && old == *root1 && new == *root2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u8) -> Vec<Sha256> {
        (0..count).map(|it| leaf_hash(&[it])).collect()
    }

    fn long(number: usize) -> u64 {
        u64::try_from(number).unwrap()
    }

    /// The worked tree of certificate transparency's reference tests: eight inputs and their roots.
    #[test]
    fn known_roots() {
        let inputs: [&[u8]; 8] = [
            b"",
            b"\x00",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let leaves: Vec<Sha256> = inputs.iter().map(|it| leaf_hash(it)).collect();
        assert_eq!(root(&[]).hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(root(&leaves[..1]).hex(), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(root(&leaves[..2]).hex(), "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        assert_eq!(root(&leaves).hex(), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_included_and_nothing_else() {
        for size in 1..=20_u8 {
            let leaves = leaves(size);
            let root = root(&leaves);
            for index in 0..leaves.len() {
                let proof = inclusion_proof(&leaves, index).unwrap();
                let verify = |leaf: &Sha256, index: usize, proof: &[Sha256]| {
                    verify_inclusion(leaf, long(index), u64::from(size), &root, proof)
                };
                assert!(verify(&leaves[index], index, &proof), "{index} of {size}");
                assert!(!verify(&leaf_hash(b"other"), index, &proof));
                assert!(!verify(&leaves[index], index + 1, &proof) || size == 1);
                assert!(!verify(&leaves[index], leaves.len(), &proof));
                let longer: Vec<Sha256> = proof.iter().copied().chain([root]).collect();
                assert!(!verify(&leaves[index], index, &longer));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!verify(&leaves[index], index, shorter));
                }
            }
            assert!(inclusion_proof(&leaves, leaves.len()).is_none());
        }
    }

    #[test]
    fn every_prefix_is_consistent_and_no_fork_is() {
        for size in 1..=20_u8 {
            let new = leaves(size);
            let root2 = root(&new);
            for old in 1..=new.len() {
                let proof = consistency_proof(&new, old).unwrap();
                let root1 = root(&new[..old]);
                let verify = |root1: &Sha256, proof: &[Sha256]| {
                    verify_consistency(long(old), u64::from(size), root1, &root2, proof)
                };
                assert!(verify(&root1, &proof), "{old} to {size}");
                let mut forked = new[..old].to_vec();
                forked[old - 1] = leaf_hash(b"fork");
                assert!(!verify(&root(&forked), &proof));
                let longer: Vec<Sha256> = proof.iter().copied().chain([root1]).collect();
                assert!(!verify(&root1, &longer));
                if let Some((_, shorter)) = proof.split_last() {
                    assert!(!verify(&root1, shorter));
                }
            }
        }
        assert!(!verify_consistency(3, 2, &root(&leaves(3)), &root(&leaves(2)), &[]));
        assert!(verify_consistency(0, 2, &root(&[]), &root(&leaves(2)), &[]));
        assert!(!verify_consistency(0, 2, &leaf_hash(b"x"), &root(&leaves(2)), &[]));
    }

    #[test]
    fn a_node_is_no_leaf() {
        let leaves = leaves(2);
        let forged = [&leaves[0].0[..], &leaves[1].0[..]].concat();
        assert_ne!(leaf_hash(&forged), root(&leaves));
    }
}
