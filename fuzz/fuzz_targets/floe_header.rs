//! No header but the one that was made fits the key.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::floe::{Decryptor, HEADER_LEN, Header, Params};

fuzz_target!(|bytes: &[u8]| {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() else { return };
    let length = rest.first_chunk().map_or(64, |b| u32::from_be_bytes(*b));
    if let Ok(params) = Params::new(length) {
        assert!(Decryptor::new(&[7; 32], b"aad", &Header::from_bytes(*header), params).is_err());
    }
});
