//! Proofs and requests to witnesses have one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::log::{Proof, Request};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(proof) = Proof::parse(bytes) {
        assert_eq!(proof.to_vec(), bytes);
    }
    if let Ok(request) = Request::parse(bytes) {
        assert_eq!(request.to_vec(), bytes);
    }
});
