//! OMS bundles: whatever is read is kept as it was, and what is believed is what it said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::oms::{Bundle, EcPublicKey, Trust};

const KEY: &[u8] = include_bytes!("../../tests/vectors/oms/signing-key-pub.pem");

fuzz_target!(|bytes: &[u8]| {
    let Ok(bundle) = Bundle::parse(bytes) else { return };
    assert_eq!(bundle.as_str().as_bytes(), bytes);
    let claim = bundle.unverified_claim();
    let trust = Trust::Key(EcPublicKey::from_pem(KEY).expect("a published key"));
    if let Ok(signed) = bundle.verify(&trust) {
        assert_eq!(claim.expect("it was read"), *signed.claim());
    }
});
