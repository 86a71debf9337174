//! What packets carry: state changes, requests and their answers, text.

use core::mem::offset_of;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Requests by number.
#[allow(missing_docs, reason = "the protocol's own names, without `DbgKd` and `Api`")]
pub mod api {
    pub const READ_VIRTUAL_MEMORY: u32 = 0x3130;
    pub const WRITE_VIRTUAL_MEMORY: u32 = 0x3131;
    pub const GET_CONTEXT: u32 = 0x3132;
    pub const SET_CONTEXT: u32 = 0x3133;
    pub const WRITE_BREAKPOINT: u32 = 0x3134;
    pub const RESTORE_BREAKPOINT: u32 = 0x3135;
    pub const CONTINUE: u32 = 0x3136;
    pub const READ_CONTROL_SPACE: u32 = 0x3137;
    pub const WRITE_CONTROL_SPACE: u32 = 0x3138;
    pub const READ_IO_SPACE: u32 = 0x3139;
    pub const WRITE_IO_SPACE: u32 = 0x313a;
    pub const REBOOT: u32 = 0x313b;
    pub const CONTINUE2: u32 = 0x313c;
    pub const READ_PHYSICAL_MEMORY: u32 = 0x313d;
    pub const WRITE_PHYSICAL_MEMORY: u32 = 0x313e;
    pub const SET_SPECIAL_CALL: u32 = 0x3140;
    pub const CLEAR_SPECIAL_CALLS: u32 = 0x3141;
    pub const SET_INTERNAL_BREAKPOINT: u32 = 0x3142;
    pub const GET_VERSION: u32 = 0x3146;
    pub const WRITE_BREAKPOINT_EX: u32 = 0x3147;
    pub const RESTORE_BREAKPOINT_EX: u32 = 0x3148;
    pub const CAUSE_BUG_CHECK: u32 = 0x3149;
    pub const SWITCH_PROCESSOR: u32 = 0x3150;
    pub const READ_MODEL_SPECIFIC_REGISTER: u32 = 0x3152;
    pub const WRITE_MODEL_SPECIFIC_REGISTER: u32 = 0x3153;
    pub const SEARCH_MEMORY: u32 = 0x3156;
    pub const CHECK_LOW_MEMORY: u32 = 0x3159;
    pub const CLEAR_ALL_INTERNAL_BREAKPOINTS: u32 = 0x315a;
    pub const FILL_MEMORY: u32 = 0x315b;
    pub const QUERY_MEMORY: u32 = 0x315c;
    pub const GET_CONTEXT_EX: u32 = 0x315f;
    pub const SET_CONTEXT_EX: u32 = 0x3160;
    /// First number that is no request.
    pub const MAXIMUM: u32 = 0x3161;
    /// The lowest request.
    pub const MINIMUM: u32 = 0x3130;
}

/// State change: an exception, or a break-in.
pub const STATE_EXCEPTION: u32 = 0x3030;
/// State change: a module was loaded or unloaded.
pub const STATE_LOAD_SYMBOLS: u32 = 0x3031;
/// Debug I/O: text.
pub const PRINT_STRING: u32 = 0x3230;
/// Debug I/O: a question.
pub const GET_STRING: u32 = 0x3231;

/// `STATUS_SUCCESS`.
pub const SUCCESS: u32 = 0;
/// `STATUS_NO_MORE_ENTRIES`: a search that found nothing.
pub const NO_MORE_ENTRIES: u32 = 0x8000_001a;
/// `STATUS_UNSUCCESSFUL`.
pub const UNSUCCESSFUL: u32 = 0xc000_0001;
/// `DBG_CONTINUE`: the exception is dealt with.
pub const DBG_CONTINUE: u32 = 0x0001_0002;
/// `DBG_EXCEPTION_NOT_HANDLED`.
pub const DBG_EXCEPTION_NOT_HANDLED: u32 = 0x8001_0001;
/// `STATUS_BREAKPOINT`.
pub const STATUS_BREAKPOINT: u32 = 0x8000_0003;
/// `STATUS_WAKE_SYSTEM_DEBUGGER`: how a processor is shown that the debugger has switched to.
pub const STATUS_WAKE_SYSTEM_DEBUGGER: u32 = 0x8000_0007;
/// `STATUS_NO_SUCH_DEVICE`: a model-specific register that there is not.
pub const NO_SUCH_DEVICE: u32 = 0xc000_000e;
/// `STATUS_SINGLE_STEP`.
pub const STATUS_SINGLE_STEP: u32 = 0x8000_0004;

/// What `BreakpointWithStatus` finds in ECX: somebody broke in.
pub const STATUS_CONTROL_C: u32 = 1;
/// A bug check, before its callbacks.
pub const STATUS_BUG_CHECK_FIRST: u32 = 3;
/// A bug check, when all is done.
pub const STATUS_BUG_CHECK_SECOND: u32 = 4;

/// `EXCEPTION_RECORD64`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ExceptionRecord {
    /// Status.
    pub code: u32,
    /// Flags.
    pub flags: u32,
    /// Address of another record.
    pub record: u64,
    /// Where.
    pub address: u64,
    /// Parameters that count.
    pub parameter_count: u32,
    /// Unused.
    pub padding: u32,
    /// Parameters.
    pub parameters: [u64; 15],
}

const _: () = assert!(size_of::<ExceptionRecord>() == 152);

impl ExceptionRecord {
    /// Without parameters.
    #[must_use]
    pub fn new(code: u32, address: u64) -> Self {
        Self { code, address, ..Self::new_zeroed() }
    }
}

/// `AMD64_DBGKD_CONTROL_REPORT`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs, reason = "the registers' own names")]
pub struct ControlReport {
    pub dr6: u64,
    pub dr7: u64,
    pub eflags: u32,
    /// Bytes of [`Self::stream`] that count.
    pub stream_length: u16,
    /// [`REPORT_SEGMENTS`] and [`REPORT_STANDARD_CS`].
    pub flags: u16,
    /// Code at the instruction pointer.
    pub stream: [u8; 16],
    pub cs: u16,
    pub ds: u16,
    pub es: u16,
    pub fs: u16,
}

/// The report has segments.
pub const REPORT_SEGMENTS: u16 = 1;
/// CS is the kernel's usual one.
pub const REPORT_STANDARD_CS: u16 = 2;

/// `DBGKD_ANY_WAIT_STATE_CHANGE`, 240 bytes, its union as bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StateChange {
    /// [`STATE_EXCEPTION`] or [`STATE_LOAD_SYMBOLS`].
    pub state: u32,
    /// Kind of processor.
    pub level: u16,
    /// Which.
    pub processor: u16,
    /// How many there are.
    pub processor_count: u32,
    /// Unused.
    pub padding: u32,
    /// Address of the running thread.
    pub thread: u64,
    /// Instruction pointer.
    pub rip: u64,
    /// An [`Exception`] or [`LoadSymbols`].
    pub detail: [u8; 160],
    /// Registers worth having at once.
    pub report: ControlReport,
}

const _: () = {
    assert!(size_of::<ControlReport>() == 48);
    assert!(size_of::<StateChange>() == 240);
    assert!(offset_of!(StateChange, detail) == 32);
    assert!(offset_of!(StateChange, report) == 192);
};

/// `DBGKM_EXCEPTION64`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Exception {
    /// The exception.
    pub record: ExceptionRecord,
    /// 1 before handlers are asked.
    pub first_chance: u32,
    /// Unused.
    pub padding: u32,
}

const _: () = assert!(size_of::<Exception>() == 160);

/// `DBGKD_LOAD_SYMBOLS64`; the path with its terminator follows the state change.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct LoadSymbols {
    /// Bytes of the path.
    pub path_length: u32,
    /// Unused.
    pub padding: u32,
    /// First byte of the module.
    pub base: u64,
    /// Process, or -1 for the kernel.
    pub process: u64,
    /// Checksum in the file's header.
    pub checksum: u32,
    /// Bytes of address space.
    pub size: u32,
    /// 1 when it goes.
    pub unload: u8,
    /// Unused.
    pub padding1: [u8; 7],
}

const _: () = assert!(size_of::<LoadSymbols>() == 40);

/// `DBGKD_MANIPULATE_STATE64`, 56 bytes, its union as bytes; data follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Manipulate {
    /// One of [`api`].
    pub api: u32,
    /// Kind of processor.
    pub level: u16,
    /// The processor that is meant.
    pub processor: u16,
    /// In an answer: how it went.
    pub status: u32,
    /// Unused.
    pub padding: u32,
    /// What the request needs, and its answer.
    pub detail: [u8; 40],
}

const _: () = assert!(size_of::<Manipulate>() == 56 && offset_of!(Manipulate, detail) == 16);

/// Reads a structure at the start of bytes that are long enough by type.
pub fn take<T: FromBytes + FromZeros>(bytes: &[u8]) -> T {
    let mut value = T::new_zeroed();
    if let Ok((found, _)) = T::read_from_prefix(bytes) {
        value = found;
    }
    value
}

impl Manipulate {
    /// A request about `processor`.
    #[must_use]
    pub fn new<T: IntoBytes + Immutable>(api: u32, processor: u16, detail: &T) -> Self {
        let mut request = Self { api, processor, ..Self::new_zeroed() };
        request.put(detail);
        request
    }

    /// The union as one of its structures.
    #[must_use]
    pub fn get<T: FromBytes + FromZeros>(&self) -> T {
        take(&self.detail)
    }

    /// Sets the union.
    pub fn put<T: IntoBytes + Immutable>(&mut self, detail: &T) {
        let bytes = detail.as_bytes();
        self.detail[..bytes.len()].copy_from_slice(bytes);
    }
}

/// `DBGKD_READ_MEMORY64` and `DBGKD_WRITE_MEMORY64`; of control space likewise.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Memory {
    /// Address, virtual or physical; or the number of a part of control space.
    pub address: u64,
    /// Bytes asked for. Of physical memory the upper half says how it is cached.
    pub count: u32,
    /// Bytes done.
    pub done: u32,
}

/// `DBGKD_CONTEXT_EX`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ContextPart {
    /// First byte of the context.
    pub offset: u32,
    /// Bytes asked for.
    pub count: u32,
    /// Bytes done.
    pub done: u32,
}

/// `DBGKD_WRITE_BREAKPOINT64`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct WriteBreakpoint {
    /// Where.
    pub address: u64,
    /// In the answer: its handle.
    pub handle: u32,
    /// Unused.
    pub padding: u32,
}

/// `DBGKD_BREAKPOINTEX`; the structures or handles follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Breakpoints {
    /// How many.
    pub count: u32,
    /// Status with which the target would go on; unused.
    pub status: u32,
}

/// `DBGKD_CONTINUE2` with `AMD64_DBGKD_CONTROL_SET`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Continue2 {
    /// [`DBG_CONTINUE`] or [`DBG_EXCEPTION_NOT_HANDLED`].
    pub status: u32,
    /// Not 0: one instruction only.
    pub trace: u32,
    /// DR7, low half: the set is packed to 4 bytes.
    pub dr7: [u32; 2],
    /// Start of the current function, for tracing.
    pub symbol_start: [u32; 2],
    /// Its end.
    pub symbol_end: [u32; 2],
}

const _: () = assert!(size_of::<Continue2>() == 32);

/// `DBGKD_READ_WRITE_IO64`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Port {
    /// Port.
    pub address: u64,
    /// 1, 2 or 4.
    pub width: u32,
    /// Value.
    pub value: u32,
}

/// `DBGKD_SEARCH_MEMORY`; the pattern follows. The answer has the address in the first field.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Search {
    /// Where to begin, then what was found.
    pub address: u64,
    /// Bytes to look through.
    pub length: u64,
    /// Bytes of the pattern.
    pub pattern_length: u32,
    /// Unused.
    pub padding: u32,
}

/// `DBGKD_FILL_MEMORY`; the pattern follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Fill {
    /// Where to begin.
    pub address: u64,
    /// Bytes to fill; in the answer, bytes filled.
    pub length: u32,
    /// [`FILL_VIRTUAL`] or [`FILL_PHYSICAL`].
    pub flags: u16,
    /// Bytes of the pattern.
    pub pattern_length: u16,
}

/// The address is virtual.
pub const FILL_VIRTUAL: u16 = 1;
/// The address is physical.
pub const FILL_PHYSICAL: u16 = 2;

/// `DBGKD_READ_WRITE_MSR`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ModelSpecific {
    /// Which register.
    pub register: u32,
    /// Its lower half.
    pub low: u32,
    /// Its upper half.
    pub high: u32,
}

/// `DBGKD_QUERY_MEMORY`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Query {
    /// Address.
    pub address: u64,
    /// Unused.
    pub reserved: u64,
    /// In the answer: 0 process, 1 session, 2 kernel.
    pub space: u32,
    /// In the answer: 1 read, 2 write, 4 execute, 8 fixed.
    pub flags: u32,
}

/// `DBGKD_GET_VERSION64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Version {
    /// `0xf`: a free build of NT.
    pub major: u16,
    /// Build number.
    pub minor: u16,
    /// Of the protocol: 6.
    pub protocol: u8,
    /// 2: contexts of x64 as they are today.
    pub secondary: u8,
    /// `DBGKD_VERS_FLAG_`.
    pub flags: u16,
    /// [`crate::data::MACHINE_AMD64`].
    pub machine: u16,
    /// Kinds of packets.
    pub packet_types: u8,
    /// State changes.
    pub state_changes: u8,
    /// Requests.
    pub requests: u8,
    /// 0: no simulator.
    pub simulation: u8,
    /// Unused.
    pub unused: u16,
    /// First byte of the kernel.
    pub kernel_base: u64,
    /// Head of the list of modules.
    pub loaded_modules: u64,
    /// Head of the list of debugger data blocks.
    pub debugger_data: u64,
}

const _: () = assert!(size_of::<Version>() == 40 && offset_of!(Version, kernel_base) == 16);

/// Several processors.
pub const VERSION_MULTIPROCESSOR: u16 = 1;
/// The debugger data list is there.
pub const VERSION_DATA: u16 = 2;
/// Addresses of 64 bits.
pub const VERSION_64: u16 = 4;

/// `DBGKD_DEBUG_IO`; the text follows.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DebugIo {
    /// [`PRINT_STRING`] or [`GET_STRING`].
    pub api: u32,
    /// Kind of processor.
    pub level: u16,
    /// Which.
    pub processor: u16,
    /// Bytes of the text.
    pub length: u32,
    /// Room for the answer.
    pub room: u32,
}

const _: () = assert!(size_of::<DebugIo>() == 16);

/// `DBGKD_FILE_IO`: what a target asks about files of the debugger's machine, such as one to replace a driver with.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FileIo {
    /// What is asked.
    pub api: u32,
    /// In the answer: how it went.
    pub status: u32,
    /// What the request needs, and its answer.
    pub detail: [u8; 56],
}

const _: () = assert!(size_of::<FileIo>() == 64);
