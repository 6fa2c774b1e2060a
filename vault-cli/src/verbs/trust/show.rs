//! `mvault trust show`

use std::path::PathBuf;

use serde_json::{Value, json};
use vault_core::trust::{Candidate, Holder, Key, Role, Status, TrustRoot, to_toml};

use crate::{
    belief::read_document,
    failure::{Failure, Result},
    session::Session,
    ui::{short, table},
};

/// Show a trust root: keys, holders, roles, and who signed it
///
/// It shows what the file says. Whether it is to be believed, `mvault trust verify` finds out.
///
/// JSON: {"version", "created", "expires", "digest", "signed_by", "threshold", "keys": [{"key_id", "holder", "status",
/// "roles", "valid_from", "valid_until", "keeps"}], "source"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault trust show root.json")]
pub struct Args {
    /// The trust root
    #[arg(value_name = "ROOT.json")]
    root: PathBuf,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let candidate = Candidate::parse(&read_document(&args.root)?).map_err(|e| Failure::local(&args.root, &e))?;
    let (text, object) = describe(&candidate);
    session.ui.result(&text, &object)
}

/// A trust root for people and for programs.
pub fn describe(candidate: &Candidate) -> (String, Value) {
    let root = candidate.root();
    let (signed, threshold) = candidate.progress();
    let names = signed.iter().map(Holder::as_str).collect::<Vec<_>>();
    let mut rows = vec![["HOLDER", "KEY", "STATUS", "ROLES"].map(str::to_owned).to_vec()];
    rows.extend(root.keys().map(|(id, key)| {
        let roles = root.roles_of(id).into_iter().map(Role::as_str).collect::<Vec<_>>().join(", ");
        vec![key.holder().to_string(), short(&id.to_hex()), status(key).to_owned(), roles]
    }));
    let text = format!(
        "trust root version {}, expires {}\n  digest:    b3:{}\n  signed by: {} ({} of {threshold} root holders)\n\n{}\n\n{}",
        root.version(),
        root.expires(),
        candidate.digest(),
        if names.is_empty() { "nobody yet".to_owned() } else { names.join(", ") },
        names.len(),
        table(&rows).trim_end(),
        rules(root),
    );
    let object = json!({
        "version": root.version(),
        "created": root.created(),
        "expires": root.expires(),
        "digest": format!("b3:{}", candidate.digest()),
        "signed_by": names,
        "threshold": threshold,
        "keys": root.keys().map(|(id, key)| json!({
            "key_id": id.to_hex(),
            "holder": key.holder().as_str(),
            "status": status(key),
            "roles": root.roles_of(id).into_iter().map(Role::as_str).collect::<Vec<_>>(),
            "valid_from": key.validity().0,
            "valid_until": key.validity().1,
            "keeps": key.kept(),
        })).collect::<Value>(),
        "source": to_toml(root),
    });
    (text, object)
}

/// The roles as the source has them.
fn rules(root: &TrustRoot) -> String {
    let source = to_toml(root);
    let start = source.find("[roles.root]").unwrap_or(0);
    source[start..].trim_end().to_owned()
}

fn status(key: &Key) -> &'static str {
    match key.status() {
        Status::Active => "active",
        Status::Retired => "retired",
        Status::Compromised => "compromised",
    }
}
