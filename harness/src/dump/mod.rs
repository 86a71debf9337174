//! Crash dumps: written from the memory of a guest that has bug checked, read again for triage.
//!
//! ntlet leaves the header of a dump in its memory, under a symbol of its image ([`write()`]). What is written is a complete memory dump
//! as Windows makes it: the header, then every page of every run. Pages that are zero take no room on the disk.

mod pages;
pub mod read;
pub mod triage;

use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use kd::data::{DUMP_FULL, DUMP_SIGNATURE, DumpHeader, MOST_RUNS};
use kd::zerocopy::{FromBytes as _, IntoBytes as _};
use object::{Object as _, ObjectSymbol as _};

use crate::files::write_whole_by;
use crate::memory::GuestMemory;

/// The header's symbol in the image.
const SYMBOL: &str = "ntlet_dump_header";
/// Virtual minus physical address of the image.
const IMAGE_BASE: u64 = 0xffff_ffff_8000_0000;
/// Largest image that is read.
const LARGEST_IMAGE: u64 = 1 << 30;
/// Size of a page.
pub const PAGE: u64 = 4096;
/// What is copied at a time.
const BLOCK: usize = 1 << 20;

/// Why there is no dump.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// Reading or writing failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The image is none that leaves a header.
    #[error("the image has no symbol {SYMBOL}: it is not ntlet, or was stripped")]
    NoSymbol,
    /// The guest stopped before it had made the header.
    #[error("the guest has left no header of a dump in its memory")]
    NoHeader,
    /// The guest's header is damaged.
    #[error("the header of the dump in the guest's memory is damaged: {0}")]
    Damaged(String),
}

/// Writes the dump of a guest that has bug checked.
///
/// # Errors
/// See [`DumpError`]; no file is left then.
pub fn write(memory: &GuestMemory, image: &Path, to: &Path) -> Result<(), DumpError> {
    let place = symbol_in(image, SYMBOL)?;
    let mut bytes = vec![0; size_of::<DumpHeader>()];
    memory.read(place, &mut bytes)?;
    let header = DumpHeader::read_from_bytes(&bytes).map_err(|_| DumpError::NoHeader)?;
    if header.signature != DUMP_SIGNATURE {
        return Err(DumpError::NoHeader);
    }
    check(&header, memory.size())?;
    Ok(write_whole_by(to, |file| {
        file.write_all(header.as_bytes())?;
        let mut block = vec![0; BLOCK];
        for run in &header.memory.runs[..header.memory.run_count as usize] {
            let (mut at, end) = (run.first * PAGE, (run.first + run.pages) * PAGE);
            while at < end {
                let piece = &mut block[..BLOCK.min((end - at) as usize)];
                memory.read(at, piece)?;
                write_sparsely(file, piece)?;
                at += piece.len() as u64;
            }
        }
        let length = file.stream_position()?;
        file.set_len(length)
    })?)
}

/// Physical address of a variable of the image.
///
/// # Errors
/// See [`DumpError`].
pub fn symbol_in(image: &Path, name: &str) -> Result<u64, DumpError> {
    if std::fs::metadata(image)?.len() > LARGEST_IMAGE {
        return Err(DumpError::NoSymbol);
    }
    let bytes = std::fs::read(image)?;
    let file = object::File::parse(&*bytes).map_err(|_| DumpError::NoSymbol)?;
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name)).ok_or(DumpError::NoSymbol)?;
    symbol.address().checked_sub(IMAGE_BASE).ok_or(DumpError::NoSymbol)
}

/// The guest may write anything into its memory: only runs that lie in it, one after the other, are taken.
fn check(header: &DumpHeader, size: u64) -> Result<(), DumpError> {
    let damaged = |what: &str| Err(DumpError::Damaged(what.to_owned()));
    let count = header.memory.run_count as usize;
    if count == 0 || count > MOST_RUNS || header.dump_type != DUMP_FULL {
        return damaged("it has no runs of memory, or too many");
    }
    let (mut pages, mut last) = (0u64, 0);
    for run in &header.memory.runs[..count] {
        let Some(end) = run.first.checked_add(run.pages).filter(|end| run.first >= last && *end < u64::MAX / PAGE) else {
            return damaged("its runs of memory are not in order");
        };
        (pages, last) = (pages.saturating_add(run.pages), end);
    }
    if pages > size / PAGE {
        return damaged("its runs have more pages than the machine");
    }
    Ok(())
}

/// Writes whole pages; those that are zero become holes.
pub(crate) fn write_sparsely(file: &mut std::fs::File, bytes: &[u8]) -> io::Result<()> {
    let is_zero = |page: &[u8]| page.iter().all(|byte| *byte == 0);
    for same in bytes.chunks(PAGE as usize).collect::<Vec<_>>().chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        if is_zero(same[0]) {
            file.seek(SeekFrom::Current(same.iter().map(|page| page.len() as i64).sum()))?;
        } else {
            for page in same {
                file.write_all(page)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kd::data::Run;
    use kd::zerocopy::FromZeros as _;

    use super::*;

    fn header(runs: &[(u64, u64)]) -> Box<DumpHeader> {
        let mut header = Box::new(DumpHeader::new_zeroed());
        header.fill();
        header.dump_type = DUMP_FULL;
        header.memory.run_count = runs.len() as u32;
        for (place, (first, pages)) in header.memory.runs.iter_mut().zip(runs) {
            *place = Run { first: *first, pages: *pages };
        }
        header
    }

    #[test]
    fn runs_that_a_guest_made_up_are_refused() {
        check(&header(&[(0, 156), (256, 100)]), 1 << 20).unwrap();
        for runs in [&[][..], &[(0, 257)], &[(0, u64::MAX)], &[(5, 1), (0, 1)], &[(u64::MAX, 1)], &[(0, 200), (200, 200)]] {
            assert!(check(&header(runs), 1 << 20).is_err(), "{runs:?}");
        }
    }

    #[test]
    fn pages_of_zeros_take_no_room() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        let mut bytes = vec![0; 64 * PAGE as usize];
        bytes[40 * PAGE as usize] = 7;
        write_whole_by(&path, |file| {
            write_sparsely(file, &bytes)?;
            let length = file.stream_position()?;
            file.set_len(length)
        })
        .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        use std::os::unix::fs::MetadataExt as _;
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 <= 16 * PAGE);
    }
}
