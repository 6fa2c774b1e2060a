//! What did not change is not stored again, and opens all the same.

use std::sync::Arc;

use super::*;
use crate::{
    names::FilePath,
    source::{Data, Input, Symlinks, files_below},
    store::Bucket,
    workers::Progress,
};

mod caching;
mod disclosing;
mod hostile;

const MIB: usize = 1 << 20;

/// A safetensors file of these tensors, in this order.
pub(super) fn safetensors(metadata: &str, tensors: &[(&str, &[u8])]) -> Vec<u8> {
    let mut at = 0;
    let entry = |(name, data): &(&str, &[u8])| {
        let range = (at, at + data.len());
        at = range.1;
        format!(r#","{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}"#, data.len(), range.0, range.1)
    };
    let entries: String = tensors.iter().map(entry).collect();
    let header = format!(r#"{{"__metadata__":{{"note":"{metadata}"}}{entries}}}"#);
    let data = tensors.iter().flat_map(|(_, data)| data.iter().copied());
    (header.len() as u64).to_le_bytes().into_iter().chain(header.into_bytes()).chain(data).collect()
}

impl Fixture {
    pub(super) fn seal_reusable(&self, name: &str, files: &[(&str, &[u8])]) -> Receipt {
        let inputs = files.iter().map(|(path, data)| input(path, data)).collect();
        let request = SealRequest { deduplication: Deduplication::Reusable, ..self.request(name, inputs) };
        self.vault.seal(request, &()).expect("sealed")
    }

    pub(super) fn previous(&self, name: &str) -> Result<Previous> {
        let artifact = self.vault.resolve(&reference(name), &self.policy())?;
        self.vault.previous(&artifact, &self.policy(), &Knowledge::Opened(&self.ring, reading()))
    }

    pub(super) fn reuse(&self, previous: &Previous, name: &str, files: &[(&str, &[u8])]) -> Result<Receipt> {
        let inputs = files.iter().map(|(path, data)| input(path, data)).collect();
        let request = SealRequest { deduplication: Deduplication::Reuse(previous), ..self.request(name, inputs) };
        self.vault.seal(request, &())
    }

    pub(super) fn manifest(&self, name: &str) -> crate::manifest::Manifest {
        let artifact = self.vault.resolve(&reference(name), &self.policy()).expect("resolved");
        crate::manifest::Manifest::clone(&artifact.manifest)
    }

    fn opens_to(&self, name: &str, files: &[(&str, &[u8])]) {
        for (path, data) in files {
            assert!(self.read(name, path).expect("opened") == *data, "{path} of {name}");
        }
        self.verify(name).expect("verified");
    }
}

/// Tensors: two frozen, one that changes, and norms in between.
struct Layers {
    first: Vec<u8>,
    norm: Vec<u8>,
    middle: Vec<u8>,
    last: Vec<u8>,
}

impl Layers {
    fn new() -> Self {
        Self { first: bytes(3 * MIB + 5, 1), norm: bytes(9000, 2), middle: bytes(2 * MIB, 3), last: bytes(6 * MIB, 4) }
    }

    fn tuned() -> Self {
        Self { norm: bytes(9000, 12), middle: bytes(2 * MIB, 13), ..Self::new() }
    }

    fn file(&self, metadata: &str) -> Vec<u8> {
        let Self { first, norm, middle, last } = self;
        safetensors(metadata, &[("a", first), ("b", norm), ("c", middle), ("d", last)])
    }
}

#[test]
fn a_fine_tune_stores_what_changed_and_opens_byte_for_byte_and_in_ranges() {
    let fixture = Fixture::new();
    let (base, tuned) = (Layers::new().file(""), Layers::tuned().file("longer metadata than before"));
    let config = br#"{"layers":4}"#;
    fixture.seal_reusable("m:1", &[("config.json", config), ("model.safetensors", &base)]);
    let files = [("config.json", &config[..]), ("model.safetensors", &tuned)];
    let receipt = fixture.reuse(&fixture.previous("m:1").expect("known"), "m:2", &files).expect("sealed");

    let frozen = (9 * MIB + 5 + config.len()) as u64;
    assert_eq!(receipt.saved, crate::seal::Saved { streams: 2, bytes: frozen });
    assert_eq!(receipt.plaintext, (tuned.len() + config.len()) as u64);
    assert!(receipt.stored < 2 * MIB as u64 + 20_000, "{}", receipt.stored);
    fixture.opens_to("m:2", &files);
    fixture.opens_to("m:1", &[("model.safetensors", &base)]);

    let old = fixture.manifest("m:1");
    let new = fixture.manifest("m:2");
    let origins: Vec<_> = new.reused_streams().map(|(number, _, origin)| (number, origin.stream)).collect();
    assert_eq!(origins, [(1, 0), (2, 1)]);
    for (_, stream, origin) in new.reused_streams() {
        let before = &old.streams[origin.stream as usize];
        assert_eq!(origin.artifact_id, old.artifact_id);
        assert_eq!(
            (stream.header, stream.layout, &stream.parts, stream.tree),
            (before.header, before.layout, &before.parts, before.tree)
        );
    }

    let policy = fixture.policy();
    let artifact = fixture.vault.resolve(&reference("m:2"), &policy).expect("resolved");
    let opened = fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).expect("opened");
    let file = opened.index().file("model.safetensors").expect("there");
    let tensors = crate::safetensors::read(&opened, file).expect("a header");
    assert_eq!(tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    let len = tuned.len();
    for range in [0..10, 0..len, 3 * MIB - 7..3 * MIB + 20_000, 5 * MIB..7 * MIB, len - 1..len, len / 2..len / 2] {
        let read = opened.read_range(file, range.start as u64..range.end as u64).expect("read");
        assert!(read[..] == tuned[range.clone()], "{range:?}");
    }
    let mut streamed = Vec::new();
    let mut take = |bytes: &[u8]| {
        streamed.extend_from_slice(bytes);
        Ok(())
    };
    opened.stream(file, 0..file.size, &mut take, &()).expect("streamed");
    assert!(streamed == tuned);
}

#[test]
fn an_identical_input_stores_an_index_and_no_contents() {
    let fixture = Fixture::new();
    let (model, big) = (Layers::new().file(""), bytes(17 * PAYLOAD + 5, 5));
    let files = [("big.bin", &big[..]), ("config.json", b"{}"), ("empty", b""), ("model.safetensors", &model)];
    fixture.seal_reusable("m:1", &files);
    let receipt = fixture.reuse(&fixture.previous("m:1").expect("known"), "m:2", &files).expect("sealed");
    let manifest = fixture.manifest("m:2");
    assert_eq!((receipt.saved.streams, manifest.streams.len()), (3, 3));
    assert_eq!((receipt.saved.bytes, receipt.stored), (receipt.plaintext, manifest.index.layout.length()));
    fixture.opens_to("m:2", &files);
}

#[test]
fn a_chain_of_reuse_names_the_first_origin() {
    let fixture = Fixture::new();
    let files = [1, 2, 3].map(|round| {
        let middle = bytes(2 * MIB, 20 + round);
        let last = if round == 1 { bytes(6 * MIB, 9) } else { bytes(6 * MIB, 4) };
        Layers { middle, last, ..Layers::new() }.file("")
    });
    let names = ["m:1", "m:2", "m:3"];
    fixture.seal_reusable(names[0], &[("m.safetensors", &files[0])]);
    for at in [1, 2] {
        let previous = fixture.previous(names[at - 1]).expect("known");
        fixture.reuse(&previous, names[at], &[("m.safetensors", &files[at])]).expect("sealed");
    }
    let ids = names.map(|name| fixture.manifest(name).artifact_id);
    let last = fixture.manifest("m:3");
    let origins: Vec<_> = last.reused_streams().map(|(_, _, origin)| (origin.artifact_id, origin.stream)).collect();
    assert_eq!(origins, [(ids[1], 0), (ids[0], 0)], "one stream of each, by its first name");
    assert!(!origins.iter().any(|(id, _)| *id == ids[2]));
    for (name, file) in names.iter().zip(&files) {
        fixture.opens_to(name, &[("m.safetensors", file)]);
    }
}

#[test]
fn tensors_are_found_where_they_moved_to() {
    let fixture = Fixture::new();
    let Layers { first, norm, middle, last } = Layers::new();
    let base = safetensors("", &[("a", &first), ("b", &norm), ("c", &middle), ("d", &last)]);
    fixture.seal_reusable("m:1", &[("model.safetensors", &base)]);
    let shards = [
        safetensors("one", &[("d", &last), ("new", &bytes(100_000, 50)), ("a", &first)]),
        safetensors("two", &[("renamed", &middle), ("norm", &norm)]),
    ];
    let files = [("1.safetensors", &shards[0][..]), ("2.safetensors", &shards[1])];
    let receipt = fixture.reuse(&fixture.previous("m:1").expect("known"), "m:2", &files).expect("sealed");
    assert_eq!(receipt.saved.bytes, (first.len() + middle.len() + last.len()) as u64);
    fixture.opens_to("m:2", &files);
}

#[test]
fn a_file_without_tensors_is_found_piece_by_piece_and_as_a_whole() {
    let fixture = Fixture::new();
    let data = bytes(40 * MIB, 1);
    fixture.seal_reusable("m:1", &[("a.gguf", &data), ("b.gguf", &data[..MIB / 2])]);
    let mut longer = data.clone();
    longer[33 * MIB] ^= 1;
    longer.extend_from_slice(b"more");
    let files = [("renamed.gguf", &longer[..]), ("c.gguf", &data[..MIB / 2])];
    let receipt = fixture.reuse(&fixture.previous("m:1").expect("known"), "m:2", &files).expect("sealed");
    assert_eq!(receipt.saved.bytes, (32 * MIB + MIB / 2) as u64);
    fixture.opens_to("m:2", &files);
}

#[test]
fn equal_tensors_are_reused_once_for_each_time_they_were_stored() {
    let fixture = Fixture::new();
    let zeros = vec![0; 2 * MIB];
    let file = |names: &[&'static str]| {
        safetensors("", &names.iter().map(|name| (*name, zeros.as_slice())).collect::<Vec<_>>())
    };
    let (two, four) = (file(&["a", "b"]), file(&["a", "b", "c", "d"]));
    fixture.seal_reusable("m:1", &[("m.safetensors", &two)]);
    let files = [("m.safetensors", &four[..])];
    let receipt = fixture.reuse(&fixture.previous("m:1").expect("known"), "m:2", &files).expect("sealed");
    assert_eq!(receipt.saved.bytes, 4 * MIB as u64, "extents do not overlap");
    fixture.opens_to("m:2", &files);
}

#[test]
fn what_is_too_little_is_stored_again() {
    let fixture = Fixture::new();
    let (huge, little) = (bytes(20 * MIB, 1), bytes(2 * MIB, 2));
    let scattered: Vec<_> = (0..40).map(|seed| bytes(100_000, 100 + seed)).collect();
    let names: Vec<_> = (0..40).map(|n| format!("t{n:02}")).collect();
    let changed = bytes(100_000, 99);
    let tensors = |every: usize| {
        let tensor = |(at, (name, data)): (usize, (&String, &Vec<u8>))| {
            (name.clone(), if at % every == 0 { changed.clone() } else { data.clone() })
        };
        let tensors: Vec<_> = names.iter().zip(&scattered).enumerate().map(tensor).collect();
        safetensors("", &tensors.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect::<Vec<_>>())
    };
    let base = safetensors("", &[("huge", &huge), ("little", &little)]);
    fixture.seal_reusable("m:1", &[("a.safetensors", &base), ("b.safetensors", &tensors(1000))]);
    // Of the first, a tenth is the same; of the second, pieces of 200 kB between changes.
    let other = safetensors("", &[("huge", &bytes(20 * MIB, 3)), ("little", &little)]);
    let between = tensors(3);
    let files = [("a.safetensors", &other[..]), ("b.safetensors", &between)];
    let previous = fixture.previous("m:1").expect("known");
    let receipt = fixture.reuse(&previous, "m:2", &files).expect("sealed");
    assert_eq!(receipt.saved, crate::seal::Saved::default());
    fixture.opens_to("m:2", &files);
    // Small tensors next to each other are worth it.
    let apart = tensors(20);
    let files = [("b.safetensors", &apart[..])];
    let receipt = fixture.reuse(&previous, "m:3", &files).expect("sealed");
    assert!(receipt.saved.bytes > 3_500_000, "{:?}", receipt.saved);
    fixture.opens_to("m:3", &files);
}

#[test]
fn reuse_works_in_a_bucket_and_needs_nothing_of_the_version_but_its_objects() {
    let mut fixture = Fixture::new();
    let bucket = Arc::new(object_store::memory::InMemory::new());
    fixture.vault = Vault::init(Store::new(Bucket::new(bucket).expect("a bucket"))).expect("vault");
    let (base, tuned) = (Layers::new().file(""), Layers::tuned().file(""));
    fixture.seal_reusable("m:1", &[("m.safetensors", &base)]);
    let previous = fixture.previous("m:1").expect("known");
    let receipt = fixture.reuse(&previous, "m:2", &[("m.safetensors", &tuned)]).expect("sealed");
    assert!(receipt.saved.bytes > 9 * MIB as u64);
    // The version is retired, and all there was beside its objects is gone.
    let mut gone = vec![version_path(&"m:1".parse().expect("a name"))];
    let folder = format!("artifacts/{}", previous.digest().to_hex());
    let mut collect = |entry: crate::store::Entry| {
        gone.push(entry.path);
        Ok(())
    };
    fixture.vault.store().list(&folder, &mut collect).expect("listed");
    for path in &gone {
        fixture.vault.store().delete(path).expect("deleted");
    }
    assert_eq!(kind(fixture.verify("m:1")), Kind::NotFound);
    fixture.opens_to("m:2", &[("m.safetensors", &tuned)]);
    let refused = fixture.reuse(&previous, "m:3", &[("m.safetensors", &tuned)]).expect_err("gone");
    assert!(refused.to_string().ends_with("manifest.json: is missing"), "{refused}");
}

#[test]
fn objects_that_are_missing_or_short_are_noticed_before_anything_is_published() {
    let fixture = Fixture::new();
    let (base, tuned) = (Layers::new().file(""), Layers::tuned().file(""));
    fixture.seal_reusable("m:1", &[("m.safetensors", &base)]);
    let previous = fixture.previous("m:1").expect("known");
    let manifest = fixture.manifest("m:1");
    let tree = manifest.streams[0].tree.expect("a tree");
    for name in [manifest.streams[0].parts[0], tree] {
        let path = fixture.dir.path().join(crate::parts::object_path(&name));
        let whole = fs::read(&path).expect("there");
        fs::remove_file(&path).expect("removed");
        for (number, fault) in ["is missing", "bytes, found"].iter().enumerate() {
            let error = fixture.reuse(&previous, "m:2", &[("m.safetensors", &tuned)]).expect_err("refused");
            assert_eq!(error.kind(), Kind::Integrity);
            assert!(error.to_string().contains(fault), "{error}");
            let next = if number == 0 { &whole[1..] } else { &whole[..] };
            let _ = fs::remove_file(&path);
            fs::write(&path, next).expect("written");
        }
    }
    assert_eq!(fixture.vault.list(&fixture.policy()).expect("listed").versions.len(), 1);
    fixture.reuse(&previous, "m:2", &[("m.safetensors", &tuned)]).expect("restored");
}

#[test]
fn what_cannot_be_compared_is_refused_before_it_is_read() {
    let fixture = Fixture::new();
    let data = bytes(2 * MIB, 1);
    fixture.seal_reusable("m:1", &[("a", &data)]);
    fixture.seal("m:plain", &[("a", &data)]);
    let not = fixture.previous("m:plain").expect_err("no digests");
    assert!(not.kind() == Kind::Usage && not.to_string().contains("was not sealed to be reused"), "{not}");

    let previous = fixture.previous("m:1").expect("known");
    let before = fixture.objects();
    let with = |deduplication, change: &dyn Fn(&mut SealRequest<'_>)| {
        let mut request = SealRequest { deduplication, ..fixture.request("m:2", vec![input("a", &data)]) };
        change(&mut request);
        let error = fixture.vault.seal(request, &()).expect_err("refused");
        assert_eq!(error.kind(), Kind::Usage);
        error.to_string()
    };
    let reader = |request: &mut SealRequest<'_>| {
        let path = FilePath::new("in").expect("a path");
        request.inputs = vec![Input { path, executable: false, data: Data::Reader(Box::new(&b"x"[..])) }];
    };
    let reuse = Deduplication::Reuse(&previous);
    for deduplication in [Deduplication::Reusable, reuse] {
        assert!(with(deduplication, &reader).contains("can be read once only"));
    }
    let sha256 = |request: &mut SealRequest<'_>| request.options.digests = crate::seal::Digests::Sha256;
    assert!(with(reuse, &sha256).contains("no digest of whole files"));
    let parts = |request: &mut SealRequest<'_>| request.options.part_size = crate::tree::PartSize::DEFAULT;
    assert!(with(reuse, &parts).contains("parts of 8 MiB"));
    assert_eq!(fixture.objects(), before);
}

/// Changes a file when the first look is over.
struct Meddle<'a>(std::sync::Mutex<bool>, &'a (dyn Fn() + Sync));

impl Progress for Meddle<'_> {
    fn advance(&self, _: u64) {
        let mut done = self.0.lock().expect("lock");
        if !std::mem::replace(&mut *done, true) {
            // Time stamps are as coarse as the kernel's tick.
            std::thread::sleep(std::time::Duration::from_millis(20));
            (self.1)();
        }
    }
}

#[test]
fn a_file_that_changes_between_the_two_looks_is_noticed() {
    use std::os::unix::fs::FileExt;
    let fixture = Fixture::new();
    let data = bytes(4 * MIB, 1);
    fixture.seal_reusable("m:1", &[("a", &data), ("b", &bytes(9, 1))]);
    let previous = fixture.previous("m:1").expect("known");
    let path = fixture.dir.path().join("staging-a");
    // What is reused is not read a second time, and must not have changed either.
    for contents in [data.clone(), bytes(4 * MIB, 7)] {
        let write = || {
            let file = fs::File::options().write(true).open(&path).expect("opens");
            file.write_all_at(b"x", 3_000_000).expect("written");
        };
        let grow = || {
            let file = fs::File::options().write(true).open(&path).expect("opens");
            file.write_all_at(b"x", 4 * MIB as u64).expect("written");
        };
        for change in [&write as &(dyn Fn() + Sync), &grow] {
            fs::write(&path, &contents).expect("written");
            let inputs = files_below(&path, Symlinks::Refuse).expect("a file");
            let request =
                SealRequest { deduplication: Deduplication::Reuse(&previous), ..fixture.request("m:2", inputs) };
            let error =
                fixture.vault.seal(request, &Meddle(std::sync::Mutex::new(false), change)).expect_err("changed");
            assert!(matches!(error, Error::InputChanged { .. }), "{error}");
        }
    }
    assert_eq!(fixture.vault.list(&fixture.policy()).expect("listed").versions.len(), 1);
}

#[test]
fn files_on_disk_are_reused_like_any_other() {
    let fixture = Fixture::new();
    let folder = fixture.dir.path().join("staging-model");
    fs::create_dir(&folder).expect("folder");
    let seal = |name: &str, layers: &Layers, deduplication| {
        fs::write(folder.join("m.safetensors"), layers.file("")).expect("written");
        let inputs = files_below(&folder, Symlinks::Refuse).expect("a folder");
        fixture.vault.seal(SealRequest { deduplication, ..fixture.request(name, inputs) }, &()).expect("sealed")
    };
    seal("m:1", &Layers::new(), Deduplication::Reusable);
    let previous = fixture.previous("m:1").expect("known");
    let receipt = seal("m:2", &Layers::tuned(), Deduplication::Reuse(&previous));
    // The header is the same, too, and adjoins.
    assert!(receipt.saved.bytes > (9 * MIB + 5) as u64, "{:?}", receipt.saved);
    fixture.opens_to("m:2", &[("m.safetensors", &Layers::tuned().file(""))]);
}

#[test]
fn a_fault_at_any_write_leaves_the_new_version_whole_or_not_there() {
    let fixture = Fixture::new();
    let (base, tuned) = (Layers::new().file(""), Layers::tuned().file(""));
    fixture.seal_reusable("m:1", &[("m.safetensors", &base)]);
    let directory = || Directory::open(fixture.dir.path(), Durability::NoSync).expect("folder");
    let attempt = |faulty: Faulty, name: &str| {
        let vault = Vault::open(Store::new(faulty.clone())).expect("vault");
        let artifact = vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
        let knowledge = Knowledge::Opened(&fixture.ring, reading());
        let previous = vault.previous(&artifact, &fixture.policy(), &knowledge).expect("known");
        let inputs = vec![input("m.safetensors", &tuned)];
        let request = SealRequest { deduplication: Deduplication::Reuse(&previous), ..fixture.request(name, inputs) };
        (vault.seal(request, &()), faulty.writes())
    };
    let (sealed, writes) = attempt(Faulty::counting(directory()), "m:counted");
    sealed.expect("sealed");
    assert!(writes > 8, "{writes}");
    for number in 1..=writes {
        for (when, at) in [(When::Before, "before"), (When::After, "after")] {
            let name = format!("m:{number}-{at}");
            let (sealed, _) = attempt(Faulty::failing(directory(), number, when), &name);
            let published = fixture.vault.resolve(&reference(&name), &fixture.policy()).is_ok();
            assert!(sealed.is_err() || published, "{name}");
            if published {
                fixture.opens_to(&name, &[("m.safetensors", &tuned)]);
            }
        }
    }
    fixture.opens_to("m:1", &[("m.safetensors", &base)]);
}

#[test]
fn the_latest_version_of_a_model_is_the_one_whose_record_says_so() {
    let fixture = Fixture::new();
    let model = "m".parse().expect("a name");
    assert_eq!(kind(fixture.vault.latest(&model, &fixture.policy())), Kind::NotFound);
    fixture.seal("m/other:9", &[("a", b"1")]);
    fixture.seal("m:2", &[("a", b"1")]);
    // Within one second the greater name counts.
    fixture.seal("m:3", &[("a", b"1")]);
    assert_eq!(fixture.vault.latest(&model, &fixture.policy()).expect("found").to_string(), "m:3");
    let junk = fixture.dir.path().join("models/m/versions/9.dsse.json");
    fs::write(junk, "junk").expect("planted");
    assert_eq!(fixture.vault.latest(&model, &fixture.policy()).expect("found").to_string(), "m:3");
}
