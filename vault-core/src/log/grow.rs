//! A tree that grows, and the tiles that come of it.

use super::{
    merkle::{Frontier, TreeHash, root_of_perfect},
    tile::{Row, Tile, Tiles, WIDTH, edge_frontier, hashes_to_vec, push_to_bundle},
};
use crate::error::Result;

/// Takes the tiles of a growing tree.
pub(super) type Tell<'a> = &'a mut dyn FnMut(Tile, &[u8]) -> Result<()>;

/// A tree with everything that is in no full tile yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Growth {
    size: u64,
    /// Of each level, the hashes in no full tile.
    edge: Vec<Vec<TreeHash>>,
    /// The entries in no full bundle.
    bundle: Vec<u8>,
}

impl Growth {
    /// Goes on with the tree that these tiles are of.
    pub(super) fn after(tiles: &mut Tiles<'_>, size: u64) -> Result<Self> {
        let mut bundle = Vec::new();
        if !size.is_multiple_of(WIDTH) {
            for entry in tiles.bundle(size / WIDTH)? {
                push_to_bundle(&mut bundle, &entry)?;
            }
        }
        Ok(Self { size, edge: tiles.edge().to_vec(), bundle })
    }

    /// How many entries there are.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn frontier(&self) -> Frontier {
        edge_frontier(self.size, &self.edge)
    }

    /// Adds an entry; `tell` gets the tiles that it filled.
    pub(super) fn push(&mut self, entry: &[u8], tell: Tell<'_>) -> Result<()> {
        push_to_bundle(&mut self.bundle, entry)?;
        self.size += 1;
        if self.size.is_multiple_of(WIDTH) {
            tell(Tile { row: Row::Entries, index: self.size / WIDTH - 1, width: WIDTH }, &self.bundle)?;
            self.bundle.clear();
        }
        let (mut hash, mut full) = (TreeHash::leaf(entry), self.size);
        for level in 0.. {
            if self.edge.len() == usize::from(level) {
                self.edge.push(Vec::new());
            }
            let hashes = &mut self.edge[usize::from(level)];
            hashes.push(hash);
            if (hashes.len() as u64) < WIDTH {
                break;
            }
            full /= WIDTH;
            tell(Tile { row: Row::Hashes(level), index: full - 1, width: WIDTH }, &hashes_to_vec(hashes))?;
            hash = root_of_perfect(hashes);
            hashes.clear();
        }
        Ok(())
    }

    /// Tells the tiles that are not full: those of a tree that is to be signed. What was told for a tree of the size
    /// `before` already is left out.
    pub(super) fn tell_partial(&self, before: u64, tell: Tell<'_>) -> Result<()> {
        let mut partial = |row, bytes: &[u8], level: u32| {
            let hashes = |size: u64| size.checked_shr(8 * level).unwrap_or(0);
            let (now, then) = (hashes(self.size), hashes(before));
            if now == then || now % WIDTH == 0 {
                return Ok(());
            }
            tell(Tile { row, index: now / WIDTH, width: now % WIDTH }, bytes)
        };
        partial(Row::Entries, &self.bundle, 0)?;
        for (level, hashes) in (0_u8..).zip(&self.edge) {
            partial(Row::Hashes(level), &hashes_to_vec(hashes), u32::from(level))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_growing_tree_has_the_frontier_and_the_tiles_of_its_size() {
        let (mut growth, mut tree) = (Growth::default(), Frontier::default());
        let mut told = Vec::new();
        for number in 0..70_000_u32 {
            let entry = number.to_be_bytes();
            growth
                .push(&entry, &mut |tile, bytes| {
                    let unit = if tile.row == Row::Entries { 6 } else { 32 };
                    assert_eq!(bytes.len() as u64, tile.width * unit, "{tile}");
                    told.push(tile.path());
                    Ok(())
                })
                .expect("told");
            tree.push(TreeHash::leaf(&entry));
            if number % 1001 == 0 {
                assert_eq!(growth.frontier(), tree);
            }
        }
        assert_eq!(growth.frontier(), tree);
        // 273 full bundles, 273 full tiles of level 0 and one of level 1: the example of the specification.
        assert_eq!((told.len(), told.last().map(String::as_str)), (273 + 273 + 1, Some("tile/0/272")));
        assert!(told.contains(&"tile/1/000".to_owned()));
        let partial = |before| {
            let mut told = Vec::new();
            growth
                .tell_partial(before, &mut |tile, _| {
                    told.push(tile.path());
                    Ok(())
                })
                .expect("told");
            told
        };
        assert_eq!(partial(0), ["tile/entries/273.p/112", "tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
        assert_eq!(partial(69_999), ["tile/entries/273.p/112", "tile/0/273.p/112"]);
        assert!(partial(70_000).is_empty());
    }
}
