//! The shared files of AWS, and what is decided from them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::store::aws::{Credentials, Profiles, plan};

fuzz_target!(|input: (&str, &str, &str)| {
    let (config, credentials, profile) = input;
    let Ok(profiles) = Profiles::parse(config, credentials) else { return };
    let mut environment = vec![("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned())];
    if !profile.is_empty() {
        environment.push(("AWS_PROFILE".to_owned(), profile.to_owned()));
    }
    let Ok(plan) = plan(&environment, &profiles) else { return };
    assert_ne!(plan.credentials, Credentials::Instance);
    let settings = plan.settings();
    let get = |name: &str| settings.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
    // Plain HTTP stays on this machine.
    if let Some(endpoint) = get("AWS_ENDPOINT_URL") {
        assert!(endpoint.to_ascii_lowercase().starts_with("https://") || get("AWS_ALLOW_HTTP") == Some("true"));
    }
    for (_, value) in &settings {
        assert!(!value.contains(['\r', '\n']));
    }
});
