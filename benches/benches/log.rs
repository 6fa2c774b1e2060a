//! What a log costs: entries a second from many threads, and proofs in a tree of ten million entries.
//!
//! The tree is made by a generator, tile by tile; `LOG_ENTRIES` in the environment makes it smaller or larger.
#![forbid(unsafe_code)]
#![allow(clippy::cast_possible_truncation, reason = "a tile is 256 hashes wide")]

use std::{hint::black_box, path::Path, thread};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vault_core::{
    log::{Action, Entry, Log, Row, Tile, Tiles, TreeHash, WIDTH, is_included, prove_consistency, prove_inclusion},
    store::{Created, Directory, Durability, Store},
};

const ENTRIES: u64 = 10_000_000;
const THREADS: u64 = 16;
const EACH: u64 = 64;

fn store(folder: &Path, durability: Durability) -> Store {
    Store::new(Directory::create(folder, durability).expect("a folder"))
}

/// The leaf of this number.
fn leaf(number: u64) -> TreeHash {
    TreeHash::leaf(&number.to_be_bytes())
}

/// Writes the hashes of a tree of so many entries as tiles; the root.
fn generate(store: &Store, entries: u64) -> TreeHash {
    let mut row: Vec<TreeHash> = (0..entries).map(leaf).collect();
    let mut above = Vec::new();
    for level in 0.. {
        for (index, hashes) in (0..).zip(row.chunks(WIDTH as usize)) {
            let tile = Tile { row: Row::Hashes(level), index, width: hashes.len() as u64 };
            let bytes: Vec<u8> = hashes.iter().flat_map(|hash| *hash.as_bytes()).collect();
            let Created::New = store.create(&format!("log/{}", tile.path()), &bytes).expect("created") else {
                panic!("{tile} is there already");
            };
            if hashes.len() as u64 == WIDTH {
                above.push(fold(hashes));
            }
        }
        if above.is_empty() {
            break;
        }
        row = std::mem::take(&mut above);
    }
    let mut tree = vault_core::log::Frontier::default();
    (0..entries).for_each(|number| tree.push(leaf(number)));
    tree.root()
}

/// The root over a full tile.
fn fold(hashes: &[TreeHash]) -> TreeHash {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| TreeHash::node(pair[0], pair[1])).collect();
    }
    row[0]
}

fn proofs(bench: &mut Criterion) {
    let entries = std::env::var("LOG_ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(ENTRIES);
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(folder.path(), Durability::NoSync);
    let root = generate(&store, entries);
    let mut group = bench.benchmark_group("log");
    let mut number = 0;
    group.bench_function("inclusion proof, checked", |bench| {
        bench.iter(|| {
            number = (number + 7_919_777) % entries;
            let mut tiles = Tiles::open(&store, entries, root).expect("tiles");
            let proof = prove_inclusion(&mut tiles, number, entries).expect("a proof");
            assert!(is_included(leaf(number), number, entries, &proof, root));
            black_box(proof.len())
        });
    });
    group.bench_function("consistency proof", |bench| {
        bench.iter(|| {
            number = (number + 7_919_777) % entries;
            let mut tiles = Tiles::open(&store, entries, root).expect("tiles");
            black_box(prove_consistency(&mut tiles, number, entries).expect("a proof").len())
        });
    });
    group.finish();
}

fn appends(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("log");
    group.throughput(Throughput::Elements(THREADS * EACH)).sample_size(10);
    group.bench_function("append from 16 threads, synced", |bench| {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Log::init(&store(folder.path(), Durability::Synced), None).expect("a log");
        let appender = log.appender(None).expect("the end of the log");
        let login = || Entry::about_event(Action::Login, "oidc:7f", None, None).expect("an entry");
        bench.iter(|| {
            thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        for _ in 0..EACH {
                            black_box(appender.append(login()).expect("appended"));
                        }
                    });
                }
            });
        });
    });
    group.finish();
}

criterion_group!(benches, appends, proofs);
criterion_main!(benches);
