//! Names of keys on PKCS#11 tokens: `pkcs11:` URIs (RFC 7512).

use crate::error::{Error, Result};

const SCHEME: &str = "pkcs11:";
/// The longest URI, in bytes.
const MAX_URI: usize = 4096;

/// A key on a token, and the library that reaches the token.
///
/// Of RFC 7512 it takes what finds one private key: `token`, `manufacturer`, `serial`, `model`, `slot-id`, `object`, `id` and
/// `type=private` in the path, `module-path` and `pin-source` in the query. Everything else is refused, `pin-value` above all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenUri {
    /// The token's label.
    pub token: Option<String>,
    /// The token's manufacturer.
    pub manufacturer: Option<String>,
    /// The token's serial number.
    pub serial: Option<String>,
    /// The token's model.
    pub model: Option<String>,
    /// The number of the slot that the token is in.
    pub slot_id: Option<u64>,
    /// The key's label.
    pub object: Option<String>,
    /// The key's id.
    pub id: Option<Vec<u8>>,
    /// The library, by its absolute path.
    pub module_path: String,
    /// The file that holds the PIN, by its absolute path.
    pub pin_source: Option<String>,
}

impl TokenUri {
    /// Whether somebody means such a URI.
    pub fn is_in(text: &str) -> bool {
        text.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
    }

    /// Reads a URI.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is malformed, longer than 4096 bytes, has an attribute twice or one that is not taken, names
    /// neither `object` nor `id`, or no `module-path`.
    pub fn parse(text: &str) -> Result<Self> {
        Self::read(text).map_err(|rule| Error::Misuse(format!("the pkcs11 URI {rule}")))
    }

    fn read(text: &str) -> Result<Self, String> {
        if text.len() > MAX_URI {
            return Err(format!("is longer than {MAX_URI} bytes"));
        }
        if !Self::is_in(text) {
            return Err(format!("does not start with {SCHEME}"));
        }
        if let Some(c) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
            return Err(format!("has a {c:?}, which must be percent-encoded"));
        }
        let (path, query) = match text[SCHEME.len()..].split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&text[SCHEME.len()..], None),
        };
        let mut uri = Self::default();
        let mut seen = Vec::new();
        let attributes = path.split(';').map(|text| (text, false));
        for (attribute, in_query) in attributes.chain(query.iter().flat_map(|q| q.split('&')).map(|text| (text, true)))
        {
            let (name, value) = attribute.split_once('=').ok_or("has an attribute without a value")?;
            if name == "pin-value" {
                return Err("has a pin-value; a PIN does not belong on a command line or in a file name".into());
            }
            if seen.contains(&name) {
                return Err(format!("has {name:?} twice"));
            }
            seen.push(name);
            uri.take(name, value, in_query)?;
        }
        if uri.object.is_none() && uri.id.is_none() {
            return Err("names no key: neither object nor id".into());
        }
        if uri.module_path.is_empty() {
            return Err("names no library: module-path is missing".into());
        }
        Ok(uri)
    }

    fn take(&mut self, name: &str, value: &str, in_query: bool) -> Result<(), String> {
        let bytes = decode(value).ok_or_else(|| format!("has a {name:?} with a % that no two hex digits follow"))?;
        if name == "id" && !in_query {
            self.id = Some(bytes);
            return Ok(());
        }
        let text = String::from_utf8(bytes).map_err(|_| format!("has a {name:?} that is not UTF-8"))?;
        if text.contains('\0') {
            return Err(format!("has a {name:?} with a NUL"));
        }
        match (name, in_query) {
            ("token", false) => self.token = Some(text),
            ("manufacturer", false) => self.manufacturer = Some(text),
            ("serial", false) => self.serial = Some(text),
            ("model", false) => self.model = Some(text),
            ("object", false) => self.object = Some(text),
            ("slot-id", false) => {
                self.slot_id = Some(text.parse().map_err(|_| "has a slot-id that is not a number")?);
            }
            ("type", false) if text == "private" => {}
            ("type", false) => return Err("has a type other than private".into()),
            ("module-path", true) if text.starts_with('/') => self.module_path = text,
            ("module-path", true) => return Err("has a module-path that is not an absolute path".into()),
            ("pin-source", true) => self.pin_source = Some(file(&text).ok_or("has a pin-source that is no file")?),
            _ => return Err(format!("has {name:?}, which is not supported there")),
        }
        Ok(())
    }

    /// The key and the token in words, without what leads to its PIN.
    pub fn describe(&self) -> String {
        let object = self.object.as_ref().map(|label| format!(" {label:?}")).unwrap_or_default();
        let id = self.id.as_ref().map(|id| format!(" with id {}", hex::encode(id))).unwrap_or_default();
        format!("key{object}{id} on {}", self.describe_token())
    }

    /// The token in words.
    pub fn describe_token(&self) -> String {
        let slot = self.slot_id.map(|id| id.to_string());
        let named = [
            ("token", &self.token),
            ("by", &self.manufacturer),
            ("model", &self.model),
            ("serial", &self.serial),
            ("slot", &slot),
        ];
        let word = |(before, name): (&str, &Option<String>)| name.as_ref().map(|name| format!("{before} {name:?}"));
        let words: Vec<_> = named.into_iter().filter_map(word).collect();
        if words.is_empty() { "the only token".to_owned() } else { words.join(" ") }
    }
}

/// The absolute path in a `file:` URI (RFC 8089) or on its own. Commands, which RFC 7512 allows, are not run.
fn file(text: &str) -> Option<String> {
    let path = text.strip_prefix("file:").unwrap_or(text);
    let path = path.strip_prefix("//").map_or(path, |rest| rest.strip_prefix("localhost").unwrap_or(rest));
    (path.starts_with('/') && !path.starts_with("//")).then(|| path.to_owned())
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let mut byte = [0];
            hex::decode_to_slice(after.get(..2)?, &mut byte).ok()?;
            bytes.push(byte[0]);
            rest = &after[2..];
        } else {
            bytes.push(*first);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_attribute_that_is_taken_is_read() {
        let uri = "pkcs11:token=The%20Software%20PKCS%2311;manufacturer=Snake%20Oil;model=1.0;serial=00;slot-id=7;\
                   object=my-key;id=%69%00;type=private?module-path=/usr/lib/p11.so&pin-source=file:///etc/pin";
        let text = |text: &str| Some(text.to_owned());
        let expected = TokenUri {
            token: text("The Software PKCS#11"),
            manufacturer: text("Snake Oil"),
            serial: text("00"),
            model: text("1.0"),
            slot_id: Some(7),
            object: text("my-key"),
            id: Some(vec![0x69, 0]),
            module_path: "/usr/lib/p11.so".into(),
            pin_source: text("/etc/pin"),
        };
        assert_eq!(TokenUri::parse(uri).expect("read"), expected);
        let words = "key \"my-key\" with id 6900 on token \"The Software PKCS#11\" by \"Snake Oil\" model \"1.0\" \
                     serial \"00\" slot \"7\"";
        assert_eq!(expected.describe(), words);
    }

    #[test]
    fn a_file_with_a_pin_is_named_in_three_ways_and_never_a_command() {
        let read = |source: &str| {
            TokenUri::parse(&format!("pkcs11:object=a?module-path=/p.so&pin-source={source}")).map(|uri| uri.pin_source)
        };
        for source in ["/etc/pin", "file:/etc/pin", "file:///etc/pin", "file://localhost/etc/pin", "file:%2Fetc%2Fpin"]
        {
            assert_eq!(read(source).expect(source).as_deref(), Some("/etc/pin"));
        }
        for source in ["", "pin", "file:pin", "file://host/pin", "%7Ccat%20pin", "|cat", "https://a/b", "file:////pin"]
        {
            assert!(read(source).is_err(), "{source}");
        }
    }

    #[test]
    fn what_is_not_taken_is_refused_with_the_reason_and_no_pin() {
        for (uri, reason) in [
            ("", "does not start with pkcs11:"),
            ("pkcs12:object=a", "does not start with pkcs11:"),
            ("pkcs11:", "has an attribute without a value"),
            ("pkcs11:object=a", "names no library"),
            ("pkcs11:token=a?module-path=/p", "names no key"),
            ("pkcs11:object=a;?module-path=/p", "has an attribute without a value"),
            ("pkcs11:object=a?module-path=p.so", "not an absolute path"),
            ("pkcs11:object=a?module-path=/p&pin-value=1234", "has a pin-value; a PIN"),
            ("pkcs11:object=a;pin-value=1234?module-path=/p", "has a pin-value; a PIN"),
            ("pkcs11:object=a;object=b?module-path=/p", "has \"object\" twice"),
            ("pkcs11:object=a;module-path=/p", "has \"module-path\", which is not supported there"),
            ("pkcs11:object=a?id=%01&module-path=/p", "has \"id\", which is not supported there"),
            ("pkcs11:object=a;x-mine=1?module-path=/p", "has \"x-mine\", which is not supported there"),
            ("pkcs11:object=a?module-name=p11", "has \"module-name\", which is not supported there"),
            ("pkcs11:object=a;type=public?module-path=/p", "has a type other than private"),
            ("pkcs11:object=a;slot-id=x?module-path=/p", "slot-id that is not a number"),
            ("pkcs11:object=%f?module-path=/p", "no two hex digits"),
            ("pkcs11:object=%ff?module-path=/p", "not UTF-8"),
            ("pkcs11:object=%00?module-path=/p", "with a NUL"),
            ("pkcs11:object=a b?module-path=/p", "must be percent-encoded"),
            ("pkcs11:object=\u{e4}?module-path=/p", "must be percent-encoded"),
        ] {
            let error = TokenUri::parse(uri).expect_err(uri).to_string();
            assert!(error.contains(reason), "{uri}: {error}");
            assert!(!error.contains("1234"), "{error}");
        }
        assert!(TokenUri::parse(&format!("pkcs11:object={}", "a".repeat(MAX_URI))).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,60}", rest in "[a-z0-9=;&?%/:-]{0,60}") {
            let _ = TokenUri::parse(&text);
            let _ = TokenUri::parse(&format!("pkcs11:{rest}"));
            let _ = TokenUri::parse(&format!("pkcs11:object=a;{rest}?module-path=/p&{text}"));
        }
    }
}
