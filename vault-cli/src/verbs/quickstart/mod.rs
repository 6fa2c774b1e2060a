//! `mvault quickstart`: every step is a command line that goes through the same parser as one that is typed.

use std::{
    ffi::OsString,
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use serde_json::{Value, json};
use vault_core::{Error, trust::Policy};

use crate::{
    cli,
    failure::{Failure, Result},
    session::Session,
    ui::{Style, Ui, bytes, shell_quoted},
    verbs,
};

mod compare;
mod model;
mod tamper;

/// The version that is sealed.
const VERSION: &str = "demo/llama:1.0";
const INTEGRITY: u8 = 3;

/// See all of it work in a few seconds: keys, seal, verify, tampering, open
///
/// Makes a new folder with demonstration keys (without passphrases: for the demonstration only), a vault and, unless
/// PATH is given, a small model folder. Then runs the commands one would type, prints them, damages a byte of the vault,
/// shows that it is noticed, repairs it, and opens the model again.
///
/// JSON: {"folder", "steps": [{"command", "exit", "output"}], "identical", "seconds"}
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLE:
  mvault quickstart
  mvault quickstart ./my-model --folder /tmp/demo")]
pub struct Args {
    /// A file or folder to seal [default: a model made up for this]
    path: Option<PathBuf>,
    /// The folder to make
    #[arg(long, value_name = "DIR", default_value = "mvault-quickstart")]
    folder: PathBuf,
}

pub fn run(args: &Args, session: &Session) -> Result {
    refuse_occupied(&args.folder)?;
    if let Some(path) = &args.path {
        fs::metadata(path).map_err(|_| Failure::from(Error::NotFound { what: path.display().to_string() }))?;
    }
    let started = Instant::now();
    fs::create_dir_all(&args.folder).map_err(|e| Failure::io(args.folder.display(), &e))?;
    let mut demo = Demo { session, folder: &args.folder, steps: Vec::new() };
    let files = demo.play(args.path.as_deref())?;
    let seconds = started.elapsed().as_secs_f64();
    demo.epilogue(files, seconds)?;
    let object = json!({
        "folder": args.folder.display().to_string(), "steps": demo.steps, "identical": true, "seconds": seconds,
    });
    match session.ui.style() {
        Style::Json => session.ui.result("", &object),
        Style::Text | Style::Quiet => Ok(()),
    }
}

fn refuse_occupied(folder: &Path) -> Result {
    match fs::read_dir(folder).map(|mut entries| entries.next().is_some()) {
        Ok(true) => {
            let failure = Failure::from(Error::Conflict { what: folder.display().to_string() });
            Err(failure.hint("name a new folder with --folder, or remove it"))
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(folder.display(), &error)),
        Ok(false) | Err(_) => Ok(()),
    }
}

/// The demonstration as it goes.
struct Demo<'a> {
    session: &'a Session,
    folder: &'a Path,
    steps: Vec<Value>,
}

impl Demo<'_> {
    fn play(&mut self, path: Option<&Path>) -> Result<usize> {
        let (vault, signer, node) = (self.at("vault"), self.at("release"), self.at("node"));
        let (signer_pub, signer_key) = (format!("{signer}.pub"), format!("{signer}.key"));
        let (node_pub, node_key, opened) = (format!("{node}.pub"), format!("{node}.key"), self.at("opened"));
        let model = match path {
            Some(path) => path.display().to_string(),
            None => self.make_model()?,
        };

        self.say("A key to sign with, and a key to open with. No passphrases: these are for the demonstration only.")?;
        self.mvault(&["key", "generate", "--kind", "signing", "-o", &signer, "--no-passphrase"], 0)?;
        self.mvault(&["key", "generate", "--kind", "recipient", "-o", &node, "--no-passphrase"], 0)?;
        self.say("A vault, and the model sealed into it: encrypted to node.pub, signed with release.key.")?;
        self.mvault(&["init", &vault], 0)?;
        self.mvault(&["seal", &model, VERSION, "--to", &node_pub, "--sign-with", &signer_key, "--vault", &vault], 0)?;

        let verify = ["verify", VERSION, "--signer", &signer_pub, "--vault", &vault];
        self.say("Anybody can prove what it is, without a key that opens it.")?;
        self.mvault(&verify, 0)?;
        self.tamper(&verify)?;

        self.say("The node opens it. Every byte is checked before it is written.")?;
        let open = ["open", VERSION, &opened, "--identity", &node_key, "--signer", &signer_pub, "--vault", &vault];
        self.mvault(&open, 0)?;
        let files = compare::same_files(Path::new(&model), Path::new(&opened))?;
        self.say(&format!("Compared byte by byte with what was sealed: all {files} files are the same."))?;

        self.say("What is in it, and what is in the vault.")?;
        self.mvault(&["inspect", VERSION, "--identity", &node_key, "--signer", &signer_pub, "--vault", &vault], 0)?;
        self.mvault(&["ls", "--signer", &signer_pub, "--vault", &vault], 0)?;
        Ok(files)
    }

    fn make_model(&self) -> Result<String> {
        let folder = self.at("model");
        let length = model::make(Path::new(&folder))?;
        self.say(&format!("A model to seal: {} of made-up weights in {folder}.", bytes(length)))?;
        Ok(folder)
    }

    /// Flips one byte in the vault, shows that `verify` says where, and puts it back.
    fn tamper(&mut self, verify: &[&str]) -> Result {
        let victim = tamper::Victim::choose(Path::new(&self.at("vault")), VERSION, &Policy::InsecureSkipSignature)?;
        self.say(&format!(
            "Now somebody flips one bit of the vault: byte {} of\n{}.",
            victim.offset,
            victim.path.display()
        ))?;
        let flipped = victim.flip()?;
        self.mvault(verify, INTEGRITY)?;
        flipped.restore()?;
        self.say("It is noticed, and named. The bit is put back:")?;
        self.mvault(verify, 0)
    }

    fn epilogue(&self, files: usize, seconds: f64) -> Result {
        let folder = shell_quoted(&self.folder.display().to_string());
        self.say(&format!(
            "Done in {seconds:.1} s: sealed, verified, tampered with, caught, repaired, opened; {files} files identical.\n\
             \n\
             Try next:\n\
             \x20 export MVAULT_VAULT={folder}/vault\n\
             \x20 mvault key generate --kind recipient -o colleague        # asks for a passphrase\n\
             \x20 mvault share {VERSION} --to colleague.pub --identity {folder}/node.key --sign-with {folder}/release.key\n\
             \x20 mvault open {VERSION} - --file config.json --identity {folder}/node.key --signer {folder}/release.pub\n\
             \x20 mvault fsck\n\
             \x20 mvault help"
        ))
    }

    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn say(&self, text: &str) -> Result {
        self.session.ui.line(&format!("\n{text}"))
    }

    /// Runs one command line and demands that it ends with `expected`.
    fn mvault(&mut self, args: &[&str], expected: u8) -> Result {
        let words: Vec<_> = ["mvault"].iter().chain(args).map(|word| shell_quoted(word)).collect();
        let command = words.join(" ");
        self.session.ui.line(&format!("\n$ {command}"))?;
        let (exit, output) = self.run(args)?;
        if exit != 0 && exit == expected {
            self.session.ui.line(&format!("(exit code {exit})"))?;
        }
        self.steps.push(json!({ "command": command, "exit": exit, "output": output }));
        if exit == expected {
            return Ok(());
        }
        Err(Failure::operational(format!("`{command}` ended with {exit} instead of {expected}: {output}")))
    }

    fn run(&self, args: &[&str]) -> Result<(u8, String)> {
        let args: Vec<OsString> = ["mvault"].iter().chain(args).map(Into::into).collect();
        let parsed = cli::parse(&args).map_err(|error| Failure::usage(cli::first_paragraph(&error)))?;
        let global = cli::Global { threads: self.session.global.threads, ..parsed.global };
        let captured = Captured::default();
        let ui = match self.session.ui.style() {
            Style::Json => Ui::captured(Style::Text, Box::new(captured.clone()), Box::new(captured.clone())),
            style => Ui::transcript(style),
        };
        let inner = Session::new(global, ui, self.session.interrupt.clone());
        let result = verbs::run(parsed.verb, &inner);
        if self.session.interrupt.requested() {
            return Err(Failure::operational("interrupted"));
        }
        let exit = match result {
            Ok(()) => 0,
            Err(failure) => {
                inner.ui.failure(&failure);
                failure.exit()
            }
        };
        Ok((exit, captured.text()))
    }
}

/// Output kept in memory.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
