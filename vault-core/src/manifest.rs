//! The manifest: the public, canonical, immutable description of an artifact.

use std::{collections::HashSet, ops::Range};

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, Hex},
    error::{Error, Result},
    floe::{HEADER_LEN, Header},
    names::ArtifactDigest,
    parts::Wanted,
    stream::{self, ArtifactId, Origin},
    tree::{INDEX_STREAM, Layout, PartSize, SEGMENT},
};

/// The longest manifest that is read, in bytes.
pub const MAX_MANIFEST: u64 = 32 << 20;
/// The longest index, in bytes of plaintext.
pub const MAX_INDEX: u64 = 64 << 20;
/// The most streams an artifact has, the index not counted. As many small ones fit a manifest.
pub const MAX_STREAMS: usize = 100_000;

const DOCUMENT: &str = "manifest";
const FORMAT: &str = "mvault/v1";
/// The cipher suite of every artifact of this format.
pub const SUITE: &str = "FLOE-AES-256-GCM";

/// What an artifact consists of. Public; fixes every byte of ciphertext and, through the FLOE headers, of plaintext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The random id that ties the streams together.
    pub artifact_id: ArtifactId,
    /// The size of all parts but the last of each stream.
    pub part_size: PartSize,
    /// The encrypted index.
    pub index: Stream,
    /// The encrypted contents.
    pub streams: Vec<Stream>,
}

/// One FLOE ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The FLOE header; its tag commits to the key.
    pub header: Header,
    /// Length of the body and its division.
    pub layout: Layout,
    /// The BLAKE3 hash of each part.
    pub parts: Vec<blake3::Hash>,
    /// The BLAKE3 hash of the tree object; none if the stream has one segment.
    pub tree: Option<blake3::Hash>,
    /// Where it was sealed first; none if with this artifact.
    pub origin: Option<Origin>,
}

impl Stream {
    /// The tree, if there is one, as something to fetch.
    pub(crate) fn wanted_tree(&self) -> Option<Wanted> {
        let length = self.layout.tree_len();
        self.tree.map(|name| Wanted { name, length, range: 0..length })
    }

    /// These segments as ranges of parts to fetch, in order.
    pub(crate) fn wanted_segments(&self, segments: Range<u64>) -> impl Iterator<Item = Wanted> + '_ {
        let layout = &self.layout;
        let parts = if segments.is_empty() {
            0..0
        } else {
            layout.part_of(segments.start)..layout.part_of(segments.end - 1) + 1
        };
        parts.filter_map(move |part| {
            let first = segments.start.max(layout.first_of_part(part));
            let last = (segments.end - 1).min(layout.first_of_part(part + 1) - 1);
            let end = layout.offset_in_part(last) + layout.segment_len(last) as u64;
            let name = *self.parts.get(usize::try_from(part).ok()?)?;
            Some(Wanted { name, length: layout.part_len(part), range: layout.offset_in_part(first)..end })
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireManifest {
    artifact_id: Hex<32>,
    format: String,
    index: WireStream,
    part_size: u64,
    segment_size: u64,
    streams: Vec<WireStream>,
    suite: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireStream {
    header: Hex<HEADER_LEN>,
    length: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<WireOrigin>,
    parts: Vec<Hex<32>>,
    tree: Option<Hex<32>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireOrigin {
    artifact_id: Hex<32>,
    stream: u32,
}

impl Manifest {
    /// Reads a manifest and checks every rule of the format. It is not yet known to be anybody's.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is too long, not canonical, or breaks a rule.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(Error::limit(DOCUMENT, "length", MAX_MANIFEST));
        }
        let wire: WireManifest = canonical::from_slice(DOCUMENT, bytes)?;
        if wire.format != FORMAT || wire.suite != SUITE || wire.segment_size != SEGMENT as u64 {
            return Err(Error::format(DOCUMENT, "is of another format, suite or segment size"));
        }
        if wire.streams.len() > MAX_STREAMS {
            return Err(Error::limit(DOCUMENT, "number of streams", MAX_STREAMS as u64));
        }
        let part_size = PartSize::new(wire.part_size).map_err(|e| Error::format(DOCUMENT, e.to_string()))?;
        let index = wire.index.check(part_size)?;
        if index.layout.plaintext_len() > MAX_INDEX {
            return Err(Error::limit(DOCUMENT, "length of the index", MAX_INDEX));
        }
        let streams = wire.streams.into_iter().map(|stream| stream.check(part_size)).collect::<Result<_>>()?;
        let manifest = Self { artifact_id: wire.artifact_id.0, part_size, index, streams };
        manifest.check_origins()?;
        Ok(manifest)
    }

    /// The manifest's bytes.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is above a limit of the format: too many streams or parts.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        if self.streams.len() > MAX_STREAMS {
            return Err(Error::Misuse(format!("an artifact has at most {MAX_STREAMS} files")));
        }
        let wire = WireManifest {
            artifact_id: Hex(self.artifact_id),
            format: FORMAT.into(),
            index: WireStream::of(&self.index),
            part_size: self.part_size.get(),
            segment_size: SEGMENT as u64,
            streams: self.streams.iter().map(WireStream::of).collect(),
            suite: SUITE.into(),
        };
        let bytes = canonical::to_vec(DOCUMENT, &wire)?;
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(Error::Misuse(
                "the artifact has too many parts: larger parts, or several artifacts, would fit".into(),
            ));
        }
        Ok(bytes)
    }

    /// The digest that names this artifact.
    ///
    /// # Errors
    /// As [`Manifest::to_vec`].
    pub fn digest(&self) -> Result<ArtifactDigest> {
        self.to_vec().map(|bytes| ArtifactDigest::of(&bytes))
    }

    fn check_origins(&self) -> Result<()> {
        let mut seen = HashSet::new();
        for origin in self.numbered_streams().filter_map(|(_, stream)| stream.origin) {
            let rule = if self.index.origin.is_some() || origin.stream as usize >= MAX_STREAMS {
                "has an index with an origin, or as one"
            } else if origin.artifact_id == self.artifact_id {
                "has a stream whose origin is the artifact itself"
            } else if !seen.insert(origin) {
                "has two streams of one origin"
            } else {
                continue;
            };
            return Err(Error::format(DOCUMENT, rule));
        }
        Ok(())
    }

    /// The streams that were sealed with another artifact first, with their numbers.
    pub fn reused_streams(&self) -> impl Iterator<Item = (u32, &Stream, Origin)> {
        (0..).zip(&self.streams).filter_map(|(number, stream)| stream.origin.map(|origin| (number, stream, origin)))
    }

    /// A stream by its number; [`INDEX_STREAM`] is the index.
    pub fn stream(&self, number: u32) -> Option<&Stream> {
        if number == INDEX_STREAM { Some(&self.index) } else { self.streams.get(number as usize) }
    }

    /// All streams with their numbers, the index last.
    pub fn numbered_streams(&self) -> impl Iterator<Item = (u32, &Stream)> {
        (0..).zip(&self.streams).chain([(INDEX_STREAM, &self.index)])
    }

    /// Length of all streams together, encrypted.
    pub fn sealed_len(&self) -> u64 {
        self.numbered_streams().map(|(_, stream)| stream.layout.length()).fold(0, u64::saturating_add)
    }

    /// Every object this manifest names: parts and trees.
    pub fn objects(&self) -> impl Iterator<Item = (blake3::Hash, u64)> {
        self.numbered_streams().flat_map(|(_, stream)| stream.objects())
    }
}

impl Stream {
    /// The objects this stream is stored in, parts and tree, with their lengths.
    pub fn objects(&self) -> impl Iterator<Item = (blake3::Hash, u64)> {
        let parts = (0..).zip(&self.parts).map(|(i, hash)| (*hash, self.layout.part_len(i)));
        parts.chain(self.tree.map(|hash| (hash, self.layout.tree_len())))
    }
}

impl WireStream {
    fn of(stream: &Stream) -> Self {
        Self {
            header: Hex(*stream.header.as_bytes()),
            length: stream.layout.length(),
            origin: stream.origin.map(|o| WireOrigin { artifact_id: Hex(o.artifact_id), stream: o.stream }),
            parts: stream.parts.iter().map(|hash| (*hash).into()).collect(),
            tree: stream.tree.map(Into::into),
        }
    }

    fn check(self, part_size: PartSize) -> Result<Stream> {
        let layout = Layout::new(self.length, part_size)?;
        let header = Header::from_bytes(self.header.0);
        if !header.has_params(stream::params()) {
            return Err(Error::format(DOCUMENT, "has a stream header of other FLOE parameters"));
        }
        if self.parts.len() as u64 != layout.parts() {
            return Err(Error::format(DOCUMENT, "has a stream whose number of parts does not fit its length"));
        }
        if self.tree.is_some() != layout.has_tree() {
            return Err(Error::format(
                DOCUMENT,
                "has a tree where there must be none, or none where there must be one",
            ));
        }
        let parts = self.parts.into_iter().map(Into::into).collect();
        let origin = self.origin.map(|wire| Origin { artifact_id: wire.artifact_id.0, stream: wire.stream });
        Ok(Stream { header, layout, parts, tree: self.tree.map(Into::into), origin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(length: u64) -> Stream {
        let layout = Layout::new(length, PartSize::DEFAULT).expect("legal");
        let mut header = [7; HEADER_LEN];
        header[..10].copy_from_slice(&[0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0x20]);
        Stream {
            header: Header::from_bytes(header),
            layout,
            parts: (0..layout.parts()).map(|i| blake3::hash(&i.to_be_bytes())).collect(),
            tree: layout.has_tree().then(|| blake3::hash(b"tree")),
            origin: None,
        }
    }

    fn manifest() -> Manifest {
        Manifest {
            artifact_id: [1; 32],
            part_size: PartSize::DEFAULT,
            index: stream(100),
            streams: vec![stream(32), stream(33 << 20)],
        }
    }

    fn text() -> String {
        String::from_utf8(manifest().to_vec().expect("written")).expect("UTF-8")
    }

    #[test]
    fn a_manifest_survives_writing_and_reading() {
        let bytes = manifest().to_vec().expect("written");
        assert_eq!(Manifest::parse(&bytes).expect("read"), manifest());
        assert_eq!(manifest().digest().expect("digest"), ArtifactDigest::of(&bytes));
        assert_eq!(manifest().objects().count(), 1 + 1 + 3 + 1);
    }

    #[test]
    fn origins_are_of_other_artifacts_each_once_and_never_an_index() {
        let reused = |length, artifact: u8, stream| {
            let origin = Some(Origin { artifact_id: [artifact; 32], stream });
            Stream { origin, ..self::stream(length) }
        };
        let check = |streams: Vec<Stream>, index: Stream| {
            let bytes = Manifest { index, streams, ..manifest() }.to_vec().expect("written");
            Manifest::parse(&bytes).map(|read| read.reused_streams().count()).map_err(|e| e.to_string())
        };
        let index = || stream(100);
        assert_eq!(check(vec![stream(32), reused(32, 2, 0), reused(32, 2, 1), reused(32, 3, 0)], index()), Ok(3));
        for (streams, index, rule) in [
            (vec![reused(32, 1, 0)], index(), "whose origin is the artifact itself"),
            (vec![reused(32, 2, 0), reused(33, 2, 0)], index(), "two streams of one origin"),
            (vec![reused(32, 2, INDEX_STREAM)], index(), "an index"),
            (vec![reused(32, 2, 100_000)], index(), "an index"),
            (vec![], reused(100, 2, 0), "an index"),
        ] {
            let error = check(streams, index).expect_err(rule);
            assert!(error.contains(rule), "{error}");
        }
        let good = Manifest { streams: vec![reused(32, 2, 0)], ..manifest() }.to_vec().expect("written");
        let good = String::from_utf8(good).expect("UTF-8");
        let origin = format!(r#""origin":{{"artifact_id":"{}","stream":0}}"#, "02".repeat(32));
        for bad in [
            r#""origin":null"#.to_owned(),
            r#""origin":{}"#.to_owned(),
            origin.replace("0}", r#"0,"x":1}"#),
            origin.replace("0}", "-1}"),
            origin.replace("0}", "4294967296}"),
            origin.replace("02", "2"),
        ] {
            let text = good.replacen(&origin, &bad, 1);
            assert_ne!(text, good);
            assert!(Manifest::parse(text.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_rule_of_the_format_is_checked() {
        let good = text();
        assert!(Manifest::parse(good.as_bytes()).is_ok());
        for (from, to) in [
            ("mvault/v1", "mvault/v2"),
            ("FLOE-AES-256-GCM", "FLOE-AES-128-GCM"),
            (r#""segment_size":1048576"#, r#""segment_size":2097152"#),
            (r#""part_size":16777216"#, r#""part_size":16777217"#),
            (r#""part_size":16777216"#, r#""part_size":8388608"#),
            (r#""length":100"#, r#""length":31"#),
            (r#""length":100"#, r#""length":0"#),
            (r#""length":100"#, r#""length":9007199254740992"#),
            (r#""length":100"#, r#""length":18446744073709551615"#),
            (r#""length":100"#, r#""length":99999999999999999999999"#),
            (r#""length":100"#, r#""length":-1"#),
            (r#""length":34603008"#, r#""length":34603009"#),
            (r#""length":34603008"#, r#""length":67108864"#),
            (r#""tree":null"#, r#""tree":"""#),
            ("00000010000000000020", "00000020000000000020"),
            ("00000010000000000020", "01000010000000000020"),
            (r#"{"artifact_id""#, r#"{"a":1,"artifact_id""#),
            (r#""suite""#, r#""suite":"FLOE-AES-256-GCM","suite""#),
            (r#"GCM"}"#, r#"GCM"} "#),
            (r#"GCM"}"#, r#"GCM"}}"#),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from} is not in the manifest");
            assert!(Manifest::parse(bad.as_bytes()).is_err(), "{from} -> {to}");
        }
        let single = stream(32);
        let tree = Manifest { streams: vec![Stream { tree: Some(blake3::hash(b"")), ..single }], ..manifest() };
        assert!(Manifest::parse(&tree.to_vec().expect("written")).is_err(), "a tree for one segment");
        let deep = "[".repeat(1 << 20);
        assert!(Manifest::parse(deep.as_bytes()).is_err());
    }
}
