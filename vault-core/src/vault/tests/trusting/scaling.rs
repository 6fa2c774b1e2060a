//! What reading costs does not depend on how much else the vault holds.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{
    parts::{ReadAt, Staged},
    store::{Backend, Created, Entry},
};

/// What a bucket gives in one answer to a listing.
const PAGE: u64 = 1000;
/// About what an entry of a listing takes, in bytes.
const ENTRY: u64 = 300;

/// What somebody does with a vault.
type Work<'a> = &'a dyn Fn(&Vault) -> Result<usize>;

/// What a store was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cost {
    requests: u64,
    bytes: u64,
}

/// A vault among objects that are made up as they are listed. Nobody reads one of those.
#[derive(Debug, Clone)]
struct Vast {
    inner: Arc<Directory>,
    /// Versions of a hundred other models, each with its artifact.
    versions: u64,
    /// Versions of the model `m`.
    siblings: u64,
    /// Content objects.
    objects: u64,
    cost: Arc<Mutex<Cost>>,
}

impl Vast {
    fn asked(&self, requests: u64, bytes: u64) {
        let mut cost = self.cost.lock().expect("no panic");
        cost.requests += requests;
        cost.bytes += bytes;
    }

    fn made_up(&self) -> impl Iterator<Item = String> {
        let digest = |number: u64| blake3::hash(&number.to_le_bytes()).to_hex();
        let object = move |number| {
            let name = digest(number);
            format!("objects/{}/{name}", &name[..2])
        };
        let of_version = move |number: u64| {
            let artifact = digest(number);
            [
                format!("models/other-{}/versions/{number}.dsse.json", number % 100),
                format!("retired/other-{}/versions/{number}/{artifact}.dsse.json", number % 100),
                format!("artifacts/{artifact}/manifest.json"),
                format!("artifacts/{artifact}/recipients/1.dsse.json"),
                format!("sessions/{}/outcome.json", &artifact[..32]),
            ]
        };
        let siblings = (0..self.siblings).map(|number| format!("models/m/versions/sibling-{number}.dsse.json"));
        (0..self.versions).flat_map(of_version).chain(siblings).chain((0..self.objects).map(object))
    }
}

impl Backend for Vast {
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        self.asked(1, bytes.len() as u64);
        self.inner.create(path, bytes)
    }

    fn read(&self, path: &str, cap: u64) -> Result<Option<Vec<u8>>> {
        let found = self.inner.read(path, cap)?;
        self.asked(1, found.as_ref().map_or(0, |bytes| bytes.len() as u64));
        Ok(found)
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn ReadAt>>> {
        let found = self.inner.open(path)?;
        Ok(found.map(|object| Box::new(Counted { object, vast: self.clone() }) as Box<dyn ReadAt>))
    }

    fn stat(&self, path: &str) -> Result<Option<Entry>> {
        self.asked(1, 0);
        self.inner.stat(path)
    }

    fn delete(&self, path: &str) -> Result<()> {
        self.asked(1, 0);
        self.inner.delete(path)
    }

    fn list(&self, prefix: &str, each: &mut dyn FnMut(Entry) -> Result<()>) -> Result<()> {
        let below = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let mut count: u64 = 0;
        self.inner.list(prefix, &mut |entry| {
            count += 1;
            each(entry)
        })?;
        for path in self.made_up().filter(|path| path.starts_with(&below)) {
            count += 1;
            each(Entry { path, size: 1000, modified: jiff::Timestamp::UNIX_EPOCH })?;
        }
        self.asked(count.div_ceil(PAGE).max(1), count * ENTRY);
        Ok(())
    }

    fn stage(&self, capacity: u64) -> Result<Box<dyn Staged>> {
        self.asked(1, 0);
        self.inner.stage(capacity)
    }

    fn sync(&self) -> Result<()> {
        self.inner.sync()
    }

    fn describe(&self) -> String {
        "a vast vault".into()
    }
}

#[derive(Debug)]
struct Counted {
    object: Box<dyn ReadAt>,
    vast: Vast,
}

impl ReadAt for Counted {
    fn len(&self) -> u64 {
        self.object.len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.vast.asked(1, buffer.len() as u64);
        self.object.read_exact_at(offset, buffer)
    }
}

/// What something costs in a vault of this one's objects and so many others.
fn cost<T: Debug>(
    world: &World,
    (versions, siblings, objects): (u64, u64, u64),
    work: &dyn Fn(&Vault) -> Result<T>,
) -> Cost {
    let inner = Directory::open(world.fixture.dir.path(), Durability::NoSync).expect("folder");
    let vast = Vast { inner: Arc::new(inner), versions, siblings, objects, cost: Arc::default() };
    let cost = Arc::clone(&vast.cost);
    work(&Vault::open(Store::new(vast)).expect("vault")).expect("done");
    *cost.lock().expect("no panic")
}

#[test]
fn resolving_listing_a_model_and_opening_cost_the_same_among_10_000_versions_and_1_000_000_objects() {
    let world = World::new();
    world.release("m:1");
    world.release("m:2");
    let policy = Policy::InsecureSkipSignature;
    let opened = |vault: &Vault, artifact: &Artifact, policy: &Policy| {
        let opened = vault.open_artifact(artifact, policy, &world.fixture.ring, reading())?;
        Ok(opened.read(opened.index().file("a")?, &())?.to_vec())
    };
    let by_version = |vault: &Vault| {
        let artifact = vault.resolve(&reference("m:1"), &policy)?;
        opened(vault, &artifact, &policy)
    };
    let by_channel = |vault: &Vault| {
        let mut gate = vault.gate(&world.pinned, Memory::none(world.pinned.origin()), clock(NOON))?;
        let artifact = gate.resolve(&reference("m@production"))?;
        opened(vault, &artifact, &gate.close()?)
    };
    let digest = world.fixture.vault.resolve(&reference("m:1"), &policy).expect("there").digest;
    let model = "m".parse().expect("a model");
    let works: [(&str, Work<'_>); 7] = [
        ("resolving a version", &|vault| vault.resolve(&reference("m:1"), &policy).map(|_| 1)),
        ("resolving a digest", &|vault| vault.resolve(&Reference::Digest(digest), &policy).map(|_| 1)),
        ("opening a version", &|vault| by_version(vault).map(|bytes| bytes.len())),
        ("opening a channel", &|vault| by_channel(vault).map(|bytes| bytes.len())),
        ("listing a model", &|vault| vault.list_model(&model, &policy).map(|listing| listing.versions.len())),
        ("the latest of a model", &|vault| vault.latest(&model, &policy).map(|_| 1)),
        ("verifying", &|vault| {
            let artifact = vault.resolve(&reference("m:1"), &policy)?;
            vault.verify(&artifact, threads(1), &()).map(|_| 1)
        }),
    ];
    let alone = (0, 0, 0);
    let vast = (10_000, 0, 1_000_000);
    for (what, work) in works {
        let (small, large) = (cost(&world, alone, work), cost(&world, vast, work));
        assert_eq!(small, large, "{what}");
        assert!(small.requests > 0 && small.requests < 40, "{what}: {small:?}");
    }
    for (what, work) in &works[..4] {
        // Also where all of the others are of the same model.
        assert_eq!(cost(&world, alone, work), cost(&world, (0, 10_000, 0), work), "{what}");
    }

    // What is linear is the listing of a folder itself: a request for a thousand entries, and nothing else.
    let (fixture, signer) = (&world.fixture, &world.keys["trainer"]);
    let seal = |name: &'static str| {
        move |vault: &Vault| {
            let request = SealRequest { signer, ..fixture.request(name, vec![input("a", b"new")]) };
            vault.seal(request, &()).map(|_| 1)
        }
    };
    let (small, large) = (cost(&world, alone, &seal("m:7")), cost(&world, vast, &seal("m:8")));
    assert_eq!(small.requests, large.requests, "sealing");
    let crowded = cost(&world, (0, 10_000, 0), &seal("m:9"));
    // The name is looked for twice, before the first byte and before the commit.
    assert_eq!(crowded.requests - small.requests, 2 * 10, "sealing beside 10 000 versions of the same model");

    // The scales work: whoever lists everything pays for it.
    let list = |vault: &Vault| {
        let mut count = 0;
        vault.store().list("", &mut |_| {
            count += 1;
            Ok(())
        })?;
        Ok(count)
    };
    let (small, large) = (cost(&world, alone, &list), cost(&world, vast, &list));
    assert_eq!(large.requests - small.requests, 1050);
}
