//! Public and private key files, up to the passphrase: it is never asked for where the file is refused anyway.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::{
    Error,
    keys::{PrivateKey, PublicKey},
};

fuzz_target!(|bytes: &[u8]| {
    let mut no_passphrase = || Err(Error::Misuse("no passphrase".into()));
    if let Ok(key) = PrivateKey::from_pem(bytes, &mut no_passphrase) {
        let _ = key.public();
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(key) = PublicKey::from_pem(text)
    {
        assert_eq!(PublicKey::from_pem(&key.to_pem()).expect("written"), key);
    }
});
