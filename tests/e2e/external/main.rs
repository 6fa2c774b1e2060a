//! Keys that are not in files: other programs keep them, honest ones and others.
#![forbid(unsafe_code)]

mod honest;
mod hostile;
mod token;

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::json;
use vault_tests::Workspace;

/// Makes `NAME.key` name a shell script that keeps the key of `PUBLIC`.
fn scripted(desk: &Workspace, name: &str, public: &str, timeout: u64, script: &str) {
    let public = String::from_utf8(desk.read(public)).expect("PEM");
    let reference = json!({
        "protocol": "mvault-key/v1", "public_key": public, "program": "sh", "arguments": ["-c", script],
        "timeout_seconds": timeout,
    });
    write_private(desk, &format!("{name}.key"), reference.to_string().as_bytes());
}

fn write_private(desk: &Workspace, name: &str, bytes: &[u8]) {
    desk.write(name, bytes);
    fs::set_permissions(desk.path(name), fs::Permissions::from_mode(0o600)).expect("the mode of our own file");
}
