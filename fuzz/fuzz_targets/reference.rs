//! References people type: whatever parses prints back as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::names::Reference;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string(), text);
        assert_eq!(text.parse::<Reference>().expect("it parsed before"), reference);
    }
});
