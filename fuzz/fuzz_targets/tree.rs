//! A tree is accepted only if it is what its name and the part hashes say.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::tree::{Layout, PartSize, Tree};

fuzz_target!(|input: (u32, &[u8])| {
    let (length, object) = input;
    if let Ok(layout) = Layout::new(u64::from(length), PartSize::DEFAULT) {
        let parts = vec![blake3::hash(b""); layout.parts().try_into().expect("few")];
        assert!(Tree::check(object, &blake3::hash(object), &layout, &parts).is_err());
    }
});
