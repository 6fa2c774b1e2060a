//! Leases, outcomes, the documents of garbage collection, retirements and shreddings: whatever parses is written the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::{
    provenance::{Retirement, Shredding, Statement},
    vault::{Condemned, Decision, Done, Lease, Outcome, Promise, Revocation, Started},
};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(lease) = Lease::parse(bytes) {
        assert_eq!(lease.to_vec().expect("it parsed"), bytes);
    }
    if let Ok(outcome) = Outcome::parse(bytes) {
        assert_eq!(outcome.to_vec().expect("it parsed"), bytes);
        outcome.version().expect("checked when it was parsed");
    }
    if let Ok(list) = Condemned::parse(bytes) {
        assert!(list.paths().iter().all(|path| path.starts_with("objects/") || path.starts_with("artifacts/")));
    }
    let _ = Started::parse(bytes);
    let _ = Decision::parse(bytes).map(|decision| decision.is_deleting());
    let _ = Done::parse(bytes).map(|done| done.deleted());
    let _ = Promise::parse(bytes).map(|promise| promise.lifetime());
    let _ = Revocation::parse(bytes);
    if let Ok(statement) = Statement::<Retirement>::parse(bytes) {
        assert_eq!(statement.to_vec().expect("it parsed"), bytes);
        let _ = statement.predicate.version_name();
    }
    if let Ok(statement) = Statement::<Shredding>::parse(bytes) {
        assert_eq!(statement.to_vec().expect("it parsed"), bytes);
        let _ = statement.predicate.check();
    }
});
