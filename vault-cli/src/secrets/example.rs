//! The example keys, whose private halves everybody has, are refused unless they are asked for.

use std::path::Path;

use vault_core::keys::{KeyId, PublicKey};

use crate::failure::{Failure, Result};

/// The public halves of all keys in `keys-example/`.
const PUBLIC: [&str; 6] = [
    include_str!("../../../keys-example/trainer.pub"),
    include_str!("../../../keys-example/node.pub"),
    include_str!("../../../keys-example/alice.pub"),
    include_str!("../../../keys-example/bob.pub"),
    include_str!("../../../keys-example/carol.pub"),
    include_str!("../../../keys-example/clock.pub"),
];

/// What to do about example keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Examples {
    Refused,
    Allowed,
}

impl Examples {
    /// Refuses the key of this file, or the trust root that lists it, if it is an example key.
    pub fn check(self, path: &Path, id: KeyId) -> Result<()> {
        let is_example = |pem: &&str| PublicKey::from_pem(pem).is_ok_and(|key| key.key_id() == id);
        if self == Self::Allowed || !PUBLIC.iter().any(is_example) {
            return Ok(());
        }
        let is_key_file = path.extension().is_some_and(|extension| extension == "pub" || extension == "key");
        let verb = if is_key_file { "is" } else { "lists" };
        let what = format!("{} {verb} an example key, whose private half everybody has", path.display());
        Err(Failure::usage(what).hint("make a key of your own, or try things out with --allow-example-keys"))
    }
}
