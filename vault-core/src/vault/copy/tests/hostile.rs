//! A source that plants, swaps and lies; a target that does.

use super::*;

/// Envelopes under wrong names, numbers that end a chain, junk: none of it arrives.
#[test]
fn junk_among_the_records_of_the_source_is_left_behind_and_reported() {
    let (fixture, _) = sealed();
    let policy = fixture.policy();
    let digest = fixture.vault.resolve(&reference("m:1"), &policy).expect("there").digest;
    let path = |path: &str| fixture.dir.path().join(path);
    let genuine = path(&recipients_path(digest, 1));
    for number in ["2", "9007199254740991", "01", "x"] {
        let to = genuine.with_file_name(format!("{number}.dsse.json"));
        fs::copy(&genuine, to).expect("planted");
    }
    fs::write(genuine.with_file_name("3.dsse.json"), "junk").expect("planted");
    let folder = path(&attestations_folder(digest));
    let one = fs::read_dir(&folder).expect("folder").next().expect("one").expect("entry").path();
    fs::copy(&one, folder.join(format!("{}.dsse.json", "1".repeat(64)))).expect("planted");
    fs::write(folder.join(format!("{}.dsse.json", "2".repeat(64))), "junk").expect("planted");
    for (place, name) in [("revocations", "1"), ("revocations", "9007199254740991"), ("trust/1", &"3".repeat(64))] {
        fs::create_dir_all(path(place)).expect("folder");
        fs::write(path(&format!("{place}/{name}.dsse.json")), "junk").expect("planted");
    }
    for policy in [&policy, &Policy::InsecureSkipSignature] {
        let (dir, target) = empty();
        let copied = copy_to(&target, &fixture.vault, "m:1", policy).expect("copied");
        assert_eq!(copied.skipped.len(), 8, "{:?}", copied.skipped);
        let records = fs::read_dir(dir.path().join(recipients_path(digest, 1)).parent().expect("folder"));
        assert_eq!(records.expect("folder").count(), 1);
        assert_eq!(fs::read_dir(dir.path().join(attestations_folder(digest))).expect("folder").count(), 1);
        assert!(!dir.path().join("revocations").exists() && !dir.path().join("trust").exists());
        assert_eq!(damage(&target), Vec::<String>::new());
    }
}

#[test]
fn bytes_that_are_not_what_their_name_says_do_not_arrive() {
    let (fixture, _) = sealed();
    let policy = fixture.policy();
    let manifest = fixture.vault.resolve(&reference("m:1"), &policy).expect("there").manifest;
    let stream = &manifest.streams[0];
    for name in [stream.parts[0], stream.parts[1], stream.tree.expect("a tree"), manifest.index.parts[0]] {
        let path = fixture.dir.path().join(object_path(&name));
        let good = fs::read(&path).expect("read");
        let mut swapped = good.clone();
        swapped[good.len() / 2] ^= 1;
        for bad in [&swapped[..], &good[1..], &[]] {
            fs::write(&path, bad).expect("damaged");
            let (_dir, target) = empty();
            let error = copy_to(&target, &fixture.vault, "m:1", &policy).expect_err("noticed");
            assert_eq!(error.kind(), Kind::Integrity);
            assert!(error.to_string().contains(&fixture.vault.store().describe()), "{error}");
            assert!(target.store().stat(&object_path(&name)).expect("stat").is_none(), "nothing has the name");
            assert!(target.store().stat(&version_path(&"m:1".parse().expect("a name"))).expect("stat").is_none());
        }
        fs::write(&path, good).expect("mended");
    }
}

#[test]
fn the_record_of_another_version_or_a_swapped_manifest_is_refused() {
    let (fixture, _) = sealed();
    let digest = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("there").digest;
    let path = |name: &str| fixture.dir.path().join(version_path(&name.parse().expect(name)));
    fs::copy(path("m:1"), path("m:2")).expect("copied");
    let (_dir, target) = empty();
    for policy in [fixture.policy(), Policy::InsecureSkipSignature] {
        let copied = copy_selected(&target, &fixture.vault, Selection::Models(None), &policy).expect("the other one");
        assert_eq!((copied.versions, copied.failed.len()), (1, 1));
        assert_eq!(copied.failed[0].0, "m:2");
    }
    let artifact = fixture.vault.resolve(&reference("m:1"), &fixture.policy()).expect("there");
    fs::write(fixture.dir.path().join(manifest_path(digest)), "{}").expect("swapped");
    let (_dir, target) = empty();
    let selection = Selection::One(Box::new(artifact));
    assert_eq!(kind(copy_selected(&target, &fixture.vault, selection, &fixture.policy())), Kind::Integrity);
}

#[test]
fn an_artifact_that_nobody_could_open_at_the_target_is_not_published() {
    let (fixture, _) = sealed();
    let policy = fixture.policy();
    let digest = fixture.vault.resolve(&reference("m:1"), &policy).expect("there").digest;
    let (dir, target) = empty();
    // The target has junk where the only generation belongs.
    let taken = dir.path().join(recipients_path(digest, 1));
    fs::create_dir_all(taken.parent().expect("folder")).expect("folder");
    fs::write(&taken, "junk").expect("planted");
    assert_eq!(kind(copy_to(&target, &fixture.vault, "m:1", &policy)), Kind::Authenticity);
    assert_eq!(kind(target.resolve(&reference("m:1"), &policy)), Kind::NotFound);
}
