use std::sync::Mutex;

use super::*;
use crate::{
    error::Kind,
    fixtures::{Fixture, bytes, reading, reference},
    parts::ReadAt,
    secret::Secret,
    vault::Artifact,
};

/// Counts what is fetched.
struct Counting<'a> {
    inner: &'a dyn Fetch,
    reads: std::sync::Arc<Mutex<Vec<(String, u64, usize)>>>,
}

#[derive(Debug)]
struct CountingObject {
    name: String,
    inner: Box<dyn ReadAt>,
    reads: std::sync::Arc<Mutex<Vec<(String, u64, usize)>>>,
}

impl Fetch for Counting<'_> {
    fn open(&self, name: &blake3::Hash) -> Result<Box<dyn ReadAt>> {
        let (name, inner) = (name.to_string(), self.inner.open(name)?);
        Ok(Box::new(CountingObject { name, inner, reads: std::sync::Arc::clone(&self.reads) }))
    }
}

impl ReadAt for CountingObject {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        self.reads.lock().expect("lock").push((self.name.clone(), offset, buffer.len()));
        self.inner.read_exact_at(offset, buffer)
    }
}

fn resolve(fixture: &Fixture, name: &str) -> (Artifact, Dek) {
    let artifact = fixture.vault.resolve(&reference(name), &fixture.policy()).expect("resolved");
    let dek = fixture.vault.unlock(&artifact, &fixture.policy(), &fixture.ring).expect("unlocked");
    (artifact, dek)
}

#[test]
fn a_range_of_one_mebibyte_reads_two_segments_and_one_tree() {
    let fixture = Fixture::new();
    let data = bytes(40 * PAYLOAD, 1);
    fixture.seal("m:1", &[("a", &data), ("b", &data[..1000])]);
    let (artifact, dek) = resolve(&fixture, "m:1");
    let reads = std::sync::Arc::default();
    let fetch = Counting { inner: fixture.vault.store(), reads: std::sync::Arc::clone(&reads) };
    let opened = Opened::new(&artifact.manifest, dek, &fetch, reading()).expect("opened");
    reads.lock().expect("lock").clear();

    let start = 17 * PAYLOAD as u64 + 5;
    let range = start..start + (1 << 20);
    let file = opened.index().file("a").expect("there");
    let out = opened.read_range(file, range.clone()).expect("read");
    assert!(out[..] == data[usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small")]);

    let reads = reads.lock().expect("lock");
    let tree = artifact.manifest.streams[0].tree.expect("a tree").to_string();
    let (trees, segments): (Vec<_>, Vec<_>) = reads.iter().partition(|(name, _, _)| *name == tree);
    assert_eq!(trees.len(), 1, "one tree object");
    assert_eq!(segments.iter().map(|(_, _, len)| len).sum::<usize>(), 2 * SEGMENT, "two segments");
}

#[test]
fn every_range_is_the_slice_it_should_be() {
    let fixture = Fixture::new();
    let data = bytes(3 * PAYLOAD + 100, 1);
    fixture.seal("m:1", &[("a", &data), ("empty", &[])]);
    let (artifact, dek) = resolve(&fixture, "m:1");
    let opened = Opened::new(&artifact.manifest, dek, fixture.vault.store(), reading()).expect("opened");
    let file = opened.index().file("a").expect("there");
    let (len, payload) = (data.len() as u64, PAYLOAD as u64);
    for range in [
        0..0,
        0..1,
        0..len,
        len..len,
        payload - 1..payload + 1,
        payload..2 * payload,
        len - 1..len,
        5..payload * 3 + 50,
    ] {
        let expected = &data[usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small")];
        assert!(opened.read_range(file, range.clone()).expect("read")[..] == *expected, "{range:?}");
        let mut streamed = Vec::new();
        let mut collect = |piece: &[u8]| {
            streamed.extend_from_slice(piece);
            Ok(())
        };
        opened.stream(file, range.clone(), &mut collect, &()).expect("streamed");
        assert!(streamed == expected, "{range:?}");
    }
    #[expect(clippy::reversed_empty_ranges, reason = "a range that ends before it begins is what is tested")]
    for range in [0..len + 1, len + 1..len + 1, 2..1, 0..u64::MAX] {
        assert_eq!(opened.read_range(file, range).expect_err("past the end").kind(), Kind::Usage);
    }
    assert!(opened.read(opened.index().file("empty").expect("there"), &()).expect("read").is_empty());
}

#[test]
fn two_keys_never_open_one_body() {
    let fixture = Fixture::new();
    fixture.seal("m:1", &[("a", b"one plaintext")]);
    let (artifact, _) = resolve(&fixture, "m:1");
    let other = Dek::from_secret(Secret::new([7; 32]));
    let error = Opened::new(&artifact.manifest, other, fixture.vault.store(), reading()).expect_err("another key");
    assert_eq!(error.to_string(), "header of index: does not authenticate");
}

#[test]
fn a_sink_that_fails_ends_the_stream() {
    let fixture = Fixture::new();
    let data = bytes(5 * PAYLOAD, 1);
    fixture.seal("m:1", &[("a", &data)]);
    let (artifact, dek) = resolve(&fixture, "m:1");
    let opened = Opened::new(&artifact.manifest, dek, fixture.vault.store(), reading()).expect("opened");
    let file = opened.index().file("a").expect("there");
    let mut refuse = |_: &[u8]| Err(Error::storage("pipe")(std::io::ErrorKind::BrokenPipe.into()));
    assert_eq!(opened.stream(file, 0..file.size, &mut refuse, &()).expect_err("broken").kind(), Kind::Operational);
}
