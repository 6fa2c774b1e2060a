//! Promotions, revocations and statements of freshness: whatever parses is canonical, and its names never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::provenance::{Chained, Freshness, Promotion, Revocation, Statement};

fn chained<R: Chained>(bytes: &[u8]) -> Option<Statement<R>> {
    let statement = Statement::<R>::parse(bytes).ok()?;
    assert_eq!(statement.to_vec().expect("it parsed"), bytes);
    let _ = statement.predicate.version_name();
    Some(statement)
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(statement) = chained::<Promotion>(bytes) {
        let _ = statement.predicate.channel_name();
    }
    chained::<Revocation>(bytes);
    if let Ok(statement) = Statement::<Freshness>::parse(bytes) {
        assert_eq!(statement.to_vec().expect("it parsed"), bytes);
    }
});
