//! What a sealer without an identity remembers of its own work.

use std::os::unix::fs::PermissionsExt;

use super::*;

struct Cached {
    fixture: Fixture,
    folder: tempfile::TempDir,
    cache: ReuseCache,
}

impl Cached {
    /// A version that was sealed and is remembered.
    fn new() -> Self {
        let (fixture, folder) = (Fixture::new(), tempfile::tempdir().expect("folder"));
        let cache = ReuseCache::open(&folder.path().join("cache")).expect("made");
        let cached = Self { fixture, folder, cache };
        cached.seal("m:1", &Layers::new().file(""), Deduplication::Reusable).expect("sealed");
        cached
    }

    fn seal(&self, name: &str, data: &[u8], deduplication: Deduplication<'_>) -> Result<Receipt> {
        let request = self.fixture.request(name, vec![input("m.safetensors", data)]);
        self.fixture.vault.seal(SealRequest { deduplication, cache: Some(&self.cache), ..request }, &())
    }

    fn previous(&self, name: &str) -> Result<Previous> {
        let artifact = self.fixture.vault.resolve(&reference(name), &self.fixture.policy())?;
        self.fixture.vault.previous(&artifact, &self.fixture.policy(), &Knowledge::Remembered(&self.cache))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        let artifact = self.fixture.vault.resolve(&reference(name), &self.fixture.policy()).expect("resolved");
        self.folder.path().join(format!("cache/{}.json", artifact.digest.to_hex()))
    }
}

#[test]
fn a_sealer_without_an_identity_reuses_what_it_remembers_and_again_what_it_reused() {
    let cached = Cached::new();
    let file = |round: u8| Layers { middle: bytes(2 * MIB, round), ..Layers::new() }.file("");
    for (before, now, round) in [("m:1", "m:2", 30), ("m:2", "m:3", 31)] {
        let previous = cached.previous(before).expect("remembered");
        let receipt = cached.seal(now, &file(round), Deduplication::Reuse(&previous)).expect("sealed");
        assert!(receipt.saved.bytes >= (9 * MIB + 5) as u64, "{:?}", receipt.saved);
        cached.fixture.opens_to(now, &[("m.safetensors", &file(round))]);
        let bytes = previous.with_comparison(Comparison::Bytes).expect_err("no key");
        assert_eq!(bytes.kind(), Kind::Usage);
    }
    for name in ["m:1", "m:2", "m:3"] {
        let mode = fs::metadata(cached.path(name)).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let folder = fs::metadata(cached.folder.path().join("cache")).expect("there").permissions().mode();
    assert_eq!(folder & 0o777, 0o700);
}

#[test]
fn what_is_not_remembered_is_not_found() {
    let cached = Cached::new();
    cached.fixture.seal_reusable("m:elsewhere", &[("a", b"1")]);
    let error = cached.previous("m:elsewhere").expect_err("not sealed with this cache");
    assert!(error.kind() == Kind::NotFound && error.to_string().contains("in the reuse cache"), "{error}");
}

/// Somebody publishes the same name at the last moment.
struct Race<'a>(&'a Fixture, std::sync::Mutex<bool>);

impl Progress for Race<'_> {
    fn advance(&self, _: u64) {
        if !std::mem::replace(&mut *self.1.lock().expect("lock"), true) {
            self.0.seal("m:raced", &[("a", b"first")]);
        }
    }
}

#[test]
fn a_seal_that_is_not_published_is_not_remembered() {
    let cached = Cached::new();
    let files = || fs::read_dir(cached.folder.path().join("cache")).expect("folder").count();
    let before = files();
    assert_eq!(kind(cached.seal("m:1", b"other", Deduplication::Reusable)), Kind::Conflict);
    let request = cached.fixture.request("m:raced", vec![input("a", b"second")]);
    let request = SealRequest { deduplication: Deduplication::Reusable, cache: Some(&cached.cache), ..request };
    let race = Race(&cached.fixture, std::sync::Mutex::default());
    assert_eq!(kind(cached.fixture.vault.seal(request, &race)), Kind::Conflict);
    assert_eq!(files(), before);
}

#[test]
fn a_cache_that_others_can_read_is_refused() {
    let cached = Cached::new();
    let set = |path: &std::path::Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("mode");
    };
    let (path, folder) = (cached.path("m:1"), cached.folder.path().join("cache"));
    for mode in [0o640, 0o604, 0o620, 0o602] {
        set(&path, mode);
        let error = cached.previous("m:1").expect_err("open to others");
        assert!(error.kind() == Kind::Usage && error.to_string().contains("others have rights"), "{error}");
    }
    set(&path, 0o600);
    cached.previous("m:1").expect("private again");
    for mode in [0o750, 0o705, 0o770, 0o707] {
        set(&folder, mode);
        assert_eq!(kind(ReuseCache::open(&folder)), Kind::Usage, "{mode:o}");
    }
    set(&folder, 0o700);
    let elsewhere = cached.folder.path().join("elsewhere");
    fs::rename(&path, &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, &path).expect("link");
    assert_eq!(kind(cached.previous("m:1")), Kind::Operational, "a link is not followed");
}

#[test]
fn a_damaged_cache_is_refused_and_says_so_without_its_keys() {
    let cached = Cached::new();
    let path = cached.path("m:1");
    let good = fs::read_to_string(&path).expect("text");
    let key = good.split("\"keys\":[\"").nth(1).expect("keys")[..64].to_owned();
    let other = {
        cached.seal("m:2", b"other", Deduplication::Reusable).expect("sealed");
        fs::read_to_string(cached.path("m:2")).expect("text")
    };
    let replaced = |from: &str, to: &str| {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good, "{from}");
        bad
    };
    for (bad, rule) in [
        (String::new(), "EOF"),
        (good[..good.len() / 2].to_owned(), "EOF"),
        (good.clone() + "\n", "canonical"),
        (replaced("mvault-reuse/v1", "mvault-reuse/v2"), "of another format"),
        (other, "about another artifact"),
        (replaced(&key, &key[..62]), "expected a key"),
        (replaced(&format!("\"{key}\""), ""), "one key for each stream"),
        (replaced(&format!("\"{key}\""), &format!("\"{key}\",\"{key}\"")), "one key for each stream"),
        (replaced("\"stream\":0", "\"stream\":1"), "outside its stream"),
        (replaced("\"offset\":0", "\"offset\":1"), "outside its stream"),
        (replaced("\"regions\":[", "\"regions\":[{\"blake3\":\"00\",\"length\":1},"), "hex"),
        (replaced("\"files\":[{", "\"files\":[{\"path\":\"a\","), "unknown field"),
    ] {
        fs::write(&path, &bad).expect("written");
        let error = cached.previous("m:1").expect_err(rule);
        let text = error.to_string();
        assert!(error.kind() == Kind::Integrity && text.contains(rule), "{rule}: {text}");
        assert!(text.contains("/cache/") && !text.contains(&key[..60]), "{text}");
    }
    // A key of something else is well formed, and noticed when it is to be given away.
    let wrong = if key.starts_with('0') { "1" } else { "0" };
    fs::write(&path, replaced(&key, &format!("{wrong}{}", &key[1..]))).expect("written");
    let previous = cached.previous("m:1").expect("well formed");
    let error = cached.seal("m:3", &Layers::tuned().file(""), Deduplication::Reuse(&previous)).expect_err("wrong key");
    assert!(error.to_string().contains("does not open it"), "{error}");
    fs::File::create(&path).and_then(|file| file.set_len((64 << 20) + 1)).expect("sparse");
    assert!(cached.previous("m:1").expect_err("long").to_string().contains("limit"));
}
