#![allow(clippy::cast_possible_truncation, reason = "trees of a test are small")]

use proptest::prelude::*;

use super::*;
use crate::{
    error::Kind,
    keys::SigningKey,
    log::{
        checkpoint::{Checkpoint, LogKeys},
        merkle::{Frontier, prove_inclusion},
    },
};

fn proven(index: usize, size: usize) -> (Proof, Judge) {
    let entry = |i: usize| {
        let path = format!("models/m/versions/{i}.dsse.json");
        Entry::about_record(&path, b"{}", None).expect("an entry").to_vec().expect("short")
    };
    let entries: Vec<_> = (0..size).map(entry).collect();
    let leaves: Vec<_> = entries.iter().map(|entry| TreeHash::leaf(entry)).collect();
    let mut tree = Frontier::default();
    for leaf in &leaves {
        tree.push(*leaf);
    }
    let key = SigningKey::generate().expect("key");
    let origin = "example.com/log".parse().expect("a name");
    let checkpoint = Checkpoint::new(origin, size as u64, tree.root()).sign(&key).expect("signed");
    let hashes = prove_inclusion(&mut &leaves[..], index as u64, size as u64).expect("in memory");
    let proof = Proof { index: index as u64, hashes, checkpoint, entry: entries[index].clone() };
    (proof, Judge::new(LogKeys::Any(vec![key.verifying_key()])))
}

#[test]
fn a_proof_survives_its_file_and_shows_its_entry() {
    for (index, size) in [(0, 1), (4, 7), (299, 300)] {
        let (proof, judge) = proven(index, size);
        let bytes = proof.to_vec();
        assert!(bytes.starts_with(b"c2sp.org/tlog-proof@v1\nextra "));
        let read = Proof::parse(&bytes).expect("parses");
        assert_eq!(read, proof);
        let logged = read.verify(&judge, None).expect("holds");
        assert_eq!(logged.index, index as u64);
        assert_eq!(logged.entry.version().expect("there").as_str(), index.to_string());
    }
}

#[test]
fn a_proof_of_something_else_does_not_hold() {
    let (proof, judge) = proven(4, 7);
    let refused = |proof: Proof| proof.verify(&judge, None).expect_err("refused").kind();
    assert_eq!(refused(Proof { index: 3, ..proof.clone() }), Kind::Authenticity);
    assert_eq!(refused(Proof { entry: b"{}".to_vec(), ..proof.clone() }), Kind::Authenticity);
    assert_eq!(refused(Proof { hashes: proof.hashes[1..].to_vec(), ..proof.clone() }), Kind::Authenticity);
    assert_eq!(refused(Proof { checkpoint: proven(4, 7).0.checkpoint, ..proof.clone() }), Kind::Authenticity);
    let elsewhere = proof.verify(&judge, Some(&"other".parse().expect("a name")));
    assert_eq!(elsewhere.expect_err("another log").kind(), Kind::Authenticity);
}

#[test]
fn files_that_are_no_proof_are_refused() {
    let good = String::from_utf8(proven(4, 7).0.to_vec()).expect("UTF-8");
    let hash = good.lines().nth(3).expect("a hash").to_owned();
    for (from, to) in [
        ("tlog-proof@v1", "tlog-proof@v2".to_owned()),
        ("extra ", "extra  ".into()),
        ("extra ", "extra !".into()),
        ("index 4", "index 04".into()),
        ("index 4", "index -4".into()),
        ("index 4\n", String::new()),
        (&hash[..], hash[1..].to_owned()),
        (&hash[..], format!("{hash}{hash}")),
        ("\n\n", "\n".into()),
        (&hash[..], vec![&hash[..]; 64].join("\n")),
    ] {
        let bad = good.replacen(from, &to, 1);
        assert_ne!(bad, good);
        assert_eq!(Proof::parse(bad.as_bytes()).expect_err(&to).kind(), Kind::Integrity, "{from} -> {to}");
    }
    let without = good.lines().filter(|line| !line.starts_with("extra ")).map(|line| format!("{line}\n"));
    let error = Proof::parse(without.collect::<String>().as_bytes()).expect_err("no entry").to_string();
    assert!(error.contains("does not carry the entry"), "{error}");
    assert!(Proof::parse(&vec![b'x'; MAX_PROOF_FILE as usize + 1]).expect_err("long").to_string().contains("length"));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        prop_assert!(Proof::parse(&bytes).is_err());
    }
}
