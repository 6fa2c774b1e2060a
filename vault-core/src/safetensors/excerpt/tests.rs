use super::*;
use crate::{
    error::Kind,
    fixtures::{Counting, Fixture, bytes, reading, reference},
    tree::SEGMENT,
};

/// A safetensors file of these tensors of bytes, and what it says besides.
fn safetensors(tensors: &[(&str, &[u8])], metadata: &str) -> Vec<u8> {
    let (mut end, mut entries) = (0, vec![format!(r#""__metadata__":{metadata}"#)]);
    for (name, data) in tensors {
        let start = end;
        end += data.len();
        let length = data.len();
        entries.push(format!(r#""{name}":{{"dtype":"U8","shape":[{length}],"data_offsets":[{start},{end}]}}"#));
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    for (_, data) in tensors {
        file.extend(*data);
    }
    file
}

fn globs(patterns: &[&str]) -> Vec<Glob> {
    patterns.iter().map(|pattern| pattern.parse().expect("a pattern")).collect()
}

fn written(excerpt: &Excerpt, opened: &Opened<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut take = |bytes: &[u8]| {
        out.extend_from_slice(bytes);
        Ok(())
    };
    excerpt.stream(opened, &mut take, &()).expect("streamed");
    assert_eq!(out.len() as u64, excerpt.length());
    out
}

/// The tensors of a file, by name.
fn tensors_of(file: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let length = u64::from_le_bytes(*file.first_chunk().expect("a length"));
    assert_eq!(length % 8, 0);
    let data = 8 + usize::try_from(length).expect("small");
    let at = |offset: u64| data + usize::try_from(offset).expect("small");
    let tensors = super::super::parse(&file[8..data], (file.len() - data) as u64).expect("a valid file");
    tensors.into_iter().map(|t| (t.name, file[at(t.offset)..at(t.offset + t.length)].to_vec())).collect()
}

#[test]
fn an_excerpt_is_a_valid_file_and_only_its_segments_are_read_each_once() {
    let fixture = Fixture::new();
    let layers: Vec<_> = (0..8u8).map(|layer| bytes(3 << 20, layer)).collect();
    let small: Vec<_> = (0..6u8).map(|number| bytes(1000, 100 + number)).collect();
    let names = ["l.0", "l.1", "l.2", "l.3", "l.4", "l.5", "l.6", "l.7"];
    let mut tensors: Vec<_> = names.iter().copied().zip(layers.iter().map(Vec::as_slice)).collect();
    let tiny = ["s.0", "skip.0", "s.1", "skip.1", "s.2", "empty"];
    tensors.extend(tiny.iter().copied().zip(small.iter().map(Vec::as_slice)));
    tensors[13].1 = &[];
    fixture.seal("m:1", &[("model.safetensors", &safetensors(&tensors, r#"{"format":"pt"}"#)), ("other", b"x")]);
    let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("resolved");
    let dek = fixture.vault.unlock(&artifact, &fixture.policy(), &fixture.ring).expect("unlocked");
    let fetch = Counting::new(fixture.vault.store());
    let opened = Opened::new(&artifact.manifest, dek, &fetch, reading()).expect("opened");
    let files: Vec<_> = opened.index().files().iter().collect();
    let tree = artifact.manifest.streams[0].tree.expect("a tree").to_string();
    let read = || {
        let bytes: usize = fetch.take_reads().into_iter().filter(|(name, ..)| *name != tree).map(|(.., len)| len).sum();
        bytes.div_ceil(SEGMENT)
    };

    for (patterns, wanted, segments) in [
        (&["l.3"][..], vec!["l.3"], 4),
        (&["l.3", "l.4"][..], vec!["l.3", "l.4"], 7),
        (&["l.1", "l.6"][..], vec!["l.1", "l.6"], 8),
        (&["s.*"][..], vec!["s.0", "s.1", "s.2"], 1),
        (&["*.0"][..], vec!["l.0", "s.0", "skip.0"], 5),
        (&["empty"][..], vec!["empty"], 0),
    ] {
        let selected = select(&opened, &files, &globs(patterns)).expect("found");
        let excerpt = Excerpt::new(&selected).expect("made");
        assert_eq!(excerpt.tensors(), wanted.len());
        read();
        let file = written(&excerpt, &opened);
        assert!(read() <= segments, "{patterns:?}: more than {segments} segments");
        let found = tensors_of(&file);
        assert_eq!(found.keys().collect::<Vec<_>>(), wanted, "{patterns:?}");
        for (name, data) in found {
            let expected = tensors.iter().find(|(other, _)| *other == name).expect("one of them").1;
            assert!(data == expected, "{name}");
        }
        assert!(String::from_utf8_lossy(&file).contains(r#""__metadata__":{"format":"pt"}"#));
    }
    let table = super::super::table(&opened, files[0]).expect("a table");
    let one = table.tensors.iter().find(|tensor| tensor.name == "l.5").expect("there");
    assert!(super::super::read_tensor(&opened, files[0], &table, one).expect("read")[..] == layers[5]);
}

#[test]
fn tensors_of_several_files_become_one_unless_names_clash_and_a_miss_names_what_is_near() {
    let fixture = Fixture::new();
    let (one, two) = (bytes(100, 1), bytes(200, 2));
    let first = safetensors(&[("a.weight", &one), ("both", &one)], r#"{"format":"pt","part":"1"}"#);
    let second = safetensors(&[("b.weight", &two), ("both", &two)], r#"{"format":"pt","part":"2"}"#);
    fixture.seal("m:1", &[("1.safetensors", &first), ("2.safetensors", &second), ("junk.bin", b"a.weight")]);
    let (policy, name) = (fixture.policy(), reference("m:1"));
    let artifact = fixture.vault.resolve(&name, &policy).expect("resolved");
    let opened = fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).expect("opened");
    let files: Vec<_> = opened.index().files().iter().collect();
    let selected = select(&opened, &files, &globs(&["*.weight"])).expect("found");
    assert_eq!(selected.len(), 2);
    let file = written(&Excerpt::new(&selected).expect("made"), &opened);
    assert_eq!(tensors_of(&file), BTreeMap::from([("a.weight".into(), one), ("b.weight".into(), two)]));
    assert!(String::from_utf8_lossy(&file).contains(r#""__metadata__":{"format":"pt"}"#), "what both say");

    let clash = Excerpt::new(&select(&opened, &files, &globs(&["both"])).expect("found")).expect_err("two");
    assert_eq!(clash.kind(), Kind::Usage);
    let miss = select(&opened, &files, &globs(&["both", "a.wieght"])).expect_err("none");
    assert_eq!(miss.kind(), Kind::NotFound);
    assert!(miss.to_string().contains("(near it: \"a.weight\""), "{miss}");
    assert_eq!(select(&opened, &files[2..], &globs(&["*"])).expect_err("none").kind(), Kind::NotFound);
}

#[test]
fn a_header_that_lies_is_refused_before_anything_is_read_by_it() {
    let tensor = |name: &str, from: u64, to: u64| {
        let length = to.saturating_sub(from);
        format!(r#""{name}":{{"dtype":"U8","shape":[{length}],"data_offsets":[{from},{to}]}}"#)
    };
    for entries in [
        vec![tensor("a", 0, 100), tensor("b", 50, 150)],
        vec![tensor("a", 0, u64::MAX)],
        vec![tensor("a", 0, 151)],
        vec![tensor("a", 100, 0)],
        (0..1000).map(|number| tensor(&number.to_string(), 0, 150)).collect(),
    ] {
        let header = format!("{{{}}}", entries.join(","));
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.as_bytes());
        file.extend([0; 150]);
        let fixture = Fixture::new();
        fixture.seal("m:1", &[("a.safetensors", &file)]);
        let policy = fixture.policy();
        let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("resolved");
        let opened = fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).expect("opened");
        let files: Vec<_> = opened.index().files().iter().collect();
        assert_eq!(select(&opened, &files, &globs(&["*"])).expect_err(&header).kind(), Kind::Integrity);
    }
}
