//! An input that is read more than once: to compare, and to encrypt.

use std::{ops::Range, path::PathBuf, sync::Arc};

use crate::{
    error::{Error, Result},
    source::{Data, FileId, FileState, SealedFile},
    tree::PAYLOAD,
};

/// Bytes that can be read at any position. A file must stay as it is.
#[derive(Debug, Clone)]
pub(super) enum Original<'a> {
    File(Arc<SealedFile>),
    Bytes(&'a [u8]),
}

/// Where to find an input again.
#[derive(Debug, Clone)]
pub(super) enum Place<'a> {
    File(PathBuf, Option<FileId>),
    Bytes(&'a [u8]),
}

impl<'a> Place<'a> {
    pub(super) fn of(data: &Data<'a>) -> Result<Self> {
        match data {
            Data::Path(path) => Ok(Self::File(path.clone(), None)),
            Data::Found(path, id) => Ok(Self::File(path.clone(), Some(*id))),
            Data::Bytes(bytes) => Ok(Self::Bytes(bytes)),
            Data::Reader(_) => Err(Error::Misuse(
                "standard input can be read once only: seal a file to have it compared with other versions".into(),
            )),
        }
    }

    pub(super) fn open(&self) -> Result<Original<'a>> {
        match self {
            Self::File(path, id) => SealedFile::open_found(path, *id).map(Original::File),
            Self::Bytes(bytes) => Ok(Original::Bytes(bytes)),
        }
    }

    /// Opens it again; it must be as it was.
    pub(super) fn reopen(&self, state: Option<&FileState>) -> Result<Original<'a>> {
        let original = self.open()?;
        if let (Original::File(file), Some(state)) = (&original, state) {
            file.check_state(state)?;
        }
        Ok(original)
    }
}

impl Original<'_> {
    /// How it was when it was opened; bytes in memory do not change.
    pub(super) fn state(&self) -> Option<FileState> {
        self.file().map(|file| file.state())
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(file) => file.len(),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }

    pub(super) fn file(&self) -> Option<&Arc<SealedFile>> {
        match self {
            Self::File(file) => Some(file),
            Self::Bytes(_) => None,
        }
    }

    /// Fills `buffer` from `offset`, within its length.
    pub(super) fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        match self {
            Self::File(file) => file.read_exact_at(offset, buffer),
            Self::Bytes(bytes) => {
                let beyond = || Error::Misuse("a range beyond the input".into());
                let start = usize::try_from(offset).map_err(|_| beyond())?;
                let end = start.checked_add(buffer.len()).ok_or_else(beyond)?;
                buffer.copy_from_slice(bytes.get(start..end).ok_or_else(beyond)?);
                Ok(())
            }
        }
    }

    pub(super) fn check_unchanged(&self) -> Result<()> {
        self.file().map_or(Ok(()), |file| file.check_unchanged())
    }
}

/// Ranges of an input that are read one after the other.
#[derive(Debug, Clone)]
pub(super) struct Gathered<'a> {
    original: Original<'a>,
    ranges: Vec<Range<u64>>,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(original: Original<'a>, mut ranges: Vec<Range<u64>>) -> Self {
        // The first one last, to be taken from the end.
        ranges.reverse();
        Self { original, ranges }
    }

    pub(super) fn original(&self) -> &Original<'a> {
        &self.original
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Takes the next segment's worth off the front, and its length.
    pub(super) fn take(&mut self) -> (Self, usize) {
        let (mut taken, mut left) = (Vec::new(), PAYLOAD as u64);
        while left > 0
            && let Some(mut range) = self.ranges.pop()
        {
            let end = range.end.min(range.start + left);
            left -= end - range.start;
            taken.push(range.start..end);
            range.start = end;
            if range.start < range.end {
                self.ranges.push(range);
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most PAYLOAD, which is a usize")]
        let length = (PAYLOAD as u64 - left) as usize;
        (Self::new(self.original.clone(), taken), length)
    }

    /// Fills `buffer`, which has its length.
    pub(super) fn read(&self, mut buffer: &mut [u8]) -> Result<()> {
        for range in self.ranges.iter().rev() {
            let short = || Error::Misuse("a buffer shorter than what is read".into());
            let length = usize::try_from(range.end - range.start).map_err(|_| short())?;
            let (now, later) = std::mem::take(&mut buffer).split_at_mut_checked(length).ok_or_else(short)?;
            self.original.read_exact_at(range.start, now)?;
            buffer = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::bytes;

    #[test]
    fn ranges_are_gathered_segment_by_segment() {
        let data = bytes(4 * PAYLOAD, 1);
        let payload = PAYLOAD as u64;
        let ranges = vec![5..9, payload..payload + 1, 2 * payload..4 * payload - 1];
        let at = |offset: u64| usize::try_from(offset).expect("small");
        let expected: Vec<u8> = ranges.iter().flat_map(|r| &data[at(r.start)..at(r.end)]).copied().collect();
        let mut gathered = Gathered::new(Original::Bytes(&data), ranges);
        assert_eq!(gathered.len(), expected.len() as u64);
        let mut found = Vec::new();
        while !gathered.is_empty() {
            let (segment, length) = gathered.take();
            let mut buffer = vec![0; length];
            segment.read(&mut buffer).expect("read");
            assert!(length == PAYLOAD || gathered.is_empty(), "only the last is short");
            found.extend(buffer);
        }
        assert!(found == expected);
    }
}
