//! Reading a crash dump of 64 bits, whoever wrote it: complete memory dumps and those with a bitmap of pages. The file is not trusted:
//! everything is looked up within it, and what it asks for is bounded by its size.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kd::context::Context;
use kd::data::{DUMP_FULL, DUMP_SIGNATURE, DumpHeader, ListEntry, MACHINE_AMD64, MOST_RUNS, ModuleEntry};
use kd::wire::take;
use kd::zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::PAGE;
use crate::console::printable;
use crate::error::{Outcome, Problem};

/// Types of dumps with a bitmap: older and newer kernel, complete, live.
const WITH_BITMAP: [u32; 5] = [5, 6, 8, 9, 10];
/// Most modules that a list may have.
const MOST_MODULES: usize = 1024;
/// Longest name of a module, in bytes.
const LONGEST_NAME: u16 = 512;
/// Largest bitmap, which is enough for a terabyte of memory.
const LARGEST_BITMAP: u64 = 32 << 20;

/// Pages that follow each other in memory and in the file.
#[derive(Clone, Copy, Debug)]
struct Extent {
    first: u64,
    pages: u64,
    offset: u64,
}

/// A module as the dump's list has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpModule {
    /// File name.
    pub name: String,
    /// First byte.
    pub base: u64,
    /// Bytes of address space.
    pub size: u64,
    /// Time stamp of its file.
    pub time_stamp: u32,
}

/// An open dump.
#[derive(Debug)]
pub struct Dump {
    file: File,
    /// Its header.
    pub header: Box<DumpHeader>,
    extents: Vec<Extent>,
}

fn problem(path: &Path, why: impl Into<String>) -> Problem {
    Problem::usage(format!("{} is no crash dump that can be read", path.display()))
        .because(why)
        .so("name a 64-bit kernel dump, complete or with a bitmap, as `rig run --dump` and Windows write them")
}

impl Dump {
    /// Opens a dump.
    ///
    /// # Errors
    /// It is none, damaged, or of a kind that is not known, which the problem names.
    pub fn open(path: &Path) -> Outcome<Self> {
        let file = File::open(path).map_err(|error| problem(path, error.to_string()))?;
        let length = file.metadata().map_err(|error| problem(path, error.to_string()))?.len();
        let mut bytes = vec![0; size_of::<DumpHeader>()];
        file.read_exact_at(&mut bytes, 0)
            .map_err(|_| problem(path, format!("it has {length} bytes, and the header alone has {}", bytes.len())))?;
        let header = Box::new(DumpHeader::read_from_bytes(&bytes).map_err(|_| problem(path, "its header cannot be read"))?);
        if header.signature != DUMP_SIGNATURE {
            return Err(problem(path, format!("it begins with {}, not with PAGEDU64", readable(&header.signature))));
        }
        if header.machine != MACHINE_AMD64 {
            return Err(problem(path, format!("it is of a machine {:#x}, not x64 ({MACHINE_AMD64:#x})", header.machine)));
        }
        let extents = match header.dump_type {
            DUMP_FULL => of_runs(&header, length).map_err(|why| problem(path, why))?,
            kind if WITH_BITMAP.contains(&kind) => of_bitmap(&file, length).map_err(|why| problem(path, why))?,
            kind => {
                return Err(problem(
                    path,
                    format!("its type is {kind}, and only complete dumps and those with a bitmap are known"),
                ));
            }
        };
        Ok(Self { file, header, extents })
    }

    /// Reads physical memory. `None`: not all of it is in the dump.
    #[must_use]
    pub fn read_physical(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        self.each_page(address, buffer, Some)
    }

    /// Reads virtual memory as the crashing processor saw it. `None`: not all of it is mapped, or in the dump.
    #[must_use]
    pub fn read_virtual(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        self.each_page(address, buffer, |address| self.translate(address))
    }

    fn each_page(&self, address: u64, buffer: &mut [u8], physical: impl Fn(u64) -> Option<u64>) -> Option<()> {
        let mut done = 0;
        while done < buffer.len() {
            let here = address.checked_add(done as u64)?;
            let piece = ((PAGE - here % PAGE) as usize).min(buffer.len() - done);
            let place = self.place(physical(here)?)?;
            self.file.read_exact_at(&mut buffer[done..done + piece], place).ok()?;
            done += piece;
        }
        Some(())
    }

    /// Where the byte at a physical address lies in the file.
    fn place(&self, physical: u64) -> Option<u64> {
        let page = physical / PAGE;
        let index = self.extents.partition_point(|extent| extent.first <= page).checked_sub(1)?;
        let extent = &self.extents[index];
        (page - extent.first < extent.pages).then(|| extent.offset + (page - extent.first) * PAGE + physical % PAGE)
    }

    fn translate(&self, address: u64) -> Option<u64> {
        const PRESENT: u64 = 1;
        const LARGE: u64 = 1 << 7;
        const FRAME: u64 = 0x000f_ffff_ffff_f000;
        if ((address as i64) << 16 >> 16) as u64 != address {
            return None;
        }
        let mut table = self.header.directory_table_base & FRAME;
        for level in (0..4).rev() {
            let shift = 12 + 9 * level;
            let mut entry = 0u64;
            let place = self.place(table + (address >> shift & 511) * 8)?;
            self.file.read_exact_at(entry.as_mut_bytes(), place).ok()?;
            if entry & PRESENT == 0 {
                return None;
            }
            if level == 0 || (level <= 2 && entry & LARGE != 0) {
                let within = (1 << shift) - 1;
                return Some(entry & FRAME & !within | address & within);
            }
            table = entry & FRAME;
        }
        None
    }

    /// A structure in virtual memory.
    #[must_use]
    pub fn structure<T: FromBytes + FromZeros + IntoBytes>(&self, address: u64) -> Option<T> {
        let mut value = T::new_zeroed();
        self.read_virtual(address, value.as_mut_bytes()).map(|()| value)
    }

    /// Registers of the crashing processor.
    #[must_use]
    pub fn context(&self) -> Context {
        take(&self.header.context)
    }

    /// The loaded modules, as far as their list can be followed.
    #[must_use]
    pub fn modules(&self) -> Vec<DumpModule> {
        let head = self.header.loaded_modules;
        let mut modules = Vec::new();
        let Some(mut at) = self.structure::<ListEntry>(head).map(|list| list.next) else { return modules };
        while at != head && modules.len() < MOST_MODULES {
            let Some(entry) = self.structure::<ModuleEntry>(at) else { break };
            let mut name = vec![0; usize::from(entry.base_name.length.min(LONGEST_NAME))];
            let text = match self.read_virtual(entry.base_name.buffer, &mut name) {
                Some(()) => name.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect(),
                None => Vec::new(),
            };
            modules.push(DumpModule {
                name: printable(&String::from_utf16_lossy(&text)),
                base: entry.base,
                size: entry.size.into(),
                time_stamp: entry.time_stamp,
            });
            at = entry.links.next;
        }
        modules
    }

    /// The free text in the header.
    #[must_use]
    pub fn comment(&self) -> String {
        let text: Vec<u8> = self.header.comment.iter().copied().take_while(|byte| *byte != 0).collect();
        printable(&String::from_utf8_lossy(&text))
    }
}

fn readable(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Pages of a complete dump: run after run behind the header.
fn of_runs(header: &DumpHeader, length: u64) -> Result<Vec<Extent>, String> {
    let count = header.memory.run_count as usize;
    if count == 0 || count > MOST_RUNS {
        return Err(format!("its header has {count} runs of memory"));
    }
    let mut extents: Vec<Extent> = Vec::new();
    let mut offset = size_of::<DumpHeader>() as u64;
    for run in &header.memory.runs[..count] {
        let size = run.pages.checked_mul(PAGE).ok_or("a run of memory is longer than any memory")?;
        let end = run.first.checked_add(run.pages).ok_or("a run of memory ends beyond any address")?;
        if extents.last().is_some_and(|last| last.first + last.pages > run.first) || end > u64::MAX / PAGE {
            return Err("its runs of memory are not in order".to_owned());
        }
        extents.push(Extent { first: run.first, pages: run.pages, offset });
        offset = offset.checked_add(size).ok_or("its runs of memory have no end")?;
    }
    if offset > length {
        return Err(format!("it has {length} bytes, and its header tells of {offset}: it was cut short"));
    }
    Ok(extents)
}

/// Pages of a dump with a bitmap: those whose bit is set, in order.
fn of_bitmap(file: &File, length: u64) -> Result<Vec<Extent>, String> {
    const HEADER: u64 = size_of::<DumpHeader>() as u64;
    const BITMAP: u64 = HEADER + 0x38;
    let mut start = [0u8; 0x38];
    file.read_exact_at(&mut start, HEADER).map_err(|_| "it ends before the header of its bitmap")?;
    if !matches!(&start[..8], b"SDMPDUMP" | b"FDMPDUMP") {
        return Err(format!("its bitmap begins with {}", readable(&start[..8])));
    }
    let word = |at: usize| take::<u64>(&start[at..]);
    let (first, bits) = (word(0x20), word(0x30));
    let size = bits.div_ceil(8);
    if size > LARGEST_BITMAP || size > length {
        return Err(format!("its bitmap has {bits} bits, which do not fit into it"));
    }
    let mut bitmap = vec![0; size as usize];
    file.read_exact_at(&mut bitmap, BITMAP).map_err(|_| "it ends inside its bitmap")?;
    let is_set = |page: u64| bitmap[(page / 8) as usize] >> (page % 8) & 1 != 0;
    let (mut extents, mut offset): (Vec<Extent>, u64) = (Vec::new(), first);
    for page in (0..bits).filter(|page| is_set(*page)) {
        match extents.last_mut() {
            Some(last) if last.first + last.pages == page => last.pages += 1,
            _ => extents.push(Extent { first: page, pages: 1, offset }),
        }
        offset = offset.checked_add(PAGE).ok_or("its pages have no end")?;
    }
    if offset > length {
        return Err(format!("it has {length} bytes, and its bitmap tells of {offset}: it was cut short"));
    }
    Ok(extents)
}
