//! The command line as a whole: global options and the list of verbs.

use std::{
    ffi::OsString,
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, ValueEnum, error::ErrorKind};
use vault_core::aead;

use crate::{secrets::Examples, streams, ui::Style, verbs::Verb};

/// Seal, sign, verify and open model weights.
///
/// A vault is an append-only folder of sealed artifacts: encrypted to the recipients you name, signed by you, and
/// verifiable by anybody without a key. Versions are never replaced. Start with `mvault quickstart`.
#[derive(Debug, Parser)]
#[command(name = "mvault", version, max_term_width = 120, after_help = EXITS)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

const EXITS: &str = "EXIT CODES:
  0 done, everything checked       5 stale: expired or rolled back
  1 the system or network failed   6 no key: nothing given opens it
  2 usage                          7 conflict: exists already
  3 integrity: bytes differ        8 not found
  4 authenticity: signer           9 denied by the registry
                                   130, 143 interrupted, terminated";

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Global {
    /// The vault: a path, a file:// URL, s3://BUCKET/PREFIX, az://…, gs://…, or a registry's https://HOST/VAULT
    #[arg(long, global = true, value_name = "URL", env = "MVAULT_VAULT")]
    pub vault: Option<String>,
    /// Print one JSON object instead of text; on failure {"error":{…}} on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// Print results and warnings only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Draw no progress bar; without a terminal there is none anyway
    #[arg(long, global = true)]
    pub no_progress: bool,
    /// Accept the example keys of the documentation, whose private halves everybody has
    #[arg(long, global = true, hide_short_help = true)]
    pub allow_example_keys: bool,
    /// Number of worker threads [default: one for every processor]
    #[arg(long, global = true, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Which AES-256-GCM does the work; both write and read the same bytes
    #[arg(long, global = true, value_name = "NAME", default_value = "fast", hide_possible_values = true)]
    pub engine: Engine,
    #[command(flatten)]
    pub transfer: TransferArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// How a registry is reached.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Registries")]
pub struct RegistryArgs {
    /// Certificates (PEM) of authorities to believe besides those of the system
    #[arg(long, global = true, value_name = "FILE", env = "MVAULT_CA", hide_short_help = true)]
    pub registry_ca: Option<PathBuf>,
    /// The key or token to show a registry, instead of the one that `mvault login` stored; a file is read again when it changes
    #[arg(long, global = true, value_name = "FILE", env = "MVAULT_TOKEN_FILE", hide_short_help = true)]
    pub token_file: Option<PathBuf>,
    /// The client certificate (PEM) to show a registry; no key is needed with it, and none is sent but that of --token-file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "MVAULT_CLIENT_CERT",
        requires = "client_key",
        hide_short_help = true
    )]
    pub client_cert: Option<PathBuf>,
    /// The private key (PEM, mode 0600) of --client-cert
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "MVAULT_CLIENT_KEY",
        requires = "client_cert",
        hide_short_help = true
    )]
    pub client_key: Option<PathBuf>,
    /// Send and fetch every byte through the registry, and none straight to or from its bucket
    #[arg(long, global = true, env = "MVAULT_NO_DIRECT", hide_short_help = true)]
    pub no_direct: bool,
}

/// How bytes go to and from an object store.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Object stores")]
pub struct TransferArgs {
    /// Transfers at a time; each holds a part in memory
    #[arg(long, global = true, value_name = "N", default_value = "8", hide_short_help = true)]
    pub jobs: NonZeroUsize,
    /// At most so many bytes a second in each direction, such as 500K, 20M, 1G
    #[arg(long, global = true, value_name = "BYTES", value_parser = bandwidth, hide_short_help = true)]
    pub max_bandwidth: Option<NonZeroU64>,
    /// How long to go on with an object that cannot be transferred, such as 30s, 10m, 2h
    #[arg(long, global = true, value_name = "TIME", value_parser = duration, default_value = "3m", hide_short_help = true)]
    pub give_up_after: Duration,
}

/// Bytes with a unit of 1024.
fn bandwidth(text: &str) -> Result<NonZeroU64, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KIB" => 10,
        "M" | "MIB" => 20,
        "G" | "GIB" => 30,
        _ => return Err("is a number with K, M or G".into()),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).and_then(NonZeroU64::new);
    bytes.ok_or_else(|| "is no number of bytes".into())
}

/// A time span with its unit.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return Err("is a number with s, m, h or d".into()),
    };
    let total = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds));
    total.map(Duration::from_secs).ok_or_else(|| "is no time span".into())
}

/// Which AES-256-GCM does the work.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Engine {
    Fast,
    Reference,
}

impl From<Engine> for aead::Engine {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Fast => Self::Fast,
            Engine::Reference => Self::Reference,
        }
    }
}

impl Global {
    /// Whether example keys may be used.
    pub fn examples(&self) -> Examples {
        if self.allow_example_keys { Examples::Allowed } else { Examples::Refused }
    }

    /// How output is to look.
    pub fn style(&self) -> Style {
        match (self.json, self.quiet) {
            (true, _) => Style::Json,
            (false, true) => Style::Quiet,
            (false, false) => Style::Text,
        }
    }
}

/// Reads a command line.
pub fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(args)?;
    streams::have_one_reader_each(&command, &matches)
        .map_err(|rule| command.error(ErrorKind::ArgumentConflict, rule))?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The whole command, for completions and manual pages.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Whether JSON is asked for, even if the rest of the command line makes no sense.
pub fn wants_json(args: &[OsString]) -> bool {
    args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json")
}

/// What a usage error says, without usage and tips.
pub fn first_paragraph(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    paragraph.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_verb_has_help_and_an_example() {
        command().debug_assert();
        let mut commands: Vec<_> = command().get_subcommands().cloned().collect();
        while let Some(command) = commands.pop() {
            let name = command.get_name().to_owned();
            assert!(command.get_about().is_some(), "{name}");
            if command.has_subcommands() {
                commands.extend(command.get_subcommands().cloned());
                continue;
            }
            let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.starts_with("EXAMPLE"), "{name}: {examples}");
            for line in examples.lines().filter_map(|line| line.trim().strip_prefix("mvault ")) {
                let line = line.split(" | ").next().unwrap_or_default().split(" < ").next().unwrap_or_default();
                let line = line.split(" > ").next().unwrap_or_default();
                let args = ["mvault"].into_iter().chain(line.split_whitespace());
                let args: Vec<OsString> = args.map(|arg| arg.trim_matches('\'').into()).collect();
                assert!(parse(&args).is_ok(), "the example of {name} does not parse: {line}");
            }
        }
    }

    #[test]
    fn sizes_and_spans_have_units() {
        assert_eq!(bandwidth("20M").expect("good").get(), 20 << 20);
        assert_eq!(bandwidth("1kib").expect("good").get(), 1024);
        assert_eq!(duration("48h").expect("good").as_secs(), 172_800);
        assert_eq!(duration("0s").expect("good").as_secs(), 0);
        for bad in ["", "M", "0", "-1", "1T", "99999999999999999999", "18446744073709551615G"] {
            assert!(bandwidth(bad).is_err(), "{bad}");
        }
        for bad in ["", "5", "h", "1.5h", "1w", "18446744073709551615d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_usage_error_is_one_line() {
        let args: Vec<OsString> = ["mvault", "--json", "seal"].map(Into::into).to_vec();
        assert!(wants_json(&args));
        let text = first_paragraph(&parse(&args).expect_err("incomplete"));
        assert!(text.starts_with("the following required arguments were not provided"), "{text}");
        assert!(!wants_json(&["mvault".into(), "--".into(), "--json".into()]));
    }
}
