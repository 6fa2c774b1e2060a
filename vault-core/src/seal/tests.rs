use std::{
    fs,
    io::{self, Read},
    sync::atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::{
    aead::Engine,
    error::Kind,
    fixtures::{BOUNDARIES, Fixture, bytes, input, small_parts, store},
    names::FilePath,
    source::Symlinks,
};

fn reader(data: &[u8]) -> Input<'_> {
    Input { path: FilePath::new("in").expect("a path"), executable: false, data: Data::Reader(Box::new(data)) }
}

/// Gives a few bytes at a time.
struct Dribble<'a>(&'a [u8]);

impl Read for Dribble<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = out.len().min(self.0.len()).min(65_537);
        out[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

#[test]
fn all_kinds_of_input_and_all_boundary_lengths_open_to_what_was_sealed() {
    let fixture = Fixture::new();
    for (number, len) in BOUNDARIES.into_iter().enumerate() {
        let data = bytes(len, 1);
        let path = fixture.dir.path().join("input");
        fs::write(&path, &data).expect("written");
        let mut inputs = crate::source::files_below(&path, Symlinks::Refuse).expect("a file");
        inputs.extend([input("bytes", &data), reader(&data)]);
        let dribble = Data::Reader(Box::new(Dribble(&data)));
        inputs.push(Input { path: FilePath::new("slow").expect("a path"), executable: true, data: dribble });
        let name = format!("m:{number}");
        let receipt = fixture.vault.seal(fixture.request(&name, inputs), &()).expect("sealed");
        assert_eq!((receipt.files, receipt.plaintext), (4, 4 * len as u64));
        fixture.verify(&name).expect("verified");
        for file in ["bytes", "in", "input", "slow"] {
            assert!(fixture.read(&name, file).expect("read") == data, "{file} of {len} bytes");
        }
    }
}

#[test]
fn the_same_input_seals_to_different_bytes_under_different_keys() {
    let dir = tempfile::tempdir().expect("folder");
    let sealed = || {
        let data = bytes(100, 1);
        seal(vec![input("a", &data)], Notes::default(), None, &store(dir.path()), small_parts(), &())
            .expect("sealed")
            .manifest
    };
    let (a, b) = (sealed(), sealed());
    assert_ne!(a.artifact_id, b.artifact_id);
    assert_ne!(a.streams[0].parts, b.streams[0].parts);
    assert_ne!(a.streams[0].header, b.streams[0].header);
}

#[test]
fn digests_come_out_of_the_same_pass() {
    use sha2::{Digest as _, Sha256};
    let dir = tempfile::tempdir().expect("folder");
    let data = bytes(3 * PAYLOAD + 7, 1);
    let options = Options { digests: Digests::Sha256, ..small_parts() };
    let inputs = vec![input("bytes", &data), input("empty", &[]), reader(&data)];
    let sealed = seal(inputs, Notes::default(), None, &store(dir.path()), options, &()).expect("sealed");
    let expected: [u8; 32] = Sha256::digest(&data).into();
    assert_eq!(sealed.index.file("bytes").expect("there").sha256, Some(expected));
    assert_eq!(sealed.index.file("in").expect("there").sha256, Some(expected));
    assert_eq!(sealed.index.file("empty").expect("there").sha256, Some(Sha256::digest(b"").into()));
    assert_eq!(sealed.manifest.streams.len(), 2, "an empty file has no stream");
}

#[test]
fn both_engines_and_any_number_of_threads_open_each_others_artifacts() {
    let fixture = Fixture::new();
    let data = bytes(9 * PAYLOAD, 1);
    for (number, engine) in [Engine::Fast, Engine::Reference].into_iter().enumerate() {
        for count in [1, 2, 7] {
            let name = format!("m:{number}-{count}");
            let mut request = fixture.request(&name, vec![input("a", &data)]);
            request.options = Options { engine, threads: crate::fixtures::threads(count), ..small_parts() };
            fixture.vault.seal(request, &()).expect("sealed");
            assert!(fixture.read(&name, "a").expect("read") == data);
        }
    }
}

/// Changes a file once the seal is under way.
struct Meddle<'a> {
    /// Held by every thread in turn, so that nobody reads on before the file was changed.
    done: Mutex<bool>,
    meddle: &'a (dyn Fn() + Sync),
}

impl Progress for Meddle<'_> {
    fn advance(&self, _: u64) {
        let mut done = self.done.lock().expect("lock");
        if !std::mem::replace(&mut *done, true) {
            // Time stamps are as coarse as the kernel's tick.
            std::thread::sleep(std::time::Duration::from_millis(20));
            (self.meddle)();
        }
    }
}

#[test]
fn an_input_that_changes_while_it_is_sealed_publishes_nothing() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("staging-input");
    let open = || fs::File::options().write(true).open(&path).expect("opens");
    let shrink = || open().set_len(5).expect("cut");
    let grow = || open().set_len(40 << 20).expect("grown");
    let change = || {
        use std::os::unix::fs::FileExt;
        open().write_all_at(b"x", 1).expect("written");
    };
    for meddle in [&shrink as &(dyn Fn() + Sync), &grow, &change] {
        fs::write(&path, bytes(12 * PAYLOAD, 1)).expect("written");
        let inputs = crate::source::files_below(&path, Symlinks::Refuse).expect("a file");
        let progress = Meddle { done: Mutex::new(false), meddle };
        let error = fixture.vault.seal(fixture.request("m:1", inputs), &progress).expect_err("changed");
        assert!(matches!(error, Error::InputChanged { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Operational);
        assert!(fixture.vault.list(&fixture.policy()).expect("listed").versions.is_empty());
    }
}

#[test]
fn a_folder_that_became_a_link_is_not_followed() {
    let fixture = Fixture::new();
    let (root, secret) = (fixture.dir.path().join("staging-in"), fixture.dir.path().join("staging-secret"));
    for folder in [root.join("z"), secret.clone()] {
        fs::create_dir_all(&folder).expect("folder");
        fs::write(folder.join("f"), folder.display().to_string()).expect("written");
    }
    let inputs = crate::source::files_below(&root, Symlinks::Refuse).expect("a file");
    fs::remove_dir_all(root.join("z")).expect("removed");
    std::os::unix::fs::symlink(&secret, root.join("z")).expect("link");
    let error = fixture.vault.seal(fixture.request("m:1", inputs), &()).expect_err("swapped");
    assert!(error.to_string().ends_with("another file took its place"), "{error}");
}

#[test]
fn a_reader_that_fails_is_an_error_and_nothing_is_published() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the pipe broke"))
        }
    }
    let fixture = Fixture::new();
    let bytes = bytes(2 * PAYLOAD, 1);
    let data = Data::Reader(Box::new(bytes.as_slice().chain(Broken)));
    let inputs = vec![Input { path: FilePath::new("a").expect("a path"), executable: false, data }];
    let error = fixture.vault.seal(fixture.request("m:1", inputs), &()).expect_err("broken");
    assert_eq!(error.to_string(), "input: the pipe broke");
    assert!(fixture.vault.list(&fixture.policy()).expect("listed").versions.is_empty());
}

#[test]
fn colliding_paths_are_refused_before_anything_is_sealed() {
    let fixture = Fixture::new();
    let before = fixture.objects();
    let error = fixture.vault.seal(fixture.request("m:1", vec![input("a", b"1"), input("A", b"2")]), &());
    assert_eq!(error.expect_err("twins").kind(), Kind::Usage);
    assert_eq!(fixture.objects(), before);
}

#[test]
fn a_cancelled_seal_publishes_nothing() {
    struct Cancel(AtomicU64);
    impl Progress for Cancel {
        fn advance(&self, _: u64) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        fn cancelled(&self) -> bool {
            self.0.load(Ordering::SeqCst) > 3
        }
    }
    let fixture = Fixture::new();
    let data = bytes(12 * PAYLOAD, 1);
    let cancel = Cancel(AtomicU64::new(0));
    assert!(fixture.vault.seal(fixture.request("m:1", vec![input("a", &data)]), &cancel).is_err());
    assert!(fixture.vault.list(&fixture.policy()).expect("listed").versions.is_empty());
}

#[test]
fn more_files_than_an_artifact_can_have_are_refused_before_anything_is_sealed() {
    let fixture = Fixture::new();
    let before = fixture.objects();
    let inputs = (0..=MAX_STREAMS).map(|number| input(&number.to_string(), b"")).collect();
    let error = fixture.vault.seal(fixture.request("m:1", inputs), &()).expect_err("too many");
    assert_eq!(error.to_string(), "an artifact has at most 100000 files, not 100001");
    assert_eq!(fixture.objects(), before);
}

#[test]
fn a_file_longer_than_a_stream_is_refused_before_it_is_read() {
    let fixture = Fixture::new();
    let path = fixture.dir.path().join("input");
    // Sparse: it takes no room.
    let longest = (1 << 21) * PAYLOAD as u64;
    fs::File::create(&path).expect("made").set_len(longest + 1).expect("sparse files");
    let inputs = crate::source::files_below(&path, Symlinks::Refuse).expect("a file");
    let error = fixture.vault.seal(fixture.request("m:1", inputs), &()).expect_err("too long");
    assert_eq!(error.to_string(), "a file is longer than a stream can be: 2 TiB");
}

#[test]
fn a_reader_that_never_ends_is_refused_at_the_end_of_the_longest_stream() {
    let dir = tempfile::tempdir().expect("folder");
    let encryptor = Dek::random().and_then(|dek| dek.encryptor(&[0; 32], 0, Engine::default())).expect("a key");
    let writer = StreamWriter::new(encryptor, small_parts().part_size, None);
    let mut segment = vec![0; SEGMENT];
    writer.write((1 << 21) - 1, false, &mut segment, &store(dir.path())).expect("the last that fits");
    let error = writer.write(1 << 21, false, &mut segment, &store(dir.path())).expect_err("one too many");
    assert_eq!(error.to_string(), "a file is longer than a stream can be: 2 TiB");
}
