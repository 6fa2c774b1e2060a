//! PEM files of other programs (RFC 7468): several blocks, with explanations between them.

use pkcs8::der::pem;
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    secret::SecretVec,
};

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"-----END ";

/// One block.
pub(super) struct Block {
    pub(super) label: String,
    pub(super) contents: SecretVec,
}

/// All blocks of `text`, at most `most`; what stands between them is not looked at.
///
/// The caller has bounded the length of `text`.
pub(super) fn blocks(document: &'static str, text: &[u8], most: usize) -> Result<Vec<Block>> {
    let broken = || Error::format(document, "is not a well-formed PEM file");
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some(begin) = find(rest, BEGIN) {
        if blocks.len() == most {
            return Err(Error::limit(document, "number of PEM blocks", most as u64));
        }
        let end = begin + find(&rest[begin..], END).ok_or_else(broken)?;
        let length = find(&rest[end + END.len()..], b"-----").ok_or_else(broken)?;
        let stop = end + END.len() + length + b"-----".len();
        let block = &rest[begin..stop];
        let mut buffer = Zeroizing::new(vec![0; block.len()]);
        let (label, contents) = pem::decode(block, &mut buffer).map_err(|_| broken())?;
        blocks.push(Block { label: label.to_owned(), contents: SecretVec::new(contents.to_vec()) });
        rest = &rest[stop..];
    }
    if blocks.is_empty() {
        return Err(Error::format(document, "holds no PEM block"));
    }
    Ok(blocks)
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";

    #[test]
    fn blocks_are_found_between_explanations() {
        let text = format!("Subject: a\n{BLOCK}\nIssuer: b\n{BLOCK}");
        let found = blocks("certificate", text.as_bytes(), 2).expect("two blocks");
        assert_eq!(found.len(), 2);
        assert!(found.iter().all(|block| block.label == "CERTIFICATE" && block.contents.expose() == [0, 1, 2]));
        assert!(blocks("certificate", text.as_bytes(), 1).is_err(), "too many");
    }

    #[test]
    fn broken_blocks_are_refused() {
        for bad in ["", "text", &BLOCK[..40], &BLOCK.replace("END C", "END D"), &BLOCK.replace("AAEC", "A~EC")] {
            assert!(blocks("certificate", bad.as_bytes(), 9).is_err(), "{bad}");
        }
    }
}
