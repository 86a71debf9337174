//! Page tables: entries, and walking, filling and emptying the four levels. Where tables lie and who owns them is the caller's.

use core::sync::atomic::{AtomicU64, Ordering};

/// The entry translates. Without it the processor ignores all other bits.
pub const PRESENT: u64 = 1;
/// Writing is allowed.
pub const WRITABLE: u64 = 1 << 1;
/// User mode may use it.
pub const USER: u64 = 1 << 2;
/// Write-through; with [`CACHE_DISABLE`] selects uncached.
pub const WRITE_THROUGH: u64 = 1 << 3;
/// Cache disable.
pub const CACHE_DISABLE: u64 = 1 << 4;
/// The processor has used the entry. Set in advance, so that it need not be.
pub const ACCESSED: u64 = 1 << 5;
/// The processor has written through the entry. Set in advance, likewise.
pub const DIRTY: u64 = 1 << 6;
/// In an entry of the second level: a large page.
pub const LARGE: u64 = 1 << 7;
/// In an entry of the last level: upper half of the page attribute table, whose first entry this kernel makes write-combining.
pub const WRITE_COMBINED: u64 = 1 << 7;
/// Survives a load of CR3.
pub const GLOBAL: u64 = 1 << 8;
/// Ours: the frame belongs to this mapping and goes back to the allocator with it, even if the entry is not present.
pub const OWNED: u64 = 1 << 9;
/// No execution.
pub const NO_EXECUTE: u64 = 1 << 63;

/// Flags of an entry that leads to another table. Rights are decided on the last level.
const TABLE: u64 = PRESENT | WRITABLE | USER | ACCESSED;
const ADDRESS_MASK: u64 = 0x000f_ffff_ffff_f000;

/// One table of any level.
pub type Table = [AtomicU64; 512];

/// Memory that tables lie in.
pub trait TableMemory {
    /// The table at a physical address that [`TableMemory::new_table`] returned.
    fn table(&self, physical: u64) -> &Table;
    /// A new empty table's physical address.
    fn new_table(&self) -> Option<u64>;
}

/// Physical address in an entry.
pub const fn address_of(entry: u64) -> u64 {
    entry & ADDRESS_MASK
}

/// Index into the table of `level` (3 the top, 0 the last) for an address.
pub const fn index(address: u64, level: u32) -> usize {
    (address >> (12 + 9 * level) & 511) as usize
}

/// Why a mapping failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// No frame for a table.
    NoMemory,
    /// Something is mapped there.
    Occupied,
}

/// What an address translates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Physical address.
    pub physical: u64,
    /// Flags of the last entry.
    pub flags: u64,
}

/// The last-level entry for `address`, if the tables above it exist.
pub fn entry<M: TableMemory>(memory: &M, root: u64, address: u64) -> Option<&AtomicU64> {
    let mut table = memory.table(root);
    for level in (1..4).rev() {
        let entry = table[index(address, level)].load(Ordering::Relaxed);
        if entry & PRESENT == 0 || (level == 1 && entry & LARGE != 0) {
            return None;
        }
        table = memory.table(address_of(entry));
    }
    Some(&table[index(address, 0)])
}

/// The entry of `level` for `address`, after making the tables above it.
///
/// # Errors
/// [`MapError::NoMemory`] when a table cannot be made; [`MapError::Occupied`] when a large page is in the way.
pub fn make_entry<M: TableMemory>(memory: &M, root: u64, address: u64, level: u32) -> Result<&AtomicU64, MapError> {
    let mut table = memory.table(root);
    for above in (level + 1..4).rev() {
        let slot = &table[index(address, above)];
        let mut entry = slot.load(Ordering::Relaxed);
        if entry & PRESENT == 0 {
            entry = memory.new_table().ok_or(MapError::NoMemory)? | TABLE;
            // Release: whoever finds the table must find it empty.
            slot.store(entry, Ordering::Release);
        } else if above == 1 && entry & LARGE != 0 {
            return Err(MapError::Occupied);
        }
        table = memory.table(address_of(entry));
    }
    Ok(&table[index(address, level)])
}

/// Maps one page.
///
/// # Errors
/// See [`MapError`]; nothing is changed then but for tables that were made.
pub fn map<M: TableMemory>(memory: &M, root: u64, address: u64, physical: u64, flags: u64) -> Result<(), MapError> {
    let slot = make_entry(memory, root, address, 0)?;
    if slot.load(Ordering::Relaxed) != 0 {
        return Err(MapError::Occupied);
    }
    slot.store(physical | flags, Ordering::Release);
    Ok(())
}

/// Maps one large page; both addresses are multiples of its size.
///
/// # Errors
/// See [`MapError`].
pub fn map_large<M: TableMemory>(memory: &M, root: u64, address: u64, physical: u64, flags: u64) -> Result<(), MapError> {
    let slot = make_entry(memory, root, address, 1)?;
    if slot.load(Ordering::Relaxed) != 0 {
        return Err(MapError::Occupied);
    }
    slot.store(physical | flags | LARGE, Ordering::Release);
    Ok(())
}

/// Whether sign extension of bit 47 gives the address.
pub const fn is_canonical(address: u64) -> bool {
    ((address as i64) << 16 >> 16) as u64 == address
}

/// Translates an address as the processor would, rights aside.
pub fn translate<M: TableMemory>(memory: &M, root: u64, address: u64) -> Option<Translation> {
    if !is_canonical(address) {
        return None;
    }
    let mut table = memory.table(root);
    for level in (0..4).rev() {
        let entry = table[index(address, level)].load(Ordering::Acquire);
        if entry & PRESENT == 0 {
            return None;
        }
        if level == 0 || (level == 1 && entry & LARGE != 0) {
            let within = address & ((1 << (12 + 9 * level)) - 1);
            return Some(Translation { physical: address_of(entry) | within, flags: entry & !ADDRESS_MASK });
        }
        table = memory.table(address_of(entry));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    /// Tables in an array; a table's physical address is its number times the page size.
    struct Memory {
        tables: Vec<Table>,
        used: Cell<usize>,
    }

    impl Memory {
        /// With room for `tables` besides the root at address 0.
        fn with(tables: usize) -> Memory {
            let table = || std::array::from_fn(|_| AtomicU64::new(0));
            Memory { tables: (0..=tables).map(|_| table()).collect(), used: Cell::new(1) }
        }
    }

    impl TableMemory for Memory {
        fn table(&self, physical: u64) -> &Table {
            &self.tables[(physical / 4096) as usize]
        }

        fn new_table(&self) -> Option<u64> {
            let number = self.used.get();
            (number < self.tables.len()).then(|| self.used.set(number + 1))?;
            Some(number as u64 * 4096)
        }
    }

    const ADDRESS: u64 = 0xffff_a000_1234_5000;

    #[test]
    fn a_mapped_page_translates_with_its_flags_and_its_neighbours_do_not() {
        let memory = Memory::with(3);

        map(&memory, 0, ADDRESS, 0x7000, PRESENT | NO_EXECUTE).unwrap();

        let expected = Translation { physical: 0x7abc, flags: PRESENT | NO_EXECUTE };
        assert_eq!(translate(&memory, 0, ADDRESS + 0xabc), Some(expected));
        assert_eq!(translate(&memory, 0, ADDRESS + 0x1000), None);
        assert_eq!(translate(&memory, 0, ADDRESS - 1), None);
    }

    #[test]
    fn a_large_page_translates_every_address_in_it() {
        let memory = Memory::with(2);

        map_large(&memory, 0, 0xffff_8000_0060_0000, 0x60_0000, PRESENT).unwrap();

        assert_eq!(translate(&memory, 0, 0xffff_8000_007f_ffff).unwrap().physical, 0x7f_ffff);
        assert_eq!(translate(&memory, 0, 0xffff_8000_0080_0000), None);
    }

    #[test]
    fn nothing_can_be_mapped_over_a_mapping() {
        let memory = Memory::with(3);
        map(&memory, 0, ADDRESS, 0x7000, OWNED).unwrap();

        assert_eq!(map(&memory, 0, ADDRESS, 0x8000, PRESENT), Err(MapError::Occupied));
    }

    #[test]
    fn a_small_page_inside_a_large_one_is_refused() {
        let memory = Memory::with(3);
        map_large(&memory, 0, 0, 0, PRESENT).unwrap();

        assert_eq!(map(&memory, 0, 0x1000, 0x1000, PRESENT), Err(MapError::Occupied));
        assert!(entry(&memory, 0, 0x1000).is_none());
    }

    #[test]
    fn without_memory_for_tables_the_mapping_fails() {
        let memory = Memory::with(2);

        assert_eq!(map(&memory, 0, ADDRESS, 0, PRESENT), Err(MapError::NoMemory));
    }

    #[test]
    fn an_entry_that_is_not_present_keeps_its_frame_and_does_not_translate() {
        let memory = Memory::with(3);

        map(&memory, 0, ADDRESS, 0x7000, OWNED).unwrap();

        assert_eq!(translate(&memory, 0, ADDRESS), None);
        assert_eq!(address_of(entry(&memory, 0, ADDRESS).unwrap().load(Ordering::Relaxed)), 0x7000);
    }

    #[test]
    fn an_address_that_is_not_canonical_never_translates() {
        let memory = Memory::with(3);
        map(&memory, 0, ADDRESS, 0x7000, PRESENT).unwrap();

        assert_eq!(translate(&memory, 0, ADDRESS & 0x0000_ffff_ffff_ffff), None);
    }
}
