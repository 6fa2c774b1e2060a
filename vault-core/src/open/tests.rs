use super::*;
use crate::{
    error::Kind,
    fixtures::{Counting, Fixture, bytes, reading, reference, threads},
    index::Extent,
    secret::Secret,
    vault::Artifact,
};

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
    let fetch = Counting::new(fixture.vault.store());
    let opened = Opened::new(&artifact.manifest, dek, &fetch, reading()).expect("opened");
    fetch.take_reads();

    let start = 17 * PAYLOAD as u64 + 5;
    let range = start..start + (1 << 20);
    let file = opened.index().file("a").expect("there");
    let out = opened.read_range(file, range.clone()).expect("read");
    assert!(out[..] == data[usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small")]);

    let reads = fetch.take_reads();
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

/// A file joined from the beginnings of all streams, `length` bytes of each.
fn spread(opened: &Opened<'_>, length: u64) -> File {
    let streams = (0..).zip(&opened.manifest.streams);
    let extents: Vec<_> = streams.map(|(stream, _)| Extent { length, offset: 0, stream }).collect();
    let size = extents.iter().map(|extent| extent.length).sum();
    let path = crate::names::FilePath::new("spread").expect("a path");
    File { path, size, executable: false, extents, sha256: None, regions: Vec::new() }
}

#[test]
fn the_trees_of_a_file_spread_over_many_streams_are_read_when_they_are_needed_and_once() {
    let fixture = Fixture::new();
    let data = bytes(4 * PAYLOAD, 1);
    let files = ["a", "b", "c", "d", "e"].map(|path| (path, &data[..]));
    fixture.seal("m:1", &files);
    let (artifact, dek) = resolve(&fixture, "m:1");
    let fetch = Counting::new(fixture.vault.store());
    let opened = Opened::new(&artifact.manifest, dek, &fetch, reading()).expect("opened");
    let trees: Vec<_> = artifact.manifest.streams.iter().map(|s| s.tree.expect("a tree").to_string()).collect();
    let count = || fetch.take_reads().iter().filter(|(name, _, _)| trees.contains(name)).count();
    let file = spread(&opened, 4 * PAYLOAD as u64);
    count();
    let mut refuse = |_: &[u8]| Err(Error::storage("pipe")(std::io::ErrorKind::BrokenPipe.into()));
    opened.stream(&file, 0..file.size, &mut refuse, &()).expect_err("broken");
    assert_eq!(count(), 1, "three threads were at the first stream");
    let out = opened.read(&file, &()).expect("read");
    assert!(out.chunks(data.len()).all(|chunk| *chunk == data[..]) && out.len() == 5 * data.len());
    assert_eq!(count(), 4, "the first is ready");
    opened.read_range(&file, 5..6).expect("read");
    assert_eq!(count(), 0);
}

#[test]
fn a_stream_that_is_damaged_is_noticed_when_it_is_reached_and_what_came_before_is_authentic() {
    let fixture = Fixture::new();
    let data = bytes(2 * PAYLOAD, 1);
    fixture.seal("m:1", &[("a", &data), ("b", &data)]);
    let (artifact, dek) = resolve(&fixture, "m:1");
    let opened = Opened::new(&artifact.manifest, dek, fixture.vault.store(), reading()).expect("opened");
    let tree = artifact.manifest.streams[1].tree.expect("a tree");
    std::fs::write(fixture.dir.path().join(crate::parts::object_path(&tree)), [0; 64]).expect("written");
    let (file, mut given) = (spread(&opened, 2 * PAYLOAD as u64), Vec::new());
    let mut take = |piece: &[u8]| {
        given.extend_from_slice(piece);
        Ok(())
    };
    assert_eq!(opened.stream(&file, 0..file.size, &mut take, &()).expect_err("damaged").kind(), Kind::Integrity);
    assert!(data.starts_with(&given));
    assert_eq!(opened.read(&file, &()).expect_err("damaged").kind(), Kind::Integrity);
}

#[test]
fn few_streams_are_kept_ready_however_many_a_file_is_spread_over() {
    let fixture = Fixture::new();
    let names: Vec<_> = (0..ready::MAX_READY + 6).map(|number| number.to_string()).collect();
    let files: Vec<_> = names.iter().map(|name| (name.as_str(), name.as_bytes())).collect();
    fixture.seal("m:1", &files);
    let (artifact, dek) = resolve(&fixture, "m:1");
    let opened = Opened::new(&artifact.manifest, dek, fixture.vault.store(), reading()).expect("opened");
    let file = spread(&opened, 1);
    let plan = Plan::new(&opened, &file, 0..file.size).expect("planned");
    assert_eq!(opened.ready.len(), 0);
    for piece in plan.pieces() {
        plan.reader(&piece).expect("ready");
        assert!(opened.ready.len() <= ready::MAX_READY);
    }
    assert_eq!(opened.ready.len(), ready::MAX_READY);
}

#[test]
fn small_pieces_of_one_segment_are_decrypted_once() {
    let fixture = Fixture::new();
    let data = bytes(PAYLOAD, 1);
    fixture.seal("m:1", &[("a", &data)]);
    let (artifact, dek) = resolve(&fixture, "m:1");
    let fetch = Counting::new(fixture.vault.store());
    let options = Options { threads: threads(1), ..reading() };
    let opened = Opened::new(&artifact.manifest, dek, &fetch, options).expect("opened");
    fetch.take_reads();
    let extents = (0..100).map(|piece| Extent { length: 10, offset: 10 * (99 - piece), stream: 0 }).collect();
    let file = File { extents, size: 1000, ..spread(&opened, 1) };
    let out = opened.read(&file, &()).expect("read");
    let expected: Vec<u8> = (0..100).rev().flat_map(|piece| data[10 * piece..10 * piece + 10].to_vec()).collect();
    assert!(out[..] == expected[..]);
    let read: usize = fetch.take_reads().iter().map(|(_, _, len)| len).sum();
    assert_eq!(read, SEGMENT, "one segment, once");
}

#[test]
fn beginnings_are_announced_with_the_index_and_not_again() {
    let fixture = Fixture::new();
    let large = bytes(3 * PAYLOAD, 1);
    fixture.seal("m:1", &[("large", &large), ("small", b"x")]);
    let (artifact, dek) = resolve(&fixture, "m:1");
    let fetch = Counting::new(fixture.vault.store());
    let options = Options { beginnings: true, ..reading() };
    let opened = Opened::new(&artifact.manifest, dek, &fetch, options).expect("opened");
    let stream = artifact.manifest.streams.iter().find(|stream| stream.layout.segments() > 1).expect("the large one");
    let announced = fetch.take_announced();
    let index = whole(&artifact.manifest.index);
    assert!(announced.starts_with(&index));
    let beginning: Vec<_> = stream.wanted_tree().into_iter().chain(stream.wanted_segments(0..1)).collect();
    assert_eq!(announced[index.len()..], beginning, "and nothing of the small one");

    let file = opened.index().file("large").expect("there");
    opened.read_range(file, 0..PAYLOAD as u64).expect("read");
    assert_eq!(fetch.take_announced(), [], "it is on its way");
    opened.read_range(file, PAYLOAD as u64..file.size).expect("read");
    assert_eq!(fetch.take_announced(), stream.wanted_segments(1..3).collect::<Vec<_>>(), "the tree is known");
    opened.read_range(file, 0..1).expect("read");
    assert_eq!(fetch.take_announced().len(), 1, "it was let go");
}
