//! Names of keys on PKCS#11 tokens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::keys::TokenUri;

fuzz_target!(|text: &str| {
    if let Ok(uri) = TokenUri::parse(text) {
        assert!(uri.module_path.starts_with('/'));
        assert!(uri.object.is_some() || uri.id.is_some());
        let _ = uri.describe();
    }
});
