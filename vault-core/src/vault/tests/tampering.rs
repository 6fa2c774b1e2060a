//! Segments and parts moved, cut, doubled: keyless verification and opening both notice, before anything is used.

use super::*;

const MIB: usize = 1 << 20;

fn refused(fixture: &Fixture, what: &str) {
    assert_eq!(kind(fixture.verify("m:1")), Kind::Integrity, "{what}: verify");
    assert_eq!(kind(fixture.read("m:1", "a")), Kind::Integrity, "{what}: open");
}

#[test]
fn changed_parts_are_refused_and_restored_ones_pass() {
    let fixture = Fixture::new();
    let data = bytes(20 * PAYLOAD, 1);
    fixture.seal("m:1", &[("a", &data), ("b", &data)]);
    fixture.seal("m:2", &[("a", &data), ("b", &data)]);
    let manifest = |name: &str| {
        fixture.vault.resolve(&reference(name), &fixture.policy()).expect("resolved").manifest.into_inner()
    };
    let (one, two) = (manifest("m:1"), manifest("m:2"));
    let path = |hash: &blake3::Hash| fixture.dir.path().join(crate::parts::object_path(hash));
    let target = path(&one.streams[0].parts[0]);
    let good = fs::read(&target).expect("read");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut part = good.clone();
        change(&mut part);
        part
    };
    let segment = |part: &[u8], i: usize| part[i * MIB..(i + 1) * MIB].to_vec();
    let put = |part: &mut Vec<u8>, i: usize, bytes: &[u8]| part[i * MIB..(i + 1) * MIB].copy_from_slice(bytes);
    let other_file = fs::read(path(&one.streams[1].parts[0])).expect("read");
    let other_seal = fs::read(path(&two.streams[0].parts[0])).expect("read");
    let other_part = fs::read(path(&one.streams[0].parts[1])).expect("read");
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a segment dropped", with(&|p| drop(p.drain(MIB..2 * MIB)))),
        ("cut by a byte", with(&|p| p.truncate(p.len() - 1))),
        ("cut by a segment", with(&|p| p.truncate(p.len() - MIB))),
        ("emptied", Vec::new()),
        ("a byte appended", with(&|p| p.push(0))),
        ("a segment appended", with(&|p| p.extend_from_within(..MIB))),
        (
            "two segments swapped",
            with(&|p| {
                let (a, b) = (segment(p, 1), segment(p, 2));
                put(p, 1, &b);
                put(p, 2, &a);
            }),
        ),
        ("a segment doubled", with(&|p| p.copy_within(MIB..2 * MIB, 2 * MIB))),
        (
            "reversed",
            with(&|p| {
                let all: Vec<_> = (0..8).rev().flat_map(|i| segment(p, i)).collect();
                *p = all;
            }),
        ),
        ("a segment of another file", with(&|p| put(p, 1, &segment(&other_file, 1)))),
        ("a segment of another seal of the same input", with(&|p| put(p, 1, &segment(&other_seal, 1)))),
        ("another part of the same stream", other_part),
        ("the length field says final", with(&|p| p[..4].copy_from_slice(&(1u32 << 20).to_be_bytes()))),
    ];
    for (what, part) in cases {
        fs::write(&target, part).expect("written");
        refused(&fixture, what);
    }
    fs::remove_file(&target).expect("removed");
    refused(&fixture, "a part removed");
    fs::write(&target, &good).expect("restored");
    fixture.verify("m:1").expect("restored");
    assert!(fixture.read("m:1", "a").expect("restored") == data);

    let tree = path(&one.streams[0].tree.expect("a tree"));
    let mut bad = fs::read(&tree).expect("read");
    bad[0] ^= 1;
    fs::write(&tree, bad).expect("written");
    refused(&fixture, "a tree changed");
}

#[test]
fn a_part_swapped_after_it_was_checked_changes_nothing() {
    let fixture = Fixture::new();
    let data = bytes(3 * PAYLOAD, 1);
    fixture.seal("m:1", &[("a", &data)]);
    let policy = fixture.policy();
    let artifact = fixture.vault.resolve(&reference("m:1"), &policy).expect("resolved");
    let opened = fixture.vault.open_artifact(&artifact, &policy, &fixture.ring, reading()).expect("opened");
    let file = opened.index().file("a").expect("there");
    let buffer = opened.read(file, &()).expect("read");
    // Now the store lies: what was read stays as it was, what is read next is refused.
    let part = fixture.dir.path().join(crate::parts::object_path(&artifact.manifest.streams[0].parts[0]));
    fs::write(&part, vec![0; fs::metadata(&part).expect("there").len().try_into().expect("small")]).expect("written");
    assert!(buffer[..] == data[..]);
    assert_eq!(kind(opened.read(file, &())), Kind::Integrity);
    let mut given = Vec::new();
    let mut take = |piece: &[u8]| {
        given.extend_from_slice(piece);
        Ok(())
    };
    let streamed = opened.stream(file, 0..file.size, &mut take, &());
    assert!(streamed.is_err() && given.is_empty(), "nothing unauthenticated comes out");
}

/// Every bit of every object of a small vault, one after the other: no change goes unnoticed, and none panics.
#[test]
fn no_flipped_bit_goes_unnoticed() {
    let fixture = Fixture::new();
    fixture.seal("m:1", &[("a", b"weights"), ("b/c", b"more weights")]);
    let policy = fixture.policy();
    // What writers and garbage collection tell one another authenticates nothing, and no reader looks at it.
    let unread = [VAULT_JSON, "sessions"].map(|path| fixture.dir.path().join(path));
    for path in fixture.objects().into_iter().filter(|path| !unread.iter().any(|unread| path.starts_with(unread))) {
        let good = fs::read(&path).expect("read");
        let artifact_files = path.display().to_string();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            fs::write(&path, &bad).expect("written");
            let outcome = check(&fixture, &policy);
            assert!(outcome.is_err(), "byte {at} of {artifact_files}");
        }
        fs::write(&path, &good).expect("restored");
    }
    check(&fixture, &policy).expect("restored");
}

/// All that a reader and an auditor look at. Members that DSSE tells readers to ignore are compared as parsed.
fn check(fixture: &Fixture, policy: &Policy) -> std::result::Result<(), String> {
    let text = |e: Error| e.to_string();
    let artifact = fixture.vault.resolve(&reference("m:1"), policy).map_err(text)?;
    fixture.vault.verify(&artifact, threads(1), &()).map_err(text)?;
    let access = fixture.vault.access(&artifact, policy).map_err(text)?;
    if !access.skipped.is_empty() {
        return Err("a generation was skipped".into());
    }
    if fixture.vault.attestations(&artifact, policy).map_err(text)?.iter().any(|a| a.signers.is_empty()) {
        return Err("an attestation does not count".into());
    }
    for file in ["a", "b/c"] {
        fixture.read("m:1", file).map_err(text)?;
    }
    Ok(())
}
