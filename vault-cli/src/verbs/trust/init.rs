//! `mvault trust init`

use std::path::{Path, PathBuf};

use serde_json::json;
use vault_core::keys::{PublicKey, file};

use crate::{
    failure::{Failure, Result},
    secrets::load_public,
    session::Session,
};

/// Write a first trust root as commented TOML, to be edited and signed
///
/// Each --root names a public signing key of somebody who is to sign trust roots. The file lists them and leaves the other
/// roles to be filled in.
///
/// JSON: {"source", "keys"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault trust init --root alice.pub --root bob.pub --threshold 2 -o trust.toml
  mvault trust sign trust.toml --key alice.key -o root.json")]
pub struct Args {
    /// The public key of a root holder; repeat for several
    #[arg(long, value_name = "FILE.pub", required = true)]
    root: Vec<PathBuf>,
    /// How many root holders must sign a trust root [default: more than half of them]
    #[arg(long, value_name = "N")]
    threshold: Option<u64>,
    /// Where to write it
    #[arg(long, short, value_name = "FILE.toml", default_value = "trust.toml")]
    output: PathBuf,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let mut keys = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for path in &args.root {
        let PublicKey::Signing(key) = load_public(path)? else {
            return Err(Failure::usage(format!(
                "{} is a recipient key where a signing key is expected",
                path.display()
            )));
        };
        session.global.examples().check(path, key.key_id())?;
        let name = holder(path, &names);
        keys.push(format!("[keys.\"{name}\"]\nholder = \"{name}\"\npublic = \"\"\"\n{}\"\"\"\n\n", key.to_pem()));
        names.push(name);
    }
    let most = names.len() as u64;
    let threshold = args.threshold.unwrap_or(most / 2 + 1);
    if threshold == 0 || threshold > most {
        return Err(Failure::usage(format!("a threshold of {threshold} cannot be met by {most} holders")));
    }
    let list = names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let text = TEMPLATE
        .replace("@KEYS@", keys.concat().trim_end())
        .replace("@NAMES@", &list)
        .replace("@N@", &threshold.to_string());
    file::write_public(&args.output, &text)?;
    let output = args.output.display().to_string();
    session.ui.result(
        &format!("wrote {output}\n  edit it, then: mvault trust sign {output} --key … -o root.json"),
        &json!({ "source": output, "keys": names }),
    )
}

/// A name for the holder of a key file.
fn holder(path: &Path, taken: &[String]) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let legal = |c: char| if c.is_ascii_alphanumeric() || "._@+-".contains(c) { c } else { '-' };
    let name: String = stem.chars().map(legal).collect();
    let name = match name.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()) {
        "" => "holder".to_owned(),
        name => name.chars().take(100).collect(),
    };
    let mut unique = name.clone();
    let mut number = 1;
    while taken.contains(&unique) {
        number += 1;
        unique = format!("{name}-{number}");
    }
    unique
}

const TEMPLATE: &str = r#"# The trust root: whose signatures count, for what. Nothing below counts before it is signed:
#   mvault trust sign trust.toml --key YOURS.key -o root.json     (each root holder in turn)
#   mvault trust publish root.json --vault …
# Times are RFC 3339 in UTC, or durations from the signing: 30m, 24h, 90d.

expires = "365d"

# Every key has a holder: thresholds count holders, however many keys one has. `public` is a file beside this one, or the
# key itself. Also: valid_from, valid_until, status = "retired" | "compromised", keeps = ["b3:…"] (see `mvault trust keeps`).
@KEYS@

# Who signs the next version of this file.
[roles.root]
keys = [@NAMES@]
threshold = @N@

# Who seals, for which models: `*` stands for anything.
# [[roles.sealer]]
# models = ["llama-*"]
# keys = ["trainer"]

# What it takes to move a channel. The first rule that fits a channel governs it. Who asks for a promotion does not count
# among those who approve it, unless requester_counts = true.
# [[roles.release]]
# models = ["*"]
# channels = ["production"]
# keys = ["alice", "bob", "carol"]
# threshold = 2
# lifetime = "90d"           # how long a promotion counts
# freshness = "24h"          # demand a statement of freshness no older than this
# attestations = [{ type = "https://example.com/scan/v1", role = "scanner" }]

# Who may change recipients (sealers may, too), state freshness, attest as a scanner.
# [[roles.share]]
# models = ["*"]
# keys = ["alice"]
# [[roles.freshness]]
# models = ["*"]
# keys = ["timekeeper"]
# [[roles.scanner]]
# models = ["*"]
# keys = ["scanner"]

# How many release holders it takes to revoke a version.
# [roles.revocation]
# threshold = 1
"#;
