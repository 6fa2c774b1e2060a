#![allow(clippy::cast_possible_truncation, reason = "trees of a test are small")]

use proptest::prelude::*;

use super::*;

/// The leaves and roots of `testonly/constants.go` in transparency-dev/merkle, which Certificate Transparency published
/// for RFC 6962.
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// MTH of RFC 6962 section 2.1, word for word.
fn mth(leaves: &[TreeHash]) -> TreeHash {
    match leaves {
        [] => TreeHash::EMPTY,
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len() as u64) as usize);
            TreeHash::node(mth(left), mth(right))
        }
    }
}

fn leaves(count: u64) -> Vec<TreeHash> {
    (0..count).map(|i| TreeHash::leaf(&i.to_be_bytes())).collect()
}

/// The roots of the trees of the first 0, 1, … leaves.
fn roots(leaves: &[TreeHash]) -> Vec<TreeHash> {
    let mut frontier = Frontier::default();
    let mut roots = vec![frontier.root()];
    for leaf in leaves {
        frontier.push(*leaf);
        roots.push(frontier.root());
    }
    roots
}

#[test]
fn the_roots_of_certificate_transparency_are_reproduced() {
    let leaves: Vec<_> = LEAVES.map(|hex| TreeHash::leaf(&hex::decode(hex).expect("hex"))).to_vec();
    assert_eq!(roots(&leaves).iter().map(|root| hex::encode(root.as_bytes())).collect::<Vec<_>>(), ROOTS);
}

#[test]
fn a_frontier_has_the_root_of_its_leaves_at_every_size() {
    let all = leaves(300);
    for (size, root) in roots(&all).into_iter().enumerate() {
        assert_eq!(root, mth(&all[..size]), "{size}");
    }
    assert_eq!(Frontier::new(3, vec![TreeHash::EMPTY]), None, "a peak is missing");
    assert_eq!(Frontier::new(MAX_LEAVES + 1, vec![TreeHash::EMPTY]), None);
}

#[test]
fn every_leaf_of_every_tree_up_to_300_is_proven_and_no_proof_fits_anything_else() {
    let all = leaves(300);
    let roots = roots(&all);
    for size in 1..=300 {
        for index in 0..size {
            let mut proof = prove_inclusion(&mut &all[..], index, size).expect("in memory");
            let (leaf, root) = (all[index as usize], roots[size as usize]);
            let holds = |proof: &[TreeHash], index, size| is_included(leaf, index, size, proof, root);
            assert!(holds(&proof, index, size), "{index} of {size}");
            assert!(proof.len() <= size.next_power_of_two().ilog2() as usize);
            // Every pair in a few trees, the neighbours in all.
            assert!(!holds(&proof, index + 1, size) && !holds(&proof, size, size));
            assert!(!is_included(TreeHash::EMPTY, index, size, &proof, root));
            assert!(!is_included(leaf, index, size, &proof, TreeHash::EMPTY));
            proof.push(TreeHash::EMPTY);
            assert!(!holds(&proof, index, size), "a hash too many");
            proof.pop();
            if let Some(last) = proof.pop() {
                assert!(!holds(&proof, index, size), "a hash too few");
                proof.push(TreeHash::node(last, last));
                assert!(!holds(&proof, index, size), "another hash");
            }
        }
        assert!(prove_inclusion(&mut &all[..], size, size).is_err());
    }
}

#[test]
fn every_tree_up_to_300_is_proven_the_beginning_of_every_larger_one_and_of_no_other() {
    let all = leaves(300);
    let roots = roots(&all);
    let tree = |size: u64| (size, roots[size as usize]);
    for new in 0..=300 {
        for old in 0..=new {
            let mut proof = prove_consistency(&mut &all[..], old, new).expect("in memory");
            assert!(is_consistent(tree(old), tree(new), &proof), "{old} in {new}");
            assert!(proof.len() <= MAX_PROOF);
            if old != new {
                assert!(!is_consistent(tree(new), tree(old), &proof), "a tree does not shrink");
            }
            if old > 0 && old < new {
                assert!(!is_consistent((old, TreeHash::EMPTY), tree(new), &proof));
                assert!(!is_consistent(tree(old), (new, TreeHash::EMPTY), &proof));
            }
            proof.push(TreeHash::leaf(b"x"));
            assert!(!is_consistent(tree(old), tree(new), &proof), "a hash too many");
            proof.pop();
            if proof.pop().is_some() {
                assert!(!is_consistent(tree(old), tree(new), &proof), "a hash too few");
            }
        }
    }
    assert!(prove_consistency(&mut &all[..], 2, 1).is_err());
}

#[test]
fn a_forked_tree_is_consistent_with_nothing_behind_the_fork() {
    let honest = leaves(40);
    let mut forked = honest.clone();
    forked[20] = TreeHash::leaf(b"rewritten");
    let (honest_roots, forked_roots) = (roots(&honest), roots(&forked));
    for old in 21..=40_u64 {
        for new in old..=40 {
            let (old_tree, new_tree) = ((old, honest_roots[old as usize]), (new, forked_roots[new as usize]));
            for mut leaves in [&honest[..], &forked[..]] {
                let proof = prove_consistency(&mut leaves, old, new).expect("in memory");
                assert!(!is_consistent(old_tree, new_tree, &proof), "{old} {new}");
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_proofs_are_refused_without_harm(index: u64, size: u64, old: u64, hashes: Vec<[u8; 32]>) {
        let proof: Vec<_> = hashes.into_iter().map(TreeHash::from_bytes).collect();
        let other = TreeHash::leaf(b"other");
        prop_assert!(!is_included(TreeHash::EMPTY, index, size, &proof, other));
        prop_assert!(!is_consistent((old, TreeHash::EMPTY), (size, other), &proof) || old == 0);
    }
}
