//! `mvault doctor` names what is wrong, and its policies are enough and no more.

use std::fs;

use serde_json::Value;
use vault_tests::{
    Output, Workspace,
    proxy::{Fault, Proxy, Rule},
    s3::Client,
    servers::{Moto, Rclone, Seaweed},
};

use crate::{Desk, refused, within};

/// What became of a check; empty if it was not made.
fn state(report: &Value, check: &str) -> String {
    let checks = report["checks"].as_array().expect("a list");
    let found = checks.iter().find(|it| it["check"] == check);
    found.and_then(|it| it["state"].as_str()).unwrap_or_default().to_owned()
}

/// The one check that failed.
#[track_caller]
fn failure(output: &Output) -> (String, String) {
    let report = output.clone().exits(1).json();
    let checks = report["checks"].as_array().expect("a list");
    let failed: Vec<_> = checks.iter().filter(|it| it["state"] == "fail").collect();
    assert_eq!(failed.len(), 1, "{report}");
    assert!(failed[0]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{report}");
    let text = |key: &str| failed[0][key].as_str().expect("text").to_owned();
    assert!(!String::from_utf8_lossy(&output.stdout).contains("very-secret"));
    (text("check"), text("message"))
}

#[test]
fn a_vault_that_is_well_is_said_to_be() {
    within(90, || {
        let (Some(seaweed), Some(moto)) = (Seaweed::shared(), Moto::shared()) else { return };
        for client in [seaweed.client(), moto.client()] {
            let desk = Desk::new(client);
            let before = desk.paths("");
            let report = desk.run(&["doctor"]).ok().json();
            for check in ["region", "endpoint", "server", "clock", "credentials", "bucket", "read", "create once"] {
                assert_eq!(state(&report, check), "ok", "{check}: {report}");
            }
            assert_eq!(desk.paths(""), before, "nothing is changed");
            assert!(!report.to_string().contains(&client.secret_key) || client.secret_key.len() < 8);
        }
        let desk = Desk::on(Workspace::empty(), seaweed.client());
        seaweed.client().make_locked_bucket(&desk.bucket);
        let report = desk.run(&["doctor"]).ok().json();
        assert_eq!(state(&report, "vault"), "warn", "{report}");
        assert!(report.to_string().contains("older versions of objects are kept"), "{report}");
    });
}

#[test]
fn what_is_wrong_is_named() {
    within(120, || {
        let (Some(seaweed), Some(moto)) = (Seaweed::shared(), Moto::shared()) else { return };
        for client in [seaweed.client(), moto.client()] {
            let mut desk = Desk::new(client);
            desk.by(&Client { secret_key: "very-secret".into(), ..client.clone() });
            assert_eq!(failure(&desk.run(&["doctor"])).0, "credentials");
            desk.by(&Client { access_key: "AKIAUNKNOWN".into(), ..client.clone() });
            assert_eq!(failure(&desk.run(&["doctor"])).0, "credentials");
            desk.by(&Client { address: "127.0.0.1:9".into(), ..client.clone() });
            assert_eq!(failure(&desk.run(&["doctor"])).0, "server");
            let nowhere = Desk::on(Workspace::empty(), client);
            assert_eq!(failure(&nowhere.run(&["doctor"])).0, "bucket");
        }
        let mut desk = Desk::new(seaweed.client());
        let proxy = Proxy::before(&seaweed.client().address);
        desk.by(&proxy.client(seaweed.client()));
        proxy.add(Rule::new("GET", "/", Fault::Header("Date", "Sun, 03 May 2020 12:00:00 GMT")));
        assert_eq!(failure(&desk.run(&["doctor"])).0, "clock");
        proxy.clear();
        proxy.add(Rule::new("GET", "list-type", Fault::Refuse { status: 301, code: "PermanentRedirect" }).always());
        assert_eq!(failure(&desk.run(&["doctor"])).0, "region");
        proxy.clear();
    });
}

#[test]
fn a_server_that_lets_every_creator_win_is_found_out() {
    within(60, || {
        let Some(server) = Rclone::start() else { return };
        let desk = Desk::on(Workspace::empty(), server.client());
        desk.client.make_bucket(&desk.bucket);
        desk.client.put(&desk.bucket, &format!("{}/vault.json", crate::PREFIX), b"{}");
        assert_eq!(failure(&desk.run(&["doctor"])).0, "create once");
    });
}

#[test]
fn a_profile_in_the_files_of_aws_is_used_and_a_bad_one_is_refused() {
    within(60, || {
        let Some(server) = Seaweed::shared() else { return };
        let client = server.client();
        let mut desk = Desk::new(client);
        let (access, secret) = (&client.access_key, &client.secret_key);
        let config = format!(
            "[profile vault]\nregion = us-east-1\nservices = here\n[services here]\ns3 =\n  endpoint_url = http://{}\n\
             [profile single]\nsso_session = x\n[profile asked]\nendpoint_url = http://{}\ncredential_process = sh keys.sh\n",
            client.address, client.address
        );
        desk.work.write("config", config.as_bytes());
        desk.work.write(
            "credentials",
            format!("[vault]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n").as_bytes(),
        );
        let answer = format!(r#"{{"Version":1,"AccessKeyId":"{access}","SecretAccessKey":"{secret}"}}"#);
        desk.work.write("keys.sh", format!("echo '{answer}'\n").as_bytes());
        let url = desk.variables[0].clone();
        let with = |profile: &str| {
            let pairs = [
                ("AWS_CONFIG_FILE", "config"),
                ("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
                ("AWS_PROFILE", profile),
                ("AWS_ACCESS_KEY_ID", ""),
                ("AWS_SECRET_ACCESS_KEY", ""),
                ("AWS_ENDPOINT_URL", ""),
                ("AWS_REGION", ""),
                ("AWS_EC2_METADATA_DISABLED", "true"),
            ];
            let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
            [url.clone()].into_iter().chain(pairs).collect::<Vec<_>>()
        };
        for profile in ["vault", "asked"] {
            desk.variables = with(profile);
            desk.run(&["ls"]).ok();
            assert_eq!(state(&desk.run(&["doctor"]).ok().json(), "credentials"), "ok");
        }
        for profile in ["single", "absent", ""] {
            desk.variables = with(profile);
            refused(desk.run(&["ls"]), 2, "usage");
            let (check, message) = failure(&desk.run(&["doctor"]));
            assert_eq!(check, "configuration", "{message}");
        }
        // A folder needs none of it.
        desk.variables = with("absent");
        desk.variables[0].1 = "vault".into();
        desk.run(&["ls"]).ok();
    });
}

#[test]
fn a_folder_is_examined_too() {
    let work = Workspace::new();
    let report = work.run(&["doctor"]).ok().json();
    assert_eq!((state(&report, "vault"), state(&report, "create once")), ("ok".into(), "ok".into()));
    assert!(work.files("vault").len() == 1, "nothing is changed");
    fs::create_dir(work.path("empty")).expect("a folder");
    assert_eq!(failure(&work.run(&["doctor", "--vault", "empty"])).0, "vault");
    assert_eq!(failure(&work.run(&["doctor", "--vault", "absent"])).0, "store");
    refused(work.run(&["doctor", "--vault", "ftp://x"]), 2, "usage");
}

/// Users of moto have the printed policies; what moto makes of conditions is not Amazon's last word.
#[test]
fn the_policies_are_enough_for_each_and_no_more() {
    within(150, || {
        // Its own: adding users opens the server to everybody for a moment.
        let Some(server) = Moto::start() else { return };
        let mut desk = Desk::on(Workspace::with_examples(), server.client());
        desk.client.make_bucket(&desk.bucket);
        desk.run(&["init"]).ok();
        let policies = desk.run(&["doctor", "--policies"]).ok().json();
        let user = |name: &str| server.user(name, &policies[name].to_string());
        let users = ["sealer", "node", "release-manager", "collector", "publisher"].map(user);
        let [sealer, node, manager, collector, publisher] = users;
        desk.run(&["--allow-example-keys", "trust", "publish", "root.json"]).ok();
        // Everybody has a memory of their own.
        let run = |desk: &Desk, args: &[&str]| {
            let state = &desk.variables[1].1;
            desk.run(&[&["--allow-example-keys"], args, &["--trust", "root.json", "--state", state]].concat())
        };
        desk.work.write("weights", b"1");
        let seal = |version| ["seal", "weights", version, "--to", "node.pub", "--sign-with", "trainer.key"];
        let promote = ["promote", "m:1", "--channel", "staging", "--reason", "good", "--key", "alice.key"];
        let open = ["open", "m@staging", "out", "--identity", "node.key"];

        desk.by(&sealer);
        run(&desk, &seal("m:1")).ok();
        run(&desk, &promote).exits(1);
        desk.by(&node);
        run(&desk, &seal("m:2")).exits(1);
        run(&desk, &promote).exits(1);
        desk.by(&manager);
        run(&desk, &seal("m:2")).exits(1);
        run(&desk, &promote).ok();
        desk.by(&node);
        run(&desk, &open).ok();
        // Writers log what they do, and the publisher signs it.
        let publish = |desk: &Desk| {
            let state = &desk.variables[1].1;
            desk.run(&["--allow-example-keys", "log", "publish", "--key", "trainer.key", "--state", state])
        };
        desk.by(&publisher);
        desk.run(&["log", "init"]).ok();
        run(&desk, &seal("m:3")).exits(1);
        desk.by(&manager);
        run(&desk, &promote).ok();
        publish(&desk).exits(1);
        desk.by(&publisher);
        assert_eq!(publish(&desk).ok().json()["size"], 2);
        desk.by(&sealer);
        run(&desk, &seal("m:3")).ok();
        desk.by(&publisher);
        let again = publish(&desk).ok().json();
        assert!(again["size"].as_u64() > Some(2), "{again}");
        desk.by(&node);
        let report = desk.run(&["doctor"]).ok().json();
        assert_eq!((state(&report, "read"), state(&report, "write")), ("ok".into(), "warn".into()), "{report}");

        let record = format!("/{}/{}/models/m/versions/1.dsse.json", desk.bucket, crate::PREFIX);
        for client in [&sealer, &node, &manager, &collector] {
            assert_eq!(client.request("DELETE", &record, &[], &[], b"").status(), 403);
        }
        // What a sealer decided to publish and could not, the collector publishes. It deletes what only it may.
        assert_eq!(server.client().request("DELETE", &record, &[], &[], b"").status(), 204);
        desk.by(&node);
        run(&desk, &open).exits(8);
        desk.by(&collector);
        run(&desk, &["gc"]).ok();
        desk.by(&node);
        run(&desk, &["open", "m:1", "again", "--identity", "node.key"]).ok();
        desk.by(&manager);
        run(&desk, &["shred", "m:1", "--yes", "--reason", "left", "--key", "trainer.key"]).exits(1);
        desk.by(&collector);
        run(&desk, &["shred", "m:1", "--yes", "--reason", "left", "--key", "trainer.key"]).ok();
        desk.by(&node);
        run(&desk, &["open", "m:1", "never", "--identity", "node.key"]).exits(6);
    });
}
