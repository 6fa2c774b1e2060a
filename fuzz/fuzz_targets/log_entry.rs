//! Whatever is an entry of the log can be written again, as the same bytes on one line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::log::{Entry, is_logged};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(entry) = Entry::parse(bytes) {
        assert_eq!(entry.to_vec().expect("it was within the limits"), bytes);
        assert!(!bytes.contains(&b'\n'));
        assert!(entry.record().is_none_or(|record| is_logged(record.path)));
    }
});
