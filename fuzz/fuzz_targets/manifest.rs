//! Whatever parses is canonical: it serializes to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = vault_core::manifest::Manifest::parse(bytes) {
        assert_eq!(manifest.to_vec().expect("it was within the limits"), bytes);
        assert!(manifest.objects().count() > 0);
    }
});
