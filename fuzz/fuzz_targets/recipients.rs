//! Whatever parses is canonical and within the limits. No Argon2id runs here: parsing must not need it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::{
    provenance::Statement,
    recipients::{MAX_RECIPIENTS, RecipientsRecord},
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(statement) = Statement::<RecipientsRecord>::parse(bytes) {
        assert_eq!(statement.to_vec().expect("it parsed"), bytes);
        if let Ok(stanzas) = statement.predicate.stanzas() {
            assert!((1..=MAX_RECIPIENTS).contains(&stanzas.len()));
        }
    }
});
