//! The header of a safetensors file (<https://github.com/huggingface/safetensors>): which tensors it holds, and where.
//!
//! A file is `u64le(n) || n bytes of JSON || tensors`. The JSON maps each tensor's name to its type, its shape and the
//! range of its bytes behind the header; `__metadata__` maps strings to strings. As in the reference implementation,
//! tensors cover everything behind the header without gap or overlap, in row-major order.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};

use crate::{
    error::{Error, Result},
    index::File,
    open::Opened,
    source::Buffer,
    tree::PAYLOAD,
};

mod excerpt;

pub use excerpt::{Excerpt, Selected, select};

/// The longest header, as in the reference implementation.
pub const MAX_HEADER: u64 = 100_000_000;

/// What errors about a header call it.
pub const DOCUMENT: &str = "safetensors header";
const METADATA: &str = "__metadata__";
/// Bytes of the header's length before it.
const PREFIX: usize = 8;

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: Dtype,
    /// Its dimensions; none for a single number.
    pub shape: Vec<u64>,
    /// Where it begins, counted from the end of the header.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

macro_rules! dtypes {
    ($($name:ident: $bits:literal),* $(,)?) => {
        /// The type of a tensor's elements, by the name the format gives it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
        #[allow(non_camel_case_types, missing_docs)] // The format's names say all there is to say.
        #[non_exhaustive]
        pub enum Dtype { $($name),* }

        impl Dtype {
            /// The format's name for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),* }
            }

            /// Bits of one element.
            pub fn bits(self) -> u64 {
                match self { $(Self::$name => $bits),* }
            }
        }
    };
}

dtypes! {
    BOOL: 8, F4: 4, F6_E2M3: 6, F6_E3M2: 6, U8: 8, I8: 8, F8_E5M2: 8, F8_E4M3: 8, F8_E8M0: 8, F8_E4M3FNUZ: 8,
    F8_E5M2FNUZ: 8, I16: 16, U16: 16, F16: 16, BF16: 16, I32: 32, U32: 32, F32: 32, C64: 64, F64: 64, I64: 64, U64: 64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireTensor {
    dtype: Dtype,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

/// The entries of the header in their order, each name once.
struct WireHeader(Vec<(String, WireTensor)>);

impl<'de> Deserialize<'de> for WireHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = WireHeader;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireHeader, A::Error> {
        let (mut tensors, mut has_metadata) = (Vec::new(), false);
        while let Some(name) = map.next_key::<String>()? {
            if name != METADATA {
                tensors.push((name, map.next_value()?));
            } else if std::mem::replace(&mut has_metadata, true) {
                return Err(A::Error::custom(format!("{name:?} is there twice")));
            } else {
                map.next_value::<Metadata>()?;
            }
        }
        // A set to look names up in would take more memory than all else.
        let mut names: Vec<&str> = tensors.iter().map(|(name, _): &(String, WireTensor)| name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(A::Error::custom(format!("{:?} is there twice", pair[0]))),
            None => Ok(WireHeader(tensors)),
        }
    }
}

/// A map of strings to strings, checked and not kept.
struct Metadata;

impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MetadataVisitor)
    }
}

struct MetadataVisitor;

impl<'de> Visitor<'de> for MetadataVisitor {
    type Value = Metadata;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a map of strings to strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        while map.next_entry::<String, String>()?.is_some() {}
        Ok(Metadata)
    }
}

/// The tensors of a sealed safetensors file, in the order of their bytes. Only its head is fetched and decrypted.
///
/// # Errors
/// [`Error::Corrupt`] if it is no safetensors file; otherwise as [`Opened::read_range`].
pub fn read(opened: &Opened<'_>, file: &File) -> Result<Vec<Tensor>> {
    table(opened, file).map(|table| table.tensors)
}

/// What the header of a safetensors file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// The tensors, in the order of their bytes.
    pub tensors: Vec<Tensor>,
    /// What it says besides.
    pub metadata: BTreeMap<String, String>,
    /// Where the tensors begin in the file.
    pub data: u64,
}

/// The header of a sealed safetensors file. Only its head is fetched and decrypted.
///
/// # Errors
/// As [`read`].
pub fn table(opened: &Opened<'_>, file: &File) -> Result<Table> {
    if file.size < PREFIX as u64 {
        return Err(Error::format(DOCUMENT, "the file is shorter than 8 bytes"));
    }
    // A segment is read whole anyway, and most headers end in it.
    let beginning = opened.read_range(file, 0..file.size.min(PAYLOAD as u64))?;
    let data = PREFIX as u64 + header_len(&beginning, file.size)?;
    let longer;
    let header = if let Some(header) = usize::try_from(data).ok().and_then(|end| beginning.get(PREFIX..end)) {
        header
    } else {
        longer = opened.read_range(file, PREFIX as u64..data)?;
        &longer[..]
    };
    let tensors = parse(header, file.size - data)?;
    Ok(Table { tensors, metadata: metadata(header)?, data })
}

/// Reads one tensor of a file into memory; only its segments are fetched.
///
/// # Errors
/// As [`Opened::read_range`].
pub fn read_tensor(opened: &Opened<'_>, file: &File, table: &Table, tensor: &Tensor) -> Result<Buffer> {
    let start = table.data.saturating_add(tensor.offset);
    opened.read_range(file, start..start.saturating_add(tensor.length))
}

/// What a header that was checked says besides.
fn metadata(header: &[u8]) -> Result<BTreeMap<String, String>> {
    #[derive(Deserialize)]
    struct Besides {
        #[serde(rename = "__metadata__", default)]
        metadata: BTreeMap<String, String>,
    }
    let besides: Besides =
        serde_json::from_slice(header).map_err(|e| Error::format(DOCUMENT, format!("is not valid: {e}")))?;
    Ok(besides.metadata)
}

/// Length of the header by the first bytes of a file of `file_len` bytes. Never above [`MAX_HEADER`].
fn header_len(prefix: &[u8], file_len: u64) -> Result<u64> {
    let bytes = prefix.first_chunk::<PREFIX>().ok_or_else(|| Error::format(DOCUMENT, "has no length"))?;
    let length = u64::from_le_bytes(*bytes);
    if length > MAX_HEADER {
        return Err(Error::limit(DOCUMENT, "length", MAX_HEADER));
    }
    if length > file_len.saturating_sub(PREFIX as u64) {
        return Err(Error::format(DOCUMENT, format!("of {length} bytes is longer than the file")));
    }
    Ok(length)
}

/// Reads a header that stands before `data_len` bytes of tensors.
///
/// # Errors
/// [`Error::Corrupt`] with the rule it breaks.
pub fn parse(header: &[u8], data_len: u64) -> Result<Vec<Tensor>> {
    if header.len() as u64 > MAX_HEADER {
        return Err(Error::limit(DOCUMENT, "length", MAX_HEADER));
    }
    if header.first() != Some(&b'{') {
        return Err(Error::format(DOCUMENT, "does not begin with `{`"));
    }
    let wire: WireHeader =
        serde_json::from_slice(header).map_err(|e| Error::format(DOCUMENT, format!("is not valid: {e}")))?;
    let tensors = wire.0.into_iter().map(|(name, tensor)| tensor.check(name)).collect::<Result<Vec<_>>>();
    let mut tensors = tensors?;
    // Empty tensors take no room; among tensors of one offset they come first.
    tensors.sort_unstable_by(|a, b| (a.offset, a.length, &a.name).cmp(&(b.offset, b.length, &b.name)));
    let mut end = 0;
    for tensor in &tensors {
        if tensor.offset != end {
            return Err(broken(&tensor.name, &format!("begins at {} instead of {end}", tensor.offset)));
        }
        end += tensor.length;
    }
    if end != data_len {
        return Err(Error::format(DOCUMENT, format!("describes {end} bytes of tensors, the file has {data_len}")));
    }
    Ok(tensors)
}

impl WireTensor {
    fn check(self, name: String) -> Result<Tensor> {
        let (start, end) = self.data_offsets;
        let Some(length) = end.checked_sub(start) else {
            return Err(broken(&name, &format!("ends at {end}, before it begins at {start}")));
        };
        let bits = self.shape.iter().try_fold(self.dtype.bits(), |bits, dimension| bits.checked_mul(*dimension));
        let expected = bits.filter(|bits| bits % 8 == 0).map(|bits| bits / 8);
        if expected != Some(length) {
            let (dtype, shape) = (self.dtype.as_str(), &self.shape);
            return Err(broken(&name, &format!("has {length} bytes, which is not the length of {dtype} {shape:?}")));
        }
        Ok(Tensor { name, dtype: self.dtype, shape: self.shape, offset: start, length })
    }
}

/// Names may be as long as the header; errors are not.
fn broken(name: &str, rule: &str) -> Error {
    let name: String = name.chars().take(100).collect();
    Error::format(DOCUMENT, format!("tensor {name:?} {rule}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(header: &str, data_len: u64) -> String {
        parse(header.as_bytes(), data_len).expect_err(header).to_string()
    }

    #[test]
    fn tensors_are_listed_in_the_order_of_their_bytes() {
        let header = r#"{"__metadata__":{"format":"pt"},
            "b":{"dtype":"F16","shape":[2,3],"data_offsets":[4,16]},
            "none":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},
            "a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
            "c":{"dtype":"F4","shape":[4],"data_offsets":[16,18]}}   "#;
        let tensors = parse(header.as_bytes(), 18).expect("valid");
        let names: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.dtype.as_str(), t.length)).collect();
        assert_eq!(names, [("a", "F32", 4), ("none", "F32", 0), ("b", "F16", 12), ("c", "F4", 2)]);
        assert_eq!(tensors[2].shape, [2, 3]);
        assert!(parse(b"{}", 0).expect("no tensors").is_empty());
    }

    #[test]
    fn hostile_headers_are_refused_with_the_rule_they_break() {
        let one = |dtype: &str, shape: &str, offsets: &str| {
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
        };
        let max = u64::MAX;
        for (header, data_len, rule) in [
            (String::new(), 0, "does not begin with `{`"),
            (" {}".into(), 0, "does not begin with `{`"),
            ("[]".into(), 0, "does not begin with `{`"),
            ("{".into(), 0, "is not valid"),
            ("{}x".into(), 0, "trailing characters"),
            ("{}".into(), 1, "describes 0 bytes of tensors, the file has 1"),
            (one("F32", "[1]", "[0,4]"), 5, "describes 4 bytes of tensors, the file has 5"),
            (one("F32", "[1]", "[0,4]"), 3, "describes 4 bytes of tensors, the file has 3"),
            (one("F32", "[1]", "[4,8]"), 8, "begins at 4 instead of 0"),
            (one("F32", "[2]", "[0,4]"), 4, "not the length of F32 [2]"),
            (one("F32", "[1]", "[4,0]"), 4, "ends at 0, before it begins at 4"),
            (one("F32", &format!("[{max},{max}]"), "[0,4]"), 4, "not the length of F32"),
            (one("F32", "[1]", &format!("[0,{max}]")), 4, "not the length of F32"),
            (one("F4", "[1]", "[0,0]"), 0, "not the length of F4"),
            (one("F33", "[1]", "[0,4]"), 4, "unknown variant"),
            (one("F32", "[-1]", "[0,4]"), 4, "is not valid"),
            (one("F32", "[1]", "[0,4,8]"), 4, "is not valid"),
            (one("F32", "[1.0]", "[0,4]"), 4, "is not valid"),
            (r#"{"a":{"dtype":"F32","shape":[1]}}"#.into(), 4, "missing field"),
            (r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#.into(), 4, "unknown field"),
            (r#"{"__metadata__":{"a":1}}"#.into(), 0, "is not valid"),
            (r#"{"__metadata__":{},"__metadata__":{}}"#.into(), 0, "is there twice"),
        ] {
            let message = fault(&header, data_len);
            assert!(message.contains(rule), "{header}: {message}");
        }
        let tensor = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        assert!(fault(&format!(r#"{{"a":{tensor},"a":{tensor}}}"#), 4).contains("is there twice"));
        assert!(fault(&format!(r#"{{"a":{tensor},"b":{tensor}}}"#), 4).contains("begins at 0 instead of 4"));
        assert!(fault(&format!("{{\"a\":{}1{}}}", "[".repeat(5000), "]".repeat(5000)), 0).contains("is not valid"));
    }

    #[test]
    fn no_length_makes_a_reader_allocate_more_than_the_limit() {
        assert_eq!(header_len(&5u64.to_le_bytes(), 13).expect("fits"), 5);
        assert!(
            header_len(&6u64.to_le_bytes(), 13).expect_err("too long").to_string().contains("longer than the file")
        );
        let huge = header_len(&u64::MAX.to_le_bytes(), u64::MAX).expect_err("huge").to_string();
        assert_eq!(huge, "safetensors header: length exceeds the limit of 100000000");
        assert!(header_len(&[0; 7], 7).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_headers_never_panic(header in prop::collection::vec(any::<u8>(), 0..200), data_len: u64) {
            let _ = parse(&header, data_len);
            let _ = header_len(&header, data_len);
        }

        #[test]
        fn arbitrary_tensors_never_panic(shape: Vec<u64>, start: u64, end: u64, data_len: u64) {
            let header = format!(r#"{{"a":{{"dtype":"I64","shape":{shape:?},"data_offsets":[{start},{end}]}}}}"#);
            let _ = parse(header.as_bytes(), data_len);
        }
    }
}
