//! Tokens of OpenID providers: a real one whose keys change, and one of our own for everything that must not get in.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vault_tests::{
    Workspace,
    servers::{Issuer, Provider, Registry, ok},
};

use crate::{Desk, refused};

/// As it is configured: the least time between two questions to an issuer.
const REST: Duration = Duration::from_secs(2);

fn believing(name: &str, issuer: &str, more: &str) -> String {
    format!("[[identity.issuers]]\nname = {name:?}\nissuer = {issuer:?}\naudience = \"mvault\"\n{more}\n")
}

fn whoami(registry: &Registry, token: &str) -> u16 {
    registry.ask(token, "GET", "/v1/whoami", &[], b"").status()
}

fn who(registry: &Registry, token: &str) -> Value {
    let answer = registry.ask(token, "GET", "/v1/whoami", &[], b"");
    assert_eq!(answer.status(), 200, "{}", answer.text());
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn claims(issuer: &Issuer) -> Value {
    json!({ "iss": issuer.url(), "aud": "mvault", "sub": "alice", "iat": now(), "exp": now() + 300 })
}

fn changed(value: &Value, change: &Value) -> Value {
    let mut value = value.clone();
    for (name, new) in change.as_object().expect("an object") {
        value[name] = new.clone();
    }
    value
}

/// A key of an issuer of our own.
struct Key(EcdsaKeyPair, &'static str);

impl Key {
    fn new(kid: &'static str) -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"), kid)
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        json!({ "kty": "EC", "crv": "P-256", "kid": self.1, "use": "sig", "x": encode(x), "y": encode(y) })
    }

    fn header(&self) -> Value {
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": self.1 })
    }

    fn token(&self, claims: &Value) -> String {
        self.under(&self.header(), claims)
    }

    fn under(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let signature = self.0.sign(&SystemRandom::new(), message.as_bytes()).expect("signed");
        format!("{message}.{}", encode(signature.as_ref()))
    }
}

#[test]
fn a_real_provider_says_who_asks_and_may_change_its_keys_under_way() {
    let Some(provider) = Provider::start() else { return };
    let more = "algorithms = [\"ES256\", \"RS256\", \"EdDSA\"]";
    let registry = Registry::with(&believing("corp", &provider.issuer(), more));
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let who = who(&registry, &provider.token("mvault", algorithm));
        assert_eq!((&who["id"], &who["holder"]), (&json!("corp:trainer"), &json!("corp:trainer")));
        assert_eq!((&who["means"], &who["groups"]), (&json!("token"), &json!(["corp:ml", "corp:release"])));
        assert_eq!((&who["acr"], &who["amr"], &who["grants"]), (&json!("aal2"), &json!(["hwk"]), &json!([])));
    }
    assert_eq!(whoami(&registry, &provider.token("other", "ES256")), 401);
    // Nothing is allowed by default.
    let token = provider.token("mvault", "ES256");
    assert_eq!(registry.get(&token, "models/m/versions/1.dsse.json").status(), 403);
    assert_eq!(registry.ask(&token, "GET", "/v1/keys", &[], b"").status(), 403);
    // What a policy gives to a group of this issuer, and to no other's of the same name.
    let path = "models/m/versions/1.dsse.json";
    for (group, status) in [("ml", 403), ("other:ml", 403), ("corp:ml", 404)] {
        let text = format!("permit (principal in Group::\"{group}\", action == Action::\"read\", resource);");
        let body = json!({ "text": text, "reason": "the team reads" }).to_string();
        let json = [("content-type", "application/json")];
        let set = registry.ask(&registry.admin, "POST", "/v1/policies", &json, body.as_bytes());
        assert_eq!(set.status(), 201, "{}", set.text());
        assert_eq!(registry.get(&token, path).status(), status, "{group}");
    }

    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let statuses = thread::scope(|scope| {
        let ask = || {
            let mut statuses = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                // A token from before a change and one from after it are both good.
                let token = provider.token("mvault", "ES256");
                statuses.push(whoami(&registry, &token));
                asked.fetch_add(1, Ordering::SeqCst);
            }
            statuses
        };
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
        for _ in 0..2 {
            let before = asked.load(Ordering::SeqCst);
            while asked.load(Ordering::SeqCst) < before + 10 {
                thread::sleep(Duration::from_millis(20));
            }
            provider.rotate();
        }
        let before = asked.load(Ordering::SeqCst);
        while asked.load(Ordering::SeqCst) < before + 10 {
            thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::SeqCst);
        clients.into_iter().flat_map(|client| client.join().expect("it ran")).collect::<Vec<_>>()
    });
    assert!(statuses.len() >= 30 && statuses.iter().all(|status| *status == 200), "{statuses:?}");
    // The keys before the last ones are still shown, and those before them no more.
    assert_eq!(whoami(&registry, &token), 401);
}

#[test]
fn tokens_that_are_forged_changed_or_for_somebody_else_get_nobody_in() {
    let (key, other_key, stranger) = (Key::new("one"), Key::new("two"), Key::new("one"));
    let (issuer, other) = (Issuer::with(&json!([key.jwk()])), Issuer::with(&json!([other_key.jwk()])));
    let unknown = Issuer::with(&json!([stranger.jwk()]));
    let settings = believing("corp", &issuer.url(), "") + &believing("partner", &other.url(), "");
    let registry = Registry::with(&format!("strangers_per_minute = 10000\n{settings}"));
    let good = key.token(&claims(&issuer));
    assert_eq!(who(&registry, &good)["id"], "corp:alice");
    assert_eq!(who(&registry, &other_key.token(&claims(&other)))["id"], "partner:alice");

    let [head, payload, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let (point, jwk) = (key.0.public_key().as_ref().to_vec(), key.jwk().to_string());
    let confused = |secret: &[u8]| {
        let message = format!("{}.{payload}", encode(json!({ "alg": "HS256", "kid": "one" }).to_string()));
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", encode(tag.as_ref()))
    };
    let with = |change: &Value| key.token(&changed(&claims(&issuer), change));
    let header = |change: &Value| key.under(&changed(&key.header(), change), &claims(&issuer));
    let root = encode(changed(&claims(&issuer), &json!({ "sub": "root" })).to_string());
    let none = encode(json!({ "alg": "none" }).to_string());
    let brought = changed(&stranger.header(), &json!({ "jwk": stranger.jwk() }));
    let elsewhere = changed(&stranger.header(), &json!({ "jku": format!("{}/keys", unknown.url()) }));
    let cases = [
        ("no signature", format!("{none}.{payload}.")),
        ("a signature cut off", format!("{head}.{payload}.")),
        ("a public key as a secret", confused(&point)),
        ("a key set as a secret", confused(jwk.as_bytes())),
        ("another algorithm", header(&json!({ "alg": "RS256" }))),
        ("an algorithm that is not used", header(&json!({ "alg": "ES384" }))),
        ("a stranger's key of the same name", stranger.token(&claims(&issuer))),
        ("another issuer's key", other_key.token(&claims(&issuer))),
        ("another issuer's token", key.token(&claims(&other))),
        ("a path as the name of a key", header(&json!({ "kid": "../../../../../../dev/null" }))),
        ("a query as the name of a key", header(&json!({ "kid": "one' UNION SELECT 'x" }))),
        ("another audience", with(&json!({ "aud": "other" }))),
        ("another issuer", with(&json!({ "iss": format!("{}/", issuer.url()) }))),
        ("an issuer nobody knows", stranger.token(&claims(&unknown))),
        ("an expired token", with(&json!({ "exp": now() - 60 }))),
        ("a token of tomorrow", with(&json!({ "nbf": now() + 3600 }))),
        ("a token issued tomorrow", with(&json!({ "iat": now() + 3600 }))),
        ("no expiry", with(&json!({ "exp": null }))),
        ("no subject", with(&json!({ "sub": null }))),
        ("a token bound to a key", with(&json!({ "cnf": { "jkt": "x" } }))),
        ("a key that it brings", stranger.under(&brought, &claims(&issuer))),
        ("a key that it names", stranger.under(&elsewhere, &claims(&issuer))),
        ("what must be understood", header(&json!({ "crit": ["exp"] }))),
        ("a token for something else", header(&json!({ "typ": "logout+jwt" }))),
        ("another subject", format!("{head}.{root}.{signature}")),
        ("an encrypted token", format!("{good}.x.y")),
        ("a long token", format!("{good}{}", "A".repeat(17_000))),
        ("no token", "x".into()),
        ("a key of the registry with a token behind it", format!("mvk_{good}")),
    ];
    for (what, token) in &cases {
        let answer = registry.ask(token, "GET", "/v1/whoami", &[], b"");
        assert_eq!(answer.status(), 401, "{what}: {}", answer.text());
        assert!(answer.text().contains("who asks is not known"), "everybody is told the same: {}", answer.text());
    }
    assert_eq!(unknown.asked(), 0, "nobody follows what a token says");
    // One header, and one scheme.
    for header in [format!("Basic {good}"), good.clone(), format!("Bearer  {good}"), format!("Bearer {good} x")] {
        assert_eq!(registry.ask("", "GET", "/v1/whoami", &[("authorization", &header)], b"").status(), 401, "{header}");
    }
    assert_eq!(whoami(&registry, &good), 200);
    let log = registry.log();
    assert!(log.contains("the token has expired") && log.contains("the token is for somebody else"), "{log}");
    for part in [signature, payload, "union", "UNION"] {
        assert!(!log.contains(part), "nothing of a token is written down");
    }
}

#[test]
fn keys_that_nobody_has_do_not_make_the_server_ask_and_ask() {
    let key = Key::new("one");
    let issuer = Issuer::with(&json!([key.jwk()]));
    let registry = Registry::with(&format!("strangers_per_minute = 10000\n{}", believing("corp", &issuer.url(), "")));
    let good = key.token(&claims(&issuer));
    assert_eq!(whoami(&registry, &good), 200);
    let (before, start) = (issuer.asked(), Instant::now());
    thread::scope(|scope| {
        for number in 0..100 {
            let (registry, key, issuer) = (&registry, &key, &issuer);
            scope.spawn(move || {
                let header = json!({ "alg": "ES256", "kid": format!("junk-{number}") });
                let status = whoami(registry, &key.under(&header, &claims(issuer)));
                // Either it waited for the keys, or too many did.
                assert!(matches!(status, 401 | 503), "{status}");
            });
        }
        // Who has a key that is known is not held up.
        assert_eq!(whoami(&registry, &good), 200);
    });
    let most = usize::try_from(start.elapsed().as_secs() / REST.as_secs()).expect("a number") + 2;
    assert!(issuer.asked() - before <= most, "{} times, and at most {most}", issuer.asked() - before);
}

#[test]
fn an_issuer_that_is_down_or_lies_stops_neither_the_server_nor_those_with_keys() {
    let (key, stranger) = (Key::new("one"), Key::new("two"));
    let issuer = Issuer::with(&json!([key.jwk()]));
    let (down, liar) = (Issuer::with(&json!([])), Issuer::with(&json!([stranger.jwk()])));
    down.say("/.well-known/openid-configuration", "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n");
    let description = json!({ "issuer": issuer.url(), "jwks_uri": format!("{}/keys", liar.url()) });
    liar.say("/.well-known/openid-configuration", &ok(&description.to_string()));
    let settings = ["corp", "down", "liar"].iter().zip([&issuer, &down, &liar]);
    let settings: String = settings.map(|(name, issuer)| believing(name, &issuer.url(), "")).collect();
    let registry = Registry::with(&format!("strangers_per_minute = 10000\n{settings}"));
    assert_eq!(whoami(&registry, &registry.admin), 200);
    let good = key.token(&claims(&issuer));
    assert_eq!(whoami(&registry, &good), 200);
    for issuer in [&down, &liar] {
        let answer = registry.ask(&stranger.token(&claims(issuer)), "GET", "/v1/whoami", &[], b"");
        assert_eq!(answer.status(), 503, "{}", answer.text());
        assert!(answer.header("retry-after").is_some() && !answer.text().contains("127.0.0.1"), "{}", answer.text());
    }
    assert_eq!(liar.asked(), 0, "whoever calls itself something else is not asked for keys");
    assert!(registry.log().contains("its keys cannot be fetched"));

    // From now on nothing good comes; what was known goes on, and what is not known is not believed.
    let long = format!("{{\"keys\":[]{}}}", " ".repeat(300 << 10));
    let to_another = format!("HTTP/1.1 302 Found\r\nlocation: {}/keys\r\ncontent-length: 0\r\n\r\n", liar.url());
    for answer in ["HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n", &to_another, &ok("{}"), &ok("<html>"), &ok(&long)] {
        issuer.say("/keys", answer);
        assert_eq!(whoami(&registry, &stranger.token(&claims(&issuer))), 401);
        assert_eq!(whoami(&registry, &good), 200);
    }
    assert_eq!(liar.asked(), 0, "redirects are not followed");
    // A new key counts as soon as it is asked for, and one that was taken away no more.
    issuer.show(&json!([stranger.jwk()]));
    assert_eq!(whoami(&registry, &stranger.token(&claims(&issuer))), 200);
    assert_eq!(whoami(&registry, &good), 401);
}

#[test]
fn the_client_sends_a_token_from_a_file_and_reads_it_again_when_it_was_renewed() {
    let key = Key::new("one");
    let issuer = Issuer::with(&json!([key.jwk()]));
    let registry = Registry::with(&believing("corp", &issuer.url(), "leeway_seconds = 0"));
    let mut desk = Desk::new(Workspace::new(), &registry);
    // Longer than any API key: tokens with groups are.
    let groups: Vec<_> = (0..200).map(|number| format!("group-{number:05}")).collect();
    let claims = changed(&claims(&issuer), &json!({ "groups": groups }));
    desk.ask_as("alice", &key.token(&claims));
    let who = desk.run(&["whoami"]).ok().json();
    assert_eq!((who["id"].as_str(), who["groups"].as_array().map(Vec::len)), (Some("corp:alice"), Some(200)));
    // Logging in keeps it, and standard input gives it as well.
    let login = desk.run(&["login", &registry.url()]).ok().json();
    assert_eq!(login["id"], "corp:alice");
    desk.ask_as("alice", &key.token(&changed(&claims, &json!({ "exp": now() - 1 }))));
    refused(desk.run(&["whoami"]), 9, "denied");
    desk.ask_as("alice", &key.token(&changed(&claims, &json!({ "aud": "other" }))));
    refused(desk.run(&["whoami"]), 9, "denied");
}
