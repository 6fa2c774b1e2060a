//! The files and programs that hold AWS configuration; which of them counts is decided in the core.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use vault_core::store::aws::{Credentials, Keys, MAX_FILE, Origin, Plan, Process, Profiles, plan};

use crate::{
    failure::{Failure, Result},
    secrets::program,
};

/// How long a program that prints credentials may take; it may ask its user for a touch or a code.
const PATIENCE: Duration = Duration::from_mins(1);

/// Settings for a store, and where they were found.
#[derive(Debug)]
pub struct Configuration {
    pub settings: Vec<(String, String)>,
    pub origins: Vec<Origin>,
}

/// Whether a vault is in S3.
pub fn is_s3(url: &str) -> bool {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("s3" | "s3a"))
}

/// Looks at everything and asks the program that holds the credentials, if there is one.
pub fn configuration(environment: &[(String, String)]) -> Result<Configuration> {
    let plan = look(environment)?;
    let origins = plan.origins.clone();
    let settings = match &plan.credentials {
        Credentials::Process(process) => {
            let keys = ask(process)?;
            plan.settings_with(keys)
        }
        _ => plan.settings(),
    };
    Ok(Configuration { settings, origins })
}

fn look(environment: &[(String, String)]) -> Result<Plan> {
    let variable = |name: &str| {
        let found = environment.iter().find(|(found, value)| found == name && !value.is_empty());
        found.map(|(_, value)| value.as_str())
    };
    let home = std::env::home_dir();
    let file = |name: &str, standard: &str| match (variable(name), &home) {
        (Some(path), Some(home)) if path.starts_with("~/") => Some(home.join(&path[2..])),
        (Some(path), _) => Some(PathBuf::from(path)),
        (None, Some(home)) => Some(home.join(".aws").join(standard)),
        (None, None) => None,
    };
    let config = read(file("AWS_CONFIG_FILE", "config"))?;
    let credentials = read(file("AWS_SHARED_CREDENTIALS_FILE", "credentials"))?;
    Ok(plan(environment, &Profiles::parse(&config, &credentials)?)?)
}

/// The text of a file, empty if there is none.
fn read(path: Option<PathBuf>) -> Result<String> {
    let Some(path) = path else { return Ok(String::new()) };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(error) => return Err(Failure::io(path.display(), &error)),
    };
    let mut text = String::new();
    // One byte more than the parser takes, so that it notices.
    match file.take(MAX_FILE as u64 + 1).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == ErrorKind::InvalidData => {
            Err(Failure::usage(format!("{}: is not UTF-8", path.display())))
        }
        Err(error) => Err(Failure::io(path.display(), &error)),
    }
}

fn ask(process: &Process) -> Result<Keys> {
    let what = format!("credential_process {}", process.program());
    let mut command = Command::new(process.program());
    command.args(process.arguments()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let (status, answer) = program::run(command, b"", PATIENCE).map_err(|error| Failure::io(&what, &error))?;
    if !status.success() {
        return Err(Failure::operational(format!("{what}: it failed ({status})")));
    }
    Ok(process.keys(answer.expose(), Timestamp::now())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(config: &str, more: &[(&str, String)]) -> Result<Configuration> {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("config"), config).expect("written");
        let mut environment = vec![
            ("AWS_CONFIG_FILE".to_owned(), path("config")),
            ("AWS_SHARED_CREDENTIALS_FILE".to_owned(), path("absent")),
        ];
        environment.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        configuration(&environment)
    }

    #[test]
    fn a_program_is_asked_for_credentials_without_a_shell() {
        let answer = r#"{"Version":1,"AccessKeyId":"AKIA","SecretAccessKey":"hush","SessionToken":"t"}"#;
        let config = format!("[default]\nregion = eu-west-1\ncredential_process = printf %s '{answer}'\n");
        let found = configured(&config, &[]).expect("configured");
        let names: Vec<_> = found.settings.iter().map(|(name, _)| name.as_str()).collect();
        assert!(names.ends_with(&["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]), "{names:?}");
        assert_eq!(found.origins.last().expect("one").value, "printf");
        for (command, message) in [
            ("false", "credential_process false: it failed (exit status: 1)"),
            ("echo hush", "credential_process echo: its answer is not what AWS specifies"),
            ("/no/such/program", "credential_process /no/such/program: No such file or directory (os error 2)"),
        ] {
            let failure = configured(&format!("[default]\ncredential_process = {command}"), &[]).expect_err(command);
            assert_eq!((failure.exit(), failure.message()), (1, message));
        }
    }

    #[test]
    fn files_that_are_no_text_or_too_long_are_refused() {
        let text = configured(&" ".repeat(MAX_FILE + 1), &[]).expect_err("long");
        assert!(text.exit() == 2 && text.message().contains("longer than"), "{}", text.message());
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("config");
        std::fs::write(&path, b"\xff").expect("written");
        let failure = read(Some(path)).expect_err("no text");
        assert!(failure.exit() == 2 && failure.message().ends_with("is not UTF-8"));
        assert_eq!(read(Some(folder.path().join("no/such"))).expect("empty"), "");
        assert_eq!(read(Some(folder.path().to_owned())).expect_err("a folder").exit(), 1);
    }

    #[test]
    fn only_s3_is_s3() {
        assert!(is_s3("s3://b/p") && is_s3("S3://b") && is_s3("s3a://b"));
        assert!(!is_s3("s3") && !is_s3("file:///s3://") && !is_s3("/s3") && !is_s3("gs://b"));
    }
}
