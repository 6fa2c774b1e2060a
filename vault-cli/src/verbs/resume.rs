//! Where an interrupted seal leaves what is needed to go on with it.

use std::{
    ffi::OsStr,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use vault_core::{
    Error,
    names::VersionName,
    seal::resume::{DEFAULT_AGE, Session},
    vault::{Afresh, Receipt, Resume, Resumed, SealRequest, Vault},
    workers::Progress,
};

use crate::{
    cli,
    failure::{Failure, Result},
    session, state,
    streams::STANDARD,
    ui::bytes,
};

/// Going on with an interrupted seal.
#[derive(Debug, clap::Args)]
pub struct ResumeArgs {
    /// Go on with an interrupted seal of the same input; if there is none, seal so that it can be gone on with
    #[arg(long)]
    pub resume: bool,
    /// Where to keep what is needed for it, the artifact's key included [default: below $XDG_STATE_HOME or ~/.local/state]
    #[arg(long, value_name = "FILE", requires = "resume")]
    resume_file: Option<PathBuf>,
    /// Refuse to go on with a seal that was begun longer ago, and delete what was kept
    #[arg(long, value_name = "TIME", value_parser = cli::duration, requires = "resume", hide_short_help = true)]
    resume_within: Option<Duration>,
}

/// Where the session of one seal is.
#[derive(Debug)]
pub struct Place {
    file: PathBuf,
    source: String,
    max_age: Duration,
    is_wanted: bool,
}

impl ResumeArgs {
    /// The place for a seal of `path` as `name`. Without `--resume`, the one where a session may lie that it makes useless; none
    /// if there cannot be any.
    pub fn place(&self, path: &Path, name: &VersionName, session: &session::Session) -> Result<Option<Place>> {
        if path == Path::new(STANDARD) {
            return if self.resume {
                Err(Failure::usage("standard input cannot be read again, so its seal cannot be resumed")
                    .hint("write it to a file first, or leave out --resume"))
            } else {
                Ok(None)
            };
        }
        let path = absolute(path);
        let default = || -> Result<Option<PathBuf>> {
            let url = session.vault_url()?;
            // A path may be written in many ways; a URL is taken as it is.
            let url = if Path::new(url).exists() { absolute(Path::new(url)) } else { PathBuf::from(url) };
            Ok(state::folder("resume").map(|folder| folder.join(file_name(url.as_os_str(), name, &path))))
        };
        let file = match &self.resume_file {
            Some(file) => Some(file.clone()),
            None => default()?,
        };
        let Some(file) = file else {
            return if self.resume {
                Err(Failure::usage("there is no place to keep what is needed to resume")
                    .hint("give --resume-file FILE"))
            } else {
                Ok(None)
            };
        };
        let source = path.display().to_string();
        let max_age = self.resume_within.unwrap_or(DEFAULT_AGE);
        let is_default = self.resume_file.is_none();
        if self.resume && is_default {
            make_folder(file.parent().unwrap_or(Path::new(".")))?;
        }
        Ok(Some(Place { file, source, max_age, is_wanted: self.resume }))
    }
}

/// Seals, in a session if that is wanted.
pub fn seal(
    vault: &Vault,
    request: SealRequest<'_>,
    place: Option<&Place>,
    progress: &dyn Progress,
) -> Result<(Receipt, Option<(u64, Afresh)>), Error> {
    let Some(place) = place else { return Ok((vault.seal(request, progress)?, None)) };
    if place.is_wanted {
        let resume = Resume { file: &place.file, source: &place.source, max_age: place.max_age };
        let Resumed { receipt, skipped, afresh } = vault.seal_resumable(request, resume, progress)?;
        return Ok((receipt, Some((skipped, afresh))));
    }
    let sealed = vault.seal(request, progress);
    if matches!(sealed, Ok(_) | Err(Error::Conflict { .. })) {
        // The version exists, so whatever session it had is of no more use. One that is in use sees to its own end.
        let _ = Session::discard(&place.file);
    }
    Ok((sealed?, None))
}

/// What the user is told about what was not sealed again, or was although it might not have been.
pub fn note(resumed: Option<(u64, Afresh)>, session: &session::Session) {
    match resumed {
        Some((_, Afresh::OtherAudience)) => session.ui.note(
            "not resumed: the interrupted seal had wrapped its key to other recipients, so all was sealed under a new one",
        ),
        Some((skipped @ 1.., Afresh::No)) => {
            session.ui.note(&format!("resumed: {} were stored already", bytes(skipped)));
        }
        _ => {}
    }
}

/// What to do after a failure.
pub fn explain(failure: Failure, place: Option<&Place>, was_changed: bool) -> Failure {
    match place {
        Some(place) if place.is_wanted && was_changed => {
            failure.hint("nothing is published, and what was kept is deleted; the same command seals afresh")
        }
        Some(place) if place.is_wanted && place.file.exists() && failure.advice().is_none() => {
            failure.hint("the same command goes on where this one stopped")
        }
        _ => failure,
    }
}

fn absolute(path: &Path) -> PathBuf {
    fs::canonicalize(path).or_else(|_| std::path::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

/// One file for each vault, version and input.
fn file_name(url: &OsStr, name: &VersionName, path: &Path) -> String {
    let mut hasher = blake3::Hasher::new();
    for field in [url.as_bytes(), name.to_string().as_bytes(), path.as_os_str().as_bytes()] {
        hasher.update(&(field.len() as u64).to_le_bytes()).update(field);
    }
    format!("{}.session", &hasher.finalize().to_hex()[..32])
}

fn make_folder(folder: &Path) -> Result {
    let failed = |error: std::io::Error| Failure::io(folder.display(), &error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    let metadata = fs::metadata(folder).map_err(failed)?;
    if metadata.permissions().mode() & 0o022 == 0 && metadata.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{} belongs to somebody else or can be written by others, so it keeps no keys",
        folder.display()
    ))
    .hint("make it your own and run `chmod 700` on it, or give --resume-file FILE"))
}
