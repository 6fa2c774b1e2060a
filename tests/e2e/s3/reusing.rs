//! Versions in a bucket that store only what is new, and versions of which only a part is fetched.

use vault_tests::{noise, proxy::Kind, servers::Seaweed};

use crate::{Desk, PREFIX, proxied, refused, within};

const REUSE: [&str; 4] = ["--reuse", "m:1", "--identity", "alice.key"];

/// `m:1`, sealed to be reused, and in `model` the next version: the same weights with another head.
fn desk_with_a_version(desk: &Desk) {
    desk.work.write("model/frozen", &noise(6_000_000));
    desk.work.write("model/head", b"first");
    desk.seal_with("model", "m:1", &["--reusable"]).ok();
    desk.work.write("model/head", b"second");
}

#[test]
fn what_did_not_change_is_not_stored_again() {
    within(60, || {
        let Some((desk, proxy)) = proxied() else { return };
        desk_with_a_version(&desk);
        let before = desk.paths("objects/").len();
        proxy.take_requests();
        let sealed = desk.seal_with("model", "m:2", &REUSE).ok().json();
        assert_eq!(sealed["reused"]["bytes"], 6_000_000);
        assert!(sealed["stored_bytes"].as_u64().is_some_and(|bytes| bytes < 4_000), "{sealed}");
        let sent: u64 = proxy.take_requests().all().iter().map(|request| request.sent).sum();
        assert!(sent < 60_000, "{sent} bytes were sent");
        assert_eq!(desk.paths("objects/").len(), before + 2, "the head and the index");
        desk.verify("m:2").ok();
        desk.opens_to("m:2", "model");
        desk.is_sound(&desk.url(PREFIX));
    });
}

#[test]
fn nobody_gets_to_read_an_earlier_version_by_way_of_a_later_one() {
    within(60, || {
        let Some(server) = Seaweed::shared() else { return };
        let desk = Desk::new(server.client());
        desk_with_a_version(&desk);
        let before = desk.paths("");
        let with_bob = [&REUSE[..], &["--to", "bob.pub"]].concat();
        let message = refused(desk.seal_with("model", "m:2", &with_bob), 2, "usage");
        assert!(message.contains("would get keys of"), "{message}");
        assert_eq!(desk.paths(""), before, "nothing was written");
        desk.seal_with("model", "m:2", &[&with_bob[..], &["--allow-disclosure"]].concat()).ok();
        desk.run(&["open", "m:2", "bob", "--identity", "bob.key", "--signer", "signer.pub"]).ok();
        desk.run(&["open", "m:1", "no", "--identity", "bob.key", "--signer", "signer.pub"]).exits(6);
    });
}

#[test]
fn a_tensor_is_opened_without_the_rest() {
    within(60, || {
        let Some((desk, proxy)) = proxied() else { return };
        let (length, count) = (4_000_000, 8);
        let entry = |number: usize| {
            let (from, to) = (number * length, (number + 1) * length);
            format!(r#""l.{number}.w":{{"dtype":"U8","shape":[{length}],"data_offsets":[{from},{to}]}}"#)
        };
        let header = format!("{{{}}}", (0..count).map(entry).collect::<Vec<_>>().join(","));
        let data = noise(length * count);
        let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
        desk.work.write("model/weights.safetensors", &file);
        desk.seal("model", "m:1").ok();
        proxy.take_requests();
        let opened = desk.open_with("m:1", "part", &["--tensor", "l.3.*"]).ok().json();
        assert_eq!(opened["tensors"], 1);
        let part = desk.work.read("part/weights.safetensors");
        assert!(part.ends_with(&data[3 * length..4 * length]) && part.len() < length + 1000);
        let seen = proxy.take_requests();
        assert!(seen.count(Kind::GetRange) > 0);
        // A tensor of 4 MB lies in 5 segments at most; the header is in one more, and the index is small.
        let received: u64 = seen.all().iter().map(|request| request.received).sum();
        assert!(received < 8_000_000, "{received} bytes were fetched of {}", file.len());
    });
}
