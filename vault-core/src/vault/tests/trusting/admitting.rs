//! What a registry lets into a vault with a trust root, and what it does not.

use super::*;
use crate::log::{Judge, Log, LogKeys, ProofName, RecordRef, Seen};
use crate::vault::{Admission, InUse, ObjectName, moves, promote::WITHDRAWN, publishes};

impl World {
    fn admission(&self, at: &str) -> Admission {
        self.fixture.vault.admission(&self.pinned, clock(at)).expect("a trust root")
    }

    /// Every object, by path.
    fn everything(&self) -> Vec<(String, Vec<u8>)> {
        let (mut found, store) = (Vec::new(), self.fixture.vault.store());
        store
            .list("", &mut |entry| {
                found.push((entry.path.clone(), store.read(&entry.path, entry.size)?.expect("there")));
                Ok(())
            })
            .expect("listed");
        found
    }

    /// A vault in which everything was done that leaves a record.
    fn busy() -> Self {
        let world = Self::new();
        world.release("m:1");
        let withdrawn = world.promote("m:2", "production", "trainer").expect("proposed");
        world.gate().expect("gate").withdraw(withdrawn.id, &world.keys["alice"]).expect("withdrawn");
        world.release("m:2");
        let fresh: ChannelName = "m@fresh".parse().expect("a channel");
        let proposal = world.promote("m:2", "fresh", "alice").expect("proposed");
        assert!(proposal.published);
        let mut gate = world.gate().expect("gate");
        gate.state_freshness(&fresh, 3600, &world.keys["clock"]).expect("stated");
        gate.propose_revocation(&"m:1".parse().expect("a name"), "leaks", &world.keys["alice"]).expect("revoked");
        gate.retire(&"m:3".parse().expect("a name"), "old", InUse::Refuse, &world.keys["trainer"]).expect("retired");
        gate.close().expect("closed");
        world
    }
}

#[test]
fn everything_that_honest_clients_write_is_let_in() {
    let world = World::busy();
    let mut kinds = std::collections::HashSet::new();
    for (path, bytes) in world.everything() {
        let name = ObjectName::parse(&path).unwrap_or_else(|| panic!("{path} has no place"));
        kinds.insert(std::mem::discriminant(&name));
        for admission in [world.admission(NOON), Admission::WellFormed] {
            admission.judge(&path, &bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
        }
    }
    assert!(kinds.len() >= 11, "{kinds:?}");
}

#[test]
fn nothing_is_let_in_under_a_path_that_is_not_its_own() {
    let world = World::busy();
    let admission = world.admission(NOON);
    let everything = world.everything();
    let documents: Vec<_> =
        everything.iter().filter(|(path, _)| !path.starts_with("objects/") && !path.starts_with("sessions/")).collect();
    // A proposal with all its signatures is the very record that is published.
    let payload = |bytes: &[u8]| Envelope::parse_record(bytes).map(|envelope| envelope.payload().to_vec()).ok();
    for (path, own) in &documents {
        for (other, bytes) in &documents {
            // A withdrawal names a proposal and no number: who lets it in asks `Vault::withdrawn` where it belongs.
            let is_withdrawal = Envelope::parse_record_of(bytes, WITHDRAWN).is_ok();
            let is_same = payload(own).is_some() && payload(own) == payload(bytes);
            if path != other && !is_withdrawal && !is_same {
                let outcome = admission.judge(path, bytes);
                assert!(outcome.is_err(), "{other} is let in as {path}");
            }
        }
    }
}

#[test]
fn a_withdrawal_is_let_in_where_its_proposal_belongs_and_from_those_who_may_take_it_back() {
    let world = World::new();
    world.release("m:1");
    let vault = &world.fixture.vault;
    let proposal = world.promote("m:2", "production", "trainer").expect("proposed");
    let withdrawal = |id: blake3::Hash, by: &str| {
        let mut envelope = Envelope::unsigned(WITHDRAWN, format!(r#"{{"proposal":"{id}"}}"#).into_bytes());
        envelope.add_signature(&world.keys[by]).expect("signed");
        envelope.to_vec().expect("bytes")
    };
    let at = |generation: u64| format!("models/m/channels/production/{generation}.dsse.json");
    for admission in [world.admission(NOON), Admission::WellFormed] {
        let judge = |path: &str, bytes: &[u8]| vault.withdrawn(&admission, path, bytes);
        for by in ["trainer", "alice"] {
            let (version, channel) = judge(&at(2), &withdrawal(proposal.id, by)).expect(by).expect("it is one");
            assert_eq!(
                (version.to_string(), channel.map(|it| it.to_string())),
                ("m:2".into(), Some("m@production".into()))
            );
        }
        for elsewhere in
            [at(1), at(3), "models/m/channels/staging/2.dsse.json".into(), "revocations/2.dsse.json".into()]
        {
            let error = judge(&elsewhere, &withdrawal(proposal.id, "alice")).expect_err(&elsewhere);
            assert_eq!(error.kind(), Kind::Integrity, "{elsewhere}");
        }
        let nothing = judge(&at(2), &withdrawal(blake3::hash(b"nothing"), "alice"));
        assert_eq!(nothing.expect_err("no such proposal").kind(), Kind::NotFound);
        let record = vault.store().read(&at(1), 1 << 20).expect("read").expect("there");
        assert!(judge(&at(1), &record).expect("another kind").is_none());
    }
    for nobody in ["clock", "mallory"] {
        let error =
            vault.withdrawn(&world.admission(NOON), &at(2), &withdrawal(proposal.id, nobody)).expect_err(nobody);
        assert_eq!(error.kind(), Kind::Authenticity, "{nobody}");
    }
}

#[test]
fn no_record_with_a_changed_byte_is_let_in() {
    let world = World::busy();
    let admission = world.admission(NOON);
    for (path, bytes) in world.everything() {
        if path.starts_with("objects/") || path.starts_with("sessions/") || path == "vault.json" {
            continue;
        }
        for at in (0..bytes.len()).step_by(bytes.len() / 60 + 1) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(admission.judge(&path, &changed).is_err(), "{path}, byte {at}");
        }
        let error = admission.judge(&path, &[bytes.as_slice(), b" "].concat());
        assert!(error.is_err(), "{path}");
    }
}

#[test]
fn what_nobody_who_may_has_signed_is_let_into_a_vault_without_a_root_only() {
    let world = World::busy();
    let stranger = World::busy();
    let (admission, anybody) = (world.admission(NOON), Admission::WellFormed);
    let mut refused = 0;
    for (path, bytes) in stranger.everything().iter().filter(|(path, _)| path.ends_with(".dsse.json")) {
        anybody.judge(path, bytes).unwrap_or_else(|error| panic!("{path}: {error}"));
        let error = admission.judge(path, bytes).expect_err(path);
        assert_eq!(error.kind(), Kind::Authenticity, "{path}: {error}");
        refused += 1;
    }
    assert!(refused > 15);
}

#[test]
fn under_an_expired_root_only_its_successor_is_let_in() {
    let world = World::new();
    let late = "2030-01-01T00:00:00Z";
    let admission = world.admission(late);
    assert!(matches!(admission, Admission::Expired(_)));
    let (record, bytes) =
        world.everything().into_iter().find(|(path, _)| path.starts_with("models/")).expect("a version record");
    assert_eq!(kind(admission.judge(&record, &bytes)), Kind::Stale);
    let next = signed_root(
        &source(&world.keys, |text| text),
        Some(&world.pinned),
        NOON,
        &[&world.keys["alice"], &world.keys["bob"]],
    );
    let path = |version: u64, bytes: &[u8]| {
        use sha2::Digest as _;
        format!("trust/{version}/{}.dsse.json", hex::encode(sha2::Sha256::digest(bytes)))
    };
    admission.judge(&path(2, &next), &next).expect("the next root");
    assert_eq!(kind(admission.judge(&path(1, &next), &next)), Kind::Integrity);
    let by_one = signed_root(&source(&world.keys, |text| text), Some(&world.pinned), NOON, &[&world.keys["alice"]]);
    assert_eq!(kind(admission.judge(&path(2, &by_one), &by_one)), Kind::Authenticity);
}

#[test]
fn what_a_proposal_is_about_is_read_from_it() {
    let world = World::busy();
    let mut channels = 0;
    for (path, bytes) in world.everything() {
        let about = moves(&path, &bytes);
        let published = publishes(&path, &bytes);
        assert_eq!(published.is_some(), path.ends_with("/outcome.json"), "{path}");
        match ObjectName::parse(&path).expect("a place") {
            ObjectName::Proposal(..) => {
                let (version, channel) = about.expect("a proposal");
                assert_eq!(version.model.as_str(), "m");
                channels += usize::from(channel.is_some());
            }
            ObjectName::Revocation(_) => assert!(about.expect("a revocation").1.is_none()),
            ObjectName::Promotion(..) => {}
            _ => assert!(about.is_none(), "{path}"),
        }
    }
    assert!(channels > 3);
}

#[test]
fn a_proof_of_the_log_is_let_in_under_its_own_name_if_it_holds_and_a_known_key_signed() {
    let world = World::busy();
    let log = Log::init(world.fixture.vault.store(), None).expect("log");
    log.append_missing(None).expect("appended");
    let record = world.fixture.vault.version_record(&"m:1".parse().expect("a name")).expect("there");
    let about = RecordRef { path: &record.path, digest: record.digest, signers: &record.signers };
    let proof_by = |name: &str| {
        let judge = Judge::new(LogKeys::Any(vec![world.public(name)]));
        let published = log.publish(&judge, &mut Seen::nothing(), &world.keys[name]).expect("published");
        let bytes = log.prove(&published.checkpoint, about).expect("read").expect("there").to_vec();
        (ProofName::of(&bytes).expect("well formed").path(), bytes)
    };
    let (path, bytes) = proof_by("clock");
    let (other_path, other) = proof_by("scanner");
    let role = "[[roles.log]]\nmodels = [\"*\"]\nkeys = [\"clock\"]\n";
    let root = source(&world.keys, |text| text + role);
    let root = signed_root(&root, None, NOON, &[&world.keys["alice"], &world.keys["bob"]]);
    let pinned = Reached::pin(&root).expect("a root");
    let with_log = world.fixture.vault.admission(&pinned, clock(NOON)).expect("a trust root");
    // A trust root without keys of logs says nothing about whose count.
    for admission in [world.admission(NOON), Admission::WellFormed, with_log.clone()] {
        admission.judge(&path, &bytes).expect("a proof");
        assert_eq!(kind(admission.judge(&path, &bytes[..bytes.len() - 1])), Kind::Integrity, "cut off");
        assert_eq!(kind(admission.judge(&path, &vec![b'x'; 400 << 10])), Kind::Integrity, "too long");
        assert_eq!(kind(admission.judge(&path.replacen('.', "0.", 1), &bytes)), Kind::Integrity, "of another tree");
        assert_eq!(kind(admission.judge(&other_path, &bytes)), Kind::Integrity, "of another name");
    }
    Admission::WellFormed.judge(&other_path, &other).expect("well formed");
    assert_eq!(kind(with_log.judge(&other_path, &other)), Kind::Authenticity, "by a key that is none of a log");
    assert_eq!(kind(world.admission("2028-01-01T00:00:00Z").judge(&path, &bytes)), Kind::Stale);
}
