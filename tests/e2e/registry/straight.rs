//! Content that goes straight between clients and the bucket, by presigned URLs.

use std::{collections::BTreeMap, thread, time::Duration};

use serde_json::Value;
use vault_tests::{
    Workspace, noise,
    s3::Client,
    servers::{Liar, Moto, Registry, Seaweed},
    tree,
    wire::{Message, exchange},
};

use crate::{Desk, refused};

/// Content of the tests: more than what is worth a URL.
const LENGTH: usize = 3_000_000;

#[derive(Clone)]
struct Url {
    url: String,
    headers: BTreeMap<String, String>,
}

/// A registry over a new bucket of this name.
fn over(bucket: &str, limits: &str) -> Option<(Registry, &'static Client)> {
    let client = Seaweed::shared()?.client();
    client.make_bucket(bucket);
    Some((Registry::over_bucket(&format!("s3://{bucket}/some/models"), client, limits), client))
}

fn path_of(bytes: &[u8]) -> String {
    let hex = blake3::hash(bytes).to_hex();
    format!("objects/{}/{hex}", &hex[..2])
}

fn link(registry: &Registry, method: &str, path: &str) -> Url {
    let answer = registry.ask(&registry.admin, method, &format!("/v1/vaults/main/links/{path}"), &[], b"");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let answer: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let headers = answer["link"]["headers"].as_object().expect("headers");
    let headers = headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    Url { url: text(&answer["link"]["url"]), headers }
}

fn landed(registry: &Registry, path: &str) -> u16 {
    registry.ask(&registry.admin, "PUT", &format!("/v1/vaults/main/links/{path}"), &[], b"").status()
}

/// What the bucket says to a request with a URL.
fn send(method: &str, url: &Url, body: &[u8]) -> Message {
    let rest = url.url.strip_prefix("http://").expect("plain HTTP on loopback");
    let (address, target) = rest.split_once('/').expect("a path");
    let mut message = Message { first: format!("{method} /{target} HTTP/1.1"), ..Message::default() };
    message.set("host", address);
    message.set("content-length", &body.len().to_string());
    for (name, value) in &url.headers {
        message.set(name, value);
    }
    body.clone_into(&mut message.body);
    exchange(address, &message, Duration::from_secs(30)).expect("an answer")
}

/// Lines of the registry's own log about transfers of content through it.
fn through(registry: &Registry) -> usize {
    let is_content = |line: &&str| line.contains("/vaults/main/objects/objects/") && !line.contains("\"bytes\":0");
    let big = |line: &&str| {
        let line: Value = serde_json::from_str(line).unwrap_or_default();
        line["bytes"].as_u64().is_some_and(|bytes| bytes >= 1 << 20)
    };
    registry.log().lines().filter(is_content).filter(big).count()
}

#[test]
fn weights_go_straight_to_and_from_the_bucket_and_through_the_registry_if_that_is_wanted() {
    let Some((registry, client)) = over("straight", "") else { return };
    let desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("model/weights", &noise(20_000_000));
    desk.work.write("model/config.json", b"{}");
    desk.seal("model", "m:1").ok();
    desk.verify("m:1").ok();
    desk.open("m:1", "out").ok();
    assert_eq!(tree(&desk.work.path("out")), tree(&desk.work.path("model")));
    assert_eq!(through(&registry), 0, "nothing large went through the registry");
    desk.run(&["fsck"]).ok();
    assert!(!registry.log().contains("X-Amz-Signature"), "a URL is in no log");
    // The trial of the URLs left nothing behind: all that is there belongs to the artifact.
    assert_eq!(desk.run(&["fsck"]).ok().json()["orphans"], serde_json::json!([]));

    desk.run(&["--no-direct", "open", "m:1", "again", "--identity", "alice.key", "--signer", "signer.pub"]).ok();
    assert!(through(&registry) > 0);
    let sealed = ["--no-direct", "seal", "model", "m:2", "--to", "alice.pub", "--sign-with", "signer.key"];
    desk.run(&sealed).ok();
    desk.open("m:2", "other").ok();
    assert!(!client.keys("straight", "some/models/objects").is_empty());
}

#[test]
fn a_url_creates_one_object_once_and_not_for_ever() {
    let Some((registry, client)) = over("one-object", "link_seconds = 3\n") else { return };
    let (bytes, other) = (noise(LENGTH), noise(LENGTH + 1));
    let path = path_of(&bytes);
    let url = link(&registry, "POST", &path);
    let with = |change: &dyn Fn(&mut Url)| {
        let mut url = url.clone();
        change(&mut url);
        url
    };
    let hex = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    let elsewhere = with(&|url| url.url = url.url.replace(&hex(&bytes), &hex(&other)));
    let unconditional = with(&|url| drop(url.headers.remove("if-none-match")));
    let lasting = with(&|url| url.url = url.url.replace("X-Amz-Expires=3", "X-Amz-Expires=3000"));
    assert_ne!((&elsewhere.url, &lasting.url), (&url.url, &url.url));
    for url in [&elsewhere, &unconditional, &lasting] {
        assert_eq!(send("PUT", url, &bytes).status(), 403, "{} {:?}", url.url, url.headers);
    }
    for method in ["GET", "DELETE"] {
        assert_eq!(send(method, &Url { headers: BTreeMap::new(), ..url.clone() }, b"").status(), 403);
    }
    assert_eq!(send("PUT", &url, &bytes).status(), 200);
    assert_eq!(send("PUT", &url, &bytes).status(), 412, "what is there is not replaced");
    let read = link(&registry, "GET", &path);
    assert_eq!(send("GET", &read, b"").body, bytes);
    assert_eq!(send("PUT", &read, &bytes).status(), 403);
    thread::sleep(Duration::from_secs(5));
    assert_eq!(send("GET", &read, b"").status(), 403, "it has ended");
    let url = link(&registry, "POST", &path_of(&other));
    thread::sleep(Duration::from_secs(5));
    assert_eq!(send("PUT", &url, &other).status(), 403, "it has ended");
    assert_eq!(client.get("one-object", &format!("some/models/{path}")), bytes);
}

#[test]
fn what_is_not_what_its_name_says_is_removed_before_a_manifest_may_name_it() {
    let Some((registry, client)) = over("settled", "") else { return };
    let sealer = registry.key("sealer", &["seal"], "*", "*");
    let (right, wrong) = (noise(LENGTH), vec![7; LENGTH + 9]);
    let (path, key) = (path_of(&right), format!("some/models/{}", path_of(&right)));
    let poison = || {
        let url = link(&registry, "POST", &path);
        assert_eq!(send("PUT", &url, &wrong).status(), 200);
        assert_eq!(client.keys("settled", &key).len(), 1);
    };
    poison();
    assert_eq!(landed(&registry, &path), 404);
    assert!(client.keys("settled", &key).is_empty());
    // Whoever stores the right one through the registry finds the wrong one gone.
    poison();
    assert_eq!(registry.put(&sealer, &path, &right).status(), 201);
    assert_eq!(client.get("settled", &key), right);
    assert_eq!((landed(&registry, &path), registry.put(&sealer, &path, &right).status()), (200, 412));

    // An artifact of which one part was replaced on the way by somebody who knew its name.
    let desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("weights", &noise(5_000_000));
    desk.run(&["--vault", "local", "init"]).ok();
    desk.run(&["--vault", "local", "seal", "weights", "m:1", "--to", "alice.pub", "--sign-with", "signer.key"]).ok();
    let (mut manifest, mut parts) = (None, Vec::new());
    for (path, entry) in tree(&desk.work.path("local")) {
        let bytes = entry.bytes;
        match path.split('/').next() {
            Some("objects") => parts.push((path, bytes)),
            Some("artifacts") if path.ends_with("manifest.json") => manifest = Some((path, bytes)),
            _ => {}
        }
    }
    let (manifest, document) = manifest.expect("a manifest");
    parts.sort_by_key(|(_, bytes)| bytes.len());
    let (largest, whole) = parts.pop().expect("parts");
    for (path, bytes) in &parts {
        assert_eq!(registry.put(&sealer, path, bytes).status(), 201);
    }
    let poisoned = format!("some/models/{largest}");
    let wrong = vec![7; whole.len()];
    let url = link(&registry, "POST", &largest);
    assert_eq!(send("PUT", &url, &wrong).status(), 200);
    assert_eq!(registry.put(&sealer, &manifest, &document).status(), 404, "one part is not what its name says");
    assert!(client.keys("settled", &poisoned).is_empty());
    // A manifest may come first, as in a copy; a version is not let in over what came then.
    assert_eq!(registry.put(&sealer, &manifest, &document).status(), 201);
    assert_eq!(send("PUT", &url, &wrong).status(), 200);
    let version = "models/m/versions/1.dsse.json";
    let record = desk.work.read(&format!("local/{version}"));
    assert_eq!(registry.put(&sealer, version, &record).status(), 404);
    assert!(client.keys("settled", &poisoned).is_empty());
    assert_eq!(send("PUT", &url, &whole).status(), 200);
    assert_eq!(registry.put(&sealer, version, &record).status(), 201);
    let there = format!("/v1/vaults/main/links/{largest}");
    assert_eq!(registry.ask(&sealer, "POST", &there, &[], b"").status(), 412, "it is there, and right");
    // All of it by those who keep to the rules.
    desk.run(&["--vault", "local", "seal", "weights", "m:2", "--to", "alice.pub", "--sign-with", "signer.key"]).ok();
    desk.run(&["copy", "m:2", "--from", "local", "--to", &desk.url, "--signer", "signer.pub"]).ok();
    desk.open("m:2", "out").ok();
}

#[test]
fn a_url_takes_the_permission_that_the_object_takes() {
    let Some((registry, _)) = over("permitted", "") else { return };
    let (reader, nobody) = (registry.key("reader", &["read"], "*", "*"), registry.key("nobody", &["read"], "x", "x"));
    let path = path_of(b"x");
    let ask = |key: &str, method: &str, path: &str| {
        registry.ask(key, method, &format!("/v1/vaults/main/links/{path}"), &[], b"").status()
    };
    assert_eq!((ask(&reader, "GET", &path), ask(&nobody, "GET", &path)), (200, 200), "who knows the digest may read");
    assert_eq!((ask(&reader, "POST", &path), ask(&reader, "PUT", &path)), (403, 403));
    assert_eq!(ask("", "GET", &path), 401);
    for other in ["vault.json", "models/m/versions/1.dsse.json", "server/state/1", "objects/ab/../../vault.json"] {
        assert_eq!(ask(&registry.admin, "GET", other), 400, "{other}");
        assert_eq!(ask(&registry.admin, "POST", other), 400, "{other}");
    }
}

#[test]
fn a_bucket_that_is_out_of_reach_or_a_url_that_leads_astray_costs_a_detour_and_no_byte_is_believed() {
    let Some((registry, _)) = over("astray", "") else { return };
    let mut desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("weights", &noise(9_000_000));
    desk.work.write("other", &vec![1; 9_000_000]);
    desk.seal("other", "m:0").ok();
    let liar = Liar::before(&registry);
    desk.url = liar.url();
    let change = |mut answer: Message, change: &dyn Fn(&str) -> String| {
        answer.body = change(&answer.text()).into_bytes();
        answer.set("content-length", &answer.body.len().to_string());
        answer
    };
    let is_link = |request: &Message| request.target().contains("/links/") && request.method() != "PUT";
    // Nobody answers there.
    liar.tell(move |request, answer| {
        if !is_link(request) {
            return answer;
        }
        change(answer, &|text| {
            let (before, rest) = text.split_once("http://").expect("a URL");
            let (_, path) = rest.split_once('/').expect("a path");
            format!("{before}http://127.0.0.1:1/{path}")
        })
    });
    desk.seal("weights", "m:1").ok();
    desk.open("m:1", "out").ok();
    assert_eq!(desk.work.read("out/weights"), noise(9_000_000));
    assert!(through(&registry) > 0);
    // A URL of other content that is long enough, whatever is asked for.
    let other = noise(2 * LENGTH);
    let astray = link(&registry, "GET", &path_of(&other));
    let url = link(&registry, "POST", &path_of(&other));
    assert_eq!(send("PUT", &url, &other).status(), 200);
    desk.work.write("short", &vec![9; LENGTH]);
    desk.url = registry.url();
    desk.seal("short", "m:2").ok();
    desk.url = liar.url();
    liar.tell(move |request, answer| {
        if !is_link(request) {
            return answer;
        }
        change(answer, &|_| {
            format!(r#"{{"link":{{"url":"{}","headers":{{}},"expires":"2999-01-01T00:00:00Z"}}}}"#, astray.url)
        })
    });
    refused(desk.open("m:2", "none"), 3, "integrity");
    refused(desk.verify("m:2"), 3, "integrity");
    assert!(!desk.work.path("none").exists());
}

#[test]
fn a_store_that_does_not_look_at_signatures_gets_everything_through_the_registry() {
    let Some(moto) = Moto::start() else { return };
    moto.check_signatures(false);
    moto.client().make_bucket("careless");
    let registry = Registry::over_bucket("s3://careless/models", moto.client(), "");
    let target = format!("/v1/vaults/main/links/{}", path_of(b"x"));
    let answer = registry.ask(&registry.admin, "GET", &target, &[], b"");
    assert_eq!((answer.status(), answer.text().as_str()), (200, r#"{"link":null}"#));
    let desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("weights", &noise(5_000_000));
    desk.seal("weights", "m:1").ok();
    desk.open("m:1", "out").ok();
    assert!(through(&registry) > 0);
}
