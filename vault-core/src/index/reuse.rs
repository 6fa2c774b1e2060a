//! What an index says about reuse: the keys of streams that were sealed before, and the digests by which what did not
//! change is found next time.

use serde::{Deserialize, Serialize};

use super::{DOCUMENT, File};
use crate::{
    canonical::{Hex, SecretHex},
    error::{Error, Result},
    manifest::Manifest,
    stream::StreamKey,
};

/// The most regions of all files of an artifact together. At 16 MiB each they are 3 TiB.
pub const MAX_REGIONS: usize = 200_000;

/// A range of a file and the digest of its plaintext. The ranges of a file are consecutive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Region {
    /// The BLAKE3 of the bytes, as the sealer took it.
    pub blake3: blake3::Hash,
    /// Length in bytes, at least 1.
    pub length: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WireKey {
    key: SecretHex<32>,
    stream: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WireRegion {
    blake3: Hex<32>,
    length: u64,
}

impl WireRegion {
    pub(crate) fn of(region: &Region) -> Self {
        Self { blake3: region.blake3.into(), length: region.length }
    }

    pub(crate) fn region(self) -> Region {
        Region { blake3: self.blake3.into(), length: self.length }
    }
}

pub(super) fn write_keys(keys: &[(u32, StreamKey)]) -> Vec<WireKey> {
    keys.iter().map(|(stream, key)| WireKey { key: SecretHex(key.secret().clone()), stream: *stream }).collect()
}

/// Keys for exactly the streams that have an origin, in their order.
pub(super) fn check_keys(wire: Option<Vec<WireKey>>, manifest: &Manifest) -> Result<Vec<(u32, StreamKey)>> {
    if wire.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::format(DOCUMENT, "has an empty list of keys"));
    }
    let wire = wire.unwrap_or_default();
    let reused = manifest.reused_streams().map(|(number, _, _)| number);
    if !reused.eq(wire.iter().map(|key| key.stream)) {
        return Err(Error::format(DOCUMENT, "has keys that are not for exactly the streams with an origin"));
    }
    Ok(wire.into_iter().map(|key| (key.stream, StreamKey::from_secret(key.key.0))).collect())
}

/// Regions of a file that are the file, or none.
pub(crate) fn check_regions(wire: Option<Vec<WireRegion>>, size: u64) -> Result<Vec<Region>, &'static str> {
    let Some(wire) = wire else { return Ok(Vec::new()) };
    let sum = wire.iter().try_fold(0u64, |sum, region| sum.checked_add(region.length));
    if wire.is_empty() || sum != Some(size) || wire.iter().any(|region| region.length == 0) {
        return Err("has regions that do not add up to its size");
    }
    Ok(wire.into_iter().map(WireRegion::region).collect())
}

pub(super) fn check_count(files: &[File]) -> Result<()> {
    if files.iter().map(|file| file.regions.len()).sum::<usize>() > MAX_REGIONS {
        return Err(Error::limit(DOCUMENT, "number of regions", MAX_REGIONS as u64));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        floe::{HEADER_LEN, Header},
        index::{Extent, Index},
        manifest::Stream,
        names::FilePath,
        secret::Secret,
        stream::Origin,
        tree::{Layout, PartSize},
    };

    fn manifest() -> Manifest {
        let stream = |origin: Option<u32>| {
            let layout = Layout::of_plaintext(100, PartSize::DEFAULT).expect("legal");
            let origin = origin.map(|stream| Origin { artifact_id: [9; 32], stream });
            Stream {
                header: Header::from_bytes([0; HEADER_LEN]),
                layout,
                parts: vec![blake3::hash(b"")],
                tree: None,
                origin,
            }
        };
        let streams = vec![stream(None), stream(Some(4)), stream(Some(0))];
        Manifest { artifact_id: [0; 32], part_size: PartSize::DEFAULT, index: stream(None), streams }
    }

    fn file(regions: &[u64]) -> File {
        File {
            path: FilePath::new("a").expect("a path"),
            size: 100,
            executable: false,
            extents: vec![Extent { length: 100, offset: 0, stream: 1 }],
            sha256: None,
            regions: regions.iter().map(|&length| Region { blake3: blake3::hash(b"r"), length }).collect(),
        }
    }

    fn keys(numbers: &[u32]) -> Vec<(u32, StreamKey)> {
        numbers.iter().map(|&number| (number, StreamKey::from_secret(Secret::new([7; 32])))).collect()
    }

    fn index(regions: &[u64], numbers: &[u32]) -> Vec<u8> {
        Index::new(vec![file(regions)]).expect("legal").with_keys(keys(numbers)).to_vec().expect("written")
    }

    #[test]
    fn keys_and_regions_survive_writing_and_reading_and_are_not_shown() {
        let bytes = index(&[60, 40], &[1, 2]);
        let read = Index::parse(&bytes, &manifest()).expect("read");
        assert_eq!(read.to_vec().expect("written"), bytes);
        assert_eq!(read.files()[0].regions.len(), 2);
        assert!(read.key(1).is_some() && read.key(0).is_none());
        let shown = format!("{read:?}");
        assert!(shown.contains("StreamKey(Secret<32>(..))") && !shown.contains("0707"), "{shown}");
    }

    #[test]
    fn keys_are_for_exactly_the_streams_with_an_origin() {
        for numbers in [&[][..], &[1], &[2], &[2, 1], &[1, 1, 2], &[0, 1, 2], &[1, 2, 3]] {
            let error = Index::parse(&index(&[], numbers), &manifest()).expect_err("keys").to_string();
            assert!(error.contains("exactly the streams with an origin"), "{error}");
        }
        let text = String::from_utf8(index(&[], &[1, 2])).expect("UTF-8");
        let hex = "07".repeat(32);
        for bad in [hex.replacen("07", "0A", 1), hex.replacen("07", "", 1), String::new()] {
            let error = Index::parse(text.replacen(&hex, &bad, 1).as_bytes(), &manifest()).expect_err("a key");
            assert!(!error.to_string().contains("0707"), "{error}");
        }
        let mut plain = manifest();
        plain.streams.iter_mut().for_each(|stream| stream.origin = None);
        let none = String::from_utf8(index(&[], &[])).expect("UTF-8");
        assert!(Index::parse(none.as_bytes(), &plain).is_ok());
        for keys in ["\"keys\":[]", "\"keys\":null"] {
            let bad =
                none.replacen("\"format\":\"mvault-index/v1\"", &format!("\"format\":\"mvault-index/v1\",{keys}"), 1);
            assert!(Index::parse(bad.as_bytes(), &plain).is_err(), "{keys}");
        }
    }

    #[test]
    fn regions_add_up_to_the_file() {
        assert!(Index::parse(&index(&[100], &[1, 2]), &manifest()).is_ok());
        for regions in [&[99][..], &[101], &[0, 100], &[50, 51], &[1 << 52, 1 << 52]] {
            let error = Index::parse(&index(regions, &[1, 2]), &manifest()).expect_err("regions").to_string();
            assert!(error.contains("regions that do not add up to its size"), "{error}");
        }
        let text = String::from_utf8(index(&[100], &[1, 2])).expect("UTF-8");
        let (from, to) = (text.find("\"regions\":[").expect("there"), text.find("],\"size\"").expect("there"));
        for bad in ["\"regions\":[", "\"regions\":[null", "\"regions\":[{\"length\":100}"] {
            let bad = format!("{}{bad}{}", &text[..from], &text[to..]);
            assert!(Index::parse(bad.as_bytes(), &manifest()).is_err(), "{bad}");
        }
    }

    #[test]
    fn more_regions_than_the_limit_are_refused() {
        let many = |count| (0..count).map(|_| Region { blake3: blake3::hash(b""), length: 1 }).collect();
        let with = |count| File { regions: many(count), ..file(&[]) };
        assert!(check_count(&[with(MAX_REGIONS)]).is_ok());
        assert!(check_count(&[with(MAX_REGIONS), with(1)]).expect_err("many").to_string().contains("200000"));
    }
}
