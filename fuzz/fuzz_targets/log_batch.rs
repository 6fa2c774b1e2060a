//! Batches and bundles are read within their limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::log::{Batch, MAX_ENTRIES, MAX_ENTRY, parse_bundle};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(batch) = Batch::parse(bytes) {
        assert!((1..=MAX_ENTRIES).contains(&batch.entries().len()));
        assert!(batch.entries().iter().all(|entry| entry.len() <= MAX_ENTRY && !entry.contains(&b'\n')));
    }
    if let Ok(entries) = parse_bundle(bytes) {
        assert_eq!(entries.iter().map(|entry| 2 + entry.len()).sum::<usize>(), bytes.len());
    }
});
