//! Attestations added later: which count, which are listed and do not, and that none is ever lost.

use std::path::PathBuf;

use super::*;
use crate::provenance::{Attested, Envelope, Predicate, PredicateType, VersionRecord};

const REPORT: &str = "https://example.com/evaluation/v1";

struct Reviewed {
    fixture: Fixture,
    artifact: Artifact,
    reviewer: SigningKey,
}

fn report(text: &str) -> Attested {
    let kind: PredicateType = REPORT.parse().expect("a type");
    Attested::parse(&kind, format!(r#"{{"says":{text:?}}}"#).as_bytes()).expect("legal")
}

fn which(text: &str) -> Which {
    text.parse().expect(text)
}

impl Reviewed {
    fn new() -> Self {
        let fixture = Fixture::new();
        fixture.seal("m:1", &[("a", b"weights")]);
        let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
        Self { fixture, artifact, reviewer: SigningKey::generate().expect("key") }
    }

    /// The sealer and the reviewer.
    fn both(&self) -> Policy {
        Policy::any_of(vec![self.fixture.signer.verifying_key(), self.reviewer.verifying_key()]).expect("keys")
    }

    fn attest(&self, text: &str, signer: &SigningKey) -> Added {
        self.fixture.vault.attest(&self.artifact, report(text), signer).expect("attested")
    }

    fn file(&self, added: &Added) -> PathBuf {
        self.fixture.dir.path().join(&added.path)
    }

    /// Plants an envelope beside the artifact under the name it should have.
    fn plant(&self, envelope: &[u8]) -> String {
        use sha2::Digest as _;
        let name = hex::encode(sha2::Sha256::digest(envelope));
        let folder = self.fixture.dir.path().join(attestations_folder(self.artifact.digest));
        fs::write(folder.join(format!("{name}.dsse.json")), envelope).expect("planted");
        name
    }

    /// How the attestation with this SHA-256 is listed: by how many it is signed, and why it does not count.
    fn listed(&self, sha256: &str, policy: &Policy) -> (String, usize, Option<String>) {
        let all = self.fixture.vault.attestations(&self.artifact, policy).expect("listed");
        let found = all.into_iter().find(|attestation| attestation.sha256 == sha256).expect("listed");
        (found.predicate_type, found.signers.len(), found.refusal.map(|error| error.to_string()))
    }
}

#[test]
fn attestations_are_added_beside_what_is_there_and_found_again() {
    let desk = Reviewed::new();
    let vault = &desk.fixture.vault;
    let before = desk.fixture.objects();
    let (one, two) = (desk.attest("good", &desk.reviewer), desk.attest("bad", &desk.reviewer));
    assert!(one.new && two.new && one.sha256 != two.sha256);
    assert!(!desk.attest("good", &desk.reviewer).new, "the same twice is one");
    let after = desk.fixture.objects();
    assert!(before.iter().all(|path| after.contains(path)) && after.len() == before.len() + 2);

    assert_eq!(desk.listed(&one.sha256, &desk.both()), (REPORT.to_owned(), 1, None));
    let found = vault.find_attestations(&desk.artifact, &desk.both(), &which(&one.sha256)).expect("found");
    assert_eq!(found[0].statement.predicate.predicate().members()["says"], "good");
    assert_eq!(found[0].statement.signers(), [desk.reviewer.verifying_key().key_id()]);
    assert_eq!(vault.find_attestations(&desk.artifact, &desk.both(), &which(REPORT)).expect("found").len(), 2);
    let missing = vault.find_attestations(&desk.artifact, &desk.both(), &which(&"0".repeat(64)));
    assert_eq!(kind(missing), Kind::NotFound);
    let missing = vault.find_attestations(&desk.artifact, &desk.both(), &which("a:b"));
    assert_eq!(kind(missing), Kind::NotFound);
}

#[test]
fn a_second_signature_under_a_version_is_for_its_name_only() {
    let desk = Reviewed::new();
    let vault = &desk.fixture.vault;
    let added = vault.sign_version(&desk.artifact, None, &desk.reviewer).expect("signed");
    assert_eq!(desk.listed(&added.sha256, &desk.both()), (VersionRecord::TYPE.to_owned(), 1, None));
    vault
        .require_attestation(&desk.artifact, &desk.both(), &VersionRecord::TYPE.parse().expect("a type"))
        .expect("is there");

    let digest = reference(&desk.artifact.digest.to_string());
    let unnamed = vault.resolve(&digest, &desk.fixture.policy()).expect("resolved");
    assert_eq!(kind(vault.sign_version(&unnamed, None, &desk.reviewer)), Kind::Usage);

    let record = VersionRecord::new(&"m:2".parse().expect("a name"), None).expect("randomness");
    let other = desk.plant(&seal::sign(desk.artifact.subject, record, &desk.reviewer).expect("signed"));
    let (_, signers, refusal) = desk.listed(&other, &desk.both());
    assert_eq!(signers, 0);
    assert!(refusal.expect("refused").contains("another name"));
}

#[test]
fn what_a_stranger_signed_or_somebody_moved_or_damaged_does_not_count() {
    let desk = Reviewed::new();
    let vault = &desk.fixture.vault;
    let wanted: PredicateType = REPORT.parse().expect("a type");
    let require = |policy: &Policy| vault.require_attestation(&desk.artifact, policy, &wanted);
    let refused = |sha256: &str| {
        let (_, signers, refusal) = desk.listed(sha256, &desk.both());
        assert_eq!(signers, 0);
        refusal.expect("refused")
    };
    assert!(require(&desk.both()).expect_err("none").to_string().ends_with("is missing"));

    let stranger = SigningKey::generate().expect("key");
    let foreign = desk.attest("trust me", &stranger);
    assert!(refused(&foreign.sha256).contains("no valid signature by an accepted signer"));
    assert_eq!(kind(vault.find_attestations(&desk.artifact, &desk.both(), &which(REPORT))), Kind::Authenticity);
    let error = require(&desk.both()).expect_err("by a stranger");
    assert_eq!(error.kind(), Kind::Authenticity);
    assert!(error.to_string().contains("not signed by an accepted signer"), "{error}");

    // Of another artifact, moved in.
    desk.fixture.seal("m:2", &[("a", b"other weights")]);
    let other = vault.resolve(&reference("m:2"), &desk.fixture.policy()).expect("resolved");
    let theirs = vault.attest(&other, report("of m:2"), &desk.reviewer).expect("attested");
    let moved = desk.plant(&fs::read(desk.file(&theirs)).expect("read"));
    assert!(refused(&moved).contains("another artifact"));

    // Unsigned, and no statement at all.
    let statement = Statement { subject: desk.artifact.subject, predicate: report("unsigned") };
    let mut envelope = Envelope::sign(statement.to_vec().expect("written"), &desk.reviewer)
        .expect("signed")
        .to_vec()
        .expect("written");
    let text = String::from_utf8(envelope.clone()).expect("UTF-8");
    let start = text.find(r#""signatures":["#).expect("there") + r#""signatures":["#.len();
    envelope.truncate(start);
    envelope.extend(b"]}");
    assert!(refused(&desk.plant(&envelope)).contains("is not signed"));
    assert!(refused(&desk.plant(b"junk")).contains("expected value"));
    assert!(require(&desk.both()).is_err());

    // Good, then renamed, then damaged.
    let good = desk.attest("good", &desk.reviewer);
    require(&desk.both()).expect("is there");
    assert!(require(&desk.fixture.policy()).is_err(), "the reviewer is not accepted here");
    let renamed = desk.file(&good).with_file_name(format!("{}.dsse.json", "1".repeat(64)));
    fs::rename(desk.file(&good), &renamed).expect("renamed");
    assert!(refused(&"1".repeat(64)).contains("SHA-256"));
    assert!(require(&desk.both()).is_err());
    let mut bytes = fs::read(&renamed).expect("read");
    bytes[40] ^= 1;
    fs::write(desk.file(&good), bytes).expect("written");
    assert_eq!(kind(vault.find_attestations(&desk.artifact, &desk.both(), &which(&good.sha256))), Kind::Integrity);
    // What was damaged is in the way of the same attestation.
    assert_eq!(kind(vault.attest(&desk.artifact, report("good"), &desk.reviewer)), Kind::Conflict);
    fs::remove_file(desk.file(&good)).expect("removed");
    assert!(desk.attest("good", &desk.reviewer).new);
}

/// A predicate of any shape, as only a signer with another program could sign it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Anything(serde_json::Value);

impl Predicate for Anything {
    const TYPE: &'static str = REPORT;
    const CANONICAL: bool = false;
}

#[test]
fn signed_predicates_against_the_rules_do_not_count() {
    let desk = Reviewed::new();
    let mut deep = serde_json::json!({});
    for _ in 0..70 {
        deep = serde_json::json!({ "x": deep });
    }
    for (predicate, rule) in [(deep, "too deeply"), (serde_json::json!([]), "a map"), (serde_json::json!(1), "a map")] {
        let envelope = seal::sign(desk.artifact.subject, Anything(predicate), &desk.reviewer).expect("signed");
        let (kind, signers, refusal) = desk.listed(&desk.plant(&envelope), &desk.both());
        assert_eq!((kind.as_str(), signers), (REPORT, 0));
        assert!(refusal.expect("refused").contains(rule), "{rule}");
    }
    let statement = Statement { subject: desk.artifact.subject, predicate: report("x") };
    let payload = String::from_utf8(statement.to_vec().expect("written")).expect("UTF-8");
    let twice = payload.replace(r#"{"says":"x"}"#, r#"{"says":"x","says":"y"}"#);
    assert_ne!(twice, payload);
    let envelope = Envelope::sign(twice.into_bytes(), &desk.reviewer).expect("signed").to_vec().expect("written");
    let (_, _, refusal) = desk.listed(&desk.plant(&envelope), &desk.both());
    assert!(refusal.expect("refused").contains("a key twice"));
}

#[test]
fn no_more_attestations_are_added_than_are_looked_at() {
    let desk = Reviewed::new();
    for number in 0..1000 {
        desk.plant(format!("junk {number}").as_bytes());
    }
    let vault = &desk.fixture.vault;
    assert_eq!(vault.attestations(&desk.artifact, &desk.both()).expect("listed").len(), 1000);
    assert_eq!(kind(vault.attest(&desk.artifact, report("late"), &desk.reviewer)), Kind::Usage);
}

#[test]
fn private_provenance_is_in_the_index_and_nowhere_else() {
    let fixture = Fixture::new();
    let secret = "https://secret.example/recipe";
    let text = format!(
        r#"{{"buildDefinition":{{"buildType":"{secret}","externalParameters":{{"lr":0.1}}}},"runDetails":{{"builder":{{"id":"a:b"}}}}}}"#
    );
    let private = Provenance::parse(text.as_bytes()).expect("valid");
    let mut request = fixture.request("m:1", vec![input("a", b"1")]);
    request.private_provenance = Some(private.clone());
    fixture.vault.seal(request, &()).expect("sealed");
    for path in fixture.objects() {
        let bytes = fs::read(&path).expect("read");
        let mut text = String::from_utf8_lossy(&bytes).into_owned();
        if let Ok(envelope) = Envelope::parse(&bytes) {
            text += &String::from_utf8_lossy(envelope.payload());
        }
        assert!(!text.contains("secret.example"), "{}", path.display());
    }
    let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
    let opened = fixture.vault.open_artifact(&artifact, &fixture.policy(), &fixture.ring, reading()).expect("opened");
    let kept = opened.index().notes().provenance.as_ref().expect("kept");
    assert_eq!(Provenance::parse(kept.as_bytes()).expect("valid"), private);
}

#[test]
fn a_version_signed_by_somebody_else_later_is_found_by_whoever_believes_them() {
    let desk = Reviewed::new();
    let vault = &desk.fixture.vault;
    let reviewer = Policy::any_of(vec![desk.reviewer.verifying_key()]).expect("keys");
    let resolve = || vault.resolve(&reference("m:1"), &reviewer);
    assert_eq!(kind(resolve()), Kind::Authenticity);
    let about = |name: &str, subject: Subject| {
        let predicate = VersionRecord::new(&name.parse().expect("a name"), None).expect("randomness");
        let statement = Statement { subject, predicate };
        Envelope::sign(statement.to_vec().expect("written"), &desk.reviewer).expect("signed").to_vec().expect("written")
    };
    desk.plant(&about("m:2", desk.artifact.subject));
    desk.plant(&about("m:1", Subject::of(b"another manifest")));
    desk.plant(b"junk");
    assert_eq!(kind(resolve()), Kind::Authenticity, "another name, or another artifact");
    let mut artifact = desk.artifact.clone();
    artifact.name = Some("m:1".parse().expect("a name"));
    let added = vault.sign_version(&artifact, None, &desk.reviewer).expect("signed");
    let found = resolve().expect("vouched for");
    assert_eq!(found.digest, desk.artifact.digest);
    assert_eq!(found.manifest.signers(), [desk.reviewer.verifying_key().key_id()]);
    assert_eq!(found.record.expect("a record").path, added.path);
    let stranger = Policy::any_of(vec![SigningKey::generate().expect("key").verifying_key()]).expect("keys");
    assert_eq!(kind(vault.resolve(&reference("m:1"), &stranger)), Kind::Authenticity);
}

#[test]
fn copies_of_one_attestation_are_one() {
    let desk = Reviewed::new();
    let added = desk.attest("good", &desk.reviewer);
    let original = Envelope::parse(&fs::read(desk.file(&added)).expect("read")).expect("an envelope");
    for _ in 0..3 {
        let mut copy = original.clone();
        copy.add_signature(&SigningKey::generate().expect("key")).expect("signed");
        desk.plant(&copy.to_vec().expect("written"));
    }
    let vault = &desk.fixture.vault;
    let found = vault.find_attestations(&desk.artifact, &desk.both(), &which(REPORT)).expect("found");
    assert_eq!(found.len(), 1, "the same signed by the same");
    let mut other = original;
    other.add_signature(&desk.fixture.signer).expect("signed");
    desk.plant(&other.to_vec().expect("written"));
    let found = vault.find_attestations(&desk.artifact, &desk.both(), &which(REPORT)).expect("found");
    assert_eq!(found.len(), 2, "one more who signed is news");
    vault.require_attestation(&desk.artifact, &desk.both(), &REPORT.parse().expect("a type")).expect("there");
}
