//! The configuration of the manifests in `deploy/`, with the real server.

use std::path::Path;

use vault_tests::servers::Registry;

#[test]
fn the_configuration_of_the_manifests_serves_what_they_ask_for() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/server.toml");
    let registry = Registry::deployed(&std::fs::read_to_string(config).expect("the configuration"));
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(registry.ask("", "GET", probe, &[], b"").status(), 200, "{probe}");
    }
    assert!(registry.metrics().contains("mvault_build_info{version="));
    registry.key("ci", &["read"], "*", "*");
    let state = registry.folder().join("var/lib/mvault");
    let written: Vec<_> = vault_tests::tree(&state).into_keys().collect();
    assert_eq!(written, ["checkpoint.json", "checkpoint.json.log"], "where the volume is mounted");
}
