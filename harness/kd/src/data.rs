//! Structures in kernel memory that a debugger starts from, and the header of a crash dump.

use core::mem::offset_of;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::wire::ExceptionRecord;

/// `IMAGE_FILE_MACHINE_AMD64`.
pub const MACHINE_AMD64: u32 = 0x8664;

/// `LIST_ENTRY` by addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListEntry {
    /// Next.
    pub next: u64,
    /// Previous.
    pub previous: u64,
}

/// `UNICODE_STRING` by address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UnicodeString {
    /// Bytes.
    pub length: u16,
    /// Bytes of room.
    pub maximum: u16,
    /// Unused.
    pub padding: u32,
    /// Address.
    pub buffer: u64,
}

/// `KLDR_DATA_TABLE_ENTRY`: a module in the list of those loaded.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ModuleEntry {
    /// In the order of loading.
    pub links: ListEntry,
    /// Function table.
    pub exception_table: u64,
    /// Its size in bytes.
    pub exception_table_size: u32,
    /// Unused.
    pub padding0: u32,
    /// Unused on this architecture.
    pub gp_value: u64,
    /// Unused.
    pub debug_information: u64,
    /// First byte.
    pub base: u64,
    /// Entry point, or 0.
    pub entry_point: u64,
    /// Bytes of address space.
    pub size: u32,
    /// Unused.
    pub padding1: u32,
    /// Path.
    pub full_name: UnicodeString,
    /// File name.
    pub base_name: UnicodeString,
    /// `LDRP_` flags.
    pub flags: u32,
    /// References.
    pub load_count: u16,
    /// Signature level and type.
    pub signature: u16,
    /// Section object.
    pub section: u64,
    /// Checksum in the file's header.
    pub checksum: u32,
    /// Unused.
    pub coverage_size: u32,
    /// Unused.
    pub coverage: u64,
    /// Modules that it imports from.
    pub imports: u64,
    /// Unused.
    pub spare: u64,
    /// Size before rounding.
    pub size_not_rounded: u32,
    /// Time stamp in the file's header.
    pub time_stamp: u32,
}

const _: () = {
    assert!(size_of::<ModuleEntry>() == 0xa0);
    assert!(offset_of!(ModuleEntry, base) == 0x30);
    assert!(offset_of!(ModuleEntry, size) == 0x40);
    assert!(offset_of!(ModuleEntry, full_name) == 0x48);
    assert!(offset_of!(ModuleEntry, base_name) == 0x58);
    assert!(offset_of!(ModuleEntry, checksum) == 0x78);
    assert!(offset_of!(ModuleEntry, time_stamp) == 0x9c);
};

impl ModuleEntry {
    /// All zero.
    #[must_use]
    pub const fn zeroed() -> Self {
        const LINKS: ListEntry = ListEntry { next: 0, previous: 0 };
        const NAME: UnicodeString = UnicodeString { length: 0, maximum: 0, padding: 0, buffer: 0 };
        Self {
            links: LINKS,
            exception_table: 0,
            exception_table_size: 0,
            padding0: 0,
            gp_value: 0,
            debug_information: 0,
            base: 0,
            entry_point: 0,
            size: 0,
            padding1: 0,
            full_name: NAME,
            base_name: NAME,
            flags: 0,
            load_count: 0,
            signature: 0,
            section: 0,
            checksum: 0,
            coverage_size: 0,
            coverage: 0,
            imports: 0,
            spare: 0,
            size_not_rounded: 0,
            time_stamp: 0,
        }
    }
}

/// Words of [`DebuggerData`] by index. A target names what it has; the rest is zero.
pub mod field {
    /// `KernBase`.
    pub const KERNEL_BASE: usize = 0x18;
    /// `BreakpointWithStatus`.
    pub const BREAKPOINT_WITH_STATUS: usize = 0x20;
    /// `PsLoadedModuleList`.
    pub const LOADED_MODULES: usize = 0x48;
    /// `PsActiveProcessHead`.
    pub const ACTIVE_PROCESSES: usize = 0x50;
    /// `KiBugCheckData`.
    pub const BUG_CHECK_DATA: usize = 0x88;
    /// `MmHighestPhysicalPage`: address of the number.
    pub const MM_PAGE_SIZE: usize = 0x138;
    /// `MmHighestUserAddress`: address of the number.
    pub const HIGHEST_USER_ADDRESS: usize = 0x1c8;
    /// `MmSystemRangeStart`: address of the number.
    pub const SYSTEM_RANGE_START: usize = 0x1d0;
    /// `MmUserProbeAddress`: address of the number.
    pub const USER_PROBE_ADDRESS: usize = 0x1d8;
    /// `NtBuildLab`: address of a text.
    pub const BUILD_LAB: usize = 0x208;
    /// `KiProcessorBlock`: address of an array of processor blocks' addresses.
    pub const PROCESSOR_BLOCKS: usize = 0x218;
    /// `MmPhysicalMemoryBlock`.
    pub const PHYSICAL_MEMORY: usize = 0x270;
    /// `SizePrcb`, 16 bits.
    pub const PRCB_SIZE: usize = 0x2b0;
    /// `OffsetPrcbCurrentThread`, 16 bits.
    pub const PRCB_CURRENT_THREAD: usize = 0x2b4;
    /// `OffsetPrcbProcStateContext`, 16 bits.
    pub const PRCB_CONTEXT_FRAME: usize = 0x2bc;
    /// `OffsetPrcbNumber`, 16 bits.
    pub const PRCB_NUMBER: usize = 0x2be;
    /// `SizePcr`, 16 bits.
    pub const PCR_SIZE: usize = 0x2e0;
    /// `OffsetPcrSelfPcr`, 16 bits.
    pub const PCR_SELF: usize = 0x2e2;
    /// `OffsetPcrCurrentPrcb`, 16 bits.
    pub const PCR_CURRENT_PRCB: usize = 0x2e4;
    /// `OffsetPcrContainedPrcb`, 16 bits.
    pub const PCR_CONTAINED_PRCB: usize = 0x2e6;
    /// `OffsetPrcbProcStateSpecialReg`, 16 bits.
    pub const PRCB_SPECIAL_REGISTERS: usize = 0x2f2;
    /// Selectors `GdtR0Code`, `GdtR0Data`, `GdtR0Pcr`, `GdtR3Code`, `GdtR3Data`, `GdtR3Teb`, `GdtLdt`, `GdtTss`, 16 bits each.
    pub const SELECTORS: usize = 0x2f4;
    /// `OffsetPrcbContext`, 16 bits: of a pointer to a context.
    pub const PRCB_CONTEXT: usize = 0x338;
}

/// `KDDEBUGGER_DATA64`: where a debugger finds the rest. As Windows 10 has it up to its last field that older debuggers know.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(8))]
pub struct DebuggerData {
    /// The block as bytes, fields at the offsets of [`field`].
    pub bytes: [u8; Self::SIZE],
}

impl DebuggerData {
    /// Size, which the block itself names.
    pub const SIZE: usize = 0x340;
    /// `OwnerTag`.
    pub const TAG: [u8; 4] = *b"KDBG";

    /// With its tag and size, its links leading to `list`.
    #[must_use]
    pub fn new(list: u64) -> Self {
        let mut block = Self { bytes: [0; Self::SIZE] };
        block.set(0, list);
        block.set(8, list);
        block.bytes[0x10..0x14].copy_from_slice(&Self::TAG);
        block.bytes[0x14..0x18].copy_from_slice(&(Self::SIZE as u32).to_le_bytes());
        block
    }

    /// Whether tag and size are those of such a block.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.bytes[0x10..0x14] == Self::TAG && self.half(0x14) as usize >= 0x2c0
    }

    /// Sets a field of 64 bits.
    pub fn set(&mut self, offset: usize, value: u64) {
        self.bytes[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// Sets a field of 16 bits.
    pub fn set_half(&mut self, offset: usize, value: u16) {
        self.bytes[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// A field of 64 bits.
    #[must_use]
    pub fn get(&self, offset: usize) -> u64 {
        let mut word = [0; 8];
        word.copy_from_slice(&self.bytes[offset..offset + 8]);
        u64::from_le_bytes(word)
    }

    /// A field of 16 bits.
    #[must_use]
    pub fn half(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.bytes[offset], self.bytes[offset + 1]])
    }
}

/// Most runs of physical memory that a header has room for.
pub const MOST_RUNS: usize = 42;

/// `PHYSICAL_MEMORY_RUN64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Run {
    /// First page.
    pub first: u64,
    /// Number of pages.
    pub pages: u64,
}

/// `PHYSICAL_MEMORY_DESCRIPTOR64`, with as many runs as fit.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PhysicalMemory {
    /// Runs that count.
    pub run_count: u32,
    /// Unused.
    pub padding: u32,
    /// Pages in all of them.
    pub page_count: u64,
    /// Runs.
    pub runs: [Run; MOST_RUNS],
}

/// `DUMP_TYPE_FULL`: every page of every run follows the header.
pub const DUMP_FULL: u32 = 1;
/// First eight bytes of a dump of 64 bits.
pub const DUMP_SIGNATURE: [u8; 8] = *b"PAGEDU64";

/// `DUMP_HEADER64`, 8192 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C, align(16))]
pub struct DumpHeader {
    /// [`DUMP_SIGNATURE`].
    pub signature: [u8; 8],
    /// `0xf` for a free build, `0xc` for a checked one.
    pub major_version: u32,
    /// Build number.
    pub minor_version: u32,
    /// Page tables of the crashing processor.
    pub directory_table_base: u64,
    /// Page frame database.
    pub pfn_database: u64,
    /// Head of the list of modules.
    pub loaded_modules: u64,
    /// Head of the list of processes.
    pub active_processes: u64,
    /// [`MACHINE_AMD64`].
    pub machine: u32,
    /// Number of processors.
    pub processors: u32,
    /// Bug check code.
    pub bug_check: u32,
    /// Unused.
    pub padding0: u32,
    /// Bug check parameters.
    pub parameters: [u64; 4],
    /// Unused.
    pub version_user: [u8; 32],
    /// Address of [`DebuggerData`].
    pub debugger_data: u64,
    /// Physical memory.
    pub memory: PhysicalMemory,
    /// Rest of the memory block's 700 bytes, and alignment.
    pub padding1: [u8; 16],
    /// A [`crate::context::Context`], in room for 3000 bytes.
    pub context: [u8; 3000],
    /// The exception, or the breakpoint that a bug check counts as.
    pub exception: ExceptionRecord,
    /// [`DUMP_FULL`].
    pub dump_type: u32,
    /// Unused.
    pub padding2: u32,
    /// Bytes of the whole dump.
    pub required_space: u64,
    /// When: units of 100 ns since 1601.
    pub system_time: u64,
    /// Free text.
    pub comment: [u8; 128],
    /// Time since the start, in units of 100 ns.
    pub up_time: u64,
    /// Flags of a small dump.
    pub mini_fields: u32,
    /// Secondary data.
    pub secondary_state: u32,
    /// `VER_NT_WORKSTATION` and so on.
    pub product_type: u32,
    /// Suite.
    pub suite_mask: u32,
    /// Status of the writer.
    pub writer_status: u32,
    /// Unused.
    pub unused1: u8,
    /// As in [`crate::wire::Version`].
    pub secondary_version: u8,
    /// Unused.
    pub unused2: [u8; 2],
    /// Flags.
    pub attributes: u32,
    /// Number of the boot.
    pub boot_id: u32,
    /// Unused.
    pub reserved: [u8; 4008],
}

const _: () = {
    assert!(size_of::<DumpHeader>() == 0x2000);
    assert!(offset_of!(DumpHeader, parameters) == 0x40);
    assert!(offset_of!(DumpHeader, debugger_data) == 0x80);
    assert!(offset_of!(DumpHeader, memory) == 0x88);
    assert!(offset_of!(DumpHeader, context) == 0x348);
    assert!(offset_of!(DumpHeader, exception) == 0xf00);
    assert!(offset_of!(DumpHeader, dump_type) == 0xf98);
    assert!(offset_of!(DumpHeader, comment) == 0xfb0);
    assert!(offset_of!(DumpHeader, up_time) == 0x1030);
    assert!(offset_of!(DumpHeader, product_type) == 0x1040);
    assert!(offset_of!(DumpHeader, secondary_version) == 0x104d);
};

impl DumpHeader {
    /// What an unused field has in Windows' own headers: "PAGE" over and over.
    const FILL: &[u8; 4] = b"PAGE";

    /// With its signature, unused room filled as Windows fills it.
    pub fn fill(&mut self) {
        self.zero();
        self.signature = DUMP_SIGNATURE;
        for piece in self.reserved.chunks_mut(4) {
            piece.copy_from_slice(&Self::FILL[..piece.len()]);
        }
    }
}
