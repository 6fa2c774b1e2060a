//! Tiles (<https://c2sp.org/tlog-tiles>): the tree and its entries as objects that never change.
//!
//! A tile is derived from the entries, and whoever reads one checks it against a signed root. So it does not matter who
//! wrote it.

use std::{collections::HashMap, fmt};

use super::{
    entry::MAX_ENTRY,
    merkle::{Frontier, Nodes, TreeHash, root_of_perfect},
};
use crate::{
    error::{Error, Fault, Place, Result},
    store::Store,
};

/// How many hashes, or entries, a full tile has.
pub const WIDTH: u64 = 256;
/// The height of the subtree that a tile is: 2^8 = 256.
const HEIGHT: u32 = 8;
/// The highest level; a tree of 2^53 leaves has seven.
const MAX_LEVEL: u8 = 63;
/// The length of a hash in bytes.
const HASH: usize = 32;
/// The longest bundle of entries: each with the two bytes of its length.
pub const MAX_BUNDLE: u64 = WIDTH * (2 + MAX_ENTRY as u64);

/// Where a tile stands in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// What it holds: hashes of a level, from 0, or the entries themselves.
    pub row: Row,
    /// Its number in the row, from 0.
    pub index: u64,
    /// How many hashes or entries it has: 1 to 256.
    pub width: u64,
}

/// What tiles hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Row {
    /// Hashes, each over 256^level leaves.
    Hashes(u8),
    /// Entries.
    Entries,
}

impl Tile {
    /// The tile of this number as a tree of `size` leaves has it; `None` if it has none.
    pub fn of(row: Row, index: u64, size: u64) -> Option<Self> {
        let level = if let Row::Hashes(level) = row { u32::from(level) } else { 0 };
        let hashes = size.checked_shr(HEIGHT * level).unwrap_or(0);
        let width = hashes.saturating_sub(index.checked_mul(WIDTH)?).min(WIDTH);
        (width > 0).then_some(Self { row, index, width })
    }

    /// Its path below the log: `tile/<L>/<N>[.p/<W>]`.
    pub fn path(&self) -> String {
        let row = match self.row {
            Row::Hashes(level) => level.to_string(),
            Row::Entries => "entries".to_owned(),
        };
        let mut groups = vec![format!("{:03}", self.index % 1000)];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        groups.reverse();
        let partial = if self.width < WIDTH { format!(".p/{}", self.width) } else { String::new() };
        format!("tile/{row}/{}{partial}", groups.join("/"))
    }

    /// Reads a path, which must be spelled as [`Tile::path`] spells it.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is none of a tile.
    pub fn parse(path: &str) -> Result<Self> {
        let tile = Self::parse_loosely(path).filter(|tile| tile.path() == path);
        tile.ok_or_else(|| Error::Misuse(format!("{path:?} is not the path of a tile")))
    }

    fn parse_loosely(path: &str) -> Option<Self> {
        let (row, rest) = path.strip_prefix("tile/")?.split_once('/')?;
        let row = match row {
            "entries" => Row::Entries,
            level => Row::Hashes(level.parse().ok().filter(|level| *level <= MAX_LEVEL)?),
        };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|width| (1..WIDTH).contains(width))?),
            None => (rest, WIDTH),
        };
        let mut index: u64 = 0;
        for group in number.split('/') {
            let digits: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok().filter(|digits| *digits < 1000)?;
            index = index.checked_mul(1000)?.checked_add(digits)?;
        }
        Some(Self { row, index, width })
    }

    /// How errors name it.
    fn place(&self) -> Place {
        Place::Object(super::path(&self.path()))
    }

    /// The full tile in the place of a partial one.
    fn full(self) -> Self {
        Self { width: WIDTH, ..self }
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path())
    }
}

/// The hashes of a tile of hashes.
fn parse_hashes(bytes: &[u8]) -> Option<Vec<TreeHash>> {
    let (hashes, rest) = bytes.as_chunks::<HASH>();
    rest.is_empty().then(|| hashes.iter().copied().map(TreeHash::from_bytes).collect())
}

/// A tile of these hashes.
pub(super) fn hashes_to_vec(hashes: &[TreeHash]) -> Vec<u8> {
    hashes.iter().flat_map(TreeHash::as_bytes).copied().collect()
}

/// Reads a bundle of entries: each its length, two bytes big-endian, and its bytes.
///
/// # Errors
/// [`Error::Corrupt`] if it is cut, longer than [`MAX_BUNDLE`], or has more than 256 entries.
pub fn parse_bundle(bytes: &[u8]) -> Result<Vec<&[u8]>> {
    const DOCUMENT: &str = "bundle of entries";
    if bytes.len() as u64 > MAX_BUNDLE {
        return Err(Error::limit(DOCUMENT, "length", MAX_BUNDLE));
    }
    let (mut entries, mut rest) = (Vec::new(), bytes);
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, next) = behind.split_at_checked(length).ok_or_else(|| Error::format(DOCUMENT, "is cut"))?;
        if entries.len() as u64 == WIDTH {
            return Err(Error::limit(DOCUMENT, "number of entries", WIDTH));
        }
        entries.push(entry);
        rest = next;
    }
    if !rest.is_empty() {
        return Err(Error::format(DOCUMENT, "is cut"));
    }
    Ok(entries)
}

/// Adds an entry to a bundle.
///
/// # Errors
/// [`Error::Corrupt`] if it is longer than an entry may be.
pub(super) fn push_to_bundle(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<()> {
    let length = u16::try_from(entry.len()).ok().filter(|_| entry.len() <= MAX_ENTRY);
    let length = length.ok_or_else(|| Error::limit("log entry", "length", MAX_ENTRY as u64))?;
    bundle.extend(length.to_be_bytes());
    bundle.extend(entry);
    Ok(())
}

/// The tiles of a tree whose root is known. What is read is checked up to that root before it is given.
#[derive(Debug)]
pub struct Tiles<'a> {
    store: &'a Store,
    size: u64,
    /// Of each level, the hashes that are in no full tile: the right edge of the tree.
    edge: Vec<Vec<TreeHash>>,
    full: HashMap<(u8, u64), Vec<TreeHash>>,
}

/// More tiles than any proof takes are not kept: a walk over the whole tree reads each but once.
const MAX_KEPT: usize = 64;

impl<'a> Tiles<'a> {
    /// The tiles of the tree with so many entries and this root.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if a tile on its right edge is missing, or they do not lead to the root; [`Error::Storage`].
    pub fn open(store: &'a Store, size: u64, root: TreeHash) -> Result<Self> {
        let mut edge = Vec::new();
        let mut level = 0;
        while let Some(hashes) = size.checked_shr(HEIGHT * u32::from(level)).filter(|hashes| *hashes > 0) {
            let row = Row::Hashes(level);
            let tile = Some(Tile { row, index: hashes / WIDTH, width: hashes % WIDTH }).filter(|tile| tile.width > 0);
            edge.push(tile.map_or_else(|| Ok(Vec::new()), |tile| read_hashes(store, tile))?);
            level += 1;
        }
        let tiles = Self { store, size, edge, full: HashMap::new() };
        if tiles.frontier().root() == root {
            return Ok(tiles);
        }
        let fault = Fault::Format("do not lead to the root that was signed".into());
        Err(Error::Corrupt { place: Place::Object(format!("the last tiles of {size} log entries")), fault })
    }

    /// As far as it takes to add entries.
    pub(super) fn frontier(&self) -> Frontier {
        edge_frontier(self.size, &self.edge)
    }

    /// Of each level, the hashes that are in no full tile.
    pub(super) fn edge(&self) -> &[Vec<TreeHash>] {
        &self.edge
    }

    /// The hashes of the tile of this level and number.
    fn hashes(&mut self, level: u8, index: u64) -> Result<&[TreeHash]> {
        let none = || Error::Misuse(format!("a tree of {} has no tile {index} of level {level}", self.size));
        let tile = Tile::of(Row::Hashes(level), index, self.size).ok_or_else(none)?;
        if tile.width < WIDTH {
            return Ok(self.edge.get(usize::from(level)).map_or(&[], Vec::as_slice));
        }
        if !self.full.contains_key(&(level, index)) {
            let above = self.hashes(level + 1, index / WIDTH)?;
            let expected = above.get(usize::try_from(index % WIDTH).unwrap_or(usize::MAX)).copied();
            let hashes = read_hashes(self.store, tile)?;
            if expected != Some(root_of_perfect(&hashes)) {
                let fault = Fault::Format("is not the tile that the ones above it say".into());
                return Err(Error::Corrupt { place: tile.place(), fault });
            }
            if self.full.len() >= MAX_KEPT {
                self.full.clear();
            }
            self.full.insert((level, index), hashes);
        }
        Ok(self.full.get(&(level, index)).map_or(&[], Vec::as_slice))
    }

    /// The entries of a bundle.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one is missing or is not that of the tree; [`Error::Misuse`] if the tree has no such bundle.
    pub fn bundle(&mut self, index: u64) -> Result<Vec<Vec<u8>>> {
        let none = || Error::Misuse(format!("a log of {} entries has no bundle {index}", self.size));
        let tile = Tile::of(Row::Entries, index, self.size).ok_or_else(none)?;
        let bytes = fetch(self.store, tile, MAX_BUNDLE)?;
        let entries = parse_bundle(&bytes).map_err(|e| e.at(tile.place()))?;
        let leaves = self.hashes(0, index)?;
        for (number, leaf) in (index * WIDTH..).zip(leaves) {
            let entry = entries.get(usize::try_from(number % WIDTH).unwrap_or(usize::MAX));
            if entry.is_none_or(|entry| TreeHash::leaf(entry) != *leaf) {
                let fault = Fault::Format(format!("does not hold entry {number} as it is in the tree"));
                return Err(Error::Corrupt { place: tile.place(), fault });
            }
        }
        // The full bundle in the place of a partial one holds more than this tree.
        Ok(entries.into_iter().take(leaves.len()).map(<[u8]>::to_vec).collect())
    }
}

/// The frontier above the hashes that are in no full tile.
pub(super) fn edge_frontier(size: u64, edge: &[Vec<TreeHash>]) -> Frontier {
    let mut peaks = Vec::new();
    for level in edge.iter().rev() {
        let mut rest = &level[..];
        for height in (0..HEIGHT).rev() {
            if let Some((perfect, behind)) = rest.split_at_checked(1 << height) {
                peaks.push(root_of_perfect(perfect));
                rest = behind;
            }
        }
    }
    Frontier::new(size, peaks).unwrap_or_default()
}

/// The bytes of a tile; of the full one, where a partial one is gone.
fn fetch(store: &Store, tile: Tile, cap: u64) -> Result<Vec<u8>> {
    if let Some(bytes) = store.read(&super::path(&tile.path()), cap)? {
        return Ok(bytes);
    }
    let full = if tile.width < WIDTH { store.read(&super::path(&tile.full().path()), cap)? } else { None };
    full.ok_or_else(|| Error::Corrupt { place: tile.place(), fault: Fault::Missing })
}

/// The hashes of a tile, not checked.
fn read_hashes(store: &Store, tile: Tile) -> Result<Vec<TreeHash>> {
    let hashes = parse_hashes(&fetch(store, tile, WIDTH * HASH as u64)?).filter(|all| all.len() as u64 >= tile.width);
    let fault = || Fault::Format("has not as many hashes as its name says".into());
    let mut hashes = hashes.ok_or_else(|| Error::Corrupt { place: tile.place(), fault: fault() })?;
    hashes.truncate(usize::try_from(tile.width).unwrap_or(usize::MAX));
    Ok(hashes)
}

impl Nodes for Tiles<'_> {
    fn node(&mut self, level: u32, index: u64) -> Result<TreeHash> {
        // Level 8·t + r: the root over 2^r hashes that stand next to each other in a tile of level t.
        let (tile_level, height) = (level / HEIGHT, level % HEIGHT);
        let first = index.checked_mul(1 << height).ok_or_else(|| Error::Misuse("the tree has no such node".into()))?;
        let tile_level = u8::try_from(tile_level).unwrap_or(MAX_LEVEL);
        let hashes = self.hashes(tile_level, first / WIDTH)?;
        let from = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
        let hashes = hashes.get(from..from.saturating_add(1 << height));
        hashes.map(root_of_perfect).ok_or_else(|| Error::Misuse("the tree has no such node".into()))
    }
}

#[cfg(test)]
mod tests;
