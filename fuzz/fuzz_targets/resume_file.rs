//! A resume file of whatever bytes is read or refused, and holds no more than its limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::seal::resume::{MAX_RUNS, Summary};

fuzz_target!(|bytes: &[u8]| {
    let with_first_line = [&b"mvault-resume/v1\n"[..], bytes].concat();
    for bytes in [bytes, &with_first_line] {
        if let Ok(Some(summary)) = Summary::parse(bytes) {
            assert!(summary.runs <= MAX_RUNS && summary.streams <= summary.parts);
        }
    }
});
