//! OMS statements: what is read has files, all with paths that stay inside, and digests of one length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vault_core::{
    names::FilePath,
    oms::{Claim, SignedFile},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(claim) = Claim::parse(bytes) else { return };
    assert!(claim.files().len() > 0);
    let length = claim.algorithm.length();
    for (path, file) in claim.files() {
        assert!(FilePath::new(path.as_str()).is_ok());
        match file {
            SignedFile::Whole(digest) => assert_eq!(digest.len(), length),
            SignedFile::Shards(_, digests) => assert!(digests.iter().all(|digest| digest.len() == length)),
        }
    }
});
