//! Copies between folders and buckets, and mending from them.

use serde_json::json;
use vault_tests::{noise, servers::Seaweed};

use crate::{Desk, PREFIX, refused, within};

/// Copies everything, and returns how many objects travelled and how many were there.
#[track_caller]
fn copy(desk: &Desk, from: &str, to: &str) -> (u64, u64) {
    let args = ["copy", "--all", "--from", from, "--to", to, "--init", "--signer", "signer.pub"];
    let copied = desk.run(&args).ok().json();
    assert_eq!((&copied["skipped"], &copied["failed"]), (&json!([]), &json!([])));
    let count = |what: &str| copied["objects"][what].as_u64().expect("a number");
    (count("copied"), count("there"))
}

#[test]
fn versions_travel_from_a_folder_to_a_bucket_to_a_bucket_to_a_folder_and_only_what_is_missing_does() {
    within(90, || {
        let Some(server) = Seaweed::shared() else { return };
        let desk = Desk::new(server.client());
        desk.work.write("model/a", &noise(20_000_000));
        desk.work.write("model/b", b"b");
        let (first, second) = (desk.url(PREFIX), desk.url("second"));
        desk.seal_with("model", "m:1", &["--vault", "vault"]).ok();
        // Two parts and their tree, the small file, the index.
        for (from, to) in [("vault", first.as_str()), (&first, &second), (&second, "back")] {
            assert_eq!(copy(&desk, from, to), (5, 0), "{from} to {to}");
            assert_eq!(copy(&desk, from, to), (0, 5), "{from} to {to}, again");
            desk.run(&["verify", "m:1", "--vault", to, "--signer", "signer.pub"]).ok();
        }
        desk.opens_to("m:1", "model");
        let objects = |vault: &str| {
            let all =
                desk.work.files(vault).into_iter().map(|path| path.strip_prefix(desk.work.path(vault)).map(Into::into));
            let mut all: Vec<std::path::PathBuf> = all.collect::<Result<_, _>>().expect("below");
            all.retain(|path| !path.starts_with("sessions") && !path.ends_with("vault.json"));
            all
        };
        assert_eq!(objects("back"), objects("vault"));

        // A second version travels alone, and a part that is gone travels again.
        desk.work.write("other", b"c");
        desk.seal_with("other", "m:2", &["--vault", "vault"]).ok();
        assert_eq!(copy(&desk, "vault", &first), (2, 5));
        let largest = desk.paths("objects/").into_iter().max_by_key(|path| size(&desk, path)).expect("a part");
        desk.client.must("DELETE", &format!("/{}/{PREFIX}/{largest}", desk.bucket), &[], &[], b"");
        assert_eq!(copy(&desk, &second, &first), (1, 4));
        desk.opens_to("m:1", "model");
    });
}

fn size(desk: &Desk, path: &str) -> usize {
    desk.client.get(&desk.bucket, &format!("{PREFIX}/{path}")).len()
}

#[test]
fn damage_in_a_bucket_is_named_and_mended_from_a_copy() {
    within(60, || {
        let Some(server) = Seaweed::shared() else { return };
        let desk = Desk::new(server.client());
        desk.work.write("model/weights", &noise(5_000_000));
        desk.seal("model", "m:1").ok();
        copy(&desk, &desk.url(PREFIX), "backup");
        let part = desk.paths("objects/").into_iter().max_by_key(|path| size(&desk, path)).expect("a part");
        let key = format!("{PREFIX}/{part}");
        let mut damaged = desk.client.get(&desk.bucket, &key);
        damaged[(1 << 20) + 5] ^= 1;
        desk.client.put(&desk.bucket, &key, &damaged);
        refused(desk.verify("m:1"), 3, "integrity");
        let found = desk.run(&["fsck", "--identity", "alice.key"]).exits(3).json();
        let place = &found["damage"][0]["where"][0];
        assert_eq!((&place["segments"], &place["files"][0]["path"]), (&json!([1, 2]), &json!("weights")), "{found}");
        let mended = desk.run(&["fsck", "--repair", "--from", "backup", "--signer", "signer.pub"]).ok().json();
        assert_eq!(mended["repaired"].as_array().map(Vec::len), Some(1), "{mended}");
        desk.is_sound(&desk.url(PREFIX));
        desk.opens_to("m:1", "model");
    });
}
