//! Whatever is believed about an earlier artifact lies inside its streams.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::{
    floe::Header,
    manifest::{Manifest, Stream},
    names::ArtifactDigest,
    tree::{Layout, PartSize},
    vault::ReuseCache,
};

fn manifest() -> Manifest {
    let stream = |plaintext| {
        let layout = Layout::of_plaintext(plaintext, PartSize::DEFAULT).expect("legal");
        let parts = vec![blake3::hash(b""); layout.parts().try_into().expect("few")];
        Stream { header: Header::from_bytes([0; 74]), layout, parts, tree: None, origin: None }
    };
    let streams = vec![stream(1000), stream(u64::from(u32::MAX))];
    Manifest { artifact_id: [0; 32], part_size: PartSize::DEFAULT, index: stream(10), streams }
}

fuzz_target!(|bytes: &[u8]| {
    let digest = ArtifactDigest::from_hex(&"00".repeat(32)).expect("hexadecimal");
    if let Ok(basis) = ReuseCache::parse(bytes, digest, &manifest()) {
        assert_eq!(basis.part_size(), PartSize::DEFAULT);
        assert_eq!(basis.origins(), 1);
    }
});
