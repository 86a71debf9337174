//! Where the pages of a dump lie in its file. Three ways are known: runs in the header (complete dumps), a bitmap (Windows' kernel,
//! automatic and active dumps), and a list of ranges (what newer debuggers write). The file is not trusted: what is kept of it in memory
//! is bounded, whatever it claims.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use kd::data::{DUMP_FULL, DumpHeader, MOST_RUNS};
use kd::wire::take;

use super::PAGE;

/// Types of dumps with a bitmap, and with a list of ranges.
const WITH_BITMAP: [u32; 2] = [5, 6];
const WITH_RANGES: [u32; 3] = [8, 9, 10];
const HEADER: u64 = size_of::<DumpHeader>() as u64;
/// Largest bitmap, which is enough for a terabyte of memory.
const LARGEST_BITMAP: u64 = 32 << 20;
/// Bytes of a bitmap for which the set bits before them are counted once.
const BLOCK: usize = 512;
/// Most ranges.
const MOST_RANGES: u64 = 1 << 20;

/// Pages that follow each other in memory and in the file.
#[derive(Clone, Copy, Debug)]
struct Extent {
    first: u64,
    pages: u64,
    offset: u64,
}

/// Pages whose bit is set, in order.
#[derive(Debug)]
struct Bitmap {
    bits: u64,
    bytes: Vec<u8>,
    /// Set bits before each block.
    before: Vec<u64>,
    /// Where the first page lies in the file.
    offset: u64,
}

/// The pages of a dump.
#[derive(Debug)]
pub(super) struct Pages(Kind);

#[derive(Debug)]
enum Kind {
    Extents(Vec<Extent>),
    Bitmap(Bitmap),
}

impl Pages {
    /// Those of `file`, which has `length` bytes and begins with `header`. An error says what is wrong with it.
    pub(super) fn of(header: &DumpHeader, file: &File, length: u64) -> Result<Self, String> {
        match header.dump_type {
            DUMP_FULL => of_runs(header, length).map(Kind::Extents),
            kind if WITH_BITMAP.contains(&kind) => of_bitmap(file, length).map(Kind::Bitmap),
            kind if WITH_RANGES.contains(&kind) => of_ranges(file, length).map(Kind::Extents),
            kind => Err(format!("its type is {kind}, and only complete dumps (1), those with a bitmap (5, 6) and those with ranges (8, 9, 10) are known")),
        }
        .map(Self)
    }

    /// Where a page lies in the file.
    pub(super) fn place(&self, page: u64) -> Option<u64> {
        match &self.0 {
            Kind::Extents(extents) => {
                let index = extents.partition_point(|extent| extent.first <= page).checked_sub(1)?;
                let extent = &extents[index];
                (page - extent.first < extent.pages).then(|| extent.offset + (page - extent.first) * PAGE)
            }
            Kind::Bitmap(bitmap) => bitmap.place(page),
        }
    }
}

impl Bitmap {
    fn place(&self, page: u64) -> Option<u64> {
        if page >= self.bits {
            return None;
        }
        let (byte, bit) = ((page / 8) as usize, page % 8);
        let block = byte / BLOCK;
        let is_set = self.bytes[byte] >> bit & 1 != 0;
        let below = u64::from((self.bytes[byte] & ((1 << bit) - 1)).count_ones());
        is_set.then(|| self.offset + (self.before[block] + set_bits(&self.bytes[block * BLOCK..byte]) + below) * PAGE)
    }
}

fn set_bits(bytes: &[u8]) -> u64 {
    bytes.iter().map(|byte| u64::from(byte.count_ones())).sum()
}

/// Puts extents behind each other from `offset` on and in order of their pages. They must not overlap, and lie within the file.
fn lay(runs: impl Iterator<Item = (u64, u64)>, mut offset: u64, length: u64) -> Result<Vec<Extent>, String> {
    let mut extents = Vec::new();
    for (first, pages) in runs {
        let size = pages.checked_mul(PAGE).ok_or("a run of memory is longer than any memory")?;
        first.checked_add(pages).filter(|end| *end <= u64::MAX / PAGE).ok_or("a run of memory ends beyond any address")?;
        extents.push(Extent { first, pages, offset });
        offset = offset.checked_add(size).ok_or("its runs of memory have no end")?;
    }
    if offset > length {
        return Err(format!("it has {length} bytes, and its header tells of {offset}: it was cut short"));
    }
    extents.sort_by_key(|extent| extent.first);
    if extents.windows(2).any(|pair| pair[0].first + pair[0].pages > pair[1].first) {
        return Err("its runs of memory overlap".to_owned());
    }
    Ok(extents)
}

/// Pages of a complete dump: run after run behind the header.
fn of_runs(header: &DumpHeader, length: u64) -> Result<Vec<Extent>, String> {
    let count = header.memory.run_count as usize;
    if count == 0 || count > MOST_RUNS {
        return Err(format!("its header has {count} runs of memory"));
    }
    lay(header.memory.runs[..count].iter().map(|run| (run.first, run.pages)), HEADER, length)
}

/// Pages of a dump with a bitmap.
fn of_bitmap(file: &File, length: u64) -> Result<Bitmap, String> {
    const SIZE: u64 = 0x38;
    let start = second_header::<{ SIZE as usize }>(file)?;
    if !matches!(&start[..8], b"SDMPDUMP" | b"FDMPDUMP") {
        return Err(format!("its bitmap begins with {}", start[..8].escape_ascii()));
    }
    let word = |at: usize| take::<u64>(&start[at..]);
    let (offset, bits) = (word(0x20), word(0x30));
    let size = bits.div_ceil(8);
    if size > LARGEST_BITMAP || HEADER + SIZE + size > length {
        return Err(format!("its bitmap has {bits} bits, which do not fit into it"));
    }
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, HEADER + SIZE).map_err(|_| "it ends inside its bitmap")?;
    if let Some(last) = bytes.last_mut().filter(|_| bits % 8 != 0) {
        *last &= (1 << (bits % 8)) - 1;
    }
    let mut set = 0;
    let mut before = Vec::new();
    for block in bytes.chunks(BLOCK) {
        before.push(set);
        set += set_bits(block);
    }
    let end = offset.checked_add(set * PAGE).ok_or("its pages have no end")?;
    if end > length {
        return Err(format!("it has {length} bytes, and its bitmap tells of {end}: it was cut short"));
    }
    Ok(Bitmap { bits, bytes, before, offset })
}

/// Pages of a dump with a list of ranges. A range of page 0 ends the list.
fn of_ranges(file: &File, length: u64) -> Result<Vec<Extent>, String> {
    const SIZE: u64 = 0x30;
    const RANGE: u64 = 16;
    let start = second_header::<{ SIZE as usize }>(file)?;
    if &start[..12] != b"\x40\0\0\0RDMPDUMP" {
        return Err(format!("its list of ranges begins with {}", start[..12].escape_ascii()));
    }
    let word = |at: usize| take::<u64>(&start[at..]);
    let (count, offset) = (word(0x10) / RANGE, word(0x18));
    if count == 0 || count > MOST_RANGES || HEADER + SIZE + count * RANGE > length {
        return Err(format!("its list has {count} ranges, which do not fit into it"));
    }
    let mut bytes = vec![0; (count * RANGE) as usize];
    file.read_exact_at(&mut bytes, HEADER + SIZE).map_err(|_| "it ends inside its list of ranges")?;
    let ranges = bytes.chunks_exact(RANGE as usize).map(|range| (take::<u64>(range), take::<u64>(&range[8..])));
    lay(ranges.take_while(|(first, _)| *first != 0), offset, length)
}

/// What follows the header.
fn second_header<const SIZE: usize>(file: &File) -> Result<[u8; SIZE], String> {
    let mut start = [0; SIZE];
    file.read_exact_at(&mut start, HEADER).map_err(|_| "it ends before it tells where its pages are")?;
    Ok(start)
}
