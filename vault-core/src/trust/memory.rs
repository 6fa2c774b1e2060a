//! What a client remembers of a trust root, so that a store cannot take it back to an older state.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::kept::{Kept, MAX_KEPT};
use crate::{
    canonical::{self, Hex, decode_base64, encode_base64},
    error::{Error, Place, Result},
    keys::KeyId,
    names::{ArtifactDigest, ChannelName, ModelName},
    provenance::Newest,
};

const DOCUMENT: &str = "memory";
const FORMAT: &str = "mvault-memory/v1";

/// What is remembered of one trust root, held under a lock until it is dropped.
#[derive(Debug)]
pub struct Memory {
    wire: Wire,
    place: Option<Kept>,
    known: bool,
    changed: bool,
}

/// What is remembered of the newest record of a chain.
pub type Seen = Newest;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    /// Per key, channel and generation, the digest of the record it signed.
    approved: BTreeMap<String, Hex<32>>,
    /// Per key and channel, the record it asked for last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    asked: BTreeMap<String, String>,
    channels: BTreeMap<String, WireSeen>,
    format: String,
    /// The BLAKE3 of the numbers of the revocations that were judged last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged_numbers: Option<Hex<32>>,
    /// The trust root under which they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    judged_under: Option<Hex<32>>,
    origin: Hex<32>,
    /// By number, the digests of the revocations that counted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    revocation_records: BTreeMap<String, Hex<32>>,
    revocations: Option<WireSeen>,
    /// Artifact and model.
    revoked: BTreeSet<String>,
    root: Option<WireRoot>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSeen {
    digest: Hex<32>,
    generation: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireRoot {
    digest: Hex<32>,
    envelope: String,
    version: u64,
}

impl Memory {
    /// Remembers nothing, and will not remember anything: a store can show such a client any valid old state.
    pub fn none(origin: blake3::Hash) -> Self {
        Self { wire: Wire::new(origin), place: None, known: false, changed: false }
    }

    /// What is kept in `folder` about the trust root whose version 1 has this BLAKE3. The folder is made if it is not there
    /// (mode 0700); other processes wait until this is dropped.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be read or made; [`Error::InUse`] if others hold it for 30 seconds; [`Error::Corrupt`] if it is damaged;
    /// [`Error::Misuse`] if others can write it.
    pub fn open(folder: &Path, origin: blake3::Hash) -> Result<Self> {
        let (kept, read) = Kept::open(folder, &format!("{}.json", origin.to_hex()))?;
        let read = read.map(|bytes| parse(kept.path(), &bytes)).transpose()?;
        let known = read.is_some();
        let wire = read.unwrap_or_else(|| Wire::new(origin));
        if wire.origin != Hex::from(origin) {
            return Err(Error::format(DOCUMENT, "is about another trust root"));
        }
        Ok(Self { wire, place: Some(kept), known, changed: false })
    }

    /// Whether anything was remembered from before. If not, this client cannot tell an old state from a new one.
    pub fn was_known(&self) -> bool {
        self.known
    }

    /// Whether it outlives this process.
    pub fn is_kept(&self) -> bool {
        self.place.is_some()
    }

    /// The envelope of the trust root reached last.
    pub(crate) fn root(&self) -> Result<Option<(u64, blake3::Hash, Vec<u8>)>> {
        let Some(root) = &self.wire.root else { return Ok(None) };
        let envelope = decode_base64(&root.envelope)
            .ok_or_else(|| Error::format(DOCUMENT, "holds a trust root that is no base64"))?;
        Ok(Some((root.version, root.digest.into(), envelope)))
    }

    pub(crate) fn saw_root(&mut self, version: u64, digest: blake3::Hash, envelope: &[u8]) {
        let seen = WireRoot { version, digest: digest.into(), envelope: encode_base64(envelope) };
        self.changed |= self.wire.root.as_ref() != Some(&seen);
        self.wire.root = Some(seen);
    }

    /// The newest promotion of a channel that was seen.
    pub(crate) fn channel(&self, channel: &ChannelName) -> Option<Seen> {
        self.wire.channels.get(&channel.to_string()).map(|seen| (*seen).into())
    }

    pub(crate) fn saw_channel(&mut self, channel: &ChannelName, seen: Seen) {
        let seen = WireSeen::from(seen);
        self.changed |= self.wire.channels.insert(channel.to_string(), seen) != Some(seen);
    }

    /// The newest revocation that was seen.
    pub(crate) fn revocations(&self) -> Option<Seen> {
        self.wire.revocations.map(Into::into)
    }

    pub(crate) fn saw_revocations(&mut self, seen: Seen) {
        if self.wire.revocations.is_some_and(|known| known.generation > seen.generation) {
            return;
        }
        let seen = Some(WireSeen::from(seen));
        self.changed |= self.wire.revocations != seen;
        self.wire.revocations = seen;
    }

    /// The record this key signed for a generation of a chain.
    pub(crate) fn approved(&self, key: &KeyId, chain: &str, generation: u64) -> Option<blake3::Hash> {
        self.wire.approved.get(&slot(key, chain, generation)).map(|digest| (*digest).into())
    }

    pub(crate) fn approve(&mut self, key: &KeyId, chain: &str, generation: u64, digest: blake3::Hash) {
        let digest = Hex::from(digest);
        self.changed |= self.wire.approved.insert(slot(key, chain, generation), digest) != Some(digest);
    }

    /// The payload of the record that this key asked for last in a chain.
    pub(crate) fn asked(&self, key: &KeyId, chain: &str) -> Result<Option<Vec<u8>>> {
        let Some(asked) = self.wire.asked.get(&format!("{key} {chain}")) else { return Ok(None) };
        decode_base64(asked).map(Some).ok_or_else(|| Error::format(DOCUMENT, "holds a record that is no base64"))
    }

    /// The same by its BLAKE3, whatever its chain.
    pub(crate) fn asked_record(&self, key: &KeyId, id: blake3::Hash) -> Result<Option<Vec<u8>>> {
        let own = format!("{key} ");
        for (_, asked) in self.wire.asked.iter().filter(|(slot, _)| slot.starts_with(&own)) {
            let payload =
                decode_base64(asked).ok_or_else(|| Error::format(DOCUMENT, "holds a record that is no base64"))?;
            if blake3::hash(&payload) == id {
                return Ok(Some(payload));
            }
        }
        Ok(None)
    }

    pub(crate) fn ask(&mut self, key: &KeyId, chain: &str, payload: &[u8]) {
        let payload = encode_base64(payload);
        self.changed |= self.wire.asked.insert(format!("{key} {chain}"), payload.clone()) != Some(payload);
    }

    /// The artifacts that were seen revoked, each as its hex digest, a space and the model.
    pub(crate) fn revoked(&self) -> &BTreeSet<String> {
        &self.wire.revoked
    }

    pub(crate) fn saw_revoked(&mut self, artifact: ArtifactDigest, model: &ModelName) {
        self.changed |= self.wire.revoked.insert(format!("{} {model}", artifact.to_hex()));
    }

    /// Whether revocations of just these numbers were judged, under this trust root.
    pub(crate) fn is_judged(&self, root: blake3::Hash, numbers: &[u64]) -> bool {
        self.wire.judged_under == Some(root.into()) && self.wire.judged_numbers == Some(hash_of(numbers))
    }

    /// Revocations are judged, under this trust root. Under another one than before, what was revoked is forgotten first; not before
    /// the records are known by number and digest, as memories of earlier versions do not.
    pub(crate) fn judge(&mut self, root: blake3::Hash, numbers: &[u64]) {
        let (under, numbers) = (Some(root.into()), Some(hash_of(numbers)));
        if self.wire.judged_under != under && !self.wire.revocation_records.is_empty() {
            self.wire.revoked.clear();
        }
        self.changed |= self.wire.judged_under != under || self.wire.judged_numbers != numbers;
        (self.wire.judged_under, self.wire.judged_numbers) = (under, numbers);
    }

    /// What was judged last was not whole: next time all of it is looked at again.
    pub(crate) fn judged_in_part(&mut self) {
        self.changed |= self.wire.judged_numbers.take().is_some();
    }

    /// The revocations that counted, by number and digest.
    pub(crate) fn revocation_records(&self) -> impl Iterator<Item = Seen> {
        let seen = |(number, digest): (&String, &Hex<32>)| {
            Some(Seen { generation: number.parse().ok()?, digest: (*digest).into() })
        };
        self.wire.revocation_records.iter().filter_map(seen)
    }

    pub(crate) fn saw_revocation(&mut self, seen: Seen) {
        let digest = Hex::from(seen.digest);
        self.changed |= self.wire.revocation_records.insert(seen.generation.to_string(), digest) != Some(digest);
    }

    /// Writes down what was learnt, in one step; durable when this returns.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Corrupt`] if there is more to remember than 64 MiB hold.
    pub fn save(&mut self) -> Result<()> {
        let Some(kept) = self.place.as_ref().filter(|_| self.changed || !self.known) else {
            return Ok(());
        };
        let bytes = canonical::to_vec(DOCUMENT, &self.wire)?;
        if bytes.len() as u64 > MAX_KEPT {
            return Err(Error::limit(DOCUMENT, "length", MAX_KEPT));
        }
        kept.replace(&bytes)?;
        (self.changed, self.known) = (false, true);
        Ok(())
    }
}

impl Wire {
    fn new(origin: blake3::Hash) -> Self {
        Self {
            approved: BTreeMap::new(),
            asked: BTreeMap::new(),
            channels: BTreeMap::new(),
            format: FORMAT.into(),
            judged_numbers: None,
            judged_under: None,
            origin: origin.into(),
            revocation_records: BTreeMap::new(),
            revocations: None,
            revoked: BTreeSet::new(),
            root: None,
        }
    }
}

impl From<WireSeen> for Seen {
    fn from(wire: WireSeen) -> Self {
        Self { generation: wire.generation, digest: wire.digest.into() }
    }
}

impl From<Seen> for WireSeen {
    fn from(seen: Seen) -> Self {
        Self { digest: seen.digest.into(), generation: seen.generation }
    }
}

fn hash_of(numbers: &[u64]) -> Hex<32> {
    let mut hasher = blake3::Hasher::new();
    for number in numbers {
        hasher.update(&number.to_be_bytes());
    }
    hasher.finalize().into()
}

fn slot(key: &KeyId, chain: &str, generation: u64) -> String {
    format!("{key} {chain} {generation}")
}

fn parse(place: &Path, bytes: &[u8]) -> Result<Wire> {
    let at = |error: Error| error.at(Place::Object(place.display().to_string()));
    let wire: Wire = canonical::from_slice(DOCUMENT, bytes).map_err(at)?;
    if wire.format != FORMAT {
        return Err(at(Error::format(DOCUMENT, format!("is of format {:?}", wire.format))));
    }
    Ok(wire)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::error::Kind;

    fn seen(generation: u64) -> Seen {
        Seen { generation, digest: blake3::hash(&generation.to_le_bytes()) }
    }

    #[test]
    fn what_was_seen_is_known_next_time() {
        let dir = tempfile::tempdir().expect("folder");
        let (folder, origin) = (dir.path().join("state"), blake3::hash(b"root"));
        let channel: ChannelName = "org/m@production".parse().expect("a channel");
        let (artifact, key) = (ArtifactDigest::of(b"manifest"), KeyId::from_bytes([7; 32]));
        let mut memory = Memory::open(&folder, origin).expect("opened");
        assert!(!memory.was_known());
        memory.saw_root(3, blake3::hash(b"3"), b"envelope");
        memory.saw_channel(&channel, seen(5));
        memory.saw_revocations(seen(2));
        memory.saw_revoked(artifact, &channel.model);
        memory.judge(blake3::hash(b"2"), &[1, 2]);
        assert_eq!(memory.revoked().len(), 1, "nothing says that its record is still shown");
        memory.saw_revocation(seen(2));
        memory.judge(blake3::hash(b"3"), &[1, 2]);
        assert!(memory.revoked().is_empty());
        memory.saw_revoked(artifact, &channel.model);
        memory.approve(&key, "org/m@production", 6, blake3::hash(b"record"));
        memory.ask(&key, "org/m@production", b"record");
        memory.save().expect("saved");
        drop(memory);

        let memory = Memory::open(&folder, origin).expect("opened");
        assert!(memory.was_known() && memory.is_kept());
        assert_eq!(memory.root().expect("legal"), Some((3, blake3::hash(b"3"), b"envelope".to_vec())));
        assert_eq!(memory.channel(&channel), Some(seen(5)));
        assert_eq!(memory.revocations(), Some(seen(2)));
        assert_eq!(memory.revoked().len(), 1);
        assert_eq!(memory.revocation_records().collect::<Vec<_>>(), [seen(2)]);
        assert!(memory.is_judged(blake3::hash(b"3"), &[1, 2]));
        assert!(!memory.is_judged(blake3::hash(b"4"), &[1, 2]) && !memory.is_judged(blake3::hash(b"3"), &[1, 2, 3]));
        assert_eq!(memory.approved(&key, "org/m@production", 6), Some(blake3::hash(b"record")));
        assert_eq!(memory.approved(&key, "org/m@production", 7), None);
        assert_eq!(memory.asked(&key, "org/m@production").expect("legal"), Some(b"record".to_vec()));
        assert_eq!(memory.asked(&key, "org/m@staging").expect("legal"), None);
        drop(memory);
        assert!(!Memory::open(&folder, blake3::hash(b"other")).expect("opened").was_known(), "another trust root");
        let mode = fs::metadata(folder.join(format!("{}.json", origin.to_hex()))).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_memory_that_others_can_write_or_that_is_damaged_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        let origin = blake3::hash(b"root");
        Memory::open(dir.path(), origin).expect("opened").save().expect("saved");
        let path = dir.path().join(format!("{}.json", origin.to_hex()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("mode");
        assert_eq!(Memory::open(dir.path(), origin).expect_err("refused").kind(), Kind::Usage);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("mode");
        fs::write(&path, "{}").expect("damaged");
        assert_eq!(Memory::open(dir.path(), origin).expect_err("refused").kind(), Kind::Integrity);
    }

    #[test]
    fn the_newest_revocation_that_was_seen_is_never_an_older_one() {
        let mut memory = Memory::none(blake3::hash(b"root"));
        for (number, newest) in [(5, 5), (2, 5), (6, 6)] {
            memory.saw_revocations(seen(number));
            assert_eq!(memory.revocations(), Some(seen(newest)));
        }
    }

    #[test]
    fn two_who_remember_at_once_wait_for_each_other() {
        let dir = tempfile::tempdir().expect("folder");
        let origin = blake3::hash(b"root");
        let channel = |number: u64| format!("m{number}@c").parse::<ChannelName>().expect("a channel");
        std::thread::scope(|scope| {
            for number in 0..8 {
                let folder = dir.path();
                scope.spawn(move || {
                    let mut memory = Memory::open(folder, origin).expect("opened");
                    memory.saw_channel(&channel(number), seen(number));
                    memory.save().expect("saved");
                });
            }
        });
        let memory = Memory::open(dir.path(), origin).expect("opened");
        assert!((0..8).all(|number| memory.channel(&channel(number)) == Some(seen(number))));
    }
}
