//! The source of a trust root: whatever is drafted of it can be written and read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::{
    Error,
    trust::{Clock, TrustRoot, draft, duration},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = duration(text);
    let clock = Clock::at("2026-11-21T12:00:00Z").expect("a time");
    if let Ok(root) = draft(text, None, clock, &mut |name| Err(Error::Misuse(name.into()))) {
        let payload = root.to_vec().expect("it was drafted");
        assert_eq!(TrustRoot::parse(&payload).expect("it was written"), root);
    }
});
