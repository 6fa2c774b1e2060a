//! Some tensors of sealed safetensors files, as a safetensors file of their own.
//!
//! What comes out is derived: its header is written anew, so nobody signed it as it is; every byte of every tensor was
//! authenticated. Only the segments that hold those tensors are fetched.

use std::{collections::BTreeMap, ops::Range};

use serde_json::{Map, Value, json};

use super::{DOCUMENT, MAX_HEADER, METADATA, PREFIX, Table, Tensor};
use crate::{
    error::{Error, Result},
    index::{Extent, File},
    names::{Glob, nearest},
    open::Opened,
    tree::PAYLOAD,
    workers::Progress,
};

/// The header's length is a multiple of this, as in the reference implementation, so that tensors are aligned.
const ALIGNMENT: usize = 8;
/// How the names of safetensors files end.
const ENDING: &str = ".safetensors";

/// A file, and those of its tensors that are wanted.
#[derive(Debug)]
pub struct Selected<'a> {
    /// The file.
    pub file: &'a File,
    /// Its table, of which only those tensors are left.
    pub table: Table,
}

/// A safetensors file made of tensors of others.
#[derive(Debug)]
pub struct Excerpt {
    /// The length of the header, and the header.
    head: Vec<u8>,
    /// A file that is the ranges to read, joined.
    file: File,
    /// Which bytes of that belong to tensors. What lies between them is in segments that are read anyway.
    kept: Vec<Range<u64>>,
    tensors: usize,
    length: u64,
}

/// Finds the tensors whose names are like any of `patterns` in those of `files` that are called `.safetensors`. Files
/// without one are left out.
///
/// # Errors
/// [`Error::NotFound`] if nothing is like one of the patterns, with the names that come nearest; otherwise as
/// [`read`](super::read).
pub fn select<'a>(opened: &Opened<'_>, files: &[&'a File], patterns: &[Glob]) -> Result<Vec<Selected<'a>>> {
    let mut selected = Vec::new();
    let mut unmatched: Vec<_> = patterns.iter().map(|pattern| (pattern, Vec::new())).collect();
    for file in files.iter().filter(|file| file.path.as_str().ends_with(ENDING)) {
        let mut table = super::table(opened, file)?;
        for (pattern, near) in &mut unmatched {
            nearest(pattern, table.tensors.iter().map(|tensor| tensor.name.as_str()), near);
        }
        unmatched.retain(|(pattern, _)| !table.tensors.iter().any(|tensor| pattern.matches(&tensor.name)));
        table.tensors.retain(|tensor| patterns.iter().any(|pattern| pattern.matches(&tensor.name)));
        if !table.tensors.is_empty() {
            selected.push(Selected { file, table });
        }
    }
    match unmatched.into_iter().next() {
        None => Ok(selected),
        Some((pattern, near)) => Err(pattern.unmatched("tensor", &near)),
    }
}

impl Excerpt {
    /// One file of all these tensors.
    ///
    /// # Errors
    /// [`Error::Misuse`] if two have one name, or the header would be longer than the format allows.
    pub fn new(selected: &[Selected<'_>]) -> Result<Self> {
        let Some(first) = selected.first() else { return Err(Error::Misuse("an excerpt of nothing".into())) };
        let mut tensors: Vec<(&Selected<'_>, &Tensor)> =
            selected.iter().flat_map(|one| one.table.tensors.iter().map(move |tensor| (one, tensor))).collect();
        // Wide elements first, as the reference implementation writes them: so each tensor is aligned.
        tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype.bits()));
        let (mut ranges, mut header, mut end) = (Ranges::default(), Map::new(), 0);
        for (one, tensor) in &tensors {
            let start = end;
            end += tensor.length;
            let entry = json!({
                "dtype": tensor.dtype.as_str(), "shape": tensor.shape, "data_offsets": [start, end],
            });
            if header.insert(tensor.name.clone(), entry).is_some() {
                let name: String = tensor.name.chars().take(100).collect();
                return Err(Error::Misuse(format!("two files have a tensor {name:?}: choose one with --file")));
            }
            let from = one.table.data + tensor.offset;
            ranges.add(one.file, from..from + tensor.length);
        }
        let metadata = common_metadata(selected);
        if !metadata.is_empty() {
            header.insert(METADATA.into(), json!(metadata));
        }
        let head = with_length(&Value::Object(header))?;
        let Ranges { extents, kept, size } = ranges;
        let file =
            File { path: first.file.path.clone(), size, executable: false, extents, sha256: None, regions: Vec::new() };
        Ok(Self { length: head.len() as u64 + end, head, file, kept, tensors: tensors.len() })
    }

    /// The path of the first file that it is an excerpt of.
    pub fn path(&self) -> &str {
        self.file.path.as_str()
    }

    /// How many tensors it has.
    pub fn tensors(&self) -> usize {
        self.tensors
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Gives it to `out` in order, every piece authenticated.
    ///
    /// # Errors
    /// As [`Opened::stream`].
    pub fn stream(
        &self,
        opened: &Opened<'_>,
        out: &mut dyn FnMut(&[u8]) -> Result<()>,
        progress: &dyn Progress,
    ) -> Result<()> {
        out(&self.head)?;
        let (mut at, mut kept) = (0, self.kept.iter().peekable());
        let mut sieve = |bytes: &[u8]| {
            let end = at + bytes.len() as u64;
            while let Some(range) = kept.peek() {
                let (from, to) = (range.start.max(at), range.end.min(end));
                if from < to {
                    #[expect(clippy::cast_possible_truncation, reason = "both are within `bytes`")]
                    out(&bytes[(from - at) as usize..(to - at) as usize])?;
                }
                if range.end > end {
                    break;
                }
                kept.next();
            }
            at = end;
            Ok(())
        };
        opened.stream(&self.file, 0..self.file.size, &mut sieve, progress)
    }
}

/// What all of the files say about themselves, as far as they do not contradict each other.
fn common_metadata(selected: &[Selected<'_>]) -> BTreeMap<String, String> {
    let mut common: BTreeMap<String, Option<String>> = BTreeMap::new();
    for (key, value) in selected.iter().flat_map(|one| &one.table.metadata) {
        let said = common.entry(key.clone()).or_insert_with(|| Some(value.clone()));
        if said.as_ref() != Some(value) {
            *said = None;
        }
    }
    common.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
}

fn with_length(header: &Value) -> Result<Vec<u8>> {
    let mut json = header.to_string().into_bytes();
    json.resize(json.len().next_multiple_of(ALIGNMENT), b' ');
    if json.len() as u64 > MAX_HEADER {
        return Err(Error::Misuse(format!("the {DOCUMENT} of so many tensors is longer than {MAX_HEADER} bytes")));
    }
    let mut head = Vec::with_capacity(PREFIX + json.len());
    head.extend((json.len() as u64).to_le_bytes());
    head.append(&mut json);
    Ok(head)
}

/// Ranges of files, as ranges of streams. Neighbours that share a segment become one, so that it is read once.
#[derive(Default)]
struct Ranges {
    extents: Vec<Extent>,
    kept: Vec<Range<u64>>,
    size: u64,
}

impl Ranges {
    fn add(&mut self, file: &File, range: Range<u64>) {
        let mut at = 0;
        for extent in &file.extents {
            let (from, to) = (range.start.max(at), range.end.min(at + extent.length));
            if from < to {
                self.push(extent.stream, extent.offset + (from - at)..extent.offset + (to - at));
            }
            at += extent.length;
        }
    }

    fn push(&mut self, stream: u32, range: Range<u64>) {
        let length = range.end - range.start;
        let segment = |byte: u64| byte / PAYLOAD as u64;
        let mut gap = None;
        if let Some(last) = self.extents.last_mut().filter(|last| last.stream == stream) {
            let end = last.offset + last.length;
            let near = range.start == end || range.start > end && segment(range.start) == segment(end - 1);
            gap = near.then(|| range.start - end);
            last.length += gap.map_or(0, |gap| gap + length);
        }
        if gap.is_none() {
            self.extents.push(Extent { length, offset: range.start, stream });
        }
        let start = self.size + gap.unwrap_or(0);
        self.size = start + length;
        match self.kept.last_mut().filter(|last| last.end == start) {
            Some(last) => last.end = self.size,
            None => self.kept.push(start..self.size),
        }
    }
}

#[cfg(test)]
mod tests;
