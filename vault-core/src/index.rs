//! The index: the private description of an artifact, encrypted as a stream of its own.

use serde::{Deserialize, Serialize};

use crate::{
    canonical::{self, Hex},
    error::{Error, Result},
    manifest::{MAX_INDEX, Manifest},
    names::{FilePath, Glob, find_collision, nearest},
    stream::StreamKey,
};

mod reuse;

pub use reuse::{MAX_REGIONS, Region};
pub(crate) use reuse::{WireRegion, check_regions};

const DOCUMENT: &str = "index";
const FORMAT: &str = "mvault-index/v1";
/// The longest private provenance, in bytes.
const MAX_PROVENANCE: usize = 1 << 20;

/// Which files an artifact holds, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    files: Vec<File>,
    keys: Vec<(u32, StreamKey)>,
    notes: Notes,
}

/// What an index says besides, for those who can open the artifact only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notes {
    /// A SLSA provenance v1 predicate as JSON text of at most 1 MiB. It is text here so that an index holds no other
    /// numbers and keys than its own; whoever shows it parses it.
    pub provenance: Option<String>,
    /// The bundle of OMS that vouches for the files, byte for byte.
    pub oms: Option<String>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path.
    pub path: FilePath,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it may be executed.
    pub executable: bool,
    /// The plaintext ranges that, joined, are the file.
    pub extents: Vec<Extent>,
    /// The SHA-256 of the file, if the sealer took it.
    pub sha256: Option<[u8; 32]>,
    /// The file cut into ranges with digests, if the sealer took them.
    pub regions: Vec<Region>,
}

/// A range of the plaintext of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extent {
    /// Length in bytes, at least 1.
    pub length: u64,
    /// Where it begins in the stream's plaintext.
    pub offset: u64,
    /// The stream's number.
    pub stream: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireIndex {
    files: Vec<WireFile>,
    format: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keys: Option<Vec<reuse::WireKey>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oms: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provenance: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireFile {
    digests: WireDigests,
    executable: bool,
    extents: Vec<Extent>,
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    regions: Option<Vec<WireRegion>>,
    size: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireDigests {
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Hex<32>>,
}

impl Index {
    /// An index of these files, which it sorts by path.
    ///
    /// # Errors
    /// [`Error::Misuse`] if two paths are the same, differ only by case or normalization, or one is a folder of another.
    pub fn new(mut files: Vec<File>) -> Result<Self> {
        files.sort_by(|a, b| a.path.cmp(&b.path));
        check_paths(&files).map_err(Error::Misuse)?;
        Ok(Self { files, keys: Vec::new(), notes: Notes::default() })
    }

    /// The same index with the keys of the streams that were sealed before, ascending by number.
    #[must_use]
    pub fn with_keys(self, keys: Vec<(u32, StreamKey)>) -> Self {
        Self { keys, ..self }
    }

    /// The same index that says this besides.
    ///
    /// # Errors
    /// [`Error::Misuse`] if the provenance is longer than 1 MiB.
    pub fn with_notes(self, notes: Notes) -> Result<Self> {
        if notes.provenance.as_ref().is_some_and(|text| text.len() > MAX_PROVENANCE) {
            return Err(Error::Misuse("private provenance is longer than 1 MiB".into()));
        }
        Ok(Self { notes, ..self })
    }

    /// Reads the decrypted index of `manifest` and checks every rule of the format.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if it is not canonical or breaks a rule.
    pub fn parse(bytes: &[u8], manifest: &Manifest) -> Result<Self> {
        let wire: WireIndex = canonical::from_slice(DOCUMENT, bytes)?;
        if wire.format != FORMAT {
            return Err(Error::format(DOCUMENT, "is of another format"));
        }
        let files = wire.files.into_iter().map(WireFile::check).collect::<Result<Vec<_>>>()?;
        if !files.is_sorted_by(|a, b| a.path < b.path) {
            return Err(Error::format(DOCUMENT, "is not sorted by path"));
        }
        check_paths(&files).map_err(|rule| Error::format(DOCUMENT, rule))?;
        let extents = files.iter().flat_map(|file| file.extents.iter().copied());
        check_extents(extents, manifest).map_err(|rule| Error::format(DOCUMENT, rule))?;
        reuse::check_count(&files)?;
        let keys = reuse::check_keys(wire.keys, manifest)?;
        if wire.provenance.as_ref().is_some_and(|text| text.len() > MAX_PROVENANCE) {
            return Err(Error::limit(DOCUMENT, "length of the provenance", MAX_PROVENANCE as u64));
        }
        if wire.oms.as_ref().is_some_and(String::is_empty) {
            return Err(Error::format(DOCUMENT, "has an empty OMS bundle"));
        }
        Ok(Self { files, keys, notes: Notes { provenance: wire.provenance, oms: wire.oms } })
    }

    /// The bytes to encrypt.
    ///
    /// # Errors
    /// [`Error::Misuse`] if it is longer than 64 MiB.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let wire = WireIndex {
            files: self.files.iter().map(WireFile::of).collect(),
            format: FORMAT.into(),
            keys: (!self.keys.is_empty()).then(|| reuse::write_keys(&self.keys)),
            oms: self.notes.oms.clone(),
            provenance: self.notes.provenance.clone(),
        };
        let bytes = canonical::to_vec(DOCUMENT, &wire)?;
        if bytes.len() as u64 > MAX_INDEX {
            return Err(Error::Misuse("the artifact has too many files: their index is longer than 64 MiB".into()));
        }
        Ok(bytes)
    }

    /// The key of a stream that was sealed before, by the stream's number.
    pub fn key(&self, stream: u32) -> Option<&StreamKey> {
        let found = self.keys.binary_search_by_key(&stream, |(number, _)| *number);
        found.ok().map(|at| &self.keys[at].1)
    }

    /// What it says besides.
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// The files, sorted by path.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The OMS bundle that the sealer checked these files against, as its maker wrote it.
    pub fn oms(&self) -> Option<&str> {
        self.notes.oms.as_deref()
    }

    /// A file by its path.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn file(&self, path: &str) -> Result<&File> {
        let found = self.files.binary_search_by(|file| file.path.as_str().cmp(path));
        let at = found.map_err(|_| Error::NotFound { what: format!("file {path:?} in the artifact") })?;
        Ok(&self.files[at])
    }

    /// The files that are called or like any of these, in order.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is none for one of them, with the names that come nearest.
    pub fn select(&self, patterns: &[Glob]) -> Result<Vec<&File>> {
        // A name may hold a `*` itself.
        let is_meant = |pattern: &Glob, path: &str| match self.file(pattern.as_str()) {
            Ok(named) => named.path.as_str() == path,
            Err(_) => pattern.matches(path),
        };
        for pattern in patterns {
            if !self.files.iter().any(|file| is_meant(pattern, file.path.as_str())) {
                let mut near = Vec::new();
                nearest(pattern, self.files.iter().map(|file| file.path.as_str()), &mut near);
                return Err(pattern.unmatched("file", &near));
            }
        }
        let meant = |file: &&File| patterns.iter().any(|pattern| is_meant(pattern, file.path.as_str()));
        Ok(self.files.iter().filter(meant).collect())
    }

    /// The files' sizes together.
    pub fn total_size(&self) -> u64 {
        self.files.iter().map(|file| file.size).fold(0, u64::saturating_add)
    }
}

impl WireFile {
    fn of(file: &File) -> Self {
        Self {
            digests: WireDigests { sha256: file.sha256.map(Hex) },
            executable: file.executable,
            extents: file.extents.clone(),
            path: file.path.to_string(),
            regions: (!file.regions.is_empty()).then(|| file.regions.iter().map(WireRegion::of).collect()),
            size: file.size,
        }
    }

    fn check(self) -> Result<File> {
        let path = FilePath::new(&self.path)
            .map_err(|rule| Error::format(DOCUMENT, format!("path {:?} {rule}", self.path)))?;
        let sum = self.extents.iter().try_fold(0u64, |sum, extent| sum.checked_add(extent.length));
        if sum != Some(self.size) || self.extents.iter().any(|extent| extent.length == 0) {
            return Err(Error::format(
                DOCUMENT,
                format!("path {:?} has a size that is not that of its extents", self.path),
            ));
        }
        let sha256 = self.digests.sha256.map(|hex| hex.0);
        let regions = check_regions(self.regions, self.size)
            .map_err(|rule| Error::format(DOCUMENT, format!("path {:?} {rule}", self.path)))?;
        Ok(File { path, size: self.size, executable: self.executable, extents: self.extents, sha256, regions })
    }
}

fn check_paths(files: &[File]) -> Result<(), String> {
    match find_collision(files.iter().map(|file| &file.path)) {
        None => Ok(()),
        Some(path) => Err(format!("path {:?} collides with another path", path.as_str())),
    }
}

/// Every extent lies within its stream, and no two overlap.
///
/// # Errors
/// The rule that is broken.
pub(crate) fn check_extents(extents: impl Iterator<Item = Extent>, manifest: &Manifest) -> Result<(), &'static str> {
    let mut extents: Vec<Extent> = extents.collect();
    for extent in &extents {
        let stream = manifest.streams.get(extent.stream as usize);
        let end = extent.offset.checked_add(extent.length);
        if stream.zip(end).is_none_or(|(stream, end)| end > stream.layout.plaintext_len()) {
            return Err("has an extent outside its stream");
        }
    }
    extents.sort_by_key(|extent| (extent.stream, extent.offset));
    let overlap =
        |pair: &[Extent]| pair[0].stream == pair[1].stream && pair[0].offset + pair[0].length > pair[1].offset;
    if extents.windows(2).any(overlap) {
        return Err("has extents that overlap");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        floe::{HEADER_LEN, Header},
        manifest::Stream,
        tree::{Layout, PartSize},
    };

    fn manifest() -> Manifest {
        let stream = |plaintext| {
            let layout = Layout::of_plaintext(plaintext, PartSize::DEFAULT).expect("legal");
            let parts = vec![blake3::hash(b""); usize::try_from(layout.parts()).expect("few")];
            Stream { header: Header::from_bytes([0; HEADER_LEN]), layout, parts, tree: None, origin: None }
        };
        Manifest {
            artifact_id: [0; 32],
            part_size: PartSize::DEFAULT,
            index: stream(10),
            streams: vec![stream(100), stream(50)],
        }
    }

    fn file(path: &str, extents: &[(u32, u64, u64)]) -> File {
        let extents: Vec<_> =
            extents.iter().map(|&(stream, offset, length)| Extent { length, offset, stream }).collect();
        File {
            path: FilePath::new(path).expect(path),
            size: extents.iter().map(|e| e.length).sum(),
            executable: false,
            extents,
            sha256: None,
            regions: Vec::new(),
        }
    }

    #[test]
    fn an_index_survives_writing_and_reading() {
        let hashed = File { sha256: Some([7; 32]), executable: true, ..file("b", &[(0, 0, 100)]) };
        let index = Index::new(vec![hashed, file("a/ä", &[(1, 0, 50)]), file("empty", &[])]).expect("legal");
        let bytes = index.to_vec().expect("written");
        let read = Index::parse(&bytes, &manifest()).expect("read");
        assert_eq!(read, index);
        assert_eq!(read.file("b").expect("there").size, 100);
        assert_eq!(read.total_size(), 150);
        assert!(matches!(read.file("c"), Err(Error::NotFound { .. })));

        let index =
            index.with_notes(Notes { oms: Some("{\"mediaType\":\"…\"}\n".into()), ..Notes::default() }).expect("legal");
        let read = Index::parse(&index.to_vec().expect("written"), &manifest()).expect("read");
        assert_eq!(read, index);
        assert_eq!(read.oms(), Some("{\"mediaType\":\"…\"}\n"));
    }

    #[test]
    fn provenance_is_kept_as_text_and_is_not_null() {
        let notes = Notes { provenance: Some(r#"{"lr":0.1}"#.into()), ..Notes::default() };
        let index = Index::new(vec![file("empty", &[])]).expect("legal").with_notes(notes).expect("short");
        let bytes = index.to_vec().expect("written");
        assert_eq!(Index::parse(&bytes, &manifest()).expect("read"), index);
        let text = String::from_utf8(bytes).expect("UTF-8");
        for other in ["null", "{}", "1"] {
            let bad = text.replace(r#""{\"lr\":0.1}""#, other);
            assert_ne!(bad, text);
            assert!(Index::parse(bad.as_bytes(), &manifest()).is_err(), "{bad}");
        }
        let long = text.replace("lr", &"x".repeat(MAX_PROVENANCE));
        assert!(Index::parse(long.as_bytes(), &manifest()).expect_err("long").to_string().contains("limit"));
        let long = Notes { provenance: Some("x".repeat(MAX_PROVENANCE + 1)), ..Notes::default() };
        assert!(index.with_notes(long).is_err());
    }

    #[test]
    fn every_rule_of_the_format_is_checked() {
        let parse = |text: &str| Index::parse(text.as_bytes(), &manifest()).map_err(|e| e.to_string());
        let one = |path: &str, extents: &str, size: u64| {
            format!(r#"{{"digests":{{}},"executable":false,"extents":[{extents}],"path":{path:?},"size":{size}}}"#)
        };
        let all = |files: &[String]| format!(r#"{{"files":[{}],"format":"mvault-index/v1"}}"#, files.join(","));
        let extent = |stream: u64, offset: u64, length: u64| {
            format!(r#"{{"length":{length},"offset":{offset},"stream":{stream}}}"#)
        };
        assert!(parse(&all(&[one("a", &extent(0, 0, 100), 100)])).is_ok());
        for (bad, message) in [
            (all(&[one("a", &extent(0, 0, 100), 99)]), "a size that is not that of its extents"),
            (all(&[one("a", &extent(0, 0, 0), 0)]), "a size that is not that of its extents"),
            (all(&[one("a", &extent(0, 1, 100), 100)]), "an extent outside its stream"),
            (all(&[one("a", &extent(2, 0, 1), 1)]), "an extent outside its stream"),
            (all(&[one("a", &extent(0, 9_007_199_254_740_991, 100), 100)]), "an extent outside its stream"),
            (all(&[one("a", &extent(0, 0, 60), 60), one("b", &extent(0, 59, 41), 41)]), "extents that overlap"),
            (all(&[one("b", "", 0), one("a", "", 0)]), "not sorted"),
            (all(&[one("a", "", 0), one("a", "", 0)]), "not sorted"),
            (all(&[one("A", "", 0), one("a", "", 0)]), "collides"),
            (all(&[one("a", "", 0), one("a/b", "", 0)]), "collides"),
            (all(&[one("../a", "", 0)]), "`.` or `..`"),
            (all(&[one("/a", "", 0)]), "absolute"),
            (all(&[one("a\u{8}", "", 0)]).replace("\\u{8}", "\\b"), "control character"),
            (all(&[]).replace("v1", "v2"), "another format"),
            (all(&[]) + " ", "not canonical"),
            (all(&[]).replace("v1\"", "v1\",\"oms\":\"\""), "empty OMS bundle"),
            (all(&[]).replace("v1\"", "v1\",\"oms\":null"), "not canonical"),
            (all(&[]).replace("v1\"", "v1\",\"oms\":{}"), "invalid type"),
        ] {
            let error = parse(&bad).expect_err(&bad);
            assert!(error.contains(message), "{bad}: {error}");
        }
    }
}
