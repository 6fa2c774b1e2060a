//! A vault with a trust root, and the people in it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::{
    keys::VerifyingKey,
    names::{ChannelName, VersionName},
    provenance::{Attested, Envelope},
    trust::{Clock, Memory, ROOT_PAYLOAD_TYPE, Reached, draft, to_toml},
    vault::{Gate, Proposal, Stated},
};

mod admitting;
mod channels;
mod copying;
mod crashes;
mod flipping;
mod forging;
mod freshness;
mod judging;
mod looking;
mod overreaching;
mod retiring;
mod roots;
mod scaling;
mod withholding;

/// Noon of the day on which everything here happens.
const NOON: &str = "2026-11-21T12:00:00Z";

/// Two root holders, three release managers, a trainer, a clock, a scanner, and somebody who is nobody.
const PEOPLE: [&str; 8] = ["alice", "bob", "carol", "trainer", "clock", "scanner", "alice2", "mallory"];

const ROLES: &str = r#"
[roles.root]
keys = ["alice", "bob"]
threshold = 2
[[roles.sealer]]
models = ["*"]
keys = ["trainer"]
[[roles.share]]
models = ["*"]
keys = ["carol"]
[[roles.release]]
models = ["*"]
channels = ["production"]
keys = ["alice", "alice2", "bob", "carol"]
threshold = 2
lifetime = "30d"
[[roles.release]]
models = ["*"]
channels = ["staging"]
keys = ["alice", "bob", "carol"]
threshold = 1
requester_counts = true
[[roles.release]]
models = ["*"]
channels = ["fresh"]
keys = ["alice", "bob", "carol"]
threshold = 1
requester_counts = true
freshness = "24h"
[[roles.release]]
models = ["*"]
channels = ["scanned"]
keys = ["alice", "bob", "carol"]
threshold = 1
requester_counts = true
attestations = [{ type = "https://example.com/scan/v1", role = "scanner" }]
[[roles.freshness]]
models = ["*"]
keys = ["clock"]
[[roles.scanner]]
models = ["*"]
keys = ["scanner"]
"#;

struct World {
    fixture: Fixture,
    keys: BTreeMap<&'static str, SigningKey>,
    pinned: Reached,
    state: tempfile::TempDir,
}

fn clock(text: &str) -> Clock {
    Clock::at(text).expect("a time")
}

/// The source of a trust root; `change` has its way with the text.
fn source(keys: &BTreeMap<&'static str, SigningKey>, change: impl Fn(String) -> String) -> String {
    let mut text = "expires = \"365d\"\n".to_owned();
    for name in PEOPLE.into_iter().filter(|name| *name != "mallory") {
        let holder = name.trim_end_matches('2');
        let pem = keys[name].verifying_key().to_pem();
        text += format!("[keys.{name}]\nholder = \"{holder}\"\npublic = \"\"\"\n{pem}\"\"\"\n#{name}\n").as_str();
    }
    change(text + ROLES)
}

fn signed_root(source: &str, after: Option<&Reached>, at: &str, keys: &[&SigningKey]) -> Vec<u8> {
    let root = draft(source, after, clock(at), &mut |name| Err(Error::Misuse(name.into()))).expect("a root");
    let mut envelope = Envelope::unsigned(ROOT_PAYLOAD_TYPE, root.to_vec().expect("written"));
    for key in keys {
        envelope.add_signature(*key).expect("signed");
    }
    envelope.to_vec().expect("written")
}

impl World {
    fn new() -> Self {
        let keys: BTreeMap<_, _> = PEOPLE.map(|name| (name, SigningKey::generate().expect("key"))).into();
        let envelope = signed_root(&source(&keys, |text| text), None, NOON, &[&keys["alice"], &keys["bob"]]);
        let fixture = Fixture::new();
        let pinned = fixture.vault.publish_root(&envelope, None).expect("published");
        let world = Self { fixture, keys, pinned, state: tempfile::tempdir().expect("folder") };
        for version in ["m:1", "m:2", "m:3"] {
            world.seal(version, Some(world.pinned.origin()));
        }
        world
    }

    /// The keys of everybody, for another world with the same people.
    fn same_keys(&self) -> BTreeMap<&'static str, SigningKey> {
        let copy = |(name, key): (&&'static str, &SigningKey)| {
            let der = key.to_pkcs8_der().expect("written");
            let seed = der.expose()[der.expose().len() - 32..].try_into().expect("32 bytes");
            (*name, SigningKey::from_seed_for_tests(seed))
        };
        self.keys.iter().map(copy).collect()
    }

    fn seal(&self, version: &str, trust_root: Option<blake3::Hash>) -> Receipt {
        let mut request = self.fixture.request(version, vec![input("a", version.as_bytes())]);
        (request.signer, request.trust_root) = (&self.keys["trainer"], trust_root);
        self.fixture.vault.seal(request, &()).expect("sealed")
    }

    fn public(&self, name: &str) -> VerifyingKey {
        self.keys[name].verifying_key()
    }

    /// A client with a memory, at noon.
    fn gate(&self) -> Result<Gate<'_>> {
        self.gate_at(NOON)
    }

    fn gate_at(&self, at: &str) -> Result<Gate<'_>> {
        let memory = Memory::open(self.state.path(), self.pinned.origin())?;
        self.fixture.vault.gate(&self.pinned, memory, clock(at))
    }

    /// A client that remembers nothing.
    fn stranger(&self) -> Result<Gate<'_>> {
        self.fixture.vault.gate(&self.pinned, Memory::none(self.pinned.origin()), clock(NOON))
    }

    fn promote(&self, version: &str, channel: &str, by: &str) -> Result<Proposal> {
        let name: VersionName = version.parse()?;
        let channel = ChannelName { model: name.model.clone(), channel: channel.parse()? };
        let mut gate = self.gate()?;
        let proposal = gate.propose_promotion(&channel, &name, ("because", None), &self.keys[by])?;
        gate.close()?;
        Ok(proposal)
    }

    fn approve(&self, proposal: &Proposal, by: &str) -> Result<Proposal> {
        let mut gate = self.gate()?;
        let proposal = gate.approve(proposal.id, None, &self.keys[by])?;
        gate.close()?;
        Ok(proposal)
    }

    /// Promotes with all approvals.
    fn release(&self, version: &str) {
        self.release_with(version, ["alice", "bob"]);
    }

    fn release_with(&self, version: &str, by: [&str; 2]) {
        let proposal = self.promote(version, "production", "trainer").expect("proposed");
        self.approve(&proposal, by[0]).expect("approved");
        assert!(self.approve(&proposal, by[1]).expect("approved").published);
    }

    /// What a channel or name opens, for a client with a memory.
    fn open(&self, reference: &str) -> Result<Vec<u8>> {
        self.open_with(self.gate()?, reference)
    }

    fn open_with(&self, mut gate: Gate<'_>, reference: &str) -> Result<Vec<u8>> {
        let found = gate.resolve(&super::reference(reference));
        let policy = gate.close()?;
        let artifact = found?;
        let opened = self.fixture.vault.open_artifact(&artifact, &policy, &self.fixture.ring, reading())?;
        Ok(opened.read(opened.index().file("a")?, &())?.to_vec())
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.fixture.dir.path().join(path)
    }

    /// Publishes the next trust root, made of the present source with a change.
    fn next_root(&self, after: &Reached, by: &[&str], change: impl Fn(String) -> String) -> Result<Reached> {
        let keys: Vec<_> = by.iter().map(|name| &self.keys[name]).collect();
        let envelope = signed_root(&source(&self.keys, change), Some(after), NOON, &keys);
        self.fixture.vault.publish_root(&envelope, Some(self.pinned.clone()))
    }
}

/// Puts lines behind the key of this name.
fn with_key_line<'a>(name: &'a str, line: &'a str) -> impl Fn(String) -> String + 'a {
    move |text| text.replace(&format!("#{name}\n"), &format!("{line}\n"))
}

#[test]
fn the_source_of_a_root_makes_the_same_root_again() {
    let world = World::new();
    let again = to_toml(world.pinned.root(), world.pinned.digest());
    let follows = format!("follows = \"b3:{}\"\n", world.pinned.digest());
    assert!(again.contains(&follows), "{again}");
    let refused = |text: &str, after: Option<&Reached>| draft(text, after, clock(NOON), &mut |_| unreachable!());
    assert_eq!(kind(refused(&again, None)), Kind::Usage, "made from a version, it is no version 1");
    assert_eq!(kind(refused(&again, Some(&World::new().pinned))), Kind::Usage, "it follows another one");
    assert_eq!(refused(&again, Some(&world.pinned)).expect("the next").version(), 2);
    let again = again.replace(&follows, "");
    let envelope = signed_root(&again, None, NOON, &[&world.keys["alice"], &world.keys["bob"]]);
    assert_eq!(Reached::pin(&envelope).expect("a root").digest(), world.pinned.digest(), "{again}");
}
