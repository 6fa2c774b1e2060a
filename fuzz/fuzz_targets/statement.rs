//! Version records are canonical; provenance may be anything that others write.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::provenance::{Provenance, Statement, VersionRecord};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(statement) = Statement::<VersionRecord>::parse(bytes) {
        assert_eq!(statement.to_vec().expect("it parsed"), bytes);
        let _ = statement.predicate.name();
    }
    let _ = Statement::<Provenance>::parse(bytes);
    let _ = Provenance::parse(bytes);
});
