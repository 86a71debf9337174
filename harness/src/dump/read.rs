//! Reading a crash dump of 64 bits, whoever wrote it. The file is not trusted: everything is looked up within it, and nothing that it
//! claims takes more than a bounded amount of memory or time.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use kd::context::Context;
use kd::data::{DUMP_SIGNATURE, DumpHeader, ListEntry, MACHINE_AMD64, ModuleEntry};
use kd::wire::take;
use kd::zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::PAGE;
use super::pages::Pages;
use crate::console::printable;
use crate::error::{Outcome, Problem};

/// Most modules that a list may have.
const MOST_MODULES: usize = 1024;
/// Longest name of a module, in bytes.
const LONGEST_NAME: u16 = 512;

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
    pages: Pages,
}

fn problem(path: &Path, why: impl Into<String>) -> Problem {
    Problem::usage(format!("{} is no crash dump that can be read", path.display()))
        .because(why)
        .so("name a 64-bit kernel dump, as `rig run --dump` and Windows write them")
}

impl Dump {
    /// Opens a dump.
    ///
    /// # Errors
    /// It is none, damaged, or of a kind that is not known, which the problem names.
    pub fn open(path: &Path) -> Outcome<Self> {
        // Before it is opened: a pipe would wait for somebody to write.
        let metadata = std::fs::metadata(path).map_err(|error| problem(path, error.to_string()))?;
        if !metadata.is_file() {
            return Err(problem(path, "it is no file"));
        }
        let file = File::open(path).map_err(|error| problem(path, error.to_string()))?;
        let length = metadata.len();
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
        let pages = Pages::of(&header, &file, length).map_err(|why| problem(path, why))?;
        Ok(Self { file, header, pages })
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
        self.pages.place(physical / PAGE).map(|place| place + physical % PAGE)
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

#[cfg(test)]
mod tests;
