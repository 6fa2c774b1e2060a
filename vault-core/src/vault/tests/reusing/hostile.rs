//! Signers who lie: their signature counts, and what they say does not hold together.

use super::*;
use crate::{
    aead::Engine,
    index::{Index, Region},
    manifest::{Manifest, Stream},
    parts::Sink,
    provenance::VersionRecord,
    seal::{Reuse, SealedBefore},
    secret::Secret,
    stream::{Dek, StreamKey},
    tree::{INDEX_STREAM, Layout},
    wrap,
};

/// An artifact before it is published: anything may be changed about it.
struct Draft {
    manifest: Manifest,
    dek: Dek,
    index: Index,
}

impl Draft {
    fn new(fixture: &Fixture, files: &[(&str, &[u8])], reuse: Reuse<'_>) -> Self {
        let inputs = files.iter().map(|(path, data)| input(path, data)).collect();
        let store = fixture.vault.store();
        let notes = crate::index::Notes::default();
        let sealed = crate::seal::seal_reusing(inputs, reuse, notes, None, store, small_parts(), &()).expect("sealed");
        Self { manifest: sealed.manifest, dek: sealed.dek, index: sealed.index }
    }

    /// Encrypts the index as it is now.
    fn index_again(&mut self, fixture: &Fixture) {
        let encryptor =
            self.dek.encryptor(&self.manifest.artifact_id, INDEX_STREAM, Engine::default()).expect("starts");
        let body = encryptor.encrypt_segment(0, true, &self.index.to_vec().expect("written")).expect("short");
        let name = blake3::hash(&body);
        fixture.vault.store().put(&name, &body).expect("stored");
        let layout = Layout::new(body.len() as u64, self.manifest.part_size).expect("legal");
        self.manifest.index =
            Stream { header: *encryptor.header(), layout, parts: vec![name], tree: None, origin: None };
    }

    fn publish(&mut self, fixture: &Fixture, name: &str) {
        self.index_again(fixture);
        fixture.vault.store().sync().expect("synced");
        let manifest = self.manifest.to_vec().expect("written");
        let subject = Subject::of(&manifest);
        let digest = subject.blake3;
        fixture.vault.create_new(&manifest_path(digest), &manifest).expect("created");
        let stanzas = wrap::wrap(&self.dek, digest, &fixture.audience()).expect("wrapped");
        let record = RecipientsRecord::new(1, None, None, &stanzas).expect("legal");
        let envelope = seal::sign(subject, record, &fixture.signer).expect("signed");
        fixture.vault.create_new(&recipients_path(digest, 1), &envelope).expect("created");
        let name = name.parse().expect(name);
        let record = seal::sign(subject, VersionRecord::new(&name, None).expect("legal"), &fixture.signer);
        fixture.vault.create_new(&version_path(&name), &record.expect("signed")).expect("created");
    }
}

fn no_tensors(_: &[u8], _: u64) -> Option<Vec<u64>> {
    None
}

fn data() -> Vec<u8> {
    bytes(3 * PAYLOAD + 9, 1)
}

/// A version `m:1`, and a draft of the next that reuses its stream.
fn reusing(fixture: &Fixture) -> Draft {
    fixture.seal_reusable("m:1", &[("a", &data())]);
    let previous = fixture.previous("m:1").expect("known");
    Draft::new(fixture, &[("a", &data()), ("b", b"new")], Reuse::Of(previous.basis(), no_tensors))
}

/// What opening `a` of the draft says.
fn opening(fixture: &Fixture, draft: &mut Draft, name: &str) -> String {
    draft.publish(fixture, name);
    let error = fixture.read(name, "a").expect_err("refused");
    assert_eq!(error.kind(), Kind::Integrity, "{error}");
    error.to_string()
}

#[test]
fn an_honest_draft_opens() {
    let fixture = Fixture::new();
    let mut draft = reusing(&fixture);
    draft.publish(&fixture, "m:2");
    fixture.opens_to("m:2", &[("a", &data()), ("b", b"new")]);
}

#[test]
fn somebody_elses_stream_opens_with_its_own_key_origin_and_header_only() {
    let fixture = Fixture::new();
    let honest = reusing(&fixture);
    let other = Draft::new(&fixture, &[("a", &bytes(3 * PAYLOAD + 9, 2))], Reuse::Later(no_tensors));
    let draft = || Draft { manifest: honest.manifest.clone(), dek: honest.dek.clone(), index: honest.index.clone() };
    let at = honest.manifest.reused_streams().next().expect("one").0 as usize;
    let header = format!("header of stream {at}: does not authenticate");

    // A stream that is there, and a key that is made up.
    let mut wrong = draft();
    wrong.index = wrong.index.with_keys(vec![(1, StreamKey::from_secret(Secret::new([7; 32])))]);
    assert_eq!(opening(&fixture, &mut wrong, "m:key"), header);
    // An origin that is another.
    let mut wrong = draft();
    wrong.manifest.streams[at].origin.as_mut().expect("reused").stream += 1;
    assert_eq!(opening(&fixture, &mut wrong, "m:number"), header);
    let mut wrong = draft();
    wrong.manifest.streams[at].origin.as_mut().expect("reused").artifact_id = other.manifest.artifact_id;
    assert_eq!(opening(&fixture, &mut wrong, "m:artifact"), header);
    // The parts of another artifact under this header.
    let mut wrong = draft();
    let (parts, tree) = (other.manifest.streams[0].parts.clone(), other.manifest.streams[0].tree);
    (wrong.manifest.streams[at].parts, wrong.manifest.streams[at].tree) = (parts, tree);
    // All of its segments are wrong, and whichever thread is first says so.
    let error = opening(&fixture, &mut wrong, "m:parts");
    assert!(
        error.starts_with("segment ") && error.ends_with(&format!(" of stream {at}: does not authenticate")),
        "{error}"
    );
    // A header of another artifact, over these parts.
    let mut wrong = draft();
    wrong.manifest.streams[at].header = other.manifest.streams[0].header;
    assert_eq!(opening(&fixture, &mut wrong, "m:header"), header);
    // Passed off as its own.
    let mut wrong = draft();
    wrong.manifest.streams[at].origin = None;
    wrong.index = wrong.index.with_keys(Vec::new());
    assert_eq!(opening(&fixture, &mut wrong, "m:own"), header);
    // Everything of somebody else's, whose key the signer does not have.
    let mut wrong = draft();
    let origin = crate::stream::Origin { artifact_id: other.manifest.artifact_id, stream: 0 };
    wrong.manifest.streams[at] = Stream { origin: Some(origin), ..other.manifest.streams[0].clone() };
    assert_eq!(opening(&fixture, &mut wrong, "m:stolen"), header);
    fixture.verify("m:stolen").expect("these are the bytes that the signer signed, and that is all there is to verify");
}

#[test]
fn keys_are_there_for_what_is_reused_and_for_nothing_else() {
    let fixture = Fixture::new();
    let honest = reusing(&fixture);
    let key = |number| (number, honest.index.key(1).expect("there").clone());
    for (name, keys) in [("m:none", vec![]), ("m:more", vec![key(0), key(1)]), ("m:other", vec![key(0)])] {
        let index = honest.index.clone().with_keys(keys);
        let mut wrong = Draft { manifest: honest.manifest.clone(), dek: honest.dek.clone(), index };
        assert!(opening(&fixture, &mut wrong, name).contains("exactly the streams with an origin"));
    }
}

#[test]
fn extents_of_reused_streams_stay_inside_and_do_not_overlap() {
    let fixture = Fixture::new();
    let honest = reusing(&fixture);
    for (name, change) in [("m:beyond", 1), ("m:overlap", 0)] {
        let mut files = honest.index.files().to_vec();
        if change == 1 {
            files[0].extents[0].offset += 1;
        } else {
            files[1].extents = vec![crate::index::Extent { length: 3, offset: 5, stream: 1 }];
        }
        let index =
            Index::new(files).expect("legal paths").with_keys(vec![(1, honest.index.key(1).expect("key").clone())]);
        let mut wrong = Draft { manifest: honest.manifest.clone(), dek: honest.dek.clone(), index };
        let error = opening(&fixture, &mut wrong, name);
        assert!(error.contains(if change == 1 { "outside its stream" } else { "overlap" }), "{error}");
    }
}

#[test]
fn digests_that_are_a_lie_are_believed_of_a_trusted_signer_unless_bytes_are_compared() {
    let fixture = Fixture::new();
    let (poison, good) = (bytes(2 * MIB, 66), bytes(2 * MIB, 1));
    let mut draft = Draft::new(&fixture, &[("a", &poison)], Reuse::Later(no_tensors));
    let mut files = draft.index.files().to_vec();
    files[0].regions = vec![Region { blake3: blake3::hash(&good), length: good.len() as u64 }];
    draft.index = Index::new(files).expect("legal");
    draft.publish(&fixture, "m:1");

    let looking = fixture.previous("m:1").expect("known").with_comparison(Comparison::Bytes).expect("a key");
    let error = fixture.reuse(&looking, "m:2", &[("a", &good)]).expect_err("a lie");
    assert_eq!(error.kind(), Kind::Authenticity, "{error}");
    assert!(error.to_string().contains("did not tell the truth"), "{error}");
    assert_eq!(kind(fixture.read("m:2", "a")), Kind::NotFound);

    // The documented limit: who signed the earlier version is believed about its digests.
    let believing = fixture.previous("m:1").expect("known");
    fixture.reuse(&believing, "m:3", &[("a", &good)]).expect("sealed");
    assert!(fixture.read("m:3", "a").expect("opens") == poison);

    // Somebody whose signature does not count is not even asked.
    let policy = Policy::any_of(vec![SigningKey::generate().expect("key").verifying_key()]).expect("a key");
    assert_eq!(kind(fixture.vault.resolve(&reference("m:1"), &policy)), Kind::Authenticity);
}

#[test]
fn comparing_bytes_changes_nothing_for_honest_versions() {
    let fixture = Fixture::new();
    let (base, tuned) = (Layers::new().file(""), Layers::tuned().file(""));
    fixture.seal_reusable("m:1", &[("m.safetensors", &base)]);
    let previous = fixture.previous("m:1").expect("known").with_comparison(Comparison::Bytes).expect("a key");
    let receipt = fixture.reuse(&previous, "m:2", &[("m.safetensors", &tuned)]).expect("sealed");
    assert!(receipt.saved.bytes > 0);
    fixture.opens_to("m:2", &[("m.safetensors", &tuned)]);
    // Damage in what is reused is found then, too.
    let part = fixture.dir.path().join(crate::parts::object_path(&fixture.manifest("m:1").streams[0].parts[0]));
    let mut bytes = fs::read(&part).expect("there");
    bytes[100] ^= 1;
    fs::write(&part, bytes).expect("damaged");
    let previous = fixture.previous("m:1").expect("known").with_comparison(Comparison::Bytes).expect("a key");
    assert_eq!(kind(fixture.reuse(&previous, "m:3", &[("m.safetensors", &tuned)])), Kind::Integrity);
}

#[test]
fn a_basis_that_does_not_fit_its_manifest_is_refused() {
    let fixture = Fixture::new();
    let draft = Draft::new(&fixture, &[("a", b"weights")], Reuse::Later(no_tensors));
    let basis = |keys: usize, stream: u32, length: u64| {
        let keys = (0..keys).map(|_| StreamKey::from_secret(Secret::new([7; 32]))).collect();
        let extents = vec![crate::index::Extent { length: 7, offset: 0, stream }];
        let regions = vec![Region { blake3: blake3::hash(b"weights"), length }];
        crate::seal::Basis::new(&draft.manifest, keys, [SealedBefore { extents, regions }]).map(drop)
    };
    basis(1, 0, 7).expect("fits");
    for (keys, stream, length) in [(0, 0, 7), (2, 0, 7), (1, 1, 7), (1, 0, 8)] {
        assert_eq!(kind(basis(keys, stream, length)), Kind::Integrity, "{keys} {stream} {length}");
    }
}
