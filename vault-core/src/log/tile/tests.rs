#![allow(clippy::cast_possible_truncation, reason = "trees of a test are small")]

use proptest::prelude::*;

use super::*;

/// How many tiles of each row a tree of this size has, full and partial, by their paths.
fn last_paths(size: u64) -> Vec<String> {
    let last = |level: u8| {
        let hashes = size >> (8 * u32::from(level));
        Tile::of(Row::Hashes(level), hashes.saturating_sub(1) / WIDTH, size).map(|tile| tile.path())
    };
    (0..8).map_while(last).collect()
}

#[test]
fn the_examples_of_the_specification_have_their_paths() {
    // Index 1234067 is x001/x234/067.
    let tile = Tile { row: Row::Hashes(0), index: 1_234_067, width: WIDTH };
    assert_eq!(tile.path(), "tile/0/x001/x234/067");
    // 70 000 entries: 273 full tiles and one of 112, one full tile and one of 17, one of 1.
    assert_eq!(last_paths(70_000), ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]);
    assert_eq!(last_paths(256), ["tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(Tile::of(Row::Entries, 273, 70_000).map(|tile| tile.path()).as_deref(), Some("tile/entries/273.p/112"));
    assert_eq!(Tile::of(Row::Entries, 274, 70_000), None);
    assert_eq!(Tile::of(Row::Hashes(63), 0, u64::MAX), None);
}

#[test]
fn a_path_has_one_spelling() {
    for good in
        ["tile/0/000", "tile/63/999.p/255", "tile/entries/x001/000.p/1", "tile/1/x018/x446/x744/x073/x709/x551/615"]
    {
        assert_eq!(Tile::parse(good).expect(good).path(), good);
    }
    for bad in [
        "",
        "tile/0",
        "tile/0/0",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/1000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000/",
        "tile/0/../000",
        "tile/data/000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
    ] {
        assert!(Tile::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn bundles_are_cut_nowhere() {
    let mut bundle = Vec::new();
    for entry in [&b"one"[..], b"", &[7; MAX_ENTRY]] {
        push_to_bundle(&mut bundle, entry).expect("fits");
    }
    assert_eq!(parse_bundle(&bundle).expect("whole"), [&b"one"[..], b"", &[7; MAX_ENTRY]]);
    assert!(push_to_bundle(&mut bundle, &vec![0; MAX_ENTRY + 1]).is_err());
    for cut in [1, 2, 4, bundle.len() - 1] {
        assert!(parse_bundle(&bundle[..cut]).is_err(), "{cut}");
    }
    assert!(parse_bundle(&[0; 2 * 257]).expect_err("too many").to_string().contains("number of entries"));
    assert!(parse_bundle(&vec![0; MAX_BUNDLE as usize + 1]).is_err());
    assert!(parse_bundle(b"").expect("empty").is_empty());
}

proptest! {
    #[test]
    fn paths_of_tiles_survive(level in 0_u8..=63, index: u64, width in 1_u64..=256, entries: bool) {
        let tile = Tile { row: if entries { Row::Entries } else { Row::Hashes(level) }, index, width };
        prop_assert_eq!(Tile::parse(&tile.path()).expect("its own"), tile);
    }

    #[test]
    fn arbitrary_paths_and_bundles_never_panic(path: String, bytes: Vec<u8>) {
        let _ = Tile::parse(&path);
        let _ = parse_bundle(&bytes);
        let _ = parse_hashes(&bytes);
    }
}
