//! What the loader hands over at the PVH entry point: memory map, command line, archive, ACPI root pointer.
//! Layout: `xen/include/public/arch-x86/hvm/start_info.h`, version 1. All of it is checked; none of it is trusted.

use crate::layout::{EARLY_LIMIT, PAGE};

/// Bytes of physical memory. Early on only part of it can be reached.
pub trait Physical {
    /// Fills `buffer` from `address`. `false` when not all of it can be reached.
    fn read(&self, address: u64, buffer: &mut [u8]) -> bool;
}

/// Entries of the memory map that are kept. QEMU gives fewer than 16.
const MAX_REGIONS: usize = 64;
const MAGIC: u32 = 0x336e_c578;
/// Type of a memory-map entry that is ordinary memory.
const TYPE_RAM: u32 = 1;

/// Physical addresses from `start` to below `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
}

/// What was handed over.
#[derive(Clone, Debug)]
pub struct BootInfo {
    regions: [Region; MAX_REGIONS],
    region_count: usize,
    /// The command line: address and length without the terminator.
    pub command_line: Region,
    /// The archive; empty when there is none.
    pub archive: Region,
    /// ACPI root pointer, or 0.
    pub rsdp: u64,
}

/// Why the hand-over cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootInfoError {
    /// The structure or something it points to lies where it cannot be reached.
    OutOfReach,
    /// The structure does not start with its magic number.
    WrongMagic,
    /// The structure is of version 0, which has no memory map.
    NoMemoryMap,
    /// The command line has no end within a page.
    CommandLineTooLong,
    /// Addresses wrap around.
    Wraps,
}

/// Reads little-endian integers out of a structure.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_le_bytes(value)
}

pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from(u32_at(bytes, offset)) | u64::from(u32_at(bytes, offset + 4)) << 32
}

impl BootInfo {
    /// Reads the structure at `address`.
    ///
    /// # Errors
    /// See [`BootInfoError`].
    pub fn read(physical: &impl Physical, address: u64) -> Result<BootInfo, BootInfoError> {
        let mut header = [0; 56];
        fetch(physical, address, &mut header)?;
        if u32_at(&header, 0) != MAGIC {
            return Err(BootInfoError::WrongMagic);
        }
        if u32_at(&header, 4) == 0 {
            return Err(BootInfoError::NoMemoryMap);
        }
        let mut info = BootInfo {
            regions: [Region::default(); MAX_REGIONS],
            region_count: 0,
            command_line: find_command_line(physical, u64_at(&header, 24))?,
            archive: Region::default(),
            rsdp: u64_at(&header, 32),
        };
        info.read_memory_map(physical, u64_at(&header, 40), u32_at(&header, 48))?;
        if u32_at(&header, 12) != 0 {
            let mut module = [0; 16];
            fetch(physical, u64_at(&header, 16), &mut module)?;
            let start = u64_at(&module, 0);
            let end = start.checked_add(u64_at(&module, 8)).ok_or(BootInfoError::Wraps)?;
            info.archive = Region { start, end };
        }
        Ok(info)
    }

    /// Ordinary memory, whole pages only.
    pub fn memory(&self) -> impl Iterator<Item = Region> + '_ {
        self.regions[..self.region_count].iter().copied()
    }

    fn read_memory_map(&mut self, physical: &impl Physical, address: u64, entries: u32) -> Result<(), BootInfoError> {
        for index in 0..u64::from(entries).min(MAX_REGIONS as u64) {
            let mut entry = [0; 24];
            fetch(physical, address.checked_add(index * 24).ok_or(BootInfoError::Wraps)?, &mut entry)?;
            let start = u64_at(&entry, 0);
            let end = start.checked_add(u64_at(&entry, 8)).ok_or(BootInfoError::Wraps)?;
            let whole =
                Region { start: start.checked_next_multiple_of(PAGE).ok_or(BootInfoError::Wraps)?, end: end / PAGE * PAGE };
            if u32_at(&entry, 16) == TYPE_RAM && whole.start < whole.end {
                self.regions[self.region_count] = whole;
                self.region_count += 1;
            }
        }
        Ok(())
    }
}

fn fetch(physical: &impl Physical, address: u64, buffer: &mut [u8]) -> Result<(), BootInfoError> {
    if physical.read(address, buffer) { Ok(()) } else { Err(BootInfoError::OutOfReach) }
}

fn find_command_line(physical: &impl Physical, start: u64) -> Result<Region, BootInfoError> {
    if start == 0 {
        return Ok(Region::default());
    }
    if start >= EARLY_LIMIT {
        return Err(BootInfoError::OutOfReach);
    }
    for end in start..start + PAGE {
        let mut byte = [0];
        fetch(physical, end, &mut byte)?;
        if byte == [0] {
            return Ok(Region { start, end });
        }
    }
    Err(BootInfoError::CommandLineTooLong)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Physical memory that starts at address 0.
    pub(crate) struct Bytes(pub(crate) Vec<u8>);

    impl Physical for Bytes {
        fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
            let Some(source) = usize::try_from(address).ok().and_then(|start| self.0.get(start..)?.get(..buffer.len())) else {
                return false;
            };
            buffer.copy_from_slice(source);
            true
        }
    }

    impl Bytes {
        pub(crate) fn put(&mut self, address: usize, bytes: &[u8]) {
            self.0[address..address + bytes.len()].copy_from_slice(bytes);
        }
    }

    const INFO: usize = 0x100;

    /// Start information with a command line, one module and three memory-map entries.
    fn loader() -> Bytes {
        let mut memory = Bytes(vec![0; 0x3000]);
        for (offset, value) in [(0, MAGIC), (4, 1), (12, 1), (48, 3)] {
            memory.put(INFO + offset, &value.to_le_bytes());
        }
        for (offset, value) in [(16, 0x200u64), (24, 0x300), (32, 0xf_5000), (40, 0x400)] {
            memory.put(INFO + offset, &value.to_le_bytes());
        }
        memory.put(0x200, &0x80_0000u64.to_le_bytes());
        memory.put(0x208, &1234u64.to_le_bytes());
        memory.put(0x300, b"suite=suite.exe\0");
        for (index, (start, length, kind)) in
            [(0u64, 0x9_fc00u64, 1u32), (0x9_fc00, 0x400, 2), (0x10_0000, 0xff0_0000, 1)].into_iter().enumerate()
        {
            memory.put(0x400 + index * 24, &start.to_le_bytes());
            memory.put(0x408 + index * 24, &length.to_le_bytes());
            memory.put(0x410 + index * 24, &kind.to_le_bytes());
        }
        memory
    }

    #[test]
    fn everything_that_was_handed_over_is_found() {
        let info = BootInfo::read(&loader(), INFO as u64).unwrap();

        let memory: Vec<Region> = info.memory().collect();
        assert_eq!(memory, [Region { start: 0, end: 0x9_f000 }, Region { start: 0x10_0000, end: 0x1000_0000 }]);
        assert_eq!(info.archive, Region { start: 0x80_0000, end: 0x80_0000 + 1234 });
        assert_eq!(info.command_line, Region { start: 0x300, end: 0x30f });
        assert_eq!(info.rsdp, 0xf_5000);
    }

    #[test]
    fn a_wrong_magic_number_or_an_old_version_is_refused() {
        let mut wrong = loader();
        wrong.put(INFO, &[0]);
        let mut old = loader();
        old.put(INFO + 4, &[0]);

        assert_eq!(BootInfo::read(&wrong, INFO as u64).unwrap_err(), BootInfoError::WrongMagic);
        assert_eq!(BootInfo::read(&old, INFO as u64).unwrap_err(), BootInfoError::NoMemoryMap);
    }

    #[test]
    fn a_command_line_without_an_end_is_refused() {
        let mut memory = loader();
        memory.put(0x1000, &[b'a'; 0x1001]);
        memory.put(INFO + 24, &0x1000u64.to_le_bytes());

        assert_eq!(BootInfo::read(&memory, INFO as u64).unwrap_err(), BootInfoError::CommandLineTooLong);
    }

    #[test]
    fn pointers_out_of_reach_and_sizes_that_wrap_are_refused() {
        let mut far = loader();
        far.put(INFO + 16, &u64::MAX.to_le_bytes());
        let mut wrapping = loader();
        wrapping.put(0x208, &u64::MAX.to_le_bytes());

        assert_eq!(BootInfo::read(&far, INFO as u64).unwrap_err(), BootInfoError::OutOfReach);
        assert_eq!(BootInfo::read(&wrapping, INFO as u64).unwrap_err(), BootInfoError::Wraps);
    }
}
