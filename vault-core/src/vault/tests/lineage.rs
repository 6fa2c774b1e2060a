//! Ancestry: followed, verified, and finite whatever provenance says.

use std::collections::BTreeMap;

use super::*;
use crate::provenance::{Attested, Dependency, Predicate, Role};

/// Seals `name` from these bases and returns its digest.
fn seal_from(fixture: &Fixture, name: &str, bases: &[&str]) -> String {
    let provenance = Provenance::of_seal(&name.parse().expect(name));
    let bases: Vec<_> = bases.iter().map(|base| reference(base)).collect();
    let (provenance, found) = fixture.vault.link(provenance, &bases, &fixture.policy()).expect("linked");
    assert_eq!(found.len(), bases.len());
    let mut request = fixture.request(name, vec![input("a", name.as_bytes())]);
    request.provenance = Some(provenance);
    fixture.vault.seal(request, &()).expect("sealed").digest.to_string()
}

fn resolved(fixture: &Fixture, name: &str) -> Artifact {
    fixture.vault.resolve(&reference(name), &fixture.policy()).expect("resolved")
}

/// Depth, label and state of everything in the lineage of `name`.
fn lineage(fixture: &Fixture, name: &str) -> Vec<(usize, String, String)> {
    let found = fixture.vault.lineage(&resolved(fixture, name), &fixture.policy()).expect("walked");
    let state = |state: &State| match state {
        State::Verified(signers) => format!("verified {}", signers.len()),
        State::Refused(error) => format!("{:?}: {error}", error.kind()),
        other => format!("{other:?}"),
    };
    found.iter().map(|a| (a.depth, a.label.clone().unwrap_or_default(), state(&a.state))).collect()
}

fn rows(rows: &[(usize, &str, &str)]) -> Vec<(usize, String, String)> {
    rows.iter().map(|(depth, label, state)| (*depth, (*label).to_owned(), (*state).to_owned())).collect()
}

/// Signs provenance about `name` that names these dependencies.
fn attest_inputs(fixture: &Fixture, name: &str, inputs: &[Dependency]) {
    let provenance = Provenance::of_seal(&"x:1".parse().expect("a name")).with(inputs).expect("room");
    let kind = Provenance::TYPE.parse().expect("a type");
    let predicate = Attested::parse(&kind, provenance.to_text().expect("text").as_bytes()).expect("legal");
    fixture.vault.attest(&resolved(fixture, name), predicate, &fixture.signer).expect("attested");
}

#[test]
fn the_ancestry_is_walked_and_what_is_shared_is_shown_once() {
    let fixture = Fixture::new();
    seal_from(&fixture, "base:1", &[]);
    let left = seal_from(&fixture, "left:1", &["base:1"]);
    seal_from(&fixture, "right:1", &["base:1"]);
    seal_from(&fixture, "merge:1", &[&left, "right:1"]);
    assert_eq!(
        lineage(&fixture, "merge:1"),
        rows(&[
            (0, "merge:1", "verified 1"),
            (1, &left, "verified 1"),
            (2, "base:1", "verified 1"),
            (1, "right:1", "verified 1"),
            (2, "base:1", "Repeated"),
        ])
    );
    let walked = fixture.vault.lineage(&resolved(&fixture, "merge:1"), &fixture.policy()).expect("walked");
    assert_eq!(walked.iter().map(|a| a.went_into).collect::<Vec<_>>(), [None, Some(0), Some(1), Some(0), Some(3)]);
}

#[test]
fn a_base_model_that_is_not_there_or_not_trusted_is_not_linked() {
    let fixture = Fixture::new();
    seal_from(&fixture, "base:1", &[]);
    let own = || Provenance::of_seal(&"m:1".parse().expect("a name"));
    let link = |name: &str, policy: &Policy| fixture.vault.link(own(), &[reference(name)], policy);
    assert_eq!(kind(link("base:2", &fixture.policy())), Kind::NotFound);
    assert_eq!(kind(link(&format!("b3:{}", "0".repeat(64)), &Policy::InsecureSkipSignature)), Kind::NotFound);
    let stranger = Policy::any_of(vec![SigningKey::generate().expect("key").verifying_key()]).expect("a key");
    assert_eq!(kind(link("base:1", &stranger)), Kind::Authenticity);
    let (linked, _) = link("base:1", &Policy::InsecureSkipSignature).expect("linked as found");
    assert!(linked.dependencies().expect("few")[0].is(&resolved(&fixture, "base:1").subject));
}

#[test]
fn an_ancestor_that_is_gone_is_missing_and_one_that_does_not_verify_is_refused() {
    let fixture = Fixture::new();
    let digest = seal_from(&fixture, "base:1", &[]);
    seal_from(&fixture, "m:1", &["base:1"]);
    let state = || lineage(&fixture, "m:1").remove(1).2;
    let digest: ArtifactDigest = digest.parse().expect("a digest");
    let manifest = fixture.dir.path().join(manifest_path(digest));
    let good = fs::read(&manifest).expect("read");

    let mut bad = good.clone();
    bad[0] ^= 1;
    fs::write(&manifest, bad).expect("written");
    assert!(state().starts_with("Integrity: manifest: expected BLAKE3"), "{}", state());
    fs::remove_file(&manifest).expect("removed");
    assert_eq!(state(), "Missing");
    fs::write(&manifest, good).expect("restored");
    assert_eq!(state(), "verified 1");

    // Withheld: an artifact has provenance, so one without it does not pass for one without ancestors.
    let own = fixture.dir.path().join(attestations_folder(resolved(&fixture, "m:1").digest));
    fs::rename(&own, own.with_file_name("hidden")).expect("hidden");
    let hidden = fixture.vault.lineage(&resolved(&fixture, "m:1"), &fixture.policy());
    assert_eq!(kind(hidden), Kind::Authenticity);
    fs::rename(own.with_file_name("hidden"), &own).expect("restored");

    // Forged: the provenance of the ancestor is by somebody else now.
    let folder = fixture.dir.path().join(attestations_folder(digest));
    let genuine = fs::read_dir(&folder).expect("folder").map(|e| e.expect("entry").path()).next().expect("one");
    fs::remove_file(&genuine).expect("removed");
    assert!(state().starts_with("Authenticity: ") && state().ends_with("is missing"), "{}", state());
    let stranger = SigningKey::generate().expect("key");
    let forged = Provenance::of_seal(&"base:1".parse().expect("a name"));
    let subject = resolved_anyhow(&fixture, "base:1").subject;
    fixture.vault.add_attestation(digest, &seal::sign(subject, forged, &stranger).expect("signed")).expect("planted");
    assert!(state().starts_with("Authenticity: ") && state().ends_with("accepted signer"), "{}", state());
}

fn resolved_anyhow(fixture: &Fixture, name: &str) -> Artifact {
    fixture.vault.resolve(&reference(name), &Policy::InsecureSkipSignature).expect("resolved")
}

#[test]
fn what_is_outside_the_vault_is_listed_with_its_digests() {
    let fixture = Fixture::new();
    seal_from(&fixture, "m:1", &[]);
    let zeros = "0".repeat(64);
    let outside = Dependency {
        name: Some("gemma".into()),
        uri: Some("https://example.com/gemma".into()),
        digest: BTreeMap::from([("blake3".into(), zeros.clone())]),
        role: Some(Role::DataSet),
    };
    attest_inputs(&fixture, "m:1", std::slice::from_ref(&outside));
    // The same said twice is one thing.
    attest_inputs(&fixture, "m:1", &[outside.clone(), Dependency { role: None, ..outside }]);
    let found = fixture.vault.lineage(&resolved(&fixture, "m:1"), &fixture.policy()).expect("walked");
    assert_eq!(found.len(), 3);
    assert!(matches!(found[1].state, State::Outside) && found[1].digests["blake3"] == zeros);
    assert_eq!((found[1].label.as_deref(), found[1].artifact), (Some("gemma"), None));
}

#[test]
fn a_cycle_ends() {
    let fixture = Fixture::new();
    seal_from(&fixture, "a:1", &[]);
    seal_from(&fixture, "b:1", &["a:1"]);
    let link = |name: &str| Dependency::artifact(&reference(name), &resolved(&fixture, name).subject);
    attest_inputs(&fixture, "a:1", &[link("b:1"), link("a:1")]);
    assert_eq!(
        lineage(&fixture, "a:1"),
        rows(&[(0, "a:1", "verified 1"), (1, "b:1", "verified 1"), (2, "a:1", "Cycle"), (1, "a:1", "Cycle"),])
    );
}

#[test]
fn an_ancestor_under_two_digests_of_two_manifests_is_refused() {
    let fixture = Fixture::new();
    seal_from(&fixture, "a:1", &[]);
    seal_from(&fixture, "b:1", &[]);
    let mut crossed = Dependency::artifact(&reference("a:1"), &resolved(&fixture, "a:1").subject);
    crossed.digest.insert("sha256".into(), hex::encode(resolved(&fixture, "b:1").subject.sha256));
    attest_inputs(&fixture, "b:1", &[crossed]);
    assert!(lineage(&fixture, "b:1")[1].2.starts_with("Integrity: manifest: has another SHA-256"));
}

#[test]
fn an_absurdly_wide_ancestry_is_refused() {
    let fixture = Fixture::new();
    seal_from(&fixture, "m:1", &[]);
    for half in ["x", "y"] {
        let thing = |number| Dependency { name: Some(format!("{half}{number}")), ..Dependency::default() };
        attest_inputs(&fixture, "m:1", &(0..6000).map(thing).collect::<Vec<_>>());
    }
    let refused = fixture.vault.lineage(&resolved(&fixture, "m:1"), &fixture.policy());
    assert!(refused.expect_err("wide").to_string().contains("limit of 10000"));
}

#[test]
fn a_long_line_of_descent_is_followed_to_its_end() {
    let fixture = Fixture::new();
    seal_from(&fixture, "m:0", &[]);
    for number in 1..70 {
        seal_from(&fixture, &format!("m:{number}"), &[&format!("m:{}", number - 1)]);
    }
    let found = lineage(&fixture, "m:69");
    assert_eq!(found.len(), 70);
    assert_eq!(found[69], (69, "m:0".to_owned(), "verified 1".to_owned()));
}
