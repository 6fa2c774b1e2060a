//! Notes, checkpoints and verifier keys have one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::log::{Note, SignedCheckpoint, VerifierKey};

const KEYS: [&str; 2] = [
    "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2",
];

fuzz_target!(|bytes: &[u8]| {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.to_vec(), bytes);
        for key in KEYS {
            let key = key.parse().expect("a key");
            let _ = (note.is_signed_by(&key), note.cosigned_at(&key));
        }
    }
    if let Ok(signed) = SignedCheckpoint::parse(bytes) {
        assert_eq!(signed.to_vec(), bytes);
    }
    if let Some(key) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<VerifierKey>().ok()) {
        assert_eq!(key.to_string().as_bytes(), bytes);
    }
});
