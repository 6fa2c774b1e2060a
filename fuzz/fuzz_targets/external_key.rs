//! Files that refer to a key kept elsewhere, and what its keeper answers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::keys::external::{Reference, try_answers};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(reference) = Reference::parse(bytes) {
        let text = reference.to_json().expect("written");
        assert_eq!(Reference::parse(text.as_bytes()).expect("read again"), reference);
    }
    try_answers(bytes);
});
