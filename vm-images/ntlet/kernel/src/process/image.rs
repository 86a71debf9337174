//! Starting a program: its file becomes memory, `ntdll.dll` becomes a page of stubs, and its first thread begins.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;

use wdf_sys::NTSTATUS;

use super::space::Space;
use super::{NEXT_ID, PROCESS, Process, notify, thread};
use crate::hal;
use crate::hal::{PAGE_SIZE, Protection};
use crate::loader::image::{Image, ImageError, Section};
use crate::loader::layout::{self, BindError, Symbol};
use crate::object::ObjectRef;
use crate::system_call;

/// The one module that a program may import from.
const NTDLL: &str = "ntdll.dll";
/// Room for one stub.
const STUB: usize = 16;
/// Offset of the stub that ends a thread with its result.
const EXIT_STUB: usize = 0;
/// Offset of `KiUserApcDispatcher`.
const APC_STUB: usize = STUB;
/// Offset of the first service's stub.
const FIRST_SERVICE: usize = 4 * STUB;
/// Subsystems of programs: native, windowed, console.
const SUBSYSTEMS: [u16; 3] = [1, 2, 3];

/// Why a program cannot be started.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The file is no sound image.
    Image(ImageError),
    /// It is a driver, or something for another system.
    Subsystem(u16),
    /// It has no entry point.
    NoEntry,
    /// It imports what there is not.
    Missing(String, String),
    /// The system cannot.
    Status(NTSTATUS),
}

impl From<ImageError> for LoadError {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

impl From<NTSTATUS> for LoadError {
    fn from(status: NTSTATUS) -> Self {
        Self::Status(status)
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(error) => error.fmt(f),
            Self::Subsystem(subsystem) => write!(f, "its subsystem is {subsystem}; a program has 1, 2 or 3"),
            Self::NoEntry => f.write_str("it has no entry point"),
            Self::Missing(module, symbol) if module.eq_ignore_ascii_case(NTDLL) => {
                write!(f, "it imports {symbol} from {module}, a system service that ntlet does not have")
            }
            Self::Missing(module, symbol) => {
                write!(f, "it imports {symbol} from {module}; a program may import from {NTDLL} only")
            }
            Self::Status(status) => write!(f, "it cannot be started: {status}"),
        }
    }
}

/// Starts a program. Its process has ended when the object is signalled.
pub(crate) fn start(name: &str, file: &[u8]) -> Result<ObjectRef, LoadError> {
    let image = Image::parse(file)?;
    if !SUBSYSTEMS.contains(&image.subsystem) {
        return Err(LoadError::Subsystem(image.subsystem));
    }
    if image.entry == 0 {
        return Err(LoadError::NoEntry);
    }
    let machine = hal().create_address_space().ok_or(NTSTATUS::NO_MEMORY)?;
    let id = NEXT_ID.fetch_add(4, Ordering::Relaxed);
    let object = Process::create(name, id, machine)?;
    let process = object.get::<Process>(&PROCESS).ok_or(NTSTATUS::INTERNAL_ERROR)?;
    let base = load(&process.space, &image, process)?;
    notify::process_created(&object)?;
    notify::image_loaded(name, id, base as usize, image.size as usize);
    let peb = write_peb(&process.space, base)?;
    process.peb.store(peb as usize, Ordering::Release);
    let stack = usize::try_from(image.stack_reserve).unwrap_or(0).clamp(thread::DEFAULT_STACK, 64 << 20);
    // A program's entry gets its environment block, as on Windows.
    thread::create(&object, base + u64::from(image.entry), peb, stack)?;
    Ok(object)
}

/// Puts image and stubs into the space; the image's base.
fn load(space: &Space, image: &Image<'_>, process: &Process) -> Result<u64, LoadError> {
    let pages = image.size as usize / PAGE_SIZE;
    let base = match space.reserve(Some(image.base), pages, Some(Protection::ReadWrite)) {
        Ok(base) if base == image.base => base,
        Ok(other) => {
            space.free(other, 0, true, false)?;
            space.reserve(None, pages, Some(Protection::ReadWrite))?
        }
        Err(_) => space.reserve(None, pages, Some(Protection::ReadWrite))?,
    };
    space.set_image(base);
    let mut memory = alloc::vec![0; image.size as usize];
    layout::lay_out(image, &mut memory)?;
    layout::relocate(image, &mut memory, base)?;
    let code = stubs();
    let stub_base = space.reserve(None, code.len().div_ceil(PAGE_SIZE), Some(Protection::ReadWrite))?;
    layout::bind(image, &mut memory, |module, symbol| stub_offset(module, symbol).map(|offset| stub_base + offset)).map_err(
        |error| match error {
            BindError::Image(error) => LoadError::Image(error),
            BindError::Resolve(error) => error,
        },
    )?;
    let (counter, _) = hal().performance_counter();
    layout::set_cookie(image, &mut memory, base, counter.wrapping_mul(0x9e37_79b9_7f4a_7c15))?;
    space.write(stub_base, &code)?;
    space.protect(stub_base, code.len() as u64, Protection::ReadExecute)?;
    process.exit_stub.store((stub_base as usize) + EXIT_STUB, Ordering::Release);
    process.apc_stub.store((stub_base as usize) + APC_STUB, Ordering::Release);
    space.write(base, &memory)?;
    space.protect(base, u64::from(image.header_size), Protection::Read)?;
    for section in image.sections() {
        let start = base + u64::from(section.address);
        space.protect(start, (section.pages() * PAGE_SIZE) as u64, protection(section))?;
    }
    Ok(base)
}

fn protection(section: &Section) -> Protection {
    match (section.is_writable(), section.is_executable()) {
        (true, _) => Protection::ReadWrite,
        (false, true) => Protection::ReadExecute,
        (false, false) => Protection::Read,
    }
}

/// The code that stands for `ntdll.dll`: the end of a thread, user APCs, then one stub a service.
fn stubs() -> Vec<u8> {
    let mut bytes = Vec::new();
    // A thread's function has returned: mov edx, eax; mov r10, -2 (this thread); mov eax, number; syscall.
    bytes.extend([0x89, 0xc2, 0x49, 0xc7, 0xc2, 0xfe, 0xff, 0xff, 0xff, 0xb8]);
    bytes.extend(system_call::number("NtTerminateThread").unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend([0x0f, 0x05]);
    bytes.resize(APC_STUB, 0xcc);
    // A user APC, its arguments and its function at the start of the context that RSP points to: mov rcx, [rsp]; mov rdx, [rsp + 8];
    // mov r8, [rsp + 16]; mov r9, rsp; call [rsp + 24]; mov r10, rsp; mov dl, 1; mov eax, number; syscall.
    bytes.extend([0x48, 0x8b, 0x0c, 0x24, 0x48, 0x8b, 0x54, 0x24, 0x08, 0x4c, 0x8b, 0x44, 0x24, 0x10, 0x4c, 0x8b, 0xcc]);
    bytes.extend([0xff, 0x54, 0x24, 0x18, 0x4c, 0x8b, 0xd4, 0xb2, 0x01, 0xb8]);
    bytes.extend(system_call::number("NtContinue").unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend([0x0f, 0x05]);
    bytes.resize(FIRST_SERVICE, 0xcc);
    for number in 0..system_call::count() {
        // mov r10, rcx; mov eax, number; syscall; ret.
        bytes.extend([0x4c, 0x8b, 0xd1, 0xb8]);
        bytes.extend(number.to_le_bytes());
        bytes.extend([0x0f, 0x05, 0xc3]);
        bytes.resize(bytes.len().next_multiple_of(STUB), 0xcc);
    }
    bytes
}

/// Where the stub for an import lies.
fn stub_offset(module: &str, symbol: Symbol<'_>) -> Result<u64, LoadError> {
    let missing = || LoadError::Missing(module.into(), symbol.to_string());
    let Symbol::Name(name) = symbol else { return Err(missing()) };
    let number = Some(name).filter(|_| module.eq_ignore_ascii_case(NTDLL)).and_then(system_call::number).ok_or_else(missing)?;
    Ok(FIRST_SERVICE as u64 + u64::from(number) * STUB as u64)
}

/// The process environment block, as far as programs look into it.
fn write_peb(space: &Space, base: u64) -> Result<u64, NTSTATUS> {
    let peb = space.reserve(None, 1, Some(Protection::ReadWrite))?;
    let mut block = [0u8; 0x130];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x10, &base.to_le_bytes());
    put(0xb8, &hal().processor_count().to_le_bytes());
    let version = crate::time::VERSION;
    put(0x118, &version.0.to_le_bytes());
    put(0x11c, &version.1.to_le_bytes());
    put(0x120, &(version.2 as u16).to_le_bytes());
    // VER_PLATFORM_WIN32_NT.
    put(0x124, &2u32.to_le_bytes());
    space.write(peb, &block)?;
    Ok(peb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_has_a_stub_with_its_number() {
        let code = stubs();
        let at = stub_offset("NTDLL.dll", Symbol::Name("NtCreateFile")).unwrap() as usize;
        let number = system_call::number("NtCreateFile").unwrap();
        assert_eq!(code[at..at + 4], [0x4c, 0x8b, 0xd1, 0xb8]);
        assert_eq!(code[at + 4..at + 8], number.to_le_bytes());
        assert_eq!(code.len(), FIRST_SERVICE + STUB * system_call::count() as usize);
    }

    #[test]
    fn an_unknown_import_is_refused_by_its_name() {
        let error = stub_offset("ntdll.dll", Symbol::Name("NtFoo")).unwrap_err();
        assert!(error.to_string().contains("NtFoo"));
        let error = stub_offset("kernel32.dll", Symbol::Name("CreateFileW")).unwrap_err();
        assert!(error.to_string().contains("kernel32.dll"));
        assert!(stub_offset("ntdll.dll", Symbol::Ordinal(1)).is_err());
    }
}
