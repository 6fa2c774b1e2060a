//! Indexes and manifests that an accepted signer signed and no honest writer writes.

use serde_json::{Value, json};
use vault_tests::{Reference, Workspace};

use crate::{
    Keys,
    tampering::{self, Line, make},
};

const ALICE: Keys = &["--identity", "alice.key"];
const INTEGRITY: i32 = 3;
const NO_KEY: i32 = 6;
const HOSTILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/interop/hostile.py");

/// Seals two streams, of 100 bytes and of 10, in every way wanted, and compares what both say with what they should.
fn compare(wanted: impl IntoIterator<Item = (Value, i32, i32)>) {
    let Some(python) = Reference::get() else { return };
    let desk = Workspace::new();
    desk.write("model/a", &[b'a'; 100]);
    desk.write("model/b", b"0123456789");
    let (mut vaults, mut lines, mut cases) = (Vec::new(), Vec::new(), Vec::new());
    for (wanted, verify, open) in wanted {
        let vault = format!("hostile-{}", vaults.len());
        lines.push(Line::new(HOSTILE, &[&vault, "m:1", "model", "signer.key", "alice.pub"], &wanted));
        vaults.push(vault);
        cases.push((wanted.to_string(), verify, open));
    }
    make(&desk, python, &lines);
    tampering::compare(&desk, python, "m:1", ALICE, &vaults, &cases);
}

fn empty(path: &str) -> Value {
    json!({"digests": {}, "executable": false, "extents": [], "path": path, "size": 0})
}

/// A file of these (stream, offset, length).
fn of(path: &str, ranges: &[(u64, u64, u64)]) -> Value {
    let mut file = empty(path);
    let extents = ranges.iter().map(|(stream, at, length)| json!({"length": length, "offset": at, "stream": stream}));
    file["extents"] = extents.collect();
    file["size"] = ranges.iter().map(|range| range.2).sum::<u64>().into();
    file
}

fn with(mut file: Value, key: &str, value: Value) -> Value {
    file[key] = value;
    file
}

fn index(files: &[Value]) -> Value {
    json!({"index": {"files": files, "format": "mvault-index/v1"}})
}

fn paths(paths: &[&str]) -> Value {
    index(&paths.iter().map(|path| empty(path)).collect::<Vec<_>>())
}

#[test]
fn paths_are_judged_alike() {
    let long = "x".repeat(255);
    let longest = [&"y".repeat(255)[..]; 16].join("/");
    let good: &[&[&str]] = &[
        &[],
        &["a", "b/c", "b/d"],
        &["a/b", "a0"],
        &["A/x", "a.x"],
        &["con", "trailing.", "x:y"],
        &[" ", "-rf", "...", "~"],
        &["\u{e4}\u{df}", "\u{fffd}", "\u{1f511}"],
        &[&long],
    ];
    let too_long = "x".repeat(256);
    let wide = "\u{e4}".repeat(128);
    let longer = format!("{longest}/");
    let longest_and_more = format!("{longest}/z");
    let bad: &[&[&str]] = &[
        &["b", "a"],
        &["a", "a"],
        &["\u{1f511}", "\u{fffd}"],
        &["A", "a"],
        &["STRASSE", "stra\u{df}e"],
        &["\u{3a3}", "\u{3c2}"],
        &["\u{3b1}\u{3b9}", "\u{1fb3}"],
        &["I\u{307}", "i\u{307}"],
        &["a", "a/b"],
        &["A", "a/b"],
        &[""],
        &["/a"],
        &["a/"],
        &["a//b"],
        &["."],
        &[".."],
        &["a/../b"],
        &["a/./b"],
        &["a\\b"],
        &["a\u{0}"],
        &["a\u{1f}"],
        &["a\u{7f}"],
        &["a\u{85}"],
        &["a\u{308}"],
        &["\u{212b}"],
        &[&too_long],
        &[&wide],
        &[&longer],
        &[&longest_and_more],
    ];
    let good = good.iter().map(|names| (paths(names), 0, 0));
    let bad = bad.iter().map(|names| (paths(names), 0, INTEGRITY));
    // The longest legal path is longer than an operating system takes at once: `mvault` goes folder by folder, the
    // reference does not, and is not asked.
    compare(good.chain(bad));
}

#[test]
fn files_are_judged_alike() {
    let good = [
        index(&[of("x", &[(0, 50, 50), (1, 0, 10), (0, 0, 50)])]),
        index(&[of("x", &[(0, 1, 1)]), of("y", &[(0, 0, 1)]), empty("z")]),
        index(&[with(of("x", &[(0, 0, 100)]), "executable", json!(true))]),
        index(&[with(of("x", &[(0, 0, 100)]), "digests", json!({"sha256": "0".repeat(64)}))]),
        json!({"index": {"files": [], "format": "mvault-index/v1", "provenance": "{\"lr\":0.1}"}}),
        json!({"index": {"files": [], "format": "mvault-index/v1", "provenance": ""}}),
    ];
    let bad = [
        index(&[of("x", &[(0, 0, 101)])]),
        index(&[of("x", &[(0, 100, 1)])]),
        index(&[of("x", &[(0, 0, 0)])]),
        index(&[of("x", &[(2, 0, 1)])]),
        index(&[of("x", &[(4_294_967_295, 0, 1)])]),
        index(&[of("x", &[(0, 9_007_199_254_740_991, 9_007_199_254_740_991)])]),
        index(&[of("x", &[(0, 0, 10), (0, 9, 1)])]),
        index(&[of("x", &[(0, 0, 10)]), of("y", &[(0, 0, 10)])]),
        index(&[with(of("x", &[(0, 0, 10)]), "size", json!(9))]),
        index(&[with(empty("x"), "size", json!(1))]),
        index(&[with(empty("x"), "executable", json!(1))]),
        index(&[with(empty("x"), "digests", json!({"md5": "0".repeat(32)}))]),
        index(&[with(empty("x"), "digests", json!({"sha256": "A".repeat(64)}))]),
        index(&[with(empty("x"), "digests", json!(null))]),
        index(&[with(empty("x"), "mode", json!(0))]),
        json!({"index": {"files": [], "format": "mvault-index/v2"}}),
        json!({"index": {"files": [], "format": "mvault-index/v1", "more": 1}}),
        json!({"index": {"files": [], "format": "mvault-index/v1", "provenance": null}}),
        json!({"index": {"files": [], "format": "mvault-index/v1", "provenance": {}}}),
        json!({"index": {"files": [], "format": "mvault-index/v1", "provenance": "x".repeat((1 << 20) + 1)}}),
        json!({"index": {"files": {}, "format": "mvault-index/v1"}}),
        json!({"index": r#"{"files":[], "format":"mvault-index/v1"}"#}),
        json!({"index": r#"{"format":"mvault-index/v1","files":[]}"#}),
        json!({"index": "{\"files\":[],\"format\":\"mvault-index/v1\"}\n"}),
        json!({"index": r#"{"files":[],"files":[],"format":"mvault-index/v1"}"#}),
        json!({"index": "[]"}),
        json!({"index": ""}),
    ];
    compare(good.into_iter().map(|wanted| (wanted, 0, 0)).chain(bad.into_iter().map(|wanted| (wanted, 0, INTEGRITY))));
}

#[test]
fn manifests_are_judged_alike() {
    let set = |path: Value, value: Value| json!({"manifest": [[path, value]]});
    let zeros = "0".repeat(64);
    let header = format!("00000010000000000020{zeros}{zeros}");
    let bad = [
        set(json!(["more"]), json!(1)),
        set(json!(["format"]), json!("mvault/v2")),
        set(json!(["suite"]), json!("FLOE-AES-128-GCM")),
        set(json!(["segment_size"]), json!(2_097_152)),
        set(json!(["part_size"]), json!(4_194_304)),
        set(json!(["artifact_id"]), json!("00")),
        set(json!(["streams", 0, "length"]), json!(31)),
        set(json!(["streams", 0, "length"]), json!(1_048_577)),
        set(json!(["streams", 0, "length"]), json!(131)),
        set(json!(["streams", 0, "length"]), json!(133)),
        set(json!(["streams", 0, "length"]), json!(2_199_023_255_553_u64)),
        set(json!(["streams", 0, "parts"]), json!([])),
        set(json!(["streams", 0, "parts"]), json!([zeros, zeros])),
        set(json!(["streams", 0, "parts"]), json!([zeros])),
        set(json!(["streams", 0, "tree"]), json!(zeros)),
        set(json!(["streams", 0, "more"]), json!(1)),
        set(json!(["streams", 0, "header"]), json!("00")),
        set(json!(["streams", 0, "header"]), json!(format!("01{}", &header[2..]))),
        set(json!(["streams"]), json!({})),
        set(json!(["index", "length"]), json!(31)),
        set(json!(["index"]), json!(null)),
    ];
    let closed = [
        (set(json!(["streams", 0, "header"]), json!(header)), INTEGRITY),
        (set(json!(["streams"]), json!([])), INTEGRITY),
        // No stanza gives a DEK that reproduces the index's header tag.
        (set(json!(["index", "header"]), json!(header)), NO_KEY),
        (set(json!(["artifact_id"]), json!(zeros)), NO_KEY),
    ];
    let bad = bad.into_iter().map(|wanted| (wanted, INTEGRITY, INTEGRITY));
    compare(bad.chain(closed.into_iter().map(|(wanted, open)| (wanted, 0, open))));
}

/// Changes to the manifest, and an index with these files and keys.
fn reuse(changes: &Value, files: &[Value], keys: &Value) -> Value {
    let mut wanted = index(files);
    wanted["manifest"] = changes.clone();
    if *keys != json!("<none>") {
        wanted["index"]["keys"] = keys.clone();
    }
    wanted
}

#[test]
fn origins_and_keys_are_judged_alike() {
    let other = "11".repeat(32);
    let origin = |stream: u64| json!({"artifact_id": other, "stream": stream});
    let files = [of("a", &[(0, 0, 100)]), of("b", &[(1, 0, 10)])];
    let key = |stream: u64| json!({"key": "07".repeat(32), "stream": stream});
    let none = json!("<none>");
    let at = |number: u64, origin: Value| json!([["streams", number, "origin"], origin]);
    let one = json!([at(1, origin(0))]);
    let manifests = [
        json!([at(1, Value::Null)]),
        json!([at(1, json!({}))]),
        json!([at(1, json!({"artifact_id": other}))]),
        json!([at(1, json!({"artifact_id": other, "stream": 0, "more": 1}))]),
        json!([at(1, json!({"artifact_id": "11", "stream": 0}))]),
        json!([at(1, json!({"artifact_id": other, "stream": -1}))]),
        json!([at(1, origin(100_000))]),
        json!([at(1, origin(4_294_967_295))]),
        json!([at(0, origin(0)), at(1, origin(0))]),
        json!([[["artifact_id"], other], at(1, origin(0))]),
        json!([[["index", "origin"], origin(0)]]),
    ];
    let refused = manifests.iter().map(|changes| (reuse(changes, &files, &json!([key(1)])), INTEGRITY, INTEGRITY));
    let keys = [
        none.clone(),
        json!([]),
        json!(null),
        json!([key(0)]),
        json!([key(1), key(1)]),
        json!([key(0), key(1)]),
        json!([{"key": "07", "stream": 1}]),
        json!([{"key": "07".repeat(32), "stream": 1, "more": 1}]),
        // Well formed, and not the key of this stream.
        json!([key(1)]),
    ];
    let sealed = keys.iter().map(|keys| (reuse(&one, &files, keys), 0, INTEGRITY));
    let honest = json!([]);
    let own = [json!([]), json!([key(0)]), json!(null)];
    let own = own.iter().map(|keys| (reuse(&honest, &files, keys), 0, INTEGRITY));
    // What no file uses is not decrypted; its key is not tried.
    let unused = (reuse(&one, &files[..1], &json!([key(1)])), 0, 0);
    let good = [(reuse(&honest, &files, &none), 0, 0), unused];
    compare(refused.chain(sealed).chain(own).chain(good));
}

#[test]
fn regions_are_judged_alike() {
    let region = |length: u64| json!({"blake3": "00".repeat(32), "length": length});
    let cases = [
        (json!([region(100)]), 0),
        (json!([region(1), region(99)]), 0),
        (json!([region(99)]), INTEGRITY),
        (json!([region(0), region(100)]), INTEGRITY),
        (json!([]), INTEGRITY),
        (json!(null), INTEGRITY),
        (json!([{"blake3": "00", "length": 100}]), INTEGRITY),
        (json!([{"blake3": "00".repeat(32), "length": 100, "more": 1}]), INTEGRITY),
        (json!([region(9_007_199_254_740_991), region(9_007_199_254_740_991)]), INTEGRITY),
    ];
    compare(cases.map(|(regions, open)| (index(&[with(of("a", &[(0, 0, 100)]), "regions", regions)]), 0, open)));
}
