//! The Merkle tree of RFC 6962 section 2.1: hashes, proofs, and the right edge that a growing tree needs.
//!
//! Proofs are checked by the algorithms of RFC 9162 sections 2.1.3.2 and 2.1.4.2, which accept exactly the proofs of RFC 6962.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::{
    canonical::encode_base64,
    error::{Error, Result},
};

/// The most hashes a proof can have: a tree has fewer than 2^63 leaves.
pub const MAX_PROOF: usize = 63;
/// The most leaves a tree can have: JSON holds no larger number exactly.
pub const MAX_LEAVES: u64 = (1 << 53) - 1;

/// A hash of the tree: of a leaf, of a node, of a root. SHA-256, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TreeHash([u8; 32]);

impl TreeHash {
    /// The root of the tree without leaves: the SHA-256 of nothing.
    pub const EMPTY: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae,
        0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// The hash of a leaf that holds `entry`.
    pub fn leaf(entry: &[u8]) -> Self {
        Self(Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
    }

    /// The hash of the node above these two.
    pub fn node(left: Self, right: Self) -> Self {
        Self(Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0).finalize().into())
    }

    /// A hash that was read somewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 44 characters of its base64.
    pub fn to_base64(self) -> String {
        encode_base64(&self.0)
    }

    /// Reads base64 in its one spelling.
    pub(crate) fn from_base64(text: &str) -> Option<Self> {
        // Longer text need not be decoded to be refused.
        if text.len() != 44 {
            return None;
        }
        strict_base64(text)?.try_into().ok().map(Self)
    }
}

impl fmt::Debug for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TreeHash({self})")
    }
}

impl fmt::Display for TreeHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

/// Base64 (RFC 4648 section 4) with padding and without stray bits: the one spelling.
pub(super) fn strict_base64(text: &str) -> Option<Vec<u8>> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

/// The root above perfect subtrees that stand next to each other, the largest and leftmost first.
fn fold(peaks: &[TreeHash]) -> TreeHash {
    peaks.iter().rev().copied().reduce(|right, left| TreeHash::node(left, right)).unwrap_or(TreeHash::EMPTY)
}

/// A tree as far as it takes to add leaves: its size, and the roots of the perfect subtrees along its right edge.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// One for each bit of the size that is set, the highest first.
    peaks: Vec<TreeHash>,
}

impl Frontier {
    /// The frontier of a tree of this size, if there are as many peaks as that takes.
    pub fn new(size: u64, peaks: Vec<TreeHash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize && size <= MAX_LEAVES).then_some(Self { size, peaks })
    }

    /// How many leaves there are.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The perfect subtrees, the largest first.
    pub fn peaks(&self) -> &[TreeHash] {
        &self.peaks
    }

    /// The root.
    pub fn root(&self) -> TreeHash {
        fold(&self.peaks)
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: TreeHash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            // There is a peak for each bit that is set.
            let Some(left) = self.peaks.pop() else { break };
            hash = TreeHash::node(left, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
    }
}

/// Where the hashes of perfect subtrees come from.
pub trait Nodes {
    /// The root of the subtree over the leaves from `index << level` up to `(index + 1) << level`.
    ///
    /// # Errors
    /// Whatever keeps it from being read; [`Error::Misuse`] if the tree is too small.
    fn node(&mut self, level: u32, index: u64) -> Result<TreeHash>;
}

/// The hash of a list of leaf hashes, all kept in memory.
impl Nodes for &[TreeHash] {
    fn node(&mut self, level: u32, index: u64) -> Result<TreeHash> {
        let at = |index: u64| usize::try_from(index.checked_mul(1 << level.min(63))?).ok();
        let range = at(index).zip(index.checked_add(1).and_then(at));
        let leaves = range.and_then(|(from, to)| self.get(from..to));
        let leaves = leaves.ok_or_else(|| Error::Misuse("the tree has no such node".into()))?;
        Ok(root_of_perfect(leaves))
    }
}

/// The root over a power of two of hashes.
pub(super) fn root_of_perfect(leaves: &[TreeHash]) -> TreeHash {
    let mut row = leaves.to_vec();
    while row.len() > 1 {
        row =
            row.chunks(2).map(|pair| pair.iter().copied().reduce(TreeHash::node).unwrap_or(TreeHash::EMPTY)).collect();
    }
    fold(&row)
}

/// The perfect subtrees of the leaves `from..to`, where `from` is a multiple of a power of two that is not below the
/// number of leaves: level and index of each, the largest first.
fn subtrees(from: u64, to: u64) -> impl Iterator<Item = (u32, u64)> {
    let mut at = from;
    (0..64).rev().filter(move |level| (to - from) >> level & 1 == 1).map(move |level| {
        let index = at >> level;
        at += 1 << level;
        (level, index)
    })
}

fn range_root(nodes: &mut dyn Nodes, from: u64, to: u64) -> Result<TreeHash> {
    let hashes = subtrees(from, to).map(|(level, index)| nodes.node(level, index)).collect::<Result<Vec<_>>>()?;
    Ok(fold(&hashes))
}

/// The largest power of two below `count`, which is above one.
fn split(count: u64) -> u64 {
    1 << (count - 1).ilog2()
}

/// The proof that the leaf `index` is in the tree of the first `size` leaves (RFC 6962 section 2.1.1).
///
/// # Errors
/// [`Error::Misuse`] if it is not; as [`Nodes::node`].
pub fn prove_inclusion(nodes: &mut dyn Nodes, index: u64, size: u64) -> Result<Vec<TreeHash>> {
    if index >= size {
        return Err(Error::Misuse(format!("entry {index} is not in a tree of {size}")));
    }
    let (mut from, mut to, mut proof) = (0, size, Vec::new());
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            proof.push(range_root(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(range_root(nodes, from, middle)?);
            from = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of the first `old` leaves is the beginning of that of the first `new` (RFC 6962 section 2.1.2).
/// It is empty if `old` is zero, or the same.
///
/// # Errors
/// [`Error::Misuse`] if `old` is above `new`; as [`Nodes::node`].
pub fn prove_consistency(nodes: &mut dyn Nodes, old: u64, new: u64) -> Result<Vec<TreeHash>> {
    if old > new {
        return Err(Error::Misuse(format!("a tree of {old} is not the beginning of one of {new}")));
    }
    let (mut from, mut to, mut proof) = (0, new, Vec::new());
    if old == 0 {
        return Ok(proof);
    }
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            proof.push(range_root(nodes, middle, to)?);
            to = middle;
        } else {
            proof.push(range_root(nodes, from, middle)?);
            from = middle;
        }
    }
    // Whoever checks this knows the old root, and so the last subtree if that is all of it.
    if from != 0 {
        proof.push(range_root(nodes, from, to)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that `leaf` is the leaf `index` of the tree of this size and root.
#[must_use]
pub fn is_included(leaf: TreeHash, index: u64, size: u64, proof: &[TreeHash], root: TreeHash) -> bool {
    if index >= size {
        return false;
    }
    let (mut path, mut last, mut hash) = (index, size - 1, leaf);
    for &sibling in proof {
        if last == 0 {
            return false;
        }
        if path & 1 == 1 || path == last {
            hash = TreeHash::node(sibling, hash);
            while path & 1 == 0 && path != 0 {
                (path, last) = (path >> 1, last >> 1);
            }
        } else {
            hash = TreeHash::node(hash, sibling);
        }
        (path, last) = (path >> 1, last >> 1);
    }
    last == 0 && hash == root
}

/// Whether `proof` shows that the old tree is the beginning of the new one.
#[must_use]
pub fn is_consistent(old: (u64, TreeHash), new: (u64, TreeHash), proof: &[TreeHash]) -> bool {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size == 0 {
        return proof.is_empty() && old_root == TreeHash::EMPTY && (new_size > 0 || new_root == TreeHash::EMPTY);
    }
    if old_size >= new_size {
        return old == new && proof.is_empty();
    }
    let (mut path, mut last) = (old_size - 1, new_size - 1);
    while path & 1 == 1 {
        (path, last) = (path >> 1, last >> 1);
    }
    let mut rest = proof.iter().copied();
    // If the old tree is perfect, the proof leaves its root out.
    let first = if old_size.is_power_of_two() { Some(old_root) } else { rest.next() };
    let Some(first) = first else { return false };
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if path & 1 == 1 || path == last {
            old_hash = TreeHash::node(sibling, old_hash);
            new_hash = TreeHash::node(sibling, new_hash);
            while path & 1 == 0 && path != 0 {
                (path, last) = (path >> 1, last >> 1);
            }
        } else {
            new_hash = TreeHash::node(new_hash, sibling);
        }
        (path, last) = (path >> 1, last >> 1);
    }
    last == 0 && old_hash == old_root && new_hash == new_root
}

#[cfg(test)]
mod tests;
