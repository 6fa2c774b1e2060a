//! What a client remembers of a trust root, so that a store cannot take it back to an older state.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, Hex, decode_base64, encode_base64},
    error::{Error, Fault, Place, Result},
    keys::KeyId,
    names::{ArtifactDigest, ChannelName, ModelName},
    provenance::Newest,
    secret::fill_random,
};

const DOCUMENT: &str = "memory";
const FORMAT: &str = "mvault-memory/v1";
/// A hundred thousand channels and revocations fit.
const MAX_MEMORY: u64 = 64 << 20;
/// How long another process may hold the lock: it holds it while it checks a few small records.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is remembered of one trust root, held under a lock until it is dropped.
#[derive(Debug)]
pub struct Memory {
    wire: Wire,
    place: Option<Kept>,
    known: bool,
    changed: bool,
    frozen: bool,
}

#[derive(Debug)]
struct Kept {
    path: PathBuf,
    /// The lock lasts as long as this is open.
    _lock: File,
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
    origin: Hex<32>,
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
        Self { wire: Wire::new(origin), place: None, known: false, changed: false, frozen: false }
    }

    /// What is kept in `folder` about the trust root whose version 1 has this BLAKE3. The folder is made if it is not there
    /// (mode 0700); other processes wait until this is dropped.
    ///
    /// # Errors
    /// [`Error::Storage`] if it cannot be read, made or locked within 30 seconds; [`Error::Corrupt`] if it is damaged;
    /// [`Error::Misuse`] if others can write it.
    pub fn open(folder: &Path, origin: blake3::Hash) -> Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::storage(folder.display()))?;
        let mode = fs::metadata(folder).map_err(Error::storage(folder.display()))?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(Error::Misuse(format!(
                "{} can be written by others, so it remembers nothing",
                folder.display()
            )));
        }
        let path = folder.join(format!("{}.json", origin.to_hex()));
        let lock = lock(&path.with_extension("lock"))?;
        let read = read(&path)?;
        let known = read.is_some();
        let wire = read.unwrap_or_else(|| Wire::new(origin));
        if wire.origin != Hex::from(origin) {
            return Err(Error::format(DOCUMENT, "is about another trust root"));
        }
        Ok(Self { wire, place: Some(Kept { path, _lock: lock }), known, changed: false, frozen: false })
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

    /// From now on nothing is written down: what is seen at another time is no memory of this one.
    pub fn freeze(&mut self) {
        self.frozen = true;
    }

    /// Forgets which artifacts were seen revoked: under a new trust root, they are judged anew.
    pub(crate) fn forget_revoked(&mut self) {
        self.changed |= !self.wire.revoked.is_empty();
        self.wire.revoked.clear();
    }

    /// Writes down what was learnt, in one step; durable when this returns.
    ///
    /// # Errors
    /// [`Error::Storage`], [`Error::Corrupt`] if there is more to remember than 64 MiB hold.
    pub fn save(&mut self) -> Result<()> {
        let Some(kept) = self.place.as_ref().filter(|_| !self.frozen && (self.changed || !self.known)) else {
            return Ok(());
        };
        let bytes = canonical::to_vec(DOCUMENT, &self.wire)?;
        if bytes.len() as u64 > MAX_MEMORY {
            return Err(Error::limit(DOCUMENT, "length", MAX_MEMORY));
        }
        replace(&kept.path, &bytes).map_err(Error::storage(kept.path.display()))?;
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
            origin: origin.into(),
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

fn slot(key: &KeyId, chain: &str, generation: u64) -> String {
    format!("{key} {chain} {generation}")
}

fn lock(path: &Path) -> Result<File> {
    let failed = |error| Error::storage(path.display())(error);
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path).map_err(failed)?;
    let start = Instant::now();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(5)),
            Err(Errno::WOULDBLOCK) => {
                return Err(failed(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    "another process holds the lock",
                )));
            }
            Err(errno) => return Err(failed(errno.into())),
        }
    }
}

fn read(path: &Path) -> Result<Option<Wire>> {
    let failed = |error| Error::storage(path.display())(error);
    // Without NONBLOCK, opening a FIFO would wait for a writer for ever.
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(nonblock).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(Error::Misuse(format!("{} is not a regular file", path.display())));
    }
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o022 != 0 {
        return Err(Error::Misuse(format!("{} can be written by others, so it remembers nothing", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(MAX_MEMORY + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_MEMORY {
        return Err(Error::limit(DOCUMENT, "length", MAX_MEMORY));
    }
    let at = |error: Error| match error {
        Error::Corrupt { fault, .. } => Error::Corrupt { place: Place::Object(path.display().to_string()), fault },
        other => other,
    };
    let wire: Wire = canonical::from_slice(DOCUMENT, &bytes).map_err(at)?;
    if wire.format != FORMAT {
        return Err(at(Error::Corrupt {
            place: Place::Document(DOCUMENT),
            fault: Fault::Format(format!("is of format {:?}", wire.format)),
        }));
    }
    Ok(Some(wire))
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut nonce = [0; 8];
    fill_random(&mut nonce).map_err(std::io::Error::other)?;
    let temporary = path.with_extension(format!("{}.tmp", hex::encode(nonce)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // The write is what failed; a leftover is the lesser news.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
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
