//! Statements of any type, predicates to be signed, and provenance in short form: whatever is taken survives writing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::provenance::{Attested, Draft, Predicate, PredicateType, Provenance, Statement};

fn check(draft: &Draft) {
    let text = draft.provenance.to_text().expect("it parsed");
    assert_eq!(Provenance::parse(text.as_bytes()).expect("its own text"), draft.provenance);
    let dependencies = draft.provenance.dependencies().expect("within the limit");
    for dependency in &dependencies {
        let _ = (dependency.label(), dependency.artifact_digest());
    }
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(draft) = Draft::parse_json(bytes) {
        check(&draft);
    }
    if let Ok(draft) = Draft::parse_toml(bytes) {
        check(&draft);
    }
    let report: PredicateType = "https://example.com/report/v1".parse().expect("a URI");
    let _ = Attested::parse(&report, bytes);
    if let Ok(statement) = Statement::<Attested>::parse(bytes) {
        assert!(statement.predicate.predicate_type().parse::<PredicateType>().is_ok());
        if let Ok(payload) = statement.to_vec() {
            assert_eq!(Statement::<Attested>::parse(&payload).expect("its own bytes").subject, statement.subject);
        }
    }
    if let Ok(statement) = Statement::<Provenance>::parse(bytes) {
        let _ = statement.predicate.dependencies();
    }
});
