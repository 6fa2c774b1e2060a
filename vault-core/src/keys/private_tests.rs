use std::process::Command;

use proptest::prelude::*;

use super::*;

/// The least the format allows: tests derive many keys.
const CHEAP: Cost = Cost { memory_kib: 8, passes: 1, lanes: 1 };

fn one_of_each() -> [PrivateKey; 3] {
    let identity = |kind| PrivateKey::Identity(Identity::generate(kind).expect("randomness"));
    [
        PrivateKey::Signing(SigningKey::generate().expect("randomness")),
        identity(RecipientKind::XWing),
        identity(RecipientKind::X25519),
    ]
}

fn secret(text: &str) -> SecretVec {
    SecretVec::new(text.as_bytes().to_vec())
}

fn read(text: &[u8]) -> Result<PrivateKey> {
    PrivateKey::from_pem(text, &mut || panic!("asked for a passphrase"))
}

fn read_with(text: &[u8], passphrase: &str) -> Result<PrivateKey> {
    PrivateKey::from_pem(text, &mut || Ok(secret(passphrase)))
}

fn same(a: &PrivateKey, b: &PrivateKey) -> bool {
    a.to_pkcs8_der().expect("DER").expose() == b.to_pkcs8_der().expect("DER").expose() && a.public() == b.public()
}

fn sealed_contents(key: &PrivateKey) -> Vec<u8> {
    let text = key.to_pem_at_cost(&secret("x"), CHEAP).expect("seals");
    pem::decode(text.expose()).expect("PEM").1.expose().to_vec()
}

fn sealed_pem(contents: &[u8]) -> SecretVec {
    pem::encode_private(pem::SEALED, contents).expect("PEM")
}

#[test]
fn every_kind_survives_its_pem_in_the_clear_without_a_question() {
    for key in one_of_each() {
        assert!(same(&read(key.to_pem_plain().expect("PEM").expose()).expect("reads"), &key));
    }
}

#[test]
fn every_kind_survives_its_pem_under_a_passphrase() {
    for key in one_of_each() {
        let text = key.to_pem_at_cost(&secret("correct horse"), CHEAP).expect("PEM");
        assert!(text.expose().starts_with(b"-----BEGIN MVAULT ENCRYPTED PRIVATE KEY-----\n"));
        assert!(same(&read_with(text.expose(), "correct horse").expect("reads"), &key));
        let error = read_with(text.expose(), "wrong").expect_err("wrong passphrase");
        assert!(matches!(error, Error::WrongKey { .. }));
        assert_eq!(error.to_string(), "key file: the passphrase does not open it");
    }
}

#[test]
fn key_files_are_sealed_at_the_default_cost() {
    let [key, ..] = one_of_each();
    let text = key.to_pem_encrypted(&secret("x")).expect("PEM");
    let (_, contents) = pem::decode(text.expose()).expect("PEM");
    assert_eq!(parse_sealed(contents.expose()).expect("parses").cost, Cost::DEFAULT);
    assert!(same(&read_with(text.expose(), "x").expect("reads"), &key));
    assert!(matches!(key.to_pem_encrypted(&secret("")), Err(Error::Misuse(_))));
}

#[test]
fn a_failing_passphrase_prompt_is_passed_on() {
    let [key, ..] = one_of_each();
    let text = key.to_pem_at_cost(&secret("x"), CHEAP).expect("PEM");
    let error = PrivateKey::from_pem(text.expose(), &mut || Err(Error::Misuse("no terminal".into())));
    assert_eq!(error.expect_err("no passphrase").to_string(), "no terminal");
}

#[test]
fn a_bad_cost_or_version_or_length_is_refused_before_the_passphrase_is_asked() {
    let [key, ..] = one_of_each();
    let contents = sealed_contents(&key);
    let fault = |contents: &[u8]| read(sealed_pem(contents).expose()).expect_err("malformed").to_string();
    let mut costly = contents.clone();
    costly[1..5].fill(0xff);
    assert_eq!(fault(&costly), "argon2id cost: 4294967295 KiB of memory are not between 8 and 262144");
    let mut newer = contents.clone();
    newer[0] = 2;
    assert_eq!(fault(&newer), "key file: version 2 of encrypted keys is not known");
    for length in 1..13 + SALT + COMMITMENT + TAG {
        assert_eq!(fault(&contents[..length]), "key file: the encrypted key is cut short");
    }
}

#[test]
fn blocks_that_are_no_private_key_are_refused_with_the_reason() {
    let block = |label: &str| format!("-----BEGIN {label}-----\nAAEC\n-----END {label}-----\n");
    let fault = |label: &str| read(block(label).as_bytes()).expect_err(label);
    let message = "this private key is encrypted in a way that is not supported; decrypt it first with `openssl pkey`";
    assert!(matches!(fault(pem::PBES2), Error::Misuse(m) if m == message));
    assert_eq!(fault(pem::PUBLIC).to_string(), "this is a public key where a private key is expected");
    assert_eq!(fault("RSA PRIVATE KEY").to_string(), "the PEM block is not a PRIVATE KEY");
    assert_eq!(fault(pem::PRIVATE).to_string(), "key file: is not a PKCS#8 private key");
}

/// PKCS#8 version 2: version 1 with `public` in a `[1]` after the key.
fn version_2(key: &PrivateKey, public: &[u8]) -> SecretVec {
    let mut der = key.to_pkcs8_der().expect("DER").expose().to_vec();
    der[4] = 1;
    let length = u8::try_from(public.len() + 1).expect("short");
    der[1] += length + 2;
    der.extend([0x81, length, 0]);
    der.extend(public);
    pem::encode_private(pem::PRIVATE, &der).expect("PEM")
}

#[test]
fn the_public_key_in_version_2_must_be_the_right_one() {
    let [signing, _, x25519] = one_of_each();
    for key in [signing, x25519] {
        let right = key.public().as_bytes().to_vec();
        assert!(same(&read(version_2(&key, &right).expose()).expect("reads"), &key));
        let mut wrong = right;
        wrong[7] ^= 1;
        for wrong in [&wrong[..], &wrong[1..], &[]] {
            let error = read(version_2(&key, wrong).expose()).expect_err("another key");
            assert_eq!(error.to_string(), "key file: the public key in it does not belong to the private key");
        }
    }
}

fn openssl(arguments: &[&str]) -> Option<Vec<u8>> {
    match Command::new("openssl").args(arguments).output() {
        Ok(output) => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "openssl {arguments:?}: {complaint}");
            Some(output.stdout)
        }
        Err(error) => {
            #[allow(clippy::print_stderr)] // a skipped test must be heard
            {
                eprintln!("SKIPPED, openssl cannot be run: {error}");
            }
            None
        }
    }
}

#[test]
fn keys_made_by_openssl_are_read_and_ours_are_read_by_openssl() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    for algorithm in ["ed25519", "x25519"] {
        let Some(theirs) = openssl(&["genpkey", "-algorithm", algorithm]) else { return };
        let key = read(&theirs).expect("reads");
        assert_eq!(key.to_pem_plain().expect("PEM").expose(), theirs);
        let (private, public) = (at("private"), at("public"));
        std::fs::write(&private, &theirs).expect("writes");
        let their_public = openssl(&["pkey", "-in", &private, "-pubout"]).expect("runs");
        assert_eq!(key.public().to_pem().as_bytes(), their_public);

        let ours = one_of_each().into_iter().find(|k| k.public().kind_str() == key.public().kind_str());
        std::fs::write(&public, ours.expect("one of each").public().to_pem()).expect("writes");
        openssl(&["pkey", "-pubin", "-in", &public, "-noout"]).expect("runs");
    }
}

#[test]
fn keys_openssl_encrypted_or_of_other_algorithms_are_refused_with_the_reason() {
    let encrypted = ["genpkey", "-algorithm", "ed25519", "-aes256", "-pass", "pass:x"];
    let Some(encrypted) = openssl(&encrypted) else { return };
    assert!(read(&encrypted).expect_err("PBES2").to_string().contains("`openssl pkey`"));
    let p256 = openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]).expect("runs");
    let message =
        "the key's algorithm is 1.2.840.10045.2.1 (elliptic curve); only Ed25519, X25519 and X-Wing keys are supported";
    assert_eq!(read(&p256).expect_err("P-256").to_string(), message);
}

#[test]
fn debug_output_shows_no_secret() {
    for key in one_of_each() {
        let der = key.to_pkcs8_der().expect("DER");
        let secret = hex::encode(&der.expose()[der.expose().len() - 32..]);
        let shown = format!("{key:?}");
        assert!(!shown.contains(&secret[..8]), "{shown}");
        assert!(shown.contains(&key.public().key_id().to_hex()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn a_flipped_bit_anywhere_in_a_sealed_key_never_opens(at: prop::sample::Index, bit in 0..8u32) {
        for key in one_of_each() {
            let mut contents = sealed_contents(&key);
            let at = at.index(contents.len());
            // The high bytes of a cost that is still within bounds would only make the test slow.
            if !(1..13).contains(&at) || bit < 4 && matches!(at, 4 | 8 | 12) {
                contents[at] ^= 1 << bit;
                prop_assert!(read_with(sealed_pem(&contents).expose(), "x").is_err());
            }
        }
    }

    #[test]
    fn a_changed_byte_in_the_text_never_gives_another_key_under_a_passphrase(at: prop::sample::Index, byte: u8) {
        let [key, ..] = one_of_each();
        let mut text = key.to_pem_at_cost(&secret("x"), CHEAP).expect("PEM").expose().to_vec();
        let at = at.index(text.len());
        // The first line of Base64 holds the cost, see above.
        if at > 64 {
            text[at] = byte;
            if let Ok(read) = read_with(&text, "x") {
                prop_assert!(same(&read, &key));
            }
        }
    }

    #[test]
    fn arbitrary_contents_never_panic(contents in prop::collection::vec(any::<u8>(), 0..100)) {
        for label in [pem::PRIVATE, "X"] {
            let text = pem::encode_private(label, &contents).expect("PEM");
            prop_assert!(read(text.expose()).is_err());
        }
        prop_assert!(PrivateKey::from_pem(&contents, &mut || Ok(secret("x"))).is_err());
    }
}
