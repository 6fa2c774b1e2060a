//! What a trust root costs an open: a channel of 1000 promotions behind 50 versions of the root.
#![forbid(unsafe_code)]

use std::path::Path;

use criterion::{Criterion, criterion_group, criterion_main};
use vault_core::{
    keys::{Identity, RecipientKind, SigningKey},
    names::{ChannelName, FilePath, Reference, VersionName},
    provenance::Envelope,
    seal,
    source::{Data, Input},
    store::{Connection, Durability, Store},
    trust::{Clock, Memory, Policy, ROOT_PAYLOAD_TYPE, Reached, draft},
    vault::{Deduplication, SealRequest, Vault},
    wrap::Audience,
};

const GENERATIONS: u64 = 1000;
const ROOTS: u64 = 50;

const ROLES: &str = r#"
[roles.root]
keys = ["a", "b", "c"]
threshold = 2
[[roles.sealer]]
models = ["*"]
keys = ["a"]
[[roles.release]]
models = ["*"]
channels = ["*"]
keys = ["a", "b", "c"]
threshold = 2
"#;

struct Scene {
    _folder: tempfile::TempDir,
    vault: Vault,
    pinned: Reached,
    policy: Policy,
}

fn root(keys: &[SigningKey], after: Option<&Reached>) -> Vec<u8> {
    let mut source = "expires = \"3650d\"\n".to_owned();
    for (name, key) in ["a", "b", "c"].iter().zip(keys) {
        let pem = key.verifying_key().to_pem();
        source += format!("[keys.{name}]\nholder = \"{name}\"\npublic = \"\"\"\n{pem}\"\"\"\n").as_str();
    }
    let root = draft(&(source + ROLES), after, Clock::now(), &mut |_| unreachable!("keys are written out"));
    let payload = root.expect("a root").to_vec().expect("written");
    let mut envelope = Envelope::unsigned(ROOT_PAYLOAD_TYPE, payload);
    keys[..2].iter().for_each(|key| envelope.add_signature(key).expect("signed"));
    envelope.to_vec().expect("written")
}

fn scene() -> Scene {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8");
    let vault = Vault::init(
        Store::create_url(path, &Connection { durability: Durability::NoSync, ..Connection::default() })
            .expect("a store"),
    )
    .expect("a vault");
    let keys: Vec<_> = (0..3).map(|_| SigningKey::generate().expect("a key")).collect();
    let pinned = vault.publish_root(&root(&keys, None), None).expect("published");
    let mut last = pinned.clone();
    for _ in 1..ROOTS {
        last = vault.publish_root(&root(&keys, Some(&last)), Some(last.clone())).expect("published");
    }
    let recipient = Identity::generate(RecipientKind::X25519).expect("a key").recipient().clone();
    let name: VersionName = "m:1".parse().expect("a name");
    let file = FilePath::new("a").expect("a path");
    let request = SealRequest {
        name: name.clone(),
        inputs: vec![Input { path: file, executable: false, data: Data::Bytes(b"weights") }],
        audience: Audience { recipients: vec![recipient], passphrases: Vec::new() },
        signer: &keys[0],
        trust_root: Some(pinned.origin()),
        provenance: None,
        private_provenance: None,
        vendor: None,
        deduplication: Deduplication::None,
        cache: None,
        options: seal::Options::default(),
    };
    vault.seal(request, &()).expect("sealed");
    let channel: ChannelName = "m@production".parse().expect("a channel");
    let mut gate = vault.gate(&pinned, Memory::none(pinned.origin()), Clock::now()).expect("a gate");
    for _ in 0..GENERATIONS {
        let proposal = gate.propose_promotion(&channel, &name, ("bench", None), &keys[0]).expect("proposed");
        gate.approve(proposal.id, None, &keys[1]).expect("approved");
        assert!(gate.approve(proposal.id, None, &keys[2]).expect("approved").published);
        // Old proposals serve nobody, and looking through them would take most of the time.
        std::fs::remove_dir_all(Path::new(path).join("proposals")).expect("removed");
    }
    drop(gate);
    let policy = Policy::any_of(vec![keys[0].verifying_key()]).expect("a key");
    Scene { _folder: folder, vault, pinned, policy }
}

fn trust(c: &mut Criterion) {
    let Scene { _folder, vault, pinned, policy } = scene();
    let channel: Reference = "m@production".parse().expect("a reference");
    let version: Reference = "m:1".parse().expect("a reference");
    let state = tempfile::tempdir().expect("a folder");
    let mut group = c.benchmark_group("resolve");
    group
        .bench_function("a version, by one signer", |b| b.iter(|| vault.resolve(&version, &policy).expect("resolved")));
    group.bench_function("a channel, nothing remembered", |b| {
        b.iter(|| {
            let mut gate = vault.gate(&pinned, Memory::none(pinned.origin()), Clock::now()).expect("a gate");
            gate.resolve(&channel).expect("resolved")
        });
    });
    group.bench_function("a channel, remembered", |b| {
        b.iter(|| {
            let memory = Memory::open(state.path(), pinned.origin()).expect("a memory");
            let mut gate = vault.gate(&pinned, memory, Clock::now()).expect("a gate");
            let artifact = gate.resolve(&channel).expect("resolved");
            gate.close().expect("remembered");
            artifact
        });
    });
    group.finish();
}

criterion_group!(benches, trust);
criterion_main!(benches);
