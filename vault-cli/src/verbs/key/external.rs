//! `mvault key external`

use std::path::PathBuf;

use serde_json::json;
use vault_core::{
    keys::external::{Invocation, Reference, public_key},
    secret::SecretVec,
};

use super::{Pair, describe};
use crate::{
    failure::{Failure, Result},
    secrets::{Program, load_public},
    session::Session,
};

/// Name a key that another program keeps: NAME.key and NAME.pub
///
/// NAME.key holds no key but says which program to run, and is given where a private key is. The program is run
/// without a shell, once for each signature or unwrapping; it is handed a JSON question on standard input and answers on
/// standard output (docs/EXTERNAL_KEYS.md). Without --public it is asked for the public key now, and believed.
///
/// JSON: {"kind", "key_id", "private", "public", "program"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault key external -o release --public kms.pub -- /usr/local/bin/kms-signer --key release-2026
  mvault seal ./llama-ft llama-ft:1.4.0 --to node.pub --sign-with release.key")]
pub struct Args {
    /// The files' name, without .key and .pub
    #[arg(short, long = "output", value_name = "NAME")]
    output: PathBuf,
    /// The public half of the key; what the program says it is, if left out
    #[arg(long, value_name = "FILE.pub")]
    public: Option<PathBuf>,
    /// How many seconds to wait for each answer, 1 to 3600
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    timeout: u64,
    /// The program, by its absolute path or a name on PATH, and its arguments; secrets do not belong there
    #[arg(last = true, required = true, value_name = "PROGRAM")]
    command: Vec<String>,
}

pub fn run(args: &Args, session: &Session) -> Result {
    let pair = Pair::new(&args.output)?;
    let (program, arguments) = args.command.split_first().ok_or_else(|| Failure::usage("no program is named"))?;
    let invocation = Invocation::new(program.clone(), arguments.to_vec(), Some(args.timeout))?;
    let public = match &args.public {
        Some(path) => load_public(path)?,
        None => public_key(&Program::new(&pair.private, invocation.clone()))?,
    };
    session.global.examples().check(&pair.private, public.key_id())?;
    let reference = Reference { public, invocation };
    pair.write_files(&SecretVec::new(reference.to_json()?.into_bytes()), &reference.public)?;

    let (private, public) = (pair.private.display().to_string(), pair.public.display().to_string());
    let text = format!(
        "{} key {}\n  kept by: {program}\n  private: {private} (names the program)\n  public:  {public} (give it away)",
        reference.public.kind_str(),
        reference.public.key_id(),
    );
    let mut object = describe(&reference.public);
    object["private"] = json!(private);
    object["public"] = json!(public);
    object["program"] = json!(program);
    session.ui.result(&text, &object)
}
