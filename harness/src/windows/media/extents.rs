//! A file on a disc: the pieces it lies in, read as one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Bytes of the disc that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where they begin on the disc; `None`: nowhere, they are zeros.
    pub(super) offset: Option<u64>,
    pub(super) length: u64,
}

/// A file on the disc.
#[derive(Debug)]
pub struct DiscFile<'a> {
    disc: &'a File,
    extents: Vec<Extent>,
    length: u64,
}

impl<'a> DiscFile<'a> {
    /// The file that lies in `extents` one after another, cut to `length`.
    pub(super) fn new(disc: &'a File, extents: Vec<Extent>, length: u64) -> Self {
        let there = extents.iter().fold(0u64, |sum, extent| sum.saturating_add(extent.length));
        Self { disc, extents, length: length.min(there) }
    }

    /// Its length in bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// Fills `into` from `offset` on.
    ///
    /// # Errors
    /// The file or the disc ends before; the disk's errors.
    pub fn read_at(&self, mut offset: u64, mut into: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(into.len() as u64).filter(|end| *end <= self.length);
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        for extent in &self.extents {
            if into.is_empty() {
                break;
            }
            if offset >= extent.length {
                offset -= extent.length;
                continue;
            }
            let here = usize::try_from(extent.length - offset).unwrap_or(usize::MAX).min(into.len());
            let (part, rest) = into.split_at_mut(here);
            match extent.offset {
                Some(start) => self.disc.read_exact_at(part, start.checked_add(offset).ok_or(io::ErrorKind::UnexpectedEof)?)?,
                None => part.fill(0),
            }
            (into, offset) = (rest, 0);
        }
        Ok(())
    }

    /// The whole file.
    ///
    /// # Errors
    /// It is longer than `most`; the disk's errors.
    pub fn read_all(&self, most: usize) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.length).ok().filter(|length| *length <= most);
        let mut content = vec![0; length.ok_or(io::ErrorKind::FileTooLarge)?];
        self.read_at(0, &mut content)?;
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn pieces_are_read_as_one_and_what_lies_nowhere_is_zeros() {
        let mut disc = tempfile::tempfile().unwrap();
        disc.write_all(b"....abc.....defg").unwrap();
        let piece = |offset, length| Extent { offset, length };
        let file = DiscFile::new(&disc, vec![piece(Some(4), 3), piece(None, 2), piece(Some(12), 4)], 8);
        assert_eq!(file.read_all(100).unwrap(), b"abc\0\0def");
        let mut middle = [0; 4];
        file.read_at(2, &mut middle).unwrap();
        assert_eq!(&middle, b"c\0\0d");
        assert!(file.read_at(5, &mut middle).is_err());
        assert_eq!(file.read_all(7).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
