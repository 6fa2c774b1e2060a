//! Whatever parses is canonical, and its paths and extents stay inside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::{
    floe::Header,
    index::Index,
    manifest::{Manifest, Stream},
    stream::Origin,
    tree::{Layout, PartSize},
};

/// The second of its streams was sealed before, or not.
fn manifest(origin: Option<Origin>) -> Manifest {
    let stream = |plaintext| {
        let layout = Layout::of_plaintext(plaintext, PartSize::DEFAULT).expect("legal");
        let parts = vec![blake3::hash(b""); layout.parts().try_into().expect("few")];
        Stream { header: Header::from_bytes([0; 74]), layout, parts, tree: None, origin: None }
    };
    let streams = vec![stream(1), Stream { origin, ..stream(1000) }, stream(u64::from(u32::MAX))];
    Manifest { artifact_id: [0; 32], part_size: PartSize::DEFAULT, index: stream(10), streams }
}

fuzz_target!(|bytes: &[u8]| {
    for origin in [None, Some(Origin { artifact_id: [1; 32], stream: 7 })] {
        let Ok(index) = Index::parse(bytes, &manifest(origin)) else { continue };
        assert_eq!(index.to_vec().expect("it was within the limits"), bytes);
        assert_eq!(index.key(1).is_some(), origin.is_some());
        for file in index.files() {
            let path = std::path::Path::new(file.path.as_str());
            assert!(path.components().all(|c| matches!(c, std::path::Component::Normal(_))));
            assert_eq!(file.extents.iter().map(|e| e.length).sum::<u64>(), file.size);
            let regions = file.regions.iter().map(|r| r.length).sum::<u64>();
            assert!(file.regions.is_empty() || regions == file.size);
        }
    }
});
