//! A witness to test with, which does what <https://c2sp.org/tlog-witness> says of `add-checkpoint`.

#![expect(clippy::expect_used, reason = "a fixture fails by panicking")]

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{Answer, Request, Witness};
use crate::{
    error::Result,
    keys::SigningKey,
    log::{
        checkpoint::{Checkpoint, Judge},
        merkle::{TreeHash, is_consistent},
        note::{KeyName, SignatureType, VerifierKey},
    },
};

/// A witness. It remembers as long as it lives.
#[derive(Debug)]
pub struct Cosigner {
    name: KeyName,
    key: SigningKey,
    logs: BTreeMap<KeyName, Judge>,
    latest: Mutex<BTreeMap<KeyName, Checkpoint>>,
    /// Seconds go by with every cosignature.
    clock: AtomicU64,
}

impl Cosigner {
    /// A witness of this name for these logs.
    pub fn new(name: KeyName, logs: impl IntoIterator<Item = (KeyName, Judge)>) -> Self {
        let key = SigningKey::generate().expect("randomness");
        Self {
            name,
            key,
            logs: logs.into_iter().collect(),
            latest: Mutex::default(),
            clock: AtomicU64::new(1_800_000_000),
        }
    }

    /// The key by which its cosignatures are known.
    pub fn verifier_key(&self) -> VerifierKey {
        VerifierKey::new(self.name.clone(), SignatureType::Cosignature, self.key.verifying_key())
    }

    /// Answers a request.
    pub fn answer(&self, body: &[u8]) -> Answer {
        let status = |status| Answer { status, body: Vec::new() };
        let Ok(Request { old, proof, checkpoint }) = Request::parse(body) else { return status(400) };
        let origin = checkpoint.checkpoint().origin().clone();
        let Some(judge) = self.logs.get(&origin) else { return status(404) };
        if judge.judge(checkpoint.clone(), &origin).is_err() {
            return status(403);
        }
        let new = checkpoint.checkpoint().clone();
        if old > new.size() {
            return status(400);
        }
        let mut all = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = all.get(&origin).map_or((0, TreeHash::EMPTY), |latest| (latest.size(), latest.root()));
        if old != latest.0 {
            return Answer { status: 409, body: format!("{}\n", latest.0).into_bytes() };
        }
        if !is_consistent(latest, (new.size(), new.root()), &proof) {
            return status(422);
        }
        let mut note = checkpoint.note().clone();
        let before = note.signatures().len();
        note.cosign(&self.name, &self.key, self.clock.fetch_add(1, Ordering::Relaxed)).expect("signed");
        all.insert(origin, new);
        let lines = note.signatures()[before..].iter().map(super::super::NoteSignature::to_line);
        Answer { status: 200, body: lines.collect::<String>().into_bytes() }
    }
}

impl Witness for Cosigner {
    fn add_checkpoint(&self, body: &[u8]) -> Result<Answer> {
        Ok(self.answer(body))
    }
}
