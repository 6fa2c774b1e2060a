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
        (Keyring { identities: vec![post_quantum], passphrases: Vec::new() }, true),
        (Keyring { identities: Vec::new(), passphrases: vec![phrase] }, true),
        (Keyring { identities: vec![stranger], passphrases: Vec::new() }, false),
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

/// Sharing with somebody new, removing somebody, and what hostile generations do.
mod sharing {
    use super::*;

    struct Shared {
        fixture: Fixture,
        artifact: Artifact,
    }

    impl Shared {
        fn new() -> Self {
            let fixture = Fixture::new();
            two_files(&fixture, "m:1");
            let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
            Self { fixture, artifact }
        }

        fn share(&self, change: &Change) -> Result<Access> {
            let Self { fixture, artifact } = self;
            fixture.vault.share(artifact, &fixture.policy(), &fixture.ring, change, &fixture.signer)
        }

        fn access(&self) -> Access {
            self.fixture.vault.access(&self.artifact, &self.fixture.policy()).expect("access")
        }

        fn plant(&self, generation: u64, envelope: &[u8]) {
            let path = self.fixture.dir.path().join(recipients_path(self.artifact.digest, generation));
            fs::write(path, envelope).expect("planted");
        }

        fn generation(&self, generation: u64) -> Vec<u8> {
            let path = self.fixture.dir.path().join(recipients_path(self.artifact.digest, generation));
            fs::read(path).expect("there")
        }

        /// A generation signed by `signer` with the stanzas that count now.
        fn signed(&self, subject: Subject, generation: u64, signer: &SigningKey) -> Vec<u8> {
            let stanzas = self.access().stanzas;
            let record = RecipientsRecord::new(generation, None, &stanzas);
            seal::sign(subject, record.expect("legal"), signer).expect("signed")
        }
    }

    fn add(identity: &Identity) -> Change {
        let add = Audience { recipients: vec![identity.recipient().clone()], passphrases: Vec::new() };
        Change { add, ..Change::default() }
    }

    #[test]
    fn a_new_recipient_opens_and_a_removed_one_does_not() {
        let mut shared = Shared::new();
        let newcomer = Identity::generate(RecipientKind::XWing).expect("key");
        let objects = |shared: &Shared| {
            let all = shared.fixture.objects();
            all.into_iter().filter(|path| path.components().any(|c| c.as_os_str() == "objects")).collect::<Vec<_>>()
        };
        let before = objects(&shared);
        assert_eq!(shared.share(&add(&newcomer)).expect("shared").generation, 2);
        assert_eq!(shared.share(&add(&newcomer)).expect("no change").generation, 2);
        assert_eq!(objects(&shared), before, "no weights were touched");

        let first = shared.fixture.ring.identities.remove(0);
        shared.fixture.ring.identities.push(newcomer);
        assert_eq!(shared.fixture.read("m:1", "config.json").expect("opens"), b"{}");

        let remove = Change { remove: vec![first.key_id()], ..Change::default() };
        assert_eq!(shared.share(&remove).expect("removed").generation, 3);
        assert_eq!(kind(shared.share(&remove)), Kind::NotFound);
        shared.fixture.ring.identities = vec![first];
        assert_eq!(kind(shared.fixture.read("m:1", "config.json")), Kind::NoKey);
    }

    #[test]
    fn the_last_recipient_cannot_be_removed_and_a_stranger_cannot_share() {
        let mut shared = Shared::new();
        let only = shared.fixture.ring.identities[0].key_id();
        assert_eq!(kind(shared.share(&Change { remove: vec![only], ..Change::default() })), Kind::Usage);
        let newcomer = Identity::generate(RecipientKind::X25519).expect("key");
        shared.fixture.ring = Keyring { identities: vec![newcomer], passphrases: Vec::new() };
        let other = Identity::generate(RecipientKind::X25519).expect("key");
        assert_eq!(kind(shared.share(&add(&other))), Kind::NoKey);
    }

    #[test]
    fn generations_that_are_not_valid_are_skipped_reported_and_burn_their_number() {
        let shared = Shared::new();
        let subject = shared.artifact.subject;
        let stranger = SigningKey::generate().expect("key");
        let mut unsigned: serde_json::Value = serde_json::from_slice(&shared.generation(1)).expect("JSON");
        unsigned["signatures"] = serde_json::json!([]);
        shared.plant(2, unsigned.to_string().as_bytes());
        shared.plant(3, &shared.signed(subject, 3, &stranger));
        shared.plant(4, b"not an envelope");
        // Generation 1, signed as such, presented as generation 5.
        shared.plant(5, &shared.generation(1));
        // A generation of another artifact.
        shared.plant(6, &shared.signed(Subject::of(b"another manifest"), 6, &shared.fixture.signer));

        let access = shared.access();
        assert_eq!(access.generation, 1);
        let reasons: Vec<_> = access.skipped.iter().map(|s| (s.generation, s.reason.to_string())).collect();
        assert_eq!(reasons.iter().map(|(generation, _)| *generation).collect::<Vec<_>>(), [6, 5, 4, 3, 2]);
        for (reason, expected) in reasons.iter().zip([
            "another artifact",
            "another generation",
            "envelope",
            "no valid signature",
            "not signed",
        ]) {
            assert!(reason.1.contains(expected), "{reason:?}");
        }
        assert!(shared.fixture.read("m:1", "config.json").is_ok(), "not a denial of service");

        let newcomer = Identity::generate(RecipientKind::X25519).expect("key");
        assert_eq!(shared.share(&add(&newcomer)).expect("shared").generation, 7);
    }

    #[test]
    fn junk_under_the_highest_number_does_not_undo_a_removal() {
        let mut shared = Shared::new();
        let newcomer = Identity::generate(RecipientKind::X25519).expect("key");
        shared.share(&add(&newcomer)).expect("shared");
        shared.plant(9_007_199_254_740_991, b"junk");
        shared.plant(9_007_199_254_740_992, b"junk");
        let remove = Change { remove: vec![newcomer.key_id()], ..Change::default() };
        assert_eq!(shared.share(&remove).expect("removed").generation, 3);
        shared.fixture.ring.identities = vec![newcomer];
        assert_eq!(kind(shared.fixture.read("m:1", "config.json")), Kind::NoKey);
    }

    #[test]
    fn a_foreign_stanza_in_a_signed_generation_does_not_unlock() {
        let shared = Shared::new();
        let other = Fixture::new();
        two_files(&other, "m:1");
        let theirs = other.vault.resolve(&reference("m:1"), &other.policy()).expect("resolved");
        let stanzas = other.vault.access(&theirs, &other.policy()).expect("access").stanzas;
        let record = RecipientsRecord::new(2, None, &stanzas).expect("legal");
        let envelope = seal::sign(shared.artifact.subject, record, &shared.fixture.signer).expect("signed");
        shared.plant(2, &envelope);
        let policy = shared.fixture.policy();
        assert_eq!(kind(shared.fixture.vault.unlock(&shared.artifact, &policy, &other.ring)), Kind::NoKey);
    }

    #[test]
    fn stanzas_added_dropped_or_reordered_break_the_signature() {
        let shared = Shared::new();
        let newcomer = Identity::generate(RecipientKind::X25519).expect("key");
        shared.share(&add(&newcomer)).expect("shared");
        let envelope = shared.generation(2);
        let parsed = crate::provenance::Envelope::parse(&envelope).expect("envelope");
        let statement = Statement::<RecipientsRecord>::parse(parsed.payload()).expect("statement");
        let stanzas = statement.predicate.stanzas().expect("legal");
        let reordered = [stanzas[1].clone(), stanzas[0].clone()];
        let added = [stanzas[0].clone(), stanzas[1].clone(), stanzas[0].clone()];
        for forged in [&stanzas[..1], &reordered[..], &added[..]] {
            let record = RecipientsRecord::new(2, None, forged).expect("legal");
            let payload = Statement { subject: shared.artifact.subject, predicate: record }.to_vec().expect("written");
            let mut json: serde_json::Value = serde_json::from_slice(&envelope).expect("JSON");
            json["payload"] = canonical::encode_base64(&payload).into();
            shared.plant(2, json.to_string().as_bytes());
            assert_eq!(shared.access().generation, 1);
        }
    }
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
            Finding::Damaged { error, .. } => Some(error.to_string()),
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

/// What an extraction leaves behind, and what it refuses.
mod extraction {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn open(fixture: &Fixture, destination: Destination<'_>) -> Result<()> {
        let policy = fixture.policy();
        let artifact = fixture.vault.resolve(&reference("m:1"), &policy)?;
        let opened = fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading())?;
        extract(&opened, destination, &())
    }

    fn fixture() -> Fixture {
        let fixture = Fixture::new();
        let data = bytes(9 * PAYLOAD, 1);
        let mut inputs = vec![input("sub/dir/b", b"2"), input("empty", b"")];
        inputs.push(crate::source::Input { executable: true, ..input("a.bin", &data) });
        fixture.vault.seal(fixture.request("m:1", inputs), &()).expect("sealed");
        fixture
    }

    fn names(path: &std::path::Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(path)
            .expect("folder")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_keep_their_paths_and_executable_bits_and_are_private() {
        let (fixture, out) = (fixture(), tempfile::tempdir().expect("folder"));
        for target in [out.path().join("new"), out.path().to_path_buf()] {
            open(&fixture, Destination::Folder(&target)).expect("opened");
            assert_eq!(fs::read(target.join("a.bin")).expect("read"), bytes(9 * PAYLOAD, 1));
            assert_eq!(fs::read(target.join("sub/dir/b")).expect("read"), b"2");
            assert_eq!(fs::read(target.join("empty")).expect("read"), b"");
            let mode = |name: &str| fs::metadata(target.join(name)).expect("there").permissions().mode() & 0o777;
            assert_eq!((mode("a.bin"), mode("empty"), mode("sub")), (0o700, 0o600, 0o700));
        }
        assert_eq!(names(out.path()), ["a.bin", "empty", "new", "sub"]);
    }

    #[test]
    fn nothing_that_exists_is_replaced_and_links_are_not_followed() {
        let (fixture, out) = (fixture(), tempfile::tempdir().expect("folder"));
        fs::write(out.path().join("empty"), "mine").expect("written");
        assert_eq!(kind(open(&fixture, Destination::Folder(out.path()))), Kind::Conflict);
        assert_eq!(names(out.path()), ["empty"]);
        let target = out.path().join("empty");
        let file = Destination::File { path: "a.bin", target: &target };
        assert_eq!(kind(open(&fixture, file)), Kind::Conflict);
        fs::remove_file(&target).expect("removed");

        let elsewhere = tempfile::tempdir().expect("folder");
        symlink(elsewhere.path(), out.path().join("sub")).expect("link");
        assert_eq!(kind(open(&fixture, Destination::Folder(out.path()))), Kind::Conflict);
        assert!(names(elsewhere.path()).is_empty());
        assert_eq!(names(out.path()), ["sub"], "noticed before anything was opened");
        fs::remove_file(out.path().join("sub")).expect("removed");
        fs::create_dir(out.path().join("sub")).expect("folder");
        fs::write(out.path().join("sub/dir"), "mine").expect("written");
        assert_eq!(kind(open(&fixture, Destination::Folder(out.path()))), Kind::Conflict);
        assert_eq!(kind(open(&fixture, Destination::Folder(&out.path().join("sub/dir")))), Kind::Conflict);
        assert_eq!(names(out.path()), ["sub"]);
    }

    #[test]
    fn after_a_failure_nothing_is_left() {
        let (fixture, out) = (fixture(), tempfile::tempdir().expect("folder"));
        let policy = fixture.policy();
        let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("resolved");
        let last = artifact.manifest.streams[0].parts[1];
        let path = fixture.dir.path().join(crate::parts::object_path(&last));
        let mut part = fs::read(&path).expect("read");
        let end = part.len() - 1;
        part[end] ^= 1;
        fs::write(&path, part).expect("written");
        let new = out.path().join("new");
        let single = out.path().join("single");
        for destination in [
            Destination::Folder(&new),
            Destination::Folder(out.path()),
            Destination::File { path: "a.bin", target: &single },
        ] {
            assert_eq!(kind(open(&fixture, destination)), Kind::Integrity);
            assert!(names(out.path()).is_empty(), "{:?}", names(out.path()));
        }
        let good = Destination::File { path: "sub/dir/b", target: &single };
        open(&fixture, good).expect("an undamaged file opens");
        assert_eq!(fs::read(&single).expect("read"), b"2");
    }
}

/// Segments and parts moved, cut, doubled: keyless verification and opening both notice, before anything is used.
mod tampering {
    use super::*;

    const MIB: usize = 1 << 20;

    fn refused(fixture: &Fixture, what: &str) {
        assert_eq!(kind(fixture.verify("m:1")), Kind::Integrity, "{what}: verify");
        assert_eq!(kind(fixture.read("m:1", "a")), Kind::Integrity, "{what}: open");
    }

    #[test]
    fn changed_parts_are_refused_and_restored_ones_pass() {
        let fixture = Fixture::new();
        let data = bytes(20 * PAYLOAD, 1);
        fixture.seal("m:1", &[("a", &data), ("b", &data)]);
        fixture.seal("m:2", &[("a", &data), ("b", &data)]);
        let manifest = |name: &str| {
            fixture.vault.resolve(&reference(name), &fixture.policy()).expect("resolved").manifest.into_inner()
        };
        let (one, two) = (manifest("m:1"), manifest("m:2"));
        let path = |hash: &blake3::Hash| fixture.dir.path().join(crate::parts::object_path(hash));
        let target = path(&one.streams[0].parts[0]);
        let good = fs::read(&target).expect("read");
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut part = good.clone();
            change(&mut part);
            part
        };
        let segment = |part: &[u8], i: usize| part[i * MIB..(i + 1) * MIB].to_vec();
        let put = |part: &mut Vec<u8>, i: usize, bytes: &[u8]| part[i * MIB..(i + 1) * MIB].copy_from_slice(bytes);
        let other_file = fs::read(path(&one.streams[1].parts[0])).expect("read");
        let other_seal = fs::read(path(&two.streams[0].parts[0])).expect("read");
        let other_part = fs::read(path(&one.streams[0].parts[1])).expect("read");
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("a segment dropped", with(&|p| drop(p.drain(MIB..2 * MIB)))),
            ("cut by a byte", with(&|p| p.truncate(p.len() - 1))),
            ("cut by a segment", with(&|p| p.truncate(p.len() - MIB))),
            ("emptied", Vec::new()),
            ("a byte appended", with(&|p| p.push(0))),
            ("a segment appended", with(&|p| p.extend_from_within(..MIB))),
            (
                "two segments swapped",
                with(&|p| {
                    let (a, b) = (segment(p, 1), segment(p, 2));
                    put(p, 1, &b);
                    put(p, 2, &a);
                }),
            ),
            ("a segment doubled", with(&|p| p.copy_within(MIB..2 * MIB, 2 * MIB))),
            (
                "reversed",
                with(&|p| {
                    let all: Vec<_> = (0..8).rev().flat_map(|i| segment(p, i)).collect();
                    *p = all;
                }),
            ),
            ("a segment of another file", with(&|p| put(p, 1, &segment(&other_file, 1)))),
            ("a segment of another seal of the same input", with(&|p| put(p, 1, &segment(&other_seal, 1)))),
            ("another part of the same stream", other_part),
            ("the length field says final", with(&|p| p[..4].copy_from_slice(&(1u32 << 20).to_be_bytes()))),
        ];
        for (what, part) in cases {
            fs::write(&target, part).expect("written");
            refused(&fixture, what);
        }
        fs::remove_file(&target).expect("removed");
        refused(&fixture, "a part removed");
        fs::write(&target, &good).expect("restored");
        fixture.verify("m:1").expect("restored");
        assert!(fixture.read("m:1", "a").expect("restored") == data);

        let tree = path(&one.streams[0].tree.expect("a tree"));
        let mut bad = fs::read(&tree).expect("read");
        bad.swap(0, 32);
        fs::write(&tree, bad).expect("written");
        refused(&fixture, "a tree changed");
    }

    #[test]
    fn a_part_swapped_after_it_was_checked_changes_nothing() {
        let fixture = Fixture::new();
        let data = bytes(3 * PAYLOAD, 1);
        fixture.seal("m:1", &[("a", &data)]);
        let policy = fixture.policy();
        let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("resolved");
        let opened = fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).expect("opened");
        let file = opened.index().file("a").expect("there");
        let buffer = opened.read(file, &()).expect("read");
        // Now the store lies: what was read stays as it was, what is read next is refused.
        let part = fixture.dir.path().join(crate::parts::object_path(&artifact.manifest.streams[0].parts[0]));
        fs::write(&part, vec![0; fs::metadata(&part).expect("there").len().try_into().expect("small")])
            .expect("written");
        assert!(buffer[..] == data[..]);
        assert_eq!(kind(opened.read(file, &())), Kind::Integrity);
        let mut given = Vec::new();
        let mut take = |piece: &[u8]| {
            given.extend_from_slice(piece);
            Ok(())
        };
        let streamed = opened.stream(file, 0..file.size, &mut take, &());
        assert!(streamed.is_err() && given.is_empty(), "nothing unauthenticated comes out");
    }

    /// Every bit of every object of a small vault, one after the other: no change goes unnoticed, and none panics.
    #[test]
    fn no_flipped_bit_goes_unnoticed() {
        let fixture = Fixture::new();
        fixture.seal("m:1", &[("a", b"weights"), ("b/c", b"more weights")]);
        let policy = fixture.policy();
        let vault_json = fixture.dir.path().join(VAULT_JSON);
        for path in fixture.objects().into_iter().filter(|path| *path != vault_json) {
            let good = fs::read(&path).expect("read");
            let artifact_files = path.display().to_string();
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1 << (at % 8);
                fs::write(&path, &bad).expect("written");
                let outcome = check(&fixture, &policy);
                assert!(outcome.is_err(), "byte {at} of {artifact_files}");
            }
            fs::write(&path, &good).expect("restored");
        }
        check(&fixture, &policy).expect("restored");
    }

    /// All that a reader and an auditor look at. Members that DSSE tells readers to ignore are compared as parsed.
    fn check(fixture: &Fixture, policy: &Policy) -> std::result::Result<(), String> {
        let text = |e: Error| e.to_string();
        let artifact = fixture.vault.resolve(&reference("m:1"), policy).map_err(text)?;
        fixture.vault.verify(&artifact, threads(1), &()).map_err(text)?;
        let access = fixture.vault.access(&artifact, policy).map_err(text)?;
        if !access.skipped.is_empty() {
            return Err("a generation was skipped".into());
        }
        if fixture.vault.attestations(&artifact, policy).map_err(text)?.iter().any(|a| a.signers.is_empty()) {
            return Err("an attestation does not count".into());
        }
        for file in ["a", "b/c"] {
            fixture.read("m:1", file).map_err(text)?;
        }
        Ok(())
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
