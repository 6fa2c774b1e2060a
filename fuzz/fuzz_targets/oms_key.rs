//! Keys on the NIST curves, as OpenSSL writes them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::oms::{EcPrivateKey, EcPublicKey};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(key) = EcPublicKey::from_pem(bytes) {
        assert_eq!(EcPublicKey::from_pem(key.to_pem().as_bytes()).expect("written"), key);
    }
    if let Ok(key) = EcPrivateKey::from_pem(bytes) {
        let _ = key.sign(b"message");
    }
});
