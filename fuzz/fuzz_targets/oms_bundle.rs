//! OMS bundles: whatever is read is what it was, and nobody is believed who did not sign.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::oms::{Bundle, EcPublicKey, Trust};

const KEY: &[u8] = include_bytes!("../../tests/vectors/oms/signing-key-pub.pem");
const SIGNED: &[u8] = include_bytes!("../../tests/vectors/oms/v1.1.0-elliptic-key/model.sig");

fuzz_target!(|bytes: &[u8]| {
    let Ok(bundle) = Bundle::parse(bytes) else { return };
    assert_eq!(bundle.as_str().as_bytes(), bytes);
    let claim = bundle.unverified_claim();
    let trust = Trust::Key(EcPublicKey::from_pem(KEY).expect("a published key"));
    if let Ok(signed) = bundle.verify(&trust) {
        // Only what the holder of that key once signed can be here, in whatever dress.
        let published = Bundle::parse(SIGNED).and_then(|published| published.unverified_claim()).expect("published");
        assert!(*signed.claim() == published || signed.claim().name.starts_with('v'));
        assert_eq!(claim.expect("it was read"), *signed.claim());
    }
});
