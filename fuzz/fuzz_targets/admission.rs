//! What a registry judges before it stores it: any path, any bytes. Of what is let in, the path says what it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::{
    store::Address,
    vault::{Admission, ObjectName, moves},
};

fuzz_target!(|input: (&str, &[u8])| {
    let (path, bytes) = input;
    let name = ObjectName::parse(path);
    if Admission::WellFormed.judge(path, bytes).is_ok() {
        assert!(name.is_some());
    }
    let _ = moves(path, bytes);
    if let Ok(address) = Address::parse(path) {
        assert!(address.origin().starts_with("https://"));
    }
});
