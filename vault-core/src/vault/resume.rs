//! Sealing that goes on where an interrupted seal stopped.

use std::{path::Path, time::Duration};

use super::{Receipt, SealRequest, Vault, Work, seal::session_id};
use crate::{
    error::{Error, Result},
    parts::object_path,
    seal::resume::{Lasting, Session, Subject},
    store::Store,
    workers::Progress,
};

/// Where an interrupted seal left what is needed to go on with it.
#[derive(Debug, Clone, Copy)]
pub struct Resume<'a> {
    /// The file of the session, which is made if it is not there. Its folder exists and is its user's own.
    pub file: &'a Path,
    /// Where the input is: a session is about one source. Programs take its absolute path.
    pub source: &'a str,
    /// How long after its beginning a seal may be gone on with.
    pub max_age: Duration,
}

/// What a seal published that may have gone on behind another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resumed {
    /// What was published.
    pub receipt: Receipt,
    /// Bytes of plaintext that an interrupted seal had stored, and this one only compared.
    pub skipped: u64,
    /// Whether what an interrupted seal left was dropped: it had wrapped its key to other people.
    pub afresh: Afresh,
}

/// Whether a seal that could have gone on with an interrupted one did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afresh {
    /// There was none, or it was gone on with.
    No,
    /// The interrupted seal had wrapped its key to other people: this one was made under a key of its own.
    OtherAudience,
}

impl Lasting for Store {
    fn settle(&self) -> Result<()> {
        self.sync()
    }

    fn length(&self, name: &blake3::Hash) -> Result<Option<u64>> {
        Ok(self.stat(&object_path(name))?.map(|entry| entry.size))
    }
}

impl Vault {
    /// Seals like [`Vault::seal`], and goes on behind what an interrupted seal of the same input stored.
    ///
    /// If the interrupted seal got so far that it wrapped its key, and not to the very same people, its session is ended
    /// and everything is sealed under a new key: nobody who was left out since has that.
    ///
    /// The session's file holds the key of the artifact. It is deleted when the version is published, and when it is of
    /// no more use: the version exists, or the input is not what it was.
    ///
    /// # Errors
    /// As [`Vault::seal`] and [`Session::open`]; [`Error::InputChanged`] if the input is not what the interrupted seal read;
    /// [`Error::Misuse`] if an input is a reader; [`Error::Storage`] too if the version is published and the file could not
    /// be deleted.
    pub fn seal_resumable(
        &self,
        request: SealRequest<'_>,
        resume: Resume<'_>,
        progress: &dyn Progress,
    ) -> Result<Resumed> {
        let name = request.name.clone();
        let subject = Subject { vault: self.id(), name: &name, source: resume.source };
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or_default();
        let open = || Session::open(resume.file, subject, request.options, (now, resume.max_age));
        let (mut session, mut afresh) = (open()?, Afresh::No);
        if session.is_for_others(&request.audience)? {
            self.drop_session(session)?;
            (session, afresh) = (open()?, Afresh::OtherAudience);
        }
        let sealed = self.seal_in(request, Some(&session), progress);
        let skipped = session.skipped();
        let is_over = match &sealed {
            Ok(_) | Err(Error::InputChanged { .. } | Error::Conflict { .. } | Error::Lost { .. }) => true,
            Err(_) => session.is_empty(),
        };
        let ended = if is_over { session.end() } else { Ok(()) };
        let receipt = sealed?;
        ended.map(|()| Resumed { receipt, skipped, afresh })
    }

    /// Ends a session in the vault, and then its file. If its version was decided, it is published instead, and the name is
    /// taken.
    fn drop_session(&self, session: Session) -> Result<()> {
        let dropped = self.continue_session(&session_id(&session), Work::Seal).and_then(super::Session::abandon);
        match dropped {
            // Garbage collection was faster.
            Ok(()) | Err(Error::Lost { .. }) => session.end(),
            Err(error @ Error::Conflict { .. }) => session.end().and(Err(error)),
            // What was decided is not known: the file stays for the next try.
            Err(error) => Err(error),
        }
    }
}
