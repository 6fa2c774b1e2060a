//! The path of a tile has one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::log::Tile;

fuzz_target!(|path: &str| {
    if let Ok(tile) = Tile::parse(path) {
        assert_eq!(tile.path(), path);
        assert!((1..=256).contains(&tile.width));
    }
});
