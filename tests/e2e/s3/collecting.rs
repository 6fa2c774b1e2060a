//! Retiring, collecting and shredding in a bucket.

use std::{thread, time::Duration};

use vault_tests::{Output, noise, servers::Seaweed};

use crate::{Desk, PREFIX, refused, within};

/// Enough for whatever is there to be older than a grace of a second, by a clock that counts seconds.
pub(crate) const AGE: Duration = Duration::from_millis(2100);

impl Desk {
    /// Collects whatever is older than a second.
    pub(crate) fn collect(&self, more: &[&str]) -> Output {
        self.run(&[&["gc", "--grace", "1s", "--signer", "signer.pub"], more].concat())
    }

    /// Something that nothing reaches.
    pub(crate) fn litter(&self, prefix: &str, number: usize) -> String {
        let path = format!("objects/{:02x}/{:02x}{number:062x}", number % 256, number % 256);
        self.client.put(&self.bucket, &format!("{prefix}/{path}"), b"litter");
        path
    }
}

#[test]
fn what_was_retired_goes_and_what_a_later_version_reuses_stays() {
    within(90, || {
        let Some(server) = Seaweed::shared() else { return };
        let desk = Desk::new(server.client());
        desk.work.write("model/frozen", &noise(3_000_000));
        desk.work.write("model/head", &noise(2_000_000));
        desk.seal_with("model", "m:1", &["--reusable"]).ok();
        desk.work.write("model/head", b"second");
        desk.seal_with("model", "m:2", &["--reuse", "m:1", "--identity", "alice.key"]).ok();
        let litter = desk.litter(PREFIX, 7);
        let retire = ["retire", "m:1", "--reason", "superseded", "--key", "signer.key"];
        desk.run(&retire).ok();
        thread::sleep(AGE);

        let before = desk.paths("");
        let dry = desk.collect(&["--dry-run"]).ok().json();
        assert_eq!(desk.paths(""), before, "a dry run touches nothing");
        // The litter, the first head with its tree, and the first index: the frozen part belongs to the second version, too.
        assert_eq!((&dry["condemned"], &dry["run"]), (&4.into(), &serde_json::Value::Null), "{dry}");
        let collected = desk.collect(&[]).ok().json();
        assert_eq!((&collected["deleted"], &collected["kept"]), (&4.into(), &1.into()), "{collected}");
        assert_eq!(collected["deleted_bytes"], dry["condemned_bytes"]);
        assert!(!desk.paths("objects/").contains(&litter));
        desk.verify("m:2").ok();
        desk.opens_to("m:2", "model");
        let message = refused(desk.open("m:1", "gone"), 8, "not-found");
        assert!(message.contains("was retired on") && message.contains("superseded"), "{message}");
        desk.is_sound(&desk.url(PREFIX));
        assert_eq!(desk.collect(&[]).ok().json()["deleted"], 0);
    });
}

#[test]
fn what_was_shredded_opens_for_nobody() {
    within(60, || {
        let Some(server) = Seaweed::shared() else { return };
        let desk = Desk::new(server.client());
        desk.work.write("input", b"weights");
        desk.seal("input", "m:1").ok();
        desk.run(&["share", "m:1", "--to", "bob.pub", "--identity", "alice.key", "--sign-with", "signer.key"]).ok();
        let shred = ["shred", "m:1", "--reason", "contract ended", "--key", "signer.key", "--yes"];
        let shredded = desk.run(&shred).ok().json();
        assert_eq!(shredded["destroyed"].as_array().map(Vec::len), Some(2), "{shredded}");
        assert!(!desk.paths("artifacts/").iter().any(|path| path.contains("/recipients/")));
        for key in ["alice.key", "bob.key"] {
            let message =
                refused(desk.run(&["open", "m:1", "no", "--identity", key, "--signer", "signer.pub"]), 6, "no-key");
            assert!(message.contains("shredded on") && message.contains("contract ended"), "{message}");
        }
        desk.verify("m:1").ok();
        desk.run(&shred).ok();
    });
}
