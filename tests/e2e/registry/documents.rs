//! The examples of `docs/API.md`, typed as they stand there.

use std::{path::Path, process::Command};

use vault_tests::{Output, Workspace, have, servers::Registry, skip};

#[test]
fn the_examples_of_the_api_do_what_the_page_says() {
    if !have("curl") {
        return skip("there is no curl");
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/API.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let registry = Registry::start();
    let url = registry.url();
    let url = url.trim_end_matches("/main");
    let lines = page.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| !line.starts_with('{'));
    let lines: Vec<_> =
        lines.map(|line| line.replace("https://127.0.0.1:8443", url).replace("mvk_…", &registry.admin)).collect();
    assert!(lines.len() > 8, "{lines:?}");
    let work = Workspace::empty();
    work.write("mvault-dev/tls.crt", &std::fs::read(registry.certificate()).expect("a certificate"));
    let mut shell = Command::new("bash");
    shell.args(["-euo", "pipefail", "-c", &lines.join("\n")]).current_dir(work.root()).env_remove("http_proxy");
    let said = String::from_utf8(Output::of(&mut shell, b"").ok().stdout).expect("UTF-8");
    for words in
        [r#""name":"first administrator""#, r#""more":false"#, r#""format":"mvault-vault/v1""#, r#""key":"mvk_"#]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
}
