//! What a client certificate says about its holder (RFC 5280, SPIFFE X.509-SVID).

use std::collections::BTreeSet;

use x509_cert::{
    Certificate,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::{Means, Principal, bounded_id, safe_name, token::Refusal};

/// The longest certificate that is read, in bytes.
const MAX_CERTIFICATE: usize = 64 << 10;
/// The longest name that stands in an id as it is.
const MAX_PLAIN: usize = 200;
/// What ids of certificates begin with.
const PREFIX: &str = "cert";

/// Whom a certificate is for: its only URI, such as a SPIFFE id, or if it has none its only DNS name. The common name says
/// nothing. That it is valid is for others to say.
///
/// # Errors
/// [`Refusal::Nameless`] if there is no such name, or more than one; [`Refusal::Malformed`].
pub fn principal(der: &[u8]) -> Result<Principal, Refusal> {
    if der.len() > MAX_CERTIFICATE {
        return Err(Refusal::TooLong);
    }
    let certificate = Certificate::from_der(der).map_err(|_| Refusal::Malformed)?;
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>().map_err(|_| Refusal::Malformed)?;
    let SubjectAltName(names) = names.ok_or(Refusal::Nameless)?.1;
    let uris: Vec<_> = names.iter().filter_map(uri).collect();
    let hosts: Vec<_> = names.iter().filter_map(host).collect();
    let name = match (&uris[..], &hosts[..]) {
        ([uri], _) => (*uri).to_owned(),
        ([], [host]) => host.to_ascii_lowercase(),
        _ => return Err(Refusal::Nameless),
    };
    if name.is_empty() {
        return Err(Refusal::Nameless);
    }
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"._@-:/".contains(&c);
    let id = bounded_id(PREFIX, &name, MAX_PLAIN, is_plain);
    Ok(Principal {
        name: safe_name(&name),
        holder: id.clone(),
        id,
        means: Means::Certificate,
        groups: BTreeSet::new(),
        acr: None,
        amr: BTreeSet::new(),
        grants: Vec::new(),
    })
}

fn uri(name: &GeneralName) -> Option<&str> {
    match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    }
}

fn host(name: &GeneralName) -> Option<&str> {
    match name {
        GeneralName::DnsName(host) => Some(host.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn made(names: &[&str]) -> Result<Principal, Refusal> {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.distinguished_name.push(DnType::CommonName, "admin");
        let name = |name: &&str| {
            let text = (*name).try_into().expect("ASCII");
            if name.contains(':') { SanType::URI(text) } else { SanType::DnsName(text) }
        };
        params.subject_alt_names = names.iter().map(name).collect();
        principal(params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der())
    }

    #[test]
    fn the_only_uri_comes_first_and_the_common_name_never() {
        for (names, id) in [
            (&["spiffe://org/ns/train"][..], Ok("cert:spiffe://org/ns/train")),
            (&["train.example", "spiffe://org/ns/train", "x.example"], Ok("cert:spiffe://org/ns/train")),
            (&["Train.example"], Ok("cert:train.example")),
            (&["a.example", "b.example"], Err(Refusal::Nameless)),
            (&["spiffe://org/a", "spiffe://org/b"], Err(Refusal::Nameless)),
            (&[], Err(Refusal::Nameless)),
        ] {
            let found = made(names);
            assert_eq!(found.as_ref().map(|who| who.id.as_str()).map_err(|why| *why), id, "{names:?}");
            assert!(found.is_ok_and(|who| who.means == Means::Certificate && who.groups.is_empty()) == id.is_ok());
        }
    }

    #[test]
    fn names_that_are_long_or_odd_are_hashed() {
        for name in [format!("spiffe://org/{}", "a".repeat(300)), "spiffe://org/a b\u{7f}".into(), "*.example".into()] {
            let who = made(&[&name]).expect("a name");
            assert!(who.id.starts_with("cert:~") && who.id.len() == 38, "{who:?}");
            assert!(!who.name.contains('\u{7f}'));
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        for bad in [&b""[..], b"0", &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &vec![0; 70_000]] {
            assert!(principal(bad).is_err());
        }
    }
}
