use super::*;

const PATH: &str = "models/m/versions/1.dsse.json";

/// A signed record in the vault, and an honest entry about it.
fn record(fixture: &Fixture) -> (Vec<u8>, Entry) {
    let mut envelope = Envelope::unsigned(PAYLOAD_TYPE, b"{}".to_vec());
    envelope.add_signature(&fixture.key).expect("signed");
    let bytes = envelope.to_vec().expect("written");
    let (Created::New | Created::Exists) = fixture.log.store.create(PATH, &bytes).expect("created");
    let honest = Entry::about_record(PATH, &bytes, None).expect("an entry");
    assert_eq!(honest.signers().len(), 1);
    (bytes, honest)
}

/// The same entry with these signers.
fn signed_by(entry: &Entry, signers: &str) -> Entry {
    let text = String::from_utf8(entry.to_vec().expect("short")).expect("UTF-8");
    let honest = format!("\"signers\":[\"{}\"]", entry.signers()[0].to_hex());
    let forged = text.replace(&honest, &format!("\"signers\":[{signers}]"));
    assert_ne!(forged, text);
    Entry::parse(forged.as_bytes()).expect("well formed")
}

#[test]
fn an_entry_that_names_other_signers_than_the_record_does_not_stand_for_it() {
    let fixture = Fixture::new();
    let (bytes, honest) = record(&fixture);
    let other = SigningKey::generate().expect("key").verifying_key().key_id().to_hex();
    let forged = [signed_by(&honest, ""), signed_by(&honest, &format!("\"{other}\""))];
    let mut tail = fixture.log.tail(None).expect("followed");
    assert_eq!(tail.append(&forged).expect("appended").len(), 2);
    let checkpoint = fixture.publish().checkpoint;
    let about = honest.record().expect("a record");
    assert!(fixture.log.prove(&checkpoint, about).expect("read").is_none());
    assert_eq!(fixture.log.missing().expect("read").0.len(), 1);
    let audit = fixture.audit().expect("one history");
    assert_eq!((audit.records.missing.len(), audit.records.false_claims), (1, vec![0, 1]));
    // The honest one is added all the same, and found although it came late.
    let appended = fixture.log.append_records(Some(&fixture.judge()), std::slice::from_ref(&honest)).expect("appended");
    assert_eq!(appended, [Appended { index: 2, new: true }]);
    let checkpoint = fixture.publish().checkpoint;
    let logged = fixture.log.demand(&fixture.judge(), &checkpoint, about).expect("there");
    assert_eq!((logged.index, logged.entry.signers()), (2, honest.signers()));
    let audit = fixture.audit().expect("one history");
    assert_eq!((audit.records.missing.len(), audit.records.false_claims), (0, vec![0, 1]));
    // A proof of a forged one is about something else.
    let forged = Logged { entry: signed_by(&honest, ""), index: 0, checkpoint };
    assert_eq!(forged.about(about).expect_err("another").kind(), Kind::Authenticity);
    assert_eq!(blake3::hash(&bytes), about.digest);
}

#[test]
fn an_entry_is_added_although_somebody_said_another_did_it() {
    let fixture = Fixture::new();
    let (bytes, honest) = record(&fixture);
    let by = |actor| Entry::about_record(PATH, &bytes, Some(actor)).expect("an entry");
    let append = |entry: &Entry| {
        let appended =
            fixture.log.append_records(Some(&fixture.judge()), std::slice::from_ref(entry)).expect("appended");
        (appended[0].index, appended[0].new)
    };
    assert_eq!(append(&by("oidc:mallory")), (0, true));
    assert_eq!(append(&by("oidc:alice")), (1, true), "named by what was passed");
    fixture.publish();
    assert_eq!(append(&honest), (2, true), "named by a hint");
    assert_eq!(append(&by("oidc:mallory")), (0, false), "the same once more");
    assert!(fixture.log.append_missing(None).expect("appended").is_empty());
}

#[test]
fn records_are_complete_when_a_checkpoint_covers_their_entries() {
    let fixture = Fixture::new();
    let (bytes, honest) = record(&fixture);
    let records = || {
        let records = fixture.audit().expect("one history").records;
        (records.missing.len(), records.unsigned.len())
    };
    assert_eq!(records(), (1, 0));
    fixture.log.append_records(None, &[honest]).expect("appended");
    assert_eq!(records(), (0, 1));
    fixture.publish();
    assert_eq!(records(), (0, 0));
    // An entry about these bytes elsewhere is about another record.
    let (Created::New | Created::Exists) =
        fixture.log.store.create("models/m/versions/2.dsse.json", &bytes).expect("created");
    assert_eq!(records(), (1, 0));
}
