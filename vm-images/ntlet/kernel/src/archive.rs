//! The ustar archive that comes as the initial ram disk: driver package and suite, flat. Reads only, in place; every length in it
//! is checked, because the file is not ours.

use core::fmt;

const BLOCK: usize = 512;

/// Where an archive stopped making sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ArchiveError {
    /// Offset of the header at fault.
    pub(crate) offset: usize,
    /// What is wrong with it.
    pub(crate) reason: &'static str,
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the archive is damaged at offset {:#x}: {}", self.offset, self.reason)
    }
}

/// One file of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Its name, without a leading `./`.
    pub(crate) name: &'a str,
    /// Its contents.
    pub(crate) contents: &'a [u8],
}

/// An archive in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Archive<'a> {
    bytes: &'a [u8],
}

impl<'a> Archive<'a> {
    /// Over bytes that are believed to be an archive; they are checked as they are walked.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Every regular file. After an error there is nothing more.
    pub(crate) const fn entries(&self) -> Entries<'a> {
        Entries { bytes: self.bytes, offset: 0, ended: false }
    }

    /// The contents of the file of that name, compared without case, wherever in the archive it lies.
    pub(crate) fn find(&self, name: &str) -> Option<&'a [u8]> {
        let found = self.entries().filter_map(Result::ok).find(|entry| file_name(entry.name).eq_ignore_ascii_case(name));
        found.map(|entry| entry.contents)
    }
}

/// The last component of a path.
fn file_name(path: &str) -> &str {
    path.rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Iterator over an archive's regular files.
#[derive(Debug)]
pub(crate) struct Entries<'a> {
    bytes: &'a [u8],
    offset: usize,
    ended: bool,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, ArchiveError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            match self.step() {
                Ok(Some(entry)) => return Some(Ok(entry)),
                Ok(None) => {}
                Err(reason) => {
                    self.ended = true;
                    return Some(Err(ArchiveError { offset: self.offset, reason }));
                }
            }
        }
        None
    }
}

impl<'a> Entries<'a> {
    /// Reads one header; `None` for what is no regular file, and at the end.
    fn step(&mut self) -> Result<Option<Entry<'a>>, &'static str> {
        let rest = self.bytes.get(self.offset..).unwrap_or(&[]);
        if rest.is_empty() {
            self.ended = true;
            return Ok(None);
        }
        let header: &[u8; BLOCK] = rest.first_chunk().ok_or("the header is cut off")?;
        if header.iter().all(|&byte| byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        if &header[257..262] != b"ustar" {
            return Err("the header has no ustar mark");
        }
        let expected = octal(&header[148..156]).ok_or("the checksum is no octal number")?;
        if checksum(header) != expected {
            return Err("the header's checksum is wrong");
        }
        let size = usize::try_from(octal(&header[124..136]).ok_or("the size is no octal number")?)
            .map_err(|_| "the size does not fit into memory")?;
        let contents = rest[BLOCK..].get(..size).ok_or("the file is longer than the archive")?;
        let name = core::str::from_utf8(until_zero(&header[..100])).map_err(|_| "the name is no UTF-8")?;
        // `size` is at most the length of the archive, so that rounding it up cannot overflow.
        self.offset += BLOCK + size.next_multiple_of(BLOCK);
        let is_file = matches!(header[156], b'0' | 0 | b'7');
        Ok(is_file.then_some(Entry { name: name.strip_prefix("./").unwrap_or(name), contents }))
    }
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or(field)
}

/// An octal number that blanks or zeros may surround. `None` for anything else, the binary extension of large sizes included.
fn octal(field: &[u8]) -> Option<u64> {
    let text = core::str::from_utf8(until_zero(field)).ok()?.trim_matches(' ');
    if text.starts_with('+') {
        return None;
    }
    u64::from_str_radix(text, 8).ok()
}

/// Sum of the header's bytes, its own field counted as blanks.
fn checksum(header: &[u8; BLOCK]) -> u64 {
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u64::from(byte)).sum::<u64>();
    sum(&header[..148]) + 8 * u64::from(b' ') + sum(&header[156..])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An archive of these files, as `tar --format=ustar` writes it.
    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, contents) in files {
            let mut header = [0u8; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[124..135].copy_from_slice(format!("{:011o}", contents.len()).as_bytes());
            header[156] = b'0';
            header[257..262].copy_from_slice(b"ustar");
            let sum = checksum(&header);
            header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(contents);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    #[test]
    fn every_file_is_found_whatever_its_case_or_folder() {
        let bytes = archive(&[("./Relay.inf", b"[Version]"), ("drivers/relay.sys", b"MZ")]);
        let archive = Archive::new(&bytes);
        assert_eq!(archive.find("relay.INF"), Some(&b"[Version]"[..]));
        assert_eq!(archive.find("RELAY.SYS"), Some(&b"MZ"[..]));
        assert_eq!(archive.find("other.sys"), None);
    }

    #[test]
    fn a_file_longer_than_the_archive_is_an_error_and_ends_the_walk() {
        let mut bytes = archive(&[("a", &[1; 600])]);
        bytes.truncate(BLOCK + 100);
        let mut entries = Archive::new(&bytes).entries();
        assert_eq!(entries.next(), Some(Err(ArchiveError { offset: 0, reason: "the file is longer than the archive" })));
        assert_eq!(entries.next(), None);
    }

    #[test]
    fn a_changed_header_is_refused() {
        let mut bytes = archive(&[("a", b"x")]);
        bytes[0] = b'b';
        let error = Archive::new(&bytes).entries().next().unwrap().unwrap_err();
        assert_eq!(error.reason, "the header's checksum is wrong");
    }

    #[test]
    fn no_truncation_makes_the_walk_run_on_or_panic() {
        let bytes = archive(&[("a", &[1; 600]), ("b", &[2; 10])]);
        for length in 0..bytes.len() {
            assert!(Archive::new(&bytes[..length]).entries().count() <= 3);
        }
    }
}
