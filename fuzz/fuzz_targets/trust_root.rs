//! A trust root that parses writes the same bytes, becomes a source that makes the same root, and its envelope never
//! panics.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::{
    Error,
    trust::{Candidate, Clock, Reached, TrustRoot, draft, to_toml},
};

fuzz_target!(|bytes: &[u8]| {
    let _ = Candidate::parse(bytes).map(|candidate| candidate.progress());
    let _ = Reached::pin(bytes);
    if let Ok(root) = TrustRoot::parse(bytes) {
        assert_eq!(root.to_vec().expect("it parsed"), bytes);
        let digest = blake3::hash(bytes);
        // What was made from a version becomes no version 1.
        let source = to_toml(&root, digest);
        let follows = format!("follows = \"b3:{digest}\"\n");
        assert!(source.contains(&follows), "{source}");
        let source = source.replace(&follows, "");
        let clock = Clock::at("2020-01-01T00:00:00Z").expect("a time");
        let mut nothing = |name: &str| Err(Error::Misuse(name.into()));
        match draft(&source, None, clock, &mut nothing) {
            Ok(again) => assert!(again.keys().eq(root.keys())),
            // It may have expired by the time of the clock.
            Err(error) => assert!(root.expires() <= "2020-01-01T00:00:00Z", "{error}\n{source}"),
        }
    }
});
