//! Memory for plaintext: page-aligned, wiped when dropped.

use std::{
    fmt, io,
    ops::{Deref, DerefMut},
};

use memmap2::MmapMut;
use zeroize::Zeroize;

use crate::error::{Error, Result};

/// A page-aligned buffer that is wiped when it is dropped and left out of core dumps.
pub struct Buffer {
    /// An anonymous mapping; none for an empty buffer.
    map: Option<MmapMut>,
}

impl Buffer {
    /// A buffer of `len` zero bytes.
    ///
    /// # Errors
    /// [`Error::Storage`] if there is not that much memory.
    pub fn zeroed(len: u64) -> Result<Self> {
        if len == 0 {
            return Ok(Self { map: None });
        }
        let failed = |source: io::Error| Error::Storage { what: format!("memory for {len} bytes"), source };
        let len = usize::try_from(len).map_err(|_| failed(io::ErrorKind::OutOfMemory.into()))?;
        let map = MmapMut::map_anon(len).map_err(failed)?;
        #[cfg(target_os = "linux")]
        {
            // A hint: a kernel without it serves as well, with larger core dumps.
            let _ = map.advise(memmap2::Advice::DontDump);
        }
        Ok(Self { map: Some(map) })
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.map.as_deref_mut().unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_page_aligned_and_empty_ones_work() {
        let mut buffer = Buffer::zeroed(5_000_000).expect("memory");
        assert_eq!(buffer.as_ptr().addr() % 4096, 0);
        buffer[4_999_999] = 1;
        assert_eq!(format!("{buffer:?}"), "Buffer(5000000 bytes)");
        assert!(Buffer::zeroed(0).expect("nothing").is_empty());
        assert!(Buffer::zeroed(u64::MAX).is_err());
    }
}
