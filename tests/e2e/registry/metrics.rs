//! What a server counts, and that nobody can make it count more things.

use vault_tests::{Workspace, servers::Registry};

use crate::Desk;

const METRICS: &str = "strangers_per_minute = 3\n[metrics]\naddress = \"127.0.0.1:0\"\n";

/// The value behind a series.
#[track_caller]
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("{series} is not in {metrics}"));
    line.split(' ').next().expect("a value").parse().expect("a number")
}

/// The same, of what is counted in whole numbers.
#[track_caller]
fn count(metrics: &str, series: &str) -> u64 {
    let value = value(metrics, series).to_string();
    value.parse().unwrap_or_else(|_| panic!("{series} is {value}"))
}

#[test]
fn requests_bytes_connections_limits_and_ages_are_counted() {
    let registry = Registry::with(METRICS);
    let desk = Desk::new(Workspace::new(), &registry);
    desk.work.write("weights", &vec![7; 3_000_000]);
    desk.seal("weights", "m:1").ok();
    desk.open("m:1", "opened").ok();
    for _ in 0..5 {
        registry.ask("", "GET", "/v1/whoami", &[], b"");
    }
    let open = registry.connect().expect("connected");
    let metrics = registry.metrics();
    let whoami =
        |class: &str| format!("mvault_http_requests_total{{route=\"/v1/whoami\",method=\"GET\",status=\"{class}\"}}");
    assert!(value(&metrics, &whoami("4xx")) >= 5.0);
    let objects = "route=\"/v1/vaults/{vault}/objects/{*path}\"";
    assert!(value(&metrics, &format!("mvault_http_requests_total{{{objects},method=\"PUT\",status=\"2xx\"}}")) > 3.0);
    assert!(value(&metrics, &format!("mvault_http_request_duration_seconds_count{{{objects},method=\"GET\"}}")) > 3.0);
    assert!(value(&metrics, "mvault_received_bytes_total") > 3e6 && value(&metrics, "mvault_sent_bytes_total") > 3e6);
    assert_eq!(count(&metrics, "mvault_authentication_failures_total"), 5);
    assert_eq!(count(&metrics, "mvault_limit_refusals_total{limit=\"stranger\"}"), 2);
    assert_eq!(count(&metrics, "mvault_store_errors_total"), 0);
    assert_eq!(count(&metrics, "mvault_transfers_limit"), 64);
    assert_eq!((count(&metrics, "mvault_transfers_in_use"), count(&metrics, "mvault_memory_in_use_bytes")), (0, 0));
    assert!(count(&metrics, "mvault_connections_open") < 10);
    drop(open);
    // The vault is read when somebody asks, so ages are small while it can be.
    assert!(
        value(&metrics, "mvault_state_age_seconds") < 2.0 && value(&metrics, "mvault_trust_root_age_seconds") < 2.0
    );
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!(value(&metrics, "mvault_certificate_expiry_timestamp_seconds") > now);
    assert!(metrics.ends_with("# EOF\n"));
    for (method, target, status) in [("POST", "/metrics", 405), ("GET", "/", 404), ("GET", "/v1/whoami", 404)] {
        assert_eq!(registry.ask_metrics(method, target).status(), status, "{method} {target}");
    }
}

#[test]
fn a_vault_that_cannot_be_read_shows() {
    let registry = Registry::with(METRICS);
    registry.metrics();
    let folder = registry.folder().join("vault/server");
    std::fs::rename(folder.join("state"), folder.join("away")).expect("renamed");
    std::fs::write(folder.join("state"), b"no folder").expect("written");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_ne!(registry.ask(&registry.admin, "GET", "/v1/whoami", &[], b"").status(), 200);
    assert!(value(&registry.metrics(), "mvault_state_age_seconds") > 2.0);
    std::fs::remove_file(folder.join("state")).expect("removed");
    std::fs::rename(folder.join("away"), folder.join("state")).expect("renamed");
    // A failure is remembered for a second.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(value(&registry.metrics(), "mvault_state_age_seconds") < 2.0);
}

#[test]
fn nobody_adds_a_series_or_finds_a_name_in_one() {
    let registry = Registry::with("[metrics]\naddress = \"127.0.0.1:0\"\n");
    let ask = |method: &str, target: &str| registry.ask(&registry.admin, method, target, &[], b"").status();
    let all = |name: &str| {
        for method in ["GET", "BREW", name] {
            ask(method, &format!("/{name}"));
            ask(method, &format!("/v1/vaults/main/objects/models/{name}/versions/1.dsse.json"));
            ask(method, &format!("/v1/keys/{name}/disable"));
            ask(method, &format!("/v1/vaults/{name}/objects?prefix={name}"));
        }
    };
    all("first");
    let before = registry.metrics();
    for number in 0..20 {
        all(&format!("NAME{number}"));
    }
    let after = registry.metrics();
    assert_eq!(before.lines().count(), after.lines().count(), "{after}");
    let id = registry.admin.split('_').nth(1).expect("an id");
    for name in ["NAME1", "first", "127.0.0.1", id] {
        assert!(!after.contains(name), "{name}: {after}");
    }
}
