//! The `mvault` command line: one file per verb in `verbs`, one place for output in `ui`, for keys and passphrases in
//! `secrets`, for failures in `failure`.
#![forbid(unsafe_code)]
#![allow(clippy::doc_markdown, reason = "comments on arguments are help texts, not documentation")]

mod aws;
mod belief;
mod cli;
mod documents;
mod failure;
mod interrupt;
mod logbook;
mod logged;
mod place;
mod proofs;
mod registry;
mod secrets;
mod session;
mod state;
mod streams;
mod ui;
mod verbs;

use std::{ffi::OsString, process::ExitCode};

use failure::Failure;
use interrupt::Interrupt;
use ui::Ui;

/// Runs one command line, the program's name first, and says how it went.
pub fn run(args: &[OsString]) -> ExitCode {
    let as_json = cli::wants_json(args);
    match cli::parse(args) {
        Ok(command) => execute(command),
        Err(error) if !error.use_stderr() => match error.print() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) if as_json => {
            let failure = Failure::usage(cli::first_paragraph(&error));
            Ui::terminal(ui::Style::Json).failure(&failure);
            ExitCode::from(failure.exit())
        }
        Err(error) => {
            // If standard error is closed the exit code has to do.
            let _ = error.print();
            ExitCode::from(failure::USAGE)
        }
    }
}

fn execute(command: cli::Cli) -> ExitCode {
    let ui = Ui::terminal(command.global.style());
    let session = session::Session::new(command.global, ui, Interrupt::default());
    let result = verbs::run(command.verb, &session).and_then(|()| session.ui.finish());
    let result = match (result, session.logbook.write(&|warning| session.ui.warn(warning))) {
        (Err(failure), Err(unlogged)) => {
            session.ui.warn(unlogged.message());
            Err(failure)
        }
        (result, logged) => result.and(logged),
    };
    session.proofs.keep();
    match result.map_err(|failure| session.interrupt.explain(failure)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            session.ui.failure(&failure);
            ExitCode::from(failure.exit())
        }
    }
}
