//! A loader of native programs that knows as little as it can: it maps the image at a random address, corrects its addresses, gives it an
//! ntdll.dll whose functions do next to nothing, and calls its entry point. COM2 is a pair of buffers.

use std::ffi::c_void;
use std::sync::{Condvar, Mutex};
use std::thread;

use channel::{Decoder, FromGuest, MAX_FRAME, PROTOCOL_VERSION, ToGuest, encode};
use object::LittleEndian as LE;
use object::pe::{IMAGE_REL_BASED_DIR64, ImageNtHeaders64};
use object::read::pe::{ImageNtHeaders as _, ImageOptionalHeader as _, Import, PeFile64};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use crate::common::PATIENCE;

const NOT_IMPLEMENTED: u32 = 0xc000_0002;
const PORT: usize = 0x1234;

/// What goes over COM2, and whether the program has ended.
struct World {
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
    exit: Option<u32>,
}

static WORLD: Mutex<World> = Mutex::new(World { incoming: Vec::new(), outgoing: Vec::new(), exit: None });
static ENDED: Condvar = Condvar::new();

/// Runs the program with a harness that says hello and goodbye; what the program said to that.
pub(crate) fn run(bytes: &[u8]) -> Vec<String> {
    let mut line = [0; MAX_FRAME];
    for message in [ToGuest::Hello { protocol: PROTOCOL_VERSION }, ToGuest::Goodbye] {
        let length = encode(&message, &mut line).unwrap();
        WORLD.lock().unwrap().incoming.extend(&line[..length]);
    }
    let entry = load(bytes);
    // It never returns: the thread is parked when the program ends itself, and goes with this process.
    thread::Builder::new()
        .stack_size(8 << 20)
        .spawn(move || {
            // SAFETY: the entry point of an image that was just loaded, of this type in every native program.
            let start: unsafe extern "win64" fn() = unsafe { std::mem::transmute(entry) };
            // SAFETY: as above.
            unsafe { start() };
        })
        .unwrap();
    let world = WORLD.lock().unwrap();
    let (world, timeout) = ENDED.wait_timeout_while(world, PATIENCE, |world| world.exit.is_none()).unwrap();
    assert!(!timeout.timed_out(), "suite.exe did not end");
    assert_eq!(world.exit, Some(0), "the status with which suite.exe ended");
    spoken(&world.outgoing)
}

fn spoken(outgoing: &[u8]) -> Vec<String> {
    let mut decoder = Decoder::new();
    let mut said = Vec::new();
    for byte in outgoing {
        match decoder.push::<FromGuest<'_>>(*byte) {
            Some(Ok(FromGuest::Hello { system, .. })) => said.push(format!("hello from {system}")),
            Some(Ok(FromGuest::Goodbye)) => said.push("goodbye".to_owned()),
            Some(other) => said.push(format!("{other:?}")),
            None => {}
        }
    }
    said
}

/// Maps the image, corrects and connects it; the address of its entry point.
fn load(bytes: &[u8]) -> usize {
    let image = PeFile64::parse(bytes).unwrap();
    let optional = image.nt_headers().optional_header();
    let size = optional.size_of_image() as usize;
    let protection = ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC;
    // SAFETY: a fresh mapping that is never unmapped.
    let base = unsafe { mmap_anonymous(std::ptr::null_mut(), size, protection, MapFlags::PRIVATE) }.unwrap() as usize;
    // SAFETY: the mapping has this size, and nobody else knows of it.
    let memory = unsafe { std::slice::from_raw_parts_mut(base as *mut u8, size) };
    for section in image.section_table().iter() {
        let data = section.pe_data(bytes).unwrap();
        let start = section.virtual_address.get(LE) as usize;
        memory[start..start + data.len()].copy_from_slice(data);
    }
    relocate(&image, memory, base);
    connect(&image, memory);
    base + optional.address_of_entry_point() as usize
}

fn relocate(image: &PeFile64<'_>, memory: &mut [u8], base: usize) {
    let distance = (base as u64).wrapping_sub(image.nt_headers().optional_header().image_base());
    let sections = image.section_table();
    let Some(mut blocks) = image.data_directories().relocation_blocks(image.data(), &sections).unwrap() else { return };
    while let Some(block) = blocks.next().unwrap() {
        for relocation in block.filter(|relocation| relocation.typ == IMAGE_REL_BASED_DIR64) {
            let place = relocation.virtual_address as usize;
            let value = u64::from_le_bytes(memory[place..place + 8].try_into().unwrap());
            memory[place..place + 8].copy_from_slice(&value.wrapping_add(distance).to_le_bytes());
        }
    }
}

fn connect(image: &PeFile64<'_>, memory: &mut [u8]) {
    let table = image.import_table().unwrap().unwrap();
    let mut descriptors = table.descriptors().unwrap();
    while let Some(descriptor) = descriptors.next().unwrap() {
        let mut place = descriptor.first_thunk.get(LE) as usize;
        let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE)).unwrap();
        while let Some(thunk) = thunks.next::<ImageNtHeaders64>().unwrap() {
            let Import::Name(_, name) = table.import::<ImageNtHeaders64>(thunk).unwrap() else { panic!("an import by number") };
            memory[place..place + 8].copy_from_slice(&function(name).to_le_bytes());
            place += 8;
        }
    }
}

fn function(name: &[u8]) -> usize {
    match name {
        b"NtAllocateVirtualMemory" => allocate as *const () as usize,
        b"NtCreateFile" => create_file as *const () as usize,
        b"NtDeviceIoControlFile" => control as *const () as usize,
        b"NtReadFile" => read as *const () as usize,
        b"NtWriteFile" => write as *const () as usize,
        b"NtClose" => close as *const () as usize,
        b"NtTerminateProcess" => terminate as *const () as usize,
        _ => not_implemented as *const () as usize,
    }
}

/// `IO_STATUS_BLOCK`.
#[repr(C)]
struct StatusBlock {
    status: u32,
    information: usize,
}

extern "win64" fn not_implemented() -> u32 {
    NOT_IMPLEMENTED
}

extern "win64" fn close(_handle: usize) -> u32 {
    0
}

/// # Safety
/// As ntdll's.
unsafe extern "win64" fn allocate(_process: usize, base: *mut *mut c_void, _zero_bits: usize, size: *mut usize) -> u32 {
    // SAFETY: a fresh mapping; both pointers are the caller's.
    unsafe {
        *base = mmap_anonymous(std::ptr::null_mut(), *size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE).unwrap();
    }
    0
}

/// # Safety
/// As ntdll's.
unsafe extern "win64" fn create_file(handle: *mut usize) -> u32 {
    // SAFETY: the caller's pointer.
    unsafe { *handle = PORT };
    0
}

/// # Safety
/// As ntdll's.
unsafe extern "win64" fn control(handle: usize, _event: usize, _routine: usize, _context: usize, block: *mut StatusBlock) -> u32 {
    assert_eq!(handle, PORT);
    // SAFETY: the caller's pointer.
    unsafe { *block = StatusBlock { status: 0, information: 0 } };
    0
}

/// # Safety
/// As ntdll's.
unsafe extern "win64" fn read(
    _handle: usize,
    _event: usize,
    _routine: usize,
    _context: usize,
    block: *mut StatusBlock,
    buffer: *mut u8,
    length: u32,
) -> u32 {
    let mut world = WORLD.lock().unwrap();
    let length = world.incoming.len().min(length as usize);
    // SAFETY: the caller's buffer has at least this length; it is none of ours.
    unsafe { buffer.copy_from_nonoverlapping(world.incoming.as_ptr(), length) };
    world.incoming.drain(..length);
    // SAFETY: the caller's pointer.
    unsafe { *block = StatusBlock { status: 0, information: length } };
    0
}

/// # Safety
/// As ntdll's.
unsafe extern "win64" fn write(
    _handle: usize,
    _event: usize,
    _routine: usize,
    _context: usize,
    block: *mut StatusBlock,
    buffer: *const u8,
    length: u32,
) -> u32 {
    // SAFETY: the caller's buffer.
    let bytes = unsafe { std::slice::from_raw_parts(buffer, length as usize) };
    WORLD.lock().unwrap().outgoing.extend(bytes);
    // SAFETY: the caller's pointer.
    unsafe { *block = StatusBlock { status: 0, information: length as usize } };
    0
}

extern "win64" fn terminate(_process: usize, status: u32) -> u32 {
    WORLD.lock().unwrap().exit = Some(status);
    ENDED.notify_all();
    loop {
        thread::park();
    }
}
