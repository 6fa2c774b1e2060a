//! Proofs, their names in a vault, and requests to witnesses have one spelling.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::log::{Proof, ProofName, Request};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(proof) = Proof::parse(bytes) {
        assert_eq!(proof.to_vec(), bytes);
    }
    if let Ok(name) = ProofName::of(bytes) {
        assert_eq!(ProofName::parse(&name.path()).as_ref(), Some(&name));
        assert!(name.check(bytes).is_ok());
    }
    if let Ok(request) = Request::parse(bytes) {
        assert_eq!(request.to_vec(), bytes);
    }
});
