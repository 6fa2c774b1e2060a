//! What the tests of the pipelines and of the vault share: a small vault with one of everything.

use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, Mutex},
};

use crate::{
    keys::{Identity, RecipientKind, SigningKey},
    names::{FilePath, Reference},
    open::Options,
    parts::{Ahead, Fetch, ReadAt, Wanted},
    seal,
    source::{Data, Input},
    store::{Directory, Durability, Store},
    tree::{PAYLOAD, PartSize},
    trust::Policy,
    vault::{Deduplication, Receipt, SealRequest, Vault},
    workers::Threads,
    wrap::{Audience, Keyring},
};

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) vault: Vault,
    pub(crate) signer: SigningKey,
    pub(crate) ring: Keyring,
}

/// Bytes that differ everywhere and compress badly.
pub(crate) fn bytes(len: usize, seed: u8) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

pub(crate) fn input<'a>(path: &str, data: &'a [u8]) -> Input<'a> {
    Input { path: FilePath::new(path).expect(path), executable: false, data: Data::Bytes(data) }
}

pub(crate) fn small_parts() -> seal::Options {
    seal::Options { part_size: PartSize::new(8 << 20).expect("legal"), threads: threads(3), ..seal::Options::default() }
}

pub(crate) fn threads(count: usize) -> Threads {
    Threads::new(NonZeroUsize::new(count).expect("not zero"))
}

pub(crate) fn reading() -> Options {
    Options { threads: threads(3), ..Options::default() }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let vault = Vault::init(store(dir.path())).expect("vault");
        let identity = Identity::generate(RecipientKind::X25519).expect("key");
        let ring = Keyring { identities: vec![Box::new(identity)], passphrases: Vec::new() };
        Self { dir, vault, signer: SigningKey::generate().expect("key"), ring }
    }

    pub(crate) fn policy(&self) -> Policy {
        Policy::any_of(vec![self.signer.verifying_key()]).expect("a key")
    }

    pub(crate) fn audience(&self) -> Audience {
        let recipients = self.ring.identities.iter().map(|identity| identity.recipient().clone()).collect();
        Audience { recipients, passphrases: Vec::new() }
    }

    pub(crate) fn request<'a>(&'a self, name: &str, inputs: Vec<Input<'a>>) -> SealRequest<'a> {
        SealRequest {
            name: name.parse().expect(name),
            inputs,
            audience: self.audience(),
            signer: &self.signer,
            trust_root: None,
            provenance: None,
            private_provenance: None,
            vendor: None,
            deduplication: Deduplication::None,
            cache: None,
            options: small_parts(),
        }
    }

    pub(crate) fn seal(&self, name: &str, files: &[(&str, &[u8])]) -> Receipt {
        let inputs = files.iter().map(|(path, data)| input(path, data)).collect();
        self.vault.seal(self.request(name, inputs), &()).expect("sealed")
    }

    pub(crate) fn read(&self, name: &str, path: &str) -> crate::Result<Vec<u8>> {
        let policy = self.policy();
        let artifact = self.vault.resolve(&reference(name), &policy)?;
        let opened = self.vault.open_artifact(&artifact, &policy, &self.ring, reading())?;
        opened.read(opened.index().file(path)?, &()).map(|buffer| buffer.to_vec())
    }

    pub(crate) fn verify(&self, name: &str) -> crate::Result<()> {
        let artifact = self.vault.resolve(&reference(name), &self.policy())?;
        self.vault.verify(&artifact, threads(2), &()).map(drop)
    }

    /// Every file of the vault folder, sorted.
    pub(crate) fn objects(&self) -> Vec<std::path::PathBuf> {
        let mut paths = Vec::new();
        self.vault
            .store()
            .list("", &mut |entry| {
                // A seal that is refused may leave a lease, which is no content.
                if !entry.path.starts_with("sessions/") {
                    paths.push(self.dir.path().join(entry.path));
                }
                Ok(())
            })
            .expect("listed");
        paths.sort();
        paths
    }
}

pub(crate) fn store(path: &Path) -> Store {
    Store::new(Directory::create(path, Durability::NoSync).expect("folder"))
}

pub(crate) fn reference(name: &str) -> Reference {
    name.parse().expect(name)
}

/// Lengths at which something changes: segments, and parts of 8 MiB.
pub(crate) const BOUNDARIES: [usize; 9] =
    [0, 1, PAYLOAD - 1, PAYLOAD, PAYLOAD + 1, 2 * PAYLOAD, 8 * PAYLOAD, 8 * PAYLOAD + 1, 17 * PAYLOAD + 5];

/// Reads that were done: object, offset, length.
type Reads = Arc<Mutex<Vec<(String, u64, usize)>>>;

/// Counts what is fetched, and what is announced.
pub(crate) struct Counting<'a> {
    inner: &'a dyn Fetch,
    reads: Reads,
    announced: Mutex<Vec<Wanted>>,
}

impl<'a> Counting<'a> {
    pub(crate) fn new(inner: &'a dyn Fetch) -> Self {
        Self { inner, reads: Arc::default(), announced: Mutex::default() }
    }

    /// The reads since this was asked last.
    pub(crate) fn take_reads(&self) -> Vec<(String, u64, usize)> {
        std::mem::take(&mut *self.reads.lock().expect("lock"))
    }

    /// What was announced since this was asked last.
    pub(crate) fn take_announced(&self) -> Vec<Wanted> {
        std::mem::take(&mut *self.announced.lock().expect("lock"))
    }
}

impl Fetch for Counting<'_> {
    fn open(&self, name: &blake3::Hash, length: u64) -> crate::Result<Box<dyn ReadAt>> {
        let (name, inner) = (name.to_string(), self.inner.open(name, length)?);
        Ok(Box::new(Counted { name, inner, reads: Arc::clone(&self.reads) }))
    }

    fn ahead(&self, wanted: Vec<Wanted>) -> Ahead {
        self.announced.lock().expect("lock").extend(wanted);
        Ahead::default()
    }
}

#[derive(Debug)]
struct Counted {
    name: String,
    inner: Box<dyn ReadAt>,
    reads: Reads,
}

impl ReadAt for Counted {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> crate::Result<()> {
        self.reads.lock().expect("lock").push((self.name.clone(), offset, buffer.len()));
        self.inner.read_exact_at(offset, buffer)
    }
}
