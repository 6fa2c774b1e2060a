//! No segment but the ones that were made decrypts, at any position and length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

use vault_core::floe::{Decryptor, Encryptor, Params};

fuzz_target!(|input: (u64, bool, &[u8])| {
    static DECRYPTOR: LazyLock<Decryptor> = LazyLock::new(|| {
        let params = Params::new(64).expect("legal");
        let encryptor = Encryptor::new(&[7; 32], b"aad", params).expect("randomness");
        Decryptor::new(&[7; 32], b"aad", encryptor.header(), params).expect("its own header")
    });
    let (position, is_final, segment) = input;
    assert!(DECRYPTOR.decrypt_segment(position, is_final, segment).is_err());
});
