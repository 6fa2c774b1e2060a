//! Whatever is a record is canonical; whatever is an envelope can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::provenance::Envelope;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(envelope) = Envelope::parse_record(bytes) {
        assert_eq!(envelope.to_vec().expect("it was within the limits"), bytes);
    }
    if let Ok(envelope) = Envelope::parse(bytes) {
        let again = envelope.to_vec().expect("it was within the limits");
        assert_eq!(Envelope::parse_record(&again).expect("canonical"), envelope);
    }
});
