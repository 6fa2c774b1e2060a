//! Exactly one PEM block (RFC 7468), and nothing else in the file.

use pkcs8::der::pem::{self, LineEnding};
use zeroize::Zeroizing;

use super::{DOCUMENT, MAX_KEY_FILE};
use crate::{
    error::{Error, Result},
    secret::SecretVec,
};

/// The label of a public key.
pub(super) const PUBLIC: &str = "PUBLIC KEY";
/// The label of a private key in the clear.
pub(super) const PRIVATE: &str = "PRIVATE KEY";
/// The label of a private key under a passphrase.
pub(super) const SEALED: &str = "MVAULT ENCRYPTED PRIVATE KEY";
/// The label OpenSSL gives to a PBES2 private key, which we do not read.
pub(super) const PBES2: &str = "ENCRYPTED PRIVATE KEY";

const BEGIN: &[u8] = b"-----BEGIN ";

/// Splits the only PEM block of `text` into label and contents.
pub(super) fn decode(text: &[u8]) -> Result<(&str, SecretVec)> {
    if text.len() > MAX_KEY_FILE {
        return Err(Error::limit(DOCUMENT, "length", MAX_KEY_FILE as u64));
    }
    let text = text.trim_ascii();
    if !text.starts_with(BEGIN) {
        return Err(Error::format(DOCUMENT, "does not start with a PEM block"));
    }
    if text.windows(BEGIN.len()).filter(|w| *w == BEGIN).count() != 1 {
        return Err(Error::format(DOCUMENT, "holds more than one PEM block"));
    }
    let mut buffer = Zeroizing::new(vec![0; text.len()]);
    let (label, contents) =
        pem::decode(text, &mut buffer).map_err(|_| Error::format(DOCUMENT, "is not a well-formed PEM block"))?;
    Ok((label, SecretVec::new(contents.to_vec())))
}

/// The PEM block of a public key.
pub(super) fn encode_public(der: &[u8]) -> String {
    pem::encode_string(PUBLIC, LineEnding::LF, der).expect("the label is valid and the length far from overflow")
}

/// The PEM block of a private key.
pub(super) fn encode_private(label: &str, contents: &[u8]) -> Result<SecretVec> {
    let fail = |_| Error::format(DOCUMENT, "cannot be written as PEM");
    // Allocated once at full length: growing would leave copies behind.
    let mut text = Zeroizing::new(vec![0; pem::encoded_len(label, LineEnding::LF, contents).map_err(fail)?]);
    let written = pem::encode(label, LineEnding::LF, contents, &mut text).map_err(fail)?.len();
    text.truncate(written);
    Ok(SecretVec::new(std::mem::take(&mut *text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "-----BEGIN PUBLIC KEY-----\nAAEC\n-----END PUBLIC KEY-----\n";

    fn fault(text: &str) -> String {
        decode(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn one_block_is_read_whatever_its_line_ends() {
        for text in [BLOCK, BLOCK.trim_end(), &BLOCK.replace('\n', "\r\n"), &format!("\n {BLOCK}\n\n")] {
            let (label, contents) = decode(text.as_bytes()).expect(text);
            assert_eq!((label, contents.expose()), (PUBLIC, &[0, 1, 2][..]));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(encode_public(&[0, 1, 2]), BLOCK);
        let contents: Vec<u8> = (0..=255).collect();
        let text = encode_private(SEALED, &contents).expect("encodes");
        let (label, read) = decode(text.expose()).expect("decodes");
        assert_eq!((label, read.expose()), (SEALED, &contents[..]));
    }

    #[test]
    fn anything_around_or_beside_the_block_is_refused() {
        assert_eq!(fault(""), "key file: does not start with a PEM block");
        assert_eq!(fault(&format!("text\n{BLOCK}")), "key file: does not start with a PEM block");
        assert_eq!(fault(&format!("{BLOCK}{BLOCK}")), "key file: holds more than one PEM block");
        for bad in [
            format!("{BLOCK}text"),
            BLOCK.replace("END PUBLIC", "END PRIVATE"),
            BLOCK.replace("AAEC", "AA EC"),
            BLOCK.replace("AAEC", "AAE"),
            BLOCK.replace("AAEC", "Proc-Type: 4,ENCRYPTED\n\nAAEC"),
            BLOCK[..30].to_owned(),
        ] {
            assert_eq!(fault(&bad), "key file: is not a well-formed PEM block", "{bad}");
        }
    }

    #[test]
    fn a_file_above_the_limit_is_refused_before_it_is_parsed() {
        assert_eq!(fault(&" ".repeat(MAX_KEY_FILE + 1)), "key file: length exceeds the limit of 65536");
    }
}
