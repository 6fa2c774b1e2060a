//! `mvault trust show`

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vault_core::trust::{Candidate, Changes, Holder, Key, Role, Status, to_toml};

use crate::{
    belief::read_document,
    failure::{Failure, Result},
    session::Session,
    ui::{short, table},
};

/// Show a trust root: keys, holders, roles, and who signed it
///
/// It shows what the file says, and with --after what that changes. Whether it is to be believed, `mvault trust verify` finds out.
///
/// JSON: {"version", "created", "expires", "digest", "signed_by", "threshold", "keys": [{"key_id", "holder", "status",
/// "roles", "valid_from", "valid_until", "keeps"}], "source"}, and with --after "changes": {"removed", "added"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault trust show root.json
  mvault trust show root-2.json --after root.json")]
pub struct Args {
    /// The trust root
    #[arg(value_name = "ROOT.json")]
    root: PathBuf,
    /// An earlier trust root, to see what is different
    #[arg(long, value_name = "ROOT.json")]
    after: Option<PathBuf>,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let candidate = candidate(&args.root)?;
    let (mut text, mut object) = describe(&candidate);
    if let Some(path) = &args.after {
        let before = self::candidate(path)?;
        let changes = Changes::between(before.root(), candidate.root());
        let title = format!("\n\nchanges since version {}:\n", before.root().version());
        text = [text, title, lines(&changes).join("\n")].concat();
        object["changes"] = changes_object(&changes);
    }
    session.ui.result(&text, &object)
}

fn candidate(path: &Path) -> Result<Candidate> {
    Candidate::parse(&read_document(path)?).map_err(|e| Failure::local(path, &e))
}

/// What a version changes, for people.
pub fn lines(changes: &Changes) -> Vec<String> {
    if changes.is_empty() {
        return vec!["  nothing but the version and its time".to_owned()];
    }
    let marked = |mark, facts: &[String]| facts.iter().map(|fact| format!("  {mark} {fact}")).collect::<Vec<_>>();
    [marked('-', &changes.removed), marked('+', &changes.added)].concat()
}

/// The same for programs.
pub fn changes_object(changes: &Changes) -> Value {
    json!({ "removed": changes.removed, "added": changes.added })
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
        rules(candidate),
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
        "source": to_toml(root, candidate.digest()),
    });
    (text, object)
}

/// The roles as the source has them.
fn rules(candidate: &Candidate) -> String {
    let source = to_toml(candidate.root(), candidate.digest());
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
