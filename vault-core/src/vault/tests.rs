use std::fs;

use super::*;
use crate::{
    error::Kind,
    fixtures::{Fixture, bytes, input, reading, reference, small_parts, store, threads},
    keys::{Identity, RecipientKind, SigningKey},
    provenance::{Provenance, Statement, Subject},
    recipients::RecipientsRecord,
    secret::SecretVec,
    store::{
        Directory, Durability, Store,
        faults::{Faulty, When},
    },
    tree::PAYLOAD,
    trust::Policy,
    wrap::{Audience, Keyring},
};

mod attesting;
mod collecting;
mod extraction;
mod lineage;
mod lying;
mod reopening;
mod resuming;
mod reusing;
mod sharing;
mod tampering;
mod trusting;

fn kind<T: std::fmt::Debug>(result: Result<T>) -> Kind {
    result.expect_err("refused").kind()
}

fn two_files(fixture: &Fixture, name: &str) -> Receipt {
    fixture.seal(name, &[("a.bin", &bytes(9 * PAYLOAD + 3, 1)), ("config.json", b"{}")])
}

#[test]
fn init_wants_an_empty_store_and_open_a_vault() {
    let dir = tempfile::tempdir().expect("folder");
    assert_eq!(kind(Vault::open(store(dir.path()))), Kind::NotFound);
    let vault = Vault::init(store(dir.path())).expect("vault");
    assert_eq!(Vault::open(store(dir.path())).expect("vault").id(), vault.id());
    assert_eq!(kind(Vault::init(store(dir.path()))), Kind::Conflict);
    let other = tempfile::tempdir().expect("folder");
    fs::write(other.path().join("thesis.txt"), "x").expect("written");
    assert_eq!(kind(Vault::init(store(other.path()))), Kind::Usage);
    fs::write(dir.path().join(VAULT_JSON), r#"{"format":"mvault-vault/v2","vault_id":""}"#).expect("written");
    assert_eq!(kind(Vault::open(store(dir.path()))), Kind::Integrity);
}

#[test]
fn a_version_is_published_once_also_under_another_case() {
    let fixture = Fixture::new();
    two_files(&fixture, "m:1.0-RC");
    let before = fixture.objects();
    for name in ["m:1.0-RC", "m:1.0-rc"] {
        let request = fixture.request(name, vec![input("a", b"other")]);
        assert_eq!(kind(fixture.vault.seal(request, &())), Kind::Conflict);
    }
    assert_eq!(fixture.objects(), before, "noticed before anything was sealed");
    two_files(&fixture, "m/1:1.0-RC");
    assert_eq!(fixture.vault.list(&fixture.policy()).expect("listed").versions.len(), 2);
}

#[test]
fn of_many_seals_of_one_name_one_wins_and_the_others_are_told() {
    let fixture = Fixture::new();
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let seal = || fixture.vault.seal(fixture.request("m:1", vec![input("a", b"weights")]), &());
        let racers: Vec<_> = (0..8).map(|_| scope.spawn(seal)).collect();
        racers.into_iter().map(|racer| racer.join().expect("no panic")).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(std::result::Result::is_ok);
    assert_eq!(won.len(), 1);
    assert!(lost.into_iter().all(|outcome| kind(outcome) == Kind::Conflict));
    assert_eq!(fixture.read("m:1", "a").expect("opens"), b"weights");
}

#[test]
fn references_resolve_for_accepted_signers_only() {
    let fixture = Fixture::new();
    let digest = two_files(&fixture, "m:1").digest.to_string();
    for name in ["m:1", &digest] {
        assert!(fixture.verify(name).is_ok());
        let stranger = Policy::any_of(vec![SigningKey::generate().expect("key").verifying_key()]).expect("a key");
        assert_eq!(kind(fixture.vault.resolve(&reference(name), &stranger)), Kind::Authenticity);
        let skip = Policy::InsecureSkipSignature;
        assert!(fixture.vault.resolve(&reference(name), &skip).expect("skipped").manifest.signers().is_empty());
    }
    assert_eq!(kind(fixture.vault.resolve(&reference("m:2"), &fixture.policy())), Kind::NotFound);
    let absent = format!("b3:{}", "0".repeat(64));
    assert_eq!(kind(fixture.vault.resolve(&reference(&absent), &fixture.policy())), Kind::NotFound);
}

#[test]
fn the_record_of_one_version_does_not_pass_for_another() {
    let fixture = Fixture::new();
    two_files(&fixture, "m:1");
    let path = |name: &str| fixture.dir.path().join(version_path(&name.parse().expect(name)));
    fs::create_dir_all(path("other:1").parent().expect("folder")).expect("folders");
    for name in ["m:2", "other:1"] {
        fs::copy(path("m:1"), path(name)).expect("copied");
        assert_eq!(kind(fixture.verify(name)), Kind::Authenticity);
    }
}

#[test]
fn provenance_is_attested_and_listed() {
    let fixture = Fixture::new();
    let text = br#"{"buildDefinition":{"buildType":"https://example.com/train","externalParameters":{"lr":0.1}},"runDetails":{"builder":{"id":"https://example.com/ci"}}}"#;
    let mut request = fixture.request("m:1", vec![input("a", b"1")]);
    request.provenance = Some(Provenance::parse(text).expect("valid"));
    fixture.vault.seal(request, &()).expect("sealed");
    let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
    let found = fixture.vault.attestations(&artifact, &fixture.policy()).expect("listed");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].predicate_type, "https://slsa.dev/provenance/v1");
    assert_eq!(found[0].signers, [fixture.signer.verifying_key().key_id()]);
}

#[test]
fn junk_among_the_attestations_stops_nothing() {
    let fixture = Fixture::new();
    let digest = two_files(&fixture, "m:1").digest;
    let folder = fixture.dir.path().join(attestations_folder(digest));
    let genuine = fs::read_dir(&folder).expect("folder").map(|e| e.expect("entry").path()).next().expect("one");
    let zeros = "0".repeat(64);
    fs::write(folder.join("a b.dsse.json"), "junk").expect("planted");
    std::os::unix::fs::symlink("/etc/hostname", folder.join(format!("{zeros}.dsse.json"))).expect("planted");
    fs::copy(&genuine, folder.join(format!("{}.dsse.json", "1".repeat(64)))).expect("planted");
    for name in ["m:1", &digest.to_string()] {
        fixture.verify(name).expect("not a denial of service");
        let artifact = fixture.vault.resolve(&reference(name), &fixture.policy()).expect("resolved");
        let listed = fixture.vault.attestations(&artifact, &fixture.policy()).expect("listed");
        assert_eq!(listed.iter().filter(|attestation| !attestation.signers.is_empty()).count(), 1);
        assert_eq!(listed.iter().filter(|attestation| attestation.predicate_type == "damaged").count(), 2);
    }
    fs::remove_file(&genuine).expect("removed");
    assert_eq!(kind(fixture.verify(&digest.to_string())), Kind::Authenticity, "a name that is not its hash");
}

#[test]
fn every_kind_of_recipient_opens_and_nobody_else_does() {
    let mut fixture = Fixture::new();
    let post_quantum = Identity::generate(RecipientKind::XWing).expect("key");
    let phrase = SecretVec::new(b"correct horse".to_vec());
    let mut audience = fixture.audience();
    audience.recipients.push(post_quantum.recipient().clone());
    audience.passphrases.push(phrase.clone());
    let mut request = fixture.request("m:1", vec![input("a", b"weights")]);
    request.audience = audience;
    fixture.vault.seal(request, &()).expect("sealed");

    let stranger = Identity::generate(RecipientKind::XWing).expect("key");
    let rings = [
        (std::mem::take(&mut fixture.ring), true),
        (Keyring { identities: vec![Box::new(post_quantum)], passphrases: Vec::new() }, true),
        (Keyring { identities: Vec::new(), passphrases: vec![phrase] }, true),
        (Keyring { identities: vec![Box::new(stranger)], passphrases: Vec::new() }, false),
        (Keyring { identities: Vec::new(), passphrases: vec![SecretVec::new(b"wrong".to_vec())] }, false),
        (Keyring::default(), false),
    ];
    for (number, (ring, opens)) in rings.into_iter().enumerate() {
        fixture.ring = ring;
        match fixture.read("m:1", "a") {
            Ok(plaintext) => assert!(opens && plaintext == b"weights", "ring {number}"),
            Err(error) => assert!(!opens && error.kind() == Kind::NoKey, "ring {number}: {error}"),
        }
    }
}

#[test]
fn an_audience_of_nobody_or_too_many_is_refused_before_anything_is_sealed() {
    let fixture = Fixture::new();
    let before = fixture.objects();
    let phrase = |text: &str| SecretVec::new(text.as_bytes().to_vec());
    for audience in [
        Audience::default(),
        Audience { recipients: Vec::new(), passphrases: vec![phrase("")] },
        Audience { recipients: Vec::new(), passphrases: vec![phrase("x"); 5] },
    ] {
        let mut request = fixture.request("m:1", vec![input("a", b"1")]);
        request.audience = audience;
        assert_eq!(kind(fixture.vault.seal(request, &())), Kind::Usage);
    }
    assert_eq!(fixture.objects(), before);
}

#[test]
fn a_crash_at_any_write_leaves_the_vault_valid_and_the_next_seal_succeeds() {
    let data = bytes(9 * PAYLOAD, 1);
    let attempt = |dir: &std::path::Path, faulty: Faulty| {
        let fixture = Fixture::new();
        let vault = Vault::open(Store::new(faulty)).expect("vault");
        let sealed = vault.seal(fixture.request("m:1", vec![input("a", &data), input("b", b"2")]), &());
        drop(vault);
        let after = Vault::open(store(dir)).expect("still a vault");
        (fixture, sealed, after)
    };
    let fresh = || {
        let dir = tempfile::tempdir().expect("folder");
        Vault::init(store(dir.path())).expect("vault");
        let backend = Directory::open(dir.path(), Durability::NoSync).expect("folder");
        (dir, backend)
    };
    let (dir, backend) = fresh();
    let counting = Faulty::counting(backend);
    attempt(dir.path(), counting.clone()).1.expect("sealed");
    let writes = counting.writes();
    assert!(writes > 15, "{writes} writes");

    for number in 1..=writes {
        for when in [When::Before, When::After] {
            let (dir, backend) = fresh();
            let (fixture, sealed, vault) = attempt(dir.path(), Faulty::failing(backend, number, when));
            let listing = vault.list(&fixture.policy()).expect("listed");
            let mut damage = Vec::new();
            vault
                .fsck(threads(1), &(), &mut |finding| {
                    if finding.is_damage() {
                        damage.push(finding);
                    }
                    Ok(())
                })
                .expect("looked over");
            assert!(damage.is_empty(), "write {number} {when:?}: {damage:?}");
            let committed = number == writes && when == When::After;
            assert!(sealed.is_err(), "write {number} {when:?}");
            assert_eq!(listing.versions.len(), usize::from(committed), "write {number} {when:?}");
            let next = fixture.request("m:2", vec![input("a", b"next")]);
            vault.seal(next, &()).expect("the next seal succeeds");
        }
    }
}

#[test]
fn fsck_names_everything_that_is_wrong() {
    let fixture = Fixture::new();
    two_files(&fixture, "m:1");
    two_files(&fixture, "m:2");
    let look = || {
        let mut findings = Vec::new();
        let report = fixture.vault.fsck(threads(2), &(), &mut |finding| {
            findings.push(finding);
            Ok(())
        });
        (report.expect("looked over"), findings)
    };
    let (report, findings) = look();
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!((report.versions, report.artifacts), (2, 2));

    let manifest = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved").manifest;
    let object = |hash: &blake3::Hash| fixture.dir.path().join(crate::parts::object_path(hash));
    let parts = &manifest.streams[0].parts;
    let mut damaged = fs::read(object(&parts[0])).expect("read");
    damaged[3 << 20] ^= 1;
    damaged[5 << 20] ^= 1;
    fs::write(object(&parts[0]), damaged).expect("written");
    fs::remove_file(object(&parts[1])).expect("removed");
    fs::remove_file(fixture.dir.path().join(version_path(&"m:2".parse().expect("a name")))).expect("removed");
    let orphan = fixture.dir.path().join(crate::parts::object_path(&blake3::hash(b"orphan")));
    fs::create_dir_all(orphan.parent().expect("folder")).expect("folder");
    fs::write(orphan, "orphan").expect("written");
    fs::write(fixture.dir.path().join("thesis.txt"), "x").expect("written");

    let (_, findings) = look();
    let text = findings.iter().map(|finding| format!("{finding:?}")).collect::<Vec<_>>();
    let damaged: Vec<_> = findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Damaged { error, object, .. } => {
                assert!(object.starts_with("objects/"), "{object}");
                Some(error.to_string())
            }
            _ => None,
        })
        .collect();
    assert_eq!(damaged.len(), 3, "{damaged:?}");
    assert!(damaged[0].starts_with("segment 3 of stream 0: expected BLAKE3"));
    assert!(damaged[1].starts_with("segment 5 of stream 0: expected BLAKE3"));
    assert!(damaged[2].starts_with("part 1 of stream 0") && damaged[2].ends_with("is missing"));
    for expected in ["Unpublished", "Orphan", "Foreign"] {
        assert_eq!(text.iter().filter(|finding| finding.starts_with(expected)).count(), 1, "{expected}: {text:?}");
    }
}

#[test]
fn both_stores_hold_the_same_vault() {
    use crate::store::Bucket;
    let bucket = Bucket::new(std::sync::Arc::new(object_store::memory::InMemory::new())).expect("bucket");
    let vault = Vault::init(Store::new(bucket)).expect("vault");
    let fixture = Fixture::new();
    let data = bytes(9 * PAYLOAD, 1);
    vault.seal(fixture.request("m:1", vec![input("a", &data)]), &()).expect("sealed");
    let policy = fixture.policy();
    let artifact = vault.resolve(&reference("m:1"), &policy).expect("resolved");
    vault.verify(&artifact, threads(2), &()).expect("verified");
    let opened = vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).expect("opened");
    assert!(opened.read(opened.index().file("a").expect("there"), &()).expect("read")[..] == data);
    let _ = small_parts();
}
